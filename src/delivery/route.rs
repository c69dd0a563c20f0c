//! A route as the machine needs it: the ordered steps and their clocks. It is copied into the delivery's state at the request, so an edited route
//! changes new notifications only.

use super::{Channel, Lane};
use std::time::Duration;

/// Which message goes where, and how long to wait before going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Express or bulk.
    pub lane: Lane,
    /// Rungs, first to last; 1 to 8 of them.
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
    pub(super) template: String,
    pub(super) lease: Duration,
    pub(super) wait: Duration,
    pub(super) wait_for: WaitFor,
}

impl Step {
    /// A rung that sends `template` on `channel`. `lease`: how long the dispatch may take to reach the provider, from the decision. `wait`: how long
    /// the provider may take to send the receipt named by `wait_for`, from the outcome.
    pub fn new(channel: Channel, template: impl Into<String>, lease: Duration, wait: Duration, wait_for: WaitFor) -> Self {
        Self { channel, template: template.into(), lease, wait, wait_for }
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
