//! E1 of what the bank is told of receipts: each *sent*, *late* and *read*, and an end *delivered*, against the receipts topic, both ways. From the design's words (§4) alone:
//! a partition's receipts are taken in the order of their log, each once, and what is told of one follows from those before it.
//!
//! Easily got wrong: how the order of receipts and timers was shows in the order of statuses alone. So of a *sent* it is asked that its attempt was the current one, and
//! `taken.rs` asks that it is not missing.

use super::messages::Message;
use super::statuses::begins;
use super::{CUT_MS, Court};
use crate::evidence::Row;
use recado::delivery::{Attempt, MessageId, Outcome, Receipt, StatusWord, Timestamp};
use recado::event::records::{Returned, StatusRecord};
use std::collections::{BTreeMap, BTreeSet};

/// A delivery that did not end at its first step is kept for its late receipts for `linger`, 60 s here. Of one that comes nearer to that, and of all after it, nothing
/// need be told: it may be either. What is told beyond those before it must still be of one of them.
const KEPT_SURELY_MS: i64 = 30_000;

/// What a status says of a receipt: the word, the attempt, the provider's time, whether the customer has two messages.
type Said = (StatusWord, Option<Attempt>, Option<Timestamp>, bool);

/// What must be told of one message's receipts.
#[derive(Default)]
struct Expected {
    /// The end, where it is *delivered*.
    delivered: Option<Said>,
    /// After the end, with a seq: in this order.
    after: Vec<Said>,
    /// When it was forgotten.
    reads: Vec<Said>,
    /// From the first on that came when the delivery may have been forgotten, or not: what may be told of each, but need not.
    open: Vec<(Attempt, Receipt, Option<Timestamp>)>,
}

impl Court<'_> {
    /// For one message.
    pub(super) fn told(&mut self, id: MessageId, message: &Message<'_>) {
        let Some(terminal) = message.terminal() else { return };
        self.sent(id, message);
        let mut expected = self.expected(message, terminal);
        self.counts.add("messages with a receipt near the end of their linger", usize::from(!expected.open.is_empty()));
        if let Some(delivered) = expected.delivered.filter(|delivered| *delivered != said(terminal)) {
            self.fault("E1 end told otherwise than by its receipt", Some(id), format!("{:?} instead of {delivered:?}", said(terminal)));
        }
        let after = message.statuses.iter().filter(|row| row.what.live && row.what.status.seq > terminal.what.status.seq);
        let after: Vec<Said> = after.map(|row| said(row)).collect();
        let reads: Vec<Said> = message.statuses.iter().filter(|row| !row.what.live).map(|row| said(row)).collect();
        self.counts.add("statuses after the end held against their receipts", after.len());
        self.counts.add("reads of ended deliveries held against their receipts", reads.len());
        for (of, told) in [(&expected.after, after), (&expected.reads, reads)] {
            let (missing, mut spurious) = (without(of, &told), without(&told, of));
            spurious.retain(|said| !may_be_told(&mut expected.open, said));
            if !missing.is_empty() {
                self.fault("E1 receipt not told", Some(id), format!("{missing:?}"));
            }
            if !spurious.is_empty() {
                self.fault("E1 told without a receipt", Some(id), format!("{spurious:?}"));
            }
        }
    }

    /// A *sent* is told once, of the attempt that was current, for its first receipt, and not after the end.
    fn sent(&mut self, id: MessageId, message: &Message<'_>) {
        let (mut current, mut ended, mut told) = (None, false, BTreeSet::new());
        for row in message.statuses.iter().filter(|row| row.what.live) {
            let status = &row.what.status;
            if begins(status.word) {
                current = status.attempt;
            }
            ended |= status.word.terminal();
            if status.word != StatusWord::Sent {
                continue;
            }
            self.counts.one("statuses sent held against their receipts");
            let first = status.attempt.and_then(|attempt| first_receipt(message, attempt));
            let by = row.at + CUT_MS + self.evidence.clocks_apart_ms;
            let backed = first.is_some_and(|(at, receipt, time)| receipt == Receipt::Sent && time == status.provider_time && at <= by);
            if ended || status.attempt != current || !told.insert(status.attempt) || !backed {
                let attempt = status.attempt.map_or_else(|| "nobody".to_owned(), |attempt| attempt.to_string());
                self.fault("E1 told without a receipt", Some(id), format!("seq {}: sent of {attempt}.", status.seq));
            }
        }
    }

    /// What follows from the receipts that the engine has passed.
    fn expected(&self, message: &Message<'_>, terminal: &Row<StatusRecord>) -> Expected {
        let delivered = terminal.what.status.word == StatusWord::Delivered;
        let mut attempts: BTreeMap<Attempt, Booked> = message.dispatches.iter().map(|row| (row.what.attempt_id.attempt, Booked::default())).collect();
        let (mut ended, mut forgotten) = (!delivered, !delivered && attempts.is_empty());
        let (mut late_told, mut double_told) = (false, false);
        let mut expected = Expected::default();
        let mut rows: Vec<&Row<Returned>> = message.returned.iter().copied().filter(|row| self.passed(row.partition, row.offset).is_some()).collect();
        rows.sort_by_key(|row| row.offset);
        for row in rows {
            let (attempt, receipt, time) = match &row.what {
                Returned::Outcome { attempt_id, outcome, .. } => {
                    if let Some(booked) = attempts.get_mut(&attempt_id.attempt) {
                        booked.hear_outcome(*outcome);
                    }
                    continue;
                }
                Returned::Receipt { attempt_id, receipt, provider_time, .. } => (attempt_id.attempt, *receipt, *provider_time),
                Returned::GatewayHeartbeat { .. } | Returned::DispatcherHeartbeat { .. } | Returned::Hello { .. } => continue,
            };
            if forgotten {
                if receipt == Receipt::Read {
                    expected.reads.push((StatusWord::Read, Some(attempt), time, false));
                }
                continue;
            }
            let arrived = matches!(receipt, Receipt::Delivered | Receipt::Read);
            if arrived && (!expected.open.is_empty() || (ended && row.at > terminal.at + KEPT_SURELY_MS)) {
                expected.open.push((attempt, receipt, time));
                continue;
            }
            let Some(booked) = attempts.get_mut(&attempt) else { continue };
            let reached = booked.reached;
            booked.hear(receipt);
            if !arrived {
                continue;
            }
            let double = doubled(&attempts, attempt);
            if !ended {
                expected.delivered = Some((StatusWord::Delivered, Some(attempt), time, double));
                (ended, forgotten, double_told) = (true, attempt.step == 1, double);
                continue;
            }
            if reached < Some(Receipt::Delivered) {
                let first = !delivered && !late_told;
                if first || (double && !double_told) {
                    (late_told, double_told) = (true, double_told || double);
                    expected.after.push((StatusWord::Late, Some(attempt), time, double));
                }
            } else if receipt == Receipt::Read && reached == Some(Receipt::Delivered) {
                expected.after.push((StatusWord::Read, Some(attempt), time, false));
            }
        }
        expected
    }
}

/// Whether one of these receipts may be what this tells, which is then no other's.
fn may_be_told(open: &mut Vec<(Attempt, Receipt, Option<Timestamp>)>, (word, attempt, time, _): &Said) -> bool {
    let of_it = |(by, receipt, when): &(Attempt, Receipt, Option<Timestamp>)| {
        Some(*by) == *attempt && when == time && (*word == StatusWord::Late || (*word == StatusWord::Read && *receipt == Receipt::Read))
    };
    open.iter().position(of_it).map(|at| open.swap_remove(at)).is_some()
}

/// What came back for one attempt so far.
#[derive(Clone, Copy, Default)]
struct Booked {
    outcome: Option<Outcome>,
    /// The highest of *sent* < *delivered* < *read*.
    reached: Option<Receipt>,
    failed: bool,
}

impl Booked {
    /// A known one beats *unknown*; of two known ones *accepted* counts, else the first.
    fn hear_outcome(&mut self, outcome: Outcome) {
        if matches!(self.outcome, None | Some(Outcome::Unknown)) || outcome == Outcome::Accepted {
            self.outcome = Some(outcome);
        }
    }

    fn hear(&mut self, receipt: Receipt) {
        match receipt {
            Receipt::Failed => self.failed = true,
            Receipt::Sent | Receipt::Delivered | Receipt::Read => self.reached = self.reached.max(Some(receipt)),
        }
    }

    fn arrived(self) -> bool {
        self.reached >= Some(Receipt::Delivered)
    }

    /// It went out, or may have, and nobody has said that it failed. Any receipt proves that it went out.
    fn may_have_arrived(self) -> bool {
        if self.failed || self.reached.is_some() {
            return self.arrived() || !self.failed;
        }
        matches!(self.outcome, None | Some(Outcome::Accepted | Outcome::Unknown))
    }
}

/// Whether the customer has, or may have, a message of another step too.
fn doubled(attempts: &BTreeMap<Attempt, Booked>, attempt: Attempt) -> bool {
    attempts.iter().any(|(other, booked)| (other.step > attempt.step && booked.may_have_arrived()) || (other.step < attempt.step && booked.arrived()))
}

fn said(row: &Row<StatusRecord>) -> Said {
    let status = &row.what.status;
    (status.word, status.attempt, status.provider_time, status.double_delivered)
}

/// Which of these are not among those, each as often as it is.
fn without(these: &[Said], those: &[Said]) -> Vec<Said> {
    let mut those = those.to_vec();
    let missing = |said: &&Said| those.iter().position(|other| other == *said).map(|at| those.swap_remove(at)).is_none();
    these.iter().filter(missing).copied().collect()
}

/// The first that says of this attempt that it came to *sent* or beyond: when it was appended, what it says, the provider's time.
fn first_receipt(message: &Message<'_>, attempt: Attempt) -> Option<(i64, Receipt, Option<Timestamp>)> {
    let of_it = message.returned.iter().filter_map(|row| match &row.what {
        Returned::Receipt { attempt_id, receipt, provider_time, .. } if attempt_id.attempt == attempt && *receipt != Receipt::Failed => {
            Some((row.offset, (row.at, *receipt, *provider_time)))
        }
        _ => None,
    });
    of_it.min_by_key(|(offset, _)| *offset).map(|(_, first)| first)
}
