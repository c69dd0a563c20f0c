//! I13: what a webhook was acknowledged for lay in the receipts topic by then, and what is there was sent by a provider.

use super::messages::{Message, attempt_of};
use super::{CUT_MS, Court};
use crate::evidence::Row;
use recado::delivery::{AttemptId, MessageId, Receipt};
use recado::event::records::Returned;
use recado::simulator::{Channel, Line};

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

impl Court<'_> {
    /// Both ways, for one message.
    pub(super) fn receipts(&mut self, id: MessageId, message: &Message<'_>) {
        let mut said: Vec<(AttemptId, Receipt)> = Vec::new();
        for line in &message.lines {
            let Line::Webhook { time_ms: acknowledged, .. } = line else { continue };
            let Some((attempt_id, expected)) = told(line) else { continue };
            self.counts.add("receipts said twice by the provider", usize::from(said.contains(&(attempt_id, expected))));
            let sent_last = expected == Receipt::Sent && said.iter().any(|(id, receipt)| *id == attempt_id && *receipt != Receipt::Sent);
            self.counts.add("messages whose receipts came out of order", usize::from(sent_last));
            self.counts.one("receipts acknowledged");
            let there = |row: &&&Row<Returned>| matches!(&row.what, Returned::Receipt { attempt_id: other, receipt, .. } if *other == attempt_id && *receipt == expected);
            let written: Vec<i64> = message.returned.iter().filter(there).map(|row| row.at).collect();
            // Said twice it is written twice: each time before the answer.
            let before = said.iter().filter(|before| **before == (attempt_id, expected)).count();
            if written.is_empty() {
                self.fault("I13 acknowledged receipt is missing", Some(id), format!("{} of {}", expected.word(), attempt_id.attempt));
            } else if written.get(before).is_none_or(|at| *at > acknowledged + CUT_MS) {
                self.fault("I13 acknowledged before it was written", Some(id), format!("{} of {} at {acknowledged}", expected.word(), attempt_id.attempt));
            }
            said.push((attempt_id, expected));
        }
        for row in &message.returned {
            let Returned::Receipt { attempt_id, receipt, .. } = &row.what else { continue };
            self.counts.one("receipts written");
            if !message.lines.iter().any(|line| told(line) == Some((*attempt_id, *receipt))) {
                let sentence = format!("{} of {} at offset {}: the provider never said it.", receipt.word(), attempt_id.attempt, row.offset);
                self.fault("I13 receipt of nobody", Some(id), sentence);
            }
        }
    }

    /// What the simulator's strays pretended to be about: counted apart, and no more of them than it sent.
    pub(super) fn strays(&mut self) {
        let nobody = MessageId::from_bytes([0; 16]);
        let evidence = self.evidence;
        let of = |row: &&Row<Returned>| matches!(&row.what, Returned::Receipt { attempt_id, .. } if attempt_id.message_id == nobody);
        let (written, sent) = (
            evidence.returned.iter().filter(of).count(),
            evidence
                .lines
                .iter()
                .filter(|line| matches!(line, Line::Webhook { .. } | Line::Lost { .. }) && attempt_of(line).is_some_and(|id| id.message_id == nobody))
                .count(),
        );
        self.counts.add("receipts of strangers", written);
        if sent > 0 && written == 0 {
            self.fault("I13 acknowledged receipt is missing", None, format!("Of {sent} receipts for an unknown attempt none was written."));
        }
        if sent == 0 && written > 0 {
            self.fault("I13 receipt of nobody", None, format!("{written} receipts for an attempt that nobody was called for."));
        }
    }
}
