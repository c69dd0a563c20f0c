//! I13: what a webhook was acknowledged for lay in the receipts topic by then, and what is there was sent by a provider, and no oftener than it sent it.
//!
//! Easily got wrong: who dies after the write and before the 200 is asked again, by right. So of what was written once more it is asked that a gateway was in trouble.

use super::messages::{Message, attempt_of};
use super::{CUT_MS, Court, SLOW_NEAR_MS};
use crate::evidence::Row;
use crate::faults::{Cause, Kill};
use recado::delivery::{AttemptId, MessageId, Receipt};
use recado::event::records::Returned;
use recado::simulator::{Channel, Line};
use std::collections::BTreeMap;

/// A provider waits no longer for an answer: Meta 5 s, Twilio 2 s for the connection and 5 s, as the callback's URL asks; and a second for its log.
const ANSWERED_WITHIN_MS: i64 = 8_000;
/// What a dead process has handed to the kernel may be appended so long after. A guess, as in `outcomes.rs`.
const APPENDED_WITHIN_MS: i64 = 500;

/// What a provider's word means, as its documents say; `None`: nothing that is written down.
fn meaning(channel: Channel, word: &str) -> Option<Receipt> {
    match (channel, word) {
        (Channel::Whatsapp | Channel::Sms, "sent") | (Channel::Voice, "in-progress") => Some(Receipt::Sent),
        (Channel::Whatsapp | Channel::Sms, "delivered") | (Channel::Voice, "keypress") => Some(Receipt::Delivered),
        (Channel::Whatsapp, "read") => Some(Receipt::Read),
        (_, "failed") | (Channel::Sms, "undelivered") | (Channel::Voice, "completed" | "busy" | "no-answer" | "canceled") => Some(Receipt::Failed),
        _ => None,
    }
}

/// The receipt that a line of the send log tells of, acknowledged or given up.
fn told(line: &Line) -> Option<(AttemptId, Receipt)> {
    let (Line::Webhook { channel, receipt, .. } | Line::Lost { channel, receipt, .. }) = line else { return None };
    Some((attempt_of(line)?, meaning(*channel, receipt)?))
}

/// Of one receipt: when it was written, and when acknowledged.
#[derive(Default)]
struct Times {
    written: Vec<i64>,
    acknowledged: Vec<i64>,
}

/// Each receipt of these, by what it says of whom.
fn times<'r>(rows: impl Iterator<Item = &'r Row<Returned>>, lines: impl Iterator<Item = &'r Line>) -> BTreeMap<(AttemptId, Receipt), Times> {
    let mut all: BTreeMap<(AttemptId, Receipt), Times> = BTreeMap::new();
    for row in rows {
        if let Returned::Receipt { attempt_id, receipt, .. } = &row.what {
            all.entry((*attempt_id, *receipt)).or_default().written.push(row.at);
        }
    }
    for line in lines {
        if let (Line::Webhook { time_ms, .. }, Some(receipt)) = (line, told(line)) {
            all.entry(receipt).or_default().acknowledged.push(*time_ms);
        }
    }
    for times in all.values_mut() {
        times.written.sort_unstable();
        times.acknowledged.sort_unstable();
    }
    all
}

impl Court<'_> {
    /// Both ways, for one message.
    pub(super) fn receipts(&mut self, id: MessageId, message: &Message<'_>) {
        let mut said: Vec<(AttemptId, Receipt)> = Vec::new();
        for line in message.lines.iter().filter(|line| matches!(line, Line::Webhook { .. })) {
            let Some((attempt_id, receipt)) = told(line) else { continue };
            self.counts.add("receipts said twice by the provider", usize::from(said.contains(&(attempt_id, receipt))));
            let sent_last = receipt == Receipt::Sent && said.iter().any(|(id, receipt)| *id == attempt_id && *receipt != Receipt::Sent);
            self.counts.add("messages whose receipts came out of order", usize::from(sent_last));
            self.counts.one("receipts acknowledged");
            said.push((attempt_id, receipt));
        }
        for ((attempt_id, receipt), times) in times(message.returned.iter().copied(), message.lines.iter().copied()) {
            self.counts.add("receipts written", times.written.len());
            let what = format!("{} of {}", receipt.word(), attempt_id.attempt);
            if message.lines.iter().any(|line| told(line) == Some((attempt_id, receipt))) {
                self.each_written(Some(id), &what, &times);
            } else {
                self.fault("I13 receipt of nobody", Some(id), format!("{what}: the provider never said it."));
            }
        }
    }

    /// What the simulator's strays pretended to be about: counted apart, and no more of them than it sent.
    pub(super) fn strays(&mut self) {
        let nobody = MessageId::from_bytes([0; 16]);
        let evidence = self.evidence;
        let lines = evidence.lines.iter().filter(|line| attempt_of(line).is_some_and(|id| id.message_id == nobody));
        let rows = evidence.returned.iter().filter(|row| matches!(&row.what, Returned::Receipt { attempt_id, .. } if attempt_id.message_id == nobody));
        for ((attempt_id, receipt), times) in times(rows, lines.clone()) {
            self.counts.add("receipts of strangers", times.written.len());
            let what = format!("{} for an attempt that is nobody's", receipt.word());
            if lines.clone().any(|line| told(line) == Some((attempt_id, receipt))) {
                self.each_written(None, &what, &times);
            } else {
                self.fault("I13 receipt of nobody", None, format!("{what}: nobody said it."));
            }
        }
    }

    /// Each that was acknowledged was written before, within the time that a provider waits; and each that was written was acknowledged, but where a gateway was in trouble.
    fn each_written(&mut self, id: Option<MessageId>, what: &str, times: &Times) {
        let (mut next, mut late) = (0, times.written.len() < times.acknowledged.len());
        if late {
            let sentence = format!("{what}: acknowledged {} times, and written {} times.", times.acknowledged.len(), times.written.len());
            self.fault("I13 acknowledged receipt is missing", id, sentence);
        }
        for acknowledged in &times.acknowledged {
            let earliest = acknowledged - ANSWERED_WITHIN_MS - self.slow(acknowledged - ANSWERED_WITHIN_MS, *acknowledged);
            next += times.written[next..].iter().take_while(|written| **written < earliest).count();
            let in_time = times.written.get(next).is_some_and(|written| *written <= acknowledged + CUT_MS);
            if !in_time && !late {
                self.fault("I13 acknowledged before it was written", id, format!("{what} at {acknowledged}"));
                late = true;
            }
            next = (next + usize::from(in_time)).min(times.written.len());
        }
        for written in unanswered(times) {
            self.counts.one("receipts written once more by a fault");
            if !self.gateway_in_trouble(written) {
                let sentence = format!("{what}, written at {written}: nobody acknowledged it, and no gateway was in trouble.");
                self.fault("I13 written oftener than it was sent", id, sentence);
            }
        }
    }

    /// Whether what was written then may have been without an answer: its gateway died, stood still, or waited for brokers.
    fn gateway_in_trouble(&self, at: i64) -> bool {
        let until = |kill: &Kill| match kill.cause {
            // It goes on with what it had taken.
            Cause::Stopped(_) | Cause::Twin | Cause::Moved => kill.ready.map_or(i64::MAX, |ready| ready + SLOW_NEAR_MS),
            Cause::Random | Cause::ToArm | Cause::ToMove | Cause::Point(..) | Cause::NotReached => kill.gone + APPENDED_WITHIN_MS,
        };
        let mut kills = self.evidence.kills.iter().filter(|kill| kill.roles.contains("gateway"));
        kills.any(|kill| kill.at - SLOW_NEAR_MS <= at && at <= until(kill))
            || self.evidence.slow.iter().any(|(from, to)| from - SLOW_NEAR_MS <= at && at <= to + SLOW_NEAR_MS)
    }
}

/// When those were written that are left when each acknowledgement has taken the last one before it.
fn unanswered(times: &Times) -> Vec<i64> {
    let (mut open, mut next) = (Vec::new(), 0);
    for acknowledged in &times.acknowledged {
        while times.written.get(next).is_some_and(|written| *written <= acknowledged + CUT_MS) {
            open.push(times.written[next]);
            next += 1;
        }
        open.pop();
    }
    open.extend_from_slice(&times.written[next..]);
    open
}
