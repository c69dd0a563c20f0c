//! What Twilio checks of a request: enters the form, leaves its fields, or the error that Twilio answers.
//!
//! From Twilio's published schema (twilio-oai, Api v2010) and its error pages. Messages name parameters, never their values. Codes marked * are chosen
//! by us: Twilio's own is not known.

use std::collections::BTreeMap;

/// An error of Twilio's.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: u32,
    pub(super) message: String,
}

type Checked<T> = Result<T, Refusal>;

fn refuse<T>(code: u32, message: impl Into<String>) -> Checked<T> {
    Err(Refusal { code, message: message.into() })
}

/// A form's fields; a name may come several times.
pub(super) struct Form(BTreeMap<String, Vec<String>>);

impl Form {
    pub(super) fn parse(body: &[u8]) -> Self {
        let mut fields = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in form_urlencoded::parse(body) {
            fields.entry(name.into_owned()).or_default().push(value.into_owned());
        }
        Self(fields)
    }

    /// The first value; an empty one counts as absent, as Twilio has it.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.first().map(String::as_str).filter(|it| !it.is_empty())
    }

    pub(super) fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    fn number(&self, name: &str, range: std::ops::RangeInclusive<u64>, code: u32) -> Checked<Option<u64>> {
        match self.one(name).map(str::parse::<u64>) {
            None => Ok(None),
            Some(Ok(number)) if range.contains(&number) => Ok(Some(number)),
            Some(_) => refuse(code, format!("{name} is out of range")),
        }
    }

    fn word(&self, name: &str, words: &[&str]) -> Checked<()> {
        match self.one(name) {
            Some(word) if !words.contains(&word) => refuse(20_001, format!("{name} is none of {}", words.join(", "))), // *
            _ => Ok(()),
        }
    }

    fn known(&self, names: &[&str]) -> Checked<()> {
        match self.0.keys().find(|name| !names.contains(&name.as_str())) {
            Some(name) => refuse(20_001, format!("{name} is no parameter of this resource")), // * (Twilio ignores it; here it would hide a typing error)
            None => Ok(()),
        }
    }
}

/// The attempt id in a status callback: `a` of its query.
pub(super) fn attempt_id(callback: &str) -> Option<String> {
    let url = url::Url::parse(callback).ok()?;
    url.query_pairs().find(|(name, _)| name == "a").map(|(_, value)| value.into_owned())
}

/// `+` and digits → digits.
fn e164(number: &str) -> Option<&str> {
    let digits = number.strip_prefix('+')?;
    ((8..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

/// A webhook URL: http or https, and no underscore in the host's name, which Twilio refuses.
pub(super) fn webhook_url(text: &str) -> bool {
    let Ok(url) = url::Url::parse(text) else { return false };
    matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.contains('_'))
}

fn callback(form: &Form) -> Checked<Option<String>> {
    match form.one("StatusCallback") {
        Some(url) if !webhook_url(url) => refuse(21_609, "StatusCallback is not a valid URL"),
        url => Ok(url.map(str::to_owned)),
    }
}

/// A checked request for an SMS.
pub(super) struct Sms {
    /// Digits of E.164.
    pub(super) to: String,
    pub(super) from: Option<String>,
    pub(super) body: String,
    pub(super) callback: Option<String>,
}

const SMS_PARAMETERS: [&str; 14] = [
    "To",
    "From",
    "MessagingServiceSid",
    "Body",
    "ValidityPeriod",
    "StatusCallback",
    "ContentRetention",
    "AddressRetention",
    "SmartEncoded",
    "MaxPrice",
    "ProvideFeedback",
    "Attempt",
    "RiskCheck",
    "ApplicationSid",
];

pub(super) fn sms(form: &Form) -> Checked<Sms> {
    form.known(&SMS_PARAMETERS)?;
    let Some(to) = form.one("To") else { return refuse(21_604, "A 'To' phone number is required.") };
    let Some(to) = e164(to) else { return refuse(21_211, "Invalid 'To' Phone Number") };
    if form.one("From").is_none() && form.one("MessagingServiceSid").is_none() {
        return refuse(21_603, "A 'From' phone number is required.");
    }
    let Some(body) = form.one("Body") else { return refuse(21_602, "Message body is required.") };
    if body.chars().count() > 1_600 {
        return refuse(21_617, "The concatenated message body exceeds the 1600 character limit.");
    }
    form.number("ValidityPeriod", 1..=36_000, 21_624)?;
    form.word("ContentRetention", &["retain", "discard"])?;
    form.word("AddressRetention", &["retain", "obfuscate"])?;
    form.word("SmartEncoded", &["true", "false"])?;
    Ok(Sms { to: to.into(), from: form.one("From").map(str::to_owned), body: body.into(), callback: callback(form)? })
}

/// A checked request for a call.
#[derive(Clone)]
pub(super) struct Call {
    /// Digits of E.164.
    pub(super) to: String,
    pub(super) from: String,
    pub(super) twiml: String,
    pub(super) callback: Option<String>,
    pub(super) events: Vec<String>,
    /// Seconds that it rings at most.
    pub(super) timeout_secs: u64,
}

const CALL_PARAMETERS: [&str; 11] = [
    "To",
    "From",
    "Twiml",
    "StatusCallback",
    "StatusCallbackEvent",
    "StatusCallbackMethod",
    "Timeout",
    "TimeLimit",
    "Record",
    "MachineDetection",
    "CallReason",
];

pub(super) fn call(form: &Form) -> Checked<Call> {
    form.known(&CALL_PARAMETERS)?;
    let Some(to) = form.one("To") else { return refuse(21_201, "No 'To' number is specified") };
    let Some(to) = e164(to) else { return refuse(21_217, "Phone number does not appear to be valid") };
    let Some(from) = form.one("From") else { return refuse(21_213, "'From' phone number is required") };
    if e164(from).is_none() {
        return refuse(21_212, "Invalid 'From' phone number");
    }
    let Some(twiml) = form.one("Twiml") else { return refuse(21_205, "Url parameter is required") };
    if twiml.chars().count() > 4_000 {
        return refuse(20_001, "Twiml is longer than 4000 characters"); // *
    }
    for event in form.all("StatusCallbackEvent") {
        if !matches!(event.as_str(), "initiated" | "ringing" | "answered" | "completed") {
            return refuse(21_626, "StatusCallbackEvent is not valid");
        }
    }
    form.word("StatusCallbackMethod", &["POST"])?;
    form.word("Record", &["true", "false"])?;
    form.word("MachineDetection", &["Enable", "DetectMessageEnd"])?;
    form.number("TimeLimit", 1..=86_400, 20_001)?; // *
    let timeout_secs = form.number("Timeout", 1..=600, 20_001)?.unwrap_or(60); // *
    let mut events = form.all("StatusCallbackEvent").to_vec();
    if events.is_empty() {
        events.push("completed".into());
    }
    Ok(Call { to: to.into(), from: from.into(), twiml: twiml.into(), callback: callback(form)?, events, timeout_secs })
}
