//! I4, and of I1 that there is one end: the statuses of one message, as they stand in the topic.

use super::Court;
use super::messages::Message;
use recado::delivery::{MessageId, StatusWord};
use std::collections::BTreeSet;

impl Court<'_> {
    /// I4, I1: seq without gaps; of equal ones the later counts; one terminal status.
    pub(super) fn statuses(&mut self, id: MessageId, message: &Message<'_>) {
        let mut last: Option<u32> = None;
        let mut terminal = BTreeSet::new();
        for row in message.statuses.iter().filter(|row| row.what.live) {
            let seq = row.what.status.seq;
            match last {
                None if seq == 0 => {}
                Some(before) if seq == before + 1 => {}
                Some(before) if seq == before => self.counts.one("statuses said again with the same seq"),
                _ => self.fault("I4 gap in seq", Some(id), format!("{seq} follows {last:?} at partition {} offset {}.", row.partition, row.offset)),
            }
            last = Some(seq);
            if row.what.status.word.terminal() {
                terminal.insert(seq);
            } else if !terminal.is_empty() && matches!(row.what.status.word, StatusWord::Fallback | StatusWord::Retried | StatusWord::Requested) {
                self.fault("I5 dispatch after the end", Some(id), format!("{} follows the terminal status.", row.what.status.word.word()));
            }
            self.counts.one("statuses");
        }
        self.counts.add("reads of ended deliveries", message.statuses.iter().filter(|row| !row.what.live).count());
        if terminal.len() > 1 {
            self.fault("I1 two ends", Some(id), format!("{} terminal statuses.", terminal.len()));
        }
        if terminal.is_empty() && message.event.is_some() {
            self.fault("I1 lost: no terminal status", Some(id), "Its delivery never ended.");
        }
    }
}
