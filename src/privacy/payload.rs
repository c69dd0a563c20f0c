//! What a message is made from, in clear: it exists in the engine between decoding and sealing, and in the dispatcher between opening and the call.

use super::{Class, PhoneNumber, Secret};
use crate::delivery::Timestamp;
use std::collections::BTreeMap;

/// Destination and parameters of one notification.
#[derive(Debug)]
pub struct Payload {
    /// Where to reach the customer; `None` where the record names none.
    pub phone: Option<PhoneNumber>,
    /// The customer's time zone by its tz database name; `None` means the phone's area or `America/Sao_Paulo`.
    pub zone: Option<String>,
    /// The template's parameters by their name in the route.
    pub values: BTreeMap<String, Value>,
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

impl Payload {
    /// Its bytes before sealing (version in front). Codes are not part of it: they are sealed apart, under an epoch key.
    pub fn write(&self) -> zeroize::Zeroizing<Vec<u8>> {
        todo!()
    }

    /// Reads what [`Payload::write`] wrote; `None` for anything else.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let _ = bytes;
        todo!()
    }
}
