//! The last scan: what slipped into a finished text although nothing like it may be said. Enters: the text with the span and class of every value; leaves:
//! the rule that stops it, or nothing.
//!
//! What is easily got wrong: a hit that touches one character outside a span that may show it is a hit. Source: privacy.md §1, "Last scan".

use super::signs::is_invisible;
use crate::pix;
use crate::privacy::Class;
use std::ops::Range;
use unicode_normalization::char::{decompose_compatible, is_combining_mark};
use zeroize::Zeroizing;

/// What the last scan looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A card number.
    Card,
    /// A CPF.
    Cpf,
    /// A CNPJ.
    Cnpj,
    /// An e-mail address.
    Email,
    /// A Brazilian phone number.
    Phone,
    /// A password, PIN, CVV or token beside its word.
    Password,
}

impl Rule {
    /// The word in metrics: `scan_card` and so on.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Card => "scan_card",
            Self::Cpf => "scan_cpf",
            Self::Cnpj => "scan_cnpj",
            Self::Email => "scan_email",
            Self::Phone => "scan_phone",
            Self::Password => "scan_password",
        }
    }
}

/// Where a value stands in a finished text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Bytes of the text.
    pub range: Range<usize>,
    /// The value's class.
    pub class: Class,
    /// Whether it is a public value of the shape that its field's pattern describes: one random number in ten passes for a card, one in a hundred for a CPF.
    pub shaped: bool,
}

impl Span {
    /// Whether a hit that lies in it is none.
    fn may_show_it(&self) -> bool {
        matches!(self.class, Class::Otp | Class::PaymentCode) || (self.class == Class::Public && self.shaped)
    }
}

/// What the bank says of itself and the scan lets pass.
#[derive(Debug)]
pub(super) struct Contacts(Vec<Vec<char>>);

impl Contacts {
    pub(super) fn new(contacts: &[String]) -> Self {
        Self(contacts.iter().map(|contact| Flat::of(contact).chars.to_vec()).filter(|contact| !contact.is_empty()).collect())
    }
}

/// How far a password's word reaches. Source: privacy.md §1.
const PASSWORD_REACH_CHARS: usize = 20;
/// A value beside a password's word has at least this many letters or digits: a CVV has three (judgement).
const PASSWORD_CHARS_MIN: usize = 3;

/// The first rule that stops `text`, or `None`.
pub(super) fn scan(text: &str, spans: &[Span], contacts: &Contacts) -> Option<Rule> {
    let flat = Flat::of(text);
    let look = Look { words: flat.words(), allowed: allowed(&flat, spans, contacts), values: values(&flat, spans), flat: &flat };
    look.numbers().or_else(|| look.emails()).or_else(|| look.passwords())
}

/// A text as the rules read it: compatibility forms, accents, invisible characters and foreign digits undone, small letters; each character knows its place.
struct Flat {
    chars: Zeroizing<Vec<char>>,
    at: Vec<usize>,
}

impl Flat {
    fn of(text: &str) -> Self {
        let mut flat = Self { chars: Zeroizing::new(Vec::with_capacity(text.len())), at: Vec::with_capacity(text.len()) };
        for (at, c) in text.char_indices() {
            if c.is_ascii() {
                flat.push(c.to_ascii_lowercase(), at);
            } else {
                decompose_compatible(c, |part| {
                    if !is_combining_mark(part) && !is_invisible(part) {
                        part.to_lowercase().for_each(|small| flat.push(plain(small), at));
                    }
                });
            }
        }
        flat
    }

    fn push(&mut self, c: char, at: usize) {
        self.chars.push(c);
        self.at.push(at);
    }

    /// The first character that stands at this byte of the text or behind it.
    fn place(&self, at: usize) -> usize {
        self.at.partition_point(|start| *start < at)
    }

    /// Maximal runs of letters and digits.
    fn words(&self) -> Vec<Word> {
        let mut words: Vec<Word> = Vec::with_capacity(self.chars.len() / 4);
        let mut open: Option<Word> = None;
        for (index, c) in self.chars.iter().enumerate() {
            if c.is_alphanumeric() {
                let word = open.get_or_insert(Word { range: index..index, digits: 0 });
                word.range.end = index + 1;
                word.digits += usize::from(c.is_ascii_digit());
            } else {
                words.extend(open.take());
            }
        }
        words.extend(open);
        words
    }
}

/// Whether the one lies in the other.
fn holds(span: &Range<usize>, hit: &Range<usize>) -> bool {
    span.start <= hit.start && hit.end <= span.end
}

struct Word {
    /// Characters of the flat text.
    range: Range<usize>,
    digits: usize,
}

/// ASCII digits for all decimal digits, one hyphen for all.
fn plain(c: char) -> char {
    match c {
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        _ if c.is_numeric() => {
            let zero = ZEROS.partition_point(|zero| *zero <= u32::from(c)).checked_sub(1).map(|index| ZEROS[index]);
            zero.and_then(|zero| char::from_digit(u32::from(c) - zero, 10)).unwrap_or(c)
        }
        _ => c,
    }
}

/// The spans in characters of the flat text.
fn values(flat: &Flat, spans: &[Span]) -> Vec<(Range<usize>, Class)> {
    spans.iter().map(|span| (flat.place(span.range.start)..flat.place(span.range.end), span.class)).collect()
}

/// What a hit may lie in: spans of codes, payment codes and public values of their field's shape, and the bank's own contacts; in characters of the flat text.
fn allowed(flat: &Flat, spans: &[Span], contacts: &Contacts) -> Vec<Range<usize>> {
    let shown = spans.iter().filter(|span| span.may_show_it());
    let mut allowed: Vec<_> = shown.map(|span| flat.place(span.range.start)..flat.place(span.range.end)).collect();
    for contact in &contacts.0 {
        for (start, part) in flat.chars.windows(contact.len()).enumerate() {
            // A longer number or address around it is a longer hit, which does not lie in it: no need to look beside it.
            if part.first() == contact.first() && part == contact.as_slice() {
                allowed.push(start..start + contact.len());
            }
        }
    }
    allowed
}

struct Look<'a> {
    flat: &'a Flat,
    words: Vec<Word>,
    allowed: Vec<Range<usize>>,
    values: Vec<(Range<usize>, Class)>,
}

impl Look<'_> {
    fn stops(&self, hit: &Range<usize>) -> bool {
        !self.allowed.iter().any(|span| holds(span, hit))
    }

    fn text(&self, range: Range<usize>) -> &[char] {
        &self.flat.chars[range]
    }

    /// What stands between a word and the next one.
    fn gap(&self, index: usize) -> &[char] {
        self.text(self.words[index].range.end..self.words[index + 1].range.start)
    }

    /// Cards, CPFs, CNPJs and phones: runs of words, from each word on as far as one number can reach. A CNPJ may begin with letters alone.
    fn numbers(&self) -> Option<Rule> {
        let begins = |word: &Word| word.digits > 0 || matches!(word.range.len(), 2 | 8 | 12);
        let mut run = Run::new();
        (0..self.words.len()).filter(|first| begins(&self.words[*first])).find_map(|first| self.number_from(first, &mut run))
    }

    fn number_from(&self, first: usize, run: &mut Run) -> Option<Rule> {
        run.begin();
        for index in first..self.words.len() {
            let word = &self.words[index];
            if index > first {
                run.pass(self.gap(index - 1));
                run.thousands &= word.range.len() == 3;
            }
            run.numeric &= word.digits == word.range.len();
            run.lengths.push(word.range.len());
            run.joined.extend(self.text(word.range.clone()).iter().map(char::to_ascii_uppercase));
            if !run.is_open() {
                return None;
            }
            let hit = self.words[first].range.start..word.range.end;
            if let Some(rule) = run.rule().filter(|_| self.stops(&hit)) {
                return Some(rule);
            }
        }
        None
    }

    /// `local@host.tld`.
    fn emails(&self) -> Option<Rule> {
        let chars = &self.flat.chars;
        let local = |c: &char| c.is_alphanumeric() || "._%+-".contains(*c);
        let host = |c: &char| c.is_alphanumeric() || ".-".contains(*c);
        chars.iter().enumerate().filter(|(_, c)| **c == '@').find_map(|(at, _)| {
            let start = at - chars[..at].iter().rev().take_while(|c| local(c)).count();
            let mut end = at + 1 + chars[at + 1..].iter().take_while(|c| host(c)).count();
            while chars[..end].ends_with(&['.']) || chars[..end].ends_with(&['-']) {
                end -= 1;
            }
            let labels: Vec<&[char]> = chars[at + 1..end.max(at + 1)].split(|c| *c == '.').collect();
            let top = labels.last().is_some_and(|label| label.len() >= 2 && label.iter().any(|c| c.is_alphabetic()));
            (start < at && labels.len() >= 2 && top && self.stops(&(start..end))).then_some(Rule::Email)
        })
    }

    /// A password's word with a value within its reach: behind it, or before it in the same sentence. In a person's or a company's name it is a name (*Pin* is one,
    /// and who is paid chooses his own); in another value it speaks of that value alone. An amount is no password.
    fn passwords(&self) -> Option<Rule> {
        (0..self.words.len()).find_map(|index| {
            let last = self.password_word(index)?;
            let (from, to) = (self.words[index].range.start, self.words[last].range.end);
            let own = self.values.iter().find(|(span, _)| holds(span, &(from..to)));
            if own.is_some_and(|(_, class)| *class == Class::Name) {
                return None;
            }
            let speaks_of = |word: &Word| match own {
                Some((span, _)) => holds(span, &word.range),
                None => !self.values.iter().any(|(span, class)| matches!(class, Class::Amount | Class::Balance) && holds(span, &word.range)),
            };
            let behind = self.words[last + 1..].iter().take_while(|word| word.range.start - to <= PASSWORD_REACH_CHARS);
            let before =
                self.words[..index].iter().rev().take_while(|word| from - word.range.end <= PASSWORD_REACH_CHARS && !self.sentence_ends(word.range.end..from));
            let is_value = |word: &&Word| word.digits > 0 && word.range.len() >= PASSWORD_CHARS_MIN && speaks_of(word) && self.stops(&word.range);
            let value = behind.chain(before).find(is_value);
            (value.is_some() || self.named_value(last).is_some_and(speaks_of)).then_some(Rule::Password)
        })
    }

    /// Where the password's word that begins at `index` ends.
    fn password_word(&self, index: usize) -> Option<usize> {
        const WORDS: [&[&str]; 9] =
            [&["senha"], &["senhas"], &["password"], &["pin"], &["cvv"], &["cvc"], &["token"], &["codigo", "de", "seguranca"], &["codigos", "de", "seguranca"]];
        WORDS.iter().find_map(|words| {
            let last = index + words.len() - 1;
            // Most differ in length already.
            let is = |(word, letters): (&Word, &&str)| word.range.len() == letters.len() && self.text(word.range.clone()).iter().copied().eq(letters.chars());
            self.words.get(index..=last)?.iter().zip(*words).all(is).then_some(last)
        })
    }

    /// `senha: girassol` at the end of a sentence: a value without digits.
    fn named_value(&self, last: usize) -> Option<&Word> {
        let next = self.words.get(last + 1)?;
        let named = matches!(self.gap(last), [':' | '='] | [':' | '=', ' '] | [' ', ':' | '=', ' ']);
        let ends = !matches!(self.flat.chars.get(next.range.end), Some(' ' | '-' | '/'));
        (named && ends && next.range.len() > PASSWORD_CHARS_MIN && self.stops(&next.range)).then_some(next)
    }

    fn sentence_ends(&self, range: Range<usize>) -> bool {
        self.text(range).windows(2).any(|pair| matches!(pair, ['.' | '!' | '?', ' '] | [_, '\n']))
    }
}

/// Words read on from one place, while what stands between them may stand inside a number.
struct Run {
    joined: Zeroizing<String>,
    lengths: Vec<usize>,
    /// Digits alone.
    numeric: bool,
    /// Nothing but one sign of a document between each two.
    document: bool,
    /// Nothing but one sign of a card number between each two.
    card: bool,
    /// Nothing but up to two signs of a phone number between each two.
    phone: bool,
    /// No white space yet: a document with letters would else be made of any three words.
    unspaced: bool,
    /// Points before groups of three alone, as in an amount.
    thousands: bool,
}

impl Run {
    fn new() -> Self {
        let joined = Zeroizing::new(String::with_capacity(64)); // 19 characters of at most three bytes before the run ends
        Self { joined, lengths: Vec::with_capacity(8), numeric: true, document: true, card: true, phone: true, unspaced: true, thousands: true }
    }

    /// Nothing was read yet. What was is written over, and wiped at the end.
    fn begin(&mut self) {
        self.joined.clear();
        self.lengths.clear();
        (self.numeric, self.document, self.card, self.phone, self.unspaced, self.thousands) = (true, true, true, true, true, true);
    }

    fn pass(&mut self, gap: &[char]) {
        self.document &= matches!(gap, [' ' | '.' | '-' | '/']);
        self.card &= matches!(gap, [' ' | '.' | '-']);
        self.phone &= gap.len() <= 2 && gap.iter().all(|c| " .-()".contains(*c));
        self.unspaced &= !gap.contains(&' ');
        self.thousands &= matches!(gap, ['.']);
    }

    /// Whether a rule may still be met. With a letter and a space in it none is.
    fn is_open(&self) -> bool {
        self.joined.len() <= 19 && (self.document || self.phone) && (self.numeric || self.unspaced)
    }

    fn rule(&self) -> Option<Rule> {
        let (joined, lengths) = (self.joined.as_str(), self.lengths.as_slice());
        let cnpj = self.document && (self.numeric || self.unspaced) && matches!(lengths, [14] | [12, 2] | [8, 4, 2] | [2, 3, 3, 4, 2]);
        if cnpj && pix::is_cnpj(joined) {
            Some(Rule::Cnpj)
        } else if !self.numeric {
            None
        } else if self.document && matches!(lengths, [11] | [9, 2] | [3, 3, 3, 2]) && pix::is_cpf(joined) {
            Some(Rule::Cpf)
        } else if self.card && pix::is_card(joined) {
            Some(Rule::Card)
        } else if self.phone && !self.is_amount() && pix::national_number(joined).is_some() {
            Some(Rule::Phone)
        } else {
            None
        }
    }

    fn is_amount(&self) -> bool {
        self.thousands && self.lengths.len() > 1 && self.lengths[0] <= 3
    }
}

/// The zeros of the decimal digits (Unicode category Nd) that have no compatibility form, in order; nine more digits follow each. Source: Unicode 15.1.
const ZEROS: [u32; 60] = [
    0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0b66, 0x0be6, 0x0c66, 0x0ce6, 0x0d66, 0x0de6, 0x0e50, 0x0ed0, 0x0f20, 0x1040, 0x1090, 0x17e0,
    0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0x104a0, 0x10d30, 0x11066,
    0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x11f50, 0x16a60, 0x16ac0,
    0x16b50, 0x1e140, 0x1e2f0, 0x1e4f0, 0x1e950,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(text: &str) -> Option<Rule> {
        scan(text, &[], &Contacts::new(&["0800 000 0000".to_owned(), "(11) 4002-8922".to_owned(), "ajuda@bancoexemplo.com.br".to_owned()]))
    }

    /// Leaks with their rule; the place marked `{}` is where they stand.
    const LEAKS: [(&str, Rule); 37] = [
        ("4111111111111111", Rule::Card),
        ("4111 1111 1111 1111", Rule::Card),
        ("4111-1111.1111 1111", Rule::Card),
        ("4111\u{a0}1111\u{a0}1111\u{a0}1111", Rule::Card),
        ("41\u{200b}11\u{ad}1111 1111\u{202e} 1111", Rule::Card),
        ("４１１１１１１１１１１１１１１１", Rule::Card),
        ("٤١١١١١١١١١١١١١١١", Rule::Card),
        ("5555555555554444", Rule::Card),
        ("529.982.247-25", Rule::Cpf),
        ("52998224725", Rule::Cpf),
        ("529982247-25", Rule::Cpf),
        ("529 982 247 25", Rule::Cpf),
        ("५२९९८२२४७२५", Rule::Cpf),
        ("529.982.247–25", Rule::Cpf),
        ("11.222.333/0001-81", Rule::Cnpj),
        ("11222333000181", Rule::Cnpj),
        ("12.ABC.345/01DE-35", Rule::Cnpj),
        ("12abc34501de35", Rule::Cnpj),
        ("11222333/0001-81", Rule::Cnpj),
        ("ABCDEFGH/0001-95", Rule::Cnpj),
        ("maria.silva@exemplo.com.br", Rule::Email),
        ("m@exemplo.com", Rule::Email),
        ("maria＠exemplo.com.br", Rule::Email),
        ("(11) 99999-8888", Rule::Phone),
        ("11999998888", Rule::Phone),
        ("+55 11 99999-8888", Rule::Phone),
        ("+5511999998888", Rule::Phone),
        ("11 9 9999 8888", Rule::Phone),
        ("(11) 3333-4444", Rule::Phone),
        ("011 3333.4444", Rule::Phone),
        ("senha: girassol.", Rule::Password),
        ("sua senha é abc123", Rule::Password),
        ("SENHA = 4821", Rule::Password),
        ("o PIN do cartão é 4821", Rule::Password),
        ("CVV 123", Rule::Password),
        ("código de segurança do cartão: 987", Rule::Password),
        ("4821 é a sua senha", Rule::Password),
    ];

    #[test]
    fn every_seeded_leak_stops() {
        for (leak, expected) in LEAKS {
            for text in [
                leak.to_owned(),
                format!("Banco Exemplo: {leak}"),
                format!("{leak}, obrigado"),
                format!("Olá ({leak}) até logo"),
                format!("Olá\n{leak}\ntchau"),
            ] {
                assert_eq!(rule(&text), Some(expected), "{text}");
            }
        }
    }

    #[test]
    fn what_a_bank_says_every_day_passes() {
        for text in [
            "",
            "Nunca informe sua senha.",
            "nunca informe sua senha",
            "Sua senha é pessoal e intransferível. O banco não pede token nem PIN por telefone.",
            "Pix de R$ 1.234.567,89 em 05/12/2025 às 14:32. Nunca informe sua senha.",
            "R$ 11.923.456.789,00 e R$ 99.999.999.999,99",
            "CPF ***.982.247-**, CNPJ 12.***.***/01DE-**, cartão **** 1111, conta ****67-8",
            "m***@exemplo.com.br, (11) *****-8888, +** ****8888, chave 7d9f…c2a1",
            "Dúvidas? 0800 000 0000, (11) 4002-8922 ou ajuda@bancoexemplo.com.br",
            "Sua senha? Ligue 0800 000 0000",
            "CPF 529.982.247-26, cartão 4111111111111112, 111.111.111-11, 00000000000000",
            "x52998224725 529982247250 52998224725a",
            "vencendo hoje 12 e amanha 13",
            "protocolo 20251205143200000001999",
        ] {
            assert_eq!(rule(text), None, "{text}");
        }
    }

    #[test]
    fn a_hit_passes_only_inside_a_span_that_may_show_it() {
        let contacts = Contacts::new(&[]);
        let text = "Seu token é 52998224725.";
        let start = text.find('5').unwrap();
        let span = |class, range| [Span { range, class, shaped: false }];
        assert_eq!(scan(text, &span(Class::Otp, start..start + 11), &contacts), None);
        assert_eq!(scan(text, &span(Class::PaymentCode, start..start + 11), &contacts), None);
        assert_eq!(scan(text, &span(Class::Otp, start..start + 10), &contacts), Some(Rule::Cpf));
        assert_eq!(scan(text, &span(Class::Otp, start + 1..start + 11), &contacts), Some(Rule::Cpf));
        for class in Class::ALL.into_iter().filter(|class| !matches!(class, Class::Otp | Class::PaymentCode)) {
            assert_eq!(scan(text, &span(class, start..start + 11), &contacts), Some(Rule::Cpf), "{class:?}");
        }
        for class in Class::ALL.into_iter().filter(|class| !matches!(class, Class::Otp | Class::PaymentCode)) {
            let shaped = [Span { range: start..start + 11, class, shaped: true }];
            assert_eq!(scan(text, &shaped, &contacts), (class != Class::Public).then_some(Rule::Cpf), "only a public value has a shape: {class:?}");
        }
    }

    #[test]
    fn a_name_that_is_a_passwords_word_silences_nothing() {
        let contacts = Contacts::new(&[]);
        let spans = |text: &str, values: &[(&str, Class)]| -> Vec<Span> {
            let place = |value: &str| text.find(value).unwrap()..text.find(value).unwrap() + value.len();
            values.iter().map(|(value, class)| Span { range: place(value), class: *class, shaped: false }).collect()
        };
        for (name, class) in [("PIN L.", Class::Name), ("Token", Class::Name), ("Token Bank", Class::Public), ("Senha", Class::Name)] {
            let text = format!("Pix de R$ 5.000,00 enviado para {name} em 05/12/2025 às 14:32.");
            assert_eq!(scan(&text, &spans(&text, &[("R$ 5.000,00", Class::Amount), (name, class)]), &contacts), None, "{text}");
        }
        let text = "Pix de R$ 250,00 de PIN. Sua senha é 4821";
        assert_eq!(scan(text, &spans(text, &[("R$ 250,00", Class::Amount), ("PIN", Class::Name)]), &contacts), Some(Rule::Password));
        let text = "Aviso: senha 4821, obrigado";
        assert_eq!(scan(text, &spans(text, &[("senha 4821", Class::Public)]), &contacts), Some(Rule::Password), "a leak inside one value");
    }

    #[test]
    fn a_public_value_of_its_shape_passes_whatever_it_resembles_and_covers_nothing_beside_it() {
        let contacts = Contacts::new(&[]);
        for (leak, expected) in LEAKS.into_iter().filter(|(_, rule)| *rule != Rule::Password) {
            let text = format!("protocolo {leak}, tchau");
            let span = |shaped| [Span { range: 10..10 + leak.len(), class: Class::Public, shaped }];
            assert_eq!(scan(&text, &span(true), &contacts), None, "{text}");
            assert_eq!(scan(&text, &span(false), &contacts), Some(expected), "{text}");
            let beside = format!("{text} {leak}");
            assert_eq!(scan(&beside, &span(true), &contacts), Some(expected), "{beside}");
        }
        // The number goes on behind the value.
        let text = "protocolo 4111111111111 111";
        assert_eq!(scan(text, &[Span { range: 10..23, class: Class::Public, shaped: true }], &contacts), Some(Rule::Card));
    }

    #[test]
    fn a_contact_passes_only_as_it_is_listed() {
        assert_eq!(rule("ligue (11) 4002-8922"), None);
        assert_eq!(rule("ligue 11 4002-8923"), Some(Rule::Phone));
        assert_eq!(rule("ligue (11) 4002-89221"), None, "no number of this length exists");
        assert_eq!(rule("xajuda@bancoexemplo.com.br"), Some(Rule::Email));
    }

    #[test]
    fn the_table_of_zeros_is_in_order_and_covers_a_digit_of_each_script() {
        assert!(ZEROS.is_sorted());
        for (nine, five) in [('٩', '٥'), ('९', '५'), ('９', '５'), ('𝟗', '𝟓'), ('᠙', '᠕')] {
            assert_eq!(Flat::of(&format!("{nine}{five}")).chars.as_slice(), ['9', '5']);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), start in 0_usize..50, length in 0_usize..50) {
            scan(&text, &[Span { range: start..start + length, class: Class::Otp, shaped: false }], &Contacts::new(&["a b".to_owned()]));
        }
    }
}
