//! An operator's word on where an input is read on: `recado jump`. The state carries the position and wins over the group, so the word goes where the state is: as
//! a position record at the end of the changelog, from which every engine that opens the partition has it.
//!
//! Easily got wrong: an engine that runs writes its own positions over it. So the group must be empty, and no transaction may be open.

use super::settings::Topics;
use super::stored::{POSITION_KEY, Positions};
use crate::delivery::Partition;
use anyhow::{Context, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::time::Duration;

/// One question to Kafka.
const QUESTION: Duration = Duration::from_secs(15);
/// How long the changelog may say nothing before it is given up.
const SILENCE: Duration = Duration::from_secs(15);

/// Where to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// At the first record that the log still has.
    Earliest,
    /// Behind the last one.
    Latest,
    /// At this offset, which the log must have, or be about to have.
    Offset(i64),
}

impl std::str::FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            offset => {
                let offset = offset.parse().ok().filter(|offset| *offset >= 0);
                offset.map(Self::Offset).ok_or_else(|| "write earliest, latest, or an offset".to_owned())
            }
        }
    }
}

/// What was said before (nothing, where this input was never read) and is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jumped {
    /// The next offset until now.
    pub from: Option<i64>,
    /// The next offset from now on.
    pub to: i64,
}

/// Writes the word down for one partition of one input. `client`: addresses and security.
pub fn jump(client: &ClientConfig, topics: &Topics, input: &str, partition: Partition, to: To) -> anyhow::Result<Jumped> {
    let group = format!("{}engine", topics.prefix());
    let mut config = client.clone();
    config.set("group.id", &group).set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    config.set("auto.offset.reset", "error").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().context("the Kafka client refuses its settings")?;
    let members = consumer.fetch_group_list(Some(&group), QUESTION).context("Kafka does not tell the engines' group")?;
    let members: usize = members.groups().iter().map(|group| group.members().len()).sum();
    ensure!(members == 0, "{members} engine threads are members of {group}: stop every engine, wait until its session is over, and type this again");

    let (first, end) =
        consumer.fetch_watermarks(input, partition.kafka(), QUESTION).with_context(|| format!("Kafka does not tell the ends of {input}-{}", partition.0))?;
    let target = match to {
        To::Earliest => first,
        To::Latest => end,
        To::Offset(offset) => offset,
    };
    ensure!((first..=end).contains(&target), "{input}-{} has the offsets from {first} to {end}: {target} is none of them", partition.0);

    // The ends that a read_committed client is told leave an open transaction out.
    let ends: BaseConsumer = config.set("isolation.level", "read_uncommitted").create().context("the Kafka client refuses its settings")?;
    let (first, end) = ends.fetch_watermarks(&topics.state, partition.kafka(), QUESTION).context("Kafka does not tell the ends of the changelog")?;
    let mut positions = if first == end { Positions::default() } else { last_positions(&consumer, &topics.state, partition, end)? };
    let from = positions.0.insert(input.to_owned(), target);
    write(client, &topics.state, partition, &positions)?;
    // So that nobody takes the group's position for a torn commit.
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(input, partition.kafka(), Offset::Offset(target))?;
    consumer.commit(&list, CommitMode::Sync).context("the position is written; the group's own was not, which costs a warning at the next start")?;
    Ok(Jumped { from, to: target })
}

/// The newest position record of a partition's changelog, which must be committed up to its end.
fn last_positions(consumer: &BaseConsumer, state: &str, partition: Partition, end: i64) -> anyhow::Result<Positions> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(state, partition.kafka(), Offset::Beginning)?;
    let mut positions = Positions::default();
    consumer.assign(&list).context("reading the changelog")?;
    loop {
        match consumer.poll(SILENCE) {
            Some(Ok(record)) if record.key() == Some(POSITION_KEY) => positions = Positions::read(record.payload().unwrap_or_default())?,
            Some(Ok(_)) => {}
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            Some(Err(error)) => tracing::debug!(%error, "The changelog's reader waits for Kafka."),
            None => bail!("the changelog says nothing for {} s", SILENCE.as_secs()),
        }
    }
    let reached = consumer.position()?.find_partition(state, partition.kafka()).map(|element| element.offset());
    ensure!(reached == Some(Offset::Offset(end)), "a transaction of {state}-{} is still open: type this again in half a minute", partition.0);
    consumer.unassign().context("leaving the changelog")?;
    Ok(positions)
}

fn write(client: &ClientConfig, state: &str, partition: Partition, positions: &Positions) -> anyhow::Result<()> {
    let mut config = client.clone();
    config.set("enable.idempotence", "true").set("acks", "all").set("delivery.report.only.error", "true").set("message.timeout.ms", "15000");
    let producer: BaseProducer = config.create().context("the Kafka client refuses its settings")?;
    let value = positions.write();
    let record = BaseRecord::to(state).partition(partition.kafka()).key(POSITION_KEY).payload(&value);
    producer.send(record).map_err(|(error, _)| error).context("writing the position")?;
    producer.flush(QUESTION * 2).context("Kafka has not acknowledged the position")?;
    let written = producer.in_flight_count();
    ensure!(written == 0, "Kafka has not acknowledged the position");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_word_or_an_offset() {
        let read = |text: &str| text.parse::<To>().ok();
        assert_eq!(["earliest", "latest", "0", "17"].map(read), [Some(To::Earliest), Some(To::Latest), Some(To::Offset(0)), Some(To::Offset(17))]);
        assert_eq!(["", "-1", "first", "1.5"].map(read), [None; 4]);
    }
}
