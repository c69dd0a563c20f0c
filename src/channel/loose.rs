//! Reads JSON whose fields may be missing, new, or of another type than documented: enters a provider's body, leaves what could be used of it.
//!
//! A wrong type in one element never costs its neighbours: 1,000 receipts travel in one body. Only broken JSON is an error. What is not asked for is
//! skipped without being copied, customers' texts among it.

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;
use zeroize::Zeroizing;

/// A string or a whole number that is not negative. Texts are cleared when dropped: numbers and ids are among them.
#[derive(Default)]
pub(super) enum Scalar {
    /// Missing, or anything else.
    #[default]
    Other,
    /// A string.
    Text(Zeroizing<String>),
    /// A number.
    Number(u64),
}

/// An object; anything else counts as missing.
pub(super) struct Object<T>(pub(super) Option<T>);

/// A list; anything else counts as an empty one.
pub(super) struct List<T>(pub(super) Vec<T>);

/// The length of a list whose elements are skipped unread; anything else counts as empty.
#[derive(Default)]
pub(super) struct Length(pub(super) u32);

impl Scalar {
    /// The text of a string that is not empty.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            Self::Text(_) | Self::Number(_) | Self::Other => None,
        }
    }

    /// A number, or a string of digits.
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => digits(text),
            Self::Other => None,
        }
    }

    /// A provider's error code: a number of 32 bits.
    pub(super) fn code(&self) -> Option<u32> {
        self.number().and_then(|number| u32::try_from(number).ok())
    }
}

/// A number written in ASCII digits and nothing else; `None` also where it does not fit.
pub(super) fn digits<N: std::str::FromStr>(text: &str) -> Option<N> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

impl<T> Object<T> {
    /// The object, where there was one.
    pub(super) fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl<T> Default for Object<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// What becomes of each kind of JSON value; what a type does not name becomes its default.
trait Shape<'de>: Default {
    fn text(_: &str) -> Self {
        Self::default()
    }
    fn number(_: u64) -> Self {
        Self::default()
    }
    fn list<A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        IgnoredAny.visit_seq(list).map(|_| Self::default())
    }
    fn object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        IgnoredAny.visit_map(object).map(|_| Self::default())
    }
}

impl Shape<'_> for Scalar {
    fn text(text: &str) -> Self {
        Self::Text(Zeroizing::new(text.to_owned()))
    }
    fn number(number: u64) -> Self {
        Self::Number(number)
    }
}

impl<'de, T: Deserialize<'de>> Shape<'de> for Object<T> {
    fn object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(object)).map(|value| Self(Some(value)))
    }
}

impl<'de, T: Deserialize<'de>> Shape<'de> for List<T> {
    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Self(values))
    }
}

impl<'de> Shape<'de> for Length {
    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut length = 0_u32;
        while list.next_element::<IgnoredAny>()?.is_some() {
            length = length.saturating_add(1);
        }
        Ok(Self(length))
    }
}

struct Loosely<S>(PhantomData<S>);

impl<'de, S: Shape<'de>> Visitor<'de> for Loosely<S> {
    type Value = S;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_str<E>(self, text: &str) -> Result<S, E> {
        Ok(S::text(text))
    }
    fn visit_u64<E>(self, number: u64) -> Result<S, E> {
        Ok(S::number(number))
    }
    fn visit_i64<E>(self, number: i64) -> Result<S, E> {
        Ok(u64::try_from(number).map_or_else(|_| S::default(), S::number))
    }
    fn visit_f64<E>(self, _: f64) -> Result<S, E> {
        Ok(S::default())
    }
    fn visit_bool<E>(self, _: bool) -> Result<S, E> {
        Ok(S::default())
    }
    fn visit_unit<E>(self) -> Result<S, E> {
        Ok(S::default())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<S, A::Error> {
        S::list(list)
    }
    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<S, A::Error> {
        S::object(object)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Loosely(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Loosely(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Loosely(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Loosely(PhantomData))
    }
}
