//! From a dispatch to its outcome, with at most one call to the provider for each attempt, whatever crashes when.
//!
//! Read: `intake` (Kafka's records in), `tenure` (one partition of ours), `ledger` (PURE: may it be called?), `journal` (the log that decides), `call` (one
//! attempt), `post` (one HTTP call). What one would get wrong: owning a partition means nothing. Only the first entry of an attempt in the journal does.

mod intake;
mod tenure;
pub mod ledger;
mod journal;
mod limits;
mod call;
mod prepare;
mod post;
pub mod breaker;
mod rate;
mod time;
mod written;
pub mod slot;
mod settings;
mod stop;

pub use call::provider_id;
pub use settings::{Auth, MinTls, Provider, Sender, Settings};

use crate::observe::Health;
use crate::privacy::Sealer;
use crate::template::Catalogue;
use anyhow::Context;
use call::Caller;
use intake::Intake;
use rdkafka::producer::{FutureProducer, Producer};
use std::sync::Arc;
use std::time::Duration;
use stop::Stop;
use tenure::Shared;
use tokio_util::sync::CancellationToken;

/// How long the producer may still write when the role ends.
const FLUSH: Duration = Duration::from_secs(5);

/// Runs the role until `shutdown` is cancelled, or until it cannot go on. On the way out every attempt that is proven not to have gone out ends as *too_late*, and
/// calls in flight are awaited for `call_timeout` and a margin.
///
/// Errors: Kafka's configuration is refused, the journal or a topic of dispatches was truncated under its reader, the producer cannot go on. All of them are
/// healed by a restart, which reads the journal anew.
pub async fn run(mut settings: Settings, sealer: Sealer, catalogue: Arc<Catalogue>, health: Health, shutdown: CancellationToken) -> anyhow::Result<()> {
    let stop = Stop::new(shutdown);
    let caller = Arc::new(Caller::new(&mut settings, sealer, catalogue, health.clone())?);
    let producer = producer(&settings)?;
    let (orders, tail) = journal::tail(&settings, stop.clone())?;
    let shared = Arc::new(Shared { settings, producer: producer.clone(), caller, clocks: time::Clocks::new(health.clone()), health });
    let intake = Intake::new(shared, orders, stop.clone(), tokio::runtime::Handle::current())?;
    let reading = std::thread::Builder::new().name("dispatch-intake".into()).spawn(move || intake.run())?;
    tokio::task::spawn_blocking(move || {
        // A thread that panics is a bug; its last words are in the log.
        let ended = [reading.join(), tail.join()].into_iter().all(|joined| joined.is_ok());
        if let Err(error) = producer.flush(FLUSH) {
            tracing::warn!(%error, "Not everything was written when the dispatcher ended.");
        }
        ended
    })
    .await
    .context("waiting for the dispatcher's threads")?
    .then_some(())
    .context("a thread of the dispatcher panicked")?;
    stop.cause().map_or(Ok(()), Err)
}

/// For journal, outcomes and heartbeats: acknowledged by all, in order, never in a transaction.
fn producer(settings: &Settings) -> anyhow::Result<FutureProducer> {
    let mut config = journal::client(settings);
    // What is speed alone `[kafka.properties]` may say otherwise.
    for (key, value) in [("linger.ms", "2"), ("compression.type", "lz4")] {
        if config.get(key).is_none() {
            config.set(key, value);
        }
    }
    config.set("enable.idempotence", "true").set("acks", "all").set("message.timeout.ms", "4000");
    config.create().context("creating the dispatcher's producer")
}
