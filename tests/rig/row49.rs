//! Row 49 of the fault matrix: dispatchers come and go while calls are under way, so that partitions leave a process that lives on and come back to it.
//!
//! Easily got wrong: the group's protocol is eager, so each joining takes all partitions from all members for a moment, also those that they keep. With LEAVE=0 the members
//! do not wait for their calls then: what they had under way is *unknown* to their own next tenure.

use crate::dice::{Dice, now_ms};
use crate::evidence::{Evidence, Row};
use crate::faults::{self, Cause, Crashes, Kill};
use crate::judge::Tenures;
use crate::stage::Stage;
use recado::delivery::AttemptId;
use recado::event::records::{JournalEntry, JournalKind};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// For how long the bank may have to publish.
pub const SPAN: Duration = Duration::from_secs(600);
const ROUNDS: usize = 8;
const WITHIN: Duration = Duration::from_secs(60);
/// Members of this group have names of their own, so one that ends is missed only when its session (10 s) is over, counted from its last heartbeat (each 3 s).
const MISSED_AFTER: Duration = Duration::from_millis(11_500);
const MISSED_FROM_MS: i64 = 6_500;
const NAME: &str = "dispatcher-x";

/// What the run must have met.
pub const ASKED: [&str; 2] = ["dispatchers that came and went", "attempts under way at the last claim of an epoch that left"];

/// All rounds, one after the other.
pub async fn carry_out(stage: &mut Stage, seed: u64) -> Crashes {
    let mut dice = Dice::new(seed, "moves");
    let (mut kills, mut counts) = (Vec::new(), BTreeMap::new());
    let like = stage.instances.iter().position(|instance| instance.has("dispatcher")).expect("there is one");
    tokio::time::sleep(faults::CALM * 2).await;
    for round in 0..ROUNDS {
        stage.all_ready(WITHIN).await;
        tokio::time::sleep(Duration::from_millis(dice.between(1_000, 3_000))).await;
        // It joins somewhere between its start and its readiness: everything that is under way in between counts.
        let at = now_ms();
        let mut other = stage.beside(like, NAME, round, WITHIN).await;
        kills.push(moved(at, now_ms()));
        tokio::time::sleep(Duration::from_millis(dice.between(500, 4_000))).await;
        stage.note_memory_of(NAME, other.process.pid());
        other.process.terminate();
        assert!(other.process.ended_by(Instant::now() + WITHIN).is_some(), "{NAME} does not end");
        let at = now_ms();
        // Its absence is the fault.
        tokio::time::sleep(MISSED_AFTER).await;
        stage.all_ready(WITHIN).await;
        kills.push(moved(at + MISSED_FROM_MS, now_ms()));
        // The first of the two lasts until now: what nobody owned in between was late.
        for kill in &mut kills {
            kill.ready.get_or_insert_with(now_ms);
        }
        *counts.entry("dispatchers that came and went").or_default() += 1;
    }
    Crashes { kills, missed: Vec::new(), counts }
}

fn moved(at: i64, gone: i64) -> Kill {
    Kill::new((NAME, "dispatcher"), (at, gone), Cause::Moved)
}

/// What the row is about is what everything else judges: no second call, nothing lost, and nothing left open by whoever leaves. This tells whether it was met: attempts
/// that their own epoch had claimed and not finished when it left, at the earliest with its last claim.
pub fn count(evidence: &Evidence, counts: &mut BTreeMap<String, usize>) {
    let moves: Vec<&Kill> = evidence.kills.iter().filter(|kill| kill.cause == Cause::Moved).collect();
    let moved = |at: i64| moves.iter().any(|moved| (moved.at..=moved.ready.unwrap_or(i64::MAX)).contains(&at));
    let mut done: BTreeMap<AttemptId, i64> = BTreeMap::new();
    for row in evidence.journal.iter().filter(|row| row.what.kind == JournalKind::Done) {
        done.entry(row.what.attempt_id).or_insert(row.at);
    }
    let tenures = Tenures::of(evidence);
    let under_way = |row: &&Row<JournalEntry>| {
        let Some((own, Some(next))) = tenures.of_entry(row) else { return false };
        moved(next.first()) && done.get(&row.what.attempt_id).is_none_or(|done| own.claimed().is_none_or(|claimed| *done > claimed))
    };
    let intents = evidence.journal.iter().filter(|row| row.what.kind == JournalKind::Intent);
    counts.insert(ASKED[1].into(), intents.filter(under_way).count());
}
