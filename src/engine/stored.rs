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
