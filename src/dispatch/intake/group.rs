//! Partitions that the group gives and takes: where reading begins, tenures that start, tenures that leave.
//!
//! Easily got wrong: librdkafka's callback may not wait, so it only notes what the group wants, and the loop carries it out.

use super::super::journal::{Order, TAIL_QUEUE};
use super::super::slot::{Slot, traffics};
use super::super::tenure::{Heard, Tenure};
use super::{Intake, LEARN_MAX, QUESTION};
use crate::delivery::Partition;
use crate::engine::standstill;
use crate::observe::dispatch as observe;
use anyhow::Context;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long taking partitions asks an absent Kafka again: below `max.poll.interval.ms`.
const TAKE_MAX: Duration = Duration::from_secs(45);
/// Between two questions that got no answer: a client without a connection refuses them at once.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What the group wants, noted in librdkafka's callback and carried out by the loop.
#[derive(Default)]
pub(super) struct Membership {
    wishes: Mutex<VecDeque<Wish>>,
    /// The loop has ended, and everything was given back: closing the consumer revokes once more and waits for an answer.
    closing: AtomicBool,
}

enum Wish {
    Assign(TopicPartitionList),
    Revoke,
}

impl Membership {
    /// To be called when the loop has ended.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(level = ?level, facility, "librdkafka: {message}");
    }
}

impl ConsumerContext for Membership {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if self.closing.load(Ordering::Acquire) {
            // Nothing can be done about a refusal on the way out.
            let _ = consumer.unassign();
            return;
        }
        let wish = match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Wish::Assign(list.clone()),
            _ => Wish::Revoke,
        };
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner).push_back(wish);
    }
}

impl Intake {
    /// Carries out what the group wanted since the last turn.
    pub(super) fn follow_group(&mut self) -> anyhow::Result<()> {
        while let Some(wish) = self.wish() {
            match wish {
                Wish::Assign(list) => self.assign(&list)?,
                Wish::Revoke => {
                    standstill::end_where_lost(self.consumer.assignment_lost());
                    self.revoke();
                }
            }
        }
        Ok(())
    }

    fn wish(&self) -> Option<Wish> {
        self.consumer.context().wishes.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Partitions are ours: positions, replay, then reading. The eager protocol names all of them each time, after a revoke.
    fn assign(&mut self, list: &TopicPartitionList) -> anyhow::Result<()> {
        if !self.tenures.is_empty() {
            self.revoke();
        }
        let mut partitions = BTreeSet::new();
        for element in list.elements() {
            if let (Some(&slot), Some(partition)) = (self.slots.get(element.topic()), Partition::from_kafka(element.partition())) {
                self.assigned.insert((slot, partition));
                self.counts.entry((slot.traffic(), partition)).or_default();
                partitions.insert(partition);
            }
        }
        let all = self.learn_partitions();
        let asked = crate::clock::now();
        let positions = loop {
            match self.positions(&partitions) {
                Ok(positions) => break positions,
                Err(_) if self.stop.stopped() => return Ok(()),
                Err(error) if crate::clock::now().since(asked) >= TAKE_MAX => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "Kafka does not say where reading begins; asking again.");
                    std::thread::sleep(ASK_AGAIN);
                }
            }
        };
        // Where Kafka was away before it has answered by now.
        if let Some(all) = all.or_else(|| self.learn_partitions()) {
            self.shared.caller.share(partitions.len(), all);
        }
        let mut start = TopicPartitionList::new();
        for &(slot, partition) in &self.assigned {
            let topic = slot.topic(&self.shared.settings.prefix);
            let offset = positions.starts.get(&(slot, partition)).copied().unwrap_or(0);
            start.add_partition_offset(&topic, partition.kafka(), Offset::Offset(offset))?;
        }
        for &partition in &partitions {
            let (to, tail) = tokio::sync::mpsc::channel(TAIL_QUEUE);
            let handle = Tenure::start(self.shared.clone(), partition, epoch(), tail, &self.runtime);
            let committed = positions.journal.get(&partition).copied();
            self.orders.send(Order::Open { partition, committed, to }).context("the journal's thread has ended")?;
            let read = self.assigned.iter().filter(|(_, of)| *of == partition).map(|key| (key.0, positions.starts.get(key).copied().unwrap_or(0)));
            let _ = handle.heard.send(Heard::Read(read.collect()));
            self.tenures.insert(partition, handle);
        }
        self.consumer.assign(&start).context("taking the assigned partitions")?;
        self.joined = true;
        observe::partitions(partitions.len());
        tracing::info!(partitions = partitions.len(), "The dispatcher holds partitions.");
        Ok(())
    }

    /// The producer learns how many partitions there are: knowing of fewer it refuses what goes to the new ones. What it misses now it repeats. Returns how many
    /// the receipts have.
    fn learn_partitions(&self) -> Option<usize> {
        let settings = &self.shared.settings;
        let mut count = None;
        for topic in [settings.journal(), settings.receipts()] {
            match self.shared.producer.client().fetch_metadata(Some(&topic), LEARN_MAX) {
                Ok(told) => count = told.topics().iter().find(|found| found.name() == topic).map(|found| found.partitions().len()),
                Err(error) => tracing::debug!(%error, topic, "A topic's partitions cannot be asked for now."),
            }
        }
        count.filter(|count| *count > 0)
    }

    /// The group's positions, put right where the log does not hold them: then reading begins at the log's start, and the journal says what is done.
    fn positions(&self, partitions: &BTreeSet<Partition>) -> anyhow::Result<Positions> {
        if partitions.is_empty() {
            return Ok(Positions::default());
        }
        let journal = self.shared.settings.journal();
        let mut asked = TopicPartitionList::new();
        let mut lows = TopicPartitionList::new();
        for &(slot, partition) in &self.assigned {
            let topic = slot.topic(&self.shared.settings.prefix);
            asked.add_partition(&topic, partition.kafka());
            lows.add_partition_offset(&topic, partition.kafka(), Offset::Beginning)?;
        }
        let mut highs = lows.clone();
        highs.set_all_offsets(Offset::End)?;
        for &partition in partitions {
            asked.add_partition(&journal, partition.kafka());
        }
        let committed = self.consumer.committed_offsets(asked, QUESTION).context("asking for the group's positions")?;
        let lows = self.consumer.offsets_for_times(lows, QUESTION).context("asking for the starts of the topics of dispatches")?;
        let highs = self.consumer.offsets_for_times(highs, QUESTION).context("asking for the ends of the topics of dispatches")?;
        let offset = |list: &TopicPartitionList, topic: &str, partition: Partition| match list.find_partition(topic, partition.kafka())?.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        let mut positions = Positions::default();
        for &(slot, partition) in &self.assigned {
            let topic = slot.topic(&self.shared.settings.prefix);
            let low = offset(&lows, &topic, partition).unwrap_or(0);
            let high = offset(&highs, &topic, partition);
            let start = match offset(&committed, &topic, partition) {
                Some(position) if position >= low && high.is_none_or(|high| position <= high) => position,
                Some(position) => {
                    tracing::error!(
                        topic,
                        partition = partition.0,
                        position,
                        low,
                        ?high,
                        "A position lies outside its log; reading begins at the log's start."
                    );
                    low
                }
                None => low,
            };
            positions.starts.insert((slot, partition), start);
        }
        for &partition in partitions {
            if let Some(position) = offset(&committed, &journal, partition) {
                positions.journal.insert(partition, position);
            }
        }
        Ok(positions)
    }

    /// Every tenure leaves, and the partitions are given back.
    pub(super) fn revoke(&mut self) {
        self.leave();
        // Also where none were: an assignment that was refused while it was taken must be given back all the same.
        if let Err(error) = self.consumer.unassign() {
            tracing::error!(%error, "The partitions could not be given back.");
        }
    }

    /// Every tenure leaves: what is proven not to have gone out ends, calls in flight are awaited, what is allowed is committed.
    fn leave(&mut self) {
        self.joined = false;
        if self.tenures.is_empty() {
            return;
        }
        let tenures = std::mem::take(&mut self.tenures);
        for tenure in tenures.values() {
            let _ = tenure.heard.send(Heard::Leave);
        }
        let mut marks = BTreeMap::new();
        for (partition, tenure) in tenures {
            // Bounded: a tenure leaves after `call_timeout + leave_margin` whatever happens.
            if let Err(error) = self.runtime.block_on(tenure.ended) {
                tracing::error!(partition = partition.0, %error, "A tenure did not leave in order.");
            }
            marks.insert(partition, tenure.marks.lock().unwrap_or_else(PoisonError::into_inner).clone());
            let _ = self.orders.send(Order::Close(partition));
        }
        // Lost, these partitions are a successor's; and a broker that stood still takes a late commit for that of a second process, and fences this one.
        if !self.consumer.assignment_lost() {
            self.commit_marks(&marks);
        }
        // librdkafka keeps a pause over a new assignment, and nobody would know of it.
        let paused = std::mem::take(&mut self.paused);
        if !paused.is_empty()
            && let Err(error) = self.topics_of(&paused).and_then(|topics| Ok(self.consumer.resume(&topics)?))
        {
            tracing::warn!(%error, "Paused topics could not be resumed.");
        }
        for (channel, lane) in traffics() {
            observe::paused(channel, lane, false);
        }
        self.assigned.clear();
        self.counts.clear();
        self.committed.clear();
        observe::partitions(0);
        tracing::info!("The dispatcher leaves its partitions.");
    }
}

#[derive(Default)]
struct Positions {
    starts: BTreeMap<(Slot, Partition), i64>,
    journal: BTreeMap<Partition, i64>,
}

/// Drawn anew for each assignment of each partition.
fn epoch() -> u64 {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's generator works, or no key could be made either");
    #[cfg(feature = "mutants")]
    if crate::seeded_bug::planted("epoch_per_process") {
        static ONCE: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
        return *ONCE.get_or_init(|| u64::from_be_bytes(bytes));
    }
    u64::from_be_bytes(bytes)
}
