//! Our topics as data: what they are called, how they are kept, who may touch them. `recado topics` makes and compares them, and no role starts on weak ones.
//!
//! What is easily got wrong: every topic of ours has the same number of partitions, because a notification lives in the partition number in which it arrived.

mod acl;
mod kafka;

pub use acl::acls;
pub use kafka::{Grown, create, grow, partitions, partitions_of, verify, verify_changed};

use crate::delivery::{Channel, Lane};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// `retention.bytes`: records go by their age alone, whatever a cluster's own limit is.
const UNLIMITED: i64 = -1;

/// One topic of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name, prefix included.
    pub name: String,
    /// How old records go.
    pub cleanup: Cleanup,
    /// Whether the broker stamps the records (`LogAppendTime`): deadlines are compared with its time.
    pub append_time: bool,
}

/// How old records of a topic go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// After so many milliseconds.
    Delete {
        /// `retention.ms`.
        retention_ms: u64,
    },
    /// When a newer one has the same key.
    Compact,
}

/// Settings of the changelog (engine.md §3): a short restore, and deletions that outlive the oldest store that may come back.
const COMPACT: [(&str, &str); 5] = [
    ("delete.retention.ms", "21600000"),
    ("segment.ms", "600000"),
    ("segment.bytes", "134217728"),
    ("min.cleanable.dirty.ratio", "0.2"),
    ("max.compaction.lag.ms", "3600000"),
];

impl Topic {
    fn delete(prefix: &str, name: &str, days: u64, append_time: bool) -> Self {
        Self { name: format!("{prefix}{name}"), cleanup: Cleanup::Delete { retention_ms: days * DAY_MS }, append_time }
    }

    /// Its settings in Kafka's words, less those that depend on how many brokers there are.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = match self.cleanup {
            Cleanup::Delete { retention_ms } => {
                vec![("cleanup.policy", "delete".to_owned()), ("retention.ms", retention_ms.to_string()), ("retention.bytes", UNLIMITED.to_string())]
            }
            Cleanup::Compact => {
                let mut settings = vec![("cleanup.policy", "compact".to_owned())];
                settings.extend(COMPACT.map(|(name, value)| (name, value.to_owned())));
                settings
            }
        };
        if self.append_time {
            settings.push(("message.timestamp.type", "LogAppendTime".to_owned()));
        }
        settings.push(("unclean.leader.election.enable", "false".to_owned()));
        settings
    }
}

/// Every topic of ours, in the order in which a notification meets them.
pub fn all(prefix: &str) -> Vec<Topic> {
    let mut topics: Vec<_> = names::traffic().map(|name| Topic::delete(prefix, &name, 7, true)).collect();
    topics.push(Topic::delete(prefix, names::DISPATCH_JOURNAL, 7, true));
    topics.push(Topic::delete(prefix, names::RECEIPTS, 7, true));
    topics.push(Topic::delete(prefix, names::STATUS, 7, false));
    topics.push(Topic { name: format!("{prefix}{}", names::STATE), cleanup: Cleanup::Compact, append_time: false });
    topics.push(Topic::delete(prefix, names::DEAD_LETTERS, 30, false));
    topics
}

/// What topics and groups are called after the prefix.
pub mod names {
    use super::{Channel, Lane};

    /// What comes back: outcomes, receipts, heartbeats, hellos.
    pub const RECEIPTS: &str = "receipts";
    /// What the bank reads.
    pub const STATUS: &str = "status";
    /// The changelog.
    pub const STATE: &str = "state";
    /// Who calls.
    pub const DISPATCH_JOURNAL: &str = "dispatch-journal";
    /// What could not be processed.
    pub const DEAD_LETTERS: &str = "dead-letters";
    /// The engine's consumer group.
    pub const ENGINE_GROUP: &str = "engine";
    /// The dispatcher's consumer group.
    pub const DISPATCHER_GROUP: &str = "dispatch";

    /// First attempts: `dispatch.sms`, `dispatch.sms.bulk`.
    pub fn dispatch(channel: Channel, lane: Lane) -> String {
        format!("dispatch.{}{}", channel.word(), ending(lane))
    }

    /// Later attempts: `retry.sms`, `retry.sms.bulk`.
    pub fn retry(channel: Channel, lane: Lane) -> String {
        format!("retry.{}{}", channel.word(), ending(lane))
    }

    /// Every dispatch and retry topic.
    pub(super) fn traffic() -> impl Iterator<Item = String> {
        let pairs = || Channel::ALL.into_iter().flat_map(|channel| Lane::ALL.into_iter().map(move |lane| (channel, lane)));
        pairs().map(|(channel, lane)| dispatch(channel, lane)).chain(pairs().map(|(channel, lane)| retry(channel, lane)))
    }

    const fn ending(lane: Lane) -> &'static str {
        match lane {
            Lane::Express => "",
            Lane::Bulk => ".bulk",
        }
    }
}

#[cfg(test)]
mod tests;
