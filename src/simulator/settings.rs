//! What the simulator is told: where to listen, which invented credentials to demand, where the webhooks go, how the phones behave.
//!
//! The credentials here are invented ones of a test; they are plain strings on purpose, and nothing real belongs in them.

use super::Script;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Everything the simulator needs to start; a TOML file of this shape starts it as a process of its own.
#[derive(Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Loopback only; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The send log: appended to, one JSON line each, on the disk before the answer leaves. `None` keeps none.
    pub log: Option<PathBuf>,
    /// Whether the log also holds the texts in clear: for tests that look for an amount or a code in them.
    pub keep_texts: bool,
    /// Multiplies the simulator's own delays and the templates' TTLs: 0.1 is ten times faster. Time-outs of webhook calls are not scaled.
    pub time_factor: f64,
    /// How many webhooks may be under way at once, a connection each; the others wait. Without a bound each one that waits would open a connection of its own.
    pub webhooks_under_way_max: usize,
    /// Meta's side.
    pub meta: Meta,
    /// Twilio's side.
    pub twilio: Twilio,
    /// How each phone behaves.
    pub script: Script,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            log: None,
            keep_texts: false,
            time_factor: 1.0,
            webhooks_under_way_max: 256,
            meta: Meta::default(),
            twilio: Twilio::default(),
            script: Script::default(),
        }
    }
}

/// An invented WhatsApp business account.
#[derive(Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Meta {
    /// The id in the path of a send.
    pub phone_number_id: String,
    /// The id in `entry[].id` of a webhook.
    pub business_account_id: String,
    /// Digits of the sending number; a message to it gets 131021.
    pub display_phone_number: String,
    /// What must stand after `Bearer `.
    pub access_token: String,
    /// Signs webhooks.
    pub app_secret: String,
    /// The whole URL of the gateway's WhatsApp webhook; empty posts none.
    pub webhook: String,
    /// The approved templates by name; with an empty table every name is known, of any shape, with a TTL of 30 days.
    pub templates: BTreeMap<String, Template>,
    /// How many statuses one POST may hold, 1 to 1,000 (channels page 2.1).
    pub batch_updates_max: usize,
    /// How long a POST waits for more statuses, in real time; only read above one.
    #[serde(with = "humantime_serde")]
    pub batch_pause: Duration,
    /// Above it 130429 with HTTP 429; `None` has no limit.
    pub messages_per_second: Option<u32>,
    /// The first pause before a webhook that was not answered with 200 is repeated; it doubles each time.
    #[serde(with = "humantime_serde")]
    pub repeat_first: Duration,
    /// The longest pause.
    #[serde(with = "humantime_serde")]
    pub repeat_pause_max: Duration,
    /// After it a webhook is given up. Meta's pages name between 1 h and 7 days.
    #[serde(with = "humantime_serde")]
    pub repeat_until: Duration,
}

impl Default for Meta {
    fn default() -> Self {
        Self {
            phone_number_id: "100000000000001".into(),
            business_account_id: "200000000000002".into(),
            display_phone_number: "551140040001".into(),
            access_token: "simulated-access-token".into(),
            app_secret: "simulated-app-secret".into(),
            webhook: String::new(),
            templates: BTreeMap::new(),
            batch_updates_max: 1,
            batch_pause: Duration::from_millis(20),
            messages_per_second: None,
            repeat_first: Duration::from_secs(1),
            repeat_pause_max: Duration::from_secs(60),
            repeat_until: Duration::from_secs(3600),
        }
    }
}

/// One approved template.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Its language (`pt_BR`).
    pub language: String,
    /// Which rules hold for it.
    pub category: Category,
    /// How many variables its body has.
    pub body_parameters: usize,
    /// `message_send_ttl_seconds`: what a phone has not fetched by then is dropped in silence.
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
}

/// The categories in which Recado sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// One-time codes: the code stands in the body and in the button.
    Authentication,
    /// Everything else.
    Utility,
}

/// An invented Twilio account.
#[derive(Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Twilio {
    /// The sid in the path.
    pub account_sid: String,
    /// The user of basic auth.
    pub api_key: String,
    /// Its password.
    pub api_secret: String,
    /// Signs webhooks.
    pub auth_token: String,
    /// Which spelling of the URL is signed: Twilio's pages leave it open.
    pub signed_url: SignedUrl,
    /// How many calls ring per second; more wait in silence (channels page 4.5). Scaled by the time factor.
    pub calls_per_second: u32,
    /// Above it 20429 with HTTP 429; `None` has no limit.
    pub requests_per_second: Option<u32>,
}

impl Default for Twilio {
    fn default() -> Self {
        Self {
            account_sid: "AC00000000000000000000000000000001".into(),
            api_key: "SK00000000000000000000000000000001".into(),
            api_secret: "simulated-api-secret".into(),
            auth_token: "simulated-auth-token".into(),
            signed_url: SignedUrl::WithoutFragment,
            calls_per_second: 1,
            requests_per_second: None,
        }
    }
}

/// What of a callback URL is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SignedUrl {
    /// As it was given, up to the fragment.
    WithoutFragment,
    /// As it was given, fragment and all.
    WithFragment,
    /// Without fragment and port.
    WithoutPort,
}
