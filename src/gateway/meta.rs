//! `/webhooks/meta/<app>`: Meta's handshake (GET) and its webhooks (POST).

use super::body::{self, Whole};
use super::listen::Peer;
use super::verdict::Refusal;
use super::{Shared, twilio};
use crate::channel::{Attention, Receipts, WebhookError, signature, whatsapp};
use crate::clock;
use crate::delivery::Channel;
use crate::observe::gateway as metrics;
use crate::privacy::Secret;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use tracing::{error, warn};

/// One app's secrets.
pub(super) struct App {
    pub(super) signature: signature::Meta,
    pub(super) verify_tokens: Vec<Secret<String>>,
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/webhooks/meta/{app}", get(handshake).post(webhook))
}

/// Meta asks once, when the webhook is set up: the token must be ours, then the challenge goes back as it came, digits only.
async fn handshake(State(shared): State<Arc<Shared>>, Path(name): Path<String>, request: Request) -> Response {
    let Some(app) = shared.metas.get(&name) else { return refused(Refusal::Unknown) };
    let query = request.uri().query().unwrap_or("");
    let value =
        |name: &str| form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| zeroize::Zeroizing::new(value.into_owned()));
    let token = value("hub.verify_token").unwrap_or_default();
    let known = app
        .verify_tokens
        .iter()
        .fold(false, |known, ours| known | aws_lc_rs::constant_time::verify_slices_are_equal(ours.expose().as_bytes(), token.as_bytes()).is_ok());
    let challenge = value("hub.challenge").filter(|text| (1..=CHALLENGE_DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()));
    match challenge {
        Some(challenge) if known && value("hub.mode").is_some_and(|mode| mode.as_str() == "subscribe") => {
            metrics::webhook("meta", "handshake");
            ([(CONTENT_TYPE, "text/plain")], challenge.to_string()).into_response()
        }
        _ => refused(Refusal::Signature),
    }
}

async fn webhook(State(shared): State<Arc<Shared>>, Path(name): Path<String>, request: Request) -> Response {
    let began = clock::monotonic();
    let answer = match take(&shared, &name, request).await {
        Ok(result) => {
            metrics::webhook("meta", result);
            StatusCode::OK.into_response()
        }
        Err(refusal) => refused(refusal),
    };
    metrics::webhook_took("meta", clock::monotonic().saturating_sub(began));
    answer
}

fn refused(refusal: Refusal) -> Response {
    metrics::webhook("meta", refusal.word());
    refusal.into_response()
}

/// The order of design §7. Returns the metric's word.
async fn take(shared: &Shared, name: &str, request: Request<Body>) -> Result<&'static str, Refusal> {
    let app = shared.metas.get(name).ok_or(Refusal::Unknown)?;
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().copied();
    let body = body::read(shared, &parts.headers, body, shared.limits.meta_body_bytes_max, &shared.bodies).await?;
    check(shared, app, &parts.headers, &body, peer).await?;
    match whatsapp::receipts(&body.bytes) {
        Ok(receipts) => {
            shared.returns.write(Channel::WhatsApp, &receipts.reports).await?;
            if receipts.skipped.unreadable > 0 {
                keep(shared, name, "webhook_unreadable_status", &body).await?;
            }
            book(name, &receipts);
            Ok("accepted")
        }
        Err(error) => {
            let reason = match error {
                WebhookError::NotJson => "webhook_not_json",
                WebhookError::WrongShape { .. } => "webhook_wrong_shape",
            };
            keep(shared, name, reason, &body).await?;
            Ok("not_understood")
        }
    }
}

async fn keep(shared: &Shared, app: &str, reason: &'static str, body: &Whole) -> Result<(), Refusal> {
    warn!(app, reason, "A signed webhook was not understood, or not all of it; it is kept as a dead letter.");
    shared.returns.bury(&format!("/webhooks/meta/{app}"), reason, &body.bytes, &shared.sealer).await
}

async fn check(shared: &Shared, app: &App, headers: &HeaderMap, body: &Whole, peer: Option<Peer>) -> Result<(), Refusal> {
    twilio::slow_down(shared, peer).await;
    let signed = body::only(headers, &SIGNATURE).is_some_and(|header| app.signature.verify(header, &body.bytes));
    twilio::signed(shared, peer, signed)
}

/// Counts what brought no record, and says what a person must hear of.
fn book(app: &str, receipts: &Receipts) {
    twilio::book(Channel::WhatsApp, receipts);
    metrics::inbound(receipts.inbound);
    for code in &receipts.account_errors {
        let attention = whatsapp::errors::meaning(*code).attention;
        metrics::account_error();
        match attention {
            Attention::Page | Attention::FaultAndPage => error!(app, code, "Meta reports an error of the account: somebody must act."),
            Attention::None | Attention::Fault | Attention::Unlisted => warn!(app, code, "Meta reports an error of the account."),
        }
    }
}

static SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");
const CHALLENGE_DIGITS_MAX: usize = 64;
