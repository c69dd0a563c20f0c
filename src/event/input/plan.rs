//! What is taken from each record: enters a schema and the paths that a route file names; leaves a plan that reads exactly those fields and steps over all
//! others without building them.
//!
//! What is easily got wrong: a plan belongs to one writer's schema. The paths are looked up in the schema that the record was written with, so fields that the
//! bank adds are stepped over, and fields that it removed are absent.

use super::schema::{Scalar, Writer};
use super::value::{Raw, Text};
use super::{DeadReason, schema};
use crate::delivery::Timestamp;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde_avro_fast::de::read::SliceRead;
use serde_avro_fast::de::{DeError, DeserializerConfig, DeserializerState};
use serde_avro_fast::schema::{RegularType, SchemaKey};
use std::collections::BTreeSet;
use std::fmt;
use std::io::BufRead;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The paths of an input as a tree; `slot` is where the value of a path goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) slot: Option<usize>,
    pub(super) children: Vec<(String, Wanted)>,
}

impl Wanted {
    /// Adds a path; the same one twice shares its slot. Slots count from 0 in the order in which they were added.
    pub(super) fn add(&mut self, path: &[String], slots: &mut usize) -> usize {
        match path {
            [] => *self.slot.get_or_insert_with(|| {
                *slots += 1;
                *slots - 1
            }),
            [name, rest @ ..] => {
                let at = self.children.iter().position(|(child, _)| child == name).unwrap_or_else(|| {
                    self.children.push((name.clone(), Self::default()));
                    self.children.len() - 1
                });
                self.children[at].1.add(rest, slots)
            }
        }
    }

    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|(child, _)| child == name).map(|(_, wanted)| wanted)
    }
}

/// How to read a record of one writer's schema.
#[derive(Debug)]
pub(super) struct Plan {
    writer: Arc<Writer>,
    root: Node,
    slots: usize,
    unclassed: u32,
}

#[derive(Debug)]
enum Node {
    Skip,
    Leaf(usize, Scalar),
    /// One node for each field, in the order of the schema.
    Record(Option<usize>, Vec<Node>),
    /// Keys that are wanted.
    Map(Option<usize>, Vec<(String, Node)>),
    /// An array: it is there.
    Presence(usize),
    /// A union of null and one type.
    Optional(Box<Node>),
    /// Branches by the name under which the reader announces them.
    Union(Vec<(String, Node)>),
}

impl Plan {
    /// A plan for `wanted` (of `slots` slots); `classed`: the paths that the route file classes besides. A field that the writer's schema calls `secret` is
    /// not taken, whatever the route says.
    pub(super) fn new(writer: Arc<Writer>, wanted: &Wanted, classed: &Wanted, slots: usize) -> Self {
        let root = node(&writer, SchemaKey::root(), wanted);
        let unclassed = unclassed(&writer, [wanted, classed]);
        Self { writer, root, slots, unclassed }
    }

    /// How many fields of the writer's schema nobody gave a class: they are stepped over.
    pub(super) fn unclassed(&self) -> u32 {
        self.unclassed
    }

    pub(super) fn fingerprint(&self) -> &[u8; 8] {
        self.writer.fingerprint()
    }

    /// The wanted fields of one datum, by slot. All of `bytes` must belong to it. Allocates nothing that grows with what the bytes claim.
    pub(super) fn read<'a>(&'a self, bytes: &'a [u8]) -> Result<Vec<Raw<'a>>, DeadReason> {
        let mut taken = Taken { slots: vec![Raw::Absent; self.slots], steps: bytes.len().saturating_mul(2).saturating_add(4096), fault: None };
        let mut config = DeserializerConfig::new(self.writer.plain());
        config.allowed_depth = schema::DEPTH_MAX + 1;
        // The steps are the real bound; this one keeps the reader's own sums small.
        config.max_seq_size = taken.steps;
        let mut state = DeserializerState::with_config(SliceRead::new(bytes), config);
        let result = Take { node: &self.root, taken: &mut taken }.deserialize(state.deserializer());
        if let Err(error) = result {
            return Err(taken.fault.unwrap_or_else(|| reason(&error)));
        }
        match state.into_reader().fill_buf() {
            Ok([]) => Ok(taken.slots),
            _ => Err(DeadReason::Trailing),
        }
    }
}

fn node(writer: &Writer, key: SchemaKey, wanted: &Wanted) -> Node {
    if wanted.slot.is_none() && wanted.children.is_empty() {
        return Node::Skip;
    }
    match writer.type_of(key) {
        RegularType::Null => Node::Skip,
        RegularType::Union(union) => {
            let branches: Vec<_> = union.variants.iter().map(|variant| (branch_name(writer, *variant), node(writer, *variant, wanted))).collect();
            if branches.iter().all(|(_, node)| matches!(node, Node::Skip)) {
                return Node::Skip;
            }
            match <[_; 2]>::try_from(branches) {
                Ok([(null, Node::Skip), (_, node)] | [(_, node), (null, Node::Skip)]) if null == "Null" => Node::Optional(Box::new(node)),
                Ok(branches) => Node::Union(branches.into()),
                Err(branches) => Node::Union(branches),
            }
        }
        RegularType::Record(record) => {
            let fields: Vec<_> = record
                .fields
                .iter()
                .map(|field| match (wanted.child(&field.name), writer.class(record.name.fully_qualified_name(), &field.name)) {
                    (None, _) | (_, Some("secret")) => Node::Skip,
                    (Some(wanted), _) => node(writer, field.type_, wanted),
                })
                .collect();
            match wanted.slot {
                None if fields.iter().all(|field| matches!(field, Node::Skip)) => Node::Skip,
                slot => Node::Record(slot, fields),
            }
        }
        RegularType::Map(map) => {
            let entries = wanted.children.iter().map(|(name, wanted)| (name.clone(), node(writer, map.values, wanted))).collect();
            Node::Map(wanted.slot, entries)
        }
        RegularType::Array(_) => wanted.slot.map_or(Node::Skip, Node::Presence),
        _ => match (wanted.slot, writer.scalar(key)) {
            (Some(slot), Some(scalar)) => Node::Leaf(slot, scalar),
            _ => Node::Skip,
        },
    }
}

/// The schema's fields that have no class, neither there nor in the route file, which classes all that `named` leads to.
fn unclassed(writer: &Writer, named: [&Wanted; 2]) -> u32 {
    let mut left: BTreeSet<_> = writer.unclassed().collect();
    for named in named {
        strike(writer, SchemaKey::root(), named, &mut left);
    }
    u32::try_from(left.len()).unwrap_or(u32::MAX)
}

/// Takes out of `left` all that `named` leads to or through.
fn strike<'w>(writer: &'w Writer, key: SchemaKey, named: &Wanted, left: &mut BTreeSet<(&'w str, &'w str)>) {
    match writer.type_of(key) {
        RegularType::Union(union) => union.variants.iter().for_each(|variant| strike(writer, *variant, named, left)),
        RegularType::Record(record) => {
            for field in &record.fields {
                if let Some(named) = named.child(&field.name) {
                    left.remove(&(record.name.fully_qualified_name(), field.name.as_str()));
                    strike(writer, field.type_, named, left);
                }
            }
        }
        RegularType::Map(map) => named.children.iter().for_each(|(_, named)| strike(writer, map.values, named, left)),
        _ => {}
    }
}

/// The name by which the reader announces a branch of a union.
fn branch_name(writer: &Writer, key: SchemaKey) -> String {
    let word = match writer.type_of(key) {
        RegularType::Null => "Null",
        RegularType::Boolean => "Boolean",
        RegularType::Int => "Int",
        RegularType::Long => "Long",
        RegularType::Float => "Float",
        RegularType::Double => "Double",
        RegularType::Bytes => "Bytes",
        RegularType::String => "String",
        RegularType::Array(_) => "Array",
        RegularType::Map(_) => "Map",
        RegularType::Union(_) => "Union",
        named @ (RegularType::Record(_) | RegularType::Enum(_) | RegularType::Fixed(_)) => named.name().map_or("", |name| name.fully_qualified_name()),
    };
    word.to_owned()
}

/// The reader's errors are texts. They are recognised here, never printed: some quote what they stumbled on.
fn reason(error: &DeError) -> DeadReason {
    let text = error.to_string();
    if text.starts_with("String is not valid utf-8") {
        DeadReason::InvalidUtf8
    } else if text.starts_with("Unexpected end of slice") || text.starts_with("All bytes have MSB set") || error.io_error().is_some() {
        DeadReason::Truncated
    } else {
        DeadReason::NotAvro
    }
}

/// What was taken so far, and how many more steps may be made: arrays of nothing claim any length in a few bytes.
struct Taken<'a> {
    slots: Vec<Raw<'a>>,
    steps: usize,
    fault: Option<DeadReason>,
}

impl<'a> Taken<'a> {
    fn step<E: Error>(&mut self) -> Result<(), E> {
        self.steps = self.steps.checked_sub(1).ok_or_else(|| self.fail(DeadReason::NotAvro))?;
        Ok(())
    }

    fn fail<E: Error>(&mut self, reason: DeadReason) -> E {
        self.fault = Some(reason);
        E::custom("refused")
    }

    fn put(&mut self, slot: Option<usize>, raw: Raw<'a>) {
        if let Some(slot) = slot {
            self.slots[slot] = raw;
        }
    }
}

struct Take<'p, 'a> {
    node: &'a Node,
    taken: &'p mut Taken<'a>,
}

impl<'a> DeserializeSeed<'a> for Take<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        self.taken.step()?;
        match self.node {
            Node::Skip => deserializer.deserialize_ignored_any(Skip(self.taken)),
            // The number of the symbol, not its text: the text is the plan's own.
            Node::Leaf(_, Scalar::Enum(_)) => deserializer.deserialize_u64(self),
            Node::Leaf(..) | Node::Record(..) | Node::Map(..) => deserializer.deserialize_any(self),
            Node::Presence(slot) => {
                self.taken.put(Some(*slot), Raw::Present);
                deserializer.deserialize_ignored_any(Skip(self.taken))
            }
            Node::Optional(_) => deserializer.deserialize_option(self),
            Node::Union(_) => deserializer.deserialize_enum("", &[], self),
        }
    }
}

impl<'a> Take<'_, 'a> {
    fn leaf<E: Error>(self, make: impl FnOnce(&'a Scalar) -> Option<Raw<'a>>) -> Result<(), E> {
        let Node::Leaf(slot, scalar) = self.node else { return Err(self.taken.fail(DeadReason::NotAvro)) };
        let raw = make(scalar).unwrap_or(Raw::Unreadable);
        self.taken.put(Some(*slot), raw);
        Ok(())
    }
}

impl<'a> Visitor<'a> for Take<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the writer's schema says")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.leaf(|_| Some(Raw::Bool(value)))
    }

    fn visit_i32<E: Error>(self, value: i32) -> Result<(), E> {
        self.leaf(|scalar| match scalar {
            Scalar::Date => Some(Raw::Date(value)),
            Scalar::Integer => Some(Raw::Integer(i64::from(value))),
            _ => None,
        })
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.leaf(|scalar| {
            Some(match scalar {
                Scalar::Integer => Raw::Integer(value),
                Scalar::Millis => Raw::Time(Timestamp::from_millis(value)),
                Scalar::Micros => Raw::Time(Timestamp::from_millis(value.div_euclid(1000))),
                Scalar::Nanos => Raw::Time(Timestamp::from_millis(value.div_euclid(1_000_000))),
                _ => return None,
            })
        })
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        if let Node::Leaf(_, Scalar::Enum(symbols)) = self.node
            && usize::try_from(value).map_or(true, |value| value >= symbols.len())
        {
            return Err(self.taken.fail(DeadReason::NotAvro));
        }
        self.leaf(|scalar| match scalar {
            Scalar::Enum(symbols) => symbols.get(usize::try_from(value).ok()?).map(|symbol| Raw::Text(Text::Borrowed(symbol))),
            _ => None,
        })
    }

    fn visit_f32<E: Error>(self, value: f32) -> Result<(), E> {
        // Through its shortest text, as what 0.1 becomes on the way to a double is nobody's amount.
        self.leaf(|_| value.to_string().parse().ok().map(Raw::Double))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.leaf(|_| Some(Raw::Double(value)))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'a str) -> Result<(), E> {
        self.leaf(|_| Some(Raw::Text(Text::Borrowed(value))))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.leaf(|_| Some(Raw::Text(Text::Owned(Zeroizing::new(value.to_owned())))))
    }

    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<(), E> {
        self.leaf(|scalar| match scalar {
            Scalar::Decimal(scale) => unscaled(value).map(|unscaled| Raw::Decimal { unscaled, scale: *scale }),
            _ => None,
        })
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.node {
            Node::Optional(node) => Take { node, taken: self.taken }.deserialize(deserializer),
            _ => Err(self.taken.fail(DeadReason::NotAvro)),
        }
    }

    fn visit_enum<A: EnumAccess<'a>>(self, access: A) -> Result<(), A::Error> {
        let Node::Union(branches) = self.node else { return Err(self.taken.fail(DeadReason::NotAvro)) };
        let (branch, variant) = access.variant_seed(Branch(branches))?;
        let Some((_, node)) = branch.and_then(|branch| branches.get(branch)) else { return Err(self.taken.fail(DeadReason::NotAvro)) };
        variant.newtype_variant_seed(Take { node, taken: self.taken })
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        match self.node {
            Node::Record(slot, fields) => {
                self.taken.put(*slot, Raw::Present);
                for node in fields {
                    map.next_key::<IgnoredAny>()?;
                    map.next_value_seed(Take { node, taken: self.taken })?;
                }
                Ok(())
            }
            Node::Map(slot, entries) => {
                self.taken.put(*slot, Raw::Present);
                while let Some(entry) = map.next_key_seed(Branch(entries))? {
                    let node = entry.and_then(|entry| entries.get(entry)).map_or(&Node::Skip, |(_, node)| node);
                    map.next_value_seed(Take { node, taken: self.taken })?;
                }
                Ok(())
            }
            _ => Err(self.taken.fail(DeadReason::NotAvro)),
        }
    }
}

/// Finds a branch of a union, or an entry of a map, by its name.
struct Branch<'a>(&'a [(String, Node)]);

impl<'de> DeserializeSeed<'de> for Branch<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Branch<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|(branch, _)| branch == name))
    }
}

/// Steps over whatever comes.
struct Skip<'p, 'a>(&'p mut Taken<'a>);

impl<'de> DeserializeSeed<'de> for Skip<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.step()?;
        deserializer.deserialize_ignored_any(self)
    }
}

impl<'de> Visitor<'de> for Skip<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Skip(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(Skip(self.0))?;
        }
        Ok(())
    }
}

/// Two's complement, big-endian, any length; `None` for no bytes at all and for numbers beyond 127 bits.
fn unscaled(bytes: &[u8]) -> Option<i128> {
    let sign = if bytes.first()? & 0x80 == 0 { 0 } else { 0xff };
    let (extension, rest) = bytes.split_at(bytes.len().saturating_sub(16));
    if extension.iter().any(|byte| *byte != sign) || (!extension.is_empty() && (rest.first()? ^ sign) & 0x80 != 0) {
        return None;
    }
    let mut wide = [sign; 16];
    wide[16 - rest.len()..].copy_from_slice(rest);
    Some(i128::from_be_bytes(wide))
}
