//! Addresses that sent bad signatures wait a moment before the next signature of theirs is even computed.
//!
//! It only slows: a load balancer in front shares its address with the provider, whose webhooks must still get through.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Bad signatures by address, in the current window.
#[derive(Default)]
pub(super) struct Strangers(Mutex<Window>);

#[derive(Default)]
struct Window {
    /// When it began, in monotonic time.
    since: Duration,
    bad: HashMap<IpAddr, u32>,
}

impl Strangers {
    /// How long this address waits now.
    pub(super) fn pause(&self, address: IpAddr, now: Duration) -> Duration {
        let bad = self.window(now).bad.get(&address).copied().unwrap_or(0);
        if bad < BAD_MAX { Duration::ZERO } else { PAUSE }
    }

    /// Books a bad signature.
    pub(super) fn book(&self, address: IpAddr, now: Duration) {
        let bad = &mut self.window(now).bad;
        if bad.len() < ADDRESSES_MAX || bad.contains_key(&address) {
            let count = bad.entry(address).or_insert(0);
            *count = count.saturating_add(1);
        }
    }

    fn window(&self, now: Duration) -> std::sync::MutexGuard<'_, Window> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(window.since) > WINDOW {
            *window = Window { since: now, bad: HashMap::new() };
        }
        window
    }
}

/// All four are guesses: a provider with a stale secret stays usable, a flood costs us little (an HMAC of a receipt takes some microseconds).
const WINDOW: Duration = Duration::from_secs(10);
const BAD_MAX: u32 = 20;
const PAUSE: Duration = Duration::from_millis(200);
const ADDRESSES_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_many_bad_signatures_waits_until_the_window_ends() {
        let strangers = Strangers::default();
        let (bad, good) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let now = Duration::from_secs(100);
        for _ in 0..BAD_MAX {
            assert_eq!(strangers.pause(bad, now), Duration::ZERO);
            strangers.book(bad, now);
        }
        assert_eq!((strangers.pause(bad, now), strangers.pause(good, now)), (PAUSE, Duration::ZERO));
        assert_eq!(strangers.pause(bad, now + WINDOW + Duration::from_millis(1)), Duration::ZERO);
    }
}
