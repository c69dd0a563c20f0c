//! Check digits: CPF, CNPJ and card numbers. Enter: the bare characters, without punctuation; leaves: yes or no.
//!
//! What is easily got wrong: eleven equal digits pass the sum of a CPF and are still no CPF.
//! Sources: privacy.md §1 (vectors), IN RFB 2.229/2024 for CNPJs with letters, ISO/IEC 7812-1 for Luhn.

/// Whether these are the 11 digits of a CPF with both check digits right. Equal digits all through are refused.
pub fn is_cpf(bare: &str) -> bool {
    let bytes = bare.as_bytes();
    bytes.len() == 11
        && bytes.iter().all(u8::is_ascii_digit)
        && !all_equal(bytes)
        && check_digit(&bytes[..9], 11) == bytes[9]
        && check_digit(&bytes[..10], 11) == bytes[10]
}

/// Whether these are the 14 characters of a CNPJ: 12 of `[0-9A-Z]` and two right check digits. Equal characters all through are refused.
pub fn is_cnpj(bare: &str) -> bool {
    let bytes = bare.as_bytes();
    bytes.len() == 14
        && bytes.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
        && bytes[12..].iter().all(u8::is_ascii_digit)
        && !all_equal(bytes)
        && check_digit(&bytes[..12], 9) == bytes[12]
        && check_digit(&bytes[..13], 9) == bytes[13]
}

/// Whether these are 13 to 19 digits, the first of them 2 to 6, whose Luhn sum is right.
pub fn is_card(bare: &str) -> bool {
    let bytes = bare.as_bytes();
    (13..=19).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_digit) && (b'2'..=b'6').contains(&bytes[0]) && luhn(bytes)
}

fn all_equal(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == bytes[0])
}

/// Weights 2, 3, … from the right, beginning anew after `weight_max`; a character counts its ASCII less 48. Remainder under 2 gives 0.
fn check_digit(bytes: &[u8], weight_max: u32) -> u8 {
    let mut weight = 2;
    let mut sum = 0;
    for byte in bytes.iter().rev() {
        sum += u32::from(byte - b'0') * weight;
        weight = if weight == weight_max { 2 } else { weight + 1 };
    }
    let rest = sum % 11;
    let digit = if rest < 2 { 0 } else { 11 - rest };
    b'0' + u8::try_from(digit).expect("11 less at least 2 is one digit")
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, byte)| {
            let digit = u32::from(byte - b'0');
            if index % 2 == 0 { digit } else { digit / 5 + digit * 2 % 10 }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_documents_are_right_and_one_changed_digit_makes_them_wrong() {
        assert!(is_cpf("52998224725"));
        assert!(is_cnpj("11222333000181"));
        assert!(is_cnpj("12ABC34501DE35"));
        assert!(is_card("4111111111111111"));
        assert!(is_card("5555555555554444"));
        for right in ["52998224725", "11222333000181", "12ABC34501DE35", "4111111111111111"] {
            for index in 0..right.len() {
                let mut bytes = right.as_bytes().to_vec();
                bytes[index] = if bytes[index] == b'9' {
                    b'0'
                } else if bytes[index] == b'Z' {
                    b'A'
                } else {
                    bytes[index] + 1
                };
                let wrong = String::from_utf8(bytes).unwrap();
                assert!(!is_cpf(&wrong) && !is_cnpj(&wrong) && !is_card(&wrong), "{wrong}");
            }
        }
    }

    #[test]
    fn equal_digits_other_lengths_and_other_alphabets_are_refused() {
        for bare in ["11111111111", "00000000000", "", "5299822472", "529982247255", "529.982.247-25", "５２９９８２２４７２５"] {
            assert!(!is_cpf(bare), "{bare}");
        }
        for bare in ["00000000000000", "", "12abc34501de35", "12ABC34501DEAB", "1122233300018"] {
            assert!(!is_cnpj(bare), "{bare}");
        }
        for bare in ["", "0000000000000000", "1111111111111117", "411111111111111"] {
            assert!(!is_card(bare), "{bare}");
        }
    }
}
