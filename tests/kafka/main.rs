//! Tests on a real Apache Kafka 4.3.1, which they start themselves. What a stand-in cannot prove is proved here: transactions, fencing, rebalances, restore.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

mod bank;
mod engine;
mod process;
mod rig;
mod spine;
mod support;
