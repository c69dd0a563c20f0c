//! The delivery machine: the only place that chooses a fallback. Enters: one event and the time; leaves: decisions, in the order in which they are to be
//! carried out (timers cleared, dispatch, timer set, status, forget).
//!
//! What is easily got wrong: `now` is Kafka time, and what comes back (outcome, receipt, timer) names its attempt, which need not be the current one.
//!
//! **Which terminal status.** The last attempt decides, and what is not known is never called failed:
//! - `delivered`: a receipt *delivered* or *read*, for whatever attempt, before another end.
//! - `failed`: a final failure at the last step (rejected, throttled, unavailable, or a *failed* receipt). Also an obstacle at the request, poison, and a
//!   changed identity.
//! - `unconfirmed`: the wait of the last step ran out on an accepted or unknown call; a step that waits only for *sent* got it and nothing more; a copy
//!   (`resend_once`) was asked for, and no message was delivered, whatever became of the copy.
//! - `expired`: something was still to be sent (first attempt, next step, an attempt anew after *too_late*), and the expiry no longer allows it. Its reason
//!   is why it was to be sent.
//! - `cancelled`: the bank's cancel, an erasure, or a call refused because the customer's key is gone.
//!
//! **Expiry** has no timer of its own. A lease ends at the expiry at the latest, a wait three seconds after it (`RECEIPT_GRACE`), a back-off before it: so
//! each delivery has its terminal status within these three seconds, or as soon as its timers may fire. A step for which the expiry leaves no time is not
//! skipped in favour of a later one.

mod act;

use super::attempts::Fate;
use super::receipt::Reached;
use super::{
    Attempt, Decision, Event, Hold, Lane, OnUnknown, Outcome, Reason, Receipt, Request, STEPS_MAX, State, StatusWord, TimerKind, Timestamp, WaitFor, Why,
};
use std::time::Duration;

/// The pause before the third attempt when two in a row were *too_late*; it doubles with each further one (design §4).
const BACK_OFF_FIRST: Duration = Duration::from_secs(1);

/// The longest such pause (design §4).
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// Begins a delivery. Returns its state and what is to be done; a delivery that ends at once (`obstacle`, expired on arrival) says so and forgets itself.
///
/// Expired on arrival is one whose first attempt could not leave any more: its `not_after` is not later than `now`, or less than the step's least life is
/// left. An obstacle is named first. Panics on a route without steps or with more than [`STEPS_MAX`]: the configuration has refused it.
pub fn request(request: Request, now: Timestamp) -> (State, Vec<Decision>) {
    assert!((1..=STEPS_MAX).contains(&request.route.steps.len()), "a route has 1 to {STEPS_MAX} steps");
    let obstacle = request.obstacle;
    let mut state = State::new(request, now);
    let mut turn = Turn { state: &mut state, now, decisions: Vec::new() };
    match obstacle {
        Some(reason @ (Reason::Cancelled | Reason::Erased)) => turn.end(StatusWord::Cancelled, None, Cause::of(reason)),
        Some(Reason::Expired) => turn.end(StatusWord::Expired, None, Cause::of(Reason::Expired)),
        Some(reason) => turn.end(StatusWord::Failed, None, Cause::of(reason)),
        None if turn.begin(Attempt::FIRST, None, 0) => {}
        None => turn.end(StatusWord::Expired, None, Cause::of(Reason::Expired)),
    }
    let decisions = turn.decisions;
    (state, decisions)
}

/// One event of a delivery under way. Any event may come at any time, twice, or not at all.
///
/// An event about an attempt that was never dispatched, and any event after `Forget`, changes nothing.
pub fn on(state: &mut State, event: &Event, now: Timestamp) -> Vec<Decision> {
    if state.clock.is_none() {
        return Vec::new(); // forgotten
    }
    let mut turn = Turn { state, now, decisions: Vec::new() };
    match *event {
        Event::Outcome { attempt, outcome, reason, code, appended } => turn.outcome(attempt, outcome, Cause { reason, code, hold: Hold::No }, appended),
        Event::Receipt { attempt, receipt, reason, code, provider_time } => {
            turn.receipt(attempt, receipt, Cause { reason, code, hold: Hold::No }, provider_time);
        }
        Event::Timer { kind, attempt, hold } => turn.timer(kind, attempt, hold),
        Event::Cancel => turn.stop(StatusWord::Cancelled, Reason::Cancelled),
        Event::Erase => turn.erase(),
        Event::Poison => turn.stop(StatusWord::Failed, Reason::Poison),
    }
    turn.decisions
}

/// Why a delivery goes on or ends.
#[derive(Clone, Copy)]
struct Cause {
    reason: Reason,
    code: u32,
    hold: Hold,
}

impl Cause {
    const fn of(reason: Reason) -> Self {
        Self { reason, code: 0, hold: Hold::No }
    }

    /// The same, with a reason where none was given.
    fn or(self, reason: Reason) -> Self {
        if self.reason == Reason::None { Self { reason, ..self } } else { self }
    }
}

/// One call of the machine.
struct Turn<'s> {
    state: &'s mut State,
    now: Timestamp,
    decisions: Vec<Decision>,
}

/// What comes back.
impl Turn<'_> {
    fn outcome(&mut self, attempt: Attempt, outcome: Outcome, cause: Cause, appended: Timestamp) {
        if !self.state.made(attempt) {
            return;
        }
        let booked = self.state.attempts.entry(attempt);
        let accepted_before = booked.outcome == Some(Outcome::Accepted);
        let undecided = match booked.fate() {
            Fate::Open | Fate::Unknown => true,
            Fate::Accepted | Fate::TooLate | Fate::NotSent => false,
        };
        let open = booked.fate() == Fate::Open;
        booked.hear(outcome);
        if self.state.ended() || attempt != self.state.current() {
            return;
        }
        match outcome {
            Outcome::Accepted if !accepted_before => self.wait_from(appended),
            Outcome::Unknown if open => self.wait_from(appended),
            Outcome::Rejected if undecided => self.failure(cause.or(Reason::Provider)),
            Outcome::Throttled if undecided => self.failure(cause.or(Reason::Throttled)),
            Outcome::Unavailable if undecided => self.failure(cause.or(Reason::Unavailable)),
            Outcome::TooLate if undecided => self.too_late(cause),
            Outcome::Accepted | Outcome::Unknown | Outcome::Rejected | Outcome::Throttled | Outcome::Unavailable | Outcome::TooLate => {}
        }
    }

    fn receipt(&mut self, attempt: Attempt, receipt: Receipt, cause: Cause, provider_time: Option<Timestamp>) {
        if !self.state.made(attempt) {
            return;
        }
        let booked = self.state.attempts.entry(attempt);
        let reached = booked.receipts.reached;
        booked.receipts.hear(receipt);
        if self.state.ended() {
            return self.after_the_end(attempt, receipt, reached, provider_time);
        }
        let current = attempt == self.state.current();
        match receipt {
            Receipt::Delivered | Receipt::Read => self.delivered(attempt, provider_time),
            Receipt::Sent if current && reached == Reached::Nothing => self.sent(attempt, provider_time),
            Receipt::Failed if current => self.failure(cause.or(Reason::Failed)),
            Receipt::Sent | Receipt::Failed => {}
        }
    }

    /// It left the provider; that proves the call, if its outcome has not come yet.
    fn sent(&mut self, attempt: Attempt, provider_time: Option<Timestamp>) {
        if self.running() != Some(TimerKind::Wait) {
            self.wait_from(self.now);
        }
        self.status(StatusWord::Sent, Some(attempt), Cause::of(Reason::None), provider_time, false);
    }

    fn delivered(&mut self, attempt: Attempt, provider_time: Option<Timestamp>) {
        let double = self.state.attempts.doubled(attempt);
        self.clear();
        self.state.end = Some(StatusWord::Delivered);
        let forget = attempt.step == 1;
        if !forget {
            self.linger();
        }
        self.status(StatusWord::Delivered, Some(attempt), Cause::of(Reason::None), provider_time, double);
        if forget {
            self.decisions.push(Decision::Forget);
        }
    }

    /// A delivery that ended tells once that a message arrived late, once that two arrived, and of each attempt that it was read.
    fn after_the_end(&mut self, attempt: Attempt, receipt: Receipt, reached: Reached, provider_time: Option<Timestamp>) {
        let arrived = match receipt {
            Receipt::Delivered | Receipt::Read => true,
            Receipt::Sent | Receipt::Failed => false,
        };
        if arrived && reached < Reached::Delivered {
            let double = self.state.attempts.doubled(attempt);
            let first = self.state.end != Some(StatusWord::Delivered) && !self.state.late_told;
            if first || (double && !self.state.double_told) {
                self.state.late_told = true;
                self.status(StatusWord::Late, Some(attempt), Cause::of(Reason::None), provider_time, double);
            }
        } else if receipt == Receipt::Read && reached == Reached::Delivered {
            self.status(StatusWord::Read, Some(attempt), Cause::of(Reason::None), provider_time, false);
        }
    }
}

/// Timers and orders.
impl Turn<'_> {
    fn timer(&mut self, kind: TimerKind, attempt: Attempt, hold: Hold) {
        let due = self.state.clock.is_some_and(|(set, at)| set == kind && at <= self.now);
        if !due || attempt != self.state.current() {
            return;
        }
        self.state.clock = None; // it fired: nothing is left to be cleared
        match kind {
            TimerKind::Lease => {
                self.state.booked().lease_ended = true;
                self.wait_from(self.now);
                self.state.lease_hold = hold;
            }
            TimerKind::Wait => self.wait_ended(hold),
            TimerKind::BackOff => self.again(Reason::TooLate, Cause { reason: Reason::TooLate, code: 0, hold }),
            TimerKind::Linger => self.decisions.push(Decision::Forget),
        }
    }

    fn wait_ended(&mut self, hold: Hold) {
        let attempt = self.state.current();
        let hold = if hold == Hold::No { self.state.lease_hold } else { hold };
        let booked = *self.state.booked();
        let unknown_at_last = booked.fate() == Fate::Unknown && self.state.on_last_step();
        if self.state.step(attempt).wait_for == WaitFor::Sent && booked.receipts.reached >= Reached::Sent {
            self.end(StatusWord::Unconfirmed, Some(attempt), Cause { hold, ..Cause::of(Reason::None) });
        } else if unknown_at_last && self.state.route.on_unknown == OnUnknown::ResendOnce && !self.state.resent {
            self.state.resent = true;
            self.state.too_late_in_a_row = 0;
            self.again(Reason::Resend, Cause { reason: Reason::Unknown, code: 0, hold });
        } else {
            let reason = if unknown_at_last { Reason::Unknown } else { Reason::Timer };
            self.next_step(Cause { reason, code: 0, hold }, StatusWord::Unconfirmed);
        }
    }

    fn stop(&mut self, word: StatusWord, reason: Reason) {
        if !self.state.ended() {
            self.end(word, None, Cause::of(reason));
        }
    }

    /// Nothing about an erased customer is kept, not even for late receipts.
    fn erase(&mut self) {
        self.clear();
        if !self.state.ended() {
            self.state.end = Some(StatusWord::Cancelled);
            self.status(StatusWord::Cancelled, None, Cause::of(Reason::Erased), None, false);
        }
        self.decisions.push(Decision::Forget);
    }
}

/// Where to go from here.
impl Turn<'_> {
    /// The current attempt will not arrive.
    fn failure(&mut self, cause: Cause) {
        let current = Some(self.state.current());
        if cause.reason == Reason::IdentityChanged {
            self.end(StatusWord::Failed, current, cause);
        } else if cause.reason == Reason::Erased {
            self.end(StatusWord::Cancelled, current, cause);
        } else {
            self.next_step(cause, StatusWord::Failed);
        }
    }

    /// Our own delay: the same step again, at once or after a pause; on `express` not for ever.
    fn too_late(&mut self, cause: Cause) {
        let attempt = self.state.current();
        let in_a_row = self.state.too_late_in_a_row.saturating_add(1);
        self.state.too_late_in_a_row = in_a_row;
        let waited = self.now >= self.state.step_began.plus(self.state.step(attempt).wait);
        let waits_for_us = self.state.route.lane == Lane::Express && in_a_row >= 2 && waited;
        if waits_for_us || attempt.n == u16::MAX {
            return self.next_step(Cause { reason: Reason::Unavailable, ..cause }, StatusWord::Failed);
        }
        let cause = Cause { reason: Reason::TooLate, ..cause };
        if in_a_row < 2 {
            return self.again(Reason::TooLate, cause);
        }
        let at = self.now.plus(back_off(in_a_row));
        if self.room(attempt, at).is_some() {
            self.set(TimerKind::BackOff, at);
        } else {
            self.out_of_time(cause);
        }
    }

    /// The same step again.
    fn again(&mut self, why: Reason, cause: Cause) {
        let from = self.state.current();
        let next = from.n.checked_add(1).map(|n| Attempt { n, ..from });
        let why = Why { reason: why, from, hold: cause.hold };
        if !next.is_some_and(|attempt| self.begin(attempt, Some(why), cause.code)) {
            self.out_of_time(cause);
        }
    }

    /// The next step; where there is none, the end with this word.
    fn next_step(&mut self, cause: Cause, or_end: StatusWord) {
        let from = self.state.current();
        if self.state.on_last_step() {
            return self.last_step_ended(cause, or_end);
        }
        let why = Why { reason: cause.reason, from, hold: cause.hold };
        if !self.begin(Attempt { step: from.step + 1, n: 1 }, Some(why), cause.code) {
            self.out_of_time(cause);
        }
    }

    /// After a copy the delivery is `unconfirmed`, whatever became of the copy: nobody knows of the call before it. What receipts may have said of that
    /// call so far does not count, or their order would decide.
    fn last_step_ended(&mut self, cause: Cause, word: StatusWord) {
        let current = Some(self.state.current());
        if self.state.resent {
            self.end(StatusWord::Unconfirmed, current, Cause { reason: Reason::Unknown, ..cause });
        } else {
            self.end(word, current, cause);
        }
    }

    /// Something was to be sent, and the expiry no longer allows it.
    fn out_of_time(&mut self, cause: Cause) {
        self.last_step_ended(cause, StatusWord::Expired);
    }
}

/// The pause before the next attempt when so many in a row were *too_late*; two or more.
fn back_off(in_a_row: u16) -> Duration {
    let doublings = u32::from(in_a_row.saturating_sub(2)).min(5); // 2^5 s is beyond the longest
    (BACK_OFF_FIRST * 2_u32.pow(doublings)).min(BACK_OFF_MAX)
}
