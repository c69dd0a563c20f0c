//! The bank's side: reference records in the Confluent wire format, written with apache-avro, which Recado does not use on its way in.

use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Decimal, Schema};

/// A Pix that an invented customer received.
pub fn pix_received(event_id: &str, customer: &str, phone: &str) -> Vec<u8> {
    let null = || Value::Union(0, Box::new(Value::Null));
    let text = |text: &str| Value::Union(1, Box::new(Value::String(text.into())));
    let counterparty = Value::Record(vec![
        ("name".into(), text("Joana Ferreira Lima")),
        ("document".into(), null()),
        ("institution".into(), text("Banco Modelo")),
        ("pix_key".into(), null()),
    ]);
    encode(
        "schemas/pix_transaction.avsc",
        Value::Record(vec![
            ("event_id".into(), Value::String(event_id.into())),
            ("customer_id".into(), Value::String(customer.into())),
            ("phone".into(), text(phone)),
            ("time_zone".into(), null()),
            ("direction".into(), Value::Enum(0, "RECEIVED".into())),
            ("amount".into(), Value::Decimal(Decimal::from(vec![0x01, 0xe2, 0x40]))),
            ("counterparty".into(), counterparty),
            ("end_to_end_id".into(), null()),
            ("note".into(), null()),
            ("occurred_at".into(), Value::TimestampMillis(1_764_900_000_000)),
        ]),
    )
}

fn encode(schema: &str, value: Value) -> Vec<u8> {
    let schema = Schema::parse_str(&crate::rig::file(schema)).unwrap();
    let body = GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap();
    // Schema id 1: without a registry an id means nothing and the route's file counts.
    [&[0, 0, 0, 0, 1], body.as_slice()].concat()
}
