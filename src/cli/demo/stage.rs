//! What the demo plays on: Kafka (a stand-in in this process, or a real one), the providers' doubles, and Recado with all its roles.
//!
//! What is easily got wrong is the order: the doubles must know where the gateway will listen, Recado where the doubles do; and nothing may be written to an
//! input before the engine has joined, since a first start begins at an input's end.

use super::folder::{Folder, Place, random};
use super::stand_in;
use crate::app::{App, Role};
use crate::config::{Config, Messages};
use crate::observe::Health;
use crate::simulator::demo::{Kafka, Plan, Topics};
use crate::simulator::{self, Category, Providers, Template};
use crate::template;
use crate::topics::{self, names};
use anyhow::{Context, bail};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Where the gateway listens. Not 127.0.0.1: between choosing a port and opening it, one of this process's own connections could take it there.
const GATEWAY_HOST: &str = "127.0.0.2";
/// How long all roles may take until they are ready.
const READY_MAX: Duration = Duration::from_secs(30);
/// How often they are asked.
const READY_PACE: Duration = Duration::from_millis(50);
/// How long they may take to stop: the dispatcher waits for calls in flight.
const LEAVE_MAX: Duration = Duration::from_secs(15);
/// Calls (voice) that may begin in a second, on both sides.
const CALLS_PER_SECOND: u32 = 10;

/// Everything that runs.
pub(super) struct Stage {
    /// How the bank reaches Kafka.
    pub(super) kafka: Kafka,
    /// The topics between the bank and Recado.
    pub(super) topics: Topics,
    config: Config,
    /// Topics that this demo has made, on a real broker.
    made: Vec<String>,
    providers: Providers,
    shutdown: CancellationToken,
    health: Health,
    roles: JoinHandle<anyhow::Result<()>>,
}

impl Stage {
    /// Starts everything; see [`Stage::ready`].
    pub(super) async fn set(folder: &Folder, plan: &Plan, bootstrap: Option<&str>, hurry: u32) -> anyhow::Result<Self> {
        let kafka = match bootstrap {
            Some(bootstrap) => bootstrap.to_owned(),
            None => stand_in::start()?.to_string(),
        };
        let (prefix, inputs_prefix) = match bootstrap {
            Some(_) => random(4).map(|word| (format!("recado-demo-{word}."), format!("recado-demo-{word}.bank.")))?,
            None => ("recado.".to_owned(), String::new()),
        };
        let gateway = free_port()?;
        let mut doubles = doubles(folder, plan, &gateway, hurry)?;
        let place = |doubles: &simulator::Settings, providers: &str| {
            folder.configure(&Place { bootstrap: &kafka, prefix: &prefix, inputs_prefix: &inputs_prefix, gateway: &gateway, providers, hurry, doubles })
        };
        // Read once for the templates that must stand at Meta, and again with the address of the doubles.
        doubles.meta.templates = templates(&place(&doubles, "http://127.0.0.1:1")?.1);
        let providers = Providers::start(doubles.clone()).await.context("the doubles of the providers cannot start")?;
        let (config, messages) = place(&doubles, &providers.base_url())?;
        let made = topics::create(&config, &messages.topics()).await?;
        let made = if bootstrap.is_some() { made } else { Vec::new() };
        let app = match App::start(config.clone(), messages, &Role::ALL.into()).await {
            Ok(app) => app,
            Err(error) => {
                clear(&config, &made).await?;
                return Err(error);
            }
        };
        Ok(Self {
            kafka: Kafka { bootstrap: kafka, properties: BTreeMap::new() },
            topics: bank_topics(&config, &inputs_prefix),
            config,
            made,
            providers,
            shutdown: app.shutdown.clone(),
            health: app.health.clone(),
            roles: tokio::spawn(app.ended()),
        })
    }

    /// Waits until `/readyz` would be green. Errors: a role ended, or it takes too long; the causes are in the error.
    pub(super) async fn ready(&mut self) -> anyhow::Result<()> {
        let deadline = crate::clock::monotonic() + READY_MAX;
        loop {
            let report = self.health.ready();
            if report.well {
                return Ok(());
            }
            if crate::clock::monotonic() > deadline {
                let causes: Vec<_> = report.causes.iter().map(|told| format!("{}: {}", told.cause, told.detail)).collect();
                bail!("Recado is not ready after {} s: {}", READY_MAX.as_secs(), causes.join("; "));
            }
            tokio::select! {
                why = self.ended() => return Err(why),
                () = tokio::time::sleep(READY_PACE) => {}
            }
        }
    }

    /// Waits for what should not happen: that the roles end by themselves. Returns why.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        match (&mut self.roles).await {
            Ok(Ok(())) => anyhow::anyhow!("Recado stopped by itself"),
            Ok(Err(error)) => error.context("Recado stopped"),
            Err(panic) => anyhow::anyhow!("Recado was stopped by a bug: {panic}"),
        }
    }

    /// Stops everything in order, and deletes the topics and groups that this demo made on a real broker.
    pub(super) async fn leave(mut self, keep: bool) -> anyhow::Result<()> {
        let mut left = Ok(());
        if !self.roles.is_finished() {
            self.shutdown.cancel();
            left = match tokio::time::timeout(LEAVE_MAX, &mut self.roles).await {
                Ok(ended) => ended.context("Recado was stopped by a bug")?,
                Err(_) => Err(anyhow::anyhow!("Recado did not stop within {} s", LEAVE_MAX.as_secs())),
            };
        }
        self.providers.stop().await;
        if !keep {
            clear(&self.config, &self.made).await?;
        }
        left
    }
}

/// `host:port` of a port that nobody listens on.
fn free_port() -> anyhow::Result<String> {
    let listener = TcpListener::bind((GATEWAY_HOST, 0)).context("there is no free port for the gateway")?;
    Ok(listener.local_addr()?.to_string())
}

/// The providers' doubles: their phones play the plan, and they have the secrets that Recado has in files.
fn doubles(folder: &Folder, plan: &Plan, gateway: &str, hurry: u32) -> anyhow::Result<simulator::Settings> {
    folder.secret("root-key")?;
    folder.secret("meta-verify")?;
    let mut settings = simulator::Settings { script: plan.script(), time_factor: 1.0 / f64::from(hurry), ..simulator::Settings::default() };
    settings.log = Some(folder.send_log());
    settings.meta.access_token = folder.secret("meta-access")?;
    settings.meta.app_secret = folder.secret("meta-app")?;
    settings.meta.webhook = format!("http://{gateway}/webhooks/meta/bank");
    // One secret opens Twilio's account and signs its webhooks, as where no API key was made.
    settings.twilio.auth_token = folder.secret("twilio")?;
    settings.twilio.api_secret.clone_from(&settings.twilio.auth_token);
    settings.twilio.api_key.clone_from(&settings.twilio.account_sid);
    settings.twilio.calls_per_second = CALLS_PER_SECOND;
    Ok(settings)
}

/// What Meta must have approved. Its own default is 30 days where a template names no TTL, 10 minutes for authentication.
fn templates(messages: &Messages) -> BTreeMap<String, Template> {
    let days = |days: u64| Duration::from_secs(days * 24 * 3600);
    let template = |it: template::ProviderTemplate<'_>| {
        let (category, usual) = match it.category {
            template::Category::Utility => (Category::Utility, days(30)),
            template::Category::Authentication => (Category::Authentication, Duration::from_secs(600)),
        };
        (it.name.to_owned(), Template { language: it.language.to_owned(), category, body_parameters: it.parameters, ttl: it.ttl.unwrap_or(usual) })
    };
    messages.catalogue.provider_templates().map(template).collect()
}

fn bank_topics(config: &Config, inputs_prefix: &str) -> Topics {
    let plain = Topics::default();
    let input = |name: String| format!("{inputs_prefix}{name}");
    Topics {
        pix: input(plain.pix),
        codes: input(plain.codes),
        codes_used: input(plain.codes_used),
        bills: input(plain.bills),
        status: config.topic(names::STATUS),
    }
}

/// Deletes what the demo made, each by its whole name.
async fn clear(config: &Config, topics: &[String]) -> anyhow::Result<()> {
    if topics.is_empty() {
        return Ok(());
    }
    let admin: AdminClient<DefaultClientContext> =
        config.kafka_client().map_err(anyhow::Error::msg)?.create().context("the Kafka client refuses its settings")?;
    let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(15)));
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    for deleted in admin.delete_topics(&names, &options).await.context("the demo's topics could not be deleted")? {
        deleted.map_err(|(name, code)| anyhow::anyhow!("the demo's topic {name} could not be deleted: {code}"))?;
    }
    let groups = [names::ENGINE_GROUP, names::DISPATCHER_GROUP].map(|name| config.topic(name));
    let groups = groups.each_ref().map(String::as_str);
    for deleted in admin.delete_groups(&groups, &options).await.context("the demo's groups could not be deleted")? {
        // Static members stay in their group for the session's length: Kafka forgets an empty group by itself.
        if let Err((name, code)) = deleted {
            tracing::info!(name, %code, "A group of the demo is left to Kafka.");
        }
    }
    Ok(())
}
