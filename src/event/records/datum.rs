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
