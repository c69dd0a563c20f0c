//! The body of a WhatsApp webhook becomes receipts.
//!
//! One body mixes accounts, partitions and kinds, in no order and with repeats; every field but `status` may be missing. Receipts of another system that
//! writes from the same number are counted and left out.

use super::errors;
use crate::channel::loose::{Length, List, Object, Scalar};
use crate::channel::{Receipts, Report, WebhookError};
use crate::delivery::{Reason, Receipt, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Reads the body of a WhatsApp webhook and returns its receipts, in the order in which Meta wrote them.
///
/// - `body`: JSON, the raw bytes whose signature the gateway has checked.
/// - Returns one report for each element of `entry[].changes[].value.statuses[]` with our correlation data; none is a valid answer. Meta's `timestamp` is a
///   *string of seconds*, ours is milliseconds. `read` and `played` are read. The rest is counted in `skipped`; `messages[]` in `inbound`, unread;
///   `value.errors[]` by code in `account_errors`. Other fields than `messages` (templates, quality) bring nothing here. An element that cannot be read (half of a
///   surrogate pair in another system's text, a key twice) is counted in `skipped.unreadable`, and costs its neighbours nothing.
/// - Errors: `NotJson`, `WrongShape { field: "entry" }` where the body is no notification of a WhatsApp account; both final. Never panics, keeps nothing of a
///   customer's text.
/// - Source: Meta Cloud API, webhook field `messages`, object `statuses` (May 2026).
pub fn receipts(body: &[u8]) -> Result<Receipts, WebhookError> {
    match parse::<Object<Status>>(body) {
        Ok(body) => collect(body, |receipts, status| add(receipts, status.get())),
        // Each by itself, which takes twice as long: only where it must.
        Err(_) => collect(parse::<&RawValue>(body)?, |receipts, status| match serde_json::from_str::<Object<Status>>(status.get()) {
            Ok(status) => add(receipts, status.get()),
            Err(_) => receipts.skipped.unreadable += 1,
        }),
    }
}

fn parse<'a, S: Deserialize<'a>>(body: &'a [u8]) -> Result<Object<Body<S>>, WebhookError> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => WebhookError::WrongShape { field: "entry" },
        serde_json::error::Category::Io | serde_json::error::Category::Syntax | serde_json::error::Category::Eof => WebhookError::NotJson,
    })
}

fn collect<S>(body: Object<Body<S>>, add: impl Fn(&mut Receipts, &S)) -> Result<Receipts, WebhookError> {
    let body = body.0.filter(|body| body.object.text() == Some("whatsapp_business_account"));
    let entries = body.and_then(|body| body.entry).ok_or(WebhookError::WrongShape { field: "entry" })?;
    let mut receipts = Receipts::default();
    let changes = entries.0.iter().filter_map(Object::get).flat_map(|entry| entry.changes.0.iter().filter_map(Object::get));
    for value in changes.filter(|change| change.field.text() == Some("messages")).filter_map(|change| change.value.get()) {
        receipts.inbound = receipts.inbound.saturating_add(value.messages.0);
        receipts.account_errors.extend(value.errors.0.iter().filter_map(Object::get).filter_map(|error| error.code.code()));
        for status in &value.statuses.0 {
            add(&mut receipts, status);
        }
    }
    Ok(receipts)
}

fn add(receipts: &mut Receipts, status: Option<&Status>) {
    let Some(status) = status else {
        receipts.skipped.uncorrelated += 1;
        return;
    };
    let receipt = match status.status.text() {
        Some("sent") => Receipt::Sent,
        Some("delivered") => Receipt::Delivered,
        Some("read" | "played") => Receipt::Read,
        Some("failed") => Receipt::Failed,
        _ => {
            receipts.skipped.word += 1;
            return;
        }
    };
    let (mut reason, mut code) = (Reason::None, 0);
    if receipt == Receipt::Failed {
        code = status.errors.0.iter().filter_map(Object::get).find_map(|error| error.code.code()).unwrap_or(0);
        let meaning = errors::meaning(code);
        if code != 0 && !meaning.ends {
            receipts.skipped.not_final += 1;
            return;
        }
        reason = if code == 0 { Reason::Failed } else { meaning.receipt_reason() };
    }
    let provider_time = status.timestamp.number().and_then(|secs| i64::try_from(secs).ok()?.checked_mul(1_000)).map(Timestamp::from_millis);
    receipts.add(status.biz_opaque_callback_data.text(), |attempt_id| Report { attempt_id, receipt, reason, code, provider_time });
}

/// `S`: what is read of each status.
#[derive(Deserialize)]
struct Body<S> {
    #[serde(default)]
    object: Scalar,
    entry: Option<List<Object<Entry<S>>>>,
}

#[derive(Deserialize)]
#[serde(bound = "S: Deserialize<'de>")]
struct Entry<S> {
    #[serde(default)]
    changes: List<Object<Change<S>>>,
}

#[derive(Deserialize)]
#[serde(bound = "S: Deserialize<'de>")]
struct Change<S> {
    #[serde(default)]
    field: Scalar,
    #[serde(default)]
    value: Object<Value<S>>,
}

#[derive(Deserialize)]
#[serde(bound = "S: Deserialize<'de>")]
struct Value<S> {
    #[serde(default)]
    statuses: List<S>,
    #[serde(default)]
    messages: Length,
    #[serde(default)]
    errors: List<Object<Error>>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    status: Scalar,
    #[serde(default)]
    timestamp: Scalar,
    #[serde(default)]
    biz_opaque_callback_data: Scalar,
    #[serde(default)]
    errors: List<Object<Error>>,
}

#[derive(Deserialize)]
struct Error {
    #[serde(default)]
    code: Scalar,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Skipped;
    use crate::channel::tests::attempt;
    use proptest::prelude::*;

    fn webhook(value: &str) -> String {
        format!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"id":"102290129340398","changes":[{{"field":"messages","value":{{"messaging_product":"whatsapp",
            "metadata":{{"display_phone_number":"551155550000","phone_number_id":"106540352242922"}},{value}}}}}]}}]}}"#
        )
    }

    fn status(word: &str, more: &str) -> String {
        format!(
            r#"{{"id":"wamid.HBgMTEST","status":"{word}","timestamp":"1750857384","recipient_id":"5511999990001","recipient_user_id":"BR.1",
            "biz_opaque_callback_data":"{}","pricing":{{"billable":true,"pricing_model":"PMP","category":"utility"}}{more}}}"#,
            attempt()
        )
    }

    fn read(value: &str) -> Receipts {
        receipts(webhook(value).as_bytes()).unwrap()
    }

    #[test]
    fn each_status_word_becomes_its_receipt_in_order() {
        let list: Vec<String> = ["read", "sent", "delivered", "played", "sent"].iter().map(|word| status(word, "")).collect();
        let receipts = read(&format!(r#""contacts":[{{"wa_id":"5511999990001"}}],"statuses":[{}]"#, list.join(",")));
        let words: Vec<Receipt> = receipts.reports.iter().map(|report| report.receipt).collect();
        assert_eq!(words, [Receipt::Read, Receipt::Sent, Receipt::Delivered, Receipt::Read, Receipt::Sent]);
        let report = Report {
            attempt_id: attempt(),
            receipt: Receipt::Read,
            reason: Reason::None,
            code: 0,
            provider_time: Some(Timestamp::from_millis(1_750_857_384_000)),
        };
        assert_eq!(receipts.reports[0], report);
    }

    #[test]
    fn a_failure_carries_its_code_and_our_reason() {
        let failed = |code: &str| {
            let more = format!(r#","errors":[{{"code":{code},"title":"Message undeliverable","error_data":{{"details":"…"}}}}]"#);
            let receipts = read(&format!(r#""statuses":[{}]"#, status("failed", &more)));
            receipts.reports.first().map(|report| (report.receipt, report.reason, report.code)).ok_or(receipts.skipped.not_final)
        };
        assert_eq!(failed("131026"), Ok((Receipt::Failed, Reason::Unreachable, 131_026)));
        assert_eq!(failed("137000"), Ok((Receipt::Failed, Reason::IdentityChanged, 137_000)));
        assert_eq!(failed("131016"), Ok((Receipt::Failed, Reason::Failed, 131_016)), "in a receipt, too, it is final");
        assert_eq!(failed("131052"), Err(1), "about the customer's own media: says nothing about ours");
        assert_eq!(failed("\"?\""), Ok((Receipt::Failed, Reason::Failed, 0)));
    }

    #[test]
    fn what_is_not_ours_is_counted_and_costs_its_neighbours_nothing() {
        let ours = status("sent", "");
        let foreign = ours.replace(&attempt().to_string(), "order-4711");
        let none = r#"{"id":"wamid.X","status":"sent"}"#;
        let statuses = format!(
            r#""statuses":[{foreign},{none},7,null,{{"status":5}},{},{{"status":"delivered","timestamp":{{}},"biz_opaque_callback_data":["x"]}},{ours}]"#,
            status("warned", "")
        );
        let receipts = read(&statuses);
        assert_eq!(receipts.reports.len(), 1);
        assert_eq!(receipts.skipped, Skipped { uncorrelated: 4, foreign: 1, word: 2, not_final: 0, unreadable: 0 });
    }

    #[test]
    fn a_status_that_cannot_be_read_costs_its_neighbours_nothing() {
        let ours = status("sent", "");
        let half_a_pair = ours.replace(&attempt().to_string(), r"order \ud83d");
        let key_twice = status("sent", r#","status":"delivered""#);
        for odd in [half_a_pair, key_twice] {
            let receipts = read(&format!(r#""statuses":[{odd},{ours},7,{}],"messages":[{{"type":"text"}}]"#, status("warned", "")));
            assert_eq!((receipts.reports.len(), receipts.inbound), (1, 1), "{odd}");
            assert_eq!(receipts.skipped, Skipped { uncorrelated: 1, word: 1, unreadable: 1, ..Skipped::default() }, "{odd}");
        }
    }

    #[test]
    fn inbound_messages_are_counted_and_account_errors_listed() {
        let receipts = read(
            r#""messages":[{"from":"5511999990001","id":"wamid.IN","type":"text","text":{"body":"oi"}},{"type":"unsupported"}],
               "errors":[{"code":130429,"title":"Rate limit hit"},{"title":"none"}]"#,
        );
        assert_eq!((receipts.inbound, receipts.account_errors.as_slice(), receipts.reports.len()), (2, [130_429].as_slice(), 0));
        let other = webhook(r#""event":"PAUSED""#).replace(r#""field":"messages""#, r#""field":"message_template_status_update""#);
        assert_eq!(receipts_of(&other), Ok(Receipts::default()));
    }

    fn receipts_of(body: &str) -> Result<Receipts, WebhookError> {
        receipts(body.as_bytes())
    }

    #[test]
    fn a_body_that_is_no_notification_is_refused_without_quoting_it() {
        let whole = webhook(r#""statuses":[]"#);
        for end in [0, 1, 10, whole.len() - 1] {
            assert_eq!(receipts_of(&whole[..end]), Err(WebhookError::NotJson), "{end}");
        }
        assert_eq!(receipts_of(&format!("{whole}x")), Err(WebhookError::NotJson));
        for body in ["[]", "7", r#""493817""#, "{}", r#"{"object":"page","entry":[]}"#, r#"{"object":"whatsapp_business_account"}"#] {
            assert_eq!(receipts_of(body), Err(WebhookError::WrongShape { field: "entry" }), "{body}");
        }
        assert_eq!(receipts_of(&"[".repeat(100_000)), Err(WebhookError::NotJson), "deep nesting is no stack overflow");
        assert!(receipts_of(&webhook(&format!(r#""statuses":{}"#, "[".repeat(100_000)))).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = receipts(&body);
        }

        #[test]
        fn any_change_of_a_few_bytes_never_makes_more_receipts(at in 0_usize..900, bytes in proptest::collection::vec(any::<u8>(), 1..4)) {
            let mut body = webhook(&format!(r#""statuses":[{},{}]"#, status("sent", ""), status("failed", r#","errors":[{"code":131026}]"#))).into_bytes();
            for (place, byte) in body.iter_mut().skip(at).zip(bytes) {
                *place = byte;
            }
            if let Ok(receipts) = receipts(&body) {
                prop_assert!(receipts.reports.len() <= 2);
            }
        }
    }
}
