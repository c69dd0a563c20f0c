//! What the bank writes, by the million: records cast from a specimen, routes, and a steady flow.
//!
//! Easily got wrong: the generator shares the machine with what is measured, so a record costs it a copy and some digits.

mod flow;
mod routes;

pub use flow::{BESIDE, Flow};
pub use routes::{BILL_DUE_MS, OPEN, bill_route, pix_route};

use crate::back::Back;
use crate::bulk::Bulk;
use crate::shared::partition;
use crate::{bank, support};
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Decimal, Schema};
use recado::delivery::{Attempt, AttemptId, MessageId};
use std::ops::Range;

/// In a specimen, where the digits of a number go.
const EVENT: &str = "@@@@@@@@@";
const CUSTOMER: &str = "#########";
const PHONE: &str = "********";

/// Makes records that differ in event, customer and phone.
pub struct Mould {
    specimen: Vec<u8>,
    event: usize,
    customer: usize,
    phone: Option<usize>,
    customers: u64,
}

impl Mould {
    /// Pix, received or sent, of so many customers in turn, each with a phone.
    pub fn pix(sent: bool, customers: u64) -> Self {
        let (event_id, customer, phone) = (format!("e-{EVENT}"), format!("customer-{CUSTOMER}"), format!("+55119{PHONE}"));
        let pix = bank::Pix { event_id: &event_id, customer: &customer, phone: Some(&phone), sent, ..bank::Pix::default() };
        Self::of(pix.bytes(), customers)
    }

    /// Bills of so many customers in turn, all with one phone.
    pub fn bills(customers: u64) -> Self {
        Self::of(Bills::new().record(&format!("b-{EVENT}"), &format!("customer-{CUSTOMER}")), customers)
    }

    fn of(specimen: Vec<u8>, customers: u64) -> Self {
        let place = |mark: &str| specimen.windows(mark.len()).position(|bytes| bytes == mark.as_bytes());
        let (event, customer, phone) = (place(EVENT).unwrap(), place(CUSTOMER).unwrap(), place(PHONE));
        Self { specimen, event, customer, phone, customers }
    }

    /// The record of this number, and its key.
    pub fn cast(&self, number: u64) -> (Vec<u8>, String) {
        let (mut record, customer) = (self.specimen.clone(), number % self.customers);
        let mut put = |at: usize, digits: String| record[at..at + digits.len()].copy_from_slice(digits.as_bytes());
        put(self.event, format!("{number:09}"));
        put(self.customer, format!("{customer:09}"));
        if let Some(at) = self.phone {
            put(at, format!("{:08}", 10_000_000 + customer));
        }
        (record, format!("customer-{customer:09}"))
    }
}

/// The bank, and whoever says what comes back.
pub struct Loader(Bulk);

impl Loader {
    /// With a producer of its own.
    pub fn new() -> Self {
        Self(Bulk::new())
    }

    /// Writes one record, as [`Bulk::send`].
    pub fn send(&self, topic: &str, partition: i32, key: &[u8], value: &[u8], time_ms: Option<i64>) {
        self.0.send(topic, partition, key, value, time_ms);
    }

    /// Writes the records of these numbers, as fast as they are taken.
    pub fn all(&self, topic: &str, mould: &Mould, numbers: Range<u64>) {
        for number in numbers {
            let (value, key) = mould.cast(number);
            self.send(topic, partition(number), key.as_bytes(), &value, None);
        }
        self.flush();
    }

    /// Writes what comes back to the first attempt of a message.
    pub fn back(&self, receipts: &str, id: &MessageId, back: Back) {
        let record = back.record(AttemptId { message_id: *id, attempt: Attempt::FIRST });
        self.send(receipts, id.partition().kafka(), id.bytes(), &record, None);
    }

    /// Waits until everything is acknowledged.
    pub fn flush(&self) {
        self.0.flush();
    }
}

/// Bills by the thousand: the schema is read once.
pub struct Bills(Schema);

impl Bills {
    /// With the reference schema.
    pub fn new() -> Self {
        Self(Schema::parse_str(&support::file("schemas/billing_invoice.avsc")).unwrap())
    }

    /// A bill of R$ 89,90 of an invented customer.
    pub fn record(&self, id: &str, customer: &str) -> Vec<u8> {
        let value = Value::Record(vec![
            ("invoice_id".into(), Value::String(id.into())),
            ("customer_id".into(), Value::String(customer.into())),
            ("customer_name".into(), bank::some("Maria Aparecida da Silva")),
            ("phone".into(), bank::some("+5511987654321")),
            ("amount".into(), Value::Decimal(Decimal::from(8_990_i64.to_be_bytes()))),
            ("due_date".into(), Value::Date(20_800)),
            ("card_last_digits".into(), bank::null()),
            ("payment_line".into(), bank::null()),
        ]);
        bank::framed(1, &GenericDatumWriter::builder(&self.0).build().unwrap().write_value_to_vec(value).unwrap())
    }
}
