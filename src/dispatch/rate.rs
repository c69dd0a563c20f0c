//! PURE: how many calls a second a provider takes. A bill never takes the last place: half of each second belongs to codes alone.

use crate::delivery::{Lane, Timestamp};
use std::time::Duration;

/// A bucket of places for calls, refilled evenly; it holds one second's worth.
#[derive(Debug)]
pub struct Rate {
    per_second: i64,
    /// Thousandths of a place.
    level: i64,
    at: Timestamp,
}

impl Rate {
    /// Full. 0: the provider sets no limit.
    pub fn new(per_second: u32, now: Timestamp) -> Self {
        let per_second = i64::from(per_second);
        Self { per_second, level: per_second * 1_000, at: now }
    }

    /// Takes a place; or says after how long to ask again.
    pub fn take(&mut self, lane: Lane, now: Timestamp) -> Result<(), Duration> {
        if self.per_second == 0 {
            return Ok(());
        }
        let full = self.per_second * 1_000;
        let passed = i64::try_from(now.since(self.at).as_millis()).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(passed.saturating_mul(self.per_second)).min(full);
        self.at = self.at.max(now);
        let kept = match lane {
            Lane::Express => 0,
            Lane::Bulk => (full / 2).min(full - 1_000),
        };
        let missing = 1_000 + kept - self.level;
        if missing <= 0 {
            self.level -= 1_000;
            return Ok(());
        }
        Err(Duration::from_millis(u64::try_from(missing / self.per_second).unwrap_or(0) + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn no_more_than_the_limit_passes_and_bills_leave_half_to_codes() {
        let mut rate = Rate::new(10, at(0));
        let bills = (0..10).filter(|_| rate.take(Lane::Bulk, at(0)).is_ok()).count();
        let codes = (0..10).filter(|_| rate.take(Lane::Express, at(0)).is_ok()).count();
        assert_eq!((bills, codes), (5, 5));
        assert_eq!(rate.take(Lane::Express, at(0)), Err(Duration::from_millis(101)));
        assert_eq!(rate.take(Lane::Express, at(101)), Ok(()));
    }

    #[test]
    fn one_a_second_still_carries_bills_and_zero_means_no_limit() {
        let mut rate = Rate::new(1, at(0));
        assert_eq!(rate.take(Lane::Bulk, at(0)), Ok(()));
        assert_eq!(rate.take(Lane::Bulk, at(500)), Err(Duration::from_millis(501)));
        let mut rate = Rate::new(0, at(0));
        assert!((0..1_000).all(|_| rate.take(Lane::Bulk, at(0)).is_ok()));
    }
}
