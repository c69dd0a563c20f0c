//! I4, and of I1 that there is one end: the statuses of one message, as they stand in the topic.

use super::Court;
use super::messages::Message;
use crate::evidence::Row;
use recado::delivery::{Attempt, MessageId, StatusWord};
use recado::event::records::StatusRecord;
use std::collections::{BTreeMap, BTreeSet};

/// Whether an attempt begins with it.
pub(super) fn begins(word: StatusWord) -> bool {
    matches!(word, StatusWord::Requested | StatusWord::Fallback | StatusWord::Retried)
}

impl Court<'_> {
    /// I4, I1: seq without gaps, in the home partition; of equal ones the later counts; one terminal status.
    pub(super) fn statuses(&mut self, id: MessageId, message: &Message<'_>) {
        let mut last: Option<u32> = None;
        let mut counts: BTreeMap<u32, &Row<StatusRecord>> = BTreeMap::new();
        let mut replaced: Vec<&Row<StatusRecord>> = Vec::new();
        for row in message.statuses.iter().filter(|row| row.what.live) {
            let seq = row.what.status.seq;
            match last {
                None if seq == 0 => {}
                Some(before) if seq == before + 1 => {}
                // Where a transaction can end otherwise than its producer heard, the bank sees this (row 8). Nothing here delays an EndTxn.
                Some(before) if seq == before => {
                    self.counts.one("statuses said again with the same seq");
                    self.fault("E1 said twice", Some(id), format!("{seq} once more at partition {} offset {}.", row.partition, row.offset));
                }
                _ => self.fault("I4 gap in seq", Some(id), format!("{seq} follows {last:?} at partition {} offset {}.", row.partition, row.offset)),
            }
            last = Some(seq);
            replaced.extend(counts.insert(seq, row));
            self.counts.one("statuses");
            if row.partition != id.partition().kafka() {
                self.fault("I4 away from home", Some(id), format!("seq {seq} lies in partition {}.", row.partition));
            }
        }
        // What they say `told.rs` judges.
        self.counts.add("reads of ended deliveries", message.statuses.iter().filter(|row| !row.what.live).count());
        self.of_equal_seq(id, message, &counts, &replaced);
        self.one_end(id, message, &counts);
    }

    /// I4: what follows is what the later of two with the same seq says, and nothing of what only the earlier said.
    fn of_equal_seq(&mut self, id: MessageId, message: &Message<'_>, counts: &BTreeMap<u32, &Row<StatusRecord>>, replaced: &[&Row<StatusRecord>]) {
        let begun = |row: &Row<StatusRecord>| row.what.status.attempt.filter(|_| begins(row.what.status.word));
        let dispatched: BTreeSet<Attempt> = message.dispatches.iter().map(|row| row.what.attempt_id.attempt).collect();
        let told: Vec<Attempt> = counts.values().filter_map(|row| begun(row)).collect();
        if told.windows(2).any(|pair| pair[0] >= pair[1]) {
            self.fault("I4 attempts out of order", Some(id), format!("{told:?}"));
        }
        for earlier in replaced {
            let seq = earlier.what.status.seq;
            let Some(later) = counts.get(&seq) else { continue };
            if let Some(attempt) = begun(later).filter(|attempt| !dispatched.contains(attempt)) {
                self.fault("I4 the later of equal seq is not followed", Some(id), format!("seq {seq} begins {attempt}, which nobody dispatched."));
            }
            if let Some(attempt) = begun(earlier).filter(|attempt| !told.contains(attempt) && dispatched.contains(attempt)) {
                self.fault("I4 the earlier of equal seq is followed", Some(id), format!("seq {seq} no longer begins {attempt}, but it was dispatched."));
            }
        }
    }

    /// I1, I5: one terminal status, and nothing begins after it.
    fn one_end(&mut self, id: MessageId, message: &Message<'_>, counts: &BTreeMap<u32, &Row<StatusRecord>>) {
        let ends: Vec<u32> = counts.iter().filter(|(_, row)| row.what.status.word.terminal()).map(|(seq, _)| *seq).collect();
        if ends.len() > 1 {
            self.fault("I1 two ends", Some(id), format!("{} terminal statuses.", ends.len()));
        }
        if ends.is_empty() && message.event.is_some() {
            self.fault("I1 lost: no terminal status", Some(id), "Its delivery never ended.");
        }
        let Some(end) = ends.first() else { return };
        for row in counts.range(end + 1..).map(|(_, row)| row).filter(|row| begins(row.what.status.word)) {
            self.fault("I5 dispatch after the end", Some(id), format!("{} follows the terminal status.", row.what.status.word.word()));
        }
    }
}
