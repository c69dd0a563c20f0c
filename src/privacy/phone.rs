//! Phone numbers: parsed once at the door, dialled as the bank wrote them, printed masked.
//!
//! Easily got wrong: an old Brazilian mobile form (DDD and 8 digits) is dialled as it stands. A 9 put before it may be somebody else's number.

use super::Secret;
use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberType, Region};
use std::fmt;
use zeroize::Zeroizing;

/// A number in E.164: `+`, then 8 to 15 digits. Brazilian ones have an existing DDD and the shape of a mobile or landline.
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

impl PhoneKind {
    /// The number in sealed bytes: 1, 2, 3; never reused.
    pub const fn ordinal(self) -> u8 {
        match self {
            Self::Mobile => 1,
            Self::Landline => 2,
            Self::Other => 3,
        }
    }

    /// The inverse of [`PhoneKind::ordinal`].
    pub fn from_ordinal(ordinal: u8) -> Option<Self> {
        [Self::Mobile, Self::Landline, Self::Other].into_iter().find(|kind| kind.ordinal() == ordinal)
    }
}

/// A longer text is no number; the longest that banks write (`+55 (0xx11) 9 8888-7777`) has 23.
const TEXT_BYTES_MAX: usize = 40;

impl PhoneNumber {
    /// Reads a number as banks write it: with `+55`, `0055` or `55`, or national, with or without the trunk 0 and a carrier; others with `+`. Digits, spaces and
    /// `+ ( ) - . /` only.
    ///
    /// `None` when it is no possible number; when it is Brazilian and has no existing DDD, or is neither a mobile (9 and 8 digits; old form: 8 digits that start
    /// with 6 to 9) nor a landline (8 digits that start with 2 to 5); and when a call to it costs the caller extra. Source: channels.md §6.1.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let plain = |byte: u8| byte.is_ascii_digit() || matches!(byte, b' ' | b'+' | b'(' | b')' | b'-' | b'.' | b'/');
        if text.len() > TEXT_BYTES_MAX || !text.bytes().all(plain) {
            return None;
        }
        // As it is written in E.164 with an existing DDD, the library changes nothing: neither trunk 0 nor carrier can stand there.
        if let Some(national) = text.strip_prefix("+55").filter(|national| national.bytes().all(|byte| byte.is_ascii_digit()))
            && let Some(kind) = brazilian_kind(national)
        {
            return Some(Self { e164: Secret::new(text.to_owned()), kind });
        }
        Self::parse_any(text)
    }

    /// By the library, which reads whatever a bank may write.
    fn parse_any(text: &str) -> Option<Self> {
        let mut written = Zeroizing::new(String::with_capacity(TEXT_BYTES_MAX + 1));
        written.push_str(text);
        if text.starts_with("0055") {
            written.replace_range(..2, "+");
        }
        let number = PHONE_NUMBER_UTIL.parse(written.as_str(), Some(Region::BR)).ok()?;
        if number.country_code == BRAZIL {
            let national = Zeroizing::new(number.national_number.to_string());
            let kind = brazilian_kind(&national)?;
            return Some(Self { e164: e164(BRAZIL, &national), kind });
        }
        if !PHONE_NUMBER_UTIL.is_possible_number(&number) {
            return None;
        }
        let kind = match PHONE_NUMBER_UTIL.get_number_type(&number) {
            PhoneNumberType::Mobile => PhoneKind::Mobile,
            PhoneNumberType::FixedLine => PhoneKind::Landline,
            PhoneNumberType::PremiumRate | PhoneNumberType::SharedCost => return None,
            _ => PhoneKind::Other,
        };
        let written =
            |number: &rlibphonenumber::PhoneNumber| e164(number.country_code, &Zeroizing::new(rlibphonenumber::get_national_significant_number_owned(number)));
        let e164 = written(&number);
        // Of a row of zeros the library takes one away each time it reads it: what is not itself when it is read again is no number.
        let again = PHONE_NUMBER_UTIL.parse(e164.expose().as_str(), Some(Region::BR)).ok().map(|number| written(&number));
        let same = again.is_some_and(|again| again.expose() == e164.expose());
        (same && shaped(e164.expose())).then_some(Self { e164, kind })
    }

    /// From what was sealed; `None` when it has not the shape of E.164.
    pub(super) fn from_parts(e164: &str, kind: PhoneKind) -> Option<Self> {
        shaped(e164).then(|| Self { e164: Secret::new(e164.to_owned()), kind })
    }

    /// `+` and digits. Opened only where a number is dialled or sealed.
    pub fn e164(&self) -> &str {
        self.e164.expose()
    }

    /// What it can receive.
    pub fn kind(&self) -> PhoneKind {
        self.kind
    }

    /// The tz database name of its area; `America/Sao_Paulo` where it says nothing: numbers from abroad. DDD 97 has two zones; most of it has that of Manaus.
    pub fn zone(&self) -> &'static str {
        self.ddd().map_or(SAO_PAULO, zone_of)
    }

    /// As it may be shown, also to its owner: `(11) *****-7777`, a landline `(11) ****-7777`, abroad `+** ****7777`.
    pub fn masked(&self) -> String {
        let digits = self.e164();
        let last = &digits[digits.len() - 4..];
        match self.ddd() {
            Some(ddd) if digits.len() == "+5511988887777".len() => format!("({ddd}) *****-{last}"),
            Some(ddd) => format!("({ddd}) ****-{last}"),
            None => format!("+** ****{last}"),
        }
    }

    fn ddd(&self) -> Option<u8> {
        let national = self.e164().strip_prefix("+55")?;
        national.get(..2)?.parse().ok().filter(|ddd| DDDS.contains(ddd))
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

fn e164(country: i32, national: &str) -> Secret<String> {
    let mut text = String::with_capacity(24);
    text.push('+');
    text.push_str(&country.to_string());
    text.push_str(national);
    Secret::new(text)
}

fn shaped(e164: &str) -> bool {
    e164.strip_prefix('+').is_some_and(|digits| (8..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Mobile or landline by its shape; `None` for anything else (0800, 4004, unknown DDD): no customer has such a number, and some cost the caller.
fn brazilian_kind(national: &str) -> Option<PhoneKind> {
    let ddd: u8 = national.get(..2)?.parse().ok()?;
    if !DDDS.contains(&ddd) {
        return None;
    }
    match (national.len(), national.as_bytes().get(2)?) {
        (11, b'9') | (10, b'6'..=b'9') => Some(PhoneKind::Mobile),
        (10, b'2'..=b'5') => Some(PhoneKind::Landline),
        _ => None,
    }
}

const BRAZIL: i32 = 55;
const SAO_PAULO: &str = "America/Sao_Paulo";

/// All area codes. Source: channels.md §6.1.
const DDDS: [u8; 67] = [
    11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 24, 27, 28, 31, 32, 33, 34, 35, 37, 38, 41, 42, 43, 44, 45, 46, 47, 48, 49, 51, 53, 54, 55, 61, 62, 63, 64, 65,
    66, 67, 68, 69, 71, 73, 74, 75, 77, 79, 81, 82, 83, 84, 85, 86, 87, 88, 89, 91, 92, 93, 94, 95, 96, 97, 98, 99,
];

/// States that would not follow São Paulo's daylight saving time, should it come back, have their own zone. Source: tz database, file `southamerica`.
fn zone_of(ddd: u8) -> &'static str {
    match ddd {
        63 => "America/Araguaina",
        65 | 66 => "America/Cuiaba",
        67 => "America/Campo_Grande",
        68 => "America/Rio_Branco",
        69 => "America/Porto_Velho",
        71..=77 => "America/Bahia",
        79 | 82 => "America/Maceio",
        81 | 87 => "America/Recife",
        83..=86 | 88 | 89 | 98 | 99 => "America/Fortaleza",
        91 | 94 | 96 => "America/Belem",
        92 | 97 => "America/Manaus",
        93 => "America/Santarem",
        95 => "America/Boa_Vista",
        _ => SAO_PAULO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All numbers are invented.
    #[track_caller]
    fn check(text: &str, e164: &str, kind: PhoneKind, masked: &str) {
        let number = PhoneNumber::parse(text).unwrap_or_else(|| panic!("{text} is a number"));
        assert_eq!((number.e164(), number.kind(), number.masked().as_str()), (e164, kind, masked), "{text}");
    }

    #[test]
    fn mobiles_are_read_however_a_bank_writes_them() {
        for text in [
            "+5511988887777",
            "5511988887777",
            "005511988887777",
            "11988887777",
            "011988887777",
            " +55 (11) 98888-7777 ",
            "(11) 98888.7777",
            "0 15 11 98888-7777",
        ] {
            check(text, "+5511988887777", PhoneKind::Mobile, "(11) *****-7777");
        }
        check("55 99999-1234", "+5555999991234", PhoneKind::Mobile, "(55) *****-1234"); // DDD 55, Santa Maria
        check("55 55 99999-1234", "+5555999991234", PhoneKind::Mobile, "(55) *****-1234");
    }

    proptest! {
        /// The short way says what the library says, of every number in E.164.
        #[test]
        fn a_number_in_e164_is_read_as_the_library_reads_it(national in "[0-9]{8,12}") {
            let text = format!("+55{national}");
            let seen = |number: Option<PhoneNumber>| number.map(|number| (number.e164().to_owned(), number.kind()));
            prop_assert_eq!(seen(PhoneNumber::parse(&text)), seen(PhoneNumber::parse_any(&text)));
        }
    }

    #[test]
    fn an_old_mobile_form_is_dialled_without_an_invented_9() {
        check("+55 11 8888-7777", "+551188887777", PhoneKind::Mobile, "(11) ****-7777");
        check("1168887777", "+551168887777", PhoneKind::Mobile, "(11) ****-7777");
        check("5599991234", "+555599991234", PhoneKind::Mobile, "(55) ****-1234");
        check("551199991234", "+551199991234", PhoneKind::Mobile, "(11) ****-1234");
    }

    #[test]
    fn landlines_are_told_apart() {
        check("(11) 3333-4444", "+551133334444", PhoneKind::Landline, "(11) ****-4444");
        check("+55 92 2123-4567", "+559221234567", PhoneKind::Landline, "(92) ****-4567");
        check("55 3222-1234", "+555532221234", PhoneKind::Landline, "(55) ****-1234");
    }

    #[test]
    fn numbers_from_abroad_need_their_plus() {
        check("+351 912 345 678", "+351912345678", PhoneKind::Mobile, "+** ****5678");
        check("+351 212 345 678", "+351212345678", PhoneKind::Landline, "+** ****5678");
        check("+1 202 555 0173", "+12025550173", PhoneKind::Other, "+** ****0173");
        check("+39 06 1234 5678", "+390612345678", PhoneKind::Landline, "+** ****5678");
    }

    #[test]
    fn what_no_customer_can_have_is_refused() {
        for text in [
            "",
            "+",
            "55",
            "12345",
            "98888-7777",
            "(10) 98888-7777",
            "(20) 98888-7777",
            "+55 23 98888-7777",
            "11 1888-7777",
            "11 88888-7777",
            "11 98888-77777",
            "0800 123 4567",
            "0900 123 4567",
            "4004-1234",
            "190",
            "+55 11 98888-7777 ramal 3",
            "+55 11 98888-7777 #3",
            "1-800-FLOWERS",
            "+55 11 ９8888-7777",
            "+999 123456789",
            "+1 900 555 0173",
            "+55 11 98888-7777 / +55 11 98888-7776",
            "++5511988887777x",
        ] {
            assert!(PhoneNumber::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_area_gives_the_time_zone() {
        let zone = |text| PhoneNumber::parse(text).unwrap().zone();
        assert_eq!(zone("11 98888-7777"), "America/Sao_Paulo");
        assert_eq!(zone("92 98888-7777"), "America/Manaus");
        assert_eq!(zone("68 3333-4444"), "America/Rio_Branco");
        assert_eq!(zone("+351 912 345 678"), "America/Sao_Paulo");
        let offset = |ddd: u8| {
            let zone = jiff::tz::TimeZone::get(zone_of(ddd)).unwrap_or_else(|_| panic!("zone of {ddd}"));
            zone.to_offset(jiff::Timestamp::from_second(1_764_900_000).unwrap()).seconds() / 3600
        };
        for ddd in DDDS {
            let expected = match ddd {
                65 | 66 | 67 | 69 | 92 | 95 | 97 => -4,
                68 => -5,
                _ => -3,
            };
            assert_eq!(offset(ddd), expected, "{ddd}");
        }
    }

    #[test]
    fn a_row_of_zeros_is_no_number_abroad() {
        assert!(PhoneNumber::parse("+600000000000").is_none());
        assert_eq!(PhoneNumber::parse("+390612345678").unwrap().e164(), "+390612345678", "an Italian zero stays");
    }

    #[test]
    fn nothing_prints_it() {
        assert_eq!(format!("{:?}", PhoneNumber::parse("11 98888-7777").unwrap()), "***");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9+() ./-]{0,45}|[+]?(55|00|0)?[0-9]{0,13}") {
            if let Some(number) = PhoneNumber::parse(&text) {
                let again = PhoneNumber::parse(number.e164()).expect("its own E.164 reads back");
                proptest::prop_assert_eq!(again.e164(), number.e164());
                proptest::prop_assert!(PhoneNumber::from_parts(number.e164(), number.kind()).is_some());
                let shown = number.masked().chars().filter(char::is_ascii_digit).count();
                proptest::prop_assert!(shown <= 6);
            }
        }
    }
}
