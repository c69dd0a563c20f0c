//! One part of a run: a cluster of its own, one profile, its kills and points, and the verdict. It runs in a process of its own and leaves numbers for the whole.

use crate::bank::{self, What, Written};
use crate::dice::now_ms;
use crate::evidence::{Evidence, Watcher};
use crate::faults::{self, Cause, Crashes, Kill};
use crate::judge::{self, Fault, Histories, Subject};
use crate::plan::{Kind, Plan};
use crate::points::{self, Inside};
use crate::report::{self, Told};
use crate::stage::{self, PARTITIONS, Profile, Stage};
use crate::{broken, canaries, cluster, row4, row49, state};
use recado::simulator::Line;
use std::collections::BTreeMap;
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
/// So many histories are printed; all of them are in a file.
const HISTORIES_MAX: usize = 12;
/// The most memory that an instance may have, whatever befalls it: what a bank gives a small pod.
const MEMORY_KIB_MAX: u64 = 1_536 * 1_024;

/// What a part is told.
pub struct Order {
    pub profile: Profile,
    pub kills: usize,
    pub points: Vec<&'static str>,
    pub seed: u64,
    /// The processes have a seeded bug: the judge is not judged.
    pub bug: bool,
}

/// From an empty cluster to the verdict.
pub async fn run(order: &Order, folder: &Path) -> Told {
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
        Self { stage, plan, watcher, enough, publishing, began }
    }

    /// After the last fault: heals, stops, reads everything, and judges.
    async fn conclude(self, crashes: Crashes, bug: bool) -> Told {
        let Self { mut stage, mut plan, watcher, enough, publishing, began } = self;
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
        let mut told = Told::of(&kills, &stage.memory);
        for (instance, kib) in stage.memory.iter().filter(|(_, kib)| **kib > MEMORY_KIB_MAX) {
            red.push(Fault { rule: "memory", message: None, sentence: format!("{instance} had {} MiB.", kib / 1_024) });
        }
        let seen = watcher.stop();
        let evidence = Evidence::gather(&plan, written, kills, seen, &environments, &stage);
        told.of_commits(&evidence, &stage.prefix);
        println!("  record -> call before the first fault: {}", report::spread(&quick(&evidence)));
        match stage.profile {
            Profile::Paused => row4::count(&evidence, &mut told.counts),
            Profile::Moving => row49::count(&evidence, &mut told.counts),
            Profile::Together | Profile::Apart | Profile::Long => {}
        }
        cluster::end();
        let (faults, counted) = judge::judge(&evidence);
        println!("  dispatches by channel: {:?}", judge::by_channel(&evidence));
        if !bug {
            let (found, missed) = broken::judge_the_judge(&evidence, &faults);
            println!("  the judge was shown {} broken copies and found {found}", found + missed.len());
            red.extend(missed.into_iter().map(|sentence| Fault { rule: "the judge is blind", message: None, sentence }));
            told.counts.insert("broken copies of the evidence that the judge found".to_owned(), found);
        }
        red.extend(faults);
        tell(&evidence, &red, &stage.folder);
        told.clear = counted.clear.into_iter().map(|((kind, story), count)| (judge::of_story(kind, story), count)).collect();
        let met = counted.judged.into_iter().chain(of_kills(&evidence.kills)).chain(counts).chain(compared);
        met.for_each(|(what, count)| *told.counts.entry(what.to_owned()).or_default() += count);
        red.iter().for_each(|fault| *told.faults.entry(fault.rule.to_owned()).or_default() += 1);
        told.seconds = began.elapsed().as_secs();
        println!("{}: {} faults, {} s", stage.profile.word(), red.len(), told.seconds);
        told
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

/// How long the first calls took, in ms from the bank's record, as long as no fault was near: whether the machine carries the load at all.
fn quick(evidence: &Evidence) -> Vec<u64> {
    let fault = evidence.kills.first().map_or(i64::MAX, |kill| kill.at);
    let mut called: BTreeMap<&str, i64> = BTreeMap::new();
    for line in &evidence.lines {
        if let Line::Call(call) = line {
            called.entry(&call.to).or_insert(call.time_ms.min(fault));
        }
    }
    let events = evidence.written.iter().filter(|written| written.what == What::Event && written.at + 2_000 < fault);
    let took = events.filter_map(|written| Some(called.get(evidence.plan.events[written.event].phone.as_str())? - written.at));
    took.map(|ms| u64::try_from(ms).unwrap_or(0)).collect()
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

/// Where the kills fell.
fn of_kills(kills: &[Kill]) -> BTreeMap<&'static str, usize> {
    let at = |inside: Inside| move |kill: &&Kill| matches!(kill.cause, Cause::Point(_, other) if other == inside);
    let (in_transaction, in_restore) = (at(Inside::Transaction), at(Inside::Restore));
    BTreeMap::from([
        ("kills at random", kills.iter().filter(|kill| kill.cause == Cause::Random).count()),
        ("kills at a point inside a transaction", kills.iter().filter(in_transaction).count()),
        ("kills inside a flush", kills.iter().filter(at(Inside::Flush)).count()),
        ("kills inside a restore", kills.iter().filter(|kill| kill.restoring || in_restore(kill)).count()),
        ("kills after which partitions moved", kills.iter().filter(|kill| kill.started.is_some_and(|started| started - kill.gone > 10_000)).count()),
    ])
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

/// Faults, and what happened to each message, event or place that one is about, in the order of time.
fn tell(evidence: &Evidence, faults: &[Fault], folder: &Path) {
    let histories = Histories::of(evidence);
    let mut by_rule: BTreeMap<&str, usize> = BTreeMap::new();
    let mut told: BTreeMap<Subject, String> = BTreeMap::new();
    let mut printed = 0;
    for fault in faults {
        *by_rule.entry(fault.rule).or_default() += 1;
        let few = by_rule[fault.rule] <= 5;
        if few {
            println!("FAULT {}: {} {}", fault.rule, fault.message.map_or_else(String::new, |id| id.to_string()), fault.sentence);
        }
        for subject in histories.subjects(fault) {
            if told.contains_key(&subject) {
                continue;
            }
            let history = histories.history(&subject);
            if few && printed < HISTORIES_MAX {
                printed += 1;
                print!("{history}");
            }
            told.insert(subject, history);
        }
    }
    if !by_rule.is_empty() {
        println!("faults by rule: {by_rule:?}");
    }
    if !told.is_empty() {
        let file = folder.join("histories");
        std::fs::write(&file, told.into_values().collect::<String>()).unwrap();
        println!("what happened to each message with a fault: {}", file.display());
    }
}
