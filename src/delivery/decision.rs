//! What a delivery decides: dispatches, timers and statuses, carried out by the engine in one transaction.
//!
//! What is easily got wrong: a timer that fired is gone; only one that was set and has neither fired nor been cleared is still set.

use super::{Attempt, Channel, Hold, NotAfter, Reason, TimerKind, Timestamp};
use std::sync::Arc;

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
    pub template: Arc<str>,
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
