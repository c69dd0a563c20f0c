//! PURE: the same event of the bank twice is one notification. A set of keyed hashes for each minute, in memory; one changelog record per minute and transaction.
//!
//! Easily got wrong: the minute is that of the decision, not of the event; a minute expires as a whole.

use super::key::Key;
use super::stored::{self, BadBytes};
use crate::delivery::{MessageId, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// A keyed hash of input name ‖ event id.
pub type Hash = [u8; 16];

/// The deduplication window of one task.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// Found by a quick hash: those in here are keyed already, so nobody outside can choose which of them meet.
    seen: HashSet<Hash, foldhash::fast::RandomState>,
    minutes: BTreeMap<u32, Minute>,
    /// Minutes with hashes that no block holds yet. Kafka time may step back a little: they are not always the newest.
    fresh: BTreeSet<u32>,
}

#[derive(Clone, Debug, Default)]
struct Minute {
    hashes: Vec<Hash>,
    /// How many of the hashes, counted from the front, a block of the changelog holds already.
    written: usize,
    /// Keys of those blocks: tombstoned when the minute expires.
    blocks: Vec<Key>,
}

impl Window {
    /// Whether the window has this hash: then it is the same event again.
    pub fn contains(&self, hash: &Hash) -> bool {
        self.seen.contains(hash)
    }

    /// Takes a hash in at `now`; false when the window has it already: then it is the same event again.
    pub fn insert(&mut self, hash: Hash, now: Timestamp) -> bool {
        let new = self.seen.insert(hash);
        if new {
            let number = minute_of(now);
            let minute = self.minutes.entry(number).or_default();
            if minute.hashes.len() == minute.written {
                self.fresh.insert(number);
            }
            minute.hashes.push(hash);
        }
        new
    }

    /// A block that was read back when the partition opened.
    pub fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), BadBytes> {
        let minute = stored::minute_of(key).ok_or(BadBytes::Shape)?;
        let hashes = stored::read_block(value)?;
        let minute = self.minutes.entry(minute).or_default();
        minute.hashes.extend(hashes);
        minute.written = minute.hashes.len();
        minute.blocks.push(Key::of(&[key]));
        self.seen.extend(hashes);
        Ok(())
    }

    /// The blocks to write with this transaction, as keys and values, one for each minute that has fresh hashes. `first` is the message id of one of its events.
    pub fn take_blocks(&mut self, first: MessageId) -> Vec<(Key, Vec<u8>)> {
        let mut blocks = Vec::new();
        for number in std::mem::take(&mut self.fresh).into_iter().rev() {
            let Some(minute) = self.minutes.get_mut(&number) else { continue };
            let key = stored::block_key(number, &first);
            let value = stored::write_block(&minute.hashes[minute.written..]);
            minute.written = minute.hashes.len();
            minute.blocks.push(key);
            blocks.push((key, value));
        }
        blocks
    }

    /// Drops minutes that are wholly older than `window` at `now`; returns the keys of their blocks. After an outage there may be hours of them, more than one
    /// transaction can delete: no minute is begun after so many keys.
    pub fn expire(&mut self, now: Timestamp, window: std::time::Duration, most: usize) -> Vec<Key> {
        let keep = minute_of(now.minus(window));
        let mut keys = Vec::new();
        while keys.len() < most
            && let Some(entry) = self.minutes.first_entry()
            && *entry.key() < keep
            && !self.fresh.contains(entry.key())
        {
            let minute = entry.remove();
            for hash in &minute.hashes {
                self.seen.remove(hash);
            }
            keys.extend(minute.blocks);
        }
        keys
    }

    /// How many hashes it holds.
    pub fn events(&self) -> usize {
        self.seen.len()
    }
}

fn minute_of(at: Timestamp) -> u32 {
    u32::try_from(at.millis().max(0) / 60_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(minutes * 60_000)
    }

    #[test]
    fn the_same_event_twice_in_the_window_is_seen_also_after_a_restart() {
        let mut window = Window::default();
        assert!(window.insert([1; 16], at(100)));
        assert!(!window.insert([1; 16], at(130)));
        assert!(window.insert([2; 16], at(101)));
        let blocks = window.take_blocks(MessageId::from_bytes([9; 16]));
        assert_eq!(blocks.len(), 2, "one block for each minute");
        let blocks: Vec<_> = blocks.into_iter().rev().collect();
        assert_eq!(*blocks[0].0, [b"d\x00\x00\x00\x64".as_slice(), &[9; 16]].concat());
        assert_eq!(blocks[0].1, [&[1], [1; 16].as_slice()].concat(), "these bytes are final: the changelog holds them");
        assert_eq!(window.take_blocks(MessageId::from_bytes([8; 16])), []);

        let mut restored = Window::default();
        for (key, value) in &blocks {
            restored.restore(key, value).unwrap();
        }
        assert!(!restored.insert([1; 16], at(140)));
        assert_eq!(restored.expire(at(160), Duration::from_secs(3600), 100), [] as [Key; 0]);
        assert_eq!(restored.expire(at(161), Duration::from_secs(3600), 100), [blocks[0].0]);
        assert!(restored.insert([1; 16], at(161)), "out of the window it is a new event");
    }

    #[test]
    fn a_step_back_across_a_minute_loses_no_block_and_stops_no_expiry() {
        let mut window = Window::default();
        let (first, second) = (MessageId::from_bytes([9; 16]), MessageId::from_bytes([8; 16]));
        window.insert([1; 16], at(101));
        assert_eq!(window.take_blocks(first).len(), 1);
        window.insert([2; 16], at(100));
        let blocks = window.take_blocks(second);
        assert_eq!(blocks.len(), 1, "of the minute before the newest");
        assert_eq!(window.expire(at(160), Duration::from_secs(3600), 100).len(), 0, "both are within the hour");
        assert_eq!(window.expire(at(300), Duration::from_secs(3600), 100).len(), 2);
        assert_eq!(window.events(), 0);
    }

    #[test]
    fn hours_that_are_over_at_once_go_in_bites() {
        let mut window = Window::default();
        for minute in 0..10 {
            for number in 0..5_u8 {
                window.insert([[u8::try_from(minute).unwrap() + 1; 8], [number; 8]].concat().try_into().unwrap(), at(minute));
                window.take_blocks(MessageId::from_bytes([number; 16]));
            }
        }
        let bite = |window: &mut Window| window.expire(at(1_000), Duration::from_secs(60), 12).len();
        assert_eq!([(); 4].map(|()| bite(&mut window)), [15, 15, 15, 5], "whole minutes, as soon as twelve keys are reached");
        assert_eq!(window.events(), 0);
    }

    #[test]
    fn bytes_that_are_no_block_are_refused() {
        let mut window = Window::default();
        let key = [b"d\x00\x00\x00\x64".as_slice(), &[9; 16]].concat();
        for (value, bad) in [([].as_slice(), BadBytes::Shape), ([2; 17].as_slice(), BadBytes::Version(2)), ([1; 18].as_slice(), BadBytes::Shape)] {
            assert_eq!(window.restore(&key, value), Err(bad));
        }
        assert_eq!(window.restore(b"d", &[1]), Err(BadBytes::Shape));
        assert_eq!(window.events(), 0);
    }
}
