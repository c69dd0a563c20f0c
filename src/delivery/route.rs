//! A route as the machine needs it: the ordered steps and their clocks. It is copied into the delivery's state at the request, so an edited route
//! changes new notifications only.

use super::{Channel, Lane};
use std::sync::Arc;
use std::time::Duration;

/// How many steps a route may have.
pub const STEPS_MAX: usize = 8;

/// Which message goes where, and how long to wait before going on. Deliveries share it.
///
/// All spans are whole milliseconds up to `u32::MAX` of them (49 days): the machine cuts what is finer or longer when a delivery begins. A route whose
/// lease is not longer than `call_max` never sends anything: `recado check` refuses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Express or bulk.
    pub lane: Lane,
    /// Rungs, first to last; 1 to [`STEPS_MAX`] of them.
    pub steps: Vec<Step>,
    /// What happens when the last step's outcome stays unknown.
    pub on_unknown: OnUnknown,
    /// How long an ended delivery is kept for late receipts when it did not end at its first step.
    pub linger: Duration,
    /// The longest that a call may take, with its margin: `not_after` is the lease's end less this.
    pub call_max: Duration,
}

/// One rung. Its fields are visible in `delivery/` alone: nobody else may choose a next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub(super) channel: Channel,
    pub(super) template: Arc<str>,
    pub(super) lease: Duration,
    pub(super) wait: Duration,
    pub(super) wait_for: WaitFor,
    pub(super) life_min: Duration,
}

impl Step {
    /// A rung that sends `template` on `channel`. `lease`: how long the dispatch may take to reach the provider, from the decision. `wait`: how long
    /// the provider may take to send the receipt named by `wait_for`, from the outcome.
    pub fn new(channel: Channel, template: impl Into<Arc<str>>, lease: Duration, wait: Duration, wait_for: WaitFor) -> Self {
        Self { channel, template: template.into(), lease, wait, wait_for, life_min: Duration::ZERO }
    }

    /// The same rung, not begun when less than `life_min` is left before the expiry; exactly that much is enough. Without it: zero. For codes 20 s, by a
    /// call 45 s (`privacy.md` §4).
    #[must_use]
    pub fn needing(self, life_min: Duration) -> Self {
        Self { life_min, ..self }
    }
}

/// The receipt that a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// For carriers without receipts: with it the step ends `unconfirmed` at its wait.
    Sent,
    /// The default.
    Delivered,
}

/// What happens when the wait of the last step ends and nobody knows whether its call went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnknown {
    /// One more copy, once in a delivery. For codes: a second copy of the same code is harmless.
    ResendOnce,
    /// The terminal status is `unconfirmed`.
    GiveUp,
}
