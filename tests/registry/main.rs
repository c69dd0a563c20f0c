//! Schemas from a registry that is not ours, Apicurio, by its Confluent-compatible interface; the engine beside it on a real Apache Kafka.
//!
//! `make test-registry` runs them; `make test` does not: Apicurio needs a Java that is newer than Kafka's.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]
#![allow(clippy::disallowed_methods, reason = "other people's programs are waited for with real deadlines")]
#![allow(clippy::type_complexity, reason = "topics are listed in place")]

mod apicurio;
mod client;
mod engine;

#[allow(dead_code, reason = "tests/kafka uses the rest")]
#[path = "../kafka/bank.rs"]
mod bank;
#[path = "../clients/parts.rs"]
mod parts;
#[allow(dead_code, reason = "tests/kafka uses the rest")]
#[path = "../kafka/rig.rs"]
mod rig;
#[allow(dead_code, reason = "tests/kafka uses the rest")]
#[path = "../kafka/support.rs"]
mod support;
