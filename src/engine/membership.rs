//! Which partitions are ours: the group subscribes to the receipts topic alone, and whoever is assigned `receipts-p` takes partition p of every source with it.
//!
//! Easily got wrong: nothing happens in librdkafka's callback. It notes what is wanted, and the loop, which owns the tasks, ends the transaction first.

use crate::delivery::Partition;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the group wants of this member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebalance {
    /// These partitions are ours now, all of them (the eager protocol names the whole set each time).
    Assigned(Vec<Partition>),
    /// None is ours any more.
    Revoked,
}

/// The consumer's context: collects what the group wants.
#[derive(Default)]
pub struct Membership {
    wanted: Mutex<VecDeque<Rebalance>>,
    closing: AtomicBool,
}

impl Membership {
    /// From now on partitions are given back as soon as the group asks: closing a consumer waits for that, and the loop that would do it has ended.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Whether the group has a wish that was not heard yet: what it wanted before is then out of date.
    pub fn wants(&self) -> bool {
        !self.wanted.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_empty()
    }

    /// The next wish of the group, in order.
    pub fn next(&self) -> Option<Rebalance> {
        self.wanted.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front()
    }
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(level = ?level, facility, "librdkafka: {message}");
    }
}

impl ConsumerContext for Membership {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if self.closing.load(Ordering::Relaxed) {
            if let Err(error) = consumer.unassign() {
                tracing::warn!(%error, "Partitions could not be given back.");
            }
            return;
        }
        let wish = match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                Rebalance::Assigned(list.elements().iter().filter_map(|element| Partition::from_kafka(element.partition())).collect())
            }
            _ => Rebalance::Revoked,
        };
        self.wanted.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push_back(wish);
    }
}
