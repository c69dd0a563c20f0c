//! Which fields of an input's records are taken, and what for: paths, classes and kinds of a route file against its schema.
//!
//! What is easily got wrong: a class stands in the schema *or* in the route. Where both speak they must say the same, and what no one classes is not taken. That
//! holds for the schema of each writer, too: one that gives a field another class does not fit.

use super::file::{FieldFile, LiteralFile, PlaceFile};
use super::pattern::Pattern;
use super::plan::Wanted;
use super::schema::{Found, Scalar, Writer};
use super::value::{AmountUnit, Kind, TimeUnit};
use crate::config::Fault;
use crate::privacy::Class;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is taken from the records of one input.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) wanted: Wanted,
    pub(super) slots: usize,
    /// The paths of `[input.classes]`, wanted or not.
    pub(super) classed: Wanted,
    /// What each path must be, in the schema of whatever writer.
    needs: Vec<Fit>,
    pub(super) event_id: Option<usize>,
    /// The bank says that its event ids are public: they may look like whatever they look like.
    pub(super) event_id_public: bool,
    pub(super) customer: Option<usize>,
    pub(super) phone: Option<usize>,
    pub(super) zone: Option<usize>,
    pub(super) expires_at: Option<(usize, Option<TimeUnit>)>,
    pub(super) code: Option<usize>,
    /// Whether a field has class otp, fit or not: the rules for codes hold all the same.
    pub(super) has_code: bool,
    pub(super) values: Vec<ValueField>,
}

/// One parameter of the templates.
#[derive(Debug)]
pub(super) struct ValueField {
    pub(super) name: Arc<str>,
    pub(super) class: Class,
    pub(super) kind: Kind,
    /// Values that fit it pass the last scan.
    pub(super) pattern: Option<Pattern>,
    pub(super) slot: usize,
}

/// What one path must be, in the schema of whatever writer.
#[derive(Debug)]
struct Fit {
    path: Vec<String>,
    need: Need,
    /// The classes that the schema may give it.
    classes: Vec<Class>,
}

impl Fit {
    /// Whether a writer's schema may say this class of it. What is `secret` there is not taken at all, and what is `public` there may have a narrower class here.
    fn allows(&self, word: &str) -> bool {
        Class::from_word(word).is_some_and(|class| matches!(class, Class::Secret | Class::Public) || self.classes.contains(&class))
    }
}

/// What a field must be fit for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A parameter.
    Kind(Kind),
    /// An id, phone number or zone.
    Id,
    /// A one-time code: a number would lose its leading zeros.
    Code,
    /// A condition asks whether it is there.
    Exists,
    /// A condition compares it with texts.
    EqualsText,
    /// … with whole numbers.
    EqualsInteger,
    /// … with true or false.
    EqualsBool,
}

impl Need {
    fn fits(self, scalar: &Scalar) -> bool {
        match (self, scalar) {
            (Self::Exists, _) => true,
            (_, Scalar::Opaque) => false,
            (Self::Id | Self::Kind(Kind::Text), Scalar::Text | Scalar::Enum(_) | Scalar::Integer) => true,
            (Self::Code, Scalar::Text) => true,
            (Self::Kind(Kind::Amount(_)), Scalar::Decimal(_)) => true,
            (Self::Kind(Kind::Amount(Some(_))), Scalar::Integer | Scalar::Text | Scalar::Double) => true,
            (Self::Kind(Kind::Time(_)), Scalar::Millis | Scalar::Micros | Scalar::Nanos | Scalar::Text) => true,
            (Self::Kind(Kind::Time(Some(_))), Scalar::Integer) => true,
            (Self::Kind(Kind::Date), Scalar::Date | Scalar::Text) => true,
            (Self::Kind(Kind::Integer) | Self::EqualsInteger, Scalar::Integer) => true,
            (Self::EqualsText, Scalar::Text | Scalar::Enum(_)) => true,
            (Self::EqualsBool, Scalar::Bool) => true,
            _ => false,
        }
    }

    /// What is missing, for the sentence of a fault.
    const fn advice(self) -> &'static str {
        match self {
            Self::Kind(Kind::Amount(None)) => "an amount that is no decimal needs a unit, reais or centavos",
            Self::Kind(Kind::Amount(Some(_))) => "an amount must be a decimal, a whole number, a string or a double",
            Self::Kind(Kind::Time(_)) => "a time must be a timestamp, an RFC 3339 string, or a whole number with a unit (seconds, millis or micros)",
            Self::Kind(Kind::Date) => "a date must be a logical date or a string like 2026-12-31",
            Self::Kind(Kind::Integer) | Self::EqualsInteger => "a whole number must be an int or a long",
            Self::Kind(Kind::Text) => "a text must be a string, an enum or a whole number",
            Self::Id => "an id, a phone number or a zone must be a string, an enum or a whole number",
            Self::Code => "a code must be a string, or it loses its leading zeros",
            Self::EqualsText => "a text can only equal a string or an enum",
            Self::EqualsBool => "true and false can only equal a boolean",
            Self::Exists => "it must be in the schema",
        }
    }
}

impl Fields {
    /// Whether the records of this writer can be read for it: types and classes fit. A path that the schema lacks is absent, which is no fault of the schema.
    pub(super) fn fit(&self, writer: &Writer) -> bool {
        self.needs.iter().all(|fit| {
            let found = writer.find(&fit.path);
            !found.through_array
                && (!found.compound || fit.need == Need::Exists)
                && found.scalars.iter().all(|scalar| fit.need.fits(scalar))
                && found.classes.iter().all(|word| fit.allows(word))
        })
    }
}

/// All faults of one file, each with its key.
#[derive(Debug)]
pub(super) struct Faults<'f> {
    pub(super) file: &'f str,
    pub(super) found: Vec<Fault>,
}

impl Faults<'_> {
    pub(super) fn refuse(&mut self, key: impl Into<String>, sentence: impl Into<String>) {
        self.found.push(Fault::refuse(self.file, key, sentence));
    }

    pub(super) fn warn(&mut self, key: impl Into<String>, sentence: impl Into<String>) {
        self.found.push(Fault::warn(self.file, key, sentence));
    }
}

/// Builds [`Fields`], one place of the file after the other.
pub(super) struct Builder<'b, 'f> {
    pub(super) faults: &'b mut Faults<'f>,
    /// `None` for JSON, or where the schema itself is at fault: then only what stands in the route is looked at.
    pub(super) writer: Option<&'b Writer>,
    /// JSON has no schema that could say a class or a type.
    pub(super) json: bool,
    pub(super) classes: &'b BTreeMap<String, String>,
    pub(super) fields: Fields,
}

/// What the file and the schema say about one path.
struct Place {
    path: Vec<String>,
    class: Class,
    /// The route file says the class, so that no schema may say another.
    stated: bool,
    found: Found,
}

impl Builder<'_, '_> {
    /// An id, a phone number, a zone. The role implies the class where nothing says it.
    pub(super) fn id(&mut self, key: &str, place: &PlaceFile, implied: Class, allowed: &[Class]) -> Option<usize> {
        let field = self.stated(key, place, &["class"]);
        let place = self.place(key, &field, Some(implied))?;
        self.allow(key, &place, allowed)?;
        self.need(key, place, Need::Id, allowed)
    }

    /// The bank's event id. Of class `public` it is taken as it is; of class `reference` each one is looked at, for it will stand in clear.
    pub(super) fn event_id(&mut self, key: &str, place: &PlaceFile) {
        let field = self.stated(key, place, &["class"]);
        let Some(place) = self.place(key, &field, Some(Class::Reference)) else { return };
        if self.allow(key, &place, &[Class::Reference, Class::Public]).is_some() {
            let class = place.class;
            self.fields.event_id_public = class == Class::Public;
            self.fields.event_id = self.need(key, place, Need::Id, &[class]);
        }
    }

    /// When the bank has no more use for the message.
    pub(super) fn expires_at(&mut self, place: &PlaceFile) -> Option<(usize, Option<TimeUnit>)> {
        let key = "input.expires_at";
        let field = self.stated(key, place, &["class", "unit"]);
        let place = self.place(key, &field, Some(Class::Public))?;
        let allowed = [Class::Public, Class::Reference];
        self.allow(key, &place, &allowed)?;
        let unit = self.time_unit(key, field.unit.as_deref())?;
        Some((self.need(key, place, Need::Kind(Kind::Time(unit)), &allowed)?, unit))
    }

    /// A parameter of the templates; the field of class `otp` is the code and no parameter.
    pub(super) fn value(&mut self, name: &str, field: &FieldFile) {
        let key = format!("input.fields.{name}");
        let Some(place) = self.place(&key, field, None) else { return };
        match place.class {
            Class::Otp => {
                if self.fields.has_code {
                    self.faults.refuse(&key, "is the second field of class otp: an input has one code.");
                }
                if field.kind.is_some() || field.unit.is_some() || field.pattern.is_some() {
                    self.faults.refuse(&key, "is a code, which takes neither `kind` nor `unit` nor `pattern`.");
                }
                self.fields.has_code = true;
                self.fields.code = self.need(&key, place, Need::Code, &[Class::Otp]);
            }
            Class::Reference => self.faults.refuse(&key, "has class reference, which no text may show."),
            class => {
                let Some(kind) = self.kind(&key, field, class, &place.found) else { return };
                let Some(pattern) = self.pattern(&key, field, class, kind, &place.found) else { return };
                if let Some(slot) = self.need(&key, place, Need::Kind(kind), &[class]) {
                    self.fields.values.push(ValueField { name: name.into(), class, kind, pattern, slot });
                }
            }
        }
    }

    /// The field of a condition and its slot.
    pub(super) fn condition(&mut self, key: &str, field: &str, class: Option<&str>, literals: &[LiteralFile]) -> Option<usize> {
        let stated = FieldFile { path: field.to_owned(), class: class.map(str::to_owned), kind: None, pattern: None, unit: None };
        let place = self.place(key, &stated, None)?;
        if place.class == Class::Otp {
            self.faults.refuse(key, "compares a code, which no condition may see.");
            return None;
        }
        let need = match literals {
            [] => Need::Exists,
            all if all.iter().all(|literal| matches!(literal, LiteralFile::Text(_))) => Need::EqualsText,
            all if all.iter().all(|literal| matches!(literal, LiteralFile::Integer(_))) => Need::EqualsInteger,
            all if all.iter().all(|literal| matches!(literal, LiteralFile::Bool(_))) => Need::EqualsBool,
            _ => {
                self.faults.refuse(key, "compares with values of different kinds.");
                return None;
            }
        };
        for symbols in place.found.scalars.iter().filter_map(|scalar| if let Scalar::Enum(symbols) = scalar { Some(symbols) } else { None }) {
            for literal in literals {
                if let LiteralFile::Text(text) = literal
                    && !symbols.contains(text)
                {
                    self.faults.refuse(key, format!("compares `{field}` with `{text}`, but its enum has only {}.", symbols.join(", ")));
                }
            }
        }
        // It shows nothing: only a code is out of its sight.
        let allowed: Vec<_> = Class::ALL.into_iter().filter(|class| *class != Class::Otp).collect();
        self.need(key, place, need, &allowed)
    }

    /// The words of `[input.classes]` and its paths.
    pub(super) fn check_classes(&mut self) {
        for (path, class) in self.classes {
            let key = format!("input.classes.{path}");
            if Class::from_word(class).is_none() {
                self.faults.refuse(&key, unknown_class(class));
            }
            let Some(path) = split(path) else { continue };
            if self.writer.is_some_and(|writer| !writer.find(&path).anything()) {
                self.faults.refuse(&key, "names a path that is not in the schema.");
            }
            self.fields.classed.add(&path, &mut 0);
        }
    }

    /// A place as if it were written in full, with what it may not say named.
    fn stated(&mut self, key: &str, place: &PlaceFile, may: &[&str]) -> FieldFile {
        match place {
            PlaceFile::Path(path) => FieldFile { path: path.clone(), class: None, kind: None, pattern: None, unit: None },
            PlaceFile::Full(field) => {
                let given = [("class", &field.class), ("kind", &field.kind), ("pattern", &field.pattern), ("unit", &field.unit)];
                for (word, given) in given.map(|(word, given)| (word, given.is_some())) {
                    if given && !may.contains(&word) {
                        self.faults.refuse(format!("{key}.{word}"), "has no meaning here.");
                    }
                }
                FieldFile { path: field.path.clone(), class: field.class.clone(), kind: field.kind.clone(), pattern: None, unit: field.unit.clone() }
            }
        }
    }

    fn place(&mut self, key: &str, field: &FieldFile, implied: Option<Class>) -> Option<Place> {
        let Some(path) = split(&field.path) else {
            self.faults.refuse(key, format!("has the path `{}`; a path is names joined by single dots.", field.path));
            return None;
        };
        let found = self.writer.map(|writer| writer.find(&path)).unwrap_or_default();
        if self.writer.is_some() && !found.anything() {
            let why = if found.through_array { "leads through an array, from which no field can be taken" } else { "is not in the schema" };
            self.faults.refuse(key, format!("names `{}`, which {why}.", field.path));
            return None;
        }
        let class = self.class(key, field, &found, implied)?;
        if class == Class::Secret {
            self.faults.refuse(key, format!("names `{}`, whose class is secret: it is dropped before anything sees it.", field.path));
            return None;
        }
        let stated = field.class.is_some() || self.classes.contains_key(&field.path);
        Some(Place { path, class, stated, found })
    }

    /// Route, `[input.classes]` and schema, in this order; all that speak must say the same.
    fn class(&mut self, key: &str, field: &FieldFile, found: &Found, implied: Option<Class>) -> Option<Class> {
        // An unknown word of `[input.classes]` is told once, there.
        let table = self.classes.get(&field.path).filter(|word| Class::from_word(word).is_some());
        let mut words: Vec<&str> = field.class.iter().chain(table).chain(&found.classes).map(String::as_str).collect();
        words.dedup();
        match (words.as_slice(), implied) {
            ([word], _) => {
                let class = Class::from_word(word);
                if class.is_none() {
                    self.faults.refuse(key, unknown_class(word));
                }
                class
            }
            ([], Some(class)) => Some(class),
            // A schema with faults of its own may have said it.
            ([], None) if self.writer.is_none() && !self.json => None,
            ([], None) => {
                self.faults.refuse(key, format!("names `{}`, which has no class: write it into the schema (`recado.class`) or beside the path.", field.path));
                None
            }
            (several, _) => {
                self.faults.refuse(key, format!("gives `{}` the classes {}; it has one.", field.path, several.join(" and ")));
                None
            }
        }
    }

    fn allow(&mut self, key: &str, place: &Place, allowed: &[Class]) -> Option<()> {
        if allowed.contains(&place.class) {
            return Some(());
        }
        let words: Vec<_> = allowed.iter().map(|class| class.word()).collect();
        self.faults.refuse(key, format!("names `{}` of class {}; here it must be {}.", place.path.join("."), place.class.word(), words.join(" or ")));
        None
    }

    /// The slot of a place; `allowed`: the classes that a schema may give it where the route file says none.
    fn need(&mut self, key: &str, place: Place, need: Need, allowed: &[Class]) -> Option<usize> {
        let unfit = if place.found.compound && need != Need::Exists {
            Some("a record, map or array")
        } else {
            place.found.scalars.iter().find(|scalar| !need.fits(scalar)).map(Scalar::word)
        };
        if let Some(word) = unfit {
            self.faults.refuse(key, format!("names `{}`, which is a {word}: {}.", place.path.join("."), need.advice()));
            return None;
        }
        let slot = self.fields.wanted.add(&place.path, &mut self.fields.slots);
        let classes = if place.stated { vec![place.class] } else { allowed.to_vec() };
        self.fields.needs.push(Fit { path: place.path, need, classes });
        Some(slot)
    }

    fn kind(&mut self, key: &str, field: &FieldFile, class: Class, found: &Found) -> Option<Kind> {
        let money = matches!(class, Class::Amount | Class::Balance);
        let word = match field.kind.as_deref() {
            Some(word) => word,
            None if money => "amount",
            None => match found.scalars.first() {
                Some(Scalar::Millis | Scalar::Micros | Scalar::Nanos) => "time",
                Some(Scalar::Date) => "date",
                Some(Scalar::Integer) if matches!(class, Class::Public) => "integer",
                _ => "text",
            },
        };
        if money != (word == "amount") {
            self.faults.refuse(key, "must have kind amount with class amount or balance, and with these only.");
            return None;
        }
        let unit = field.unit.as_deref();
        match (word, unit) {
            ("amount", None) if self.json => {
                self.faults.refuse(key, "is an amount in JSON, which needs a unit: reais or centavos.");
                None
            }
            ("amount", None) => Some(Kind::Amount(None)),
            ("amount", Some("reais")) => Some(Kind::Amount(Some(AmountUnit::Reais))),
            ("amount", Some("centavos")) => Some(Kind::Amount(Some(AmountUnit::Centavos))),
            ("amount", Some(unit)) => {
                self.faults.refuse(format!("{key}.unit"), format!("is `{unit}`; an amount counts reais or centavos."));
                None
            }
            ("time", unit) => self.time_unit(key, unit).map(Kind::Time),
            ("text", None) => Some(Kind::Text),
            ("date", None) => Some(Kind::Date),
            ("integer", None) => Some(Kind::Integer),
            ("text" | "date" | "integer", Some(_)) => {
                self.faults.refuse(format!("{key}.unit"), "has no meaning here: only amounts and times have a unit.");
                None
            }
            (word, _) => {
                self.faults.refuse(format!("{key}.kind"), format!("is `{word}`; it must be text, amount, time, date or integer."));
                None
            }
        }
    }

    /// Route and schema; where both speak they must say the same.
    fn pattern(&mut self, key: &str, field: &FieldFile, class: Class, kind: Kind, found: &Found) -> Option<Option<Pattern>> {
        let mut words: Vec<&str> = field.pattern.iter().chain(&found.patterns).map(String::as_str).collect();
        words.dedup();
        let key = format!("{key}.pattern");
        match words.as_slice() {
            [] => Some(None),
            [_] if class != Class::Public || !matches!(kind, Kind::Text | Kind::Integer) => {
                self.faults.refuse(key, "has no meaning here: only public texts and whole numbers have one.");
                None
            }
            [word] => match Pattern::new(word) {
                Ok(pattern) => Some(Some(pattern)),
                Err(why) => {
                    self.faults.refuse(key, format!("{why}."));
                    None
                }
            },
            _ => {
                self.faults.refuse(key, format!("is said twice for `{}`, and not the same; it has one.", field.path));
                None
            }
        }
    }

    fn time_unit(&mut self, key: &str, unit: Option<&str>) -> Option<Option<TimeUnit>> {
        match unit {
            None => Some(None),
            Some("seconds") => Some(Some(TimeUnit::Seconds)),
            Some("millis") => Some(Some(TimeUnit::Millis)),
            Some("micros") => Some(Some(TimeUnit::Micros)),
            Some(unit) => {
                self.faults.refuse(format!("{key}.unit"), format!("is `{unit}`; a time counts seconds, millis or micros."));
                None
            }
        }
    }
}

fn unknown_class(word: &str) -> String {
    let words: Vec<_> = Class::ALL.iter().map(|class| class.word()).collect();
    format!("has the class `{word}`, which does not exist; the classes are {}.", words.join(", "))
}

fn split(path: &str) -> Option<Vec<String>> {
    let names: Vec<_> = path.split('.').map(str::to_owned).collect();
    names.iter().all(|name| !name.is_empty() && !name.contains(char::is_whitespace)).then_some(names)
}
