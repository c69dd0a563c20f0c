//! Seals what rests: AES-256-GCM under a key per customer, codes under epoch keys.
//!
//! Blob v1: `ver 1 | alg 1 | kind 1 | key id 8 | nonce 12 | ciphertext | tag 16`, bound to customer, message, purpose and expiry: moved to another, it does
//! not open.

use super::{KeyError, KeyService, Reference, Secret};
use crate::delivery::{MessageId, Timestamp};
use std::sync::Arc;

/// What sealed bytes are for; part of what they are bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Parameters and destination.
    Params,
    /// A one-time code, padded to 32 bytes.
    Code,
    /// A record that could not be processed.
    DeadLetter,
}

/// Why nothing was sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key is gone (final), or the key service is away (try again).
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The bytes are not ours, were changed, or belong to another customer, message or purpose.
    #[error("the sealed bytes do not open")]
    Broken,
}

/// Seals in the engine, opens in the dispatcher and the gateway.
#[derive(Clone)]
pub struct Sealer {
    keys: Arc<dyn KeyService>,
}

impl Sealer {
    /// With the keys of this service.
    pub fn new(keys: Arc<dyn KeyService>) -> Self {
        Self { keys }
    }

    /// The key service behind it.
    pub fn keys(&self) -> &Arc<dyn KeyService> {
        &self.keys
    }

    /// Seals parameters or a code of one notification. `now` chooses the epoch of a code.
    pub fn seal(
        &self,
        purpose: Purpose,
        customer: Reference,
        message_id: MessageId,
        expiry: Timestamp,
        plain: &[u8],
        now: Timestamp,
    ) -> Result<Vec<u8>, SealError> {
        let _ = (purpose, customer, message_id, expiry, plain, now);
        todo!()
    }

    /// Opens what [`Sealer::seal`] made, with the same customer, message, purpose and expiry.
    pub fn open(&self, purpose: Purpose, customer: Reference, message_id: MessageId, expiry: Timestamp, sealed: &[u8]) -> Result<Secret<Vec<u8>>, SealError> {
        let _ = (purpose, customer, message_id, expiry, sealed);
        todo!()
    }

    /// Seals a record that could not be processed, under the key of the day (`codes` false) or of the code epoch (`codes` true) of `now`.
    pub fn seal_dead_letter(&self, codes: bool, coordinates: &[u8], plain: &[u8], now: Timestamp) -> Result<Vec<u8>, SealError> {
        let _ = (codes, coordinates, plain, now);
        todo!()
    }
}
