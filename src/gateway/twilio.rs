//! `/webhooks/twilio/<account>/sms` and `/voice`: status callbacks, and the keypress that is answered with a code.
//!
//! A code is opened for one answer only: after the signature, after its receipt is durable, and before its expiry.

use super::Shared;
use super::body;
use super::listen::Peer;
use super::verdict::Refusal;
use crate::channel::signature::{self, TwilioHeaders};
use crate::channel::twilio::{FRAGMENT, Form, errors};
use crate::channel::voice::{self, CarriedCode, Heard};
use crate::channel::{Attention, Receipts, sms, whatsapp};
use crate::clock;
use crate::delivery::{AttemptId, Channel, Receipt, Timestamp};
use crate::observe::gateway as metrics;
use crate::privacy::{KeyError, Purpose, SealError, Secret};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use std::sync::Arc;
use tracing::{error, warn};
use zeroize::Zeroizing;

/// One account's tokens, and the voice of its calls.
pub(super) struct Account {
    pub(super) signature: signature::Twilio,
    pub(super) voice: String,
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/webhooks/twilio/{account}/sms", post(sms)).route("/webhooks/twilio/{account}/voice", post(voice))
}

async fn sms(State(shared): State<Arc<Shared>>, Path(name): Path<String>, request: Request) -> Response {
    answered("twilio_sms", take_sms(&shared, &name, request)).await
}

async fn voice(State(shared): State<Arc<Shared>>, Path(name): Path<String>, request: Request) -> Response {
    answered("twilio_voice", take_voice(&shared, &name, request)).await
}

async fn answered(provider: &'static str, taking: impl Future<Output = Result<Response, Refusal>>) -> Response {
    let began = clock::monotonic();
    let taken = taking.await;
    metrics::webhook(provider, taken.as_ref().map_or_else(|refusal| refusal.word(), |_| "accepted"));
    metrics::webhook_took(provider, clock::monotonic().saturating_sub(began));
    taken.unwrap_or_else(Refusal::into_response)
}

async fn take_sms(shared: &Shared, name: &str, request: Request) -> Result<Response, Refusal> {
    let (_, query, form) = signed_form(shared, name, request).await?;
    let receipts = sms::receipts(&query, &form);
    shared.returns.write(Channel::Sms, &receipts.reports).await?;
    book(Channel::Sms, &receipts);
    Ok(StatusCode::OK.into_response())
}

async fn take_voice(shared: &Shared, name: &str, request: Request) -> Result<Response, Refusal> {
    let (account, query, form) = signed_form(shared, name, request).await?;
    let (receipts, mut heard) = voice::receipts(&query, &form);
    // Opened before the keypress counts as a delivery: whose code cannot be said has not been told it.
    let code = match &mut heard {
        Heard::Confirmed { attempt_id: Some(attempt_id), code } => match code.take() {
            Some(code) => Some(open(shared, attempt_id, code).await?),
            None => None,
        },
        _ => None,
    };
    let over = match &code {
        Some(Carried::Broken | Carried::Over) => true,
        Some(Carried::Open { expiry, .. }) => shared.returns.now() >= *expiry,
        None => false,
    };
    if over {
        let now = shared.returns.now();
        return Ok(script(say(code, now, &account.voice)));
    }
    let written = shared.returns.write(Channel::Voice, &receipts.reports).await?;
    book(Channel::Voice, &receipts);
    match (heard, written) {
        (Heard::Progress, _) => Ok(StatusCode::OK.into_response()),
        (Heard::Confirmed { attempt_id: Some(_), .. }, Some(now)) => Ok(script(say(code, now, &account.voice))),
        // A call that is not ours gets no code.
        (Heard::OtherKey | Heard::Confirmed { .. }, _) => Ok(script(Zeroizing::new(voice::HANG_UP.to_owned()))),
    }
}

/// The order of design §7, up to the form: its fields are part of what is signed. Returns the URL's query beside it.
async fn signed_form<'a>(shared: &'a Shared, name: &str, request: Request<Body>) -> Result<(&'a Account, Zeroizing<String>, Form), Refusal> {
    let account = shared.twilios.get(name).ok_or(Refusal::Unknown)?;
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().copied();
    let body = body::read(shared, &parts.headers, body, shared.limits.body_bytes_max, &shared.forms).await?;
    let form = Form::read(&body.bytes).map_err(|_| Refusal::Broken)?;
    let path_and_query = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let url = format!("{}{path_and_query}", shared.public_base_url);
    slow_down(shared, peer).await;
    let settings = parts.headers.contains_key(&SETTINGS);
    let headers = match (body::only(&parts.headers, &SIGNATURE), body::only(&parts.headers, &SETTINGS)) {
        (Some(signature), None) if !settings => Some(TwilioHeaders { signature, settings: None }),
        (Some(signature), Some(settings)) => Some(TwilioHeaders { signature, settings: Some(settings) }),
        _ => None,
    };
    signed(shared, peer, headers.is_some_and(|headers| account.signature.verify(headers, &url, FRAGMENT, form.fields())))?;
    Ok((account, Zeroizing::new(parts.uri.query().unwrap_or("").to_owned()), form))
}

/// A code that a call carries.
enum Carried {
    Open {
        code: Secret<String>,
        expiry: Timestamp,
    },
    /// Its key is destroyed: its time is over, or its customer was forgotten.
    Over,
    /// It was not sealed for this call.
    Broken,
}

/// Opens it. While the keys are away nothing is taken, and Twilio comes again.
async fn open(shared: &Shared, attempt_id: &AttemptId, CarriedCode { customer, expiry, sealed }: CarriedCode) -> Result<Carried, Refusal> {
    let (sealer, message_id) = (shared.sealer.clone(), attempt_id.message_id);
    // The key service may read a file or ask another machine.
    let opening = tokio::task::spawn_blocking(move || sealer.open(Purpose::Code, customer, message_id, expiry, &sealed));
    let opened = tokio::time::timeout(super::KEYS_DEADLINE, opening).await.map(|opened| opened.expect("opening does not panic"));
    match opened {
        Ok(Ok(code)) => match std::str::from_utf8(code.expose()) {
            Ok(code) => Ok(Carried::Open { code: Secret::new(code.to_owned()), expiry }),
            Err(_) => Ok(broken()),
        },
        Ok(Err(SealError::Key(KeyError::Gone))) => Ok(Carried::Over),
        Ok(Err(SealError::Broken | SealError::TooLong)) => Ok(broken()),
        Ok(Err(SealError::Key(KeyError::Unavailable))) | Err(_) => {
            metrics::spoken_code("unavailable");
            Err(Refusal::KeysAway)
        }
    }
}

fn broken() -> Carried {
    metrics::spoken_code("broken");
    Carried::Broken
}

/// The second script of a call. `now` is the append time of the keypress, Kafka time: that is what an expiry is compared with.
fn say(code: Option<Carried>, now: Timestamp, voice: &str) -> Zeroizing<String> {
    match code {
        Some(Carried::Open { code, expiry }) if now < expiry => {
            metrics::spoken_code("said");
            voice::say_code(&code, voice)
        }
        Some(Carried::Open { .. } | Carried::Over) => {
            metrics::spoken_code("expired");
            voice::say_expired(voice)
        }
        Some(Carried::Broken) => voice::say_unavailable(voice),
        None => voice::say_thanks(voice),
    }
}

/// A script as an answer. No cache may keep it, and its memory is cleared when it is sent.
fn script(text: Zeroizing<String>) -> Response {
    struct Cleared(Zeroizing<String>);
    impl AsRef<[u8]> for Cleared {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    let headers = [(CONTENT_TYPE, "text/xml; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    (headers, Body::from(Bytes::from_owner(Cleared(text)))).into_response()
}

/// Waits where the address has sent many bad signatures.
pub(super) async fn slow_down(shared: &Shared, peer: Option<Peer>) {
    if let Some(Peer(address)) = peer {
        let pause = shared.strangers.pause(address, clock::monotonic());
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Books a bad signature under its address.
pub(super) fn signed(shared: &Shared, peer: Option<Peer>, signed: bool) -> Result<(), Refusal> {
    if signed {
        return Ok(());
    }
    if let Some(Peer(address)) = peer {
        shared.strangers.book(address, clock::monotonic());
    }
    Err(Refusal::Signature)
}

/// Counts what brought no record, and failures whose code our tables do not know.
pub(super) fn book(channel: Channel, receipts: &Receipts) {
    for report in receipts.reports.iter().filter(|report| report.receipt == Receipt::Failed && report.code != 0) {
        let meaning = match channel {
            Channel::WhatsApp => whatsapp::errors::meaning(report.code),
            Channel::Sms | Channel::Voice => errors::meaning(report.code),
        };
        failed(channel, report.code, meaning.attention);
    }
    let skipped = receipts.skipped;
    metrics::skipped(channel, "uncorrelated", skipped.uncorrelated);
    metrics::skipped(channel, "foreign", skipped.foreign);
    metrics::skipped(channel, "word", skipped.word);
    metrics::skipped(channel, "not_final", skipped.not_final);
    metrics::skipped(channel, "unreadable", skipped.unreadable);
}

/// Says what a person must hear of. A SIP response (three digits) is no code of Twilio's.
fn failed(channel: Channel, code: u32, attention: Attention) {
    let channel_word = channel.word();
    match attention {
        Attention::Page | Attention::FaultAndPage => error!(channel = channel_word, code, "A receipt's failure needs a person."),
        Attention::Unlisted if code > SIP_RESPONSE_MAX => {
            metrics::unlisted_code(channel);
            warn!(channel = channel_word, code, "A receipt's failure has a code that our table does not know.");
        }
        Attention::None | Attention::Fault | Attention::Unlisted => {}
    }
}

const SIP_RESPONSE_MAX: u32 = 699;
static SIGNATURE: HeaderName = HeaderName::from_static("x-twilio-signature");
static SETTINGS: HeaderName = HeaderName::from_static("x-twilio-webhooks-signature-settings");
