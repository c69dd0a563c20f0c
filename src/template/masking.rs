//! One value becomes the text that a channel may show of it. Enters: the value, its class's cell, the channel; leaves: text, and whether the value fitted.
//!
//! What is easily got wrong: this is total. A value without its class's shape, and whatever the cell forbids, becomes `***`: never the value, never a panic.

use super::policy::Show;
use crate::delivery::Channel;
use crate::pix;
use crate::privacy::{Class, Content, Value};
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
    let initial = words.filter(|word| !is_particle(word)).last().and_then(|word| word.chars().find(|c| c.is_alphabetic()));
    Some(match (channel, initial) {
        (Channel::Voice, _) | (_, None) => first.to_owned(),
        (Channel::WhatsApp | Channel::Sms, Some(initial)) => format!("{first} {initial}."),
    })
}

/// Letters with apostrophe or hyphen inside; at most two digits (`3M`).
fn is_name(word: &str) -> bool {
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    let digits = word.chars().filter(|c| c.is_numeric()).count();
    letters > 0
        && digits <= 2
        && word.chars().all(|c| c.is_alphanumeric() || "'’-".contains(c) || unicode_normalization::char::is_combining_mark(c))
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

/// `m***@exemplo.com.br`; of a local part of one letter nothing.
fn email(text: &str, manner: Manner<'_>) -> Option<String> {
    let (local, host) = text.split_once('@')?;
    let labels = host.split('.').filter(|label| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-')).count();
    let shape = labels >= 2 && labels == host.split('.').count() && host.len() <= 253 && !local.is_empty() && !local.contains(' ');
    let first = local.chars().next().filter(|_| local.chars().nth(1).is_some()).filter(|c| c.is_alphanumeric());
    shape.then(|| format!("{}{}@{host}", first.map(String::from).unwrap_or_default(), stars(manner, 3)))
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

/// Whether a word holds an address that a phone would make a link of: a scheme, or letters on both sides of a point.
pub(super) fn is_link(word: &str) -> bool {
    let lower = Zeroizing::new(word.to_lowercase());
    let pointed = lower
        .match_indices('.')
        .any(|(index, _)| lower[..index].ends_with(char::is_alphanumeric) && lower[index + 1..].chars().take(2).filter(|c| c.is_alphabetic()).count() == 2);
    lower.contains("://") || lower.starts_with("www.") || pointed
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
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}')
}
