//! What the engine is told: limits, names, clients.

use crate::delivery::{Channel, Lane};
use rdkafka::ClientConfig;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Settings of the engine of one process.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The stable name of this instance; part of its group member and transactional ids.
    pub instance: String,
    /// How many threads; each has a consumer, a producer and its tasks.
    pub threads: usize,
    /// Where RocksDB lives.
    pub state_folder: PathBuf,
    /// What every Kafka client starts from (bootstrap, TLS, SCRAM). It prints without the secrets.
    pub kafka: ClientConfig,
    /// Commit at the latest after this. Default 100 ms.
    pub commit_interval: Duration,
    /// Commit when drained and this long after the last commit. Default 10 ms; `None` switches it off (the crash rig's long transactions).
    pub commit_on_drain: Option<Duration>,
    /// How long a broker may wait until enough has come together for a fetch. Default 10 ms.
    pub fetch_wait: Duration,
    /// Commit before, when so many records are decided. Default 4 000.
    pub batch_records_max: usize,
    /// Commit before, when the changes of state are so large. Default 4 MB.
    pub batch_bytes_max: usize,
    /// How long a transaction may stay open. Default 10 s.
    pub transaction_timeout: Duration,
    /// How long a dead member keeps its partitions. Default 10 s.
    pub session_timeout: Duration,
    /// How many attempts without outcome and receipt there may be per channel and lane before requests pause.
    pub attempts_open_max: usize,
    /// How long a due timer is held at most for a silent gateway, a silent dispatcher or a storm. Default 120 s.
    pub hold_max: Duration,
    /// Whether the storm guard holds fallbacks. Default true.
    pub storm_guard: bool,
    /// With less free space under the state folder, in bytes, nothing new is taken. Default 512 MiB.
    pub disk_free_min: u64,
    /// A store whose position is older than this is rebuilt: deleted deliveries would come back. Default: the changelog's `delete.retention.ms` less a margin.
    pub store_age_max: Duration,
    /// Topic names.
    pub topics: Topics,
}

/// The names of Recado's own topics under one prefix.
#[derive(Clone, Debug)]
pub struct Topics {
    prefix: String,
    /// `<prefix>receipts`
    pub receipts: Arc<str>,
    /// `<prefix>status`
    pub status: Arc<str>,
    /// `<prefix>state`
    pub state: Arc<str>,
    /// `<prefix>dead-letters`
    pub dead_letters: Arc<str>,
    /// `<prefix>dispatch-journal`
    pub journal: Arc<str>,
    dispatch: Vec<Arc<str>>,
    retry: Vec<Arc<str>>,
}

impl Topics {
    /// All names under this prefix (`recado.` by default).
    pub fn under(prefix: &str) -> Self {
        let name = |word: &str| Arc::from(format!("{prefix}{word}"));
        let per_traffic = |word: &str| {
            Channel::ALL
                .into_iter()
                .flat_map(|channel| {
                    Lane::ALL.map(|lane| {
                        let bulk = if lane == Lane::Bulk { ".bulk" } else { "" };
                        name(&format!("{word}.{}{bulk}", channel.word()))
                    })
                })
                .collect()
        };
        Self {
            prefix: prefix.to_owned(),
            receipts: name("receipts"),
            status: name("status"),
            state: name("state"),
            dead_letters: name("dead-letters"),
            journal: name("dispatch-journal"),
            dispatch: per_traffic("dispatch"),
            retry: per_traffic("retry"),
        }
    }

    /// The prefix itself: groups and transactional ids stand under it too.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Where first attempts of this traffic go.
    pub fn dispatch(&self, channel: Channel, lane: Lane) -> &Arc<str> {
        &self.dispatch[index(channel, lane)]
    }

    /// Where later attempts of this traffic go.
    pub fn retry(&self, channel: Channel, lane: Lane) -> &Arc<str> {
        &self.retry[index(channel, lane)]
    }
}

fn index(channel: Channel, lane: Lane) -> usize {
    usize::from(channel.ordinal() - 1) * Lane::ALL.len() + usize::from(lane.ordinal() - 1)
}
