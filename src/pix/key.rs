//! The kinds of Pix keys. Enters: a key as the bank wrote it; leaves: its kind, found by the order of tests of privacy.md §1.

use super::{is_cnpj, is_cpf};

/// What a Pix key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A random key (UUID).
    Random,
    /// An e-mail address.
    Email,
    /// A phone, always with its `+`.
    Phone,
    /// A company's tax number.
    Cnpj,
    /// A person's tax number.
    Cpf,
}

/// The kind of a Pix key; `None` for a text that is no key. A phone key always has its `+`, so eleven digits are a CPF or nothing;
/// both documents need right check digits.
pub fn key_kind(key: &str) -> Option<KeyKind> {
    if is_uuid(key) {
        Some(KeyKind::Random)
    } else if key.matches('@').count() == 1 {
        Some(KeyKind::Email)
    } else if key.strip_prefix('+').is_some_and(|digits| (8..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(KeyKind::Phone)
    } else if is_cnpj(key) {
        Some(KeyKind::Cnpj)
    } else if is_cpf(key) {
        Some(KeyKind::Cpf)
    } else {
        None
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.bytes().enumerate().all(|(index, byte)| if matches!(index, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart() {
        for (key, kind) in [
            ("7d9f0000-1111-2222-3333-44445555c2a1", Some(KeyKind::Random)),
            ("maria@exemplo.com.br", Some(KeyKind::Email)),
            ("+5511999998888", Some(KeyKind::Phone)),
            ("12ABC34501DE35", Some(KeyKind::Cnpj)),
            ("52998224725", Some(KeyKind::Cpf)),
            ("11999998888", None),
            ("12ABC34501DE36", None),
            ("a@b@c", None),
            ("", None),
        ] {
            assert_eq!(key_kind(key), kind, "{key}");
        }
    }
}
