//! What the brokers say once everything is quiet: the two ends of every partition there is, Kafka's own topics among them; transactions that are not over, by its own
//! tool; and the positions of Recado's groups.

use crate::evidence::each;
use crate::stage::{INPUTS, PARTITIONS, Stage};
use crate::support;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(30);
/// Topics of Kafka's own without which nothing was looked at.
pub const KAFKAS: [&str; 2] = ["__consumer_offsets", "__transaction_state"];

/// Topic and partition.
pub type Place = (String, i32);

/// What the brokers say.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Quiet {
    /// Of each partition the last stable offset and the high watermark.
    pub ends: BTreeMap<Place, (i64, i64)>,
    /// Transactional ids and their state.
    pub transactions: Vec<(String, String)>,
    /// Which producer id each has: it stays over all restarts.
    pub producers: BTreeMap<String, i64>,
    /// What Kafka's tool takes for hanging.
    pub hanging: Vec<String>,
    /// Committed positions of the engines' group, and of the dispatchers'.
    pub engine: BTreeMap<Place, i64>,
    pub dispatcher: BTreeMap<Place, i64>,
    /// Every commit of the dispatchers' group: by place, the position and when the broker took it, in the order of its log.
    pub commits: BTreeMap<Place, Vec<(i64, i64)>>,
}

impl Quiet {
    /// Asks. Nothing may write any more.
    pub fn ask(stage: &Stage, dispatches: &[String]) -> Self {
        let inputs: Vec<String> = INPUTS.iter().map(|name| format!("{}in.{name}", stage.prefix)).chain([stage.topic("receipts")]).collect();
        let listed = table(&["list"]);
        Self {
            ends: ends(),
            transactions: listed.iter().map(|row| (row[0].clone(), row.last().unwrap().clone())).collect(),
            producers: listed.iter().filter_map(|row| Some((row[0].clone(), row[2].parse().ok()?))).collect(),
            hanging: brokers().iter().flat_map(|broker| hanging(broker)).collect(),
            engine: positions(&stage.topic("engine"), &inputs),
            dispatcher: positions(&stage.topic("dispatch"), dispatches),
            commits: commits(&stage.topic("dispatch")),
        }
    }
}

/// The last stable offset is the end that a reader of committed records is told.
fn ends() -> BTreeMap<Place, (i64, i64)> {
    let asker = |level: &str| support::client().set("group.id", "rig-ends").set("isolation.level", level).create::<BaseConsumer>().unwrap();
    let (stable, high) = (asker("read_committed"), asker("read_uncommitted"));
    let metadata = high.fetch_metadata(None, WITHIN).unwrap();
    let mut ends = BTreeMap::new();
    for topic in metadata.topics() {
        for partition in topic.partitions() {
            let end = |consumer: &BaseConsumer| consumer.fetch_watermarks(topic.name(), partition.id(), WITHIN).unwrap().1;
            ends.insert((topic.name().to_owned(), partition.id()), (end(&stable), end(&high)));
        }
    }
    ends
}

fn brokers() -> Vec<String> {
    let asker: BaseConsumer = support::client().create().unwrap();
    asker.fetch_metadata(None, WITHIN).unwrap().brokers().iter().map(|broker| broker.id().to_string()).collect()
}

fn hanging(broker: &str) -> Vec<String> {
    table(&["find-hanging", "--broker-id", broker, "--max-transaction-timeout", "0"]).into_iter().map(|row| row.join(" ")).collect()
}

fn positions(group: &str, topics: &[String]) -> BTreeMap<Place, i64> {
    let consumer: BaseConsumer = support::client().set("group.id", group).set("isolation.level", "read_committed").create().unwrap();
    let mut list = TopicPartitionList::new();
    for topic in topics {
        for partition in 0..PARTITIONS {
            list.add_partition(topic, i32::from(partition));
        }
    }
    let answer = consumer.committed_offsets(list, WITHIN).unwrap();
    let place = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| (element.topic().to_owned(), element.partition());
    answer.elements().iter().filter_map(|element| if let Offset::Offset(offset) = element.offset() { Some((place(element), offset)) } else { None }).collect()
}

/// From Kafka's own topic of positions. Source of its bytes: Kafka's `OffsetCommitKey` (version, group, topic, partition) and `OffsetCommitValue` (version,
/// offset, and more); a removed position has no value.
fn commits(group: &str) -> BTreeMap<Place, Vec<(i64, i64)>> {
    let mut commits: BTreeMap<Place, Vec<(i64, i64)>> = BTreeMap::new();
    each(&[KAFKAS[0].to_owned()], true, |message| {
        let key = message.key().unwrap_or_default();
        let Some((place, next)) = position_of(key, group).zip(message.payload().and_then(|value| value.get(2..10))) else { return };
        let next = i64::from_be_bytes(next.try_into().expect("they are eight bytes"));
        commits.entry(place).or_default().push((next, message.timestamp().to_millis().expect("Kafka stamps what it writes")));
    });
    commits
}

/// The place that a key of the topic of positions names, where it is this group's.
fn position_of(key: &[u8], group: &str) -> Option<Place> {
    let (version, rest) = key.split_first_chunk::<2>()?;
    let (name, rest) = text(rest)?;
    let (topic, rest) = text(rest)?;
    let (partition, _) = rest.split_first_chunk::<4>()?;
    (i16::from_be_bytes(*version) <= 1 && name == group).then(|| (topic.to_owned(), i32::from_be_bytes(*partition)))
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::try_from(i16::from_be_bytes(*length)).ok()?)?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// The rows that Kafka's own `kafka-transactions` prints under its heading.
fn table(arguments: &[&str]) -> Vec<Vec<String>> {
    let mut java = Command::new("java");
    java.args(["-XX:TieredStopAtLevel=1", "-cp", &format!("{}/*", support::libs()), "org.apache.kafka.tools.TransactionsCommand"]);
    let output = java.args(["--bootstrap-server", support::bootstrap()]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().skip(1).map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).filter(|row| row.len() > 2).collect()
}
