//! What Meta checks of a send: enters the JSON body, leaves the recipient and the words, or the Graph error that Meta answers.
//!
//! From Meta's pages on messages, templates and error codes and its published schema (facebook/openapi v23.0). Messages name fields, never their values.

use super::{Category, Channel, Placed, Template};
use serde_json::Value;
use std::collections::BTreeMap;

/// A Graph error.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: u32,
    pub(super) details: String,
}

type Checked<T> = Result<T, Refusal>;

fn refuse<T>(code: u32, details: impl Into<String>) -> Checked<T> {
    Err(Refusal { code, details: details.into() })
}

/// Reads and checks the whole body.
pub(super) fn check(body: &[u8], own_number: &str, templates: &BTreeMap<String, Template>) -> Checked<Placed> {
    let Ok(Value::Object(root)) = serde_json::from_slice::<Value>(body) else { return refuse(100, "the body must be a JSON object") };
    if root.get("messaging_product").and_then(Value::as_str) != Some("whatsapp") {
        return refuse(100, "The parameter messaging_product is required.");
    }
    if root.get("recipient_type").is_some_and(|it| it != "individual") {
        return refuse(100, "Param recipient_type must be one of {INDIVIDUAL}");
    }
    let Some(to) = root.get("to").and_then(Value::as_str) else { return refuse(100, "The parameter to is required.") };
    let to = to.trim_start_matches('+');
    if !(8..=15).contains(&to.len()) || to.bytes().any(|byte| !byte.is_ascii_digit()) {
        return refuse(131_009, "to: not a phone number");
    }
    if to == own_number {
        return refuse(131_021, "Recipient cannot be the sender");
    }
    let attempt_id = match root.get("biz_opaque_callback_data") {
        None => None,
        Some(Value::String(text)) if text.chars().count() <= 512 => Some(text.clone()),
        Some(_) => return refuse(100, "Param biz_opaque_callback_data must be a string of at most 512 characters"),
    };
    let (template, text) = match root.get("type").and_then(Value::as_str).unwrap_or("text") {
        "template" => self::template(object(&root, "template")?, templates)?,
        "text" => (None, free_text(object(&root, "text")?)?),
        "interactive" => (None, interactive(object(&root, "interactive")?)?),
        kind @ ("document" | "image") => (None, media(object(&root, kind)?, kind)?),
        _ => return refuse(100, "Param type must be one of {TEMPLATE, TEXT, INTERACTIVE, DOCUMENT, IMAGE}"),
    };
    Ok(Placed { channel: Channel::Whatsapp, to: to.to_owned(), attempt_id, template, text })
}

type Object = serde_json::Map<String, Value>;

fn object<'a>(of: &'a Object, key: &str) -> Checked<&'a Object> {
    match of.get(key) {
        Some(Value::Object(object)) => Ok(object),
        _ => refuse(100, format!("The parameter {key} is required.")),
    }
}

fn string<'a>(of: &'a Object, key: &str, path: &str) -> Checked<&'a str> {
    match of.get(key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        _ => refuse(131_008, format!("Required parameter is missing: {path}.{key}")),
    }
}

/// Inside a template Meta refuses what it does not know.
fn only(of: &Object, known: &[&str], path: &str) -> Checked<()> {
    match of.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => refuse(100, format!("Unexpected key \"{key}\" on param \"{path}\"")),
        None => Ok(()),
    }
}

fn within(text: &str, limit: usize, code: u32, path: &str) -> Checked<()> {
    if text.chars().count() > limit { refuse(code, format!("{path} is longer than {limit} characters")) } else { Ok(()) }
}

fn free_text(text: &Object) -> Checked<String> {
    let body = string(text, "body", "text")?;
    within(body, 4_096, 100, "text.body")?;
    Ok(body.to_owned())
}

fn media(media: &Object, kind: &str) -> Checked<String> {
    if media.contains_key("id") == media.contains_key("link") {
        return refuse(131_008, format!("{kind} takes either id or link"));
    }
    Ok(media.get("caption").and_then(Value::as_str).unwrap_or_default().to_owned())
}

fn interactive(interactive: &Object) -> Checked<String> {
    let kind = string(interactive, "type", "interactive")?;
    if !matches!(kind, "button" | "list" | "cta_url" | "order_details" | "order_status") {
        return refuse(100, "Param interactive.type is not known");
    }
    object(interactive, "action")?;
    let body = string(object(interactive, "body")?, "text", "interactive.body")?;
    within(body, 1_024, 100, "interactive.body.text")?;
    Ok(body.to_owned())
}

fn template(template: &Object, templates: &BTreeMap<String, Template>) -> Checked<(Option<String>, String)> {
    only(template, &["name", "language", "components", "namespace"], "template")?;
    let name = string(template, "name", "template")?;
    let language = string(object(template, "language")?, "code", "template.language")?;
    let approved = templates.get(name);
    let well_named = name.len() <= 512 && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    let known = well_named && (templates.is_empty() || approved.is_some_and(|it| it.language == language));
    if !known {
        return refuse(132_001, "template name does not exist in the translation");
    }
    let mut body = Vec::new();
    let mut texts = Vec::new();
    let mut button_texts = Vec::new();
    if let Some(components) = template.get("components") {
        let Value::Array(components) = components else { return refuse(100, "template.components must be an array") };
        for (at, component) in components.iter().enumerate() {
            let path = format!("template['components'][{at}]");
            let Value::Object(component) = component else { return refuse(100, format!("{path} must be an object")) };
            let found = self::component(component, &path)?;
            match component.get("type").and_then(Value::as_str) {
                Some("body") => body.clone_from(&found),
                Some("button") => button_texts.clone_from(&found),
                _ => {}
            }
            texts.extend(found);
        }
    }
    if let Some(approved) = approved {
        if body.len() != approved.body_parameters {
            return refuse(132_000, "body: number of localizable_params does not match the expected number of params");
        }
        if approved.category == Category::Authentication {
            code_in_both_places(&body, &button_texts)?;
        }
    }
    within(&body.concat(), 1_024, 132_005, "body")?;
    Ok((Some(name.to_owned()), texts.join("\n")))
}

fn code_in_both_places(body: &[String], button: &[String]) -> Checked<()> {
    let (Some(code), Some(copied)) = (body.first(), button.first()) else {
        return refuse(131_008, "buttons: Button at index 0 of type Url requires a parameter");
    };
    within(code, 15, 132_018, "code")?;
    if code == copied { Ok(()) } else { refuse(132_018, "the code in the button is not the one in the body") }
}

fn component(component: &Object, path: &str) -> Checked<Vec<String>> {
    match string(component, "type", path)? {
        "body" | "header" => only(component, &["type", "parameters"], path)?,
        "button" => {
            only(component, &["type", "sub_type", "index", "parameters"], path)?;
            let sub_type = string(component, "sub_type", path)?;
            if !matches!(sub_type, "url" | "quick_reply" | "copy_code" | "flow" | "catalog" | "order_details") {
                return refuse(100, format!("{path}.sub_type is not known"));
            }
            if !component.get("index").and_then(Value::as_str).is_some_and(|it| it.len() == 1 && it.as_bytes()[0].is_ascii_digit()) {
                return refuse(100, format!("{path}.index must be a string from 0 to 9"));
            }
            if !component.contains_key("parameters") {
                return refuse(131_008, format!("buttons: {path} requires a parameter"));
            }
        }
        _ => return refuse(100, format!("{path}.type must be one of {{HEADER, BODY, BUTTON}}")),
    }
    let Some(parameters) = component.get("parameters") else { return Ok(Vec::new()) };
    let Value::Array(parameters) = parameters else { return refuse(100, format!("{path}.parameters must be an array")) };
    let mut texts = Vec::new();
    for (at, parameter) in parameters.iter().enumerate() {
        let path = format!("{path}['parameters'][{at}]");
        let Value::Object(parameter) = parameter else { return refuse(100, format!("{path} must be an object")) };
        texts.extend(self::parameter(parameter, &path)?);
    }
    Ok(texts)
}

fn parameter(parameter: &Object, path: &str) -> Checked<Option<String>> {
    match string(parameter, "type", path)? {
        "text" => {
            only(parameter, &["type", "text", "parameter_name"], path)?;
            let text = string(parameter, "text", path)?;
            if text.contains(['\n', '\r', '\t']) || text.contains("     ") {
                return refuse(132_018, format!("{path}: Param text cannot have new-line/tab characters or more than 4 consecutive spaces"));
            }
            Ok(Some(text.to_owned()))
        }
        "payload" => {
            only(parameter, &["type", "payload"], path)?;
            within(string(parameter, "payload", path)?, 256, 100, path)?;
            Ok(None)
        }
        kind @ ("document" | "image" | "video") => {
            only(parameter, &["type", kind], path)?;
            self::media(object(parameter, kind)?, kind)?;
            Ok(None)
        }
        kind @ ("action" | "currency" | "date_time" | "coupon_code") => {
            string(parameter, "type", path)?;
            if parameter.contains_key(kind) { Ok(None) } else { refuse(131_008, format!("Required parameter is missing: {path}.{kind}")) }
        }
        _ => refuse(100, format!("{path}.type is not known")),
    }
}
