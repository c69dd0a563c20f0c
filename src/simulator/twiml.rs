//! TwiML: enters a document, leaves what is said and where a keypress goes, in the order in which Twilio runs it.
//!
//! Only what Recado may use: `Response` with `Gather`, `Say` (with `break` inside), `Pause` and `Hangup`; well-formed or a fault. What follows a
//! `Hangup` is never run. Faults name tags and attributes, never words that are said.

/// A document that can run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Document {
    /// The texts of all `Say` verbs that run when the caller presses nothing.
    pub(super) said: Vec<String>,
    /// The first `Gather`.
    pub(super) gather: Option<Gather>,
}

/// Waits for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gather {
    /// Where the key goes, unescaped.
    pub(super) action: String,
    /// How long it waits for one after the words in it.
    pub(super) timeout_secs: u64,
}

/// Why a document cannot run.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("TwiML is not well-formed: {0}")]
    Form(&'static str),
    #[error("TwiML may not hold a <{0}> here")]
    Verb(String),
    #[error("<{verb}> has a wrong {attribute}")]
    Attribute { verb: &'static str, attribute: &'static str },
}

pub(super) fn parse(text: &str) -> Result<Document, Fault> {
    let mut reader = Reader { rest: text.trim_start_matches('\u{feff}').trim_start() };
    if let Some(prolog) = reader.rest.strip_prefix("<?xml") {
        reader.rest = prolog.split_once("?>").ok_or(Fault::Form("the prolog does not end"))?.1;
    }
    let mut document = Document::default();
    let mut open: Vec<String> = Vec::new();
    let mut saying = String::new();
    let mut hung_up = false;
    while let Some(piece) = reader.next()? {
        match piece {
            Piece::Open { name, attributes, closed } => {
                verb(&open, &name)?;
                match name.as_str() {
                    "Gather" if !hung_up && document.gather.is_none() => document.gather = Some(gather(&attributes)?),
                    "Say" => {
                        voice(&attributes)?;
                        saying.clear();
                    }
                    "Hangup" => hung_up = true,
                    "break" => saying.push(' '),
                    _ => {}
                }
                if !closed {
                    open.push(name);
                }
            }
            Piece::Close(name) => {
                if open.pop().as_deref() != Some(&name) {
                    return Err(Fault::Form("a tag closes another one"));
                }
                if name == "Say" && !hung_up {
                    document.said.push(saying.split_whitespace().collect::<Vec<_>>().join(" "));
                }
                if open.is_empty() {
                    return if reader.rest.trim().is_empty() { Ok(document) } else { Err(Fault::Form("something follows the document")) };
                }
            }
            Piece::Text(words) if open.last().is_some_and(|it| it == "Say") => saying.push_str(&words),
            Piece::Text(words) if words.trim().is_empty() => {}
            Piece::Text(_) => return Err(Fault::Form("words outside of <Say>")),
        }
    }
    Err(Fault::Form("the document does not end"))
}

/// Which tag may stand in which.
fn verb(open: &[String], name: &str) -> Result<(), Fault> {
    let parent = open.last().map(String::as_str);
    let fits = match name {
        "Response" => parent.is_none(),
        "Gather" | "Hangup" => parent == Some("Response"),
        "Say" | "Pause" => matches!(parent, Some("Response" | "Gather")),
        "break" => parent == Some("Say"),
        _ => false,
    };
    if fits { Ok(()) } else { Err(Fault::Verb(name.to_owned())) }
}

type Attributes = Vec<(String, String)>;

fn find<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a str> {
    attributes.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
}

fn gather(attributes: &Attributes) -> Result<Gather, Fault> {
    let wrong = |attribute| Fault::Attribute { verb: "Gather", attribute };
    let action = find(attributes, "action").filter(|it| super::twilio_checks::webhook_url(it)).ok_or(wrong("action"))?.to_owned();
    if find(attributes, "method").is_some_and(|it| it != "POST") {
        return Err(wrong("method"));
    }
    if find(attributes, "input").is_some_and(|it| it != "dtmf") {
        return Err(wrong("input"));
    }
    let timeout_secs = find(attributes, "timeout").map_or(Ok(5), str::parse).map_err(|_| wrong("timeout"))?;
    Ok(Gather { action, timeout_secs })
}

/// A wrong pair of voice and language fails the verb (channels page 4.5).
fn voice(attributes: &Attributes) -> Result<(), Fault> {
    let language = find(attributes, "language").unwrap_or("en-US");
    let known = match find(attributes, "voice") {
        None => true,
        Some(voice) if voice.starts_with("Google.") => voice.starts_with(&format!("Google.{language}-")),
        Some(voice) => {
            let name = voice.strip_prefix("Polly.").and_then(|it| it.split('-').next());
            language == "pt-BR" && matches!(name, Some("Camila" | "Vitoria" | "Ricardo" | "Thiago"))
        }
    };
    if known { Ok(()) } else { Err(Fault::Attribute { verb: "Say", attribute: "voice" }) }
}

enum Piece {
    Open { name: String, attributes: Attributes, closed: bool },
    Close(String),
    Text(String),
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn next(&mut self) -> Result<Option<Piece>, Fault> {
        let Some(tag) = self.rest.strip_prefix('<') else {
            if self.rest.is_empty() {
                return Ok(None);
            }
            let end = self.rest.find('<').unwrap_or(self.rest.len());
            let (words, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Ok(Some(Piece::Text(unescape(words)?)));
        };
        if let Some(close) = tag.strip_prefix('/') {
            let (name, rest) = close.split_once('>').ok_or(Fault::Form("a tag does not end"))?;
            self.rest = rest;
            return Ok(Some(Piece::Close(name.trim_end().to_owned())));
        }
        let end = tag.find(|it: char| !it.is_ascii_alphanumeric()).ok_or(Fault::Form("a tag does not end"))?;
        let (name, mut rest) = tag.split_at(end);
        let mut attributes = Vec::new();
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix("/>") {
                self.rest = after;
                return Ok(Some(Piece::Open { name: name.to_owned(), attributes, closed: true }));
            }
            if let Some(after) = rest.strip_prefix('>') {
                self.rest = after;
                return Ok(Some(Piece::Open { name: name.to_owned(), attributes, closed: false }));
            }
            let (key, value) = rest.split_once("=\"").ok_or(Fault::Form("an attribute has no value in quotes"))?;
            let (value, after) = value.split_once('"').ok_or(Fault::Form("an attribute does not end"))?;
            if key.is_empty() || key.bytes().any(|byte| !byte.is_ascii_alphanumeric()) || value.contains('<') {
                return Err(Fault::Form("an attribute is misspelt"));
            }
            attributes.push((key.to_owned(), unescape(value)?));
            rest = after;
        }
    }
}

fn unescape(text: &str) -> Result<String, Fault> {
    let mut out = String::with_capacity(text.len());
    let mut parts = text.split('&');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (entity, rest) = part.split_once(';').ok_or(Fault::Form("an ampersand stands alone"))?;
        out.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let digits = entity.strip_prefix('#').ok_or(Fault::Form("an unknown entity"))?;
                let number = digits.strip_prefix('x').map_or_else(|| digits.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok());
                number.and_then(char::from_u32).ok_or(Fault::Form("an entity is no letter"))?
            }
        });
        out.push_str(rest);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = r#"<Response><Gather input="dtmf" numDigits="1" timeout="6" method="POST" action="https://h/voice?a=x&amp;c=y">
        <Say language="pt-BR" voice="Polly.Camila-Neural">Para ouvir, aperte 1.</Say></Gather><Hangup/><Say>never</Say></Response>"#;

    #[test]
    fn a_prompt_is_read_as_twilio_runs_it() {
        let document = parse(FIRST).unwrap();
        assert_eq!(document.said, ["Para ouvir, aperte 1."]);
        assert_eq!(document.gather, Some(Gather { action: "https://h/voice?a=x&c=y".into(), timeout_secs: 6 }));
        let spelt = parse("<?xml version=\"1.0\"?><Response><Say>4 <break time=\"500ms\"/> 8 &lt;&#225;</Say></Response>").unwrap();
        assert_eq!(spelt, Document { said: vec!["4 8 <á".into()], gather: None });
    }

    #[test]
    fn what_twilio_could_not_run_is_a_fault() {
        for bad in [
            "",
            "Olá",
            "<Response>",
            "<Response><Say>a</Response></Say>",
            "<Response><Say>a & b</Say></Response>",
            "<Response><Dance/></Response>",
            "<Response>words</Response>",
            "<Response><Gather action=\"/relative\"/></Response>",
            "<Response><Say voice=\"Polly.Camila\">a</Say></Response>",
            "<Response></Response><Response></Response>",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
