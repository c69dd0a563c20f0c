//! The group's wishes: which partitions are ours, opening and closing their tasks, and beginning to read.
//!
//! Easily got wrong: a forward that is set before librdkafka has started a partition is overwritten by that start; `take_over` has the order that holds.

use super::{Engine, EngineError, NO_KAFKA_TIME, SEEK_BOUND, Shared, kafka};
use crate::crash_point::crash_point;
use crate::delivery::Partition;
use crate::engine::membership::{Membership, Rebalance};
use crate::engine::restore::{self, Source};
use crate::engine::settings::Settings;
use crate::engine::standstill;
use crate::engine::store::StoreError;
use crate::engine::task::TaskError;
use crate::observe::engine as metrics;
use crate::observe::health::Cause;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a question about a topic's partitions may keep the loop.
const PARTITIONS_TIMEOUT: Duration = Duration::from_millis(500);
/// So often the client looks whether the receipts have more partitions, and joins anew when they have: a minute, with what the group needs (source: design §2).
/// librdkafka's own is five.
const METADATA_REFRESH_MS: &str = "30000";
/// How long a topic may be unknown at the start.
const TOPIC_BOUND: Duration = Duration::from_secs(20);

impl Engine {
    /// Serves the main queue: events of the group. Records never come this way (see `take_over`); one that does means that order is lost.
    pub(super) fn serve_group(&mut self) -> Result<(), EngineError> {
        let stray = match self.consumer.poll(Duration::ZERO) {
            None => return Ok(()),
            Some(Ok(_)) => true,
            Some(Err(error)) => {
                tracing::debug!(%error, "The consumer says:");
                false
            }
        };
        self.look_for_fence()?;
        if stray { self.start_over("a record came through the main queue") } else { Ok(()) }
    }

    /// Whether the group has fenced this member: then it never reads again. Asked each second too, since a poll during a restore may have taken the word of it.
    pub(super) fn look_for_fence(&self) -> Result<(), EngineError> {
        match self.consumer.client().fatal_error() {
            Some((code, text)) => Err(EngineError::Fenced(format!("{code}: {text}"))),
            None => Ok(()),
        }
    }

    /// Whether the group has left this member out for too long.
    pub(super) fn look_for_group(&mut self) -> Result<(), EngineError> {
        self.lifeline.look(self.consumer.client(), crate::clock::monotonic());
        self.hello.look();
        let (consumer, receipts) = (&self.consumer, &self.shared.settings.topics.receipts);
        let answers = || consumer.fetch_metadata(Some(receipts), PARTITIONS_TIMEOUT).is_ok();
        let joined = !self.shared.health.has(Cause::NotJoined(self.number));
        if self.outside.too_long(joined, crate::clock::monotonic(), answers) { Err(EngineError::Outside) } else { Ok(()) }
    }

    pub(super) fn rebalance(&mut self, wish: Rebalance) -> Result<(), EngineError> {
        match wish {
            Rebalance::Revoked => {
                standstill::end_where_lost(self.consumer.assignment_lost());
                tracing::info!(thread = self.number, partitions = self.tasks.len(), "Partitions revoked.");
                // The callback has only noted the wish. Kafka's transaction is open no longer than one call of `Transactor::run`: in the pass that kills, the one
                // that the next line would commit is begun and left open.
                crash_point!("on_revoke", if !self.tasks.is_empty(), after self.leave_transaction_open()?);
                self.commit_for_good()?;
                self.close_tasks();
                self.consumer.unassign().map_err(kafka("giving partitions back"))?;
            }
            Rebalance::Assigned(partitions) => {
                tracing::info!(thread = self.number, partitions = partitions.len(), "Partitions assigned.");
                if self.look_at_ours(&partitions) {
                    // What the producers know of our topics is as old as their last question.
                    self.new_producer()?;
                    self.hello.learn_partitions();
                }
                self.open_tasks(&partitions)?;
            }
        }
        Ok(())
    }

    pub(super) fn close_tasks(&mut self) {
        for mut task in std::mem::take(&mut self.tasks).into_values() {
            // Without it the next one replays a little more.
            if let Err(error) = task.write_all()
                && !matches!(error, TaskError::Store(StoreError::Taken))
            {
                tracing::warn!(partition = task.partition.0, %error, "What was committed could not be written into the store.");
            }
        }
        self.waiting_receipts.clear();
        self.waiting_requests.clear();
        self.keyless.clear();
        self.resume_all();
        self.held_back.clear();
        self.outputs.clear();
        (self.decided, self.inputs_decided, self.flooded) = (0, 0, false);
        self.asked_at = None;
        self.shared.health.set(Cause::NotJoined(self.number), Some("No partitions are assigned.".into()));
    }

    pub(super) fn open_tasks(&mut self, partitions: &[Partition]) -> Result<(), EngineError> {
        self.close_tasks();
        self.shared.health.set(Cause::Restoring(self.number), Some(format!("{} partitions are being restored.", partitions.len())));
        let (consumer, pulse) = (&self.consumer, &self.pulse);
        // While the assignment is not taken nothing is fetched: this poll serves the group alone.
        let mut beat = || {
            pulse.beat();
            let _ = consumer.poll(Duration::ZERO);
        };
        let opened = restore::open(&self.shared, consumer, &self.watch, &self.sources, partitions, &mut beat)?;
        if self.consumer.context().wants() {
            // The group changed its mind while we restored: to take these partitions now would be no answer to what it wants.
            tracing::info!(thread = self.number, "The group wants something else by now; these partitions are left.");
            self.shared.health.set(Cause::Restoring(self.number), None);
            return Ok(());
        }
        self.tasks = opened.tasks;
        for task in self.tasks.values_mut() {
            // What it died of is committed by now, by this process or by another.
            for (topic, &next) in &task.positions.0 {
                task.note.committed(topic, next);
            }
        }
        self.shared.health.set(Cause::NoKafkaTime(self.number), (!self.tasks.is_empty()).then(|| NO_KAFKA_TIME.into()));
        if opened.new_starts {
            self.commit_positions()?;
        }
        tracing::debug!(thread = self.number, new_starts = opened.new_starts, "Restored; new starts are committed.");
        self.take_over(&opened.list)?;
        tracing::debug!(thread = self.number, "Reading.");
        self.heard = crate::clock::monotonic();
        self.opened = self.heard;
        self.shared.health.set(Cause::Restoring(self.number), None);
        self.shared.health.set(Cause::NotJoined(self.number), None);
        metrics::tasks(self.number, self.tasks.len());
        Ok(())
    }

    /// Whether our topics have more partitions than before (`recado topics --grow`); then what the inputs have of them is read too. A partition that is assigned
    /// is there, whatever the broker that is asked knows.
    fn look_at_ours(&mut self, assigned: &[Partition]) -> bool {
        let before = self.sources[0].partitions;
        let assigned = assigned.iter().map(|partition| partition.0 + 1).max().unwrap_or(0);
        let ours = partitions(&self.consumer, &self.sources[0].topic).unwrap_or(before).max(assigned).max(before);
        if ours > before {
            tracing::info!(thread = self.number, before, now = ours, "Our topics have more partitions than before.");
            self.sources[0].partitions = ours;
            self.look_at_inputs();
        }
        ours > before
    }

    /// Whether an input has more partitions than before that are ours to read. One that has more than our topics has some that are nobody's: that is red.
    pub(super) fn look_at_inputs(&mut self) -> bool {
        let Some((receipts, inputs)) = self.sources.split_first_mut() else { return false };
        let (ours, asked) = (receipts.partitions, inputs.len());
        let (mut more, mut orphans, mut counts) = (false, Vec::new(), BTreeMap::new());
        for source in inputs {
            let Some(count) = partitions(&self.consumer, &source.topic) else { continue };
            counts.insert(source.topic.clone(), count);
            if count > ours {
                orphans.push(format!("{} has {count}", source.topic));
            }
            if count.min(ours) > source.partitions {
                tracing::info!(topic = &*source.topic, before = source.partitions, now = count.min(ours), "An input has more partitions than before.");
                source.partitions = count.min(ours);
                more = true;
            }
        }
        let detail =
            format!("Recado's topics have {ours} partitions, but {}: what lies beyond is read by nobody; type `recado topics --grow`.", orphans.join(", "));
        self.shared.health.set(Cause::PartitionsWithoutOwner, (!orphans.is_empty()).then_some(detail));
        // Of what was not answered nobody knows anything new.
        if counts.len() == asked {
            self.shared.health.set(Cause::CancelsAstray, self.cancels_astray(&counts));
        }
        more
    }

    /// A bank that raises the partitions of an input raises those of its cancel input too; until then equal keys lie in different partitions.
    fn cancels_astray(&self, counts: &BTreeMap<Arc<str>, u16>) -> Option<String> {
        let all = self.shared.inputs.inputs();
        let unequal = all.iter().filter_map(|input| {
            let of = input.cancels(all)?;
            let (cancels, requests) = (counts.get(&*input.topic)?, counts.get(&*of.topic)?);
            (cancels != requests).then(|| format!("{} has {cancels} partitions and {} has {requests}", input.topic, of.topic))
        });
        let unequal: Vec<String> = unequal.collect();
        (!unequal.is_empty()).then(|| format!("Cancels miss what they are to withdraw: {}.", unequal.join(", ")))
    }

    /// Opens the tasks anew: they read more than before.
    pub(super) fn reopen_tasks(&mut self) -> Result<(), EngineError> {
        self.commit()?;
        let partitions: Vec<Partition> = self.tasks.keys().copied().collect();
        self.consumer.unassign().map_err(kafka("giving partitions back"))?;
        self.open_tasks(&partitions)
    }

    /// Begins to read. A forward that is set before librdkafka has started a partition is overwritten by that start, and what was fetched in between lies in the
    /// main queue: so a first seek proves the start, then the forwards are set, and a second seek makes what lies elsewhere outdated.
    fn take_over(&self, list: &TopicPartitionList) -> Result<(), EngineError> {
        self.consumer.assign(list).map_err(kafka("taking partitions"))?;
        if list.count() == 0 {
            return Ok(()); // more instances than partitions: this one stands by
        }
        self.seek(list)?;
        self.forward_all();
        self.seek(list)
    }

    pub(super) fn seek(&self, list: &TopicPartitionList) -> Result<(), EngineError> {
        let deadline = crate::clock::monotonic() + SEEK_BOUND;
        loop {
            self.pulse.beat();
            let answer = self.consumer.seek_partitions(list.clone(), SEEK_BOUND).map_err(kafka("seeking"))?;
            let Some(Err(error)) = answer.elements().iter().map(|element| element.error()).find(Result::is_err) else { return Ok(()) };
            if crate::clock::monotonic() > deadline {
                return Err(EngineError::Kafka { doing: "seeking", error });
            }
            // The start of a partition waits for the stop of its former life.
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn forward_all(&self) {
        for &partition in self.tasks.keys() {
            self.receipts.forward(&self.shared.settings.topics.receipts, partition);
            for source in self.sources.iter().filter(|source| partition.0 < source.partitions && source.topic != self.shared.settings.topics.receipts) {
                self.requests.forward(&source.topic, partition);
            }
        }
    }
}

/// How many partitions a topic has, as far as a broker says so now.
fn partitions(consumer: &BaseConsumer<Membership>, topic: &str) -> Option<u16> {
    let metadata = consumer.fetch_metadata(Some(topic), PARTITIONS_TIMEOUT).ok()?;
    let count = metadata.topics().iter().find(|found| found.name() == topic)?.partitions().len();
    Some(u16::try_from(count).unwrap_or(u16::MAX)).filter(|count| *count > 0)
}

/// The sources with their partition counts: receipts first, then the inputs.
pub(super) fn sources(shared: &Shared, consumer: &BaseConsumer<Membership>) -> Result<Vec<Source>, EngineError> {
    use crate::event::input::Start;
    let partitions = |topic: &str| -> Result<u16, EngineError> {
        // A topic that was made a moment ago may be unknown to the broker that is asked.
        let deadline = crate::clock::monotonic() + TOPIC_BOUND;
        loop {
            let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).map_err(kafka("asking for a topic's partitions"))?;
            match metadata.topics().iter().find(|found| found.name() == topic).map_or(0, |found| found.partitions().len()) {
                0 if crate::clock::monotonic() < deadline => std::thread::sleep(Duration::from_millis(100)),
                0 => return Err(EngineError::NoTopic(topic.to_owned())),
                count => return Ok(u16::try_from(count).unwrap_or(u16::MAX)),
            }
        }
    };
    let receipts = shared.settings.topics.receipts.clone();
    let ours = partitions(&receipts)?;
    let source = |topic, partitions, start| Source { topic, partitions, start, partitions_first: partitions };
    let mut sources = vec![source(receipts, ours, Start::Earliest)];
    for input in shared.inputs.inputs() {
        sources.push(source(Arc::from(input.topic.as_str()), partitions(&input.topic)?.min(ours), input.start));
    }
    Ok(sources)
}

pub(super) fn consumer_config(settings: &Settings, name: &str, cancels: bool) -> ClientConfig {
    let mut config = settings.kafka.clone();
    let session = settings.session_timeout.as_millis();
    config
        .set("client.id", format!("{name}.consumer"))
        .set("group.id", format!("{}engine", settings.topics.prefix()))
        .set("group.instance.id", name)
        .set("group.protocol", "classic")
        .set("partition.assignment.strategy", "range")
        .set("session.timeout.ms", session.to_string())
        .set("heartbeat.interval.ms", (session / 5).to_string())
        .set("max.poll.interval.ms", "60000")
        .set("topic.metadata.refresh.interval.ms", METADATA_REFRESH_MS)
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Says where an input ends that a transaction's marker closes: cancels are waited for up to there. It is said again at each new end of every partition.
        .set("enable.partition.eof", if cancels { "true" } else { "false" })
        .set("fetch.wait.max.ms", settings.fetch_wait.as_millis().to_string())
        .set("fetch.min.bytes", "65536")
        .set("fetch.message.max.bytes", "2097152")
        .set("queued.min.messages", "20000")
        .set("queued.max.messages.kbytes", "32768")
        .set("fetch.queue.backoff.ms", "10");
    config
}
