//! `recado run --dry-run`: reads the bank's inputs from now on, decides and renders every step of every route that matches, and counts. Nothing is published,
//! nobody is called, no group is joined and no position is committed.
//!
//! Easily got wrong: the rendered text is dropped at once; what is told is that it could be rendered, or the rule that it broke.

use super::ASK_AGAIN;
use crate::config::Messages;
use crate::delivery::{self, Partition, Timestamp};
use crate::event::input::{Decoded, Kind, Notification, RawRecord, Schemas};
use crate::observe::Health;
use crate::observe::dry_run as metrics;
use crate::observe::health::{Asker, Cause};
use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// One question to a broker, and one wait for records.
const QUESTION: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);
/// How long a record waits for the schema that it was written with.
const SCHEMA_WAIT: Duration = Duration::from_secs(10);

/// Reads and counts until `shutdown`. Blocks: it has a thread of its own.
pub(super) fn run(
    client: &ClientConfig,
    messages: &Messages,
    schemas: &Arc<dyn Schemas + Send + Sync>,
    health: &Health,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let mut config = client.clone();
    // A group's name is demanded by the client and used for nothing: partitions are assigned by hand.
    config.set("group.id", "recado-dry-run").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.create().context("making the consumer")?;
    let Some(list) = everything(&consumer, messages, health, shutdown)? else { return Ok(()) };
    consumer.assign(&list).context("reading the inputs")?;
    health.set(Cause::Starting, None);
    tracing::info!(inputs = messages.inputs.inputs().len(), "Dry run: reading from the inputs' ends; nothing is published and nobody is called.");
    while !shutdown.is_cancelled() {
        match consumer.poll(POLL) {
            None => {}
            Some(Ok(message)) => look(messages, &**schemas, &message, shutdown),
            Some(Err(error)) => tracing::warn!(%error, "The inputs cannot be read now; trying on."),
        }
    }
    Ok(())
}

/// All partitions of all inputs, at their ends; a Kafka that is away is waited for. `None`: told to stop meanwhile.
fn everything(consumer: &BaseConsumer, messages: &Messages, health: &Health, shutdown: &CancellationToken) -> anyhow::Result<Option<TopicPartitionList>> {
    let mut list = TopicPartitionList::new();
    for topic in messages.topics() {
        let metadata = loop {
            match consumer.fetch_metadata(Some(&topic), QUESTION) {
                Ok(metadata) => break metadata,
                Err(_) if shutdown.is_cancelled() => return Ok(None),
                Err(error) => {
                    super::kafka_is_away(health, &error.into());
                    std::thread::sleep(ASK_AGAIN);
                }
            }
        };
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            list.add_partition_offset(&topic, partition.id(), Offset::End).context("reading the inputs")?;
        }
    }
    health.set(Cause::KafkaAway(Asker::Start), None);
    anyhow::ensure!(list.count() > 0, "none of the inputs has a partition: are the topics' names right?");
    Ok(Some(list))
}

fn look(messages: &Messages, schemas: &dyn Schemas, message: &BorrowedMessage<'_>, shutdown: &CancellationToken) {
    let Some(number) = messages.inputs.inputs().iter().position(|input| input.topic == message.topic()) else { return };
    let name = &messages.inputs.inputs()[number].name;
    let time = Timestamp::from_millis(message.timestamp().to_millis().unwrap_or(0));
    let headers: Vec<(&str, &[u8])> =
        message.headers().map(|headers| headers.iter().map(|header| (header.key, header.value.unwrap_or_default())).collect()).unwrap_or_default();
    let record = RawRecord { key: message.key(), value: message.payload(), record_time: time, headers: &headers };
    let asked = crate::clock::monotonic();
    loop {
        match messages.inputs.decode(number, &record, schemas) {
            Decoded::NeedSchema(_) if !shutdown.is_cancelled() && crate::clock::monotonic().saturating_sub(asked) < SCHEMA_WAIT => {
                std::thread::sleep(Duration::from_millis(50))
            }
            Decoded::NeedSchema(_) => return metrics::record(name, "schema_missing"),
            Decoded::Cancel { .. } => return metrics::record(name, "cancel"),
            Decoded::Ignored(why) => return metrics::record(name, why.word()),
            Decoded::Dead(reason) => {
                let partition = Partition::from_kafka(message.partition()).map_or(0, |partition| partition.0);
                tracing::warn!(input = name, partition, offset = message.offset(), reason = reason.word(), "This record would become a dead letter.");
                return metrics::record(name, reason.word());
            }
            Decoded::Notification(notification) => return decide(messages, number, &notification, time),
        }
    }
}

/// What the machine would do at the request, and how each step would read.
fn decide(messages: &Messages, number: usize, notification: &Notification, time: Timestamp) {
    debug_assert!(messages.inputs.inputs()[number].kind == Kind::Events, "only events become notifications");
    let input = &messages.inputs.inputs()[number].name;
    let named = messages.inputs.route(notification.route);
    let expiry = notification.expires_at.map_or(time.plus(named.expiry), |own| own.min(time.plus(named.expiry)));
    let request = delivery::Request { route: named.route.clone(), expiry, obstacle: notification.obstacle };
    let (state, _) = delivery::request(request, time);
    if state.ended() {
        return metrics::record(input, notification.obstacle.map_or("expired", delivery::Reason::word));
    }
    metrics::record(input, "notification");
    for step in messages.inputs.template_uses().iter().filter(|step| step.route == notification.route) {
        let rendered = messages.catalogue.render(&step.template, step.channel, &notification.payload, notification.code.as_ref());
        let result = rendered.map_or_else(|error| error.rule(), |_| "rendered");
        if result != "rendered" {
            tracing::warn!(route = &*named.name, template = step.template, channel = step.channel.word(), rule = result, "This message would not be sent.");
        }
        metrics::message(&named.name, step.channel, result);
    }
}
