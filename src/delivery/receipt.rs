//! What a provider reports later, as a lattice: queued (the outcome *accepted*) < sent < delivered < read, with failed beside it.

/// A provider's report on one attempt. They come late, twice and out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Receipt {
    /// It left the provider.
    Sent,
    /// It is on the customer's phone; for a call: the customer pressed the key.
    Delivered,
    /// The customer saw it; implies delivered.
    Read,
    /// It will not arrive. A `delivered` that comes after it wins.
    Failed,
}

impl Receipt {
    /// All receipts.
    pub const ALL: [Self; 4] = [Self::Sent, Self::Delivered, Self::Read, Self::Failed];

    /// The word in records, statuses and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
        }
    }

    /// The inverse of [`Receipt::word`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|receipt| receipt.word() == word)
    }
}

/// How far an attempt has come, by its receipts. One kept value, however late, often and mixed up they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lattice {
    pub(super) reached: Reached,
    /// A failure was reported; it counts unless the message arrived after all.
    pub(super) failed: bool,
}

/// The rungs of the lattice above *queued*; a higher one implies those below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reached {
    /// No receipt but, perhaps, a failure.
    Nothing,
    /// It left the provider.
    Sent,
    /// It is on the phone.
    Delivered,
    /// It was seen.
    Read,
}

impl Lattice {
    /// No receipt at all.
    pub(super) const NOTHING: Self = Self { reached: Reached::Nothing, failed: false };

    /// Takes one receipt in.
    pub(super) fn hear(&mut self, receipt: Receipt) {
        match receipt {
            Receipt::Sent => self.reached = self.reached.max(Reached::Sent),
            Receipt::Delivered => self.reached = self.reached.max(Reached::Delivered),
            Receipt::Read => self.reached = Reached::Read,
            Receipt::Failed => self.failed = true,
        }
    }

    /// Whether it is on the phone.
    pub(super) fn arrived(self) -> bool {
        self.reached >= Reached::Delivered
    }
}
