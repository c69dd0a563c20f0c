//! Money in and out of centavos: a whole number becomes `R$ 1.234,56`.
//!
//! What is easily got wrong: the point groups thousands and the comma parts the centavos.

use std::fmt::Write;

/// An amount in centavos of a real as Brazil writes it: `R$ 1.234,56`, with a plain space after the sign. Below zero the minus stands first: `-R$ 0,05`.
/// Every value is legal.
pub fn reais(centavos: i64) -> String {
    let magnitude = centavos.unsigned_abs();
    let (whole, rest) = (magnitude / 100, magnitude % 100);
    let digits = whole.to_string();
    let mut text = String::with_capacity(36); // "-R$ 92.233.720.368.547.758,08" has 29
    text.push_str(if centavos < 0 { "-R$ " } else { "R$ " });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('.');
        }
        text.push(digit);
    }
    write!(text, ",{rest:02}").expect("a string takes every write");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centavos_are_written_with_points_for_thousands_and_a_comma() {
        for (centavos, text) in [
            (0, "R$ 0,00"),
            (5, "R$ 0,05"),
            (100, "R$ 1,00"),
            (99_999, "R$ 999,99"),
            (123_456, "R$ 1.234,56"),
            (100_000_000, "R$ 1.000.000,00"),
            (-5, "-R$ 0,05"),
            (i64::MIN, "-R$ 92.233.720.368.547.758,08"),
        ] {
            assert_eq!(reais(centavos), text);
        }
    }
}
