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
use std::time::Duration;

/// How long a member waits to be taken back into its group while Kafka answers. The group itself waits for its slowest member for a minute
/// (`max.poll.interval.ms`).
const OUTSIDE_MAX: Duration = Duration::from_secs(120);
/// How often Kafka is asked meanwhile whether it answers.
const OUTSIDE_ASK: Duration = Duration::from_secs(10);

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

/// Watches a member that its group has left out. The one cause that is known, a client that lost every broker, is mended by `lifeline.rs` before this is over. Whoever
/// waits longer than anybody needs ends the process, and a new one joins.
#[derive(Default)]
pub struct Outside {
    since: Option<Duration>,
    asked: Option<Duration>,
}

impl Outside {
    /// Whether it has lasted too long. `answers` asks Kafka: while that is away, nothing follows from being outside.
    pub fn too_long(&mut self, joined: bool, now: Duration, answers: impl FnOnce() -> bool) -> bool {
        if joined {
            *self = Self::default();
            return false;
        }
        if self.asked.is_none_or(|asked| now.saturating_sub(asked) >= OUTSIDE_ASK) {
            self.asked = Some(now);
            self.since = if answers() { self.since.or(Some(now)) } else { None };
        }
        self.since.is_some_and(|since| now.saturating_sub(since) >= OUTSIDE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks each second over these seconds; returns the first at which it has lasted too long.
    fn first(outside: &mut Outside, seconds: std::ops::Range<u64>, joined: bool, answers: bool) -> Option<u64> {
        seconds.into_iter().find(|&second| outside.too_long(joined, Duration::from_secs(second), || answers))
    }

    #[test]
    fn a_member_that_is_left_out_ends_after_two_minutes_in_which_kafka_answers() {
        let mut outside = Outside::default();
        assert_eq!(first(&mut outside, 0..1_000, false, false), None, "Kafka is away");
        assert_eq!(first(&mut outside, 1_000..1_100, false, true), None);
        assert_eq!(first(&mut outside, 1_100..1_101, true, true), None, "taken back");
        assert_eq!(first(&mut outside, 1_101..1_210, false, true), None, "it counts anew");
        assert_eq!(first(&mut outside, 1_210..1_221, false, false), None, "and again when Kafka was away meanwhile");
        assert_eq!(first(&mut outside, 1_221..2_000, false, true), Some(1_341));
    }

    #[test]
    fn kafka_is_asked_each_ten_seconds_and_only_from_outside() {
        let (mut outside, mut asked) = (Outside::default(), Vec::new());
        for second in 0..30 {
            outside.too_long(second < 5, Duration::from_secs(second), || {
                asked.push(second);
                true
            });
        }
        assert_eq!(asked, [5, 15, 25]);
    }
}
