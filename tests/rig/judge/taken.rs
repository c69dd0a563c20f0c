//! E1 of what came back: whatever lies in the receipts topic below the engine's position had its effect in the transaction that moved the position past it, or
//! before. A receipt that was jumped over leaves no other trace: its message ends, only otherwise.
//!
//! Easily got wrong: a transaction has an end in each partition, and those are not written at the same moment.

use super::Court;
use super::messages::Message;
use crate::evidence::Row;
use recado::delivery::{Attempt, MessageId, Outcome, Receipt, StatusWord};
use recado::event::records::{Returned, StatusRecord};

/// So far apart the ends of one transaction may lie. A guess.
const ENDS_APART_MS: i64 = 1_000;

impl Court<'_> {
    /// For one message.
    pub(super) fn taken(&mut self, id: MessageId, message: &Message<'_>) {
        for row in &message.returned {
            let (attempt, word, what) = match &row.what {
                Returned::Receipt { attempt_id, receipt, .. } => (attempt_id.attempt, receipt.word(), Effect::of(*receipt)),
                Returned::Outcome { attempt_id, outcome, .. } if refused(message, attempt_id.attempt, *outcome) => {
                    (attempt_id.attempt, outcome.word(), Effect::GoesOn)
                }
                _ => continue,
            };
            let Some(passed) = self.passed(row.partition, row.offset) else { continue };
            let by = passed + ENDS_APART_MS + self.slow(passed - ENDS_APART_MS, passed + ENDS_APART_MS);
            self.counts.one("words of what became of an attempt held against their effect");
            let ended = message.terminal().is_some_and(|end| self.stood(end, by));
            let told = || message.statuses.iter().any(|status| tells_sent(status, attempt) && self.stood(status, by));
            let went_on = || message.dispatches.iter().any(|dispatch| dispatch.what.attempt_id.attempt > attempt && self.stood(dispatch, by));
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

    /// When the transaction ended that moved the engine's position past this record of the receipts topic.
    pub(super) fn passed(&self, partition: i32, offset: i64) -> Option<i64> {
        let moves = self.receipts.get(&partition)?;
        moves.get(moves.partition_point(|(next, _)| *next <= offset)).map(|(_, committed)| committed.at)
    }

    /// Whether a record was committed by then.
    fn stood<T>(&self, row: &Row<T>, by: i64) -> bool {
        self.evidence.log(row).committed(row.offset).is_some_and(|committed| committed.at <= by)
    }
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
        Returned::Outcome { attempt_id, outcome, .. } => attempt_id.attempt == attempt && *outcome == Outcome::Accepted,
        Returned::Receipt { attempt_id, .. } => attempt_id.attempt == attempt,
        _ => false,
    };
    matches!(outcome, Outcome::Rejected | Outcome::Throttled | Outcome::Unavailable) && !message.returned.iter().any(|row| proven(row))
}

fn tells_sent(row: &Row<StatusRecord>, attempt: Attempt) -> bool {
    row.what.live && row.what.status.word == StatusWord::Sent && row.what.status.attempt == Some(attempt)
}
