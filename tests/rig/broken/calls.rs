//! Copies of what was called, by whom it was claimed, and what was told of it: the send log against dispatches, journal and outcomes.

use super::{Breaking, accepted, names, say};
use crate::bank::What;
use crate::evidence::{Evidence, Row};
use crate::faults::{Cause, Kill};
use crate::judge;
use crate::plan::Kind;
use crate::segments::Log;
use recado::delivery::{AttemptId, Hold, MessageId, Outcome, Reason, StatusWord};
use recado::event::records::{Dispatch, JournalEntry, JournalKind, Returned};
use recado::simulator::Line;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub const BREAKINGS: &[(&str, Breaking)] = &[
    ("I5 dispatch after the end", |evidence| {
        let Some(at) = evidence.statuses.iter().position(|row| row.what.live && row.what.status.word.terminal()) else { return false };
        let mut more = evidence.statuses[at].clone();
        more.what.status.seq += 1;
        more.what.status.word = StatusWord::Fallback;
        evidence.statuses.insert(at + 1, more);
        true
    }),
    ("I3 called twice", |evidence| {
        let call = evidence.lines.iter().find(|line| matches!(line, Line::Call(call) if call.counts)).cloned();
        evidence.lines.extend(call.clone());
        call.is_some()
    }),
    ("I3 call without a name", |evidence| {
        let Some(Line::Call(mut call)) = evidence.lines.iter().find(|line| matches!(line, Line::Call(_))).cloned() else { return false };
        call.attempt_id = None;
        evidence.lines.push(Line::Call(call));
        true
    }),
    ("I3 call without a dispatch", |evidence| {
        let Some(Line::Call(mut call)) = evidence.lines.iter().find(|line| matches!(line, Line::Call(_))).cloned() else { return false };
        let id = call.attempt_id.clone().unwrap();
        call.attempt_id = Some(format!("{}-8-1", &id[..32]));
        evidence.lines.push(Line::Call(call));
        true
    }),
    ("I3 accepted without a call", |evidence| {
        let at = evidence.lines.iter().position(|line| matches!(line, Line::Call(call) if call.counts && call.answer == "accepted"));
        at.map(|at| evidence.lines.remove(at)).is_some()
    }),
    ("I3 unknown without a cause", |evidence| {
        // A dispatcher was killed meanwhile, but not the attempt's own: its epoch writes on. Of each epoch the last entry counts, in the order of offsets.
        let last: BTreeMap<u64, i64> = evidence.journal.iter().map(|row| (row.what.epoch, row.at)).collect();
        let accepted: BTreeSet<AttemptId> = evidence.returned.iter().filter_map(|row| accepted(&row.what)).collect();
        let known = |row: &&Row<JournalEntry>| row.what.kind == JournalKind::Intent && accepted.contains(&row.what.attempt_id);
        let own = |row: &&Row<JournalEntry>| known(row) && last[&row.what.epoch] > row.at + 5_000;
        let Some(intent) = evidence.journal.iter().find(own).cloned() else { return false };
        let Some(kill) = evidence.kills.iter().find(|kill| kill.roles.contains("dispatcher")).cloned() else { return false };
        evidence.kills = vec![Kill { at: intent.at, gone: intent.at + 1, cause: Cause::Random, ..kill }];
        say(evidence, intent.what.attempt_id, Outcome::Unknown)
    }),
    ("I3 unknown without a cause", |evidence| {
        // Its intent came after its dispatcher was gone, which says no more, and it was called all the same. No other kill is near.
        let accepted: BTreeSet<AttemptId> = evidence.returned.iter().filter_map(|row| accepted(&row.what)).collect();
        let done = evidence.journal.iter().filter(|row| row.what.kind == JournalKind::Done);
        let done: BTreeMap<AttemptId, i64> = done.map(|row| (row.what.attempt_id, row.at)).collect();
        let ended = |row: &Row<JournalEntry>| done.get(&row.what.attempt_id).copied().unwrap_or(i64::MAX);
        let alone = |row: &Row<JournalEntry>| evidence.kills.iter().all(|kill| ended(row) < kill.at - 100 || row.at > kill.gone + 1_000);
        let fits = |row: &Row<JournalEntry>| row.what.kind == JournalKind::Intent && accepted.contains(&row.what.attempt_id) && alone(row);
        let Some(at) = evidence.journal.iter().position(fits) else { return false };
        evidence.journal[at].what.epoch = u64::MAX;
        let intent = evidence.journal[at].clone();
        evidence.kills.push(Kill::new(("dispatcher-a", "dispatcher"), (intent.at - 101, intent.at - 100), Cause::Random));
        say(evidence, intent.what.attempt_id, Outcome::Unknown)
    }),
    ("I3 unknown without a cause", |evidence| {
        // Its epoch left a second after the intent, and somebody else's dispatcher was killed two seconds later, before anybody said so.
        let Some((intent, _)) = (Left { count: 1, last: 1_000, next: 1_500 }).of(evidence) else { return false };
        let killed = intent + 3_000;
        evidence.kills = vec![Kill::new(("dispatcher-b", "dispatcher"), (killed, killed + 1), Cause::Random)];
        true
    }),
    ("I3 too many not given back", |evidence| {
        // Their epoch left after their intents and waited for as long as it promises; nobody had called them. One more than may be where nobody was killed.
        evidence.kills.clear();
        let count = judge::unexplained_max(0) + 1;
        let Some((_, attempts)) = (Left { count, last: 0, next: LEAVE_MS }).of(evidence) else { return false };
        let called: BTreeSet<String> = attempts.iter().map(AttemptId::to_string).collect();
        evidence.lines.retain(|line| !matches!(line, Line::Call(call) if call.attempt_id.as_ref().is_some_and(|id| called.contains(id))));
        true
    }),
    ("I3 sent, and said not to be", |evidence| {
        let row = evidence.returned.iter_mut().find(|row| matches!(row.what, Returned::Outcome { outcome: Outcome::Accepted, .. }));
        let Some(Row { what: Returned::Outcome { outcome, .. }, .. }) = row else { return false };
        *outcome = Outcome::Unavailable;
        true
    }),
    ("I3 rejected by nobody", |evidence| {
        let row = evidence.returned.iter_mut().find(|row| matches!(row.what, Returned::Outcome { outcome: Outcome::Accepted, .. }));
        let Some(Row { what: Returned::Outcome { outcome, .. }, .. }) = row else { return false };
        *outcome = Outcome::Rejected;
        true
    }),
    ("I3 call before its intent", |evidence| {
        let call = evidence.lines.iter_mut().find_map(|line| if let Line::Call(call) = line { Some(call) } else { None });
        call.map(|call| call.time_ms -= 1_000).is_some()
    }),
    ("I3 call without an intent", |evidence| {
        let Some(at) = evidence.journal.iter().position(|row| row.what.kind == JournalKind::Intent) else { return false };
        let id = evidence.journal[at].what.attempt_id;
        evidence.journal.retain(|row| row.what.kind != JournalKind::Intent || row.what.attempt_id != id);
        true
    }),
    ("I3 given up unheard", |evidence| {
        let by_timer = |row: &Row<recado::event::records::Dispatch>| row.what.why.filter(|why| why.reason == Reason::Timer && why.hold == Hold::No);
        let Some((id, why)) = evidence.dispatches.iter().find_map(|row| Some((row.what.attempt_id.message_id, by_timer(row)?))) else { return false };
        let from = AttemptId { message_id: id, attempt: why.from };
        evidence.returned.retain(|row| !names(row, from) && !matches!(row.what, Returned::Receipt { attempt_id, .. } if attempt_id == from));
        true
    }),
    ("I3 called twice", |evidence| {
        // After a refusal for good.
        let refused = |line: &&Line| matches!(line, Line::Call(call) if !call.counts && (400..429).contains(&call.status));
        let Some(line) = evidence.lines.iter().find(refused).cloned() else { return false };
        evidence.lines.push(line);
        true
    }),
    ("I3 called twice", |evidence| {
        // After it was taken, and told to come again later.
        let taken = |line: &&Line| matches!(line, Line::Call(call) if call.counts && call.status < 300);
        let Some(Line::Call(mut call)) = evidence.lines.iter().find(taken).cloned() else { return false };
        (call.counts, call.status, call.time_ms) = (false, 429, call.time_ms + 1);
        evidence.lines.push(Line::Call(call));
        true
    }),
    ("I3 copies", |evidence| {
        // Of one that was accepted: the copy was for an unknown one alone.
        let copies = evidence.dispatches.iter().filter_map(|row| {
            let (id, why) = (row.what.attempt_id, row.what.why?);
            let again = matches!(why.reason, Reason::Resend | Reason::Unknown) && why.from.step == id.attempt.step;
            again.then_some((id, AttemptId { message_id: id.message_id, attempt: why.from }))
        });
        let sent = |id: &AttemptId| evidence.lines.iter().any(|line| matches!(line, Line::Call(call) if call.attempt_id == Some(id.to_string())));
        let Some((_, from)) = copies.into_iter().find(|(copy, from)| sent(copy) && sent(from)) else { return false };
        say(evidence, from, Outcome::Accepted)
    }),
    ("I5 dispatched after the cancel", |evidence| {
        // As if the code had been used long before: at the first record of that input.
        let used: Vec<usize> = evidence.written.iter().filter(|written| written.what == What::Used).map(|written| written.event).collect();
        let ids: BTreeSet<&str> = used.iter().map(|event| evidence.plan.events[*event].event_id.as_str()).collect();
        let of_used = evidence.statuses.iter().filter(|row| row.what.event_id.as_deref().is_some_and(|id| ids.contains(id))).map(|row| row.what.message_id);
        let messages: BTreeSet<MessageId> = of_used.collect();
        let Some(last) = evidence.dispatches.iter().filter(|row| messages.contains(&row.what.attempt_id.message_id)).max_by_key(|row| row.at) else {
            return false;
        };
        let id = last.what.attempt_id.message_id;
        let event = evidence.statuses.iter().find_map(|row| row.what.event_id.clone().filter(|_| row.what.message_id == id)).unwrap();
        let event = evidence.plan.events.iter().position(|planned| planned.event_id == event).unwrap();
        let written = evidence.written.iter_mut().find(|written| written.what == What::Used && written.event == event).unwrap();
        written.offset = -1;
        true
    }),
    ("I3 dispatch without an outcome", |evidence| {
        let at = evidence.returned.iter().position(|row| matches!(row.what, Returned::Outcome { .. }));
        at.map(|at| evidence.returned.remove(at)).is_some()
    }),
    ("I3 copies", |evidence| {
        let Some(Line::Call(mut call)) = evidence.lines.iter().find(|line| matches!(line, Line::Call(call) if call.counts)).cloned() else { return false };
        let id = call.attempt_id.clone().unwrap();
        call.attempt_id = Some(format!("{}-1-9", &id[..32]));
        evidence.lines.push(Line::Call(call));
        true
    }),
    ("I5 called too late", |evidence| {
        let call = evidence.lines.iter_mut().find_map(|line| if let Line::Call(call) = line { Some(call) } else { None });
        let Some(call) = call else { return false };
        let own = |row: &&Row<Dispatch>| Some(row.what.attempt_id.to_string()) == call.attempt_id;
        let Some(row) = evidence.dispatches.iter().find(own) else { return false };
        call.time_ms = row.what.not_after.timestamp().millis() + judge::PROVIDER_MS + evidence.clocks_apart_ms + 1;
        true
    }),
    ("I5 called too late", |evidence| {
        // On a machine that was never slow, and far from every fault.
        (evidence.prompt, evidence.slow, evidence.kills) = (true, Vec::new(), Vec::new());
        call_late(evidence, 1, 100)
    }),
    ("I5 called late too often", |evidence| {
        // Always near something slow; and one more than may be where nobody was killed.
        (evidence.slow, evidence.kills) = (vec![(0, 1 << 50)], Vec::new());
        call_late(evidence, 3, 300)
    }),
    ("I5 begun with too little life", |evidence| {
        let codes: BTreeSet<_> = evidence.plan.events.iter().filter(|event| event.kind == Kind::Code).map(|event| event.event_id.as_str()).collect();
        let is_code = |row: &&Row<recado::event::records::StatusRecord>| {
            row.what.live && row.what.status.word == StatusWord::Requested && row.what.event_id.as_deref().is_some_and(|id| codes.contains(id))
        };
        let Some((id, decided)) = evidence.statuses.iter().find(is_code).map(|row| (row.what.message_id, row.what.decided)) else { return false };
        let dispatch = evidence.dispatches.iter_mut().find(|row| row.what.attempt_id.message_id == id);
        dispatch.map(|row| row.what.expiry = decided.plus(std::time::Duration::from_millis(1_999))).is_some()
    }),
    ("I3 called, though refused", |evidence| {
        let row = evidence.journal.iter_mut().find(|row| row.what.kind == JournalKind::Intent);
        row.map(|row| row.what.kind = JournalKind::Refused).is_some()
    }),
    ("I3 called, and said to be too late", |evidence| {
        let accepted = evidence.returned.iter().find_map(|row| match row.what {
            Returned::Outcome { attempt_id, outcome: Outcome::Accepted, .. } => Some(attempt_id),
            _ => None,
        });
        accepted.is_some_and(|id| say(evidence, id, Outcome::TooLate))
    }),
    ("I3 outcome without a claim", |evidence| {
        evidence.journal.retain(|row| row.what.kind != JournalKind::Intent);
        true
    }),
    ("I3 steps called", |evidence| {
        // Judged in calm stretches alone: the copy is of a machine that was never slow.
        evidence.slow.clear();
        let first = evidence.kills.iter().map(|kill| kill.at).min().unwrap_or(i64::MAX);
        let one: BTreeSet<&str> = evidence.plan.events.iter().filter(|event| event.story.steps == [1, 1]).map(|event| event.phone.as_str()).collect();
        let call = evidence.lines.iter().find_map(|line| match line {
            Line::Call(call) if call.counts && one.contains(call.to.as_str()) && call.time_ms < first - 12_000 => Some(call.clone()),
            _ => None,
        });
        let Some(mut call) = call else { return false };
        call.attempt_id = call.attempt_id.map(|id| format!("{}-2-1", &id[..32]));
        evidence.lines.push(Line::Call(call));
        true
    }),
    ("I3 too many unknown", |evidence| {
        for row in &mut evidence.returned {
            if let Returned::Outcome { outcome, .. } = &mut row.what {
                *outcome = Outcome::Unknown;
            }
        }
        true
    }),
    ("I5 dispatched after the end", |evidence| {
        evidence.dispatches.iter_mut().for_each(|row| row.at += 600_000);
        true
    }),
    ("I5 end without a commit", |evidence| {
        Arc::make_mut(&mut evidence.logs).values_mut().for_each(|log| *log = Log::default());
        true
    }),
    ("I5 dispatch without a commit", |evidence| {
        let logs = Arc::make_mut(&mut evidence.logs).iter_mut().filter(|((topic, _), _)| topic.contains("dispatch."));
        logs.for_each(|(_, log)| *log = Log::default());
        true
    }),
    ("I5 sent after the expiry", |evidence| {
        let call = evidence.lines.iter_mut().find_map(|line| if let Line::Call(call) = line { Some(call) } else { None });
        call.map(|call| call.time_ms += 30 * 86_400_000).is_some()
    }),
    ("I5 expiry beyond the bank's", |evidence| {
        evidence.dispatches.iter_mut().for_each(|row| row.what.expiry = row.what.expiry.plus(Duration::from_secs(1)));
        true
    }),
    ("E9 never done", |evidence| {
        let at = evidence.journal.iter().position(|row| row.what.kind == JournalKind::Done);
        let id = at.map(|at| evidence.journal[at].what.attempt_id);
        evidence.journal.retain(|row| row.what.kind != JournalKind::Done || Some(row.what.attempt_id) != id);
        id.is_some()
    }),
    ("E9 position past an unfinished attempt", |evidence| {
        evidence.journal.retain(|row| row.what.kind != JournalKind::Done);
        true
    }),
    ("E9 position ahead of an unfinished attempt", |evidence| {
        evidence.journal.iter_mut().filter(|row| row.what.kind == JournalKind::Done).for_each(|row| row.at += 5_000);
        true
    }),
];

/// For how long a dispatcher promises to wait for its calls when it leaves, ms: `LEAVE_MARGIN_MS` of found.rs, and a call.
const LEAVE_MS: i64 = 4_000;

/// An epoch that leaves while attempts of its own are open, on a machine that was never slow; and the next one says, at the end of their leases, that nobody knows.
struct Left {
    /// So many of its attempts, which were accepted.
    count: usize,
    /// So long after the last of their intents it says its last word, and the next one its first, ms.
    last: i64,
    next: i64,
}

impl Left {
    /// When the last of their intents was appended, and which they are. `None`: no epoch with another behind it has so many.
    fn of(self, evidence: &mut Evidence) -> Option<(i64, BTreeSet<AttemptId>)> {
        let mut began: BTreeMap<i32, BTreeMap<u64, i64>> = BTreeMap::new();
        for row in &evidence.journal {
            let first = began.entry(row.partition).or_default().entry(row.what.epoch).or_insert(row.at);
            *first = row.at.min(*first);
        }
        let next = |partition: i32, epoch: u64| {
            let began = &began[&partition];
            began.iter().map(|(other, first)| (*first, *other)).filter(|(first, _)| *first > began[&epoch]).min()
        };
        let accepted: BTreeSet<AttemptId> = evidence.returned.iter().filter_map(|row| accepted(&row.what)).collect();
        let mut seen = BTreeSet::new();
        let mut claimed: BTreeMap<(i32, u64), Vec<(AttemptId, i64)>> = BTreeMap::new();
        for row in evidence.journal.iter().filter(|row| row.what.kind == JournalKind::Intent) {
            if seen.insert(row.what.attempt_id) && accepted.contains(&row.what.attempt_id) && next(row.partition, row.what.epoch).is_some() {
                claimed.entry((row.partition, row.what.epoch)).or_default().push((row.what.attempt_id, row.at));
            }
        }
        let ((partition, epoch), mut attempts) = claimed.into_iter().find(|(_, attempts)| attempts.len() >= self.count)?;
        attempts.sort_by_key(|(_, intent)| *intent);
        attempts.truncate(self.count);
        let intent = attempts.last()?.1;
        let (came, heir) = next(partition, epoch)?;
        let attempts: BTreeSet<AttemptId> = attempts.into_iter().map(|(id, _)| id).collect();
        let told = intent + evidence.lease_ms;
        for row in evidence.journal.iter_mut().filter(|row| row.partition == partition) {
            if attempts.contains(&row.what.attempt_id) && row.what.kind == JournalKind::Done {
                (row.what.epoch, row.at) = (heir, told + 1);
            } else if row.what.epoch == epoch {
                row.at = row.at.min(intent + self.last);
            } else if began[&partition][&row.what.epoch] >= came {
                row.at += intent + self.next - came;
            }
        }
        for row in &mut evidence.returned {
            if let Returned::Outcome { attempt_id, outcome, .. } = &mut row.what
                && attempts.contains(attempt_id)
            {
                (*outcome, row.at) = (Outcome::Unknown, told);
            }
        }
        evidence.slow.clear();
        evidence.leave_ms = LEAVE_MS;
        Some((intent, attempts))
    }
}

/// The first of these are taken up a millisecond later than the provider takes up a call where all is well.
fn call_late(evidence: &mut Evidence, count: usize, late: i64) -> bool {
    let limits: BTreeMap<String, i64> =
        evidence.dispatches.iter().map(|row| (row.what.attempt_id.to_string(), row.what.not_after.timestamp().millis())).collect();
    let late = late + evidence.clocks_apart_ms + 1;
    let mut left = count;
    for line in evidence.lines.iter_mut() {
        let Line::Call(call) = line else { continue };
        if let Some(limit) = call.attempt_id.as_ref().and_then(|id| limits.get(id)).filter(|_| left > 0) {
            call.time_ms = limit + late;
            left -= 1;
        }
    }
    left == 0
}
