//! One partition's store: states by key, and the position that belongs to them.

use super::load::Tables;
use super::{Meta, Open, POSITION_KEY, StoreError};
use crate::crash_point::crash_point;
use rocksdb::{BoundColumnFamily, FlushOptions, ReadOptions, WriteBatch, WriteOptions};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The store of one partition. One thread writes it: the one that holds the task.
#[derive(Clone)]
pub struct PartitionStore {
    open: Arc<Open>,
    name: String,
    /// The newest term of this partition in this process, and the one that this value was opened in.
    newest: Arc<Mutex<u64>>,
    mine: u64,
}

/// A scan reads this far ahead. A guess.
const SCAN_AHEAD_BYTES: usize = 1 << 20;

/// What a change takes in a batch beside key and value: its kind, its column family and two lengths, each of a few bytes.
const CHANGE_BYTES: usize = 16;

impl PartitionStore {
    pub(super) fn new(open: Arc<Open>, name: String, newest: Arc<Mutex<u64>>) -> Self {
        let mine = {
            let mut newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
            *newest += 1;
            *newest
        };
        Self { open, name, newest, mine }
    }

    fn family(&self) -> Result<Arc<BoundColumnFamily<'_>>, StoreError> {
        self.open.db.cf_handle(&self.name).ok_or(StoreError::NoPartition)
    }

    /// The value of a key; `None` where there is none.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.open.db.get_cf(&self.family()?, key)?)
    }

    /// Puts (`Some`) and removes (`None`) values, in this order, together with the position that they lead to: all of it or nothing. Not durable before
    /// [`PartitionStore::flush`], or a flush of RocksDB's own; after a crash the store is as it was after some `apply`, never between two.
    ///
    /// [`StoreError::Taken`] for whoever has it no longer. The key of the position is not among the changes: it is a bug.
    pub fn apply<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        changes: impl IntoIterator<Item = (K, Option<V>), IntoIter: Clone>,
        meta: &Meta,
    ) -> Result<(), StoreError> {
        let _held = self.held()?;
        let family = self.family()?;
        let changes = changes.into_iter();
        // Room at once: a batch of megabytes that grows as it is filled touches as much memory again.
        let bytes = changes.clone().map(|(key, value)| CHANGE_BYTES + key.as_ref().len() + value.map_or(0, |value| value.as_ref().len())).sum();
        let mut batch = WriteBatch::with_capacity_bytes(bytes);
        for (key, value) in changes {
            assert!(key.as_ref() != POSITION_KEY, "the position is written with every change");
            match value {
                Some(value) => batch.put_cf(&family, key, value),
                None => batch.delete_cf(&family, key),
            }
        }
        #[cfg(feature = "mutants")]
        if crate::seeded_bug::planted("positions_apart") {
            batch.put(&self.name, meta.write());
        }
        batch.put_cf(&family, POSITION_KEY, meta.write());
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        // With this bug a kill finds what was written too early; without a log of RocksDB's own it would take it back.
        #[cfg(feature = "mutants")]
        options.disable_wal(!crate::seeded_bug::planted("apply_before_commit"));
        Ok(self.open.db.write_opt(batch, &options)?)
    }

    /// As [`PartitionStore::apply`], of many changes in ascending order of their keys, each key once: they are written as tables of their own, which RocksDB takes over
    /// at once. So they pass through no memory of its own and are not written a second time; and they are durable when this returns.
    pub fn load<'a>(&self, changes: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>), IntoIter: Clone>, meta: &Meta) -> Result<(), StoreError> {
        #[cfg(feature = "mutants")]
        if crate::seeded_bug::planted("positions_apart") {
            return self.apply(changes, meta);
        }
        let _held = self.held()?;
        let mut tables = Tables::new(&self.open, &self.name);
        tables.write(changes)?;
        tables.write([(POSITION_KEY, Some(&*meta.write()))])?;
        self.flush()?;
        crash_point!("mid_load");
        tables.take_over(&self.family()?)
    }

    /// While it is held nobody opens the partition. [`StoreError::Taken`] where somebody has.
    fn held(&self) -> Result<MutexGuard<'_, u64>, StoreError> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if *newest == self.mine { Ok(newest) } else { Err(StoreError::Taken) }
    }

    /// Up to where the store reaches; `None` for one to which nothing was ever applied: it is restored from the log's start.
    pub fn meta(&self) -> Result<Option<Meta>, StoreError> {
        #[cfg(feature = "mutants")]
        if crate::seeded_bug::planted("positions_apart") {
            return Ok(self.open.db.get(&self.name)?.map(|bytes| Meta::read(&bytes)).transpose()?);
        }
        Ok(self.get(POSITION_KEY)?.map(|bytes| Meta::read(&bytes)).transpose()?)
    }

    /// Shows every key of one kind (its first byte) with its value, in ascending order.
    pub fn scan(&self, kind: u8, see: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        let mut options = ReadOptions::default();
        // Both bounds, always: without the upper one an iterator crawls over the tombstones of the next kind.
        options.set_iterate_lower_bound(vec![kind]);
        options.set_iterate_upper_bound(vec![kind.checked_add(1).expect("kinds are letters")]);
        options.set_readahead_size(SCAN_AHEAD_BYTES);
        options.fill_cache(false);
        let mut iterator = self.open.db.raw_iterator_cf_opt(&self.family()?, options);
        iterator.seek_to_first();
        while let Some((key, value)) = iterator.item() {
            see(key, value);
            iterator.next();
        }
        Ok(iterator.status()?)
    }

    /// Asks for what was applied to be written to the disk, changes and position together, and does not wait: 64 MB take about a second, as writes are limited
    /// to that. By the engine's thread, which knows when (`FlushPace`).
    pub fn begin_flush(&self) -> Result<(), StoreError> {
        self.flush_with(false)
    }

    /// As [`PartitionStore::begin_flush`], and waits until it is durable: for an ordered end and for tests.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.flush_with(true)
    }

    fn flush_with(&self, wait: bool) -> Result<(), StoreError> {
        let mut options = FlushOptions::default();
        options.set_wait(wait);
        #[cfg(feature = "mutants")]
        if crate::seeded_bug::planted("positions_apart") {
            self.open.db.flush()?;
        }
        Ok(self.open.db.flush_cf_opt(&self.family()?, &options)?)
    }
}
