//! What the machine does once it has decided: each function changes the state and says so in a decision. Enters: attempts, words and deadlines; leaves:
//! decisions.
//!
//! What is easily got wrong: a delivery has one clock. Setting another kind of timer clears the one that runs, unless it has just fired.

use super::{Cause, Turn};
use crate::delivery::{Attempt, Decision, Dispatch, Hold, NotAfter, Reason, Status, StatusWord, TimerKind, Timestamp, Why};
use std::time::Duration;

/// How long after the expiry a receipt may still come before the terminal status: the lag of receipts behind the provider's own clock, 3 s until measured
/// (`channels.md` §2.6). Providers are told to drop the message at the expiry or at the step's wait, so more would only delay the bank's answer.
pub(super) const RECEIPT_GRACE: Duration = Duration::from_secs(3);

impl Turn<'_> {
    /// Dispatches an attempt; false, and nothing is done, when the expiry leaves no time for it.
    pub(super) fn begin(&mut self, attempt: Attempt, why: Option<Why>, code: u32) -> bool {
        let Some((lease_end, not_after)) = self.room(attempt, self.now) else {
            return false;
        };
        self.clear();
        if attempt.n == 1 {
            self.state.tries.push(1);
            self.state.step_began = self.now;
            self.state.too_late_in_a_row = 0;
        } else if let Some(tries) = self.state.tries.last_mut() {
            *tries = attempt.n;
        }
        self.state.lease_hold = Hold::No;
        let _ = self.state.booked();
        let step = self.state.step(attempt);
        let dispatch = Dispatch { attempt, channel: step.channel, template: step.template.clone(), lease_end, not_after, why };
        self.decisions.push(Decision::Dispatch(dispatch));
        self.set(TimerKind::Lease, lease_end);
        let word = match why {
            None => StatusWord::Requested,
            Some(_) if attempt.n == 1 => StatusWord::Fallback,
            Some(_) => StatusWord::Retried,
        };
        let cause = why.map_or(Cause::of(Reason::None), |why| Cause { reason: why.reason, code, hold: why.hold });
        self.status(word, Some(attempt), cause, None, false);
        true
    }

    /// The end of the lease and the last instant of an attempt dispatched at `at`; `None` when it could not leave any more.
    pub(super) fn room(&self, attempt: Attempt, at: Timestamp) -> Option<(Timestamp, NotAfter)> {
        let step = self.state.step(attempt);
        let lease_end = at.plus(step.lease).min(self.state.expiry);
        let not_after = NotAfter::new(lease_end.minus(self.state.route.call_max));
        let lives = at.plus(step.life_min) <= self.state.expiry;
        (lives && not_after.allows(at)).then_some((lease_end, not_after))
    }

    /// The call's fate is known, or called unknown: from here the provider's time runs.
    pub(super) fn wait_from(&mut self, from: Timestamp) {
        self.state.lease_hold = Hold::No;
        let wait = self.state.step(self.state.current()).wait;
        self.set(TimerKind::Wait, from.plus(wait).min(self.state.expiry.plus(RECEIPT_GRACE)));
    }

    /// Ends a delivery that was not delivered.
    pub(super) fn end(&mut self, word: StatusWord, attempt: Option<Attempt>, cause: Cause) {
        self.clear();
        self.state.end = Some(word);
        let dispatched = !self.state.tries.is_empty();
        if dispatched {
            self.linger();
        }
        self.status(word, attempt, cause, None, false);
        if !dispatched {
            self.decisions.push(Decision::Forget);
        }
    }

    pub(super) fn linger(&mut self) {
        self.set(TimerKind::Linger, self.now.plus(self.state.route.linger));
    }

    pub(super) fn running(&self) -> Option<TimerKind> {
        self.state.clock.map(|(kind, _)| kind)
    }

    /// Sets the one timer; one of another kind is cleared, one of the same kind replaced.
    pub(super) fn set(&mut self, kind: TimerKind, at: Timestamp) {
        if self.state.clock == Some((kind, at)) {
            return;
        }
        if self.running() != Some(kind) {
            self.clear();
        }
        self.state.clock = Some((kind, at));
        self.decisions.push(Decision::SetTimer { kind, attempt: self.state.current(), at });
    }

    pub(super) fn clear(&mut self) {
        if let Some((kind, _)) = self.state.clock.take() {
            self.decisions.push(Decision::ClearTimer { kind, attempt: self.state.current() });
        }
    }

    pub(super) fn status(&mut self, word: StatusWord, attempt: Option<Attempt>, cause: Cause, provider_time: Option<Timestamp>, double_delivered: bool) {
        let seq = self.state.seq;
        self.state.seq = seq.saturating_add(1);
        self.state.double_told |= double_delivered;
        let channel = attempt.map(|attempt| self.state.step(attempt).channel);
        let Cause { reason, code, hold } = cause;
        self.decisions.push(Decision::Status(Status { seq, word, attempt, channel, reason, code, provider_time, double_delivered, hold }));
    }
}
