//! What a message is made from, in clear: it exists in the engine between decoding and sealing, and in the dispatcher between opening and the call.
//!
//! Its bytes are read only after the seal was found whole; still, any bytes give a payload or `None`, never a panic.

use super::{Class, PhoneKind, PhoneNumber, Secret};
use crate::delivery::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Destination and parameters of one notification.
#[derive(Debug, Default)]
pub struct Payload {
    /// Where to reach the customer; `None` where the record names none.
    pub phone: Option<PhoneNumber>,
    /// The customer's time zone by its tz database name; `None` means the phone's area or `America/Sao_Paulo`.
    pub zone: Option<String>,
    /// The template's parameters by their name in the route, which all messages of the route share.
    pub values: BTreeMap<Arc<str>, Value>,
    /// Those of them that are public and have the shape that their field's pattern describes: the last scan lets them pass, whatever else they resemble.
    pub shaped: BTreeSet<String>,
}

/// One parameter.
#[derive(Debug)]
pub struct Value {
    /// How it may be shown.
    pub class: Class,
    /// What it is.
    pub content: Content,
}

/// What a parameter holds, in the form in which it is formatted later.
pub enum Content {
    /// Text as the bank wrote it.
    Text(Secret<String>),
    /// Money in centavos of a real.
    Amount(Secret<i64>),
    /// A point in time, shown in the customer's zone.
    Time(Timestamp),
    /// A day without a time of day: year, month, day.
    Date(i16, u8, u8),
    /// A whole number.
    Integer(i64),
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

const VERSION: u8 = 1;
/// Version 1 with `shaped` behind it; written only where there is something in it, as who runs an older Recado has no patterns.
const VERSION_SHAPED: u8 = 2;
const TEXT: u8 = 1;
const AMOUNT: u8 = 2;
const TIME: u8 = 3;
const DATE: u8 = 4;
const INTEGER: u8 = 5;

impl Payload {
    /// Its bytes before sealing. Codes are not part of it: they are sealed apart, under an epoch key.
    ///
    /// Version 1, final: `1 | phone | zone | count | value…`. Phone: kind (0 none, 1 mobile, 2 landline, 3 other), then its E.164 as text. Zone: text, empty
    /// for none. Value, in the order of the names: name as text, class ordinal, then 1 text, 2 amount (i64), 3 time (i64 ms), 4 date (i16, u8, u8) or
    /// 5 integer (i64). Version 2: the same, then the count of `shaped`, one at least, and its names in order. Text: length, then UTF-8. Lengths and the count: 7 bits a byte, lowest first, the top bit set on all but the last. Numbers: big-endian.
    pub fn write(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(self.bytes_max()));
        out.push(if self.shaped.is_empty() { VERSION } else { VERSION_SHAPED });
        match &self.phone {
            None => out.push(0),
            Some(phone) => {
                out.push(phone.kind().ordinal());
                write_text(&mut out, phone.e164());
            }
        }
        write_text(&mut out, self.zone.as_deref().unwrap_or(""));
        write_length(&mut out, self.values.len());
        for (name, Value { class, content }) in &self.values {
            write_text(&mut out, name);
            out.push(class.ordinal());
            write_content(&mut out, content);
        }
        if !self.shaped.is_empty() {
            write_length(&mut out, self.shaped.len());
            self.shaped.iter().for_each(|name| write_text(&mut out, name));
        }
        out
    }

    /// Never less than what [`Payload::write`] writes: a vector that grows would leave copies behind.
    fn bytes_max(&self) -> usize {
        const LENGTH_BYTES: usize = 5;
        let texts = |value: &Value| match &value.content {
            Content::Text(text) => text.expose().len() + LENGTH_BYTES,
            Content::Amount(_) | Content::Time(_) | Content::Date(..) | Content::Integer(_) => 8,
        };
        let values: usize = self.values.iter().map(|(name, value)| name.len() + LENGTH_BYTES + 2 + texts(value)).sum();
        let shaped = self.shaped.iter().map(|name| name.len() + LENGTH_BYTES).sum::<usize>() + LENGTH_BYTES;
        2 + 16 + self.zone.as_deref().map_or(0, str::len) + 3 * LENGTH_BYTES + values + shaped
    }

    /// Reads what [`Payload::write`] wrote; `None` for anything else, bytes left over or names out of order included.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = Rest(bytes);
        let version = rest.byte()?;
        if !matches!(version, VERSION | VERSION_SHAPED) {
            return None;
        }
        let phone = match rest.byte()? {
            0 => None,
            kind => Some(PhoneNumber::from_parts(rest.text()?, PhoneKind::from_ordinal(kind)?)?),
        };
        let zone = Some(rest.text()?).filter(|zone| !zone.is_empty()).map(String::from);
        let count = rest.length()?;
        let mut values = BTreeMap::new();
        for _ in 0..count {
            let name = rest.text()?;
            if values.last_key_value().is_some_and(|(last, _): (&Arc<str>, _)| &**last >= name) {
                return None;
            }
            let class = Class::from_ordinal(rest.byte()?)?;
            values.insert(name.into(), Value { class, content: rest.content()? });
        }
        let mut shaped = BTreeSet::new();
        if version == VERSION_SHAPED {
            let count = Some(rest.length()?).filter(|count| *count > 0)?;
            for _ in 0..count {
                let name = rest.text()?;
                let is_public = values.get(name).is_some_and(|value| value.class == Class::Public);
                if !is_public || shaped.last().is_some_and(|last: &String| last.as_str() >= name) {
                    return None;
                }
                shaped.insert(name.to_owned());
            }
        }
        rest.0.is_empty().then_some(Self { phone, zone, values, shaped })
    }
}

fn write_length(out: &mut Vec<u8>, length: usize) {
    let mut left = u32::try_from(length).expect("a record is shorter than 4 GiB");
    while left > 0x7f {
        out.push(left.to_le_bytes()[0] | 0x80);
        left >>= 7;
    }
    out.push(left.to_le_bytes()[0]);
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write_length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn write_content(out: &mut Vec<u8>, content: &Content) {
    let mut number = |tag: u8, value: i64| {
        out.push(tag);
        out.extend_from_slice(&value.to_be_bytes());
    };
    match content {
        Content::Amount(centavos) => number(AMOUNT, *centavos.expose()),
        Content::Time(at) => number(TIME, at.millis()),
        Content::Integer(value) => number(INTEGER, *value),
        Content::Text(text) => {
            out.push(TEXT);
            write_text(out, text.expose());
        }
        Content::Date(year, month, day) => {
            out.push(DATE);
            out.extend_from_slice(&year.to_be_bytes());
            out.extend_from_slice(&[*month, *day]);
        }
    }
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A number of at most 32 bits in its shortest form.
    fn length(&mut self) -> Option<usize> {
        let mut value = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || shift == 0;
                return shortest.then_some(usize::try_from(u32::try_from(value).ok()?).ok()?);
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.length()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn content(&mut self) -> Option<Content> {
        Some(match self.byte()? {
            TEXT => Content::Text(Secret::new(self.text()?.to_owned())),
            AMOUNT => Content::Amount(Secret::new(i64::from_be_bytes(self.array()?))),
            TIME => Content::Time(Timestamp::from_millis(i64::from_be_bytes(self.array()?))),
            DATE => Content::Date(i16::from_be_bytes(self.array()?), self.byte()?, self.byte()?),
            INTEGER => Content::Integer(i64::from_be_bytes(self.array()?)),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload() -> Payload {
        let value = |class, content| Value { class, content };
        Payload {
            phone: PhoneNumber::parse("(11) 98888-7777"),
            zone: Some("America/Manaus".into()),
            values: BTreeMap::from([
                ("amount".into(), value(Class::Amount, Content::Amount(Secret::new(123_456)))),
                ("at".into(), value(Class::Public, Content::Time(Timestamp::from_millis(1_764_900_000_123)))),
                ("due".into(), value(Class::Public, Content::Date(2026, 2, 28))),
                ("installments".into(), value(Class::Public, Content::Integer(-3))),
                ("payer".into(), value(Class::Name, Content::Text(Secret::new("Zoé da Silva".into())))),
            ]),
            shaped: BTreeSet::new(),
        }
    }

    #[test]
    fn version_1_has_these_bytes_for_ever() {
        let golden = concat!(
            "01",
            "010e2b35353131393838383837373737",
            "0e416d65726963612f4d616e617573",
            "05",
            "06616d6f756e74",
            "0902000000000001e240",
            "026174",
            "0d030000019aec3cd17b",
            "03647565",
            "0d0407ea021c",
            "0c696e7374616c6c6d656e7473",
            "0d05fffffffffffffffd",
            "057061796572",
            "01010d5a6fc3a92064612053696c7661",
        );
        assert_eq!(hex::encode(payload().write().as_slice()), golden);
        let read = Payload::read(&hex::decode(golden).unwrap()).unwrap();
        assert_eq!(read.phone.as_ref().unwrap().e164(), "+5511988887777");
        assert_eq!(read.write(), payload().write());
        assert_eq!(hex::encode(Payload::default().write().as_slice()), "01000000");
    }

    #[test]
    fn cut_long_reordered_or_unknown_bytes_are_refused() {
        let whole = payload().write();
        for length in 0..whole.len() {
            assert!(Payload::read(&whole[..length]).is_none(), "{length}");
        }
        assert!(Payload::read(&[whole.as_slice(), &[0]].concat()).is_none());
        for bad in [
            "03000000",
            "02000000",
            "0200000000",
            "0104022b35000000",
            "01008000",
            "0100ffffffff7f",
            "010000026162 0d00",
            "01000002 0161 0d0500000000000000000161 0d050000000000000000",
        ] {
            assert!(Payload::read(&hex::decode(bad.replace(' ', "")).unwrap()).is_none(), "{bad}");
        }
    }

    #[test]
    fn version_2_has_these_bytes_for_ever_and_is_written_only_where_it_says_more() {
        let golden = "02000001026e6f0d0101370102 6e6f".replace(' ', "");
        let value = Value { class: Class::Public, content: Content::Text(Secret::new("7".into())) };
        let payload = Payload { values: BTreeMap::from([("no".into(), value)]), shaped: ["no".to_owned()].into(), ..Payload::default() };
        assert_eq!(hex::encode(payload.write().as_slice()), golden);
        assert_eq!(Payload::read(&hex::decode(&golden).unwrap()).unwrap().shaped, payload.shaped);
        // Of a name that is not there, of one that is not public, twice the same, none, more than it says.
        for bad in ["02000001026e6f0d01013701026e70", "02000001026e6f0101013701026e6f", "02000001026e6f0d01013702026e6f026e6f", "02000001026e6f0d01013700"] {
            assert!(Payload::read(&hex::decode(bad).unwrap()).is_none(), "{bad}");
        }
        assert!(Payload::read(&hex::decode(format!("{golden}00")).unwrap()).is_none());
    }

    #[test]
    fn it_is_written_without_growing() {
        let mut payload = payload();
        payload.shaped = ["at".to_owned(), "due".to_owned()].into();
        assert_eq!(payload.write().capacity(), payload.bytes_max());
    }

    fn content() -> impl Strategy<Value = Content> {
        prop_oneof![
            ".*".prop_map(|text| Content::Text(Secret::new(text))),
            any::<i64>().prop_map(|centavos| Content::Amount(Secret::new(centavos))),
            any::<i64>().prop_map(|millis| Content::Time(Timestamp::from_millis(millis))),
            any::<(i16, u8, u8)>().prop_map(|(year, month, day)| Content::Date(year, month, day)),
            any::<i64>().prop_map(Content::Integer),
        ]
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(zone in "[A-Za-z/_]{0,200}", values in proptest::collection::btree_map(".*", (0_usize..16, content(), any::<bool>()), 0..6)) {
            let is_shaped = |(name, (class, _, shaped)): (&String, &(usize, Content, bool))| (*shaped && Class::ALL[*class] == Class::Public).then(|| name.clone());
            let shaped = values.iter().filter_map(is_shaped).collect();
            let values = values.into_iter().map(|(name, (class, content, _))| (name.into(), Value { class: Class::ALL[class], content })).collect();
            let payload = Payload { phone: None, zone: Some(zone).filter(|zone| !zone.is_empty()), values, shaped };
            let bytes = payload.write();
            prop_assert!(bytes.len() <= payload.bytes_max());
            prop_assert_eq!(Payload::read(&bytes).expect("our own bytes").write(), bytes);
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), ours in 0_u8..3) {
            if ours > 0 && !bytes.is_empty() {
                bytes[0] = ours;
            }
            if let Some(payload) = Payload::read(&bytes) {
                prop_assert_eq!(payload.write().to_vec(), bytes);
            }
        }

        #[test]
        fn one_changed_byte_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = payload().write().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Some(payload) = Payload::read(&bytes) {
                prop_assert_eq!(payload.write().to_vec(), bytes);
            }
        }
    }
}
