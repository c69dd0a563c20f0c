//! The places of our words in the enums of the newest schemas: what travels instead of the word.
//!
//! Easily got wrong: a place never changes, and it is no ordinal of a stored value. A word that is added comes last in its schema, and in a new version of it.

use crate::delivery::{Channel, Hold, Lane, Outcome, Receipt, StatusWord};

/// The symbols of `Outcome` in `schemas/returned.avsc`.
pub(super) const OUTCOMES: [Outcome; 6] = [Outcome::Accepted, Outcome::Rejected, Outcome::Throttled, Outcome::Unavailable, Outcome::TooLate, Outcome::Unknown];
/// The symbols of `Receipt` there.
pub(super) const RECEIPTS: [Receipt; 4] = [Receipt::Sent, Receipt::Delivered, Receipt::Read, Receipt::Failed];

/// What is an enum in one of our schemas.
pub(super) trait Symbol {
    /// Its place among the symbols, from 0.
    fn place(self) -> u8;
}

impl Symbol for Channel {
    fn place(self) -> u8 {
        match self {
            Self::WhatsApp => 0,
            Self::Sms => 1,
            Self::Voice => 2,
        }
    }
}

impl Symbol for Lane {
    fn place(self) -> u8 {
        match self {
            Self::Express => 0,
            Self::Bulk => 1,
        }
    }
}

impl Symbol for Hold {
    fn place(self) -> u8 {
        match self {
            Self::No => 0,
            Self::GatewaySilent => 1,
            Self::Storm => 2,
            Self::DispatcherSilent => 3,
        }
    }
}

impl Symbol for StatusWord {
    fn place(self) -> u8 {
        match self {
            Self::Requested => 0,
            Self::Sent => 1,
            Self::Delivered => 2,
            Self::Read => 3,
            Self::Fallback => 4,
            Self::Retried => 5,
            Self::Failed => 6,
            Self::Expired => 7,
            Self::Cancelled => 8,
            Self::Unconfirmed => 9,
            Self::Late => 10,
        }
    }
}
