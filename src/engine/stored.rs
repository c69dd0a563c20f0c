//! PURE: what rests in `recado.state` and RocksDB, in bytes: the keys, and what stands under them. The one place that knows either.
//!
//! | key | value in the changelog | value in the store |
//! |---|---|---|
//! | `s` ‖ message id (16) | [`Delivery`] | the same bytes |
//! | `x` ‖ hash of input ‖ event id (16) | [`CancelEntry`] | the same bytes |
//! | `d` ‖ minute (4) ‖ message id (16) | a block of hashes: [`write_block`] | the same bytes |
//! | `p` | the position record: [`Positions`] | [`Meta`], which holds it and what the store alone needs |
//!
//! All numbers are big-endian, each value begins with its version. Versions ever written are read for ever, and kinds never change; golden bytes below.

use super::key::Key;
use crate::delivery::{BadState, KnownRoutes, MessageId, State, Timestamp};
use crate::privacy::Reference;
use std::collections::BTreeMap;
use std::ops::Range;

/// The version that is written. With a second one, what was read in the first must not be written again as it lies (`Delivery::unchanged`).
const VERSION: u8 = 1;
/// About what a delivery takes besides its texts and what is sealed, with two steps and two attempts: enough for most, so that writing grows nothing.
const FIXED_BYTES: usize = 240;
/// About what the machine changes of it, with two steps and two attempts.
const CHANGING_BYTES: usize = 56;
/// Where `receipts_applied` lies: behind the version and the source's offset.
const RECEIPTS_APPLIED: Range<usize> = 9..17;

/// One delivery as it rests: the machine's state, and around it what the machine has no use for, which is read where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// The offset of the request in its input. The message id is made of it: a request that is read again while its delivery lives is not a second one.
    pub source_offset: i64,
    /// The input's topic.
    pub source_topic: &'a str,
    /// The receipts offset below which everything about this delivery is applied; 0 before the first.
    pub receipts_applied: i64,
    /// The route's name.
    pub route: &'a str,
    /// Whose message it is.
    pub customer: Reference,
    /// The key of its statuses: the input record's, or the customer reference where that key is personal.
    pub record_key: &'a [u8],
    /// The bank's event id.
    pub event_id: Option<&'a str>,
    /// Its hash in the cancel index, where the input has a cancel input.
    pub cancel_hash: Option<[u8; 16]>,
    /// Parameters and destination.
    pub sealed: &'a [u8],
    /// The code.
    pub sealed_code: Option<&'a [u8]>,
    /// W3C trace context, handed on.
    pub traceparent: Option<&'a str>,
    /// The machine's own memory.
    pub state: State,
    /// All that stands before what the machine changes, as it was read: it is written again in one go. Empty where nothing was read, or where one of these parts
    /// is another by now; `receipts_applied` may be.
    pub unchanged: &'a [u8],
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

/// The kind of a delivery's key. A kind is a key's first byte, and what a scan asks for.
pub const DELIVERY: u8 = b's';
/// The kind of the cancel index.
pub const CANCEL: u8 = b'x';
/// The kind of a block of deduplication hashes.
pub const BLOCK: u8 = b'd';
/// The whole key of the position.
pub const POSITION_KEY: &[u8] = b"p";

/// The key of a delivery. Its order is that of the record times, so keys arrive almost in order.
pub fn delivery_key(id: &MessageId) -> Key {
    Key::of(&[&[DELIVERY], id.bytes()])
}

/// The message id in the key of a delivery; `None` for any other key.
pub fn message_id_of(key: &[u8]) -> Option<MessageId> {
    Some(MessageId::from_bytes(key.strip_prefix(&[DELIVERY])?.try_into().ok()?))
}

/// The key of an entry of the cancel index: the keyed hash of input name and event id.
pub fn cancel_key(hash: &[u8; 16]) -> Key {
    Key::of(&[&[CANCEL], hash])
}

/// The hash in the key of an entry of the cancel index; `None` for any other key.
pub fn cancel_hash_of(key: &[u8]) -> Option<[u8; 16]> {
    key.strip_prefix(&[CANCEL])?.try_into().ok()
}

/// The key of a block of deduplication hashes: the minute of the decision, and the message id of one of its events, which makes it unique.
pub fn block_key(minute: u32, one: &MessageId) -> Key {
    Key::of(&[&[BLOCK], &minute.to_be_bytes(), one.bytes()])
}

/// The minute in the key of a block; `None` for any other key.
pub fn minute_of(key: &[u8]) -> Option<u32> {
    let (minute, id) = key.strip_prefix(&[BLOCK])?.split_first_chunk::<4>()?;
    (id.len() == 16).then_some(u32::from_be_bytes(*minute))
}

/// The bytes of a block: its version, then the hashes.
pub fn write_block(hashes: &[[u8; 16]]) -> Vec<u8> {
    [&[VERSION], hashes.as_flattened()].concat()
}

/// Reads what [`write_block`] wrote.
pub fn read_block(bytes: &[u8]) -> Result<&[[u8; 16]], BadBytes> {
    match Reader::versioned(bytes)?.rest.as_chunks::<16>() {
        (hashes, []) => Ok(hashes),
        _ => Err(BadBytes::Shape),
    }
}

impl<'a> Delivery<'a> {
    /// Its bytes.
    pub fn write(&self) -> Vec<u8> {
        if self.unchanged.len() < RECEIPTS_APPLIED.end {
            return self.write_anew();
        }
        let mut out = Vec::with_capacity(self.unchanged.len() + CHANGING_BYTES);
        out.extend_from_slice(self.unchanged);
        out[RECEIPTS_APPLIED].copy_from_slice(&self.receipts_applied.to_be_bytes());
        self.state.write_after_route(&mut out);
        out
    }

    fn write_anew(&self) -> Vec<u8> {
        let texts = self.source_topic.len() + self.route.len() + self.record_key.len() + self.event_id.map_or(0, str::len);
        let sealed = self.sealed.len() + self.sealed_code.map_or(0, <[u8]>::len) + self.traceparent.map_or(0, str::len);
        let mut out = Vec::with_capacity(FIXED_BYTES + texts + sealed);
        out.push(VERSION);
        out.extend_from_slice(&self.source_offset.to_be_bytes());
        out.extend_from_slice(&self.receipts_applied.to_be_bytes());
        out.extend_from_slice(self.customer.bytes());
        put(&mut out, self.source_topic.as_bytes());
        put(&mut out, self.route.as_bytes());
        put(&mut out, self.record_key);
        put_option(&mut out, self.event_id.map(str::as_bytes));
        put_option(&mut out, self.cancel_hash.as_ref().map(<[u8; 16]>::as_slice));
        put(&mut out, self.sealed);
        put_option(&mut out, self.sealed_code);
        put_option(&mut out, self.traceparent.map(str::as_bytes));
        self.state.write(&mut out);
        out
    }

    /// Reads what [`Delivery::write`] wrote. `routes`: those of the deliveries that were read before.
    pub fn read(bytes: &'a [u8], routes: &mut KnownRoutes) -> Result<Self, BadBytes> {
        let mut reader = Reader::versioned(bytes)?;
        let source_offset = reader.i64()?;
        let receipts_applied = reader.i64()?;
        let customer = Reference::from_bytes(reader.array()?);
        let source_topic = reader.text()?;
        let route = reader.text()?;
        let record_key = reader.part()?;
        let event_id = reader.option()?.map(text).transpose()?;
        let cancel_hash = reader.option()?.map(|hash| hash.try_into().map_err(|_| BadBytes::Shape)).transpose()?;
        let sealed = reader.part()?;
        let sealed_code = reader.option()?;
        let traceparent = reader.option()?.map(text).transpose()?;
        let (state, changing) = State::read_after_route(reader.rest, routes)?;
        let unchanged = &bytes[..bytes.len() - changing.len()];
        Ok(Self {
            source_offset,
            source_topic,
            receipts_applied,
            route,
            customer,
            record_key,
            event_id,
            cancel_hash,
            sealed,
            sealed_code,
            traceparent,
            state,
            unchanged,
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
    /// What a transaction commits with the group for this partition: what moved since `committed`, and if nothing did, `always` as it stands.
    ///
    /// Never nothing: only with a position does the group say whether the partition is still ours, and only of a partition with a pending position does an heir
    /// wait for the transaction's end. What a timer decided moves no position.
    pub fn to_commit<'p>(&'p self, committed: &Self, always: &str) -> Vec<(&'p str, i64)> {
        let all = || self.0.iter().map(|(topic, &next)| (topic.as_str(), next));
        let moved: Vec<_> = all().filter(|(topic, next)| committed.0.get(*topic) != Some(next)).collect();
        if moved.is_empty() { all().find(|(topic, _)| *topic == always).or_else(|| all().next()).into_iter().collect() } else { moved }
    }

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
            let topic = reader.text()?.to_owned();
            positions.insert(topic, reader.i64()?);
        }
        Ok(Self(positions))
    }
}

/// How far the store of one partition reaches. It stands in the store beside what it speaks of, so the two are flushed together.
///
/// It names the same offsets as [`Positions`], in a shape of its own: two bytes for a length there, four here. Both shapes are final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// All changelog records below this offset are in the store; at most one transaction above it may be. Replaying from here is always right.
    pub changelog_position: i64,
    /// For each source topic the next offset: all below it are applied. Source: the position record.
    pub next_offsets: BTreeMap<String, i64>,
    /// When this was written, on the instance's wall clock: a store older than the changelog's delete retention cannot be trusted.
    pub wall: Timestamp,
    /// Kafka's id of the changelog topic: a topic that was made anew has another.
    pub topic_id: [u8; 16],
}

impl Meta {
    /// Its bytes: `1 | changelog position 8 | wall ms 8 | topic id 16 | count 2 | (length 2, topic, offset 8)…`, topics in ascending order.
    pub fn write(&self) -> Vec<u8> {
        let names: usize = self.next_offsets.keys().map(|topic| topic.len() + 10).sum();
        let mut out = Vec::with_capacity(35 + names);
        out.push(VERSION);
        out.extend_from_slice(&self.changelog_position.to_be_bytes());
        out.extend_from_slice(&self.wall.millis().to_be_bytes());
        out.extend_from_slice(&self.topic_id);
        out.extend_from_slice(&short(self.next_offsets.len()));
        for (topic, next) in &self.next_offsets {
            out.extend_from_slice(&short(topic.len()));
            out.extend_from_slice(topic.as_bytes());
            out.extend_from_slice(&next.to_be_bytes());
        }
        out
    }

    /// Reads what [`Meta::write`] wrote, and nothing else.
    pub fn read(bytes: &[u8]) -> Result<Self, BadBytes> {
        let mut reader = Reader::versioned(bytes)?;
        let changelog_position = reader.i64()?;
        let wall = Timestamp::from_millis(reader.i64()?);
        let topic_id = reader.array()?;
        let mut next_offsets = BTreeMap::new();
        for _ in 0..reader.short()? {
            let length = reader.short()?;
            let topic = reader.bytes(length).and_then(text)?.to_owned();
            if next_offsets.last_key_value().is_some_and(|(last, _)| *last >= topic) {
                return Err(BadBytes::Shape);
            }
            next_offsets.insert(topic, reader.i64()?);
        }
        reader.end()?;
        Ok(Self { changelog_position, next_offsets, wall, topic_id })
    }
}

fn put(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&u32::try_from(part.len()).expect("a stored part is shorter than 4 GiB").to_be_bytes());
    out.extend_from_slice(part);
}

fn short(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("a topic's name has at most 249 bytes, and a task far fewer than 65,536 sources").to_be_bytes()
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

fn text(bytes: &[u8]) -> Result<&str, BadBytes> {
    std::str::from_utf8(bytes).map_err(|_| BadBytes::Shape)
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

    fn short(&mut self) -> Result<usize, BadBytes> {
        self.array().map(u16::from_be_bytes).map(usize::from)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], BadBytes> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(BadBytes::Shape)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn part(&mut self) -> Result<&'a [u8], BadBytes> {
        let length = usize::try_from(u32::from_be_bytes(self.array()?)).map_err(|_| BadBytes::Shape)?;
        self.bytes(length)
    }

    fn option(&mut self) -> Result<Option<&'a [u8]>, BadBytes> {
        match self.array::<1>()? {
            [0] => Ok(None),
            [1] => self.part().map(Some),
            _ => Err(BadBytes::Shape),
        }
    }

    fn text(&mut self) -> Result<&'a str, BadBytes> {
        self.part().and_then(text)
    }

    fn end(&self) -> Result<(), BadBytes> {
        if self.rest.is_empty() { Ok(()) } else { Err(BadBytes::Shape) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{self, Channel, Event, Lane, OnUnknown, Request, Route, Step, WaitFor};
    use proptest::prelude::*;
    use std::time::Duration;

    const ID: MessageId = MessageId::from_bytes([0xab; 16]);

    fn state() -> State {
        let second = Duration::from_secs(1);
        let steps = vec![Step::new(Channel::Sms, "pix_sms", 10 * second, 30 * second, WaitFor::Delivered)];
        let route = Route { lane: Lane::Express, steps, on_unknown: OnUnknown::GiveUp, linger: 600 * second, call_max: 5 * second };
        delivery::request(Request { route: route.into(), expiry: Timestamp::from_millis(300_000), obstacle: None }, Timestamp::from_millis(0)).0
    }

    #[test]
    fn of_each_partition_that_is_written_for_a_position_is_committed() {
        let positions = |all: &[(&str, i64)]| Positions(all.iter().map(|(topic, next)| ((*topic).to_owned(), *next)).collect());
        let now = positions(&[("pix", 7), ("receipts", 3), ("used", 1)]);
        assert_eq!(now.to_commit(&positions(&[("pix", 6), ("receipts", 3)]), "receipts"), [("pix", 7), ("used", 1)]);
        assert_eq!(now.to_commit(&now, "receipts"), [("receipts", 3)], "a timer moves none");
        assert_eq!(now.to_commit(&now, "another"), [("pix", 7)], "any is better than none");
        assert_eq!(Positions::default().to_commit(&now, "receipts"), []);
    }

    fn read(bytes: &[u8]) -> Result<Delivery<'_>, BadBytes> {
        Delivery::read(bytes, &mut KnownRoutes::default()).map(|read| Delivery { unchanged: &[], ..read })
    }

    fn whole() -> Delivery<'static> {
        Delivery {
            source_offset: 7,
            source_topic: "pix",
            receipts_applied: 258,
            route: "pix.sent",
            customer: Reference::from_bytes([0xcc; 16]),
            record_key: b"k-1",
            event_id: Some("e-1"),
            cancel_hash: Some([0xdd; 16]),
            sealed: &[1, 2],
            sealed_code: Some(&[3]),
            traceparent: Some("00-t"),
            state: state(),
            unchanged: &[],
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
        assert_eq!(hex::encode(&*delivery_key(&ID)), format!("73{}", "ab".repeat(16)));
        assert_eq!(hex::encode(&*cancel_key(&[0xcd; 16])), format!("78{}", "cd".repeat(16)));
        assert_eq!(hex::encode(&*block_key(29_415_000, &ID)), format!("6401c0d658{}", "ab".repeat(16)));
        assert_eq!(hex::encode(POSITION_KEY), "70");
    }

    #[test]
    fn keys_read_back_and_others_do_not() {
        let keys = [delivery_key(&ID), cancel_key(ID.bytes()), block_key(7, &ID), Key::of(&[POSITION_KEY])];
        assert_eq!(keys.each_ref().map(|key| message_id_of(key)), [Some(ID), None, None, None]);
        assert_eq!(keys.each_ref().map(|key| cancel_hash_of(key)), [None, Some(*ID.bytes()), None, None]);
        assert_eq!(keys.each_ref().map(|key| minute_of(key)), [None, None, Some(7), None]);
        assert_eq!((message_id_of(&keys[0][..16]), cancel_hash_of(&keys[1][..16]), minute_of(&keys[2][..20])), (None, None, None));
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
        assert_eq!(read(&golden), Ok(whole()));
        for length in 0..golden.len() {
            assert!(read(&golden[..length]).is_err(), "{length}");
        }
        let bare = Delivery { event_id: None, cancel_hash: None, sealed: &[], sealed_code: None, traceparent: None, ..whole() };
        let golden =
            with_state(&[b"\x01\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\x01\x02", &[0xcc; 16], b"\0\0\0\x03pix\0\0\0\x08pix.sent\0\0\0\x03k-1", b"\0\0\0\0\0\0\0\0"]);
        assert_eq!(bare.write(), golden);
        assert_eq!(read(&golden), Ok(bare));
    }

    #[test]
    fn what_was_read_and_changed_is_written_as_if_it_were_new() {
        let bytes = whole().write();
        let mut known = KnownRoutes::default();
        let mut delivery = Delivery::read(&bytes, &mut known).unwrap();
        assert_eq!((delivery.unchanged.is_empty(), delivery.write()), (false, bytes.clone()));
        delivery.receipts_applied = 0x0102_0304_0506_0708;
        delivery::on(&mut delivery.state, &Event::Cancel, Timestamp::from_millis(1_764_900_001_000));
        let anew = Delivery { unchanged: &[], ..delivery.clone() };
        assert_ne!(anew.write(), bytes);
        assert_eq!(delivery.write(), anew.write());
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
    fn version_1_of_a_block_has_these_bytes_for_ever() {
        let hashes = [[0xab; 16], [0xcd; 16]];
        let golden = hex::decode(format!("01{}{}", "ab".repeat(16), "cd".repeat(16))).unwrap();
        assert_eq!(write_block(&hashes), golden);
        assert_eq!(read_block(&golden), Ok(hashes.as_slice()));
        assert_eq!(read_block(&golden[..32]), Err(BadBytes::Shape));
    }

    #[test]
    fn version_1_of_the_stores_position_has_these_bytes_for_ever() {
        let meta = Meta {
            changelog_position: 1_000_000,
            next_offsets: BTreeMap::from([("recado.receipts".into(), 7), ("pix.transactions".into(), -1)]),
            wall: Timestamp::from_millis(1_764_900_000_123),
            topic_id: [0xee; 16],
        };
        let golden = concat!(
            "01",
            "00000000000f4240",
            "0000019aec3cd17b",
            "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
            "0002",
            "00107069782e7472616e73616374696f6e73ffffffffffffffff",
            "000f72656361646f2e72656365697074730000000000000007",
        );
        assert_eq!(hex::encode(meta.write()), golden);
        assert_eq!(Meta::read(&hex::decode(golden).unwrap()), Ok(meta.clone()));
        for length in 0..meta.write().len() {
            assert!(Meta::read(&meta.write()[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn what_a_newer_recado_wrote_is_named_as_such() {
        assert_eq!(read(&[2]), Err(BadBytes::Version(2)));
        assert_eq!(CancelEntry::read(&[2]), Err(BadBytes::Version(2)));
        assert_eq!(Positions::read(&[2]), Err(BadBytes::Version(2)));
        assert_eq!(Meta::read(&[2]), Err(BadBytes::Version(2)));
        assert_eq!(read_block(&[2]), Err(BadBytes::Version(2)));
        assert_eq!(Positions::read(&[]), Err(BadBytes::Shape));
    }

    proptest! {
        #[test]
        fn bytes_that_are_not_ours_never_panic(noise in proptest::collection::vec(any::<u8>(), 0..120)) {
            let ours = [&[VERSION], noise.as_slice()].concat();
            for bytes in [&noise, &ours] {
                let _ = (read(bytes), CancelEntry::read(bytes), Positions::read(bytes), read_block(bytes));
                if let Ok(meta) = Meta::read(bytes) {
                    prop_assert_eq!(&meta.write(), bytes);
                }
            }
        }

        #[test]
        fn the_stores_position_reads_back(
            numbers in any::<(i64, i64, [u8; 16])>(),
            next_offsets in proptest::collection::btree_map("[a-z.]{0,30}", any::<i64>(), 0..5),
        ) {
            let meta = Meta { changelog_position: numbers.0, next_offsets, wall: Timestamp::from_millis(numbers.1), topic_id: numbers.2 };
            prop_assert_eq!(Meta::read(&meta.write()), Ok(meta));
        }
    }
}
