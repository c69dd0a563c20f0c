//! PURE: where does a task start to read a source? What the state carries counts, whether the group's position is ahead or behind.
//!
//! Easily got wrong: a group position that is *ahead* is no progress but a torn transaction, whose state, status and dispatch were aborted; following it would skip events.

use crate::delivery::Timestamp;
use std::time::Duration;

/// What is known about one source partition when a task opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The position record's word: every offset below is applied. `None` where it names no such topic.
    pub recorded: Option<i64>,
    /// The group's committed (stable) position.
    pub committed: Option<i64>,
    /// The first offset that the log still has.
    pub log_start: i64,
    /// The offset that the next record will have.
    pub log_end: i64,
    /// Where a first start begins, by the configuration: already turned into an offset.
    pub first: i64,
}

/// Where to start, and what was odd about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The first offset to read.
    pub offset: i64,
    /// Whether this start must be committed as a position record before the first read.
    pub new: bool,
    /// The source is read again below this offset: until then a receipt may come before its request, so receipts wait.
    pub reread_until: Option<i64>,
    /// What to count and log.
    pub oddity: Option<Oddity>,
}

/// A disagreement between state, group and log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// The group is behind the state: positions were lost, aborted or expired.
    GroupBehind,
    /// The group is ahead of the state: a torn transaction.
    GroupAhead,
    /// The log no longer has what the state would read next: records were lost to retention. Start at its first one.
    Truncated,
    /// The state is beyond the log's end: the topic was made anew, or lost writes. Nobody may guess.
    BeyondEnd,
}

/// The start of one source partition. `Err` only for [`Oddity::BeyondEnd`]: the task must not open.
pub fn start(known: Known) -> Result<Start, Oddity> {
    let Some(recorded) = known.recorded else {
        let (offset, new) = match known.committed {
            Some(committed) => (committed.clamp(known.log_start, known.log_end), true),
            None => (known.first.clamp(known.log_start, known.log_end), true),
        };
        return Ok(Start { offset, new, reread_until: None, oddity: None });
    };
    if recorded > known.log_end {
        return Err(Oddity::BeyondEnd);
    }
    if recorded < known.log_start {
        return Ok(Start { offset: known.log_start, new: true, reread_until: None, oddity: Some(Oddity::Truncated) });
    }
    let (reread_until, oddity) = match known.committed {
        // A position of before the topic was made anew lies beyond what there is to read again.
        Some(committed) if committed > recorded => (Some(committed.min(known.log_end)).filter(|until| *until > recorded), Some(Oddity::GroupAhead)),
        Some(committed) if committed < recorded => (None, Some(Oddity::GroupBehind)),
        Some(_) | None => (None, None),
    };
    Ok(Start { offset: recorded, new: false, reread_until, oddity })
}

/// A store may be from so far in the future before it counts as written by a wrong clock. A guess.
const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(300);

/// Whether tombstones may be gone from the changelog that a store written at this wall time has not seen. One from the future was written by a wrong clock: nobody
/// knows when.
pub fn too_old(written: Timestamp, now: Timestamp, age_max: Duration) -> bool {
    now.since(written) > age_max || written > now.plus(CLOCK_AHEAD_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_trusted_for_as_long_as_its_age_is_known_and_short() {
        let (now, hour) = (Timestamp::from_millis(1_764_900_000_000), Duration::from_secs(3_600));
        let written = |ms: i64| too_old(Timestamp::from_millis(now.millis() + ms), now, 5 * hour);
        assert_eq!([0, -18_000_000, -18_000_001, 300_000, 300_001].map(written), [false, false, true, false, true]);
        assert!(too_old(Timestamp::from_millis(0), now, 5 * hour), "never replayed to the end");
    }

    const KNOWN: Known = Known { recorded: Some(50), committed: Some(50), log_start: 10, log_end: 100, first: 100 };

    #[test]
    fn the_state_wins_whether_the_group_is_ahead_or_behind() {
        assert_eq!(start(KNOWN), Ok(Start { offset: 50, new: false, reread_until: None, oddity: None }));
        let ahead = start(Known { committed: Some(70), ..KNOWN });
        assert_eq!(ahead, Ok(Start { offset: 50, new: false, reread_until: Some(70), oddity: Some(Oddity::GroupAhead) }));
        let far_ahead = |recorded| start(Known { recorded: Some(recorded), committed: Some(1_000_000), ..KNOWN });
        assert_eq!(far_ahead(50), Ok(Start { offset: 50, new: false, reread_until: Some(100), oddity: Some(Oddity::GroupAhead) }));
        assert_eq!(
            far_ahead(100),
            Ok(Start { offset: 100, new: false, reread_until: None, oddity: Some(Oddity::GroupAhead) }),
            "nothing is there to be read again"
        );
        let behind = start(Known { committed: Some(30), ..KNOWN });
        assert_eq!(behind, Ok(Start { offset: 50, new: false, reread_until: None, oddity: Some(Oddity::GroupBehind) }));
        let gone = start(Known { committed: None, ..KNOWN });
        assert_eq!(gone.map(|start| start.offset), Ok(50));
    }

    #[test]
    fn without_a_record_the_group_counts_and_without_both_the_configured_first_start() {
        assert_eq!(start(Known { recorded: None, committed: Some(30), ..KNOWN }), Ok(Start { offset: 30, new: true, reread_until: None, oddity: None }));
        assert_eq!(start(Known { recorded: None, committed: None, ..KNOWN }), Ok(Start { offset: 100, new: true, reread_until: None, oddity: None }));
    }

    #[test]
    fn a_truncated_log_is_read_from_its_start_and_one_that_ends_too_early_stops_the_task() {
        let cut = start(Known { recorded: Some(5), ..KNOWN });
        assert_eq!(cut, Ok(Start { offset: 10, new: true, reread_until: None, oddity: Some(Oddity::Truncated) }));
        assert_eq!(start(Known { recorded: Some(101), ..KNOWN }), Err(Oddity::BeyondEnd));
    }
}
