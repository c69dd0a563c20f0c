//! What rests in `recado.state` and RocksDB, in bytes: a delivery with its envelope, the cancel index, the position record. The same bytes in both places.
//!
//! | key | value |
//! |---|---|
//! | `s` ‖ message id (16) | [`Delivery`] |
//! | `d` ‖ minute (4) ‖ message id (16) | a block of hashes (`dedup`) |
//! | `x` ‖ hash of input ‖ event id (16) | [`CancelEntry`] |
//! | `p` | [`Positions`] |
//!
//! All numbers are big-endian, each value begins with its version. Versions ever written are read for ever; golden bytes below.

use crate::delivery::{BadState, MessageId, State, Timestamp};
use crate::privacy::Reference;
use std::collections::BTreeMap;

/// The version that is written.
const VERSION: u8 = 1;

/// One delivery as it rests: the machine's state, and around it what the machine has no use for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The offset of the request in its input: a replayed request at this very offset is not a second one.
    pub source_offset: i64,
    /// The input's topic.
    pub source_topic: String,
    /// The receipts offset below which everything about this delivery is applied; 0 before the first.
    pub receipts_applied: i64,
    /// The route's name.
    pub route: String,
    /// Whose message it is.
    pub customer: Reference,
    /// The key of its statuses: the input record's, or the customer reference where that key is personal.
    pub record_key: Vec<u8>,
    /// The bank's event id.
    pub event_id: Option<String>,
    /// Its hash in the cancel index, where the input has a cancel input.
    pub cancel_hash: Option<[u8; 16]>,
    /// Parameters and destination.
    pub sealed: Vec<u8>,
    /// The code.
    pub sealed_code: Option<Vec<u8>>,
    /// W3C trace context, handed on.
    pub traceparent: Option<String>,
    /// The machine's own memory.
    pub state: State,
}

/// Why bytes are nothing of ours: the partition's store cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBytes {
    /// Written by a newer Recado.
    #[error("unknown version {0}")]
    Version(u8),
    /// Cut off or garbled.
    #[error("the bytes have not the shape of a stored value")]
    Shape,
}

impl From<BadState> for BadBytes {
    fn from(bad: BadState) -> Self {
        match bad {
            BadState::Version(version) => Self::Version(version),
            BadState::Shape => Self::Shape,
        }
    }
}

/// The key of a delivery.
pub fn delivery_key(id: &MessageId) -> Vec<u8> {
    [b"s".as_slice(), id.bytes()].concat()
}

/// The message id in the key of a delivery; `None` for another kind of key.
pub fn message_id_of(key: &[u8]) -> Option<MessageId> {
    let id = key.strip_prefix(b"s")?;
    Some(MessageId::from_bytes(id.try_into().ok()?))
}

/// The key of an entry of the cancel index.
pub fn cancel_key(hash: &[u8; 16]) -> Vec<u8> {
    [b"x".as_slice(), hash].concat()
}

/// The key of the position record.
pub const POSITIONS_KEY: &[u8] = b"p";

impl Delivery {
    /// Its bytes.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160 + self.sealed.len());
        out.push(VERSION);
        out.extend_from_slice(&self.source_offset.to_be_bytes());
        out.extend_from_slice(&self.receipts_applied.to_be_bytes());
        out.extend_from_slice(self.customer.bytes());
        put(&mut out, self.source_topic.as_bytes());
        put(&mut out, self.route.as_bytes());
        put(&mut out, &self.record_key);
        put_option(&mut out, self.event_id.as_ref().map(String::as_bytes));
        put_option(&mut out, self.cancel_hash.as_ref().map(<[u8; 16]>::as_slice));
        put(&mut out, &self.sealed);
        put_option(&mut out, self.sealed_code.as_deref());
        put_option(&mut out, self.traceparent.as_ref().map(String::as_bytes));
        self.state.write(&mut out);
        out
    }

    /// Reads what [`Delivery::write`] wrote.
    pub fn read(bytes: &[u8]) -> Result<Self, BadBytes> {
        let mut reader = Reader::versioned(bytes)?;
        let source_offset = reader.i64()?;
        let receipts_applied = reader.i64()?;
        let customer = Reference::from_bytes(reader.array()?);
        Ok(Self {
            source_offset,
            receipts_applied,
            customer,
            source_topic: reader.text()?,
            route: reader.text()?,
            record_key: reader.part()?.to_vec(),
            event_id: reader.option()?.map(text).transpose()?,
            cancel_hash: reader.option()?.map(|hash| hash.try_into().map_err(|_| BadBytes::Shape)).transpose()?,
            sealed: reader.part()?.to_vec(),
            sealed_code: reader.option()?.map(<[u8]>::to_vec),
            traceparent: reader.option()?.map(text).transpose()?,
            state: State::read(reader.rest)?,
        })
    }
}

/// One entry of the cancel index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelEntry {
    /// The delivery that this event of the bank made.
    Delivery(MessageId),
    /// The cancel came first; forgotten at this time.
    Cancelled(Timestamp),
}

impl CancelEntry {
    /// Its bytes.
    pub fn write(&self) -> Vec<u8> {
        match self {
            Self::Delivery(id) => [&[VERSION, 1], id.bytes().as_slice()].concat(),
            Self::Cancelled(until) => [&[VERSION, 2], until.millis().to_be_bytes().as_slice()].concat(),
        }
    }

    /// Reads what [`CancelEntry::write`] wrote.
    pub fn read(bytes: &[u8]) -> Result<Self, BadBytes> {
        let mut reader = Reader::versioned(bytes)?;
        let entry = match reader.array::<1>()? {
            [1] => Self::Delivery(MessageId::from_bytes(reader.array()?)),
            [2] => Self::Cancelled(Timestamp::from_millis(reader.i64()?)),
            _ => return Err(BadBytes::Shape),
        };
        reader.end()?;
        Ok(entry)
    }
}

/// The position record: for each source topic, the offset below which every record is applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions(pub BTreeMap<String, i64>);

impl Positions {
    /// Its bytes.
    pub fn write(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        for (topic, next) in &self.0 {
            put(&mut out, topic.as_bytes());
            out.extend_from_slice(&next.to_be_bytes());
        }
        out
    }

    /// Reads what [`Positions::write`] wrote.
    pub fn read(bytes: &[u8]) -> Result<Self, BadBytes> {
        let mut reader = Reader::versioned(bytes)?;
        let mut positions = BTreeMap::new();
        while !reader.rest.is_empty() {
            let topic = reader.text()?;
            positions.insert(topic, reader.i64()?);
        }
        Ok(Self(positions))
    }
}

fn put(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&u32::try_from(part.len()).expect("a stored part is shorter than 4 GiB").to_be_bytes());
    out.extend_from_slice(part);
}

fn put_option(out: &mut Vec<u8>, part: Option<&[u8]>) {
    match part {
        None => out.push(0),
        Some(part) => {
            out.push(1);
            put(out, part);
        }
    }
}

fn text(bytes: &[u8]) -> Result<String, BadBytes> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| BadBytes::Shape)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn versioned(bytes: &'a [u8]) -> Result<Self, BadBytes> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => Ok(Self { rest }),
            Some((&version, _)) => Err(BadBytes::Version(version)),
            None => Err(BadBytes::Shape),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadBytes> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or(BadBytes::Shape)?;
        self.rest = rest;
        Ok(*array)
    }

    fn i64(&mut self) -> Result<i64, BadBytes> {
        self.array().map(i64::from_be_bytes)
    }

    fn part(&mut self) -> Result<&'a [u8], BadBytes> {
        let length = usize::try_from(u32::from_be_bytes(self.array()?)).map_err(|_| BadBytes::Shape)?;
        let (part, rest) = self.rest.split_at_checked(length).ok_or(BadBytes::Shape)?;
        self.rest = rest;
        Ok(part)
    }

    fn option(&mut self) -> Result<Option<&'a [u8]>, BadBytes> {
        match self.array::<1>()? {
            [0] => Ok(None),
            [1] => self.part().map(Some),
            _ => Err(BadBytes::Shape),
        }
    }

    fn text(&mut self) -> Result<String, BadBytes> {
        self.part().and_then(text)
    }

    fn end(&self) -> Result<(), BadBytes> {
        if self.rest.is_empty() { Ok(()) } else { Err(BadBytes::Shape) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{self, Channel, Lane, OnUnknown, Request, Route, Step, WaitFor};
    use proptest::prelude::*;
    use std::time::Duration;

    const ID: MessageId = MessageId::from_bytes([0xab; 16]);

    fn state() -> State {
        let second = Duration::from_secs(1);
        let steps = vec![Step::new(Channel::Sms, "pix_sms", 10 * second, 30 * second, WaitFor::Delivered)];
        let route = Route { lane: Lane::Express, steps, on_unknown: OnUnknown::GiveUp, linger: 600 * second, call_max: 5 * second };
        delivery::request(Request { route, expiry: Timestamp::from_millis(300_000), obstacle: None }, Timestamp::from_millis(0)).0
    }

    fn whole() -> Delivery {
        Delivery {
            source_offset: 7,
            source_topic: "pix".into(),
            receipts_applied: 258,
            route: "pix.sent".into(),
            customer: Reference::from_bytes([0xcc; 16]),
            record_key: b"k-1".to_vec(),
            event_id: Some("e-1".into()),
            cancel_hash: Some([0xdd; 16]),
            sealed: vec![1, 2],
            sealed_code: Some(vec![3]),
            traceparent: Some("00-t".into()),
            state: state(),
        }
    }

    /// The machine's own bytes, at the end, have their golden bytes in `delivery/properties.rs`.
    fn with_state(parts: &[&[u8]]) -> Vec<u8> {
        let mut bytes = parts.concat();
        state().write(&mut bytes);
        bytes
    }

    #[test]
    fn keys_have_these_bytes_for_ever() {
        assert_eq!(hex::encode(delivery_key(&ID)), format!("73{}", "ab".repeat(16)));
        assert_eq!(hex::encode(cancel_key(&[0xcd; 16])), format!("78{}", "cd".repeat(16)));
        assert_eq!(POSITIONS_KEY, b"p");
        assert_eq!(message_id_of(&delivery_key(&ID)), Some(ID));
        assert_eq!(message_id_of(&cancel_key(ID.bytes())), None);
        assert_eq!(message_id_of(&delivery_key(&ID)[..16]), None);
    }

    #[test]
    fn version_1_of_a_delivery_has_these_bytes_for_ever() {
        let golden = with_state(&[
            b"\x01\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\x01\x02",
            &[0xcc; 16],
            b"\0\0\0\x03pix\0\0\0\x08pix.sent\0\0\0\x03k-1",
            b"\x01\0\0\0\x03e-1",
            b"\x01\0\0\0\x10",
            &[0xdd; 16],
            b"\0\0\0\x02\x01\x02",
            b"\x01\0\0\0\x01\x03",
            b"\x01\0\0\0\x0400-t",
        ]);
        assert_eq!(whole().write(), golden);
        assert_eq!(Delivery::read(&golden), Ok(whole()));
        for length in 0..golden.len() {
            assert!(Delivery::read(&golden[..length]).is_err(), "{length}");
        }
        let bare = Delivery { event_id: None, cancel_hash: None, sealed: Vec::new(), sealed_code: None, traceparent: None, ..whole() };
        let golden =
            with_state(&[b"\x01\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\x01\x02", &[0xcc; 16], b"\0\0\0\x03pix\0\0\0\x08pix.sent\0\0\0\x03k-1", b"\0\0\0\0\0\0\0\0"]);
        assert_eq!(bare.write(), golden);
        assert_eq!(Delivery::read(&golden), Ok(bare));
    }

    #[test]
    fn version_1_of_the_cancel_index_has_these_bytes_for_ever() {
        for (entry, golden) in [
            (CancelEntry::Delivery(ID), format!("0101{}", "ab".repeat(16))),
            (CancelEntry::Cancelled(Timestamp::from_millis(1_764_900_000_123)), "01020000019aec3cd17b".into()),
        ] {
            let golden = hex::decode(golden).unwrap();
            assert_eq!(entry.write(), golden);
            assert_eq!(CancelEntry::read(&golden), Ok(entry));
            assert_eq!(CancelEntry::read(&golden[..golden.len() - 1]), Err(BadBytes::Shape));
            assert_eq!(CancelEntry::read(&[golden.as_slice(), b"\0"].concat()), Err(BadBytes::Shape));
        }
        assert_eq!(CancelEntry::read(b"\x01\x03"), Err(BadBytes::Shape));
    }

    #[test]
    fn version_1_of_the_position_record_has_these_bytes_for_ever() {
        let positions = Positions(BTreeMap::from([("receipts".into(), 7), ("pix".into(), -1)]));
        let golden = b"\x01\0\0\0\x03pix\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x08receipts\0\0\0\0\0\0\0\x07";
        assert_eq!(positions.write(), golden);
        assert_eq!(Positions::read(golden), Ok(positions));
        assert_eq!(Positions::read(b"\x01"), Ok(Positions::default()));
        assert_eq!(Positions::read(&golden[..golden.len() - 1]), Err(BadBytes::Shape));
    }

    #[test]
    fn what_a_newer_recado_wrote_is_named_as_such() {
        assert_eq!(Delivery::read(&[2]), Err(BadBytes::Version(2)));
        assert_eq!(CancelEntry::read(&[2]), Err(BadBytes::Version(2)));
        assert_eq!(Positions::read(&[2]), Err(BadBytes::Version(2)));
        assert_eq!(Positions::read(&[]), Err(BadBytes::Shape));
    }

    proptest! {
        #[test]
        fn bytes_that_are_not_ours_never_panic(noise in proptest::collection::vec(any::<u8>(), 0..120)) {
            let ours = [&[VERSION], noise.as_slice()].concat();
            for bytes in [&noise, &ours] {
                let _ = (Delivery::read(bytes), CancelEntry::read(bytes), Positions::read(bytes));
            }
        }
    }
}
