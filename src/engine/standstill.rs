//! Whether this process as a whole stood still: stopped by a signal, frozen with its container, or with its machine.
//!
//! Whoever stood still beyond its session cannot know who has its name by now. librdkafka would join at once under the same name and take it back from a successor,
//! which then ends as fenced, and so does this one, whose producer is: both, where one would do. So a member that lost its partitions that way ends before it gives
//! them back. A thread that waits for Kafka is no standstill: other threads go on, and one of them counts here.

use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

/// How often this process looks at the clock.
const TICK: Duration = Duration::from_millis(250);
/// Between two looks: more than a busy machine makes of it, less than what is left of a session of 10 s after some lost heartbeats.
const LONG: Duration = Duration::from_secs(4);
/// For how long afterwards what happens follows from it.
const RECENT: Duration = Duration::from_secs(20);

static TICKS: Mutex<Ticks> = Mutex::new(Ticks { last: None, stood: None });

#[derive(Debug)]
struct Ticks {
    last: Option<Duration>,
    /// When the newest standstill was noticed, and how long it was.
    stood: Option<(Duration, Duration)>,
}

impl Ticks {
    fn tick(&mut self, now: Duration) {
        let span = self.last.map_or(Duration::ZERO, |last| now.saturating_sub(last));
        if span >= LONG {
            self.stood = Some((now, span));
        }
        self.last = Some(now);
    }

    fn recent(&mut self, now: Duration) -> Option<Duration> {
        self.tick(now); // who asks may be quicker than the ticking thread
        self.stood.filter(|(noticed, _)| now.saturating_sub(*noticed) < RECENT).map(|(_, span)| span)
    }
}

/// From now on this process watches itself.
pub fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let ticking = std::thread::Builder::new().name("standstill".into()).spawn(|| {
            loop {
                ticks(|ticks| ticks.tick(crate::clock::monotonic()));
                std::thread::sleep(TICK);
            }
        });
        ticking.expect("a process that cannot start a thread cannot start its roles either");
    });
}

/// To be asked when the group has taken the partitions, before they are given back: ends this process where they were lost to a standstill. At once, as the watchdog
/// does: the client closes only when the partitions were given back, and joins anew when they are.
pub fn end_where_lost(lost: bool) {
    let stood = ticks(|ticks| ticks.recent(crate::clock::monotonic()));
    if let Some(span) = stood.filter(|_| lost) {
        let seconds = span.as_secs();
        tracing::error!(
            seconds,
            "This process stood still, and its group has given it up. It ends: another may have its name, and a restart is as good as going on."
        );
        std::process::abort();
    }
}

fn ticks<T>(of: impl FnOnce(&mut Ticks) -> T) -> T {
    of(&mut TICKS.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_gap_in_its_own_ticking_is_a_standstill_for_twenty_seconds_whoever_looks_first() {
        let mut ticks = Ticks { last: None, stood: None };
        assert_eq!(ticks.recent(ms(1_000)), None, "the first look knows nothing of before");
        (5..40).for_each(|tick| ticks.tick(ms(tick * 250)));
        assert_eq!(ticks.recent(ms(13_749)), None, "3,999 ms are a busy machine");
        assert_eq!(ticks.recent(ms(17_749)), Some(ms(4_000)), "who asks is the first to look");
        ticks.tick(ms(17_999));
        assert_eq!(ticks.recent(ms(18_249)), Some(ms(4_000)));
        (0..78).for_each(|tick| ticks.tick(ms(18_249 + tick * 250)));
        assert_eq!(ticks.recent(ms(37_748)), Some(ms(4_000)));
        assert_eq!(ticks.recent(ms(37_749)), None);
    }
}
