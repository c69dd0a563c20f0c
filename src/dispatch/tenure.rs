//! One assignment of one partition: carries out what its ledger says. Enters: dispatches, the journal's tail, ends of calls and writes; leaves: journal entries,
//! calls, outcomes, heartbeats, and how far positions may be committed.
//!
//! Easily got wrong: nothing here waits. Writes, calls and reports run beside it and come back as something heard, so a slow one holds nobody up.

use super::call::Caller;
use super::journal::Tail;
use super::ledger::{Final, Ledger, Todo, Work};
use super::settings::Settings;
use super::slot::{Slot, Traffic, traffics};
use super::time::{Clocks, KafkaNow};
use super::written::Written;
use crate::crash_point::crash_point;
use crate::delivery::{AttemptId, Partition, Timestamp};
use crate::engine::kafka_time::Estimator;
use crate::event::records::{Dispatch, JournalEntry, JournalKind, Returned, encode_journal, encode_returned, journal_key};
use crate::observe::Health;
use crate::observe::dispatch as observe;
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How often time passes for a ledger that hears nothing.
const PACE: Duration = Duration::from_millis(50);
/// Source: design §6, "once a second".
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Source: design §4, a hello after 5 s without a sample.
const HELLO_AFTER: Duration = Duration::from_secs(5);
/// And sooner while there is no Kafka time at all.
const HELLO_WITHOUT_TIME: Duration = Duration::from_millis(500);
/// An entry that took longer to come back says too little about the time: the call's margin must cover what it may be wrong by.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(500);
/// Between two tries to make an outcome durable.
const REPORT_AGAIN: Duration = Duration::from_millis(200);
/// How often it is told how far positions may go, and what the clock is. Committed each 200 ms.
const TELL: Duration = Duration::from_millis(50);
/// What is heard in one go before the ledger is asked what to do.
const BATCH: usize = 1_000;

/// What a tenure hears.
#[derive(Debug)]
pub enum Heard {
    /// A dispatch was read.
    Taken {
        /// From where.
        slot: Slot,
        /// Where it lies.
        offset: i64,
        /// When it was appended (Kafka time).
        appended: Timestamp,
        /// What it says.
        dispatch: Box<Dispatch>,
        /// Its place among those in hand.
        place: Place,
    },
    /// A record that is no dispatch.
    Skipped(Slot, i64),
    /// Everything below these positions was said.
    Read(Vec<(Slot, i64)>),
    /// The ends of the topics, asked for at this own time.
    Ends(Timestamp, BTreeMap<Slot, i64>),
    /// A call ended.
    Called(AttemptId, Final),
    /// An outcome is durable.
    Reported(AttemptId),
    /// The partition goes, or the process ends.
    Leave,
}

/// One place among the attempts in hand; free again when dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Place {
    /// Takes one, whatever the limit: who reads looks at the count and stops reading.
    pub fn take(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How far positions may be committed.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// Of the topics of dispatches.
    pub slots: BTreeMap<Slot, i64>,
    /// Of the journal.
    pub journal: Option<i64>,
    /// Whether the journal is replayed and the time is known.
    pub ready: bool,
}

/// What all tenures share.
pub struct Shared {
    /// The role's settings.
    pub settings: Settings,
    /// For journal, outcomes and heartbeats.
    pub producer: FutureProducer,
    /// Makes the calls.
    pub caller: Arc<Caller>,
    /// The offsets of all partitions in use.
    pub clocks: Clocks,
    /// How this instance is.
    pub health: Health,
}

/// The other end: what the reading thread holds.
pub struct Handle {
    /// What is said to it. Bounded by the attempts in hand.
    pub heard: mpsc::UnboundedSender<Heard>,
    /// How far positions may go.
    pub marks: Arc<Mutex<Marks>>,
    /// Ends when it has left.
    pub ended: tokio::task::JoinHandle<()>,
}

struct Held {
    dispatch: Arc<Dispatch>,
    _place: Place,
}

/// One assignment of one partition.
pub struct Tenure {
    shared: Arc<Shared>,
    partition: Partition,
    ledger: Ledger,
    held: BTreeMap<AttemptId, Held>,
    clock: Estimator,
    now: Arc<KafkaNow>,
    written: Written,
    hello: Option<Timestamp>,
    sampled: Option<Timestamp>,
    heartbeat: Option<Timestamp>,
    told: Option<Timestamp>,
    /// Whether the clocks of all partitions in use agree.
    agree: bool,
    heard: mpsc::UnboundedSender<Heard>,
    marks: Arc<Mutex<Marks>>,
    leave: CancellationToken,
    gone: CancellationToken,
    leave_until: Option<Timestamp>,
}

impl Tenure {
    /// Starts one. `epoch` is random.
    pub fn start(shared: Arc<Shared>, partition: Partition, epoch: u64, tail: mpsc::Receiver<Tail>, runtime: &tokio::runtime::Handle) -> Handle {
        let (heard, inbox) = mpsc::unbounded_channel();
        let marks = Arc::new(Mutex::new(Marks::default()));
        let tenure = Self {
            shared,
            partition,
            ledger: Ledger::new(epoch),
            held: BTreeMap::new(),
            clock: Estimator::default(),
            now: Arc::default(),
            written: Written::default(),
            hello: None,
            sampled: None,
            heartbeat: None,
            told: None,
            agree: true,
            heard: heard.clone(),
            marks: marks.clone(),
            leave: CancellationToken::new(),
            gone: CancellationToken::new(),
            leave_until: None,
        };
        let ended = runtime.spawn(tenure.run(inbox, tail));
        Handle { heard, marks, ended }
    }

    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Heard>, mut tail: mpsc::Receiver<Tail>) {
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // The journal first: an entry that stands before ours must be known before anything else is decided.
            tokio::select! {
                biased;
                Some(entry) = tail.recv() => self.tail(entry),
                Some(heard) = inbox.recv() => self.hear(heard),
                _ = pace.tick() => {}
            }
            for _ in 0..BATCH {
                match tail.try_recv() {
                    Ok(entry) => self.tail(entry),
                    Err(_) => break,
                }
            }
            for _ in 0..BATCH {
                match inbox.try_recv() {
                    Ok(heard) => self.hear(heard),
                    Err(_) => break,
                }
            }
            if self.turn() {
                break;
            }
        }
        self.shared.clocks.note(self.partition, None);
        self.gone.cancel();
    }

    fn tail(&mut self, tail: Tail) {
        match tail {
            Tail::Start { start, end, coverage } => {
                self.ledger.replay(start, end, coverage);
                self.say_hello(crate::clock::now());
            }
            Tail::Entry { offset, appended, read, entry } => {
                if let Some(entry) = entry.filter(|entry| entry.epoch == self.ledger.epoch()) {
                    self.read_back(entry, appended, read);
                }
                self.ledger.journal(offset, appended, entry);
            }
        }
    }

    /// An own entry came back: a sample of Kafka's time.
    fn read_back(&mut self, entry: JournalEntry, appended: Timestamp, read: Timestamp) {
        let Some(written) = self.written.back(&entry) else { return };
        let round_trip = read.since(written);
        observe::read_back(round_trip);
        if round_trip <= ROUND_TRIP_MAX {
            self.clock.sample(written.min(read), read, appended);
            self.sampled = Some(read);
        }
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Taken { slot, offset, appended, dispatch, place } => {
                let id = dispatch.attempt_id;
                let work =
                    Work { attempt_id: id, traffic: slot.traffic(), lease_end: dispatch.lease_end, not_after: dispatch.not_after, expiry: dispatch.expiry };
                if self.ledger.taken(slot, offset, appended, work) {
                    crash_point!("before_intent");
                    self.held.insert(id, Held { dispatch: Arc::from(dispatch), _place: place });
                }
            }
            Heard::Skipped(slot, offset) => self.ledger.skipped(slot, offset),
            Heard::Read(positions) => {
                for (slot, position) in positions {
                    self.ledger.read(slot, position);
                }
            }
            Heard::Ends(asked, ends) => {
                if let Some(offset) = self.clock.offset(crate::clock::now()) {
                    self.ledger.ends(Timestamp::from_millis(asked.millis() + offset), &ends);
                }
            }
            Heard::Called(id, end) => self.ledger.called(id, end),
            Heard::Reported(id) => self.ledger.reported(id, crate::clock::now()),
            Heard::Leave => {
                self.ledger.leave();
                self.leave.cancel();
                let settings = &self.shared.settings;
                let within = settings.call_timeout + settings.leave_margin;
                #[cfg(feature = "mutants")]
                let within = crate::seeded_bug::leaves_within().unwrap_or(within);
                self.leave_until = Some(crate::clock::now().plus(within));
            }
        }
    }

    /// Time passes, and what the ledger says is carried out. True: the tenure is over.
    fn turn(&mut self) -> bool {
        let own_now = crate::clock::now();
        let tell = due(self.told, TELL, own_now);
        let measured = self.clock.offset(own_now);
        if tell {
            self.told = Some(own_now);
            self.agree = self.shared.clocks.note(self.partition, measured);
        }
        let offset = measured.filter(|_| self.agree);
        self.now.set(offset);
        let now = offset.map(|offset| Timestamp::from_millis(own_now.millis() + offset));
        let (caller, held) = (&self.shared.caller, &self.held);
        self.ledger.tick(own_now, now, |work| held.get(&work.attempt_id).and_then(|held| caller.refuse(work, &held.dispatch.template)));
        for todo in self.ledger.todo() {
            match todo {
                Todo::Write(entry) => self.write(entry, own_now),
                Todo::Call(id) => self.call(id),
                Todo::Report(id, end) => self.report(id, end),
            }
        }
        for id in self.ledger.finished() {
            self.held.remove(&id);
            self.written.forget(id);
        }
        if due(self.hello.max(self.sampled), if now.is_some() { HELLO_AFTER } else { HELLO_WITHOUT_TIME }, own_now) && self.hello.is_some() {
            self.say_hello(own_now);
        }
        if due(self.heartbeat, HEARTBEAT, own_now) {
            self.heartbeat = Some(own_now);
            for traffic in traffics() {
                self.beat(traffic);
            }
        }
        let over = self.ledger.left() || self.leave_until.is_some_and(|until| until <= own_now);
        if tell || over {
            let slots = Slot::all().filter_map(|slot| Some((slot, self.ledger.watermark(slot)?))).collect();
            let ready = self.ledger.replayed() && now.is_some();
            *self.marks.lock().unwrap_or_else(PoisonError::into_inner) = Marks { slots, journal: self.ledger.journal_position(), ready };
        }
        over
    }

    /// A write that fails, or finds the producer's queue full, is repeated by the ledger when it is not read back.
    fn write(&mut self, entry: JournalEntry, own_now: Timestamp) {
        self.written.note(&entry, own_now);
        let mut bytes = Vec::with_capacity(48);
        encode_journal(&entry, &mut bytes);
        let key = journal_key(&entry.attempt_id);
        let topic = self.shared.settings.journal();
        let record = FutureRecord::to(&topic).partition(self.partition.kafka()).key(&key[..]).payload(&bytes);
        if let Err((error, _)) = self.shared.producer.send_result(record) {
            tracing::warn!(%error, partition = self.partition.0, "An entry of the dispatch journal was not taken by the producer.");
        }
    }

    fn say_hello(&mut self, own_now: Timestamp) {
        self.hello = Some(own_now);
        let attempt_id = self.written.next_hello(self.partition);
        self.write(JournalEntry { attempt_id, kind: JournalKind::Hello, epoch: self.ledger.epoch() }, own_now);
    }

    fn call(&self, id: AttemptId) {
        let Some(held) = self.held.get(&id) else { return };
        // Read back, so acknowledged by all replicas.
        crash_point!("after_intent");
        let attempt = self.shared.caller.clone().attempt(held.dispatch.clone(), self.now.clone(), self.leave.clone());
        let heard = self.heard.clone();
        tokio::spawn(async move {
            let mut ending = Ending { id, heard, end: Final::UNKNOWN };
            ending.end = attempt.await;
            #[cfg(feature = "mutants")]
            if crate::seeded_bug::planted("all_unknown") {
                ending.end = Final::UNKNOWN;
            }
        });
    }

    /// Makes the outcome durable, however often it takes; what is not when the tenure ends is *unknown* to the next.
    fn report(&self, id: AttemptId, end: Final) {
        let Some(held) = self.held.get(&id) else { return };
        crash_point!("before_accept");
        let channel = held.dispatch.channel;
        let (shared, heard, gone) = (self.shared.clone(), self.heard.clone(), self.gone.clone());
        let returned = Returned::Outcome { attempt_id: id, outcome: end.outcome, reason: end.reason, code: end.code, provider_id: end.provider_id };
        tokio::spawn(async move {
            let mut bytes = Vec::with_capacity(64);
            encode_returned(&returned, &mut bytes);
            let topic = shared.settings.receipts();
            let home = id.message_id.partition().kafka();
            loop {
                let record = FutureRecord::to(&topic).partition(home).key(&id.message_id.bytes()[..]).payload(&bytes);
                let sent = tokio::select! {
                    () = gone.cancelled() => return,
                    sent = shared.producer.send(record, REPORT_AGAIN) => sent,
                };
                match sent {
                    Ok(_) => break,
                    Err((error, _)) => tracing::warn!(%error, attempt_id = %id, "An outcome is not durable yet."),
                }
                tokio::time::sleep(REPORT_AGAIN).await;
            }
            observe::ended(channel, end.outcome);
            let _ = heard.send(Heard::Reported(id));
        });
    }

    /// Written behind every outcome that it vouches for: those are acknowledged already.
    fn beat(&mut self, (channel, lane): Traffic) {
        let Some(settled) = self.ledger.settled((channel, lane)) else { return };
        let returned = Returned::DispatcherHeartbeat { instance: self.shared.settings.instance.clone(), channel, lane, settled };
        let mut bytes = Vec::with_capacity(64);
        encode_returned(&returned, &mut bytes);
        let topic = self.shared.settings.receipts();
        let record = FutureRecord::<[u8], _>::to(&topic).partition(self.partition.kafka()).key(&[]).payload(&bytes);
        if let Err((error, _)) = self.shared.producer.send_result(record) {
            tracing::warn!(%error, partition = self.partition.0, "A heartbeat was not taken by the producer.");
        }
    }
}

/// Says how a call ended even where it ends by a panic: then nobody knows.
struct Ending {
    id: AttemptId,
    heard: mpsc::UnboundedSender<Heard>,
    end: Final,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.heard.send(Heard::Called(self.id, self.end));
    }
}

fn due(last: Option<Timestamp>, every: Duration, now: Timestamp) -> bool {
    last.is_none_or(|last| now.since(last) >= every)
}
