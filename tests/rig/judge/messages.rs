//! The evidence by message: what the provider, the topics and the bank each know of one notification.

use crate::evidence::{Evidence, Row};
use crate::plan::Kind;
use recado::delivery::{Attempt, AttemptId, MessageId, Outcome, Receipt};
use recado::event::records::{Dispatch, JournalEntry, JournalKind, Returned, StatusRecord};
use recado::simulator::{CallLine, Line};
use std::collections::BTreeMap;

/// All that belongs to one message.
#[derive(Default)]
pub struct Message<'e> {
    pub event: Option<usize>,
    pub statuses: Vec<&'e Row<StatusRecord>>,
    pub dispatches: Vec<&'e Row<Dispatch>>,
    pub journal: Vec<&'e Row<JournalEntry>>,
    pub returned: Vec<&'e Row<Returned>>,
    pub lines: Vec<&'e Line>,
}

/// The evidence by message.
pub fn messages(evidence: &Evidence) -> BTreeMap<MessageId, Message<'_>> {
    let mut all: BTreeMap<MessageId, Message<'_>> = BTreeMap::new();
    let events: BTreeMap<&str, usize> = evidence.plan.events.iter().enumerate().map(|(index, event)| (event.event_id.as_str(), index)).collect();
    for row in &evidence.statuses {
        let message = all.entry(row.what.message_id).or_default();
        if let Some(event) = row.what.event_id.as_deref().and_then(|id| events.get(id)) {
            message.event = Some(*event);
        }
        message.statuses.push(row);
    }
    for row in &evidence.dispatches {
        all.entry(row.what.attempt_id.message_id).or_default().dispatches.push(row);
    }
    for row in evidence.journal.iter().filter(|row| row.what.kind != JournalKind::Hello) {
        all.entry(row.what.attempt_id.message_id).or_default().journal.push(row);
    }
    for row in &evidence.returned {
        if let Returned::Outcome { attempt_id, .. } | Returned::Receipt { attempt_id, .. } = &row.what {
            all.entry(attempt_id.message_id).or_default().returned.push(row);
        }
    }
    for line in &evidence.lines {
        if let Some(id) = attempt_of(line) {
            all.entry(id.message_id).or_default().lines.push(line);
        }
    }
    // What the simulator's strays pretended to be about is nobody's.
    all.remove(&MessageId::from_bytes([0; 16]));
    all
}

/// The attempt that a line of the send log names.
pub fn attempt_of(line: &Line) -> Option<AttemptId> {
    let text = match line {
        Line::Call(call) => &call.attempt_id,
        Line::Refused { attempt_id, .. } | Line::Webhook { attempt_id, .. } | Line::Lost { attempt_id, .. } | Line::Spoken { attempt_id, .. } => attempt_id,
    };
    AttemptId::parse(text.as_deref()?)
}

impl<'e> Message<'e> {
    pub(super) fn calls(&self) -> impl Iterator<Item = (Attempt, &'e CallLine)> {
        self.lines.iter().filter_map(|line| if let Line::Call(call) = line { Some((attempt_of(line)?.attempt, call)) } else { None })
    }

    /// The calls that went out, or may have.
    pub(super) fn sends(&self) -> impl Iterator<Item = (Attempt, &'e CallLine)> {
        self.calls().filter(|(_, call)| !refused(call))
    }

    /// What the provider's own checks answered to this attempt.
    pub(super) fn checked(&self, attempt: Attempt) -> impl Iterator<Item = u16> {
        self.lines.iter().filter_map(move |line| match line {
            Line::Refused { status, .. } if attempt_of(line).is_some_and(|id| id.attempt == attempt) => Some(*status),
            _ => None,
        })
    }

    pub(super) fn outcomes(&self, attempt: Attempt) -> impl Iterator<Item = (Outcome, &'e Row<Returned>)> {
        self.returned.iter().filter_map(move |row| match &row.what {
            Returned::Outcome { attempt_id, outcome, .. } if attempt_id.attempt == attempt => Some((*outcome, *row)),
            _ => None,
        })
    }

    /// What says that this attempt failed: surely not sent, or sent and not delivered.
    pub(super) fn failures(&self, attempt: Attempt) -> impl Iterator<Item = &'e Row<Returned>> {
        self.returned.iter().copied().filter(move |row| match &row.what {
            Returned::Outcome { attempt_id, outcome, .. } => attempt_id.attempt == attempt && !matches!(outcome, Outcome::Accepted | Outcome::Unknown),
            Returned::Receipt { attempt_id, receipt, .. } => attempt_id.attempt == attempt && *receipt == Receipt::Failed,
            _ => false,
        })
    }

    /// Receipts that prove the message on the phone, as the provider heard them acknowledged: when, for which attempt.
    pub(super) fn acknowledged(&self) -> impl Iterator<Item = (i64, AttemptId)> {
        self.lines.iter().filter_map(|line| match line {
            Line::Webhook { time_ms, receipt, .. } if matches!(receipt.as_str(), "delivered" | "read" | "keypress") => Some((*time_ms, attempt_of(line)?)),
            _ => None,
        })
    }

    /// The same as they lie in the receipts topic.
    pub(super) fn arrived(&self) -> impl Iterator<Item = (&'e Row<Returned>, Attempt)> {
        self.returned.iter().filter_map(|row| match &row.what {
            Returned::Receipt { attempt_id, receipt: Receipt::Delivered | Receipt::Read, .. } => Some((*row, attempt_id.attempt)),
            _ => None,
        })
    }

    /// The earliest instant at which the wait of this attempt can end: the route's wait after what can have begun it. That is the provider's answer, or, where nobody is
    /// known to have heard it, the call itself; and neither before the lease was over nor before the first word of it lay in the receipts topic.
    pub(super) fn deadline(&self, attempt: Attempt, kind: Kind) -> Option<i64> {
        let wait = *kind.waits().get(usize::from(attempt.step) - 1)?;
        let dispatch = self.dispatches.iter().find(|row| row.what.attempt_id.attempt == attempt);
        let word = self.returned.iter().filter(|row| begins_wait(&row.what, attempt)).map(|row| row.at).min();
        let known = dispatch.map(|row| word.unwrap_or(i64::MAX).min(row.what.lease_end.millis()));
        let Some((_, call)) = self.sends().find(|(other, _)| *other == attempt) else {
            return known.max(dispatch.map(|row| row.at)).map(|from| from + wait);
        };
        let accepted = self.outcomes(attempt).any(|(outcome, _)| outcome == Outcome::Accepted);
        let of_it = |line: &Line| attempt_of(line).is_some_and(|id| id.attempt == attempt);
        let receipt_first = self.lines.iter().any(|line| matches!(line, Line::Webhook { time_ms, .. } if *time_ms < call.answer_ms && of_it(line)));
        let heard = if accepted && !receipt_first { call.answer_ms } else { call.time_ms };
        Some(wait + known.map_or(heard, |known| known.max(heard)))
    }

    /// Whether an attempt had a wait of its own: one that was surely not sent ends with its outcome.
    pub(super) fn may_have_gone_out(&self, attempt: Attempt) -> bool {
        self.outcomes(attempt).all(|(outcome, _)| matches!(outcome, Outcome::Accepted | Outcome::Unknown))
    }

    /// Whether a receipt was acknowledged only after the wait for it had run out: the next step is then right, whatever the seed says.
    pub(super) fn receipt_too_late(&self, kind: Kind) -> bool {
        self.acknowledged().any(|(at, id)| self.deadline(id.attempt, kind).is_some_and(|deadline| at >= deadline))
    }

    /// Whether the last attempt's failure lay in the receipts topic only after the wait for it had run out: then nobody knew, whatever the seed says.
    pub(super) fn failure_too_late(&self, kind: Kind) -> bool {
        let last = self.last();
        let late = |row: &&Row<Returned>| match &row.what {
            Returned::Receipt { attempt_id, receipt: Receipt::Failed, .. } if Some(attempt_id.attempt) == last => {
                self.deadline(attempt_id.attempt, kind).is_some_and(|deadline| row.at >= deadline)
            }
            _ => false,
        };
        self.returned.iter().any(late)
    }

    /// The attempt that was dispatched last.
    pub(super) fn last(&self) -> Option<Attempt> {
        self.dispatches.iter().map(|row| row.what.attempt_id.attempt).max()
    }

    pub(super) fn terminal(&self) -> Option<&'e Row<StatusRecord>> {
        self.statuses.iter().copied().rfind(|row| row.what.live && row.what.status.word.terminal())
    }
}

/// Whether the wait of this attempt can begin with it.
pub(super) fn begins_wait(returned: &Returned, attempt: Attempt) -> bool {
    match returned {
        Returned::Outcome { attempt_id, outcome, .. } => attempt_id.attempt == attempt && matches!(outcome, Outcome::Accepted | Outcome::Unknown),
        Returned::Receipt { attempt_id, .. } => attempt_id.attempt == attempt,
        _ => false,
    }
}

/// Whether the provider's answer allows that the same attempt comes again: nothing went out, and it may be otherwise in a moment.
pub(super) fn repeatable(call: &CallLine) -> bool {
    !call.counts && (call.status == 429 || call.status >= 500)
}

/// A documented refusal: no send.
pub(super) fn refused(call: &CallLine) -> bool {
    !call.counts && (call.answer == "error" || call.status == 429)
}

/// Whether the script itself leaves the fate of this call open.
pub(super) fn unknown_by_script(call: &CallLine) -> bool {
    matches!(call.answer.as_str(), "lost" | "hang" | "garbage") || (call.answer == "bare" && call.status >= 500)
}
