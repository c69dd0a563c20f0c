//! What a delivery remembers between two events. Enters and leaves with each call of the machine; rests in `recado.state` and RocksDB as `bytes.rs` says.
//!
//! What is easily got wrong: the clock that runs is always that of the current attempt, and there is at most one: lease, then wait (or back-off), and
//! `linger` after the end. A state without a clock has been forgotten.

use super::attempts::{Attempts, Booked, Fate};
use super::{Attempt, Channel, Hold, Lane, Request, Route, STEPS_MAX, StatusWord, Step, TimerKind, Timestamp};
use arrayvec::ArrayVec;
use std::sync::Arc;
use std::time::Duration;

/// The memory of one delivery. Opaque outside `delivery/`: ask it through its methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub(super) route: Arc<Route>,
    pub(super) expiry: Timestamp,
    /// How many attempts each step that was begun has had; the last is the current step. Empty: nothing was ever dispatched.
    pub(super) tries: ArrayVec<u16, STEPS_MAX>,
    /// When the current step was first dispatched.
    pub(super) step_began: Timestamp,
    /// How many attempts ended *too_late*, one after the other, at the current step.
    pub(super) too_late_in_a_row: u16,
    /// The one copy that the route allows has been asked for.
    pub(super) resent: bool,
    /// Whether the lease of the current attempt was held before it ended.
    pub(super) lease_hold: Hold,
    /// The number of the next status.
    pub(super) seq: u32,
    /// The terminal status, once published.
    pub(super) end: Option<StatusWord>,
    /// A `late` has been published.
    pub(super) late_told: bool,
    /// A status has said that two messages reached the customer.
    pub(super) double_told: bool,
    /// The timer that is set, for the current attempt.
    pub(super) clock: Option<(TimerKind, Timestamp)>,
    pub(super) attempts: Attempts,
}

/// Why bytes are no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadState {
    /// Written by a newer Recado.
    #[error("unknown version {0} of a delivery's state")]
    Version(u8),
    /// Cut off, or not a state at all.
    #[error("the bytes are not a delivery's state")]
    Shape,
}

impl State {
    /// A delivery of which nothing has been dispatched.
    pub(super) fn new(request: Request, now: Timestamp) -> Self {
        Self {
            route: in_whole_ms(request.route),
            expiry: request.expiry,
            tries: ArrayVec::new(),
            step_began: now,
            too_late_in_a_row: 0,
            resent: false,
            lease_hold: Hold::No,
            seq: 0,
            end: None,
            late_told: false,
            double_told: false,
            clock: None,
            attempts: Attempts::default(),
        }
    }

    /// The timer that is set: what the engine's wheel is rebuilt from. That of the `SetTimer` decision that has neither been replaced nor cleared and has not
    /// fired; there is one at most.
    pub fn timer(&self) -> Option<(TimerKind, Attempt, Timestamp)> {
        self.clock.map(|(kind, at)| (kind, self.current(), at))
    }

    /// The channel and lane of the current attempt when it has neither outcome nor receipt yet and the delivery has not ended: it counts as open. A lease
    /// that ended without an outcome frees no place.
    pub fn open_attempt(&self) -> Option<(Channel, Lane)> {
        let booked = self.attempts.of(self.current())?;
        let open = match booked.fate() {
            Fate::Open => true,
            Fate::Unknown => booked.outcome.is_none(),
            Fate::Accepted | Fate::TooLate | Fate::NotSent => false,
        };
        (open && !self.ended()).then(|| (self.step(self.current()).channel, self.route.lane))
    }

    /// Whether its terminal status has been published.
    pub fn ended(&self) -> bool {
        self.end.is_some()
    }

    /// The attempt dispatched last; 1/1 where nothing was ever dispatched.
    pub fn current(&self) -> Attempt {
        let step = u8::try_from(self.tries.len().max(1)).expect("a route has at most 8 steps");
        Attempt { step, n: self.tries.last().copied().unwrap_or(1) }
    }

    /// The template that an attempt sends; `None` for an attempt at a step that the route does not have.
    pub fn step_template(&self, attempt: Attempt) -> Option<&str> {
        self.planned(attempt).map(|step| &*step.template)
    }

    /// How long an attempt waits for its receipt; `None` for an attempt at a step that the route does not have.
    pub fn step_wait(&self, attempt: Attempt) -> Option<Duration> {
        self.planned(attempt).map(|step| step.wait)
    }

    /// The channels of all its steps, in the order of the steps; one may come twice.
    pub fn channels(&self) -> impl Iterator<Item = Channel> + '_ {
        self.route.steps.iter().map(|step| step.channel)
    }

    /// The lane of its route.
    pub fn lane(&self) -> Lane {
        self.route.lane
    }

    /// Nothing is sent from this instant on (Kafka time).
    pub fn expiry(&self) -> Timestamp {
        self.expiry
    }

    /// Whether this attempt was ever dispatched.
    pub(super) fn made(&self, attempt: Attempt) -> bool {
        let tries = usize::from(attempt.step).checked_sub(1).and_then(|at| self.tries.get(at));
        tries.is_some_and(|&tries| (1..=tries).contains(&attempt.n))
    }

    /// The step of an attempt that was made, or may be.
    pub(super) fn step(&self, attempt: Attempt) -> &Step {
        self.planned(attempt).expect("attempts are made only at steps that the route has")
    }

    fn planned(&self, attempt: Attempt) -> Option<&Step> {
        self.route.steps.get(usize::from(attempt.step).checked_sub(1)?)
    }

    pub(super) fn booked(&mut self) -> &mut Booked {
        self.attempts.entry(self.current())
    }

    pub(super) fn on_last_step(&self) -> bool {
        self.tries.len() >= self.route.steps.len()
    }
}

/// The route as its stored form can hold it: the same one, where it can.
fn in_whole_ms(route: Arc<Route>) -> Arc<Route> {
    let cut = |span: Duration| Duration::from_millis(u64::from(ms(span)));
    let steps = || route.steps.iter().flat_map(|step| [step.lease, step.wait, step.life_min]);
    if [route.linger, route.call_max].into_iter().chain(steps()).all(|span| cut(span) == span) {
        return route;
    }
    let mut whole = Route { linger: cut(route.linger), call_max: cut(route.call_max), ..(*route).clone() };
    for step in &mut whole.steps {
        (step.lease, step.wait, step.life_min) = (cut(step.lease), cut(step.wait), cut(step.life_min));
    }
    whole.into()
}

/// Whole milliseconds of a span; what is longer than 49 days counts as that.
pub(super) fn ms(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}
