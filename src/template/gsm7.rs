//! SMS text in the GSM-7 alphabet. Enters: any text; leaves: the same words without what would make the SMS a long one.
//!
//! What is easily got wrong: of the Portuguese letters GSM-7 has only à é ü Ç É Ü; one ã in a text turns 160 characters into 70. Source: 3GPP TS 23.038 §6.2.1,
//! channels.md §5.3.

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// What one SMS holds.
pub const SEGMENT_SEPTETS: usize = 160;

/// How many septets a character takes, 1 or 2; `None` for one outside the alphabet.
pub fn septets(c: char) -> Option<usize> {
    match c {
        ' '..='Z' => Some(1),
        'a'..='z' | '_' | '\n' | '\r' => Some(1),
        '£' | '¥' | 'è' | 'é' | 'ù' | 'ì' | 'ò' | 'Ç' | 'Ø' | 'ø' | 'Å' | 'å' | 'Δ' | 'Φ' | 'Γ' | 'Λ' | 'Ω' | 'Π' | 'Ψ' | 'Σ' | 'Θ' | 'Ξ' | 'Æ' | 'æ' | 'ß'
        | 'É' | '¤' | '¡' | 'Ä' | 'Ö' | 'Ñ' | 'Ü' | '§' | '¿' | 'ä' | 'ö' | 'ñ' | 'ü' | 'à' => Some(1),
        '^' | '{' | '}' | '\\' | '[' | '~' | ']' | '|' | '€' | '\u{c}' => Some(2),
        _ => None,
    }
}

/// Writes `text` to `out` in the alphabet: accents are dropped, typographic signs become plain ones. What has no plain form becomes `?`; returns how many did.
pub fn transliterate(text: &str, out: &mut String) -> usize {
    let mut lost = 0;
    for c in text.chars() {
        if c.is_ascii() && septets(c).is_some() {
            out.push(c);
        } else if let Some(plain) = plain_sign(c) {
            out.push_str(plain);
        } else {
            lost += usize::from(!transliterate_letter(c, out));
        }
    }
    lost
}

fn plain_sign(c: char) -> Option<&'static str> {
    Some(match c {
        'º' | '°' => "o",
        'ª' => "a",
        '“' | '”' | '„' | '«' | '»' => "\"",
        '‘' | '’' | '‚' | '´' | '`' => "'",
        '‐' | '‑' | '‒' | '–' | '—' | '−' => "-",
        '•' | '·' => "*",
        '…' => "...",
        '\u{a0}' | '\u{202f}' | '\u{2009}' => " ",
        _ => return None,
    })
}

/// One character by its compatibility decomposition without marks: `ã` becomes `a`, a full-width `Ａ` becomes `A`.
fn transliterate_letter(c: char, out: &mut String) -> bool {
    let start = out.len();
    decompose_compatible(c, |part| {
        if !is_combining_mark(part) {
            out.push(part);
        }
    });
    let kept = out[start..].chars().all(|part| septets(part).is_some());
    if !kept {
        out.truncate(start);
        out.push('?');
    }
    kept
}

/// How many septets a text takes; a character outside the alphabet counts one, as the `?` that would stand for it.
pub fn length(text: &str) -> usize {
    text.chars().map(|c| septets(c).unwrap_or(1)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(text: &str) -> (String, usize) {
        let mut out = String::new();
        let lost = transliterate(text, &mut out);
        (out, lost)
    }

    #[test]
    fn portuguese_is_written_without_accents_and_signs_become_plain() {
        assert_eq!(plain("ação, à vista: “não”… 1º – 2ª • ÉÇü"), ("acao, a vista: \"nao\"... 1o - 2a * ECu".into(), 0));
        assert_eq!(plain("R$\u{a0}5 ＡＢ ﬁm ø €"), ("R$ 5 AB fim ø €".into(), 0));
        assert_eq!(plain("😀 Ł 中"), ("? ? ?".into(), 3));
    }

    #[test]
    fn the_extension_counts_two() {
        assert_eq!(length("{}"), 4);
        assert_eq!(length("€1"), 3);
        assert_eq!(length(&"a".repeat(160)), SEGMENT_SEPTETS);
        assert_eq!(septets('`'), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_in_the_alphabet_is_kept(text in any::<String>()) {
            prop_assert!(plain(&text).0.chars().all(|c| septets(c).is_some()));
        }
    }
}
