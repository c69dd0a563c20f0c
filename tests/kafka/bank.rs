//! The bank's side: reference records in the Confluent wire format, written with apache-avro, which Recado does not use on its way in.

use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Decimal, Schema};

/// Schema ids at the registry's double; without a registry an id means nothing and the route's file counts.
pub const PIX: u32 = 1;
pub const CHALLENGE: u32 = 2;
pub const USED: u32 = 3;
pub const BILL: u32 = 4;

/// A Pix of R$ 1.234,56 that an invented customer received.
pub fn pix_received(event_id: &str, customer: &str, phone: &str) -> Vec<u8> {
    Pix { event_id, customer, phone: Some(phone), ..Pix::default() }.bytes()
}

/// The sides of a Pix that a test may want different.
pub struct Pix<'a> {
    pub event_id: &'a str,
    pub customer: &'a str,
    pub phone: Option<&'a str>,
    pub sent: bool,
    pub centavos: i64,
    /// The name of the other side.
    pub payee: &'a str,
}

impl Default for Pix<'_> {
    fn default() -> Self {
        Self { event_id: "e-1", customer: "customer-1", phone: Some("+5511987654321"), sent: false, centavos: 123_456, payee: "Joana Ferreira Lima" }
    }
}

impl Pix<'_> {
    /// Its record.
    pub fn bytes(&self) -> Vec<u8> {
        framed(PIX, &datum(&crate::support::file("schemas/pix_transaction.avsc"), self.value()))
    }

    /// Its record as Avro's own value.
    pub fn value(&self) -> Value {
        let direction = if self.sent { (1, "SENT") } else { (0, "RECEIVED") };
        let counterparty = Value::Record(vec![
            ("name".into(), some(self.payee)),
            ("document".into(), null()),
            ("institution".into(), some("Banco Modelo")),
            ("pix_key".into(), null()),
        ]);
        Value::Record(vec![
            ("event_id".into(), Value::String(self.event_id.into())),
            ("customer_id".into(), Value::String(self.customer.into())),
            ("phone".into(), self.phone.map_or_else(null, some)),
            ("time_zone".into(), null()),
            ("direction".into(), Value::Enum(direction.0, direction.1.into())),
            ("amount".into(), Value::Decimal(Decimal::from(self.centavos.to_be_bytes()))),
            ("counterparty".into(), counterparty),
            ("end_to_end_id".into(), null()),
            ("note".into(), null()),
            ("occurred_at".into(), Value::TimestampMillis(1_764_900_000_000)),
        ])
    }
}

/// A one-time code of an invented customer, good for five minutes.
pub fn challenge(id: &str, customer: &str, phone: &str, code: &str) -> Vec<u8> {
    let value = Value::Record(vec![
        ("challenge_id".into(), Value::String(id.into())),
        ("customer_id".into(), Value::String(customer.into())),
        ("phone".into(), some(phone)),
        ("code".into(), Value::String(code.into())),
        ("purpose".into(), some("entrar no aplicativo")),
        ("expires_at".into(), Value::TimestampMillis(now_ms() + 300_000)),
    ]);
    framed(CHALLENGE, &datum(&crate::support::file("schemas/auth_challenge.avsc"), value))
}

/// A bill of R$ 259,90 of an invented customer.
pub fn bill(id: &str, customer: &str, phone: &str) -> Vec<u8> {
    let value = Value::Record(vec![
        ("invoice_id".into(), Value::String(id.into())),
        ("customer_id".into(), Value::String(customer.into())),
        ("customer_name".into(), some("Joana")),
        ("phone".into(), some(phone)),
        ("amount".into(), Value::Decimal(Decimal::from(25_990_i64.to_be_bytes()))),
        ("due_date".into(), Value::Date(20_800)),
        ("card_last_digits".into(), null()),
        ("payment_line".into(), null()),
    ]);
    framed(BILL, &datum(&crate::support::file("schemas/billing_invoice.avsc"), value))
}

/// Withdraws a code.
pub fn code_used(id: &str) -> Vec<u8> {
    let value = Value::Record(vec![("challenge_id".into(), Value::String(id.into())), ("used_at".into(), Value::TimestampMillis(now_ms()))]);
    framed(USED, &datum(&crate::support::file("schemas/code_used.avsc"), value))
}

/// Avro's bytes of a value.
pub fn datum(schema: &str, value: Value) -> Vec<u8> {
    let schema = Schema::parse_str(schema).unwrap();
    GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap()
}

/// The Confluent wire format.
pub fn framed(schema_id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0], schema_id.to_be_bytes().as_slice(), datum].concat()
}

/// The null of an optional field.
pub fn null() -> Value {
    Value::Union(0, Box::new(Value::Null))
}

/// The text of an optional field.
pub fn some(text: &str) -> Value {
    Value::Union(1, Box::new(Value::String(text.into())))
}

/// The bank's clock.
pub fn now_ms() -> i64 {
    recado::clock::now().millis()
}
