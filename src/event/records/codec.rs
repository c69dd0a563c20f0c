//! Our records ⇄ bytes. Each has a private mirror that follows its schema field by field; the public types never see Avro.
//!
//! Easily got wrong: the mirrors of a dispatch and of a status are for reading alone. Both are written by hand (`write.rs`), and `oracle.rs` has what serde writes.
//! An outcome or a receipt is read by hand (`read.rs`) where nothing about it is odd.

use super::avro::{BadRecord, Bytes, Fixed16, Framing, Kind, Word, Worded, read_confluent, read_single_object, write_single_object};
use super::write::{DispatchRef, StatusRef};
use super::{Dispatch, JournalEntry, JournalKind, Returned, StatusRecord, read};
use crate::delivery::{
    Attempt, AttemptId, Channel, Hold, Lane, MessageId, NotAfter, Outcome, Partition, Reason, Receipt, SourcePosition, Status, StatusWord, Timestamp, Why,
};
use crate::privacy::Reference;
use serde::{Deserialize, Serialize};

/// Appends a dispatch in single-object encoding.
pub fn encode_dispatch(dispatch: &Dispatch, out: &mut Vec<u8>) {
    DispatchRef::from(dispatch).append(out);
}

/// Reads a dispatch; the whole slice must be one. Allocates no more than the slice holds.
pub fn decode_dispatch(bytes: &[u8]) -> Result<Dispatch, BadRecord> {
    read_single_object::<DispatchMirror<'_>>(Kind::Dispatch, bytes)?.try_into()
}

/// Appends a record of the receipts topic in single-object encoding.
pub fn encode_returned(returned: &Returned, out: &mut Vec<u8>) {
    write_single_object(Kind::Returned, &ReturnedMirror::from(returned), out);
}

/// Reads a record of the receipts topic; the whole slice must be one. Allocates no more than the slice holds.
pub fn decode_returned(bytes: &[u8]) -> Result<Returned, BadRecord> {
    read::returned(bytes).map_or_else(|| returned_by_serde(bytes), Ok)
}

/// The same for any kind of these records and any version of the schema; it says what is wrong with the others.
pub(super) fn returned_by_serde(bytes: &[u8]) -> Result<Returned, BadRecord> {
    read_single_object::<ReturnedMirror<'_>>(Kind::Returned, bytes)?.try_into()
}

/// Appends an entry of the dispatch journal in single-object encoding.
pub fn encode_journal(entry: &JournalEntry, out: &mut Vec<u8>) {
    write_single_object(Kind::Journal, &JournalMirror::from(entry), out);
}

/// Reads an entry of the dispatch journal; the whole slice must be one. Allocates nothing.
pub fn decode_journal(bytes: &[u8]) -> Result<JournalEntry, BadRecord> {
    read_single_object::<JournalMirror>(Kind::Journal, bytes)?.try_into()
}

/// Appends a status, framed as the bank reads it.
pub fn encode_status(status: &StatusRecord, framing: Framing, out: &mut Vec<u8>) {
    StatusRef::from(status).append(framing, out);
}

/// Reads a status in either framing, as a bank would; in Confluent's the body must follow our newest schema.
pub fn decode_status(bytes: &[u8]) -> Result<StatusRecord, BadRecord> {
    let mirror: StatusMirror<'_> = if bytes.first() == Some(&0) { read_confluent(Kind::Status, bytes)? } else { read_single_object(Kind::Status, bytes)? };
    mirror.try_into()
}

fn step_and_n(attempt: Attempt) -> (i32, i32) {
    (i32::from(attempt.step), i32::from(attempt.n))
}

fn attempt(step: i32, n: i32) -> Result<Attempt, BadRecord> {
    Ok(Attempt { step: u8::try_from(step).map_err(|_| BadRecord::Range("step"))?, n: u16::try_from(n).map_err(|_| BadRecord::Range("n"))? })
}

fn attempt_id(message_id: &Fixed16, step: i32, n: i32) -> Result<AttemptId, BadRecord> {
    Ok(AttemptId { message_id: MessageId::from_bytes(message_id.0), attempt: attempt(step, n)? })
}

fn code(code: i64) -> Result<u32, BadRecord> {
    u32::try_from(code).map_err(|_| BadRecord::Range("code"))
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
struct DispatchMirror<'a> {
    message_id: Fixed16,
    step: i32,
    n: i32,
    channel: Word<Channel>,
    lane: Word<Lane>,
    route: &'a str,
    template: &'a str,
    customer: Fixed16,
    lease_end: i64,
    not_after: i64,
    expiry: i64,
    wait_ms: i64,
    why: Option<WhyMirror>,
    #[serde(borrow)]
    sealed: Bytes<'a>,
    #[serde(borrow)]
    sealed_code: Option<Bytes<'a>>,
    #[serde(borrow)]
    traceparent: Option<&'a str>,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
struct WhyMirror {
    reason: Word<Reason>,
    step: i32,
    n: i32,
    hold: Word<Hold>,
}

impl TryFrom<DispatchMirror<'_>> for Dispatch {
    type Error = BadRecord;

    fn try_from(mirror: DispatchMirror<'_>) -> Result<Self, BadRecord> {
        let why = match mirror.why {
            Some(why) => Some(Why { reason: why.reason.0, from: attempt(why.step, why.n)?, hold: why.hold.0 }),
            None => None,
        };
        Ok(Self {
            attempt_id: attempt_id(&mirror.message_id, mirror.step, mirror.n)?,
            channel: mirror.channel.0,
            lane: mirror.lane.0,
            route: mirror.route.to_owned(),
            template: mirror.template.to_owned(),
            customer: Reference::from_bytes(mirror.customer.0),
            lease_end: Timestamp::from_millis(mirror.lease_end),
            not_after: NotAfter::new(Timestamp::from_millis(mirror.not_after)),
            expiry: Timestamp::from_millis(mirror.expiry),
            wait_ms: u32::try_from(mirror.wait_ms).map_err(|_| BadRecord::Range("wait_ms"))?,
            why,
            sealed: mirror.sealed.0.to_vec(),
            sealed_code: mirror.sealed_code.map(|sealed| sealed.0.to_vec()),
            traceparent: mirror.traceparent.map(str::to_owned),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct ReturnedMirror<'a> {
    #[serde(borrow)]
    event: EventMirror<'a>,
}

#[derive(Serialize, Deserialize)]
enum EventMirror<'a> {
    #[serde(rename = "recado.v1.OutcomeOfCall")]
    Outcome { message_id: Fixed16, step: i32, n: i32, outcome: Word<Outcome>, reason: Word<Reason>, code: i64, provider_id: Option<Fixed16> },
    #[serde(rename = "recado.v1.ReceiptOfProvider")]
    Receipt { message_id: Fixed16, step: i32, n: i32, receipt: Word<Receipt>, reason: Word<Reason>, code: i64, provider_time: Option<i64> },
    #[serde(rename = "recado.v1.GatewayHeartbeat")]
    GatewayHeartbeat { instance: &'a str },
    #[serde(rename = "recado.v1.DispatcherHeartbeat")]
    DispatcherHeartbeat { instance: &'a str, channel: Word<Channel>, lane: Word<Lane>, settled: i64 },
    #[serde(rename = "recado.v1.Hello")]
    Hello { instance: &'a str, nonce: i64 },
}

impl<'a> From<&'a Returned> for ReturnedMirror<'a> {
    fn from(returned: &'a Returned) -> Self {
        let event = match returned {
            Returned::Outcome { attempt_id, outcome, reason, code, provider_id } => {
                let (step, n) = step_and_n(attempt_id.attempt);
                let message_id = Fixed16(*attempt_id.message_id.bytes());
                EventMirror::Outcome {
                    message_id,
                    step,
                    n,
                    outcome: Word(*outcome),
                    reason: Word(*reason),
                    code: i64::from(*code),
                    provider_id: provider_id.map(Fixed16),
                }
            }
            Returned::Receipt { attempt_id, receipt, reason, code, provider_time } => {
                let (step, n) = step_and_n(attempt_id.attempt);
                let message_id = Fixed16(*attempt_id.message_id.bytes());
                let provider_time = provider_time.map(Timestamp::millis);
                EventMirror::Receipt { message_id, step, n, receipt: Word(*receipt), reason: Word(*reason), code: i64::from(*code), provider_time }
            }
            Returned::GatewayHeartbeat { instance } => EventMirror::GatewayHeartbeat { instance },
            Returned::DispatcherHeartbeat { instance, channel, lane, settled } => {
                EventMirror::DispatcherHeartbeat { instance, channel: Word(*channel), lane: Word(*lane), settled: settled.millis() }
            }
            Returned::Hello { instance, nonce } => EventMirror::Hello { instance, nonce: nonce.cast_signed() },
        };
        Self { event }
    }
}

impl TryFrom<ReturnedMirror<'_>> for Returned {
    type Error = BadRecord;

    fn try_from(mirror: ReturnedMirror<'_>) -> Result<Self, BadRecord> {
        Ok(match mirror.event {
            EventMirror::Outcome { message_id, step, n, outcome, reason, code: number, provider_id } => Self::Outcome {
                attempt_id: attempt_id(&message_id, step, n)?,
                outcome: outcome.0,
                reason: reason.0,
                code: code(number)?,
                provider_id: provider_id.map(|id| id.0),
            },
            EventMirror::Receipt { message_id, step, n, receipt, reason, code: number, provider_time } => Self::Receipt {
                attempt_id: attempt_id(&message_id, step, n)?,
                receipt: receipt.0,
                reason: reason.0,
                code: code(number)?,
                provider_time: provider_time.map(Timestamp::from_millis),
            },
            EventMirror::GatewayHeartbeat { instance } => Self::GatewayHeartbeat { instance: instance.to_owned() },
            EventMirror::DispatcherHeartbeat { instance, channel, lane, settled } => {
                Self::DispatcherHeartbeat { instance: instance.to_owned(), channel: channel.0, lane: lane.0, settled: Timestamp::from_millis(settled) }
            }
            EventMirror::Hello { instance, nonce } => Self::Hello { instance: instance.to_owned(), nonce: nonce.cast_unsigned() },
        })
    }
}

#[derive(Serialize, Deserialize)]
struct JournalMirror {
    message_id: Fixed16,
    step: i32,
    n: i32,
    kind: Word<JournalKind>,
    epoch: i64,
}

impl Worded for JournalKind {
    fn word(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Refused => "refused",
            Self::Done => "done",
            Self::Hello => "hello",
        }
    }
    fn from_word(word: &str) -> Option<Self> {
        [Self::Intent, Self::Refused, Self::Done, Self::Hello].into_iter().find(|kind| kind.word() == word)
    }
}

impl From<&JournalEntry> for JournalMirror {
    fn from(entry: &JournalEntry) -> Self {
        let (step, n) = step_and_n(entry.attempt_id.attempt);
        Self { message_id: Fixed16(*entry.attempt_id.message_id.bytes()), step, n, kind: Word(entry.kind), epoch: entry.epoch.cast_signed() }
    }
}

impl TryFrom<JournalMirror> for JournalEntry {
    type Error = BadRecord;

    fn try_from(mirror: JournalMirror) -> Result<Self, BadRecord> {
        let attempt_id = attempt_id(&mirror.message_id, mirror.step, mirror.n)?;
        Ok(Self { attempt_id, kind: mirror.kind.0, epoch: mirror.epoch.cast_unsigned() })
    }
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
struct StatusMirror<'a> {
    message_id: &'a str,
    seq: Option<i32>,
    status: Word<StatusWord>,
    terminal: bool,
    decided: i64,
    channel: Option<Word<Channel>>,
    step: Option<i32>,
    n: Option<i32>,
    reason: Word<Reason>,
    provider_code: i64,
    provider_time: Option<i64>,
    double_delivered: bool,
    hold: Word<Hold>,
    route: &'a str,
    template: &'a str,
    #[serde(borrow)]
    event_id: Option<&'a str>,
    #[serde(borrow)]
    source: Option<SourceMirror<'a>>,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
struct SourceMirror<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
}

impl Worded for StatusWord {
    fn word(self) -> &'static str {
        self.word()
    }
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == word)
    }
}

impl TryFrom<StatusMirror<'_>> for StatusRecord {
    type Error = BadRecord;

    fn try_from(mirror: StatusMirror<'_>) -> Result<Self, BadRecord> {
        let attempt = match (mirror.step, mirror.n) {
            (Some(step), Some(n)) => Some(attempt(step, n)?),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(BadRecord::Range("n")),
        };
        let source = match mirror.source {
            Some(source) => Some(SourcePosition {
                topic: source.topic.to_owned(),
                partition: Partition::from_kafka(source.partition).ok_or(BadRecord::Range("source.partition"))?,
                offset: source.offset,
            }),
            None => None,
        };
        let status = Status {
            seq: u32::try_from(mirror.seq.unwrap_or(0)).map_err(|_| BadRecord::Range("seq"))?,
            word: mirror.status.0,
            attempt,
            channel: mirror.channel.map(|channel| channel.0),
            reason: mirror.reason.0,
            code: code(mirror.provider_code)?,
            provider_time: mirror.provider_time.map(Timestamp::from_millis),
            double_delivered: mirror.double_delivered,
            hold: mirror.hold.0,
        };
        if mirror.terminal != status.word.terminal() {
            return Err(BadRecord::Range("terminal"));
        }
        Ok(Self {
            message_id: MessageId::parse(mirror.message_id).ok_or(BadRecord::Range("message_id"))?,
            status,
            live: mirror.seq.is_some(),
            decided: Timestamp::from_millis(mirror.decided),
            route: mirror.route.to_owned(),
            template: mirror.template.to_owned(),
            event_id: mirror.event_id.map(str::to_owned),
            source,
        })
    }
}

#[cfg(test)]
#[path = "oracle.rs"]
pub(super) mod oracle;

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
