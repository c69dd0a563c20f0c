//! Tests on a real Apache Kafka 4.3.1, which they start themselves. What a stand-in cannot prove is proved here: transactions, fencing, rebalances, restore.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "real processes are waited for with real deadlines, and their logs are shown when one fails"
)]
#![allow(clippy::type_complexity, reason = "topics with their settings are listed in place")]

mod bad_input;
mod bank;
mod broker_away;
mod canary;
mod demo;
#[allow(dead_code, reason = "the rig and the proxy use the rest")]
mod deployment;
mod disk_full;
mod disk_lost;
mod engine;
mod first_start;
mod foreign;
mod grow;
mod java;
mod jump;
mod kafka_paused;
mod leaks;
mod lifeline;
#[allow(dead_code, reason = "tests/conformance and tests/registry use the rest")]
#[path = "../clients/parts.rs"]
mod parts;
mod own_schema;
mod paused_reading;
mod poison;
mod process;
mod provider_away;
mod registry;
mod registry_away;
mod rig;
mod secure;
mod sharing;
mod silence;
mod spine;
mod stories;
mod support;
mod transactional_bank;
