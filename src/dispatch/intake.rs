//! The reading thread: one group member, all topics of dispatches, the same partition of each. Hands dispatches to the tenures and commits what they allow.
//!
//! Easily got wrong: it must never wait for a queue, or a bill would stand before a code. Instead the topics of a channel and lane are paused, each for itself, while
//! too many of theirs are in hand.

mod group;

use self::group::Membership;
use super::journal::{Order, client};
use super::limits::{InHand, Limits, Part};
use super::slot::{Slot, traffics};
use super::stop::Stop;
use super::tenure::{Handle, Heard, Marks, Place, Shared};
use crate::delivery::{Partition, Timestamp};
use crate::engine::end_offsets::EndOffsets;
use crate::engine::membership::Outside;
use crate::engine::standstill;
use crate::event::records::decode_dispatch;
use crate::lifeline::Lifeline;
use crate::observe::dispatch as observe;
use crate::observe::health::Cause;
use anyhow::Context;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, mpsc};
use std::time::Duration;

/// How long one look for a record waits.
const PACE: Duration = Duration::from_millis(20);
/// Source: `engine.md` §3.
const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// How often it is looked how much is in hand; and after each sixteenth of the limit.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often the ends of the topics are asked for.
const ENDS_EVERY: Duration = Duration::from_millis(500);
/// The longest that one turn of the loop may take: giving partitions back awaits calls, and taking them asks Kafka until it answers.
const PULSE: Duration = Duration::from_secs(120);
/// How long a question may take that can do without an answer.
const LEARN_MAX: Duration = Duration::from_secs(1);
/// One question to a broker.
const QUESTION: Duration = Duration::from_secs(10);

/// The reading thread's own.
pub struct Intake {
    // Before `consumer`: it must not outlive the client.
    ends: EndOffsets,
    consumer: BaseConsumer<Membership>,
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    stop: Stop,
    runtime: tokio::runtime::Handle,
    slots: BTreeMap<String, Slot>,
    tenures: BTreeMap<Partition, Handle>,
    assigned: BTreeSet<(Slot, Partition)>,
    counts: BTreeMap<Part, Arc<AtomicUsize>>,
    limits: Limits,
    paused: BTreeSet<Part>,
    committed: BTreeMap<Partition, Marks>,
    /// An assignment was taken, which may be empty.
    joined: bool,
    outside: Outside,
    lifelines: [Lifeline; 2],
    ends_asked: Option<Timestamp>,
    answered: Timestamp,
}

impl Intake {
    /// Joins the group. Nothing is read before [`Intake::run`].
    pub fn new(shared: Arc<Shared>, orders: mpsc::Sender<Order>, stop: Stop, runtime: tokio::runtime::Handle) -> anyhow::Result<Self> {
        let settings = &shared.settings;
        let mut config = client(settings);
        config
            .set("group.id", &settings.group)
            .set("group.protocol", "classic")
            .set("group.instance.id", format!("recado.dispatcher.{}", settings.instance))
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "2000")
            .set("max.poll.interval.ms", "60000")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            // Why not each record at once: see the engine's consumer (`engine/thread/group.rs`).
            .set("fetch.wait.max.ms", "10")
            .set("fetch.min.bytes", "65536")
            .set("queued.min.messages", "1000")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.queue.backoff.ms", "10");
        let consumer: BaseConsumer<Membership> = config.create_with_context(Membership::default()).context("creating the consumer of dispatches")?;
        let slots: BTreeMap<String, Slot> = Slot::all().map(|slot| (slot.topic(&settings.prefix), slot)).collect();
        let topics: Vec<&str> = slots.keys().map(String::as_str).collect();
        consumer.subscribe(&topics).context("subscribing to the topics of dispatches")?;
        #[expect(unsafe_code, reason = "EndOffsets must not outlive its client")]
        // SAFETY: it goes into the struct that keeps the consumer too, and is declared before it, so it is dropped first.
        let ends = unsafe { EndOffsets::new(consumer.client()) };
        let lifelines = [(); 2].map(|()| Lifeline::new(&settings.kafka, &settings.journal()));
        let limits = Limits::new(settings.in_hand_max);
        Ok(Self {
            ends,
            consumer,
            shared,
            orders,
            stop,
            runtime,
            slots,
            tenures: BTreeMap::new(),
            assigned: BTreeSet::new(),
            counts: BTreeMap::new(),
            limits,
            paused: BTreeSet::new(),
            committed: BTreeMap::new(),
            joined: false,
            outside: Outside::default(),
            lifelines,
            ends_asked: None,
            answered: crate::clock::now(),
        })
    }

    /// Reads until it is told to stop; then leaves in order.
    pub fn run(mut self) {
        standstill::watch();
        let ended = self.read();
        if let Err(error) = ended {
            self.stop.fail(error);
        }
        self.revoke();
        self.consumer.context().close();
    }

    fn read(&mut self) -> anyhow::Result<()> {
        let pulse = self.shared.health.pulse("dispatch-intake", PULSE);
        let mut commit_due = crate::clock::now();
        let (mut ends_due, mut look_due) = (commit_due, commit_due);
        let (mut taken, many) = (0, self.shared.settings.in_hand_max / 16);
        while !self.stop.stopped() {
            pulse.beat();
            let polled = self.consumer.poll(PACE).map(|polled| polled.map(|message| self.take(&message)));
            match polled {
                None => {}
                Some(Ok(())) => taken += 1,
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange))) => {
                    anyhow::bail!("a topic of dispatches was truncated or made anew under its reader");
                }
                Some(Err(error)) => tracing::debug!(%error, "The consumer of dispatches waits for Kafka."),
            }
            self.follow_group()?;
            let now = crate::clock::now();
            if now >= look_due || taken > many {
                (look_due, taken) = (now.plus(LOOK_EVERY), 0);
                self.pause_and_resume()?;
            }
            if now >= commit_due {
                commit_due = now.plus(COMMIT_EVERY);
                self.look_around()?;
            }
            if now >= ends_due {
                ends_due = now.plus(ENDS_EVERY);
                self.ask_for_ends(now);
            }
            self.hear_ends();
        }
        Ok(())
    }

    /// Each 200 ms: what the tenures allow is committed, and it is looked whether all is alive. Errors: something is not, and only a restart mends it.
    fn look_around(&mut self) -> anyhow::Result<()> {
        self.tell_positions()?;
        self.commit();
        self.tell_health();
        for traffic in traffics() {
            let of_it = self.counts.iter().filter(|((other, _), _)| *other == traffic);
            observe::in_hand(traffic.0, traffic.1, of_it.map(|(_, count)| count.load(Ordering::Acquire)).sum());
        }
        // One that was not told to leave ends by a panic alone. Its marks stay as they were, so health would not show it, and its partition would be dead in silence.
        if let Some((partition, _)) = self.tenures.iter().find(|(_, tenure)| tenure.ended.is_finished()) {
            anyhow::bail!("the tenure of partition {} ended without being told to", partition.0);
        }
        if let Some((code, reason)) = self.shared.producer.client().fatal_error() {
            anyhow::bail!("the dispatcher's producer cannot go on: {code}: {reason}");
        }
        // Fenced: by another process of this name, or by its own join that was repeated into a broker that stood still. It would never read again.
        if let Some((code, reason)) = self.consumer.client().fatal_error() {
            anyhow::bail!("the dispatcher's consumer cannot go on: {code}: {reason}");
        }
        let [of_consumer, of_producer] = &mut self.lifelines;
        of_consumer.look(self.consumer.client(), crate::clock::monotonic());
        of_producer.look(self.shared.producer.client(), crate::clock::monotonic());
        let (consumer, journal) = (&self.consumer, self.shared.settings.journal());
        let answers = || consumer.fetch_metadata(Some(&journal), LEARN_MAX).is_ok();
        if self.outside.too_long(self.joined, crate::clock::monotonic(), answers) {
            anyhow::bail!("the group has not taken the dispatcher back, though Kafka answers");
        }
        Ok(())
    }

    /// Without partitions, or without the time in one of them, nothing is called there.
    fn tell_health(&self) {
        let missing = self.tenures.values().filter(|tenure| !tenure.marks.lock().unwrap_or_else(PoisonError::into_inner).ready).count();
        let cause = match (self.joined, missing) {
            (false, _) => Some("The dispatcher is not a member of its group.".to_owned()),
            (true, 0) => None,
            (true, missing) => Some(format!("The dispatcher replays its journal, or does not know Kafka's time, in {missing} partitions.")),
        };
        self.shared.health.set(Cause::Replaying, cause);
    }

    fn take(&self, message: &BorrowedMessage<'_>) {
        let Some(partition) = Partition::from_kafka(message.partition()) else { return };
        let (Some(&slot), Some(tenure)) = (self.slots.get(message.topic()), self.tenures.get(&partition)) else { return };
        let offset = message.offset();
        let dispatch = message.payload().and_then(|bytes| decode_dispatch(bytes).ok());
        // What was not meant for this partition or topic is nobody's: its outcome would go to another home.
        let dispatch =
            dispatch.filter(|dispatch| dispatch.attempt_id.message_id.partition() == partition && (dispatch.channel, dispatch.lane) == slot.traffic());
        let heard = match (dispatch, self.counts.get(&(slot.traffic(), partition))) {
            (Some(dispatch), Some(count)) => {
                let appended = Timestamp::from_millis(message.timestamp().to_millis().unwrap_or(0));
                Heard::Taken { slot, offset, appended, dispatch: Box::new(dispatch), place: Place::take(count) }
            }
            _ => {
                observe::bad_record("dispatch");
                tracing::error!(topic = message.topic(), partition = partition.0, offset, "A record is no dispatch of ours; it is passed over.");
                Heard::Skipped(slot, offset)
            }
        };
        let _ = tenure.heard.send(heard);
    }

    fn commit(&mut self) {
        let marks = self.tenures.iter().map(|(partition, tenure)| (*partition, tenure.marks.lock().unwrap_or_else(PoisonError::into_inner).clone())).collect();
        self.commit_marks(&marks);
    }

    /// Without waiting: librdkafka joins anew, and closes, only once each commit is answered; one that is waited for may keep its caller for good (seen with 2.12.1
    /// after a broker that stood still).
    fn commit_marks(&mut self, marks: &BTreeMap<Partition, Marks>) {
        let mut list = TopicPartitionList::new();
        let prefix = &self.shared.settings.prefix;
        let journal = self.shared.settings.journal();
        for (&partition, marks) in marks {
            // Without its journal a watermark would say more than a successor can check.
            let Some(journal_position) = marks.journal else { continue };
            let before = self.committed.entry(partition).or_default();
            for (&slot, &offset) in &marks.slots {
                if before.slots.get(&slot) != Some(&offset) && self.assigned.contains(&(slot, partition)) {
                    let added = list.add_partition_offset(&slot.topic(prefix), partition.kafka(), Offset::Offset(offset));
                    added.expect("an offset of a log is not negative");
                }
            }
            if before.journal != marks.journal {
                list.add_partition_offset(&journal, partition.kafka(), Offset::Offset(journal_position)).expect("an offset of a log is not negative");
            }
            *before = marks.clone();
        }
        if list.count() == 0 {
            return;
        }
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            // The next time it is written whole; a successor reads a little more.
            self.committed.clear();
            tracing::warn!(%error, "Positions of dispatches were not committed.");
        }
    }

    /// Control records move a position too, so the client is asked and not the last record.
    fn tell_positions(&self) -> anyhow::Result<()> {
        if self.tenures.is_empty() {
            return Ok(());
        }
        let mut read: BTreeMap<Partition, Vec<(Slot, i64)>> = BTreeMap::new();
        for element in self.consumer.position()?.elements() {
            if let (Some(&slot), Some(partition), Offset::Offset(offset)) =
                (self.slots.get(element.topic()), Partition::from_kafka(element.partition()), element.offset())
            {
                read.entry(partition).or_default().push((slot, offset));
            }
        }
        for (partition, read) in read {
            if let Some(tenure) = self.tenures.get(&partition) {
                let _ = tenure.heard.send(Heard::Read(read));
            }
        }
        Ok(())
    }

    fn ask_for_ends(&mut self, now: Timestamp) {
        // One question at a time: an answer belongs to the last one asked.
        if self.ends.open() > 0 && now.since(self.answered) < QUESTION {
            return;
        }
        let prefix = &self.shared.settings.prefix;
        let asked = self.assigned.iter().map(|(slot, partition)| (slot.topic(prefix), *partition)).collect::<Vec<_>>();
        if !asked.is_empty() {
            self.ends_asked = Some(now);
            self.answered = now;
            self.ends.ask(asked, QUESTION);
        }
    }

    fn hear_ends(&mut self) {
        let Some(answer) = self.ends.answer(Duration::ZERO) else { return };
        // Late answers to questions that were given up would be dated too young.
        let (Some(asked), 0, Ok(ends)) = (self.ends_asked, self.ends.open(), answer) else { return };
        let mut by_partition: BTreeMap<Partition, BTreeMap<Slot, i64>> = BTreeMap::new();
        for end in ends {
            if let (Some(&slot), Some(offset)) = (self.slots.get(&end.topic), end.offset) {
                by_partition.entry(end.partition).or_default().insert(slot, offset);
            }
        }
        for (partition, ends) in by_partition {
            if let Some(tenure) = self.tenures.get(&partition) {
                let _ = tenure.heard.send(Heard::Ends(asked, ends));
            }
        }
    }

    /// Stops reading what the limits say, and goes on with the rest.
    fn pause_and_resume(&mut self) -> anyhow::Result<()> {
        let moves = |partition| self.tenures.get(partition).is_some_and(|tenure| tenure.marks.lock().unwrap_or_else(PoisonError::into_inner).ready);
        let moving: BTreeMap<Partition, bool> = self.tenures.keys().map(|partition| (*partition, moves(partition))).collect();
        let in_hand = |(part, count): (&Part, &Arc<AtomicUsize>)| {
            let moves = moving.get(&part.1).copied().unwrap_or(false);
            (*part, InHand { count: count.load(Ordering::Acquire), moves })
        };
        let wanted = self.limits.paused(&self.counts.iter().map(in_hand).collect());
        if wanted == self.paused {
            return Ok(());
        }
        let (stop, go): (BTreeSet<Part>, BTreeSet<Part>) = (&wanted - &self.paused, &self.paused - &wanted);
        if !stop.is_empty() {
            self.consumer.pause(&self.topics_of(&stop)?)?;
        }
        if !go.is_empty() {
            self.consumer.resume(&self.topics_of(&go)?)?;
        }
        self.paused = wanted;
        for traffic in traffics() {
            observe::paused(traffic.0, traffic.1, self.paused.iter().any(|(other, _)| *other == traffic));
        }
        Ok(())
    }

    fn topics_of(&self, parts: &BTreeSet<Part>) -> anyhow::Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (slot, partition) in self.assigned.iter().filter(|(slot, partition)| parts.contains(&(slot.traffic(), *partition))) {
            list.add_partition(&slot.topic(&self.shared.settings.prefix), partition.kafka());
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::super::call::Caller;
    use super::super::settings::Settings;
    use super::super::time::Clocks;
    use super::*;
    use crate::observe::Health;
    use crate::privacy::{FileKeys, RootKey, Sealer};
    use crate::template::{Catalogue, Masking};
    use rdkafka::ClientConfig;
    use tokio_util::sync::CancellationToken;

    /// Holds no partition. Nobody listens where its Kafka should be.
    fn intake(runtime: &tokio::runtime::Runtime) -> Intake {
        let mut settings = Settings::new("d-0", ClientConfig::new().set("bootstrap.servers", "127.0.0.1:9").clone());
        let folder = tempfile::tempdir().unwrap();
        let sealer = Sealer::new(Arc::new(FileKeys::open(folder.path(), RootKey::random(), Duration::from_secs(60)).unwrap()));
        let masking = Masking::parse("masking.toml", include_str!("../../config/masking.toml")).unwrap();
        let catalogue = Arc::new(Catalogue::compile(&[], masking).unwrap());
        let health = Health::new();
        let caller = Arc::new(Caller::new(&mut settings, sealer, catalogue, health.clone()).unwrap());
        let producer = super::super::producer(&settings).unwrap();
        let shared = Arc::new(Shared { settings, producer, caller, clocks: Clocks::new(health.clone()), health });
        Intake::new(shared, mpsc::channel().0, Stop::new(CancellationToken::new()), runtime.handle().clone()).unwrap()
    }

    #[test]
    fn a_tenure_that_panicked_ends_the_role() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut intake = intake(&runtime);
        intake.joined = true;
        let handle = |ended| Handle { heard: tokio::sync::mpsc::unbounded_channel().0, marks: Arc::default(), ended };
        let (_sender, silent) = tokio::sync::oneshot::channel::<()>();
        let alive = runtime.spawn(async { drop(silent.await) });
        intake.tenures.insert(Partition(6), handle(alive));
        intake.look_around().unwrap();
        let dead = runtime.spawn(async { panic!("a bug") });
        while !dead.is_finished() {
            std::thread::yield_now();
        }
        intake.tenures.insert(Partition(7), handle(dead));
        let error = intake.look_around().unwrap_err();
        assert!(error.to_string().contains("partition 7"), "{error}");
    }
}
