//! Providers to play with: an HTTP server on loopback that answers as Meta's Cloud API and as Twilio do, and posts their webhooks to the gateway.
//!
//! What is easily got wrong: it is written from the providers' documents, never from our codecs (`delivery/` and `channel/` are out of bounds here), or
//! it would share our mistakes. It is a test tool: its send log holds full phone numbers, and it must never be pointed at real customers.

pub mod demo;
pub mod log;
pub mod script;
pub mod named;
mod meta;
mod meta_checks;
mod server;
mod settings;
mod twilio;
mod twilio_checks;
mod twiml;
mod voice;
mod webhooks;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_refusals;

pub use log::{CallLine, Channel, Line, SendLog};
pub use script::{Answer, Behaviour, Call, Garbage, Outage, Phone, PickUp, Provider, Report, Script, Weighted, Word};
pub use settings::{Category, Meta, Settings, SignedUrl, Template, Twilio};

use anyhow::Context as _;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The running providers.
pub struct Providers {
    world: Arc<World>,
    address: SocketAddr,
}

impl Providers {
    /// Opens the send log and the listening socket; when this returns, calls are taken.
    ///
    /// Errors: an address that is not loopback, one that is in use, a script that names an unknown behaviour, a log that cannot be opened.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        anyhow::ensure!(settings.listen.ip().is_loopback(), "the simulator listens on loopback only, not on {}", settings.listen);
        anyhow::ensure!(settings.time_factor > 0.0 && settings.time_factor.is_finite(), "time_factor must be above 0");
        let turns = settings.webhooks_under_way_max;
        anyhow::ensure!((1..=Semaphore::MAX_PERMITS).contains(&turns), "webhooks_under_way_max must be at least 1");
        let log = log::Writer::open(settings.log.as_deref(), settings.keep_texts).context("opening the send log")?;
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().context("making the webhook client")?;
        let listener = tokio::net::TcpListener::bind(settings.listen).await.with_context(|| format!("listening on {}", settings.listen))?;
        let address = listener.local_addr()?;
        let (mail, inbox) = tokio::sync::mpsc::channel(webhooks::MAIL_MAX);
        let world = Arc::new(World {
            settings,
            log,
            client,
            turns: Semaphore::new(turns),
            mail,
            started: crate::clock::monotonic(),
            calls: Mutex::default(),
            next_ring: Mutex::new(Duration::ZERO),
            rates: Mutex::default(),
            ids: AtomicU64::new(1),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        });
        world.tasks.spawn(webhooks::mailer(world.clone(), inbox));
        world.tasks.spawn(server::serve(world.clone(), listener));
        Ok(Self { world, address })
    }

    /// Where both providers listen: Meta under `/{version}/…`, Twilio under `/2010-04-01/…`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL to configure for either provider.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The subscription handshake, as Meta does it when a webhook URL is entered: GET with `hub.mode`, `hub.verify_token` and `hub.challenge`.
    /// An error says what the gateway answered instead of echoing the challenge.
    pub async fn subscribe(&self, verify_token: &str) -> anyhow::Result<()> {
        webhooks::handshake(&self.world, verify_token).await
    }

    /// Stops answering, drops receipts that are still to come, and closes the log.
    pub async fn stop(self) {
        self.world.shutdown.cancel();
        self.world.tasks.close();
        self.world.tasks.wait().await;
    }
}

/// Plays the providers until `shutdown`, or until the send log cannot be written any more: without it nobody would know what was sent.
pub async fn run(settings: Settings, shutdown: CancellationToken) -> anyhow::Result<()> {
    let providers = Providers::start(settings).await?;
    tracing::info!(address = %providers.address(), "The simulator answers.");
    let world = providers.world.clone();
    let failed = tokio::select! { () = shutdown.cancelled() => false, () = world.shutdown.cancelled() => true };
    providers.stop().await;
    anyhow::ensure!(!failed, "the send log could not be written");
    Ok(())
}

/// What the two providers share.
struct World {
    settings: Settings,
    log: log::Writer,
    client: reqwest::Client,
    /// Of webhooks under way.
    turns: Semaphore,
    mail: tokio::sync::mpsc::Sender<webhooks::Mail>,
    started: Duration,
    calls: Mutex<BTreeMap<(Channel, String), u32>>,
    next_ring: Mutex<Duration>,
    rates: Mutex<BTreeMap<Provider, (u64, u32)>>,
    ids: AtomicU64,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// One call of Recado's, after its checks.
struct Placed {
    channel: Channel,
    /// Digits of E.164.
    to: String,
    /// The correlation data that came with it.
    attempt_id: Option<String>,
    template: Option<String>,
    /// What the customer reads or hears; the send log keeps its hash.
    text: String,
}

/// What becomes of a call.
struct Taken {
    answer: Answer,
    behaviour: Behaviour,
    accepted: Duration,
}

impl World {
    fn elapsed(&self) -> Duration {
        crate::clock::monotonic().saturating_sub(self.started)
    }

    /// A span of the provider's world in real time.
    fn scaled(&self, span: Duration) -> Duration {
        span.mul_f64(self.settings.time_factor)
    }

    async fn pause(&self, span: Duration) -> bool {
        tokio::select! { biased; () = self.shutdown.cancelled() => false, () = tokio::time::sleep(span) => true }
    }

    /// A webhook's turn to be under way; `None` when everything ends.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        tokio::select! { biased; () = self.shutdown.cancelled() => None, turn = self.turns.acquire() => turn.ok() }
    }

    /// 32 hex digits that no other message of this process has.
    fn id(&self, about: &str) -> String {
        let count = self.ids.fetch_add(1, Ordering::Relaxed);
        let digest = script::digest(&[&count.to_be_bytes(), &crate::clock::wall().millis().to_be_bytes(), about.as_bytes()]);
        hex::encode(&digest[..16])
    }

    /// Chooses the answer and writes the send log; when this returns, the line is on the disk. `None`: the log failed, so nothing may be answered.
    async fn take(&self, placed: &Placed) -> Option<Taken> {
        let behaviour = self.settings.script.phone(&placed.to).on(placed.channel).clone();
        let answer = self.disturbed(placed.channel).unwrap_or_else(|| {
            let mut calls = self.calls.lock().expect("no panic while counting");
            let count = calls.entry((placed.channel, placed.to.clone())).or_default();
            *count += 1;
            if behaviour.only_first.is_some_and(|first| *count > first) { Answer::Accept } else { behaviour.answer.clone() }
        });
        let time_ms = crate::clock::wall().millis();
        let after_ms = i64::try_from(self.scaled(behaviour.answer_after).as_millis()).unwrap_or(i64::MAX);
        let line = CallLine {
            time_ms,
            answer_ms: time_ms.saturating_add(after_ms),
            channel: placed.channel,
            attempt_id: placed.attempt_id.clone(),
            to: placed.to.clone(),
            template: placed.template.clone(),
            text_sha256: hex::encode(script::digest_whole(placed.text.as_bytes())),
            answer: answer.word().to_owned(),
            status: answer.status(placed.channel),
            code: answer.code(),
            counts: answer.accepts(),
            text: None,
        };
        self.append(Line::Call(line), Some(&placed.text)).await.then(|| Taken { answer, behaviour, accepted: self.elapsed() })
    }

    /// What an outage or a rate limit makes of a call, whoever it is for.
    fn disturbed(&self, channel: Channel) -> Option<Answer> {
        let provider = channel.provider();
        let now = self.elapsed();
        let outages = &self.settings.script.outages;
        if let Some(outage) = outages.iter().find(|it| it.provider == provider && (self.scaled(it.from)..self.scaled(it.until)).contains(&now)) {
            return Some(outage.answer.clone());
        }
        let (allowed, code) = match provider {
            Provider::Meta => (self.settings.meta.messages_per_second?, 130_429),
            Provider::Twilio => (self.settings.twilio.requests_per_second?, 20_429),
        };
        let mut rates = self.rates.lock().expect("no panic while counting");
        let (second, count) = rates.entry(provider).or_default();
        if *second != now.as_secs() {
            (*second, *count) = (now.as_secs(), 0);
        }
        *count += 1;
        (*count > allowed).then_some(Answer::Error { code, status: Some(429), retry_after_secs: Some(1) })
    }

    /// Writes one line and waits until it is on the disk; false when it is not.
    async fn append(&self, line: Line, text: Option<&str>) -> bool {
        let written = self.log.append(line, text).await;
        if !written {
            tracing::error!("The send log could not be written; the simulator stops.");
            self.shutdown.cancel();
        }
        written
    }
}
