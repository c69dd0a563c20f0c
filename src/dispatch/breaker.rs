//! PURE: is a provider up? Enters: what calls came to and the time; leaves: whether the next call may be made.
//!
//! An open breaker answers *unavailable* at once, so the machine falls back without waiting; while it is half-open only one probe a second goes through.

use crate::delivery::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// When it opens and how it closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Over what time calls are looked at; whole seconds.
    pub window: Duration,
    /// It does not open on fewer calls than this.
    pub calls_min: u32,
    /// It opens when so many of a hundred calls failed.
    pub failed_percent_min: u32,
    /// How long it stays open before the first probe.
    pub pause: Duration,
    /// Half-open, one call passes each so long.
    pub probe_every: Duration,
}

impl Default for Limits {
    /// A guess to begin with: 20 calls, half of them failed, in 10 s; 5 s of rest, a probe each second. Source: channels.md §3, judgement.
    fn default() -> Self {
        Self { window: Duration::from_secs(10), calls_min: 20, failed_percent_min: 50, pause: Duration::from_secs(5), probe_every: Duration::from_secs(1) }
    }
}

/// The breaker of one provider, or of one template at a provider.
#[derive(Debug)]
pub struct Breaker {
    limits: Limits,
    state: State,
    /// (second, calls, failures), oldest first.
    seconds: VecDeque<(i64, u32, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    /// From `next` on, one probe may pass.
    Open {
        next: Timestamp,
    },
}

impl Breaker {
    /// Closed.
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: State::Closed, seconds: VecDeque::new() }
    }

    /// Whether a call may be made now; a yes of an open one is the probe, and the next yes comes `probe_every` later.
    pub fn allows(&mut self, now: Timestamp) -> bool {
        match &mut self.state {
            State::Closed => true,
            State::Open { next } if *next <= now => {
                *next = now.plus(self.limits.probe_every);
                true
            }
            State::Open { .. } => false,
        }
    }

    /// Whether it is open or half-open.
    pub fn open(&self) -> bool {
        self.state != State::Closed
    }

    /// A call ended well: that closes an open one.
    pub fn succeeded(&mut self, now: Timestamp) {
        if self.open() {
            self.state = State::Closed;
            self.seconds.clear();
        }
        self.count(now, 0);
    }

    /// A call failed in a way that says something about the provider: a probe that fails opens it anew.
    pub fn failed(&mut self, now: Timestamp) {
        if self.open() {
            return self.trip(now, None);
        }
        self.count(now, 1);
        let (calls, failures) =
            self.seconds.iter().fold((0u64, 0u64), |(calls, failures), second| (calls + u64::from(second.1), failures + u64::from(second.2)));
        if calls >= u64::from(self.limits.calls_min) && failures * 100 >= calls * u64::from(self.limits.failed_percent_min) {
            self.trip(now, None);
        }
    }

    /// Opens at once, for at least `pause` or, without one, the usual one; a breaker that is open for longer already stays so.
    pub fn trip(&mut self, now: Timestamp, pause: Option<Duration>) {
        let next = now.plus(pause.unwrap_or(self.limits.pause));
        self.state = match self.state {
            State::Open { next: before } => State::Open { next: before.max(next) },
            State::Closed => State::Open { next },
        };
        self.seconds.clear();
    }

    fn count(&mut self, now: Timestamp, failed: u32) {
        let second = now.millis().div_euclid(1_000);
        let oldest = second - i64::try_from(self.limits.window.as_secs()).unwrap_or(i64::MAX);
        while self.seconds.front().is_some_and(|(then, _, _)| *then <= oldest) {
            self.seconds.pop_front();
        }
        match self.seconds.back_mut() {
            Some((then, calls, failures)) if *then == second => {
                *calls = calls.saturating_add(1);
                *failures = failures.saturating_add(failed);
            }
            _ => self.seconds.push_back((second, 1, failed)),
        }
    }
}

/// Many breakers under names; one that was never asked for is closed.
#[derive(Debug)]
pub struct Breakers<K: Ord> {
    limits: Limits,
    all: BTreeMap<K, Breaker>,
}

impl<K: Ord> Breakers<K> {
    /// None open.
    pub fn new(limits: Limits) -> Self {
        Self { limits, all: BTreeMap::new() }
    }

    /// The one of this name.
    pub fn of(&mut self, key: K) -> &mut Breaker {
        self.all.entry(key).or_insert_with(|| Breaker::new(self.limits))
    }

    /// The names of those that are open or half-open.
    pub fn open(&self) -> impl Iterator<Item = &K> {
        self.all.iter().filter(|(_, breaker)| breaker.open()).map(|(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn breaker() -> Breaker {
        Breaker::new(Limits::default())
    }

    #[test]
    fn it_opens_when_half_of_twenty_calls_failed_within_ten_seconds() {
        let mut breaker = breaker();
        for i in 0..19 {
            if i % 2 == 0 { breaker.succeeded(at(i)) } else { breaker.failed(at(i)) }
        }
        assert!(breaker.allows(at(19)), "nineteen calls are too few");
        breaker.failed(at(19));
        assert!(!breaker.allows(at(20)));
    }

    #[test]
    fn failures_of_long_ago_do_not_count() {
        let mut breaker = breaker();
        for _ in 0..19 {
            breaker.failed(at(0));
        }
        breaker.failed(at(10_000));
        assert!(!breaker.open());
    }

    #[test]
    fn after_the_pause_one_probe_a_second_passes_and_the_first_success_closes_it() {
        let mut breaker = breaker();
        for _ in 0..20 {
            breaker.failed(at(0));
        }
        assert!(!breaker.allows(at(4_999)));
        assert!(breaker.allows(at(5_000)), "the probe");
        assert!(!breaker.allows(at(5_999)));
        assert!(breaker.allows(at(6_000)), "the first one said nothing for a second");
        breaker.failed(at(6_100));
        assert!(!breaker.allows(at(11_099)), "it failed: all begins anew");
        assert!(breaker.allows(at(11_100)));
        breaker.succeeded(at(11_200));
        assert!(breaker.allows(at(11_200)) && breaker.allows(at(11_200)));
        breaker.failed(at(11_201));
        assert!(!breaker.open(), "it counts from the beginning");
    }

    #[test]
    fn a_provider_that_says_so_opens_it_at_once_and_for_good_if_need_be() {
        let mut breaker = breaker();
        breaker.trip(at(0), Some(Duration::MAX));
        breaker.trip(at(1), Some(Duration::from_secs(1)));
        assert!(!breaker.allows(at(i64::MAX - 1)));
    }

    #[test]
    fn each_limit_is_one_that_may_be_set() {
        let limits = Limits {
            window: Duration::from_secs(60),
            calls_min: 4,
            failed_percent_min: 100,
            pause: Duration::from_secs(30),
            probe_every: Duration::from_secs(1),
        };
        let mut breaker = Breaker::new(limits);
        (0..3).for_each(|i| breaker.failed(at(i * 19_000)));
        breaker.succeeded(at(57_000));
        breaker.failed(at(57_001));
        assert!(!breaker.open(), "four of five are not all");
        breaker.failed(at(120_000));
        (0..3).for_each(|_| breaker.failed(at(120_000)));
        assert!(!breaker.allows(at(149_999)) && breaker.allows(at(150_000)));
        let mut told = Breaker::new(limits);
        told.trip(at(0), None);
        assert!(!told.allows(at(29_999)) && told.allows(at(30_000)), "what a provider says of itself opens it for the same pause");
    }
}
