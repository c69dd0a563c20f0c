//! Gives a client of Kafka its first brokers back when it has lost them all.
//!
//! librdkafka drops each broker that an answer about metadata does not name. A cluster whose controller has fenced every broker for a moment, as after a pause of
//! the machine, answers with none: the client is then left without an address and asks nobody, for good (librdkafka's issue 5301, open; seen with 2.12.1 after a
//! pause of the one broker). Only a new client finds Kafka again, and by that it is recognised here.
//!
//! Easily got wrong: a client whose Kafka is slow, or stands still, must not be touched. Brokers that are given twice are more connections for a cluster that has
//! enough to do, and repeat requests of a former membership, for which the group fences it. So slow answers count for nothing; what counts is that no broker at all can be
//! asked, for longer than a connection takes.
#![expect(unsafe_code, reason = "rdkafka has no safe binding of brokers_add")]

use rdkafka::ClientConfig;
use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::time::Duration;

/// How often a client is looked at.
const EVERY: Duration = Duration::from_secs(5);
/// So long in each look no broker could be asked: beyond a dozen tries to connect, a second apart at most.
const LOST_AFTER: Duration = Duration::from_secs(20);
/// Long enough to see whether there is a broker to ask; its answer is not waited for.
const OWN_MAX: Duration = Duration::from_millis(5);
/// How long a new client's answer may take: it connects first.
const NEW_MAX: Duration = Duration::from_secs(2);

/// Watches one long-lived client.
pub struct Lifeline {
    config: ClientConfig,
    topic: String,
    looked: Option<Duration>,
    /// Since when it has had no broker to ask.
    without: Option<Duration>,
}

impl Lifeline {
    /// `config`: addresses and security, as every client has them. `topic`: one that this client's user may describe.
    pub fn new(config: &ClientConfig, topic: &str) -> Self {
        Self { config: config.clone(), topic: topic.to_owned(), looked: None, without: None }
    }

    /// Looks at the client when that is due, and helps it when it has long had no broker while Kafka answers a new client. Keeps the caller for 5 ms at most; for 2 s
    /// where nothing can be done without Kafka anyway. Returns whether it helped.
    pub fn look<C: ClientContext>(&mut self, client: &Client<C>, now: Duration) -> bool {
        if self.looked.is_some_and(|looked| now.saturating_sub(looked) < EVERY) {
            return false;
        }
        self.looked = Some(now);
        let nobody = |error: KafkaError| error.rdkafka_error_code() == Some(RDKafkaErrorCode::BrokerTransportFailure);
        if !client.fetch_metadata(Some(&self.topic), OWN_MAX).is_err_and(nobody) {
            self.without = None;
            return false;
        }
        let since = *self.without.get_or_insert(now);
        if now.saturating_sub(since) < LOST_AFTER || !self.answers_a_new_client() {
            return false;
        }
        self.without = None;
        self.give_brokers(client)
    }

    fn answers_a_new_client(&self) -> bool {
        let asker: Result<BaseConsumer, _> = self.config.create();
        asker.and_then(|asker| asker.fetch_metadata(Some(&self.topic), NEW_MAX)).is_ok_and(|answer| !answer.brokers().is_empty())
    }

    fn give_brokers<C: ClientContext>(&self, client: &Client<C>) -> bool {
        let Some(addresses) = self.config.get("bootstrap.servers").and_then(|text| std::ffi::CString::new(text).ok()) else { return false };
        // SAFETY: the client is live; librdkafka copies the text.
        let added = unsafe { rdkafka::bindings::rd_kafka_brokers_add(client.native_ptr(), addresses.as_ptr()) };
        tracing::warn!(added, "A client had lost every broker while Kafka answers others; it was given the first ones again.");
        added > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_looked_at_each_five_seconds_and_left_alone_while_kafka_answers_nobody() {
        // Nobody listens there.
        let config = ClientConfig::new().set("bootstrap.servers", "127.0.0.1:9").clone();
        let client: BaseConsumer = config.create().unwrap();
        let mut lifeline = Lifeline::new(&config, "any");
        let second = Duration::from_secs;
        assert!(!lifeline.look(client.client(), second(100)));
        assert!(!lifeline.look(client.client(), second(104)));
        assert_eq!(lifeline.looked, Some(second(100)), "it was not looked at again so soon");
        assert!(!lifeline.look(client.client(), second(120)));
        assert_eq!((lifeline.looked, lifeline.without), (Some(second(120)), Some(second(100))), "who would answer?");
    }
}
