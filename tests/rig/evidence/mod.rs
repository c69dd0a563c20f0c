//! What a run left behind, as the judge sees it: every topic read to its end and decoded, the logs of its transactions, the send log, the crash log; and what a reader of
//! statuses saw while the faults went on.

pub mod found;
pub mod watcher;

use crate::avro;
use crate::bank::Written;
use crate::canaries::Canaries;
use crate::faults::Kill;
use crate::fold;
use crate::part::PER_SECOND;
use crate::plan::Plan;
use crate::quiet::Quiet;
use crate::segments::Log;
use crate::stage::{PARTITIONS, Profile};
use crate::support;
use found::{Found, Raw};
use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message, OwnedMessage};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use recado::event::records::{Dispatch, JournalEntry, Returned, StatusRecord};
use recado::simulator::Line;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One record, decoded.
#[derive(Clone, Debug)]
pub struct Row<T> {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// Its timestamp, ms since 1970: of the append, but for statuses and state. Where a broker's clock was set wrong, as if it had been right.
    pub at: i64,
    pub what: T,
}

/// Places and bytes of records.
pub type Places = BTreeMap<(i32, i64), Vec<u8>>;

/// Everything.
#[derive(Clone)]
pub struct Evidence {
    pub plan: Plan,
    /// Whether commits follow each other so quickly that a timer which is not held fires within its second.
    pub prompt: bool,
    /// How long what is decided waits for its commit, and how long a lease is: as the configuration says, in real ms.
    pub commit_ms: i64,
    pub lease_ms: i64,
    /// Name and roles of each process that there is.
    pub instances: Vec<(&'static str, &'static str)>,
    pub written: Vec<Written>,
    pub kills: Vec<Kill>,
    pub lines: Vec<Line>,
    pub statuses: Vec<Row<StatusRecord>>,
    pub dispatches: Vec<Row<Dispatch>>,
    pub journal: Vec<Row<JournalEntry>>,
    pub returned: Vec<Row<Returned>>,
    /// The position records of the changelog, in the order of its log.
    pub positions: Vec<Row<BTreeMap<String, i64>>>,
    /// The logs of the topics that are written in transactions, by topic and partition.
    pub logs: Arc<BTreeMap<(Arc<str>, i32), Log>>,
    /// Topic, partition and offset of the record that each dead letter stands for.
    pub dead: Vec<(String, i32, i64, String)>,
    /// Statuses as they were seen during the faults, and as they lie there now.
    pub seen: Places,
    pub lies: Places,
    /// Where that reader was shown an offset that does not follow the one before it.
    pub backwards: Vec<String>,
    /// Stretches in which a record of the rig's own waited for its acknowledgement: brokers or machine were slow, whatever Recado did. ms since 1970.
    pub slow: Vec<(i64, i64)>,
    /// For how long a dispatcher that leaves its partitions waits for its calls in flight, ms: as long as it promises, but where LEAVE says otherwise.
    pub leave_ms: i64,
    /// How far the brokers' clocks were apart, ms: deadlines are in the time of whoever leads the partition.
    pub clocks_apart_ms: i64,
    pub quiet: Quiet,
    pub canaries: Canaries,
    /// Instances that ended without having been killed.
    pub ended: Vec<String>,
}

impl Evidence {
    /// What was found, decoded by decoders of the rig's own.
    pub fn of(found: Found) -> Self {
        let Found { profile, seed, written, .. } = found;
        let mut plan = Plan::seeded(seed, profile.word(), PER_SECOND, found.span, profile.used_after(), PARTITIONS);
        plan.events.truncate(written.iter().map(|written| written.event + 1).max().unwrap_or(0));
        Self {
            plan,
            prompt: profile != Profile::Long,
            commit_ms: profile.commit_ms(),
            lease_ms: profile.lease_ms(),
            instances: found.instances,
            written,
            kills: found.kills,
            lines: found.lines,
            lies: found.statuses.iter().map(|raw| ((raw.partition, raw.offset), raw.value.clone())).collect(),
            statuses: rows(&found.statuses, avro::status),
            dispatches: rows(&found.dispatches, avro::dispatch),
            journal: rows(&found.journal, avro::journal),
            returned: rows(&found.returned, avro::returned),
            positions: rows(&found.positions, |bytes| fold::positions(bytes).expect("a position record can be read")),
            logs: Arc::new(found.logs.into_iter().map(|(topic, partition, log)| ((topic.into(), partition), log)).collect()),
            dead: found.dead,
            seen: found.seen,
            backwards: found.backwards,
            slow: found.slow,
            leave_ms: found.leave_ms,
            clocks_apart_ms: found.clocks_apart_ms,
            quiet: found.quiet,
            canaries: found.canaries,
            ended: found.ended,
        }
    }

    /// The log that a row lies in.
    pub fn log<T>(&self, row: &Row<T>) -> &Log {
        &self.logs[&(row.topic.clone(), row.partition)]
    }
}

fn rows<T>(raws: &[Raw], decode: impl Fn(&[u8]) -> T) -> Vec<Row<T>> {
    let mut topics: BTreeMap<&str, Arc<str>> = BTreeMap::new();
    let row = |raw: &Raw, topic: Arc<str>| Row { topic, partition: raw.partition, offset: raw.offset, at: raw.at, what: decode(&raw.value) };
    raws.iter().map(|raw| row(raw, topics.entry(&raw.topic).or_insert_with(|| raw.topic.as_str().into()).clone())).collect()
}

/// All records of these topics, in the order of partition and offset.
pub fn dump(topics: &[String], committed: bool) -> Vec<OwnedMessage> {
    let mut read = Vec::new();
    each(topics, committed, |message| read.push(message.detach()));
    read.sort_by(|one, other| (one.topic(), one.partition(), one.offset()).cmp(&(other.topic(), other.partition(), other.offset())));
    read
}

/// Shows all records of these topics, each once.
pub fn each(topics: &[String], committed: bool, mut show: impl FnMut(&BorrowedMessage<'_>)) {
    let consumer = reader(committed);
    let mut list = TopicPartitionList::new();
    for topic in topics {
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(30)).unwrap();
        for partition in metadata.topics()[0].partitions() {
            list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
        }
    }
    consumer.assign(&list).unwrap();
    let mut left = list.count();
    let mut deadline = Instant::now() + Duration::from_secs(120);
    while left > 0 {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                show(&message);
                deadline = Instant::now() + Duration::from_secs(120);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => left -= 1,
            Some(Err(error)) => panic!("{topics:?} cannot be read: {error}"),
            None => assert!(Instant::now() < deadline, "{topics:?} could not be read to their ends: nothing came for 120 s"),
        }
    }
}

/// The end of a partition is an event here, and no error worth a line.
struct Silent;

impl ClientContext for Silent {
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Silent {}

fn reader(committed: bool) -> BaseConsumer<Silent> {
    let level = if committed { "read_committed" } else { "read_uncommitted" };
    let mut config = support::client();
    config.set("group.id", "rig-reader").set("enable.auto.commit", "false").set("isolation.level", level).set("auto.offset.reset", "earliest");
    config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "50").create_with_context(Silent).unwrap()
}
