//! Replays changelogs: each from the position that its store says up to its end, folded in memory, and written in one batch, or as tables where that is much.
//!
//! Easily got wrong: the end lies behind ends of transactions that no record shows. It is reached by position; and to ask for positions costs more than a record.
//! And tables of one partition that overlap are written once more by compaction: so of long changelogs few are read at a time, and each is folded as a whole if it can be.

use super::fold::Folds;
use super::{RestoreError, bounds, emptied, kafka, retriable};
use crate::crash_point::crash_point;
use crate::delivery::Partition;
use crate::engine::fetch::{Fetched, Queue};
use crate::engine::store::{PartitionStore, StoreError};
use crate::engine::stored::{Meta, POSITION_KEY, Positions};
use crate::engine::task::TaskError;
use crate::engine::thread::Shared;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The whole replay gives up after this; the process restarts, and with a store that was trusted goes on from what is flushed.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(600);
/// So near to the end of a changelog its position is looked at after each batch; before that only where nothing comes. A guess: ends of transactions alone may
/// lie behind the last record.
const NEAR_END: i64 = 100;
/// So many records are worth a flush at once. A guess.
const FLUSHED_FROM: u64 = 20_000;
/// With so many records to read, all changelogs together, no more than a few are read at a time: the next one while one is folded. More than a kill soon behind a burst
/// has replayed (`UNFLUSHED_MAX` in `thread/upkeep.rs`), which goes through memory anyway. (The rig's are short: it takes those of an odd length for long.)
const LONG_FROM: i64 = 1_500_000;
const AT_A_TIME: usize = 2;
/// So much of a partition is written as tables, which waits for the disk and spares the processor; less goes through RocksDB's memory, and a kill -9 soon behind a
/// flush, whose disk is kept, waits for nothing. A guess. (The rig has less: it writes whatever is in odd partitions as tables.)
const LOADED_FROM: usize = 16 << 20;

/// Reads each changelog from the stored position to its end and folds it into the store.
pub(super) fn replay(
    shared: &Shared,
    stores: &mut BTreeMap<Partition, (PartitionStore, Meta)>,
    ends: &BTreeMap<Partition, i64>,
    beat: &mut dyn FnMut(),
) -> Result<(), RestoreError> {
    let reader = Reader::open(shared)?;
    let mut turns = Turns::default();
    for (&partition, (store, meta)) in stores.iter_mut() {
        let end = ends.get(&partition).copied().unwrap_or(0);
        let (start, log_end) = reader.watermarks(partition)?;
        if meta.changelog_position > end || (meta.changelog_position > 0 && meta.changelog_position < start) {
            let (fresh, empty) = emptied(shared, partition, meta.topic_id, "outside_log")?;
            (*store, *meta) = (fresh, empty);
        }
        meta.changelog_position = meta.changelog_position.max(start);
        if meta.changelog_position < end {
            turns.add(partition, meta.changelog_position, end);
        }
        tracing::debug!(partition = partition.0, from = meta.changelog_position, end, log_end, "Replaying.");
    }
    if !turns.waiting.is_empty() {
        reader.replay(turns, stores, ends, beat)?;
    }
    Ok(())
}

/// Changelogs that are still to be read, each from where.
#[derive(Default)]
struct Turns {
    waiting: VecDeque<(Partition, i64)>,
    records: i64,
}

impl Turns {
    fn add(&mut self, partition: Partition, from: i64, end: i64) {
        self.waiting.push_back((partition, from));
        self.records += end - from;
    }

    /// Those that are read at first.
    fn first(&mut self) -> Vec<(Partition, i64)> {
        let long = self.records >= LONG_FROM || (cfg!(feature = "mutants") && self.records % 2 == 1);
        let count = if long { self.waiting.len().min(AT_A_TIME) } else { self.waiting.len() };
        self.waiting.drain(..count).collect()
    }

    /// Another one, when one is read to its end.
    fn next(&mut self) -> Option<(Partition, i64)> {
        self.waiting.pop_front()
    }
}

/// A second, assign-only consumer for changelogs.
struct Reader {
    consumer: BaseConsumer,
    topic: Arc<str>,
    threads: usize,
}

impl Reader {
    fn open(shared: &Shared) -> Result<Self, RestoreError> {
        let mut config = shared.settings.kafka.clone();
        config
            // It joins nothing and commits nothing, but the client asks for its group's coordinator: this group is one that the engine has the right to name.
            .set("group.id", format!("{}engine", shared.settings.topics.prefix()))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            .set("fetch.wait.max.ms", "20")
            // The client stops fetching where so much waits for us, and looks again after a second unless told otherwise: most of a replay was that wait.
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.queue.backoff.ms", "5");
        let consumer = config.create().map_err(kafka("making the changelog's reader"))?;
        Ok(Self { consumer, topic: shared.settings.topics.state.clone(), threads: shared.settings.threads })
    }

    fn watermarks(&self, partition: Partition) -> Result<(i64, i64), RestoreError> {
        bounds(&self.consumer, &self.topic, partition, "asking for the changelog's start")
    }

    /// Reads no further in it: what still came would be folded, and written by nobody.
    fn end(&self, partition: Partition) -> Result<(), RestoreError> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, partition.kafka());
        self.consumer.incremental_unassign(&list).map_err(kafka("reading the changelog"))
    }

    /// Reads on, from there.
    fn begin(&self, changelogs: impl IntoIterator<Item = (Partition, i64)>) -> Result<(), RestoreError> {
        let mut list = TopicPartitionList::new();
        for (partition, from) in changelogs {
            list.add_partition_offset(&self.topic, partition.kafka(), Offset::Offset(from)).map_err(kafka("reading the changelog"))?;
        }
        self.consumer.incremental_assign(&list).map_err(kafka("reading the changelog"))
    }

    fn replay(
        &self,
        mut turns: Turns,
        stores: &mut BTreeMap<Partition, (PartitionStore, Meta)>,
        ends: &BTreeMap<Partition, i64>,
        beat: &mut dyn FnMut(),
    ) -> Result<(), RestoreError> {
        let mut left: Vec<Partition> = turns.waiting.iter().map(|(partition, _)| *partition).collect();
        let partitions = left.len();
        self.begin(turns.first())?;
        let deadline = crate::clock::monotonic() + REPLAY_TIMEOUT;
        let mut folds = Folds::new(self.threads);
        let mut since_beat = crate::clock::monotonic();
        let mut read = 0u64;
        let mut batch = Vec::new();
        #[expect(unsafe_code, reason = "the queue must not outlive the client")]
        // SAFETY: it ends with this function, and the consumer is borrowed for longer.
        let queue = unsafe { Queue::of_consumer(self.consumer.client()) };
        #[cfg(feature = "mutants")]
        let mut half = Some(unread(stores, ends) / 2);
        while !left.is_empty() {
            let now = crate::clock::monotonic();
            if now.saturating_sub(since_beat) > Duration::from_millis(500) {
                beat();
                since_beat = now;
            }
            if now > deadline {
                return Err(RestoreError::Silent("reading the changelog to its end"));
            }
            // Many at once: a poll for each record costs more than the record.
            queue.take(&mut batch);
            let mut look = batch.is_empty();
            if look {
                match self.consumer.poll(Duration::from_millis(50)) {
                    Some(Ok(message)) => {
                        let Some(partition) = Partition::from_kafka(message.partition()) else { continue };
                        read += 1;
                        take(stores, &mut folds, partition, message.offset(), message.key(), message.payload())?;
                    }
                    Some(Err(KafkaError::PartitionEOF(_))) | None => {}
                    Some(Err(error)) if retriable(&error) => tracing::warn!(%error, "The changelog cannot be read now; trying on."),
                    Some(Err(error)) => return Err(RestoreError::Kafka { doing: "reading the changelog", error }),
                }
            }
            for fetched in batch.drain(..) {
                match fetched {
                    Fetched::Record(record) => {
                        read += 1;
                        take(stores, &mut folds, record.partition(), record.offset(), record.key(), record.value())?;
                        look |= record.offset() + NEAR_END >= ends.get(&record.partition()).copied().unwrap_or(0);
                    }
                    Fetched::End { .. } => look = true,
                    Fetched::Fault { error, .. } => {
                        let error = KafkaError::MessageConsumption(error);
                        if !retriable(&error) {
                            return Err(RestoreError::Kafka { doing: "reading the changelog", error });
                        }
                        tracing::warn!(%error, "The changelog cannot be read now; trying on.");
                    }
                }
            }
            crash_point!("mid_restore", if half.take_if(|half| unread(stores, ends) <= *half).is_some());
            // Positions pass over commit markers, records do not: the end is reached by position.
            if !look {
                continue;
            }
            let positions = self.consumer.position().map_err(kafka("reading the changelog"))?;
            for element in positions.elements() {
                if let (Some(partition), Offset::Offset(position)) = (Partition::from_kafka(element.partition()), element.offset())
                    && position >= ends.get(&partition).copied().unwrap_or(0)
                    && let Some(at) = left.iter().position(|other| *other == partition)
                {
                    left.swap_remove(at);
                    self.end(partition)?;
                    let (_, meta) = stores.get_mut(&partition).expect("as above");
                    meta.changelog_position = meta.changelog_position.max(position);
                    meta.wall = crate::clock::wall();
                    let durable = write(stores, partition, &mut folds)?;
                    folds.forget(partition);
                    // Else a process that dies soon once more replays it once more.
                    if read >= FLUSHED_FROM && !durable {
                        stores[&partition].0.begin_flush()?;
                    }
                    if let Some(next) = turns.next() {
                        self.begin([next])?;
                    }
                }
            }
        }
        tracing::info!(records = read, partitions, "Replayed the changelog.");
        Ok(())
    }
}

/// One record of the changelog: the last value of a key counts.
fn take(
    stores: &mut BTreeMap<Partition, (PartitionStore, Meta)>,
    folds: &mut Folds,
    partition: Partition,
    offset: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Result<(), RestoreError> {
    let (_, meta) = stores.get_mut(&partition).expect("only stores that are being opened are read");
    if offset < meta.changelog_position {
        return Ok(()); // a client that goes back, as it may when the leader changes, must not bring older values back
    }
    meta.changelog_position = offset + 1;
    let Some(key) = key else { return Ok(()) };
    folds.put(partition, key, value);
    match folds.too_much() {
        Some(largest) => write(stores, largest, folds).map(drop),
        None => Ok(()),
    }
}

/// Writes folded changes and the position that they reach, all of it or nothing. Whether it is durable.
fn write(stores: &mut BTreeMap<Partition, (PartitionStore, Meta)>, partition: Partition, folds: &mut Folds) -> Result<bool, RestoreError> {
    let (store, meta) = stores.get_mut(&partition).expect("only stores that are being opened are written");
    let Some(fold) = folds.of(partition) else {
        // Ends of transactions alone: the position moves all the same.
        store.apply(std::iter::empty::<(&[u8], Option<&[u8]>)>(), meta)?;
        return Ok(false);
    };
    if let Some(positions) = fold.get(POSITION_KEY) {
        meta.next_offsets = Positions::read(positions).map_err(TaskError::from)?.0;
    }
    let changes = fold.changes();
    let changes = changes.iter().copied().filter(|(key, _)| *key != POSITION_KEY);
    let much = fold.bytes() >= LOADED_FROM || (cfg!(feature = "mutants") && partition.0 % 2 == 1);
    let loaded = much
        && match store.load(changes.clone(), meta) {
            // To take tables over RocksDB reads what is there, and that is damaged. What reads all of it finds the same, and empties the partition.
            Err(StoreError::Corrupt(error)) => {
                tracing::warn!(partition = partition.0, error, "What was replayed could not be loaded into the partition's store.");
                false
            }
            other => other.map(|()| true)?,
        };
    if !loaded {
        store.apply(changes, meta)?;
    }
    folds.clear(partition);
    Ok(loaded)
}

/// How many offsets of the changelogs are still to be replayed.
#[cfg(feature = "mutants")]
fn unread(stores: &BTreeMap<Partition, (PartitionStore, Meta)>, ends: &BTreeMap<Partition, i64>) -> i64 {
    stores.iter().map(|(partition, (_, meta))| (ends.get(partition).copied().unwrap_or(0) - meta.changelog_position).max(0)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Timestamp;
    use crate::engine::store::tests::tables;
    use crate::engine::store::{Options, Store};

    const ONE: Partition = Partition(1);

    /// A store in which nothing is, whose position is said to be 7.
    fn at_seven(folder: &std::path::Path) -> BTreeMap<Partition, (PartitionStore, Meta)> {
        let store = Store::open(folder, "a", &Options::default()).unwrap();
        let meta = Meta { changelog_position: 7, next_offsets: BTreeMap::new(), wall: Timestamp::from_millis(5), topic_id: [3; 16] };
        BTreeMap::from([(ONE, (store.partition(ONE).unwrap(), meta))])
    }

    #[test]
    fn a_tail_of_ends_of_transactions_alone_moves_the_position_in_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let mut stores = at_seven(folder.path());
        assert_eq!(stores[&ONE].0.meta().unwrap(), None);
        write(&mut stores, ONE, &mut Folds::new(1)).unwrap();
        let (store, meta) = &stores[&ONE];
        assert_eq!(store.meta().unwrap().as_ref(), Some(meta));
    }

    /// So many values of a tenth of what makes much, from this offset on.
    fn taken(stores: &mut BTreeMap<Partition, (PartitionStore, Meta)>, folds: &mut Folds, from: i64, count: i64) {
        let value: Vec<u8> = (0..LOADED_FROM / 10).map(|at| u8::try_from(at % 251).unwrap()).collect();
        for offset in from..from + count {
            take(stores, folds, ONE, offset, Some(&offset.to_be_bytes()), Some(&value)).unwrap();
        }
    }

    #[test]
    fn much_of_a_partition_is_written_as_tables_and_little_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (mut stores, mut folds) = (at_seven(folder.path()), Folds::new(1));
        for (loaded, from, count) in [(true, 7, 11), (cfg!(feature = "mutants"), 18, 1)] {
            let before = tables(folder.path()).len();
            taken(&mut stores, &mut folds, from, count);
            assert_eq!(write(&mut stores, ONE, &mut folds).unwrap(), loaded);
            assert_eq!(tables(folder.path()).len() > before, loaded);
            let (store, meta) = &stores[&ONE];
            assert_eq!(store.meta().unwrap().as_ref(), Some(meta));
            assert!(store.get(&(from + count - 1).to_be_bytes()).unwrap().is_some());
        }
    }

    #[test]
    fn what_cannot_be_loaded_into_a_damaged_store_is_applied_to_it_so_that_the_scan_finds_the_damage() {
        let folder = tempfile::tempdir().unwrap();
        let (mut stores, mut folds) = (at_seven(folder.path()), Folds::new(1));
        taken(&mut stores, &mut folds, 7, 11);
        assert!(write(&mut stores, ONE, &mut folds).unwrap());
        let meta = stores.remove(&ONE).unwrap().1;
        drop(stores);
        for table in tables(folder.path()) {
            let mut bytes = std::fs::read(&table).unwrap();
            if bytes.len() > LOADED_FROM {
                let half = bytes.len() / 2;
                bytes[..half].iter_mut().step_by(1_000).for_each(|byte| *byte ^= 1);
                std::fs::write(&table, bytes).unwrap();
            }
        }
        let store = Store::open(folder.path(), "a", &Options::default()).unwrap().partition(ONE).unwrap();
        let mut stores = BTreeMap::from([(ONE, (store, Meta { changelog_position: 7, ..meta }))]);
        taken(&mut stores, &mut folds, 7, 11);
        assert!(!write(&mut stores, ONE, &mut folds).unwrap());
        assert_eq!(stores[&ONE].0.meta().unwrap().as_ref(), Some(&stores[&ONE].1));
    }

    #[test]
    fn of_long_changelogs_few_are_read_at_a_time_and_all_of_short_ones() {
        for (length, first) in [(LONG_FROM / 5, 4), (LONG_FROM, AT_A_TIME)] {
            let mut turns = Turns::default();
            (0..4).for_each(|number| turns.add(Partition(number), 10, 10 + length));
            assert_eq!((turns.first().len(), std::iter::from_fn(|| turns.next()).count()), (first, 4 - first), "{length} records each");
        }
    }

    #[test]
    fn a_record_that_a_client_gives_again_brings_no_older_value_back() {
        let folder = tempfile::tempdir().unwrap();
        let (mut stores, mut folds) = (at_seven(folder.path()), Folds::new(1));
        for (offset, value) in [(7, "older"), (8, "newer"), (7, "older")] {
            take(&mut stores, &mut folds, ONE, offset, Some(b"key"), Some(value.as_bytes())).unwrap();
        }
        assert_eq!(stores[&ONE].1.changelog_position, 9);
        assert_eq!(folds.of(ONE).unwrap().get(b"key"), Some(b"newer".as_slice()));
    }
}
