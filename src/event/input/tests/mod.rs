//! The door seen from outside: route files and records in, notifications and reasons out. Records are written with apache-avro, which reads nothing here, so
//! that writer and reader do not share their mistakes.

mod compile;
mod decode;
mod foreign;
mod random;

use super::*;
use crate::config::Fault;
use crate::privacy::{Content, Value};
use apache_avro::types::Value as Avro;
use std::collections::BTreeSet;

pub(super) const PIX: &str = include_str!("../../../../config/routes/pix.toml");
pub(super) const CODES: &str = include_str!("../../../../config/routes/codes.toml");
pub(super) const BILLS: &str = include_str!("../../../../config/routes/bills.toml");
pub(super) const PIX_SCHEMA: &str = include_str!("../../../../schemas/pix_transaction.avsc");
pub(super) const CODE_SCHEMA: &str = include_str!("../../../../schemas/auth_challenge.avsc");
pub(super) const USED_SCHEMA: &str = include_str!("../../../../schemas/code_used.avsc");
pub(super) const BILL_SCHEMA: &str = include_str!("../../../../schemas/billing_invoice.avsc");

pub(super) fn schemas() -> BTreeMap<String, String> {
    [("pix_transaction", PIX_SCHEMA), ("auth_challenge", CODE_SCHEMA), ("code_used", USED_SCHEMA), ("billing_invoice", BILL_SCHEMA)]
        .into_iter()
        .map(|(name, text)| (format!("schemas/{name}.avsc"), text.to_owned()))
        .collect()
}

/// The reference schema of a Pix, whose institutions have this shape.
pub(super) fn patterned_pix(pattern: &str) -> String {
    let plain = r#"{ "name": "institution", "type": ["null", "string"], "default": null,"#;
    assert!(PIX_SCHEMA.contains(plain));
    PIX_SCHEMA.replace(plain, &format!("{plain} \"recado.pattern\": \"{pattern}\","))
}

pub(super) fn templates() -> BTreeMap<String, TemplateFacts> {
    let all = BTreeSet::from(Channel::ALL);
    [("pix_recebido", 30), ("pix_enviado", 30), ("codigo", 30), ("fatura", 30 * 60)]
        .into_iter()
        .map(|(name, ttl)| (name.to_owned(), TemplateFacts { channels: all.clone(), whatsapp_ttl: Some(Duration::from_secs(ttl)) }))
        .collect()
}

pub(super) fn settings() -> Settings {
    Settings { call_max: Duration::from_secs(5), hurry: 1 }
}

pub(super) fn compile(files: &[(&str, &str)], schemas: &BTreeMap<String, String>) -> Result<(Inputs, Vec<Fault>), Vec<Fault>> {
    let files: Vec<_> = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    Inputs::compile(&files, schemas, &templates(), settings())
}

/// One input from one file that has no fault.
pub(super) fn one(text: &str) -> Inputs {
    compile(&[("routes/one.toml", text)], &schemas()).unwrap().0
}

pub(super) fn reference() -> Inputs {
    compile(&[("routes/pix.toml", PIX), ("routes/codes.toml", CODES), ("routes/bills.toml", BILLS)], &schemas()).unwrap().0
}

/// Bare Avro by another implementation.
pub(super) fn datum(schema: &str, value: Avro) -> Vec<u8> {
    let schema = apache_avro::Schema::parse_str(schema).unwrap();
    apache_avro::writer::datum::GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap()
}

/// The same with arrays and maps cut into blocks that say their length in bytes, as Java's writer can.
pub(super) fn datum_in_blocks(schema: &str, value: Avro) -> Vec<u8> {
    let schema = apache_avro::Schema::parse_str(schema).unwrap();
    apache_avro::writer::datum::GenericDatumWriter::builder(&schema).target_block_size(1).build().unwrap().write_value_to_vec(value).unwrap()
}

/// The fingerprint as Java computes it (AVRO-1721): logical types reduced to their plain type, which apache-avro's canonical form does not do by itself.
pub(super) fn fingerprint(schema: &str) -> Vec<u8> {
    let plain = schema
        .replace(r#"{ "type": "bytes", "logicalType": "decimal", "precision": 14, "scale": 2 }"#, "\"bytes\"")
        .replace(r#"{ "type": "long", "logicalType": "timestamp-millis" }"#, "\"long\"")
        .replace(r#"{ "type": "int", "logicalType": "date" }"#, "\"int\"");
    assert!(!plain.contains("logicalType"));
    apache_avro::Schema::parse_str(&plain).unwrap().fingerprint::<apache_avro::rabin::Rabin>().bytes
}

pub(super) fn confluent(id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0], id.to_be_bytes().as_slice(), datum].concat()
}

pub(super) fn record(fields: Vec<(&str, Avro)>) -> Avro {
    Avro::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

pub(super) fn text(text: &str) -> Avro {
    Avro::String(text.to_owned())
}

pub(super) fn some(value: Avro) -> Avro {
    Avro::Union(1, Box::new(value))
}

pub(super) fn null() -> Avro {
    Avro::Union(0, Box::new(Avro::Null))
}

pub(super) fn decimal(unscaled: i64) -> Avro {
    Avro::Decimal(unscaled.to_be_bytes().into())
}

/// A Pix of R$ 1.234,56 that a customer received.
pub(super) fn pix() -> Vec<(&'static str, Avro)> {
    let counterparty =
        record(vec![("name", some(text("Maria Aparecida da Silva"))), ("document", null()), ("institution", some(text("Banco Exemplo"))), ("pix_key", null())]);
    vec![
        ("event_id", text("evt-0001")),
        ("customer_id", text("C-4711")),
        ("phone", some(text("+5511987654321"))),
        ("time_zone", some(text("America/Manaus"))),
        ("direction", Avro::Enum(0, "RECEIVED".to_owned())),
        ("amount", decimal(123_456)),
        ("counterparty", counterparty),
        ("end_to_end_id", some(text("E9999999920261125120000000000000"))),
        ("note", some(text("aluguel"))),
        ("occurred_at", Avro::TimestampMillis(1_764_072_000_000)),
    ]
}

/// The same with one field changed.
pub(super) fn pix_with(name: &str, value: Avro) -> Avro {
    let mut fields = pix();
    fields.iter_mut().find(|(field, _)| *field == name).unwrap().1 = value;
    record(fields)
}

pub(super) fn code_record(code: &str, phone: Avro) -> Avro {
    record(vec![
        ("challenge_id", text("ch-17")),
        ("customer_id", text("C-4711")),
        ("phone", phone),
        ("code", text(code)),
        ("purpose", some(text("entrar no aplicativo"))),
        ("expires_at", Avro::TimestampMillis(1_764_072_300_000)),
    ])
}

pub(super) fn bill() -> Avro {
    record(vec![
        ("invoice_id", text("inv-9")),
        ("customer_id", text("C-4711")),
        ("customer_name", some(text("João"))),
        ("phone", some(text("+5511987654321"))),
        ("amount", decimal(25_990)),
        ("due_date", Avro::Date(20_800)),
        ("card_last_digits", null()),
        ("payment_line", null()),
    ])
}

pub(super) fn decode(inputs: &Inputs, input: usize, value: &[u8], schemas: &dyn Schemas) -> Decoded {
    decode_with(inputs, input, value, schemas, &[])
}

pub(super) fn decode_with(inputs: &Inputs, input: usize, value: &[u8], schemas: &dyn Schemas, headers: &[(&str, &[u8])]) -> Decoded {
    inputs.decode(input, &RawRecord { key: Some(b"C-4711"), value: Some(value), record_time: Timestamp::from_millis(1_764_072_000_500), headers }, schemas)
}

pub(super) fn notification(decoded: Decoded) -> Notification {
    match decoded {
        Decoded::Notification(notification) => *notification,
        other => panic!("no notification but {other:?}"),
    }
}

pub(super) fn dead(decoded: &Decoded) -> Option<DeadReason> {
    match decoded {
        Decoded::Dead(reason) => Some(*reason),
        _ => None,
    }
}

/// Only tests may look at what is inside.
pub(super) fn clear<T: zeroize::Zeroize>(secret: &Secret<T>) -> &T {
    Secret::expose(secret)
}

/// A parameter as text, for comparing.
pub(super) fn shown(notification: &Notification, name: &str) -> Option<String> {
    notification.payload.values.get(name).map(|Value { class, content }| {
        let content = match content {
            Content::Text(text) => clear(text).clone(),
            Content::Amount(centavos) => format!("{} centavos", clear(centavos)),
            Content::Time(time) => format!("{} ms", time.millis()),
            Content::Date(year, month, day) => format!("{year}-{month}-{day}"),
            Content::Integer(number) => format!("{number}"),
        };
        format!("{}: {content}", class.word())
    })
}

/// A registry that knows some schemas, says of others that it does not know them (404), and has not heard of the rest.
#[derive(Default)]
pub(super) struct Known(pub(super) BTreeMap<u32, WriterSchema>);

impl Known {
    pub(super) fn with(mut self, id: u32, schema: &str) -> Self {
        self.0.insert(id, WriterSchema::Known(Arc::new(Writer::parse(schema, &[]).unwrap())));
        self
    }
}

impl Schemas for Known {
    fn writer(&self, id: u32) -> WriterSchema {
        self.0.get(&id).cloned().unwrap_or(WriterSchema::Missing)
    }
}
