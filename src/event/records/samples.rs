//! Records for the tests of this folder: one of each kind, and strategies that reach every word, empty and long texts, and the ends of each number.

use super::{Dispatch, Framing, StatusRecord};
use crate::delivery::{Attempt, AttemptId, Channel, Hold, Lane, MessageId, NotAfter, Partition, Reason, SourcePosition, Status, StatusWord, Timestamp, Why};
use crate::privacy::Reference;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

/// All holds.
pub(super) const HOLDS: [Hold; 4] = [Hold::No, Hold::GatewaySilent, Hold::Storm, Hold::DispatcherSilent];
/// Around the lengths from which the length itself takes another byte.
const LENGTHS: [usize; 4] = [63, 64, 8_191, 8_192];

pub(super) fn message_id() -> MessageId {
    MessageId::from_bytes([0x01, 0x9A, 0xEC, 0x3C, 0xD1, 0x7B, 0x00, 0x07, 1, 2, 3, 4, 5, 6, 7, 8])
}

pub(super) fn id() -> AttemptId {
    AttemptId { message_id: message_id(), attempt: Attempt { step: 2, n: 1 } }
}

pub(super) fn dispatch() -> Dispatch {
    Dispatch {
        attempt_id: id(),
        channel: Channel::Sms,
        lane: Lane::Express,
        route: "pix".into(),
        template: "pix_in".into(),
        customer: Reference::from_bytes([7; 16]),
        lease_end: Timestamp::from_millis(1_764_900_010_000),
        not_after: NotAfter::new(Timestamp::from_millis(1_764_900_005_000)),
        expiry: Timestamp::from_millis(1_764_900_300_000),
        wait_ms: 30_000,
        why: Some(Why { reason: Reason::Timer, from: Attempt::FIRST, hold: Hold::No }),
        sealed: vec![1, 2, 3],
        sealed_code: None,
        traceparent: Some("00-aa".into()),
    }
}

pub(super) fn status() -> StatusRecord {
    StatusRecord {
        message_id: message_id(),
        status: Status {
            seq: 3,
            word: StatusWord::Delivered,
            attempt: Some(Attempt { step: 2, n: 1 }),
            channel: Some(Channel::Sms),
            reason: Reason::None,
            code: 0,
            provider_time: Some(Timestamp::from_millis(1_764_900_020_000)),
            double_delivered: true,
            hold: Hold::No,
        },
        live: true,
        decided: Timestamp::from_millis(1_764_900_021_000),
        route: "pix".into(),
        template: "pix_in".into(),
        event_id: Some("E1".into()),
        source: Some(SourcePosition { topic: "pix.transactions".into(), partition: Partition(7), offset: 42 }),
    }
}

pub(super) fn one_of<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    select(all)
}

pub(super) fn times() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        4 => any::<i64>(),
        4 => 1_700_000_000_000_i64..1_900_000_000_000_i64,
        2 => -70_i64..70_i64,
        1 => Just(i64::MIN),
        1 => Just(i64::MAX),
    ]
    .prop_map(Timestamp::from_millis)
}

pub(super) fn numbers() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), 0_u32..200_u32, Just(u32::MAX)]
}

pub(super) fn ids() -> impl Strategy<Value = AttemptId> {
    (any::<[u8; 16]>(), any::<u8>(), any::<u16>())
        .prop_map(|(bytes, step, n)| AttemptId { message_id: MessageId::from_bytes(bytes), attempt: Attempt { step, n } })
}

pub(super) fn dispatches() -> impl Strategy<Value = Dispatch> {
    let why = of((one_of(&Reason::ALL), any::<(u8, u16)>(), one_of(&HOLDS)));
    let what = (ids(), one_of(&Channel::ALL), one_of(&Lane::ALL), texts(), texts());
    let limits = (any::<[u8; 16]>(), times(), times(), times(), numbers());
    let sealed = (blobs(), of(blobs()), of(texts()));
    (what, limits, why, sealed).prop_map(|(what, limits, why, sealed)| {
        let (attempt_id, channel, lane, route, template) = what;
        let (customer, lease_end, not_after, expiry, wait_ms) = limits;
        let why = why.map(|(reason, (step, n), hold)| Why { reason, from: Attempt { step, n }, hold });
        let (sealed, sealed_code, traceparent) = sealed;
        let customer = Reference::from_bytes(customer);
        let not_after = NotAfter::new(not_after);
        Dispatch { attempt_id, channel, lane, route, template, customer, lease_end, not_after, expiry, wait_ms, why, sealed, sealed_code, traceparent }
    })
}

pub(super) fn statuses() -> impl Strategy<Value = StatusRecord> {
    let said = (numbers(), one_of(&StatusWord::ALL), of(any::<(u8, u16)>()), of(one_of(&Channel::ALL)), one_of(&Reason::ALL));
    let reported = (numbers(), of(times()), any::<bool>(), one_of(&HOLDS));
    let names = (texts(), texts(), of(texts()));
    let source = of((texts(), any::<u16>(), any::<i64>()));
    (any::<[u8; 16]>(), any::<bool>(), times(), said, reported, names, source).prop_map(|(id, live, decided, said, reported, names, source)| {
        let (seq, word, attempt, channel, reason) = said;
        let (code, provider_time, double_delivered, hold) = reported;
        let (route, template, event_id) = names;
        let attempt = attempt.map(|(step, n)| Attempt { step, n });
        StatusRecord {
            message_id: MessageId::from_bytes(id),
            status: Status { seq, word, attempt, channel, reason, code, provider_time, double_delivered, hold },
            live,
            decided,
            route,
            template,
            event_id,
            source: source.map(|(topic, partition, offset)| SourcePosition { topic, partition: Partition(partition), offset }),
        }
    })
}

pub(super) fn framings() -> impl Strategy<Value = Framing> {
    prop_oneof![Just(Framing::SingleObject), any::<u32>().prop_map(Framing::Confluent)]
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![8 => ".*", 1 => Just(String::new()), 1 => one_of(&LENGTHS).prop_map(|length| "a".repeat(length))]
}

fn blobs() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => any::<Vec<u8>>(), 1 => Just(Vec::new()), 1 => one_of(&LENGTHS).prop_map(|length| vec![0xA5_u8; length])]
}
