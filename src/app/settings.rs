//! The configuration as each role wants it: a role knows its own settings and nothing of files.

use crate::config::{Config, Kind as ProviderKind, MinTls, Provider};
use crate::delivery::Channel;
use crate::dispatch;
use crate::engine;
use crate::event::registry;
use crate::gateway;
use crate::observe::dispatch as metrics;
use crate::privacy::Secret;
use crate::topics;
use anyhow::Context;
use rdkafka::ClientConfig;
use std::time::Duration;

/// The changelog's `delete.retention.ms` (6 h) less a margin for compaction that is late and clocks that differ.
const STORE_AGE_MAX: Duration = Duration::from_secs(5 * 3600);

/// Between two commits, however little there is to wait for. At 1,000 records a second half of it is in the median from record to call, and 20 ms cost as much CPU
/// (`benches/TRIED.md`, "What brought the latency down"); none at all costs the brokers' retries besides.
const COMMIT_PAUSE: Duration = Duration::from_millis(10);
/// How long the broker waits for 64 KiB to come together. A fetch that comes back at each record costs the broker more than the record: every one of them names
/// all partitions. Measured at 500 notifications a second: the median from record to call falls from 139 ms to 107 ms.
const FETCH_WAIT: Duration = Duration::from_millis(10);
/// These waits are a process's: of several threads each waits so many times as long, but no more than this. Each has a consumer and transactions of its own, and a
/// fetch or a transaction costs what it costs, however little is in it ("What a second thread costs").
const WAITS_MAX: u16 = 4;

/// How long librdkafka waits at most before it tries a broker again, in ms.
const RECONNECT: &str = "reconnect.backoff.max.ms";

pub(super) fn registry_settings(config: &Config) -> registry::Settings {
    let (credentials, ca_file) = (&config.schema_registry.credentials_file, &config.schema_registry.ca_file);
    registry::Settings {
        url: config.schema_registry.url.clone(),
        credentials_file: credentials.is_named().then(|| credentials.path().to_owned()),
        ca_file: (!ca_file.as_os_str().is_empty()).then(|| ca_file.clone()),
        timeout: config.schema_registry.timeout,
    }
}

fn kafka_client(config: &Config) -> anyhow::Result<ClientConfig> {
    let mut client = config.kafka_client().map_err(anyhow::Error::msg).context("Kafka's secrets")?;
    // librdkafka waits up to 10 s before it tries a broker again: after an outage of Kafka that would be ten seconds of ours.
    if client.get(RECONNECT).is_none() {
        client.set(RECONNECT, "1000");
    }
    Ok(client)
}

pub(super) fn engine_settings(config: &Config) -> anyhow::Result<engine::Settings> {
    let shared = u32::from(config.engine.threads.clamp(1, WAITS_MAX));
    Ok(engine::Settings {
        instance: config.instance.clone(),
        threads: usize::from(config.engine.threads),
        state_folder: config.engine.state_folder.clone(),
        kafka: kafka_client(config)?,
        commit_interval: config.engine.commit_interval,
        commit_on_drain: config.engine.commit_on_drain.then(|| COMMIT_PAUSE * shared),
        fetch_wait: FETCH_WAIT * shared,
        batch_records_max: usize::try_from(config.engine.batch_records_max).unwrap_or(usize::MAX),
        batch_bytes_max: config.engine.batch_bytes_max.bytes(),
        transaction_timeout: Duration::from_secs(10),
        session_timeout: Duration::from_secs(10),
        attempts_open_max: usize::try_from(config.engine.attempts_open_max).unwrap_or(usize::MAX),
        hold_max: config.engine.hold_max,
        storm_guard: config.engine.storm_guard,
        disk_free_min: config.engine.disk_free_min.0,
        store_age_max: STORE_AGE_MAX,
        topics: engine::Topics::under(&config.prefix),
    })
}

pub(super) fn gateway_settings(config: &Config) -> anyhow::Result<gateway::Settings> {
    let secrets = |file: &crate::config::SecretFile| file.read().map_err(anyhow::Error::msg);
    let mut meta_apps = Vec::new();
    for (name, app) in &config.gateway.meta {
        meta_apps.push(gateway::MetaApp { name: name.clone(), secrets: secrets(&app.app_secret_file)?, verify_tokens: secrets(&app.verify_token_file)? });
    }
    let mut twilio_accounts = Vec::new();
    for (name, account) in &config.gateway.twilio {
        let tokens = secrets(&account.auth_token_file)?;
        let shared_keys = if account.shared_key_file.is_named() { secrets(&account.shared_key_file)? } else { Vec::new() };
        twilio_accounts.push(gateway::TwilioAccount { name: name.clone(), tokens, shared_keys, voice: voice_of(config, name) });
    }
    let limits = gateway::Limits {
        meta_body_bytes_max: config.gateway.meta_body_max.bytes(),
        body_bytes_max: config.gateway.body_max.bytes(),
        connections_max: usize::try_from(config.gateway.connections_max).unwrap_or(usize::MAX),
        connections_per_address_max: usize::try_from(config.gateway.connections_per_address_max).unwrap_or(usize::MAX),
        ..gateway::Limits::default()
    };
    Ok(gateway::Settings {
        listen: config.gateway.listen,
        public_base_url: config.gateway.public_base_url.clone(),
        instance: config.instance.clone(),
        meta_apps,
        twilio_accounts,
        partitions: None,
        receipts_topic: config.topic("receipts"),
        dead_letters_topic: config.topic("dead-letters"),
        kafka: kafka_client(config)?,
        limits,
    })
}

/// Who says the codes in the calls of this account: who greets in them.
fn voice_of(config: &Config, account_name: &str) -> String {
    let mut voices = config.providers.iter().filter(|provider| provider.channel == Channel::Voice).filter_map(|provider| match &provider.kind {
        ProviderKind::Twilio { account, voice, .. } if account == account_name && !voice.is_empty() => Some(voice.clone()),
        ProviderKind::Twilio { .. } | ProviderKind::Meta { .. } => None,
    });
    voices.next_back().unwrap_or_else(gateway::usual_voice)
}

pub(super) fn dispatch_settings(config: &Config) -> anyhow::Result<dispatch::Settings> {
    let mut settings = dispatch::Settings::new(config.instance.clone(), kafka_client(config)?);
    settings.prefix.clone_from(&config.prefix);
    settings.group = config.topic(topics::names::DISPATCHER_GROUP);
    settings.in_hand_max = usize::try_from(config.dispatcher.in_flight_max).unwrap_or(usize::MAX);
    // Divided like the leases that it must fit into: the routes were compiled with this `call_max`.
    settings.call_timeout = config.dispatcher.call_timeout / config.time.hurry.max(1);
    settings.breaker.window = config.dispatcher.breaker_window;
    settings.breaker.calls_min = config.dispatcher.breaker_calls_min;
    settings.breaker.failed_percent_min = config.dispatcher.breaker_failed_percent_min;
    settings.breaker.pause = config.dispatcher.breaker_pause;
    for provider in &config.providers {
        metrics::tls_1_2(&provider.name, provider.min_tls == MinTls::V1_2);
        settings.providers.insert(provider.channel, dispatch_provider(config, provider).with_context(|| format!("provider {}", provider.name))?);
    }
    Ok(settings)
}

fn dispatch_provider(config: &Config, provider: &Provider) -> anyhow::Result<dispatch::Provider> {
    let newest = |file: &crate::config::SecretFile| -> anyhow::Result<Secret<String>> {
        file.read().map_err(anyhow::Error::msg)?.into_iter().next().context("the secret's file is empty")
    };
    let (auth, sender) = match &provider.kind {
        ProviderKind::Meta { api_version, phone_number_id, access_token, .. } => {
            (dispatch::Auth::Bearer(newest(access_token)?), dispatch::Sender::whatsapp(api_version.clone(), phone_number_id.clone()))
        }
        ProviderKind::Twilio { account_sid, user, secret, from, account, voice } => {
            let (sid, from, base, account) = (account_sid.clone(), from.clone(), config.gateway.public_base_url.clone(), account.clone());
            let sender = if provider.channel == Channel::Voice {
                dispatch::Sender::voice(sid, from, base, account, (!voice.is_empty()).then(|| voice.clone()))
            } else {
                dispatch::Sender::sms(sid, from, base, account)
            };
            (dispatch::Auth::Basic { user: user.clone(), password: newest(secret)? }, sender)
        }
    };
    let min_tls = match provider.min_tls {
        MinTls::V1_3 => dispatch::MinTls::V1_3,
        MinTls::V1_2 => dispatch::MinTls::V1_2,
    };
    Ok(dispatch::Provider {
        name: provider.name.clone(),
        base_url: provider.base_url.clone(),
        min_tls,
        auth,
        calls_per_second: provider.calls_per_second,
        sender,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SecretFile;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn settings_carry_kafkas_passwords_and_do_not_print_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name);
            fs::write(&path, format!("{name}-5f1d77aa")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
            SecretFile::new(path)
        };
        let mut config = Config::default();
        config.kafka.bootstrap = "kafka-0.example:9093".into();
        config.kafka.security.sasl_password_file = file("sasl");
        config.kafka.security.ssl_key_password_file = file("tls");
        let engine = engine_settings(&config).unwrap();
        let dispatch = dispatch_settings(&config).unwrap();
        let gateway = gateway_settings(&config).unwrap();
        for kafka in [&engine.kafka, &dispatch.kafka, &gateway.kafka] {
            assert_eq!((kafka.get("sasl.password"), kafka.get("ssl.key.password")), (Some("sasl-5f1d77aa"), Some("tls-5f1d77aa")));
        }
        for printed in [format!("{engine:?}"), format!("{dispatch:?}"), format!("{:?}", gateway.kafka), format!("{config:?}")] {
            assert!(printed.contains("kafka-0.example:9093"), "{printed}");
            assert!(!printed.contains("5f1d77aa"), "{printed}");
        }
    }

    #[test]
    fn what_the_configuration_says_of_commits_reaches_the_engine() {
        let mut config = Config::default();
        let settings = engine_settings(&config).unwrap();
        assert_eq!((settings.commit_interval, settings.commit_on_drain), (Duration::from_millis(100), Some(Duration::from_millis(10))));
        for (threads, times) in [(1, 1), (2, 2), (4, 4), (16, 4)] {
            config.engine.threads = threads;
            let settings = engine_settings(&config).unwrap();
            let waits = [settings.commit_on_drain.unwrap(), settings.fetch_wait];
            assert_eq!(waits, [10, 10].map(|millis| Duration::from_millis(millis * times)), "{threads} threads");
        }
        config.engine.commit_interval = Duration::from_secs(5);
        config.engine.commit_on_drain = false;
        let settings = engine_settings(&config).unwrap();
        assert_eq!((settings.commit_interval, settings.commit_on_drain), (Duration::from_secs(5), None));
    }

    #[test]
    fn what_the_configuration_says_of_the_dispatcher_reaches_it() {
        let mut config = Config::default();
        config.dispatcher.in_flight_max = 7;
        config.dispatcher.breaker_window = Duration::from_secs(60);
        config.dispatcher.breaker_calls_min = 5;
        config.dispatcher.breaker_failed_percent_min = 80;
        config.dispatcher.breaker_pause = Duration::from_secs(30);
        config.dispatcher.call_timeout = Duration::from_secs(6);
        config.time.hurry = 2;
        let settings = dispatch_settings(&config).unwrap();
        let breaker = settings.breaker;
        assert_eq!((settings.in_hand_max, settings.call_timeout), (7, Duration::from_secs(3)));
        assert_eq!((breaker.window, breaker.pause), (Duration::from_secs(60), Duration::from_secs(30)));
        assert_eq!((breaker.calls_min, breaker.failed_percent_min), (5, 80));
        let defaults = dispatch_settings(&Config::default()).unwrap();
        let limits = dispatch::Settings::new("", rdkafka::ClientConfig::new());
        assert_eq!((defaults.breaker, defaults.in_hand_max, defaults.call_timeout), (limits.breaker, limits.in_hand_max, limits.call_timeout));
    }

    #[test]
    fn the_gateway_has_each_accounts_shared_keys_and_the_voice_of_its_calls() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "5f1d77aa").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        let token = SecretFile::new(path);
        let mut config = Config::default();
        for account in ["bank", "other"] {
            config.gateway.twilio.insert(account.into(), crate::config::TwilioAccount { auth_token_file: token.clone(), ..Default::default() });
        }
        config.gateway.twilio.get_mut("other").unwrap().shared_key_file = token.clone();
        let provider = |name: &str, channel, voice: &str| Provider {
            name: name.into(),
            channel,
            base_url: "https://twilio.example".into(),
            min_tls: MinTls::V1_2,
            calls_per_second: 0,
            kind: ProviderKind::Twilio {
                account_sid: "AC1".into(),
                user: "AC1".into(),
                secret: token.clone(),
                from: "+551130000000".into(),
                account: "bank".into(),
                voice: voice.into(),
            },
        };
        config.providers = vec![provider("texts", Channel::Sms, ""), provider("calls", Channel::Voice, "Polly.Vitoria-Neural")];
        let accounts: Vec<_> =
            gateway_settings(&config).unwrap().twilio_accounts.into_iter().map(|account| (account.voice, account.shared_keys.len())).collect();
        assert_eq!(accounts, [("Polly.Vitoria-Neural".to_owned(), 0), (gateway::usual_voice(), 1)]);
    }

    #[test]
    fn a_provider_that_may_speak_tls_1_2_shows_in_a_metric() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "5f1d77aa").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        let provider = |name: &str, channel, min_tls| Provider {
            name: name.into(),
            channel,
            base_url: "https://twilio.example".into(),
            min_tls,
            calls_per_second: 0,
            kind: ProviderKind::Twilio {
                account_sid: "AC1".into(),
                user: "AC1".into(),
                secret: SecretFile::new(path.clone()),
                from: "29001".into(),
                account: "bank".into(),
                voice: String::new(),
            },
        };
        let mut config = Config::default();
        config.providers.extend([provider("tls-old", Channel::Sms, MinTls::V1_2), provider("tls-new", Channel::Voice, MinTls::V1_3)]);
        dispatch_settings(&config).unwrap();
        let families = crate::observe::registry().gather();
        let family = families.iter().find(|family| family.name() == "recado_provider_tls_1_2_allowed").unwrap();
        let of = |name: &str| {
            let metric = family.get_metric().iter().find(|metric| metric.get_label()[0].value() == name).unwrap();
            metric.get_gauge().get_value() > 0.0
        };
        assert_eq!((of("tls-old"), of("tls-new")), (true, false));
    }

    #[test]
    fn what_the_configuration_says_of_the_registry_reaches_its_client() {
        let mut config = Config::default();
        assert_eq!(registry_settings(&config).ca_file, None, "the system's authorities");
        config.schema_registry.ca_file = "/etc/recado/ca.pem".into();
        config.schema_registry.timeout = Duration::from_secs(2);
        let settings = registry_settings(&config);
        assert_eq!((settings.ca_file, settings.timeout), (Some("/etc/recado/ca.pem".into()), Duration::from_secs(2)));
    }
}
