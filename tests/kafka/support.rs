//! One Apache Kafka for all tests of this program, started by the first that needs it; clients of the bank's side; waiting with a deadline.

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A broker under way.
pub struct Broker {
    /// Its address for clients.
    pub bootstrap: String,
    /// Its address for other brokers: plain, and trusted.
    pub inside: String,
    /// Data, logs, certificates.
    pub folder: PathBuf,
}

impl Broker {
    /// Stops it gently; its data stay.
    pub fn stop(&self) {
        let stopped = Command::new("sh").arg(repository().join("docker/kafka.sh")).arg("stop").arg(&self.folder).status().expect("sh starts");
        assert!(stopped.success(), "Kafka did not stop");
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(self.folder.join("node1.pid")).expect("it has a pid file");
        // The shell's own kill: a small Debian has no program of that name.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{signal} {}", pid.trim())).status().expect("sh starts");
        assert!(sent.success(), "the broker is there");
    }

    /// Starts it again on the same data and ports, and returns before it serves.
    pub fn again(&self) {
        let started = Command::new("sh").arg(repository().join("docker/kafka.sh")).arg("node").arg("1").arg(&self.folder).status().expect("sh starts");
        assert!(started.success(), "Kafka did not start again");
    }
}

/// The address of the one broker.
pub fn bootstrap() -> &'static str {
    &broker().bootstrap
}

/// How many nodes [`broker`] has. A program whose Kafka is to be a cluster says so before anybody needs it.
pub static NODES: AtomicUsize = AtomicUsize::new(1);
/// More settings for them; to be set before the first question.
pub static SETTINGS: OnceLock<&[&str]> = OnceLock::new();

/// On how many nodes each record rests, and how many must have it before it counts as written.
pub fn replicas() -> (i32, i32) {
    let nodes = i32::try_from(NODES.load(Ordering::Relaxed)).expect("few");
    (nodes, (nodes + 1) / 2)
}

/// The one broker, or the cluster. It ends with this process, also when that is killed.
pub fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(|| {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
        start_nodes(NODES.load(Ordering::Relaxed), SETTINGS.get().copied().unwrap_or_default(), &[])
    })
}

/// Starts a broker of its own, with more settings for it.
pub fn start(settings: &[&str], environment: &[(&str, &str)]) -> Broker {
    start_nodes(1, settings, environment)
}

/// The same with several of them; what is said of one is the first's.
pub fn start_nodes(nodes: usize, settings: &[&str], environment: &[(&str, &str)]) -> Broker {
    let folder = std::env::temp_dir().join(format!("recado-kafka-{}-{}", std::process::id(), free_port()));
    let script = repository().join("docker/kafka.sh");
    let ports: Vec<String> = (0..3 * nodes).map(|_| free_port().to_string()).collect();
    let mut command = Command::new("sh");
    command.arg(&script).arg("start").arg(nodes.to_string()).arg(&folder).args(&ports).env("KAFKA_EXTRA", settings.join(" ")).envs(environment.iter().copied());
    let output = command.stderr(Stdio::inherit()).output().expect("sh starts");
    assert!(output.status.success(), "Kafka did not start; its logs are in {}", folder.display());
    // The guard outlives a kill -9 of this process and takes the broker with it.
    let guard = format!(
        "while kill -0 {} 2>/dev/null; do sleep 0.5; done; sh {} stop {}; rm -rf {}",
        std::process::id(),
        script.display(),
        folder.display(),
        folder.display()
    );
    #[expect(clippy::zombie_processes, reason = "it is to outlive this process")]
    Command::new("setsid").arg("sh").arg("-c").arg(guard).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh starts");
    let inside = format!("127.0.0.1:{}", ports[0]);
    Broker { inside, bootstrap: String::from_utf8(output.stdout).expect("an address is text").trim().to_owned(), folder }
}

/// Where Kafka's jars lie.
pub fn libs() -> String {
    let libs = Command::new("sh").arg(repository().join("docker/kafka.sh")).arg("libs").output().expect("sh starts");
    String::from_utf8(libs.stdout).expect("a folder is text").trim().to_owned()
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository.
pub fn file(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).expect("the repository has it")
}

/// ` at ` and the commit that this is, and whether more was changed, where git knows.
#[allow(dead_code, reason = "told by the programs of the rig, which share this file")]
pub fn commit() -> String {
    let describe = ["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--exclude=*"];
    let commit = Command::new("git").args(describe).output();
    commit.ok().filter(|output| output.status.success()).map_or_else(String::new, |output| format!(" at {}", String::from_utf8_lossy(&output.stdout).trim()))
}

/// A port that nobody uses now. It lies below those that outgoing connections get by themselves: while a broker is away they are many, and one of them would
/// take the port before its owner does.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    loop {
        let at = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(20_000 + at % 12_000).expect("it is below 32,768");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A prefix that no other test has: topics, groups and transactional ids stand under it.
pub fn prefix(test: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{test}-{}.", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A client's configuration.
pub fn client() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap());
    config
}

/// Makes topics of so many partitions with these settings.
pub async fn create(topics: &[(&str, i32, &[(&str, &str)])]) {
    let admin: AdminClient<DefaultClientContext> = client().create().expect("an admin client can be made");
    let (replicas, in_sync) = replicas();
    let in_sync = in_sync.to_string();
    let news: Vec<NewTopic<'_>> = topics
        .iter()
        .map(|(name, partitions, settings)| {
            let new = NewTopic::new(name, *partitions, TopicReplication::Fixed(replicas)).set("min.insync.replicas", &in_sync);
            settings.iter().fold(new, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    for result in admin.create_topics(&news, &AdminOptions::new()).await.expect("the broker answers") {
        result.expect("a new topic can be made");
    }
}

/// Gives a topic so many partitions.
pub async fn grow(topic: &str, partitions: usize) {
    let admin: AdminClient<DefaultClientContext> = client().create().expect("an admin client can be made");
    let results = admin.create_partitions([&NewPartitions::new(topic, partitions)], &AdminOptions::new()).await.expect("the broker answers");
    for result in results {
        result.expect("a topic can get more partitions");
    }
}

/// Changes settings of a topic, or of the broker.
pub async fn alter(of: ResourceSpecifier<'_>, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = client().create().expect("an admin client can be made");
    let altered = settings.iter().fold(AlterConfig::new(of), |config, (key, value)| config.set(key, value));
    for result in admin.alter_configs([&altered], &AdminOptions::new()).await.expect("the broker answers") {
        result.expect("settings can be changed");
    }
}

/// Writes records, and waits until all of them are acknowledged.
pub struct Writer(ThreadedProducer<DefaultProducerContext>);

impl Writer {
    /// A plain idempotent producer.
    pub fn new() -> Self {
        Self::of(client())
    }

    /// The same with a client's configuration of one's own.
    pub fn of(mut client: ClientConfig) -> Self {
        Self(client.set("enable.idempotence", "true").set("linger.ms", "0").set("message.max.bytes", "20000000").create().expect("a producer can be made"))
    }

    /// Writes one record; waits while the producer's queue is full.
    pub fn send(&self, topic: &str, partition: i32, key: &[u8], value: &[u8]) {
        while let Err((error, _)) = self.0.send(BaseRecord::to(topic).partition(partition).key(key).payload(value)) {
            assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Writes one record that says it is of this time, in milliseconds since 1970.
    pub fn send_of(&self, topic: &str, partition: i32, key: &[u8], value: &[u8], time_ms: i64) {
        let record = BaseRecord::to(topic).partition(partition).key(key).payload(value).timestamp(time_ms);
        self.0.send(record).map_err(|(error, _)| error).expect("the producer takes a record");
    }

    /// Waits until everything is acknowledged.
    pub fn flush(&self) {
        self.0.flush(Duration::from_secs(90)).expect("the broker acknowledges");
    }
}

/// Reads a topic from its start, committed records only.
pub struct Reader {
    consumer: BaseConsumer,
    /// What has been read, in the order of arrival.
    pub read: Vec<OwnedMessage>,
    /// Of each partition the offset after the last record that was given. The client may go back when a leader changes (librdkafka: it validates its position, and
    /// fetches anew what it has given already): what is twice here must be twice in the log.
    next: RefCell<BTreeMap<(String, i32), i64>>,
}

impl Reader {
    /// On all partitions of these topics.
    pub fn new(topics: &[(&str, i32)]) -> Self {
        Self::of(client(), topics)
    }

    /// The same with a client's configuration of one's own.
    pub fn of(mut client: ClientConfig, topics: &[(&str, i32)]) -> Self {
        let consumer: BaseConsumer = client
            .set("group.id", "reader")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "10")
            .create()
            .expect("a consumer can be made");
        let mut list = TopicPartitionList::new();
        for (topic, partitions) in topics {
            for partition in 0..*partitions {
                list.add_partition_offset(topic, partition, Offset::Beginning).expect("a legal topic");
            }
        }
        consumer.assign(&list).expect("a legal assignment");
        Self { consumer, read: Vec::new(), next: RefCell::default() }
    }

    /// The next record, when one comes within 20 ms. It is not kept.
    pub fn next(&self) -> Option<OwnedMessage> {
        let message = self.consumer.poll(Duration::from_millis(20))?.ok()?;
        let mut next = self.next.borrow_mut();
        let next = next.entry((message.topic().to_owned(), message.partition())).or_default();
        if message.offset() < *next {
            tracing::warn!(topic = message.topic(), partition = message.partition(), offset = message.offset(), "The client has gone back.");
            return None;
        }
        *next = message.offset() + 1;
        Some(message.detach())
    }

    /// Reads until `enough` says so; panics with `what` when that does not come about in 90 s: machines that build and test at once are slow.
    pub fn until(&mut self, what: &str, enough: impl FnMut(&[OwnedMessage]) -> bool) {
        self.until_within(what, Duration::from_secs(90), enough);
    }

    /// As [`Reader::until`] with a deadline of one's own.
    pub fn until_within(&mut self, what: &str, within: Duration, mut enough: impl FnMut(&[OwnedMessage]) -> bool) {
        let deadline = Instant::now() + within;
        while !enough(&self.read) {
            assert!(Instant::now() < deadline, "{what}: not within {within:?}; {} records read", self.read.len());
            let next = self.next();
            self.read.extend(next);
        }
    }
}

/// The value of a record.
pub fn value(message: &OwnedMessage) -> &[u8] {
    message.payload().unwrap_or_default()
}
