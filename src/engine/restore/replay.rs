//! Replays changelogs: each from the position that its store says up to its end, folded in memory, and written in one batch.
//!
//! Easily got wrong: the end lies behind ends of transactions that no record shows. It is reached by position; and to ask for positions costs more than a record.

use super::{RestoreError, bounds, emptied, kafka, retriable};
use crate::crash_point::crash_point;
use crate::delivery::Partition;
use crate::engine::fetch::{Fetched, Queue};
use crate::engine::store::PartitionStore;
use crate::engine::stored::{Meta, POSITION_KEY, Positions};
use crate::engine::task::TaskError;
use crate::engine::thread::Shared;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// The whole replay gives up after this; the process restarts, and with a store that was trusted goes on from what is flushed.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(600);
/// So near to the end of a changelog its position is looked at after each batch; before that only where nothing comes. A guess: ends of transactions alone may
/// lie behind the last record.
const NEAR_END: i64 = 100;
/// So much of all changelogs of this process together (each thread takes its part) is folded in memory before the largest part of it is written: three million
/// tombstones, or half a million deliveries. A guess.
const FOLDED_BYTES_MAX: usize = 256 << 20;
/// What a key costs in the fold beside its own bytes and those of its value. A guess.
const ENTRY_BYTES: usize = 96;
/// So many keys are worth a flush at once. A guess.
const FLUSHED_FROM: usize = 20_000;

/// The last value of each key.
type Fold = HashMap<Vec<u8>, Option<Vec<u8>>, foldhash::fast::RandomState>;

/// What is read of the changelogs and not written yet.
struct Folds {
    /// By partition, with about how many bytes it takes.
    of: BTreeMap<Partition, (Fold, usize)>,
    bytes: usize,
    most: usize,
}

impl Folds {
    fn new(threads: usize) -> Self {
        Self { of: BTreeMap::new(), bytes: 0, most: FOLDED_BYTES_MAX / threads.max(1) }
    }

    /// The last value of a key counts.
    fn put(&mut self, partition: Partition, key: &[u8], value: Option<&[u8]>) {
        let (fold, bytes) = self.of.entry(partition).or_default();
        let length = value.map_or(0, <[u8]>::len);
        let (more, less) = match fold.get_mut(key) {
            Some(before) => (length, std::mem::replace(before, value.map(<[u8]>::to_vec)).map_or(0, |before| before.len())),
            None => {
                fold.insert(key.to_vec(), value.map(<[u8]>::to_vec));
                (ENTRY_BYTES + key.len() + length, 0)
            }
        };
        *bytes = (*bytes + more).saturating_sub(less);
        self.bytes = (self.bytes + more).saturating_sub(less);
    }

    /// The largest one, when all together are too much.
    fn too_much(&mut self) -> Option<(Partition, Fold)> {
        if self.bytes < self.most {
            return None;
        }
        let largest = self.of.iter().max_by_key(|(_, (_, bytes))| *bytes).map(|(partition, _)| *partition)?;
        Some((largest, self.take(largest)))
    }

    /// All of one partition.
    fn take(&mut self, partition: Partition) -> Fold {
        let (fold, bytes) = self.of.remove(&partition).unwrap_or_default();
        self.bytes = self.bytes.saturating_sub(bytes);
        fold
    }
}

/// Reads each changelog from the stored position to its end and folds it into the store.
pub(super) fn replay(
    shared: &Shared,
    stores: &mut BTreeMap<Partition, (PartitionStore, Meta)>,
    ends: &BTreeMap<Partition, i64>,
    beat: &mut dyn FnMut(),
) -> Result<(), RestoreError> {
    let reader = Reader::open(shared)?;
    let mut list = TopicPartitionList::new();
    for (&partition, (store, meta)) in stores.iter_mut() {
        let end = ends.get(&partition).copied().unwrap_or(0);
        let (start, log_end) = reader.watermarks(partition)?;
        if meta.changelog_position > end || (meta.changelog_position > 0 && meta.changelog_position < start) {
            let (fresh, empty) = emptied(shared, partition, meta.topic_id, "outside_log")?;
            (*store, *meta) = (fresh, empty);
        }
        meta.changelog_position = meta.changelog_position.max(start);
        if meta.changelog_position < end {
            list.add_partition_offset(&shared.settings.topics.state, partition.kafka(), Offset::Offset(meta.changelog_position))
                .map_err(kafka("reading the changelog"))?;
        }
        tracing::debug!(partition = partition.0, from = meta.changelog_position, end, log_end, "Replaying.");
    }
    if list.count() > 0 {
        reader.replay(&list, stores, ends, beat)?;
    }
    Ok(())
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
            .set("fetch.wait.max.ms", "20");
        let consumer = config.create().map_err(kafka("making the changelog's reader"))?;
        Ok(Self { consumer, topic: shared.settings.topics.state.clone(), threads: shared.settings.threads })
    }

    fn watermarks(&self, partition: Partition) -> Result<(i64, i64), RestoreError> {
        bounds(&self.consumer, &self.topic, partition, "asking for the changelog's start")
    }

    fn replay(
        &self,
        list: &TopicPartitionList,
        stores: &mut BTreeMap<Partition, (PartitionStore, Meta)>,
        ends: &BTreeMap<Partition, i64>,
        beat: &mut dyn FnMut(),
    ) -> Result<(), RestoreError> {
        self.consumer.assign(list).map_err(kafka("reading the changelog"))?;
        let deadline = crate::clock::monotonic() + REPLAY_TIMEOUT;
        let mut folds = Folds::new(self.threads);
        let mut since_beat = crate::clock::monotonic();
        let mut left: Vec<Partition> = list.elements().iter().filter_map(|element| Partition::from_kafka(element.partition())).collect();
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
                    let (_, meta) = stores.get_mut(&partition).expect("as above");
                    meta.changelog_position = meta.changelog_position.max(position);
                    meta.wall = crate::clock::wall();
                    write(stores, partition, folds.take(partition))?;
                }
            }
        }
        tracing::info!(records = read, partitions = list.count(), "Replayed the changelog.");
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
    meta.changelog_position = offset + 1;
    let Some(key) = key else { return Ok(()) };
    folds.put(partition, key, value);
    match folds.too_much() {
        Some((largest, fold)) => write(stores, largest, fold),
        None => Ok(()),
    }
}

/// Writes folded changes and the position that they reach, in one batch.
fn write(stores: &mut BTreeMap<Partition, (PartitionStore, Meta)>, partition: Partition, mut fold: Fold) -> Result<(), RestoreError> {
    let (store, meta) = stores.get_mut(&partition).expect("only stores that are being opened are written");
    if let Some(Some(positions)) = fold.remove(POSITION_KEY) {
        meta.next_offsets = Positions::read(&positions).map_err(TaskError::from)?.0;
    }
    let mut changes: Vec<_> = fold.into_iter().collect();
    changes.sort_unstable();
    store.apply(changes.iter().map(|(key, value)| (key.as_slice(), value.as_deref())), meta)?;
    // Else a process that dies soon once more replays it once more.
    if changes.len() >= FLUSHED_FROM {
        store.begin_flush()?;
    }
    Ok(())
}

/// How many offsets of the changelogs are still to be replayed.
#[cfg(feature = "mutants")]
fn unread(stores: &BTreeMap<Partition, (PartitionStore, Meta)>, ends: &BTreeMap<Partition, i64>) -> i64 {
    stores.iter().map(|(partition, (_, meta))| (ends.get(partition).copied().unwrap_or(0) - meta.changelog_position).max(0)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_all_partitions_together_no_more_is_folded_than_there_is_room_for() {
        let (mut folds, value) = (Folds::new(1), vec![0; 1 << 20]);
        for number in 0..250_u16 {
            folds.put(Partition(number % 3), &number.to_be_bytes(), Some(&value));
            assert!(folds.too_much().is_none(), "{number}");
        }
        folds.put(Partition(0), &0_u16.to_be_bytes(), None);
        folds.put(Partition(0), &0_u16.to_be_bytes(), Some(&value));
        let mut written = None;
        for number in 250..260_u16 {
            folds.put(Partition(1), &number.to_be_bytes(), Some(&value));
            written = written.or_else(|| folds.too_much());
        }
        let (partition, fold) = written.expect("more than 256 MiB");
        assert_eq!(partition, Partition(1), "the largest");
        assert!(fold.len() > 83 && folds.bytes < 180 << 20, "{} keys, {} bytes are left", fold.len(), folds.bytes);
        (0..3).for_each(|partition| drop(folds.take(Partition(partition))));
        assert_eq!(folds.bytes, 0);
    }
}
