//! Phone numbers: parsed once at the door, dialled as the bank wrote them, printed masked.

use super::Secret;
use std::fmt;

/// A valid number in E.164.
pub struct PhoneNumber {
    e164: Secret<String>,
    kind: PhoneKind,
}

/// What a number can receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhoneKind {
    /// WhatsApp, SMS and voice.
    Mobile,
    /// Voice alone.
    Landline,
    /// Not known to be either: every channel may be tried.
    Other,
}

impl PhoneNumber {
    /// Reads a number as banks write it: with `+55`, with `55`, or national; `None` when it is no possible number.
    pub fn parse(text: &str) -> Option<Self> {
        let _ = text;
        todo!()
    }

    /// `+` and digits. Opened only where a number is dialled or sealed.
    pub fn e164(&self) -> &str {
        self.e164.expose()
    }

    /// What it can receive.
    pub fn kind(&self) -> PhoneKind {
        self.kind
    }

    /// The tz database name of its area; `America/Sao_Paulo` where it says nothing.
    pub fn zone(&self) -> &'static str {
        todo!()
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
