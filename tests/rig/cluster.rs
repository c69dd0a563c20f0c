//! Kafka for the rig: three nodes, each broker and controller; every record rests on all of them, and counts as written when two have it.
//!
//! Easily got wrong: a node that answers at its port may still know nothing. What is ready, metadata and in-sync replicas say.

use crate::support;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Message, OwnedMessage, Timestamp};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub const NODES: usize = 3;
/// A cluster on a busy machine. A guess.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// Starts it, and waits until a topic on all its nodes can be written. It ends with this process, however that ends.
pub async fn start() {
    support::NODES.store(NODES, Ordering::Relaxed);
    // What was overwritten since a kill must still be there: the changelog is compared as it was then.
    support::SETTINGS.set(&["log.cleaner.backoff.ms=86400000"]).unwrap();
    support::broker();
    let client: BaseConsumer = support::client().create().unwrap();
    wait("three brokers", || {
        let metadata = client.fetch_metadata(None, Duration::from_secs(5));
        metadata.map(|metadata| metadata.brokers().len() == NODES).map_err(|error| error.to_string())
    });
    support::create(&[("probe", 1, &[])]).await;
    in_sync(&["probe".to_owned()]);
}

/// Waits until each partition of these topics has all its replicas in sync.
pub fn in_sync(topics: &[String]) {
    let client: BaseConsumer = support::client().create().unwrap();
    for topic in topics {
        wait(&format!("all replicas of {topic}"), || {
            let metadata = client.fetch_metadata(Some(topic), Duration::from_secs(5)).map_err(|error| error.to_string())?;
            let partitions = metadata.topics().first().map_or(&[][..], |topic| topic.partitions());
            Ok(!partitions.is_empty() && partitions.iter().all(|partition| partition.isr().len() == NODES))
        });
    }
}

fn wait(what: &str, mut holds: impl FnMut() -> Result<bool, String>) {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let answer = holds();
        if answer == Ok(true) {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: not within {READY_WITHIN:?}: {answer:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// By how much the time that a broker stamps on records is ahead: nothing, but where KAFKA_CLOCK set the last node's clock wrong. Then nobody may lead but who led
/// from the start.
pub struct Stamps {
    ahead_ms: i64,
    led: BTreeSet<(String, i32)>,
}

impl Stamps {
    /// Asks which partitions the last node leads.
    pub fn look() -> Self {
        let Some(ahead_ms) = std::env::var("KAFKA_CLOCK").ok().and_then(|ms| ms.parse().ok()) else { return Self { ahead_ms: 0, led: BTreeSet::new() } };
        let client: BaseConsumer = support::client().create().unwrap();
        let metadata = client.fetch_metadata(None, Duration::from_secs(10)).unwrap();
        let mut led = BTreeSet::new();
        for topic in metadata.topics() {
            let of_last = topic.partitions().iter().filter(|partition| usize::try_from(partition.leader()) == Ok(NODES));
            led.extend(of_last.map(|partition| (topic.name().to_owned(), partition.id())));
        }
        Self { ahead_ms, led }
    }

    /// How far the brokers' clocks are apart, in ms.
    pub fn apart(&self) -> i64 {
        self.ahead_ms
    }

    /// By how much what this partition's leader stamps is ahead, in ms.
    pub fn ahead(&self, topic: &str, partition: i32) -> i64 {
        if self.led.contains(&(topic.to_owned(), partition)) { self.ahead_ms } else { 0 }
    }

    /// The time of a record, as if its broker's clock had been right.
    pub fn right(&self, message: &OwnedMessage) -> i64 {
        match message.timestamp() {
            Timestamp::LogAppendTime(at) => at - self.ahead(message.topic(), message.partition()),
            at => at.to_millis().unwrap_or(0),
        }
    }
}

/// SIGKILL to all its nodes: nobody wants the data any more.
pub fn end() {
    for node in 1..=NODES {
        let pid = std::fs::read_to_string(support::broker().folder.join(format!("node{node}.pid"))).unwrap();
        let killed = Command::new("sh").arg("-c").arg(format!("kill -KILL {}", pid.trim())).stderr(Stdio::null()).status().unwrap();
        assert!(killed.success(), "node {node} has ended by itself");
    }
}
