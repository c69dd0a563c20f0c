//! PURE: what a changelog comes to: the last value of each key, as far as there is room for it in memory.
//!
//! Easily got wrong: nothing is allocated for a key or a value of its own, and what was written leaves its room to what comes next; else the pages of memory
//! that the system hands out cost more than the records.

use crate::delivery::Partition;
use indexmap::IndexMap;
use indexmap::map::Entry;
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// So much of all changelogs of this process together (each thread takes its part) is folded in memory before the largest part of it is written: 1.4 million
/// tombstones, or 240,000 deliveries. A guess.
const FOLDED_BYTES_MAX: usize = 128 << 20;
/// A value gets so much more room than it has bytes: a delivery grows from its request to its receipt, and the later one takes the place of the earlier. A guess.
const GROWS_BYTES: usize = 64;
/// What a key costs in the fold beside its value: 64 bytes and a place in a table, in vectors that have grown by half of it on average.
const ENTRY_BYTES: usize = 96;
/// Values lie in blocks of so many bytes, or of one value that is longer.
const BLOCK_BYTES: usize = 1 << 20;

/// Ours have 21 bytes at most.
type Key = SmallVec<[u8; 24]>;

/// What is read of the changelogs and not written yet.
pub(super) struct Folds {
    of: BTreeMap<Partition, Fold>,
    bytes: usize,
    most: usize,
}

impl Folds {
    /// For one of so many threads that replay at once.
    pub fn new(threads: usize) -> Self {
        Self { of: BTreeMap::new(), bytes: 0, most: FOLDED_BYTES_MAX / threads.max(1) }
    }

    /// The last value of a key counts.
    pub fn put(&mut self, partition: Partition, key: &[u8], value: Option<&[u8]>) {
        self.bytes += self.of.entry(partition).or_default().put(key, value);
    }

    /// The largest one, when all together are too much.
    pub fn too_much(&self) -> Option<Partition> {
        if self.bytes < self.most {
            return None;
        }
        self.of.iter().max_by_key(|(_, fold)| fold.bytes).map(|(partition, _)| *partition)
    }

    /// That of one partition.
    pub fn of(&self, partition: Partition) -> Option<&Fold> {
        self.of.get(&partition)
    }

    /// It is written.
    pub fn clear(&mut self, partition: Partition) {
        if let Some(fold) = self.of.get_mut(&partition) {
            self.bytes -= fold.bytes;
            fold.clear();
        }
    }

    /// It is read to its end, and its room is given back.
    pub fn forget(&mut self, partition: Partition) {
        self.clear(partition);
        self.of.remove(&partition);
    }
}

/// The last value of each key of one partition.
#[derive(Default)]
pub(super) struct Fold {
    /// In the order in which the keys came, which is nearly their own: a delivery's begins with the time of its request.
    last: IndexMap<Key, Option<Place>, foldhash::fast::RandomState>,
    values: Values,
    bytes: usize,
}

/// Values, in blocks.
#[derive(Default)]
struct Values {
    blocks: Vec<Vec<u8>>,
    /// The block that is being filled.
    filling: usize,
}

/// Where a value lies.
#[derive(Clone, Copy)]
struct Place {
    block: u32,
    start: u32,
    length: u32,
    /// So long may another value be that takes its place.
    room: u32,
}

impl Fold {
    /// Returns about how many bytes more it takes.
    fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> usize {
        let before = self.bytes;
        match self.last.entry(Key::from_slice(key)) {
            Entry::Occupied(mut entry) => {
                let place = entry.get_mut();
                match (value, *place) {
                    (Some(value), Some(old)) if u32::try_from(value.len()).is_ok_and(|length| length <= old.room) => {
                        *place = Some(self.values.replace(old, value))
                    }
                    _ => *place = value.map(|value| self.values.place(value, &mut self.bytes)),
                }
            }
            Entry::Vacant(entry) => {
                entry.insert(value.map(|value| self.values.place(value, &mut self.bytes)));
                self.bytes += ENTRY_BYTES;
            }
        }
        self.bytes - before
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The last value of a key, unless that is a tombstone.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.last.get(key).copied().flatten().map(|place| self.values.at(place))
    }

    /// Each key with its last value, by key: so the store takes them most easily. What is nearly in order already the stable sort puts in order with few comparisons.
    pub fn changes(&self) -> Vec<(&[u8], Option<&[u8]>)> {
        let mut changes: Vec<_> = self.last.iter().map(|(key, place)| (key.as_slice(), place.map(|place| self.values.at(place)))).collect();
        changes.sort_by_key(|(key, _)| *key);
        changes
    }

    fn clear(&mut self) {
        self.last.clear();
        self.values.blocks.iter_mut().for_each(Vec::clear);
        (self.values.filling, self.bytes) = (0, 0);
    }
}

impl Values {
    /// Adds to `bytes` what it takes.
    fn place(&mut self, value: &[u8], bytes: &mut usize) -> Place {
        let room = value.len() + GROWS_BYTES;
        while self.blocks.get(self.filling).is_some_and(|block| block.capacity() - block.len() < room) {
            self.filling += 1;
        }
        if self.filling == self.blocks.len() {
            self.blocks.push(Vec::with_capacity(BLOCK_BYTES.max(room)));
        }
        let block = &mut self.blocks[self.filling];
        let [block_at, start, length, room_for] =
            [self.filling, block.len(), value.len(), room].map(|number| u32::try_from(number).expect("a Kafka record is shorter than 2 GiB"));
        block.extend_from_slice(value);
        block.resize(block.len() + GROWS_BYTES, 0);
        *bytes += room;
        Place { block: block_at, start, length, room: room_for }
    }

    /// It has the room.
    fn replace(&mut self, old: Place, value: &[u8]) -> Place {
        let [block, start] = [old.block, old.start].map(|number| usize::try_from(number).expect("32 bits fit"));
        self.blocks[block][start..start + value.len()].copy_from_slice(value);
        Place { length: u32::try_from(value.len()).expect("its room is no larger"), ..old }
    }

    fn at(&self, place: Place) -> &[u8] {
        let [block, start, length] = [place.block, place.start, place.length].map(|number| usize::try_from(number).expect("32 bits fit"));
        &self.blocks[block][start..start + length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_key_counts_and_a_tombstone_is_one() {
        let mut folds = Folds::new(1);
        let one = Partition(1);
        let long = vec![7; 2 * BLOCK_BYTES];
        for (key, value) in [("b", Some("early")), ("c", Some("gone")), ("a", Some("only")), ("b", Some("later and longer")), ("c", None)] {
            folds.put(one, key.as_bytes(), value.map(str::as_bytes));
        }
        folds.put(one, b"a key that is longer than those of ours are", Some(&long));
        let outgrown = [9; GROWS_BYTES + 6]; // by one byte
        folds.put(one, b"d", Some(b"short"));
        folds.put(one, b"e", Some(b"behind it"));
        folds.put(one, b"d", Some(&outgrown));
        [Some(&b"short again"[..]), None, Some(b"and again")].into_iter().for_each(|value| folds.put(one, b"f", value));
        folds.put(Partition(2), b"a", Some(b"another's"));
        let changes: Vec<(&[u8], Option<&[u8]>)> = vec![
            (b"a", Some(b"only")),
            (b"a key that is longer than those of ours are", Some(&long)),
            (b"b", Some(b"later and longer")),
            (b"c", None),
            (b"d", Some(&outgrown)),
            (b"e", Some(b"behind it")),
            (b"f", Some(b"and again")),
        ];
        assert_eq!(folds.of(one).unwrap().changes(), changes);
        assert_eq!((folds.of(one).unwrap().get(b"b"), folds.of(one).unwrap().get(b"c")), (Some(&b"later and longer"[..]), None));
        folds.clear(one);
        assert!(folds.of(one).unwrap().changes().is_empty() && folds.of(one).unwrap().get(b"b").is_none());
        folds.put(one, b"b", Some(b"anew"));
        assert_eq!(folds.of(one).unwrap().changes(), [(&b"b"[..], Some(&b"anew"[..]))]);
        assert_eq!(folds.of(Partition(2)).unwrap().get(b"a"), Some(&b"another's"[..]));
    }

    #[test]
    fn of_all_partitions_together_no_more_is_folded_than_there_is_room_for() {
        let (mut folds, value) = (Folds::new(1), vec![0; 1 << 20]);
        for number in 0..120_u16 {
            folds.put(Partition(number % 3), &number.to_be_bytes(), Some(&value));
            assert!(folds.too_much().is_none(), "{number}");
        }
        let full = (120..140_u16).find_map(|number| {
            folds.put(Partition(1), &number.to_be_bytes(), Some(&value));
            folds.too_much()
        });
        assert_eq!(full, Some(Partition(1)), "the largest, when they are more than 128 MiB");
        let (blocks, bytes) = (folds.of[&Partition(1)].values.blocks.len(), folds.bytes);
        folds.clear(Partition(1));
        assert!(folds.bytes < bytes && folds.too_much().is_none());
        (0..20_u16).for_each(|number| folds.put(Partition(1), &number.to_be_bytes(), Some(&value)));
        assert_eq!(folds.of[&Partition(1)].values.blocks.len(), blocks, "the room of what was written is used again");
        (0..3).for_each(|partition| folds.forget(Partition(partition)));
        assert_eq!((folds.bytes, folds.of.len()), (0, 0), "and what is read to its end keeps no room");
    }
}
