//! What comes back to a message, as records of the receipts topic.

use recado::delivery::{Attempt, AttemptId, MessageId, Outcome, Reason, Receipt, Timestamp};
use recado::event::records::{self, Returned};

/// What comes back to an attempt.
#[derive(Clone, Copy)]
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
    /// The record that says so of the first attempt.
    pub fn record(self, message_id: MessageId) -> Vec<u8> {
        let attempt_id = AttemptId { message_id, attempt: Attempt::FIRST };
        let receipt =
            |receipt| Returned::Receipt { attempt_id, receipt, reason: Reason::None, code: 0, provider_time: Some(Timestamp::from_millis(1_764_900_000_000)) };
        encoded(&match self {
            Self::Accepted => {
                Returned::Outcome { attempt_id, outcome: Outcome::Accepted, reason: Reason::None, code: 0, provider_id: Some(*message_id.bytes()) }
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
