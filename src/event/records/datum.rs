//! Avro's own parts, by hand: numbers, bytes, symbols and optional values, appended to a vector and read from a slice.
//!
//! Easily got wrong: Avro has one number on the wire. An `int`, a `long`, a length, an enum's symbol and a union's branch are all written alike.

use crate::delivery::MessageId;

/// Appends an `int` or a `long`: zigzag, then seven bits a byte, the lowest first.
pub(super) fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    out.push(rest.to_le_bytes()[0]);
}

/// Appends `bytes` or a `string`: the length, then what it is.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, i64::try_from(bytes.len()).expect("no slice is longer than isize::MAX bytes"));
    out.extend_from_slice(bytes);
}

/// Appends a value of the union of null and one other type, in this order.
pub(super) fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    put_long(out, i64::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

/// The 32 lower-case hex digits of a message id: what its `Display` says.
pub(super) fn digits(id: &MessageId) -> [u8; 32] {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut digits = [0_u8; 32];
    for (pair, &byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(id.bytes()) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0x0F)]];
    }
    digits
}

/// Reads the parts of one record, one behind the other; `None` where one is cut off or is not what is asked for.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// From the body's first byte on.
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// An `int` or a `long`. A number may have more bytes than it needs, but ten at most, and in the tenth there is one bit left.
    pub(super) fn long(&mut self) -> Option<i64> {
        let mut value = 0_u64;
        for shift in (0..64_u32).step_by(7) {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                let zigzag = (shift < 63 || byte < 2).then_some(value)?;
                return Some(((zigzag >> 1) ^ (zigzag & 1).wrapping_neg()).cast_signed());
            }
        }
        None
    }

    /// `bytes` or a `string`, unchecked.
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    /// A `fixed` of 16 bytes.
    pub(super) fn fixed16(&mut self) -> Option<[u8; 16]> {
        let (bytes, rest) = self.rest.split_first_chunk::<16>()?;
        self.rest = rest;
        Some(*bytes)
    }

    /// A value of the union of null and one other type, in this order.
    pub(super) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.long()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    /// What stands at the symbol's place.
    pub(super) fn symbol<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        let place = usize::try_from(self.long()?).ok()?;
        all.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn long(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        put_long(&mut out, value);
        out
    }

    /// The table of the specification, and the ends.
    #[test]
    fn numbers_are_written_as_the_specification_says() {
        for (value, bytes) in [
            (0, "00"),
            (-1, "01"),
            (1, "02"),
            (-2, "03"),
            (2, "04"),
            (-64, "7f"),
            (64, "8001"),
            (i64::from(i32::MAX), "feffffff0f"),
            (i64::from(i32::MIN), "ffffffff0f"),
            (i64::MAX, "feffffffffffffffff01"),
            (i64::MIN, "ffffffffffffffffff01"),
        ] {
            assert_eq!(hex::encode(long(value)), bytes, "{value}");
            assert_eq!(Reader::new(&long(value)).long(), Some(value));
        }
    }

    proptest! {
        #[test]
        fn digits_are_those_of_display(bytes in any::<[u8; 16]>()) {
            let id = MessageId::from_bytes(bytes);
            prop_assert_eq!(digits(&id).to_vec(), id.to_string().into_bytes());
        }
    }
}
