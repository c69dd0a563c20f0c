//! Values into a type, with everything that is wrong with them.
//!
//! What is easily got wrong: a reader of TOML stops at the first value that it cannot take. Here that value is noted, taken out, and the rest read again,
//! so that every fault is found. Where a value must be there, another takes its place until the end: it is never used.

use super::Fault;
use figment::error::Kind;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Value};
use figment::{Profile, Provider};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// More faults than anybody reads; a bound for the loop that finds them.
const FAULTS_MAX: usize = 200;

/// One value that cannot be read.
pub(super) struct Bad {
    /// Its key, with dots.
    pub key: String,
    /// What it must be.
    pub sentence: String,
}

/// Reads the TOML in `text`; `file` names it in faults.
///
/// Errors: every value that cannot be read, by its key; or the one line that is no TOML. None of them holds a value of the file.
pub fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Vec<Fault>> {
    if let Some(fault) = syntax(file, text) {
        return Err(vec![fault]);
    }
    let error = match toml::from_str(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let found = Toml::string(text).data().ok().and_then(|mut data| data.remove(&Profile::Default)).unwrap_or_default();
    let (_, bad) = values::<T>(found);
    if bad.is_empty() {
        return Err(vec![Fault::refuse(file, "", format!("Line {} cannot be read.", line(&error, text)))]);
    }
    Err(bad.into_iter().map(|bad| Fault::refuse(file, bad.key, bad.sentence)).collect())
}

fn line(error: &toml::de::Error, text: &str) -> usize {
    error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1)
}

/// Reads `values`. Returns what they are, with what had to be taken out; nothing where no value can take the place of one that must be there.
pub(super) fn values<T: DeserializeOwned>(mut values: Dict) -> (Option<T>, Vec<Bad>) {
    let mut bad = Vec::new();
    // What was taken out or was never there, and what may still take its place.
    let mut places = BTreeMap::new();
    while bad.len() < FAULTS_MAX {
        let error = match Value::from(values.clone()).deserialize::<T>() {
            Ok(value) => return (Some(value), bad),
            Err(error) => error,
        };
        let mut path = error.path.clone();
        let missing = if let Kind::MissingField(name) = &error.kind {
            path.push(name.to_string());
            true
        } else {
            false
        };
        if !places.contains_key(&path) {
            // What is wrong inside of a stand-in is no news.
            if !places.keys().any(|place: &Vec<String>| path.starts_with(place)) {
                bad.push(Bad { key: path.join("."), sentence: sentence(&error.kind) });
            }
            if !missing {
                let Some(place) = remove(&mut values, &path) else { break };
                let mut stand_ins = stand_ins();
                if let Kind::UnknownVariant(_, known) = &error.kind {
                    stand_ins.extend(known.first().map(|word| Value::from(*word)));
                }
                places.entry(place).or_insert(stand_ins);
                continue;
            }
            places.insert(path.clone(), stand_ins());
        }
        let stand_in = match &error.kind {
            Kind::UnknownVariant(_, [word, ..]) => Some(Value::from(*word)),
            _ => places.get_mut(&path).and_then(Vec::pop),
        };
        let (Some(stand_in), Some((last, parents))) = (stand_in, path.split_last()) else { break };
        let Some(table) = table(&mut values, parents) else { break };
        table.insert(last.clone(), stand_in);
    }
    (None, bad)
}

/// One value of each form, the likeliest last.
fn stand_ins() -> Vec<Value> {
    vec![Value::from(Vec::<Value>::new()), Value::from(Dict::new()), Value::from(true), Value::from(0), Value::from("1s"), Value::from("")]
}

/// Where the file is no TOML: the line, and never the text (the parser's own words quote it).
pub(super) fn syntax(file: &str, text: &str) -> Option<Fault> {
    let error = text.parse::<toml::Table>().err()?;
    Some(Fault::refuse(file, "", format!("Line {} is no TOML.", line(&error, text))))
}

/// What is wrong, in words that hold nothing of the value.
fn sentence(kind: &Kind) -> String {
    match kind {
        Kind::UnknownField(_, known) => format!("There is no such option here; those that exist are: {}.", known.join(", ")),
        Kind::UnknownVariant(_, known) => format!("It must be one of: {}.", known.join(", ")),
        Kind::InvalidType(_, wanted) | Kind::InvalidValue(_, wanted) | Kind::InvalidLength(_, wanted) => format!("It must be {}.", plain(wanted)),
        Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => "The number is out of range.".into(),
        Kind::MissingField(_) => "It is missing.".into(),
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

/// Takes out what stands at `path`, an element of a list with its list; returns what went.
fn remove(values: &mut Dict, path: &[String]) -> Option<Vec<String>> {
    (1..=path.len()).rev().find_map(|length| {
        let (last, parents) = path[..length].split_last()?;
        table(values, parents)?.remove(last)?;
        Some(path[..length].to_vec())
    })
}

/// The table at `path`, where there is one.
fn table<'v>(values: &'v mut Dict, path: &[String]) -> Option<&'v mut Dict> {
    let Some((first, rest)) = path.split_first() else { return Some(values) };
    let mut value = values.get_mut(first)?;
    for part in rest {
        value = match value {
            Value::Dict(_, inner) => inner.get_mut(part)?,
            Value::Array(_, list) => list.get_mut(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    match value {
        Value::Dict(_, inner) => Some(inner),
        _ => None,
    }
}
