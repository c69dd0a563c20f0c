//! WhatsApp bodies before Meta's published description of the Cloud API (v23.0).
//!
//! What it does not judge on templates (channels page 7): unknown fields at the root, empty parameters, a button without parameters.

use crate::prism::{attempt, meta, phone, words};
use recado::channel::whatsapp::{Sender, answer, request};
use recado::delivery::Outcome;
use recado::privacy::Secret;
use recado::template::WhatsAppTemplate;
use serde_json::Value;

const BEARER: &str = "Bearer invented-token";

fn sender() -> Sender {
    Sender { version: "v23.0".into(), phone_number_id: "106540352242922".into() }
}

fn template(body: &[(Option<&str>, &str)], copy_code: Option<&str>) -> WhatsAppTemplate {
    WhatsAppTemplate {
        name: "pix_recebido_30s".into(),
        language: "pt_BR".into(),
        body: body.iter().map(|(name, value)| (name.map(str::to_owned), Secret::new((*value).to_owned()))).collect(),
        copy_code: copy_code.map(|code| Secret::new(code.to_owned())),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_a_template_message_passes_metas_description() {
    let longest = "x".repeat(1_024);
    let forms = [
        ("positional parameters", template(&[(None, "R$\u{a0}1.234,56 \"hoje\" \\ ção 🙂"), (None, "Maria S.")], None)),
        ("named parameters", template(&[(Some("valor"), "R$ 1,00"), (Some("nome"), "Maria S.")], None)),
        ("no parameters", template(&[], None)),
        ("the longest body", template(&[(None, &longest)], None)),
        ("a code to copy", template(&[], Some("493817"))),
        ("the longest code", template(&[], Some("A23456789012345"))),
    ];
    for (form, template) in forms {
        let request = request(&template, &phone(), &attempt(), &sender()).unwrap();
        let (status, body) = meta().judge(&request, BEARER).await;
        assert_eq!(status, 200, "{form}: {}", words(&body));
        // Prism answers with the description's own example of an answer.
        let answer = answer(status, &body);
        assert_eq!(answer.outcome, Outcome::Accepted, "{form}: {}", words(&body));
        assert!(answer.provider_id.is_some(), "{form}: {}", words(&body));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metas_description_refuses_what_it_should() {
    let request = request(&template(&[(None, "Maria S.")], Some("493817")), &phone(), &attempt(), &sender()).unwrap();
    let whole: Value = serde_json::from_slice(&request.body).unwrap();
    let cases: [(&str, fn(&mut Value)); 5] = [
        ("no recipient", |body| drop(body.as_object_mut().unwrap().remove("to"))),
        ("an unknown type", |body| body["type"] = "carta".into()),
        ("no language", |body| drop(body["template"].as_object_mut().unwrap().remove("language"))),
        ("an unknown component", |body| body["template"]["components"][0]["type"] = "corpo".into()),
        ("correlation data that is too long", |body| body["biz_opaque_callback_data"] = "x".repeat(513).into()),
    ];
    for (case, spoil) in cases {
        let mut body = whole.clone();
        spoil(&mut body);
        let (status, said) = meta().judge_body(&request, body.to_string().as_bytes(), BEARER).await;
        assert_eq!(status, 422, "{case}: {}", words(&said));
    }
}
