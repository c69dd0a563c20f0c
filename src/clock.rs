//! The only reader of the time: a wall clock anchored to a monotonic one that counts while the machine sleeps.
//!
//! What comes out is this instance's own time. Kafka time, with which deadlines are compared, is this corrected by a measured offset (`engine/kafka_time.rs`).
#![expect(clippy::disallowed_methods, reason = "this is the one place where the time is read")]

use crate::delivery::Timestamp;
use std::time::Duration;

/// The wall clock, in ms since 1970. Steps with the system's clock.
pub fn wall() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let wall = Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    #[cfg(feature = "mutants")]
    let wall = wall.plus(crate::seeded_bug::clock_ahead());
    wall
}

/// Time since the machine was started, sleep included (`CLOCK_BOOTTIME`): never steps. For spans and leases.
pub fn monotonic() -> Duration {
    let mut spec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[expect(unsafe_code, reason = "no safe wrapper reads CLOCK_BOOTTIME")]
    // SAFETY: `spec` is a valid, exclusively borrowed timespec for the length of the call.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut spec) } != 0;
    assert!(!failed, "CLOCK_BOOTTIME exists since Linux 2.6.39");
    Duration::new(u64::try_from(spec.tv_sec).unwrap_or(0), u32::try_from(spec.tv_nsec).unwrap_or(0))
}

/// This process's own clock: the wall clock as it was at the first call, plus what `CLOCK_BOOTTIME` counted since. It never steps; Kafka time is measured
/// against it.
pub fn now() -> Timestamp {
    static ANCHOR: std::sync::OnceLock<(Timestamp, Duration)> = std::sync::OnceLock::new();
    let &(wall_then, monotonic_then) = ANCHOR.get_or_init(|| (wall(), monotonic()));
    wall_then.plus(monotonic().saturating_sub(monotonic_then))
}
