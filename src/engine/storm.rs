//! PURE: the storm guard. When most waits of a channel run out at once, it is the provider that is silent, not the customers: fallbacks are held, for a bounded time.
//!
//! Easily got wrong: a few are no storm. Four codes at 3 a.m. and one phone that is off must fall back as usual.

use crate::delivery::{Channel, Timestamp};
use std::collections::{BTreeMap, VecDeque};

/// Over which time waits that ended are counted, in seconds. Source: `engine.md` §5.
const WINDOW_SECS: i64 = 10;
/// At least so many must have run out. Source: `engine.md` §5.
const RAN_OUT_MIN: u32 = 50;

/// Counts how waits ended, for each channel, second by second.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    seconds: BTreeMap<Channel, VecDeque<Second>>,
}

#[derive(Clone, Copy, Debug)]
struct Second {
    number: i64,
    confirmed: u32,
    ran_out: u32,
}

impl Guard {
    /// A wait ended because its receipt came.
    pub fn confirmed(&mut self, channel: Channel, now: Timestamp) {
        self.second(channel, now).confirmed += 1;
    }

    /// A wait ran out: it fired, or is first seen due.
    pub fn ran_out(&mut self, channel: Channel, now: Timestamp, count: u32) {
        self.second(channel, now).ran_out += count;
    }

    /// Whether fallbacks of this channel are held at `now`, if `due` more ran out now.
    pub fn storm(&mut self, channel: Channel, now: Timestamp, due: u32) -> bool {
        self.forget(channel, now);
        let seconds = self.seconds.get(&channel);
        let sum = |count: fn(&Second) -> u32| seconds.map_or(0, |seconds| seconds.iter().map(count).sum::<u32>());
        let ran_out = sum(|second| second.ran_out).saturating_add(due);
        ran_out >= RAN_OUT_MIN && ran_out > sum(|second| second.confirmed)
    }

    fn second(&mut self, channel: Channel, now: Timestamp) -> &mut Second {
        self.forget(channel, now);
        let number = now.millis().div_euclid(1_000);
        let seconds = self.seconds.entry(channel).or_default();
        if seconds.back().is_none_or(|last| last.number < number) {
            seconds.push_back(Second { number, confirmed: 0, ran_out: 0 });
        }
        seconds.back_mut().expect("one was put in just now")
    }

    fn forget(&mut self, channel: Channel, now: Timestamp) {
        let oldest = now.millis().div_euclid(1_000) - WINDOW_SECS;
        if let Some(seconds) = self.seconds.get_mut(&channel) {
            while seconds.front().is_some_and(|second| second.number < oldest) {
                seconds.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn most_and_many_are_a_storm_and_either_alone_is_none() {
        let mut guard = Guard::default();
        assert!(!guard.storm(Channel::WhatsApp, at(1), 49), "few");
        assert!(guard.storm(Channel::WhatsApp, at(1), 50));
        for _ in 0..60 {
            guard.confirmed(Channel::WhatsApp, at(1));
        }
        assert!(!guard.storm(Channel::WhatsApp, at(1), 60), "not most");
        assert!(guard.storm(Channel::WhatsApp, at(1), 61));
        assert!(guard.storm(Channel::Sms, at(1), 50), "each channel by itself");
        assert!(guard.storm(Channel::WhatsApp, at(12), 50), "what is older than ten seconds does not count");
    }
}
