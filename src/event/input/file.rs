//! A route file as it is written: TOML in `config/routes/`, one file for each input with its routes.
//!
//! Words (lanes, classes, kinds) are still texts here, so that `compile` can name all faults at once, not only the first.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// One file: an input topic and its routes, the first that matches wins.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteFile {
    /// Where records come from and what is taken from them.
    pub input: InputFile,
    /// Which message is sent.
    #[serde(rename = "route")]
    pub routes: Vec<NamedRouteFile>,
}

/// Table `[input]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputFile {
    /// Its name in metrics and in the deduplication hash: never change it.
    pub name: String,
    /// The bank's topic.
    pub topic: String,
    /// `express` or `bulk`.
    pub lane: String,
    /// `avro` (default: Confluent wire format or single-object encoding), `avro_plain` (a bare datum) or `json`.
    #[serde(default)]
    pub format: Option<String>,
    /// The Avro schema's file; none for JSON.
    #[serde(default)]
    pub schema: Option<String>,
    /// Where a first start begins: `latest` (default), `earliest` or an RFC 3339 time.
    #[serde(default)]
    pub start: Option<String>,
    /// `reference`: the record key may stand in clear in `recado.status`; `personal`: it may not.
    pub key_class: String,
    /// The bank's id of the event, for deduplication and cancels.
    #[serde(default)]
    pub event_id: Option<PlaceFile>,
    /// The bank's id of the customer.
    pub customer: PlaceFile,
    /// Where to reach the customer.
    pub phone: PlaceFile,
    /// The customer's time zone, by its tz database name.
    #[serde(default)]
    pub zone: Option<PlaceFile>,
    /// When the bank itself has no more use for the message.
    #[serde(default)]
    pub expires_at: Option<PlaceFile>,
    /// How long the same event id is the same event (default 1 h).
    #[serde(default, with = "humantime_serde")]
    pub dedup_window: Option<Duration>,
    /// `name, date` of who accepts that codes rest in clear in the bank's own topic.
    #[serde(default)]
    pub clear_codes_accepted_by: Option<String>,
    /// The topic whose records withdraw notifications of this input.
    #[serde(default)]
    pub cancel: Option<CancelFile>,
    /// Classes by field path, for schemas that do not carry them.
    #[serde(default)]
    pub classes: BTreeMap<String, String>,
    /// The templates' parameters by name.
    #[serde(default)]
    pub fields: BTreeMap<String, FieldFile>,
}

/// Table `[input.cancel]`. Key, partitioner and partition count of its topic are those of the input that it cancels.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelFile {
    /// The bank's topic.
    pub topic: String,
    /// As for the input; default: the input's own.
    #[serde(default)]
    pub format: Option<String>,
    /// The Avro schema's file; none for JSON.
    #[serde(default)]
    pub schema: Option<String>,
    /// Which event is withdrawn: the same id as in the input's records.
    pub event_id: PlaceFile,
}

/// A field by its path (`a.b`), or with what the schema does not say.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum PlaceFile {
    /// `"a.b"`
    Path(String),
    /// `{ path = "a.b", class = "…", unit = "…" }`
    Full(FieldFile),
}

/// One field: table `[input.fields.<name>]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldFile {
    /// Names joined by dots, from the record's root; a map's key counts as a name.
    pub path: String,
    /// The class, where the schema does not carry it.
    #[serde(default)]
    pub class: Option<String>,
    /// `text`, `amount`, `time`, `date` or `integer`; inferred from the Avro type where it says enough.
    #[serde(default)]
    pub kind: Option<String>,
    /// What public values look like, as a regular expression for all of the value, where the schema does not say it (`recado.pattern`): what looks so passes the
    /// last scan, whatever else it resembles.
    #[serde(default)]
    pub pattern: Option<String>,
    /// Of an amount: `reais` or `centavos` (a text has no more decimals than that: two, none); of a time that is a plain number: `seconds`, `millis` or `micros`.
    #[serde(default)]
    pub unit: Option<String>,
}

/// Table `[[route]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedRouteFile {
    /// Its name in statuses, logs and metrics.
    pub name: String,
    /// All must hold; none means every record.
    #[serde(default)]
    pub when: Vec<ConditionFile>,
    /// Nothing is sent later than this after the record (Kafka time). Codes: at most 10 min.
    #[serde(with = "humantime_serde")]
    pub expiry: Duration,
    /// `give_up` (default) or `resend_once`.
    #[serde(default)]
    pub on_unknown: Option<String>,
    /// How long an ended delivery is kept for late receipts (default 10 min).
    #[serde(default, with = "humantime_serde")]
    pub linger: Option<Duration>,
    /// `fallback`: codes may go by SMS and voice, which the standards restrict. Needs `reason` and `owner`.
    #[serde(default)]
    pub pstn: Option<String>,
    /// Why codes may.
    #[serde(default)]
    pub reason: Option<String>,
    /// Who answers for it.
    #[serde(default)]
    pub owner: Option<String>,
    /// Rungs, first to last.
    pub steps: Vec<StepFile>,
}

/// One condition: a field and one of `equals`, `one_of`, `exists`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConditionFile {
    /// The field's path.
    pub field: String,
    /// Its class, where neither the schema nor `[input.classes]` says it.
    #[serde(default)]
    pub class: Option<String>,
    /// It has this value.
    #[serde(default)]
    pub equals: Option<LiteralFile>,
    /// It has one of these values.
    #[serde(default)]
    pub one_of: Option<Vec<LiteralFile>>,
    /// It is there and not null; or it is not.
    #[serde(default)]
    pub exists: Option<bool>,
}

/// A value that a condition compares with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum LiteralFile {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A text or the symbol of an enum; upper and lower case differ.
    Text(String),
}

/// Table `[[route.steps]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepFile {
    /// `whatsapp`, `sms` or `voice`.
    pub channel: String,
    /// The name of a template of the catalogue.
    pub template: String,
    /// How long the dispatch may take to reach the provider (default 10 s).
    #[serde(default, with = "humantime_serde")]
    pub lease: Option<Duration>,
    /// How long the provider may take to send the receipt (default 30 s).
    #[serde(default, with = "humantime_serde")]
    pub wait: Option<Duration>,
    /// `delivered` (default), or `sent` for carriers without receipts.
    #[serde(default)]
    pub wait_for: Option<String>,
}
