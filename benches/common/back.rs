//! What comes back to an attempt, as records of the receipts topic, for both benches.

use recado::delivery::{AttemptId, Outcome, Reason, Receipt, Timestamp};
use recado::event::records::{self, Returned};

/// What comes back to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// The dispatcher: the provider took it.
    Accepted,
    /// The provider: it left.
    Sent,
    /// It arrived.
    Delivered,
    /// The customer saw it.
    Read,
}

impl Back {
    /// The record that says so.
    pub fn record(self, attempt_id: AttemptId) -> Vec<u8> {
        let receipt =
            |receipt| Returned::Receipt { attempt_id, receipt, reason: Reason::None, code: 0, provider_time: Some(Timestamp::from_millis(1_764_900_000_000)) };
        encoded(&match self {
            Self::Accepted => {
                let provider_id = Some(*attempt_id.message_id.bytes());
                Returned::Outcome { attempt_id, outcome: Outcome::Accepted, reason: Reason::None, code: 0, provider_id }
            }
            Self::Sent => receipt(Receipt::Sent),
            Self::Delivered => receipt(Receipt::Delivered),
            Self::Read => receipt(Receipt::Read),
        })
    }
}

/// The bytes of a record of the receipts topic.
pub fn encoded(returned: &Returned) -> Vec<u8> {
    let mut value = Vec::new();
    records::encode_returned(returned, &mut value);
    value
}
