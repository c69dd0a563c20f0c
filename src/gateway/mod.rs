//! What providers tell us: a webhook enters, its receipts leave to `recado.receipts`, each in the home partition that its attempt id names.
//!
//! What is easily got wrong is the order: method and path → size → read with a deadline → signature over the raw bytes → parse → write with acks=all →
//! 200. Never 200 before the write is acknowledged; while Kafka is away the answer is 503, and the provider keeps what it has to say.

mod body;
mod listen;
mod meta;
mod returns;
mod strangers;
mod twilio;
mod verdict;

use crate::channel::signature;
use crate::lifeline::Lifeline;
use crate::observe::Health;
use crate::privacy::{Sealer, Secret};
use anyhow::Context as _;
use axum::Router;
use rdkafka::ClientConfig;
use returns::Returns;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use strangers::Strangers;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// All that the gateway is told.
pub struct Settings {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The gateway as providers see it: `https://host[:port][/prefix]`, no slash at the end. Twilio signs it; `Host` is never believed.
    pub public_base_url: String,
    /// This instance's name, for its heartbeats.
    pub instance: String,
    /// The apps at Meta whose webhooks come here.
    pub meta_apps: Vec<MetaApp>,
    /// The accounts at Twilio whose webhooks come here.
    pub twilio_accounts: Vec<TwilioAccount>,
    /// How many partitions the internal topics have; `None` asks Kafka, and asks again every minute.
    pub partitions: Option<u16>,
    /// `recado.receipts`, by its full name.
    pub receipts_topic: String,
    /// `recado.dead-letters`, by its full name.
    pub dead_letters_topic: String,
    /// What every Kafka client starts from (addresses, TLS, SASL). What the gateway's promise rests on is set over it.
    pub kafka: ClientConfig,
    /// Bounds of what strangers may take.
    pub limits: Limits,
}

/// One app at Meta: `/webhooks/meta/<name>`.
pub struct MetaApp {
    /// Part of the path, of metrics and logs.
    pub name: String,
    /// The active app secrets, newest first.
    pub secrets: Vec<Secret<String>>,
    /// What Meta's handshake must say.
    pub verify_tokens: Vec<Secret<String>>,
}

/// One account at Twilio: `/webhooks/twilio/<name>/sms` and `/voice`.
pub struct TwilioAccount {
    /// Part of the path, of metrics and logs.
    pub name: String,
    /// The active auth tokens, primary first (SHA-1 signatures).
    pub tokens: Vec<Secret<String>>,
    /// The secrets of the active shared keys (SHA-256 signatures).
    pub shared_keys: Vec<Secret<String>>,
    /// The voice that says a code: [`crate::channel::voice::VOICE`].
    pub voice: String,
}

/// The voice that says codes where the configuration names none.
pub fn usual_voice() -> String {
    crate::channel::voice::VOICE.to_owned()
}

/// Bounds of what strangers may take. The defaults are our judgement (`privacy.md` §6).
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest body of Meta's: its batches reach 3 MB.
    pub meta_body_bytes_max: usize,
    /// The largest body of anybody else's.
    pub body_bytes_max: usize,
    /// All of Meta's bodies in memory together; beyond it the answer is 503.
    pub bodies_bytes_max: usize,
    /// The same of everybody else's: small forms, for which there is room however many large bodies somebody sends.
    pub forms_bytes_max: usize,
    /// Open connections; more wait to be accepted.
    pub connections_max: usize,
    /// Open connections of one address; more are closed at once. A load balancer in front is one address.
    pub connections_per_address_max: usize,
    /// From the first byte of a request to the end of its headers; also from the accept to the first request.
    pub header_deadline: Duration,
    /// From the end of the headers to the end of the body.
    pub body_deadline: Duration,
    /// A connection without a request is closed after this.
    pub idle_deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            meta_body_bytes_max: 4 << 20,
            body_bytes_max: 64 << 10,
            bodies_bytes_max: 256 << 20,
            forms_bytes_max: 64 << 20,
            connections_max: 1_024,
            connections_per_address_max: 1_024,
            header_deadline: Duration::from_secs(5),
            body_deadline: Duration::from_secs(10),
            idle_deadline: Duration::from_secs(60),
        }
    }
}

/// A gateway that listens but does not serve yet: connections wait in the backlog until [`Gateway::run`].
pub struct Gateway {
    listener: TcpListener,
    shared: Arc<Shared>,
    lifeline: Lifeline,
}

impl Gateway {
    /// Listens, and sets up the producer. `health` is told when Kafka acknowledges nothing.
    pub async fn bind(settings: Settings, sealer: Sealer, health: Health) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(settings.listen).await.with_context(|| format!("The gateway cannot listen on {}.", settings.listen))?;
        let returns = Returns::new(&settings, health)?;
        let [bodies, forms] = [settings.limits.bodies_bytes_max, settings.limits.forms_bytes_max].map(|bytes| Arc::new(Semaphore::new(body::permits(bytes))));
        let metas = settings.meta_apps.into_iter().map(|app| {
            let door = meta::App { signature: signature::Meta::new(&app.secrets), verify_tokens: app.verify_tokens };
            (app.name, door)
        });
        let twilios = settings.twilio_accounts.into_iter().map(|account| {
            let door = twilio::Account { signature: signature::Twilio::new(&account.tokens, &account.shared_keys), voice: account.voice };
            (account.name, door)
        });
        let lifeline = Lifeline::new(&settings.kafka, &settings.receipts_topic);
        let shared = Shared {
            public_base_url: settings.public_base_url,
            metas: metas.collect(),
            twilios: twilios.collect(),
            limits: settings.limits,
            bodies,
            forms,
            strangers: Strangers::default(),
            returns,
            sealer,
        };
        Ok(Self { listener, shared: Arc::new(shared), lifeline })
    }

    /// Where it listens: with port 0 in the settings, this is how to find it.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`, then lets the requests under way end. Heartbeats stop first: a gateway that takes nothing new gives no sign of life.
    ///
    /// Errors: its producer cannot go on. A restart makes a new one.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let routes = Router::new().merge(meta::routes()).merge(twilio::routes()).with_state(Arc::clone(&self.shared));
        let signs_of_life = Arc::clone(&self.shared);
        let stop = shutdown.child_token();
        let beating = tokio::spawn({
            let stop = stop.clone();
            async move {
                let failed = stop.run_until_cancelled(signs_of_life.returns.beat(self.lifeline)).await;
                stop.cancel();
                failed
            }
        });
        listen::accept(self.listener, routes, &self.shared.limits, stop).await;
        beating.await.expect("the heartbeat's future does not panic").map_or(Ok(()), Err)
    }
}

/// How long a key service may take: Twilio gives up 5 s after its request, 4 of which may be Kafka's.
const KEYS_DEADLINE: Duration = Duration::from_millis(800);

/// What all requests share.
struct Shared {
    public_base_url: String,
    metas: BTreeMap<String, meta::App>,
    twilios: BTreeMap<String, twilio::Account>,
    limits: Limits,
    bodies: Arc<Semaphore>,
    forms: Arc<Semaphore>,
    strangers: Strangers,
    returns: Returns,
    sealer: Sealer,
}

#[cfg(test)]
mod tests;
