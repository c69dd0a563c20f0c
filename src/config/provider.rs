//! `[providers.<name>]`: whom messages are sent through, where they are, and on what legal ground data go there.

use super::rules::Found;
use super::{Gateway, Mode, SecretFile};
use crate::delivery::Channel;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// One provider, checked.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name in the configuration; in metrics and logs too.
    pub name: String,
    /// What it carries.
    pub channel: Channel,
    /// How it is spoken to.
    pub kind: Kind,
    /// Scheme, host and port, without a slash at the end.
    pub base_url: String,
    /// The least version of TLS.
    pub min_tls: MinTls,
    /// How many calls may begin in a second; 0 means that the provider sets no limit.
    pub calls_per_second: u32,
}

/// The protocol of a provider and what it needs.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Meta's WhatsApp Cloud API.
    Meta {
        /// The Graph API's version, `v25.0`.
        api_version: String,
        /// Meta's id of the sending number: digits, no phone number.
        phone_number_id: String,
        /// The system user's token.
        access_token: SecretFile,
        /// Whose webhooks its receipts come through: a name of `[gateway.meta]`.
        app: String,
    },
    /// Twilio, for text messages or calls.
    Twilio {
        /// `AC` and 32 hex digits.
        account_sid: String,
        /// The user that opens it: an API key (`SK…`), or the account itself.
        user: String,
        /// The API key's secret, or the account's auth token.
        secret: SecretFile,
        /// The sending number in E.164; for text messages also a short code, or the id of a messaging service (`MG…`).
        from: String,
        /// Whose webhooks its receipts come through: a name of `[gateway.twilio]`.
        account: String,
        /// Who speaks in calls; empty: the usual voice.
        voice: String,
    },
}

/// The least version of TLS that is spoken with a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum MinTls {
    /// TLS 1.3.
    #[default]
    #[serde(rename = "1.3")]
    V1_3,
    /// TLS 1.2: needs a reason.
    #[serde(rename = "1.2")]
    V1_2,
}

/// What `kind` may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KindWord {
    Meta,
    Twilio,
}

/// A provider as the file says it: which keys must be there depends on `kind`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Entry {
    channel: String,
    kind: Option<KindWord>,
    base_url: String,
    min_tls: MinTls,
    min_tls_reason: String,
    calls_per_second: u32,
    country: String,
    mechanism: String,
    purpose: String,
    retention: String,
    api_version: String,
    phone_number_id: String,
    pub(super) access_token_file: SecretFile,
    app: String,
    account_sid: String,
    api_key: String,
    pub(super) api_secret_file: SecretFile,
    pub(super) auth_token_file: SecretFile,
    from: String,
    account: String,
    voice: String,
}

impl Entry {
    /// The provider that this entry describes; every reason why it describes none is put into `found`.
    pub(super) fn check(&self, name: &str, mode: Mode, gateway: &Gateway, hosts_allowed: &[String], found: &mut Found<'_>) -> Option<Provider> {
        let key = |leaf: &str| format!("providers.{name}.{leaf}");
        let channel = Channel::from_word(&self.channel);
        if channel.is_none() {
            found.refuse(&key("channel"), "It must be one of: whatsapp, sms, voice.");
        }
        found.base_url(&key("base_url"), &self.base_url, mode, Some(hosts_allowed));
        if mode == Mode::Production {
            self.check_law(&key, found);
        }
        if self.min_tls == MinTls::V1_2 && self.min_tls_reason.trim().is_empty() {
            found.refuse(&key("min_tls_reason"), "TLS 1.2 needs a reason here: say why this provider cannot speak TLS 1.3.");
        }
        let kind = self.kind(&key, channel, gateway, found)?;
        Some(Provider {
            name: name.to_owned(),
            channel: channel?,
            kind,
            base_url: self.base_url.trim_end_matches('/').to_owned(),
            min_tls: self.min_tls,
            calls_per_second: self.calls_per_second,
        })
    }

    /// Where data go, and why they may (privacy.md §9.2).
    fn check_law(&self, key: &impl Fn(&str) -> String, found: &mut Found<'_>) {
        for (leaf, value, meaning) in [
            ("country", &self.country, "the country in which the provider handles the data, `US`"),
            ("mechanism", &self.mechanism, "the legal mechanism of the transfer there, `standard contractual clauses`; `none needed` for Brazil"),
            ("purpose", &self.purpose, "what the data are sent for"),
            ("retention", &self.retention, "how long the provider keeps them, by contract"),
        ] {
            if value.trim().is_empty() {
                found.refuse(&key(leaf), &format!("It is missing: {meaning}."));
            }
        }
    }

    fn kind(&self, key: &impl Fn(&str) -> String, channel: Option<Channel>, gateway: &Gateway, found: &mut Found<'_>) -> Option<Kind> {
        match self.kind {
            None => {
                found.refuse(&key("kind"), "It must be one of: meta, twilio.");
                None
            }
            Some(KindWord::Meta) => {
                self.only_for(
                    key,
                    &[("account_sid", &self.account_sid), ("api_key", &self.api_key), ("from", &self.from), ("account", &self.account), ("voice", &self.voice)],
                    "twilio",
                    found,
                );
                if channel.is_some_and(|channel| channel != Channel::WhatsApp) {
                    found.refuse(&key("channel"), "Meta carries whatsapp alone.");
                }
                let version = self.api_version.strip_prefix('v').is_some_and(|rest| rest.split('.').count() == 2 && rest.split('.').all(is_digits));
                found.demand(version, &key("api_version"), "It must be a version of the Graph API, `v25.0`.");
                found.demand(is_digits(&self.phone_number_id), &key("phone_number_id"), "It must be the id that Meta shows for the number: digits alone.");
                found.demand(self.access_token_file.is_named(), &key("access_token_file"), "It must name the file that holds the system user's token.");
                found.demand(gateway.meta.contains_key(&self.app), &key("app"), "It must be a name of [gateway.meta]: receipts come back through that app.");
                Some(Kind::Meta {
                    api_version: self.api_version.clone(),
                    phone_number_id: self.phone_number_id.clone(),
                    access_token: self.access_token_file.clone(),
                    app: self.app.clone(),
                })
            }
            Some(KindWord::Twilio) => {
                self.only_for(key, &[("api_version", &self.api_version), ("phone_number_id", &self.phone_number_id), ("app", &self.app)], "meta", found);
                if channel == Some(Channel::WhatsApp) {
                    found.refuse(&key("channel"), "Twilio carries sms or voice here; whatsapp goes to Meta itself.");
                }
                found.demand(is_sid(&self.account_sid, "AC"), &key("account_sid"), "It must be Twilio's account id: `AC` and 32 hex digits.");
                let by_key = !self.api_key.is_empty();
                found.demand(!by_key || is_sid(&self.api_key, "SK"), &key("api_key"), "It must be an API key's id: `SK` and 32 hex digits.");
                found.demand(
                    self.api_secret_file.is_named() == by_key && self.auth_token_file.is_named() != by_key,
                    &key(if by_key { "api_secret_file" } else { "auth_token_file" }),
                    "It must name the file that opens the account: `api_secret_file` with an `api_key`, else `auth_token_file`, and not both.",
                );
                let number = self.from.strip_prefix('+').is_some_and(|rest| is_digits(rest) && (8..=15).contains(&rest.len()));
                let short_code = is_digits(&self.from) && SHORT_CODE_DIGITS.contains(&self.from.len());
                let of_texts = channel == Some(Channel::Sms) && (short_code || is_sid(&self.from, "MG"));
                found.demand(
                    number || of_texts,
                    &key("from"),
                    "It must be the sending number, `+` and digits, or for sms a short code, 3 to 6 digits, or the id of a messaging service (`MG…`).",
                );
                found.demand(
                    gateway.twilio.contains_key(&self.account),
                    &key("account"),
                    "It must be a name of [gateway.twilio]: receipts come back through it.",
                );
                Some(Kind::Twilio {
                    account_sid: self.account_sid.clone(),
                    user: if by_key { &self.api_key } else { &self.account_sid }.clone(),
                    secret: if by_key { &self.api_secret_file } else { &self.auth_token_file }.clone(),
                    from: self.from.clone(),
                    account: self.account.clone(),
                    voice: self.voice.clone(),
                })
            }
        }
    }

    fn only_for(&self, key: &impl Fn(&str) -> String, leaves: &[(&str, &String)], kind: &str, found: &mut Found<'_>) {
        for (leaf, value) in leaves {
            found.demand(value.is_empty(), &key(leaf), &format!("It belongs to kind `{kind}` and means nothing here."));
        }
    }
}

/// Brazil's have 5 (Twilio's page on Brazil); that others have 3 to 6 is a guess.
const SHORT_CODE_DIGITS: RangeInclusive<usize> = 3..=6;

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_sid(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
