//! Recado's records, read by code of the rig's own: apache-avro and the files in `schemas/`. Recado writes and reads them with another library, through mirrors of
//! its own, so that a fault of its codecs is not the judge's too.
//!
//! Easily got wrong: the types are Recado's, the reading is not. Nothing here may call `recado::event::records::decode_…`.

use crate::support;
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use recado::delivery::{
    Attempt, AttemptId, Channel, Hold, Lane, MessageId, NotAfter, Outcome, Partition, Reason, Receipt, SourcePosition, Status, StatusWord, Timestamp, Why,
};
use recado::event::records::{Dispatch, JournalEntry, JournalKind, Returned, StatusRecord};
use recado::privacy::Reference;
use std::sync::LazyLock;

/// Each schema with its fingerprint: computed from the specification's text by a program of its own, since apache-avro keeps the logical types that the canonical
/// form strips.
struct Known {
    reader: GenericDatumReader<'static>,
    fingerprint: &'static str,
}

/// The schema lives as long as the program, as its reader does.
fn known(file: &str, fingerprint: &'static str) -> Known {
    let schema = Box::leak(Box::new(Schema::parse_str(&support::file(&format!("schemas/{file}.avsc"))).unwrap()));
    Known { reader: GenericDatumReader::builder(schema).build().unwrap(), fingerprint }
}

static STATUS: LazyLock<Known> = LazyLock::new(|| known("status", "66bbf9ea2d4c6190"));
static DISPATCH: LazyLock<Known> = LazyLock::new(|| known("dispatch", "10f3fbdc1d36528d"));
static JOURNAL: LazyLock<Known> = LazyLock::new(|| known("journal", "a5bfab67ea48f6e5"));
static RETURNED: LazyLock<Known> = LazyLock::new(|| known("returned", "35a7fcd3a9ec7fea"));

impl Known {
    /// One record in single-object encoding: `C3 01`, the fingerprint, the body and nothing more.
    fn read(&self, bytes: &[u8]) -> Fields {
        let (header, mut body) = bytes.split_at(10);
        assert_eq!(header[..2], [0xc3, 0x01], "single-object encoding");
        assert_eq!(hex::encode(&header[2..]), self.fingerprint, "the schema's fingerprint");
        let value = self.reader.read_value(&mut body).unwrap();
        assert!(body.is_empty(), "{} bytes too many", body.len());
        Fields::of(value)
    }
}

/// The fields of one record, taken by name.
struct Fields(Vec<(String, Value)>);

impl Fields {
    fn of(value: Value) -> Self {
        match value {
            Value::Record(fields) => Self(fields),
            other => panic!("{other:?} is no record"),
        }
    }

    fn value(&mut self, name: &str) -> Value {
        let at = self.0.iter().position(|(other, _)| other == name).unwrap_or_else(|| panic!("there is no field {name}"));
        self.0.swap_remove(at).1
    }

    /// What a union with null holds.
    fn some(&mut self, name: &str) -> Option<Value> {
        match self.value(name) {
            Value::Union(_, value) if *value == Value::Null => None,
            Value::Union(_, value) => Some(*value),
            other => panic!("{name} is {other:?}, no union"),
        }
    }

    fn number(&mut self, name: &str) -> i64 {
        number(self.value(name))
    }

    fn text(&mut self, name: &str) -> String {
        text(self.value(name))
    }

    fn time(&mut self, name: &str) -> Timestamp {
        Timestamp::from_millis(self.number(name))
    }

    fn word<T>(&mut self, name: &str, read: impl Fn(&str) -> Option<T>) -> T {
        let text = self.text(name);
        read(&text).unwrap_or_else(|| panic!("{name}: nothing is called {text}"))
    }

    fn fixed(&mut self, name: &str) -> [u8; 16] {
        fixed(self.value(name))
    }

    fn attempt(&mut self) -> Attempt {
        Attempt { step: self.number("step").try_into().unwrap(), n: self.number("n").try_into().unwrap() }
    }

    fn attempt_id(&mut self) -> AttemptId {
        AttemptId { message_id: MessageId::from_bytes(self.fixed("message_id")), attempt: self.attempt() }
    }
}

fn number(value: Value) -> i64 {
    match value {
        Value::Int(number) => number.into(),
        Value::Long(number) | Value::TimestampMillis(number) => number,
        other => panic!("{other:?} is no number"),
    }
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) | Value::Enum(_, text) => text,
        other => panic!("{other:?} is no text"),
    }
}

fn bytes(value: Value) -> Vec<u8> {
    match value {
        Value::Bytes(bytes) => bytes,
        other => panic!("{other:?} is no bytes"),
    }
}

fn fixed(value: Value) -> [u8; 16] {
    match value {
        Value::Fixed(16, bytes) => bytes.try_into().unwrap(),
        other => panic!("{other:?} is no 16 bytes"),
    }
}

fn flag(value: Value) -> bool {
    match value {
        Value::Boolean(flag) => flag,
        other => panic!("{other:?} is no boolean"),
    }
}

fn hold(word: &str) -> Option<Hold> {
    match word {
        "no" => Some(Hold::No),
        "gateway_silent" => Some(Hold::GatewaySilent),
        "storm" => Some(Hold::Storm),
        "dispatcher_silent" => Some(Hold::DispatcherSilent),
        _ => None,
    }
}

fn of<T: Copy>(all: &[T], spelled: impl Fn(T) -> &'static str) -> impl Fn(&str) -> Option<T> {
    move |word| all.iter().copied().find(|one| spelled(*one) == word)
}

/// A record of `recado.status`. Its flag `terminal` must say what its word says.
pub fn status(record: &[u8]) -> StatusRecord {
    let mut fields = STATUS.read(record);
    let seq = fields.some("seq").map(number);
    let word = fields.word("status", of(&StatusWord::ALL, StatusWord::word));
    assert_eq!(flag(fields.value("terminal")), word.terminal(), "{} says of itself whether it is terminal", word.word());
    let step = fields.some("step").map(|step| number(step).try_into().unwrap());
    let n = fields.some("n").map(|n| number(n).try_into().unwrap());
    let source = fields.some("source").map(Fields::of).map(|mut source| SourcePosition {
        topic: source.text("topic"),
        partition: Partition::from_kafka(source.number("partition").try_into().unwrap()).unwrap(),
        offset: source.number("offset"),
    });
    StatusRecord {
        message_id: MessageId::parse(&fields.text("message_id")).unwrap(),
        status: Status {
            seq: seq.unwrap_or(0).try_into().unwrap(),
            word,
            attempt: step.zip(n).map(|(step, n)| Attempt { step, n }),
            channel: fields.some("channel").map(|word| of(&Channel::ALL, Channel::word)(&text(word)).unwrap()),
            reason: fields.word("reason", of(&Reason::ALL, Reason::word)),
            code: fields.number("provider_code").try_into().unwrap(),
            provider_time: fields.some("provider_time").map(number).map(Timestamp::from_millis),
            double_delivered: flag(fields.value("double_delivered")),
            hold: fields.word("hold", hold),
        },
        live: seq.is_some(),
        decided: fields.time("decided"),
        route: fields.text("route"),
        template: fields.text("template"),
        event_id: fields.some("event_id").map(text),
        source,
    }
}

/// A record of a dispatch or retry topic.
pub fn dispatch(record: &[u8]) -> Dispatch {
    let mut fields = DISPATCH.read(record);
    Dispatch {
        attempt_id: fields.attempt_id(),
        channel: fields.word("channel", of(&Channel::ALL, Channel::word)),
        lane: fields.word("lane", of(&Lane::ALL, Lane::word)),
        route: fields.text("route"),
        template: fields.text("template"),
        customer: Reference::from_bytes(fields.fixed("customer")),
        lease_end: fields.time("lease_end"),
        not_after: NotAfter::new(fields.time("not_after")),
        expiry: fields.time("expiry"),
        wait_ms: fields.number("wait_ms").try_into().unwrap(),
        why: fields.some("why").map(Fields::of).map(|mut why| Why {
            reason: why.word("reason", of(&Reason::ALL, Reason::word)),
            from: why.attempt(),
            hold: why.word("hold", hold),
        }),
        sealed: bytes(fields.value("sealed")),
        sealed_code: fields.some("sealed_code").map(bytes),
        traceparent: fields.some("traceparent").map(text),
    }
}

/// An entry of the dispatch journal.
pub fn journal(record: &[u8]) -> JournalEntry {
    let mut fields = JOURNAL.read(record);
    let kind = |word: &str| match word {
        "intent" => Some(JournalKind::Intent),
        "refused" => Some(JournalKind::Refused),
        "done" => Some(JournalKind::Done),
        "hello" => Some(JournalKind::Hello),
        _ => None,
    };
    let epoch = fields.number("epoch").to_be_bytes();
    JournalEntry { attempt_id: fields.attempt_id(), kind: fields.word("kind", kind), epoch: u64::from_be_bytes(epoch) }
}

/// A record of the receipts topic.
pub fn returned(record: &[u8]) -> Returned {
    let Value::Union(branch, event) = RETURNED.read(record).value("event") else { panic!("the event is a union") };
    let mut fields = Fields::of(*event);
    match branch {
        0 => Returned::Outcome {
            attempt_id: fields.attempt_id(),
            outcome: fields.word("outcome", of(&Outcome::ALL, Outcome::word)),
            reason: fields.word("reason", of(&Reason::ALL, Reason::word)),
            code: fields.number("code").try_into().unwrap(),
            provider_id: fields.some("provider_id").map(fixed),
        },
        1 => Returned::Receipt {
            attempt_id: fields.attempt_id(),
            receipt: fields.word("receipt", of(&Receipt::ALL, Receipt::word)),
            reason: fields.word("reason", of(&Reason::ALL, Reason::word)),
            code: fields.number("code").try_into().unwrap(),
            provider_time: fields.some("provider_time").map(number).map(Timestamp::from_millis),
        },
        2 => Returned::GatewayHeartbeat { instance: fields.text("instance") },
        3 => Returned::DispatcherHeartbeat {
            instance: fields.text("instance"),
            channel: fields.word("channel", of(&Channel::ALL, Channel::word)),
            lane: fields.word("lane", of(&Lane::ALL, Lane::word)),
            settled: fields.time("settled"),
        },
        _ => Returned::Hello { instance: fields.text("instance"), nonce: u64::from_be_bytes(fields.number("nonce").to_be_bytes()) },
    }
}
