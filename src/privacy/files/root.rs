//! The key above all others, as the bank hands it over.

use crate::privacy::Secret;
use crate::privacy::aead::Key;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use zeroize::Zeroizing;

/// 256 bits that the bank keeps: it wraps every other key.
pub struct RootKey(pub(super) Key);

impl RootKey {
    /// From the text of its file: 64 hex digits or 44 characters of base64, white space around it allowed.
    ///
    /// `None` for anything else, and for 32 equal bytes: a placeholder. Whether the file is for its owner alone, the configuration has checked.
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut key = Zeroizing::new([0; 32]);
        match text.len() {
            64 => hex::decode_to_slice(text, key.as_mut_slice()).ok()?,
            44 => {
                let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
                key.copy_from_slice(bytes.first_chunk::<32>().filter(|_| bytes.len() == 32)?);
            }
            _ => return None,
        }
        key.iter().any(|byte| *byte != key[0]).then_some(Self(key))
    }

    /// [`RootKey::from_text`] of a boxed text.
    pub fn from_secret(text: &Secret<String>) -> Option<Self> {
        Self::from_text(text.expose())
    }

    /// A new one from the OS generator: for `recado demo` and tests, whose folders live as long as they do.
    pub fn random() -> Self {
        Self(Zeroizing::new(crate::privacy::aead::random()))
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_and_base64_give_the_same_key_and_placeholders_none() {
        let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        assert_eq!(RootKey::from_text(&format!(" {hex}\n")).unwrap().0, RootKey::from_text(base64).unwrap().0);
        for bad in ["", "changeme", &hex[1..], &"00".repeat(32), &base64[..43], &"zz".repeat(32), &format!("{}+=", &base64[..42])] {
            assert!(RootKey::from_text(bad).is_none(), "{bad}");
        }
    }
}
