//! The crash rig (`make rig`): real processes, three real brokers, kill -9 while events flow, and a judge that knows from the seed what must have become of each.
//!
//! `KILLS` (100) are shared between two halves: all roles in each process, and one role in each. `SEED` fixes load, behaviours, victims and times; processes still
//! interleave freely. With `SEEDED_BUG` the run must turn red, and a green one is the failure.
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
mod plan;
mod quiet;
mod segments;
mod stage;
mod state;
#[path = "../kafka/support.rs"]
#[allow(dead_code, reason = "shared with the Kafka tests, which use the rest of it")]
mod support;

use evidence::{Evidence, Watcher};
use judge::Fault;
use plan::Plan;
use stage::{PARTITIONS, Profile, Stage};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Events a second: what two cores carry in a build with checks, beside broker, simulator and driver.
const PER_SECOND: u32 = 20;
/// After the last restart every delivery must have ended within this: the longest route with its leases, twice.
const HEALED_WITHIN: Duration = Duration::from_secs(90);
/// So many histories are printed.
const HISTORIES_MAX: usize = 12;

fn main() -> ExitCode {
    let number = |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")));
    let kills = usize::try_from(number("KILLS", 100)).unwrap();
    let seed = number("SEED", u64::try_from(dice::now_ms()).unwrap() % 1_000_000);
    let bug = std::env::var("SEEDED_BUG").ok();
    let only = std::env::var("PROFILE").ok();
    let began = Instant::now();
    println!("rig: KILLS={kills} SEED={seed}{}", bug.as_ref().map_or_else(String::new, |bug| format!(" SEEDED_BUG={bug}")));
    println!("rig: recado {}, Apache Kafka 4.3.1 ({} nodes), librdkafka {}", env!("CARGO_PKG_VERSION"), cluster::NODES, rdkafka::util::get_rdkafka_version().1);
    let folder = tempfile::Builder::new().prefix("recado-rig-").tempdir().unwrap().keep();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(cluster::start());
    let mut red = Vec::new();
    let mut sums: BTreeMap<&'static str, usize> = BTreeMap::new();
    for (profile, kills) in [(Profile::Together, kills.div_ceil(2)), (Profile::Apart, kills / 2)] {
        if only.as_ref().is_some_and(|only| only != profile.word()) {
            continue;
        }
        let (faults, counts) = runtime.block_on(half(profile, kills, seed, &folder, bug.is_some()));
        red.extend(faults);
        counts.into_iter().for_each(|(what, count)| *sums.entry(what).or_default() += count);
    }
    if bug.is_none() {
        let missing = [met(&sums, kills), judge::enough(met_of(&sums), kills)].concat();
        missing.iter().for_each(|fault| println!("FAULT {}: {}", fault.rule, fault.sentence));
        red.extend(missing);
    }
    print!("\nWhat was judged:\n{}", judge::table(met_of(&sums)));
    cluster::end();
    println!("rig: {} faults in {} s", red.len(), began.elapsed().as_secs());
    if red.is_empty() && std::env::var("KEEP").is_err() {
        std::fs::remove_dir_all(&folder).unwrap();
    } else {
        println!("rig: what it left lies in {}", folder.display());
    }
    let expected = bug.as_deref().map(|bug| match bug {
        "intent_after_call" => "I3 called twice",
        other => panic!("no bug is called {other}"),
    });
    match expected {
        None if red.is_empty() => ExitCode::SUCCESS,
        None => {
            println!("rig: RED. Once more with: make rig KILLS={kills} SEED={seed}");
            ExitCode::FAILURE
        }
        Some(rule) if red.iter().any(|fault| fault.rule == rule) => {
            println!("rig: red, as it must be with this bug ({rule}).");
            ExitCode::SUCCESS
        }
        Some(rule) => {
            println!("rig: the bug was not found: nothing broke {rule}.");
            ExitCode::FAILURE
        }
    }
}

/// One profile from an empty cluster to the verdict.
async fn half(profile: Profile, kills: usize, seed: u64, folder: &Path, bug: bool) -> (Vec<Fault>, BTreeMap<&'static str, usize>) {
    let began = Instant::now();
    let (planned, span) = faults::schedule(seed, profile.word(), kills);
    let plan = Plan::seeded(seed, profile.word(), PER_SECOND, span, PARTITIONS);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("\nload {}", load.trim());
    println!("{}: {} events in {} s, {kills} kills", profile.word(), plan.events.len(), span.as_secs());
    let mut stage = Stage::new(profile, &plan, folder).await;
    stage::check_waits(&stage.folder);
    let watcher = Watcher::start(stage.topic("status"));
    let publishing = tokio::spawn({
        let (plan, prefix) = (plan.clone(), stage.prefix.clone());
        async move { bank::publish(&plan, &prefix).await }
    });
    let crashes = faults::carry_out(&mut stage, &planned).await;
    let written = publishing.await.unwrap();
    stage.all_ready(Duration::from_secs(60)).await;
    let expected = plan.events.iter().filter(|event| event.kind != plan::Kind::Broken).count();
    let healed = quiesce(&mut stage, &watcher, expected).await;
    println!(
        "{}: {} of {expected} ended {} s after the start; quiet {} s after healing",
        profile.word(),
        watcher.ended(),
        began.elapsed().as_secs(),
        healed.as_secs()
    );
    let mut red = Vec::new();
    let environments = canaries::environments(&stage);
    for index in 0..stage.instances.len() {
        stage.kill(index);
    }
    red.extend(tell_state("state after kill -9 of all", &state::after_kill(&stage)));
    red.extend(tell_state("state at each kill", &state::at_kills(&stage)));
    for index in 0..stage.instances.len() {
        stage.start(index);
    }
    stage.all_ready(Duration::from_secs(60)).await;
    if let Err(sentence) = stage.stop_all(Duration::from_secs(30)) {
        red.push(Fault { rule: "stop", message: None, sentence });
    }
    red.extend(tell_state("state after an orderly stop", &state::live(&stage)));
    stage.stop_simulator();
    let seen = watcher.stop();
    let evidence = Evidence::gather(&plan, written, crashes, seen, &environments, &stage);
    let (faults, counts) = judge::judge(&evidence);
    let mut line = String::new();
    for (what, count) in &counts.0 {
        line += &format!("  {count:>7}  {what}\n");
    }
    print!("{line}");
    println!("  dispatches by channel: {:?}", judge::by_channel(&evidence));
    if !bug {
        let (found, missed) = broken::judge_the_judge(&evidence, &faults);
        println!("  the judge was shown {} broken copies and found {found}", found + missed.len());
        red.extend(missed.into_iter().map(|sentence| Fault { rule: "the judge is blind", message: None, sentence }));
    }
    red.extend(faults);
    tell(&evidence, &red);
    println!("{}: {} faults, {} s", profile.word(), red.len(), began.elapsed().as_secs());
    (red, counts.0)
}

/// Waits until every event has its end and the providers have said everything; returns how long that took.
async fn quiesce(stage: &mut Stage, watcher: &Watcher, expected: usize) -> Duration {
    let began = Instant::now();
    let (mut bytes, mut quiet_since) = (0, Instant::now());
    while began.elapsed() < HEALED_WITHIN {
        for index in 0..stage.instances.len() {
            stage.ready(index).await;
        }
        if stage.send_log_bytes() != bytes {
            (bytes, quiet_since) = (stage.send_log_bytes(), Instant::now());
        }
        // Three seconds: longer than the longest of the simulator's delays after the last word.
        if watcher.ended() >= expected && quiet_since.elapsed() > Duration::from_secs(3) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    began.elapsed()
}

fn tell_state(what: &str, compared: &state::Compared) -> Vec<Fault> {
    println!("  {what}: {} stores, keys compared {:?}, {} differences", compared.stores, compared.keys, compared.differences.len());
    let mut faults: Vec<Fault> =
        compared.differences.iter().map(|sentence| Fault { rule: "I10 state differs", message: None, sentence: sentence.clone() }).collect();
    // A short run may kill no engine that had written anything down.
    for kind in ['s', 'd', 'p'].into_iter().filter(|_| compared.stores > 0) {
        if compared.keys.get(&kind).copied().unwrap_or(0) == 0 {
            faults.push(Fault { rule: "nothing met", message: None, sentence: format!("{what}: no key of kind {kind} was compared") });
        }
    }
    faults
}

fn met_of(counts: &BTreeMap<&'static str, usize>) -> impl Fn(&str) -> usize {
    |what| counts.get(what).copied().unwrap_or(0)
}

/// What the run must have met: calm proves nothing. Short runs are not asked for what needs luck.
fn met(counts: &BTreeMap<&'static str, usize>, kills: usize) -> Vec<Fault> {
    let mut wanted = vec![
        "lives clear of every fault",
        "fallbacks by a timer judged",
        "receipts acknowledged",
        "copies sent",
        "dead letters",
        "ended delivered",
        "ended failed",
        "ended expired",
        "ended cancelled",
        "ended unconfirmed",
    ];
    if kills >= 20 {
        wanted.extend([
            "kills that left a transaction open",
            "kills before it was ready",
            "calls in flight at the kills",
            "kills of an engine",
            "kills of a dispatcher",
            "kills of a gateway",
            "receipts within 200 ms of a deadline that ran out",
        ]);
    }
    let missing = wanted.into_iter().filter(|what| counts.get(what).copied().unwrap_or(0) == 0);
    missing.map(|what| Fault { rule: "nothing met", message: None, sentence: what.into() }).collect()
}

fn tell(evidence: &Evidence, faults: &[Fault]) {
    let mut told = std::collections::BTreeSet::new();
    let mut by_rule: BTreeMap<&str, usize> = BTreeMap::new();
    for fault in faults {
        *by_rule.entry(fault.rule).or_default() += 1;
        if by_rule[fault.rule] <= 5 {
            println!("FAULT {}: {} {}", fault.rule, fault.message.map_or_else(String::new, |id| id.to_string()), fault.sentence);
            if let Some(id) = fault.message
                && told.len() < HISTORIES_MAX
                && told.insert(id)
            {
                print!("{}", judge::history(evidence, id));
            }
        }
    }
    if !by_rule.is_empty() {
        println!("faults by rule: {by_rule:?}");
    }
}
