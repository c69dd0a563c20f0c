//! What time it is in Kafka, as calls and tenures ask it: measured by each tenure for its own partition, given up by all when the partitions' clocks disagree.

use crate::delivery::{Partition, Timestamp};
use crate::engine::kafka_time::disagree;
use crate::observe::Health;
use crate::observe::dispatch as observe;
use crate::observe::health::{Asker, Cause};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

/// No offset is known.
const NONE: i64 = i64::MIN;

/// Kafka time of one partition, for calls under way.
#[derive(Debug)]
pub struct KafkaNow(AtomicI64);

impl Default for KafkaNow {
    fn default() -> Self {
        Self(AtomicI64::new(NONE))
    }
}

impl KafkaNow {
    /// Kafka time; `None` while it is not known or may not be trusted.
    pub fn get(&self) -> Option<Timestamp> {
        let offset = self.0.load(Ordering::Acquire);
        (offset != NONE).then(|| Timestamp::from_millis(crate::clock::now().millis().saturating_add(offset)))
    }

    /// Milliseconds to add to the own clock.
    pub fn set(&self, offset: Option<i64>) {
        self.0.store(offset.unwrap_or(NONE), Ordering::Release);
    }
}

/// The offsets of all partitions in use.
pub struct Clocks {
    offsets: Mutex<BTreeMap<Partition, i64>>,
    disagree: AtomicBool,
    health: Health,
}

impl Clocks {
    /// None is in use.
    pub fn new(health: Health) -> Self {
        Self { offsets: Mutex::default(), disagree: AtomicBool::new(false), health }
    }

    /// Notes one partition's offset, or that it is not in use; returns whether all agree.
    pub fn note(&self, partition: Partition, offset: Option<i64>) -> bool {
        let mut offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        match offset {
            Some(offset) => offsets.insert(partition, offset),
            None => offsets.remove(&partition),
        };
        let disagreement = disagree(offsets.values().copied());
        let low_and_high = offsets.values().min().copied().zip(offsets.values().max().copied());
        observe::clocks(low_and_high, disagreement);
        if self.disagree.swap(disagreement, Ordering::AcqRel) != disagreement {
            let spread = low_and_high.map_or(0, |(low, high)| high - low);
            tracing::error!(disagreement, spread_ms = spread, "The clocks of partitions in use disagree, or agree again.");
            let detail = format!("The brokers that lead our partitions have clocks {spread} ms apart: nothing is called.");
            self.health.set(Cause::ClockDisagreement(Asker::Dispatcher), disagreement.then_some(detail));
        }
        !disagreement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_partition_of_another_time_stops_all_until_it_is_gone() {
        let clocks = Clocks::new(Health::new());
        assert!(clocks.note(Partition(0), Some(0)));
        assert!(!clocks.note(Partition(1), Some(1_001)));
        assert!(!clocks.note(Partition(0), Some(0)), "the first one learns it too");
        assert!(clocks.note(Partition(1), None));
    }
}
