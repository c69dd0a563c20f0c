//! A finished WhatsApp message becomes the body of one POST to `/{version}/{phone_number_id}/messages`.
//!
//! What is over a limit is refused here, before the call, and never cut.

use crate::channel::{Request, Unfit};
use crate::delivery::{AttemptId, Reason};
use crate::privacy::{PhoneKind, PhoneNumber};
use crate::template::WhatsAppTemplate;
use serde::Serialize;
use zeroize::Zeroizing;

/// From which of the bank's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The Graph API's version, `v25.0`.
    pub version: String,
    /// Meta's id of the sending number: digits, no phone number.
    pub phone_number_id: String,
}

/// Builds the request of one attempt. The same attempt always gives the same bytes.
///
/// - A template with `copy_code` is an authentication template: the code goes out twice, in the body and in the `url` button of index `"0"` (Meta's way for
///   copy-code, one-tap and zero-tap alike); other body parameters do not exist there.
/// - Errors ([`Unfit`], all final): `landline`; `too_long` over the limits of Meta's template pages (name 512, body 1,024 with all its values, code 15 characters);
///   `template` for a name outside `[a-z0-9_]`, an empty value, one with control characters or with more than four spaces in a row.
/// - Source: Meta Cloud API, `messages`, objects `template` and `component`, v23.0 to v25.0.
pub fn request(template: &WhatsAppTemplate, to: &PhoneNumber, attempt: &AttemptId, sender: &Sender) -> Result<Request, Unfit> {
    check(template, to)?;
    let attempt = attempt.to_string();
    let code = template.copy_code.as_ref().map(|code| code.expose().as_str());
    let body = match code {
        Some(code) => vec![Text::new(None, code)],
        None => template.body.iter().map(|(name, value)| Text::new(name.as_deref(), value.expose())).collect(),
    };
    let mut components = Vec::with_capacity(2);
    if !body.is_empty() {
        components.push(Component { r#type: "body", sub_type: None, index: None, parameters: body });
    }
    if let Some(code) = code {
        components.push(Component { r#type: "button", sub_type: Some("url"), index: Some("0"), parameters: vec![Text::new(None, code)] });
    }
    let message = Message {
        messaging_product: "whatsapp",
        recipient_type: "individual",
        to: to.e164().trim_start_matches('+'),
        r#type: "template",
        biz_opaque_callback_data: &attempt,
        template: Template { name: &template.name, language: Language { code: &template.language }, components },
    };
    Ok(Request {
        path_and_query: format!("/{}/{}/messages", sender.version, sender.phone_number_id),
        content_type: "application/json",
        body: write(&message, template),
    })
}

/// Limits of Meta's template pages (`channels.md` §1.7), in characters.
const NAME_CHARS_MAX: usize = 512;
const BODY_CHARS_MAX: usize = 1_024;
const CODE_CHARS_MAX: usize = 15;
/// Third party: Meta refuses more in a row (132018).
const SPACES_MAX: usize = 4;
/// More than the fixed words of the JSON need, beside names and values.
const FRAME_BYTES: usize = 1_024;
/// The fixed words around one parameter.
const PARAMETER_BYTES: usize = 64;

fn check(template: &WhatsAppTemplate, to: &PhoneNumber) -> Result<(), Unfit> {
    if to.kind() == PhoneKind::Landline {
        return Err(Unfit { reason: Reason::Landline, field: "to" });
    }
    let lower = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    if template.name.is_empty() || !template.name.bytes().all(lower) || template.language.is_empty() {
        return Err(Unfit { reason: Reason::Template, field: "template" });
    }
    if template.name.len() > NAME_CHARS_MAX {
        return Err(Unfit { reason: Reason::TooLong, field: "template" });
    }
    let values = || template.body.iter().map(|(_, value)| value.expose().as_str());
    if values().map(|value| value.chars().count()).sum::<usize>() > BODY_CHARS_MAX {
        return Err(Unfit { reason: Reason::TooLong, field: "body" });
    }
    if let Some(code) = &template.copy_code {
        if code.expose().chars().count() > CODE_CHARS_MAX {
            return Err(Unfit { reason: Reason::TooLong, field: "copy_code" });
        }
        if !code.expose().bytes().all(|byte| byte.is_ascii_alphanumeric()) || code.expose().is_empty() {
            return Err(Unfit { reason: Reason::CodeShape, field: "copy_code" });
        }
    }
    if values().any(|value| value.trim().is_empty() || value.chars().any(char::is_control) || spaces(value) > SPACES_MAX) {
        return Err(Unfit { reason: Reason::Template, field: "body" });
    }
    Ok(())
}

/// The longest run of spaces.
fn spaces(value: &str) -> usize {
    value.split(|char| char != ' ').map(str::len).max().unwrap_or(0)
}

/// Writes once into a buffer that never grows, so that no copy of text or number stays behind in freed memory.
fn write(message: &Message<'_>, template: &WhatsAppTemplate) -> Zeroizing<Vec<u8>> {
    let values: usize = template.body.iter().map(|(name, value)| PARAMETER_BYTES + name.as_deref().map_or(0, str::len) + 2 * value.expose().len()).sum();
    let capacity = FRAME_BYTES + template.name.len() + 2 * template.language.len() + values;
    let mut body = Zeroizing::new(Vec::with_capacity(capacity));
    serde_json::to_writer(&mut *body, message).expect("texts and a vector always become JSON");
    debug_assert!(body.len() <= capacity, "a value without control characters at most doubles");
    body
}

#[derive(Serialize)]
struct Message<'a> {
    messaging_product: &'static str,
    recipient_type: &'static str,
    to: &'a str,
    r#type: &'static str,
    biz_opaque_callback_data: &'a str,
    template: Template<'a>,
}

#[derive(Serialize)]
struct Template<'a> {
    name: &'a str,
    language: Language<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    components: Vec<Component<'a>>,
}

#[derive(Serialize)]
struct Language<'a> {
    code: &'a str,
}

#[derive(Serialize)]
struct Component<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<&'static str>,
    parameters: Vec<Text<'a>>,
}

#[derive(Serialize)]
struct Text<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter_name: Option<&'a str>,
    text: &'a str,
}

impl<'a> Text<'a> {
    fn new(parameter_name: Option<&'a str>, text: &'a str) -> Self {
        Self { r#type: "text", parameter_name, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::{attempt, phone};
    use crate::privacy::Secret;

    fn sender() -> Sender {
        Sender { version: "v25.0".into(), phone_number_id: "106540352242922".into() }
    }

    fn template(body: &[&str], copy_code: Option<&str>) -> WhatsAppTemplate {
        WhatsAppTemplate {
            name: "pix_recebido_30s".into(),
            language: "pt_BR".into(),
            body: body.iter().map(|value| (None, Secret::new((*value).to_owned()))).collect(),
            copy_code: copy_code.map(|code| Secret::new(code.to_owned())),
        }
    }

    fn sent(template: &WhatsAppTemplate) -> String {
        let request = request(template, &phone(), &attempt(), &sender()).unwrap();
        assert_eq!(request.path_and_query, "/v25.0/106540352242922/messages");
        assert_eq!(request.content_type, "application/json");
        String::from_utf8(request.body.to_vec()).unwrap()
    }

    #[test]
    fn a_utility_template_carries_its_values_and_the_attempt_id() {
        assert_eq!(
            sent(&template(&["Maria S.", "R$\u{a0}1.234,56 \"hoje\""], None)),
            concat!(
                r#"{"messaging_product":"whatsapp","recipient_type":"individual","to":"5511999990001","type":"template","#,
                r#""biz_opaque_callback_data":"019aec3cd17b00079018a60ffe2f1753-2-1","template":{"name":"pix_recebido_30s","language":{"code":"pt_BR"},"#,
                r#""components":[{"type":"body","parameters":[{"type":"text","text":"Maria S."},{"type":"text","text":"R$"#,
                "\u{a0}1.234,56 ",
                r#"\"hoje\""}]}]}}"#
            )
        );
    }

    #[test]
    fn an_authentication_template_carries_the_code_in_body_and_button() {
        let body = sent(&template(&[], Some("493817")));
        assert!(
            body.ends_with(concat!(
                r#""components":[{"type":"body","parameters":[{"type":"text","text":"493817"}]},"#,
                r#"{"type":"button","sub_type":"url","index":"0","parameters":[{"type":"text","text":"493817"}]}]}}"#
            )),
            "{body}"
        );
    }

    #[test]
    fn named_parameters_carry_their_names_and_a_template_without_values_no_components() {
        let mut named = template(&["Maria S."], None);
        named.body[0].0 = Some("nome".into());
        assert!(sent(&named).contains(r#"{"type":"text","parameter_name":"nome","text":"Maria S."}"#));
        assert!(sent(&template(&[], None)).ends_with(r#""language":{"code":"pt_BR"}}}"#));
    }

    #[test]
    fn what_meta_would_refuse_is_refused_before_the_call() {
        let unfit = |template: &WhatsAppTemplate| request(template, &phone(), &attempt(), &sender()).err().map(|unfit| unfit.reason);
        assert_eq!(unfit(&template(&[], Some("A23456789012345"))), None, "15 characters are allowed");
        assert_eq!(unfit(&template(&[], Some("A234567890123456"))), Some(Reason::TooLong));
        assert_eq!(unfit(&template(&[], Some("49 817"))), Some(Reason::CodeShape));
        assert_eq!(unfit(&template(&[&"x".repeat(1_024)], None)), None);
        assert_eq!(unfit(&template(&["é", &"x".repeat(1_024)], None)), Some(Reason::TooLong));
        for value in ["", " ", "a\nb", "a\tb", "a     b"] {
            assert_eq!(unfit(&template(&[value], None)), Some(Reason::Template), "{value:?}");
        }
        assert_eq!(unfit(&template(&["a    b"], None)), None, "four spaces are allowed");
        let mut name = template(&["x"], None);
        name.name = "Pix".into();
        assert_eq!(unfit(&name), Some(Reason::Template));
        name.name = "x".repeat(513);
        assert_eq!(unfit(&name), Some(Reason::TooLong));
    }

    proptest::proptest! {
        #[test]
        fn the_body_is_json_whatever_the_values_and_never_reallocates(values in proptest::collection::vec("\\PC{0,80}", 0..6)) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            if let Ok(request) = request(&template(&values, None), &phone(), &attempt(), &sender()) {
                let parsed: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
                proptest::prop_assert_eq!(parsed["template"]["components"][0]["parameters"].as_array().map_or(0, Vec::len), values.len());
            }
        }
    }
}
