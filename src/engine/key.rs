//! PURE: a key of the state store and its changelog, without an allocation: each change of a delivery has one, in the transaction and until it reaches the store.

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

/// All of its room, in two words: the slice's own hash goes byte by byte through whatever is longer than 16, and a delivery's key has 17.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (first, rest) = self.bytes.split_first_chunk().expect("it has more than 16 bytes");
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        state.write_u128(u128::from_ne_bytes(*first));
        state.write_u64(u64::from_ne_bytes(last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    #[test]
    fn each_byte_counts_for_its_hash_and_so_for_where_it_lies() {
        let hasher = foldhash::fast::RandomState::default();
        let whole = [7; LONGEST];
        let mut hashes = HashSet::from([hasher.hash_one(Key::of(&[&whole]))]);
        for at in 0..LONGEST {
            let mut other = whole;
            other[at] ^= 1;
            assert!(hashes.insert(hasher.hash_one(Key::of(&[&other]))), "byte {at}");
        }
        assert_eq!(
            hasher.hash_one(Key::of(&[b"s", &[7; 16]])),
            hasher.hash_one(Key::of(&[&[b"s".as_slice(), &[7; 16]].concat()])),
            "however it is put together"
        );
    }

    #[test]
    #[should_panic(expected = "range end index 22")]
    fn one_that_is_too_long_is_refused() {
        Key::of(&[&[0; 22]]);
    }
}
