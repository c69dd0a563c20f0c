//! Whether a bank's event id names a person: enters the id, which will stand in clear in states, statuses and hashes; leaves yes or no.
//!
//! What is easily got wrong: the number may be a part of the id (`52998224725-20251125`), so each group of digits in it is looked at, and never their sum. Groups
//! of a UUID and of hexadecimal are none: one such id in thousands would hold eleven digits in a row, with the check digits of a CPF.

use crate::pix;
use std::ops::Range;
use zeroize::Zeroizing;

/// No phone number has more (E.164); a CPF has 11.
const DIGITS_MAX: usize = 15;
/// A CPF has so many, and a Brazilian mobile number; without a `+` nothing with fewer is one of a person.
const DIGITS_MIN: usize = 11;
/// Fewer make no number of another country either.
const ABROAD_DIGITS_MIN: usize = 8;
/// A word of hexadecimal that is as long is a hash, or the id of a trace or a span (W3C: 32 and 16).
const HEX_BYTES_MIN: usize = 16;
/// Words of 8, 4, 4, 4 and 12 characters.
const UUID_BYTES: usize = 36;

/// Whether the id holds a CPF with its check digits, a Brazilian phone number with its country code or a `+`, or any number whose digits stand together behind a
/// `+`; or is as a whole an e-mail address, a Brazilian mobile number, or a number from abroad in whatever groups.
///
/// Of random numbers of eleven digits one in a hundred has the check digits of a CPF, and as a whole id about one in thirteen is a CPF or a mobile number: a bank
/// with such ids says in the route that their class is `public`.
pub(super) fn named_in(id: &str) -> bool {
    if id.split_once('@').is_some_and(|(local, host)| !local.is_empty() && host.contains('.')) {
        return true;
    }
    let id = id.as_bytes();
    let numeric = id.iter().all(|byte| byte.is_ascii_digit() || b"+.-/() ".contains(byte));
    let digits = id.iter().filter(|byte| byte.is_ascii_digit()).count();
    // Each country writes its numbers in groups of its own.
    if numeric && id.starts_with(b"+") && (ABROAD_DIGITS_MIN..=DIGITS_MAX).contains(&digits) {
        return true;
    }
    // With fewer digits in all of it there is no number in it: most ids need not be taken apart.
    if digits < if id.contains(&b'+') { ABROAD_DIGITS_MIN } else { DIGITS_MIN } {
        return false;
    }
    let groups = groups(id);
    (0..groups.len()).any(|first| begins_with_number(id, &groups[first..], numeric && first == 0))
}

/// Where digits stand side by side, without those of UUIDs and of hexadecimal.
fn groups(id: &[u8]) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut at = 0;
    // Here no word has begun yet.
    while at < id.len() {
        let rest = &id[at..];
        let word = &rest[..rest.iter().take_while(|byte| is_of_a_word(**byte)).count()];
        if begins_with_uuid(rest) {
            at += UUID_BYTES;
        } else if word.is_empty() {
            at += 1;
        } else {
            if !is_hexadecimal(word) {
                let mut start = at;
                for digits in word.split(|byte| !byte.is_ascii_digit()) {
                    if !digits.is_empty() {
                        groups.push(start..start + digits.len());
                    }
                    start += digits.len() + 1;
                }
            }
            at += word.len();
        }
    }
    groups
}

/// Letters and digits; of a letter that is not ASCII, all bytes.
fn is_of_a_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

fn begins_with_uuid(rest: &[u8]) -> bool {
    let Some((uuid, behind)) = rest.split_at_checked(UUID_BYTES) else { return false };
    uuid.iter().enumerate().all(|(at, byte)| if matches!(at, 8 | 13 | 18 | 23) { *byte == b'-' } else { byte.is_ascii_hexdigit() })
        && behind.first().is_none_or(|byte| !is_of_a_word(*byte))
}

/// A number of digits alone is none.
fn is_hexadecimal(word: &[u8]) -> bool {
    word.len() >= HEX_BYTES_MIN && word.iter().all(u8::is_ascii_hexdigit) && word.iter().any(u8::is_ascii_alphabetic)
}

/// Whether the first of these groups is a person's number, alone or with some of those behind it; `whole`: nothing but these groups is in the id.
fn begins_with_number(id: &[u8], groups: &[Range<usize>], whole: bool) -> bool {
    let plus = groups.first().is_some_and(|group| ends_with_plus(&id[..group.start]));
    let mut run = Run { digits: Zeroizing::new(String::with_capacity(DIGITS_MAX)), cuts: Vec::new(), document: true, phone: true };
    for (index, group) in groups.iter().enumerate() {
        if index > 0 {
            run.pass(&id[groups[index - 1].end..group.start]);
        }
        if run.digits.len() + group.len() > DIGITS_MAX || !(run.document || run.phone) {
            return false;
        }
        run.digits.extend(id[group.clone()].iter().map(|digit| char::from(*digit)));
        if run.is_cpf() || run.is_phone(plus, whole && index + 1 == groups.len()) {
            return true;
        }
    }
    false
}

/// A `+` in front of a number, not one between two words.
fn ends_with_plus(before: &[u8]) -> bool {
    match before {
        [.., last, b'+'] => !is_of_a_word(*last),
        [b'+'] => true,
        _ => false,
    }
}

/// Groups read on from one place, while what stands between them may stand inside a number.
struct Run {
    digits: Zeroizing<String>,
    /// How many digits stand before each place between two groups.
    cuts: Vec<usize>,
    /// Nothing but one sign of a document between each two.
    document: bool,
    /// Nothing but up to two signs of a phone number between each two.
    phone: bool,
}

impl Run {
    fn pass(&mut self, gap: &[u8]) {
        self.document &= matches!(gap, [b' ' | b'.' | b'-' | b'/']);
        self.phone &= gap.len() <= 2 && gap.iter().all(|byte| b" .-()".contains(byte));
        self.cuts.push(self.digits.len());
    }

    /// `52998224725`, `529982247-25`, `529.982.247-25`.
    fn is_cpf(&self) -> bool {
        self.document && matches!(self.cuts.as_slice(), [] | [9] | [3, 6, 9]) && pix::is_cpf(&self.digits)
    }

    /// `plus`: a `+` stands in front; `whole`: nothing else stands in the id.
    fn is_phone(&self, plus: bool, whole: bool) -> bool {
        let length = self.digits.len();
        if plus && self.cuts.is_empty() && length >= ABROAD_DIGITS_MIN {
            return true;
        }
        let Some((_, number)) = pix::national_number(&self.digits).filter(|_| self.phone) else { return false };
        // `55 11 9 8765-4321`: behind the country code, the area code and a mobile's 9, and before the last four. A date and a counter are seldom cut so.
        let area_end = length - number.len();
        let cut_as_a_number = self.cuts.iter().all(|cut| [2, area_end, area_end + 1, length - 4].contains(cut));
        let country = length >= 12 && self.digits.starts_with("55");
        let mobile = length == 11 && number.len() == 9;
        cut_as_a_number && (country || plus || (whole && mobile))
    }
}
