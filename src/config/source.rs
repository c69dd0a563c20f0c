//! The file and the environment, merged, with the memory of where each value came from.
//!
//! What is easily got wrong: a variable is text, and a list or a number is wanted. It is read as TOML would read it.

use super::reading::{self, syntax};
use super::{Config, Fault};
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
        let unreadable = || Fault::refuse(&self.file, "", "The file cannot be read as TOML.");
        let values = self.figment.data().map_err(|_| unreadable())?.remove(&Profile::Default).unwrap_or_default();
        let (config, bad) = reading::values::<Config>(values);
        let faults = bad.into_iter().map(|bad| self.fault(&bad.key, bad.sentence)).collect();
        Ok((config.unwrap_or_default(), faults))
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
