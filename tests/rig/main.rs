//! The crash rig (`make rig`): real processes, three real brokers, kill -9 while events flow, and a judge that knows from the seed what must have become of each.
//!
//! `KILLS` (50) random kills are shared between profiles: all roles in each process, one role in each, and transactions of five seconds. Beside them processes die
//! at named points: `POINTS` is `all`, `none`, names with commas between them, or how many the seed chooses; `TIMES` how often each, once for each fifty kills
//! unless it says otherwise. `SEED` fixes load, behaviours, victims, times and points; processes still interleave freely. `PROFILE` names one profile, or `one` of
//! the seed's choice. `ROW` is a row of the fault matrix in their place: 4, processes that stand still; 49, dispatchers that come and go. `REPEAT` runs each part so
//! often, with the same load and faults; the command that runs one part alone is told before it begins. What is wrong all the time: `CLOCK`, `KAFKA_CLOCK` and
//! `LEAVE` (mutants.rs). `REPORT` names a file for the numbers; `KEEP` keeps what a run left; `LOGS` is the level of the logs. `EVIDENCE` names a folder in which what each
//! part left is kept, and `JUDGE` one from which it is judged anew, by a judge that has learnt more: the rest of the command as it was.
//! With `SEEDED_BUG` the run must turn red, and a green one is the failure.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "a program of its own: it reads its parameters and the time, and tells what it did"
)]
#![allow(clippy::type_complexity, reason = "topics with their settings are listed in place")]

mod avro;
mod bank;
mod broken;
mod canaries;
mod cluster;
#[path = "../kafka/deployment.rs"]
#[allow(dead_code, reason = "shared with the Kafka tests, which use the rest of it")]
mod deployment;
mod dice;
mod evidence;
mod faults;
#[path = "../kafka/fold.rs"]
mod fold;
mod judge;
#[path = "../kafka/leaks.rs"]
mod leaks;
mod mutants;
mod part;
mod plan;
mod points;
mod quiet;
mod report;
mod row4;
mod row49;
mod segments;
mod stage;
mod state;
#[path = "../kafka/support.rs"]
#[allow(dead_code, reason = "shared with the Kafka tests, which use the rest of it")]
mod support;
mod verdict;
mod whole;

use evidence::found::Found;
use part::Order;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use whole::Wanted;

fn main() -> ExitCode {
    let number = |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")));
    let wanted = Wanted::read(number, dice::now_ms());
    let Some(folder) = std::env::var_os("RIG_PART").map(PathBuf::from) else { return whole::run(&wanted) };
    let told = verdict::on(found(wanted, &folder), &folder);
    std::fs::write(folder.join("told"), told.write()).unwrap();
    ExitCode::SUCCESS
}

/// What the part left: of a run from now on, or of one that was kept.
fn found(wanted: Wanted, folder: &Path) -> Found {
    let Wanted { kills, seed, profile, points, bug, .. } = wanted;
    let profile = profile.unwrap();
    if let Some(kept) = std::env::var_os("JUDGE") {
        let mut found = Found::read(Path::new(&kept));
        let told = format!("what lies in {} is of", Path::new(&kept).display());
        assert!(found.seed == seed && found.profile == profile, "{told} {} SEED={}", found.profile.word(), found.seed);
        let (random, armed) = found.injected();
        assert!(random == kills && armed == points.len(), "{told} {random} kills and {armed} armed starts");
        found.canaries = found.canaries.in_folder(folder);
        return found;
    }
    let order = Order { profile, kills, points, seed, bug: bug.is_some() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let found = runtime.block_on(part::run(&order, folder));
    if let Some(kept) = std::env::var_os("EVIDENCE") {
        found.write(Path::new(&kept));
    }
    found
}
