//! Avro framing of our own records: bytes ⇄ the private mirrors of each record type, through the schemas in `schemas/`.
//!
//! A reader finds the writer's schema by its fingerprint among all that were ever shipped, so a topic may hold records of several versions. The
//! library's own error text quotes values and is therefore dropped everywhere.

use crate::delivery::{Channel, Hold, Lane, Outcome, Reason, Receipt};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_avro_fast::ser::SerializerConfig;
use serde_avro_fast::{Schema, de::DeserializerState, to_datum};
use std::fmt;
use std::io::BufRead;
use std::sync::LazyLock;

/// Why bytes are no record of ours. All are final, and none carries bytes of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// Neither Avro single-object encoding nor, where it is allowed, the Confluent wire format.
    #[error("the bytes do not begin as a record of ours")]
    Framing,
    /// Written with a schema that this Recado does not know: by a newer one, or by somebody else.
    #[error("the record's schema is not known")]
    UnknownSchema,
    /// A record of ours, but not of the kind that this topic holds.
    #[error("the record is of another kind")]
    OtherKind,
    /// Cut off, too long, or with a word that is not in our lists.
    #[error("the record does not follow its schema")]
    Shape,
    /// A number outside what the field may hold.
    #[error("field {0} is out of range")]
    Range(&'static str),
}

/// How a status is framed for the bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Avro single-object encoding: `C3 01`, fingerprint (8, little-endian), body.
    SingleObject,
    /// Confluent's wire format: `00`, the schema's id in the registry (4, big-endian), body.
    Confluent(u32),
}

/// The kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Dispatch,
    Returned,
    Journal,
    Status,
}

/// One schema that was shipped at some time.
struct Shipped {
    kind: Kind,
    schema: Schema,
}

const SINGLE_OBJECT: [u8; 2] = [0xC3, 0x01];
const HEADER_BYTES: usize = 10;

/// Every schema that was ever shipped; of each kind the newest stands first. One version each, so far: a second one keeps the first below it.
static SHIPPED: LazyLock<[Shipped; 4]> = LazyLock::new(|| {
    let shipped = |kind, text: &str| Shipped { kind, schema: text.parse().expect("a schema of ours is valid Avro: a test reads them all") };
    [
        shipped(Kind::Dispatch, include_str!("../../../schemas/dispatch.avsc")),
        shipped(Kind::Returned, include_str!("../../../schemas/returned.avsc")),
        shipped(Kind::Journal, include_str!("../../../schemas/journal.avsc")),
        shipped(Kind::Status, STATUS_SCHEMA),
    ]
});

/// The schema of `recado.status` as the bank gets it: what is registered under `<topic>-value`.
pub const STATUS_SCHEMA: &str = include_str!("../../../schemas/status.avsc");

fn newest(kind: Kind) -> &'static Schema {
    &SHIPPED.iter().find(|shipped| shipped.kind == kind).expect("every kind has a schema").schema
}

/// Appends a record in single-object encoding.
pub(super) fn write_single_object<T: Serialize>(kind: Kind, mirror: &T, out: &mut Vec<u8>) {
    out.extend_from_slice(&SINGLE_OBJECT);
    out.extend_from_slice(newest(kind).rabin_fingerprint());
    write_body(kind, mirror, out);
}

/// Appends a record in Confluent's wire format. For tests alone: a status is written by hand.
#[cfg(test)]
pub(super) fn write_confluent<T: Serialize>(kind: Kind, id: u32, mirror: &T, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&id.to_be_bytes());
    write_body(kind, mirror, out);
}

fn write_body<T: Serialize>(kind: Kind, mirror: &T, out: &mut Vec<u8>) {
    let written = to_datum(mirror, out, &mut SerializerConfig::new(newest(kind)));
    assert!(written.is_ok(), "a mirror follows its schema, and a Vec takes all bytes: a test writes each kind");
}

/// Reads a record in single-object encoding; the whole slice must be one record.
pub(super) fn read_single_object<'a, T: Deserialize<'a>>(kind: Kind, bytes: &'a [u8]) -> Result<T, BadRecord> {
    let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or(BadRecord::Framing)?;
    let fingerprint = header.strip_prefix(&SINGLE_OBJECT).ok_or(BadRecord::Framing)?;
    let shipped = SHIPPED.iter().find(|shipped| shipped.schema.rabin_fingerprint() == fingerprint).ok_or(BadRecord::UnknownSchema)?;
    if shipped.kind != kind {
        return Err(BadRecord::OtherKind);
    }
    read_body(&shipped.schema, body)
}

/// Reads a record in Confluent's wire format that was written with our newest schema, whatever id the registry gave it.
pub(super) fn read_confluent<'a, T: Deserialize<'a>>(kind: Kind, bytes: &'a [u8]) -> Result<T, BadRecord> {
    let (header, body) = bytes.split_at_checked(5).ok_or(BadRecord::Framing)?;
    if header[0] != 0 {
        return Err(BadRecord::Framing);
    }
    read_body(newest(kind), body)
}

fn read_body<'a, T: Deserialize<'a>>(schema: &Schema, body: &'a [u8]) -> Result<T, BadRecord> {
    let mut state = DeserializerState::from_slice(body, schema);
    let mirror = T::deserialize(state.deserializer()).map_err(|_| BadRecord::Shape)?;
    let rest_is_empty = state.into_reader().fill_buf().is_ok_and(<[u8]>::is_empty);
    if rest_is_empty { Ok(mirror) } else { Err(BadRecord::Shape) }
}

/// A word of one of our closed lists, on an Avro enum or string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word<T>(pub T);

/// What has a word in records.
pub(super) trait Worded: Sized + Copy {
    fn word(self) -> &'static str;
    fn from_word(word: &str) -> Option<Self>;
}

macro_rules! worded {
    ($($kind:ty),*) => { $(
        impl Worded for $kind {
            fn word(self) -> &'static str {
                self.word()
            }
            fn from_word(word: &str) -> Option<Self> {
                Self::from_word(word)
            }
        }
    )* };
}
worded!(Channel, Lane, Outcome, Reason, Receipt);

impl Worded for Hold {
    fn word(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::GatewaySilent => "gateway_silent",
            Self::Storm => "storm",
            Self::DispatcherSilent => "dispatcher_silent",
        }
    }
    fn from_word(word: &str) -> Option<Self> {
        [Self::No, Self::GatewaySilent, Self::Storm, Self::DispatcherSilent].into_iter().find(|hold| hold.word() == word)
    }
}

impl<T: Worded> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.word())
    }
}

impl<'de, T: Worded> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Find<T>(std::marker::PhantomData<T>);
        impl<T: Worded> Visitor<'_> for Find<T> {
            type Value = Word<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word of the list")
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
                T::from_word(word).map(Word).ok_or_else(|| E::custom("unknown word"))
            }
        }
        deserializer.deserialize_str(Find(std::marker::PhantomData))
    }
}

/// Avro `bytes`.
pub(super) struct Bytes<'a>(pub &'a [u8]);

/// Avro `fixed` of 16 bytes.
pub(super) struct Fixed16(pub [u8; 16]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Serialize for Fixed16 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

struct Raw;

impl<'de> Visitor<'de> for Raw {
    type Value = &'de [u8];
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }
    fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(bytes)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Raw).map(Self)
    }
}

impl<'de> Deserialize<'de> for Fixed16 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = deserializer.deserialize_bytes(Raw)?;
        bytes.try_into().map(Self).map_err(|_| de::Error::custom("not 16 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed from the specification's text (canonical form, CRC-64-AVRO) by a program of its own: what Java and everybody else gets. The crate
    /// apache-avro 0.22 disagrees where a field has a logical type: the canonical form strips those, and it keeps them.
    #[test]
    fn fingerprints_are_those_of_the_specification() {
        let fingerprints: Vec<String> = SHIPPED.iter().map(|shipped| hex::encode(shipped.schema.rabin_fingerprint())).collect();
        assert_eq!(fingerprints, ["10f3fbdc1d36528d", "35a7fcd3a9ec7fea", "a5bfab67ea48f6e5", "66bbf9ea2d4c6190"]);
        let journal = apache_avro::Schema::parse_str(newest(Kind::Journal).json()).expect("the other library reads it too");
        assert_eq!(journal.fingerprint::<apache_avro::rabin::Rabin>().bytes, newest(Kind::Journal).rabin_fingerprint(), "no logical type in it");
    }

    #[test]
    fn every_word_of_a_list_reads_back() {
        for hold in [Hold::No, Hold::GatewaySilent, Hold::Storm, Hold::DispatcherSilent] {
            assert_eq!(Hold::from_word(hold.word()), Some(hold));
        }
        assert_eq!(<Hold as Worded>::from_word("other"), None);
    }
}
