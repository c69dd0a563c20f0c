//! What a delivery hears: its request, what comes back, its timers, and orders to stop.
//!
//! What is easily got wrong: outcome, receipt and timer name their attempt, which need not be the current one.

use super::{Attempt, Outcome, Reason, Receipt, Route, Timestamp};
use std::sync::Arc;

/// What starts a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The route as it is now.
    pub route: Arc<Route>,
    /// Nothing is sent from this instant on (Kafka time; the smaller of record time and decision, plus the route's expiry, or the record's own if earlier).
    pub expiry: Timestamp,
    /// Why this delivery cannot even begin (no number, a code of a wrong shape, poison); it then ends `failed` at once. `Cancelled` (the bank's cancel
    /// came before the request) and `Erased` (the customer's mark stands) end it `cancelled`, `Expired` ends it `expired`.
    pub obstacle: Option<Reason>,
}

/// What a delivery hears after its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The immediate answer to a dispatch.
    Outcome {
        /// Which try.
        attempt: Attempt,
        /// What became of the call.
        outcome: Outcome,
        /// Why, where it is not *accepted*.
        reason: Reason,
        /// The provider's own number for it; 0 when it gave none.
        code: u32,
        /// When the outcome was appended to the receipts topic (Kafka time): the wait counts from here.
        appended: Timestamp,
    },
    /// A provider's later report.
    Receipt {
        /// Which try.
        attempt: Attempt,
        /// What it says.
        receipt: Receipt,
        /// Why, where it is *failed*.
        reason: Reason,
        /// The provider's own number for it; 0 when it gave none.
        code: u32,
        /// The provider's time: shown, never compared with a deadline.
        provider_time: Option<Timestamp>,
    },
    /// A timer that was set and is due. The engine lets it fire only when the receipts are drained past its deadline. One that is not set (any more), is
    /// set for another try, or is not yet due at `now`, changes nothing.
    Timer {
        /// Which clock.
        kind: TimerKind,
        /// For which try.
        attempt: Attempt,
        /// Whether it was held before it fired.
        hold: Hold,
    },
    /// The bank withdraws the notification: the code was used.
    Cancel,
    /// The customer's data are to be erased. The state goes at once, without `linger`, also that of an ended delivery.
    Erase,
    /// The process died three times at this delivery's record. Changes nothing once it has ended.
    Poison,
}

/// The clocks of a delivery; one timer of each kind at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerKind {
    /// The dispatch must have reached the provider by then.
    Lease,
    /// The receipt that the step waits for must have come by then.
    Wait,
    /// An ended delivery is kept until then for late receipts.
    Linger,
    /// The same step is dispatched again then, after repeated delays of our own.
    BackOff,
}

/// Whether, and why, a due timer was kept waiting before it fired at the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It fired when it was due.
    No,
    /// The gateway gave no sign of life.
    GatewaySilent,
    /// The storm guard held it.
    Storm,
    /// The dispatcher gave no sign of life.
    DispatcherSilent,
}
