//! Outcomes and receipts by hand: a record of the receipts topic enters, and leaves where it is one of these two in the newest schema and nothing about it is odd.
//!
//! Easily got wrong: `None` is no verdict. Signs of life, other versions, other kinds and whatever is cut off or garbled go to serde, which knows what is wrong with
//! them; what is read here must be what serde reads. The order of the lines is the order of the schema's fields.

use super::Returned;
use super::datum::Reader;
use super::symbols::{OUTCOMES, RECEIPTS};
use crate::delivery::{Attempt, AttemptId, MessageId, Reason, Timestamp};

/// `C3 01` and the fingerprint of `schemas/returned.avsc`.
const HEADER: [u8; 10] = [0xC3, 0x01, 0x35, 0xA7, 0xFC, 0xD3, 0xA9, 0xEC, 0x7F, 0xEA];

/// Reads an outcome or a receipt; `None` for everything that serde should look at. The whole slice must be one record. Allocates nothing.
pub(super) fn returned(bytes: &[u8]) -> Option<Returned> {
    let mut body = Reader::new(bytes.strip_prefix(&HEADER)?);
    let returned = match body.long()? {
        0 => outcome(&mut body)?,
        1 => receipt(&mut body)?,
        _ => return None,
    };
    body.is_empty().then_some(returned)
}

fn outcome(body: &mut Reader<'_>) -> Option<Returned> {
    let attempt_id = attempt_id(body)?;
    let outcome = body.symbol(&OUTCOMES)?;
    let (reason, code) = (reason(body)?, code(body)?);
    let provider_id = body.option(Reader::fixed16)?;
    Some(Returned::Outcome { attempt_id, outcome, reason, code, provider_id })
}

fn receipt(body: &mut Reader<'_>) -> Option<Returned> {
    let attempt_id = attempt_id(body)?;
    let receipt = body.symbol(&RECEIPTS)?;
    let (reason, code) = (reason(body)?, code(body)?);
    let provider_time = body.option(Reader::long)?.map(Timestamp::from_millis);
    Some(Returned::Receipt { attempt_id, receipt, reason, code, provider_time })
}

fn attempt_id(body: &mut Reader<'_>) -> Option<AttemptId> {
    let message_id = MessageId::from_bytes(body.fixed16()?);
    let step = u8::try_from(body.long()?).ok()?;
    let n = u16::try_from(body.long()?).ok()?;
    Some(AttemptId { message_id, attempt: Attempt { step, n } })
}

fn reason(body: &mut Reader<'_>) -> Option<Reason> {
    Reason::from_word(std::str::from_utf8(body.bytes()?).ok()?)
}

fn code(body: &mut Reader<'_>) -> Option<u32> {
    u32::try_from(body.long()?).ok()
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
