//! A JSON record: the wanted fields are found by name, in whatever order they stand; all others are stepped over.

use super::DeadReason;
use super::plan::Wanted;
use super::value::{Raw, Text};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use zeroize::Zeroizing;

/// The wanted fields of one JSON object, by slot. Of a name that stands twice the last counts. Five bytes of a Confluent serializer (0, schema id) before it
/// are stepped over.
pub(super) fn read<'a>(bytes: &'a [u8], wanted: &'a Wanted, slots: usize) -> Result<Vec<Raw<'a>>, DeadReason> {
    let bytes = if bytes.first() == Some(&0) { bytes.get(5..).ok_or(DeadReason::Truncated)? } else { bytes };
    let text = std::str::from_utf8(bytes).map_err(|_| DeadReason::InvalidUtf8)?;
    if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
        return Err(if text.is_empty() { DeadReason::Truncated } else { DeadReason::NotJson });
    }
    let mut taken = vec![Raw::Absent; slots];
    let mut reader = serde_json::Deserializer::from_str(text);
    Take { wanted, taken: &mut taken }.deserialize(&mut reader).map_err(|error| if error.is_eof() { DeadReason::Truncated } else { DeadReason::NotJson })?;
    reader.end().map_err(|_| DeadReason::Trailing)?;
    Ok(taken)
}

struct Take<'p, 'a> {
    wanted: &'a Wanted,
    taken: &'p mut Vec<Raw<'a>>,
}

impl<'a> Take<'_, 'a> {
    fn put<E>(self, raw: Raw<'a>) -> Result<(), E> {
        if let Some(slot) = self.wanted.slot {
            self.taken[slot] = raw;
        }
        Ok(())
    }
}

impl<'a> DeserializeSeed<'a> for Take<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Take<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.put(Raw::Absent)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.put(Raw::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.put(Raw::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.put(i64::try_from(value).map_or(Raw::Unreadable, Raw::Integer))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.put(Raw::Double(value))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'a str) -> Result<(), E> {
        self.put(Raw::Text(Text::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.put(Raw::Text(Text::Owned(Zeroizing::new(value.to_owned()))))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        self.put(Raw::Present)
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(child) = map.next_key_seed(Name(self.wanted))? {
            match child {
                Some(wanted) => map.next_value_seed(Take { wanted, taken: self.taken })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        self.put(Raw::Present)
    }
}

struct Name<'a>(&'a Wanted);

impl<'de, 'a> DeserializeSeed<'de> for Name<'a> {
    type Value = Option<&'a Wanted>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Name<'a> {
    type Value = Option<&'a Wanted>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.child(name))
    }
}
