//! The signs of a text that somebody else wrote: which of them show nothing, and which words a phone would make a link of.
//!
//! What is easily got wrong: one sign has many forms, and an SMS writes them all as one.

use unicode_normalization::char::{decompose_compatible, is_combining_mark};
use zeroize::Zeroizing;

/// A text without control, bidi and zero-width characters, with every run of white space folded to one space and none at the ends.
pub(super) fn clean(text: &str) -> Zeroizing<String> {
    let mut kept = Zeroizing::new(String::with_capacity(text.len()));
    let mut gap = false;
    for c in text.chars() {
        if c.is_whitespace() {
            gap = !kept.is_empty();
        } else if !c.is_control() && !is_invisible(c) {
            if std::mem::take(&mut gap) {
                kept.push(' ');
            }
            kept.push(c);
        }
    }
    kept
}

/// Characters that show nothing: soft hyphen, zero-width and bidi signs, fillers, variation selectors, tags, and the private ones that no font agrees on.
pub(super) fn is_invisible(c: char) -> bool {
    !c.is_ascii()
        && matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}')
}

/// Whether a link stands in a text.
pub(super) fn has_link(text: &str) -> bool {
    text.split_whitespace().any(is_link)
}

/// Whether a word holds an address that a phone would make a link of: a scheme, or letters on both sides of a point. It is read in compatibility forms and
/// without accents, as an SMS writes it: its alphabet makes `loja.com` of `loja．com`.
pub(super) fn is_link(word: &str) -> bool {
    let mut lower = Zeroizing::new(String::with_capacity(2 * word.len()));
    for c in word.chars() {
        decompose_compatible(c, |part| {
            if !is_combining_mark(part) {
                lower.extend(part.to_lowercase());
            }
        });
    }
    let pointed = lower
        .match_indices('.')
        .any(|(index, _)| lower[..index].ends_with(char::is_alphanumeric) && lower[index + 1..].chars().take(2).filter(|c| c.is_alphabetic()).count() == 2);
    lower.contains("://") || lower.starts_with("www.") || pointed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_lose_what_cannot_be_seen() {
        assert_eq!(*clean("\u{feff} a\u{200b}b\u{202e}c \r\n\t\u{a0} d\u{ad}\u{7f}\u{e000}\u{e0041} "), "abc d");
    }

    #[test]
    fn a_link_is_one_in_whatever_forms_its_signs_are_written() {
        for link in [
            "loja.com",
            "loja\u{ff0e}com",
            "loja\u{2024}com",
            "loja\u{fe52}com",
            "pague⒈com",
            "lojax\u{338}.com",
            "loja.c\u{338}om",
            "ｗｗｗ．x",
            "https：／／x",
        ] {
            assert!(is_link(link) && has_link(&format!("veja\n{link} já")), "{link}");
        }
        for word in ["R$1.234,56", "S.", "Olá…", "Olá…tudo", "05/12/2025", "***.982.247-**", "1º"] {
            assert!(!is_link(word), "{word}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn a_cleaned_value_is_one_line_of_visible_signs(value in any::<String>()) {
            let cleaned = clean(&value);
            prop_assert!(!cleaned.contains("  ") && cleaned.trim() == cleaned.as_str());
            prop_assert!(cleaned.chars().all(|c| !c.is_control() && !is_invisible(c) && (!c.is_whitespace() || c == ' ')));
        }
    }
}
