//! How a person appears outside sealed bytes: a keyed hash, never a name, number or document.

use super::Secret;
use std::fmt;

/// A customer or contact: HMAC-SHA256(pepper, kind ‖ identifier) cut to 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference([u8; 16]);

impl Reference {
    /// From its 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes.
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an identifier names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferenceKind {
    /// The bank's customer id.
    Customer,
    /// A wa_id, BSUID or phone number.
    Contact,
}

/// The key of all references, provider-id hashes and deduplication hashes.
pub struct Pepper(aws_lc_rs::hmac::Key);

impl Pepper {
    /// From 32 secret bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, bytes))
    }

    /// The reference of a person.
    pub fn reference(&self, kind: ReferenceKind, identifier: &str) -> Reference {
        let word: &[u8] = match kind {
            ReferenceKind::Customer => b"customer",
            ReferenceKind::Contact => b"contact",
        };
        Reference(self.hash(&[word, identifier.as_bytes()]))
    }

    /// The reference of a person whose identifier is boxed.
    pub fn reference_of(&self, kind: ReferenceKind, identifier: &Secret<String>) -> Reference {
        self.reference(kind, identifier.expose())
    }

    /// A keyed hash of several parts, each with its length in four bytes before it, cut to 128 bits: deduplication and cancel hashes, provider ids.
    pub fn hash(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut context = aws_lc_rs::hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&u32::try_from(part.len()).expect("a hashed part is shorter than 4 GiB").to_be_bytes());
            context.update(part);
        }
        context.sign().as_ref()[..16].try_into().expect("an HMAC-SHA256 has 32 bytes")
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(***)")
    }
}
