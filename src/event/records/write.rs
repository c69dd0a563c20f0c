//! Dispatches and statuses by hand: borrowed fields enter, framed Avro of the newest schema leaves. Most of what the engine decides ends here, so nothing is
//! cloned, looked up or grown on the way.
//!
//! Easily got wrong: the order of the lines is the order of the schema's fields, and the headers name that very schema. A new version of a schema needs both anew;
//! until then the tests find other bytes than serde writes.

use super::avro::{Framing, Worded as _};
use super::datum::{digits, put_bytes, put_long, put_option};
use super::symbols::Symbol as _;
use super::{Dispatch, StatusRecord};
use crate::delivery::{Attempt, AttemptId, Channel, Lane, MessageId, NotAfter, Partition, Status, Timestamp, Why};
use crate::privacy::Reference;

/// A [`Dispatch`] whose texts and sealed parts lie elsewhere: the fields are the same.
#[derive(Clone, Copy, Debug)]
pub struct DispatchRef<'a> {
    /// Which try of which notification.
    pub attempt_id: AttemptId,
    /// Where.
    pub channel: Channel,
    /// With which traffic.
    pub lane: Lane,
    /// The route's name.
    pub route: &'a str,
    /// The template's name.
    pub template: &'a str,
    /// Whose message it is.
    pub customer: Reference,
    /// The end of its lease (Kafka time).
    pub lease_end: Timestamp,
    /// From then on it must not leave any more (Kafka time).
    pub not_after: NotAfter,
    /// Nothing is sent from this instant on (Kafka time).
    pub expiry: Timestamp,
    /// How long the step waits for its receipt, in ms.
    pub wait_ms: u32,
    /// Why this is not the first attempt.
    pub why: Option<Why>,
    /// Parameters and destination, sealed.
    pub sealed: &'a [u8],
    /// The code, sealed; `None` where there is none.
    pub sealed_code: Option<&'a [u8]>,
    /// W3C trace context of the input record; `None` where it had none.
    pub traceparent: Option<&'a str>,
}

/// A [`StatusRecord`] whose texts lie elsewhere: the fields are the same.
#[derive(Clone, Copy, Debug)]
pub struct StatusRef<'a> {
    /// Which notification.
    pub message_id: MessageId,
    /// What the machine says.
    pub status: &'a Status,
    /// False for a `read` of an ended delivery.
    pub live: bool,
    /// When it was decided (Kafka time).
    pub decided: Timestamp,
    /// The route's name; empty for a `read` of an ended delivery.
    pub route: &'a str,
    /// The template of the attempt it speaks of; empty where it speaks of none.
    pub template: &'a str,
    /// The bank's event id, where the record had one.
    pub event_id: Option<&'a str>,
    /// Where the input record lies; `None` for a `read` of an ended delivery.
    pub source: Option<SourceRef<'a>>,
}

/// A [`SourcePosition`](crate::delivery::SourcePosition) whose topic's name lies elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct SourceRef<'a> {
    /// The bank's topic.
    pub topic: &'a str,
    /// The home partition.
    pub partition: Partition,
    /// Kafka's offset in it.
    pub offset: i64,
}

/// `C3 01` and the fingerprint of `schemas/dispatch.avsc`.
const DISPATCH_HEADER: [u8; 10] = [0xC3, 0x01, 0x10, 0xF3, 0xFB, 0xDC, 0x1D, 0x36, 0x52, 0x8D];
/// `C3 01` and the fingerprint of `schemas/status.avsc`.
const STATUS_HEADER: [u8; 10] = [0xC3, 0x01, 0x66, 0xBB, 0xF9, 0xEA, 0x2D, 0x4C, 0x61, 0x90];
/// What a dispatch takes at most besides its texts and what is sealed: its fields summed up, a length of five bytes (16 GiB) for each of these.
const DISPATCH_BYTES: usize = 136;
/// What a status takes at most besides its texts, in the longer framing.
const STATUS_BYTES: usize = 166;

impl DispatchRef<'_> {
    /// Appends it in single-object encoding; `out` grows once at most.
    pub fn append(&self, out: &mut Vec<u8>) {
        out.reserve(self.bytes_max());
        out.extend_from_slice(&DISPATCH_HEADER);
        out.extend_from_slice(self.attempt_id.message_id.bytes());
        put_attempt(out, self.attempt_id.attempt);
        put_long(out, i64::from(self.channel.place()));
        put_long(out, i64::from(self.lane.place()));
        put_bytes(out, self.route.as_bytes());
        put_bytes(out, self.template.as_bytes());
        out.extend_from_slice(self.customer.bytes());
        put_long(out, self.lease_end.millis());
        put_long(out, self.not_after.timestamp().millis());
        put_long(out, self.expiry.millis());
        put_long(out, i64::from(self.wait_ms));
        put_option(out, self.why, put_why);
        put_bytes(out, self.sealed);
        put_option(out, self.sealed_code, put_bytes);
        put_option(out, self.traceparent.map(str::as_bytes), put_bytes);
    }

    fn bytes_max(&self) -> usize {
        let texts = self.route.len() + self.template.len() + self.traceparent.map_or(0, str::len);
        DISPATCH_BYTES + texts + self.sealed.len() + self.sealed_code.map_or(0, <[u8]>::len)
    }
}

impl StatusRef<'_> {
    /// Appends it, framed as the bank reads it; `out` grows once at most.
    pub fn append(&self, framing: Framing, out: &mut Vec<u8>) {
        out.reserve(self.bytes_max());
        match framing {
            Framing::SingleObject => out.extend_from_slice(&STATUS_HEADER),
            Framing::Confluent(id) => {
                out.push(0);
                out.extend_from_slice(&id.to_be_bytes());
            }
        }
        self.append_body(out);
    }

    fn append_body(&self, out: &mut Vec<u8>) {
        let status = self.status;
        put_bytes(out, &digits(&self.message_id));
        // A delivery makes a few dozen statuses at most; the limit is the Avro int's.
        put_option(out, self.live.then(|| i64::from(i32::try_from(status.seq).unwrap_or(i32::MAX))), put_long);
        put_long(out, i64::from(status.word.place()));
        out.push(u8::from(status.word.terminal()));
        put_long(out, self.decided.millis());
        put_option(out, status.channel.map(|channel| channel.word().as_bytes()), put_bytes);
        put_option(out, status.attempt.map(|attempt| i64::from(attempt.step)), put_long);
        put_option(out, status.attempt.map(|attempt| i64::from(attempt.n)), put_long);
        put_bytes(out, status.reason.word().as_bytes());
        put_long(out, i64::from(status.code));
        put_option(out, status.provider_time.map(Timestamp::millis), put_long);
        out.push(u8::from(status.double_delivered));
        put_bytes(out, status.hold.word().as_bytes());
        put_bytes(out, self.route.as_bytes());
        put_bytes(out, self.template.as_bytes());
        put_option(out, self.event_id.map(str::as_bytes), put_bytes);
        put_option(out, self.source, put_source);
    }

    fn bytes_max(&self) -> usize {
        let topic = self.source.map_or(0, |source| source.topic.len());
        STATUS_BYTES + self.route.len() + self.template.len() + self.event_id.map_or(0, str::len) + topic
    }
}

fn put_attempt(out: &mut Vec<u8>, attempt: Attempt) {
    put_long(out, i64::from(attempt.step));
    put_long(out, i64::from(attempt.n));
}

fn put_why(out: &mut Vec<u8>, why: Why) {
    put_bytes(out, why.reason.word().as_bytes());
    put_attempt(out, why.from);
    put_long(out, i64::from(why.hold.place()));
}

fn put_source(out: &mut Vec<u8>, source: SourceRef<'_>) {
    put_bytes(out, source.topic.as_bytes());
    put_long(out, i64::from(source.partition.0));
    put_long(out, source.offset);
}

impl<'a> From<&'a Dispatch> for DispatchRef<'a> {
    fn from(dispatch: &'a Dispatch) -> Self {
        Self {
            attempt_id: dispatch.attempt_id,
            channel: dispatch.channel,
            lane: dispatch.lane,
            route: &dispatch.route,
            template: &dispatch.template,
            customer: dispatch.customer,
            lease_end: dispatch.lease_end,
            not_after: dispatch.not_after,
            expiry: dispatch.expiry,
            wait_ms: dispatch.wait_ms,
            why: dispatch.why,
            sealed: &dispatch.sealed,
            sealed_code: dispatch.sealed_code.as_deref(),
            traceparent: dispatch.traceparent.as_deref(),
        }
    }
}

impl<'a> From<&'a StatusRecord> for StatusRef<'a> {
    fn from(record: &'a StatusRecord) -> Self {
        Self {
            message_id: record.message_id,
            status: &record.status,
            live: record.live,
            decided: record.decided,
            route: &record.route,
            template: &record.template,
            event_id: record.event_id.as_deref(),
            source: record.source.as_ref().map(|source| SourceRef { topic: &source.topic, partition: source.partition, offset: source.offset }),
        }
    }
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
