//! PURE: when a tenure wrote what it reads back from the journal: the way there and back says how much the append time in between is worth.
//!
//! Easily got wrong: a hello that comes back late, behind a long replay or a slow follower, is not the one that was written last. So each is another entry.

use crate::delivery::{Attempt, AttemptId, MessageId, Partition, Timestamp};
use crate::event::records::{JournalEntry, JournalKind};
use std::collections::BTreeMap;

/// What is not read back yet, by the own clock.
#[derive(Debug, Default)]
pub struct Written {
    at: BTreeMap<(AttemptId, JournalKind), Timestamp>,
    hellos: u16,
}

impl Written {
    /// The name of the next hello of this partition; it comes again with the 65,536th after it.
    pub fn next_hello(&mut self, partition: Partition) -> AttemptId {
        let mut bytes = [0; 16];
        bytes[6..8].copy_from_slice(&partition.0.to_be_bytes());
        self.hellos = self.hellos.wrapping_add(1);
        AttemptId { message_id: MessageId::from_bytes(bytes), attempt: Attempt { step: 0, n: self.hellos } }
    }

    /// Written now. Of an entry that is written twice, whichever comes back first was not written before the first time. A hello is never written twice: one of its
    /// name was lost 65,536 hellos ago, and with that one's time each read back would be days late, and no sample.
    pub fn note(&mut self, entry: &JournalEntry, now: Timestamp) {
        let key = (entry.attempt_id, entry.kind);
        match entry.kind {
            JournalKind::Hello => {
                self.at.insert(key, now);
            }
            JournalKind::Intent | JournalKind::Refused | JournalKind::Done => {
                self.at.entry(key).or_insert(now);
            }
        }
    }

    /// It came back; when it was written.
    pub fn back(&mut self, entry: &JournalEntry) -> Option<Timestamp> {
        self.at.remove(&(entry.attempt_id, entry.kind))
    }

    /// Whatever was written of this attempt, nobody waits for it any more.
    pub fn forget(&mut self, id: AttemptId) {
        for kind in [JournalKind::Intent, JournalKind::Refused, JournalKind::Done] {
            self.at.remove(&(id, kind));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_hello_that_comes_back_late_was_not_written_when_a_later_one_was() {
        let mut written = Written::default();
        let mut hello = |now| {
            let entry = JournalEntry { attempt_id: written.next_hello(Partition(7)), kind: JournalKind::Hello, epoch: 1 };
            written.note(&entry, at(now));
            entry
        };
        let (first, second) = (hello(0), hello(500));
        assert_eq!(first.attempt_id.message_id.partition(), Partition(7));
        assert_eq!((written.back(&first), written.back(&second), written.back(&first)), (Some(at(0)), Some(at(500)), None));
    }

    #[test]
    fn a_hello_counts_from_its_own_time_where_the_last_of_its_name_was_lost() {
        let mut written = Written::default();
        let mut hello = |now| {
            let entry = JournalEntry { attempt_id: written.next_hello(Partition(7)), kind: JournalKind::Hello, epoch: 1 };
            written.note(&entry, at(now));
            (entry, now != 0 && written.back(&entry) == Some(at(now)))
        };
        let (lost, _) = hello(0);
        assert!((1..65_536).all(|number| hello(number * 5_000).1), "the others come back");
        assert_eq!(hello(330_000_000), (lost, true));
    }

    #[test]
    fn what_is_written_again_counts_from_its_first_time_until_nobody_waits_for_it() {
        let mut written = Written::default();
        let intent = JournalEntry { attempt_id: written.next_hello(Partition(0)), kind: JournalKind::Intent, epoch: 1 };
        written.note(&intent, at(0));
        written.note(&intent, at(200));
        assert_eq!(written.back(&intent), Some(at(0)));
        written.note(&intent, at(400));
        written.forget(intent.attempt_id);
        assert_eq!(written.back(&intent), None);
    }
}
