//! How each phone behaves: enters a phone number, leaves what the call is answered with and which receipts come when. Nothing here does anything.
//!
//! What is easily got wrong: times are the provider's, before the time factor, and count from the acceptance; a template's TTL judges `after` (when it
//! happened on the phone), not `lag` (how much later the webhook goes out).

use super::{Channel, named};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Which phone behaves how. A number of `phones` comes first, then a draw from `mix` by seed and number, then `otherwise`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Decides every draw: the same seed and number always behave alike.
    pub seed: u64,
    /// By number: digits of E.164, without `+`.
    pub phones: BTreeMap<String, Phone>,
    /// What the other numbers are drawn from.
    pub mix: Vec<Weighted>,
    /// What is left; by default everything is delivered quickly.
    pub otherwise: Phone,
    /// When a whole provider misbehaves.
    pub outages: Vec<Outage>,
}

impl Script {
    /// The phone behind a number, with or without `+`.
    pub fn phone(&self, number: &str) -> &Phone {
        let digits = number.trim_start_matches('+');
        if let Some(phone) = self.phones.get(digits) {
            return phone;
        }
        let total: u64 = self.mix.iter().map(|it| u64::from(it.weight)).sum();
        if total == 0 {
            return &self.otherwise;
        }
        let mut left = self.draw(digits, "phone") % total;
        for weighted in &self.mix {
            match left.checked_sub(u64::from(weighted.weight)) {
                Some(rest) => left = rest,
                None => return &weighted.phone,
            }
        }
        &self.otherwise
    }

    /// When a report happens on the phone, from the acceptance.
    pub fn happens(&self, number: &str, report: &Report) -> Duration {
        let spread_ms = u64::try_from(report.spread.as_millis()).unwrap_or(u64::MAX);
        let share = self.draw(number.trim_start_matches('+'), report.word.text()) % spread_ms.saturating_add(1);
        report.after + Duration::from_millis(share)
    }

    fn draw(&self, digits: &str, about: &str) -> u64 {
        let digest = digest(&[&self.seed.to_be_bytes(), digits.as_bytes(), about.as_bytes()]);
        u64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
    }
}

/// One entry of a mix.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Weighted {
    /// Its share of all weights.
    pub weight: u32,
    /// What is drawn.
    pub phone: Phone,
}

/// A whole provider misbehaves for a while.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// Which.
    pub provider: Provider,
    /// Beginning, from the start of the simulator.
    #[serde(with = "humantime_serde")]
    pub from: Duration,
    /// End, no longer in it.
    #[serde(with = "humantime_serde")]
    pub until: Duration,
    /// What every call gets. Meta's upgrade of a number is 131057 for a minute.
    pub answer: Answer,
}

/// Who is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// WhatsApp Cloud API.
    Meta,
    /// SMS and calls.
    Twilio,
}

/// One customer's phone.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Phone {
    /// On WhatsApp: the name of a behaviour ([`Behaviour::named`]) or a whole one.
    #[serde(deserialize_with = "named_or_whole")]
    pub whatsapp: Behaviour,
    /// By SMS.
    #[serde(deserialize_with = "named_or_whole")]
    pub sms: Behaviour,
    /// By voice.
    #[serde(deserialize_with = "named_or_whole")]
    pub voice: Behaviour,
    /// Meta's id for it lacks the ninth digit, as in much of Brazil.
    pub wa_id_without_nine: bool,
}

impl Default for Phone {
    fn default() -> Self {
        Self { whatsapp: named::quick(), sms: named::quick(), voice: named::quick(), wa_id_without_nine: false }
    }
}

impl Phone {
    /// From the names of three behaviours; `None` when one is unknown.
    pub fn named(whatsapp: &str, sms: &str, voice: &str) -> Option<Self> {
        let named = Behaviour::named;
        Some(Self { whatsapp: named(whatsapp)?, sms: named(sms)?, voice: named(voice)?, wa_id_without_nine: false })
    }

    /// How it behaves there.
    pub fn on(&self, channel: Channel) -> &Behaviour {
        match channel {
            Channel::Whatsapp => &self.whatsapp,
            Channel::Sms => &self.sms,
            Channel::Voice => &self.voice,
        }
    }
}

fn named_or_whole<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Behaviour, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Spelled {
        Name(String),
        Whole(Box<Behaviour>),
    }
    match Spelled::deserialize(deserializer)? {
        Spelled::Name(name) => Behaviour::named(&name).ok_or_else(|| serde::de::Error::custom(format!("no behaviour is called {name:?}"))),
        Spelled::Whole(behaviour) => Ok(*behaviour),
    }
}

/// What one channel of one phone does with a message.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// What the call gets.
    pub answer: Answer,
    /// How many of this number's calls on this channel get that answer; later ones are accepted. `None`: all.
    pub only_first: Option<u32>,
    /// How long the answer takes, from the acceptance. The send log's `answer_ms` is that instant.
    #[serde(with = "humantime_serde")]
    pub answer_after: Duration,
    /// What is reported of an accepted message (WhatsApp and SMS).
    pub receipts: Vec<Report>,
    /// What happens on the line (voice).
    pub call: Call,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { answer: Answer::Accept, only_first: None, answer_after: Duration::ZERO, receipts: Vec::new(), call: Call::default() }
    }
}

/// The immediate answer to a call.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// Taken, with the provider's id.
    Accept,
    /// Taken, but WhatsApp says `held_for_quality_assessment`. As `accept` on Twilio.
    Held,
    /// Refused with the provider's own error body.
    Error {
        /// The provider's number.
        code: u32,
        /// HTTP status; left out, the one that goes with the code.
        #[serde(default)]
        status: Option<u16>,
        /// The header `Retry-After`, in seconds.
        #[serde(default)]
        retry_after_secs: Option<u32>,
    },
    /// A status without a body.
    Bare {
        /// HTTP status.
        status: u16,
        /// Whether the message went out all the same.
        #[serde(default)]
        accepted: bool,
        /// The header `Retry-After`, in seconds.
        #[serde(default)]
        retry_after_secs: Option<u32>,
    },
    /// The connection is closed instead of an answer.
    Lost {
        /// Whether the message went out all the same.
        accepted: bool,
    },
    /// No answer, ever.
    Hang {
        /// Whether the message went out all the same.
        accepted: bool,
    },
    /// Taken, with a success status and a body that says nothing useful.
    Garbage(Garbage),
}

/// How a success can be unreadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Garbage {
    /// Bytes that are no JSON.
    NotJson,
    /// JSON without an id.
    NoId,
    /// 50 MB.
    Huge,
}

impl Answer {
    /// Whether the message went out: this, not the status, is what "sent" means.
    pub fn accepts(&self) -> bool {
        match self {
            Self::Accept | Self::Held | Self::Garbage(_) => true,
            Self::Error { .. } => false,
            Self::Bare { accepted, .. } | Self::Lost { accepted } | Self::Hang { accepted } => *accepted,
        }
    }

    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Accept => "accepted",
            Self::Held => "held",
            Self::Error { .. } => "error",
            Self::Bare { .. } => "bare",
            Self::Lost { .. } => "lost",
            Self::Hang { .. } => "hang",
            Self::Garbage(_) => "garbage",
        }
    }

    pub(super) fn code(&self) -> u32 {
        if let Self::Error { code, .. } = self { *code } else { 0 }
    }

    pub(super) fn status(&self, channel: Channel) -> u16 {
        match self {
            Self::Accept | Self::Held | Self::Garbage(_) => match channel.provider() {
                Provider::Meta => 200,
                Provider::Twilio => 201,
            },
            Self::Error { code, status, .. } => status.unwrap_or_else(|| match channel.provider() {
                Provider::Meta => super::meta::status_of(*code),
                Provider::Twilio => super::twilio::status_of(*code),
            }),
            Self::Bare { status, .. } => *status,
            Self::Lost { .. } | Self::Hang { .. } => 0,
        }
    }
}

/// One receipt that a provider sends.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// What it says.
    pub word: Word,
    /// When it happens, from the acceptance. On WhatsApp a `delivered` or `read` past the template's TTL never happens.
    #[serde(default, with = "humantime_serde")]
    pub after: Duration,
    /// A seeded part of this is added to `after`.
    #[serde(default, with = "humantime_serde")]
    pub spread: Duration,
    /// How much later the webhook goes out.
    #[serde(default, with = "humantime_serde")]
    pub lag: Duration,
    /// How often it goes out.
    #[serde(default = "once")]
    pub times: u16,
    /// The provider's number behind a `failed`; 0 takes 131026, or 30003 for an SMS.
    #[serde(default)]
    pub code: u32,
    /// Goes out, and is waited for, before the call is answered.
    #[serde(default)]
    pub before_answer: bool,
    /// Stands in the place of the attempt id; empty leaves the correlation data out. Another system's message, or an unknown attempt.
    #[serde(default)]
    pub correlation: Option<String>,
}

const fn once() -> u16 {
    1
}

impl Report {
    /// A receipt that happens `after` the acceptance, sent once and at once.
    pub const fn new(word: Word, after: Duration) -> Self {
        Self { word, after, spread: Duration::ZERO, lag: Duration::ZERO, times: 1, code: 0, before_answer: false, correlation: None }
    }
}

/// The words of receipts, before each provider's spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// Left the provider.
    Sent,
    /// On the phone.
    Delivered,
    /// Seen.
    Read,
    /// Will not arrive.
    Failed,
}

impl Word {
    /// As WhatsApp spells it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
        }
    }
}

/// What happens on the line after an accepted call.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Call {
    /// Whether anybody answers.
    pub picks_up: PickUp,
    /// How long it rings before that; nobody answering takes the call's own `Timeout`.
    #[serde(with = "humantime_serde")]
    pub rings: Duration,
    /// How long the customer listens before pressing a key.
    #[serde(with = "humantime_serde")]
    pub listens: Duration,
    /// How often `1` is pressed: 0 hangs up without, 2 hears the code again.
    pub keys: u8,
    /// How often each status callback goes out.
    pub times: u16,
}

impl Default for Call {
    fn default() -> Self {
        Self { picks_up: PickUp::Yes, rings: Duration::from_secs(4), listens: Duration::from_secs(5), keys: 1, times: 1 }
    }
}

/// The end of the ringing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PickUp {
    /// Somebody answers.
    Yes,
    /// Nobody does.
    NoAnswer,
    /// The line is busy.
    Busy,
    /// The carrier gives up.
    Failed,
}

/// SHA-256 over parts, each with its length before it.
pub(super) fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut whole = Vec::new();
    for part in parts {
        whole.extend_from_slice(&part.len().to_be_bytes());
        whole.extend_from_slice(part);
    }
    digest_whole(&whole)
}

/// SHA-256.
pub(super) fn digest_whole(bytes: &[u8]) -> [u8; 32] {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}
