//! What is read from one field, and what it becomes: amounts in centavos, times in milliseconds, texts in boxes that print masked.

use super::DeadReason;
use crate::delivery::Timestamp;
use crate::privacy::{Class, Content, Secret};
use std::borrow::Cow;
use zeroize::Zeroizing;

/// No text that a message is made of is longer, in bytes: parameters rest sealed in state and dispatches. A Pix string has at most 512.
pub(super) const TEXT_BYTES_MAX: usize = 4 * 1024;

/// What one field of one record holds, before anybody knows what it is for.
#[derive(Clone)]
pub(super) enum Raw<'a> {
    /// Null, or not in the record at all.
    Absent,
    /// A record, map or array: it is there, and that is all that is taken.
    Present,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number of a type that cannot hold money exactly, or a JSON number with decimals.
    Double(f64),
    /// A text, or an enum's symbol.
    Text(Text<'a>),
    /// `unscaled / 10^scale`.
    Decimal {
        /// The number without its point.
        unscaled: i128,
        /// Digits after the point.
        scale: u32,
    },
    /// A logical timestamp, already in milliseconds.
    Time(Timestamp),
    /// Days since 1970-01-01.
    Date(i32),
    /// There, but of no form that can be used.
    Unreadable,
}

/// A text that is borrowed from the record wherever that is possible.
#[derive(Clone)]
pub(super) enum Text<'a> {
    /// The record's own bytes, or an enum's symbol.
    Borrowed(&'a str),
    /// JSON with escapes.
    Owned(Zeroizing<String>),
}

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text,
        }
    }
}

/// What a field becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text as the bank wrote it.
    Text,
    /// Money; the unit is needed unless the type is a decimal.
    Amount(Option<AmountUnit>),
    /// A point in time; the unit is needed where it is a plain number.
    Time(Option<TimeUnit>),
    /// A day.
    Date,
    /// A whole number.
    Integer,
}

/// What a number that is an amount counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AmountUnit {
    /// R$ 1,00.
    Reais,
    /// R$ 0,01.
    Centavos,
}

impl AmountUnit {
    const fn decimals(self) -> u32 {
        match self {
            Self::Reais => 2,
            Self::Centavos => 0,
        }
    }
}

/// What a number that is a time counts, since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Unix seconds.
    Seconds,
    /// Thousandths.
    Millis,
    /// Millionths.
    Micros,
}

/// The text of an id, a number or a zone; `None` where there is none or it is blank. Whole numbers count as their digits.
pub(super) fn text<'r>(raw: &'r Raw<'_>) -> Result<Option<Cow<'r, str>>, DeadReason> {
    match raw {
        Raw::Absent => Ok(None),
        Raw::Text(text) if text.as_str().len() > TEXT_BYTES_MAX => Err(DeadReason::TooLarge),
        Raw::Text(text) => Ok(Some(text.as_str().trim()).filter(|text| !text.is_empty()).map(Cow::Borrowed)),
        Raw::Integer(number) => Ok(Some(Cow::Owned(number.to_string()))),
        Raw::Present | Raw::Bool(_) | Raw::Double(_) | Raw::Decimal { .. } | Raw::Time(_) | Raw::Date(_) | Raw::Unreadable => Err(DeadReason::FieldShape),
    }
}

/// A parameter of a template; `None` where the record has none.
pub(super) fn content(raw: &Raw<'_>, class: Class, kind: Kind) -> Result<Option<Content>, DeadReason> {
    if matches!(raw, Raw::Absent) {
        return Ok(None);
    }
    Ok(Some(match kind {
        Kind::Text => match (raw, class) {
            (Raw::Text(text), _) if text.as_str().len() > TEXT_BYTES_MAX => return Err(DeadReason::TooLarge),
            (Raw::Text(text), _) => Content::Text(Secret::new(text.as_str().to_owned())),
            // A number has lost its leading zeros; documents have a fixed length.
            (Raw::Integer(number), Class::Cpf) => Content::Text(Secret::new(format!("{number:011}"))),
            (Raw::Integer(number), Class::Cnpj) => Content::Text(Secret::new(format!("{number:014}"))),
            (Raw::Integer(number), _) => Content::Text(Secret::new(number.to_string())),
            _ => return Err(DeadReason::FieldShape),
        },
        Kind::Amount(unit) => Content::Amount(Secret::new(centavos(raw, unit)?)),
        Kind::Time(unit) => Content::Time(time(raw, unit)?),
        Kind::Date => date(raw)?,
        Kind::Integer => match raw {
            Raw::Integer(number) => Content::Integer(*number),
            _ => return Err(DeadReason::FieldShape),
        },
    }))
}

fn centavos(raw: &Raw<'_>, unit: Option<AmountUnit>) -> Result<i64, DeadReason> {
    let (unscaled, scale, unit) = match (raw, unit) {
        (Raw::Decimal { unscaled, scale }, unit) => (*unscaled, *scale, unit.unwrap_or(AmountUnit::Reais)),
        (Raw::Integer(number), Some(unit)) => (i128::from(*number), 0, unit),
        (Raw::Text(text), Some(unit)) => match decimal(text.as_str()) {
            // With more decimals than the unit has it may be a thousand with its point: `1.500` is R$ 1.500,00 in Brazil, and not R$ 1,50.
            Some((unscaled, scale)) if scale <= unit.decimals() => (unscaled, scale, unit),
            _ => return Err(DeadReason::AmountShape),
        },
        // The shortest text that reads back as the same double is what the bank wrote, up to 15 digits.
        (Raw::Double(number), Some(unit)) if number.abs() < 1e13 => {
            decimal(&number.to_string()).map(|(unscaled, scale)| (unscaled, scale, unit)).ok_or(DeadReason::AmountShape)?
        }
        (Raw::Double(_) | Raw::Unreadable, _) => return Err(DeadReason::AmountShape),
        _ => return Err(DeadReason::FieldShape),
    };
    if unscaled < 0 {
        return Err(DeadReason::NegativeAmount);
    }
    let decimals = unit.decimals();
    let exact = if scale <= decimals {
        unscaled.checked_mul(10_i128.pow(decimals - scale))
    } else {
        match 10_i128.checked_pow(scale - decimals) {
            Some(divisor) if unscaled % divisor == 0 => Some(unscaled / divisor),
            _ => (unscaled == 0).then_some(0),
        }
    };
    exact.and_then(|exact| i64::try_from(exact).ok()).ok_or(DeadReason::AmountShape)
}

/// `-123.45` → (-12345, 2). No exponent, no comma, no grouping: what a thousand is written like is not guessed. One point alone may still be such a grouping:
/// of a text [`centavos`] takes no more decimals than the unit has.
fn decimal(text: &str) -> Option<(i128, u32)> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, fraction)| (whole, Some(fraction)));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || fraction.is_some_and(|fraction| !all_digits(fraction)) {
        return None;
    }
    let fraction = fraction.unwrap_or_default();
    if whole.len() + fraction.len() > 36 {
        return None;
    }
    let unscaled: i128 = format!("{whole}{fraction}").parse().ok()?;
    Some((if negative { -unscaled } else { unscaled }, u32::try_from(fraction.len()).ok()?))
}

/// A point in time, within the years 1 to 9999.
pub(super) fn time(raw: &Raw<'_>, unit: Option<TimeUnit>) -> Result<Timestamp, DeadReason> {
    let millis = match (raw, unit) {
        (Raw::Time(time), _) => Some(time.millis()),
        (Raw::Integer(number), Some(TimeUnit::Seconds)) => number.checked_mul(1000),
        (Raw::Integer(number), Some(TimeUnit::Millis)) => Some(*number),
        (Raw::Integer(number), Some(TimeUnit::Micros)) => Some(number.div_euclid(1000)),
        (Raw::Text(text), _) => text.as_str().parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond),
        _ => return Err(DeadReason::FieldShape),
    };
    // 0001-01-01 to 9999-12-31, both UTC.
    millis.filter(|millis| (-62_135_596_800_000..253_402_300_800_000).contains(millis)).map(Timestamp::from_millis).ok_or(DeadReason::TimeShape)
}

fn date(raw: &Raw<'_>) -> Result<Content, DeadReason> {
    let date = match raw {
        Raw::Date(days) => jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().try_days(*days).map_err(|_| DeadReason::TimeShape)?).ok(),
        Raw::Text(text) => text.as_str().parse::<jiff::civil::Date>().ok(),
        _ => return Err(DeadReason::FieldShape),
    };
    let date = date.filter(|date| (1..=9999).contains(&date.year())).ok_or(DeadReason::TimeShape)?;
    Ok(Content::Date(date.year(), u8::try_from(date.month()).unwrap_or(1), u8::try_from(date.day()).unwrap_or(1)))
}
