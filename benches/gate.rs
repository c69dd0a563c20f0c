//! How many instructions the pure parts of a notification's way take, each with a limit: red above it. `make bench-gate`; see README.md.
//!
//! What is easily got wrong: callgrind counts from the entry of the function under `#[library_benchmark]` to its end, and turns the counting off and on again at
//! each function whose path goes through it. So these functions call a method and nothing else: a closure of their own would not be counted.
//! They have no doc comments either: gungraun takes no other attributes.
#![allow(missing_docs, reason = "what gungraun's macros make has none")]
#![allow(clippy::allow_attributes_without_reason, reason = "gungraun's macros give none")]
#![allow(clippy::print_stderr, reason = "gungraun's main says there what keeps it from running")]
#![expect(clippy::unwrap_used, reason = "it may stop at the first thing that is not as it should be")]

use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Decimal, Schema};
use aws_lc_rs::hmac;
use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use recado::channel::{Receipts, WebhookError, signature, whatsapp};
use recado::config::Messages;
use recado::delivery::{
    self, Attempt, AttemptId, Channel, Decision, Event, Hold, KnownRoutes, Lane, MessageId, NotAfter, Outcome, Partition, Reason, Receipt, Request, Route,
    SourcePosition, State, Status, StatusWord, TimerKind, Timestamp,
};
use recado::engine::key::Key;
use recado::engine::outputs::Output;
use recado::engine::stored::{self, Delivery};
use recado::engine::{Behind, Overlay, Timers};
use recado::event::input::{self, Decoded, RawRecord, Schemas, Writer, WriterSchema};
use recado::event::records::{self, DispatchRef, Framing, Returned, StatusRecord, StatusRef};
use recado::privacy::{Class, Content, FileKeys, Payload, PhoneNumber, Purpose, Reference, ReferenceKind, RootKey, Sealer, Secret, Value};
use recado::template::{RenderError, Rendered};
use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// The most instructions that each may take: what was counted, and 15 % more (of the wheel 10 and 12). The counts stand behind them; `make bench-gate LIMITS=off` counts anew.
///
/// They are those of x86-64 with AVX2, of rustc 1.95 and the profile `ci`. Another compiler or another version of a crate may move them: then they are counted
/// anew, in a commit that moves nothing else. 0 is no limit but a place for one, and red.
mod most {
    pub const DECIDE_DELIVERED: u64 = 51_400; // counted: 44,722
    pub const DECIDE_FALLBACK: u64 = 70_200; // counted: 61,045
    pub const DECODE_PIX: u64 = 194_300; // counted: 168,985
    pub const DECODE_RETURNED: u64 = 30_800; // counted: 26,762
    pub const ENCODE_DISPATCH: u64 = 17_100; // counted: 14,870
    pub const ENCODE_STATUS: u64 = 24_900; // counted: 21,678
    pub const STATE: u64 = 40_800; // counted: 35,476
    pub const SEAL: u64 = 146_400; // counted: 127,341
    pub const RENDER_WHATSAPP: u64 = 1_281_600; // counted: 1,114,428
    pub const RENDER_SMS: u64 = 917_000; // counted: 797,411
    pub const WHEEL_CANCEL: u64 = 22_900; // counted: 20,494
    pub const WHEEL_FIRE: u64 = 25_300; // counted: 22,916
    pub const OVERLAY_WRITE: u64 = 20_400; // counted: 17,728
    pub const OVERLAY_END: u64 = 34_300; // counted: 29,830
    pub const BEHIND_CHANGE: u64 = 22_900; // counted: 19,941
    pub const BEHIND_WRITE: u64 = 214_200; // counted: 186,254
    pub const WEBHOOK_ONE: u64 = 733_200; // counted: 637,584
    pub const WEBHOOK_TWENTY: u64 = 426_000; // counted: 370,450
}

/// `make bench-gate TWICE=1` compiles it with twice the work, to see each of them turn red.
const TIMES: usize = if option_env!("TWICE").is_some() { 2 } else { 1 };
/// Each does its work for so many notifications: of one alone, the first growth of a vector would count for much.
const AT_ONCE: usize = 16 * TIMES;

/// Counts instructions alone, and no more than these may be executed. `LIMITS=off` counts without judging; other processors have other counts.
fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let mut counting = Callgrind::with_args(["--cache-sim=no"]);
    let judged = cfg!(target_arch = "x86_64") && std::env::var_os("LIMITS").is_none_or(|word| word != "off");
    if judged {
        counting.hard_limits([(EventKind::Ir, instructions)]);
    }
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(counting);
    config
}

// What all of them are given

const NOW: Timestamp = Timestamp::from_millis(1_764_900_000_000);
/// 15 minutes later, as `pix.received` has it.
const EXPIRY: Timestamp = Timestamp::from_millis(1_764_900_900_000);
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const SECOND: Attempt = Attempt { step: 2, n: 1 };

/// Of a key: its new value, or its end, and whether the changelog had it before.
type Change = (Key, Option<Vec<u8>>, bool);

fn after(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOW.millis() + millis)
}

fn integer(number: usize) -> i64 {
    i64::try_from(number).unwrap()
}

fn source(number: usize) -> SourcePosition {
    SourcePosition { topic: "pix.transactions".into(), partition: Partition(3), offset: 4_711_000 + integer(number) }
}

/// An id like those of messages that come one after the other.
fn id(number: usize) -> MessageId {
    MessageId::derive(after(integer(number)), &source(number), 0)
}

/// Invented numbers.
fn phone(number: usize) -> String {
    format!("+55119{:08}", 87_654_300 + number)
}

fn other_side(number: usize) -> &'static str {
    ["Maria Aparecida da Silva", "João dos Santos", "Ana Beatriz Gonçalves de Oliveira", "José Carlos Araújo"][number % 4]
}

/// The routes and templates that are shipped.
fn messages() -> Messages {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    Messages::read(&folder, "recado.", input::Settings { call_max: Duration::from_secs(5), hurry: 1 }).unwrap().0
}

fn route(messages: &Messages) -> Arc<Route> {
    messages.inputs.routes().iter().find(|named| &*named.name == "pix.received").unwrap().route.clone()
}

/// What the decoder makes of a Pix.
fn payload(number: usize) -> Payload {
    let text = |class, text: &str| Value { class, content: Content::Text(Secret::new(text.to_owned())) };
    let values = BTreeMap::from([
        ("amount".into(), Value { class: Class::Amount, content: Content::Amount(Secret::new(123_456 + 7_919 * integer(number))) }),
        ("payer_name".into(), text(Class::Name, other_side(number))),
        ("payee_name".into(), text(Class::Name, other_side(number))),
        ("institution".into(), text(Class::Public, "Banco Modelo")),
        ("occurred_at".into(), Value { class: Class::Public, content: Content::Time(NOW) }),
    ]);
    Payload { phone: PhoneNumber::parse(&phone(number)), zone: None, values, shaped: BTreeSet::new() }
}

/// As long as what the sealer makes of it: version, alg and kind, key id, nonce, tag.
fn sealed(number: usize) -> Vec<u8> {
    vec![0x5a; payload(number).write().len() + 3 + 8 + 12 + 16]
}

fn accepted(attempt: Attempt, appended: Timestamp) -> Event {
    Event::Outcome { attempt, outcome: Outcome::Accepted, reason: Reason::None, code: 0, appended }
}

fn reported(attempt: Attempt, receipt: Receipt, at: Timestamp) -> Event {
    Event::Receipt { attempt, receipt, reason: Reason::None, code: 0, provider_time: Some(at) }
}

// decide: whole lives in the delivery machine

struct Lives {
    route: Arc<Route>,
    events: Vec<(Event, Timestamp)>,
    decided: Vec<Vec<Decision>>,
    states: Vec<State>,
}

impl Lives {
    fn new(events: Vec<(Event, Timestamp)>) -> Self {
        let mut lives = Self { route: route(&messages()), events, decided: Vec::with_capacity(8 * AT_ONCE), states: Vec::with_capacity(AT_ONCE) };
        lives.live();
        assert!(lives.states.iter().all(State::ended), "each life has its end");
        assert!(lives.decided.iter().all(|decisions| !decisions.is_empty()), "each event is heard");
        lives.decided.clear();
        lives.states.clear();
        lives
    }

    fn live(&mut self) {
        for _ in 0..AT_ONCE {
            let (mut state, decisions) = delivery::request(Request { route: self.route.clone(), expiry: EXPIRY, obstacle: None }, NOW);
            self.decided.push(decisions);
            for (event, now) in &self.events {
                self.decided.push(delivery::on(&mut state, event, *now));
            }
            self.states.push(state);
        }
    }
}

/// Request, accepted, sent, delivered.
fn delivered() -> Lives {
    Lives::new(vec![
        (accepted(Attempt::FIRST, after(400)), after(400)),
        (reported(Attempt::FIRST, Receipt::Sent, after(1_000)), after(1_200)),
        (reported(Attempt::FIRST, Receipt::Delivered, after(2_000)), after(2_200)),
    ])
}

/// Request, accepted, 33 s of silence, an SMS, accepted, delivered.
fn fallen_back() -> Lives {
    Lives::new(vec![
        (accepted(Attempt::FIRST, after(400)), after(400)),
        (Event::Timer { kind: TimerKind::Wait, attempt: Attempt::FIRST, hold: Hold::No }, after(33_416)),
        (accepted(SECOND, after(33_900)), after(33_900)),
        (reported(SECOND, Receipt::Delivered, after(36_000)), after(36_200)),
    ])
}

#[library_benchmark]
#[bench::delivered(setup = delivered, config = at_most(most::DECIDE_DELIVERED))]
#[bench::fallback(setup = fallen_back, config = at_most(most::DECIDE_FALLBACK))]
fn decide(mut lives: Lives) -> Lives {
    lives.live();
    lives
}

// decode: the bank's Pix in the Confluent wire format, its schema from the registry

/// A registry that has answered.
struct Registered(Arc<Writer>);

impl Schemas for Registered {
    fn writer(&self, _: u32) -> WriterSchema {
        WriterSchema::Known(Arc::clone(&self.0))
    }
}

struct Arrivals {
    messages: Messages,
    schemas: Registered,
    input: usize,
    values: Vec<Vec<u8>>,
    decoded: Vec<Decoded>,
}

impl Arrivals {
    fn decode(&mut self) {
        for value in &self.values {
            let headers = [("traceparent", TRACE.as_bytes())];
            let record = RawRecord { key: Some(b"customer-7".as_slice()), value: Some(value.as_slice()), record_time: NOW, headers: &headers };
            self.decoded.push(self.messages.inputs.decode(self.input, &record, &self.schemas));
        }
    }
}

fn arrivals() -> Arrivals {
    let text = include_str!("../schemas/pix_transaction.avsc");
    let schema = Schema::parse_str(text).unwrap();
    let messages = messages();
    let input = messages.inputs.inputs().iter().position(|input| input.name == "pix").unwrap();
    let schemas = Registered(Arc::new(Writer::parse(text, &[]).unwrap()));
    let values = (0..AT_ONCE).map(|number| pix(&schema, number)).collect();
    let mut arrivals = Arrivals { messages, schemas, input, values, decoded: Vec::with_capacity(AT_ONCE) };
    arrivals.decode(); // the plan is made at the first use
    let good = |decoded: &Decoded| matches!(decoded, Decoded::Notification(made) if made.obstacle.is_none() && &*made.route_name == "pix.received");
    assert!(arrivals.decoded.iter().all(good));
    arrivals.decoded.clear();
    arrivals
}

/// A record by apache-avro, which reads nothing there.
fn pix(schema: &Schema, number: usize) -> Vec<u8> {
    let some = |text: &str| Avro::Union(1, Box::new(Avro::String(text.to_owned())));
    let null = || Avro::Union(0, Box::new(Avro::Null));
    let centavos = 123_456 + 7_919 * integer(number);
    let counterparty = Avro::Record(vec![
        ("name".into(), some(other_side(number))),
        ("document".into(), null()),
        ("institution".into(), some("Banco Modelo")),
        ("pix_key".into(), null()),
    ]);
    let value = Avro::Record(vec![
        ("event_id".into(), Avro::String(format!("evt-2026-{number:06}"))),
        ("customer_id".into(), Avro::String(format!("customer-{number}"))),
        ("phone".into(), some(&phone(number))),
        ("time_zone".into(), null()),
        ("direction".into(), Avro::Enum(0, "RECEIVED".into())),
        ("amount".into(), Avro::Decimal(Decimal::from(centavos.to_be_bytes()))),
        ("counterparty".into(), counterparty),
        ("end_to_end_id".into(), some("E9999999920261125120000000000000")),
        ("note".into(), some("aluguel de novembro")),
        ("occurred_at".into(), Avro::TimestampMillis(NOW.millis())),
    ]);
    let datum = GenericDatumWriter::builder(schema).build().unwrap().write_value_to_vec(value).unwrap();
    let mut bytes = vec![0];
    bytes.extend_from_slice(&7_u32.to_be_bytes());
    bytes.extend_from_slice(&datum);
    bytes
}

#[library_benchmark]
#[bench::pix(setup = arrivals, config = at_most(most::DECODE_PIX))]
fn decode(mut arrivals: Arrivals) -> Arrivals {
    arrivals.decode();
    arrivals
}

// decode: what comes back for each notification, its outcome and two receipts

struct Returns {
    values: Vec<Vec<u8>>,
    read: Vec<Returned>,
}

impl Returns {
    fn read(&mut self) {
        for value in &self.values {
            self.read.push(records::decode_returned(value).expect("it was written so"));
        }
    }
}

fn returns() -> Returns {
    let returned: Vec<Returned> = (0..AT_ONCE).flat_map(returned).collect();
    let written = |returned: &Returned| {
        let mut value = Vec::new();
        records::encode_returned(returned, &mut value);
        value
    };
    let mut returns = Returns { values: returned.iter().map(written).collect(), read: Vec::with_capacity(returned.len()) };
    returns.read();
    assert_eq!(returns.read, returned);
    returns.read.clear();
    returns
}

fn returned(number: usize) -> [Returned; 3] {
    let attempt_id = AttemptId { message_id: id(number), attempt: Attempt::FIRST };
    let receipt = |receipt, at| Returned::Receipt { attempt_id, receipt, reason: Reason::None, code: 0, provider_time: Some(at) };
    [
        Returned::Outcome { attempt_id, outcome: Outcome::Accepted, reason: Reason::None, code: 0, provider_id: Some(*id(number + 2_000).bytes()) },
        receipt(Receipt::Sent, after(1_000)),
        receipt(Receipt::Delivered, after(2_000)),
    ]
}

#[library_benchmark]
#[bench::three(setup = returns, config = at_most(most::DECODE_RETURNED))]
fn decode_returned(mut returns: Returns) -> Returns {
    returns.read();
    returns
}

// encode: what one decision writes

struct Outgoing {
    dispatches: Vec<records::Dispatch>,
    statuses: Vec<StatusRecord>,
    written: Vec<Vec<u8>>,
}

impl Outgoing {
    fn write_dispatches(&mut self) {
        for dispatch in &self.dispatches {
            let mut value = Vec::new();
            DispatchRef::from(dispatch).append(&mut value);
            self.written.push(value);
        }
    }

    fn write_statuses(&mut self) {
        for status in &self.statuses {
            let mut value = Vec::new();
            StatusRef::from(status).append(Framing::Confluent(8), &mut value);
            self.written.push(value);
        }
    }
}

fn outgoing() -> Outgoing {
    let (dispatches, statuses) = (0..AT_ONCE).map(|number| (dispatch(number), status(number))).unzip();
    let mut outgoing = Outgoing { dispatches, statuses, written: Vec::with_capacity(2 * AT_ONCE) };
    outgoing.write_dispatches();
    outgoing.write_statuses();
    assert_eq!(records::decode_dispatch(&outgoing.written[0]).as_ref(), Ok(&outgoing.dispatches[0]));
    assert_eq!(records::decode_status(&outgoing.written[AT_ONCE]).as_ref(), Ok(&outgoing.statuses[0]));
    outgoing.written.clear();
    outgoing
}

fn dispatch(number: usize) -> records::Dispatch {
    records::Dispatch {
        attempt_id: AttemptId { message_id: id(number), attempt: Attempt::FIRST },
        channel: Channel::WhatsApp,
        lane: Lane::Express,
        route: "pix.received".into(),
        template: "pix_recebido".into(),
        customer: Reference::from_bytes(*id(number + 1_000).bytes()),
        lease_end: after(10_000),
        not_after: NotAfter::new(after(5_000)),
        expiry: EXPIRY,
        wait_ms: 33_000,
        why: None,
        sealed: sealed(number),
        sealed_code: None,
        traceparent: Some(TRACE.into()),
    }
}

fn status(number: usize) -> StatusRecord {
    let status = Status {
        seq: 2,
        word: StatusWord::Delivered,
        attempt: Some(Attempt::FIRST),
        channel: Some(Channel::WhatsApp),
        reason: Reason::None,
        code: 0,
        provider_time: Some(after(2_000)),
        double_delivered: false,
        hold: Hold::No,
    };
    StatusRecord {
        message_id: id(number),
        status,
        live: true,
        decided: after(2_200),
        route: "pix.received".into(),
        template: "pix_recebido".into(),
        event_id: Some(format!("evt-2026-{number:06}")),
        source: Some(source(number)),
    }
}

#[library_benchmark]
#[bench::first(setup = outgoing, config = at_most(most::ENCODE_DISPATCH))]
fn encode_dispatch(mut outgoing: Outgoing) -> Outgoing {
    outgoing.write_dispatches();
    outgoing
}

#[library_benchmark]
#[bench::delivered(setup = outgoing, config = at_most(most::ENCODE_STATUS))]
fn encode_status(mut outgoing: Outgoing) -> Outgoing {
    outgoing.write_statuses();
    outgoing
}

// state: a delivery as it rests, read and written again, as at each event

struct Resting {
    routes: KnownRoutes,
    states: Vec<Vec<u8>>,
    written: Vec<Vec<u8>>,
}

impl Resting {
    fn read_and_write(&mut self) {
        for bytes in &self.states {
            self.written.push(Delivery::read(bytes, &mut self.routes).expect("it was written so").write());
        }
    }
}

fn resting() -> Resting {
    let route = route(&messages());
    let states = (0..AT_ONCE).map(|number| resting_delivery(&route, number)).collect();
    let mut resting = Resting { routes: KnownRoutes::default(), states, written: Vec::with_capacity(AT_ONCE) };
    resting.read_and_write();
    assert_eq!(resting.written, resting.states);
    resting.written.clear();
    resting
}

/// Its message was accepted and has left.
fn resting_delivery(route: &Arc<Route>, number: usize) -> Vec<u8> {
    let (mut state, _) = delivery::request(Request { route: route.clone(), expiry: EXPIRY, obstacle: None }, NOW);
    delivery::on(&mut state, &accepted(Attempt::FIRST, after(400)), after(400));
    delivery::on(&mut state, &reported(Attempt::FIRST, Receipt::Sent, after(1_000)), after(1_200));
    let SourcePosition { topic, offset, .. } = source(number);
    let (record_key, event_id, sealed) = (format!("customer-{number}"), format!("evt-2026-{number:06}"), sealed(number));
    let delivery = Delivery {
        source_offset: offset,
        source_topic: &topic,
        receipts_applied: 9_000 + integer(number),
        route: "pix.received",
        customer: Reference::from_bytes(*id(number + 1_000).bytes()),
        record_key: record_key.as_bytes(),
        event_id: Some(&event_id),
        cancel_hash: None,
        sealed: &sealed,
        sealed_code: None,
        traceparent: Some(TRACE),
        state,
        unchanged: &[],
    };
    delivery.write()
}

#[library_benchmark]
#[bench::sent(setup = resting, config = at_most(most::STATE))]
fn state(mut resting: Resting) -> Resting {
    resting.read_and_write();
    resting
}

// seal: parameters and destination, under keys that are in memory

struct Sealing {
    sealer: Sealer,
    notifications: Vec<(Reference, MessageId, Payload)>,
    sealed: Vec<Vec<u8>>,
    _folder: TempDir,
}

impl Sealing {
    fn seal(&mut self) {
        for (customer, message_id, payload) in &self.notifications {
            let sealed = self.sealer.seal(Purpose::Params, *customer, *message_id, EXPIRY, &payload.write(), NOW);
            self.sealed.push(sealed.expect("the key is there"));
        }
    }
}

fn sealing() -> Sealing {
    let folder = tempfile::tempdir().unwrap();
    let root = RootKey::from_text("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f").unwrap();
    // As long as keys may be cached: under callgrind the setup takes its time.
    let sealer = Sealer::new(Arc::new(FileKeys::open(folder.path(), root, Duration::from_secs(300)).unwrap()));
    let pepper = sealer.keys().pepper();
    let customers: Vec<Reference> = (0..AT_ONCE).map(|number| pepper.reference(ReferenceKind::Customer, &format!("customer-{number}"))).collect();
    sealer.keys().prepare(&customers, NOW).unwrap();
    let notifications = customers.iter().enumerate().map(|(number, customer)| (*customer, id(number), payload(number))).collect();
    let mut sealing = Sealing { sealer, notifications, sealed: Vec::with_capacity(AT_ONCE), _folder: folder };
    sealing.seal(); // the generator is seeded at the first use
    let (customer, message_id, _) = sealing.notifications[0];
    assert!(sealing.sealer.open(Purpose::Params, customer, message_id, EXPIRY, &sealing.sealed[0]).is_ok());
    sealing.sealed.clear();
    sealing
}

#[library_benchmark]
#[bench::params(setup = sealing, config = at_most(most::SEAL))]
fn seal(mut sealing: Sealing) -> Sealing {
    sealing.seal();
    sealing
}

// render: a shipped template with its values masked, scanned once more

struct Texts {
    messages: Messages,
    channel: Channel,
    payloads: Vec<Payload>,
    rendered: Vec<Result<Rendered, RenderError>>,
}

impl Texts {
    fn new(channel: Channel) -> Self {
        let payloads = (0..AT_ONCE).map(payload).collect();
        let mut texts = Self { messages: messages(), channel, payloads, rendered: Vec::with_capacity(AT_ONCE) };
        texts.render(); // the time zone is read at the first use
        assert!(texts.rendered.iter().all(Result::is_ok));
        texts.rendered.clear();
        texts
    }

    fn render(&mut self) {
        for payload in &self.payloads {
            let mut unfit = Vec::new();
            self.rendered.push(self.messages.catalogue.render_noting("pix_recebido", self.channel, payload, None, &mut unfit));
        }
    }
}

fn whatsapp_texts() -> Texts {
    Texts::new(Channel::WhatsApp)
}

fn sms_texts() -> Texts {
    Texts::new(Channel::Sms)
}

#[library_benchmark]
#[bench::whatsapp(setup = whatsapp_texts, config = at_most(most::RENDER_WHATSAPP))]
#[bench::sms(setup = sms_texts, config = at_most(most::RENDER_SMS))]
fn render(mut texts: Texts) -> Texts {
    texts.render();
    texts
}

// wheel: timers set, replaced, cleared, fired, among ten thousand others

/// Waits that nothing happens to, from 33 s on.
const ARMED: usize = 10_000;

struct Wheel {
    timers: Timers,
    ids: Vec<MessageId>,
    fired: Vec<MessageId>,
}

impl Wheel {
    fn new() -> Self {
        let mut timers = Timers::new(NOW);
        for number in 0..ARMED {
            let at = after(33_000 + integer(number) * 5 / 2);
            timers.replace(id(1_000_000 + number), &[(TimerKind::Wait, Attempt::FIRST, at)], traffic);
        }
        Self { timers, ids: (0..AT_ONCE).map(id).collect(), fired: Vec::with_capacity(AT_ONCE) }
    }

    /// As a delivery does that is confirmed in time: a lease, a wait, nothing.
    fn cancel(&mut self) {
        for message_id in &self.ids {
            self.timers.replace(*message_id, &[(TimerKind::Lease, Attempt::FIRST, after(10_000))], traffic);
            self.timers.replace(*message_id, &[(TimerKind::Wait, Attempt::FIRST, after(33_400))], traffic);
            self.timers.replace(*message_id, &[], traffic);
        }
    }

    /// Leases that nobody ends, due soon: on a way of ten seconds the empty slots would be most of what is counted.
    fn fire(&mut self) {
        for (number, message_id) in self.ids.iter().enumerate() {
            self.timers.replace(*message_id, &[(TimerKind::Lease, Attempt::FIRST, after(100 + 3 * integer(number)))], traffic);
        }
        self.timers.advance(after(300));
        for group in self.timers.due_groups() {
            while let Some(timer) = self.timers.fire(group) {
                self.fired.push(timer.message_id);
            }
        }
    }
}

fn traffic(_: Attempt) -> (Channel, Lane) {
    (Channel::WhatsApp, Lane::Express)
}

fn wheel() -> Wheel {
    let mut wheel = Wheel::new();
    wheel.cancel();
    assert_eq!(wheel.timers.armed(), ARMED);
    wheel.fire();
    assert_eq!((wheel.timers.armed(), &wheel.fired), (ARMED, &wheel.ids));
    Wheel::new()
}

#[library_benchmark]
#[bench::confirmed(setup = wheel, config = at_most(most::WHEEL_CANCEL))]
fn wheel_cancel(mut wheel: Wheel) -> Wheel {
    wheel.cancel();
    wheel
}

#[library_benchmark]
#[bench::leases(setup = wheel, config = at_most(most::WHEEL_FIRE))]
fn wheel_fire(mut wheel: Wheel) -> Wheel {
    wheel.fire();
    wheel
}

// overlay: what a transaction changes, and its end

struct Transaction {
    overlay: Overlay,
    writes: Vec<Change>,
    topic: Arc<str>,
    /// How many records.
    written: usize,
    committed: Vec<Change>,
}

impl Transaction {
    /// With so many deliveries begun in it.
    fn new(begun: usize) -> Self {
        let value = resting_delivery(&route(&messages()), 0);
        let mut overlay = Overlay::default();
        for number in 0..begun {
            overlay.put(stored::delivery_key(&id(number)), value.clone(), false);
        }
        let mut writes = Vec::with_capacity(4 * AT_ONCE);
        for number in 0..AT_ONCE {
            let [new, stored, over] = [10_000, 20_000, 30_000].map(|from| stored::delivery_key(&id(from + number)));
            writes.push((new, Some(value.clone()), false)); // its request,
            writes.push((new, Some(value.clone()), true)); // and its outcome in the same transaction
            writes.push((stored, Some(value.clone()), true));
            writes.push((over, None, true));
        }
        Self { overlay, writes, topic: "recado.state".into(), written: 0, committed: Vec::with_capacity(begun) }
    }

    /// Each key is asked for before it is written.
    fn write(&mut self) {
        for (key, value, stored) in self.writes.drain(..) {
            black_box(self.overlay.get(&key));
            match value {
                Some(value) => self.overlay.put(key, value, stored),
                None => self.overlay.delete(key, stored),
            }
        }
    }

    /// As `engine/thread/commit.rs` does: records for the changelog, and when they are committed, nothing is left.
    fn end(&mut self) {
        let mut records = Vec::with_capacity(self.overlay.len());
        records.extend(self.overlay.changes().map(|(key, value)| Output { topic: &self.topic, partition: 3, key, value, headers: &[] }));
        self.written += black_box(&records).len();
        self.committed.extend(self.overlay.take());
    }
}

/// A transaction under way.
fn under_way() -> Transaction {
    Transaction::new(1_000)
}

/// One that carries nothing else.
fn at_its_end() -> Transaction {
    let changes = 16 * AT_ONCE;
    let mut transaction = Transaction::new(changes);
    transaction.end();
    assert_eq!((transaction.written, transaction.committed.len(), transaction.overlay.is_empty()), (changes, changes, true));
    Transaction::new(changes)
}

#[library_benchmark]
#[bench::deliveries(setup = under_way, config = at_most(most::OVERLAY_WRITE))]
fn overlay_write(mut transaction: Transaction) -> Transaction {
    transaction.write();
    transaction
}

#[library_benchmark]
#[bench::deliveries(setup = at_its_end, config = at_most(most::OVERLAY_END))]
fn overlay_end(mut transaction: Transaction) -> Transaction {
    transaction.end();
    transaction
}

// behind: what is committed and not in the store yet

struct Committed {
    behind: Behind,
    changes: Vec<Change>,
}

impl Committed {
    /// So many deliveries rest and are due, and as many are young.
    fn new(each: usize) -> Self {
        let value = resting_delivery(&route(&messages()), 0);
        let mut behind = Behind::default();
        for from in [10_000, 20_000] {
            behind.written();
            for number in 0..each {
                behind.change(stored::delivery_key(&id(from + number)), Some(value.clone()), false);
            }
        }
        let mut changes = Vec::with_capacity(4 * AT_ONCE);
        for number in 0..AT_ONCE {
            let [due, young, new, stored] = [10_000, 20_000, 30_000, 40_000].map(|from| stored::delivery_key(&id(from + number)));
            changes.push((due, Some(value.clone()), true)); // it is young again,
            changes.push((young, None, true)); // it leaves no trace,
            changes.push((new, Some(value.clone()), false));
            changes.push((stored, None, true)); // and of this one the store has to hear
        }
        Self { behind, changes }
    }

    /// What the overlays of several transactions held; each key is asked for before it is changed.
    fn change(&mut self) {
        for (key, value, logged) in self.changes.drain(..) {
            black_box(self.behind.get(&key));
            self.behind.change(key, value, logged);
        }
    }

    /// What the store is given is walked; its own work is not in it.
    fn write(&mut self) {
        for change in self.behind.due() {
            black_box(change);
        }
        self.behind.written();
    }
}

fn committed() -> Committed {
    let mut committed = Committed::new(1_000);
    let keys: Vec<_> = committed.changes.iter().take(4).map(|(key, _, _)| *key).collect();
    committed.change();
    let known = |key: &Key| committed.behind.get(key).map(|value| value.is_some());
    assert_eq!(keys.iter().map(known).collect::<Vec<_>>(), [Some(true), None, Some(true), Some(false)]);
    assert_eq!(committed.behind.due().len(), 1_000 - AT_ONCE);
    Committed::new(1_000)
}

fn due() -> Committed {
    let changes = 16 * AT_ONCE;
    let mut committed = Committed::new(changes);
    assert_eq!(committed.behind.due().len(), changes);
    committed.write();
    assert_eq!((committed.behind.due().len(), committed.behind.young_bytes()), (changes, 0), "the young ones rest now");
    Committed::new(changes)
}

#[library_benchmark]
#[bench::deliveries(setup = committed, config = at_most(most::BEHIND_CHANGE))]
fn behind_change(mut committed: Committed) -> Committed {
    committed.change();
    committed
}

#[library_benchmark]
#[bench::deliveries(setup = due, config = at_most(most::BEHIND_WRITE))]
fn behind_write(mut committed: Committed) -> Committed {
    committed.write();
    committed
}

// webhook: Meta's receipts, signature first

const APP_SECRET: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

struct Posts {
    app: signature::Meta,
    /// Signature and body.
    posts: Vec<(String, Vec<u8>)>,
    heard: Vec<(bool, Result<Receipts, WebhookError>)>,
}

impl Posts {
    fn new(posts: usize, receipts: usize) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, APP_SECRET.as_bytes());
        let app = signature::Meta::new(&[Secret::new(APP_SECRET.to_owned())]);
        let signed = |body: Vec<u8>| (format!("sha256={}", hex::encode(hmac::sign(&key, &body).as_ref())), body);
        let posts = (0..posts).map(|number| signed(post(number * receipts, receipts))).collect();
        let mut posts = Self { app, posts, heard: Vec::with_capacity(AT_ONCE) };
        posts.read();
        let good = |(signed, read): &(bool, Result<Receipts, WebhookError>)| *signed && read.as_ref().is_ok_and(|read| read.reports.len() == receipts);
        assert!(posts.heard.iter().all(good));
        posts.heard.clear();
        posts
    }

    fn read(&mut self) {
        for (header, body) in &self.posts {
            let signed = self.app.verify(header, body);
            self.heard.push((signed, whatsapp::receipts(body)));
        }
    }
}

/// As Meta writes it; nobody has these numbers.
fn post(first: usize, count: usize) -> Vec<u8> {
    let statuses: Vec<String> = (first..first + count).map(status_of_meta).collect();
    let metadata = r#"{"display_phone_number":"551155550000","phone_number_id":"106540352242922"}"#;
    let value = format!(r#"{{"messaging_product":"whatsapp","metadata":{metadata},"statuses":[{}]}}"#, statuses.join(","));
    let change = format!(r#"{{"value":{value},"field":"messages"}}"#);
    format!(r#"{{"object":"whatsapp_business_account","entry":[{{"id":"102290129340398","changes":[{change}]}}]}}"#).into_bytes()
}

fn status_of_meta(number: usize) -> String {
    let attempt_id = AttemptId { message_id: id(number), attempt: Attempt::FIRST };
    let wamid = format!("wamid.HBgNNTUxMTk4NzY1NDMyMRUCABEYEjlBM0NBNUIzRDRDRDY3RTY3{number:04}AA==");
    let phone = phone(number);
    let recipient = phone.trim_start_matches('+');
    let pricing = r#"{"billable":true,"pricing_model":"PMP","category":"utility","type":"regular"}"#;
    format!(
        r#"{{"id":"{wamid}","status":"delivered","timestamp":"1764900002","recipient_id":"{recipient}","pricing":{pricing},"biz_opaque_callback_data":"{attempt_id}"}}"#
    )
}

fn posts_of_one() -> Posts {
    Posts::new(AT_ONCE, 1)
}

fn post_of_twenty() -> Posts {
    Posts::new(TIMES, 20)
}

#[library_benchmark]
#[bench::one(setup = posts_of_one, config = at_most(most::WEBHOOK_ONE))]
#[bench::twenty(setup = post_of_twenty, config = at_most(most::WEBHOOK_TWENTY))]
fn webhook(mut posts: Posts) -> Posts {
    posts.read();
    posts
}

library_benchmark_group!(
    name = parts,
    benchmarks = [
        decide,
        decode,
        decode_returned,
        encode_dispatch,
        encode_status,
        state,
        seal,
        render,
        wheel_cancel,
        wheel_fire,
        overlay_write,
        overlay_end,
        behind_change,
        behind_write,
        webhook
    ]
);
main!(library_benchmark_groups = parts);
