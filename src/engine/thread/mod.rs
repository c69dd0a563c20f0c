//! One engine thread: one consumer, one transactional producer, its tasks. The loop in its order: events of the group, receipts, cancels, timers, requests, commit.
//!
//! Easily got wrong: any trouble with a transaction has one cure, the same as a restart: the tasks are thrown away, a new producer fences the old one, and the
//! tasks are opened anew from store and changelog.

mod commit;
mod group;
mod intake;
mod refusals;
mod time;
mod upkeep;
mod waiting;

use crate::delivery::{Partition, Timestamp};
use crate::engine::bell::Bell;
use crate::engine::end_offsets::EndOffsets;
use crate::engine::fetch::{Queue, Record};
use crate::engine::hello::Hello;
use crate::engine::membership::{Membership, Outside};
use crate::engine::outputs::Outputs;
use crate::engine::restore::{RestoreError, Source};
use crate::engine::settings::Settings;
use crate::engine::standstill;
use crate::engine::store::Store;
use crate::engine::storm;
use crate::engine::task::{Task, TaskError};
use crate::engine::transaction::Transactor;
use crate::engine::watchdog::Watch;
use crate::event::input::{Inputs, Kind, Schemas};
use crate::event::records::Framing;
use crate::lifeline::Lifeline;
use crate::observe::health::{Asker, Cause, Health, Pulse};
use crate::privacy::{Pepper, Sealer};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use refusals::Refusals;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use waiting::Waiting;

/// A thread that finds nothing to do waits until something comes, and looks again after so long: for timers, and for what was held back. A guess; a slot of the wheel has 16 ms.
const IDLE_WAIT: Duration = Duration::from_millis(10);
/// So many requests are decided between two looks at receipts and timers.
const REQUESTS_A_TURN: usize = 500;
/// So many timers fire between two looks at receipts and requests, an equal share of each task: 10 ms of work. Source: `benches/TRIED.md`, "What keeps other traffic moving".
const TIMERS_A_TURN: usize = 1_000;
/// With so many receipts waiting here no more are taken: those of a partition wait while its inputs are read again, or Kafka's time is not known. A guess.
const RECEIPTS_WAITING_MAX: usize = 20_000;
/// While a timer is due, the ends of the receipts partitions are asked for this often. Source: `engine.md` §5.
const GATE_PACE: Duration = Duration::from_millis(100);
/// After a record that could not be sealed or resolved, the task looks again so much later.
const HELD_BACK: Duration = Duration::from_millis(100);
/// The bound of one blocking call is this many transaction time-outs. `engine.md` T5 says two; making a producer may take that long by itself.
const WATCH_FACTOR: u32 = 3;
/// A loop that does not turn for so long is dead for `/livez`; opening partitions beats too.
const LOOP_BOUND: Duration = Duration::from_secs(60);
/// What `/readyz` says until each partition has a sample of Kafka time.
const NO_KAFKA_TIME: &str = "Kafka time is not known for every partition.";
/// Tasks that were opened send nothing while cancels from before are unread and come in with pauses no longer than this. It is waited for in vain where that input
/// ends in a transaction that the bank leaves open.
const CANCELS_BOUND: Duration = Duration::from_secs(3);
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
    /// The group has left this member out for longer than anybody needs: a new process joins anew.
    #[error("the group has not taken this engine thread back, though Kafka answers")]
    Outside,
    /// Tasks could not be opened.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The store failed after a commit: the truth is in Kafka, a restart replays it.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A topic that must be there is not.
    #[error("the topic {0} does not exist")]
    NoTopic(String),
    /// A client could not be made, or refused.
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
    lag_questions: EndOffsets,
    /// Rung by the queues of this thread, but for the lag's answers, which may wait: ends its waits.
    bell: Arc<Bell>,
    #[expect(dead_code, reason = "the consumer polls its own queue; here it rings")]
    group: Queue,
    consumer: BaseConsumer<Membership>,
    transactor: Option<Transactor>,
    hello: Hello,
    watch: Watch,
    pulse: Pulse,
    sources: Vec<Source>,
    /// Input numbers by topic.
    inputs_of: BTreeMap<String, usize>,
    tasks: BTreeMap<Partition, Task>,
    waiting_receipts: BTreeMap<Partition, Waiting<Record>>,
    /// By input and partition: express inputs first.
    waiting_requests: BTreeMap<(usize, Partition), Waiting<Record>>,
    /// Inputs whose partition is paused at the consumer.
    paused: BTreeMap<(usize, Partition), bool>,
    held_back: BTreeMap<(usize, Partition), Timestamp>,
    /// The inputs that could not have keys made when they were last decided, and why.
    keyless: BTreeMap<(usize, Partition), String>,
    outputs: Outputs,
    decided: usize,
    /// Those of them that are records of inputs.
    inputs_decided: usize,
    /// More timers of a task were due than one turn fires.
    flooded: bool,
    guard: storm::Guard,
    asked_at: Option<Timestamp>,
    asked: Duration,
    last_commit: Duration,
    /// When the tasks began to read.
    opened: Duration,
    last_work: Duration,
    /// When Kafka last answered or acknowledged anything.
    heard: Duration,
    paces: upkeep::Paces,
    outside: Outside,
    lifeline: Lifeline,
    disagreed: bool,
    /// The disk is nearly full: nothing new is taken.
    disk_full: bool,
    /// So many inputs are still decided one by one, each in a transaction of its own: one of them made a transaction be refused.
    careful: usize,
    /// In every second turn, while it is careful, inputs come first.
    turns: u64,
    /// The input whose outputs the open transaction holds alone.
    alone: Option<(Partition, String, i64)>,
    /// Where Kafka refuses for good what receipts or timers led to.
    refusals: Refusals,
    /// The tasks are being given back: a commit that fails opens none anew.
    giving_back: bool,
}

impl Engine {
    /// Makes the clients of thread `number`; joins nothing yet.
    pub fn open(shared: Arc<Shared>, number: u16) -> Result<Self, EngineError> {
        let settings = &shared.settings;
        let name = format!("{}{}.{number}", settings.topics.prefix(), settings.instance);
        let health = shared.health.clone();
        // The loop stands still in such a call and cannot say so itself; it takes the cause away when it turns again.
        let slow = move |call: &'static str, span: Duration| {
            health.set(Cause::KafkaAway(Asker::Engine(number)), Some(format!("Kafka has not answered {call} for {} s.", span.as_secs())));
        };
        let watch = Watch::start(name.clone(), settings.transaction_timeout * WATCH_FACTOR, slow).map_err(RestoreError::Folder)?;
        let cancels = shared.inputs.inputs().iter().any(|input| matches!(input.kind, Kind::Cancel { .. }));
        let consumer: BaseConsumer<Membership> =
            group::consumer_config(settings, &name, cancels).create_with_context(Membership::default()).map_err(kafka("making the consumer"))?;
        #[expect(unsafe_code, reason = "queues and questions must not outlive their client")]
        // SAFETY: they go into the struct that keeps the consumer too, and are declared before it, so they are dropped first.
        let ([mut receipts, mut requests, mut group], [mut questions, lag_questions]) = unsafe {
            let client = consumer.client();
            ([Queue::new(client), Queue::new(client), Queue::of_consumer(client)], [EndOffsets::new(client), EndOffsets::new(client)])
        };
        let bell = Arc::<Bell>::default();
        for queue in [&mut receipts, &mut requests, &mut group] {
            queue.ring(&bell);
        }
        questions.ring(&bell);
        let lifeline = Lifeline::new(&settings.kafka, &settings.topics.receipts);
        let hello = Hello::open(settings.kafka.clone(), settings.topics.receipts.clone(), name).map_err(kafka("making the producer of hellos"))?;
        let sources = group::sources(&shared, &consumer)?;
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
            lag_questions,
            bell,
            group,
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
            keyless: BTreeMap::new(),
            outputs: Outputs::default(),
            decided: 0,
            inputs_decided: 0,
            flooded: false,
            guard: storm::Guard::default(),
            asked_at: None,
            asked: now,
            last_commit: now,
            opened: now,
            last_work: now,
            heard: now,
            paces: upkeep::Paces::new(now),
            outside: Outside::default(),
            lifeline,
            disagreed: false,
            disk_full: false,
            careful: 0,
            turns: 0,
            alone: None,
            refusals: Refusals::default(),
            giving_back: false,
            shared,
        })
    }

    /// Runs until told to stop: then the transaction under way is finished.
    pub fn run(mut self, stop: &AtomicBool) -> Result<(), EngineError> {
        self.look_at_disk();
        self.new_producer()?;
        standstill::watch();
        self.consumer.subscribe(&[&*self.shared.settings.topics.receipts]).map_err(kafka("subscribing"))?;
        while !stop.load(Ordering::Relaxed) {
            self.turn()?;
        }
        self.commit_for_good()?;
        self.close_tasks();
        Ok(())
    }

    fn turn(&mut self) -> Result<(), EngineError> {
        self.pulse.beat();
        self.serve_group()?;
        let mut busy = self.take()?;
        while let Some(wish) = self.consumer.context().next() {
            self.rebalance(wish)?;
        }
        self.measure();
        // An input stands alone only in a transaction that is empty: receipts that never end would keep it from that.
        self.turns = self.turns.wrapping_add(1);
        let inputs_first = self.careful > 0 && self.turns.is_multiple_of(2);
        if !inputs_first {
            busy |= self.decide_receipts()?;
        }
        busy |= self.decide_cancels()?;
        // A cancel that stands alone stays so: it would be blamed for what a timer leads to.
        if !inputs_first && self.alone.is_none() {
            busy |= self.fire_timers()?;
        }
        busy |= self.decide_requests()?;
        if busy {
            self.last_work = crate::clock::monotonic();
        }
        if self.commit_due(busy) {
            self.commit()?;
        }
        self.upkeep()?;
        if !busy {
            self.bell.wait(self.commit_in().map_or(IDLE_WAIT, |span| span.min(IDLE_WAIT)));
        }
        Ok(())
    }
}

/// Something that is due every so often.
struct Pace {
    every: Duration,
    last: Duration,
}

impl Pace {
    fn new(every: Duration, now: Duration) -> Self {
        Self { every, last: now }
    }

    /// Whether it is due; if so it counts as done.
    fn due(&mut self, now: Duration) -> bool {
        let due = now.saturating_sub(self.last) >= self.every;
        if due {
            self.last = now;
        }
        due
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
