//! What one transaction may cost. On a machine that others use too its time says nothing, so there its work counts: the CPU of this process and the broker.

use crate::support;
use rdkafka::ClientConfig;
use rdkafka::admin::ResourceSpecifier;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use recado::delivery::{Channel, Lane};
use recado::engine::outputs::Outputs;
use recado::engine::transaction::{self, End, Transactor};
use recado::engine::watchdog::Watch;
use recado::engine::{Settings, Topics};
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TASKS: i32 = 8;
const RECORDS: usize = 1_000;
/// A dispatch, a status and a state have 250 to 450 bytes.
const VALUE_BYTES: usize = 350;
const P50_MAX: Duration = Duration::from_millis(20);
/// What two cores can do in that time. Within it a quiet machine of two cores *can* keep the 20 ms; beyond it none can.
const CPU_MAX: Duration = Duration::from_millis(40);
/// Over all 15 topics a transaction is further off, and the reason is not ours: librdkafka sends one request for each of the 120 partitions, a broker takes one
/// request of a connection at a time, and before the first record of each it asks its own transaction coordinator whether the partition belongs to the
/// transaction (`transaction.partition.verification.enable`, KIP-890). Measured on two quiet cores: p50 42 to 44 ms and 45 to 49 ms of the broker's CPU; 18 ms and
/// 23 to 29 ms when the broker does not ask. So the 20 ms are judged without the question, and with it that nothing is lost beyond it.
const P50_OVER_ALL_MAX: Duration = Duration::from_millis(60);
const CPU_OVER_ALL_MAX: Duration = Duration::from_millis(90);
/// A machine is quiet while others use less than this share of it.
const QUIET: f64 = 0.1;
/// Between two transactions, as under load: one that begins at once would wait for the broker to end the one before (engine.md §8).
const PACE: Duration = Duration::from_millis(100);
/// Transactions before the first round, over all topics and without a pause: the broker's code is compiled while it runs.
const WARMING: usize = 400;
/// The best of so many rounds counts: noise only adds.
const ROUNDS: usize = 3;
const TRANSACTIONS: u32 = 30;

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_a_thousand_records_commits_within_20_ms_at_the_median() {
    let bench = Bench::new().await;
    let (usual, all) = (outputs(&bench.usual()), outputs(&bench.every()));
    for _ in 0..WARMING {
        bench.commit(&all, Duration::ZERO);
    }
    let judged = [
        ("the 4 topics that one kind of traffic uses", bench.rounds(&usual), P50_MAX, CPU_MAX),
        ("all 15 topics", bench.rounds(&all), P50_OVER_ALL_MAX, CPU_OVER_ALL_MAX),
    ];
    support::alter(ResourceSpecifier::Broker(1), &[("transaction.partition.verification.enable", "false")]).await;
    let unasked = ("all 15 topics, without the broker's question about each partition", bench.rounds(&all), P50_MAX, CPU_OVER_ALL_MAX);
    let faults: Vec<String> = judged.into_iter().chain([unasked]).filter_map(|(what, rounds, p50, cpu)| verdict(what, &rounds, p50, cpu)).collect();
    assert!(faults.is_empty(), "{}", faults.join(" "));
}

/// What the best round says, and how far off it is; a fault when it is too far.
fn verdict(what: &str, rounds: &[Round], p50_max: Duration, cpu_max: Duration) -> Option<String> {
    for round in rounds {
        eprintln!("{RECORDS} records over {what}: {round:.1?}");
    }
    let quiet = rounds.iter().filter(|round| round.others < QUIET).map(|round| round.p50).min();
    let cpu = rounds.iter().map(|round| round.client_cpu + round.broker_cpu).min().unwrap();
    match quiet {
        Some(p50) => eprintln!("  p50 {p50:.1?}: {:.1} times the promised {P50_MAX:?}.", p50.as_secs_f64() / P50_MAX.as_secs_f64()),
        None => eprintln!("  Others used this machine all the time: what a transaction takes is not judged, only its work."),
    }
    let slow = quiet.filter(|p50| *p50 >= p50_max).map(|p50| format!("A transaction over {what} takes {p50:.1?} at the median, not {p50_max:?}."));
    let dear = (cpu >= cpu_max).then(|| format!("A transaction over {what} costs {cpu:.1?} of CPU, not {cpu_max:?}."));
    slow.or(dear)
}

/// So many records, evenly over all partitions of these topics.
fn outputs(topics: &[Arc<str>]) -> Outputs {
    let noise = |at: usize| (0..VALUE_BYTES).map(move |byte| u8::try_from((at * 31 + byte * byte * 7) % 251).unwrap());
    let partition = |at: usize| i32::try_from(at / topics.len() % usize::try_from(TASKS).unwrap()).unwrap();
    let mut all = Outputs::default();
    for at in 0..RECORDS {
        let key = u128::try_from(at).unwrap().to_be_bytes();
        all.push(&topics[at % topics.len()], partition(at), &key, Vec::new(), |value| value.extend(noise(at)));
    }
    all
}

/// What so many transactions, one after the other, took and cost.
#[derive(Debug)]
struct Round {
    p50: Duration,
    /// Of one transaction.
    client_cpu: Duration,
    /// Of one transaction.
    broker_cpu: Duration,
    /// Which share of all cores neither of the two used nor left idle.
    others: f64,
}

/// CPU of a process since its start.
fn cpu_of(pid: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Behind the name: state, ten numbers, then user and system time, in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    Duration::from_millis(fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum())
}

/// CPU that all of the machine has used, whoever did.
fn cpu_of_all() -> Duration {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let fields: Vec<u64> = stat.lines().next().unwrap().split_whitespace().skip(1).map(|ticks| ticks.parse().unwrap()).collect();
    // user, nice, system, idle, iowait, irq, softirq
    Duration::from_millis((fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) * 10)
}

struct Bench {
    topics: Topics,
    transactor: Cell<Option<Transactor>>,
    consumer: BaseConsumer,
    positions: TopicPartitionList,
}

impl Bench {
    async fn new() -> Self {
        let prefix = support::prefix("numbers");
        let topics = Topics::under(&prefix);
        let all = every(&topics);
        let inputs: Vec<Arc<str>> = ["pix", "codes", "used", "bills"].iter().map(|name| Arc::from(format!("{prefix}in.{name}"))).collect();
        let list: Vec<(&str, i32, &[(&str, &str)])> = all.iter().chain(&inputs).chain([&topics.receipts]).map(|name| (&**name, TASKS, &[][..])).collect();
        support::create(&list).await;
        let settings = Settings {
            instance: "a".into(),
            threads: 1,
            state_folder: std::env::temp_dir(),
            kafka: support::client(),
            commit_interval: Duration::from_millis(100),
            commit_on_drain: None,
            fetch_wait: Duration::from_millis(10),
            batch_records_max: 4_000,
            batch_bytes_max: 4 << 20,
            transaction_timeout: Duration::from_secs(10),
            session_timeout: Duration::from_secs(10),
            attempts_open_max: 10_000,
            hold_max: Duration::from_secs(120),
            storm_guard: true,
            disk_free_min: 64 << 20,
            store_age_max: Duration::from_secs(3600),
            topics: topics.clone(),
        };
        let consumer = member(&topics);
        // Receipts and four inputs move in every task.
        let mut positions = TopicPartitionList::new();
        for topic in inputs.iter().chain([&topics.receipts]) {
            for partition in 0..TASKS {
                positions.add_partition_offset(topic, partition, Offset::Offset(1)).unwrap();
            }
        }
        let watch = Watch::start("numbers".into(), Duration::from_secs(60), |_, _| {}).unwrap();
        let transactor = Transactor::open(&transaction::client_config(&settings, &format!("{prefix}a.0")), watch, settings.transaction_timeout).unwrap();
        Self { topics, transactor: Cell::new(Some(transactor)), consumer, positions }
    }

    /// What a task writes to while Pix notifications come in and some fall back.
    fn usual(&self) -> Vec<Arc<str>> {
        let (first, later) = (self.topics.dispatch(Channel::WhatsApp, Lane::Express), self.topics.retry(Channel::Sms, Lane::Express));
        vec![self.topics.status.clone(), self.topics.state.clone(), first.clone(), later.clone()]
    }

    /// Every topic that the engine's transactions write to.
    fn every(&self) -> Vec<Arc<str>> {
        every(&self.topics)
    }

    fn rounds(&self, outputs: &Outputs) -> Vec<Round> {
        (0..ROUNDS).map(|_| self.round(outputs)).collect()
    }

    fn commit(&self, outputs: &Outputs, pause: Duration) -> Duration {
        self.consumer.poll(pause);
        let group = self.consumer.group_metadata().unwrap();
        let started = Instant::now();
        let outputs: Vec<_> = outputs.iter().collect();
        let (end, transactor) = self.transactor.take().unwrap().run(&outputs, &self.positions, &group);
        self.transactor.set(transactor);
        match end {
            End::Committed { .. } => started.elapsed(),
            other => panic!("{other:?}"),
        }
    }

    fn round(&self, outputs: &Outputs) -> Round {
        let broker = std::fs::read_to_string(support::broker().folder.join("node1.pid")).unwrap();
        let cpu = || (cpu_of("self"), cpu_of(broker.trim()), cpu_of_all());
        let (began, before) = (Instant::now(), cpu());
        let mut took: Vec<Duration> = (0..TRANSACTIONS).map(|_| self.commit(outputs, PACE)).collect();
        let (span, after) = (began.elapsed(), cpu());
        took.sort();
        let (client, broker, all) = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
        let cores = std::thread::available_parallelism().unwrap().get();
        let others = all.saturating_sub(client + broker).as_secs_f64() / (span.as_secs_f64() * f64::from(u32::try_from(cores).unwrap()));
        Round { p50: took[took.len() / 2], client_cpu: client / TRANSACTIONS, broker_cpu: broker / TRANSACTIONS, others }
    }
}

fn every(topics: &Topics) -> Vec<Arc<str>> {
    let mut all = vec![topics.status.clone(), topics.state.clone(), topics.dead_letters.clone()];
    for channel in Channel::ALL {
        for lane in Lane::ALL {
            all.extend([topics.dispatch(channel, lane).clone(), topics.retry(channel, lane).clone()]);
        }
    }
    all
}

/// A consumer that is a member of the group whose positions are committed.
fn member(topics: &Topics) -> BaseConsumer {
    let mut config: ClientConfig = support::client();
    let consumer: BaseConsumer =
        config.set("group.id", format!("{}engine", topics.prefix())).set("enable.auto.commit", "false").set("auto.offset.reset", "latest").create().unwrap();
    consumer.subscribe(&[&*topics.receipts]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while consumer.assignment().unwrap().count() == 0 {
        assert!(Instant::now() < deadline, "not a member in 30 s");
        consumer.poll(Duration::from_millis(20));
    }
    consumer
}
