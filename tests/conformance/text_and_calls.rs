//! SMS and calls before Twilio's published description of its messages and calls.
//!
//! What it does not judge: a message without a body, all but the last of a list, error answers, callbacks (their signatures: `signatures`).

use crate::prism::{Prism, attempt, phone, twilio, words};
use recado::channel::sms::{self, From};
use recado::channel::twilio::Callbacks;
use recado::channel::{Request, voice};
use recado::delivery::{Outcome, Timestamp};
use recado::privacy::{Reference, Secret};
use recado::template::Spoken;
use std::time::Duration;

const ACCOUNT: &str = "AC00000000000000000000000000000001";
/// `SK…:secret`, both invented.
const BASIC: &str = "Basic U0swMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMTpzZWNyZXQ=";

fn callbacks() -> Callbacks {
    Callbacks { public_base_url: "https://recado.example".into(), account: "main".into() }
}

fn text(from: From, text: &str, validity: Duration) -> Request {
    let sender = sms::Sender { account_sid: ACCOUNT.into(), from, callbacks: callbacks() };
    sms::request(&Secret::new(text.to_owned()), &phone(), &attempt(), validity, &sender).unwrap()
}

fn call(code: Option<&voice::CarriedCode>) -> Request {
    let sender = voice::Sender { account_sid: ACCOUNT.into(), from: "+551155550000".into(), callbacks: callbacks(), voice: voice::VOICE.into() };
    let spoken = Spoken { greeting: Secret::new("Olá! Aqui é do Banco Exemplo. Aperte 1.".to_owned()), code_follows: code.is_some() };
    voice::request(&spoken, &phone(), &attempt(), &voice::keypress_url(&attempt(), code, &callbacks()), &sender).unwrap()
}

async fn passes(judge: &Prism, what: &str, request: &Request) {
    let (status, body) = judge.judge(request, BASIC).await;
    assert_eq!(status, 201, "{what}: {}", words(&body));
    let answer = sms::answer(status, &body);
    assert_eq!(answer.outcome, Outcome::Accepted, "{what}: {}", words(&body));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_a_text_message_and_of_a_call_passes_twilios_description() {
    let judge = twilio();
    let half_a_minute = Duration::from_secs(30);
    passes(judge, "from a number", &text(From::Number("+5511999990009".into()), "Banco Exemplo: Pix de R$ 1,00 & mais", half_a_minute)).await;
    passes(judge, "from a short code", &text(From::Number("29001".into()), "Banco Exemplo: seu codigo", half_a_minute)).await;
    passes(judge, "from a service", &text(From::Service("MG00000000000000000000000000000001".into()), "Banco Exemplo", half_a_minute)).await;
    passes(judge, "the shortest validity", &text(From::Number("29001".into()), "Banco Exemplo", Duration::ZERO)).await;
    passes(judge, "the longest validity and text", &text(From::Number("29001".into()), &"x".repeat(1_600), Duration::from_secs(1 << 20))).await;
    passes(judge, "a call", &call(None)).await;
    let code = voice::CarriedCode { customer: Reference::from_bytes([7; 16]), expiry: Timestamp::from_millis(1_764_900_300_000), sealed: vec![0xFB; 71] };
    passes(judge, "a call that carries a code", &call(Some(&code))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twilios_description_refuses_what_it_should() {
    let text = text(From::Number("29001".into()), "Banco Exemplo", Duration::from_secs(30));
    let call = call(None);
    let cases = [
        ("a text to nobody", &text, "To", None),
        ("a validity that is no number", &text, "ValidityPeriod", Some("meia hora")),
        ("a retention that Twilio does not have", &text, "ContentRetention", Some("forget")),
        ("a callback that is no address", &text, "StatusCallback", Some("not an address")),
        ("a call to nobody", &call, "To", None),
        ("a time limit that is no number", &call, "TimeLimit", Some("muito")),
    ];
    for (case, request, field, value) in cases {
        let mut form = form_urlencoded::Serializer::new(String::new());
        for (name, old) in form_urlencoded::parse(&request.body) {
            match (name == field, value) {
                (true, None) => {}
                (true, Some(new)) => drop(form.append_pair(&name, new)),
                (false, _) => drop(form.append_pair(&name, &old)),
            }
        }
        let (status, said) = twilio().judge_body(request, form.finish().as_bytes(), BASIC).await;
        assert_eq!(status, 422, "{case}: {}", words(&said));
    }
}
