//! PURE: a key of the state store and its changelog, without an allocation: each change of a delivery has one, in the transaction and until it reaches the store.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// No key of ours is longer: a block's has its kind, a minute and a message id.
const LONGEST: usize = 1 + 4 + 16;

/// A key; it is the slice of its bytes wherever one is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    length: u8,
    /// Zero behind its length.
    bytes: [u8; LONGEST],
}

impl Key {
    /// Of these parts, one after the other.
    ///
    /// # Panics
    /// Where they are longer than any key of ours.
    pub fn of(parts: &[&[u8]]) -> Self {
        let (mut bytes, mut length) = ([0; LONGEST], 0);
        for part in parts {
            bytes[length..length + part.len()].copy_from_slice(part);
            length += part.len();
        }
        Self { length: u8::try_from(length).expect("at most LONGEST"), bytes }
    }
}

impl Deref for Key {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self
    }
}

/// As the slice, since maps are asked with one.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_map_of_keys_is_asked_with_bytes() {
        let map = HashMap::from([(Key::of(&[b"s", &[7; 16]]), 1), (Key::of(&[b"s"]), 2), (Key::of(&[]), 3)]);
        assert_eq!(map.get([b"s".as_slice(), &[7; 16]].concat().as_slice()), Some(&1));
        assert_eq!((map.get(b"s".as_slice()), map.get([].as_slice()), map.get(b"t".as_slice())), (Some(&2), Some(&3), None));
    }

    #[test]
    #[should_panic(expected = "range end index 22")]
    fn one_that_is_too_long_is_refused() {
        Key::of(&[&[0; 22]]);
    }
}
