//! The delivery machine: the only place that chooses a fallback. Enters: one event and the time; leaves: decisions, in the order in which they are to be
//! carried out.
//!
//! What is easily got wrong: `now` is Kafka time, and what comes back (outcome, receipt, timer) names its attempt, which need not be the current one.

use super::{Attempt, Channel, NotAfter, Outcome, Reason, Receipt, Route, State, Timestamp};

/// What starts a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The route as it is now.
    pub route: Route,
    /// Nothing is sent from this instant on (Kafka time; the smaller of record time and decision, plus the route's expiry, or the record's own if earlier).
    pub expiry: Timestamp,
    /// Why this delivery cannot even begin (no number, a code of a wrong shape, poison); it then ends `failed` at once.
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
    /// A timer that was set and is due. The engine lets it fire only when the receipts are drained past its deadline.
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
    /// The customer's data are to be erased.
    Erase,
    /// The process died three times at this delivery's record.
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

/// What is to be done. The engine carries decisions out in this order, inside the transaction that also carries the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send one attempt.
    Dispatch(Dispatch),
    /// Set the timer of this kind; an earlier one of the same kind is replaced.
    SetTimer {
        /// Which clock.
        kind: TimerKind,
        /// For which try.
        attempt: Attempt,
        /// When it is due (Kafka time).
        at: Timestamp,
    },
    /// Clear the timer of this kind.
    ClearTimer {
        /// Which clock.
        kind: TimerKind,
        /// For which try it was set.
        attempt: Attempt,
    },
    /// Tell the bank.
    Status(Status),
    /// The state goes; what comes later belongs to an ended delivery.
    Forget,
}

/// The instruction to send one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// Which try.
    pub attempt: Attempt,
    /// Where.
    pub channel: Channel,
    /// What: the name of a template of the catalogue.
    pub template: String,
    /// The end of its lease (Kafka time).
    pub lease_end: Timestamp,
    /// From then on it must not leave any more (Kafka time).
    pub not_after: NotAfter,
    /// Why this is not the first attempt; `None` for attempt 1/1. Decides between the dispatch and the retry topic.
    pub why: Option<Why>,
}

/// Why a later attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Why {
    /// Timer, failure, our own delay, or the copy that the route asks for.
    pub reason: Reason,
    /// The attempt before it.
    pub from: Attempt,
    /// Whether the timer behind it was held.
    pub hold: Hold,
}

/// What the bank is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Counts from 0 for each message, without gaps.
    pub seq: u32,
    /// What happened.
    pub word: StatusWord,
    /// Which try it speaks of, where it speaks of one.
    pub attempt: Option<Attempt>,
    /// That try's channel.
    pub channel: Option<Channel>,
    /// Why.
    pub reason: Reason,
    /// The provider's own number; 0 for none.
    pub code: u32,
    /// The provider's time of the receipt, where it gave one.
    pub provider_time: Option<Timestamp>,
    /// Delivered although a fallback had already gone out.
    pub double_delivered: bool,
    /// Whether the timer behind it was held.
    pub hold: Hold,
}

/// The words of `recado.status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatusWord {
    /// The notification was taken; its first attempt is on its way.
    Requested,
    /// The provider reports that it left.
    Sent,
    /// Terminal: on the customer's phone.
    Delivered,
    /// The customer saw it.
    Read,
    /// The next step begins.
    Fallback,
    /// The same step is tried again (our own delay, or the copy that the route asks for).
    Retried,
    /// Terminal: every step failed.
    Failed,
    /// Terminal: its time ran out first.
    Expired,
    /// Terminal: the bank withdrew it, or the customer was erased.
    Cancelled,
    /// Terminal: sent, but nobody said what became of it.
    Unconfirmed,
    /// Delivered after another end; no second end.
    Late,
}

impl StatusWord {
    /// All words.
    pub const ALL: [Self; 11] = [
        Self::Requested,
        Self::Sent,
        Self::Delivered,
        Self::Read,
        Self::Fallback,
        Self::Retried,
        Self::Failed,
        Self::Expired,
        Self::Cancelled,
        Self::Unconfirmed,
        Self::Late,
    ];

    /// The word in records and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Fallback => "fallback",
            Self::Retried => "retried",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Unconfirmed => "unconfirmed",
            Self::Late => "late",
        }
    }

    /// Whether a delivery ends with it. Each has exactly one such status.
    pub const fn terminal(self) -> bool {
        match self {
            Self::Delivered | Self::Failed | Self::Expired | Self::Cancelled | Self::Unconfirmed => true,
            Self::Requested | Self::Sent | Self::Read | Self::Fallback | Self::Retried | Self::Late => false,
        }
    }
}

/// Begins a delivery. Returns its state and what is to be done; a delivery that ends at once (`obstacle`, expired on arrival) says so and forgets itself.
pub fn request(request: Request, now: Timestamp) -> (State, Vec<Decision>) {
    let _ = (request, now);
    todo!()
}

/// One event of a delivery under way. Any event may come at any time, twice, or not at all.
pub fn on(state: &mut State, event: &Event, now: Timestamp) -> Vec<Decision> {
    let _ = (state, event, now);
    todo!()
}
