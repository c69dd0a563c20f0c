//! Copies broken in their times: what fires late or says that it was held, until when a dispatch may leave, and for how long nobody serves a partition.

use super::{Breaking, accepted};
use crate::bank::What;
use crate::evidence::{Evidence, Row};
use crate::faults::{Cause, Kill};
use crate::judge;
use crate::plan::{CALL_MAX_MS, Kind};
use recado::delivery::{AttemptId, Hold, NotAfter, Outcome, Reason, Receipt, StatusWord, Timestamp};
use recado::event::records::{Dispatch, Returned, StatusRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What is broken, and how; false where the run had nothing of the kind.
pub(super) const BREAKINGS: &[(&str, Breaking)] = &[
    ("I8 late near a fault", |evidence| {
        // By a second more than whoever serves a partition is given.
        let late = judge::served_within(evidence) + 1_000;
        evidence.dispatches.iter_mut().filter(|row| row.what.why.is_some_and(|why| why.reason == Reason::Timer)).for_each(|row| row.at += late);
        true
    }),
    ("I8 late near a fault", |evidence| {
        // By as much, where nobody heard the provider's answer: twice that was once allowed there.
        let late = judge::served_within(evidence) + 1_000;
        let unheard = unheard(evidence);
        unheard.iter().for_each(|(at, _)| evidence.dispatches[*at].at += late);
        !unheard.is_empty()
    }),
    ("I8 late", |evidence| {
        // One that followed an answer that nobody heard, in the calm: by two seconds.
        let Some((at, _)) = unheard_in_calm(evidence) else { return false };
        evidence.dispatches[at].at += LATE_MS;
        true
    }),
    ("I8 late", |evidence| {
        // The same, of an attempt of which only a receipt says that it left: its wait begins when that is decided upon.
        let Some((at, word)) = unheard_in_calm(evidence) else { return false };
        evidence.dispatches[at].at += LATE_MS;
        let Returned::Outcome { attempt_id, reason, .. } = evidence.returned[word].what else { return false };
        evidence.returned[word].what = Returned::Receipt { attempt_id, receipt: Receipt::Sent, reason, code: 0, provider_time: None };
        true
    }),
    ("I8 late", |evidence| {
        // Codes of which too little life was left when the wait was over, in the calm: told five seconds later, which is more than the expiry cuts off.
        const TOLD_LATE_MS: i64 = 5_000;
        let Some(warm) = warm(evidence) else { return false };
        let expired = |row: &Row<StatusRecord>| row.what.live && row.what.status.word == StatusWord::Expired && row.what.status.reason == Reason::Timer;
        // Its life and some commits before it, nothing is left of what was the matter.
        let calm = |row: &Row<StatusRecord>| row.at - TOLD_LATE_MS > warm && far(evidence, row.at - TOLD_LATE_MS, row.at + TOLD_LATE_MS);
        let late: Vec<usize> = (0..evidence.statuses.len()).filter(|at| expired(&evidence.statuses[*at]) && calm(&evidence.statuses[*at])).collect();
        late.iter().for_each(|at| evidence.statuses[*at].at += TOLD_LATE_MS);
        !late.is_empty()
    }),
    ("row 1 a partition unserved for too long", |evidence| {
        // From the last fault until the bank has written its last event.
        let (last, end, partition) = last_calm(evidence);
        unserve(evidence, partition, last, end);
        true
    }),
    ("row 1 a partition unserved for too long", |evidence| {
        // From then on for good.
        let (last, _, partition) = last_calm(evidence);
        unserve(evidence, partition, last, i64::MAX);
        true
    }),
    ("row 1 a partition unserved for too long", |evidence| {
        // Never at all.
        let (_, _, partition) = last_calm(evidence);
        unserve(evidence, partition, i64::MIN, i64::MAX);
        true
    }),
    ("row 1 a partition unserved for too long", |evidence| {
        // While another engine, to which it does not go, dies again and again, and is back at once, if not ready.
        let (last, end, partition) = last_calm(evidence);
        unserve(evidence, partition, last, end);
        let next = evidence
            .positions
            .iter()
            .filter(|row| row.partition == partition)
            .find_map(|row| evidence.log(row).committed(row.offset).filter(|by| by.at >= end));
        let id = next.and_then(|next| evidence.quiet.producers.iter().find(|(_, producer)| **producer == next.producer)).map(|(id, _)| id.clone());
        let Some(id) = id else { return false };
        let other = |of: &&(&str, &str)| of.1.contains("engine") && !id.ends_with(&format!(".{}.0", of.0));
        let Some(other) = evidence.instances.iter().find(other).copied() else { return false };
        // Later than what the last fault itself excuses: it may have been the last of several, each before its process had joined again.
        for at in (last + 23_000..end).step_by(5_000) {
            let kill = Kill::new(other, (at, at + 1), Cause::Random);
            evidence.kills.push(Kill { started: Some(at + 500), ready: Some(end), ..kill });
        }
        true
    }),
    ("I8 held without a cause", |evidence| {
        // An engine was killed; nobody of the role that is said to have been silent was away for long.
        let why = evidence.dispatches.iter_mut().find_map(|row| row.what.why.as_mut());
        why.map(|why| why.hold = Hold::GatewaySilent).is_some()
    }),
    ("I8 held without a cause", |evidence| {
        // All gateways were away, and one of them was back for three seconds longer than it takes to be heard.
        let back = judge::served_within(evidence) + 3_000;
        let Some(row) = evidence.dispatches.iter_mut().rfind(|row| row.what.why.is_some()) else { return false };
        let (at, away) = (row.at, row.at - judge::HOLD_MAX_MS - 1_000);
        row.what.why.as_mut().unwrap().hold = Hold::GatewaySilent;
        let gateways = evidence.instances.iter().filter(|(_, roles)| roles.contains("gateway"));
        evidence.kills = gateways.map(|of| Kill { ready: Some(at - back), ..Kill::new(*of, (away, away + 1), Cause::Random) }).collect();
        true
    }),
    ("I5 lease beyond the route's", |evidence| {
        // By a hundredth of a second.
        let beyond = evidence.lease_ms + evidence.clocks_apart_ms + 10;
        evidence.dispatches.iter_mut().find(|row| long_lived(row)).map(|row| lease(row, row.at + beyond)).is_some()
    }),
    ("I5 lease short of the route's", |evidence| {
        // By so much more than a decision may lie before its append where all is well.
        evidence.slow.clear();
        let short = evidence.lease_ms - evidence.commit_ms - judge::LAG_MS - evidence.clocks_apart_ms - 10;
        let well: Vec<bool> = evidence.dispatches.iter().map(|row| far(evidence, row.at - 10_000, row.at)).collect();
        let mut rows = evidence.dispatches.iter_mut().zip(well).filter(|(row, well)| *well && long_lived(row)).map(|(row, _)| row);
        rows.next().map(|row| lease(row, row.at + short)).is_some()
    }),
    ("I5 not_after not the lease's", |evidence| {
        let row = evidence.dispatches.first_mut();
        row.map(|row| row.what.not_after = NotAfter::new(row.what.not_after.timestamp().plus(Duration::from_millis(10)))).is_some()
    }),
    ("I5 expiry beyond the bank's", |evidence| {
        // Where the route says it, and the bank nothing.
        evidence.dispatches.iter_mut().filter(|row| long_lived(row)).for_each(|row| row.what.expiry = row.what.expiry.plus(Duration::from_millis(10)));
        true
    }),
    ("I5 expiry before the bank's", |evidence| {
        // Of a code, whose end the bank says itself.
        let row = evidence.dispatches.iter_mut().find(|row| !long_lived(row));
        row.map(|row| row.what.expiry = row.what.expiry.minus(Duration::from_millis(10))).is_some()
    }),
    ("I5 decided at another time", |evidence| {
        // A little after it was appended.
        let Some((id, at)) = evidence.dispatches.iter().find(|row| row.what.why.is_none()).map(|row| (row.what.attempt_id.message_id, row.at)) else {
            return false;
        };
        let requested = evidence.statuses.iter_mut().find(|row| row.what.message_id == id && row.what.status.word == StatusWord::Requested);
        requested.map(|row| row.what.decided = Timestamp::from_millis(at + evidence.clocks_apart_ms + 10)).is_some()
    }),
    ("I1 wrong end", |evidence| {
        // A code that was used long after it had arrived, said to be withdrawn: far from every fault, but by its own word decided much later.
        evidence.slow.clear();
        let used = |event: &crate::plan::Planned| event.kind == Kind::Code && event.story.end == StatusWord::Delivered && event.used_after.is_some();
        let written = evidence.written.iter().map(|written| (&evidence.plan.events[written.event], written.at)).filter(|(event, _)| used(event));
        let written: BTreeMap<&str, i64> = written.map(|(event, at)| (event.event_id.as_str(), at)).rev().collect();
        let at = evidence.statuses.iter().position(|row| {
            let from = row.what.event_id.as_deref().and_then(|id| written.get(id).copied());
            let to = || evidence.log(row).committed(row.offset).map_or(row.at, |committed| committed.at);
            row.what.live && row.what.status.word == StatusWord::Delivered && from.is_some_and(|from| far(evidence, from, to()))
        });
        let Some(row) = at.map(|at| &mut evidence.statuses[at]) else { return false };
        row.what.status.word = StatusWord::Cancelled;
        row.what.decided = row.what.decided.plus(Duration::from_secs(600));
        true
    }),
    ("I8 unserved too often", |evidence| {
        // Always near a fault; and each engine stands still again and again, for a fifth of a second longer than between two of its commits, so that it never has as long on
        // end as it is given. What a timer begins comes a minute late.
        evidence.slow = vec![(0, 1 << 50)];
        let (pause, every) = (evidence.commit_ms + 1_200, judge::served_within(evidence));
        let began = evidence.written.iter().map(|written| written.at).min().unwrap_or(0);
        let logs = evidence.logs.clone();
        let committed = |row: &Row<BTreeMap<String, i64>>| logs[&(row.topic.clone(), row.partition)].committed(row.offset).map(|committed| committed.at);
        evidence.positions.retain(|row| committed(row).is_none_or(|at| (at - began).rem_euclid(every) >= pause));
        let timers = evidence.dispatches.iter_mut().filter(|row| row.what.why.is_some_and(|why| why.reason == Reason::Timer));
        timers.for_each(|row| row.at += 60_000);
        true
    }),
];

/// More than what a timer may take in the calm, a word's decision and the wait's own beginning before it, and less than what it may near a fault.
const LATE_MS: i64 = 2_000;

/// Later attempts that a timer began, each with the word, an outcome, that began its wait: nobody ever said that the attempt before was accepted. Places among dispatches
/// and returned.
fn unheard(evidence: &Evidence) -> Vec<(usize, usize)> {
    let accepted: BTreeSet<AttemptId> = evidence.returned.iter().filter_map(|row| accepted(&row.what)).collect();
    let mut words: BTreeMap<AttemptId, usize> = BTreeMap::new();
    for (at, row) in evidence.returned.iter().enumerate() {
        if let Returned::Outcome { attempt_id, .. } | Returned::Receipt { attempt_id, .. } = row.what {
            words.entry(attempt_id).or_insert(at);
        }
    }
    let unknown = |word: &usize| matches!(evidence.returned[*word].what, Returned::Outcome { outcome: Outcome::Unknown, .. });
    let begun = evidence.dispatches.iter().enumerate().filter_map(|(at, row)| {
        let why = row.what.why.filter(|why| matches!(why.reason, Reason::Timer | Reason::Resend) && why.hold == Hold::No)?;
        let from = AttemptId { message_id: row.what.attempt_id.message_id, attempt: why.from };
        let word = words.get(&from).copied().filter(unknown).filter(|_| !accepted.contains(&from))?;
        Some((at, word))
    });
    begun.collect()
}

/// The last of them that no fault came near, with all that is broken of it, once the brokers were warm.
fn unheard_in_calm(evidence: &mut Evidence) -> Option<(usize, usize)> {
    let warm = warm(evidence)?;
    let calm = |(at, word): &(usize, usize)| {
        let (from, to) = (evidence.returned[*word].at, evidence.dispatches[*at].at + LATE_MS);
        from > warm && far(evidence, from, to)
    };
    unheard(evidence).into_iter().filter(calm).max_by_key(|(at, _)| evidence.dispatches[*at].at)
}

/// From when on the brokers were warm, on a machine that was never slow: two seconds later than the judge asks.
fn warm(evidence: &mut Evidence) -> Option<i64> {
    evidence.slow.clear();
    evidence.written.iter().map(|written| written.at + 12_000).min()
}

/// When the last fault of an engine was over by the crash log, when the bank wrote its last event, and in which partition: nobody was slow, and nobody lost a disk.
fn last_calm(evidence: &mut Evidence) -> (i64, i64, i32) {
    evidence.slow.clear();
    evidence.kills.iter_mut().for_each(|kill| kill.disk_lost = false);
    let faults = evidence.kills.iter().filter(|kill| kill.roles.contains("engine")).flat_map(|kill| [Some(kill.gone), kill.started, kill.goes_on]);
    let began = evidence.written.iter().map(|written| written.at).min().unwrap_or(0);
    let events = evidence.written.iter().filter(|written| written.what == What::Event);
    let (end, partition) = events.map(|written| (written.at, written.partition)).max().unwrap_or((began, 0));
    (faults.flatten().max().unwrap_or(began), end, partition)
}

/// Nobody commits anything for this partition in this stretch.
fn unserve(evidence: &mut Evidence, partition: i32, from: i64, to: i64) {
    let logs = evidence.logs.clone();
    let committed = |row: &Row<BTreeMap<String, i64>>| logs[&(row.topic.clone(), row.partition)].committed(row.offset).map(|committed| committed.at);
    evidence.positions.retain(|row| row.partition != partition || committed(row).is_none_or(|at| !(from..to).contains(&at)));
}

/// Whether it is no code's: those live for minutes.
fn long_lived(row: &Row<Dispatch>) -> bool {
    row.what.expiry.millis() - row.at > 200_000
}

/// Another end of its lease, and what follows from it.
fn lease(row: &mut Row<Dispatch>, end: i64) {
    row.what.lease_end = Timestamp::from_millis(end);
    row.what.not_after = NotAfter::new(Timestamp::from_millis(end - CALL_MAX_MS));
}

/// Whether no fault came within six seconds of this stretch: a second more than the judge asks of calm.
fn far(evidence: &Evidence, from: i64, to: i64) -> bool {
    evidence.kills.iter().all(|kill| kill.at - 6_000 > to || kill.ready.is_some_and(|ready| ready + 6_000 < from))
}
