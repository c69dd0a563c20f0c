//! An Avro schema as the decoder needs it: enters its JSON, from `schemas/` or from the registry; leaves a graph to find fields in by path, their classes, and
//! the reader's form of it.
//!
//! What is easily got wrong: the reader's form has no logical types. The bytes are the same without them, and so a decimal of 40 digits in a field that nobody
//! takes cannot stop a record. What the logical types say is kept in the graph and applied to the fields that are taken.

use serde_avro_fast::schema::{LogicalType, RegularType, SchemaKey, SchemaMut};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How deep types may lie in each other, in the schema and so in each record.
pub(super) const DEPTH_MAX: usize = 64;

/// One schema, ready to read records that were written with it.
pub struct Writer {
    graph: SchemaMut,
    /// By full name of the record and name of the field.
    said: BTreeMap<(String, String), Said>,
    plain: serde_avro_fast::Schema,
}

/// What a schema says of a field besides its type.
#[derive(Clone, Debug, Default)]
struct Said {
    /// `recado.class`.
    class: Option<String>,
    /// `recado.pattern`.
    pattern: Option<String>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// Why a text is no schema that Recado reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSchema {
    /// Not an Avro schema in JSON. The text says where; schemas hold no customer's data.
    #[error("is not an Avro schema: {0}")]
    NotAvro(String),
    /// A type contains itself: records could be of any depth.
    #[error("is recursive (`{0}` contains itself), which Recado refuses")]
    Recursive(String),
    /// Types lie deeper in each other than 64.
    #[error("nests types more than 64 deep")]
    TooDeep,
}

/// The type of a field that can be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Bool,
    /// `int` or `long`.
    Integer,
    Float,
    Double,
    /// `string`, also of logical type uuid.
    Text,
    /// Its symbols.
    Enum(Arc<[String]>),
    /// `bytes` or `fixed` with a logical decimal; its scale.
    Decimal(u32),
    /// Days since 1970.
    Date,
    Millis,
    Micros,
    Nanos,
    /// `bytes`, `fixed`, times of day, durations: there, but of no use.
    Opaque,
}

impl Scalar {
    /// What a person who reads a fault calls it.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Integer => "whole number",
            Self::Float => "float",
            Self::Double => "double",
            Self::Text => "string",
            Self::Enum(_) => "enum",
            Self::Decimal(_) => "decimal",
            Self::Date => "date",
            Self::Millis | Self::Micros | Self::Nanos => "timestamp",
            Self::Opaque => "type that Recado does not take",
        }
    }
}

/// What a path leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The types it can have, without null; several where a union has them.
    pub(super) scalars: Vec<Scalar>,
    /// It can be a record, map or array.
    pub(super) compound: bool,
    /// It runs through an array, where no field can be taken from.
    pub(super) through_array: bool,
    /// `recado.class` of the field; several where a union of records disagrees with itself.
    pub(super) classes: Vec<String>,
    /// `recado.pattern` of the field, as above.
    pub(super) patterns: Vec<String>,
}

impl Found {
    pub(super) fn anything(&self) -> bool {
        self.compound || !self.scalars.is_empty()
    }
}

impl Writer {
    /// Reads a schema. `references`: the texts of the schemas that it names without defining them, from the registry.
    pub fn parse(text: &str, references: &[String]) -> Result<Self, BadSchema> {
        let mut said = BTreeMap::new();
        let mut texts = Vec::with_capacity(1 + references.len());
        for text in std::iter::once(text).chain(references.iter().map(String::as_str)) {
            let mut json: Value = serde_json::from_str(text).map_err(|error| BadSchema::NotAvro(error.to_string()))?;
            complete(&mut json);
            collect_said(&json, None, &mut said);
            texts.push(json.to_string());
        }
        let graph = SchemaMut::from_schemata(&texts[0], &texts[1..]).map_err(|error| BadSchema::NotAvro(error.to_string()))?;
        refuse_recursion(&graph, SchemaKey::root(), &mut Vec::new(), &mut vec![0; graph.nodes().len()])?;
        let mut plain = graph.clone();
        for node in plain.nodes_mut() {
            node.logical_type = None;
        }
        let plain = plain.freeze().map_err(|error| BadSchema::NotAvro(error.to_string()))?;
        Ok(Self { graph, said, plain })
    }

    /// The CRC-64-AVRO fingerprint of its canonical form, as the single-object encoding carries it.
    pub fn fingerprint(&self) -> &[u8; 8] {
        // The canonical form leaves logical types out, so both forms have the same one.
        self.plain.rabin_fingerprint()
    }

    pub(super) fn plain(&self) -> &serde_avro_fast::Schema {
        &self.plain
    }

    pub(super) fn type_of(&self, key: SchemaKey) -> &RegularType {
        &self.graph[key].type_
    }

    /// `None` for a union, record, map, array or null.
    pub(super) fn scalar(&self, key: SchemaKey) -> Option<Scalar> {
        let node = &self.graph[key];
        let logical = node.logical_type.as_ref().map(LogicalType::as_str);
        Some(match (&node.type_, logical) {
            (RegularType::Bytes | RegularType::Fixed(_), Some("decimal")) => match &node.logical_type {
                Some(LogicalType::Decimal(decimal)) => Scalar::Decimal(decimal.scale),
                _ => Scalar::Opaque,
            },
            (RegularType::Int, Some("date")) => Scalar::Date,
            (RegularType::Long, Some("timestamp-millis")) => Scalar::Millis,
            (RegularType::Long, Some("timestamp-micros")) => Scalar::Micros,
            (RegularType::Long, Some("timestamp-nanos")) => Scalar::Nanos,
            // A time of day, and a local time without its zone, are no point in time.
            (RegularType::Int | RegularType::Long, Some(word)) if word.starts_with("time-") || word.starts_with("local-timestamp-") => Scalar::Opaque,
            (RegularType::Int | RegularType::Long, _) => Scalar::Integer,
            (RegularType::Float, _) => Scalar::Float,
            (RegularType::Double, _) => Scalar::Double,
            (RegularType::Boolean, _) => Scalar::Bool,
            (RegularType::String, _) => Scalar::Text,
            (RegularType::Enum(symbols), _) => Scalar::Enum(symbols.symbols.as_slice().into()),
            (RegularType::Bytes | RegularType::Fixed(_), _) => Scalar::Opaque,
            (RegularType::Null | RegularType::Union(_) | RegularType::Record(_) | RegularType::Map(_) | RegularType::Array(_), _) => return None,
        })
    }

    /// The class that the schema gives to a field of a record.
    pub(super) fn class(&self, record: &str, field: &str) -> Option<&str> {
        self.said(record, field)?.class.as_deref()
    }

    /// Record and name of each field to which the schema gives no class.
    pub(super) fn unclassed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.said.iter().filter(|(_, said)| said.class.is_none()).map(|((record, field), _)| (record.as_str(), field.as_str()))
    }

    fn said(&self, record: &str, field: &str) -> Option<&Said> {
        self.said.get(&(record.to_owned(), field.to_owned()))
    }

    /// What `path` leads to: through records by field, through maps by key, through unions by every branch that has it.
    pub(super) fn find(&self, path: &[String]) -> Found {
        let mut found = Found::default();
        self.walk(SchemaKey::root(), path, None, &mut found);
        found
    }

    fn walk(&self, key: SchemaKey, path: &[String], said: Option<&Said>, found: &mut Found) {
        match (self.type_of(key), path) {
            (RegularType::Null, _) => {}
            (RegularType::Union(union), _) => union.variants.iter().for_each(|variant| self.walk(*variant, path, said, found)),
            (RegularType::Record(record), [name, rest @ ..]) => {
                if let Some(field) = record.fields.iter().find(|field| field.name == *name) {
                    self.walk(field.type_, rest, self.said(record.name.fully_qualified_name(), name), found);
                }
            }
            (RegularType::Map(map), [_, rest @ ..]) => self.walk(map.values, rest, said, found),
            (RegularType::Array(_), [_, ..]) => found.through_array = true,
            (_, [_, ..]) => {}
            (_, []) => {
                match self.scalar(key) {
                    Some(scalar) => found.scalars.push(scalar),
                    None => found.compound = true,
                }
                let Said { class, pattern } = said.cloned().unwrap_or_default();
                found.classes.extend(class.filter(|class| !found.classes.contains(class)));
                found.patterns.extend(pattern.filter(|pattern| !found.patterns.contains(pattern)));
            }
        }
    }
}

/// Adds what the specification lets a schema leave out but the reader wants: a decimal's scale, 0.
fn complete(json: &mut Value) {
    match json {
        Value::Array(items) => items.iter_mut().for_each(complete),
        Value::Object(object) => {
            if object.get("logicalType").is_some_and(|word| word == "decimal") && !object.contains_key("scale") {
                object.insert("scale".to_owned(), Value::from(0));
            }
            // Attributes of any other name may hold anything, also what looks like a schema.
            for key in ["type", "fields", "items", "values"] {
                object.get_mut(key).into_iter().for_each(complete);
            }
        }
        _ => {}
    }
}

fn collect_said(json: &Value, namespace: Option<&str>, said: &mut BTreeMap<(String, String), Said>) {
    match json {
        Value::Array(items) => items.iter().for_each(|item| collect_said(item, namespace, said)),
        Value::Object(object) => {
            let text = |key: &str| object.get(key).and_then(Value::as_str);
            let (full, namespace) = match text("name") {
                Some(name) if name.contains('.') => {
                    (name.trim_start_matches('.').to_owned(), name.rsplit_once('.').map(|(space, _)| space).filter(|space| !space.is_empty()))
                }
                Some(name) => {
                    let space = text("namespace").or(namespace).filter(|space| !space.is_empty());
                    (space.map_or_else(|| name.to_owned(), |space| format!("{space}.{name}")), space)
                }
                None => (String::new(), namespace),
            };
            for field in object.get("fields").and_then(Value::as_array).into_iter().flatten() {
                let word = |key: &str| field.get(key).and_then(Value::as_str).map(str::to_owned);
                let of_field = Said { class: word("recado.class"), pattern: word("recado.pattern") };
                if let Some(name) = word("name") {
                    said.insert((full.clone(), name), of_field);
                }
                field.get("type").into_iter().for_each(|inner| collect_said(inner, namespace, said));
            }
            for key in ["type", "items", "values"] {
                object.get(key).filter(|inner| !inner.is_string()).into_iter().for_each(|inner| collect_said(inner, namespace, said));
            }
        }
        _ => {}
    }
}

/// Depth first over the graph; `depths` remembers the depth at which a node was found harmless before.
fn refuse_recursion(graph: &SchemaMut, key: SchemaKey, above: &mut Vec<usize>, depths: &mut [usize]) -> Result<(), BadSchema> {
    let index = key.idx();
    if above.contains(&index) {
        let name = graph[key].type_.name().map_or("a type", |name| name.fully_qualified_name());
        return Err(BadSchema::Recursive(name.to_owned()));
    }
    if above.len() >= DEPTH_MAX {
        return Err(BadSchema::TooDeep);
    }
    // Found at this depth or deeper before: nothing new below it.
    if depths[index] > above.len() {
        return Ok(());
    }
    above.push(index);
    let children: Vec<SchemaKey> = match &graph[key].type_ {
        RegularType::Union(union) => union.variants.clone(),
        RegularType::Record(record) => record.fields.iter().map(|field| field.type_).collect(),
        RegularType::Array(array) => vec![array.items],
        RegularType::Map(map) => vec![map.values],
        _ => Vec::new(),
    };
    for child in children {
        refuse_recursion(graph, child, above, depths)?;
    }
    above.pop();
    depths[index] = above.len() + 1;
    Ok(())
}
