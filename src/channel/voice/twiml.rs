//! What Twilio's voice is told to say (TwiML). Every value is XML-escaped here; text in, one document out.

use crate::channel::Unfit;
use crate::delivery::Reason;
use zeroize::Zeroizing;

/// The document that goes with the call: the greeting, then six seconds for the key. Without a key the call hangs up, so no voicemail hears more.
pub(super) fn greeting(text: &str, keypress_url: &str, voice: &str) -> Result<Zeroizing<String>, Unfit> {
    let parts = [
        r#"<Response><Gather input="dtmf" numDigits="1" timeout="6" method="POST" action=""#,
        keypress_url,
        r#"">"#,
        SAY,
        voice,
        r#"">"#,
        text,
        "</Say></Gather><Hangup/></Response>",
    ];
    let document = build(&parts, &[1, 4, 6]);
    if document.chars().count() > TWIML_CHARS_MAX {
        return Err(Unfit { reason: Reason::TooLong, field: "greeting" });
    }
    Ok(document)
}

/// The answer to the keypress: the code twice, one sign at a time, with half a second between.
pub(super) fn code(code: &str, voice: &str) -> Zeroizing<String> {
    let first = signs(code);
    build(&["<Response>", SAY, voice, r#"">Seu código é: "#, &first, r#" <break time="1s"/> Repito: "#, &first, "</Say><Hangup/></Response>"], &[2])
}

/// The answer to a keypress in one fixed sentence.
pub(super) fn sentence(text: &str, voice: &str) -> Zeroizing<String> {
    build(&["<Response>", SAY, voice, r#"">"#, text, "</Say><Hangup/></Response>"], &[2, 4])
}

/// The default language is en-US: each verb must name its own.
const SAY: &str = r#"<Say language="pt-BR" voice=""#;
const BREAK: &str = r#" <break time="500ms"/> "#;
/// Twilio's limit of the parameter `Twiml`.
const TWIML_CHARS_MAX: usize = 4_000;
/// The longest replacement of one byte, `&quot;`.
const ESCAPE_BYTES_MAX: usize = 6;

/// A code sign by sign. "Meia" for 6 is how Brazil says numbers aloud: "seis" and "três" sound alike on a bad line.
fn signs(code: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(code.len() * (BREAK.len() + ESCAPE_BYTES_MAX)));
    for (index, sign) in code.chars().filter(|sign| !sign.is_whitespace()).enumerate() {
        if index > 0 {
            text.push_str(BREAK);
        }
        match sign {
            '6' => text.push_str("meia"),
            sign => escape(sign, &mut text),
        }
    }
    text
}

/// Joins `parts` in a string that is allocated once; those named in `foreign` are escaped.
fn build(parts: &[&str], foreign: &[usize]) -> Zeroizing<String> {
    let mut document = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len() * ESCAPE_BYTES_MAX).sum()));
    for (index, part) in parts.iter().enumerate() {
        if foreign.contains(&index) {
            part.chars().for_each(|sign| escape(sign, &mut document));
        } else {
            document.push_str(part);
        }
    }
    document
}

fn escape(sign: char, out: &mut String) {
    match sign {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&apos;"),
        // XML 1.0 forbids them even as references.
        sign if sign.is_control() => out.push(' '),
        sign => out.push(sign),
    }
}
