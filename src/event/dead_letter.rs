//! A record that could not be processed, on its way to `recado.dead-letters`: enters the record and the reason; leaves headers and a value in which the
//! original key and bytes rest sealed.
//!
//! What is easily got wrong: the original key may name a person, so it is sealed with the value, and the dead letter itself has no key. Its partition is the
//! home partition. The caller seals; nothing here holds a key.

use super::input::DeadReason;
use crate::delivery::SourcePosition;
use zeroize::Zeroizing;

/// Above this many bytes of key and value together only length and digest are kept (design §3).
pub const SEALED_BYTES_MAX: usize = 256 * 1024;

/// What is kept of a record. It may hold anything: no `Debug`.
#[derive(PartialEq, Eq)]
pub enum Content {
    /// The plain bytes to be sealed; [`read_plain`] takes them apart again.
    Seal(Zeroizing<Vec<u8>>),
    /// Too large: only this is kept.
    Digest(Digest),
}

/// Stands for a record that is too large to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Bytes of the original value.
    pub length: u64,
    /// SHA-256 of the original value. Records of this size are not guessed.
    pub sha256: [u8; 32],
}

/// What rests in a dead letter's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Original key and bytes, sealed under the key of the day, or under a code epoch key where the input carries codes.
    Sealed(Vec<u8>),
    /// The record was too large.
    Digest(Digest),
}

const VERSION: u8 = 1;
const KIND_SEALED: u8 = 1;
const KIND_DIGEST: u8 = 2;

/// What of a record is to be sealed, if it is not too large: version 1 ‖ key ‖ value, each as 0 for none, or 1 ‖ length in four bytes ‖ bytes.
pub fn content(key: Option<&[u8]>, value: Option<&[u8]>) -> Content {
    let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
    if bytes > SEALED_BYTES_MAX {
        let value = value.unwrap_or_default();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, value);
        let sha256 = digest.as_ref().try_into().expect("SHA-256 has 32 bytes");
        return Content::Digest(Digest { length: u64::try_from(value.len()).unwrap_or(u64::MAX), sha256 });
    }
    let mut plain = Zeroizing::new(Vec::with_capacity(bytes + 11));
    plain.push(VERSION);
    for part in [key, value] {
        match part {
            None => plain.push(0),
            Some(part) => {
                plain.push(1);
                plain.extend_from_slice(&u32::try_from(part.len()).expect("it is below SEALED_BYTES_MAX").to_be_bytes());
                plain.extend_from_slice(part);
            }
        }
    }
    Content::Seal(plain)
}

/// A record as the bank wrote it, from an opened dead letter. It may hold anything: no `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Original<'a> {
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
}

/// Original key and value from the opened bytes; `None` for anything that [`content`] did not write.
pub fn read_plain(plain: &[u8]) -> Option<Original<'_>> {
    let rest = plain.strip_prefix(&[VERSION])?;
    let (key, rest) = part(rest)?;
    let (value, rest) = part(rest)?;
    rest.is_empty().then_some(Original { key, value })
}

fn part(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    match bytes {
        [0, rest @ ..] => Some((None, rest)),
        [1, rest @ ..] => {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
            Some((Some(part), rest))
        }
        _ => None,
    }
}

/// What the sealed bytes are bound to, so that a dead letter moved to other coordinates does not open: topic, partition and offset, each with its length in
/// four bytes before it.
pub fn coordinates(source: &SourcePosition) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(source.topic.len() + 22);
    for part in [source.topic.as_bytes(), &source.partition.0.to_be_bytes(), &source.offset.to_be_bytes()] {
        bytes.extend_from_slice(&u32::try_from(part.len()).expect("a topic's name is short").to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// The dead letter's value: version 1 ‖ kind ‖ sealed bytes, or length in eight bytes and SHA-256.
pub fn write_value(value: &Value) -> Vec<u8> {
    match value {
        Value::Sealed(sealed) => [&[VERSION, KIND_SEALED], sealed.as_slice()].concat(),
        Value::Digest(Digest { length, sha256 }) => [&[VERSION, KIND_DIGEST], length.to_be_bytes().as_slice(), sha256].concat(),
    }
}

/// The inverse of [`write_value`]; `None` for anything else.
pub fn read_value(bytes: &[u8]) -> Option<Value> {
    match bytes {
        [VERSION, KIND_SEALED, sealed @ ..] => Some(Value::Sealed(sealed.to_vec())),
        [VERSION, KIND_DIGEST, rest @ ..] => {
            let (length, sha256) = rest.split_first_chunk::<8>()?;
            Some(Value::Digest(Digest { length: u64::from_be_bytes(*length), sha256: sha256.try_into().ok()? }))
        }
        _ => None,
    }
}

/// The dead letter's headers: those of Kafka Streams, so that its tools find their way, and `recado.reason`. Numbers are in decimal text. Nothing of the record
/// is in them.
pub fn headers(reason: DeadReason, source: &SourcePosition) -> [(&'static str, String); 6] {
    [
        ("__streams.errors.exception", format!("recado.event.{}", reason.word())),
        ("__streams.errors.message", reason.sentence().to_owned()),
        ("__streams.errors.topic", source.topic.clone()),
        ("__streams.errors.partition", source.partition.kafka().to_string()),
        ("__streams.errors.offset", source.offset.to_string()),
        ("recado.reason", reason.word().to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Partition;

    fn source() -> SourcePosition {
        SourcePosition { topic: "pix.transactions".into(), partition: Partition(3), offset: 42 }
    }

    #[test]
    fn what_is_sealed_reads_back_also_without_key_or_value() {
        for (key, value) in [(Some(&b"k"[..]), Some(&b"value"[..])), (None, Some(&b""[..])), (Some(&b""[..]), None), (None, None)] {
            let Content::Seal(plain) = content(key, value) else { panic!("it is small") };
            assert!(read_plain(&plain) == Some(Original { key, value }));
            for cut in 0..plain.len() {
                assert!(read_plain(&plain[..cut]).is_none(), "cut at {cut}");
            }
        }
        let Content::Seal(plain) = content(Some(b"k"), Some(b"v")) else { panic!("it is small") };
        assert_eq!(plain.as_slice(), [1, 1, 0, 0, 0, 1, b'k', 1, 0, 0, 0, 1, b'v'], "these bytes are final: topics hold them");
    }

    #[test]
    fn of_a_record_over_the_limit_only_length_and_digest_are_kept() {
        let largest = vec![7; SEALED_BYTES_MAX - 1];
        assert!(matches!(content(Some(b"k"), Some(&largest)), Content::Seal(_)));
        let Content::Digest(digest) = content(Some(b"kk"), Some(&largest)) else { panic!("it is one byte too large") };
        assert_eq!(digest.length, u64::try_from(largest.len()).unwrap());
        let value = write_value(&Value::Digest(digest));
        assert_eq!(value.len(), 42);
        assert_eq!(read_value(&value), Some(Value::Digest(digest)));
        assert_eq!(read_value(&value[..41]), None);
    }

    #[test]
    fn sealed_values_read_back() {
        let value = Value::Sealed(vec![9, 8, 7]);
        assert_eq!(write_value(&value), [1, 1, 9, 8, 7]);
        assert_eq!(read_value(&write_value(&value)), Some(value));
        assert_eq!(read_value(&[2, 1, 9]), None);
        assert_eq!(read_value(&[]), None);
    }

    #[test]
    fn headers_speak_the_words_of_kafka_streams() {
        let headers = headers(DeadReason::UnknownSchema, &source());
        let value = |name: &str| headers.iter().find(|(header, _)| *header == name).map(|(_, value)| value.as_str());
        assert_eq!(value("recado.reason"), Some("unknown_schema"));
        assert_eq!(value("__streams.errors.topic"), Some("pix.transactions"));
        assert_eq!(value("__streams.errors.partition"), Some("3"));
        assert_eq!(value("__streams.errors.offset"), Some("42"));
        assert_eq!(value("__streams.errors.exception"), Some("recado.event.unknown_schema"));
        assert!(value("__streams.errors.message").is_some_and(|message| message.ends_with('.')));
    }

    #[test]
    fn coordinates_differ_wherever_topic_and_numbers_meet() {
        let other = SourcePosition { topic: "pix.transaction".into(), ..source() };
        assert_ne!(coordinates(&source()), coordinates(&other));
        assert_eq!(coordinates(&source()).len(), 16 + 2 + 8 + 12);
    }
}
