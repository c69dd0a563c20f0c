//! From a dispatch to the request of its call: opens the seal, renders, masks. Text exists from here to the end of the call and nowhere else.

use super::ledger::Final;
use super::settings::Sender;
use crate::channel::{Request, Unfit, sms, voice, whatsapp};
use crate::delivery::{Outcome, Reason, Timestamp};
use crate::event::records::Dispatch;
use crate::observe;
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
    let rendered = render(dispatch, &payload, code.as_ref(), catalogue)?;
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

/// What the last scan stops, and each value that had to be shown as `***`, is counted.
fn render(dispatch: &Dispatch, payload: &Payload, code: Option<&Secret<String>>, catalogue: &Catalogue) -> Result<Rendered, Obstacle> {
    let mut unfit = Vec::new();
    let rendered = catalogue.render_noting(&dispatch.template, dispatch.channel, payload, code, &mut unfit);
    unfit.into_iter().for_each(observe::template::masked_unfit);
    rendered.map_err(|error| {
        observe::template::refused(error, &dispatch.template, dispatch.channel);
        Obstacle::Rejected(error.reason())
    })
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
