//! `[kafka]`: the address, what is passed through to librdkafka, and the keys that nobody may change.

use super::rules::Found;
use super::{Mode, SecretFile};
use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `[kafka]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kafka {
    /// `host:port`, several with commas.
    pub bootstrap: String,
    /// Passed to librdkafka as it is. Values are text.
    pub properties: BTreeMap<String, String>,
    /// The secrets among librdkafka's properties, as files.
    pub security: KafkaSecrets,
}

/// `[kafka.security]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaSecrets {
    /// Holds librdkafka's `sasl.password`.
    pub sasl_password_file: SecretFile,
    /// Holds librdkafka's `ssl.key.password`.
    pub ssl_key_password_file: SecretFile,
}

/// Properties that are refused, and why (engine.md §3). A name that ends in `*` stands for all that begin so.
const REFUSED: &[(&[&str], &str)] = &[
    (&["bootstrap.servers", "metadata.broker.list"], "Write it as `bootstrap` in [kafka]."),
    (&["client.id"], "It is made from `instance`, so that an operator recognises each client."),
    (
        &["sasl.password", "ssl.key.password", "ssl.keystore.password"],
        "A secret comes only from a file: use `sasl_password_file` or `ssl_key_password_file` in [kafka.security].",
    ),
    (
        &["ssl.key.pem", "ssl_key", "sasl.oauthbearer.client.secret", "sasl.oauthbearer.config"],
        "A secret comes only from a file: name a key file with `ssl.key.location`, or use SCRAM with `sasl_password_file`.",
    ),
    (
        &["group.id", "group.instance.id", "group.protocol", "group.remote.assignor", "partition.assignment.strategy"],
        "Who owns which partition hangs on it: Recado sets it.",
    ),
    (&["session.timeout.ms", "heartbeat.interval.ms", "max.poll.interval.ms"], "It bounds how long a dead instance is believed alive: Recado sets it."),
    (&["isolation.level"], "Reading what is not committed would send messages that were never decided: Recado sets it."),
    (
        &["auto.offset.reset", "enable.auto.commit", "auto.commit.interval.ms", "enable.auto.offset.store", "enable.partition.eof", "check.crcs"],
        "No record may be lost or read twice: Recado keeps the positions itself.",
    ),
    (
        &["transactional.id", "transaction.timeout.ms", "enable.idempotence", "enable.gapless.guarantee", "acks", "request.required.acks", "max.in.flight*"],
        "A record counts only once it is replicated, and exactly once: Recado sets it.",
    ),
    (
        &[
            "socket.timeout.ms",
            "message.timeout.ms",
            "delivery.timeout.ms",
            "delivery.report.only.error",
            "dr_*",
            "retries",
            "message.send.max.retries",
            "retry.backoff*",
        ],
        "Retries and time limits of writes are part of what makes them safe: Recado sets it.",
    ),
    (
        &["partitioner", "partitioner_cb", "sticky.partitioning.linger.ms"],
        "A notification lives in its home partition: Recado names the partition of each record.",
    ),
    (&["allow.auto.create.topics"], "Topics are made by `recado topics --create` alone, with the settings that they need."),
    (
        &["debug", "log_level", "log.*", "*_cb", "plugin.library.paths", "interceptors", "opaque", "default_topic_conf"],
        "It would log what must not be logged, or run code that nobody has read.",
    ),
    (&["test.mock*", "builtin.features", "api.version*", "broker.version.fallback", "topic.blacklist"], "It is of no use outside librdkafka's own tests."),
];

/// librdkafka's two names for one property.
const MECHANISM_NAMES: [&str; 2] = ["sasl.mechanism", "sasl.mechanisms"];

impl Kafka {
    pub(super) fn check(&self, mode: Mode, found: &mut Found<'_>) {
        if self.bootstrap.split(',').any(|address| address.trim().rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())) {
            found.refuse("kafka.bootstrap", "It must name at least one broker as `host:port`, several with commas between them.");
        }
        for name in self.properties.keys() {
            if let Some(reason) = refusal(name) {
                found.refuse(&format!("kafka.properties.{name}"), reason);
            }
        }
        if let Err(sentence) = self.known_to_librdkafka() {
            found.refuse("kafka.properties", &sentence);
        }
        let property = |name: &str| self.properties.get(name).map_or("", String::as_str);
        let protocol = property("security.protocol").to_lowercase();
        if protocol.starts_with("sasl") && property("sasl.mechanism").is_empty() && property("sasl.mechanisms").is_empty() {
            found.refuse("kafka.properties.sasl.mechanism", "It is missing: `SCRAM-SHA-512` is a good one.");
        }
        let mechanisms = MECHANISM_NAMES.map(|name| (name, property(name), property(name).to_uppercase()));
        for (name, written, word) in &mechanisms {
            found.demand(*written == *word, &format!("kafka.properties.{name}"), "Write it in capitals: librdkafka knows no other spelling.");
        }
        if mechanisms.iter().any(|(_, _, word)| word.starts_with("SCRAM")) {
            found.demand(!property("sasl.username").is_empty(), "kafka.properties.sasl.username", "SCRAM needs the user's name.");
            found.demand(self.security.sasl_password_file.is_named(), "kafka.security.sasl_password_file", "SCRAM needs a file with the user's password.");
        }
        if mode == Mode::Production {
            self.check_strength(&protocol, &property, found);
        }
    }

    /// Privacy.md §9.5: TLS and authentication outside development.
    fn check_strength<'a>(&'a self, protocol: &str, property: &impl Fn(&str) -> &'a str, found: &mut Found<'_>) {
        match protocol {
            "sasl_ssl" => {}
            "ssl" => found.demand(
                !property("ssl.certificate.location").is_empty() || !property("ssl.keystore.location").is_empty(),
                "kafka.properties.ssl.certificate.location",
                "Kafka does not learn who we are: name a client certificate, or use `sasl_ssl`.",
            ),
            _ => found.refuse(
                "kafka.properties.security.protocol",
                "It must be `sasl_ssl`, or `ssl` with a client certificate: the way to Kafka is encrypted outside development.",
            ),
        }
        // What is left out is safe. What is there must be the one safe word: librdkafka ignores case and takes other spellings of the weak ones.
        for (name, safe, sentence) in [
            ("enable.ssl.certificate.verification", "true", "It must be `true`: the broker's certificate is always checked outside development."),
            ("ssl.endpoint.identification.algorithm", "https", "It must be `https`: the broker's name is always checked outside development."),
        ] {
            let fits = self.properties.get(name).is_none_or(|value| value.eq_ignore_ascii_case(safe));
            found.demand(fits, &format!("kafka.properties.{name}"), sentence);
        }
        if MECHANISM_NAMES.iter().any(|name| property(name).eq_ignore_ascii_case("PLAIN")) {
            found.warn("kafka.properties.sasl.mechanism", "PLAIN hands the password to the broker; SCRAM-SHA-512 does not.");
        }
    }

    /// Asks librdkafka itself about names; its words name the property and never a value.
    fn known_to_librdkafka(&self) -> Result<(), String> {
        for (name, value) in &self.properties {
            let mut config = ClientConfig::new();
            config.set(name, value);
            if config.create_native_config().is_err() {
                return Err(format!("librdkafka does not take `{name}` with the value that it is given."));
            }
        }
        Ok(())
    }

    pub(super) fn client(&self) -> Result<ClientConfig, String> {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.bootstrap).set("allow.auto.create.topics", "false");
        client.extend(self.properties.clone());
        for (name, file) in [("sasl.password", &self.security.sasl_password_file), ("ssl.key.password", &self.security.ssl_key_password_file)] {
            if file.is_named() {
                client.set(name, file.lines()?[0].as_str());
            }
        }
        Ok(client)
    }
}

fn refusal(name: &str) -> Option<&'static str> {
    let hits = |pattern: &str| match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(beginning), _) => name.starts_with(beginning),
        (None, Some(ending)) => name.ends_with(ending),
        (None, None) => name == pattern,
    };
    REFUSED.iter().find(|(names, _)| names.iter().any(|pattern| hits(pattern))).map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_on_which_correctness_stands_are_refused_and_those_of_speed_are_not() {
        for name in
            ["isolation.level", "acks", "transactional.id", "max.in.flight.requests.per.connection", "retry.backoff.max.ms", "dr_msg_cb", "sasl.password"]
        {
            assert!(refusal(name).is_some(), "{name}");
        }
        for name in ["linger.ms", "compression.type", "batch.size", "security.protocol", "sasl.username", "ssl.ca.location", "queued.min.messages"] {
            assert_eq!(refusal(name), None, "{name}");
        }
    }
}
