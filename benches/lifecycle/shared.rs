//! What the parts share: what was asked for, the load, reading what came of it, and how figures are told.

use crate::load::Mould;
use crate::proc::processor;
use crate::process::{Instance, Stage};
use crate::support::{self, Writer};
use crate::{PARTITIONS, bank};
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Decimal, Schema};
use recado::simulator::{self, Line};
use std::fmt::Debug;
use std::fs;
use std::ops::Range;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// A process that is killed has not written anything later than this after it. A guess.
pub const GONE_MS: i64 = 50;

/// A number of the environment.
pub fn asked<N: FromStr<Err: Debug>>(name: &str, otherwise: N) -> N {
    std::env::var(name).map_or(otherwise, |number| number.parse().unwrap())
}

/// What everything runs on.
pub fn machine() {
    let brokers = support::NODES.load(Ordering::Relaxed);
    println!("recado{}; {}: all processes, the providers and {brokers} broker(s) share them.", support::commit(), processor());
}

/// What others do here meanwhile.
pub fn heading(part: &str) {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("\n{part} (load of the machine before: {})", load.split(' ').next().unwrap_or("unknown"));
}

/// Of which partition a record of this number is.
pub fn partition(number: u64) -> i32 {
    i32::try_from(number % u64::from(PARTITIONS)).unwrap()
}

/// A thread that works until it is told to end.
pub struct Worker {
    thread: std::thread::JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    /// Starts it; it looks now and then whether it is to stop.
    pub fn start(work: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        Self { thread: std::thread::spawn(move || work(&told)), stop }
    }

    /// Waits until it ends by itself.
    pub fn wait(self) {
        self.thread.join().unwrap();
    }

    /// Ends it.
    pub fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wait();
    }
}

/// So many customers that nobody comes twice.
const EVERYBODY: u64 = 80_000_000;
/// Events of a flow beside others are numbered from here on: the same event twice is one message.
pub const BESIDE: u64 = 500_000_000;

/// Records at a steady rate.
pub struct Flow {
    worker: Worker,
    /// By how many µs one was written behind its time, at most.
    late: Arc<AtomicU64>,
}

impl Flow {
    /// Pix that were received, each by another customer with another phone.
    pub fn start(stage: &Stage, rate: u64, count: u64) -> Self {
        Self::of(stage.input("pix.transactions"), rate, 0..count, Mould::pix(false, EVERYBODY))
    }

    /// Bills, each of another customer, without an end; none where the rate is 0.
    pub fn of_bills(stage: &Stage, rate: u64) -> Self {
        let numbers = BESIDE..if rate == 0 { BESIDE } else { u64::MAX };
        Self::of(stage.input("billing.invoices"), rate.max(1), numbers, Mould::bills(EVERYBODY))
    }

    /// The records of these numbers.
    pub fn of(topic: String, rate: u64, numbers: Range<u64>, mould: Mould) -> Self {
        let late = Arc::<AtomicU64>::default();
        let most = late.clone();
        let worker = Worker::start(move |stop| {
            let writer = Writer::new();
            let began = Instant::now();
            for (at, number) in (0..).zip(numbers) {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let due = began + Duration::from_secs(at / rate) + Duration::from_nanos(at % rate * 1_000_000_000 / rate);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let (record, key) = mould.cast(number);
                writer.send(&topic, partition(number), key.as_bytes(), &record);
                most.fetch_max(u64::try_from(due.elapsed().as_micros()).unwrap(), Ordering::Relaxed);
            }
            writer.flush();
        });
        Self { worker, late }
    }

    /// By how much one was written behind its time at most, since this was asked last: what was late by more would hide what had to wait.
    pub fn late(&self) -> Duration {
        Duration::from_micros(self.late.swap(0, Ordering::Relaxed))
    }

    /// Waits until all are written, and says how late one was at most, as above.
    pub fn wait(self) -> Duration {
        self.worker.wait();
        Duration::from_micros(self.late.load(Ordering::Relaxed))
    }

    /// Ends it.
    pub fn end(self) {
        self.worker.end();
    }
}

/// Bills by the thousand: the schema is read once.
pub struct Bills(Schema);

impl Bills {
    /// With the reference schema.
    pub fn new() -> Self {
        Self(Schema::parse_str(&support::file("schemas/billing_invoice.avsc")).unwrap())
    }

    /// A bill of R$ 89,90 of an invented customer.
    pub fn record(&self, id: &str, customer: &str) -> Vec<u8> {
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

/// One for all questions: each client that is made reads the system's certificates. It keeps no connection, since a process may come again at the same port.
static CLIENT: LazyLock<reqwest::Client> =
    LazyLock::new(|| reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(Duration::from_secs(30)).build().unwrap());

/// All metrics of a process, as text; it has half a minute for them.
pub async fn scrape(instance: &Instance) -> String {
    CLIENT.get(format!("http://{}/metrics", instance.management)).send().await.unwrap().text().await.unwrap()
}

/// The sum of a metric over all labels, or over those that have this among them.
pub fn counted(metrics: &str, name: &str, label: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(label)));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// How many deliveries have ended on a phone.
pub async fn delivered(instance: &Instance) -> u64 {
    counted(&scrape(instance).await, "recado_statuses_total", "status=\"delivered\"")
}

/// Waits until the wall clock says so.
pub async fn until(time_ms: i64) {
    let left = time_ms - recado::clock::wall().millis();
    tokio::time::sleep(Duration::from_millis(u64::try_from(left).unwrap_or(0))).await;
}

/// Milliseconds, in order.
pub struct Spread(Vec<i64>);

impl Spread {
    pub fn of(mut millis: Vec<i64>) -> Self {
        millis.sort_unstable();
        Self(millis)
    }

    pub fn at(&self, percent: usize) -> i64 {
        self.at_mille(10 * percent)
    }

    /// The same in thousandths.
    pub fn at_mille(&self, mille: usize) -> i64 {
        self.0[(self.0.len() * mille / 1_000).min(self.0.len() - 1)]
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (least, most) = (self.0[0], self.0[self.0.len() - 1]);
        write!(f, "{} measured: least {least} ms, p50 {} ms, p90 {} ms, p99 {} ms, most {most} ms", self.0.len(), self.at(50), self.at(90), self.at(99))
    }
}

/// A message id begins with its record's time: 48 bits of milliseconds.
pub fn record_ms(call: &simulator::CallLine) -> i64 {
    i64::from_str_radix(&call.attempt_id.as_ref().unwrap()[..12], 16).unwrap()
}

/// Waits until the providers have had so many calls.
pub async fn until_calls(stage: &Stage, count: u64) -> Vec<simulator::CallLine> {
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

/// Every call that the providers have had.
pub fn calls(stage: &Stage) -> Vec<simulator::CallLine> {
    stage.send_log().into_iter().filter_map(|line| if let Line::Call(call) = line { Some(call) } else { None }).collect()
}
