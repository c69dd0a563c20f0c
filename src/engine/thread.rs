//! One engine thread: one consumer, one transactional producer, its tasks. The loop in its order: events of the group, receipts, timers, requests, commit.
//!
//! Easily got wrong: any trouble with a transaction has one cure, the same as a restart: the tasks are thrown away, a new producer fences the old one, and the
//! tasks are opened anew from store and changelog.

use super::end_offsets::EndOffsets;
use super::fetch::{Fetched, IDLE_WAIT, Queue, Record};
use super::hello::Hello;
use super::membership::{Membership, Rebalance};
use super::restore::{self, RestoreError, Source};
use super::settings::Settings;
use super::store::Store;
use super::stored::POSITIONS_KEY;
use super::storm;
use super::task::{At, Task, TaskError};
use super::transaction::{End, Output, Transactor};
use super::watchdog::Watch;
use crate::delivery::{Partition, SourcePosition, Timestamp};
use crate::event::dead_letter;
use crate::event::input::{DeadReason, Decoded, Inputs, Kind, RawRecord, Schemas};
use crate::event::records::{Framing, decode_returned};
use crate::observe::engine as metrics;
use crate::observe::health::{Cause, Health, Pulse};
use crate::privacy::{Pepper, Reference, ReferenceKind, Sealer};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Commit when so many inputs are decided. Source: design §5.2.
const COMMIT_INPUTS: usize = 4_000;
/// Commit when the overlays hold so much. Source: design §5.2.
const COMMIT_BYTES: usize = 4 << 20;
/// So many requests are decided between two looks at receipts and timers.
const REQUESTS_A_TURN: usize = 500;
/// So many timers fire between two looks at receipts.
const TIMERS_A_TURN: usize = 500;
/// An input with so many records waiting here is paused.
const WAITING_MAX: usize = 5_000;
/// While a timer is due, the ends of the receipts partitions are asked for this often. Source: `engine.md` §5.
const GATE_PACE: Duration = Duration::from_millis(100);
/// Positions without anything to commit beside them are committed this often. Source: `engine.md` §1.10.
const IDLE_COMMIT: Duration = Duration::from_secs(60);
/// Memtables are flushed this often at least: it bounds the replay after a kill. Source: design §5.3.
const FLUSH_PACE: Duration = Duration::from_secs(30);
/// After a record that could not be sealed or resolved, the task looks again so much later.
const HELD_BACK: Duration = Duration::from_millis(100);
/// Housekeeping and gauges.
const UPKEEP_PACE: Duration = Duration::from_secs(1);
/// The bound of one blocking call is this many transaction time-outs. Source: `engine.md` T5.
const WATCH_FACTOR: u32 = 3;
/// A loop that does not turn for so long is dead for `/livez`; opening partitions beats too.
const LOOP_BOUND: Duration = Duration::from_secs(60);
/// What `/readyz` says until each partition has a sample of Kafka time.
const NO_KAFKA_TIME: &str = "Kafka time is not known for every partition.";
/// How long partitions may take to be started.
const SEEK_BOUND: Duration = Duration::from_secs(10);

/// What all threads of one engine share.
pub struct Shared {
    /// Limits and names.
    pub settings: Settings,
    /// The bank's inputs and routes.
    pub inputs: Arc<Inputs>,
    /// Seals parameters and codes.
    pub sealer: Sealer,
    /// The key of references and hashes.
    pub pepper: Arc<Pepper>,
    /// Writer schemas by id.
    pub schemas: Arc<dyn Schemas + Send + Sync>,
    /// The state store of this process.
    pub store: Store,
    /// How statuses are framed.
    pub status_framing: Framing,
    /// Where readiness is reported.
    pub health: Health,
}

/// Why an engine thread ended.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Another process with this instance's name took over; this one is the older.
    #[error("another process has taken over this instance's name ({0}); the older one ends")]
    Fenced(String),
    /// Tasks could not be opened.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The store failed after a commit: the truth is in Kafka, a restart replays it.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A client could not be made.
    #[error("{doing}: {error}")]
    Kafka {
        /// What we were doing.
        doing: &'static str,
        /// What the client says.
        error: KafkaError,
    },
}

fn kafka(doing: &'static str) -> impl FnOnce(KafkaError) -> EngineError {
    move |error| EngineError::Kafka { doing, error }
}

/// One engine thread's state. Field order is drop order: queues and questions go before the consumer that they were made of.
pub struct Engine {
    shared: Arc<Shared>,
    number: u16,
    receipts: Queue,
    requests: Queue,
    questions: EndOffsets,
    consumer: BaseConsumer<Membership>,
    transactor: Option<Transactor>,
    hello: Hello,
    watch: Watch,
    pulse: Pulse,
    sources: Vec<Source>,
    /// Input numbers by topic.
    inputs_of: BTreeMap<String, usize>,
    tasks: BTreeMap<Partition, Task>,
    waiting_receipts: BTreeMap<Partition, VecDeque<Record>>,
    /// By input and partition: express inputs first.
    waiting_requests: BTreeMap<(usize, Partition), VecDeque<Record>>,
    /// Inputs whose partition is paused at the consumer.
    paused: BTreeMap<(usize, Partition), bool>,
    held_back: BTreeMap<(usize, Partition), Timestamp>,
    outputs: Vec<Output>,
    decided: usize,
    guard: storm::Guard,
    asked_at: Option<Timestamp>,
    asked: Duration,
    last_commit: Duration,
    last_work: Duration,
    last_idle_commit: Duration,
    last_flush: Duration,
    last_upkeep: Duration,
    aborts_in_a_row: u32,
}

impl Engine {
    /// Makes the clients of thread `number`; joins nothing yet.
    pub fn open(shared: Arc<Shared>, number: u16) -> Result<Self, EngineError> {
        let settings = &shared.settings;
        let name = format!("{}{}.{number}", settings.topics.prefix(), settings.instance);
        let watch = Watch::start(name.clone(), settings.transaction_timeout * WATCH_FACTOR).map_err(RestoreError::Folder)?;
        let consumer: BaseConsumer<Membership> =
            consumer_config(settings, &name).create_with_context(Membership::default()).map_err(kafka("making the consumer"))?;
        #[expect(unsafe_code, reason = "queues and questions must not outlive their client")]
        // SAFETY: they go into the struct that keeps the consumer too, and are declared before it, so they are dropped first.
        let (receipts, requests, questions) = unsafe { (Queue::new(consumer.client()), Queue::new(consumer.client()), EndOffsets::new(consumer.client())) };
        let hello = Hello::open(settings.client(), settings.topics.receipts.clone(), name).map_err(kafka("making the producer of hellos"))?;
        let sources = sources(&shared, &consumer)?;
        let pulse = shared.health.pulse(format!("engine-{number}"), LOOP_BOUND);
        let inputs_of = shared.inputs.inputs().iter().enumerate().map(|(at, input)| (input.topic.clone(), at)).collect();
        shared.health.set(Cause::NotJoined(number), Some("No partitions are assigned.".into()));
        let now = crate::clock::monotonic();
        Ok(Self {
            pulse,
            inputs_of,
            number,
            receipts,
            requests,
            questions,
            consumer,
            transactor: None,
            hello,
            watch,
            sources,
            tasks: BTreeMap::new(),
            waiting_receipts: BTreeMap::new(),
            waiting_requests: BTreeMap::new(),
            paused: BTreeMap::new(),
            held_back: BTreeMap::new(),
            outputs: Vec::new(),
            decided: 0,
            guard: storm::Guard::default(),
            asked_at: None,
            asked: now,
            last_commit: now,
            last_work: now,
            last_idle_commit: now,
            last_flush: now,
            last_upkeep: now,
            aborts_in_a_row: 0,
            shared,
        })
    }

    /// Runs until told to stop: then the transaction under way is finished.
    pub fn run(mut self, stop: &AtomicBool) -> Result<(), EngineError> {
        self.new_producer()?;
        self.consumer.subscribe(&[&*self.shared.settings.topics.receipts]).map_err(kafka("subscribing"))?;
        while !stop.load(Ordering::Relaxed) {
            self.turn()?;
        }
        self.commit()?;
        self.close_tasks();
        Ok(())
    }

    fn turn(&mut self) -> Result<(), EngineError> {
        self.pulse.beat();
        self.serve_group(Duration::ZERO)?;
        let mut busy = self.take()?;
        while let Some(wish) = self.consumer.context().next() {
            self.rebalance(wish)?;
        }
        self.measure();
        busy |= self.decide_receipts()?;
        busy |= self.fire_timers()?;
        busy |= self.decide_requests()?;
        if busy {
            self.last_work = crate::clock::monotonic();
        }
        if self.commit_due(busy) {
            self.commit()?;
        }
        self.upkeep()?;
        if !busy {
            self.serve_group(IDLE_WAIT)?;
        }
        Ok(())
    }

    // Taking records in

    fn take(&mut self) -> Result<bool, EngineError> {
        let mut fetched = Vec::new();
        self.receipts.take(&mut fetched);
        self.requests.take(&mut fetched);
        let any = !fetched.is_empty();
        for fetched in fetched {
            match fetched {
                Fetched::Record(record) => self.sort(record),
                Fetched::Fault { topic, partition, error } => {
                    tracing::warn!(topic, partition, %error, "A source cannot be read.");
                    self.start_over("a source cannot be read")?;
                    return Ok(true);
                }
            }
        }
        Ok(any)
    }

    /// Serves the main queue: events of the group. Records never come this way (see `take_over`); one that does means that order is lost.
    fn serve_group(&mut self, wait: Duration) -> Result<(), EngineError> {
        let stray = match self.consumer.poll(wait) {
            None => return Ok(()),
            Some(Ok(_)) => true,
            Some(Err(error)) => {
                tracing::debug!(%error, "The consumer says:");
                false
            }
        };
        if let Some((code, text)) = self.consumer.client().fatal_error() {
            return Err(EngineError::Fenced(format!("{code}: {text}")));
        }
        if stray { self.start_over("a record came through the main queue") } else { Ok(()) }
    }

    fn sort(&mut self, record: Record) {
        let partition = record.partition();
        let Some(task) = self.tasks.get(&partition) else { return }; // fetched before it was taken from us
        let waiting = if record.topic() == &*self.shared.settings.topics.receipts {
            self.waiting_receipts.entry(partition).or_default()
        } else if let Some(&input) = self.inputs_of.get(record.topic()) {
            self.waiting_requests.entry((input, partition)).or_default()
        } else {
            return;
        };
        let next = waiting.back().map_or_else(|| task.positions.0.get(record.topic()).copied().unwrap_or(0), |last| last.offset() + 1);
        if record.offset() >= next {
            waiting.push_back(record);
        }
    }

    // The group

    fn rebalance(&mut self, wish: Rebalance) -> Result<(), EngineError> {
        match wish {
            Rebalance::Revoked => {
                tracing::info!(thread = self.number, partitions = self.tasks.len(), "Partitions revoked.");
                self.commit()?;
                self.close_tasks();
                self.consumer.unassign().map_err(kafka("giving partitions back"))?;
            }
            Rebalance::Assigned(partitions) => {
                tracing::info!(thread = self.number, partitions = partitions.len(), "Partitions assigned.");
                self.open_tasks(&partitions)?;
            }
        }
        Ok(())
    }

    fn close_tasks(&mut self) {
        self.tasks.clear();
        self.waiting_receipts.clear();
        self.waiting_requests.clear();
        self.paused.clear();
        self.held_back.clear();
        self.outputs.clear();
        self.decided = 0;
        self.asked_at = None;
        self.shared.health.set(Cause::NotJoined(self.number), Some("No partitions are assigned.".into()));
    }

    fn open_tasks(&mut self, partitions: &[Partition]) -> Result<(), EngineError> {
        self.close_tasks();
        self.shared.health.set(Cause::Restoring(self.number), Some(format!("{} partitions are being restored.", partitions.len())));
        let (consumer, pulse) = (&self.consumer, &self.pulse);
        // While the assignment is not taken nothing is fetched: this poll serves the group alone.
        let mut beat = || {
            pulse.beat();
            let _ = consumer.poll(Duration::ZERO);
        };
        let opened = restore::open(&self.shared, consumer, &self.watch, &self.sources, partitions, &mut beat)?;
        self.tasks = opened.tasks;
        self.shared.health.set(Cause::NoKafkaTime(self.number), (!self.tasks.is_empty()).then(|| NO_KAFKA_TIME.into()));
        if opened.new_starts {
            self.commit_positions()?;
        }
        self.take_over(&opened.list)?;
        self.shared.health.set(Cause::Restoring(self.number), None);
        self.shared.health.set(Cause::NotJoined(self.number), None);
        metrics::tasks(self.number, self.tasks.len());
        Ok(())
    }

    /// Begins to read. A forward that is set before librdkafka has started a partition is overwritten by that start, and what was fetched in between lies in the
    /// main queue: so a first seek proves the start, then the forwards are set, and a second seek makes what lies elsewhere outdated.
    fn take_over(&self, list: &TopicPartitionList) -> Result<(), EngineError> {
        self.consumer.assign(list).map_err(kafka("taking partitions"))?;
        self.seek(list)?;
        self.forward_all();
        self.seek(list)
    }

    fn seek(&self, list: &TopicPartitionList) -> Result<(), EngineError> {
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

    // Time

    /// Hellos out, samples in, answers to the gate's questions in, new questions out.
    fn measure(&mut self) {
        let now = crate::clock::now();
        let tasks = &mut self.tasks;
        self.hello.samples(|partition, written, read, appended| {
            if let Some(task) = tasks.get_mut(&partition) {
                task.clock.sample(written, read, appended);
            }
        });
        for (partition, task) in tasks.iter_mut() {
            self.hello.write_if_due(*partition, &task.clock, &mut task.hello_written, now);
        }
        while let Some(answer) = self.questions.answer(Duration::ZERO) {
            let Some(asked_at) = self.asked_at else { continue };
            for end in answer.unwrap_or_default() {
                if let (Some(task), Some(offset)) = (tasks.get_mut(&end.partition), end.offset)
                    && let Some(asked) = task.now(asked_at)
                {
                    task.gate.end_offset(asked, offset);
                }
            }
        }
        let monotonic = crate::clock::monotonic();
        if self.questions.open() == 0 && monotonic.saturating_sub(self.asked) >= GATE_PACE && tasks.values().any(Task::anything_due) {
            let receipts = self.shared.settings.topics.receipts.to_string();
            let due = tasks.values().filter(|task| task.anything_due()).map(|task| (receipts.clone(), task.partition));
            self.questions.ask(due, Duration::from_secs(5));
            self.asked_at = Some(now);
            self.asked = monotonic;
        }
    }

    /// Whether the clocks of the partitions in use agree; if not, nothing fires and nothing is requested.
    fn clocks_agree(&self, now: Timestamp) -> bool {
        let disagree = super::kafka_time::disagree(self.tasks.values().filter_map(|task| task.clock.offset(now)));
        self.shared
            .health
            .set(Cause::ClockDisagreement, disagree.then(|| "The clocks of the brokers that lead our partitions differ by more than a second.".into()));
        !disagree
    }

    // Deciding

    fn decide_receipts(&mut self) -> Result<bool, EngineError> {
        let topic = self.shared.settings.topics.receipts.clone();
        let mut any = false;
        let own_now = crate::clock::now();
        for (partition, waiting) in &mut self.waiting_receipts {
            let Some(task) = self.tasks.get_mut(partition) else { continue };
            if task.rereading() {
                continue;
            }
            let Some(now) = task.now(own_now) else { continue };
            while let Some(record) = waiting.pop_front() {
                any = true;
                self.decided += 1;
                let at = At { topic: &topic, offset: record.offset(), time: record.time() };
                match record.value().map(decode_returned) {
                    Some(Ok(returned)) => {
                        task.returned(&self.shared, at, returned, now, &mut self.guard, &mut self.outputs)?;
                    }
                    Some(Err(_)) | None => metrics::receipt_unreadable(),
                }
                task.passed(at);
            }
            if let Some(&position) = task.positions.0.get(&*topic) {
                task.gate.drained_to(position);
            }
        }
        // An idle partition is drained too.
        for task in self.tasks.values_mut().filter(|task| !task.rereading()) {
            if self.waiting_receipts.get(&task.partition).is_none_or(VecDeque::is_empty)
                && let Some(&position) = task.positions.0.get(&*topic)
            {
                task.gate.drained_to(position);
            }
        }
        Ok(any)
    }

    fn fire_timers(&mut self) -> Result<bool, EngineError> {
        let own_now = crate::clock::now();
        if !self.clocks_agree(own_now) {
            return Ok(false);
        }
        let mut fired = 0;
        for task in self.tasks.values_mut() {
            if let Some(now) = task.now(own_now) {
                fired += task.fire_due(&self.shared, now, &mut self.guard, TIMERS_A_TURN, &mut self.outputs)?;
            }
        }
        self.decided += fired;
        Ok(fired > 0)
    }

    fn decide_requests(&mut self) -> Result<bool, EngineError> {
        let own_now = crate::clock::now();
        let mut any = false;
        let keys: Vec<_> = self.waiting_requests.iter().filter(|(_, waiting)| !waiting.is_empty()).map(|(key, _)| *key).collect();
        for (input, partition) in keys {
            any |= self.decide_input(input, partition, own_now)?;
        }
        self.pause_and_resume(own_now);
        Ok(any)
    }

    fn decide_input(&mut self, input: usize, partition: Partition, own_now: Timestamp) -> Result<bool, EngineError> {
        let shared = self.shared.clone();
        let Some(task) = self.tasks.get_mut(&partition) else { return Ok(false) };
        let Some(now) = task.now(own_now) else { return Ok(false) };
        let is_cancel = matches!(shared.inputs.inputs()[input].kind, Kind::Cancel { .. });
        if self.held_back.get(&(input, partition)).is_some_and(|until| *until > own_now) || (!is_cancel && full(&shared, task, input)) {
            return Ok(false);
        }
        let Some(waiting) = self.waiting_requests.get_mut(&(input, partition)) else { return Ok(false) };
        // After an abort one record at a time, so that the one at fault stands alone.
        let most = if self.aborts_in_a_row > 0 { 1 } else { REQUESTS_A_TURN };
        let decoded = decode(&shared, task, input, waiting.iter().take(most));
        let customers: Vec<_> = decoded.iter().filter_map(|decoded| decoded.customer).collect();
        let keys = shared.sealer.keys().prepare(&customers, now);
        shared.health.set(Cause::KeysAway, keys.err().map(|error| format!("Keys cannot be made: {error}. Nothing is taken that cannot be sealed.")));
        let mut any = false;
        if keys.is_ok() {
            for decoded in decoded {
                let Some(record) = waiting.front() else { break };
                match decide(&shared, task, input, record, decoded, now, &mut self.outputs) {
                    Ok(()) => {}
                    Err(TaskError::Seal(_)) => break,
                    Err(error) => return Err(error.into()),
                }
                waiting.pop_front();
                self.decided += 1;
                any = true;
            }
        }
        if !any && !waiting.is_empty() {
            self.held_back.insert((input, partition), own_now.plus(HELD_BACK));
            metrics::held_back(&shared.inputs.inputs()[input].name);
        }
        Ok(any)
    }

    /// Pauses an input at the consumer while too much of it waits here; resumes it when half is gone.
    fn pause_and_resume(&mut self, _: Timestamp) {
        let mut pause = TopicPartitionList::new();
        let mut resume = TopicPartitionList::new();
        for (&(input, partition), waiting) in &self.waiting_requests {
            let topic = &self.shared.inputs.inputs()[input].topic;
            let paused = self.paused.entry((input, partition)).or_default();
            if !*paused && waiting.len() > WAITING_MAX {
                *paused = true;
                pause.add_partition(topic, partition.kafka());
            } else if *paused && waiting.len() < WAITING_MAX / 2 {
                *paused = false;
                resume.add_partition(topic, partition.kafka());
            }
        }
        for (list, result) in
            [(&pause, (pause.count() > 0).then(|| self.consumer.pause(&pause))), (&resume, (resume.count() > 0).then(|| self.consumer.resume(&resume)))]
        {
            if let Some(Err(error)) = result {
                tracing::warn!(partitions = list.count(), %error, "Inputs could not be paused or resumed.");
            }
        }
    }

    // Committing

    fn commit_due(&self, busy: bool) -> bool {
        if self.decided == 0 && self.outputs.is_empty() {
            return false;
        }
        let settings = &self.shared.settings;
        let since = crate::clock::monotonic().saturating_sub(self.last_commit);
        let nothing_to_write = self.outputs.is_empty() && self.tasks.values().all(|task| task.overlay.is_empty());
        if nothing_to_write {
            return false; // heartbeats alone: the idle commit takes care of their positions
        }
        self.decided >= COMMIT_INPUTS
            || self.tasks.values().map(|task| task.overlay.bytes()).sum::<usize>() >= COMMIT_BYTES
            || since >= settings.commit_interval
            || (!busy && settings.commit_on_drain.is_some_and(|pause| since >= pause))
    }

    /// New starts are committed before the first read, so that a crash right after it starts at the same place.
    fn commit_positions(&mut self) -> Result<(), EngineError> {
        self.commit_all(true)
    }

    fn commit(&mut self) -> Result<(), EngineError> {
        self.commit_all(false)
    }

    fn commit_all(&mut self, idle: bool) -> Result<(), EngineError> {
        let touched: Vec<Partition> =
            self.tasks.values().filter(|task| task.positions != task.committed || !task.overlay.is_empty()).map(|task| task.partition).collect();
        if self.shared.settings.dry_run {
            self.outputs.clear();
            self.decided = 0;
            return Ok(());
        }
        if touched.is_empty() || (!idle && self.outputs.is_empty() && self.tasks.values().all(|task| task.overlay.is_empty())) {
            return Ok(());
        }
        if self.transactor.as_ref().is_none_or(Transactor::suspect) {
            metrics::producer_recycled("suspicion");
            self.new_producer()?;
        }
        let written = self.state_records(&touched);
        let positions = self.changed_positions(&touched)?;
        let Some(group) = self.consumer.group_metadata() else { return self.start_over("the group's metadata are not known") };
        let transactor = self.transactor.as_ref().expect("a producer was made above");
        match transactor.run(&self.outputs, &positions, &group) {
            End::Committed { took } => {
                metrics::committed(took, self.decided, self.outputs.len());
                self.apply(&written)
            }
            End::Aborted(why) => self.start_over(&why),
            End::Unknown(why) => self.start_over(&why),
            End::Fenced(why) => Err(EngineError::Fenced(why)),
        }
    }

    /// Adds the state records of the touched tasks behind their outputs: deliveries and cancel index, then deduplication blocks, then position records.
    /// Returns how many went to each changelog partition.
    fn state_records(&mut self, touched: &[Partition]) -> BTreeMap<Partition, i64> {
        let topic = self.shared.settings.topics.state.clone();
        let mut written = BTreeMap::new();
        let record = |partition: Partition, key: Vec<u8>, value: Option<Vec<u8>>| Output {
            topic: topic.clone(),
            partition: partition.kafka(),
            key,
            value,
            headers: Vec::new(),
        };
        for partition in touched {
            let task = &self.tasks[partition];
            let before = self.outputs.len();
            self.outputs.extend(task.overlay.changes().map(|(key, value)| record(*partition, key.to_vec(), value.map(<[u8]>::to_vec))));
            written.insert(*partition, i64::try_from(self.outputs.len() - before).unwrap_or(0));
        }
        for partition in touched {
            let task = self.tasks.get_mut(partition).expect("a touched task is there");
            for (key, value) in task.take_blocks() {
                task.overlay.put(key.clone(), value.clone(), false);
                self.outputs.push(record(*partition, key, Some(value)));
                *written.entry(*partition).or_default() += 1;
            }
        }
        for partition in touched {
            let task = &self.tasks[partition];
            self.outputs.push(record(*partition, POSITIONS_KEY.to_vec(), Some(task.positions.write())));
            *written.entry(*partition).or_default() += 1;
        }
        written
    }

    fn changed_positions(&self, touched: &[Partition]) -> Result<TopicPartitionList, EngineError> {
        let mut list = TopicPartitionList::new();
        for partition in touched {
            let task = &self.tasks[partition];
            for (topic, &next) in task.positions.0.iter().filter(|(topic, next)| task.committed.0.get(*topic) != Some(next)) {
                list.add_partition_offset(topic, partition.kafka(), Offset::Offset(next)).map_err(kafka("noting positions"))?;
            }
        }
        Ok(list)
    }

    /// After the commit: one batch for each task into its column family.
    fn apply(&mut self, written: &BTreeMap<Partition, i64>) -> Result<(), EngineError> {
        let wall = crate::clock::wall();
        for (partition, records) in written {
            let task = self.tasks.get_mut(partition).expect("a touched task is there");
            // A lower bound: our records and one commit marker. Aborted junk makes it lag, which replay forgives.
            task.meta.changelog_position += records + 1;
            task.meta.next_offsets.clone_from(&task.positions.0);
            task.meta.wall = wall;
            task.store.apply(task.overlay.changes(), &task.meta).map_err(TaskError::from)?;
            task.overlay.clear();
            task.committed = task.positions.clone();
        }
        self.outputs.clear();
        self.decided = 0;
        self.aborts_in_a_row = 0;
        self.last_commit = crate::clock::monotonic();
        Ok(())
    }

    /// The one cure: a new producer decides what the old one left, then the tasks are opened anew.
    fn start_over(&mut self, why: &str) -> Result<(), EngineError> {
        tracing::warn!(thread = self.number, why, "A transaction did not commit; the tasks are opened anew.");
        metrics::producer_recycled("transaction");
        self.aborts_in_a_row += 1;
        let partitions: Vec<Partition> = self.tasks.keys().copied().collect();
        self.new_producer()?;
        self.consumer.unassign().map_err(kafka("giving partitions back"))?;
        self.open_tasks(&partitions)
    }

    fn new_producer(&mut self) -> Result<(), EngineError> {
        self.transactor = None;
        let settings = &self.shared.settings;
        let id = format!("{}{}.{}", settings.topics.prefix(), settings.instance, self.number);
        let mut config = producer_config(settings, &id);
        config.set("client.id", format!("{id}.producer"));
        let transactor = Transactor::open(&config, self.watch.clone(), settings.transaction_timeout).map_err(kafka("initialising transactions"))?;
        self.transactor = Some(transactor);
        Ok(())
    }

    // Upkeep

    fn upkeep(&mut self) -> Result<(), EngineError> {
        let now = crate::clock::monotonic();
        if now.saturating_sub(self.last_upkeep) < UPKEEP_PACE {
            return Ok(());
        }
        self.last_upkeep = now;
        let own_now = crate::clock::now();
        // The longest window of all inputs counts for each: an event is looked for only under its own input's name.
        let window = self.shared.inputs.inputs().iter().map(|input| input.dedup_window).max().unwrap_or_default();
        for task in self.tasks.values_mut() {
            if let Some(now) = task.now(own_now) {
                task.expire(window, now);
            }
        }
        let known = self.tasks.values().all(|task| task.now(own_now).is_some());
        self.shared.health.set(Cause::NoKafkaTime(self.number), (!known).then(|| NO_KAFKA_TIME.into()));
        metrics::gauges(self.number, self.tasks.values().map(|task| task.timers.armed()).sum(), self.tasks.values().map(|task| task.window.events()).sum());
        metrics::held(self.number, self.tasks.values().flat_map(Task::held));
        if now.saturating_sub(self.last_idle_commit) >= IDLE_COMMIT {
            self.last_idle_commit = now;
            self.commit_positions()?;
        }
        if now.saturating_sub(self.last_flush) >= FLUSH_PACE {
            self.last_flush = now;
            for task in self.tasks.values() {
                task.store.begin_flush().map_err(TaskError::from)?;
            }
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.consumer.context().close();
        if let Err(error) = self.consumer.unassign() {
            tracing::debug!(%error, "Partitions could not be given back.");
        }
    }
}

/// Whether too many attempts are open for this input to bring more: beyond the limit on the channel of a route's first step, beyond twice the limit on any.
fn full(shared: &Shared, task: &Task, input: usize) -> bool {
    let max = shared.settings.attempts_open_max;
    let lane = shared.inputs.inputs()[input].lane;
    let open = |channel| task.open.get(&(channel, lane)).copied().unwrap_or(0);
    let mut route = None;
    shared.inputs.template_uses().iter().filter(|used| shared.inputs.route(used.route).input == input).any(|used| {
        let first = route.replace(used.route) != Some(used.route);
        open(used.channel) > if first { max } else { 2 * max }
    })
}

/// A record as it was read, with the reference of its customer.
struct Read {
    decoded: Decoded,
    customer: Option<Reference>,
}

/// Reads records in their order, up to one whose schema is still on its way.
fn decode<'a>(shared: &Shared, task: &mut Task, input: usize, records: impl Iterator<Item = &'a Record>) -> Vec<Read> {
    let mut all = Vec::new();
    for record in records {
        let headers = record.headers();
        let raw = RawRecord { key: record.key(), value: record.value(), record_time: record.time(), headers: &headers };
        let decoded = if task.note.poison(record.topic(), record.offset()) {
            Decoded::Dead(DeadReason::Poison)
        } else {
            task.note.begin(record.topic(), record.offset());
            shared.inputs.decode(input, &raw, &*shared.schemas)
        };
        let customer = match &decoded {
            Decoded::NeedSchema(_) => break,
            Decoded::Notification(notification) => Some(shared.pepper.reference_of(ReferenceKind::Customer, &notification.customer)),
            Decoded::Cancel { .. } | Decoded::Ignored(_) | Decoded::Dead(_) => None,
        };
        all.push(Read { decoded, customer });
    }
    task.note.rest();
    all
}

/// Decides one record that was read.
fn decide(shared: &Shared, task: &mut Task, input: usize, record: &Record, read: Read, now: Timestamp, out: &mut Vec<Output>) -> Result<(), TaskError> {
    let at = At { topic: record.topic(), offset: record.offset(), time: record.time() };
    task.note.begin(at.topic, at.offset);
    match (read.decoded, read.customer) {
        (Decoded::Notification(notification), Some(customer)) => task.request(shared, input, at, record.key(), customer, *notification, now, out)?,
        (Decoded::Cancel { event_id }, _) => {
            if let Kind::Cancel { of } = shared.inputs.inputs()[input].kind {
                task.cancel(shared, of, &event_id, now, out)?;
            }
        }
        (Decoded::Ignored(why), _) => metrics::ignored(&shared.inputs.inputs()[input].name, why.word()),
        (Decoded::Dead(reason), _) => {
            if reason == DeadReason::Poison {
                shared.health.set(
                    Cause::Poison,
                    Some(format!(
                        "The record at {}-{} offset {} ended the process again and again; it is a dead letter now.",
                        at.topic, task.partition.0, at.offset
                    )),
                );
                task.poisoned(shared, at, now, out)?;
            }
            dead(shared, input, record, reason, now, out)?;
        }
        (Decoded::NeedSchema(_) | Decoded::Notification(_), _) => {
            unreachable!("records are read up to one without a schema, and a notification has a customer")
        }
    }
    task.note.end(at.topic, at.offset);
    task.passed(at);
    Ok(())
}

/// Keeps a record that cannot be processed, with its reason.
fn dead(shared: &Shared, input: usize, record: &Record, reason: DeadReason, now: Timestamp, out: &mut Vec<Output>) -> Result<(), TaskError> {
    metrics::dead_letter(reason.word());
    let source = SourcePosition { topic: record.topic().to_owned(), partition: record.partition(), offset: record.offset() };
    let value = match dead_letter::content(record.key(), record.value()) {
        dead_letter::Content::Seal(plain) => {
            let codes = shared.inputs.inputs()[input].has_code;
            dead_letter::Value::Sealed(shared.sealer.seal_dead_letter(codes, &dead_letter::coordinates(&source), &plain, now)?)
        }
        dead_letter::Content::Digest(digest) => dead_letter::Value::Digest(digest),
    };
    let headers = dead_letter::headers(reason, &source).into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
    let topic = shared.settings.topics.dead_letters.clone();
    out.push(Output { topic, partition: source.partition.kafka(), key: Vec::new(), value: Some(dead_letter::write_value(&value)), headers });
    Ok(())
}

/// The sources with their partition counts: receipts first, then the inputs.
fn sources(shared: &Shared, consumer: &BaseConsumer<Membership>) -> Result<Vec<Source>, EngineError> {
    use crate::event::input::Start;
    let partitions = |topic: &str| -> Result<u16, EngineError> {
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).map_err(kafka("asking for a topic's partitions"))?;
        let count = metadata.topics().iter().find(|found| found.name() == topic).map_or(0, |found| found.partitions().len());
        Ok(u16::try_from(count).unwrap_or(u16::MAX))
    };
    let receipts = shared.settings.topics.receipts.clone();
    let mut sources = vec![Source { partitions: partitions(&receipts)?, topic: receipts, start: Start::Earliest }];
    for input in shared.inputs.inputs() {
        let count = partitions(&input.topic)?;
        let ours = sources[0].partitions;
        shared.health.set(
            Cause::PartitionsWithoutOwner,
            (count > ours).then(|| format!("{} has {count} partitions, Recado's topics have {ours}: run `recado topics --grow`", input.topic)),
        );
        sources.push(Source { partitions: count.min(ours), topic: Arc::from(input.topic.as_str()), start: input.start });
    }
    Ok(sources)
}

fn consumer_config(settings: &Settings, name: &str) -> ClientConfig {
    let mut config = settings.client();
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
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("fetch.wait.max.ms", "20")
        .set("fetch.min.bytes", "1")
        .set("fetch.message.max.bytes", "2097152")
        .set("queued.min.messages", "20000")
        .set("queued.max.messages.kbytes", "32768")
        .set("fetch.queue.backoff.ms", "10");
    config
}

fn producer_config(settings: &Settings, id: &str) -> ClientConfig {
    let mut config = settings.client();
    let timeout = settings.transaction_timeout.as_millis();
    config
        .set("transactional.id", id)
        .set("transaction.timeout.ms", timeout.to_string())
        .set("socket.timeout.ms", (timeout * 6 / 10).to_string())
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("delivery.report.only.error", "true")
        .set("retry.backoff.ms", "20")
        .set("retry.backoff.max.ms", "500")
        .set("linger.ms", "5")
        .set("batch.size", "262144")
        .set("batch.num.messages", "10000")
        .set("queue.buffering.max.messages", "200000")
        .set("compression.type", "lz4");
    config
}
