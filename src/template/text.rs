//! One text of the catalogue: words with places for values. Enters: the source as a bank wrote it; leaves: words and places in order.
//!
//! What is easily got wrong: the engine never sees a value. A field is given to it as a place, which prints as a mark of private characters; the words
//! between the marks are what the bank wrote. So no expression, filter or error of a template can carry a customer's data.

use super::masking::Format;
use minijinja::value::{Object, ObjectRepr, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// The name of the one-time code in a text.
pub(super) const CODE: &str = "code";
/// The name of the bank's name in a text.
pub(super) const BANK: &str = "bank";
/// The name of the bank's contact in a text.
pub(super) const CONTACT: &str = "contact";

/// What one text may cost: some hundred times what a long one without loops takes (judgement).
const FUEL: u64 = 10_000;

const OPEN: char = '\u{e000}';
const MIDDLE: char = '\u{e001}';
const CLOSE: char = '\u{e002}';

/// Words or the place of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// What the bank wrote.
    Words(String),
    /// Where a field's value goes, and how it is written.
    Place { field: String, format: Format },
}

/// A text that was compiled.
#[derive(Debug)]
pub(super) struct Text {
    name: String,
    /// The source, for the lint.
    pub source: String,
    /// The fields it names (bank and contact are none).
    pub fields: BTreeSet<String>,
    /// Those of them that a record may lack: behind their every use stands a `default`.
    pub optional: BTreeSet<String>,
    /// What it consists of when every field is there.
    pub parts: Vec<Part>,
    /// What it consists of when the optional ones are not.
    pub least: Vec<Part>,
}

#[derive(Debug)]
struct Place {
    field: String,
    format: Format,
}

impl Object for Place {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{OPEN}{}{MIDDLE}{}{CLOSE}", self.field, self.format.word())
    }
}

/// Words that stand where a field is missing. No format changes them.
#[derive(Debug)]
struct Otherwise(String);

impl Object for Otherwise {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An engine that knows five filters, no function, no test, no statement, and is strict about names.
pub(super) fn engine(bank: &str, contact: &str) -> Environment<'static> {
    let mut engine = Environment::empty();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_fuel(Some(FUEL));
    engine.set_auto_escape_callback(|_| AutoEscape::None); // the channels escape: JSON and XML are theirs
    engine.add_global(BANK, bank);
    engine.add_global(CONTACT, contact);
    engine.add_filter("default", or_else);
    engine.add_filter("date", |value: Value| reformat(value, Format::Date));
    engine.add_filter("day", |value: Value| reformat(value, Format::Day));
    engine.add_filter("time", |value: Value| reformat(value, Format::Time));
    engine.add_filter("hidden", |value: Value| reformat(value, Format::Hidden));
    engine
}

/// The filter `default`. Its words are marked as such, for the formats behind it; an escape in a quoted word gets none of our own marks into the text.
fn or_else(value: Value, otherwise: Value) -> Result<Value, Error> {
    if !value.is_undefined() {
        return Ok(value);
    }
    if otherwise.is_undefined() || otherwise.downcast_object_ref::<Place>().is_some() {
        return Ok(otherwise);
    }
    let words = otherwise.to_string();
    if is_visible(&words) { Ok(Value::from_object(Otherwise(words))) } else { Err(Error::new(ErrorKind::InvalidOperation, "it holds an invisible character")) }
}

/// A filter that writes a field in another way. A missing field stays missing: a `default` may stand behind the filter, and without one the engine refuses to
/// print it. The words of a `default` in front stay as they are.
fn reformat(value: Value, format: Format) -> Result<Value, Error> {
    if value.is_undefined() || value.downcast_object_ref::<Otherwise>().is_some() {
        return Ok(value);
    }
    match value.downcast_object_ref::<Place>() {
        Some(place) => Ok(Value::from_object(Place { field: place.field.clone(), format })),
        None => Err(Error::new(ErrorKind::InvalidOperation, "only a field has a format")),
    }
}

impl Text {
    /// Compiles `source` into `engine` under `name`. The error is a sentence about the source.
    pub fn compile(engine: &mut Environment<'static>, name: String, source: &str) -> Result<Self, String> {
        if source.contains("{%") || source.contains("{#") {
            return Err("A text has `{{ fields }}` only: no statement, loop, include or comment.".to_owned());
        }
        if !is_logic_less(source) {
            return Err("Between `{{` and `}}` stands one field, with filters behind it: `{{ payer_name | default('outra conta') }}`.".to_owned());
        }
        if !is_visible(source) {
            return Err("A text holds no control, private or invisible character.".to_owned());
        }
        engine.add_template_owned(name.clone(), source.to_owned()).map_err(|error| sentence(&error))?;
        let template = engine.get_template(&name).map_err(|error| sentence(&error))?;
        let fields: BTreeSet<String> = template.undeclared_variables(false).into_iter().filter(|name| name != BANK && name != CONTACT).collect();
        let optional = optional(source, &fields);
        let mut text = Self { name, source: source.to_owned(), fields, optional, parts: Vec::new(), least: Vec::new() };
        text.parts = text.arrange(engine, |_| true).map_err(|error| sentence(&error))?;
        let least = text.arrange(engine, |field| !text.optional.contains(field));
        text.least = least.map_err(|_| "The text cannot be rendered where the record lacks a field that has a `default`.".to_owned())?;
        Ok(text)
    }

    /// Words and places where `is_there` tells which fields the record has. A field that is not there and has no `default` is an error.
    ///
    /// What the engine says depends on that alone, so it is asked only where some of the optional fields are there and others not: the two other answers are known
    /// since the text was compiled.
    pub fn parts(&self, engine: &Environment<'static>, is_there: impl Fn(&str) -> bool) -> Result<Cow<'_, [Part]>, Error> {
        let (mut all, mut least) = (true, true);
        for field in &self.fields {
            let there = is_there(field);
            all &= there;
            least &= there != self.optional.contains(field);
        }
        match (all, least) {
            (true, _) => Ok(Cow::Borrowed(&self.parts)),
            (false, true) => Ok(Cow::Borrowed(&self.least)),
            (false, false) => self.arrange(engine, is_there).map(Cow::Owned),
        }
    }

    fn arrange(&self, engine: &Environment<'static>, is_there: impl Fn(&str) -> bool) -> Result<Vec<Part>, Error> {
        let places: Vec<(&str, Value)> = self
            .fields
            .iter()
            .filter(|field| is_there(field))
            .map(|field| (field.as_str(), Value::from_object(Place { field: field.clone(), format: Format::Usual })))
            .collect();
        split(&engine.get_template(&self.name)?.render(Value::from_pairs(places))?)
    }

    /// The source without its `{{ }}`, which is what the bank wrote itself: where every field is there, and where the optional ones are not.
    pub fn words(&self) -> [String; 2] {
        [&self.parts, &self.least].map(|parts| {
            let words = parts.iter().map(|part| match part {
                Part::Words(words) => words.as_str(),
                Part::Place { .. } => " ",
            });
            words.collect()
        })
    }
}

/// Whether a text holds no control, private or invisible character.
fn is_visible(text: &str) -> bool {
    !text.chars().any(|c| super::signs::is_invisible(c) || (c.is_control() && c != '\n'))
}

/// Whether every `{{ }}` holds a field with filters and nothing else: no operator, condition, index, call or literal of its own. What the engine would
/// refuse anyway is left to it.
fn is_logic_less(source: &str) -> bool {
    const LOGIC: [&str; 10] = ["if", "else", "and", "or", "not", "in", "is", "true", "false", "none"];
    expressions(source).all(|bare| {
        let field = bare.split('|').next().unwrap_or_default().trim();
        let words = bare.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        bare.chars().all(|c| c.is_ascii_alphanumeric() || "_ |()".contains(c)) && is_field(field) && !words.into_iter().any(|word| LOGIC.contains(&word))
    })
}

/// What stands between each `{{` and its `}}`, without the words in quotes.
fn expressions(source: &str) -> impl Iterator<Item = String> {
    source.split("{{").skip(1).filter_map(|section| section.split_once("}}")).map(|(inside, _)| {
        let mut quote = None;
        let mut bare = String::with_capacity(inside.len());
        for c in inside.chars() {
            match quote {
                Some(open) if c == open => quote = None,
                Some(_) => {}
                None if c == '\'' || c == '"' => quote = Some(c),
                None => bare.push(c),
            }
        }
        bare
    })
}

/// The fields behind whose every use stands a `default`. One that stands in another's `default` is needed there, and without its code no code is sent.
fn optional(source: &str, fields: &BTreeSet<String>) -> BTreeSet<String> {
    let mut optional = fields.clone();
    optional.remove(CODE);
    for bare in expressions(source) {
        let (mut outside, mut arguments) = (String::with_capacity(bare.len()), String::with_capacity(bare.len()));
        let mut depth = 0_usize;
        for c in bare.chars() {
            match c {
                '(' => {
                    depth += 1;
                    arguments.push(' ');
                }
                ')' => depth = depth.saturating_sub(1),
                _ if depth == 0 => outside.push(c),
                _ => arguments.push(c),
            }
        }
        let mut words = outside.split('|').map(str::trim);
        let field = words.next().unwrap_or_default();
        if !words.any(|filter| filter == "default") {
            optional.remove(field);
        }
        for word in arguments.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            optional.remove(word);
        }
    }
    optional
}

fn is_field(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic()) && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Cuts the engine's output at its marks.
fn split(output: &str) -> Result<Vec<Part>, Error> {
    let broken = || Error::new(ErrorKind::InvalidOperation, "a field can be shown, not computed with");
    let mut parts = Vec::new();
    for (index, section) in output.split(OPEN).enumerate() {
        let words = if index == 0 {
            section
        } else {
            let (place, words) = section.split_once(CLOSE).ok_or_else(broken)?;
            let (field, format) = place.split_once(MIDDLE).ok_or_else(broken)?;
            parts.push(Part::Place { field: field.to_owned(), format: Format::from_word(format).ok_or_else(broken)? });
            words
        };
        if !words.is_empty() {
            parts.push(Part::Words(words.to_owned()));
        }
    }
    Ok(parts)
}

/// What a template's author did wrong; of the engine's error only its kind.
fn sentence(error: &Error) -> String {
    match error.kind() {
        ErrorKind::UnknownFilter => {
            "A text may use the filters `default`, `date`, `day`, `time` and `hidden`; there is none that switches masking or escaping off.".to_owned()
        }
        ErrorKind::SyntaxError => format!("The text does not parse: write `{{{{ field }}}}` (line {}).", error.line().unwrap_or(1)),
        ErrorKind::UnknownFunction | ErrorKind::UnknownMethod | ErrorKind::UnknownTest => "A text calls no functions: it shows fields.".to_owned(),
        ErrorKind::OutOfFuel => "The text is too large to be rendered.".to_owned(),
        _ => "The text cannot be rendered: a field can be shown, not computed with.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(source: &str) -> Result<Text, String> {
        Text::compile(&mut engine("Banco Exemplo", "0800 000 0000"), "t".into(), source)
    }

    fn place(field: &str, format: Format) -> Part {
        Part::Place { field: field.into(), format }
    }

    #[test]
    fn what_was_arranged_before_is_what_the_engine_says_of_every_record() {
        let mut engine = engine("Banco Exemplo", "0800 000 0000");
        let source = "{{ bank }}: {{ a }}, {{ b | default('x') }} e {{ c | date | default(a) }}{{ d | hidden | default(contact) }}";
        let text = Text::compile(&mut engine, "t".into(), source).unwrap();
        assert_eq!(text.optional.len(), 3);
        for record in 0_u8..16 {
            let there = |field: &str| record & (1 << (field.as_bytes()[0] - b'a')) != 0;
            let (known, asked) = (text.parts(&engine, there), text.arrange(&engine, there));
            assert_eq!(known.is_err(), !there("a"), "{record}");
            assert_eq!(known.ok().as_deref(), asked.ok().as_deref(), "{record}");
        }
    }

    #[test]
    fn a_text_is_words_and_places_in_order() {
        let text = compile("{{ bank }}: {{ amount }} em {{ occurred_at | date }}.").unwrap();
        assert_eq!(
            text.parts,
            [
                Part::Words("Banco Exemplo: ".into()),
                place("amount", Format::Usual),
                Part::Words(" em ".into()),
                place("occurred_at", Format::Date),
                Part::Words(".".into())
            ]
        );
        assert_eq!(text.fields.iter().collect::<Vec<_>>(), ["amount", "occurred_at"]);
    }

    #[test]
    fn a_missing_field_is_an_error_unless_it_has_a_default() {
        let mut engine = engine("b", "c");
        let strict = Text::compile(&mut engine, "strict".into(), "{{ a }}").unwrap();
        let formatted = Text::compile(&mut engine, "formatted".into(), "{{ a | date }}").unwrap();
        let mild = Text::compile(&mut engine, "mild".into(), "{{ a | default('x') }}").unwrap();
        assert!(strict.parts(&engine, |_| false).is_err());
        assert!(formatted.parts(&engine, |_| false).is_err());
        assert_eq!(*mild.parts(&engine, |_| false).unwrap(), [Part::Words("x".into())]);
        assert_eq!(*mild.parts(&engine, |_| true).unwrap(), [place("a", Format::Usual)]);
    }

    #[test]
    fn a_default_stands_before_a_format_or_behind_it() {
        for format in Format::ALL.into_iter().filter(|format| *format != Format::Usual) {
            let word = format.word();
            for source in [format!("{{{{ a | default('x') | {word} }}}}"), format!("{{{{ a | {word} | default('x') }}}}")] {
                let mut engine = engine("b", "c");
                let text = Text::compile(&mut engine, "t".into(), &source).unwrap();
                assert_eq!(text.parts, [place("a", format)], "{source}");
                assert_eq!(text.least, [Part::Words("x".into())], "{source}");
                assert_eq!(*text.parts(&engine, |_| false).unwrap(), text.least, "{source}");
            }
        }
        assert_eq!(compile("{{ a | default(bank) | date }}").unwrap().least, [Part::Words("Banco Exemplo".into())]);
        assert_eq!(compile("{{ a | default(b) | date }}").unwrap().least, [place("b", Format::Date)]);
        assert_eq!(compile("{{ a | default('x') }}, {{ a | date | default('') }}").unwrap().words(), [" ,  ", "x, "]);
    }

    #[test]
    fn a_field_is_optional_where_every_use_of_it_has_a_default() {
        for (source, optional) in [
            ("{{ a | default('x') }} {{ a | date | default('y') }} {{ b }}", "a"),
            ("{{ a|default( 'b | c' )|date }} {{ b | default(bank) }}", "a b"),
            ("{{ a | default('x') }} {{ a }}", ""),
            ("{{ a | default('x') }} {{ a | date }}", ""),
            ("{{ a | default(b) }} {{ b | default('x') }}", "a"),
            ("{{ code | default('x') }}", ""),
        ] {
            let found = compile(source).unwrap().optional;
            assert_eq!(found.into_iter().collect::<Vec<_>>().join(" "), optional, "{source}");
        }
    }

    #[test]
    fn a_text_that_needs_a_field_with_a_default_is_refused() {
        let mut engine = engine("b", "c");
        engine.add_filter("date", |value: Value| if value.is_undefined() { Err(Error::from(ErrorKind::UndefinedError)) } else { Ok(value) });
        let refused = Text::compile(&mut engine, "a".into(), "{{ a | date | default('x') }}").unwrap_err();
        assert_eq!(refused, "The text cannot be rendered where the record lacks a field that has a `default`.");
        assert!(Text::compile(&mut engine, "b".into(), "{{ a | date }}").is_ok());
        assert!(Text::compile(&mut engine, "c".into(), "{{ a | default('x') | date }}").is_ok());
    }

    #[test]
    fn logic_and_everything_that_could_lift_a_mask_is_refused() {
        for source in [
            "{% for c in name %}{{ c }}{% endfor %}",
            "{% include 'x' %}",
            "{% autoescape false %}{{ a }}{% endautoescape %}",
            "{# note #}",
            "{{ a | safe }}",
            "{{ a | upper }}",
            "{{ a[0] }}",
            "{{ a.b }}",
            "{{ a() }}",
            "{{ a + 1 }}",
            "{{ a.split('') }}",
            "{{ range(5) }}",
            "{{ bank | date }}",
            "{{ contact | hidden }}",
            "{{ bank | default('x') | date }}",
            "{{ a | default('x' | date) }}",
            "{{ a | default(bank | date) }}",
            r"{{ a | default('\ue000b\ue001usual\ue002') }}",
            r"{{ a | default('b\u200b') }}",
            "{{ a",
            "{{ }}",
            "{{ a ~ b }}",
            "{{ a if b else c }}",
            "{{ a if b }}",
            "{{ 'x' }}",
            "{{ 5 }}",
            "{{ a | default(b and c) }}",
            "{{ {'a': a} }}",
            "\u{e000}a\u{e001}usual\u{e002}",
            "a\u{202e}b",
        ] {
            assert!(compile(source).is_err(), "{source}");
        }
    }
}
