//! From the fields of one record to a notification: the last look at what the bank wrote, before it is sealed.
//!
//! What is easily got wrong: a missing or impossible phone number and a code of a wrong shape are no dead letters. The bank's event was understood; its
//! delivery ends `failed` with a reason, so that the bank hears of it.

use super::fields::Fields;
use super::value::{self, Raw};
use super::{DeadReason, Notification, RawRecord, person};
use crate::delivery::Reason;
use crate::privacy::{Payload, PhoneNumber, Secret, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use zeroize::Zeroizing;

/// It stands in clear in states, statuses and hashes.
const EVENT_ID_BYTES_MAX: usize = 200;

pub(super) fn assemble(
    fields: &Fields,
    taken: &[Raw<'_>],
    record: &RawRecord<'_>,
    route: usize,
    name: &Arc<str>,
    unclassed: u32,
) -> Result<Notification, DeadReason> {
    let event_id = event_id(fields, taken)?;
    let customer = optional(fields.customer, taken)?.map(secret).ok_or(DeadReason::MissingCustomer)?;
    let (mut values, mut shaped) = (BTreeMap::new(), BTreeSet::new());
    for field in &fields.values {
        if let Some(pattern) = &field.pattern
            && value::text(&taken[field.slot])?.map(secret_text).is_some_and(|text| pattern.fits(&text))
        {
            shaped.insert(field.name.to_string());
        }
        if let Some(content) = value::content(&taken[field.slot], field.class, field.kind)? {
            values.insert(field.name.clone(), Value { class: field.class, content });
        }
    }
    let phone = optional(fields.phone, taken)?.map(secret_text).and_then(|text| PhoneNumber::parse(&text));
    let zone = optional(fields.zone, taken)?.filter(|zone| is_zone(zone)).map(Cow::into_owned);
    let expires_at = match fields.expires_at {
        Some((slot, unit)) if !matches!(taken[slot], Raw::Absent) => Some(value::time(&taken[slot], unit)?),
        _ => None,
    };
    let code = optional(fields.code, taken)?.filter(|code| is_code(code)).map(secret);
    let obstacle = if phone.is_none() {
        Some(Reason::Unreachable)
    } else if fields.code.is_some() && code.is_none() {
        Some(Reason::CodeShape)
    } else {
        None
    };
    let payload = Payload { phone, zone, values, shaped };
    let (route_name, traceparent) = (Arc::clone(name), traceparent(record.headers));
    Ok(Notification { route, route_name, customer, event_id, payload, code, expires_at, obstacle, traceparent, unclassed })
}

/// The bank's event id, fit to stand in clear; `None` where the record has none.
pub(super) fn event_id(fields: &Fields, taken: &[Raw<'_>]) -> Result<Option<String>, DeadReason> {
    let Some(slot) = fields.event_id else { return Ok(None) };
    if matches!(taken[slot], Raw::Absent) {
        return Ok(None);
    }
    let id = value::text(&taken[slot])?.ok_or(DeadReason::EventIdShape)?;
    if id.len() > EVENT_ID_BYTES_MAX || id.contains(char::is_control) {
        return Err(DeadReason::EventIdShape);
    }
    if !fields.event_id_public && person::named_in(&id) { Err(DeadReason::PersonalEventId) } else { Ok(Some(id.into_owned())) }
}

fn optional<'r>(slot: Option<usize>, taken: &'r [Raw<'_>]) -> Result<Option<Cow<'r, str>>, DeadReason> {
    slot.map_or(Ok(None), |slot| value::text(&taken[slot]))
}

fn secret(text: Cow<'_, str>) -> Secret<String> {
    Secret::new(text.into_owned())
}

fn secret_text(text: Cow<'_, str>) -> Zeroizing<String> {
    Zeroizing::new(text.into_owned())
}

/// 6 to 15 digits, or 4 to 15 letters and digits (20 bits, NIST SP 800-63B; 15 is WhatsApp's limit).
fn is_code(code: &str) -> bool {
    let digits = code.bytes().all(|byte| byte.is_ascii_digit());
    let least = if digits { 6 } else { 4 };
    (least..=15).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The shape of a tz database name. Whether it is one is asked where times are written.
fn is_zone(zone: &str) -> bool {
    zone.len() <= 64 && zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-/".contains(&byte))
}

/// 2, 32, 16 and 2 characters, and a `-` between each two.
const TRACEPARENT_BYTES: usize = 55;

/// `00-<32 hex>-<16 hex>-<2 hex>`, and no other version: what else a header holds is not handed on.
fn traceparent(headers: &[(&str, &[u8])]) -> Option<String> {
    let (_, value) = headers.iter().find(|(name, _)| *name == "traceparent")?;
    let value: &[u8; TRACEPARENT_BYTES] = (*value).try_into().ok()?;
    let fits = value.iter().enumerate().all(|(at, byte)| match at {
        2 | 35 | 52 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    String::from_utf8(value.to_vec()).ok().filter(|_| fits && value.starts_with(b"00"))
}
