//! Calls through Twilio: a greeting becomes one form with its script inside, the callbacks receipts, the keypress a second script.
//!
//! Nothing secret is said before somebody has pressed 1: a voicemail cannot. The code of the second script travels sealed in the URL that the keypress
//! calls, because the dispatcher has long forgotten it by then; only the gateway opens it, for that one answer.

mod twiml;

use super::twilio::{Callbacks, FRAGMENT, Form, Writer, errors, query};
use super::{Receipts, Report, Request, Unfit};
use crate::delivery::{AttemptId, Reason, Receipt, Timestamp};
use crate::privacy::{PhoneNumber, Reference, Secret};
use crate::template::Spoken;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

pub use super::twilio::answer;

/// From which account and number, and in which voice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Twilio's id of the account (`AC…`).
    pub account_sid: String,
    /// An own or verified number in E.164.
    pub from: String,
    /// Where its receipts and keypresses go.
    pub callbacks: Callbacks,
    /// A voice of Twilio's that speaks pt-BR; [`VOICE`] if nothing else is wished.
    pub voice: String,
}

/// A neural voice for pt-BR. A wrong pair of voice and language makes the verb fail.
pub const VOICE: &str = "Polly.Camila-Neural";

/// A code on its way to the gateway, in the URL of the keypress: base64url(customer reference 16 ‖ expiry 8, ms, big-endian ‖ sealed code), not padded.
#[derive(Debug, PartialEq, Eq)]
pub struct CarriedCode {
    /// Whose code it is; part of what the seal is bound to.
    pub customer: Reference,
    /// Not said from then on (Kafka time); part of what the seal is bound to.
    pub expiry: Timestamp,
    /// As `privacy::Sealer` made it.
    pub sealed: Vec<u8>,
}

impl CarriedCode {
    fn write(&self) -> String {
        let mut bytes = Vec::with_capacity(24 + self.sealed.len());
        bytes.extend_from_slice(self.customer.bytes());
        bytes.extend_from_slice(&self.expiry.millis().to_be_bytes());
        bytes.extend_from_slice(&self.sealed);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn read(text: &str) -> Option<Self> {
        if text.len() > CARRIED_CHARS_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (customer, rest) = bytes.split_first_chunk::<16>()?;
        let (expiry, sealed) = rest.split_first_chunk::<8>()?;
        Some(Self { customer: Reference::from_bytes(*customer), expiry: Timestamp::from_millis(i64::from_be_bytes(*expiry)), sealed: sealed.to_vec() })
    }
}

/// The URL that Twilio calls when a key is pressed. It asks for repeats like every callback: while Kafka is away the customer hears silence, then the code.
pub fn keypress_url(attempt: &AttemptId, code: Option<&CarriedCode>, callbacks: &Callbacks) -> String {
    let url = callbacks.url("voice", attempt);
    match code {
        Some(code) => format!("{url}&c={}{FRAGMENT}", code.write()),
        None => format!("{url}{FRAGMENT}"),
    }
}

/// Builds the request of one attempt. `keypress_url` comes from [`keypress_url`].
///
/// - Rings 25 s, lasts 90 s at most, records nothing, reports each state of the call. No machine detection: the key proves a person, and detection costs seconds of
///   silence.
/// - Errors ([`Unfit`], final): `too_long` where the script is over Twilio's 4,000 characters; `template` for an empty greeting.
/// - Source: twilio-oai `CreateCall`; TwiML `Gather` and `Say`.
pub fn request(spoken: &Spoken, to: &PhoneNumber, attempt: &AttemptId, keypress_url: &str, sender: &Sender) -> Result<Request, Unfit> {
    if spoken.greeting.expose().trim().is_empty() {
        return Err(Unfit { reason: Reason::Template, field: "greeting" });
    }
    let script = twiml::greeting(spoken.greeting.expose(), keypress_url, &sender.voice)?;
    let callback = format!("{}{FRAGMENT}", sender.callbacks.url("voice", attempt));
    let body = Writer::new(&[
        ("To", to.e164()),
        ("From", &sender.from),
        ("Twiml", &script),
        ("StatusCallback", &callback),
        ("StatusCallbackMethod", "POST"),
        ("StatusCallbackEvent", "initiated"),
        ("StatusCallbackEvent", "ringing"),
        ("StatusCallbackEvent", "answered"),
        ("StatusCallbackEvent", "completed"),
        ("Timeout", RING_SECS),
        ("TimeLimit", CALL_SECS_MAX),
        ("Record", "false"),
    ]);
    Ok(Request {
        path_and_query: format!("/2010-04-01/Accounts/{}/Calls.json", sender.account_sid),
        content_type: "application/x-www-form-urlencoded",
        body: body.finish(),
    })
}

/// What one request to the gateway's voice route is.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A state of the call, to be answered with an empty 200.
    Progress,
    /// Somebody pressed 1 and waits for the second script.
    Confirmed {
        /// Which try; `None` where the URL carries no attempt id of ours.
        attempt_id: Option<AttemptId>,
        /// The code to say, where the URL carries one.
        code: Option<CarriedCode>,
    },
    /// Another key: to be answered with a script that hangs up.
    OtherKey,
}

/// Reads one request to the voice route: a status callback, or the keypress (a form with `Digits`).
///
/// One request is one report, or one of `skipped`. The key 1 is *delivered*; any end of the call without it is *failed* (that after a keypress comes a
/// `completed` does not matter: a later failure never beats a delivery). Of a failed call the SIP response is the code where there is no `ErrorCode` (486 busy, 480
/// no answer). Source: twilio-oai `call_enum_status`, TwiML `Gather`.
pub fn receipts(url_query: &str, form: &Form) -> (Receipts, Heard) {
    let mut receipts = Receipts::default();
    let correlation = query(url_query, "a");
    let (receipt, heard) = match (form.value("Digits"), form.value("CallStatus")) {
        (Some("1"), _) => {
            let attempt_id = correlation.as_deref().and_then(AttemptId::parse);
            let code = query(url_query, "c").and_then(|text| CarriedCode::read(&text));
            (Some(Receipt::Delivered), Heard::Confirmed { attempt_id, code })
        }
        (Some(_), _) => (None, Heard::OtherKey),
        (None, Some("in-progress")) => (Some(Receipt::Sent), Heard::Progress),
        (None, Some("completed" | "busy" | "no-answer" | "failed" | "canceled")) => (Some(Receipt::Failed), Heard::Progress),
        (None, _) => (None, Heard::Progress),
    };
    let Some(receipt) = receipt else {
        receipts.skipped.word += 1;
        return (receipts, heard);
    };
    let (mut reason, mut code) = (Reason::None, 0);
    if receipt == Receipt::Failed {
        let number = |name| form.value(name).and_then(super::loose::digits);
        let error = number("ErrorCode");
        code = error.or_else(|| number("SipResponseCode")).unwrap_or(0);
        reason = error.map_or(Reason::Failed, |error| errors::meaning(error).receipt_reason());
    }
    receipts.add(correlation.as_deref(), |attempt_id| Report { attempt_id, receipt, reason, code, provider_time: None });
    (receipts, heard)
}

/// The second script: the code, said twice, sign by sign.
pub fn say_code(code: &Secret<String>, voice: &str) -> Zeroizing<String> {
    twiml::code(code.expose(), voice)
}

/// The second script where the code may not be said any more.
pub fn say_expired(voice: &str) -> Zeroizing<String> {
    twiml::sentence("Este código já não vale. Peça outro no aplicativo do banco.", voice)
}

/// The second script where the code cannot be opened now.
pub fn say_unavailable(voice: &str) -> Zeroizing<String> {
    twiml::sentence("Não conseguimos dizer o código agora. Peça outro no aplicativo do banco.", voice)
}

/// The second script of a call that carries no code.
pub fn say_thanks(voice: &str) -> Zeroizing<String> {
    twiml::sentence("Obrigado.", voice)
}

/// The script that ends the call.
pub const HANG_UP: &str = "<Response><Hangup/></Response>";

/// Twilio's default is 60; some routes add five.
const RING_SECS: &str = "25";
const CALL_SECS_MAX: &str = "90";
/// A sealed code takes 71 bytes today; room for a longer seal, and no more than that is decoded.
const CARRIED_CHARS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Skipped;
    use crate::channel::tests::{attempt, callbacks, fields, phone};
    use proptest::prelude::*;

    fn sender() -> Sender {
        Sender { account_sid: "AC00000000000000000000000000000001".into(), from: "+551155550000".into(), callbacks: callbacks(), voice: VOICE.into() }
    }

    fn spoken(greeting: &str) -> Spoken {
        Spoken { greeting: Secret::new(greeting.to_owned()), code_follows: true }
    }

    fn carried() -> CarriedCode {
        CarriedCode { customer: Reference::from_bytes([7; 16]), expiry: Timestamp::from_millis(1_764_900_300_000), sealed: vec![0xFB; 71] }
    }

    #[test]
    fn the_call_carries_its_script_and_asks_for_every_state() {
        let url = keypress_url(&attempt(), Some(&carried()), &callbacks());
        let request = request(&spoken("Banco Exemplo. Você & <nós>. Aperte 1."), &phone(), &attempt(), &url, &sender()).unwrap();
        assert_eq!(request.path_and_query, "/2010-04-01/Accounts/AC00000000000000000000000000000001/Calls.json");
        let fields = fields(&request);
        let value = |name: &str| fields.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect::<Vec<_>>();
        assert_eq!((value("To"), value("From"), value("Record")), (vec!["+5511999990001"], vec!["+551155550000"], vec!["false"]));
        assert_eq!((value("Timeout"), value("TimeLimit")), (vec!["25"], vec!["90"]));
        assert_eq!(value("StatusCallbackEvent"), ["initiated", "ringing", "answered", "completed"]);
        assert_eq!(
            value("StatusCallback"),
            ["https://recado.example/webhooks/twilio/main/voice?a=019aec3cd17b00079018a60ffe2f1753-2-1#rc=5&rp=all&ct=2000&rt=5000&tt=15000"]
        );
        let script = format!(
            concat!(
                r#"<Response><Gather input="dtmf" numDigits="1" timeout="6" method="POST" action="{}"><Say language="pt-BR" voice="Polly.Camila-Neural">"#,
                "Banco Exemplo. Você &amp; &lt;nós&gt;. Aperte 1.</Say></Gather><Hangup/></Response>"
            ),
            url.replace('&', "&amp;")
        );
        assert_eq!(value("Twiml"), [script]);
    }

    #[test]
    fn a_script_over_twilios_limit_and_an_empty_one_are_refused() {
        let unfit = |text: &str| request(&spoken(text), &phone(), &attempt(), "https://x", &sender()).err().map(|unfit| unfit.reason);
        assert_eq!(unfit(&"x".repeat(3_700)), None);
        assert_eq!(unfit(&"x".repeat(4_000)), Some(Reason::TooLong));
        assert_eq!(unfit(""), Some(Reason::Template));
    }

    #[test]
    fn the_code_is_said_twice_sign_by_sign() {
        assert_eq!(
            say_code(&Secret::new("4>6".to_owned()), VOICE).as_str(),
            concat!(
                r#"<Response><Say language="pt-BR" voice="Polly.Camila-Neural">Seu código é: 4 <break time="500ms"/> &gt; <break time="500ms"/> meia"#,
                r#" <break time="1s"/> Repito: 4 <break time="500ms"/> &gt; <break time="500ms"/> meia</Say><Hangup/></Response>"#
            )
        );
        let code = "A23456789012345";
        let script = say_code(&Secret::new(code.to_owned()), VOICE);
        assert_eq!(script.matches("500ms").count(), 2 * (code.len() - 1));
    }

    fn heard(query: &str, body: &str) -> (Receipts, Heard) {
        receipts(query, &Form::read(body.as_bytes()).unwrap())
    }

    #[test]
    fn the_key_1_is_delivered_and_brings_the_code_along() {
        let url = keypress_url(&attempt(), Some(&carried()), &callbacks());
        let (receipts, heard) =
            heard(url.split_once('?').unwrap().1.trim_end_matches(FRAGMENT), "CallSid=CA1&CallStatus=in-progress&Digits=1&To=%2B5511999990001");
        assert_eq!(receipts.reports.iter().map(|report| (report.attempt_id, report.receipt)).collect::<Vec<_>>(), [(attempt(), Receipt::Delivered)]);
        assert_eq!(heard, Heard::Confirmed { attempt_id: Some(attempt()), code: Some(carried()) });
    }

    #[test]
    fn another_key_proves_nothing() {
        let (receipts, heard) = heard(&format!("a={}", attempt()), "CallStatus=in-progress&Digits=2");
        assert_eq!((receipts.reports.len(), receipts.skipped.word, heard), (0, 1, Heard::OtherKey));
    }

    #[test]
    fn the_states_of_a_call_become_receipts() {
        let query = format!("a={}", attempt());
        let one = |body: &str| heard(&query, body).0.reports.first().map(|report| (report.receipt, report.reason, report.code));
        assert_eq!(one("CallStatus=in-progress"), Some((Receipt::Sent, Reason::None, 0)));
        assert_eq!(one("CallStatus=completed&CallDuration=12"), Some((Receipt::Failed, Reason::Failed, 0)));
        assert_eq!(one("CallStatus=busy&SipResponseCode=486"), Some((Receipt::Failed, Reason::Failed, 486)));
        assert_eq!(one("CallStatus=failed&ErrorCode=21214&SipResponseCode=404"), Some((Receipt::Failed, Reason::Unreachable, 21_214)));
        for body in ["CallStatus=no-answer", "CallStatus=canceled"] {
            assert_eq!(one(body), Some((Receipt::Failed, Reason::Failed, 0)), "{body}");
        }
        for body in ["CallStatus=queued", "CallStatus=initiated", "CallStatus=ringing", "CallStatus=other", ""] {
            assert_eq!(heard(&query, body).0.skipped, Skipped { word: 1, ..Skipped::default() }, "{body}");
        }
    }

    #[test]
    fn a_carried_code_of_another_shape_is_none() {
        for text in ["", "!", "AAAA", &"A".repeat(2_000)] {
            assert_eq!(CarriedCode::read(text), None, "{text}");
        }
        assert_eq!(CarriedCode::read(&carried().write()), Some(carried()));
    }

    proptest! {
        #[test]
        fn random_bytes_make_no_report_and_no_code(query in ".{0,60}", body in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(form) = Form::read(&body) {
                prop_assert!(receipts(&query, &form).0.reports.is_empty());
            }
        }

        #[test]
        fn no_text_breaks_out_of_its_place_in_the_script(text in ".{1,60}") {
            let script = say_code(&Secret::new(text.clone()), &text);
            let quiet: String = script.matches('<').collect();
            let plain = say_code(&Secret::new("x".repeat(text.chars().filter(|sign| !sign.is_whitespace()).count())), "v");
            prop_assert_eq!(quiet.len(), plain.matches('<').count());
            prop_assert_eq!(script.matches('"').count(), plain.matches('"').count());
        }
    }
}
