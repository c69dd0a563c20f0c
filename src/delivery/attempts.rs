//! What is known of each attempt of a delivery: the booked outcomes and receipts. Enters: what came back; leaves: what became of the call.
//!
//! What is easily got wrong: a lease that ended is no outcome (the attempt still counts as open to the engine), although the machine goes on as if the
//! outcome were *unknown*.

use super::{Attempt, Outcome, receipt::Lattice};
use arrayvec::ArrayVec;

/// How many attempts are remembered one by one. Above it the oldest that is proven not to have gone out is dropped, else the oldest. A delivery has at most
/// nine others (one for each of eight steps, and one copy), so what is dropped is a *too_late*, of which nothing more is expected.
pub(super) const REMEMBERED_MAX: usize = 16;

/// One attempt and what came back for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Booked {
    pub(super) attempt: Attempt,
    pub(super) outcome: Option<Outcome>,
    /// Its lease ended before an outcome came.
    pub(super) lease_ended: bool,
    pub(super) receipts: Lattice,
}

/// What became of a call, all reports taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing has come back yet.
    Open,
    /// It may or may not have gone out.
    Unknown,
    /// The provider took it: by its outcome, or because any receipt proves it.
    Accepted,
    /// Not sent, by our own delay.
    TooLate,
    /// Rejected, throttled or unavailable.
    NotSent,
}

impl Booked {
    pub(super) const fn new(attempt: Attempt) -> Self {
        Self { attempt, outcome: None, lease_ended: false, receipts: Lattice::NOTHING }
    }

    /// A known outcome beats *unknown*, in either order; of two known ones *accepted* counts, else the first.
    pub(super) fn hear(&mut self, outcome: Outcome) {
        self.outcome = match (self.outcome, outcome) {
            (None | Some(Outcome::Unknown), new) | (Some(_), new @ Outcome::Accepted) => Some(new),
            (known, _) => known,
        };
    }

    pub(super) fn fate(&self) -> Fate {
        if self.receipts != Lattice::NOTHING {
            return Fate::Accepted;
        }
        match self.outcome {
            None if self.lease_ended => Fate::Unknown,
            None => Fate::Open,
            Some(Outcome::Unknown) => Fate::Unknown,
            Some(Outcome::Accepted) => Fate::Accepted,
            Some(Outcome::TooLate) => Fate::TooLate,
            Some(Outcome::Rejected | Outcome::Throttled | Outcome::Unavailable) => Fate::NotSent,
        }
    }

    /// It went out, or may have, and nobody has said that it failed.
    pub(super) fn may_have_arrived(&self) -> bool {
        match self.fate() {
            Fate::Open | Fate::Unknown => true,
            Fate::Accepted => self.receipts.arrived() || !self.receipts.failed,
            Fate::TooLate | Fate::NotSent => false,
        }
    }

    fn proven_unsent(&self) -> bool {
        match self.fate() {
            Fate::TooLate | Fate::NotSent => true,
            Fate::Open | Fate::Unknown | Fate::Accepted => false,
        }
    }
}

/// The attempts that a delivery remembers, in the order of step and n; at most [`REMEMBERED_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attempts(pub(super) ArrayVec<Booked, REMEMBERED_MAX>);

impl Attempts {
    pub(super) fn of(&self, attempt: Attempt) -> Option<&Booked> {
        self.0.binary_search_by_key(&attempt, |booked| booked.attempt).ok().map(|at| &self.0[at])
    }

    /// The entry of an attempt; a new one where it was never made or has been dropped, which may drop another.
    pub(super) fn entry(&mut self, attempt: Attempt) -> &mut Booked {
        let at = match self.0.binary_search_by_key(&attempt, |booked| booked.attempt) {
            Ok(at) => at,
            Err(_) => self.insert(attempt),
        };
        &mut self.0[at]
    }

    fn insert(&mut self, attempt: Attempt) -> usize {
        if self.0.len() >= REMEMBERED_MAX {
            let before_the_newest = &self.0[..self.0.len() - 1];
            let oldest_unsent = before_the_newest.iter().position(Booked::proven_unsent).unwrap_or(0);
            self.0.remove(oldest_unsent);
        }
        let at = self.0.partition_point(|booked| booked.attempt < attempt);
        self.0.insert(at, Booked::new(attempt));
        at
    }

    /// Whether a message of another step reached the customer too, or may have gone out after this one and reach them yet.
    pub(super) fn doubled(&self, attempt: Attempt) -> bool {
        self.0.iter().any(|other| {
            let later = other.attempt.step > attempt.step && other.may_have_arrived();
            let earlier = other.attempt.step < attempt.step && other.receipts.arrived();
            later || earlier
        })
    }
}
