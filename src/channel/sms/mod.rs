//! Text messages through Twilio: a text becomes one form, the status callbacks receipts.
//!
//! The text is transliterated before it comes here, so Twilio is told to leave its letters alone; Twilio keeps neither text nor whole number.

use super::twilio::{Callbacks, FRAGMENT, Form, Writer, errors, query};
use super::{Receipts, Report, Request, Unfit};
use crate::delivery::{AttemptId, Reason, Receipt};
use crate::privacy::{PhoneKind, PhoneNumber, Secret};
use std::time::Duration;

pub use super::twilio::answer;

/// From which account and sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Twilio's id of the account (`AC…`).
    pub account_sid: String,
    /// The number, or the service that chooses one.
    pub from: From,
    /// Where its receipts go.
    pub callbacks: Callbacks,
}

/// The sender of a text message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// A short code or a number in E.164.
    Number(String),
    /// The id of a messaging service (`MG…`).
    Service(String),
}

/// Builds the request of one attempt.
///
/// - `validity`: how long Twilio may keep it in its own queue, the smaller of the step's wait and the life left; cut to 1–36,000 whole seconds. What a carrier
///   holds already is not called back.
/// - Errors ([`Unfit`], final): `landline`; `too_long` over 1,600 characters; `template` for an empty text.
/// - Source: twilio-oai `CreateMessage`; Twilio's pages on Brazil and on redaction (the address knows `obfuscate`, no `discard`).
pub fn request(text: &Secret<String>, to: &PhoneNumber, attempt: &AttemptId, validity: Duration, sender: &Sender) -> Result<Request, Unfit> {
    if to.kind() == PhoneKind::Landline {
        return Err(Unfit { reason: Reason::Landline, field: "to" });
    }
    if text.expose().trim().is_empty() {
        return Err(Unfit { reason: Reason::Template, field: "text" });
    }
    if text.expose().chars().count() > TEXT_CHARS_MAX {
        return Err(Unfit { reason: Reason::TooLong, field: "text" });
    }
    let from = match &sender.from {
        From::Number(number) => ("From", number.as_str()),
        From::Service(service) => ("MessagingServiceSid", service.as_str()),
    };
    let validity = validity.as_secs().clamp(VALIDITY_SECS_MIN, VALIDITY_SECS_MAX).to_string();
    let callback = format!("{}{FRAGMENT}", sender.callbacks.url("sms", attempt));
    let body = Writer::new(&[
        ("To", to.e164()),
        from,
        ("Body", text.expose()),
        ("ValidityPeriod", &validity),
        ("StatusCallback", &callback),
        ("SmartEncoded", "false"),
        ("ContentRetention", "discard"),
        ("AddressRetention", "obfuscate"),
    ]);
    Ok(Request {
        path_and_query: format!("/2010-04-01/Accounts/{}/Messages.json", sender.account_sid),
        content_type: "application/x-www-form-urlencoded",
        body: body.finish(),
    })
}

/// Reads one status callback. `url_query` is the query of the URL that was called, without `?`: it echoes the attempt id.
///
/// One callback is one report, or one of `skipped`: words that say no more than *accepted* (queued, sending), that nobody knows, or without an attempt id of ours.
/// Twilio gives no usable time. Source: twilio-oai `message_enum_status`; its page on tracking outbound messages.
pub fn receipts(url_query: &str, form: &Form) -> Receipts {
    let mut receipts = Receipts::default();
    let receipt = match form.value("MessageStatus") {
        Some("sent" | "partially_delivered") => Receipt::Sent,
        Some("delivered") => Receipt::Delivered,
        Some("read") => Receipt::Read,
        Some("undelivered" | "failed" | "canceled") => Receipt::Failed,
        _ => {
            receipts.skipped.word += 1;
            return receipts;
        }
    };
    let (mut reason, mut code) = (Reason::None, 0);
    if receipt == Receipt::Failed {
        code = form.value("ErrorCode").and_then(super::loose::digits).unwrap_or(0);
        reason = errors::meaning(code).receipt_reason();
    }
    receipts.add(query(url_query, "a").as_deref(), |attempt_id| Report { attempt_id, receipt, reason, code, provider_time: None });
    receipts
}

/// Twilio's limit of a message's body, in characters.
const TEXT_CHARS_MAX: usize = 1_600;
/// Twilio's range of `ValidityPeriod`.
const VALIDITY_SECS_MIN: u64 = 1;
const VALIDITY_SECS_MAX: u64 = 36_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Skipped;
    use crate::channel::tests::{attempt, callbacks, fields, phone};
    use proptest::prelude::*;

    fn sender() -> Sender {
        Sender { account_sid: "AC00000000000000000000000000000001".into(), from: From::Number("29001".into()), callbacks: callbacks() }
    }

    fn sent(text: &str, validity: Duration, sender: &Sender) -> Result<Vec<(String, String)>, Unfit> {
        let request = request(&Secret::new(text.to_owned()), &phone(), &attempt(), validity, sender)?;
        assert_eq!(request.path_and_query, "/2010-04-01/Accounts/AC00000000000000000000000000000001/Messages.json");
        Ok(fields(&request))
    }

    #[test]
    fn the_form_says_all_that_twilio_must_know() {
        let fields = sent("Banco Exemplo: Pix de R$ 10,00 + taxa & juros", Duration::from_millis(29_900), &sender()).unwrap();
        let expected = [
            ("To", "+5511999990001"),
            ("From", "29001"),
            ("Body", "Banco Exemplo: Pix de R$ 10,00 + taxa & juros"),
            ("ValidityPeriod", "29"),
            ("StatusCallback", "https://recado.example/webhooks/twilio/main/sms?a=019aec3cd17b00079018a60ffe2f1753-2-1#rc=5&rp=all&ct=2000&rt=5000&tt=15000"),
            ("SmartEncoded", "false"),
            ("ContentRetention", "discard"),
            ("AddressRetention", "obfuscate"),
        ];
        assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_service_may_choose_the_number_and_the_validity_stays_in_twilios_range() {
        let service = Sender { from: From::Service("MG1".into()), ..sender() };
        assert_eq!(sent("x", Duration::ZERO, &service).unwrap()[1], ("MessagingServiceSid".to_owned(), "MG1".to_owned()));
        assert_eq!(sent("x", Duration::ZERO, &service).unwrap()[3].1, "1");
        assert_eq!(sent("x", Duration::from_secs(86_400), &service).unwrap()[3].1, "36000");
    }

    #[test]
    fn an_empty_and_a_too_long_text_are_refused_before_the_call() {
        let unfit = |text: &str| sent(text, Duration::from_secs(30), &sender()).err().map(|unfit| unfit.reason);
        assert_eq!(unfit(" "), Some(Reason::Template));
        assert_eq!(unfit(&"x".repeat(1_600)), None);
        assert_eq!(unfit(&"x".repeat(1_601)), Some(Reason::TooLong));
    }

    fn callback(word: &str, more: &str) -> Receipts {
        let body =
            format!("MessageSid=SM1&AccountSid=AC1&MessageStatus={word}&To=%2B5511999990001&From=29001&ApiVersion=2010-04-01&RawDlrDoneDate=2611251200{more}");
        receipts(&format!("a={}", attempt()), &Form::read(body.as_bytes()).unwrap())
    }

    #[test]
    fn each_word_becomes_its_receipt() {
        let one = |word, more| callback(word, more).reports.first().map(|report| (report.attempt_id, report.receipt, report.reason, report.code));
        assert_eq!(one("sent", ""), Some((attempt(), Receipt::Sent, Reason::None, 0)));
        assert_eq!(one("partially_delivered", ""), Some((attempt(), Receipt::Sent, Reason::None, 0)));
        assert_eq!(one("delivered", ""), Some((attempt(), Receipt::Delivered, Reason::None, 0)));
        assert_eq!(one("read", ""), Some((attempt(), Receipt::Read, Reason::None, 0)));
        assert_eq!(one("undelivered", "&ErrorCode=30006"), Some((attempt(), Receipt::Failed, Reason::Landline, 30_006)));
        assert_eq!(one("failed", "&ErrorCode=30008"), Some((attempt(), Receipt::Failed, Reason::Failed, 30_008)));
        assert_eq!(one("canceled", ""), Some((attempt(), Receipt::Failed, Reason::Failed, 0)));
        for word in ["accepted", "scheduled", "queued", "sending", "receiving", "received", "new-word", ""] {
            assert_eq!(callback(word, "").skipped, Skipped { word: 1, ..Skipped::default() }, "{word}");
        }
    }

    #[test]
    fn correlation_data_of_another_shape_is_counted() {
        let form = Form::read(b"MessageStatus=delivered").unwrap();
        assert_eq!(receipts("", &form).skipped, Skipped { uncorrelated: 1, ..Skipped::default() });
        assert_eq!(receipts("a=4711", &form).skipped, Skipped { foreign: 1, ..Skipped::default() });
    }

    proptest! {
        #[test]
        fn random_bytes_make_at_most_one_report(query in ".{0,60}", body in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(form) = Form::read(&body) {
                prop_assert!(receipts(&query, &form).reports.is_empty());
            }
        }
    }
}
