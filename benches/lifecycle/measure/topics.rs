//! Our topics as the bench reads them: committed records from a position on, ends, bytes on the broker's disk.

use crate::process::Stage;
use crate::{PARTITIONS, support};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use recado::delivery::MessageId;
use std::fs;
use std::time::{Duration, Instant};

/// The beginning of each partition.
pub const START: [i64; PARTITIONS as usize] = [0; PARTITIONS as usize];
/// A topic is read to its end, too, when nothing came for so long. A busy machine may stand still for seconds, and what is not read is missed without a word.
const QUIET: Duration = Duration::from_secs(10);
/// For one question to a broker.
const ANSWER: Duration = Duration::from_secs(10);

/// Where each partition of a topic ends now.
pub fn ends(topic: &str) -> Vec<i64> {
    let consumer: BaseConsumer = support::client().create().unwrap();
    let deadline = Instant::now() + ANSWER;
    let end = |partition| loop {
        // A client that has just met the topic may ask the wrong broker first.
        match consumer.fetch_watermarks(topic, partition, ANSWER) {
            Ok((_, end)) => return end,
            Err(error) => assert!(Instant::now() < deadline, "{topic}: {error}"),
        }
    };
    (0..i32::from(PARTITIONS)).map(end).collect()
}

/// Reads all partitions from these offsets on.
pub fn consumer(topic: &str, from: &[i64]) -> BaseConsumer {
    let consumer: BaseConsumer = support::client()
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "10")
        .set("fetch.min.bytes", "65536")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for (partition, offset) in (0..).zip(from) {
        list.add_partition_offset(topic, partition, Offset::Offset(*offset)).unwrap();
    }
    consumer.assign(&list).unwrap();
    consumer
}

/// Shows each record from these offsets to where the topic ends now; returns how many there were.
pub fn each(topic: &str, from: &[i64], mut show: impl FnMut(&BorrowedMessage<'_>)) -> u64 {
    let (ends, mut next) = (ends(topic), from.to_vec());
    let (consumer, mut count) = (consumer(topic, from), 0);
    while next.iter().zip(&ends).any(|(next, end)| next < end) {
        // The last of a partition may be the end of a transaction, which nobody is shown.
        let Some(message) = consumer.poll(QUIET) else { break };
        let message = message.unwrap();
        next[usize::try_from(message.partition()).unwrap()] = message.offset() + 1;
        show(&message);
        count += 1;
    }
    count
}

/// Whose record it is; `None` where its key is no message id.
pub fn id(message: &impl Message) -> Option<MessageId> {
    Some(MessageId::from_bytes(message.key()?.try_into().ok()?))
}

/// The time of the record that it began with.
pub fn record_ms(id: &MessageId) -> i64 {
    let mut millis = [0; 8];
    millis[2..].copy_from_slice(&id.bytes()[..6]);
    i64::from_be_bytes(millis)
}

/// All records of a topic of dispatches: whose, and when the broker appended it.
pub fn appended(topic: &str) -> Vec<(MessageId, i64)> {
    let mut all = Vec::new();
    each(topic, &START, |message| all.extend(id(message).zip(message.timestamp().to_millis())));
    all
}

/// Bytes of the stage's topics in the broker's segments: compressed, as they cross the network, and once for each replica.
pub fn segments(stage: &Stage) -> u64 {
    let nodes = fs::read_dir(stage.broker_data()).unwrap().map(Result::unwrap);
    let folders = nodes.flat_map(|node| fs::read_dir(node.path()).unwrap().map(Result::unwrap));
    let own = folders.filter(|folder| folder.file_name().to_string_lossy().starts_with(&stage.prefix));
    let files = own.flat_map(|folder| fs::read_dir(folder.path()).unwrap().map(Result::unwrap));
    // Indexes are made larger than they are.
    let all: u64 = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "log")).map(|file| file.metadata().unwrap().len()).sum();
    assert!(all > 0, "the stage's topics lie in {}", stage.broker_data().display());
    all
}
