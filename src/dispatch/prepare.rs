//! From a dispatch to the request of its call: opens the seal, renders, masks. Text exists from here to the end of the call and nowhere else.

use super::ledger::Final;
use super::settings::Sender;
use crate::channel::{Request, Unfit, sms, voice, whatsapp};
use crate::delivery::{Outcome, Reason, Timestamp};
use crate::event::records::Dispatch;
use crate::privacy::{KeyError, Payload, Purpose, SealError, Sealer, Secret};
use crate::template::{Catalogue, Rendered};
use std::time::Duration;

/// Why there is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It will never be sent: the outcome is *rejected*.
    Rejected(Reason),
    /// The key service does not answer now: worth another try until `not_after`.
    KeysAway,
}

impl Obstacle {
    /// The outcome when no more tries are left.
    pub fn end(self) -> Final {
        match self {
            Self::Rejected(reason) => Final::plain(Outcome::Rejected, reason),
            Self::KeysAway => Final::plain(Outcome::Unavailable, Reason::Unavailable),
        }
    }
}

/// Makes the request. Blocks: the key service may read a disk or ask a network. `now` is Kafka time.
pub fn request(dispatch: &Dispatch, now: Timestamp, sealer: &Sealer, catalogue: &Catalogue, sender: &Sender) -> Result<Request, Obstacle> {
    let payload = open(sealer, dispatch, Purpose::Params, &dispatch.sealed)?;
    let payload = Payload::read(payload.expose()).ok_or(Obstacle::Rejected(Reason::Template))?;
    let to = payload.phone.as_ref().ok_or(Obstacle::Rejected(Reason::Unreachable))?;
    let code = match &dispatch.sealed_code {
        Some(sealed) => Some(code(&open(sealer, dispatch, Purpose::Code, sealed)?)?),
        None => None,
    };
    let rendered = catalogue.render(&dispatch.template, dispatch.channel, &payload, code.as_ref()).map_err(|error| Obstacle::Rejected(error.reason()))?;
    let attempt = &dispatch.attempt_id;
    let request = match (&rendered, sender) {
        (Rendered::WhatsApp(template), Sender::WhatsApp(sender)) => whatsapp::request(template, to, attempt, sender),
        (Rendered::Sms(text), Sender::Sms(sender)) => sms::request(text, to, attempt, validity(dispatch, now), sender),
        (Rendered::Voice(spoken), Sender::Voice(sender)) => {
            let sealed = dispatch.sealed_code.as_ref().filter(|_| spoken.code_follows);
            let carried = sealed.map(|sealed| voice::CarriedCode { customer: dispatch.customer, expiry: dispatch.expiry, sealed: sealed.clone() });
            voice::request(spoken, to, attempt, &voice::keypress_url(attempt, carried.as_ref(), &sender.callbacks), sender)
        }
        (Rendered::WhatsApp(_) | Rendered::Sms(_) | Rendered::Voice(_), _) => return Err(Obstacle::Rejected(Reason::Template)),
    };
    request.map_err(|Unfit { reason, .. }| Obstacle::Rejected(reason))
}

fn open(sealer: &Sealer, dispatch: &Dispatch, purpose: Purpose, sealed: &[u8]) -> Result<Secret<Vec<u8>>, Obstacle> {
    sealer.open(purpose, dispatch.customer, dispatch.attempt_id.message_id, dispatch.expiry, sealed).map_err(|error| match error {
        SealError::Key(KeyError::Gone) => Obstacle::Rejected(Reason::Erased),
        SealError::Key(KeyError::Unavailable) => Obstacle::KeysAway,
        SealError::Broken | SealError::TooLong => Obstacle::Rejected(Reason::Template),
    })
}

fn code(opened: &Secret<Vec<u8>>) -> Result<Secret<String>, Obstacle> {
    let text = std::str::from_utf8(opened.expose()).map_err(|_| Obstacle::Rejected(Reason::CodeShape))?;
    Ok(Secret::new(text.to_owned()))
}

/// The provider drops it when its wait is over, or its life.
fn validity(dispatch: &Dispatch, now: Timestamp) -> Duration {
    Duration::from_millis(u64::from(dispatch.wait_ms)).min(dispatch.expiry.since(now))
}
