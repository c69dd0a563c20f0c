//! How the engine learns Kafka time: now and then it writes a record of its own to each receipts partition, and the acknowledgement carries the append time.
//!
//! Easily got wrong: reading the record back would measure the backlog too; the acknowledgement does not.

use super::kafka_time::Estimator;
use crate::delivery::{Partition, Timestamp};
use crate::event::records::{Returned, encode_returned};
use crate::lifeline::Lifeline;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A partition without a sample for so long gets a hello. Source: design §4.
const PACE: Duration = Duration::from_secs(5);
/// Until the first sample has come, one is tried this often.
const PACE_FIRST: Duration = Duration::from_millis(500);

/// How often the client's events are looked at while no hello is under way.
const LOOK: Duration = Duration::from_secs(1);
/// How long each of the first waits for acknowledgements is while one is: the next look is no sooner, whatever came.
const WAIT: Duration = Duration::from_millis(10);
/// So many are as short; Kafka usually answers within one.
const WAITS: usize = 10;
/// Then Kafka is slow or away, and of each wait the last millisecond is busy.
const WAIT_LONG: Duration = Duration::from_millis(100);

/// One question to a broker.
const QUESTION: Duration = Duration::from_secs(1);

/// One measured record.
struct Sample {
    partition: Partition,
    written: Timestamp,
    acknowledged: Timestamp,
    appended: Timestamp,
}

struct Context {
    samples: Mutex<Sender<Sample>>,
}

impl ClientContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Timestamp>;

    fn delivery(&self, result: &DeliveryResult<'_>, written: Box<Timestamp>) {
        let Ok(message) = result else { return };
        let (Some(partition), Some(appended)) = (Partition::from_kafka(message.partition()), message.timestamp().to_millis()) else { return };
        let sample = Sample { partition, written: *written, acknowledged: crate::clock::now(), appended: Timestamp::from_millis(appended) };
        // The engine has gone: nobody needs the sample.
        let _ = self.samples.lock().unwrap_or_else(std::sync::PoisonError::into_inner).send(sample);
    }
}

/// Writes hellos and collects their samples, for one engine thread.
pub struct Hello {
    producer: Arc<BaseProducer<Context>>,
    waiter: Option<Waiter>,
    samples: Receiver<Sample>,
    topic: Arc<str>,
    instance: String,
    nonce: u64,
    lifeline: Lifeline,
}

impl Hello {
    /// With a producer of its own: never transactional, or it would hide receipts.
    pub fn open(mut config: ClientConfig, topic: Arc<str>, instance: String) -> Result<Self, KafkaError> {
        let (sender, samples) = channel();
        let lifeline = Lifeline::new(&config, &topic);
        config.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "0").set("message.timeout.ms", "4000");
        let producer: Arc<BaseProducer<Context>> = Arc::new(config.create_with_context(Context { samples: Mutex::new(sender) })?);
        let waiter = Waiter::start(producer.clone()).map_err(|error| {
            tracing::error!(%error, "The thread that waits for hellos cannot be started.");
            KafkaError::Canceled
        })?;
        Ok(Self { producer, waiter: Some(waiter), samples, topic, instance, nonce: 0, lifeline })
    }

    /// Learns how many partitions the topic has: a client that knows of fewer refuses what goes to the new ones, and asks by itself only now and then.
    pub fn learn_partitions(&self) {
        if let Err(error) = self.producer.client().fetch_metadata(Some(&self.topic), QUESTION) {
            tracing::debug!(%error, "The partitions of the receipts cannot be asked for now.");
        }
    }

    /// Sees to it that the producer reaches Kafka.
    pub fn look(&mut self) {
        self.lifeline.look(self.producer.client(), crate::clock::monotonic());
    }

    /// Writes one to this partition if its clock is due for it. `asked` is when the last one was written.
    pub fn write_if_due(&mut self, partition: Partition, clock: &Estimator, asked: &mut Option<Timestamp>, now: Timestamp) {
        let pace = if clock.age(now).is_some() { PACE } else { PACE_FIRST };
        let fresh = clock.age(now).is_some_and(|age| age < PACE);
        if fresh || asked.is_some_and(|asked| now.since(asked) < pace) {
            return;
        }
        *asked = Some(now);
        self.nonce += 1;
        let mut value = Vec::new();
        encode_returned(&Returned::Hello { instance: self.instance.clone(), nonce: self.nonce }, &mut value);
        let record: BaseRecord<'_, [u8], [u8], Box<Timestamp>> =
            BaseRecord::with_opaque_to(&self.topic, Box::new(crate::clock::now())).partition(partition.kafka()).key(&[][..]).payload(value.as_slice());
        match self.producer.send(record) {
            Ok(()) => self.waiter.iter().for_each(Waiter::written),
            Err((error, _)) => tracing::warn!(partition = partition.0, %error, "A hello could not be written; Kafka time ages."),
        }
    }

    /// Hands out what has been measured since the last call.
    pub fn samples(&self, mut to: impl FnMut(Partition, Timestamp, Timestamp, Timestamp)) {
        while let Ok(sample) = self.samples.try_recv() {
            to(sample.partition, sample.written, sample.acknowledged, sample.appended);
        }
    }
}

impl Drop for Hello {
    fn drop(&mut self) {
        self.producer.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
        if let Some(waiter) = self.waiter.take() {
            waiter.end();
        }
    }
}

/// Takes acknowledgements as they come. The crate's own thread waits by 100 ms, hello or not, and asks the clock again and again in the last of them: a
/// twentieth of what a quiet engine costs.
struct Waiter {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Waiter {
    fn start(producer: Arc<BaseProducer<Context>>) -> std::io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let told = ended.clone();
        let waits = move || {
            while !told.load(Ordering::Relaxed) {
                std::thread::park_timeout(LOOK);
                producer.poll(Duration::ZERO);
                let mut rounds = std::iter::repeat_n(WAIT, WAITS).chain(std::iter::repeat(WAIT_LONG));
                while producer.in_flight_count() > 0 && !told.load(Ordering::Relaxed) {
                    producer.poll(rounds.next().unwrap_or(WAIT_LONG));
                }
            }
        };
        Ok(Self { ended, thread: std::thread::Builder::new().name("hello".into()).spawn(waits)? })
    }

    /// Something is under way.
    fn written(&self) {
        self.thread.thread().unpark();
    }

    /// Does not wait for what is under way.
    fn end(self) {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::debug!("The thread that waits for hellos panicked.");
        }
    }
}
