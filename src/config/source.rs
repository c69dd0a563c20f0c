//! The file and the environment, merged, with the memory of where each value came from.
//!
//! What is easily got wrong: a reader of TOML stops at the first value that it cannot take. Here that value is noted, taken out, and the rest read again,
//! so that every fault is found.

use super::{Config, Fault};
use figment::error::Kind;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use std::path::Path;

/// In front of every variable that overrides a setting.
const PREFIX: &str = "RECADO_";
/// Variables with our prefix that are no settings: those of the Makefile.
const NOT_SETTINGS: [&str; 2] = ["RECADO_CACHE", "RECADO_CONFORMANCE"];
/// What Kubernetes tells every pod about a service called `recado` or `recado-…` (service links), after our prefix. A setting below a section has `__` in its
/// name, and none at the top is called so.
const SERVICE_LINK: &str = "^([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$";
/// More faults than anybody reads; a bound for the loop that finds them.
const FAULTS_MAX: usize = 200;

/// What the file and the environment say.
pub(super) struct Source {
    figment: Figment,
    file: String,
    unreadable: Option<Fault>,
}

impl Source {
    pub(super) fn new(path: &Path, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let file = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        let (text, unreadable) = match std::fs::read_to_string(path) {
            Ok(text) => (text, None),
            Err(error) => (String::new(), Some(Fault::refuse(&file, "", format!("The file cannot be read ({}).", error.kind())))),
        };
        let unreadable = unreadable.or_else(|| syntax(&file, &text));
        let text = if unreadable.is_some() { String::new() } else { text };
        let figment = Figment::new().merge(Toml::string(&text)).merge(Variables::new(variables));
        Self { figment, file, unreadable }
    }

    /// The settings as far as they can be read, and what could not. Error: the file as a whole cannot be read.
    pub(super) fn read(&self) -> Result<(Config, Vec<Fault>), Fault> {
        if let Some(fault) = &self.unreadable {
            return Err(fault.clone());
        }
        let mut faults = Vec::new();
        let unreadable = || Fault::refuse(&self.file, "", "The file cannot be read as TOML.");
        let mut values = self.figment.data().map_err(|_| unreadable())?.remove(&Profile::Default).unwrap_or_default();
        loop {
            let error = match Value::from(values.clone()).deserialize::<Config>() {
                Ok(config) => return Ok((config, faults)),
                Err(error) => error,
            };
            let path = error.path.clone();
            faults.push(self.fault(&path.join("."), sentence(&error.kind)));
            // A fault that cannot be taken out would be found for ever.
            if !remove(&mut values, &path) || faults.len() >= FAULTS_MAX {
                return Ok((Config::default(), faults));
            }
        }
    }

    /// A refusal, with the name of the file or variable from which the key's value came.
    pub(super) fn fault(&self, key: &str, sentence: impl Into<String>) -> Fault {
        Fault::refuse(self.place(key), key, sentence)
    }

    /// Where the value of `key` came from: the environment, else the file (where one would write it, too, when nothing is said about it).
    pub(super) fn place(&self, key: &str) -> &str {
        match self.figment.find_metadata(key) {
            Some(metadata) if metadata.name == Variables::NAME => Variables::NAME,
            _ => &self.file,
        }
    }
}

/// Where the file is no TOML: the line, and never the text (the parser's own words quote it).
fn syntax(file: &str, text: &str) -> Option<Fault> {
    let error = text.parse::<toml::Table>().err()?;
    let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    Some(Fault::refuse(file, "", format!("Line {line} is no TOML.")))
}

/// What is wrong, in words that hold nothing of the value.
fn sentence(kind: &Kind) -> String {
    match kind {
        Kind::UnknownField(_, known) => format!("There is no such option here; those that exist are: {}.", known.join(", ")),
        Kind::UnknownVariant(_, known) => format!("It must be one of: {}.", known.join(", ")),
        Kind::InvalidType(_, wanted) | Kind::InvalidValue(_, wanted) | Kind::InvalidLength(_, wanted) => format!("It must be {}.", plain(wanted)),
        Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => "The number is out of range.".into(),
        Kind::MissingField(name) => format!("`{name}` is missing."),
        Kind::DuplicateField(name) => format!("`{name}` stands here twice."),
        Kind::Message(_) | Kind::Unsupported(_) | Kind::UnsupportedKey(..) => "The value has the wrong form.".into(),
    }
}

/// What a type of ours is to an operator. Our own types speak for themselves.
fn plain(wanted: &str) -> String {
    let whole = |least: &str, most: &str| format!("a whole number from {least} to {most}");
    match wanted {
        "u8" => whole("0", &u8::MAX.to_string()),
        "u16" => whole("0", &u16::MAX.to_string()),
        "u32" => whole("0", &u32::MAX.to_string()),
        "u64" | "usize" => "a whole number, 0 or more".into(),
        "i8" => whole(&i8::MIN.to_string(), &i8::MAX.to_string()),
        "i16" => whole(&i16::MIN.to_string(), &i16::MAX.to_string()),
        "i32" => whole(&i32::MIN.to_string(), &i32::MAX.to_string()),
        "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a string" | "string" | "str" | "path string" => "text in quotes".into(),
        "a boolean" | "bool" => "`true` or `false`".into(),
        "a sequence" => "a list".into(),
        "a map" => "a table".into(),
        "a duration" => "a span of time such as \"30s\"".into(),
        "socket address" => "an address with a port, such as \"127.0.0.1:8080\"".into(),
        _ if wanted.starts_with("struct ") => "a table".into(),
        _ if wanted.starts_with("enum ") || wanted.contains("variant") => "one of the words that the manual names".into(),
        _ => wanted.into(),
    }
}

/// Takes out what stands at `path`; false when there is nothing.
fn remove(values: &mut Dict, path: &[String]) -> bool {
    match path {
        [] => false,
        [last] => values.remove(last).is_some(),
        [first, rest @ ..] => match values.get_mut(first) {
            Some(Value::Dict(_, inner)) => {
                // An element of a list goes with its whole list.
                if rest.len() > 1 && !matches!(inner.get(&rest[0]), Some(Value::Dict(..))) { inner.remove(&rest[0]).is_some() } else { remove(inner, rest) }
            }
            Some(_) => values.remove(first).is_some(),
            None => false,
        },
    }
}

/// The environment's part: `RECADO_KAFKA__BOOTSTRAP` is `kafka.bootstrap`. A value is read as TOML would read it, and as text where that fails.
struct Variables(Dict);

impl Variables {
    const NAME: &str = "environment";

    fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut dict = Dict::new();
        let service_link = regex_lite::Regex::new(SERVICE_LINK).expect("the expression is a constant");
        for (name, value) in variables {
            if NOT_SETTINGS.contains(&name.as_str()) {
                continue;
            }
            let Some(key) = name.strip_prefix(PREFIX).filter(|key| !key.is_empty()) else { continue };
            if !key.contains("__") && service_link.is_match(key) {
                continue;
            }
            let key = key.to_lowercase();
            let path: Vec<&str> = key.split("__").collect();
            insert(&mut dict, &path, value.parse().expect("figment reads any text as a value"));
        }
        Self(dict)
    }
}

fn insert(dict: &mut Dict, path: &[&str], value: Value) {
    match path {
        [] => {}
        [last] => {
            dict.insert((*last).to_owned(), value);
        }
        [first, rest @ ..] => {
            let inner = dict.entry((*first).to_owned()).or_insert_with(|| Value::from(Dict::new()));
            if let Value::Dict(_, inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

impl Provider for Variables {
    fn metadata(&self) -> Metadata {
        Metadata::named(Self::NAME)
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.0.clone()))
    }
}
