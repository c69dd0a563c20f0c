//! The bank's records at the door. Enter: a route file for each input, then raw Kafka records; leave: notifications matched to their route, cancels, or one
//! word on why there is neither.
//!
//! What is easily got wrong: nothing but the fields that a route file names is ever taken out of a record, and of those only the ones that have a class. A
//! record that cannot be read says why in one of a closed list of words, never in its own.

mod compile;
mod fields;
mod file;
mod json;
mod notification;
mod pattern;
mod person;
mod plan;
mod reason;
mod schema;
#[cfg(test)]
mod tests;
mod value;

pub use compile::{Settings, TemplateFacts};
pub use file::{CancelFile, ConditionFile, FieldFile, InputFile, LiteralFile, NamedRouteFile, PlaceFile, RouteFile, StepFile};
pub use reason::{DeadReason, IgnoredWhy};
pub use schema::{BadSchema, Writer};
pub use value::{AmountUnit, Kind as FieldKind, TimeUnit};

use crate::delivery::{Channel, Lane, Reason, Route, Timestamp};
use crate::privacy::{Class, Payload, Secret};
use fields::Fields;
use plan::Plan;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use value::Raw;

/// No record is longer, in bytes: a bank's event has a few hundred. Over it: dead letter `too_large`.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// Plans for writers' schemas that are kept at a time; a topic sees a handful of schemas in its life.
const PLANS_MAX: usize = 4096;

/// By input and schema id; `None` where that schema does not fit.
type Plans = BTreeMap<(usize, u32), Option<Arc<Plan>>>;

/// All inputs and routes, compiled. Shared by the engine's threads.
#[derive(Debug)]
pub struct Inputs {
    inputs: Vec<Input>,
    routes: Vec<NamedRoute>,
    uses: Vec<TemplateUse>,
    plans: RwLock<Plans>,
}

/// One topic that the engine reads.
#[derive(Debug)]
pub struct Input {
    /// Its name in metrics and in the deduplication hash; a cancel input's is its input's with `.cancel`.
    pub name: String,
    /// The bank's topic.
    pub topic: String,
    /// What its records mean.
    pub kind: Kind,
    /// With which traffic its notifications travel; of a cancel input, its input's.
    pub lane: Lane,
    /// Where it begins when there is no position yet.
    pub start: Start,
    /// Whether the record key names a person, so that a status carries the customer reference instead.
    pub key_personal: bool,
    /// How long the same event id is the same event.
    pub dedup_window: Duration,
    /// Whether there is a cancel input for it (always false for a cancel input).
    pub has_cancel: bool,
    /// Whether its notifications carry one-time codes; its dead letters are then sealed under a code epoch key.
    pub has_code: bool,
    /// The longest expiry of its routes: how long a cancel that comes before its request is kept.
    pub expiry_max: Duration,
    routes: Range<usize>,
    framing: Framing,
    fields: Fields,
    /// For the route file's own schema; `None` for JSON.
    plan: Option<Arc<Plan>>,
}

/// What the records of an input mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Each is an event that may become a notification.
    Events,
    /// Each withdraws a notification of another input.
    Cancel {
        /// The number of that input.
        of: usize,
    },
}

/// Where an input begins when there is no position yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At its end: a week of history must not become a flood of messages.
    Latest,
    /// At its beginning.
    Earliest,
    /// At the first record that is not older.
    At(Timestamp),
}

/// How bytes become fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// Confluent wire format or single-object encoding, told apart by the first byte.
    Header,
    /// A bare Avro datum.
    Plain,
    /// One JSON object.
    Json,
}

/// A route with its name.
#[derive(Debug)]
pub struct NamedRoute {
    /// In statuses, logs and metrics; unique.
    pub name: Arc<str>,
    /// The number of its input.
    pub input: usize,
    /// Nothing is sent later than this after the record.
    pub expiry: Duration,
    /// What the machine needs.
    pub route: Arc<Route>,
    conditions: Vec<Condition>,
}

/// One condition of a route's `when`.
#[derive(Debug)]
struct Condition {
    slot: usize,
    test: Test,
}

#[derive(Debug)]
enum Test {
    OneOf(Vec<LiteralFile>),
    Exists(bool),
}

/// A step's template: for the lint of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateUse {
    /// The route file.
    pub file: String,
    /// The key in it.
    pub key: String,
    /// The number of the route.
    pub route: usize,
    /// For which channel.
    pub channel: Channel,
    /// Its name in the catalogue.
    pub template: String,
    /// How long the step waits for its receipt, undivided.
    pub wait: Duration,
    /// Whether no step comes after it.
    pub last_step: bool,
    /// Whether the notifications carry a code.
    pub code: bool,
}

/// A record as Kafka hands it out.
#[derive(Clone, Copy)]
pub struct RawRecord<'a> {
    /// The key; not looked at, as it may name a person.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Kafka's timestamp of it.
    pub record_time: Timestamp,
    /// Headers; `traceparent` is taken, all others are not.
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// What became of a record.
#[derive(Debug)]
pub enum Decoded {
    /// It matched a route.
    Notification(Box<Notification>),
    /// It withdraws the notification of this event.
    Cancel {
        /// The bank's event id.
        event_id: String,
    },
    /// Nothing is to be done; it is counted.
    Ignored(IgnoredWhy),
    /// The schema of this id is on its way: the partition pauses and asks again.
    NeedSchema(u32),
    /// It cannot be processed.
    Dead(DeadReason),
}

/// What the bank wants said: one record matched to a route.
#[derive(Debug)]
pub struct Notification {
    /// The number of the route.
    pub route: usize,
    /// Its name.
    pub route_name: Arc<str>,
    /// The bank's id of the customer.
    pub customer: Secret<String>,
    /// The bank's id of the event, where it has one. Checked to hold nothing that looks like a person's document, phone number or e-mail address.
    pub event_id: Option<String>,
    /// Destination and parameters, to be sealed.
    pub payload: Payload,
    /// The code, to be sealed apart; `None` also where its shape is wrong (`obstacle` says so).
    pub code: Option<Secret<String>>,
    /// The bank's own end of it (its clock).
    pub expires_at: Option<Timestamp>,
    /// Why its delivery cannot even begin.
    pub obstacle: Option<Reason>,
    /// W3C trace context, handed on.
    pub traceparent: Option<String>,
    /// How many fields of the record's schema nobody gave a class, which is why none of them was taken. Always 0 for JSON: it has no schema.
    pub unclassed: u32,
}

/// Where writers' schemas come from.
pub trait Schemas {
    /// The schema with this id of the registry. Never blocks: one that is not here yet is [`WriterSchema::Missing`], and is then being fetched.
    fn writer(&self, id: u32) -> WriterSchema;

    /// How many schemas are waited for because where they come from does not answer; `None` while it does. For `/readyz`.
    fn unanswered(&self) -> Option<usize> {
        None
    }
}

/// What is known about a schema id.
#[derive(Clone, Debug)]
pub enum WriterSchema {
    /// This one.
    Known(Arc<Writer>),
    /// The registry does not know it.
    Unknown,
    /// What the registry gave is no Avro schema that Recado reads (another type of schema, recursive). Final.
    Unreadable,
    /// Not here yet: asked for.
    Missing,
    /// There is no registry: ids mean nothing, the route's file counts.
    NoRegistry,
}

/// For banks without a schema registry.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRegistry;

impl Schemas for NoRegistry {
    fn writer(&self, _: u32) -> WriterSchema {
        WriterSchema::NoRegistry
    }
}

impl Input {
    /// Whose cancels it holds, among all inputs; `None` for an input of events.
    pub fn cancels<'i>(&self, all: &'i [Self]) -> Option<&'i Self> {
        match self.kind {
            Kind::Events => None,
            Kind::Cancel { of } => all.get(of),
        }
    }
}

impl Inputs {
    /// All inputs; an input's number is its place here. A cancel input stands right behind its input.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// All routes; a route's number is its place here.
    pub fn routes(&self) -> &[NamedRoute] {
        &self.routes
    }

    /// One route by its number.
    ///
    /// # Panics
    /// For a number that no [`Notification`] of these inputs has.
    pub fn route(&self, number: usize) -> &NamedRoute {
        &self.routes[number]
    }

    /// Every template that a step names.
    pub fn template_uses(&self) -> &[TemplateUse] {
        &self.uses
    }

    /// The parameters that an input's records give to its templates: name, class, kind. The code is none of them.
    pub fn parameters(&self, input: usize) -> impl Iterator<Item = (&str, Class, FieldKind)> {
        self.inputs[input].fields.values.iter().map(|field| (&*field.name, field.class, field.kind))
    }

    /// Reads one record of the input with this number.
    ///
    /// - Takes the fields that the route file names and nothing else; bounded in depth, steps and allocation whatever the bytes claim.
    /// - The same record gives the same answer, but for `NeedSchema` and what the registry learns later.
    ///
    /// # Panics
    /// For a number that is no input's. Never because of the record.
    pub fn decode(&self, input: usize, record: &RawRecord<'_>, schemas: &dyn Schemas) -> Decoded {
        let Some(value) = record.value else { return Decoded::Ignored(IgnoredWhy::Tombstone) };
        if value.len() > RECORD_BYTES_MAX {
            return Decoded::Dead(DeadReason::TooLarge);
        }
        let fields = &self.inputs[input].fields;
        let (plan, body) = match self.plan(input, value, schemas) {
            Ok(found) => found,
            Err(decoded) => return decoded,
        };
        let taken = match &plan {
            Some(plan) => plan.read(body),
            None => json::read(body, &fields.wanted, fields.slots),
        };
        let unclassed = plan.as_ref().map_or(0, |plan| plan.unclassed());
        taken.and_then(|taken| self.assemble(input, &taken, record, unclassed)).unwrap_or_else(Decoded::Dead)
    }

    fn assemble(&self, number: usize, taken: &[Raw<'_>], record: &RawRecord<'_>, unclassed: u32) -> Result<Decoded, DeadReason> {
        let input = &self.inputs[number];
        match input.kind {
            Kind::Cancel { .. } => {
                let event_id = notification::event_id(&input.fields, taken)?.ok_or(DeadReason::MissingEventId)?;
                Ok(Decoded::Cancel { event_id })
            }
            Kind::Events => {
                let matches = |route: &&NamedRoute| route.conditions.iter().all(|condition| condition.holds(taken));
                let Some(at) = self.routes[input.routes.clone()].iter().position(|route| matches(&route)) else {
                    return Ok(Decoded::Ignored(IgnoredWhy::NoRoute));
                };
                let route = input.routes.start + at;
                let made = notification::assemble(&input.fields, taken, record, route, &self.routes[route].name, unclassed)?;
                Ok(Decoded::Notification(Box::new(made)))
            }
        }
    }

    /// The plan for the record's writer (none for JSON), and the bytes behind the header.
    fn plan<'v>(&self, number: usize, value: &'v [u8], schemas: &dyn Schemas) -> Result<(Option<Arc<Plan>>, &'v [u8]), Decoded> {
        let input = &self.inputs[number];
        let Some(own) = &input.plan else { return Ok((None, value)) };
        match (input.framing, value) {
            (Framing::Plain | Framing::Json, body) => Ok((Some(Arc::clone(own)), body)),
            (Framing::Header, [0, a, b, c, d, body @ ..]) => {
                let id = u32::from_be_bytes([*a, *b, *c, *d]);
                self.writers_plan(number, own, id, schemas).map(|plan| (Some(plan), body))
            }
            (Framing::Header, [0xc3, 0x01, rest @ ..]) => match rest.split_first_chunk::<8>() {
                Some((fingerprint, body)) if fingerprint == own.fingerprint() => Ok((Some(Arc::clone(own)), body)),
                Some(_) => Err(Decoded::Dead(DeadReason::UnknownSchema)),
                None => Err(Decoded::Dead(DeadReason::Truncated)),
            },
            (Framing::Header, [] | [0, ..] | [0xc3]) => Err(Decoded::Dead(DeadReason::Truncated)),
            (Framing::Header, _) => Err(Decoded::Dead(DeadReason::WrongMagic)),
        }
    }

    fn writers_plan(&self, number: usize, own: &Arc<Plan>, id: u32, schemas: &dyn Schemas) -> Result<Arc<Plan>, Decoded> {
        let unfit = Decoded::Dead(DeadReason::IncompatibleSchema);
        let known = self.plans.read().unwrap_or_else(PoisonError::into_inner).get(&(number, id)).cloned();
        if let Some(plan) = known {
            return plan.ok_or(unfit);
        }
        let writer = match schemas.writer(id) {
            WriterSchema::NoRegistry => return Ok(Arc::clone(own)),
            WriterSchema::Unknown => return Err(Decoded::Dead(DeadReason::UnknownSchema)),
            WriterSchema::Unreadable => return Err(unfit),
            WriterSchema::Missing => return Err(Decoded::NeedSchema(id)),
            WriterSchema::Known(writer) => writer,
        };
        let fields = &self.inputs[number].fields;
        let plan = fields.fit(&writer).then(|| Arc::new(Plan::new(writer, &fields.wanted, &fields.classed, fields.slots)));
        let mut plans = self.plans.write().unwrap_or_else(PoisonError::into_inner);
        if plans.len() >= PLANS_MAX {
            plans.clear();
        }
        plans.insert((number, id), plan.clone());
        plan.ok_or(unfit)
    }
}

impl Condition {
    /// A field that is absent equals nothing.
    fn holds(&self, taken: &[Raw<'_>]) -> bool {
        let raw = &taken[self.slot];
        match &self.test {
            Test::Exists(exists) => *exists != matches!(raw, Raw::Absent),
            Test::OneOf(literals) => literals.iter().any(|literal| match (literal, raw) {
                (LiteralFile::Text(literal), Raw::Text(text)) => literal == text.as_str(),
                (LiteralFile::Integer(literal), Raw::Integer(number)) => literal == number,
                (LiteralFile::Bool(literal), Raw::Bool(value)) => literal == value,
                _ => false,
            }),
        }
    }
}
