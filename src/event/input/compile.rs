//! From route files to [`Inputs`]: names all faults of all files at once.
//!
//! What is easily got wrong: a fault in one place must not hide another. So each check goes on with what is still known, and nothing is returned while there
//! is any fault that refuses.

use super::fields::{Builder, Faults, Fields};
use super::file::{CancelFile, ConditionFile, InputFile, NamedRouteFile, RouteFile, StepFile};
use super::plan::Plan;
use super::schema::Writer;
use super::{Condition, Framing, Input, Inputs, Kind, NamedRoute, Start, TemplateUse, Test};
use crate::config::{Fault, Severity, parse};
use crate::delivery::{Channel, Lane, OnUnknown, Route, Step, Timestamp, WaitFor};
use crate::privacy::Class;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// What compiling needs besides the files.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The longest that a call may take, with its margin. Source: the dispatcher's HTTP timeout.
    pub call_max: Duration,
    /// Leases, waits, lingers, the least life of codes and `call_max` are divided by it: 1, but for a demonstration.
    pub hurry: u32,
}

/// What a route needs to know of a template of the catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemplateFacts {
    /// The channels for which it has a text.
    pub channels: BTreeSet<Channel>,
    /// How long Meta keeps trying to deliver it, as set on the template at Meta; `None` where it has none of its own (then 30 days).
    pub whatsapp_ttl: Option<Duration>,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// A code lives no longer than this (NIST SP 800-63B, ASVS 6.5.5).
const CODE_EXPIRY_MAX: Duration = Duration::from_secs(600);
/// No step of a code begins with less of it left: nobody could read and type it (privacy.md §4, judgement).
const CODE_LIFE_MIN: Duration = Duration::from_secs(20);
/// The same by a call, which rings, is answered, and says the code twice.
const CODE_LIFE_MIN_CALL: Duration = Duration::from_secs(45);
/// What a receipt needs for its way back, until it is measured (`p99.9` of arrival minus provider time).
const RECEIPT_GRACE: Duration = Duration::from_secs(3);
/// A delivery's state numbers its steps in one byte and is written whole each time.
const STEPS_MAX: usize = 8;
/// Input topics have a retention too; a message that old is no news.
const EXPIRY_MAX: Duration = Duration::from_secs(30 * 86_400);
/// The deduplication blocks of a window are in memory.
const DEDUP_WINDOW_MAX: Duration = Duration::from_secs(7 * 86_400);

impl Inputs {
    /// Compiles route files: `files` are names and texts (`routes/pix.toml`), `schemas` the texts of the schema files by the name that a route file calls them,
    /// `templates` what the catalogue has.
    ///
    /// - Returns the inputs, events first and each followed by its cancel input, with the faults that only warn; or all faults.
    /// - Of several files the order is that of `files`; a route's and an input's number stay the same as long as the files do.
    pub fn compile(
        files: &[(String, String)],
        schemas: &BTreeMap<String, String>,
        templates: &BTreeMap<String, TemplateFacts>,
        settings: Settings,
    ) -> Result<(Self, Vec<Fault>), Vec<Fault>> {
        let mut compiler = Compiler { schemas, templates, settings, inputs: Vec::new(), routes: Vec::new(), uses: Vec::new() };
        let mut found = Vec::new();
        for (file, text) in files {
            let mut faults = Faults { file, found: Vec::new() };
            match parse::<RouteFile>(file, text) {
                Ok(route_file) => compiler.file(&route_file, &mut faults),
                Err(bad) => faults.found = bad,
            }
            found.append(&mut faults.found);
        }
        if found.iter().any(|fault| fault.severity == Severity::Refuse) {
            return Err(found);
        }
        let Compiler { inputs, routes, uses, .. } = compiler;
        Ok((Self { inputs, routes, uses, plans: RwLock::default() }, found))
    }

    /// The schema files that these route files name, so that they can be read before compiling. Files that cannot be read name none.
    pub fn schema_files(files: &[(String, String)]) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for table in files.iter().filter_map(|(_, text)| text.parse::<toml::Table>().ok()) {
            let Some(input) = table.get("input") else { continue };
            names.extend(
                [input.get("schema"), input.get("cancel").and_then(|cancel| cancel.get("schema"))]
                    .into_iter()
                    .flatten()
                    .filter_map(|name| name.as_str().map(str::to_owned)),
            );
        }
        names
    }
}

struct Compiler<'c> {
    schemas: &'c BTreeMap<String, String>,
    templates: &'c BTreeMap<String, TemplateFacts>,
    settings: Settings,
    inputs: Vec<Input>,
    routes: Vec<NamedRoute>,
    uses: Vec<TemplateUse>,
}

impl Compiler<'_> {
    fn file(&mut self, file: &RouteFile, faults: &mut Faults<'_>) {
        let input = &file.input;
        self.check_names(input, faults);
        let lane = Lane::from_word(&input.lane);
        if lane.is_none() {
            faults.refuse("input.lane", format!("is `{}`; a lane is express or bulk.", input.lane));
        }
        let lane = lane.unwrap_or(Lane::Express);
        let (framing, writer) = self.schema("input", input.format.as_deref().unwrap_or("avro"), input.schema.as_deref(), faults);
        let mut builder = Builder { faults, writer: writer.as_deref(), json: framing == Framing::Json, classes: &input.classes, fields: Fields::default() };
        take_fields(&mut builder, input);
        let conditions: Vec<_> = file.routes.iter().enumerate().map(|(index, route)| take_conditions(&mut builder, index, &route.when)).collect();
        let fields = builder.fields;
        check_codes(input, lane, fields.has_code, faults);

        let index = self.inputs.len();
        let (start, key_personal, dedup_window) = check_options(input, faults);
        let first_route = self.routes.len();
        for (number, (route, conditions)) in file.routes.iter().zip(conditions).enumerate() {
            if file.routes[..number].iter().any(|earlier| earlier.when.is_empty()) {
                faults.refuse(format!("route.{number}"), "can never match: a route before it has no `when` and takes every record.");
            }
            let compiled = self.route(index, number, route, lane, fields.has_code, faults);
            self.routes.push(NamedRoute { conditions, ..compiled });
        }
        if file.routes.is_empty() {
            faults.refuse("route", "is missing: an input needs at least one route.");
        }
        let expiry_max = file.routes.iter().map(|route| route.expiry).max().unwrap_or_default();
        let cancel = input.cancel.as_ref().map(|cancel| self.cancel(cancel, input, faults));
        let plan = writer.map(|writer| Arc::new(Plan::new(writer, &fields.wanted, &fields.classed, fields.slots)));
        let events = Input {
            name: input.name.clone(),
            topic: input.topic.clone(),
            kind: Kind::Events,
            lane,
            start,
            key_personal,
            dedup_window,
            has_cancel: cancel.is_some(),
            has_code: fields.has_code,
            expiry_max,
            routes: first_route..self.routes.len(),
            framing,
            fields,
            plan,
        };
        if let Some((framing, fields, plan, topic)) = cancel {
            let cancel = Input {
                name: format!("{}.cancel", input.name),
                topic,
                kind: Kind::Cancel { of: index },
                lane,
                start,
                key_personal,
                dedup_window,
                has_cancel: false,
                has_code: false,
                expiry_max,
                routes: 0..0,
                framing,
                fields,
                plan,
            };
            self.inputs.extend([events, cancel]);
        } else {
            self.inputs.push(events);
        }
    }

    fn check_names(&self, input: &InputFile, faults: &mut Faults<'_>) {
        if !is_name(&input.name) {
            faults.refuse("input.name", "must be 1 to 64 lower-case letters, digits, `_`, `-` or `.`.");
        }
        if self.inputs.iter().any(|other| other.name == input.name) {
            faults.refuse("input.name", format!("is `{}`, which another input has already.", input.name));
        }
        let topics = std::iter::once(("input.topic", &input.topic)).chain(input.cancel.iter().map(|cancel| ("input.cancel.topic", &cancel.topic)));
        for (key, topic) in topics {
            if topic.is_empty() || topic.len() > 249 || !topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
                faults.refuse(key, format!("is `{topic}`, which is no topic's name."));
            }
            if let Some(other) = self.inputs.iter().find(|other| other.topic == *topic) {
                let lanes = Lane::from_word(&input.lane).is_some_and(|lane| lane != other.lane);
                let why = if lanes { "an input has one lane: put both routes into one file, or split the topic" } else { "put their routes into one file" };
                faults.refuse(key, format!("is `{topic}`, which the input {} reads already: {why}.", other.name));
            }
        }
        if input.cancel.as_ref().is_some_and(|cancel| cancel.topic == input.topic) {
            faults.refuse("input.cancel.topic", "is the input's own topic: what a record means must not depend on its shape.");
        }
    }

    /// The framing, and the schema where there is one and it can be read.
    fn schema(&self, table: &str, format: &str, file: Option<&str>, faults: &mut Faults<'_>) -> (Framing, Option<Arc<Writer>>) {
        let framing = match format {
            "avro" => Framing::Header,
            "avro_plain" => Framing::Plain,
            "json" => Framing::Json,
            _ => {
                faults.refuse(format!("{table}.format"), format!("is `{format}`; it must be avro, avro_plain or json."));
                Framing::Header
            }
        };
        let key = format!("{table}.schema");
        let writer = match (framing, file) {
            (Framing::Json, None) => None,
            (Framing::Json, Some(_)) => {
                faults.refuse(key, "has no meaning for JSON: classes and kinds stand in the route file.");
                None
            }
            (Framing::Header | Framing::Plain, None) => {
                faults.refuse(key, "is missing: Avro needs the schema's file.");
                None
            }
            (Framing::Header | Framing::Plain, Some(file)) => match self.schemas.get(file).map(|text| Writer::parse(text, &[])) {
                None => {
                    faults.refuse(key, format!("names `{file}`, which is not there."));
                    None
                }
                Some(Err(bad)) => {
                    faults.refuse(key, format!("names `{file}`, which {bad}."));
                    None
                }
                Some(Ok(writer)) => Some(Arc::new(writer)),
            },
        };
        (framing, writer)
    }

    fn cancel(&self, cancel: &CancelFile, input: &InputFile, faults: &mut Faults<'_>) -> (Framing, Fields, Option<Arc<Plan>>, String) {
        if input.event_id.is_none() {
            faults.refuse("input.event_id", "is missing: a cancel names the event that it withdraws.");
        }
        let format = cancel.format.as_deref().or(input.format.as_deref()).unwrap_or("avro");
        let (framing, writer) = self.schema("input.cancel", format, cancel.schema.as_deref(), faults);
        let classes = BTreeMap::new();
        let mut builder = Builder { faults, writer: writer.as_deref(), json: framing == Framing::Json, classes: &classes, fields: Fields::default() };
        builder.event_id("input.cancel.event_id", &cancel.event_id);
        let fields = builder.fields;
        let plan = writer.map(|writer| Arc::new(Plan::new(writer, &fields.wanted, &fields.classed, fields.slots)));
        (framing, fields, plan, cancel.topic.clone())
    }

    fn route(&mut self, input: usize, number: usize, route: &NamedRouteFile, lane: Lane, code: bool, faults: &mut Faults<'_>) -> NamedRoute {
        let key = |name: &str| format!("route.{number}.{name}");
        if !is_name(&route.name) {
            faults.refuse(key("name"), "must be 1 to 64 lower-case letters, digits, `_`, `-` or `.`.");
        }
        if self.routes.iter().any(|other| *other.name == *route.name) {
            faults.refuse(key("name"), format!("is `{}`, which another route has already.", route.name));
        }
        let on_unknown = match route.on_unknown.as_deref().unwrap_or("give_up") {
            "resend_once" => OnUnknown::ResendOnce,
            "give_up" => OnUnknown::GiveUp,
            word => {
                faults.refuse(key("on_unknown"), format!("is `{word}`; it must be resend_once or give_up."));
                OnUnknown::GiveUp
            }
        };
        let linger = bounded(route.linger, 10 * MINUTE, Duration::ZERO, DAY, &key("linger"), faults);
        check_expiry(route, number, code, faults);
        check_pstn(route, number, code, faults);
        if route.steps.is_empty() || route.steps.len() > STEPS_MAX {
            faults.refuse(key("steps"), format!("has {} steps; a route has 1 to {STEPS_MAX}.", route.steps.len()));
        }
        let steps = (0..route.steps.len()).map(|step| self.step(number, step, route, code, faults)).collect();
        let call_max = self.scaled(self.settings.call_max);
        let machine = Route { lane, steps, on_unknown, linger: self.scaled(linger), call_max };
        NamedRoute { name: route.name.as_str().into(), input, expiry: route.expiry, route: machine.into(), conditions: Vec::new() }
    }

    fn step(&mut self, number: usize, index: usize, route: &NamedRouteFile, code: bool, faults: &mut Faults<'_>) -> Step {
        let step = &route.steps[index];
        let key = |name: &str| format!("route.{number}.steps.{index}.{name}");
        let lease = bounded(step.lease, Duration::from_secs(10), Duration::from_secs(1), 2 * MINUTE, &key("lease"), faults);
        if lease <= self.settings.call_max {
            faults
                .refuse(key("lease"), format!("is {}, not longer than a call may take ({}): nothing could be sent.", say(lease), say(self.settings.call_max)));
        }
        let wait = bounded(step.wait, Duration::from_secs(30), Duration::from_secs(1), DAY, &key("wait"), faults);
        let wait_for = match step.wait_for.as_deref().unwrap_or("delivered") {
            "delivered" => WaitFor::Delivered,
            "sent" => WaitFor::Sent,
            word => {
                faults.refuse(key("wait_for"), format!("is `{word}`; it must be delivered or sent."));
                WaitFor::Delivered
            }
        };
        let Some(channel) = Channel::from_word(&step.channel) else {
            faults.refuse(key("channel"), format!("is `{}`; a channel is whatsapp, sms or voice.", step.channel));
            return Step::new(Channel::Sms, step.template.as_str(), lease, wait, wait_for);
        };
        self.check_template(step, channel, wait, index + 1 < route.steps.len() || code, &key, faults);
        self.uses.push(TemplateUse {
            file: faults.file.to_owned(),
            key: key("template"),
            route: self.routes.len(),
            channel,
            template: step.template.clone(),
            wait,
            last_step: index + 1 == route.steps.len(),
            code,
        });
        Step::new(channel, step.template.as_str(), self.scaled(lease), self.scaled(wait), wait_for).needing(self.scaled(life_min(channel, code)))
    }

    fn check_template(&self, step: &StepFile, channel: Channel, wait: Duration, in_time: bool, key: &dyn Fn(&str) -> String, faults: &mut Faults<'_>) {
        let Some(facts) = self.templates.get(&step.template) else {
            faults.refuse(key("template"), format!("is `{}`, which the catalogue does not have.", step.template));
            return;
        };
        if !facts.channels.contains(&channel) {
            faults.refuse(key("template"), format!("is `{}`, which has no text for {}.", step.template, channel.word()));
        }
        if channel != Channel::WhatsApp {
            return;
        }
        match facts.whatsapp_ttl {
            // Before a fallback, or with a code that is over soon.
            None if in_time => faults.refuse(
                key("template"),
                format!(
                    "is `{}`, which has no TTL of its own at Meta (then 30 days): it could arrive long after its fallback or its code's end.",
                    step.template
                ),
            ),
            None => {}
            Some(ttl) if ttl > wait => {
                faults.refuse(
                    key("wait"),
                    format!("is {}, but the template `{}` lives {} at Meta: it could arrive after its fallback.", say(wait), step.template, say(ttl)),
                );
            }
            Some(ttl) if ttl + RECEIPT_GRACE > wait => {
                faults.warn(
                    key("wait"),
                    format!(
                        "is {} and the template `{}` lives {} at Meta: that leaves the receipt less than {} for its way.",
                        say(wait),
                        step.template,
                        say(ttl),
                        say(RECEIPT_GRACE)
                    ),
                );
            }
            Some(_) => {}
        }
    }

    fn scaled(&self, span: Duration) -> Duration {
        span / self.settings.hurry.max(1)
    }
}

fn take_fields(builder: &mut Builder<'_, '_>, input: &InputFile) {
    builder.check_classes();
    let customers = [Class::Reference, Class::Cpf, Class::Cnpj, Class::Account];
    if let Some(place) = &input.event_id {
        builder.event_id("input.event_id", place);
    }
    builder.fields.customer = builder.id("input.customer", &input.customer, Class::Reference, &customers);
    builder.fields.phone = builder.id("input.phone", &input.phone, Class::Phone, &[Class::Phone]);
    builder.fields.zone = input.zone.as_ref().and_then(|place| builder.id("input.zone", place, Class::Public, &[Class::Public]));
    builder.fields.expires_at = input.expires_at.as_ref().and_then(|place| builder.expires_at(place));
    for (name, field) in &input.fields {
        if !is_name(name) || name.contains(['.', '-']) {
            builder.faults.refuse(format!("input.fields.{name}"), "must be named in lower-case letters, digits and `_`: templates call it by this name.");
        }
        builder.value(name, field);
    }
}

fn take_conditions(builder: &mut Builder<'_, '_>, route: usize, when: &[ConditionFile]) -> Vec<Condition> {
    let mut conditions = Vec::with_capacity(when.len());
    for (index, condition) in when.iter().enumerate() {
        let key = format!("route.{route}.when.{index}");
        let (literals, test) = match (&condition.equals, &condition.one_of, condition.exists) {
            (Some(literal), None, None) => (vec![literal.clone()], None),
            (None, Some(literals), None) if !literals.is_empty() => (literals.clone(), None),
            (None, None, Some(exists)) => (Vec::new(), Some(Test::Exists(exists))),
            _ => {
                builder.faults.refuse(key, "needs exactly one of `equals`, `one_of` (not empty) and `exists`.");
                continue;
            }
        };
        if let Some(slot) = builder.condition(&key, &condition.field, condition.class.as_deref(), &literals) {
            conditions.push(Condition { slot, test: test.unwrap_or(Test::OneOf(literals)) });
        }
    }
    conditions
}

/// Start, whether keys are personal, deduplication window.
fn check_options(input: &InputFile, faults: &mut Faults<'_>) -> (Start, bool, Duration) {
    let start = match input.start.as_deref().unwrap_or("latest") {
        "latest" => Start::Latest,
        "earliest" => Start::Earliest,
        time => match time.parse::<jiff::Timestamp>() {
            Ok(time) => Start::At(Timestamp::from_millis(time.as_millisecond())),
            Err(_) => {
                faults.refuse("input.start", format!("is `{time}`; it must be latest, earliest or an RFC 3339 time."));
                Start::Latest
            }
        },
    };
    let key_personal = match input.key_class.as_str() {
        "reference" => false,
        "personal" => true,
        word => {
            faults.refuse("input.key_class", format!("is `{word}`; it must be reference, or personal where the record key names a person."));
            true
        }
    };
    (start, key_personal, bounded(input.dedup_window, HOUR, MINUTE, DEDUP_WINDOW_MAX, "input.dedup_window", faults))
}

fn check_codes(input: &InputFile, lane: Lane, code: bool, faults: &mut Faults<'_>) {
    let accepted = input.clear_codes_accepted_by.as_deref();
    match (code, accepted) {
        (true, None) => faults.refuse("input.clear_codes_accepted_by", "is missing: codes rest in clear in this topic, so somebody accepts it (`name, date`)."),
        (true, Some(accepted))
            if !accepted.split_once(',').is_some_and(|(name, date)| !name.trim().is_empty() && date.trim().parse::<jiff::civil::Date>().is_ok()) =>
        {
            faults.refuse("input.clear_codes_accepted_by", "must be a name and a date, such as `Ana Souza, 2026-11-25`.");
        }
        (false, Some(_)) => faults.refuse("input.clear_codes_accepted_by", "has no meaning: this input has no field of class otp."),
        (true, Some(_)) | (false, None) => {}
    }
    if code && lane == Lane::Bulk {
        faults.refuse("input.lane", "is bulk, but the input carries codes: they travel on express only.");
    }
}

fn check_expiry(route: &NamedRouteFile, number: usize, code: bool, faults: &mut Faults<'_>) {
    let key = format!("route.{number}.expiry");
    let max = if code { CODE_EXPIRY_MAX } else { EXPIRY_MAX };
    if route.expiry.is_zero() || route.expiry > max {
        faults.refuse(
            &key,
            format!(
                "is {}; it must be more than nothing and at most {}{}.",
                say(route.expiry),
                say(max),
                if code { ", as the route carries codes" } else { "" }
            ),
        );
    }
    let before_last = route.steps.len().saturating_sub(1);
    let waits: Duration = route.steps[..before_last].iter().map(|step| step.wait.unwrap_or(Duration::from_secs(30))).sum();
    let life = route.steps.last().and_then(|step| Channel::from_word(&step.channel)).map_or(Duration::ZERO, |channel| life_min(channel, code));
    if route.expiry.is_zero() {
        return; // refused above
    }
    if before_last > 0 && waits >= route.expiry {
        faults.refuse(&key, format!("is {}, but the steps before the last wait {}: the last step could never begin.", say(route.expiry), say(waits)));
    } else if waits + life > route.expiry {
        faults.refuse(
            &key,
            format!(
                "is {}, but a code needs {} of life at the last step, and the steps before it wait {}: it could never begin.",
                say(route.expiry),
                say(life),
                say(waits)
            ),
        );
    }
}

/// How much of the life of what it carries a step needs, or it is not begun.
const fn life_min(channel: Channel, code: bool) -> Duration {
    match (code, channel) {
        (false, _) => Duration::ZERO,
        (true, Channel::WhatsApp | Channel::Sms) => CODE_LIFE_MIN,
        (true, Channel::Voice) => CODE_LIFE_MIN_CALL,
    }
}

/// The telephone network is a restricted way for codes (NIST SP 800-63B, ASVS 6.6.1): only as a fallback, with a reason and an owner.
fn check_pstn(route: &NamedRouteFile, number: usize, code: bool, faults: &mut Faults<'_>) {
    let key = |name: &str| format!("route.{number}.{name}");
    let on_pstn = |step: &StepFile| matches!(Channel::from_word(&step.channel), Some(Channel::Sms | Channel::Voice));
    let needed = code && route.steps.iter().any(on_pstn);
    for (name, value) in [("pstn", &route.pstn), ("reason", &route.reason), ("owner", &route.owner)] {
        match (needed, value.as_deref().map(str::trim)) {
            (true, None | Some("")) => faults.refuse(key(name), "is missing: a code by SMS or voice needs `pstn = \"fallback\"`, a reason and an owner."),
            (false, Some(_)) => faults.refuse(key(name), "has no meaning: this route sends no code by SMS or voice."),
            (true, Some(word)) if name == "pstn" && word != "fallback" => faults.refuse(key(name), format!("is `{word}`; it can only be fallback.")),
            (true, Some(_)) | (false, None) => {}
        }
    }
    if needed && route.steps.first().is_some_and(on_pstn) {
        faults.refuse(key("steps.0.channel"), "sends a code by SMS or voice first; there they are a fallback only.");
    }
}

fn bounded(given: Option<Duration>, default: Duration, min: Duration, max: Duration, key: &str, faults: &mut Faults<'_>) -> Duration {
    let span = given.unwrap_or(default);
    if span < min || span > max {
        faults.refuse(key, format!("is {}; it must be between {} and {}.", say(span), say(min), say(max)));
    }
    span
}

fn say(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}

/// Names stand in metrics, so they are short and plain.
fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte))
}
