//! Twilio's REST API: enters a form for an SMS or a call, leaves its answer and, later, callbacks to the URL that came with it.
//!
//! What is easily got wrong: one error code has many causes, and Twilio's JSON error body is not Meta's.

use super::twilio_checks::{self, Form, Refusal};
use super::webhooks::{self, Callback};
use super::{Channel, Line, Placed, Report, Taken, Word, World, server, voice};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use base64::Engine as _;
use serde_json::{Value, json};
use std::sync::Arc;

/// The HTTP status that goes with a code of Twilio's.
pub(super) const fn status_of(code: u32) -> u16 {
    match code {
        20_003 | 20_005 => 401,
        20_404 => 404,
        20_429 => 429,
        20_500 => 500,
        _ => 400,
    }
}

fn error(code: u32, status: u16, message: &str) -> Value {
    json!({"code": code, "message": message, "more_info": format!("https://www.twilio.com/docs/errors/{code}"), "status": status})
}

/// Account, credentials and content type, which both resources check alike.
fn form(world: &World, account: &str, headers: &HeaderMap, body: &[u8]) -> Result<Form, Refusal> {
    let settings = &world.settings.twilio;
    let refuse = |code, message: &str| Err(Refusal { code, message: message.into() });
    let expected = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", settings.api_key, settings.api_secret));
    let given = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
    if given.and_then(|it| it.strip_prefix("Basic ")) != Some(expected.as_str()) {
        return refuse(20_003, "Authenticate");
    }
    if account != settings.account_sid {
        return refuse(20_404, "The requested resource was not found");
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    if !kind.is_some_and(|it| it.starts_with("application/x-www-form-urlencoded")) {
        return refuse(20_415, "Unsupported media type");
    }
    Ok(Form::parse(body))
}

async fn refused(world: &World, channel: Channel, body: &[u8], refusal: Refusal) -> Response {
    let attempt_id = Form::parse(body).one("StatusCallback").and_then(twilio_checks::attempt_id);
    let status = if refusal.code == 20_415 { 415 } else { status_of(refusal.code) };
    let (time_ms, code) = (crate::clock::wall().millis(), refusal.code);
    let line = Line::Refused { time_ms, channel, attempt_id, status, code, message: refusal.message.clone() };
    if !world.append(line, None).await {
        return server::cut();
    }
    server::json(status, &error(refusal.code, status, &refusal.message))
}

pub(super) async fn messages(State(world): State<Arc<World>>, Path(account): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let sms = match form(&world, &account, &headers, &body).and_then(|form| twilio_checks::sms(&form)) {
        Ok(sms) => sms,
        Err(refusal) => return refused(&world, Channel::Sms, &body, refusal).await,
    };
    let attempt_id = sms.callback.as_deref().and_then(twilio_checks::attempt_id);
    let placed = Placed { channel: Channel::Sms, to: sms.to.clone(), attempt_id, template: None, text: sms.body.clone() };
    let Some(taken) = world.take(&placed).await else { return server::cut() };
    let message = Arc::new(Message { sid: format!("SM{}", world.id(&sms.to)), sms, attempt_id: placed.attempt_id });
    if taken.answer.accepts() {
        report_all(&world, &message, &taken).await;
    }
    let status = taken.answer.status(Channel::Sms);
    let Message { sid, sms, .. } = &*message;
    let uri = format!("/2010-04-01/Accounts/{account}/Messages/{sid}.json");
    let accepted = json!({"sid": sid, "account_sid": account, "status": "queued", "to": format!("+{}", sms.to), "from": sms.from, "body": sms.body,
        "num_segments": "1", "num_media": "0", "direction": "outbound-api", "api_version": "2010-04-01", "error_code": null, "error_message": null,
        "price": null, "price_unit": "USD", "messaging_service_sid": null, "uri": uri});
    server::answer(&world, &taken, status, &accepted, |code| error(code, status, "scripted")).await
}

/// An SMS that Twilio has accepted.
struct Message {
    sid: String,
    sms: twilio_checks::Sms,
    attempt_id: Option<String>,
}

/// Sends the receipts that come before the answer and waits for them; lets the others come in their time.
async fn report_all(world: &Arc<World>, message: &Arc<Message>, taken: &Taken) {
    for report in &taken.behaviour.receipts {
        let (world, message, report) = (world.clone(), message.clone(), report.clone());
        if report.before_answer {
            post(&world, &message, &report).await;
            continue;
        }
        let due = taken.accepted + world.scaled(world.settings.script.happens(&message.sms.to, &report) + report.lag);
        world.clone().tasks.spawn(async move {
            if world.pause(due.saturating_sub(world.elapsed())).await {
                post(&world, &message, &report).await;
            }
        });
    }
}

async fn post(world: &Arc<World>, message: &Message, report: &Report) {
    let Some(callback) = &message.sms.callback else { return };
    let code = match (report.word, report.code) {
        (Word::Failed, 0) => 30_003,
        (Word::Failed, code) => code,
        _ => 0,
    };
    // What the carrier reports is undelivered; what never left Twilio is failed.
    let word = match report.word {
        Word::Failed if matches!(code, 30_003..=30_008) => "undelivered",
        word => word.text(),
    };
    let (url, attempt_id) = correlated(callback, message.attempt_id.as_deref(), report.correlation.as_deref());
    for _ in 0..report.times {
        let mut parameters = vec![
            ("AccountSid", world.settings.twilio.account_sid.clone()),
            ("ApiVersion", "2010-04-01".into()),
            ("From", message.sms.from.clone().unwrap_or_default()),
            ("MessageSid", message.sid.clone()),
            ("MessageStatus", word.into()),
            ("SmsSid", message.sid.clone()),
            ("SmsStatus", word.into()),
            ("To", format!("+{}", message.sms.to)),
        ];
        match report.word {
            Word::Failed => parameters.push(("ErrorCode", code.to_string())),
            // Minutes and no zone, as the carrier wrote it; nobody may measure with it.
            Word::Delivered => parameters.push(("RawDlrDoneDate", "2611251030".into())),
            Word::Sent | Word::Read => {}
        }
        let receipt = report.word.text();
        let callback = Callback { url: &url, parameters, channel: Channel::Sms, attempt_id: attempt_id.as_deref(), receipt, code };
        webhooks::twilio(world, callback).await;
    }
}

/// The callback URL with another attempt id in it, or without one.
fn correlated(callback: &str, attempt_id: Option<&str>, instead: Option<&str>) -> (String, Option<String>) {
    let (Some(instead), Some(own)) = (instead, attempt_id) else { return (callback.to_owned(), attempt_id.map(str::to_owned)) };
    let encoded: String = form_urlencoded::byte_serialize(instead.as_bytes()).collect();
    let url = callback.replacen(&format!("a={own}"), &if instead.is_empty() { "b=".to_owned() } else { format!("a={encoded}") }, 1);
    (url, Some(instead.to_owned()).filter(|it| !it.is_empty()))
}

pub(super) async fn calls(State(world): State<Arc<World>>, Path(account): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let checked = form(&world, &account, &headers, &body).and_then(|form| twilio_checks::call(&form));
    let checked = checked.and_then(|call| match super::twiml::parse(&call.twiml) {
        Ok(document) => Ok((call, document)),
        // Twilio fails the call while it runs; refused here, so that nobody has to look for it.
        Err(fault) => Err(Refusal { code: 12_100, message: fault.to_string() }),
    });
    let (call, document) = match checked {
        Ok(checked) => checked,
        Err(refusal) => return refused(&world, Channel::Voice, &body, refusal).await,
    };
    let attempt_id = call.callback.as_deref().and_then(twilio_checks::attempt_id);
    let placed = Placed { channel: Channel::Voice, to: call.to.clone(), attempt_id: attempt_id.clone(), template: None, text: call.twiml.clone() };
    let Some(taken) = world.take(&placed).await else { return server::cut() };
    let sid = format!("CA{}", world.id(&call.to));
    let queue = if taken.answer.accepts() { voice::place(&world, &sid, attempt_id, &call, document, &taken) } else { std::time::Duration::ZERO };
    let status = taken.answer.status(Channel::Voice);
    let uri = format!("/2010-04-01/Accounts/{account}/Calls/{sid}.json");
    let accepted = json!({"sid": sid, "account_sid": account, "status": "queued", "to": format!("+{}", call.to), "from": call.from, "duration": null,
        "direction": "outbound-api", "answered_by": null, "api_version": "2010-04-01", "queue_time": queue.as_millis().to_string(), "price": null,
        "price_unit": "USD", "uri": uri});
    server::answer(&world, &taken, status, &accepted, |code| error(code, status, "scripted")).await
}
