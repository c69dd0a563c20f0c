//! What a dispatcher must be told: whom it is, where Kafka is, whom it sends through, and every limit by its name.

use super::breaker;
use crate::channel::twilio::Callbacks;
use crate::channel::{sms, voice, whatsapp};
use crate::delivery::Channel;
use crate::privacy::Secret;
use crate::topics::names;
use rdkafka::ClientConfig;
use std::collections::BTreeMap;
use std::time::Duration;

/// Settings of the role.
#[derive(Debug)]
pub struct Settings {
    /// The stable name of this instance: static group membership and heartbeats carry it.
    pub instance: String,
    /// The beginning of the names of our topics, `recado.` with its dot.
    pub prefix: String,
    /// The consumer group, `recado.dispatch`.
    pub group: String,
    /// What every Kafka client starts from (addresses, TLS, SASL). It prints without the secrets.
    pub kafka: ClientConfig,
    /// Attempts in hand per channel and lane; above it nothing more is read of them until half are done. Each attempt in hand makes at most one call at a time.
    pub in_hand_max: usize,
    /// The longest that one call to a provider may take, connecting and reading the answer included. Must be below the steps' leases less their margin.
    pub call_timeout: Duration,
    /// More of an answer is not read; what then does not parse proves nothing.
    pub answer_bytes_max: usize,
    /// How long a revoke or a shutdown waits, beyond `call_timeout`, for outcomes and done marks of calls in flight.
    pub leave_margin: Duration,
    /// When a provider counts as down.
    pub breaker: breaker::Limits,
    /// Whom messages are sent through. A channel without a provider is *unavailable*.
    pub providers: BTreeMap<Channel, Provider>,
}

impl Settings {
    /// With the defaults of `config/recado.toml` and nobody to send through.
    pub fn new(instance: impl Into<String>, kafka: ClientConfig) -> Self {
        Self {
            instance: instance.into(),
            prefix: "recado.".into(),
            group: format!("recado.{}", names::DISPATCHER_GROUP),
            kafka,
            in_hand_max: 2_000,
            call_timeout: Duration::from_secs(4),
            answer_bytes_max: 64 << 10,
            leave_margin: Duration::from_secs(2),
            breaker: breaker::Limits::default(),
            providers: BTreeMap::new(),
        }
    }

    pub(super) fn journal(&self) -> String {
        format!("{}{}", self.prefix, names::DISPATCH_JOURNAL)
    }

    pub(super) fn receipts(&self) -> String {
        format!("{}{}", self.prefix, names::RECEIPTS)
    }
}

/// One provider of one channel.
#[derive(Debug)]
pub struct Provider {
    /// Its name in the configuration, for metrics and logs.
    pub name: String,
    /// Scheme, host and port, without a slash at the end. Plain HTTP only on loopback in development: the configuration sees to that.
    pub base_url: String,
    /// The least version of TLS: 1.3 unless the configuration gives a reason.
    pub min_tls: MinTls,
    /// Who we are to it.
    pub auth: Auth,
    /// How many calls may begin in a second; 0: no limit.
    pub calls_per_second: u32,
    /// From which number, and how it is spoken to.
    pub sender: Sender,
}

/// The least version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinTls {
    /// The default.
    V1_3,
    /// For a provider that cannot do better.
    V1_2,
}

/// The header `Authorization`.
#[derive(Debug)]
pub enum Auth {
    /// Meta: the system user's token.
    Bearer(Secret<String>),
    /// Twilio: account and its token.
    Basic {
        /// The account's id.
        user: String,
        /// Its token.
        password: Secret<String>,
    },
}

/// From which number, and in which protocol.
#[derive(Clone, Debug)]
pub enum Sender {
    /// Meta's Cloud API.
    WhatsApp(whatsapp::Sender),
    /// Twilio's messages.
    Sms(sms::Sender),
    /// Twilio's calls.
    Voice(voice::Sender),
}

impl Sender {
    /// Meta's Cloud API: the Graph API's version and Meta's id of the sending number.
    pub fn whatsapp(version: String, phone_number_id: String) -> Self {
        Self::WhatsApp(whatsapp::Sender { version, phone_number_id })
    }

    /// Twilio's messages, from a number in E.164 or a messaging service (`MG…`). Receipts come to `public_base_url` under the account's name.
    pub fn sms(account_sid: String, from: String, public_base_url: String, account: String) -> Self {
        let from = if from.starts_with("MG") { sms::From::Service(from) } else { sms::From::Number(from) };
        Self::Sms(sms::Sender { account_sid, from, callbacks: Callbacks { public_base_url, account } })
    }

    /// Twilio's calls; without a voice the usual one speaks.
    pub fn voice(account_sid: String, from: String, public_base_url: String, account: String, voice: Option<String>) -> Self {
        let voice = voice.unwrap_or_else(|| voice::VOICE.to_owned());
        Self::Voice(voice::Sender { account_sid, from, callbacks: Callbacks { public_base_url, account }, voice })
    }
}
