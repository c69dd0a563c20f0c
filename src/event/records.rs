//! The records that Recado writes: dispatches, what comes back (receipts topic), the dispatch journal, statuses. Types here, schemas in `schemas/`.
//!
//! Internal topics carry Avro single-object encoding, so they never depend on a registry; every schema ever shipped is compiled in.

mod avro;
mod codec;
mod datum;
mod read;
#[cfg(test)]
mod samples;
mod symbols;
mod write;

pub use avro::{BadRecord, Framing, STATUS_SCHEMA};
pub use codec::{decode_dispatch, decode_journal, decode_returned, decode_status, encode_dispatch, encode_journal, encode_returned, encode_status};
pub use write::{DispatchRef, SourceRef, StatusRef};

use crate::delivery::{Attempt, AttemptId, Channel, Lane, MessageId, NotAfter, Outcome, Reason, Receipt, SourcePosition, Status, Timestamp, Why};
use crate::privacy::Reference;

/// One attempt on its way from the engine to the dispatcher: topics `recado.dispatch.<channel>[.bulk]` (attempt 1/1) and `recado.retry.<channel>[.bulk]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// Which try of which notification. The record's key is the message id's 16 bytes.
    pub attempt_id: AttemptId,
    /// Where.
    pub channel: Channel,
    /// With which traffic.
    pub lane: Lane,
    /// The route's name, for logs and metrics.
    pub route: String,
    /// The template's name in the catalogue.
    pub template: String,
    /// Whose message it is.
    pub customer: Reference,
    /// The end of its lease (Kafka time).
    pub lease_end: Timestamp,
    /// From then on it must not leave any more (Kafka time).
    pub not_after: NotAfter,
    /// Nothing is sent from this instant on (Kafka time).
    pub expiry: Timestamp,
    /// How long the step waits for its receipt, in ms: mirrored in the provider's own time limit.
    pub wait_ms: u32,
    /// Why this is not the first attempt.
    pub why: Option<Why>,
    /// Parameters and destination, sealed (`privacy::seal`).
    pub sealed: Vec<u8>,
    /// The code, sealed under its epoch key; `None` where the notification carries none.
    pub sealed_code: Option<Vec<u8>>,
    /// W3C trace context of the input record, handed on; `None` where it had none.
    pub traceparent: Option<String>,
}

/// One record of `recado.receipts`: whatever comes back to a delivery, and signs of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returned {
    /// The dispatcher's word on one attempt. Key: message id.
    Outcome {
        /// Which try.
        attempt_id: AttemptId,
        /// What became of the call.
        outcome: Outcome,
        /// Why.
        reason: Reason,
        /// The provider's own number; 0 for none.
        code: u32,
        /// HMAC of the provider's id for it, where it gave one: a wamid contains the phone number.
        provider_id: Option<[u8; 16]>,
    },
    /// A provider's report on one attempt. Key: message id.
    Receipt {
        /// Which try.
        attempt_id: AttemptId,
        /// What it says.
        receipt: Receipt,
        /// Why, where it failed.
        reason: Reason,
        /// The provider's own number; 0 for none.
        code: u32,
        /// The provider's time.
        provider_time: Option<Timestamp>,
    },
    /// A gateway is alive: one each second and partition. Key: empty.
    GatewayHeartbeat {
        /// Its instance name.
        instance: String,
    },
    /// A dispatcher is alive: one each second, partition, channel and lane. Key: empty.
    DispatcherHeartbeat {
        /// Its instance name.
        instance: String,
        /// Which traffic it speaks of.
        channel: Channel,
        /// Which traffic it speaks of.
        lane: Lane,
        /// Every dispatch whose lease ended before this Kafka time, and that was committed by then, has its outcome above this record.
        settled: Timestamp,
    },
    /// The engine measures Kafka time with a record of its own. Key: empty.
    Hello {
        /// Its instance name and thread.
        instance: String,
        /// What it is to be recognised by when it is read back.
        nonce: u64,
    },
}

impl Returned {
    /// The message of an outcome or a receipt.
    pub fn message_id(&self) -> Option<MessageId> {
        match self {
            Self::Outcome { attempt_id, .. } | Self::Receipt { attempt_id, .. } => Some(attempt_id.message_id),
            Self::GatewayHeartbeat { .. } | Self::DispatcherHeartbeat { .. } | Self::Hello { .. } => None,
        }
    }
}

/// One record of `recado.dispatch-journal`. Key: attempt id, 19 bytes (message id ‖ step ‖ n big-endian).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Which try.
    pub attempt_id: AttemptId,
    /// What is claimed.
    pub kind: JournalKind,
    /// The random number of the writer's assignment of this partition.
    pub epoch: u64,
}

/// What a journal entry claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JournalKind {
    /// The call is about to be made.
    Intent,
    /// It was decided without a call (too late, rejected, unavailable).
    Refused,
    /// Its outcome is durable.
    Done,
    /// No attempt: the dispatcher measures Kafka time where it has no intents to measure with. The attempt id is all zero but for its partition.
    Hello,
}

/// One record of `recado.status`, the bank's interface. Key: the input record's key, or the customer reference where that key is personal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRecord {
    /// Which notification.
    pub message_id: MessageId,
    /// What the machine says. `None` of `seq` travels as null: a `read` of an ended delivery.
    pub status: Status,
    /// False for a `read` of an ended delivery: it has no `seq`, no source and no event id.
    pub live: bool,
    /// When it was decided (Kafka time).
    pub decided: Timestamp,
    /// The route's name; empty for a `read` of an ended delivery.
    pub route: String,
    /// The template of the attempt it speaks of; empty where it speaks of none.
    pub template: String,
    /// The bank's event id, where the record had one.
    pub event_id: Option<String>,
    /// Where the input record lies; `None` for a `read` of an ended delivery.
    pub source: Option<SourcePosition>,
}

/// The key of one attempt in the journal.
pub fn journal_key(id: &AttemptId) -> [u8; 19] {
    let Attempt { step, n } = id.attempt;
    let mut key = [0; 19];
    key[..16].copy_from_slice(id.message_id.bytes());
    key[16] = step;
    key[17..].copy_from_slice(&n.to_be_bytes());
    key
}
