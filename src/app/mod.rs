//! Puts the roles together. Enters: the configuration and the roles; it ends when the process is told to.

mod dry_run;
mod settings;
mod status_schema;

use crate::config::{Config, Messages, Severity};
use crate::dispatch;
use crate::engine::store::{self, Store, StoreError};
use crate::engine::{self, Engine};
use crate::event::input::{NoRegistry, Schemas};
use crate::event::records::Framing;
use crate::event::registry;
use crate::gateway;
use crate::observe::health::{Asker, Cause};
use crate::observe::{self, Health};
use crate::privacy::{FileKeys, KeyService, RootKey, Sealer};
use crate::topics;
use anyhow::Context;
use settings::{dispatch_settings, engine_settings, gateway_settings, registry_settings};
use status_schema::StatusSchema;
use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Between two questions to a Kafka or a registry that is away at the start.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// How long an ended process waits for what still holds a thread.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What an instance does. One process may have all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Decides: inputs and receipts in, dispatches and statuses out.
    Engine,
    /// Calls providers.
    Dispatcher,
    /// Takes what providers report.
    Gateway,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Engine, Self::Dispatcher, Self::Gateway];

    /// The word on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Dispatcher => "dispatcher",
            Self::Gateway => "gateway",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|role| role.word() == word).ok_or_else(|| "a role is one of: engine, dispatcher, gateway".into())
    }
}

/// Runs the roles until SIGTERM or SIGINT. `dry_run`: decides and renders on live input, calls no provider and publishes nothing but metrics.
///
/// Errors: whatever keeps a role from starting, or ended it. The other roles are then stopped in order.
pub fn run(config: Config, messages: Messages, roles: &BTreeSet<Role>, dry_run: bool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("a runtime could not be made")?;
    let ended = runtime.block_on(async {
        // Heard from the beginning: a start may wait for Kafka for hours.
        let mut told = tokio::spawn(stopped());
        let start = async { if dry_run { App::dry_run(config, messages).await } else { App::start(config, messages, roles).await } };
        let app = tokio::select! {
            app = start => app?,
            _ = &mut told => return Ok(()),
        };
        let shutdown = app.shutdown.clone();
        tokio::spawn(async move {
            if told.await.is_ok() {
                tracing::info!("Told to stop; what is under way is finished first.");
                shutdown.cancel();
            }
        });
        app.ended().await
    });
    // A question to a Kafka that does not answer holds its thread for longer than anybody wants to wait.
    runtime.shutdown_timeout(LAST_WORDS);
    ended
}

/// SIGTERM or SIGINT came.
async fn stopped() {
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => {
            tracing::error!(%error, "SIGTERM cannot be heard; only SIGINT ends this process in order.");
            let _ = tokio::signal::ctrl_c().await;
            return;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// The roles of one process, running.
pub struct App {
    /// Cancelled, everything stops in order.
    pub shutdown: CancellationToken,
    /// How it is.
    pub health: Health,
    /// Where webhooks arrive; `None` without the role.
    pub gateway: Option<SocketAddr>,
    parts: JoinSet<anyhow::Result<()>>,
}

impl App {
    /// Starts the roles; whether they are ready, `health` tells. The engine may still wait for the schema registry when this returns, the others need none.
    pub async fn start(config: Config, messages: Messages, roles: &BTreeSet<Role>) -> anyhow::Result<Self> {
        let shutdown = CancellationToken::new();
        let health = Health::new();
        let mut parts = JoinSet::new();
        let words: Vec<_> = roles.iter().map(|role| role.word()).collect();
        say_start(&config, &words.join(","));
        management(&config, &health, &shutdown, &mut parts).await?;
        verify_topics(&config, &messages, roles, &health).await?;
        let sealer = Sealer::new(keys(&config, false)?);
        if roles.contains(&Role::Engine) {
            engine(&config, &messages, &sealer, &health, &shutdown, &mut parts).await?;
        }
        let mut gateway = None;
        if roles.contains(&Role::Gateway) {
            let bound = gateway::Gateway::bind(gateway_settings(&config)?, sealer.clone(), health.clone()).await?;
            gateway = Some(bound.address()?);
            let shutdown = shutdown.clone();
            parts.spawn(named("gateway", bound.run(shutdown)));
        }
        if roles.contains(&Role::Dispatcher) {
            // Before it can say so itself, as with the engine.
            health.set(Cause::Replaying, Some("The dispatcher is not a member of its group.".into()));
            let (settings, catalogue, shutdown) = (dispatch_settings(&config)?, messages.catalogue.clone(), shutdown.clone());
            parts.spawn(named("dispatcher", dispatch::run(settings, sealer, catalogue, health.clone(), shutdown)));
        }
        health.set(Cause::Starting, None);
        Ok(Self { shutdown, health, gateway, parts })
    }

    /// Decides and renders what comes in from now on, and publishes nothing but metrics.
    async fn dry_run(config: Config, messages: Messages) -> anyhow::Result<Self> {
        let shutdown = CancellationToken::new();
        let health = Health::new();
        let mut parts = JoinSet::new();
        say_start(&config, "none: a dry run");
        management(&config, &health, &shutdown, &mut parts).await?;
        let (cache, client) = schemas(&config).await?;
        if let Some(client) = client {
            let shutdown = shutdown.clone();
            parts.spawn(async move {
                client.run(shutdown).await;
                Ok(())
            });
        }
        let kafka = config.kafka_client().map_err(anyhow::Error::msg).context("Kafka's secrets")?;
        let (told, stop) = (health.clone(), shutdown.clone());
        parts.spawn(async move {
            let reading = tokio::task::spawn_blocking(move || dry_run::run(&kafka, &messages, &cache, &told, &stop));
            reading.await.context("the dry run was stopped by a bug")?
        });
        Ok(Self { shutdown, health, gateway: None, parts })
    }

    /// Waits until every part has ended; the first that fails takes the others with it.
    pub async fn ended(self) -> anyhow::Result<()> {
        together(self.parts, &self.health, &self.shutdown).await
    }
}

/// One line that says what began, and where to find it.
fn say_start(config: &Config, roles: &str) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        instance = config.instance,
        roles,
        kafka = config.kafka.bootstrap,
        gateway = %config.gateway.listen,
        management = %config.management.listen,
        "Recado starts."
    );
}

async fn together(mut parts: JoinSet<anyhow::Result<()>>, health: &Health, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let mut first = Ok(());
    while let Some(part) = parts.join_next().await {
        // What a panic says may quote what it stumbled over; the hook has logged where it was.
        let ended = part.unwrap_or_else(|_| Err(anyhow::anyhow!("a part of the process was stopped by a bug")));
        if let Err(error) = &ended {
            tracing::error!(error = format!("{error:#}"), "A role ended; the process stops in order.");
        }
        if first.is_ok() {
            first = ended;
        }
        health.set(Cause::Draining, Some("The process is stopping.".into()));
        shutdown.cancel();
    }
    first
}

async fn named<E: Into<anyhow::Error>>(name: &'static str, part: impl Future<Output = Result<(), E>>) -> anyhow::Result<()> {
    part.await.map_err(Into::into).context(name)
}

/// Refuses to run on weak or missing topics of its roles; a Kafka that is away is waited for.
async fn verify_topics(config: &Config, messages: &Messages, roles: &BTreeSet<Role>, health: &Health) -> anyhow::Result<()> {
    loop {
        match topics::verify(config, &messages.topics(), &messages.cancels(), roles).await {
            Ok((_, faults)) => {
                let refused: Vec<String> = faults.iter().filter(|fault| fault.severity == Severity::Refuse).map(ToString::to_string).collect();
                anyhow::ensure!(refused.is_empty(), "the topics are not as they must be (recado topics --create makes missing ones): {}", refused.join("; "));
                health.set(Cause::KafkaAway(Asker::Start), None);
                return Ok(());
            }
            Err(error) => {
                kafka_is_away(health, &error);
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
    }
}

fn kafka_is_away(health: &Health, error: &anyhow::Error) {
    health.set(Cause::KafkaAway(Asker::Start), Some(format!("Kafka cannot be asked for its topics: {error:#}.")));
    tracing::warn!(error = format!("{error:#}"), "Kafka cannot be asked for its topics; asking again.");
}

fn keys(config: &Config, make: bool) -> anyhow::Result<Arc<dyn KeyService>> {
    let lines = config.keys.root_key_file.read().map_err(anyhow::Error::msg).context("the root key")?;
    let text = lines.first().context("the file of the root key is empty")?;
    let root = RootKey::from_secret(text).context("the root key is neither 64 hex digits nor 44 characters of base64")?;
    // Outside development a folder that is not there is one that was not mounted: `recado keys --create` alone makes one.
    let open = if make || config.development() { FileKeys::open } else { FileKeys::open_existing };
    let keys = open(&config.keys.folder, root, config.keys.cache_ttl).context("the folder of keys cannot be used")?;
    Ok(Arc::new(keys))
}

/// Opens the folder of keys with the root key, and makes it first where that is wanted and there is none.
pub fn open_keys(config: &Config, make: bool) -> anyhow::Result<()> {
    keys(config, make).map(|_| ())
}

async fn management(config: &Config, health: &Health, shutdown: &CancellationToken, parts: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    let listen = config.management.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("the management port {listen} cannot be opened"))?;
    parts.spawn(named("management", observe::serve(listener, health.clone(), shutdown.clone().cancelled_owned())));
    Ok(())
}

async fn engine(
    config: &Config,
    messages: &Messages,
    sealer: &Sealer,
    health: &Health,
    shutdown: &CancellationToken,
    parts: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let settings = engine_settings(config)?;
    std::fs::create_dir_all(&settings.state_folder).with_context(|| format!("the state folder {} cannot be made", settings.state_folder.display()))?;
    let store = open_store(config, &settings)?;
    let threads = config.engine.threads;
    for number in 0..threads {
        // From here on, so that this instance is not ready before the thread has opened its clients.
        health.set(Cause::NotJoined(number), Some("The thread is starting.".into()));
    }
    let (schemas, client) = schemas(config).await?;
    let subject = format!("{}-value", settings.topics.status);
    let status_schema = StatusSchema::new(&config.schema_registry.url, subject, &settings.state_folder);
    let (inputs, sealer, health, shutdown) = (messages.inputs.clone(), sealer.clone(), health.clone(), shutdown.clone());
    parts.spawn(async move {
        let number = match &client {
            None => None,
            Some(client) => match status_schema.number(client, &health, &shutdown).await? {
                None => return Ok(()),
                number => number,
            },
        };
        let pepper = sealer.keys().pepper();
        let status_framing = number.map_or(Framing::SingleObject, Framing::Confluent);
        let shared = Arc::new(engine::Shared { inputs, sealer, pepper, schemas, store, status_framing, health, settings });
        let mut running = engine_threads(&shared, threads, &shutdown)?;
        if let (Some(client), Some(number)) = (client, number) {
            let shutdown = shutdown.clone();
            running.spawn(async move {
                status_schema.confirm(number, &client, &shutdown).await?;
                client.run(shutdown).await;
                Ok(())
            });
        }
        together(running, &shared.health, &shutdown).await
    });
    Ok(())
}

fn engine_threads(shared: &Arc<engine::Shared>, threads: u16, shutdown: &CancellationToken) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let mut parts = JoinSet::new();
    for number in 0..threads {
        let (shared, stop) = (shared.clone(), Arc::new(AtomicBool::new(false)));
        let watched = (shutdown.clone(), stop.clone());
        tokio::spawn(async move {
            watched.0.cancelled().await;
            watched.1.store(true, Ordering::Relaxed);
        });
        let (done, ended) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name(format!("engine-{number}"))
            .spawn(move || {
                let result = Engine::open(shared, number).and_then(|engine| engine.run(&stop));
                // Nobody listens any more only when the runtime itself has gone.
                let _ = done.send(result);
            })
            .context("an engine thread cannot be made")?;
        parts.spawn(async move { ended.await.context("an engine thread was stopped by a bug")?.with_context(|| format!("engine thread {number}")) });
    }
    Ok(parts)
}

/// The store; one that cannot be opened at all (a broken MANIFEST) is made anew and filled from the changelog.
fn open_store(config: &Config, settings: &engine::Settings) -> anyhow::Result<Store> {
    let options = store::Options {
        cache_bytes: config.engine.cache.bytes(),
        memtables_bytes: config.engine.write_buffer.bytes(),
        compression: config.engine.compression,
        ..store::Options::default()
    };
    let folder = settings.state_folder.join("db");
    match Store::open(&folder, &settings.instance, &options) {
        Err(StoreError::CannotOpen(why)) => {
            tracing::warn!(why, "The state store cannot be opened; it is rebuilt from the changelog.");
            Store::rebuild(&folder, &settings.instance, &options).context("the state store cannot be rebuilt")
        }
        other => other.context("the state store cannot be opened"),
    }
}

/// Where writers' schemas come from; with a registry also the client that asks it.
async fn schemas(config: &Config) -> anyhow::Result<(Arc<dyn Schemas + Send + Sync>, Option<registry::Client>)> {
    if config.schema_registry.url.is_empty() {
        return Ok((Arc::new(NoRegistry), None));
    }
    let (cache, client) = registry::open(registry_settings(config)).await?;
    Ok((Arc::new(cache), Some(client)))
}
