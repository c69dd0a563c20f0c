//! One value becomes the text that a channel may show of it. Enters: the value, its class's cell, the channel; leaves: text, and whether the value fitted.
//!
//! What is easily got wrong: this is total. A value without its class's shape, and whatever the cell forbids, becomes `***`: never the value, never a panic.

use super::gsm7;
use super::policy::Show;
use super::scan::{Contacts, scan};
use super::signs::{clean, is_link};
use crate::delivery::Channel;
use crate::pix;
use crate::privacy::{Class, Content, Value};
use unicode_normalization::char::is_combining_mark;
use zeroize::Zeroizing;

/// How a template wants a value written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// As its content is usually written.
    Usual,
    /// The day alone: `05/12/2025`.
    Date,
    /// Day and month: `05/12`.
    Day,
    /// The time of day: `14:32`.
    Time,
    /// Nothing of the value: `R$ ****`.
    Hidden,
}

impl Format {
    pub(super) const ALL: [Self; 5] = [Self::Usual, Self::Date, Self::Day, Self::Time, Self::Hidden];

    /// The word of its filter.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Usual => "usual",
            Self::Date => "date",
            Self::Day => "day",
            Self::Time => "time",
            Self::Hidden => "hidden",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.word() == word)
    }
}

/// Where and how a value is shown.
#[derive(Clone, Copy)]
pub(super) struct Manner<'a> {
    /// The policy's cell.
    pub show: Show,
    /// The channel.
    pub channel: Channel,
    /// What stands for hidden characters.
    pub mask_char: char,
    /// What the template asks for.
    pub format: Format,
    /// The customer's zone, for points in time.
    pub zone: &'a jiff::tz::TimeZone,
}

/// What may be shown of a value.
pub(super) struct Shown {
    /// The text.
    pub text: Zeroizing<String>,
    /// Whether the value had its class's shape. If not, the text is `***`.
    pub fits: bool,
}

/// The longest first name that is shown; longer ones are no names (judgement), and one SMS must hold it.
const FIRST_NAME_CHARS_MAX: usize = 20;
/// How much of a loosened free text is shown. Source: privacy.md §1.
const FREE_TEXT_CHARS_MAX: usize = 72;
/// How many digits the host of an address that is shown has at most: one fewer than a landline without its area code (judgement).
const HOST_DIGITS_MAX: usize = 7;

/// Whether a text has nothing to show once it is cleaned: it then counts as missing.
pub(super) fn is_blank(value: &Value) -> bool {
    matches!(&value.content, Content::Text(text) if clean(text.expose()).is_empty())
}

/// The text of a value under its class and cell.
pub(super) fn show(value: &Value, manner: Manner<'_>) -> Shown {
    let Manner { show, format, .. } = manner;
    let shown = match (show, format) {
        (Show::Never | Show::AfterKeypress | Show::Authentication, _) => None,
        (_, Format::Hidden) | (Show::Masked, _) if matches!(value.class, Class::Amount | Class::Balance | Class::Otp) => return hidden(value.class, manner),
        (_, Format::Hidden) => None,
        (Show::Plain, _) => plain(value, manner),
        (Show::Masked, _) => masked(value, manner),
    };
    match shown {
        Some(text) => Shown { text, fits: true },
        None => Shown { text: Zeroizing::new(unfit(manner)), fits: false },
    }
}

fn unfit(manner: Manner<'_>) -> String {
    match manner.channel {
        Channel::Voice => "dado oculto".to_owned(), // a voice would read the stars
        Channel::WhatsApp | Channel::Sms => stars(manner, 3),
    }
}

fn stars(manner: Manner<'_>, count: usize) -> String {
    std::iter::repeat_n(manner.mask_char, count).collect()
}

fn hidden(class: Class, manner: Manner<'_>) -> Shown {
    let text = match (manner.channel, class) {
        (Channel::Voice, _) => "valor oculto".to_owned(),
        (Channel::WhatsApp | Channel::Sms, Class::Otp) => stars(manner, 6),
        (Channel::WhatsApp | Channel::Sms, _) => format!("R$ {}", stars(manner, 4)),
    };
    Shown { text: Zeroizing::new(text), fits: true }
}

/// A value in a plain cell. Names, documents and the rest of the masked classes have no plain form: they are masked whatever the cell says.
fn plain(value: &Value, manner: Manner<'_>) -> Option<Zeroizing<String>> {
    match (value.class, &value.content) {
        (Class::Amount | Class::Balance | Class::Public, Content::Amount(centavos)) => {
            (*centavos.expose() >= 0).then(|| Zeroizing::new(pix::reais(*centavos.expose())))
        }
        (Class::Public, Content::Time(time)) => point_in_time(*time, manner).map(Zeroizing::new),
        (Class::Public, Content::Date(year, month, day)) => calendar_day(*year, *month, *day, manner).map(Zeroizing::new),
        (Class::Public, Content::Integer(number)) => Some(Zeroizing::new(number.to_string())),
        (Class::Public, Content::Text(text)) => Some(clean(text.expose())).filter(|text| !text.is_empty()),
        (Class::Otp, Content::Text(code)) => is_code(code.expose()).then(|| Zeroizing::new(code.expose().clone())),
        (Class::FreeText, Content::Text(text)) => free_text(&clean(text.expose())),
        // A Pix string or bill line is shown only after `pix/` compared it with its record, and nothing does so yet: it is hidden.
        (Class::PaymentCode, _) => None,
        _ => masked(value, manner),
    }
}

/// A value in a masked cell, or `None` where it lacks its class's shape or the class has no masked form on the channel.
fn masked(value: &Value, manner: Manner<'_>) -> Option<Zeroizing<String>> {
    let Content::Text(text) = &value.content else { return None };
    let text = clean(text.expose());
    match (value.class, manner.channel) {
        (Class::Name, channel) => name(&text, channel),
        (Class::Card, channel) => card(&text, channel, manner),
        (_, Channel::Voice) => None,
        (Class::Cpf, _) => cpf(&text, manner),
        (Class::Cnpj, _) => cnpj(&text, manner),
        (Class::Account, _) => account(&text, manner),
        (Class::PixKey, _) => Some(pix_key(&text, manner)),
        (Class::Phone, _) => phone(&text, manner),
        (Class::Email, _) => email(&text, manner),
        (Class::Amount | Class::Balance | Class::Otp | Class::Secret | Class::Public | Class::PaymentCode | Class::FreeText | Class::Reference, _) => None,
    }
    .map(Zeroizing::new)
}

/// `Maria Aparecida da Silva` → `Maria S.`; on voice `Maria`. Words that are no names (particles, numbers, links) are passed over: the name of a small
/// company may hold its owner's CPF, and a sender chooses what stands in his.
fn name(text: &str, channel: Channel) -> Option<String> {
    let mut words = text.split(' ').filter(|word| is_name(word));
    let first = words.next().filter(|first| first.chars().count() <= FIRST_NAME_CHARS_MAX)?;
    let initial = words.rfind(|word| !is_particle(word)).and_then(|word| word.chars().find(|c| c.is_alphabetic()));
    Some(match (channel, initial) {
        (Channel::Voice, _) | (_, None) => first.to_owned(),
        (Channel::WhatsApp | Channel::Sms, Some(initial)) => format!("{first} {initial}."),
    })
}

/// Letters with apostrophe or hyphen inside; at most two digits (`3M`), and those of ASCII: others hold signs of their own, an SMS writes `⒈` as `1.`.
fn is_name(word: &str) -> bool {
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    let digits = word.chars().filter(|c| c.is_numeric()).count();
    letters > 0
        && digits <= 2
        && word.chars().all(|c| c.is_alphabetic() || c.is_ascii_digit() || "'’-".contains(c) || is_combining_mark(c))
        && word.starts_with(char::is_alphanumeric)
}

fn is_particle(word: &str) -> bool {
    ["da", "das", "de", "do", "dos", "e", "di", "du", "del", "van", "von"].contains(&word.to_lowercase().as_str())
}

/// `***.456.789-**`.
fn cpf(text: &str, manner: Manner<'_>) -> Option<String> {
    let bare = bare(text);
    pix::is_cpf(&bare).then(|| format!("{}.{}.{}-{}", stars(manner, 3), &bare[3..6], &bare[6..9], stars(manner, 2)))
}

/// `12.***.***/0001-**`.
fn cnpj(text: &str, manner: Manner<'_>) -> Option<String> {
    let bare = bare(text);
    pix::is_cnpj(&bare).then(|| format!("{}.{}.{}/{}-{}", &bare[..2], stars(manner, 3), stars(manner, 3), &bare[8..12], stars(manner, 2)))
}

/// `**** 8920`; said `final oito nove dois zero`.
fn card(text: &str, channel: Channel, manner: Manner<'_>) -> Option<String> {
    let bare = bare(text);
    if !pix::is_card(&bare) {
        return None;
    }
    let last = &bare[bare.len() - 4..];
    Some(match channel {
        Channel::Voice => last.bytes().fold("final".to_owned(), |mut said, digit| {
            said.push(' ');
            said.push_str(digit_said(digit));
            said
        }),
        Channel::WhatsApp | Channel::Sms => format!("{} {last}", stars(manner, 4)),
    })
}

fn digit_said(digit: u8) -> &'static str {
    const SAID: [&str; 10] = ["zero", "um", "dois", "três", "quatro", "cinco", "seis", "sete", "oito", "nove"];
    SAID.get(usize::from(digit.wrapping_sub(b'0'))).copied().unwrap_or_default()
}

/// `****67-8`: two digits and the check digit, which may be an `X`; of an account under six digits the check digit alone.
fn account(text: &str, manner: Manner<'_>) -> Option<String> {
    let bare = bare(text);
    let (body, check) = bare.split_at_checked(bare.len().checked_sub(1)?)?;
    let shape =
        (1..20).contains(&body.len()) && body.bytes().all(|byte| byte.is_ascii_digit()) && (check == "X" || check.bytes().all(|byte| byte.is_ascii_digit()));
    let shown = if bare.len() < 6 { "" } else { body.get(body.len().checked_sub(2)?..)? };
    shape.then(|| format!("{}{shown}-{check}", stars(manner, 4)))
}

/// By the kind of the key; the words "chave Pix" alone for what is no key.
fn pix_key(text: &str, manner: Manner<'_>) -> String {
    let upper = Zeroizing::new(text.to_ascii_uppercase());
    let shown = match pix::key_kind(text).or_else(|| pix::key_kind(&upper)) {
        Some(pix::KeyKind::Random) => Some(format!("{}…{}", &text[..4], &text[32..])),
        Some(pix::KeyKind::Email) => email(text, manner),
        Some(pix::KeyKind::Phone) => phone(text, manner),
        Some(pix::KeyKind::Cnpj) => cnpj(text, manner),
        Some(pix::KeyKind::Cpf) => cpf(text, manner),
        None => None,
    };
    shown.unwrap_or_else(|| "chave Pix".to_owned())
}

/// `(11) *****-8888`; abroad `+** ****8888`.
fn phone(text: &str, manner: Manner<'_>) -> Option<String> {
    if !text.chars().all(|c| c.is_ascii_digit() || "+ -.()".contains(c)) {
        return None;
    }
    let digits: Zeroizing<String> = Zeroizing::new(text.chars().filter(char::is_ascii_digit).collect());
    let brazilian = !text.starts_with('+') || digits.starts_with("55");
    if let Some((area, number)) = pix::national_number(&digits).filter(|_| brazilian) {
        return Some(format!("({area}) {}-{}", stars(manner, number.len() - 4), &number[number.len() - 4..]));
    }
    (text.starts_with('+') && (8..=15).contains(&digits.len())).then(|| format!("+{} {}{}", stars(manner, 2), stars(manner, 4), &digits[digits.len() - 4..]))
}

/// `m***@exemplo.com.br`; of a local part of one letter nothing. The host is shown whole, and it is its owner who chooses it: one that may not be shown leaves
/// the address without a masked form.
fn email(text: &str, manner: Manner<'_>) -> Option<String> {
    let (local, host) = text.split_once('@')?;
    let labels = host.split('.').filter(|label| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-')).count();
    let shape = labels >= 2 && labels == host.split('.').count() && host.len() <= 253 && !local.is_empty() && !local.contains(' ');
    let first = local.chars().next().filter(|_| local.chars().nth(1).is_some()).filter(|c| c.is_alphanumeric());
    (shape && may_show_host(host)).then(|| format!("{}{}@{host}", first.map(String::from).unwrap_or_default(), stars(manner, 3)))
}

/// Whether a host holds no number and nothing that the last scan would find, as it stands or as an SMS writes it: by a host like a phone number a payee would
/// have every message about his payment stopped. Its last word has a letter, or it would go on in the number that stands behind it.
fn may_show_host(host: &str) -> bool {
    let mut in_sms = Zeroizing::new(String::with_capacity(2 * host.len()));
    gsm7::transliterate(host, &mut in_sms);
    let ends_in_letters = host.rsplit(['.', '-']).next().is_some_and(|word| word.contains(char::is_alphabetic));
    let digits = host.chars().filter(|c| c.is_numeric()).count();
    let nobody = Contacts::new(&[]);
    ends_in_letters && digits <= HOST_DIGITS_MAX && [host, in_sms.as_str()].into_iter().all(|text| scan(text, &[], &nobody).is_none())
}

/// The payer's own words, without links, at most 72 characters.
fn free_text(text: &str) -> Option<Zeroizing<String>> {
    let mut kept = Zeroizing::new(String::with_capacity(text.len()));
    for word in text.split(' ').filter(|word| !is_link(word)) {
        if !kept.is_empty() {
            kept.push(' ');
        }
        kept.push_str(word);
    }
    let end = kept.char_indices().nth(FREE_TEXT_CHARS_MAX).map_or(kept.len(), |(index, _)| index);
    Some(Zeroizing::new(kept[..end].trim_end().to_owned())).filter(|text| !text.is_empty())
}

/// Whether a one-time code has a shape that every channel takes: ASCII letters and digits, 6 to 15 where all are digits, else 4 to 15.
/// Source: privacy.md §4, Meta's limit of 15.
pub(super) fn is_code(code: &str) -> bool {
    let least = if code.bytes().all(|byte| byte.is_ascii_digit()) { 6 } else { 4 };
    (least..=15).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn point_in_time(time: crate::delivery::Timestamp, manner: Manner<'_>) -> Option<String> {
    let local = manner.zone.to_datetime(jiff::Timestamp::from_millisecond(time.millis()).ok()?);
    let (year, month, day) = (local.year(), u8::try_from(local.month()).ok()?, u8::try_from(local.day()).ok()?);
    let date = calendar_day(year, month, day, manner)?;
    let time = pix::time(u8::try_from(local.hour()).ok()?, u8::try_from(local.minute()).ok()?);
    Some(match manner.format {
        Format::Date | Format::Day => date,
        Format::Time => time,
        Format::Usual | Format::Hidden => format!("{date} às {time}"),
    })
}

/// A day without a time of day has no `time`.
fn calendar_day(year: i16, month: u8, day: u8, manner: Manner<'_>) -> Option<String> {
    if !pix::is_date(year, month, day) {
        return None;
    }
    Some(match (manner.channel, manner.format) {
        (Channel::Voice, _) => pix::date_spoken(month, day),
        (Channel::WhatsApp | Channel::Sms, Format::Day) => pix::day_month(month, day),
        (Channel::WhatsApp | Channel::Sms, Format::Usual | Format::Date | Format::Time | Format::Hidden) => pix::date(year, month, day),
    })
}

/// A document without its punctuation, in capitals.
fn bare(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.chars().filter(|c| !" .-/".contains(*c)).map(|c| c.to_ascii_uppercase()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Timestamp;
    use crate::privacy::Secret;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    const SHOWS: [Show; 5] = [Show::Plain, Show::AfterKeypress, Show::Authentication, Show::Masked, Show::Never];

    fn text(class: Class, text: &str) -> Value {
        Value { class, content: Content::Text(Secret::new(text.to_owned())) }
    }

    fn shown(value: &Value, cell: Show, channel: Channel, format: Format) -> (String, bool) {
        let zone = TimeZone::get("America/Sao_Paulo").unwrap();
        let shown = show(value, Manner { show: cell, channel, mask_char: '*', format, zone: &zone });
        (shown.text.to_string(), shown.fits)
    }

    fn masked(class: Class, value: &str) -> String {
        shown(&text(class, value), Show::Masked, Channel::WhatsApp, Format::Usual).0
    }

    fn spoken(class: Class, value: &str) -> String {
        shown(&text(class, value), Show::Masked, Channel::Voice, Format::Usual).0
    }

    #[test]
    fn every_class_has_its_masked_form() {
        for (class, value, form) in [
            (Class::Name, "Maria Aparecida da Silva", "Maria S."),
            (Class::Name, "Maria", "Maria"),
            (Class::Name, "  João   dos\tSantos\u{202e} ", "João S."),
            (Class::Name, "JOSE DE SOUZA 52998224725", "JOSE S."),
            (Class::Name, "12.345.678 ANA LIMA", "ANA L."),
            (Class::Name, "www.golpe.com Clique Aqui", "Clique A."),
            (Class::Name, "3M do Brasil", "3M B."),
            (Class::Name, "Jose\u{301} D’Ávila-Souza", "Jose\u{301} D."),
            (Class::Name, "Mª Conceição", "Mª C."),
            (Class::Name, "pague⒈com Silva", "Silva"),
            (Class::Name, "Silva pague⒈com", "Silva"),
            (Class::Name, "A٣ Silva", "Silva"),
            (Class::Name, "52998224725", "***"),
            (Class::Name, "Pneumoultramicroscopicossilico Silva", "***"),
            (Class::Cpf, "529.982.247-25", "***.982.247-**"),
            (Class::Cpf, "52998224725", "***.982.247-**"),
            (Class::Cpf, "52998224726", "***"),
            (Class::Cnpj, "12.ABC.345/01DE-35", "12.***.***/01DE-**"),
            (Class::Cnpj, "11222333000181", "11.***.***/0001-**"),
            (Class::Cnpj, "11222333000182", "***"),
            (Class::Card, "4111 1111 1111 1111", "**** 1111"),
            (Class::Card, "4111 1111 1111 1112", "***"),
            (Class::Account, "1234567-8", "****67-8"),
            (Class::Account, "123456-X", "****56-X"),
            (Class::Account, "1234-5", "****-5"),
            (Class::Account, "12345", "****-5"),
            (Class::Account, "7", "***"),
            (Class::Account, "conta 12", "***"),
            (Class::PixKey, "7d9f0000-1111-2222-3333-44445555c2a1", "7d9f…c2a1"),
            (Class::PixKey, "maria@exemplo.com.br", "m***@exemplo.com.br"),
            (Class::PixKey, "+5511999998888", "(11) *****-8888"),
            (Class::PixKey, "12abc34501de35", "12.***.***/01DE-**"),
            (Class::PixKey, "52998224725", "***.982.247-**"),
            (Class::PixKey, "11999998888", "chave Pix"),
            (Class::PixKey, "x@11999998888.com.br", "chave Pix"),
            (Class::PixKey, "maria@banco24horas.com.br", "m***@banco24horas.com.br"),
            (Class::Phone, "+5511999998888", "(11) *****-8888"),
            (Class::Phone, "(11) 3333-4444", "(11) ****-4444"),
            (Class::Phone, "+1 202 555 0123", "+** ****0123"),
            (Class::Phone, "+1 11 99999-8888", "+** ****8888"),
            (Class::Phone, "12", "***"),
            (Class::Email, "maria@exemplo.com.br", "m***@exemplo.com.br"),
            (Class::Email, "m@exemplo.com.br", "***@exemplo.com.br"),
            (Class::Email, "maria@exemplo", "***"),
            (Class::Email, "a b@exemplo.com", "***"),
            (Class::Email, "maria@1234567.com", "m***@1234567.com"),
            (Class::Email, "maria@12345678.com", "***"),
            (Class::Email, "maria@12345a.b678.com", "***"),
            (Class::Email, "maria@abcdefgh000195.com", "***"),
            (Class::Email, "maria@中abcdefgh000195中.com", "***"),
            (Class::Email, "maria@senha.4821.com", "***"),
            (Class::Email, "maria@exemplo.11", "***"),
            (Class::Email, "maria@exemplo.a-11", "***"),
            (Class::Otp, "123456", "******"),
            (Class::Secret, "x", "***"),
            (Class::Reference, "x", "***"),
            (Class::FreeText, "x", "***"),
            (Class::PaymentCode, "x", "***"),
            (Class::Public, "x", "***"),
        ] {
            assert_eq!(masked(class, value), form, "{class:?} {value}");
        }
        assert_eq!(spoken(Class::Name, "Maria Aparecida da Silva"), "Maria");
        assert_eq!(spoken(Class::Card, "4111111111111111"), "final um um um um");
        assert_eq!(spoken(Class::Cpf, "52998224725"), "dado oculto");
    }

    #[test]
    fn money_and_time_are_written_for_the_customer() {
        let amount = |class, centavos, cell| shown(&Value { class, content: Content::Amount(Secret::new(centavos)) }, cell, Channel::Sms, Format::Usual);
        assert_eq!(amount(Class::Amount, 123_456, Show::Plain), ("R$ 1.234,56".into(), true));
        assert_eq!(amount(Class::Amount, 123_456, Show::Masked), ("R$ ****".into(), true));
        assert_eq!(amount(Class::Amount, -1, Show::Plain), ("***".into(), false));
        assert_eq!(amount(Class::Balance, 123_456, Show::Masked), ("R$ ****".into(), true));
        assert_eq!(amount(Class::Cpf, 52_998_224_725, Show::Plain), ("***".into(), false));
        let time = Value { class: Class::Public, content: Content::Time(Timestamp::from_millis(1_764_900_000_000)) };
        let written = |channel, format| shown(&time, Show::Plain, channel, format).0;
        assert_eq!(written(Channel::WhatsApp, Format::Usual), "04/12/2025 às 23:00");
        assert_eq!(written(Channel::Sms, Format::Date), "04/12/2025");
        assert_eq!(written(Channel::Sms, Format::Day), "04/12");
        assert_eq!(written(Channel::Sms, Format::Time), "23:00");
        assert_eq!(written(Channel::Voice, Format::Usual), "4 de dezembro às 23:00");
        let day = |year, month, day| shown(&Value { class: Class::Public, content: Content::Date(year, month, day) }, Show::Plain, Channel::Sms, Format::Usual);
        assert_eq!(day(2026, 2, 28), ("28/02/2026".into(), true));
        assert_eq!(day(2026, 2, 30), ("***".into(), false));
    }

    #[test]
    fn a_loosened_free_text_loses_links_and_its_end() {
        let note = |value: &str| shown(&text(Class::FreeText, value), Show::Plain, Channel::WhatsApp, Format::Usual);
        assert_eq!(note("aluguel de maio\u{7}\nveja https://golpe.com golpe.com.br/x www.a R$1.234,56").0, "aluguel de maio veja R$1.234,56");
        assert_eq!(note(&"ã".repeat(100)).0.chars().count(), 72);
        assert_eq!(note("golpe.com").0, "***");
    }

    #[test]
    fn no_name_holds_a_sign_that_an_sms_writes_as_part_of_a_link() {
        for c in ('\u{80}'..=char::MAX).filter(|c| is_name(&format!("pague{c}com"))) {
            let mut sms = String::new();
            gsm7::transliterate(&c.to_string(), &mut sms);
            assert!(!sms.contains(['.', ':', '/', '@']), "{c:?}");
        }
    }

    fn content() -> impl Strategy<Value = Content> {
        prop_oneof![
            any::<String>().prop_map(|text| Content::Text(Secret::new(text))),
            "[0-9A-Z+@. /-]{0,24}".prop_map(|text| Content::Text(Secret::new(text))),
            any::<i64>().prop_map(|centavos| Content::Amount(Secret::new(centavos))),
            any::<i64>().prop_map(|millis| Content::Time(Timestamp::from_millis(millis))),
            any::<(i16, u8, u8)>().prop_map(|(year, month, day)| Content::Date(year, month, day)),
            any::<i64>().prop_map(Content::Integer),
        ]
    }

    fn digits(text: &str) -> usize {
        text.chars().filter(char::is_ascii_digit).count()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn masking_is_total_and_a_closed_cell_shows_nothing(
            class in proptest::sample::select(Class::ALL.to_vec()), content in content(), cell in proptest::sample::select(SHOWS.to_vec()),
            channel in proptest::sample::select(Channel::ALL.to_vec()), format in proptest::sample::select(Format::ALL.to_vec()),
        ) {
            let (text, fits) = shown(&Value { class, content }, cell, channel, format);
            prop_assert!(!text.is_empty());
            if !fits || matches!(cell, Show::Never | Show::AfterKeypress | Show::Authentication) {
                prop_assert_eq!(&text, if channel == Channel::Voice { "dado oculto" } else { "***" });
            }
            if matches!(class, Class::Secret | Class::Reference | Class::PaymentCode) || (channel == Channel::Voice && !matches!(class, Class::Name | Class::Card)) && cell == Show::Masked {
                prop_assert!(["***", "dado oculto", "valor oculto"].contains(&text.as_str()), "{}", text);
            }
        }

        #[test]
        fn a_mask_never_shows_more_than_its_row_allows(value in prop_oneof![any::<String>(), "[0-9A-Z+@. /-]{0,24}", "[a-z. ]{1,9}@[a-z0-9.-]{1,12}", "[0-9]{10,19}"],
            cell in proptest::sample::select(vec![Show::Plain, Show::Masked]), channel in proptest::sample::select(vec![Channel::WhatsApp, Channel::Sms]),
        ) {
            let form = |class| shown(&text(class, &value), cell, channel, Format::Usual).0;
            for (class, most) in [(Class::Cpf, 6), (Class::Card, 4), (Class::Account, 3), (Class::Phone, 6)] {
                let form = form(class);
                prop_assert!(digits(&form) <= most && form.contains('*'), "{class:?} {form}");
                prop_assert!(form.chars().all(|c| c.is_ascii_digit() || "*.-() +X".contains(c)), "{class:?} {form}");
            }
            let cnpj = form(Class::Cnpj);
            prop_assert!(cnpj.chars().filter(|c| c.is_alphanumeric()).count() <= 6 && cnpj.contains("***"), "{cnpj}");
            let email = form(Class::Email);
            prop_assert!(email.split('@').next().unwrap().chars().filter(|c| *c != '*').count() <= 1 && email.contains("***"), "{email}");
            let key = form(Class::PixKey);
            prop_assert!(key == "chave Pix" || key.contains('*') || key.chars().count() == 9, "{key}");
            let name = form(Class::Name);
            let mut words = name.split(' ');
            prop_assert!(words.next().is_some_and(|first| first.chars().count() <= FIRST_NAME_CHARS_MAX && digits(first) <= 2), "{name}");
            prop_assert!(words.next().is_none_or(|last| last.chars().count() <= 2 && last.ends_with('.')) && words.next().is_none(), "{name}");
        }

        #[test]
        fn documents_with_right_check_digits_show_their_middle_alone(body in "[0-9]{9}", company in "[0-9A-Z]{12}") {
            if let Some(cpf) = (0..100).map(|check| format!("{body}{check:02}")).find(|cpf| pix::is_cpf(cpf)) {
                prop_assert_eq!(masked(Class::Cpf, &cpf), format!("***.{}.{}-**", &cpf[3..6], &cpf[6..9]));
            }
            if let Some(cnpj) = (0..100).map(|check| format!("{company}{check:02}")).find(|cnpj| pix::is_cnpj(cnpj)) {
                prop_assert_eq!(masked(Class::Cnpj, &cnpj), format!("{}.***.***/{}-**", &cnpj[..2], &cnpj[8..12]));
            }
        }

        #[test]
        fn a_masked_address_is_nothing_that_the_last_scan_stops(
            host in prop_oneof!["[0-9.-]{1,16}[.]com", "(senha|pin|cvv)[.-][0-9a-z]{1,8}[.]br", "[0-9]{2}[.][0-9]{5}[.-][0-9]{4}[.]com"],
        ) {
            let form = masked(Class::Email, &format!("maria@{host}"));
            prop_assert!(scan(&form, &[], &Contacts::new(&[])).is_none(), "{form}");
        }
    }
}
