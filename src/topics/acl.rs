//! The rights that each role needs, and no others: no dispatch for the gateway, no state for the dispatcher.

use super::names;
use crate::app::Role;
use crate::config::Config;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Lines for a shell that has Kafka's tools, `kafka-acls.sh`, one user for each role (`User:recado-engine` and so on). `inputs`: the bank's topics that are
/// read.
///
/// Where one user has several roles, it needs the lines of all of them.
pub fn acls(config: &Config, inputs: &[String]) -> String {
    let mut text = String::from(
        "# The rights of each role. Nobody else may write to these topics; above all no transactional writer to the receipts and the journal: an open\n\
         # transaction there hides what others have acknowledged.\n",
    );
    for role in Role::ALL {
        let mut line = |options: String| {
            writeln!(text, "kafka-acls.sh --bootstrap-server {} --add --allow-principal User:recado-{role} {options}", config.kafka.bootstrap)
                .expect("a string takes what is written");
        };
        for topic in read_by(role, &config.prefix, inputs) {
            line(format!("--operation Read --operation Describe --operation DescribeConfigs --topic '{topic}'"));
        }
        for topic in written_by(role, &config.prefix) {
            line(format!("--operation Write --operation Describe --operation DescribeConfigs --topic '{topic}'"));
        }
        match role {
            Role::Engine => {
                line(format!("--operation Read --operation Describe --group '{}'", config.topic(names::ENGINE_GROUP)));
                // `recado.<instance>.<thread>`: the name of the instance is in it.
                line(format!("--operation Write --operation Describe --transactional-id '{}' --resource-pattern-type prefixed", config.prefix));
            }
            Role::Dispatcher => line(format!("--operation Read --operation Describe --group '{}'", config.topic(names::DISPATCHER_GROUP))),
            Role::Gateway => {}
        }
    }
    text
}

/// Every topic that these roles read or write; the rights let them see no other.
pub(super) fn touched_by(roles: &BTreeSet<Role>, prefix: &str, inputs: &[String]) -> BTreeSet<String> {
    roles.iter().flat_map(|role| read_by(*role, prefix, inputs).into_iter().chain(written_by(*role, prefix))).collect()
}

fn read_by(role: Role, prefix: &str, inputs: &[String]) -> Vec<String> {
    let ours = |names: Vec<String>| names.into_iter().map(|name| format!("{prefix}{name}"));
    match role {
        Role::Engine => inputs.iter().cloned().chain(ours(vec![names::RECEIPTS.into(), names::STATE.into()])).collect(),
        Role::Dispatcher => ours(names::traffic().chain([names::DISPATCH_JOURNAL.into()]).collect()).collect(),
        Role::Gateway => Vec::new(),
    }
}

fn written_by(role: Role, prefix: &str) -> Vec<String> {
    let names: Vec<String> = match role {
        Role::Engine => names::traffic().chain([names::RECEIPTS, names::STATUS, names::STATE, names::DEAD_LETTERS].map(String::from)).collect(),
        Role::Dispatcher => [names::DISPATCH_JOURNAL, names::RECEIPTS].map(String::from).into(),
        Role::Gateway => [names::RECEIPTS, names::DEAD_LETTERS].map(String::from).into(),
    };
    names.into_iter().map(|name| format!("{prefix}{name}")).collect()
}
