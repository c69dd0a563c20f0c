//! E1 of what came back, and of withdrawals: whatever lies in the receipts topic, or among the used codes, below the engine's position had its effect in the transaction
//! that moved the position past it, or before. What was jumped over leaves no other trace: its message ends, only otherwise.
//!
//! Easily got wrong: a transaction has an end in each partition, and those are not written at the same moment. But a producer's next transaction begins only when all
//! of them are: until then the coordinator answers CONCURRENT_TRANSACTIONS. So what was written before one of these ends belongs to that transaction or an earlier one.

use super::messages::Message;
use super::{CUT_MS, Court, Move};
use crate::evidence::Row;
use recado::delivery::{Attempt, MessageId, Outcome, Receipt, StatusWord};
use recado::event::records::{Returned, StatusRecord};
use std::collections::BTreeMap;

impl Court<'_> {
    /// For one message.
    pub(super) fn taken(&mut self, id: MessageId, message: &Message<'_>) {
        self.withdrawn(id, message);
        for row in &message.returned {
            let (attempt, word, what) = match &row.what {
                Returned::Receipt { attempt_id, receipt, .. } => (attempt_id.attempt, receipt.word(), Effect::of(*receipt)),
                Returned::Outcome { attempt_id, outcome, .. } if refused(message, attempt_id.attempt, *outcome) => {
                    (attempt_id.attempt, outcome.word(), Effect::GoesOn)
                }
                _ => continue,
            };
            let Some(passed) = self.passed(row.partition, row.offset) else { continue };
            self.counts.one("words of what became of an attempt held against their effect");
            let ended = message.terminal().is_some_and(|end| self.stood(end, passed));
            let told = || message.statuses.iter().any(|status| tells_sent(status, attempt) && self.stood(status, passed));
            let went_on = || message.dispatches.iter().any(|dispatch| dispatch.what.attempt_id.attempt > attempt && self.stood(dispatch, passed));
            let had = match what {
                Effect::Ends => ended,
                Effect::GoesOn => ended || went_on(),
                Effect::IsTold => ended || told() || went_on(),
            };
            if !had {
                let sentence = format!("{word} of {attempt}, offset {}: the position passed it, and nothing came of it.", row.offset);
                self.fault("E1 word without an effect", Some(id), sentence);
            }
        }
    }

    /// A withdrawal ends a delivery that it finds, near a fault too: one that was begun in an earlier transaction than the one that passed the withdrawal has its end by
    /// then, whichever. A withdrawal that comes before its delivery waits for it, and only `ends.rs` says something of that.
    fn withdrawn(&mut self, id: MessageId, message: &Message<'_>) {
        let Some(used) = message.event.and_then(|event| self.used.get(&event).copied()) else { return };
        let Some(passed) = passed(&self.cancels, used.partition, used.offset) else { return };
        let Some(begun) = message.statuses.iter().find(|row| row.what.live) else { return };
        if !self.preceded(begun, used.partition, passed) {
            return;
        }
        self.counts.one("cancels held against the end of their delivery");
        if !message.terminal().is_some_and(|end| self.stood(end, passed)) {
            let sentence = format!("{}-{} offset {}: the position passed it, and the delivery went on.", used.topic, used.partition, used.offset);
            self.fault("E1 cancel without an effect", Some(id), sentence);
        }
    }

    /// The transaction that moved the engine's position past this record of the receipts topic.
    pub(super) fn passed(&self, partition: i32, offset: i64) -> Option<Move> {
        passed(&self.receipts, partition, offset)
    }

    /// Whether a record was surely committed before that transaction began. The position in it was produced when all ends of its producer's last transaction were
    /// written, and of one that had the partition before; the record's own end is written after the position of the same transaction, or of an earlier one, was
    /// produced.
    pub(super) fn preceded<T>(&self, row: &Row<T>, partition: i32, passed: Move) -> bool {
        let positions = &self.evidence.positions;
        let behind = positions.partition_point(|position| (position.partition, position.offset) < (partition, passed.by.offset));
        let Some(position) = behind.checked_sub(1).and_then(|at| positions.get(at)).filter(|position| position.partition == partition) else { return false };
        if self.evidence.log(position).committed(position.offset) != Some(passed.by) {
            return false;
        }
        let own = self.evidence.log(row).committed(row.offset);
        own.is_some_and(|own| own.at + CUT_MS + self.evidence.clocks_apart_ms < position.at)
    }

    /// Whether a record was committed with that transaction or before it. Of the same producer: it was written before that one ended beside the position, and its own end
    /// before that of the producer's next one. All records of a transaction are written when it is to be committed, those of the next one a commit interval later.
    fn stood<T>(&self, row: &Row<T>, passed: Move) -> bool {
        self.evidence.log(row).committed(row.offset).is_some_and(|own| {
            let same = own.producer == passed.by.producer && row.at <= passed.by.at + CUT_MS && own.at < passed.until;
            own.at <= passed.by.at || same
        })
    }
}

/// The first of these moves that leads past this record.
fn passed(moves: &BTreeMap<i32, Vec<Move>>, partition: i32, offset: i64) -> Option<Move> {
    let moves = moves.get(&partition)?;
    moves.get(moves.partition_point(|moved| moved.next <= offset)).copied()
}

/// What must come of a word.
#[derive(Clone, Copy)]
enum Effect {
    /// The message has an end.
    Ends,
    /// Or another attempt.
    GoesOn,
    /// Or a status of its own.
    IsTold,
}

impl Effect {
    fn of(receipt: Receipt) -> Self {
        match receipt {
            Receipt::Delivered | Receipt::Read => Self::Ends,
            Receipt::Failed => Self::GoesOn,
            Receipt::Sent => Self::IsTold,
        }
    }
}

/// Whether this says that nothing went out, and nothing else says otherwise. What came too late may pause before it goes on.
fn refused(message: &Message<'_>, attempt: Attempt, outcome: Outcome) -> bool {
    let proven = |row: &Row<Returned>| match &row.what {
        Returned::Outcome { attempt_id, outcome, .. } => attempt_id.attempt == attempt && matches!(outcome, Outcome::Accepted | Outcome::TooLate),
        Returned::Receipt { attempt_id, .. } => attempt_id.attempt == attempt,
        _ => false,
    };
    matches!(outcome, Outcome::Rejected | Outcome::Throttled | Outcome::Unavailable) && !message.returned.iter().any(|row| proven(row))
}

fn tells_sent(row: &Row<StatusRecord>, attempt: Attempt) -> bool {
    row.what.live && row.what.status.word == StatusWord::Sent && row.what.status.attempt == Some(attempt)
}
