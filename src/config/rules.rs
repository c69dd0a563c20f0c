//! What a configuration must not say. Each rule names its key and says in one sentence what to write instead.

use super::source::Source;
use super::{Config, Fault, Mode};
use aws_lc_rs::digest::{SHA256, digest};
use std::collections::BTreeMap;
use std::time::Duration;
use url::{Host, Url};

/// The faults of one reading.
pub(super) struct Found<'a> {
    source: &'a Source,
    faults: Vec<Fault>,
}

impl<'a> Found<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self { source, faults: Vec::new() }
    }

    pub(super) fn refuse(&mut self, key: &str, sentence: &str) {
        self.faults.push(self.source.fault(key, sentence));
    }

    pub(super) fn warn(&mut self, key: &str, sentence: &str) {
        self.faults.push(Fault::warn(self.source.place(key), key, sentence));
    }

    pub(super) fn demand(&mut self, holds: bool, key: &str, sentence: &str) {
        if !holds {
            self.refuse(key, sentence);
        }
    }

    /// An address without a path, over TLS; plain HTTP on loopback in development. `hosts`: the only ones allowed outside development.
    pub(super) fn base_url(&mut self, key: &str, text: &str, mode: Mode, hosts: Option<&[String]>) {
        let Ok(url) = Url::parse(text) else {
            return self.refuse(key, "It must be an address like `https://host`.");
        };
        let plain_allowed = mode == Mode::Development && is_loopback(&url);
        match url.scheme() {
            "https" => {}
            "http" if plain_allowed => {}
            "http" => return self.refuse(key, "Plain http is allowed in development alone, to this machine alone: write https."),
            _ => return self.refuse(key, "It must begin with `https://`."),
        }
        if !url.username().is_empty() || url.password().is_some() {
            self.refuse(key, "A secret comes only from a file, never from an address.");
        }
        if url.query().is_some() || url.fragment().is_some() {
            self.refuse(key, "It must end with the host, or with a path: no `?`, no `#`.");
        }
        if let Some(hosts) = hosts
            && mode == Mode::Production
            && !url.host_str().is_some_and(|host| hosts.iter().any(|allowed| allowed == host))
        {
            self.refuse(key, "The host is not in `dispatcher.hosts_allowed`: calls leave for those hosts alone.");
        }
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl Config {
    /// Every rule, one after the other.
    pub(super) fn check(&mut self, found: &mut Found<'_>) {
        self.check_names(found);
        self.kafka.check(self.mode, found);
        self.check_topics(found);
        self.check_engine(found);
        self.check_dispatcher(found);
        self.check_gateway(found);
        self.check_rest(found);
        self.check_secrets(found);
        self.providers = self
            .entries
            .iter()
            .filter_map(|(name, entry)| {
                found.demand(is_name(name), &format!("providers.{name}"), NAME);
                entry.check(name, self.mode, &self.gateway, &self.dispatcher.hosts_allowed, found)
            })
            .collect();
        for (index, provider) in self.providers.iter().enumerate() {
            if let Some(other) = self.providers[..index].iter().find(|other| other.channel == provider.channel) {
                let sentence = format!("`{}` carries {} already: a channel has one provider.", other.name, provider.channel.word());
                found.refuse(&format!("providers.{}.channel", provider.name), &sentence);
            }
        }
    }

    fn check_names(&self, found: &mut Found<'_>) {
        let fits = is_name(&self.instance) && self.instance.len() <= 64;
        found.demand(fits, "instance", "It must be this instance's stable name, different from all others: letters, digits, `-` and `_`, at most 64.");
        let prefix = self.prefix.strip_suffix('.').unwrap_or(&self.prefix);
        let fits = self.prefix.is_empty() || (self.prefix.ends_with('.') && prefix.split('.').all(is_name) && self.prefix.len() <= 100);
        found.demand(fits, "prefix", "It must be words of letters, digits, `-` and `_`, each followed by a dot: `recado.`.");
    }

    fn check_topics(&self, found: &mut Found<'_>) {
        let topics = &self.topics;
        found.demand(topics.replication_factor >= 1, "topics.replication_factor", "It must be at least 1.");
        let fits = (1..=topics.replication_factor).contains(&topics.min_insync_replicas);
        found.demand(fits, "topics.min_insync_replicas", "It must be at least 1 and at most the replication factor.");
        if self.mode == Mode::Production {
            found.demand(
                topics.replication_factor >= 3,
                "topics.replication_factor",
                "It must be at least 3 outside development: what is on one broker is lost with it.",
            );
            found.demand(
                topics.min_insync_replicas >= 2,
                "topics.min_insync_replicas",
                "It must be at least 2 outside development: with one replica in sync there is one copy.",
            );
        }
    }

    fn check_engine(&self, found: &mut Found<'_>) {
        let engine = &self.engine;
        found.demand((1..=64).contains(&engine.threads), "engine.threads", "It must be between 1 and 64.");
        found.demand(
            !engine.state_folder.as_os_str().is_empty(),
            "engine.state_folder",
            "It must name a folder on a disk of this machine, for this instance alone.",
        );
        // Tests make transactions long so that a kill falls into one; Kafka ends one after 10 s.
        let longest = Duration::from_secs(if self.mode == Mode::Development { 5 } else { 1 });
        found.span("engine.commit_interval", engine.commit_interval, Duration::from_millis(20), longest);
        found.span("engine.hold_max", engine.hold_max, Duration::from_secs(1), Duration::from_secs(600));
        found.demand((1..=100_000).contains(&engine.batch_records_max), "engine.batch_records_max", "It must be between 1 and 100000.");
        found.demand((64 << 10..=64 << 20).contains(&engine.batch_bytes_max.0), "engine.batch_bytes_max", "It must be between 64KiB and 64MiB.");
        found.demand(engine.attempts_open_max >= 1, "engine.attempts_open_max", "It must be at least 1.");
        found.demand(engine.cache.0 >= 8 << 20, "engine.cache", "It must be at least 8MiB.");
        found.demand(engine.write_buffer.0 >= 8 << 20, "engine.write_buffer", "It must be at least 8MiB.");
        found.demand(engine.disk_free_min.0 >= 64 << 20, "engine.disk_free_min", "It must be at least 64MiB: what is in flight still writes.");
        let fits = engine.compression || self.mode == Mode::Development;
        found.demand(fits, "engine.compression", "It is off in development only, where somebody searches the files for what must not be in them.");
    }

    fn check_dispatcher(&self, found: &mut Found<'_>) {
        let dispatcher = &self.dispatcher;
        found.demand((1..=100_000).contains(&dispatcher.in_flight_max), "dispatcher.in_flight_max", "It must be between 1 and 100000.");
        found.span("dispatcher.call_timeout", dispatcher.call_timeout, Duration::from_millis(100), Duration::from_secs(30));
        found.span("dispatcher.call_margin", dispatcher.call_margin, Duration::from_millis(10), Duration::from_secs(30));
        found.span("dispatcher.breaker_pause", dispatcher.breaker_pause, Duration::from_millis(100), Duration::from_secs(600));
        found.span("dispatcher.breaker_window", dispatcher.breaker_window, Duration::from_secs(1), Duration::from_secs(600));
        let whole = dispatcher.breaker_window.subsec_nanos() == 0;
        found.demand(whole, "dispatcher.breaker_window", "It must be whole seconds: calls are counted by the second.");
        found.demand((1..=100_000).contains(&dispatcher.breaker_calls_min), "dispatcher.breaker_calls_min", "It must be between 1 and 100000.");
        found.demand((1..=100).contains(&dispatcher.breaker_failed_percent_min), "dispatcher.breaker_failed_percent_min", "It must be between 1 and 100.");
    }

    fn check_gateway(&self, found: &mut Found<'_>) {
        let gateway = &self.gateway;
        if gateway.public_base_url.is_empty() {
            found.demand(
                gateway.meta.is_empty() && gateway.twilio.is_empty(),
                "gateway.public_base_url",
                "It is missing: providers call us there, and Twilio signs that very address.",
            );
        } else {
            found.base_url("gateway.public_base_url", &gateway.public_base_url, self.mode, None);
            // As it stands here it goes to Twilio, which signs it letter by letter.
            let url = Url::parse(&gateway.public_base_url).ok();
            let same = |url: &Url| url.as_str().trim_end_matches('/') == gateway.public_base_url;
            found.demand(
                url.as_ref().is_none_or(same),
                "gateway.public_base_url",
                "It must be `https://` and a host in small letters, without the usual port or a slash at its end: Twilio signs the address letter by letter.",
            );
            let named = url.as_ref().and_then(Url::host_str).is_none_or(|host| !host.contains('_'));
            found.demand(named, "gateway.public_base_url", "Twilio calls no host with an underscore in its name.");
        }
        if self.mode == Mode::Production && gateway.tls_ended_by.trim().is_empty() {
            found.refuse("gateway.tls_ended_by", "It is missing: the gateway speaks plain HTTP, so name what ends TLS 1.3 in front of it.");
        }
        for (name, app) in &gateway.meta {
            let key = format!("gateway.meta.{name}");
            found.demand(is_name(name), &key, NAME);
            found.demand(app.app_secret_file.is_named(), &format!("{key}.app_secret_file"), "It must name the file that holds the app's secret.");
            found.demand(app.verify_token_file.is_named(), &format!("{key}.verify_token_file"), "It must name the file that holds the words Meta repeats.");
        }
        for (name, account) in &gateway.twilio {
            let key = format!("gateway.twilio.{name}");
            found.demand(is_name(name), &key, NAME);
            found.demand(account.auth_token_file.is_named(), &format!("{key}.auth_token_file"), "It must name the file that holds the account's auth token.");
        }
        let size = 1 << 10..=64 << 20;
        found.demand(size.contains(&gateway.meta_body_max.0), "gateway.meta_body_max", "It must be between 1KiB and 64MiB.");
        found.demand(size.contains(&gateway.body_max.0), "gateway.body_max", "It must be between 1KiB and 64MiB.");
        found.demand(gateway.connections_max >= 1, "gateway.connections_max", "It must be at least 1.");
        found.demand(
            (1..=gateway.connections_max).contains(&gateway.connections_per_address_max),
            "gateway.connections_per_address_max",
            "It must be between 1 and `gateway.connections_max`.",
        );
        found.demand(
            gateway.listen.port() == 0 || gateway.listen.port() != self.management.listen.port(),
            "management.listen",
            "Management has a port of its own: webhooks come from outside, metrics stay inside.",
        );
    }

    fn check_rest(&self, found: &mut Found<'_>) {
        if !self.schema_registry.url.is_empty() {
            found.base_url("schema_registry.url", &self.schema_registry.url, self.mode, None);
        }
        let ca_file = &self.schema_registry.ca_file;
        if !ca_file.as_os_str().is_empty()
            && let Err(sentence) = crate::event::registry::authorities(ca_file)
        {
            found.refuse("schema_registry.ca_file", &sentence);
        }
        found.span("schema_registry.timeout", self.schema_registry.timeout, Duration::from_millis(100), Duration::from_secs(60));
        found.demand(!self.keys.folder.as_os_str().is_empty(), "keys.folder", "It must name the folder in which the wrapped keys rest.");
        let (keys, state) = (&self.keys.folder, &self.engine.state_folder);
        found.demand(
            !keys.starts_with(state) && !state.starts_with(keys),
            "keys.folder",
            "It must lie beside `engine.state_folder`: state may be deleted at any time, and what the keys seal is lost with them.",
        );
        found.demand(
            self.keys.root_key_file.is_named(),
            "keys.root_key_file",
            "It must name the file that holds the root key: `openssl rand -hex 32` makes one.",
        );
        found.span("keys.cache_ttl", self.keys.cache_ttl, Duration::from_secs(1), Duration::from_secs(300));
        if self.mode == Mode::Production {
            found.demand(
                is_acceptance(&self.keys.accepted_by),
                "keys.accepted_by",
                "Keys in files need somebody who accepts that outside development: `name, 2026-11-30`.",
            );
            found.demand(self.logs.level != crate::observe::logs::Level::Trace, "logs.level", "It must not be `trace` outside development.");
            found.demand(
                self.engine.storm_guard,
                "engine.storm_guard",
                "It must be true outside development: without it a provider's silence is a flood of SMS.",
            );
            found.demand(self.time.hurry == 1, "time.hurry", "It must be 1 outside development: waits are promises.");
        }
        found.demand((1..=1_000).contains(&self.time.hurry), "time.hurry", "It must be between 1 and 1000.");
    }

    /// Every secret can be read by us and by nobody else, and no two are equal: who learns one must not have learnt two.
    fn check_secrets(&self, found: &mut Found<'_>) {
        let mut seen: BTreeMap<Vec<u8>, (String, std::path::PathBuf)> = BTreeMap::new();
        for (key, file) in self.secret_files() {
            let lines = match file.lines() {
                Ok(lines) => lines,
                Err(sentence) => {
                    found.refuse(&key, &sentence);
                    continue;
                }
            };
            let root_key = key == "keys.root_key_file";
            if root_key && !(lines[0].len() == 64 && lines[0].bytes().all(|byte| byte.is_ascii_hexdigit())) {
                found.refuse(&key, "It must hold 64 hex digits: `openssl rand -hex 32` makes them.");
            }
            if key == "schema_registry.credentials_file" && !crate::event::registry::is_pair(&lines[0]) {
                found.refuse(&key, "It must hold one line, `user:password`.");
            }
            for line in &lines {
                let print = digest(&SHA256, line.as_bytes()).as_ref().to_vec();
                match seen.get(&print) {
                    // One file under two keys is one secret (Twilio's token sends and signs).
                    Some((_, path)) if path == file.path() => {}
                    Some((other, _)) => found.refuse(&key, &format!("It holds the same secret as `{other}`: each purpose has one of its own.")),
                    None => {
                        seen.insert(print, (key.clone(), file.path().to_path_buf()));
                    }
                }
            }
        }
    }
}

const NAME: &str = "A name is made of letters, digits, `-` and `_`.";

impl Found<'_> {
    fn span(&mut self, key: &str, span: Duration, least: Duration, most: Duration) {
        if !(least..=most).contains(&span) {
            let text = format!("It must be between {} and {}.", humantime::format_duration(least), humantime::format_duration(most));
            self.refuse(key, &text);
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// `name, 2026-11-30`.
fn is_acceptance(text: &str) -> bool {
    text.rsplit_once(',').is_some_and(|(name, date)| name.trim().len() >= 3 && date.trim().parse::<jiff::civil::Date>().is_ok())
}
