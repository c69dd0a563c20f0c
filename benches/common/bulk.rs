//! A producer that writes by the million, for both benches.

use crate::support;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use std::sync::Arc;
use std::time::Duration;

/// Writes much in few requests.
#[derive(Clone)]
pub struct Bulk(Arc<ThreadedProducer<DefaultProducerContext>>);

impl Bulk {
    /// An idempotent producer.
    pub fn new() -> Self {
        let producer = support::client()
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "20")
            .set("batch.size", "1000000")
            .set("compression.type", "lz4")
            .set("queue.buffering.max.messages", "500000")
            .create();
        Self(Arc::new(producer.expect("a producer")))
    }

    /// Writes one record, which may say that it is of another time than now; waits while the queue is full.
    pub fn send(&self, topic: &str, partition: i32, key: &[u8], value: &[u8], time_ms: Option<i64>) {
        loop {
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(partition).key(key).payload(value);
            record.timestamp = time_ms;
            match self.0.send(record) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => std::thread::sleep(Duration::from_millis(1)),
                Err((error, _)) => panic!("{error}"),
            }
        }
    }

    /// Waits until everything is acknowledged.
    pub fn flush(&self) {
        self.0.flush(Duration::from_secs(120)).expect("the broker acknowledges");
    }
}
