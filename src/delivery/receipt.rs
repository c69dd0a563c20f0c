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
