//! One part of a run: a cluster of its own, one profile, its kills and points, and what they left. It runs in a process of its own.

use crate::bank::{self, Written};
use crate::dice::now_ms;
use crate::evidence::found::{Found, Known};
use crate::evidence::watcher::Watcher;
use crate::faults::{self, Crashes};
use crate::judge::Fault;
use crate::plan::{Kind, Plan};
use crate::points;
use crate::stage::{self, PARTITIONS, Profile, Stage};
use crate::{canaries, cluster, row4, row49, state};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Events a second: what two cores carry in a build with checks, beside three brokers, simulator and driver.
pub const PER_SECOND: u32 = 20;
/// After the last restart every delivery must have ended within this: the longest route with its leases, twice.
const HEALED_WITHIN: Duration = Duration::from_secs(90);
/// After the last fault the bank publishes on until so long nothing was near: the 5 s by which a life must be clear of a fault, two decks of stories (`plan.rs`) at this
/// pace, and the longest life, of a code whose call and whose copy nobody answers: on the last step twice a call's 2 s and a wait of 6 s, and before it what two refused
/// steps take.
pub const LAST_CALM: Duration = Duration::from_secs(34);
/// A machine that is slow again and again is not waited for.
pub const LAST_CALM_MAX: Duration = Duration::from_secs(54);

/// What a part is told.
pub struct Order {
    pub profile: Profile,
    pub kills: usize,
    pub points: Vec<&'static str>,
    pub seed: u64,
    /// The processes have a seeded bug: the judge is not judged.
    pub bug: bool,
}

/// From an empty cluster to what the faults have left.
pub async fn run(order: &Order, folder: &Path) -> Found {
    let Order { profile, kills, seed, .. } = *order;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{}: SEED={seed}, {kills} kills, {} armed starts; load {}", profile.word(), order.points.len(), load.trim());
    let aims = points::aims(&order.points, seed, profile.word(), profile.rarer());
    let (planned, span) = match profile {
        Profile::Paused => (Vec::new(), row4::SPAN),
        Profile::Moving => (Vec::new(), row49::SPAN),
        Profile::Together | Profile::Apart | Profile::Long => faults::schedule(seed, profile, kills, &aims),
    };
    let mut run = Run::begin(profile, seed, span, folder).await;
    let crashes = match profile {
        Profile::Paused => row4::carry_out(&mut run.stage, seed).await,
        Profile::Moving => row49::carry_out(&mut run.stage, seed).await,
        Profile::Together | Profile::Apart | Profile::Long => faults::carry_out(&mut run.stage, &planned, &aims).await,
    };
    run.conclude(crashes, order.bug).await
}

/// A cluster under load.
struct Run {
    stage: Stage,
    plan: Plan,
    span: Duration,
    watcher: Watcher,
    enough: Arc<AtomicBool>,
    publishing: JoinHandle<Vec<Written>>,
    began: Instant,
}

impl Run {
    /// Kafka, all processes, and a bank that publishes.
    async fn begin(profile: Profile, seed: u64, span: Duration, folder: &Path) -> Self {
        let began = Instant::now();
        cluster::start().await;
        let plan = Plan::seeded(seed, profile.word(), PER_SECOND, span, profile.used_after(), PARTITIONS);
        let stage = Stage::new(profile, &plan, folder).await;
        stage::check_times(&stage);
        println!("  everything stands after {} s", began.elapsed().as_secs());
        let watcher = Watcher::start(stage.topic("status"));
        let enough = Arc::new(AtomicBool::new(false));
        let publishing = tokio::spawn({
            let (plan, prefix, enough) = (plan.clone(), stage.prefix.clone(), enough.clone());
            async move { bank::publish(&plan, &prefix, &enough).await }
        });
        Self { stage, plan, span, watcher, enough, publishing, began }
    }

    /// After the last fault: heals, stops, and reads everything.
    async fn conclude(self, crashes: Crashes, bug: bool) -> Found {
        let Self { mut stage, mut plan, span, watcher, enough, publishing, began } = self;
        let Crashes { kills, missed, counts } = crashes;
        last_calm(&watcher).await;
        enough.store(true, Ordering::Relaxed);
        let written = publishing.await.unwrap();
        plan.events.truncate(written.iter().map(|written| written.event + 1).max().unwrap_or(0));
        stage.all_ready(Duration::from_secs(60)).await;
        let expected = plan.events.iter().filter(|event| event.kind != Kind::Broken).count();
        let healed = quiesce(&mut stage, &watcher, expected).await;
        println!(
            "  {} of {expected} events ended {} s after the start; quiet {} s after healing",
            watcher.ended(),
            began.elapsed().as_secs(),
            healed.as_secs()
        );
        let ended = watcher.ended();
        let mut red: Vec<Fault> = missed.into_iter().map(|sentence| Fault { rule: "not reached", message: None, sentence }).collect();
        if ended < expected {
            let sentence = format!("{} of {expected} events had no end {} s after everything stood again.", expected - ended, HEALED_WITHIN.as_secs());
            red.push(Fault { rule: "I1 no end in time", message: None, sentence });
        }
        stage.note_memory();
        let environments = canaries::environments(&stage);
        let (differ, compared) = states(&mut stage).await;
        red.extend(differ);
        stage.stop_simulator();
        let counts = counts.into_iter().chain(compared).map(|(what, count)| (what.to_owned(), count)).collect();
        let known = Known { bug, span, written, kills, seen: watcher.stop(), environments, red, counts };
        let mut found = Found::gather(&plan, known, &stage);
        cluster::end();
        found.seconds = began.elapsed().as_secs();
        found
    }
}

/// The last stretch of the load: long enough for each story to be lived through with nothing near it. In a calm between faults only those of a few seconds are.
async fn last_calm(watcher: &Watcher) {
    let (began, since) = (Instant::now(), now_ms());
    let least = i64::try_from(LAST_CALM.as_millis()).unwrap();
    while now_ms() - since.max(watcher.slow_until()) < least && began.elapsed() < LAST_CALM_MAX {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The stores against the changelog: as a kill of all leaves them, and as an orderly stop does.
async fn states(stage: &mut Stage) -> (Vec<Fault>, [(&'static str, usize); 4]) {
    for index in 0..stage.instances.len() {
        stage.kill(index);
    }
    let (of_all, of_each) = (state::after_kill(stage), state::at_kills(stage));
    let mut red = tell_state("state after kill -9 of all", &of_all);
    red.extend(tell_state("state at each kill", &of_each));
    for index in 0..stage.instances.len() {
        stage.start(index);
    }
    stage.all_ready(Duration::from_secs(60)).await;
    if let Err(sentence) = stage.stop_all(Duration::from_secs(30)) {
        red.push(Fault { rule: "stop", message: None, sentence });
    }
    let live = state::live(stage);
    red.extend(tell_state("state after an orderly stop", &live));
    red.extend(uncompared(&[&of_all, &of_each, &live]));
    // Every event has its terminal status by now.
    red.extend(live.goes_on.iter().map(|(message, sentence)| Fault { rule: "I10 state goes on", message: *message, sentence: sentence.clone() }));
    let compared = [
        ("stores compared at the kills", of_each.stores),
        ("states without an end that those stores held", of_each.goes_on.len()),
        ("stores compared after kill -9 of all", of_all.stores),
        ("stores compared after an orderly stop", live.stores),
    ];
    (red, compared)
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
    compared.differences.iter().map(|(message, sentence)| Fault { rule: "I10 state differs", message: *message, sentence: sentence.clone() }).collect()
}

/// Kinds of keys of which none was compared. Where a run took long to come to rest all deliveries are forgotten at its end, and the kills alone show theirs.
fn uncompared(all: &[&state::Compared]) -> impl Iterator<Item = Fault> {
    let missing = |kind: &char| all.iter().all(|compared| compared.keys.get(kind).copied().unwrap_or(0) == 0);
    let missing: Vec<char> = ['s', 'd', 'x', 'p'].into_iter().filter(missing).collect();
    missing.into_iter().map(|kind| Fault { rule: "nothing met", message: None, sentence: format!("no key of kind {kind} was compared") })
}
