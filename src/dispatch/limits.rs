//! PURE: how much is taken in hand before reading stops, for each channel and lane.
//!
//! Easily got wrong: a partition of which nothing can be claimed or ended (its journal's leader is sick, its replay long) gives no place back. Counted with the
//! others it would stop them all; so it has a small share of its own.

use super::slot::Traffic;
use crate::delivery::Partition;
use std::collections::{BTreeMap, BTreeSet};

/// The part of the limit that a partition may hold which stands.
const SHARE: usize = 8;

/// One partition of a channel and lane.
pub type Part = (Traffic, Partition);

/// How many attempts one has in hand, and whether it moves: whether attempts of it can be claimed and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InHand {
    /// Attempts.
    pub count: usize,
    /// Its journal is replayed and Kafka's time is known.
    pub moves: bool,
}

/// Reading stops at a limit and goes on at half of it.
#[derive(Debug)]
pub struct Limits {
    max: usize,
    full: BTreeSet<Traffic>,
    standing: BTreeSet<Part>,
}

impl Limits {
    /// `max` for all partitions of a channel and lane that move.
    pub fn new(max: usize) -> Self {
        Self { max, full: BTreeSet::new(), standing: BTreeSet::new() }
    }

    /// Of which nothing is to be read now.
    pub fn paused(&mut self, in_hand: &BTreeMap<Part, InHand>) -> BTreeSet<Part> {
        let mut sums: BTreeMap<Traffic, usize> = BTreeMap::new();
        for ((traffic, _), part) in in_hand {
            *sums.entry(*traffic).or_default() += if part.moves { part.count } else { 0 };
        }
        for (traffic, sum) in sums {
            hold(&mut self.full, traffic, sum, self.max);
        }
        self.standing.retain(|part| in_hand.get(part).is_some_and(|part| !part.moves));
        for (&part, InHand { count, .. }) in in_hand.iter().filter(|(_, part)| !part.moves) {
            hold(&mut self.standing, part, *count, (self.max / SHARE).max(1));
        }
        in_hand.keys().copied().filter(|part| self.full.contains(&part.0) || self.standing.contains(part)).collect()
    }
}

fn hold<T: Ord>(held: &mut BTreeSet<T>, what: T, count: usize, limit: usize) {
    if count >= limit {
        held.insert(what);
    } else if count <= limit / 2 {
        held.remove(&what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{Channel, Lane};

    const EXPRESS: Traffic = (Channel::WhatsApp, Lane::Express);
    const BULK: Traffic = (Channel::WhatsApp, Lane::Bulk);

    fn parts(all: &[(Traffic, u16, usize, bool)]) -> BTreeMap<Part, InHand> {
        all.iter().map(|&(traffic, partition, count, moves)| ((traffic, Partition(partition)), InHand { count, moves })).collect()
    }

    #[test]
    fn reading_stops_at_the_limit_and_goes_on_at_half_of_it() {
        let mut limits = Limits::new(100);
        let mut paused = |zero, one| limits.paused(&parts(&[(EXPRESS, 0, zero, true), (EXPRESS, 1, one, true), (BULK, 0, 99, true)])).len();
        assert_eq!((paused(50, 49), paused(50, 50), paused(50, 1), paused(50, 0), paused(99, 0)), (0, 2, 2, 0, 0));
    }

    #[test]
    fn a_partition_that_stands_stops_itself_and_no_other() {
        let mut limits = Limits::new(100);
        let mut paused = |count, moves| limits.paused(&parts(&[(EXPRESS, 0, 99, true), (EXPRESS, 1, count, moves)]));
        assert_eq!(paused(11, false), BTreeSet::new());
        assert_eq!(paused(12, false), BTreeSet::from([(EXPRESS, Partition(1))]));
        assert_eq!(paused(900, false), BTreeSet::from([(EXPRESS, Partition(1))]), "what it holds counts for nobody else");
        assert_eq!(paused(0, true), BTreeSet::new());
        assert_eq!(paused(7, true).len(), 2, "moving again it counts with the others");
    }

    #[test]
    fn the_smallest_limit_still_lets_one_through() {
        let mut limits = Limits::new(1);
        assert_eq!(limits.paused(&parts(&[(EXPRESS, 0, 0, false)])), BTreeSet::new());
        assert_eq!(limits.paused(&parts(&[(EXPRESS, 0, 1, false)])).len(), 1);
        assert_eq!(limits.paused(&parts(&[(EXPRESS, 0, 0, false)])), BTreeSet::new());
    }
}
