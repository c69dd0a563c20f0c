//! PURE: what time it is in Kafka, for one partition: this process's own clock corrected by what records of known age said.
//!
//! Easily got wrong: own time here is `clock::now()`, which is anchored to a monotonic clock and never steps, so a step of the wall clock changes nothing.

use crate::delivery::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// How many samples count. Source: design §4, "the smallest of the last ten".
const SAMPLES_MAX: usize = 10;
/// The three times are cut to whole milliseconds.
const ROUNDING_MS: i64 = 1;
/// How long a sample counts. Source: design §4.
const SAMPLE_AGE_MAX: Duration = Duration::from_secs(60);
/// Offsets of partitions in use that differ by more are a clock disagreement: no call, no timer. Source: design §4.
pub const DISAGREEMENT_MAX: Duration = Duration::from_secs(1);

/// The measured distance between a partition's leader and this process's clock.
#[derive(Clone, Debug, Default)]
pub struct Estimator {
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    /// When it was read, own clock.
    read: Timestamp,
    /// Read time less append time, in ms: the true distance plus the way back.
    behind: i64,
}

impl Estimator {
    /// One own record: `written` and `read` on the own clock, `appended` the time that the partition's leader stamped on it in between. So the leader's clock is
    /// ahead of ours by `appended - written` at most: older samples that say more were another leader's, or of before its clock was set, and are forgotten.
    pub fn sample(&mut self, written: Timestamp, read: Timestamp, appended: Timestamp) {
        debug_assert!(written <= read, "a record is read after it is written");
        let ahead_at_most = appended.millis() - written.millis() + ROUNDING_MS;
        self.samples.retain(|older| -older.behind <= ahead_at_most);
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { read, behind: read.millis() - appended.millis() });
    }

    /// Milliseconds to add to the own clock; `None` without a sample of the last minute: then nothing may fire and nothing may be called. It is low by at
    /// most the way back of the fastest of the last ten, so a timer that trusts it is never early.
    pub fn offset(&self, own_now: Timestamp) -> Option<i64> {
        let oldest = own_now.minus(SAMPLE_AGE_MAX);
        self.samples.iter().filter(|sample| sample.read >= oldest).map(|sample| sample.behind).min().map(|behind| -behind)
    }

    /// Kafka time at `own_now`.
    pub fn kafka_now(&self, own_now: Timestamp) -> Option<Timestamp> {
        self.offset(own_now).map(|offset| Timestamp::from_millis(own_now.millis() + offset))
    }

    /// How old the newest sample is; `None` without one.
    pub fn age(&self, own_now: Timestamp) -> Option<Duration> {
        self.samples.back().map(|sample| own_now.since(sample.read))
    }
}

/// Whether the clocks of partitions in use disagree: the largest offset less the smallest is over [`DISAGREEMENT_MAX`].
pub fn disagree(offsets: impl IntoIterator<Item = i64>) -> bool {
    let mut low = i64::MAX;
    let mut high = i64::MIN;
    for offset in offsets {
        low = low.min(offset);
        high = high.max(offset);
    }
    low <= high && high - low > i64::try_from(DISAGREEMENT_MAX.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn without_a_sample_there_is_no_kafka_time_and_an_old_one_does_not_count() {
        let mut clock = Estimator::default();
        assert_eq!(clock.kafka_now(at(0)), None);
        clock.sample(at(1_000), at(1_004), at(61_002));
        assert_eq!(clock.kafka_now(at(2_000)), Some(at(61_998)));
        assert_eq!(clock.kafka_now(at(61_004)), Some(at(121_002)));
        assert_eq!(clock.kafka_now(at(61_005)), None);
    }

    #[test]
    fn the_fastest_of_the_last_ten_counts() {
        let mut clock = Estimator::default();
        clock.sample(at(0), at(2), at(0));
        for i in 1..=9 {
            clock.sample(at(i * 100), at(i * 100 + 50), at(i * 100));
        }
        assert_eq!(clock.offset(at(1_000)), Some(-2));
        clock.sample(at(1_000), at(1_050), at(1_000));
        assert_eq!(clock.offset(at(1_050)), Some(-50), "the eleventh pushed the fastest out");
    }

    #[test]
    fn a_leader_whose_clock_is_behind_the_old_ones_is_believed_at_once() {
        let mut clock = Estimator::default();
        clock.sample(at(0), at(4), at(1_000));
        assert_eq!(clock.offset(at(4)), Some(996));
        clock.sample(at(5_000), at(5_004), at(5_700));
        assert_eq!(clock.offset(at(5_004)), Some(696), "the old one would fire timers 0.3 s early");
        clock.sample(at(6_000), at(6_080), at(6_702));
        assert_eq!(clock.offset(at(6_080)), Some(696), "a slow answer proves nothing against a fast one");
    }

    #[test]
    fn partitions_whose_clocks_differ_by_more_than_a_second_disagree() {
        assert!(!disagree([]));
        assert!(!disagree([5_000]));
        assert!(!disagree([0, 1_000]));
        assert!(disagree([0, 400, 1_001]));
    }
}
