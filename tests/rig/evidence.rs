//! What a run left behind: every topic read to its end, the log of its transactions, the send log, the crash log; and what a reader of statuses saw while the faults
//! went on.

use crate::avro;
use crate::bank::Written;
use crate::canaries::{Canaries, Environment};
use crate::cluster::Stamps;
use crate::dice::now_ms;
use crate::faults::Kill;
use crate::fold;
use crate::plan::{CALL_TIMEOUT_MS, LEAVE_MARGIN_MS, Plan};
use crate::quiet::Quiet;
use crate::segments::Log;
use crate::stage::{PARTITIONS, Profile, Stage};
use crate::support;
use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use recado::delivery::{Channel, Lane};
use recado::event::records::{Dispatch, JournalEntry, Returned, StatusRecord};
use recado::simulator::Line;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// One record, decoded.
#[derive(Clone, Debug)]
pub struct Row<T> {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// Its timestamp, ms since 1970: of the append, but for statuses and state. Where a broker's clock was set wrong, as if it had been right.
    pub at: i64,
    pub what: T,
}

/// Places and bytes of records.
pub type Places = BTreeMap<(i32, i64), Vec<u8>>;

/// What was seen while the faults went on.
pub struct Seen {
    statuses: Places,
    backwards: Vec<String>,
    slow: Vec<(i64, i64)>,
}

/// Everything.
#[derive(Clone)]
pub struct Evidence {
    pub plan: Plan,
    /// Whether commits follow each other so quickly that a timer which is not held fires within its second.
    pub prompt: bool,
    /// How long what is decided waits for its commit, and how long a lease is: as the configuration says, in real ms.
    pub commit_ms: i64,
    pub lease_ms: i64,
    /// Name and roles of each process that there is.
    pub instances: Vec<(&'static str, &'static str)>,
    pub written: Vec<Written>,
    pub kills: Vec<Kill>,
    pub lines: Vec<Line>,
    pub statuses: Vec<Row<StatusRecord>>,
    pub dispatches: Vec<Row<Dispatch>>,
    pub journal: Vec<Row<JournalEntry>>,
    pub returned: Vec<Row<Returned>>,
    /// The position records of the changelog, in the order of its log.
    pub positions: Vec<Row<BTreeMap<String, i64>>>,
    /// The logs of the topics that are written in transactions, by topic and partition.
    pub logs: Arc<BTreeMap<(Arc<str>, i32), Log>>,
    /// Topic, partition and offset of the record that each dead letter stands for.
    pub dead: Vec<(String, i32, i64, String)>,
    /// Statuses as they were seen during the faults, and as they lie there now.
    pub seen: Places,
    pub lies: Places,
    /// Where that reader was shown an offset that does not follow the one before it.
    pub backwards: Vec<String>,
    /// Stretches in which a record of the rig's own waited for its acknowledgement: brokers or machine were slow, whatever Recado did. ms since 1970.
    pub slow: Vec<(i64, i64)>,
    /// For how long a dispatcher that leaves its partitions waits for its calls in flight, ms: as long as it promises, but where LEAVE says otherwise.
    pub leave_ms: i64,
    /// How far the brokers' clocks were apart, ms: deadlines are in the time of whoever leads the partition.
    pub clocks_apart_ms: i64,
    pub quiet: Quiet,
    pub canaries: Canaries,
    /// Instances that ended without having been killed.
    pub ended: Vec<String>,
}

impl Evidence {
    /// Reads everything. Nothing may write any more.
    pub fn gather(plan: &Plan, written: Vec<Written>, kills: Vec<Kill>, seen: Seen, environments: &[Environment], stage: &Stage) -> Self {
        let traffics = || Channel::ALL.into_iter().flat_map(|channel| Lane::ALL.map(|lane| (channel, lane)));
        let of_traffic =
            |word: &str, (channel, lane): (Channel, Lane)| stage.topic(&format!("{word}.{}{}", channel.word(), if lane == Lane::Bulk { ".bulk" } else { "" }));
        let calls: Vec<String> = traffics().flat_map(|traffic| [of_traffic("dispatch", traffic), of_traffic("retry", traffic)]).collect();
        let status = dump(&[stage.topic("status")], true);
        let lies = status.iter().map(|message| ((message.partition(), message.offset()), support::value(message).to_vec())).collect();
        let header = |message: &OwnedMessage, name: &str| {
            let headers = message.headers().unwrap();
            let found = headers.iter().find(|header| header.key == name).and_then(|header| header.value).unwrap_or_default();
            String::from_utf8(found.to_vec()).unwrap()
        };
        let dead = dump(&[stage.topic("dead-letters")], true);
        let dead = dead
            .iter()
            .map(|message| {
                let number = |name| header(message, name).parse::<i64>().unwrap();
                let partition = i32::try_from(number("__streams.errors.partition")).unwrap();
                (header(message, "__streams.errors.topic"), partition, number("__streams.errors.offset"), header(message, "recado.reason"))
            })
            .collect();
        let positions: Vec<OwnedMessage> = dump(&[stage.topic("state")], true).into_iter().filter(|message| message.key() == Some(fold::POSITION)).collect();
        let transactional = ["state", "status", "dead-letters"].map(|name| stage.topic(name)).into_iter().chain(calls.iter().cloned());
        let ours: Vec<String> = transactional.clone().chain(["receipts", "dispatch-journal"].map(|name| stage.topic(name))).collect();
        Self {
            plan: plan.clone(),
            prompt: stage.profile != Profile::Long,
            commit_ms: stage.profile.commit_ms(),
            lease_ms: stage.profile.lease_ms(),
            instances: stage.instances.iter().map(|instance| (instance.name, instance.roles)).collect(),
            written,
            kills,
            lines: stage.send_log(),
            statuses: rows(&status, avro::status),
            dispatches: rows(&dump(&calls, true), avro::dispatch),
            journal: rows(&dump(&[stage.topic("dispatch-journal")], false), avro::journal),
            returned: rows(&dump(&[stage.topic("receipts")], false), avro::returned),
            positions: rows(&positions, |bytes| fold::positions(bytes).expect("a position record can be read")),
            logs: Arc::new(logs(transactional)),
            dead,
            seen: seen.statuses,
            lies,
            backwards: seen.backwards,
            slow: seen.slow,
            leave_ms: std::env::var("LEAVE").ok().and_then(|ms| ms.parse().ok()).unwrap_or(CALL_TIMEOUT_MS + LEAVE_MARGIN_MS),
            clocks_apart_ms: Stamps::look().apart(),
            quiet: Quiet::ask(stage, &calls),
            canaries: Canaries::look(stage, environments, &ours),
            ended: stage.ended.clone(),
        }
    }

    /// The log that a row lies in.
    pub fn log<T>(&self, row: &Row<T>) -> &Log {
        &self.logs[&(row.topic.clone(), row.partition)]
    }
}

fn logs(topics: impl Iterator<Item = String>) -> BTreeMap<(Arc<str>, i32), Log> {
    let data = support::broker().folder.join("data");
    let partitions = topics.flat_map(|topic| (0..i32::from(PARTITIONS)).map(move |partition| (Arc::<str>::from(&*topic), partition)));
    let stamps = Stamps::look();
    partitions.map(|(topic, partition)| ((topic.clone(), partition), Log::read(&data, &topic, partition, stamps.ahead(&topic, partition)))).collect()
}

fn rows<T>(messages: &[OwnedMessage], decode: impl Fn(&[u8]) -> T) -> Vec<Row<T>> {
    let mut topics: BTreeMap<&str, Arc<str>> = BTreeMap::new();
    let stamps = Stamps::look();
    messages
        .iter()
        .map(|message| Row {
            topic: topics.entry(message.topic()).or_insert_with(|| message.topic().into()).clone(),
            partition: message.partition(),
            offset: message.offset(),
            at: stamps.right(message),
            what: decode(support::value(message)),
        })
        .collect()
}

/// All records of these topics, in the order of partition and offset.
pub fn dump(topics: &[String], committed: bool) -> Vec<OwnedMessage> {
    let mut read = Vec::new();
    each(topics, committed, |message| read.push(message.detach()));
    read.sort_by(|one, other| (one.topic(), one.partition(), one.offset()).cmp(&(other.topic(), other.partition(), other.offset())));
    read
}

/// Shows all records of these topics, each once.
pub fn each(topics: &[String], committed: bool, mut show: impl FnMut(&BorrowedMessage<'_>)) {
    let consumer = reader(committed);
    let mut list = TopicPartitionList::new();
    for topic in topics {
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(30)).unwrap();
        for partition in metadata.topics()[0].partitions() {
            list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
        }
    }
    consumer.assign(&list).unwrap();
    let mut left = list.count();
    let mut deadline = Instant::now() + Duration::from_secs(120);
    while left > 0 {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                show(&message);
                deadline = Instant::now() + Duration::from_secs(120);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => left -= 1,
            Some(Err(error)) => panic!("{topics:?} cannot be read: {error}"),
            None => assert!(Instant::now() < deadline, "{topics:?} could not be read to their ends: nothing came for 120 s"),
        }
    }
}

/// The end of a partition is an event here, and no error worth a line.
struct Silent;

impl ClientContext for Silent {
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Silent {}

fn reader(committed: bool) -> BaseConsumer<Silent> {
    let level = if committed { "read_committed" } else { "read_uncommitted" };
    let mut config = support::client();
    config.set("group.id", "rig-reader").set("enable.auto.commit", "false").set("isolation.level", level).set("auto.offset.reset", "earliest");
    config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "50").create_with_context(Silent).unwrap()
}

/// Reads committed statuses while the faults go on; what it has seen is evidence.
pub struct Watcher {
    stop: Arc<AtomicBool>,
    told: Arc<std::sync::Mutex<BTreeMap<String, usize>>>,
    thread: std::thread::JoinHandle<(Places, Vec<String>)>,
    probe: std::thread::JoinHandle<Vec<(i64, i64)>>,
    /// When brokers or machine were last found slow.
    slow_until: Arc<AtomicI64>,
}

impl Watcher {
    /// Begins to read.
    pub fn start(topic: String) -> Self {
        let (stop, told) = (Arc::new(AtomicBool::new(false)), Arc::<std::sync::Mutex<BTreeMap<String, usize>>>::default());
        let (stopped, ends) = (stop.clone(), told.clone());
        let slow_until = Arc::<AtomicI64>::default();
        let probe = std::thread::spawn({
            let (topic, stopped, until) = (format!("{topic}-probe"), stop.clone(), slow_until.clone());
            move || slow(&topic, &stopped, &until)
        });
        let thread = std::thread::spawn(move || {
            let consumer = reader(true);
            let mut list = TopicPartitionList::new();
            for partition in 0..PARTITIONS {
                list.add_partition_offset(&topic, i32::from(partition), Offset::Beginning).unwrap();
            }
            consumer.assign(&list).unwrap();
            let (mut seen, mut backwards, mut last) = (Places::new(), Vec::new(), BTreeMap::new());
            loop {
                match consumer.poll(Duration::from_millis(100)) {
                    Some(Ok(message)) => {
                        let bytes = message.payload().unwrap_or_default();
                        let status = avro::status(bytes);
                        if status.status.word.terminal()
                            && let Some(event) = status.event_id
                        {
                            *ends.lock().unwrap().entry(event).or_default() += 1;
                        }
                        let (partition, offset) = (message.partition(), message.offset());
                        if let Some(before) = last.insert(partition, offset).filter(|before| *before >= offset) {
                            backwards.push(format!("The reader of statuses was shown offset {offset} of partition {partition} after {before}."));
                        }
                        seen.insert((partition, offset), bytes.to_vec());
                    }
                    // The end of a partition, or a broker that is slow: it reads on.
                    Some(Err(_)) => {}
                    None if stopped.load(Ordering::Relaxed) => return (seen, backwards),
                    None => {}
                }
            }
        });
        Self { stop, told, thread, probe, slow_until }
    }

    /// When brokers or machine were last found slow, ms since 1970; 0 where they never were.
    pub fn slow_until(&self) -> i64 {
        self.slow_until.load(Ordering::Relaxed)
    }

    /// How many events have their terminal status.
    pub fn ended(&self) -> usize {
        self.told.lock().unwrap().len()
    }

    /// Reads what is there and stops.
    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let (statuses, backwards) = self.thread.join().unwrap();
        Seen { statuses, backwards, slow: self.probe.join().unwrap() }
    }
}

/// How often the brokers are asked to take a record, and how long they may take for it before they count as slow: on one quiet broker it takes 5 ms.
const PROBE_EVERY: Duration = Duration::from_millis(100);
const SLOW_MS: i64 = 200;
/// Then it is given up and counts as slow all the same.
const PROBE_WITHIN: Duration = Duration::from_secs(30);

/// Writes a small record again and again; when it was slow.
fn slow(topic: &str, stop: &AtomicBool, until: &AtomicI64) -> Vec<(i64, i64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        support::create(&[(topic, 1, &[])]).await;
        let producer: FutureProducer = support::client().set("acks", "all").set("linger.ms", "0").create().unwrap();
        let mut slow = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            // That this program itself is woken late counts too.
            let began = now_ms();
            tokio::time::sleep(PROBE_EVERY).await;
            let sent = producer.send(FutureRecord::<(), [u8]>::to(topic).partition(0).payload(b"probe"), PROBE_WITHIN).await;
            let took = now_ms() - began - i64::try_from(PROBE_EVERY.as_millis()).unwrap();
            if took > SLOW_MS || sent.is_err() {
                slow.push((began, now_ms()));
                until.store(now_ms(), Ordering::Relaxed);
            }
        }
        slow
    })
}
