//! The bank's templates, one TOML file each. Enter: the files and the masking policy; leaves: a catalogue that can render, or all faults at once.
//!
//! What is easily got wrong: compiling asks whether the files can be understood. Whether a template may be *used* (classes, TTL, approved hash) is the lint's.

use super::policy::Masking;
use super::scan::Contacts;
use super::text::{Text, engine};
use crate::config::{Fault, parse};
use crate::delivery::Channel;
use minijinja::Environment;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// All templates, compiled.
pub struct Catalogue {
    pub(super) engine: Environment<'static>,
    pub(super) templates: BTreeMap<String, Template>,
    pub(super) masking: Masking,
    pub(super) contacts: Contacts,
}

pub(super) struct Template {
    pub file: String,
    pub whatsapp: Option<WhatsApp>,
    pub sms: Option<Text>,
    pub voice: Option<Voice>,
}

pub(super) struct WhatsApp {
    pub name: String,
    pub language: String,
    pub category: Category,
    pub ttl: Option<Duration>,
    pub code_expiration_minutes: Option<u8>,
    /// The local copy of the approved body; an authentication template has none.
    pub body: Option<Body>,
    pub approved_sha256: Option<String>,
}

pub(super) struct Body {
    pub source: String,
    pub parts: Vec<BodyPart>,
    pub parameters: Vec<(Option<String>, Text)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyPart {
    Words(String),
    Parameter(usize),
}

pub(super) struct Voice {
    pub greeting: Text,
    pub after_keypress: AfterKeypress,
}

/// What a WhatsApp template is for, in Meta's words. MARKETING is not among them: Recado sends none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Category {
    /// A notice about the customer's own affairs.
    Utility,
    /// A one-time code; its text is Meta's.
    Authentication,
}

/// What is said once somebody pressed a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AfterKeypress {
    Code,
    Nothing,
}

/// A template as it stands at Meta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderTemplate<'a> {
    /// The catalogue's name of it.
    pub template: &'a str,
    /// Its name at Meta.
    pub name: &'a str,
    /// Its language at Meta.
    pub language: &'a str,
    /// What it is for.
    pub category: Category,
    /// How long Meta tries to deliver it; `None`: Meta's default of 30 days (10 minutes for authentication).
    pub ttl: Option<Duration>,
    /// How many parameters its body has.
    pub parameters: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    whatsapp: Option<WhatsAppBlock>,
    sms: Option<SmsBlock>,
    voice: Option<VoiceBlock>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhatsAppBlock {
    name: String,
    language: String,
    category: Category,
    #[serde(default, with = "humantime_serde")]
    ttl: Option<Duration>,
    code_expiration_minutes: Option<u8>,
    body: Option<String>,
    parameters: Option<Parameters>,
    approved_sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Parameters {
    Numbered(Vec<String>),
    Named(BTreeMap<String, String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SmsBlock {
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VoiceBlock {
    greeting: String,
    after_keypress: AfterKeypress,
}

impl Catalogue {
    /// Compiles the files of `config/templates/`: pairs of a file's name, for faults, and its text. Order does not matter.
    ///
    /// Errors: every fault of every file at once. An empty catalogue is legal; a route that names a template of it is not (see [`super::lint`]).
    pub fn compile(files: &[(String, String)], masking: Masking) -> Result<Self, Vec<Fault>> {
        let mut compiling = Compiling { engine: engine(masking.bank(), masking.contact()), templates: BTreeMap::new(), faults: Vec::new() };
        for (file, text) in files {
            compiling.file(file, text);
        }
        let Compiling { engine, templates, faults } = compiling;
        let contacts = Contacts::new(masking.contacts());
        if faults.is_empty() { Ok(Self { engine, templates, masking, contacts }) } else { Err(faults) }
    }

    /// The names of all templates, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.templates.keys().map(String::as_str)
    }

    /// The channels for which a template has a text; none for a template that is not there.
    pub fn channels(&self, template: &str) -> BTreeSet<Channel> {
        let Some(entry) = self.templates.get(template) else { return BTreeSet::new() };
        let texts = [(Channel::WhatsApp, entry.whatsapp.is_some()), (Channel::Sms, entry.sms.is_some()), (Channel::Voice, entry.voice.is_some())];
        texts.into_iter().filter(|(_, has_text)| *has_text).map(|(channel, _)| channel).collect()
    }

    /// How long Meta tries to deliver a template; `None` where it has no TTL of its own or no text for WhatsApp.
    pub fn whatsapp_ttl(&self, template: &str) -> Option<Duration> {
        self.templates.get(template)?.whatsapp.as_ref()?.ttl
    }

    /// The masking policy it renders under.
    pub fn masking(&self) -> &Masking {
        &self.masking
    }

    /// The templates that must stand at Meta, with their TTL.
    pub fn provider_templates(&self) -> impl Iterator<Item = ProviderTemplate<'_>> {
        self.templates.iter().filter_map(|(template, entry)| {
            let whatsapp = entry.whatsapp.as_ref()?;
            Some(ProviderTemplate {
                template,
                name: &whatsapp.name,
                language: &whatsapp.language,
                category: whatsapp.category,
                ttl: whatsapp.ttl,
                parameters: whatsapp.body.as_ref().map_or(1, |body| body.parameters.len()),
            })
        })
    }
}

struct Compiling {
    engine: Environment<'static>,
    templates: BTreeMap<String, Template>,
    faults: Vec<Fault>,
}

impl Compiling {
    fn file(&mut self, file: &str, text: &str) {
        let parsed: File = match parse(file, text) {
            Ok(parsed) => parsed,
            Err(bad) => return self.faults.extend(bad),
        };
        if !is_name(&parsed.name) {
            self.fault(file, "name", "A name has small letters, digits and `_` only.".to_owned());
        }
        if self.templates.contains_key(&parsed.name) {
            self.fault(file, "name", format!("There is another template `{}`.", parsed.name));
        }
        if parsed.whatsapp.is_none() && parsed.sms.is_none() && parsed.voice.is_none() {
            self.fault(file, "", "A template has at least one of [whatsapp], [sms], [voice].".to_owned());
        }
        let name = parsed.name;
        let whatsapp = parsed.whatsapp.and_then(|block| self.whatsapp(file, &name, block));
        let sms = parsed.sms.and_then(|block| self.text(file, "sms.text", format!("{name}/sms"), &block.text));
        let voice = parsed.voice.and_then(|block| {
            let greeting = self.text(file, "voice.greeting", format!("{name}/voice"), &block.greeting)?;
            Some(Voice { greeting, after_keypress: block.after_keypress })
        });
        self.templates.insert(name, Template { file: file.to_owned(), whatsapp, sms, voice });
    }

    fn whatsapp(&mut self, file: &str, name: &str, block: WhatsAppBlock) -> Option<WhatsApp> {
        let body = match (block.category, &block.body) {
            (Category::Authentication, None) => None,
            (Category::Authentication, Some(_)) => {
                self.fault(file, "whatsapp.body", "The text of an AUTHENTICATION template is Meta's: it has no local copy.".to_owned());
                return None;
            }
            (Category::Utility, None) => {
                self.fault(file, "whatsapp.body", "A UTILITY template has a local copy of its approved body.".to_owned());
                return None;
            }
            (Category::Utility, Some(body)) => Some(self.body(file, name, body, block.parameters.as_ref())?),
        };
        if body.is_none() && block.parameters.is_some() {
            self.fault(file, "whatsapp.parameters", "An AUTHENTICATION template has one parameter, the code, which needs no line.".to_owned());
            return None;
        }
        Some(WhatsApp {
            name: block.name,
            language: block.language,
            category: block.category,
            ttl: block.ttl,
            code_expiration_minutes: block.code_expiration_minutes,
            body,
            approved_sha256: block.approved_sha256,
        })
    }

    fn body(&mut self, file: &str, name: &str, source: &str, parameters: Option<&Parameters>) -> Option<Body> {
        let sources: Vec<(Option<String>, &String)> = match parameters {
            None => Vec::new(),
            Some(Parameters::Numbered(sources)) => sources.iter().map(|source| (None, source)).collect(),
            Some(Parameters::Named(sources)) => sources.iter().map(|(name, source)| (Some(name.clone()), source)).collect(),
        };
        let mut texts = Vec::new();
        for (index, (parameter, source)) in sources.into_iter().enumerate() {
            let key = parameter.clone().unwrap_or_else(|| (index + 1).to_string());
            let text = self.text(file, &format!("whatsapp.parameters.{key}"), format!("{name}/whatsapp/{key}"), source);
            texts.push(text.map(|text| (parameter, text)));
        }
        let texts: Vec<_> = texts.into_iter().collect::<Option<_>>()?;
        match body_parts(source, &texts) {
            Ok(parts) => Some(Body { source: source.to_owned(), parts, parameters: texts }),
            Err(sentence) => {
                self.fault(file, "whatsapp.body", sentence);
                None
            }
        }
    }

    fn text(&mut self, file: &str, key: &str, name: String, source: &str) -> Option<Text> {
        match Text::compile(&mut self.engine, name, source) {
            Ok(text) => Some(text),
            Err(sentence) => {
                self.fault(file, key, sentence);
                None
            }
        }
    }

    fn fault(&mut self, file: &str, key: &str, sentence: String) {
        self.faults.push(Fault::refuse(file, key, sentence));
    }
}

/// Small letters, digits and `_`: what Meta allows in a template's name too.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 512 && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// Words and parameters of an approved body, `{{1}}` or `{{name}}`. Each parameter stands there, and nothing else does.
fn body_parts(source: &str, parameters: &[(Option<String>, Text)]) -> Result<Vec<BodyPart>, String> {
    let mut parts = Vec::new();
    for (index, section) in source.split("{{").enumerate() {
        let words = if index == 0 {
            section
        } else {
            let (inside, words) = section.split_once("}}").ok_or("A `{{` in the body is not closed.")?;
            let position = parameters.iter().enumerate().position(|(index, (name, _))| match name {
                Some(name) => name == inside,
                None => (index + 1).to_string() == inside,
            });
            parts.push(BodyPart::Parameter(position.ok_or_else(|| format!("The body's `{{{{{inside}}}}}` has no line in `parameters`."))?));
            words
        };
        if !words.is_empty() {
            parts.push(BodyPart::Words(words.to_owned()));
        }
    }
    let unused = (0..parameters.len()).find(|index| !parts.contains(&BodyPart::Parameter(*index)));
    match unused {
        Some(index) => Err(format!("The body does not use parameter {}.", parameters[index].0.clone().unwrap_or_else(|| (index + 1).to_string()))),
        None => Ok(parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(texts: &[&str]) -> Result<Catalogue, Vec<Fault>> {
        let masking = Masking::parse("masking.toml", "[bank]\nname = \"Banco Exemplo\"\ncontact = \"0800 000 0000\"\n").unwrap();
        let files: Vec<_> = texts.iter().enumerate().map(|(index, text)| (format!("{index}.toml"), (*text).to_owned())).collect();
        Catalogue::compile(&files, masking)
    }

    fn keys(texts: &[&str]) -> Vec<(String, String)> {
        compile(texts).err().expect("it is refused").into_iter().map(|fault| (fault.file, fault.key)).collect()
    }

    fn pair(file: &str, key: &str) -> (String, String) {
        (file.into(), key.into())
    }

    #[test]
    fn all_faults_of_all_files_are_named_at_once() {
        let faults = keys(&[
            "name = \"a\"\n[sms]\ntext = \"{{ x | safe }}\"\n[voice]\ngreeting = \"{% if x %}\"\nafter_keypress = \"nothing\"\n",
            "name = \"a\"\n[sms]\ntext = \"x\"\n",
            "name = \"B\"\n[sms]\ntext = \"x\"\n",
            "name = \"c\"\n",
            "name = \"d\"\n[sms]\ntext = \"x\"\nfont = \"bold\"\n",
        ]);
        let expected = [("0.toml", "sms.text"), ("0.toml", "voice.greeting"), ("1.toml", "name"), ("2.toml", "name"), ("3.toml", ""), ("4.toml", "sms.font")];
        assert_eq!(faults, expected.map(|(file, key)| pair(file, key)));
    }

    #[test]
    fn all_values_of_one_template_that_cannot_be_read_are_told_at_once() {
        let text = "name = \"a\"\n[whatsapp]\nname = 5\ncategory = \"MARKETING\"\nttl = 30\n[voice]\ngreeting = \"x\"\nafter_keypress = \"sing\"\n";
        let expected = ["whatsapp.category", "whatsapp.language", "whatsapp.name", "whatsapp.ttl", "voice.after_keypress"];
        let mut found: Vec<_> = keys(&[text]).into_iter().map(|(_, key)| key).collect();
        found.sort();
        let mut expected = expected.map(str::to_owned).to_vec();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn bodies_and_their_parameters_fit_or_are_refused() {
        let whatsapp = |rest: &str| format!("name = \"a\"\n[whatsapp]\nname = \"a_30s\"\nlanguage = \"pt_BR\"\nttl = \"30s\"\n{rest}\n");
        for right in [
            "category = \"UTILITY\"\nbody = \"Olá {{1}}, {{2}}!\"\nparameters = [\"{{ x }}\", \"{{ y }}\"]",
            "category = \"UTILITY\"\nbody = \"Olá {{nome}}!\"\nparameters = { nome = \"{{ x }}\" }",
            "category = \"UTILITY\"\nbody = \"Olá!\"",
            "category = \"AUTHENTICATION\"",
        ] {
            assert!(compile(&[&whatsapp(right)]).is_ok(), "{right}");
        }
        for (wrong, key) in [
            ("category = \"UTILITY\"\nbody = \"Olá {{1}}, {{2}}!\"\nparameters = [\"{{ x }}\"]", "whatsapp.body"),
            ("category = \"UTILITY\"\nbody = \"Olá {{1}}!\"\nparameters = [\"{{ x }}\", \"{{ y }}\"]", "whatsapp.body"),
            ("category = \"UTILITY\"\nbody = \"Olá {{1}!\"\nparameters = [\"{{ x }}\"]", "whatsapp.body"),
            ("category = \"UTILITY\"\nbody = \"Olá {{ nome }}!\"\nparameters = { nome = \"{{ x }}\" }", "whatsapp.body"),
            ("category = \"UTILITY\"", "whatsapp.body"),
            ("category = \"AUTHENTICATION\"\nbody = \"x\"", "whatsapp.body"),
            ("category = \"AUTHENTICATION\"\nparameters = [\"{{ code }}\"]", "whatsapp.parameters"),
            ("category = \"MARKETING\"\nbody = \"x\"", "whatsapp.category"),
        ] {
            assert_eq!(keys(&[&whatsapp(wrong)]), [pair("0.toml", key)], "{wrong}");
        }
    }
}
