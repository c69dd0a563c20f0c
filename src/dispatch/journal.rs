//! The dispatch journal as a log: entries go in through the producer, and come back, everybody's, through one tail for all partitions that are held.
//!
//! The tail reads uncommitted: nobody may write the journal in a transaction, and should somebody do it all the same, his entries count.

use super::ledger::{Coverage, replay_start};
use super::settings::Settings;
use super::stop::Stop;
use crate::delivery::{Partition, Timestamp};
use crate::event::records::{JournalEntry, decode_journal};
use crate::lifeline::Lifeline;
use crate::observe::dispatch as observe;
use anyhow::Context;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc as thread_queue;
use std::time::Duration;
use tokio::sync::mpsc;

/// What a tenure hears of its journal partition.
#[derive(Debug)]
pub enum Tail {
    /// The replay begins.
    Start {
        /// At this offset.
        start: i64,
        /// And is through at this one.
        end: i64,
        /// From when on it is complete.
        coverage: Coverage,
    },
    /// One entry, in order.
    Entry {
        /// Where it lies.
        offset: i64,
        /// When it was appended (Kafka time).
        appended: Timestamp,
        /// When it was read (own clock).
        read: Timestamp,
        /// What it says; `None` for bytes that are no entry.
        entry: Option<JournalEntry>,
    },
}

/// What the tail is told.
#[derive(Debug)]
pub enum Order {
    /// Replay this partition and follow it. `committed`: the group's position of it.
    Open {
        /// Which.
        partition: Partition,
        /// The group's position.
        committed: Option<i64>,
        /// Where entries go. Full: the tail waits.
        to: mpsc::Sender<Tail>,
    },
    /// Stop following it.
    Close(Partition),
}

/// How many entries wait for a tenure.
pub const TAIL_QUEUE: usize = 4_096;
/// After a question that Kafka did not answer, so long none is asked.
const AGAIN: Duration = Duration::from_millis(500);
/// One question to the leader of one partition, which may stand still. All others wait meanwhile for what they read back, so it is far shorter than the half second
/// after which that says nothing about the time. A leader that is well answers within milliseconds.
const QUESTION: Duration = Duration::from_millis(200);
/// The tail looks for orders at least this often.
const PACE: Duration = Duration::from_millis(10);

/// Starts the tail's thread. It ends when the sender of orders is gone, so that tenures that leave still read their entries back; and stops all if it cannot go on.
pub fn tail(settings: &Settings, stop: Stop) -> anyhow::Result<(thread_queue::Sender<Order>, std::thread::JoinHandle<()>)> {
    let mut config = client(settings);
    // It never joins the group: the name is the one that the role's ACL allows.
    config
        .set("group.id", &settings.group)
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_uncommitted")
        .set("auto.offset.reset", "error")
        // Why not each record at once: see the engine's consumer (`engine/thread/group.rs`).
        .set("fetch.wait.max.ms", "5")
        .set("fetch.min.bytes", "65536")
        .set("fetch.queue.backoff.ms", "10");
    let consumer: BaseConsumer = config.create().context("creating the journal's consumer")?;
    let (orders, inbox) = thread_queue::channel();
    let lifeline = Lifeline::new(&settings.kafka, &settings.journal());
    let mut tail = Follower { consumer, lifeline, topic: settings.journal(), open: BTreeMap::new(), later: VecDeque::new(), quiet_until: crate::clock::now() };
    let thread = std::thread::Builder::new().name("dispatch-journal".into()).spawn(move || {
        if let Err(error) = tail.run(&inbox) {
            stop.fail(error);
        }
    })?;
    Ok((orders, thread))
}

/// A client's configuration: the operator's properties first, ours on top.
pub fn client(settings: &Settings) -> ClientConfig {
    let mut config = settings.kafka.clone();
    config.set("client.id", format!("recado.dispatcher.{}", settings.instance));
    // So often it looks whether `recado topics --grow` was there: within a minute (source: design §2). librdkafka's own is five minutes.
    config.set("topic.metadata.refresh.interval.ms", "30000");
    config
}

struct Follower {
    consumer: BaseConsumer,
    lifeline: Lifeline,
    topic: String,
    open: BTreeMap<Partition, Open>,
    /// To be opened, in this order; what Kafka did not answer about goes to the end.
    later: VecDeque<(Partition, Option<i64>, mpsc::Sender<Tail>)>,
    /// Nothing is opened before this own time, but entries are read.
    quiet_until: Timestamp,
}

struct Open {
    to: mpsc::Sender<Tail>,
    stage: Stage,
}

enum Stage {
    /// The last entry is read for its append time.
    Probing { low: i64, end: i64, committed: Option<i64> },
    /// Entries from here on are handed out.
    Following { next: i64 },
}

impl Follower {
    fn run(&mut self, inbox: &thread_queue::Receiver<Order>) -> anyhow::Result<()> {
        loop {
            loop {
                match inbox.try_recv() {
                    Ok(Order::Open { partition, committed, to }) => self.later.push_back((partition, committed, to)),
                    Ok(Order::Close(partition)) => self.close(partition)?,
                    Err(thread_queue::TryRecvError::Empty) => break,
                    Err(thread_queue::TryRecvError::Disconnected) => return Ok(()),
                }
            }
            self.open_due()?;
            self.lifeline.look(self.consumer.client(), crate::clock::monotonic());
            match self.consumer.poll(PACE) {
                None => {}
                Some(Ok(message)) => {
                    let read = crate::clock::now();
                    if let Some((partition, from)) = heard(&mut self.open, &message, read) {
                        drop(message);
                        self.probed(partition, from)?;
                    }
                }
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange))) => {
                    anyhow::bail!("the dispatch journal was truncated or made anew under its reader");
                }
                Some(Err(error)) => tracing::debug!(%error, "The journal's consumer waits for Kafka."),
            }
        }
    }

    fn open_due(&mut self) -> anyhow::Result<()> {
        while crate::clock::now() >= self.quiet_until
            && let Some((partition, committed, to)) = self.later.pop_front()
        {
            self.open(partition, committed, to)?;
        }
        Ok(())
    }

    fn open_again(&mut self, partition: Partition, committed: Option<i64>, to: mpsc::Sender<Tail>, error: &KafkaError) {
        tracing::warn!(partition = partition.0, %error, "Kafka does not say where the dispatch journal ends; asking again.");
        self.later.push_back((partition, committed, to));
        self.quiet_until = crate::clock::now().plus(AGAIN);
    }

    fn open(&mut self, partition: Partition, committed: Option<i64>, to: mpsc::Sender<Tail>) -> anyhow::Result<()> {
        let (low, end) = match self.consumer.fetch_watermarks(&self.topic, partition.kafka(), QUESTION) {
            Ok(ends) => ends,
            Err(error) => {
                self.open_again(partition, committed, to, &error);
                return Ok(());
            }
        };
        self.open.insert(partition, Open { to, stage: Stage::Probing { low, end, committed } });
        if low == end {
            return self.follow(partition, low, end, replay_start(low, end, committed, None));
        }
        self.assign(partition, end - 1)
    }

    /// The last entry was read: its append time says how far back the replay begins.
    fn probed(&mut self, partition: Partition, newest: Timestamp) -> anyhow::Result<()> {
        let Some(Open { stage: Stage::Probing { low, end, committed }, .. }) = self.open.get(&partition) else { return Ok(()) };
        let (low, end, committed) = (*low, *end, *committed);
        let since = newest.minus(super::ledger::REPLAY_BEFORE_LAST).millis().max(0);
        let mut question = TopicPartitionList::new();
        question.add_partition_offset(&self.topic, partition.kafka(), Offset::Offset(since))?;
        let answer = match self.consumer.offsets_for_times(question, QUESTION) {
            Ok(answer) => answer,
            Err(error) => {
                if let Some(open) = self.open.remove(&partition) {
                    self.incremental_unassign(partition)?;
                    self.open_again(partition, committed, open.to, &error);
                }
                return Ok(());
            }
        };
        let by_time = match answer.find_partition(&self.topic, partition.kafka()).map(|element| element.offset()) {
            Some(Offset::Offset(offset)) => offset,
            // An older one is always right.
            _ => low,
        };
        self.incremental_unassign(partition)?;
        self.follow(partition, low, end, replay_start(low, end, committed, Some((newest, by_time))))
    }

    fn follow(&mut self, partition: Partition, low: i64, end: i64, (start, coverage): (i64, Coverage)) -> anyhow::Result<()> {
        let Some(open) = self.open.get_mut(&partition) else { return Ok(()) };
        tracing::info!(partition = partition.0, low, start, end, ?coverage, "Replaying the dispatch journal.");
        open.stage = Stage::Following { next: start };
        // A tenure that is gone is closed by its own order.
        let _ = open.to.blocking_send(Tail::Start { start, end, coverage });
        self.assign(partition, start)
    }

    fn assign(&self, partition: Partition, offset: i64) -> anyhow::Result<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition.kafka(), Offset::Offset(offset))?;
        self.consumer.incremental_assign(&list).context("assigning a partition of the dispatch journal")
    }

    fn incremental_unassign(&self, partition: Partition) -> anyhow::Result<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, partition.kafka());
        self.consumer.incremental_unassign(&list).context("letting go of a partition of the dispatch journal")
    }

    fn close(&mut self, partition: Partition) -> anyhow::Result<()> {
        self.later.retain(|(later, ..)| *later != partition);
        match self.open.remove(&partition) {
            Some(Open { stage: Stage::Following { .. }, .. }) => self.incremental_unassign(partition),
            Some(Open { stage: Stage::Probing { low, end, .. }, .. }) if low < end => self.incremental_unassign(partition),
            Some(_) | None => Ok(()),
        }
    }
}

/// Hands one entry out. Returns the partition and append time where it was a probe.
fn heard(open: &mut BTreeMap<Partition, Open>, message: &BorrowedMessage<'_>, read: Timestamp) -> Option<(Partition, Timestamp)> {
    let partition = Partition::from_kafka(message.partition())?;
    let open = open.get_mut(&partition)?;
    let appended = Timestamp::from_millis(message.timestamp().to_millis().unwrap_or(0));
    match &mut open.stage {
        Stage::Probing { .. } => Some((partition, appended)),
        Stage::Following { next } if message.offset() >= *next => {
            *next = message.offset() + 1;
            let entry = message.payload().and_then(|bytes| decode_journal(bytes).ok());
            if entry.is_none() {
                observe::bad_record("journal");
                tracing::error!(partition = partition.0, offset = message.offset(), "A record of the dispatch journal is none of ours.");
            }
            let _ = open.to.blocking_send(Tail::Entry { offset: message.offset(), appended, read, entry });
            None
        }
        Stage::Following { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::mocking::MockCluster;
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn a_partition_whose_leader_stands_still_holds_up_no_other() {
        let kafka = MockCluster::new(2).unwrap();
        kafka.create_topic("recado.dispatch-journal", 2, 1).unwrap();
        for (partition, broker) in [(0, 1), (1, 2)] {
            kafka.partition_leader("recado.dispatch-journal", partition, Some(broker)).unwrap();
        }
        kafka.broker_round_trip_time(1, Duration::from_secs(60)).unwrap();
        let settings = Settings::new("d-0", ClientConfig::new().set("bootstrap.servers", kafka.bootstrap_servers()).clone());
        let (orders, thread) = tail(&settings, Stop::new(CancellationToken::new())).unwrap();
        let open = |partition| {
            let (to, tail) = mpsc::channel(TAIL_QUEUE);
            orders.send(Order::Open { partition: Partition(partition), committed: None, to }).unwrap();
            tail
        };
        let (_ill, mut well) = (open(0), open(1));
        let started = tokio::time::timeout(Duration::from_secs(4), well.recv()).await.expect("it waited for the other");
        assert!(matches!(started, Some(Tail::Start { start: 0, end: 0, coverage: Coverage::Whole })), "{started:?}");
        drop(orders);
        thread.join().unwrap();
    }
}
