//! The sections of `recado.toml` as types. What each field means to an operator, and when to change it, stands in that file; here stand units and edges.

use super::{SecretFile, Size};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Whether this is real.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Weak settings are refused.
    Production,
    /// Plain HTTP on loopback, one Kafka node and the like are allowed.
    Development,
}

/// `[topics]`: how our own topics are made, and what they are measured by.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopicSettings {
    /// N, how many partitions each topic of ours has; 0 means as many as the largest input has when they are made.
    pub partitions: u16,
    /// On how many brokers each record rests.
    pub replication_factor: u16,
    /// How many of them must have a record before it counts as written.
    pub min_insync_replicas: u16,
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self { partitions: 0, replication_factor: 3, min_insync_replicas: 2 }
    }
}

/// `[schema_registry]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SchemaRegistry {
    /// The registry's address without a path below its Confluent API; empty means that there is none: a route's schema file counts.
    pub url: String,
    /// A file with one line, `user:password`, for HTTP Basic.
    pub credentials_file: SecretFile,
    /// PEM certificates of the authorities that alone are believed for the registry's own; empty: those of the system.
    pub ca_file: PathBuf,
    /// How long one question may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl Default for SchemaRegistry {
    fn default() -> Self {
        Self { url: String::new(), credentials_file: SecretFile::default(), ca_file: PathBuf::new(), timeout: Duration::from_secs(5) }
    }
}

/// `[engine]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    /// How many threads, each with a consumer, a transactional producer and its tasks.
    pub threads: u16,
    /// Where RocksDB and the poison files lie. Private to this instance.
    pub state_folder: PathBuf,
    /// A transaction is committed at the latest after this.
    #[serde(with = "humantime_serde")]
    pub commit_interval: Duration,
    /// And before, when nothing more is waiting.
    pub commit_on_drain: bool,
    /// And before, when it holds so many records.
    pub batch_records_max: u32,
    /// And before, when its changes of state are so large.
    pub batch_bytes_max: Size,
    /// How many attempts may lack both outcome and receipt, per channel and lane, before requests wait.
    pub attempts_open_max: u32,
    /// How long a due timer is held at most when the gateway, the dispatcher or a provider is silent.
    #[serde(with = "humantime_serde")]
    pub hold_max: Duration,
    /// Whether fallbacks are held when a provider's receipts stay away all at once. Other than true in development only.
    pub storm_guard: bool,
    /// RocksDB's block cache, shared by all partitions.
    pub cache: Size,
    /// The memory that RocksDB may fill before it writes to the disk, shared by all partitions and part of the cache.
    pub write_buffer: Size,
    /// Whether RocksDB compresses what it writes.
    pub compression: bool,
    /// With less free space under the state folder nothing new is taken.
    pub disk_free_min: Size,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            threads: 1,
            state_folder: PathBuf::new(),
            commit_interval: Duration::from_millis(100),
            commit_on_drain: true,
            batch_records_max: 4_000,
            batch_bytes_max: Size::mib(4),
            attempts_open_max: 10_000,
            hold_max: Duration::from_secs(120),
            storm_guard: true,
            cache: Size::mib(256),
            write_buffer: Size::mib(256),
            compression: true,
            disk_free_min: Size::mib(512),
        }
    }
}

/// `[dispatcher]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dispatcher {
    /// How many calls may be under way, per channel and lane.
    pub in_flight_max: u32,
    /// The longest that one call to a provider may take, connecting included.
    #[serde(with = "humantime_serde")]
    pub call_timeout: Duration,
    /// Kept free between the end of the longest call and the end of the lease.
    #[serde(with = "humantime_serde")]
    pub call_margin: Duration,
    /// Over what time a provider's breaker looks at its calls; whole seconds.
    #[serde(with = "humantime_serde")]
    pub breaker_window: Duration,
    /// It does not open on fewer calls than this.
    pub breaker_calls_min: u32,
    /// It opens when so many of a hundred calls failed.
    pub breaker_failed_percent_min: u32,
    /// For so long an open breaker answers *unavailable* at once; then one call is tried.
    #[serde(with = "humantime_serde")]
    pub breaker_pause: Duration,
    /// Hosts that providers' addresses may name, in lower case.
    pub hosts_allowed: Vec<String>,
}

impl Default for Dispatcher {
    fn default() -> Self {
        Self {
            in_flight_max: 2_000,
            call_timeout: Duration::from_secs(4),
            call_margin: Duration::from_secs(1),
            breaker_window: Duration::from_secs(10),
            breaker_calls_min: 20,
            breaker_failed_percent_min: 50,
            breaker_pause: Duration::from_secs(5),
            hosts_allowed: vec!["graph.facebook.com".into(), "api.twilio.com".into()],
        }
    }
}

impl Dispatcher {
    /// The longest that a call may take, with its margin: `not_after` is the lease's end less this.
    pub fn call_max(&self) -> Duration {
        self.call_timeout.saturating_add(self.call_margin)
    }
}

/// `[gateway]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gateway {
    /// Where webhooks arrive.
    pub listen: SocketAddr,
    /// How providers see us: scheme, host and, where they are part of what they call, port and path; no slash at the end.
    pub public_base_url: String,
    /// Who ends TLS in front of this port; the gateway itself speaks plain HTTP.
    pub tls_ended_by: String,
    /// The largest body that Meta may send.
    pub meta_body_max: Size,
    /// The largest body that anybody else may send.
    pub body_max: Size,
    /// How many connections may be open.
    pub connections_max: u32,
    /// How many of them one address may have.
    pub connections_per_address_max: u32,
    /// Meta's apps, by the name in the webhook's path (`/webhooks/meta/<app>`).
    pub meta: BTreeMap<String, MetaApp>,
    /// Twilio's accounts, by the name in the webhook's path (`/webhooks/twilio/<account>`).
    pub twilio: BTreeMap<String, TwilioAccount>,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            public_base_url: String::new(),
            tls_ended_by: String::new(),
            meta_body_max: Size::mib(4),
            body_max: Size::kib(64),
            connections_max: 1_024,
            connections_per_address_max: 1_024,
            meta: BTreeMap::new(),
            twilio: BTreeMap::new(),
        }
    }
}

/// `[gateway.meta.<app>]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetaApp {
    /// The app's secrets, which sign the webhooks.
    pub app_secret_file: SecretFile,
    /// The words that Meta repeats when the webhook is set up.
    pub verify_token_file: SecretFile,
}

/// `[gateway.twilio.<account>]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TwilioAccount {
    /// The account's auth tokens, which sign the webhooks with SHA-1.
    pub auth_token_file: SecretFile,
    /// The account's shared keys, which sign them with SHA-256; none where it has none.
    pub shared_key_file: SecretFile,
}

/// `[keys]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// Where the wrapped keys lie.
    pub folder: PathBuf,
    /// The root key that wraps them: 64 hex digits.
    pub root_key_file: SecretFile,
    /// Who accepted keys in files instead of a KMS or HSM: `name, date`. Empty: nobody.
    pub accepted_by: String,
    /// How long an opened key may stay in memory; the bound of an erasure.
    #[serde(with = "humantime_serde")]
    pub cache_ttl: Duration,
}

impl Default for Keys {
    fn default() -> Self {
        Self { folder: PathBuf::new(), root_key_file: SecretFile::default(), accepted_by: String::new(), cache_ttl: Duration::from_secs(60) }
    }
}

/// `[management]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Management {
    /// Where `/livez`, `/readyz` and `/metrics` answer. Never the webhooks' port.
    pub listen: SocketAddr,
}

impl Default for Management {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9464)) }
    }
}

/// `[logs]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Logs {
    /// The least severe level that is written.
    pub level: crate::observe::logs::Level,
}

impl Default for Logs {
    fn default() -> Self {
        Self { level: crate::observe::logs::Level::Info }
    }
}

/// `[time]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Time {
    /// What waits, leases and the providers' lives of messages are divided by; at least 1. Other than 1 in development only.
    pub hurry: u32,
}

impl Default for Time {
    fn default() -> Self {
        Self { hurry: 1 }
    }
}
