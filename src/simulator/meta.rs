//! Meta's Cloud API: enters a send, leaves its answer and, later, webhooks.
//!
//! What is easily got wrong: an answer says nothing about the phone, and `timestamp` of a status is a string of seconds of when it *happened*.

use super::script::digest;
use super::webhooks::Mail;
use super::{Answer, Channel, Line, Placed, Report, Taken, Word, World, meta_checks, server, webhooks};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use base64::Engine as _;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// What Meta takes for the TTL of a utility template that names none (channels page 2.6).
const TTL_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The HTTP status that goes with a Graph code (channels page 3, last line).
pub(super) const fn status_of(code: u32) -> u16 {
    match code {
        0 | 190 => 401,
        10 | 131_005 | 131_031 | 368 | 130_497 => 403,
        132_001 => 404,
        131_000 | 131_016 | 131_045 | 131_057 => 500,
        2 | 133_004 => 503,
        _ => 400,
    }
}

/// Meta's word for a code. Not all of them: nobody may classify by it.
const fn title(code: u32) -> &'static str {
    match code {
        0 => "AuthException",
        190 => "Access token has expired",
        33 => "Unsupported post request. Object with ID does not exist",
        100 => "Invalid parameter",
        130_429 => "Rate limit hit",
        131_000 => "Something went wrong",
        131_008 => "Required parameter is missing",
        131_009 => "Parameter value is not valid",
        131_016 => "Service unavailable",
        131_021 => "Recipient cannot be sender",
        131_026 => "Message undeliverable",
        131_047 => "Re-engagement message",
        131_056 => "(Business Account, Consumer Account) pair rate limit hit",
        132_000 => "Number of parameters does not match the expected number of params",
        132_001 => "Template name does not exist in the translation",
        132_015 => "Template is paused",
        _ => "Error of the business account",
    }
}

fn error(code: u32, details: &str) -> Value {
    json!({"error": {"message": format!("(#{code}) {}", title(code)), "type": "OAuthException", "code": code,
        "error_data": {"messaging_product": "whatsapp", "details": details}, "fbtrace_id": "Asimulated0trace0id"}})
}

pub(super) async fn messages(
    State(world): State<Arc<World>>,
    Path((version, phone_number_id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let checked = check(&world, &version, &phone_number_id, &headers, &body);
    let placed = match checked {
        Ok(placed) => placed,
        Err(refusal) => return refused(&world, &body, refusal).await,
    };
    let Some(taken) = world.take(&placed).await else { return server::cut() };
    let message = Arc::new(message(&world, &placed));
    if taken.answer.accepts() {
        report_all(&world, &message, &taken, &placed).await;
    }
    let status = taken.answer.status(Channel::Whatsapp);
    let message_status = if taken.answer == Answer::Held { "held_for_quality_assessment" } else { "accepted" };
    let accepted = json!({"messaging_product": "whatsapp", "contacts": [{"input": placed.to, "wa_id": message.wa_id}],
        "messages": [{"id": message.wamid, "message_status": message_status}]});
    server::answer(&world, &taken, status, &accepted, |code| error(code, "scripted")).await
}

fn check(world: &World, version: &str, phone_number_id: &str, headers: &HeaderMap, body: &[u8]) -> Result<Placed, meta_checks::Refusal> {
    let settings = &world.settings.meta;
    let refuse = |code, details: &str| Err(meta_checks::Refusal { code, details: details.into() });
    let token = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
    match token.map(|it| it.strip_prefix("Bearer ")) {
        None => return refuse(0, "no access token"),
        Some(token) if token != Some(settings.access_token.as_str()) => return refuse(190, "not this account's access token"),
        Some(_) => {}
    }
    let numbers = version.strip_prefix('v').and_then(|it| it.split_once('.'));
    if !numbers.is_some_and(|(major, minor)| major.parse::<u8>().is_ok() && minor.parse::<u8>().is_ok()) {
        return refuse(100, "unknown path components: the version");
    }
    if phone_number_id != settings.phone_number_id {
        return refuse(33, "no such phone number id");
    }
    if !headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).is_some_and(|it| it.starts_with("application/json")) {
        return refuse(100, "the content type must be application/json");
    }
    meta_checks::check(body, &settings.display_phone_number, &settings.templates)
}

async fn refused(world: &World, body: &[u8], refusal: meta_checks::Refusal) -> Response {
    let root: Option<Value> = serde_json::from_slice(body).ok();
    let attempt_id = root.and_then(|it| it.get("biz_opaque_callback_data")?.as_str().map(str::to_owned));
    let status = status_of(refusal.code);
    let (time_ms, code) = (crate::clock::wall().millis(), refusal.code);
    let line = Line::Refused { time_ms, channel: Channel::Whatsapp, attempt_id, status, code, message: refusal.details.clone() };
    if !world.append(line, None).await {
        return server::cut();
    }
    server::json(status, &error(refusal.code, &refusal.details))
}

/// A message that Meta has accepted, as its webhooks speak of it.
struct Message {
    wamid: String,
    wa_id: String,
    attempt_id: Option<String>,
}

fn message(world: &World, placed: &Placed) -> Message {
    let to = &placed.to;
    // A real wamid contains the phone number too, in base64.
    let bytes = [b"\x1d\x0d", to.as_bytes(), &hex::decode(world.id(to)).expect("an id is hex")].concat();
    let wamid = format!("wamid.{}", base64::engine::general_purpose::STANDARD.encode(bytes));
    let without_nine = world.settings.script.phone(to).wa_id_without_nine && to.len() == 13 && to.starts_with("55");
    let wa_id = if without_nine { format!("{}{}", &to[..4], &to[5..]) } else { to.clone() };
    Message { wamid, wa_id, attempt_id: placed.attempt_id.clone() }
}

/// Sends the receipts that come before the answer and waits for them; lets the others come in their time.
async fn report_all(world: &Arc<World>, message: &Arc<Message>, taken: &Taken, placed: &Placed) {
    let template = placed.template.as_ref().and_then(|name| world.settings.meta.templates.get(name));
    let ttl = template.map_or(TTL_DEFAULT, |it| it.ttl);
    for report in &taken.behaviour.receipts {
        let happens = world.settings.script.happens(&placed.to, report);
        let dropped = happens > ttl && matches!(report.word, Word::Delivered | Word::Read);
        if dropped || matches!(taken.answer, Answer::Held) {
            continue;
        }
        let (world, message, report) = (world.clone(), message.clone(), report.clone());
        if report.before_answer {
            post(&world, &message, &report).await;
            continue;
        }
        let due = taken.accepted + world.scaled(happens + report.lag);
        world.clone().tasks.spawn(async move {
            if world.pause(due.saturating_sub(world.elapsed())).await {
                post(&world, &message, &report).await;
            }
        });
    }
}

async fn post(world: &Arc<World>, message: &Message, report: &Report) {
    let lag_ms = i64::try_from(world.scaled(report.lag).as_millis()).unwrap_or(0);
    let happened = (crate::clock::wall().millis() - lag_ms) / 1_000;
    let attempt_id = match &report.correlation {
        Some(instead) => Some(instead.clone()).filter(|it| !it.is_empty()),
        None => message.attempt_id.clone(),
    };
    let status = status(message, attempt_id.as_deref(), report, happened);
    for _ in 0..report.times {
        let (done, answered) = tokio::sync::oneshot::channel();
        let contact = (report.word != Word::Failed).then(|| json!({"wa_id": message.wa_id, "user_id": bsuid(&message.wa_id)}));
        let mail = Mail { status: status.clone(), contact, attempt_id: attempt_id.clone(), word: report.word, code: code_of(report), done };
        if world.mail.send(mail).await.is_err() {
            return;
        }
        if report.before_answer {
            // A gateway that does not answer must not hold the call for ever; Meta goes on repeating meanwhile.
            drop(tokio::time::timeout(webhooks::ANSWER_MAX, answered).await);
        }
    }
}

fn code_of(report: &Report) -> u32 {
    match (report.word, report.code) {
        (Word::Failed, 0) => 131_026,
        (Word::Failed, code) => code,
        _ => 0,
    }
}

fn status(message: &Message, attempt_id: Option<&str>, report: &Report, happened: i64) -> Value {
    let mut status = json!({"id": message.wamid, "status": report.word.text(), "timestamp": happened.to_string(), "recipient_id": message.wa_id,
        "recipient_user_id": bsuid(&message.wa_id)});
    if let Some(attempt_id) = attempt_id {
        status["biz_opaque_callback_data"] = attempt_id.into();
    }
    if report.word == Word::Failed {
        let code = code_of(report);
        status["errors"] = json!([{"code": code, "title": title(code), "message": title(code),
            "error_data": {"details": "Não foi possível entregar a mensagem."},
            "href": "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/"}]);
    } else {
        status["pricing"] = json!({"billable": true, "pricing_model": "PMP", "type": "regular", "category": "utility"});
    }
    status
}

/// A business-scoped user id: country, dot, digits.
fn bsuid(wa_id: &str) -> String {
    let bytes = digest(&[b"bsuid", wa_id.as_bytes()]);
    format!("BR.{}", u64::from_be_bytes(bytes[..8].try_into().expect("a digest has 32 bytes")))
}
