//! What a notification's way costs on this machine: the real binary as processes, a real broker (`BROKERS=3`: three), providers played in this process.
//!
//! It prints numbers and judges none of them. `make bench`, or with names of parts: see README.md.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]
#![expect(clippy::print_stderr, reason = "the log of a process that went wrong")]
#![expect(clippy::type_complexity, reason = "topics with their settings are listed in place")]
#![expect(clippy::unwrap_used, reason = "it may stop at the first thing that is not as it should be")]
#![expect(clippy::disallowed_methods, reason = "it measures with the machine's clock, not with Recado's")]

#[path = "../tests/kafka/bank.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod bank;
#[path = "../tests/kafka/deployment.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod deployment;
#[path = "../tests/kafka/process.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod process;
#[path = "../tests/kafka/support.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod support;

use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Decimal, Schema};
use process::{Instance, More, Stage};
use rdkafka::Message;
use recado::delivery::{Outcome, Reason};
use recado::event::records::{self, Returned};
use recado::simulator::{self, Channel, Line, Phone};
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::{Reader, Writer};

const PARTITIONS: u16 = 8;

#[tokio::main]
async fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let runs = |part: &str| wanted.is_empty() || wanted.iter().any(|word| word == part);
    support::NODES.store(asked("BROKERS", 1), Ordering::Relaxed);
    machine();
    if runs("latency") {
        latency().await;
    }
    if runs("timers") {
        timers().await;
    }
    if runs("engine") {
        engine_killed().await;
    }
    if runs("dispatcher") {
        dispatcher_killed().await;
    }
}

fn machine() {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).map_or("unknown", |rest| rest.trim_start_matches(['\t', ' ', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let brokers = support::NODES.load(Ordering::Relaxed);
    println!("recado{}; {cores} cores, {model}: all processes, the providers and {brokers} broker(s) share them.", support::commit());
}

/// What others do here meanwhile.
fn heading(part: &str) {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("\n{part} (load of the machine before: {})", load.split(' ').next().unwrap_or("unknown"));
}

// Record → provider call

const RATE: u64 = 500;
/// A broker's Java compiles for half a minute under this load; one that has run for days does not.
const WARM: u64 = 40 * RATE;
const MEASURED: u64 = 30 * RATE;

async fn latency() {
    heading("Record → provider call, 500 a second for 30 s, one process with all roles");
    let stage = Stage::new("latency", PARTITIONS, simulator::Settings::default()).await;
    let mut instance = stage.start(&stage.config("a", stage.gateway_port, ""), "engine,dispatcher,gateway");
    instance.ready().await;
    let count = WARM + MEASURED;
    let flow = Flow::start(&stage, RATE, count);
    tokio::task::spawn_blocking(move || flow.wait()).await.unwrap();
    let calls = until_calls(&stage, count).await;
    let all: Vec<i64> = sorted(&calls).into_iter().skip(usize::try_from(WARM).unwrap()).collect();
    println!("{}", Spread::of(all));
    let (decided, called) = stages(&stage, &calls);
    println!("  of it, until the dispatch is appended in the engine's transaction: {decided}");
    println!("  of it, from there through commit, journal and back to the call: {called}");
    let metrics = scrape(&instance).await;
    for name in ["recado_commit_duration_seconds", "recado_journal_read_back_seconds"] {
        let of = |end: &str| -> f64 {
            let all = metrics.lines().filter(|line| line.starts_with(&format!("{name}_{end}")));
            all.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        println!("  {name}: {} measured, {:.1} ms each", of("count"), 1_000.0 * of("sum") / of("count"));
    }
    instance.stop();
}

/// Before and after the broker took the dispatch (its own time, of the same machine).
fn stages(stage: &Stage, calls: &[simulator::CallLine]) -> (Spread, Spread) {
    let mut dispatches = Reader::new(&[(&format!("{}dispatch.whatsapp", stage.prefix), i32::from(PARTITIONS))]);
    let mut appended = BTreeMap::new();
    dispatches.until("all dispatches", |read| read.len() >= calls.len());
    for message in &dispatches.read {
        let dispatch = records::decode_dispatch(support::value(message)).unwrap();
        appended.insert(dispatch.attempt_id.to_string(), message.timestamp().to_millis().unwrap());
    }
    let mut pairs: Vec<(i64, i64, i64)> = calls.iter().map(|call| (record_ms(call), appended[call.attempt_id.as_ref().unwrap()], call.time_ms)).collect();
    pairs.sort_unstable();
    let measured = || pairs.iter().skip(usize::try_from(WARM).unwrap());
    (Spread::of(measured().map(|(record, at, _)| at - record).collect()), Spread::of(measured().map(|(_, at, call)| call - at).collect()))
}

/// By record time: what each took.
fn sorted(calls: &[simulator::CallLine]) -> Vec<i64> {
    let mut pairs: Vec<(i64, i64)> = calls.iter().map(|call| (record_ms(call), call.time_ms)).collect();
    pairs.sort_unstable();
    pairs.into_iter().map(|(record, call)| call - record).collect()
}

/// A message id begins with its record's time: 48 bits of milliseconds.
fn record_ms(call: &simulator::CallLine) -> i64 {
    i64::from_str_radix(&call.attempt_id.as_ref().unwrap()[..12], 16).unwrap()
}

async fn until_calls(stage: &Stage, count: u64) -> Vec<simulator::CallLine> {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let calls = calls(stage);
        if u64::try_from(calls.len()).unwrap() >= count {
            return calls;
        }
        assert!(Instant::now() < deadline, "{} of {count} calls", calls.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn calls(stage: &Stage) -> Vec<simulator::CallLine> {
    stage.send_log().into_iter().filter_map(|line| if let Line::Call(call) = line { Some(call) } else { None }).collect()
}

// Timers

/// Under 50 in 10 s the storm guard has no say.
const WAITS: u64 = 160;
/// 33 s of the reference route, ten times faster.
const WAIT_MS: i64 = 3_300;

async fn timers() {
    heading("Timers: 160 messages, 4 a second, that nobody confirms; a wait of 3.3 s, then the SMS");
    let mut settings = simulator::Settings { time_factor: 0.1, ..simulator::Settings::default() };
    settings.script.otherwise = Phone::named("sent_only", "quick", "quick").unwrap();
    let more = More { config: "[time]\nhurry = 10\n".into(), ..More::default() };
    let stage = Stage::with("timers", PARTITIONS, settings, more).await;
    let mut instance = stage.start(&stage.config("a", stage.gateway_port, ""), "engine,dispatcher,gateway");
    instance.ready().await;
    let flow = Flow::start(&stage, 4, WAITS);
    tokio::task::spawn_blocking(move || flow.wait()).await.unwrap();
    let calls = until_calls(&stage, 2 * WAITS).await;
    let mut answered: BTreeMap<&str, i64> = BTreeMap::new();
    let mut late = Vec::new();
    for call in &calls {
        let message = &call.attempt_id.as_ref().unwrap()[..32];
        match call.channel {
            Channel::Whatsapp => drop(answered.insert(message, call.answer_ms)),
            Channel::Sms => late.push(call.time_ms - answered[message] - WAIT_MS),
            Channel::Voice => {}
        }
    }
    println!("From the end of the wait to the SMS at its provider: {}", Spread::of(late));
    let metrics = scrape(&instance).await;
    for line in metrics.lines().filter(|line| line.starts_with("recado_timer_lag_seconds") && line.contains("\"wait\"")) {
        let tells = ["le=\"0.128\"", "le=\"0.512\"", "le=\"1.024\"", "_sum", "_count"];
        if tells.iter().any(|word| line.contains(word)) {
            println!("  {line}");
        }
    }
    instance.stop();
}

// kill -9 of the engine

/// Waits that are armed when the engine is killed, unless `ARMED` says otherwise.
const ARMED: usize = 100_000;

/// A number of the environment.
fn asked(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |number| number.parse().unwrap())
}

async fn engine_killed() {
    let (armed, load) = (asked("ARMED", ARMED), asked("LOAD", 0));
    heading(&format!("kill -9 of the engine → first commit, with {armed} armed timers, {load} records a second"));
    let more = More { engine: "attempts_open_max = 4000000\n", ..More::default() };
    let stage = Stage::with("killed", PARTITIONS, simulator::Settings::default(), more).await;
    let config = stage.config("a", stage.gateway_port, "");
    let mut instance = stage.start(&config, "engine");
    instance.ready().await;
    let loading = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let dispatcher = accept_all(&stage, stop.clone());
    let bills = stage.input("billing.invoices");
    let prefix = stage.prefix.clone();
    tokio::task::spawn_blocking(move || {
        let (writer, bank) = (Writer::new(), Bills::new());
        for at in 0..armed {
            let customer = format!("customer-{}", at % 1_000);
            writer.send(&bills, i32::try_from(at % usize::from(PARTITIONS)).unwrap(), customer.as_bytes(), &bank.record(&format!("b-{at}"), &customer));
        }
        writer.flush();
    })
    .await
    .unwrap();
    loop {
        let metrics = scrape(&instance).await;
        let lines = metrics.lines().filter(|line| line.starts_with("recado_timers_armed"));
        let there: f64 = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        if there >= f64::from(u32::try_from(armed).unwrap()) && dispatcher.1.load(Ordering::Relaxed) >= u64::try_from(armed).unwrap() {
            break;
        }
        assert!(loading.elapsed() < Duration::from_secs(600 + u64::try_from(armed).unwrap() / 500), "{there} timers are armed");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    println!("Armed after {:.0?}; {}.", loading.elapsed(), memory(&instance));
    let flow = Flow::of_bills(&stage, u64::try_from(load).unwrap());
    let told = Reader::new(&[(&format!("{prefix}status"), i32::from(PARTITIONS))]);
    for (round, lose_disk) in [false, false, false, true].into_iter().enumerate() {
        // Everything that was said so far, and some seconds of the load.
        let began = Instant::now();
        while told.next().is_some() || began.elapsed() < Duration::from_secs(if load > 0 { 5 } else { 0 }) {}
        let (killed, killed_ms) = (Instant::now(), recado::clock::wall().millis());
        instance.kill();
        if lose_disk {
            fs::remove_dir_all(stage.folder.path().join("state-a")).unwrap();
        }
        instance = stage.start(&config, "engine");
        let (writer, bank) = (Writer::new(), Bills::new());
        writer.send(&stage.input("billing.invoices"), 3, b"customer-1", &bank.record(&format!("probe-{round}"), "customer-1"));
        writer.flush();
        // Nobody but the new process decides anything from now on, and it decides of records only when it can.
        let is_new = |message: &rdkafka::message::OwnedMessage| message.timestamp().to_millis().is_some_and(|at| at > killed_ms + GONE_MS);
        while told.next().as_ref().is_none_or(|message| !is_new(message)) {
            assert!(killed.elapsed() < Duration::from_secs(180), "no commit in 180 s");
        }
        println!("{}: {:.2?}", if lose_disk { "the same with the disk lost" } else { "killed" }, killed.elapsed());
        instance.ready().await;
        println!("  {}", memory(&instance));
    }
    flow.end();
    stop.store(true, Ordering::Relaxed);
    dispatcher.0.join().unwrap();
    instance.stop();
}

/// A process that is killed has not written anything later than this after it. A guess.
const GONE_MS: i64 = 50;

/// The most memory that a process has had.
fn memory(instance: &Instance) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", instance.pid())).unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmHWM")).map_or_else(String::new, |line| line.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Says *accepted* of everything that is dispatched, as a dispatcher would; counts.
fn accept_all(stage: &Stage, stop: Arc<AtomicBool>) -> (std::thread::JoinHandle<()>, Arc<AtomicU64>) {
    let (dispatches, receipts) = (format!("{}dispatch.whatsapp.bulk", stage.prefix), format!("{}receipts", stage.prefix));
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    let thread = std::thread::spawn(move || {
        let (writer, reader) = (Writer::new(), Reader::new(&[(&dispatches, i32::from(PARTITIONS))]));
        while !stop.load(Ordering::Relaxed) {
            let Some(message) = reader.next() else { continue };
            let dispatch = records::decode_dispatch(support::value(&message)).unwrap();
            let outcome = Returned::Outcome { attempt_id: dispatch.attempt_id, outcome: Outcome::Accepted, reason: Reason::None, code: 0, provider_id: None };
            let mut value = Vec::new();
            records::encode_returned(&outcome, &mut value);
            writer.send(&receipts, i32::from(dispatch.attempt_id.message_id.partition().0), b"", &value);
            counted.fetch_add(1, Ordering::Relaxed);
        }
        writer.flush();
    });
    (thread, count)
}

// kill -9 of a dispatcher

async fn dispatcher_killed() {
    heading("kill -9 of the only dispatcher → first provider call, same name, 50 records a second");
    let stage = Stage::new("calls", PARTITIONS, simulator::Settings::default()).await;
    let mut engine = stage.start(&stage.config("a", stage.gateway_port, ""), "engine,gateway");
    let config = stage.config("d", stage.gateway_port, "");
    let mut dispatcher = stage.start(&config, "dispatcher");
    engine.ready().await;
    dispatcher.ready().await;
    let flow = Flow::start(&stage, 50, u64::MAX);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(4)).await;
        let killed_ms = recado::clock::wall().millis();
        dispatcher.kill();
        dispatcher = stage.start(&config, "dispatcher");
        let started_ms = recado::clock::wall().millis();
        println!("killed: {} ms", first_call_after(&stage, started_ms).await - killed_ms);
    }
    // Another name gets the partitions only when the session of the dead one is over.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let killed_ms = recado::clock::wall().millis();
    dispatcher.kill();
    let mut other = stage.start(&stage.config("e", stage.gateway_port, ""), "dispatcher");
    println!("killed, another name: {} ms", first_call_after(&stage, killed_ms + GONE_MS).await - killed_ms);
    flow.end();
    other.ready().await;
    other.stop();
    engine.stop();
}

/// When the provider has the first call after this time.
async fn first_call_after(stage: &Stage, time_ms: i64) -> i64 {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(call) = calls(stage).into_iter().find(|call| call.time_ms > time_ms) {
            return call.time_ms;
        }
        assert!(Instant::now() < deadline, "no call in 60 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

// What the parts share

/// Records at a steady rate, each of another customer with another phone.
struct Flow {
    thread: std::thread::JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Flow {
    fn start(stage: &Stage, rate: u64, count: u64) -> Self {
        Self::of(stage.input("pix.transactions"), rate, count, |at, customer| {
            bank::pix_received(&format!("e-{at}"), customer, &format!("+55119{:08}", 10_000_000 + at))
        })
    }

    /// Bills, each of another customer, without an end; none where the rate is 0.
    fn of_bills(stage: &Stage, rate: u64) -> Self {
        let bills = Bills::new();
        Self::of(stage.input("billing.invoices"), rate.max(1), if rate == 0 { 0 } else { u64::MAX }, move |at, customer| {
            bills.record(&format!("f-{at}"), customer)
        })
    }

    fn of(topic: String, rate: u64, count: u64, record: impl Fn(u64, &str) -> Vec<u8> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let there = stop.clone();
        let thread = std::thread::spawn(move || {
            let writer = Writer::new();
            let began = Instant::now();
            for at in 0..count {
                if there.load(Ordering::Relaxed) {
                    break;
                }
                let due = began + Duration::from_secs(at / rate) + Duration::from_nanos(at % rate * 1_000_000_000 / rate);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let customer = format!("customer-{at}");
                writer.send(&topic, i32::try_from(at % u64::from(PARTITIONS)).unwrap(), customer.as_bytes(), &record(at, &customer));
            }
            writer.flush();
        });
        Self { thread, stop }
    }

    fn wait(self) {
        self.thread.join().unwrap();
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wait();
    }
}

/// Bills by the thousand: the schema is read once.
struct Bills(Schema);

impl Bills {
    /// With the reference schema.
    fn new() -> Self {
        Self(Schema::parse_str(&support::file("schemas/billing_invoice.avsc")).unwrap())
    }

    /// A bill of R$ 89,90 of an invented customer.
    fn record(&self, id: &str, customer: &str) -> Vec<u8> {
        let value = Value::Record(vec![
            ("invoice_id".into(), Value::String(id.into())),
            ("customer_id".into(), Value::String(customer.into())),
            ("customer_name".into(), bank::some("Maria Aparecida da Silva")),
            ("phone".into(), bank::some("+5511987654321")),
            ("amount".into(), Value::Decimal(Decimal::from(8_990_i64.to_be_bytes()))),
            ("due_date".into(), Value::Date(20_800)),
            ("card_last_digits".into(), bank::null()),
            ("payment_line".into(), bank::null()),
        ]);
        bank::framed(1, &GenericDatumWriter::builder(&self.0).build().unwrap().write_value_to_vec(value).unwrap())
    }
}

async fn scrape(instance: &Instance) -> String {
    reqwest::get(format!("http://{}/metrics", instance.management)).await.unwrap().text().await.unwrap()
}

/// Milliseconds, in order.
struct Spread(Vec<i64>);

impl Spread {
    fn of(mut millis: Vec<i64>) -> Self {
        millis.sort_unstable();
        Self(millis)
    }

    fn at(&self, percent: usize) -> i64 {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (least, most) = (self.0[0], self.0[self.0.len() - 1]);
        write!(f, "{} measured: least {least} ms, p50 {} ms, p90 {} ms, p99 {} ms, most {most} ms", self.0.len(), self.at(50), self.at(90), self.at(99))
    }
}
