//! A Kafka client in JavaScript, as a bank may have one: `tests/clients/node/`.

use crate::foreign::writes_events_and_reads_statuses;
use crate::parts::part;
use crate::support::repository;
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn a_javascript_client_writes_events_and_reads_statuses() {
    writes_events_and_reads_statuses("node", program).await;
}

fn program() -> Command {
    let mut node = Command::new("node");
    node.arg(repository().join("tests/clients/node/bank-client.js")).env("NODE_PATH", part("kafkajs")).env("KAFKAJS_NO_PARTITIONER_WARNING", "1");
    node
}
