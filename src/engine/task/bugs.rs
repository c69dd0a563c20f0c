//! The seeded bugs of a task (`seeded_bug.rs`), planted where the pure machine is fed or obeyed.

use super::{Task, traffic};
use crate::delivery::{Attempt, Event, Hold, MessageId, State, Status, TimerKind, Timestamp};
use crate::engine::gate::Verdict;
use crate::engine::timers::Timer;
#[cfg(feature = "mutants")]
use crate::seeded_bug::planted;

impl Task {
    /// The status as it is, or with a `seq` of the task's own memory.
    pub(super) fn counted_anew(&mut self, id: MessageId, status: &Status) -> Status {
        if !planted("seq_restarts") {
            return status.clone();
        }
        let next = self.told.entry(id).or_default();
        let seq = *next;
        *next += 1;
        Status { seq, ..status.clone() }
    }

    /// Notes a wait that an event cleared before its time: with a bug it fires all the same.
    pub(super) fn keep_cleared(&mut self, id: MessageId, before: Option<(TimerKind, Attempt, Timestamp)>, state: &State, now: Timestamp) {
        if !planted("any_timer") {
            return;
        }
        let after = state.timer();
        if let Some((kind, attempt, at)) = before.filter(|timer| timer.0 == TimerKind::Wait && timer.2 > now && after != Some(*timer)) {
            self.cleared.push(Timer { message_id: id, kind, attempt, at, traffic: traffic(state, attempt) });
        }
    }
}

/// What the machine hears where a bug forgets which attempt a receipt or a timer was about; and when it believes to hear it.
pub(super) fn misheard(event: &Event, state: &State, now: Timestamp) -> (Event, Timestamp) {
    match event.clone() {
        Event::Receipt { receipt, reason, code, provider_time, .. } if planted("any_attempt") => {
            (Event::Receipt { attempt: state.current(), receipt, reason, code, provider_time }, now)
        }
        // The machine compares the time too: it is told that the deadline of the attempt under way has come.
        Event::Timer { kind, hold, .. } if planted("any_timer") => {
            (Event::Timer { kind, attempt: state.current(), hold }, state.timer().map_or(now, |timer| timer.2.max(now)))
        }
        event => (event, now),
    }
}

/// What the gate says, or what a bug makes of it.
pub(super) fn careless(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::NotDrained if planted("fire_undrained") => Verdict::Fire,
        Verdict::Hold(Hold::DispatcherSilent) if planted("lease_without_heartbeat") => Verdict::Fire,
        verdict => verdict,
    }
}
