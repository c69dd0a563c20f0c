//! Opens the tasks of newly assigned partitions: stable positions, the changelog's true end, replay up to it, and where to read each source from.
//!
//! Easily got wrong: the order. The end of the changelog is asked for after the group's *stable* offsets were read, else writes whose commit marker is still
//! on its way are missed.

mod fold;
mod replay;

use super::end_offsets::EndOffsets;
use super::poison::Note;
use super::resume::{self, Known, Oddity};
use super::store::{PartitionStore, StoreError};
use super::stored::Meta;
use super::task::{Task, TaskError};
use super::thread::Shared;
use super::topic_id::topic_id;
use super::watchdog::Watch;
use crate::delivery::{Partition, Timestamp};
use crate::event::input::{Kind, Start};
use crate::observe::engine as metrics;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Longer than the transaction time-out and the coordinator's scan together: the question for stable offsets waits pending transactions out.
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(25);
/// One question to a broker.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two questions that were not answered for all partitions.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Why partitions could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Kafka did not answer, or refused.
    #[error("{doing}: {error}")]
    Kafka {
        /// What we were doing.
        doing: &'static str,
        /// What the client says.
        error: KafkaError,
    },
    /// A client answered nothing in time.
    #[error("{0}: no answer in time")]
    Silent(&'static str),
    /// The state is beyond the end of a source: nobody may guess.
    #[error("the position of {topic}-{partition} lies beyond the log's end: the topic was made anew or lost writes; say with `recado jump` where to go on")]
    BeyondEnd {
        /// The source.
        topic: String,
        /// Its partition.
        partition: u16,
    },
    /// The store.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The store.
    #[error("the state store: {0}")]
    Store(#[from] StoreError),
    /// The note of the record being decided.
    #[error("the state folder: {0}")]
    Folder(#[from] std::io::Error),
}

fn kafka(doing: &'static str) -> impl FnOnce(KafkaError) -> RestoreError {
    move |error| RestoreError::Kafka { doing, error }
}

/// A source topic with the number of its partitions.
pub struct Source {
    /// Its name.
    pub topic: Arc<str>,
    /// How many partitions it has.
    pub partitions: u16,
    /// Where a first start begins.
    pub start: Start,
    /// How many it had when this process first saw it. Those beyond began while it ran: all of them is read, wherever a first start begins.
    pub partitions_first: u16,
}

/// The opened tasks, and the list to assign with the offset of each source.
pub struct Opened {
    /// One for each partition.
    pub tasks: BTreeMap<Partition, Task>,
    /// What to hand to the consumer.
    pub list: TopicPartitionList,
    /// Whether a position record must be committed before the first read: there are new starts.
    pub new_starts: bool,
}

/// Opens the tasks of these partitions. `consumer` is the group's; `beat` is called at least once a second, so that the group sees us alive.
pub fn open<C: ConsumerContext>(
    shared: &Shared,
    consumer: &BaseConsumer<C>,
    watch: &Watch,
    sources: &[Source],
    partitions: &[Partition],
    beat: &mut dyn FnMut(),
) -> Result<Opened, RestoreError> {
    let wanted: Vec<(&Source, Partition)> = partitions
        .iter()
        .flat_map(|&partition| sources.iter().filter(move |source| partition.0 < source.partitions).map(move |source| (source, partition)))
        .collect();
    let committed = committed(consumer, watch, &wanted)?;
    let changelog = ends(consumer, &shared.settings.topics.state, partitions)?;
    #[cfg(feature = "mutants")]
    let changelog = if crate::seeded_bug::planted("stable_end") { stable_ends(shared, consumer, partitions)? } else { changelog };
    let mut tasks = BTreeMap::new();
    let id = topic_id(consumer.client(), &shared.settings.topics.state, QUESTION_TIMEOUT).ok_or(RestoreError::Silent("asking for the changelog's identity"))?;
    let mut stores = BTreeMap::new();
    for &partition in partitions {
        stores.insert(partition, trusted(shared, partition, id)?);
    }
    // A second time those whose damage shows only when all of it is read; what is damaged then too is somebody else's to mend.
    for attempt in 0..2 {
        replay::replay(shared, &mut stores, &changelog, beat)?;
        let mut read = Vec::new();
        for (partition, (store, meta)) in std::mem::take(&mut stores) {
            let note = Note::open(&shared.settings.state_folder.join(format!("deciding-{}", partition.0)))?;
            read.push(Task::new(partition, store, note, meta, crate::clock::now()));
        }
        let rebuilt = rebuild(&mut read, shared.settings.threads);
        for (task, rebuilt) in read.into_iter().zip(rebuilt) {
            let partition = task.partition;
            match rebuilt {
                Ok(()) => drop(tasks.insert(partition, task)),
                Err(TaskError::Store(StoreError::Corrupt(_)) | TaskError::Bytes(_)) if attempt == 0 => {
                    drop(task);
                    stores.insert(partition, emptied(shared, partition, id, "corrupt")?);
                }
                Err(error) => return Err(error.into()),
            }
        }
        if stores.is_empty() {
            break;
        }
    }
    let mut opened = Opened { tasks, list: TopicPartitionList::new(), new_starts: false };
    for (source, partition) in wanted {
        beat();
        place(shared, consumer, &mut opened, source, partition, committed.get(&(source.topic.to_string(), partition)).copied())?;
    }
    for input in shared.inputs.inputs().iter().filter(|input| matches!(input.kind, Kind::Cancel { .. })) {
        let Some(source) = sources.iter().find(|source| *source.topic == *input.topic) else { continue };
        let read: Vec<Partition> = partitions.iter().copied().filter(|partition| partition.0 < source.partitions).collect();
        for (partition, end) in ends(consumer, &source.topic, &read)? {
            if let Some(task) = opened.tasks.get_mut(&partition) {
                task.cancels_end_at(&source.topic, end);
            }
        }
    }
    Ok(opened)
}

/// Reads what each task keeps in memory out of its store, on as many of the machine's cores as each engine thread has.
fn rebuild(tasks: &mut [Task], engines: usize) -> Vec<Result<(), TaskError>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (cores / engines.max(1)).clamp(1, tasks.len().max(1));
    std::thread::scope(|scope| {
        let parts: Vec<_> = tasks
            .chunks_mut(tasks.len().div_ceil(threads).max(1))
            .map(|part| scope.spawn(move || part.iter_mut().map(Task::rebuild).collect::<Vec<_>>()))
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// The group's stable positions: the question waits for pending transactions, ours of a former life included.
fn committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    watch: &Watch,
    wanted: &[(&Source, Partition)],
) -> Result<HashMap<(String, Partition), i64>, RestoreError> {
    let mut list = TopicPartitionList::new();
    for (source, partition) in wanted {
        list.add_partition(&source.topic, partition.kafka());
    }
    let _guard = watch.enter("committed");
    let answer = consumer.committed_offsets(list, COMMITTED_TIMEOUT).map_err(kafka("asking for the group's positions"))?;
    Ok(answer
        .elements()
        .iter()
        .filter_map(|element| match element.offset() {
            Offset::Offset(offset) => Some(((element.topic().to_owned(), Partition::from_kafka(element.partition())?), offset)),
            _ => None,
        })
        .collect())
}

/// The read-uncommitted end of these partitions of a topic.
fn ends<C: ConsumerContext>(consumer: &BaseConsumer<C>, topic: &str, partitions: &[Partition]) -> Result<BTreeMap<Partition, i64>, RestoreError> {
    #[expect(unsafe_code, reason = "EndOffsets must not outlive the client")]
    // SAFETY: `questions` ends with this function, and the consumer is borrowed for longer.
    let mut questions = unsafe { EndOffsets::new(consumer.client()) };
    let mut ends = BTreeMap::new();
    let deadline = crate::clock::monotonic() + QUESTION_TIMEOUT * 3;
    let mut again = false;
    while ends.len() < partitions.len() {
        if crate::clock::monotonic() > deadline {
            return Err(RestoreError::Silent("asking for the end of a topic"));
        }
        if again {
            std::thread::sleep(ASK_AGAIN);
        }
        again = true;
        // Of the changelog, which this client does not read, nothing renews what it knows: it would answer by itself that a partition is not there which
        // `recado topics --grow` has made, and after a broker's restart it would ask with the old leader's epoch, and be refused, for minutes.
        if let Err(error) = consumer.fetch_metadata(Some(topic), QUESTION_TIMEOUT) {
            tracing::warn!(%error, topic, "The partitions could not be asked for; asking on.");
        }
        let missing = partitions.iter().filter(|partition| !ends.contains_key(*partition));
        questions.ask(missing.map(|&partition| (topic.to_owned(), partition)), QUESTION_TIMEOUT);
        while questions.open() > 0 {
            match questions.answer(QUESTION_TIMEOUT + Duration::from_secs(1)) {
                Some(Ok(answers)) => ends.extend(answers.into_iter().filter_map(|end| Some((end.partition, end.offset?)))),
                Some(Err(error)) => tracing::warn!(%error, topic, "The end could not be asked for; asking again."),
                None => return Err(RestoreError::Silent("asking for the end of a topic")),
            }
        }
    }
    Ok(ends)
}

/// The store of a partition, emptied when it cannot be trusted: corrupt, older than the changelog keeps its tombstones, or of another topic of that name.
fn trusted(shared: &Shared, partition: Partition, topic_id: [u8; 16]) -> Result<(PartitionStore, Meta), RestoreError> {
    let store = shared.store.partition(partition)?;
    let why = match store.meta() {
        Ok(None) => return Ok((store, empty(topic_id))),
        Ok(Some(meta)) if meta.topic_id != topic_id => "topic_recreated",
        Ok(Some(meta)) if resume::too_old(meta.wall, crate::clock::wall(), shared.settings.store_age_max) => "too_old",
        Ok(Some(meta)) => return Ok((store, meta)),
        Err(StoreError::Corrupt(_)) => "corrupt",
        Err(other) => return Err(other.into()),
    };
    drop(store);
    emptied(shared, partition, topic_id, why)
}

fn emptied(shared: &Shared, partition: Partition, topic_id: [u8; 16], why: &'static str) -> Result<(PartitionStore, Meta), RestoreError> {
    tracing::warn!(partition = partition.0, why, "The partition's store cannot be trusted; it is rebuilt from the changelog.");
    metrics::rebuilt(why);
    shared.store.drop_partition(partition)?;
    Ok((shared.store.partition(partition)?, empty(topic_id)))
}

/// The position of a store that holds nothing. It is of no time before it is replayed to the end: who dies half way has not seen the tombstones of the rest.
fn empty(topic_id: [u8; 16]) -> Meta {
    Meta { changelog_position: 0, next_offsets: BTreeMap::new(), wall: Timestamp::from_millis(0), topic_id }
}

/// What a read_committed client takes for the end of a log: its last stable offset.
#[cfg(feature = "mutants")]
fn stable_ends<C: ConsumerContext>(shared: &Shared, consumer: &BaseConsumer<C>, partitions: &[Partition]) -> Result<BTreeMap<Partition, i64>, RestoreError> {
    let end = |partition| Ok((partition, bounds(consumer, &shared.settings.topics.state, partition, "asking for the changelog's end")?.1));
    partitions.iter().copied().map(end).collect()
}

/// Start and end of a log. A leader that has just moved, or a topic that was just made, is worth more than one question.
fn bounds<C: ConsumerContext>(consumer: &BaseConsumer<C>, topic: &str, partition: Partition, doing: &'static str) -> Result<(i64, i64), RestoreError> {
    let deadline = crate::clock::monotonic() + QUESTION_TIMEOUT;
    loop {
        match consumer.fetch_watermarks(topic, partition.kafka(), QUESTION_TIMEOUT) {
            Err(error) if retriable(&error) && crate::clock::monotonic() < deadline => std::thread::sleep(ASK_AGAIN),
            answer => return answer.map_err(kafka(doing)),
        }
    }
}

/// Whether reading may go on after this error.
fn retriable(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::NotLeaderForPartition
        )
    )
}

/// Where one source of one task is read from.
fn place<C: ConsumerContext>(
    shared: &Shared,
    consumer: &BaseConsumer<C>,
    opened: &mut Opened,
    source: &Source,
    partition: Partition,
    committed: Option<i64>,
) -> Result<(), RestoreError> {
    let (log_start, log_end) = bounds(consumer, &source.topic, partition, "asking for a source's bounds")?;
    let task = opened.tasks.get_mut(&partition).expect("each wanted partition has a task");
    let recorded = task.positions.0.get(&*source.topic).copied();
    #[cfg(feature = "mutants")]
    let recorded = recorded.filter(|_| committed.is_none() || !crate::seeded_bug::without("position_record"));
    let first = match source.start {
        _ if recorded.is_some() || committed.is_some() => log_end,
        _ if partition.0 >= source.partitions_first => log_start,
        Start::Earliest => log_start,
        Start::Latest => log_end,
        Start::At(time) => offset_at(consumer, source, partition, time)?.unwrap_or(log_end),
    };
    let start = resume::start(Known { recorded, committed, log_start, log_end, first })
        .map_err(|_| RestoreError::BeyondEnd { topic: source.topic.to_string(), partition: partition.0 })?;
    if let Some(oddity) = start.oddity {
        metrics::oddity(oddity_word(oddity));
        tracing::warn!(
            topic = &*source.topic,
            partition = partition.0,
            oddity = oddity_word(oddity),
            recorded,
            committed,
            log_start,
            log_end,
            start = start.offset,
            "State, group and log disagree about a position; the state counts."
        );
    }
    task.positions.0.insert(source.topic.to_string(), start.offset);
    // Receipts wait while an input is read again; for receipts that are read again themselves nothing waits, or it would wait for ever.
    if let Some(until) = start.reread_until.filter(|_| source.topic != shared.settings.topics.receipts) {
        task.reread.insert(source.topic.to_string(), until);
    }
    opened.new_starts |= start.new;
    opened.list.add_partition_offset(&source.topic, partition.kafka(), Offset::Offset(start.offset)).map_err(kafka("assigning"))
}

fn offset_at<C: ConsumerContext>(consumer: &BaseConsumer<C>, source: &Source, partition: Partition, time: Timestamp) -> Result<Option<i64>, RestoreError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&source.topic, partition.kafka(), Offset::Offset(time.millis())).map_err(kafka("asking for the offset of a time"))?;
    let answer = consumer.offsets_for_times(list, QUESTION_TIMEOUT).map_err(kafka("asking for the offset of a time"))?;
    Ok(answer.elements().first().and_then(|element| match element.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }))
}

fn oddity_word(oddity: Oddity) -> &'static str {
    match oddity {
        Oddity::GroupBehind => "group_behind",
        Oddity::GroupAhead => "group_ahead",
        Oddity::Truncated => "truncated",
        Oddity::BeyondEnd => "beyond_end",
    }
}
