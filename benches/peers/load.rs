//! The bank, the dispatcher and the providers in one: requests, what comes back to them, signs of life.
//!
//! Easily got wrong: a receipt must come after the dispatch that it answers, or it finds nothing. So what comes back to a round of requests is written with the next
//! round, when all of the first are known to be dispatched, and no program still has them in the transaction that wrote them.

use crate::records::{Back, Codec};
use crate::script::{Life, PARTITIONS};
use crate::support;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use recado::delivery::{Attempt, MessageId, Timestamp};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Of what comes back to so many lives first all outcomes are written, then all receipts of each kind. A commit lies between them even where 400,000 records a second
/// are taken: else two changes of a delivery would be one record of state.
const BLOCK: u32 = 50_000;
const BEAT: Duration = Duration::from_secs(1);

/// Where a run writes.
#[derive(Clone)]
pub struct Loader {
    producer: ThreadedProducer<DefaultProducerContext>,
    codec: Arc<Codec>,
    /// The bank's topic and ours.
    pub input: String,
    pub receipts: String,
    /// The time that the first request says.
    pub began: Timestamp,
}

impl Loader {
    /// For the topics of this run.
    pub fn new(codec: Arc<Codec>, prefix: &str, began: Timestamp) -> Self {
        let producer = support::client()
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "20")
            .set("batch.size", "1000000")
            .set("compression.type", "lz4")
            .set("queue.buffering.max.messages", "500000")
            .create()
            .expect("a producer");
        Self { producer, codec, input: format!("{prefix}in.pix.transactions"), receipts: format!("{prefix}receipts"), began }
    }

    /// What this life is called.
    pub fn id(&self, life: Life) -> MessageId {
        life.id(&self.input, self.began)
    }

    /// Requests of `new`, and what comes back to `known`, which are dispatched.
    pub fn round(&self, new: Range<u32>, known: Range<u32>) {
        let (mut new, mut known) = (new, known);
        while !new.is_empty() || !known.is_empty() {
            self.requests(cut(&mut new));
            self.backs(cut(&mut known));
        }
        self.flush();
    }

    fn requests(&self, lives: Range<u32>) {
        for life in lives.map(Life) {
            let (value, key) = (self.codec.request(life, self.id(life), &self.input), format!("customer-{}", life.customer()));
            self.send(&self.input, life.partition().kafka(), key.as_bytes(), &value, Some(life.time(self.began)));
        }
    }

    fn backs(&self, lives: Range<u32>) {
        for back in [Back::Accepted, Back::Sent, Back::Delivered, Back::Read] {
            for life in lives.clone().map(Life) {
                let comes = match back {
                    Back::Accepted => true,
                    Back::Sent | Back::Delivered => !life.falls_back(),
                    Back::Read => life.is_read(),
                };
                if comes {
                    self.back(self.id(life), Attempt::FIRST, back);
                }
            }
        }
    }

    /// One word about one attempt.
    pub fn back(&self, id: MessageId, attempt: Attempt, back: Back) {
        self.send(&self.receipts, id.partition().kafka(), id.bytes(), &self.codec.back(id, attempt, back), None);
    }

    /// Signs of life, each second, until told to stop.
    pub fn beat(self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            for partition in 0..i32::from(PARTITIONS) {
                for value in self.codec.heartbeats(self.began) {
                    self.send(&self.receipts, partition, &[], &value, None);
                }
            }
            std::thread::sleep(BEAT);
        }
    }

    /// Waits until everything is acknowledged.
    pub fn flush(&self) {
        self.producer.flush(Duration::from_secs(120)).expect("the broker acknowledges");
    }

    fn send(&self, topic: &str, partition: i32, key: &[u8], value: &[u8], time: Option<Timestamp>) {
        loop {
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(partition).key(key).payload(value);
            if let Some(time) = time {
                record = record.timestamp(time.millis());
            }
            match self.producer.send(record) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => std::thread::sleep(Duration::from_millis(1)),
                Err((error, _)) => panic!("{error}"),
            }
        }
    }
}

/// The next block.
fn cut(range: &mut Range<u32>) -> Range<u32> {
    let end = range.end.min(range.start + BLOCK);
    let block = range.start..end;
    range.start = end;
    block
}
