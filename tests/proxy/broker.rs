//! One Apache Kafka behind the proxy, and clients that go around it: what a test looks at must not be disturbed by what it does.

use crate::proxy::Proxy;
use crate::support::{self, Broker};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, ClientContext};
use std::time::{Duration, Instant};

/// How long anything may take before it counts as not coming.
pub const WITHIN: Duration = Duration::from_secs(60);

/// The brokers and what stands before them.
pub struct Kafka {
    /// Before the first broker's listener for clients.
    pub proxy: Proxy,
    /// Before the others'.
    pub others: Vec<Proxy>,
    /// Before the listeners by which the brokers reach each other; empty where there is one.
    pub inside: Vec<Proxy>,
    broker: Broker,
    runtime: tokio::runtime::Runtime,
}

impl Kafka {
    /// One broker behind its proxy.
    pub fn start() -> Self {
        Self::start_nodes(1)
    }

    /// So many; where there are several, what they say to each other goes through proxies too.
    pub fn start_nodes(nodes: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let open = |count: usize| (0..count).map(|_| runtime.block_on(Proxy::open())).collect::<Vec<_>>();
        let (mut outside, inside) = (open(nodes), open(if nodes > 1 { nodes } else { 0 }));
        let ports = |proxies: &[Proxy]| proxies.iter().map(|proxy| proxy.port.to_string()).collect::<Vec<_>>().join(" ");
        let advertised = (ports(&outside), ports(&inside));
        let broker = support::start_nodes(nodes, &[], &[("KAFKA_ADVERTISED", &*advertised.0), ("KAFKA_ADVERTISED_INSIDE", &*advertised.1)]);
        for (node, proxy) in outside.iter().enumerate() {
            let properties = std::fs::read_to_string(broker.folder.join(format!("node{}.properties", node + 1))).unwrap();
            let listeners = properties.lines().find_map(|line| line.strip_prefix("listeners=")).expect("the broker listens");
            let port = |name: &str| listeners.split(',').find_map(|listener| listener.strip_prefix(name)?.strip_prefix("://127.0.0.1:")?.parse().ok()).unwrap();
            proxy.lead_to(port("CLIENT"));
            inside.get(node).into_iter().for_each(|proxy| proxy.lead_to(port("BROKER")));
        }
        assert!(broker.bootstrap.starts_with(&format!("127.0.0.1:{}", outside[0].port)), "clients are told the proxies' addresses");
        let others = outside.split_off(1);
        Self { proxy: outside.remove(0), others, inside, broker, runtime }
    }

    /// The address that leads through the proxy.
    pub fn bootstrap(&self) -> &str {
        &self.broker.bootstrap
    }

    /// A client that goes through the proxy.
    pub fn through(&self) -> ClientConfig {
        client(&self.broker.bootstrap)
    }

    /// A client that goes around the proxy.
    pub fn around(&self) -> ClientConfig {
        client(&self.broker.inside)
    }

    /// How many requests of this kind have no answer yet, whichever broker they went to.
    pub fn in_flight(&self, key: i16) -> usize {
        std::iter::once(&self.proxy).chain(&self.others).map(|proxy| proxy.in_flight(key)).sum()
    }

    /// Makes topics of one partition.
    pub fn create(&self, topics: &[&str]) {
        let admin: AdminClient<DefaultClientContext> = self.around().create().unwrap();
        let topics: Vec<_> = topics.iter().map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(1))).collect();
        for made in self.runtime.block_on(admin.create_topics(&topics, &AdminOptions::new())).unwrap() {
            made.unwrap();
        }
    }

    /// The broker, counted from 0, that leads this partition.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<usize> {
        let metadata = self.asker().all.fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
        let partition = metadata.topics()[0].partitions().iter().find(|other| other.id() == partition)?;
        usize::try_from(partition.leader() - 1).ok()
    }

    /// The end of a topic for a reader of committed records, and the true one.
    pub fn ends(&self, topic: &str) -> (i64, i64) {
        self.asker().ends(topic)
    }

    /// Asks for ends, for one wait.
    pub fn asker(&self) -> Asker {
        let asker = |level: &str| self.around().set("group.id", "ends").set("isolation.level", level).create().unwrap();
        Asker { committed: asker("read_committed"), all: asker("read_uncommitted") }
    }

    /// Waits until no transaction is open on this topic.
    pub fn settled(&self, topic: &str) {
        let asker = self.asker();
        wait(&format!("{topic} is settled"), || {
            let (committed, all) = asker.ends(topic);
            committed == all
        });
    }

    /// All committed records of these topics, by topic and offset.
    pub fn dump(&self, topics: &[String]) -> Vec<OwnedMessage> {
        let mut config = self.around();
        config.set("group.id", "dump").set("isolation.level", "read_committed").set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
        let consumer: BaseConsumer<Quiet> = config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "10").create_with_context(Quiet).unwrap();
        let mut list = TopicPartitionList::new();
        topics.iter().for_each(|topic| list.add_partition_offset(topic, 0, Offset::Beginning).unwrap());
        consumer.assign(&list).unwrap();
        let (mut read, mut left, deadline) = (Vec::new(), topics.len(), Instant::now() + WITHIN);
        while left > 0 {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => read.push(message.detach()),
                Some(Err(KafkaError::PartitionEOF(_))) => left -= 1,
                Some(Err(error)) => panic!("{topics:?} cannot be read: {error}"),
                None => assert!(Instant::now() < deadline, "{topics:?} could not be read to their ends"),
            }
        }
        read.sort_by(|one, other| (one.topic(), one.offset()).cmp(&(other.topic(), other.offset())));
        read
    }

    /// The position that a group has committed, pending transactions waited out.
    pub fn position(&self, group: &str, topic: &str) -> Option<i64> {
        let consumer: BaseConsumer = self.around().set("group.id", group).set("isolation.level", "read_committed").create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, 0);
        // A cluster that has just begun may still be looking for the group's coordinator.
        let (mut answer, deadline) = (consumer.committed_offsets(list.clone(), Duration::from_secs(25)), Instant::now() + WITHIN);
        while answer.is_err() && Instant::now() < deadline {
            answer = consumer.committed_offsets(list.clone(), Duration::from_secs(25));
        }
        let answer = answer.unwrap();
        match answer.elements()[0].offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }
}

fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

/// Two clients that see a topic's end as readers of committed records, and of all, do.
pub struct Asker {
    committed: BaseConsumer,
    all: BaseConsumer,
}

impl Asker {
    /// As [`Kafka::ends`].
    pub fn ends(&self, topic: &str) -> (i64, i64) {
        let end = |client: &BaseConsumer| client.fetch_watermarks(topic, 0, Duration::from_secs(10)).unwrap().1;
        (end(&self.committed), end(&self.all))
    }
}

/// Waits for a condition.
pub fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {WITHIN:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The end of a partition is an event here, and no error worth a line.
struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Quiet {}
