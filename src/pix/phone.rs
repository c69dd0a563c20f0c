//! Brazilian phone numbers in free text: which digits could be one. Numbers that are dialled are `privacy::PhoneNumber`.

/// The 67 area codes (DDD) in use. Source: channels.md §6.1.
const AREA_CODES: [u8; 67] = [
    11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 24, 27, 28, 31, 32, 33, 34, 35, 37, 38, 41, 42, 43, 44, 45, 46, 47, 48, 49, 51, 53, 54, 55, 61, 62, 63, 64, 65,
    66, 67, 68, 69, 71, 73, 74, 75, 77, 79, 81, 82, 83, 84, 85, 86, 87, 88, 89, 91, 92, 93, 94, 95, 96, 97, 98, 99,
];

/// Whether these two digits are an area code in use.
pub fn is_area_code(two_digits: &str) -> bool {
    two_digits.len() == 2 && two_digits.bytes().all(|byte| byte.is_ascii_digit()) && two_digits.parse().is_ok_and(|code: u8| AREA_CODES.contains(&code))
}

/// The area code and the number behind it, where `digits` (digits alone) is a Brazilian number with or without `55` or a leading `0`: a mobile has 9 and
/// 8 more digits, a landline 8 digits that start with 2 to 5.
pub fn national_number(digits: &str) -> Option<(&str, &str)> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let national = match digits.len() {
        10 | 11 => digits.strip_prefix('0').filter(|rest| rest.len() == 10).unwrap_or(digits),
        12 | 13 => digits.strip_prefix("55").or_else(|| digits.strip_prefix('0'))?,
        _ => return None,
    };
    let (area, number) = national.split_at_checked(2)?;
    let shape = match number.len() {
        9 => number.starts_with('9'),
        8 => number.starts_with(['2', '3', '4', '5']),
        _ => false,
    };
    (is_area_code(area) && shape).then_some((area, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_with_and_without_country_code_and_trunk_zero() {
        for digits in ["11999998888", "5511999998888", "011999998888"] {
            assert_eq!(national_number(digits), Some(("11", "999998888")), "{digits}");
        }
        for digits in ["1123456789", "551123456789", "01123456789"] {
            assert_eq!(national_number(digits), Some(("11", "23456789")), "{digits}");
        }
        for digits in ["", "2599999888", "20999998888", "11899998888", "1163456789", "08000000000", "119999988889", "11 99999888"] {
            assert_eq!(national_number(digits), None, "{digits}");
        }
    }
}
