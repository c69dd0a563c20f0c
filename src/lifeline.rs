//! Gives a client of Kafka its first brokers back when it has lost them all.
//!
//! librdkafka drops each broker that an answer about metadata does not name. A cluster whose controller has fenced every broker for a moment, as after a pause of
//! the machine, answers with none: the client is then left without an address and asks nobody, for good (librdkafka's issue 5301, open; seen with 2.12.1 in 4 of 120
//! consumers after a pause of 14 s of their one broker). Only a new client finds Kafka again, and by that it is recognised here.
//!
//! Easily got wrong: while Kafka stands still, a client must not be touched. Brokers that are given twice repeat requests of a former membership, and the group fences
//! it.
#![expect(unsafe_code, reason = "rdkafka has no safe binding of brokers_add")]

use rdkafka::ClientConfig;
use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::time::Duration;

/// How often a client is asked whether it reaches Kafka: one question about one topic.
const EVERY: Duration = Duration::from_secs(10);
/// How long the client's own answer may take.
const OWN_MAX: Duration = Duration::from_millis(500);
/// How long a new client's answer may take: it connects first.
const NEW_MAX: Duration = Duration::from_secs(2);

/// Watches one long-lived client.
pub struct Lifeline {
    config: ClientConfig,
    topic: String,
    asked: Option<Duration>,
}

impl Lifeline {
    /// `config`: addresses and security, as every client has them. `topic`: one that this client's user may describe.
    pub fn new(config: &ClientConfig, topic: &str) -> Self {
        Self { config: config.clone(), topic: topic.to_owned(), asked: None }
    }

    /// Asks the client when that is due, and helps it when Kafka answers a new client alone. Keeps the caller for at most 3 s, and only while Kafka does not answer.
    /// Returns whether it helped.
    pub fn look<C: ClientContext>(&mut self, client: &Client<C>, now: Duration) -> bool {
        if self.asked.is_some_and(|asked| now.saturating_sub(asked) < EVERY) {
            return false;
        }
        self.asked = Some(now);
        client.fetch_metadata(Some(&self.topic), OWN_MAX).is_err() && self.answers_a_new_client() && self.give_brokers(client)
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
    fn a_client_is_asked_each_ten_seconds_and_left_alone_while_kafka_answers_nobody() {
        // Nobody listens there.
        let config = ClientConfig::new().set("bootstrap.servers", "127.0.0.1:9").clone();
        let client: BaseConsumer = config.create().unwrap();
        let mut lifeline = Lifeline::new(&config, "any");
        assert!(!lifeline.look(client.client(), Duration::from_secs(100)));
        assert_eq!(lifeline.asked, Some(Duration::from_secs(100)));
        assert!(!lifeline.look(client.client(), Duration::from_secs(109)));
        assert_eq!(lifeline.asked, Some(Duration::from_secs(100)), "it was not asked again so soon");
        assert!(!lifeline.look(client.client(), Duration::from_secs(110)));
        assert_eq!(lifeline.asked, Some(Duration::from_secs(110)));
    }
}
