//! I2, I8, I13: what came back, and what was begun because it did not.

use super::messages::{Message, attempt_of};
use super::{CUT_MS, Court};
use crate::evidence::Row;
use crate::plan::{Kind, Planned};
use recado::delivery::{Attempt, MessageId, Reason, Receipt, Status, StatusWord};
use recado::event::records::{Returned, StatusRecord};
use recado::simulator::{self, Line};

impl Court<'_> {
    /// I5: no attempt of a code is begun with too little of its life left.
    pub(super) fn lives(&mut self, id: MessageId, message: &Message<'_>, event: &Planned) {
        if event.kind != Kind::Code {
            return;
        }
        for row in &message.dispatches {
            let attempt = row.what.attempt_id.attempt;
            let begun = |status: &&&Row<StatusRecord>| {
                let Status { word, attempt: of, .. } = status.what.status;
                status.what.live && of == Some(attempt) && matches!(word, StatusWord::Requested | StatusWord::Fallback | StatusWord::Retried)
            };
            let Some(begun) = message.statuses.iter().find(begun) else { continue };
            let left = row.what.expiry.millis() - begun.what.decided.millis();
            self.counts.one("lives of codes compared");
            if left < event.kind.life_min(row.what.channel) {
                self.fault("I5 begun with too little life", Some(id), format!("{attempt} on {} began with {left} ms left.", row.what.channel.word()));
            }
        }
    }

    /// I2, I8: no fallback by a timer before its deadline, and none where a receipt was acknowledged before it.
    pub(super) fn fallbacks(&mut self, id: MessageId, message: &Message<'_>, event: &Planned) {
        for row in &message.dispatches {
            let Some(why) = row.what.why else { continue };
            self.counts.one("later attempts");
            if !matches!(why.reason, Reason::Timer | Reason::Unknown | Reason::Resend | Reason::GatewaySilent | Reason::DispatcherSilent | Reason::Storm) {
                continue;
            }
            self.counts.one("fallbacks by a timer judged");
            self.waited(id, message, event, why.from, row.at, &format!("{} {}", row.what.channel.word(), row.what.attempt_id.attempt));
        }
        if let Some(terminal) = message.terminal()
            && terminal.what.status.word == StatusWord::Unconfirmed
            && let Some(last) = message.dispatches.iter().map(|row| row.what.attempt_id.attempt).max()
        {
            self.waited(id, message, event, last, terminal.what.decided.millis(), "the end, unconfirmed,");
        }
    }

    fn waited(&mut self, id: MessageId, message: &Message<'_>, event: &Planned, from: Attempt, at: i64, what: &str) {
        let Some(deadline) = message.deadline(from, event.kind) else { return };
        if at < deadline - CUT_MS {
            self.fault("I8 early", Some(id), format!("{what} came {} ms before the wait of {from} could end.", deadline - at));
        }
        if let Some((acknowledged, by)) = message.acknowledged().find(|(acknowledged, _)| *acknowledged < deadline - CUT_MS) {
            let ahead = deadline - acknowledged;
            self.fault(
                "I2 fallback for an acknowledged receipt",
                Some(id),
                format!("{what}: the receipt of {} was acknowledged {ahead} ms ahead.", by.attempt),
            );
        }
        if message.acknowledged().any(|(acknowledged, _)| (acknowledged - deadline).abs() <= 200) {
            self.counts.one("receipts within 200 ms of a deadline that ran out");
        }
    }

    /// I13: what a webhook was acknowledged for is in the receipts topic.
    pub(super) fn receipts(&mut self, id: MessageId, message: &Message<'_>) {
        for line in &message.lines {
            let Line::Webhook { channel, receipt, .. } = line else { continue };
            let expected = match (channel, receipt.as_str()) {
                (simulator::Channel::Whatsapp | simulator::Channel::Sms, "sent") => Receipt::Sent,
                (_, "delivered" | "keypress") => Receipt::Delivered,
                (_, "read") => Receipt::Read,
                (_, "failed" | "busy" | "no-answer") => Receipt::Failed,
                _ => continue,
            };
            self.counts.one("receipts acknowledged");
            let Some(attempt_id) = attempt_of(line) else { continue };
            let there =
                |row: &Row<Returned>| matches!(&row.what, Returned::Receipt { attempt_id: other, receipt, .. } if *other == attempt_id && *receipt == expected);
            if !message.returned.iter().any(|row| there(row)) {
                self.fault("I13 acknowledged receipt is missing", Some(id), format!("{receipt} of {}", attempt_id.attempt));
            }
        }
    }
}
