//! Points in time as the machine sees them: numbers that came in as arguments. Durations are `std::time::Duration`.

use std::time::Duration;

/// A point in time: milliseconds since 1970-01-01 UTC. Which clock it is (record time, Kafka time, a provider's) stands at the field that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since 1970-01-01 UTC; negative values are before it and legal.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// This instant moved later; it stops at the end of time instead of wrapping.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis_of(span)))
    }

    /// This instant moved earlier; it stops at the beginning of time instead of wrapping.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis_of(span)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn millis_of(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// The instant from which an attempt must not leave any more, in Kafka time.
///
/// The machine sets it to the end of the step's lease, or the expiry if that is earlier, less the longest that a call may take. The dispatcher
/// asks before the intent and again directly before the call. At exactly this instant it is already too late: `NotAfter::new(t).allows(t)` is
/// false. Source: `lease` and `expiry` of the route, `call_max` of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotAfter(Timestamp);

impl NotAfter {
    /// The limit itself.
    pub const fn new(limit: Timestamp) -> Self {
        Self(limit)
    }

    /// Whether an attempt may still leave at `now` (Kafka time).
    pub fn allows(self, now: Timestamp) -> bool {
        now < self.0
    }

    /// The limit as a point in Kafka time.
    pub const fn timestamp(self) -> Timestamp {
        self.0
    }
}
