//! Row 4 of the fault matrix: a process stands still for longer than its session and goes on, with its name taken over by another meanwhile or not.
//!
//! Easily got wrong: the stop must hurt. So it comes where a transaction waits for its end, where a dispatch has no intent yet, and where a call is about to leave; and
//! leases are long enough that a zombie may still be in time. The matrix says 60 s; here it is the session (10 s) and some seconds.

use crate::dice::{Dice, now_ms};
use crate::evidence::{self, Evidence};
use crate::faults::{self, Cause, Crashes, Ends, Kill};
use crate::stage::{Beside, Stage};
use crate::state;
use recado::delivery::AttemptId;
use recado::event::records::{Dispatch, JournalKind};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

/// For how long the bank may have to publish.
pub const SPAN: Duration = Duration::from_secs(600);
/// Beyond the session, and the time-out of a transaction, of 10 s each.
const STANDS: Duration = Duration::from_secs(13);
/// Long enough for a twin, and `not_after`, 9.5 s after the decision, is not over: it might still send.
const STANDS_WITHIN_LEASE: Duration = Duration::from_secs(6);
/// Between two stops: lives that none touches.
const CALM: Duration = Duration::from_secs(8);
const WITHIN: Duration = Duration::from_secs(60);
/// One whose name is taken must have ended this long after it goes on: it asks its group each second.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// A dispatch that nobody claims for so long is in the hand of one that stands still: others claim within some 100 ms, and a twin has to start first.
const OTHERS_CLAIM_MS: i64 = 400;
/// One that is older waits for something else than its intent.
const IN_HAND_MS: i64 = 5_000;

struct Stop {
    word: &'static str,
    /// Where it stops itself, and in which pass; anywhere without.
    point: Option<(&'static str, u64)>,
    /// Whether a second process starts under its name.
    twin: bool,
    stands: Duration,
}

const STOPS: [Stop; 9] = [
    Stop { word: "stopped anywhere", point: None, twin: false, stands: STANDS },
    Stop { word: "stopped before EndTxn", point: Some(("before_endtxn", 60)), twin: false, stands: STANDS },
    // Its transaction would move no position: the group is asked all the same whether it may.
    Stop { word: "stopped at a timer", point: Some(("on_timer_fire", 8)), twin: false, stands: STANDS },
    Stop { word: "stopped at a timer once more", point: Some(("on_timer_fire", 20)), twin: false, stands: STANDS },
    Stop { word: "stopped anywhere, with a twin", point: None, twin: true, stands: STANDS },
    Stop { word: "stopped before EndTxn, with a twin", point: Some(("before_endtxn", 60)), twin: true, stands: STANDS },
    Stop { word: "stopped before the intent, with a twin", point: Some(("before_intent", 40)), twin: true, stands: STANDS_WITHIN_LEASE },
    Stop { word: "stopped before the post, with a twin", point: Some(("before_post", 40)), twin: true, stands: STANDS_WITHIN_LEASE },
    // Here it is over.
    Stop { word: "stopped before the post beyond its lease, with a twin", point: Some(("before_post", 40)), twin: true, stands: STANDS },
];

/// What the run must have met.
pub const ASKED: [&str; 8] = [
    "stops",
    "stores of stopped processes and twins kept",
    "stops with a transaction open",
    "stops with a twin",
    "dispatches that a zombie had taken and might still send when it went on",
    "attempts without an end at a stop",
    "zombies that ended when they found their name taken",
    "zombies that went on, or ended, alone",
];

/// All stops, one after the other.
pub async fn carry_out(stage: &mut Stage, seed: u64) -> Crashes {
    let mut dice = Dice::new(seed, "stops");
    let mut row = Row { stage, ends: Ends::new(), kills: Vec::new(), missed: Vec::new(), counts: BTreeMap::new() };
    tokio::time::sleep(faults::CALM.saturating_sub(CALM)).await;
    for stop in &STOPS {
        tokio::time::sleep(CALM).await;
        row.stage.all_ready(WITHIN).await;
        let index = usize::try_from(dice.below(row.stage.instances.len() as u64)).unwrap();
        row.stop(index, stop).await;
    }
    Crashes { kills: row.kills, missed: row.missed, counts: row.counts }
}

struct Row<'s> {
    stage: &'s mut Stage,
    ends: Ends,
    kills: Vec<Kill>,
    missed: Vec<String>,
    counts: BTreeMap<&'static str, usize>,
}

impl Row<'_> {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    async fn stop(&mut self, index: usize, stop: &Stop) {
        let name = self.stage.instances[index].name;
        let Some((at, gone)) = self.stand_still(index, stop).await else {
            self.missed.push(format!("{name} {}: it did not come by.", stop.word));
            return;
        };
        let since = Instant::now();
        let open = self.ends.open_transactions(self.stage, name);
        println!("  {name} {}: {open} partitions with an open transaction", stop.word);
        self.stage.note_memory();
        let stopped = self.note(index, (at, gone), open, Cause::Stopped(stop.word), None);
        self.count("stops");
        if open > 0 {
            self.count("stops with a transaction open");
        }
        let twin = if stop.twin { Some(self.twin(index).await) } else { None };
        // The pause is the fault.
        tokio::time::sleep(stop.stands.saturating_sub(since.elapsed())).await;
        self.kills[stopped].goes_on = Some(now_ms());
        self.stage.instances[index].process().expect("it stands still").signal(libc::SIGCONT);
        match twin {
            Some(twin) => self.with_twin(index, stopped, twin).await,
            None => self.alone(index, stopped).await,
        }
    }

    /// Brings it to a stop: the last look that found it running, and the first that found it stopped.
    async fn stand_still(&mut self, index: usize, stop: &Stop) -> Option<(i64, i64)> {
        let Some((point, pass)) = stop.point else {
            let at = now_ms();
            let process = self.stage.instances[index].process()?;
            process.signal(libc::SIGSTOP);
            let (pid, deadline) = (process.pid(), Instant::now() + WITHIN);
            while !stands(pid) {
                if Instant::now() > deadline {
                    return None;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            return Some((at, now_ms()));
        };
        self.stage.note_memory();
        let at = now_ms();
        self.stage.kill(index);
        let killed = self.note(index, (at, now_ms()), 0, Cause::ToArm, None);
        self.stage.start_to_stop(index, point, pass);
        self.kills[killed].started = Some(now_ms());
        let (pid, deadline, mut last) = (self.stage.instances[index].process()?.pid(), Instant::now() + WITHIN, now_ms());
        while !stands(pid) {
            last = now_ms();
            if self.kills[killed].ready.is_none() && self.stage.ready(index).await {
                self.kills[killed].ready = Some(now_ms());
            }
            if Instant::now() > deadline {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.kills[killed].ready.get_or_insert(last);
        Some((last, now_ms()))
    }

    /// A second process under the name of one that stands still.
    async fn twin(&mut self, index: usize) -> Beside {
        let twin = self.stage.beside(index, self.stage.instances[index].name, self.kills.len(), WITHIN).await;
        self.count("stops with a twin");
        twin
    }

    /// It goes on and finds its name taken: it must end. Then the twin dies and it starts again on its old disk.
    async fn with_twin(&mut self, index: usize, stopped: usize, mut twin: Beside) {
        let name = self.stage.instances[index].name;
        let mut zombie = self.stage.take(index);
        if zombie.ended_by(Instant::now() + ENDS_WITHIN).is_some() {
            self.count("zombies that ended when they found their name taken");
        } else {
            self.missed.push(format!("{name}: it goes on beside its twin {ENDS_WITHIN:?} after the pause."));
            zombie.kill();
        }
        if twin.process.ended().is_some() || !self.stage.answers_ready(twin.management).await {
            self.missed.push(format!("{name}: its twin does not go on: {}", twin.process.said().lines().last().unwrap_or_default()));
        }
        self.stage.note_memory_of(&format!("the twin of {name}"), twin.process.pid());
        let at = now_ms();
        twin.process.kill();
        let killed = self.note(index, (at, now_ms()), 0, Cause::Twin, Some(&twin));
        self.stage.start(index);
        self.kills[killed].started = Some(now_ms());
        self.stage.all_ready(WITHIN).await;
        self.kills[killed].ready = Some(now_ms());
        self.kills[stopped].ready = Some(now_ms());
    }

    /// It goes on, or ends and is started again as by a supervisor.
    async fn alone(&mut self, index: usize, stopped: usize) {
        let (name, deadline) = (self.stage.instances[index].name, Instant::now() + WITHIN);
        self.count("zombies that went on, or ended, alone");
        loop {
            if self.stage.instances[index].process().is_some_and(|process| process.ended().is_some()) {
                let ended = self.stage.take(index).ended();
                println!("  {name} ended: {ended:?}");
                self.stage.start(index);
            }
            // Readiness of before the pause counts for nothing: it must have had the time to see what it lost.
            if self.stage.ready(index).await && now_ms() > self.kills[stopped].gone + i64::try_from((STANDS + Duration::from_secs(3)).as_millis()).unwrap() {
                break;
            }
            assert!(Instant::now() < deadline, "{name} does not become ready after its pause");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.kills[stopped].ready = Some(now_ms());
    }

    /// Into the crash log; and its store, or its twin's, as the kill or the stop left it, is kept.
    fn note(&mut self, index: usize, (at, gone): (i64, i64), open_transactions: usize, cause: Cause, twin: Option<&Beside>) -> usize {
        let of = &self.stage.instances[index];
        let kept = match twin {
            Some(twin) => state::keep(self.stage, of.name, &twin.state),
            None => state::keep(self.stage, of.name, &self.stage.state_of(of.name)),
        };
        self.kills.push(Kill { open_transactions, ..Kill::new((of.name, of.roles), (at, gone), cause) });
        if kept && cause != Cause::ToArm {
            self.count("stores of stopped processes and twins kept");
        }
        self.kills.len() - 1
    }
}

/// Whether every thread of a process is stopped. One that ends while this looks has nothing more to do.
fn stands(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let stats: Vec<String> = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok()).collect();
    let stopped = |stat: &String| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
    !stats.is_empty() && stats.iter().all(stopped)
}

/// Whether the row was met. What it is about (no write of a zombie is visible, none calls when its time is over, nothing is called twice) everything else judges.
pub fn count(evidence: &Evidence, counts: &mut BTreeMap<String, usize>) {
    let stops = evidence.kills.iter().filter(|kill| matches!(kill.cause, Cause::Stopped(_)));
    counts.insert("attempts without an end at a stop".into(), open_at(evidence, stops.clone()));
    // Stopped before the intent, it has dispatches in hand that nobody else claims: what it may do with them is decided when it goes on.
    let before_intent = stops.filter(|kill| matches!(kill.cause, Cause::Stopped(word) if word.contains("before the intent")));
    let claimed: BTreeMap<AttemptId, i64> = evidence.journal.iter().rev().map(|row| (row.what.attempt_id, row.at)).collect();
    let in_time = before_intent.map(|stop| {
        let goes_on = stop.goes_on.unwrap_or(i64::MAX);
        let claim = |row: &evidence::Row<Dispatch>| claimed.get(&row.what.attempt_id).map_or(i64::MAX, |at| at.saturating_sub(stop.at));
        let held: Vec<_> = evidence.dispatches.iter().filter(|row| row.at < stop.at && claim(row) > OTHERS_CLAIM_MS && stop.at - row.at < IN_HAND_MS).collect();
        for row in &held {
            let (age, left) = (stop.at - row.at, row.what.not_after.timestamp().millis() - goes_on);
            println!("  in hand at the stop: {} of {age} ms, claimed {} ms after it, {left} ms left when it went on", row.what.attempt_id.attempt, claim(row));
        }
        held.iter().filter(|row| row.what.not_after.timestamp().millis() > goes_on).count()
    });
    counts.insert("dispatches that a zombie had taken and might still send when it went on".into(), in_time.sum());
}

/// Intents that had no end when one of these faults came.
fn open_at<'e>(evidence: &Evidence, faults: impl Iterator<Item = &'e Kill>) -> usize {
    let done: BTreeMap<AttemptId, i64> =
        evidence.journal.iter().filter(|row| row.what.kind == JournalKind::Done).map(|row| (row.what.attempt_id, row.at)).collect();
    let faults: Vec<&Kill> = faults.collect();
    let intents = evidence.journal.iter().filter(|row| row.what.kind == JournalKind::Intent);
    let open: BTreeSet<AttemptId> = intents
        .filter(|row| faults.iter().any(|fault| row.at <= fault.at && done.get(&row.what.attempt_id).is_none_or(|done| *done >= fault.gone)))
        .map(|row| row.what.attempt_id)
        .collect();
    open.len()
}
