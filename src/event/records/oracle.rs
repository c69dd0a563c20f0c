//! Dispatches and statuses as serde writes them through the schema: what those of `write.rs` are compared with. For tests alone.

use super::*;
use crate::event::records::avro::write_confluent;

/// The bytes of a dispatch.
pub(in crate::event::records) fn dispatch(dispatch: &Dispatch) -> Vec<u8> {
    let mut out = Vec::new();
    write_single_object(Kind::Dispatch, &DispatchMirror::from(dispatch), &mut out);
    out
}

/// The bytes of a status.
pub(in crate::event::records) fn status(record: &StatusRecord, framing: Framing) -> Vec<u8> {
    let message_id = record.message_id.to_string();
    let mirror = StatusMirror::new(record, &message_id);
    let mut out = Vec::new();
    match framing {
        Framing::SingleObject => write_single_object(Kind::Status, &mirror, &mut out),
        Framing::Confluent(id) => write_confluent(Kind::Status, id, &mirror, &mut out),
    }
    out
}

impl<'a> From<&'a Dispatch> for DispatchMirror<'a> {
    fn from(dispatch: &'a Dispatch) -> Self {
        let (step, n) = step_and_n(dispatch.attempt_id.attempt);
        Self {
            message_id: Fixed16(*dispatch.attempt_id.message_id.bytes()),
            step,
            n,
            channel: Word(dispatch.channel),
            lane: Word(dispatch.lane),
            route: &dispatch.route,
            template: &dispatch.template,
            customer: Fixed16(*dispatch.customer.bytes()),
            lease_end: dispatch.lease_end.millis(),
            not_after: dispatch.not_after.timestamp().millis(),
            expiry: dispatch.expiry.millis(),
            wait_ms: i64::from(dispatch.wait_ms),
            why: dispatch.why.map(|why| {
                let (step, n) = step_and_n(why.from);
                WhyMirror { reason: Word(why.reason), step, n, hold: Word(why.hold) }
            }),
            sealed: Bytes(&dispatch.sealed),
            sealed_code: dispatch.sealed_code.as_deref().map(Bytes),
            traceparent: dispatch.traceparent.as_deref(),
        }
    }
}

impl<'a> StatusMirror<'a> {
    fn new(record: &'a StatusRecord, message_id: &'a str) -> Self {
        let status = &record.status;
        let attempt = status.attempt.map(step_and_n);
        Self {
            message_id,
            // A delivery makes a few dozen statuses at most; the limit is the Avro int's.
            seq: record.live.then(|| i32::try_from(status.seq).unwrap_or(i32::MAX)),
            status: Word(status.word),
            terminal: status.word.terminal(),
            decided: record.decided.millis(),
            channel: status.channel.map(Word),
            step: attempt.map(|(step, _)| step),
            n: attempt.map(|(_, n)| n),
            reason: Word(status.reason),
            provider_code: i64::from(status.code),
            provider_time: status.provider_time.map(Timestamp::millis),
            double_delivered: status.double_delivered,
            hold: Word(status.hold),
            route: &record.route,
            template: &record.template,
            event_id: record.event_id.as_deref(),
            source: record.source.as_ref().map(|source| SourceMirror { topic: &source.topic, partition: source.partition.kafka(), offset: source.offset }),
        }
    }
}
