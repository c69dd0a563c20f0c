//! Keys and who keeps them. The bank's KMS or HSM outside; files by default (`files/`).
//!
//! A key that is handed out for sealing is durable first: else a crash would leave sealed bytes that nobody can open.

use super::Reference;
use crate::delivery::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// Names one key inside its kind; stands in the sealed bytes. Of two keys of one customer the newer has the larger id.
pub type KeyId = u64;

/// 256 secret bits; cleared when the last holder drops them.
pub type SharedKey = Arc<Zeroizing<[u8; 32]>>;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// One customer's parameters and destinations.
    Customer,
    /// Codes, five minutes each.
    CodeEpoch,
    /// Dead letters whose customer is unknown, a day each.
    Day,
}

impl KeyKind {
    /// The number in sealed bytes: 1, 2, 3; never reused.
    pub const fn ordinal(self) -> u8 {
        match self {
            Self::Customer => 1,
            Self::CodeEpoch => 2,
            Self::Day => 3,
        }
    }

    /// The word in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::CodeEpoch => "code_epoch",
            Self::Day => "day",
        }
    }

    /// How long one epoch is; `None` for customers' keys, which have none. Source: privacy.md §2.
    pub const fn epoch(self) -> Option<Duration> {
        match self {
            Self::Customer => None,
            Self::CodeEpoch => Some(Duration::from_secs(5 * 60)),
            Self::Day => Some(Duration::from_secs(24 * 3600)),
        }
    }

    /// How long after the start of its epoch a key is destroyed. Codes: 15 min, the epoch and the longest life of a code (10 min). Days: 31 days, so that a
    /// dead letter of the day's last second has the topic's 30.
    pub const fn kept(self) -> Option<Duration> {
        match self {
            Self::Customer => None,
            Self::CodeEpoch => Some(Duration::from_secs(15 * 60)),
            Self::Day => Some(Duration::from_secs(31 * 24 * 3600)),
        }
    }

    /// The id of the epoch that holds `at`: its number since 1970. `None` for customers' keys; instants before 1970 are in epoch 0.
    pub fn epoch_id(self, at: Timestamp) -> Option<KeyId> {
        let length = i64::try_from(self.epoch()?.as_millis()).expect("an epoch is a day at most");
        Some(u64::try_from(at.millis().div_euclid(length)).unwrap_or(0))
    }
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Destroyed or never made: what was sealed under it cannot be opened any more. Final.
    #[error("the key is gone")]
    Gone,
    /// The service cannot answer now. Worth another try.
    #[error("the key service does not answer")]
    Unavailable,
}

/// The keys of 256 bits that seal what rests. A key handed out for sealing is durable first.
pub trait KeyService: Send + Sync {
    /// Makes the missing keys of these customers, with one write for all of them. [`KeyService::customer`] then answers from memory. Call it once for a batch,
    /// before sealing. Repeats in the list are harmless.
    fn prepare(&self, customers: &[Reference], now: Timestamp) -> Result<(), KeyError>;
    /// The newest key of a customer, made when there is none yet. `now` goes into the id of a new key; never [`KeyError::Gone`].
    fn customer(&self, customer: Reference, now: Timestamp) -> Result<(KeyId, SharedKey), KeyError>;
    /// An older or the newest key of a customer, by its id.
    fn customer_by_id(&self, customer: Reference, id: KeyId) -> Result<SharedKey, KeyError>;
    /// The key of the epoch or day that holds `at`, made when there is none yet. Codes: 5 minutes; days: UTC. An epoch whose key was destroyed gets no other:
    /// [`KeyError::Unavailable`], as the clock behind `at` must be wrong. `kind` is not [`KeyKind::Customer`].
    fn epoch(&self, kind: KeyKind, at: Timestamp) -> Result<(KeyId, SharedKey), KeyError>;
    /// A key of an epoch by its id (the epoch's number). `kind` is not [`KeyKind::Customer`].
    fn epoch_by_id(&self, kind: KeyKind, id: KeyId) -> Result<SharedKey, KeyError>;
    /// Destroys every version of a customer's key; a customer without one is a success. Other processes forget it when their cached copy ends (60 s by default).
    /// The next [`KeyService::customer`] makes another key.
    fn destroy_customer(&self, customer: Reference) -> Result<(), KeyError>;
    /// Destroys the epoch keys whose time is over at `now` (see [`KeyKind::kept`]) and drops cached copies whose time is over; returns how many keys were
    /// destroyed. To be called about once a minute, by any process, and by several.
    fn destroy_past(&self, now: Timestamp) -> Result<usize, KeyError>;
    /// The pepper of all references.
    fn pepper(&self) -> Arc<super::Pepper>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_begin_on_the_exact_millisecond() {
        let id = |kind: KeyKind, millis| kind.epoch_id(Timestamp::from_millis(millis));
        assert_eq!(id(KeyKind::CodeEpoch, 299_999), Some(0));
        assert_eq!(id(KeyKind::CodeEpoch, 300_000), Some(1));
        assert_eq!(id(KeyKind::Day, 86_399_999), Some(0));
        assert_eq!(id(KeyKind::Day, 86_400_000), Some(1));
        assert_eq!(id(KeyKind::Day, -1), Some(0));
        assert_eq!(id(KeyKind::Customer, 5), None);
    }
}
