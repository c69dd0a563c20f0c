//! Copies in which what came back and what was told of it differ.

use super::{Breaking, names};
use crate::evidence::{Evidence, Row};
use recado::delivery::{AttemptId, MessageId, Reason, Receipt, StatusWord};
use recado::event::records::{Returned, StatusRecord};
use recado::simulator::Line;

/// What is broken, and how; false where the run had nothing of the kind.
pub(super) const BREAKINGS: &[(&str, Breaking)] = &[
    ("E1 told without a receipt", |evidence| {
        // A read of a delivery that is forgotten, doubled by a crash.
        let Some(at) = evidence.statuses.iter().position(|row| !row.what.live) else { return false };
        let more = evidence.statuses[at].clone();
        evidence.statuses.insert(at + 1, more);
        true
    }),
    ("E1 receipt not told", |evidence| {
        let at = evidence.statuses.iter().position(|row| !row.what.live);
        at.map(|at| evidence.statuses.remove(at)).is_some()
    }),
    ("E1 told without a receipt", |evidence| {
        // A second sent of one attempt, with a number of its own.
        let Some(at) = evidence.statuses.iter().position(is_sent) else { return false };
        let mut more = evidence.statuses[at].clone();
        more.what.status.seq += 1;
        evidence.statuses.insert(at + 1, more);
        true
    }),
    ("E1 told without a receipt", |evidence| {
        // A sent that no provider said.
        let Some(sent) = evidence.statuses.iter().find(|row| is_sent(row)) else { return false };
        let Some(attempt) = sent.what.status.attempt else { return false };
        let id = AttemptId { message_id: sent.what.message_id, attempt };
        evidence.returned.retain(|row| !(names(row, id) && matches!(row.what, Returned::Receipt { receipt: Receipt::Sent, .. })));
        true
    }),
    ("E1 receipt not told", |evidence| {
        // It arrives a second after its delivery has failed.
        let Some((end, last)) = failed(evidence) else { return false };
        let (place, at) = (evidence.returned[last].offset, evidence.statuses[end].at);
        arrive(evidence, last, place + 1, at + 1_000, Receipt::Delivered);
        true
    }),
    ("E1 receipt not told", |evidence| {
        // The same, and another one comes when the delivery may have been forgotten, or not.
        let Some((end, last)) = failed(evidence) else { return false };
        let (place, at) = (evidence.returned[last].offset, evidence.statuses[end].at);
        arrive(evidence, last, place + 1, at + 1_000, Receipt::Delivered);
        arrive(evidence, last, place + 2, at + 31_000, Receipt::Read);
        true
    }),
    ("E1 told without a receipt", |evidence| {
        // One comes when the delivery may have been forgotten, or not; and something is told of it twice.
        let Some((end, last)) = failed(evidence) else { return false };
        let (Returned::Outcome { attempt_id, .. } | Returned::Receipt { attempt_id, .. }) = evidence.returned[last].what else { return false };
        let (place, at) = (evidence.returned[last].offset, evidence.statuses[end].at);
        arrive(evidence, last, place + 1, at + 31_000, Receipt::Delivered);
        for further in 1..=2 {
            let mut more = evidence.statuses[end].clone();
            let status = &mut more.what.status;
            (status.word, status.attempt, status.provider_time) = (StatusWord::Late, Some(attempt_id.attempt), None);
            status.seq += further;
            evidence.statuses.insert(end + 1, more);
        }
        true
    }),
    ("E1 end told otherwise than by its receipt", |evidence| {
        let end = evidence.statuses.iter_mut().find(|row| row.what.live && row.what.status.word == StatusWord::Delivered);
        end.map(|row| row.what.status.double_delivered ^= true).is_some()
    }),
    ("I13 written oftener than it was sent", |evidence| twice(evidence, |id| *id.message_id.bytes() != [0; 16])),
    ("I13 written oftener than it was sent", |evidence| twice(evidence, |id| *id.message_id.bytes() == [0; 16])),
    ("I13 acknowledged receipt is missing", |evidence| {
        // Of what strangers sent, one too few.
        let told = |line: &&Line| matches!(line, Line::Webhook { attempt_id: Some(id), .. } if id.starts_with(&"0".repeat(32)));
        let acknowledged = evidence.lines.iter().filter(told).count();
        let mut left = acknowledged.saturating_sub(1);
        evidence.returned.retain(|row| match &row.what {
            Returned::Receipt { attempt_id, .. } if attempt_id.message_id == MessageId::from_bytes([0; 16]) => {
                left.checked_sub(1).map(|less| left = less).is_some()
            }
            _ => true,
        });
        acknowledged > 0
    }),
];

fn is_sent(row: &Row<StatusRecord>) -> bool {
    row.what.live && row.what.status.word == StatusWord::Sent
}

/// The first delivery that failed: the place of its end, and of the last record that came back of its last attempt.
fn failed(evidence: &Evidence) -> Option<(usize, usize)> {
    let end = evidence.statuses.iter().position(|row| row.what.live && row.what.status.word == StatusWord::Failed)?;
    let id = evidence.statuses[end].what.message_id;
    let attempts = evidence.dispatches.iter().map(|row| row.what.attempt_id).filter(|attempt_id| attempt_id.message_id == id);
    let attempt_id = attempts.max_by_key(|attempt_id| attempt_id.attempt)?;
    Some((end, evidence.returned.iter().rposition(|row| names(row, attempt_id))?))
}

/// One more receipt comes for the attempt that this record is of.
fn arrive(evidence: &mut Evidence, of: usize, offset: i64, at: i64, receipt: Receipt) {
    let (Returned::Outcome { attempt_id, .. } | Returned::Receipt { attempt_id, .. }) = evidence.returned[of].what else { return };
    let what = Returned::Receipt { attempt_id, receipt, reason: Reason::None, code: 0, provider_time: None };
    let row = Row { offset, at, what, ..evidence.returned[of].clone() };
    evidence.returned.push(row);
}

/// Writes a receipt of one of these once more, where everything was well.
fn twice(evidence: &mut Evidence, of: impl Fn(&AttemptId) -> bool) -> bool {
    evidence.slow.clear();
    let well = |at: i64| evidence.kills.iter().all(|kill| at < kill.at - 2_000 || kill.ready.is_some_and(|ready| ready + 2_000 < at));
    let fits = |row: &Row<Returned>| matches!(&row.what, Returned::Receipt { attempt_id, .. } if of(attempt_id)) && well(row.at);
    let Some(at) = evidence.returned.iter().position(fits) else { return false };
    let more = evidence.returned[at].clone();
    evidence.returned.insert(at, more);
    true
}
