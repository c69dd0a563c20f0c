//! Copies of what became of events: their ends, their statuses, their fallbacks and when they came.

use super::{Breaking, failure, names, say};
use crate::evidence::{Evidence, Row};
use crate::judge::CUT_MS;
use crate::plan::{CALL_MAX_MS, CODE_LIFE_MAX, Kind, Planned};
use recado::delivery::{Attempt, AttemptId, Hold, MessageId, Outcome, Reason, Receipt, StatusWord};
use recado::event::records::{Dispatch, JournalKind, Returned, StatusRecord};
use recado::simulator::Line;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A slow stretch over everything: then nothing is calm.
const ALWAYS: (i64, i64) = (0, 1 << 50);

pub const BREAKINGS: &[(&str, Breaking)] = &[
    ("I1 lost: no terminal status", |evidence| {
        let at = evidence.statuses.iter().position(|row| row.what.live && row.what.status.word.terminal());
        at.map(|at| evidence.statuses[at].what.status.word = StatusWord::Sent).is_some()
    }),
    ("I1 lost event", |evidence| {
        let event = evidence.statuses.iter().find_map(|row| row.what.event_id.clone());
        evidence.statuses.retain(|row| row.what.event_id != event);
        event.is_some()
    }),
    ("I1 two ends", |evidence| {
        let Some(at) = evidence.statuses.iter().position(|row| row.what.live && row.what.status.word.terminal()) else { return false };
        let mut more = evidence.statuses[at].clone();
        more.what.status.seq += 1;
        evidence.statuses.insert(at + 1, more);
        true
    }),
    ("I1 doubled event", |evidence| {
        let Some(at) = evidence.statuses.iter().position(|row| row.what.event_id.is_some()) else { return false };
        let mut more = evidence.statuses[at].clone();
        let mut bytes = *more.what.message_id.bytes();
        bytes[15] ^= 1;
        more.what.message_id = MessageId::from_bytes(bytes);
        evidence.statuses.push(more);
        true
    }),
    ("I1 wrong end", |evidence| {
        // A code may be withdrawn: then a fault near it allows that.
        let codes: BTreeSet<&str> = evidence.plan.events.iter().filter(|event| event.used_after.is_some()).map(|event| event.event_id.as_str()).collect();
        let other = |row: &Row<StatusRecord>| row.what.event_id.as_deref().is_some_and(|id| !codes.contains(id));
        let at = evidence.statuses.iter().position(|row| row.what.live && row.what.status.word == StatusWord::Delivered && other(row));
        at.map(|at| evidence.statuses[at].what.status.word = StatusWord::Cancelled).is_some()
    }),
    ("I1 wrong end", |evidence| {
        // A Pix expired for a delay near a fault: it lives for minutes.
        let pix = |last: AttemptId, event: &Planned| last.attempt.step == 1 && matches!(event.kind, Kind::PixReceived | Kind::PixSent);
        let Some((at, last)) = ended(evidence, StatusWord::Delivered, pix) else { return false };
        evidence.slow = vec![ALWAYS];
        evidence.statuses[at].what.status.word = StatusWord::Expired;
        say(evidence, last, Outcome::TooLate)
    }),
    ("I1 wrong end", |evidence| {
        // A code expired near a fault, with a millisecond too much left for the SMS.
        expire(evidence, 1, 0)
    }),
    ("I1 wrong end", |evidence| {
        // The same for one more try, after two that were too late, and a second's pause.
        expire(evidence, 2, 1_000)
    }),
    ("I1 wrong end", |evidence| {
        // Failed near a fault: the delay was the first step's, and the last one's message went out.
        let Some((at, first)) = by_sms(evidence) else { return false };
        evidence.statuses[at].what.status.word = StatusWord::Failed;
        say(evidence, first, Outcome::TooLate)
    }),
    ("I1 wrong end", |evidence| {
        // Unconfirmed near a fault, likewise.
        let Some((at, first)) = by_sms(evidence) else { return false };
        evidence.statuses[at].what.status.word = StatusWord::Unconfirmed;
        say(evidence, first, Outcome::Unknown)
    }),
    ("I1 wrong end", |evidence| {
        // And what was lost was a receipt of the first step's.
        let Some((at, first)) = by_sms(evidence) else { return false };
        evidence.statuses[at].what.status.word = StatusWord::Unconfirmed;
        let (channel, receipt) = (recado::simulator::Channel::Whatsapp, "failed".into());
        evidence.lines.push(Line::Lost { time_ms: evidence.statuses[at].at, channel, attempt_id: Some(first.to_string()), receipt });
        true
    }),
    ("I1 given up before the last step", |evidence| give_up(evidence, StatusWord::Unconfirmed, Outcome::Unknown)),
    ("I1 given up before the last step", |evidence| give_up(evidence, StatusWord::Failed, Outcome::TooLate)),
    ("I1 delivered without a receipt", |evidence| {
        let delivered = |row: &&mut Row<StatusRecord>| row.what.live && row.what.status.word == StatusWord::Delivered;
        let Some(row) = evidence.statuses.iter_mut().find(delivered) else { return false };
        // No route has so many steps.
        row.what.status.attempt = row.what.status.attempt.map(|attempt| Attempt { step: 9, ..attempt });
        true
    }),
    ("I1 lost dead letter", |evidence| evidence.dead.pop().is_some()),
    ("I1 spurious dead letter", |evidence| {
        evidence.dead.push(("in.pix.transactions".into(), 0, 0, "poison".into()));
        true
    }),
    ("I1 wrong dead letter", |evidence| evidence.dead.first_mut().map(|(_, _, _, reason)| *reason = "poison".into()).is_some()),
    ("I1 doubled dead letter", |evidence| {
        let more = evidence.dead.first().cloned();
        evidence.dead.extend(more.clone());
        more.is_some()
    }),
    ("I4 gap in seq", |evidence| {
        let at = evidence.statuses.iter().position(|row| row.what.live && row.what.status.word == StatusWord::Requested);
        at.map(|at| evidence.statuses.remove(at)).is_some()
    }),
    ("I1 status and dispatch differ", |evidence| evidence.dispatches.pop().is_some()),
    ("I1 doubled dispatch", |evidence| {
        let more = evidence.dispatches.first().cloned();
        evidence.dispatches.extend(more.clone());
        more.is_some()
    }),
    ("I8 excused too often", |evidence| {
        let times = || evidence.written.iter().map(|written| written.at);
        let (Some(first), Some(last)) = (times().min(), times().max()) else { return false };
        evidence.slow.push((first, first + (last - first) / 3));
        true
    }),
    ("I2 fallback after a receipt", |evidence| {
        // A failed end in place of a fallback.
        let Some(end) = evidence.statuses.iter().find(|row| row.what.live && row.what.status.word == StatusWord::Failed) else { return false };
        let id = end.what.message_id;
        let attempts = evidence.dispatches.iter().map(|row| row.what.attempt_id).filter(|attempt_id| attempt_id.message_id == id);
        let Some(last) = attempts.max_by_key(|attempt_id| attempt_id.attempt) else { return false };
        let Some(at) = evidence.returned.iter().position(|row| names(row, last)) else { return false };
        let mut row = evidence.returned[at].clone();
        row.offset -= 1;
        row.what = Returned::Receipt { attempt_id: last, receipt: Receipt::Delivered, reason: Reason::None, code: 0, provider_time: None };
        evidence.returned.insert(at, row);
        true
    }),
    ("I2 fallback for an acknowledged receipt", |evidence| {
        let by_timer = evidence.dispatches.iter().filter_map(|row| {
            let why = row.what.why.filter(|why| why.reason == Reason::Timer)?;
            Some(AttemptId { message_id: row.what.attempt_id.message_id, attempt: why.from })
        });
        let called = |id: &AttemptId| {
            let id = Some(id.to_string());
            evidence
                .lines
                .iter()
                .find_map(|line| if let Line::Call(call) = line { (call.attempt_id == id && call.counts).then_some(call.time_ms) } else { None })
        };
        let Some((attempt_id, called)) = by_timer.filter_map(|id| Some((id, called(&id)?))).next() else { return false };
        let (channel, receipt) = (recado::simulator::Channel::Whatsapp, "delivered".into());
        evidence.lines.push(Line::Webhook { time_ms: called + 1_000, channel, attempt_id: Some(attempt_id.to_string()), receipt, code: 0 });
        true
    }),
    ("I8 early", |evidence| {
        let mut any = false;
        // Where commits are long, fallbacks come up to so much later than they might.
        let early = if evidence.prompt { 1_000 } else { 6_000 };
        for row in evidence.dispatches.iter_mut().filter(|row| row.what.why.is_some_and(|why| why.reason == Reason::Timer)) {
            row.at -= early;
            any = true;
        }
        any
    }),
    ("I1 too many unconfirmed", |evidence| {
        evidence.journal.retain(|row| row.what.kind == JournalKind::Hello);
        let delivered: Vec<usize> = (0..evidence.statuses.len())
            .filter(|&at| evidence.statuses[at].what.live && evidence.statuses[at].what.status.word == StatusWord::Delivered)
            .collect();
        for at in &delivered {
            evidence.statuses[*at].what.status.word = StatusWord::Unconfirmed;
        }
        !delivered.is_empty()
    }),
    ("I2 fallback after a receipt", |evidence| {
        let Some((from, _)) = failure(evidence) else { return false };
        let at = evidence.returned.iter().position(|row| names(row, from)).unwrap();
        let mut row = evidence.returned[at].clone();
        row.offset -= 1;
        row.what = Returned::Receipt { attempt_id: from, receipt: Receipt::Delivered, reason: Reason::None, code: 0, provider_time: None };
        evidence.returned.insert(at, row);
        true
    }),
    ("I2 fallback without a cause", |evidence| {
        let Some((from, _)) = failure(evidence) else { return false };
        evidence.returned.retain(|row| !names(row, from));
        true
    }),
    ("I2 fallback before its cause", |evidence| {
        // It failed when the fallback lay there.
        let Some((from, at)) = failure(evidence) else { return false };
        fail_at(evidence, from, evidence.dispatches[at].at)
    }),
    ("I2 fallback before its cause", |evidence| {
        // The same for an end.
        let Some((at, last)) = ended(evidence, StatusWord::Failed, |_, _| true) else { return false };
        fail_at(evidence, last, evidence.statuses[at].at)
    }),
    ("I2 fallback before its cause", |evidence| {
        // It failed before the fallback was appended; but the position had not passed it when that was committed.
        let Some((from, at)) = failure(evidence) else { return false };
        let fallback = &evidence.dispatches[at];
        let Some(committed) = evidence.log(fallback).committed(fallback.offset) else { return false };
        let by = committed.at + CUT_MS + evidence.clocks_apart_ms;
        let home = from.message_id.partition().kafka();
        let next = |row: &Row<BTreeMap<String, i64>>| row.what.iter().find(|(name, _)| name.ends_with("receipts")).map(|(_, next)| *next);
        let passed = evidence.positions.iter().filter(|row| row.partition == home && row.at <= by).filter_map(next).max();
        let Some(passed) = passed else { return false };
        evidence.returned.iter_mut().filter(|row| failed(row, from)).for_each(|row| row.offset = passed);
        true
    }),
    ("I2 fallback for another reason", |evidence| {
        let Some((_, at)) = failure(evidence) else { return false };
        evidence.dispatches[at].what.why.as_mut().map(|why| why.reason = Reason::Throttled).is_some()
    }),
    ("I2 fallback for another reason", |evidence| {
        let Some((at, _)) = ended(evidence, StatusWord::Failed, |_, _| true) else { return false };
        evidence.statuses[at].what.status.reason = Reason::Throttled;
        true
    }),
    ("I2 fallback for another reason", |evidence| {
        // What was too late is tried again; here the next step began.
        let Some((from, at)) = failure(evidence) else { return false };
        evidence.dispatches[at].what.why.as_mut().unwrap().reason = Reason::TooLate;
        delay(evidence, from)
    }),
    ("I2 fallback for another reason", |evidence| {
        // Or it ended failed.
        let Some((at, last)) = ended(evidence, StatusWord::Failed, |_, _| true) else { return false };
        evidence.statuses[at].what.status.reason = Reason::TooLate;
        delay(evidence, last)
    }),
    ("I2 fallback for another reason", |evidence| {
        // What failed for good is not tried again.
        let Some((from, at)) = failure(evidence) else { return false };
        evidence.dispatches[at].what.attempt_id.attempt = Attempt { n: from.attempt.n + 1, ..from.attempt };
        true
    }),
    ("I2 step given up for one delay", |evidence| {
        // The first of its step, at which the next one began.
        let row = evidence.dispatches.iter_mut().find(|row| row.what.why.is_some_and(|why| why.reason == Reason::Failed && why.from.n == 1));
        let Some(Row { what: dispatch, .. }) = row else { return false };
        let Some(why) = &mut dispatch.why else { return false };
        why.reason = Reason::Unavailable;
        let from = AttemptId { attempt: why.from, ..dispatch.attempt_id };
        delay(evidence, from)
    }),
    ("I2 step given up for one delay", |evidence| {
        // Or it ended failed.
        give_up_for_delays(evidence, |event| event.kind != Kind::Bill, 1, 0)
    }),
    ("I2 step given up for one delay", |evidence| {
        // The second in a row, a millisecond before the step's wait was over.
        give_up_for_delays(evidence, |event| event.kind != Kind::Bill, 2, -1)
    }),
    ("I2 step given up for one delay", |evidence| {
        // In bulk, the second in a row and long after it.
        give_up_for_delays(evidence, |event| event.kind == Kind::Bill, 2, 60_000)
    }),
    ("I2 fallback from another attempt", |evidence| {
        // The third step says that it follows the first, which failed as the second did: so the first has two successors.
        let Some(steps) = failed_twice(evidence) else { return false };
        follow_the_first(evidence, steps);
        true
    }),
    ("I2 fallback from another attempt", |evidence| {
        // Nobody dispatched the one that it follows.
        let Some((from, _)) = failure(evidence) else { return false };
        evidence.dispatches.retain(|row| row.what.attempt_id != from);
        true
    }),
    ("I2 fallback that leaves something out", |evidence| {
        // The step between the two.
        let Some(steps) = failed_twice(evidence) else { return false };
        follow_the_first(evidence, steps);
        evidence.dispatches.remove(steps.0);
        true
    }),
    ("I2 fallback that leaves something out", |evidence| follow(evidence, |from| Attempt { n: from.n + 2, ..from })),
    ("I2 fallback that leaves something out", |evidence| follow(evidence, |from| Attempt { step: from.step + 1, n: 2 })),
    ("I3 given up unheard", |evidence| {
        // All that was said of it is that it was too late, in good time for another: and yet a wait ran out.
        evidence.slow.clear();
        let Some(from) = waited_for(evidence) else { return false };
        evidence.returned.retain(|row| !(names(row, from) && matches!(row.what, Returned::Receipt { .. })));
        say(evidence, from, Outcome::TooLate)
    }),
    ("I2 wrong topic", |evidence| {
        let Some(first) = evidence.dispatches.iter().find(|row| row.what.why.is_none()).map(|row| row.topic.clone()) else { return false };
        let retry = evidence.dispatches.iter_mut().find(|row| row.what.why.is_some());
        retry.map(|row| row.topic = first).is_some()
    }),
    ("I4 the later of equal seq is not followed", |evidence| {
        let Some(at) = evidence.statuses.iter().position(|row| row.what.live && row.what.status.word == StatusWord::Requested) else { return false };
        let mut more = evidence.statuses[at].clone();
        more.what.status.word = StatusWord::Fallback;
        more.what.status.attempt = Some(Attempt { step: 2, n: 7 });
        evidence.statuses.insert(at + 1, more);
        true
    }),
    ("I4 the earlier of equal seq is followed", |evidence| {
        let Some(at) = evidence.statuses.iter().position(|row| row.what.live && row.what.status.word == StatusWord::Fallback) else { return false };
        let mut more = evidence.statuses[at].clone();
        more.what.status.word = StatusWord::Sent;
        evidence.statuses.insert(at + 1, more);
        true
    }),
    ("I4 attempts out of order", |evidence| {
        let at = evidence.statuses.iter().position(|row| row.what.live && row.what.status.word == StatusWord::Fallback);
        at.map(|at| evidence.statuses[at].what.status.attempt = Some(Attempt::FIRST)).is_some()
    }),
    ("I4 away from home", |evidence| evidence.statuses.iter_mut().find(|row| row.what.live).map(|row| row.partition = (row.partition + 1) % 2).is_some()),
    ("I8 late", |evidence| {
        // As above: of a machine that was never slow.
        evidence.slow.clear();
        evidence.dispatches.iter_mut().filter(|row| row.what.why.is_some_and(|why| why.reason == Reason::Timer)).for_each(|row| row.at += 1_100);
        true
    }),
    ("I8 held without a cause", |evidence| {
        for why in evidence.dispatches.iter_mut().filter_map(|row| row.what.why.as_mut()) {
            why.hold = Hold::Storm;
        }
        true
    }),
    ("I1 spurious message", |evidence| {
        let Some(row) = evidence.statuses.iter().find(|row| row.what.event_id.is_some()) else { return false };
        let event = row.what.event_id.clone();
        let planned = evidence.plan.events.iter_mut().find(|planned| Some(&planned.event_id) == event.as_ref());
        planned.map(|planned| planned.kind = Kind::Broken).is_some()
    }),
];

/// The first end with this word whose last attempt and event are as asked: its place among the statuses, and that attempt.
fn ended(evidence: &Evidence, word: StatusWord, fits: impl Fn(AttemptId, &Planned) -> bool) -> Option<(usize, AttemptId)> {
    let events: BTreeMap<&str, &Planned> = evidence.plan.events.iter().map(|event| (event.event_id.as_str(), event)).collect();
    let mut last: BTreeMap<MessageId, Attempt> = BTreeMap::new();
    for AttemptId { message_id, attempt } in evidence.dispatches.iter().map(|row| row.what.attempt_id) {
        let known = last.entry(message_id).or_insert(attempt);
        *known = attempt.max(*known);
    }
    evidence.statuses.iter().enumerate().filter(|(_, row)| row.what.live && row.what.status.word == word).find_map(|(at, row)| {
        let message_id = row.what.message_id;
        let last = AttemptId { message_id, attempt: *last.get(&message_id)? };
        let event = events.get(row.what.event_id.as_deref()?)?;
        fits(last, event).then_some((at, last))
    })
}

/// The places of a second and a third step's first attempts, which the failure of the step before each began.
fn failed_twice(evidence: &Evidence) -> Option<(usize, usize)> {
    let begun = |step: u8| {
        let from = Attempt { step: step - 1, n: 1 };
        let otherwise = |reason| matches!(reason, Reason::Timer | Reason::Unknown | Reason::Resend | Reason::TooLate | Reason::Unavailable);
        let of_step = evidence.dispatches.iter().enumerate().filter(move |(_, row)| row.what.attempt_id.attempt == Attempt { step, n: 1 });
        of_step.filter(move |(_, row)| row.what.why.is_some_and(|why| why.from == from && !otherwise(why.reason)))
    };
    let second: BTreeMap<MessageId, usize> = begun(2).map(|(at, row)| (row.what.attempt_id.message_id, at)).collect();
    begun(3).find_map(|(at, row)| Some((*second.get(&row.what.attempt_id.message_id)?, at)))
}

/// The third step follows the first, for what was said of that one.
fn follow_the_first(evidence: &mut Evidence, (second, third): (usize, usize)) {
    evidence.dispatches[third].what.why = evidence.dispatches[second].what.why;
}

/// The first later attempt that a failure began is another one.
fn follow(evidence: &mut Evidence, other: impl Fn(Attempt) -> Attempt) -> bool {
    let Some((from, at)) = failure(evidence) else { return false };
    evidence.dispatches[at].what.attempt_id.attempt = other(from.attempt);
    true
}

/// One whose wait ran out, unheld, so that a later attempt began: long before that a word of it lay there, and its dispatch long before the end of its lease.
fn waited_for(evidence: &Evidence) -> Option<AttemptId> {
    const LONG_MS: i64 = 3_000;
    let in_time = |row: &&Row<Dispatch>| row.at + LONG_MS < row.what.lease_end.millis();
    let in_time: BTreeSet<AttemptId> = evidence.dispatches.iter().filter(in_time).map(|row| row.what.attempt_id).collect();
    let told = |row: &Row<Returned>| if let Returned::Outcome { attempt_id, .. } = row.what { Some((attempt_id, row.at)) } else { None };
    let told: BTreeMap<AttemptId, i64> = evidence.returned.iter().filter_map(told).collect();
    evidence.dispatches.iter().find_map(|row| {
        let why = row.what.why.filter(|why| why.reason == Reason::Timer && why.hold == Hold::No)?;
        let from = AttemptId { attempt: why.from, ..row.what.attempt_id };
        (in_time.contains(&from) && *told.get(&from)? < row.at).then_some(from)
    })
}

/// One that had arrived at its first step is given up there, as an attempt of which this was said.
fn give_up(evidence: &mut Evidence, word: StatusWord, outcome: Outcome) -> bool {
    let Some((at, last)) = ended(evidence, StatusWord::Delivered, |last, _| last.attempt.step == 1) else { return false };
    evidence.slow = vec![ALWAYS];
    evidence.statuses[at].what.status.word = word;
    say(evidence, last, outcome)
}

/// One that failed on WhatsApp and arrived by SMS at once; of its receipts the provider now knows nothing. Nothing is calm, and nobody stood still.
fn by_sms(evidence: &mut Evidence) -> Option<(usize, AttemptId)> {
    let unknown = |row: &Row<Returned>| match row.what {
        Returned::Outcome { attempt_id, outcome: Outcome::Unknown, .. } => Some(attempt_id),
        _ => None,
    };
    let unknown: BTreeSet<AttemptId> = evidence.returned.iter().filter_map(unknown).collect();
    let fits = |last: AttemptId, event: &Planned| event.story.name == "sms_at_once" && last.attempt == Attempt { step: 2, n: 1 } && !unknown.contains(&last);
    let (at, last) = ended(evidence, StatusWord::Delivered, fits)?;
    (evidence.slow, evidence.kills) = (vec![ALWAYS], Vec::new());
    let first = AttemptId { attempt: Attempt::FIRST, ..last };
    let own = [first, last].map(|id| Some(id.to_string()));
    evidence.lines.retain(|line| !matches!(line, Line::Webhook { attempt_id, .. } | Line::Lost { attempt_id, .. } if own.contains(attempt_id)));
    Some((at, first))
}

/// A code that had arrived on WhatsApp expires when so many attempts were too late: near a fault, and with a millisecond more of its life than a call and this need.
fn expire(evidence: &mut Evidence, delays: u16, pause: i64) -> bool {
    let lives = |last: AttemptId, event: &Planned| {
        last.attempt == Attempt::FIRST && event.kind == Kind::Code && event.expires_after == CODE_LIFE_MAX && event.again_after.is_none()
    };
    let Some((at, last)) = ended(evidence, StatusWord::Delivered, lives) else { return false };
    let row = &evidence.statuses[at];
    let Some(to) = evidence.log(row).committed(row.offset).map(|committed| committed.at) else { return false };
    let event = evidence.plan.events.iter().position(|event| Some(&event.event_id) == row.what.event_id.as_ref());
    let life = i64::try_from(CODE_LIFE_MAX.as_millis()).unwrap();
    let written = to + CUT_MS + evidence.clocks_apart_ms + pause + CALL_MAX_MS + 1 - life;
    evidence.slow = vec![ALWAYS];
    evidence.statuses[at].what.status.word = StatusWord::Expired;
    evidence.written.iter_mut().filter(|row| Some(row.event) == event).for_each(|row| row.at = written);
    if !say(evidence, last, Outcome::TooLate) {
        return false;
    }
    (1..delays).fold(last, |last, _| again(evidence, last));
    true
}

/// The same step is tried once more, and the same is said of it.
fn again(evidence: &mut Evidence, last: AttemptId) -> AttemptId {
    let next = AttemptId { attempt: Attempt { n: last.attempt.n + 1, ..last.attempt }, ..last };
    let mut dispatches: Vec<_> = evidence.dispatches.iter().filter(|row| row.what.attempt_id == last).cloned().collect();
    dispatches.iter_mut().for_each(|row| row.what.attempt_id = next);
    evidence.dispatches.append(&mut dispatches);
    let outcome = |row: &&Row<Returned>| matches!(row.what, Returned::Outcome { attempt_id, .. } if attempt_id == last);
    let mut outcomes: Vec<_> = evidence.returned.iter().filter(outcome).cloned().collect();
    for row in &mut outcomes {
        if let Returned::Outcome { attempt_id, .. } = &mut row.what {
            *attempt_id = next;
        }
    }
    evidence.returned.append(&mut outcomes);
    next
}

/// Whether this says that the attempt failed.
fn failed(row: &Row<Returned>, id: AttemptId) -> bool {
    match row.what {
        Returned::Outcome { outcome, .. } => names(row, id) && !matches!(outcome, Outcome::Accepted | Outcome::Unknown),
        Returned::Receipt { receipt, .. } => names(row, id) && receipt == Receipt::Failed,
        _ => false,
    }
}

/// Whatever says that the attempt failed was appended a millisecond too late to be the cause of something that lay there at this time.
fn fail_at(evidence: &mut Evidence, id: AttemptId, effect: i64) -> bool {
    let at = effect + CUT_MS + evidence.clocks_apart_ms + 1;
    evidence.returned.iter_mut().filter(|row| failed(row, id)).for_each(|row| row.at = at);
    true
}

/// What is said to have failed was too late instead, and there when the failure was.
fn delay(evidence: &mut Evidence, id: AttemptId) -> bool {
    let Some(first) = evidence.returned.iter().position(|row| failed(row, id)) else { return false };
    let what = Returned::Outcome { attempt_id: id, outcome: Outcome::TooLate, reason: Reason::None, code: 0, provider_id: None };
    let cause = Row { what, ..evidence.returned[first].clone() };
    evidence.returned.retain(|row| !names(row, id) || !(failed(row, id) || matches!(row.what, Returned::Outcome { .. })));
    evidence.returned.insert(first.min(evidence.returned.len()), cause);
    true
}

/// A failed end, of which so many attempts of its last step were too late, decided so long after that step's wait.
fn give_up_for_delays(evidence: &mut Evidence, of: impl Fn(&Planned) -> bool, delays: u16, after: i64) -> bool {
    let fits = |last: AttemptId, event: &Planned| event.story.name == "failed" && last.attempt.n == 1 && of(event);
    let Some((at, last)) = ended(evidence, StatusWord::Failed, fits) else { return false };
    let began = evidence.statuses.iter().find(|row| row.what.message_id == last.message_id && row.what.status.attempt == Some(last.attempt));
    let Some(began) = began.map(|row| row.what.decided) else { return false };
    let event = evidence.plan.events.iter().find(|event| Some(&event.event_id) == evidence.statuses[at].what.event_id.as_ref());
    let Some(wait) = event.map(|event| event.kind.waits()[usize::from(last.attempt.step) - 1]) else { return false };
    let end = &mut evidence.statuses[at].what;
    (end.status.reason, end.decided) = (Reason::Unavailable, began.plus(Duration::from_millis(u64::try_from(wait + after).unwrap())));
    if !delay(evidence, last) {
        return false;
    }
    (1..delays).fold(last, |last, _| again(evidence, last));
    true
}
