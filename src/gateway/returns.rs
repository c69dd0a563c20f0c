//! What comes back to the deliveries: reports enter, records of `recado.receipts` leave, each in its home partition, with acks=all and never in a transaction.
//! Heartbeats and dead letters of the gateway go the same way.
//!
//! A write counts when Kafka has acknowledged *all* records of a webhook; a repeat of those that were written is absorbed by the lattice.

use super::Settings;
use super::verdict::Refusal;
use crate::channel::Report;
use crate::clock;
use crate::crash_point::crash_point;
use crate::delivery::{Channel, Receipt, Timestamp};
use crate::event::dead_letter::{self, Content, Value};
use crate::event::records::{Returned, encode_returned};
use crate::lifeline::Lifeline;
use crate::observe::Health;
use crate::observe::gateway as metrics;
use crate::observe::health::{Asker, Cause};
use crate::privacy::{SealError, Sealer};
use anyhow::Context as _;
use futures_util::future::join_all;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::{Delivery, OwnedDeliveryResult};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// The gateway's producer.
pub(super) struct Returns {
    producer: FutureProducer,
    topic: String,
    dead_letters: String,
    instance: String,
    /// 0 until Kafka has said it; at most 65,535.
    partitions: watch::Sender<u32>,
    fixed: bool,
    health: Health,
    /// When Kafka last acknowledged a heartbeat, in monotonic ms; at first, when this began.
    acknowledged: Arc<AtomicU64>,
    /// By how much Kafka's clock was ahead of ours then, in ms, less the way back.
    ahead: Arc<AtomicI64>,
}

impl Returns {
    pub(super) fn new(settings: &Settings, health: Health) -> anyhow::Result<Self> {
        let mut config = settings.kafka.clone();
        for (name, value) in PROPERTIES {
            config.set(*name, *value);
        }
        #[cfg(feature = "mutants")]
        if crate::seeded_bug::planted("early_200") {
            config.set("linger.ms", "100");
        }
        Ok(Self {
            producer: config.create().context("The gateway's Kafka producer cannot be made.")?,
            topic: settings.receipts_topic.clone(),
            dead_letters: settings.dead_letters_topic.clone(),
            instance: settings.instance.clone(),
            partitions: watch::Sender::new(settings.partitions.map_or(0, u32::from)),
            fixed: settings.partitions.is_some(),
            health,
            acknowledged: Arc::new(AtomicU64::new(now_ms())),
            ahead: Arc::default(),
        })
    }

    /// About what time it is in Kafka: an expiry is compared with that.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_millis(clock::now().millis() + self.ahead.load(Ordering::Relaxed))
    }

    /// Writes the reports of one webhook and returns when all are acknowledged. A partition that does not exist is counted and left out: the attempt id was
    /// never ours. Returns the append time of the newest record in Kafka time, where one was written.
    pub(super) async fn write(&self, channel: Channel, reports: &[Report]) -> Result<Option<Timestamp>, Refusal> {
        let beyond = |partitions| reports.iter().any(|report| u32::from(report.attempt_id.message_id.partition().0) >= partitions);
        let mut partitions = self.known_partitions().await;
        if partitions > 0 && beyond(partitions) && !self.fixed {
            // `recado topics --grow` may have been there a moment ago: what is new must not be taken for nobody's.
            if !self.ask_partitions().await {
                return Err(Refusal::KafkaAway);
            }
            partitions = *self.partitions.borrow();
        }
        if partitions == 0 {
            return Err(Refusal::KafkaAway);
        }
        // Who calls has checked the signature.
        crash_point!("webhook_before_produce", if !reports.is_empty());
        let mut under_way = Vec::with_capacity(reports.len());
        for report in reports {
            let home = report.attempt_id.message_id.partition();
            if u32::from(home.0) >= partitions {
                metrics::skipped(channel, "partition", 1);
                continue;
            }
            under_way.push(self.send(home.kafka(), report.attempt_id.message_id.bytes(), &returned(report)).ok_or(Refusal::KafkaAway)?);
        }
        #[cfg(feature = "mutants")]
        if crate::seeded_bug::planted("early_200") {
            return Ok(Some(clock::wall()));
        }
        let mut newest = None;
        for delivery in join_all(under_way).await {
            newest = newest.max(Some(acknowledged(delivery)?.unwrap_or_else(clock::wall)));
        }
        crash_point!("webhook_after_ack_before_200", if newest.is_some());
        for report in reports {
            metrics::receipt(channel, report.receipt);
        }
        Ok(newest)
    }

    /// Keeps a signed body that was not understood, in the form of every dead letter (`event::dead_letter`); it is bound to the path that it came by, which stands
    /// in the header `recado.source`.
    pub(super) async fn bury(&self, source: &str, reason: &'static str, body: &[u8], sealer: &Sealer) -> Result<(), Refusal> {
        let value = match dead_letter::content(None, Some(body)) {
            Content::Digest(digest) => Value::Digest(digest),
            Content::Seal(plain) => {
                let (sealer, source, now) = (sealer.clone(), source.to_owned(), clock::wall());
                // The key service may read a file or ask another machine.
                let sealing = tokio::task::spawn_blocking(move || sealer.seal_dead_letter(false, source.as_bytes(), &plain, now));
                let sealed = tokio::time::timeout(super::KEYS_DEADLINE, sealing).await.map_err(|_| Refusal::KeysAway)?;
                Value::Sealed(sealed.expect("sealing does not panic").map_err(|_: SealError| Refusal::KeysAway)?)
            }
        };
        let value = dead_letter::write_value(&value);
        let headers = [("recado.reason", reason), ("recado.source", source)]
            .into_iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let record = FutureRecord::<[u8], [u8]>::to(&self.dead_letters).partition(0).payload(&value).headers(headers);
        let delivery = self.producer.send_result(record).map_err(|_| Refusal::KafkaAway)?;
        acknowledged(delivery.await)?;
        metrics::dead_letter(reason);
        Ok(())
    }

    /// Gives each partition a sign of life every second, as long as it is polled. Asks Kafka how many there are, every second until it answers, then every
    /// minute. Ends when the producer cannot go on: librdkafka never mends that, and every webhook would get 503 for good.
    pub(super) async fn beat(&self, mut lifeline: Lifeline) -> anyhow::Error {
        let mut every = tokio::time::interval(HEARTBEAT);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut asked: Option<Duration> = None;
        loop {
            every.tick().await;
            let known = *self.partitions.borrow() > 0;
            let due = asked.is_none_or(|at| clock::monotonic().saturating_sub(at) > PARTITIONS_EVERY);
            if !self.fixed && (!known || due) && self.ask_partitions().await {
                asked = Some(clock::monotonic());
            }
            if let Some((code, reason)) = self.producer.client().fatal_error() {
                return anyhow::anyhow!("the gateway's producer cannot go on: {code}: {reason}");
            }
            self.beat_once();
            let silence = Duration::from_millis(now_ms().saturating_sub(self.acknowledged.load(Ordering::Relaxed)));
            let away =
                (silence > SILENCE_MAX).then(|| format!("Kafka has acknowledged no record of the gateway for {} s: webhooks get 503.", silence.as_secs()));
            self.health.set(Cause::KafkaAway(Asker::Gateway), away);
            // Last: it may take its time, and a sign of life waits for nobody.
            lifeline = self.look(lifeline).await;
        }
    }

    /// How many partitions there are. Webhooks of the first moments wait for Kafka's first answer; 0: it has not come in time.
    async fn known_partitions(&self) -> u32 {
        let mut told = self.partitions.subscribe();
        let known = tokio::time::timeout(FIRST_ANSWER, told.wait_for(|partitions| *partitions > 0)).await;
        known.map_or(0, |partitions| partitions.map_or(0, |partitions| *partitions))
    }

    async fn look(&self, mut lifeline: Lifeline) -> Lifeline {
        let producer = self.producer.clone();
        let looking = tokio::task::spawn_blocking(move || {
            lifeline.look(producer.client(), clock::monotonic());
            lifeline
        });
        looking.await.expect("asking for metadata does not panic")
    }

    /// Whether Kafka answered.
    async fn ask_partitions(&self) -> bool {
        let (producer, topic) = (self.producer.clone(), self.topic.clone());
        let asking = tokio::task::spawn_blocking(move || {
            let metadata = producer.client().fetch_metadata(Some(&topic), METADATA_TIMEOUT).ok()?;
            metadata.topics().iter().find(|found| found.name() == topic).map(|found| found.partitions().len())
        });
        let partitions = asking.await.expect("asking for metadata does not panic").and_then(|count| u16::try_from(count).ok()).filter(|count| *count > 0);
        if let Some(partitions) = partitions {
            self.partitions.send_replace(u32::from(partitions));
        }
        partitions.is_some()
    }

    fn beat_once(&self) {
        let returned = Returned::GatewayHeartbeat { instance: self.instance.clone() };
        let partitions = i32::try_from(*self.partitions.borrow()).expect("at most 65,535");
        let under_way: Vec<_> = (0..partitions).map(|partition| self.send(partition, &[], &returned)).collect();
        let (acknowledged_at, ahead) = (Arc::clone(&self.acknowledged), Arc::clone(&self.ahead));
        // Not awaited here: one partition without a leader must not silence the others.
        tokio::spawn(async move {
            for delivery in under_way {
                let written = match delivery {
                    Some(delivery) => acknowledged(delivery.await).ok(),
                    None => None,
                };
                if let Some(appended) = written {
                    acknowledged_at.store(now_ms(), Ordering::Relaxed);
                    if let Some(appended) = appended {
                        ahead.store(appended.millis() - clock::now().millis(), Ordering::Relaxed);
                    }
                }
                metrics::heartbeat(written.is_some());
            }
        });
    }

    /// Hands a record to librdkafka; `None` when its queue is full. The bytes are copied, so nothing is borrowed.
    fn send(&self, partition: i32, key: &[u8], returned: &Returned) -> Option<DeliveryFuture> {
        let mut payload = Vec::with_capacity(64);
        encode_returned(returned, &mut payload);
        let record = FutureRecord::to(&self.topic).partition(partition).key(key).payload(&payload);
        self.producer.send_result(record).ok()
    }
}

fn returned(report: &Report) -> Returned {
    let Report { attempt_id, receipt, reason, code, provider_time } = *report;
    debug_assert!(receipt == Receipt::Failed || code == 0, "only a failure has a code");
    Returned::Receipt { attempt_id, receipt, reason, code, provider_time }
}

/// The append time, where the broker told it.
fn acknowledged<E>(delivery: Result<OwnedDeliveryResult, E>) -> Result<Option<Timestamp>, Refusal> {
    match delivery {
        Ok(Ok(Delivery { timestamp, .. })) => Ok(timestamp.to_millis().map(Timestamp::from_millis)),
        Ok(Err(_)) | Err(_) => Err(Refusal::KafkaAway),
    }
}

fn now_ms() -> u64 {
    u64::try_from(clock::monotonic().as_millis()).unwrap_or(u64::MAX)
}

/// What the promise rests on (`engine.md` §3): an acknowledgement from every replica in sync, no duplicates of a retry, an end below the webhook's deadline, a
/// bounded queue, and a Kafka that is back is found within a second (librdkafka's default is ten). Never a `transactional.id`: an open transaction would hide acknowledged receipts.
const PROPERTIES: &[(&str, &str)] = &[
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("linger.ms", "2"),
    ("message.timeout.ms", "4000"),
    ("socket.timeout.ms", "4000"),
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    ("retry.backoff.ms", "20"),
    ("retry.backoff.max.ms", "500"),
    ("queue.buffering.max.messages", "200000"),
    ("queue.buffering.max.kbytes", "131072"),
    ("compression.type", "none"),
];
/// The engine fires a timer only on a heartbeat that is at most 3 s older (`engine.md` §5).
const HEARTBEAT: Duration = Duration::from_secs(1);
/// `recado topics --grow` raises the number of partitions.
const PARTITIONS_EVERY: Duration = Duration::from_secs(60);
/// Twice the time in which a heartbeat is acknowledged or given up, and a little.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const METADATA_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a webhook waits for a Kafka that has not yet said how many partitions there are. It is there within some 100 ms, or it is away.
const FIRST_ANSWER: Duration = Duration::from_secs(1);
