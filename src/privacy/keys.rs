//! Keys and who keeps them. The bank's KMS or HSM outside; files by default.

use super::Reference;
use crate::delivery::Timestamp;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Names one key inside its kind; stands in the sealed bytes.
pub type KeyId = u64;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// One customer's parameters and destinations.
    Customer,
    /// Codes, five minutes each.
    CodeEpoch,
    /// Dead letters whose customer is unknown, a day each.
    Day,
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

/// The keys of 256 bits that seal what rests. A key handed out is durable first.
pub trait KeyService: Send + Sync {
    /// The newest key of a customer, made when there is none yet.
    fn customer(&self, customer: Reference, now: Timestamp) -> Result<(KeyId, Arc<Zeroizing<[u8; 32]>>), KeyError>;
    /// An older or the newest key of a customer, by its id.
    fn customer_by_id(&self, customer: Reference, id: KeyId) -> Result<Arc<Zeroizing<[u8; 32]>>, KeyError>;
    /// The key of the epoch or day that holds `at`, made when there is none yet. Codes: 5 minutes; days: UTC.
    fn epoch(&self, kind: KeyKind, at: Timestamp) -> Result<(KeyId, Arc<Zeroizing<[u8; 32]>>), KeyError>;
    /// A key of an epoch by its id (the epoch's number).
    fn epoch_by_id(&self, kind: KeyKind, id: KeyId) -> Result<Arc<Zeroizing<[u8; 32]>>, KeyError>;
    /// Destroys every version of a customer's key.
    fn destroy_customer(&self, customer: Reference) -> Result<(), KeyError>;
    /// Destroys the epoch keys whose time is over at `now`; returns how many.
    fn destroy_past(&self, now: Timestamp) -> Result<usize, KeyError>;
    /// The pepper of all references.
    fn pepper(&self) -> Arc<super::Pepper>;
}

/// The embedded default: keys in files, wrapped by a root key.
pub struct FileKeys {}
