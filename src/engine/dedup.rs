//! PURE: the same event of the bank twice is one notification. A set of keyed hashes for each minute, in memory; one changelog record per minute and transaction.
//!
//! Easily got wrong: the minute is that of the decision, not of the event; a minute expires as a whole.

use super::stored::{self, BadBytes};
use crate::delivery::{MessageId, Timestamp};
use std::collections::{BTreeMap, HashSet};

/// A keyed hash of input name ‖ event id.
pub type Hash = [u8; 16];

/// The deduplication window of one task.
#[derive(Clone, Debug, Default)]
pub struct Window {
    seen: HashSet<Hash>,
    minutes: BTreeMap<u32, Minute>,
}

#[derive(Clone, Debug, Default)]
struct Minute {
    hashes: Vec<Hash>,
    /// How many of the hashes, counted from the front, a block of the changelog holds already.
    written: usize,
    /// Keys of those blocks: tombstoned when the minute expires.
    blocks: Vec<Vec<u8>>,
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
            self.minutes.entry(minute_of(now)).or_default().hashes.push(hash);
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
        minute.blocks.push(key.to_vec());
        self.seen.extend(hashes);
        Ok(())
    }

    /// The blocks to write with this transaction, as keys and values, one for each minute that has fresh hashes. `first` is the message id of one of its events.
    pub fn take_blocks(&mut self, first: MessageId) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut blocks = Vec::new();
        for (number, minute) in self.minutes.iter_mut().rev().take_while(|(_, minute)| minute.written < minute.hashes.len()) {
            let key = stored::block_key(*number, &first);
            let value = stored::write_block(&minute.hashes[minute.written..]);
            minute.written = minute.hashes.len();
            minute.blocks.push(key.clone());
            blocks.push((key, value));
        }
        blocks
    }

    /// Drops the minutes that are wholly older than `window` at `now`; returns the keys of their blocks.
    pub fn expire(&mut self, now: Timestamp, window: std::time::Duration) -> Vec<Vec<u8>> {
        let keep = minute_of(now.minus(window));
        let mut keys = Vec::new();
        while let Some(entry) = self.minutes.first_entry()
            && *entry.key() < keep
            && entry.get().written == entry.get().hashes.len()
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
        assert_eq!(blocks[0].0, [b"d\x00\x00\x00\x64".as_slice(), &[9; 16]].concat());
        assert_eq!(blocks[0].1, [&[1], [1; 16].as_slice()].concat(), "these bytes are final: the changelog holds them");
        assert_eq!(window.take_blocks(MessageId::from_bytes([8; 16])), []);

        let mut restored = Window::default();
        for (key, value) in &blocks {
            restored.restore(key, value).unwrap();
        }
        assert!(!restored.insert([1; 16], at(140)));
        assert_eq!(restored.expire(at(160), Duration::from_secs(3600)), [] as [Vec<u8>; 0]);
        assert_eq!(restored.expire(at(161), Duration::from_secs(3600)), [blocks[0].0.clone()]);
        assert!(restored.insert([1; 16], at(161)), "out of the window it is a new event");
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
