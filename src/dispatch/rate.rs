//! PURE: how many calls a second a provider takes. A bill never takes the last place: half of each second belongs to codes alone.

use crate::delivery::{Lane, Timestamp};
use std::time::Duration;

/// A bucket of places for calls, refilled evenly; it holds one second's worth, and one place at least.
///
/// The limit is the account's, and instances do not talk: each takes its share, which is that of its partitions. So the limit holds on average: after a pause each
/// of them may begin a call at once.
#[derive(Debug)]
pub struct Rate {
    /// The account's limit; 0 is none.
    per_second: i64,
    /// Our share of it, in thousandths of a place a second.
    share: i64,
    /// Millionths of a place: what a share brings in a millisecond is a whole number of them.
    level: i64,
    at: Timestamp,
}

const PLACE: i64 = 1_000_000;

impl Rate {
    /// Full, and all of it ours. 0: the provider sets no limit.
    pub fn new(per_second: u32, now: Timestamp) -> Self {
        let per_second = i64::from(per_second);
        let mut rate = Self { per_second, share: per_second * 1_000, level: 0, at: now };
        rate.level = rate.full();
        rate
    }

    /// Ours is this part of it from now on: `held` of `of` partitions. Of none it is no matter: nothing is called.
    pub fn share(&mut self, held: usize, of: usize, now: Timestamp) {
        if held == 0 || of == 0 {
            return;
        }
        self.refill(now);
        let part = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let share = (self.per_second * 1_000).saturating_mul(part(held.min(of))) / part(of);
        self.share = share.max(i64::from(self.per_second > 0));
        self.level = self.level.min(self.full());
    }

    /// Takes a place; or says after how long to ask again.
    pub fn take(&mut self, lane: Lane, now: Timestamp) -> Result<(), Duration> {
        if self.per_second == 0 {
            return Ok(());
        }
        self.refill(now);
        let kept = match lane {
            Lane::Express => 0,
            Lane::Bulk => (self.full() / 2).min(self.full() - PLACE),
        };
        let missing = PLACE + kept - self.level;
        if missing <= 0 {
            self.level -= PLACE;
            return Ok(());
        }
        Err(Duration::from_millis(u64::try_from(missing / self.share.max(1)).unwrap_or(0) + 1))
    }

    fn full(&self) -> i64 {
        (self.share * 1_000).max(PLACE)
    }

    fn refill(&mut self, now: Timestamp) {
        let passed = i64::try_from(now.since(self.at).as_millis()).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(passed.saturating_mul(self.share)).min(self.full());
        self.at = self.at.max(now);
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

    #[test]
    fn a_share_is_that_of_the_partitions_and_small_ones_still_come() {
        let mut rate = Rate::new(30, at(0));
        rate.share(2, 6, at(0));
        assert_eq!((0..30).filter(|_| rate.take(Lane::Express, at(0)).is_ok()).count(), 10);
        assert_eq!((0..30).filter(|_| rate.take(Lane::Express, at(1_000)).is_ok()).count(), 10);
        rate.share(6, 6, at(1_000));
        assert_eq!((0..60).filter(|_| rate.take(Lane::Express, at(2_000)).is_ok()).count(), 30, "the others are gone: all of it");

        // A third of one a second, asked each millisecond.
        let mut rate = Rate::new(1, at(0));
        rate.share(2, 6, at(0));
        assert_eq!(rate.take(Lane::Express, at(0)), Ok(()));
        assert_eq!((1..9_100).filter(|millis| rate.take(Lane::Express, at(*millis)).is_ok()).count(), 3);
        rate.share(0, 6, at(9_100));
        rate.share(1, 0, at(9_100));
        assert!(rate.take(Lane::Bulk, at(9_100)).is_err(), "no share changes nothing");
    }
}
