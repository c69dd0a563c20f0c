//! Copies about what was said to have become of an attempt, each as near as can be to what is still allowed.
//!
//! Easily got wrong: a copy must break its own rule alone, so what else might excuse it is taken out of it first: slow stretches, kills, a phone whose provider
//! answers late by its script.

use super::{Breaking, names, say};
use crate::evidence::{Evidence, Row};
use crate::faults::{Cause, Kill};
use crate::judge::{APPENDED_WITHIN_MS, BACK_OFF_MAX_MS, CUT_MS, FOLLOWED_WITHIN_MS, HEARD_WITHIN_MS, TIMED_OUT_SLOW_MAX, TOLD_WITHIN_MS, unexplained_max};
use crate::plan::{CALL_TIMEOUT_MS, LEAVE_MARGIN_MS};
use recado::delivery::{AttemptId, NotAfter, Outcome, Timestamp};
use recado::event::records::{JournalEntry, JournalKind, Returned};
use recado::simulator::{CallLine, Line};
use std::collections::{BTreeMap, BTreeSet};

/// After its time-out, and well within what is then allowed for the telling.
const TOLD_MS: i64 = CALL_TIMEOUT_MS + 300;
/// When the next owner speaks of what it finds open, at the end of the lease: nobody waits for a call for so long.
const LEASE_MS: i64 = 6_000;
/// As long as a dispatcher that leaves promises to wait, whatever LEAVE says.
const LEAVE_MS: i64 = CALL_TIMEOUT_MS + LEAVE_MARGIN_MS;

/// A slow stretch over everything.
const ALWAYS: (i64, i64) = (0, 1 << 50);

pub const BREAKINGS: &[(&str, Breaking)] = &[
    ("I3 unknown without a cause", |evidence| {
        // Said at once: no time has run out.
        let Some(plain) = in_calm(evidence) else { return false };
        say(evidence, plain.id, Outcome::Unknown)
    }),
    ("I3 unknown without a cause", |evidence| {
        // Long after any call can have ended.
        let Some(plain) = calm_machine(evidence) else { return false };
        evidence.kills.clear();
        tell(evidence, plain.id, Outcome::Unknown, plain.intent + LEASE_MS)
    }),
    ("I3 unknown without a cause", |evidence| {
        // Two seconds after its intent, as a time-out has it; but the provider had answered at once.
        lose_in_calm(evidence, 50)
    }),
    ("I3 unknown without a cause", |evidence| {
        // The latest answer that must be heard.
        lose_in_calm(evidence, CALL_TIMEOUT_MS - HEARD_WITHIN_MS)
    }),
    ("I3 too many timed out", |evidence| {
        // Always near a fault, which is no dispatcher's; and one more than may be.
        evidence.slow.clear();
        evidence.kills = vec![Kill::new(("gateway-a", "gateway"), (0, 1), Cause::Random)];
        lose(evidence, unexplained_max(1) + 1)
    }),
    ("I3 too many timed out", |evidence| {
        // On a machine that is always slow; and one more than may be.
        evidence.kills.clear();
        evidence.slow = vec![ALWAYS];
        lose(evidence, TIMED_OUT_SLOW_MAX + 1)
    }),
    ("I3 unknown without a cause", |evidence| {
        // A dispatcher came or went meanwhile, but its own epoch stayed.
        let Some(plain) = calm_machine(evidence) else { return false };
        let moved = Kill::new(("dispatcher-x", "dispatcher"), (plain.intent, plain.intent + 1), Cause::Moved);
        evidence.kills = vec![Kill { ready: Some(plain.intent + LEASE_MS), ..moved }];
        tell(evidence, plain.id, Outcome::Unknown, plain.intent + LEASE_MS)
    }),
    ("I3 unknown without a cause", |evidence| {
        // Its epoch left and had waited for as long as it promises; but the answer had come in time to be told.
        let Some(plain) = calm_machine(evidence) else { return false };
        (evidence.kills, evidence.leave_ms) = (Vec::new(), LEAVE_MS);
        plain.call(evidence).answer_ms = plain.intent + LEAVE_MS - TOLD_WITHIN_MS - 1;
        leaves(evidence, &plain, plain.intent, plain.intent + LEAVE_MS) && tell(evidence, plain.id, Outcome::Unknown, plain.intent + LEASE_MS)
    }),
    ("I3 unknown without a cause", |evidence| {
        // Its epoch left without having waited for as long as it promises.
        let Some(plain) = calm_machine(evidence) else { return false };
        (evidence.kills, evidence.leave_ms) = (Vec::new(), LEAVE_MS);
        forget_calls(evidence, plain.id);
        leaves(evidence, &plain, plain.intent, plain.intent + LEAVE_MS - CUT_MS - 1) && tell(evidence, plain.id, Outcome::Unknown, plain.intent + LEASE_MS)
    }),
    ("I3 unknown without a cause", |evidence| {
        // A dispatcher stood still meanwhile, but not its own: its epoch wrote one word before the other went on.
        let Some(plain) = calm_machine(evidence) else { return false };
        let gone = plain.intent + 1;
        let own = evidence.journal.iter().filter(|row| plain.wrote(row.partition, row.what.epoch));
        let Some(word) = own.map(|row| row.at).filter(|at| *at > gone + APPENDED_WITHIN_MS).min() else { return false };
        let stopped = Kill::new(("dispatcher-b", "dispatcher"), (plain.intent, gone), Cause::Stopped("stopped anywhere"));
        evidence.kills = vec![Kill { goes_on: Some(word + 1), ready: Some(word + LEASE_MS), ..stopped }];
        tell(evidence, plain.id, Outcome::Unknown, plain.intent + LEASE_MS)
    }),
    ("I3 too late before not_after", |evidence| {
        // Partitions moved, and this one too; but its epoch claimed more after it had given this one up.
        give_back(evidence, |said| (said + APPENDED_WITHIN_MS + 1, said + 1_000))
    }),
    ("I3 too late before not_after", |evidence| {
        // Its epoch claimed nothing more, and the next one came when nobody waited for it any more.
        give_back(evidence, |said| (said, said + FOLLOWED_WITHIN_MS + 1))
    }),
    ("I3 refused before not_after", |evidence| {
        // While partitions moved, and by one millisecond.
        let Some(plain) = calm_machine(evidence) else { return false };
        refuse(evidence, &plain);
        evidence.kills.push(Kill::new(("dispatcher-a", "dispatcher"), (plain.intent, plain.intent + 1), Cause::ToMove));
        let early = plain.intent + CUT_MS + evidence.clocks_apart_ms + 1;
        must_leave_before(evidence, plain.id, early) && tell(evidence, plain.id, Outcome::TooLate, plain.intent)
    }),
    ("I3 rejected by nobody", |evidence| {
        // It did not go out; but no answer said so.
        let lost = |line: &Line| matches!(line, Line::Call(call) if call.answer == "lost" && !call.counts);
        let id = evidence.lines.iter().find(|line| lost(line)).and_then(called);
        id.is_some_and(|id| say(evidence, id, Outcome::Rejected))
    }),
    ("I3 throttled by nobody", |evidence| {
        // The provider refused it, for good.
        let Some(plain) = calm_machine(evidence) else { return false };
        let call = plain.call(evidence);
        (call.answer, call.status, call.counts) = ("error".into(), 400, false);
        say(evidence, plain.id, Outcome::Throttled)
    }),
    ("I3 unavailable by nobody", |evidence| {
        // Nobody was called for as long as it might leave; but the machine was slow only just before.
        let Some(plain) = calm_machine(evidence) else { return false };
        evidence.slow = vec![(plain.intent - 500, plain.intent)];
        be_unavailable(evidence, &plain, -BACK_OFF_MAX_MS)
    }),
    ("I3 unavailable by nobody", |evidence| {
        // The machine was slow all the time; but there was time for another call.
        let Some(plain) = calm_machine(evidence) else { return false };
        evidence.slow = vec![ALWAYS];
        be_unavailable(evidence, &plain, -BACK_OFF_MAX_MS - 1)
    }),
    ("I3 unavailable by nobody", |evidence| {
        // The same, as who takes the provider for gone and claims that nobody calls.
        let Some(plain) = calm_machine(evidence) else { return false };
        evidence.slow = vec![ALWAYS];
        refuse(evidence, &plain);
        be_unavailable(evidence, &plain, 0)
    }),
    ("ended by itself", |evidence| {
        evidence.ended.push("dispatcher-a with exit status: 1".into());
        true
    }),
];

/// An attempt that was accepted at its only call, and soon; its epoch claimed others for long after it, and nothing in its script keeps the answer back.
struct Plain {
    id: AttemptId,
    partition: i32,
    epoch: u64,
    /// When its intent was appended.
    intent: i64,
    /// Of its call.
    line: usize,
}

impl Plain {
    fn wrote(&self, partition: i32, epoch: u64) -> bool {
        (self.partition, self.epoch) == (partition, epoch)
    }

    fn call<'e>(&self, evidence: &'e mut Evidence) -> &'e mut CallLine {
        let Line::Call(call) = &mut evidence.lines[self.line] else { unreachable!("it is a call's") };
        call
    }
}

/// The attempt that was called.
fn called(line: &Line) -> Option<AttemptId> {
    let Line::Call(call) = line else { return None };
    AttemptId::parse(call.attempt_id.as_deref()?)
}

/// All of them, in the order of their intents.
fn plain(evidence: &Evidence) -> Vec<Plain> {
    let script = evidence.plan.script();
    let mut outcomes: BTreeMap<AttemptId, Vec<(Outcome, i64)>> = BTreeMap::new();
    for row in &evidence.returned {
        if let Returned::Outcome { attempt_id, outcome, .. } = &row.what {
            outcomes.entry(*attempt_id).or_default().push((*outcome, row.at));
        }
    }
    let mut calls: BTreeMap<AttemptId, Vec<usize>> = BTreeMap::new();
    for (at, line) in evidence.lines.iter().enumerate() {
        if let Some(id) = called(line) {
            calls.entry(id).or_default().push(at);
        }
    }
    let accepted_at_once = |call: &CallLine| {
        let reports = &script.phone(&call.to).on(call.channel).receipts;
        call.counts && call.answer == "accepted" && !reports.iter().any(|report| report.before_answer)
    };
    let claimed: BTreeMap<u64, i64> = claims(evidence).map(|row| (row.what.epoch, row.at)).collect();
    let mut seen = BTreeSet::new();
    let first = claims(evidence).filter(|row| seen.insert(row.what.attempt_id) && row.what.kind == JournalKind::Intent);
    let found = first.filter_map(|row| {
        let id = row.what.attempt_id;
        let (Some([(Outcome::Accepted, told)]), Some([line])) = (outcomes.get(&id).map(Vec::as_slice), calls.get(&id).map(Vec::as_slice)) else { return None };
        let Line::Call(call) = &evidence.lines[*line] else { return None };
        let stays = claimed[&row.what.epoch] > row.at + LEASE_MS;
        let fits = stays && accepted_at_once(call) && (row.at..row.at + TOLD_WITHIN_MS).contains(told);
        fits.then_some(Plain { id, partition: row.partition, epoch: row.what.epoch, intent: row.at, line: *line })
    });
    let mut found: Vec<Plain> = found.collect();
    found.sort_by_key(|plain| plain.intent);
    found
}

fn claims(evidence: &Evidence) -> impl Iterator<Item = &Row<JournalEntry>> {
    evidence.journal.iter().filter(|row| matches!(row.what.kind, JournalKind::Intent | JournalKind::Refused))
}

/// The first of them, on a machine that was never slow.
fn calm_machine(evidence: &mut Evidence) -> Option<Plain> {
    evidence.slow.clear();
    plain(evidence).into_iter().next()
}

/// Changes what was said to have become of an attempt, and when.
fn tell(evidence: &mut Evidence, id: AttemptId, word: Outcome, at: i64) -> bool {
    evidence.returned.iter_mut().filter(|row| names(row, id) && matches!(row.what, Returned::Outcome { .. })).for_each(|row| row.at = at);
    say(evidence, id, word)
}

/// The provider knows nothing of it.
fn forget_calls(evidence: &mut Evidence, id: AttemptId) {
    evidence.lines.retain(|line| called(line) != Some(id));
}

/// Its first entry says that nobody calls, and nobody did.
fn refuse(evidence: &mut Evidence, plain: &Plain) {
    forget_calls(evidence, plain.id);
    let own = evidence.journal.iter_mut().filter(|row| row.what.attempt_id == plain.id && row.what.kind == JournalKind::Intent);
    own.for_each(|row| row.what.kind = JournalKind::Refused);
}

/// Changes until when it might leave.
fn must_leave_before(evidence: &mut Evidence, id: AttemptId, limit: i64) -> bool {
    let dispatch = evidence.dispatches.iter_mut().find(|row| row.what.attempt_id == id);
    dispatch.map(|row| row.what.not_after = NotAfter::new(Timestamp::from_millis(limit))).is_some()
}

/// The first of them, long enough before the first fault to be in calm, on a machine that was never slow.
fn in_calm(evidence: &mut Evidence) -> Option<Plain> {
    evidence.slow.clear();
    let first = evidence.kills.iter().map(|kill| kill.at).min().unwrap_or(i64::MAX);
    // Five seconds before it are no longer calm.
    plain(evidence).into_iter().find(|plain| plain.intent + TOLD_MS + 5_000 < first)
}

/// In calm: said to be unknown when its time was over, though the provider had answered so long after the intent.
fn lose_in_calm(evidence: &mut Evidence, answered: i64) -> bool {
    let Some(plain) = in_calm(evidence) else { return false };
    plain.call(evidence).answer_ms = plain.intent + answered;
    tell(evidence, plain.id, Outcome::Unknown, plain.intent + TOLD_MS)
}

/// The same of so many, wherever they are.
fn lose(evidence: &mut Evidence, count: usize) -> bool {
    let all = plain(evidence);
    for plain in all.iter().take(count) {
        plain.call(evidence).answer_ms = plain.intent + 50;
        tell(evidence, plain.id, Outcome::Unknown, plain.intent + TOLD_MS);
    }
    all.len() >= count
}

/// Its epoch claims something new for the last time then, and the next one begins then.
fn leaves(evidence: &mut Evidence, plain: &Plain, claimed: i64, next: i64) -> bool {
    let mut firsts: BTreeMap<u64, i64> = BTreeMap::new();
    for row in evidence.journal.iter().filter(|row| row.partition == plain.partition) {
        let first = firsts.entry(row.what.epoch).or_insert(row.at);
        *first = row.at.min(*first);
    }
    let own = firsts[&plain.epoch];
    firsts.retain(|_, first| *first > own);
    let Some(came) = firsts.values().min().copied() else { return false };
    for row in evidence.journal.iter_mut().filter(|row| row.partition == plain.partition) {
        if firsts.contains_key(&row.what.epoch) {
            row.at += next - came;
        } else if row.what.epoch == plain.epoch && matches!(row.what.kind, JournalKind::Intent | JournalKind::Refused) {
            row.at = row.at.min(claimed);
        }
    }
    true
}

/// Given up a moment after its intent, a millisecond too early, while a dispatcher was away for long; `moves` says when its epoch claimed for the last time, and when
/// the next one came.
fn give_back(evidence: &mut Evidence, moves: impl Fn(i64) -> (i64, i64)) -> bool {
    let Some(plain) = calm_machine(evidence) else { return false };
    let said = plain.intent + 50;
    forget_calls(evidence, plain.id);
    evidence.kills.push(Kill::new(("dispatcher-a", "dispatcher"), (plain.intent, plain.intent + 1), Cause::ToMove));
    let (claimed, next) = moves(said);
    let early = said + CUT_MS + evidence.clocks_apart_ms + 1;
    leaves(evidence, &plain, claimed, next) && must_leave_before(evidence, plain.id, early) && tell(evidence, plain.id, Outcome::TooLate, said)
}

/// Not called, and said to be unavailable so long after it might leave.
fn be_unavailable(evidence: &mut Evidence, plain: &Plain, after: i64) -> bool {
    forget_calls(evidence, plain.id);
    evidence.kills.retain(|kill| !matches!(kill.cause, Cause::Stopped(_)));
    let dispatch = evidence.dispatches.iter().find(|row| row.what.attempt_id == plain.id);
    let Some(limit) = dispatch.map(|row| row.what.not_after.timestamp().millis()) else { return false };
    tell(evidence, plain.id, Outcome::Unavailable, limit + after)
}
