//! PURE: what the journal of one partition says, in its order: the first entry of an attempt decides who may call.

use crate::delivery::{AttemptId, Timestamp};
use crate::event::records::{JournalEntry, JournalKind};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Replay begins at least so long before the journal's last entry. Source: `engine.md` §7.
pub const REPLAY_BEFORE_LAST: Duration = Duration::from_secs(5 * 60);
/// Entries are remembered at most so long. Source: `engine.md` §7.
const REMEMBERED_MAX: Duration = Duration::from_secs(3_600);
/// Append times of two partitions may be so far apart before it counts as a clock disagreement. Source: design §4.
const SKEW_MAX: Duration = crate::engine::kafka_time::DISAGREEMENT_MAX;

/// So far apart are the entries from which a replay may begin that must cover a dispatch which still waits.
const MARK_EVERY: Duration = Duration::from_secs(10);
/// More than half a day of them: a dispatch that waits for longer is *unknown* to the next owner.
const MARKS_MAX: usize = 5_000;

/// From when on an attempt without an entry is known to have none. A dispatch older than that is *unknown*: never called, never *too_late*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Nothing of the journal was ever deleted, and all of it is read.
    Whole,
    /// All entries since this append time are read.
    Since(Timestamp),
    /// All entries since the first that is read.
    FromFirst,
}

/// Where to begin reading the journal: at the committed position, never later than `by_time`, the first entry of the last five minutes before the newest one;
/// at the log's start without a committed position, or with one that lies outside the log.
///
/// - `low`, `end`: the log's first and next offset. `newest`: append time of its last entry, `None` for an empty log.
pub fn replay_start(low: i64, end: i64, committed: Option<i64>, newest: Option<(Timestamp, i64)>) -> (i64, Coverage) {
    let inside = committed.filter(|committed| (low..=end).contains(committed));
    let start = match (inside, newest) {
        (Some(committed), Some((_, by_time))) => committed.min(by_time).max(low),
        (Some(_), None) | (None, _) => low,
    };
    let by_time = newest.filter(|(_, by_time)| start == *by_time && start > low);
    let coverage = match by_time {
        _ if start == 0 && committed.is_none_or(|committed| committed <= end) => Coverage::Whole,
        Some((newest, _)) => Coverage::Since(newest.minus(REPLAY_BEFORE_LAST)),
        None => Coverage::FromFirst,
    };
    (start, coverage)
}

/// The entry that stands first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    Intent(u64),
    Refused(u64),
    /// A done mark whose claim is older than the replay.
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    first: First,
    offset: i64,
    done: bool,
    forget: Timestamp,
}

/// The journal as far as it is read and remembered.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Next offset; `None` before the replay begins.
    position: Option<i64>,
    end: i64,
    coverage: Option<Coverage>,
    known: BTreeMap<AttemptId, Known>,
    forget: BTreeSet<(Timestamp, AttemptId)>,
    /// Offsets of first entries without a done mark.
    open: BTreeMap<i64, AttemptId>,
    /// Some entries that were read, at least [`MARK_EVERY`] apart: append time and offset.
    marks: VecDeque<(Timestamp, i64)>,
}

impl Book {
    pub(super) fn replay(&mut self, start: i64, end: i64, coverage: Coverage) {
        self.position = Some(start);
        self.end = end;
        self.coverage = Some(coverage);
    }

    pub(super) fn replayed(&self) -> bool {
        // A journal of which nothing is read covers nothing unless it covers all: the first entry, if only our own hello, says since when.
        self.position.is_some_and(|position| position >= self.end) && self.coverage.is_some_and(|coverage| coverage != Coverage::FromFirst)
    }

    pub(super) fn position(&self) -> Option<i64> {
        self.replayed().then_some(self.position).flatten()
    }

    pub(super) fn covers(&self, appended: Timestamp) -> bool {
        match self.coverage {
            Some(Coverage::Whole) => true,
            Some(Coverage::Since(since)) => appended >= since.plus(SKEW_MAX),
            Some(Coverage::FromFirst) | None => false,
        }
    }

    /// From where a replay must begin that covers this append time too; `None` where nothing was read.
    pub(super) fn covering(&self, appended: Timestamp) -> Option<i64> {
        let early = |(mark, _): &&(Timestamp, i64)| mark.plus(SKEW_MAX) <= appended;
        self.marks.iter().rev().find(early).or(self.marks.front()).map(|(_, offset)| *offset)
    }

    /// Notes that this offset is read.
    pub(super) fn pass(&mut self, offset: i64, appended: Timestamp) {
        self.position = Some(offset + 1);
        if self.marks.back().is_none_or(|(last, _)| *last <= appended.minus(MARK_EVERY)) {
            if self.marks.len() == MARKS_MAX {
                self.marks.pop_front();
            }
            self.marks.push_back((appended, offset));
        }
        if self.coverage == Some(Coverage::FromFirst) {
            self.coverage = Some(Coverage::Since(appended));
        }
    }

    /// Books one entry; returns which one stands first for its attempt, `None` for a hello.
    pub(super) fn enter(&mut self, offset: i64, appended: Timestamp, entry: JournalEntry) -> Option<First> {
        self.pass(offset, appended);
        let first = match entry.kind {
            JournalKind::Hello => return None,
            JournalKind::Intent => First::Intent(entry.epoch),
            JournalKind::Refused => First::Refused(entry.epoch),
            JournalKind::Done => First::Done,
        };
        let forget = appended.plus(REMEMBERED_MAX);
        let known = self.known.entry(entry.attempt_id).or_insert_with(|| {
            self.forget.insert((forget, entry.attempt_id));
            self.open.insert(offset, entry.attempt_id);
            Known { first, offset, done: false, forget }
        });
        if entry.kind == JournalKind::Done {
            known.done = true;
            self.open.remove(&known.offset);
        }
        let first = known.first;
        if !self.replayed() {
            self.forget(appended);
        }
        Some(first)
    }

    pub(super) fn first(&self, id: &AttemptId) -> Option<First> {
        self.known.get(id).map(|known| known.first)
    }

    /// The offset of its first entry where it is done.
    pub(super) fn done(&self, id: &AttemptId) -> Option<i64> {
        self.known.get(id).filter(|known| known.done).map(|known| known.offset)
    }

    /// The lowest first entry that is not done.
    pub(super) fn lowest_open(&self) -> Option<i64> {
        self.open.first_key_value().map(|(offset, _)| *offset)
    }

    /// A finished attempt is remembered until its expiry, and an hour at most.
    pub(super) fn keep_until(&mut self, id: &AttemptId, expiry: Timestamp) {
        if let Some(known) = self.known.get_mut(id)
            && expiry < known.forget
        {
            self.forget.remove(&(known.forget, *id));
            known.forget = expiry;
            self.forget.insert((expiry, *id));
        }
    }

    /// Drops what is too old at `now` (Kafka time), and narrows what is covered. What was finished too: its dispatch comes once more where the group's position was
    /// lost, and would pass for one that nobody called. An entry that was kept until its expiry alone narrows to an hour before that, which lies before the entry
    /// itself: whatever is younger than an hour stays covered.
    pub(super) fn forget(&mut self, now: Timestamp) {
        while let Some(&(due, id)) = self.forget.first()
            && due <= now
        {
            self.forget.pop_first();
            let Some(known) = self.known.remove(&id) else { continue };
            self.open.remove(&known.offset);
            self.narrow(due.minus(REMEMBERED_MAX));
        }
    }

    fn narrow(&mut self, since: Timestamp) {
        self.coverage = match self.coverage {
            Some(Coverage::Since(before)) => Some(Coverage::Since(before.max(since))),
            Some(Coverage::Whole) => Some(Coverage::Since(since)),
            other => other,
        };
    }
}
