//! The bank: publishes the plan, each record at its time until the faults are over, and notes where each came to lie. Written with apache-avro, which Recado does not use on its way in.

use crate::dice::now_ms;
use crate::plan::{Kind, Plan, Planned, USED};
use crate::support;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Decimal, Schema};
use rdkafka::producer::future_producer::Delivery;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What the customers of bills are called: the name of nobody, which occurs nowhere by chance.
pub const NAME: &str = "Verabela";

/// A record that the bank wrote.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Written {
    /// Which event of the plan.
    pub event: usize,
    pub what: What,
    /// Without the prefix.
    pub topic: &'static str,
    pub partition: i32,
    pub offset: i64,
    /// ms since 1970.
    pub at: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    Event,
    Again,
    Used,
}

struct Schemas(BTreeMap<&'static str, Schema>);

impl Schemas {
    fn new() -> Self {
        let files = ["pix_transaction", "auth_challenge", "code_used", "billing_invoice"];
        let read = |file| std::fs::read_to_string(support::repository().join(format!("schemas/{file}.avsc"))).unwrap();
        Self(files.map(|file| (file, Schema::parse_str(&read(file)).unwrap())).into())
    }

    fn write(&self, file: &str, fields: Vec<(&str, Value)>) -> Vec<u8> {
        let record = Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        let body = GenericDatumWriter::builder(&self.0[file]).build().unwrap().write_value_to_vec(record).unwrap();
        // Schema id 1: without a registry an id means nothing and the route's file counts.
        [&[0, 0, 0, 0, 1], body.as_slice()].concat()
    }
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn some(value: Value) -> Value {
    Value::Union(1, Box::new(value))
}

fn none() -> Value {
    Value::Union(0, Box::new(Value::Null))
}

fn record(schemas: &Schemas, event: &Planned, at: i64) -> Vec<u8> {
    let amount = Value::Decimal(Decimal::from(event.centavos.to_be_bytes()));
    let phone = some(text(&format!("+{}", event.phone)));
    let id = text(&event.event_id);
    let customer = text(&event.customer_id);
    match event.kind {
        Kind::PixReceived | Kind::PixSent => {
            let direction = if event.kind == Kind::PixReceived { Value::Enum(0, "RECEIVED".into()) } else { Value::Enum(1, "SENT".into()) };
            let counterparty =
                [("name", some(text("Padaria da Esquina"))), ("document", none()), ("institution", some(text("Banco Modelo"))), ("pix_key", none())];
            let counterparty = Value::Record(counterparty.map(|(name, value)| (name.to_owned(), value)).into());
            schemas.write(
                "pix_transaction",
                vec![
                    ("event_id", id),
                    ("customer_id", customer),
                    ("phone", phone),
                    ("time_zone", none()),
                    ("direction", direction),
                    ("amount", amount),
                    ("counterparty", counterparty),
                    ("end_to_end_id", none()),
                    ("note", none()),
                    ("occurred_at", Value::TimestampMillis(at)),
                ],
            )
        }
        Kind::Code => {
            let expires = at + i64::try_from(event.expires_after.as_millis()).unwrap();
            schemas.write(
                "auth_challenge",
                vec![
                    ("challenge_id", id),
                    ("customer_id", customer),
                    ("phone", phone),
                    ("code", text(&event.code)),
                    ("purpose", none()),
                    ("expires_at", Value::TimestampMillis(expires)),
                ],
            )
        }
        Kind::Bill => schemas.write(
            "billing_invoice",
            vec![
                ("invoice_id", id),
                ("customer_id", customer),
                ("customer_name", some(text(NAME))),
                ("phone", phone),
                ("amount", amount),
                ("due_date", Value::Date(i32::try_from(at / 86_400_000).unwrap() + 10)),
                ("card_last_digits", none()),
                ("payment_line", none()),
            ],
        ),
        Kind::Broken => vec![0, 0, 0, 0, 1, 0xff, 0xff],
    }
}

/// Publishes events until it is told that it is enough, and what still belongs to them; returns when all of it is acknowledged.
pub async fn publish(plan: &Plan, prefix: &str, enough: &AtomicBool) -> Vec<Written> {
    let schemas = Schemas::new();
    let producer: FutureProducer = support::client().set("enable.idempotence", "true").set("linger.ms", "2").create().unwrap();
    let mut timetable: Vec<(Duration, usize, What)> = Vec::new();
    for (index, event) in plan.events.iter().enumerate() {
        timetable.push((event.at, index, What::Event));
        timetable.extend(event.again_after.map(|after| (event.at + after, index, What::Again)));
        timetable.extend(event.used_after.map(|after| (event.at + after, index, What::Used)));
    }
    timetable.sort_by_key(|(when, index, _)| (*when, *index));
    let began = Instant::now();
    let (mut waiting, mut events) = (Vec::new(), 0);
    for (when, index, what) in timetable {
        if enough.load(Ordering::Relaxed) && (what == What::Event || index >= events) {
            continue;
        }
        if what == What::Event {
            events = index + 1;
        }
        tokio::time::sleep_until((began + when).into()).await;
        let event = &plan.events[index];
        let at = now_ms();
        let (topic, bytes) = match what {
            What::Event | What::Again => (event.kind.topic(), record(&schemas, event, at)),
            What::Used => (USED, schemas.write("code_used", vec![("challenge_id", text(&event.event_id)), ("used_at", Value::TimestampMillis(at))])),
        };
        let name = format!("{prefix}in.{topic}");
        let sent = producer.send_result(FutureRecord::to(&name).partition(event.partition).key(event.customer_id.as_bytes()).payload(&bytes).timestamp(at));
        waiting.push((index, what, topic, at, sent.map_err(|(error, _)| error).unwrap()));
    }
    let mut written = Vec::new();
    for (event, what, topic, at, sent) in waiting {
        let Delivery { partition, offset, .. } = sent.await.unwrap().map_err(|(error, _)| error).unwrap();
        written.push(Written { event, what, topic, partition, offset, at });
    }
    written
}
