//! The bank: enters the plan, leaves Avro records on the bank's topics, each at its time.
//!
//! What is easily got wrong: a used code's record has the key, the partitioner and the partition count of the challenge, or it would be looked for in
//! another partition.

use super::{Kafka, Kind, Plan, Planned, Topics};
use anyhow::Context as _;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Decimal, Schema};
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// When the bank wrote each record: event id → ms since 1970 on this machine. Shared with whoever reads the statuses.
pub type Asked = Arc<Mutex<BTreeMap<String, i64>>>;

/// How fast the demo runs.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// What Recado's waits are multiplied by; the plan's own times (a code's end, its use) are too.
    pub factor: f64,
    /// How long it takes to write all records, as it is.
    pub span: Duration,
}

/// One of the bank's schemas: those that the reference routes name.
struct Writer {
    schema: Schema,
    header: [u8; 10],
}

impl Writer {
    fn new(text: &str) -> anyhow::Result<Self> {
        // apache-avro 0.22 keeps `{"type":"long"}`, precision and scale in the canonical form, so its fingerprints are not the specification's.
        let fingerprint = *text.parse::<serde_avro_fast::Schema>()?.rabin_fingerprint();
        let mut header = [0xC3, 0x01, 0, 0, 0, 0, 0, 0, 0, 0];
        header[2..].copy_from_slice(&fingerprint);
        Ok(Self { schema: Schema::parse_str(text)?, header })
    }

    /// Single-object encoding.
    fn write(&self, value: Value) -> anyhow::Result<Vec<u8>> {
        // The error would quote the value that does not fit.
        let writer = GenericDatumWriter::builder(&self.schema).build()?;
        let body = writer.write_value_to_vec(value).map_err(|_| anyhow::anyhow!("a record of the demo does not follow its schema"))?;
        Ok([&self.header[..], &body].concat())
    }
}

struct Encoder {
    pix: Writer,
    code: Writer,
    used: Writer,
    bill: Writer,
}

impl Encoder {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            pix: Writer::new(include_str!("../../../schemas/pix_transaction.avsc"))?,
            code: Writer::new(include_str!("../../../schemas/auth_challenge.avsc"))?,
            used: Writer::new(include_str!("../../../schemas/code_used.avsc"))?,
            bill: Writer::new(include_str!("../../../schemas/billing_invoice.avsc"))?,
        })
    }

    fn request(&self, it: &Planned, pace: Pace, now_ms: i64) -> anyhow::Result<Vec<u8>> {
        match it.kind {
            Kind::PixReceived | Kind::PixSent => self.pix.write(pix(it, now_ms)),
            Kind::Code => self.code.write(code(it, now_ms + millis(it.expires_after.mul_f64(pace.factor)))),
            Kind::Bill => self.bill.write(bill(it, now_ms)),
        }
    }

    fn used(&self, it: &Planned, now_ms: i64) -> anyhow::Result<Vec<u8>> {
        self.used.write(record([("challenge_id", text(&it.event_id)), ("used_at", Value::TimestampMillis(now_ms))]))
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

fn record<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
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

fn reais(centavos: i64) -> Value {
    Value::Decimal(Decimal::from(centavos.to_be_bytes()))
}

fn e164(it: &Planned) -> Value {
    some(text(&format!("+{}", it.phone)))
}

fn pix(it: &Planned, now_ms: i64) -> Value {
    let direction = if it.kind == Kind::PixReceived { Value::Enum(0, "RECEIVED".into()) } else { Value::Enum(1, "SENT".into()) };
    let counterparty = record([("name", some(text(&it.counterparty))), ("document", none()), ("institution", some(text(it.institution))), ("pix_key", none())]);
    record([
        ("event_id", text(&it.event_id)),
        ("customer_id", text(&it.customer_id)),
        ("phone", e164(it)),
        ("time_zone", none()),
        ("direction", direction),
        ("amount", reais(it.centavos)),
        ("counterparty", counterparty),
        ("end_to_end_id", none()),
        ("note", none()),
        ("occurred_at", Value::TimestampMillis(now_ms)),
    ])
}

fn code(it: &Planned, expires_ms: i64) -> Value {
    record([
        ("challenge_id", text(&it.event_id)),
        ("customer_id", text(&it.customer_id)),
        ("phone", e164(it)),
        ("code", text(&it.code)),
        ("purpose", some(text(it.purpose))),
        ("expires_at", Value::TimestampMillis(expires_ms)),
    ])
}

fn bill(it: &Planned, now_ms: i64) -> Value {
    let today = i32::try_from(now_ms / 86_400_000).unwrap_or(0);
    record([
        ("invoice_id", text(&it.event_id)),
        ("customer_id", text(&it.customer_id)),
        ("customer_name", some(text(it.name.0))),
        ("phone", e164(it)),
        ("amount", reais(it.centavos)),
        ("due_date", Value::Date(today + 10)),
        ("card_last_digits", none()),
        ("payment_line", none()),
    ])
}

/// One record to write.
enum Action<'a> {
    Request(&'a Planned),
    Used(&'a Planned),
}

/// Writes the plan to the bank's topics, each record at its time, and notes when.
///
/// Returns when all are acknowledged, or at `shutdown`. Errors: a record that Kafka does not take within 30 s, or that does not fit its schema.
pub async fn produce(plan: &Plan, kafka: &Kafka, topics: &Topics, pace: Pace, asked: &Asked, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let mut config = kafka.config();
    config.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", "5").set("message.timeout.ms", "30000");
    // What Java clients use: the same key lies in the same partition, whoever writes it.
    config.set("partitioner", "murmur2_random");
    let producer: FutureProducer = config.create().context("making the bank's producer")?;
    let encoder = Encoder::new()?;
    let mut acknowledgements = Vec::new();
    let began = crate::clock::monotonic();
    for (at, action) in timetable(plan, pace) {
        let wait = (began + at).saturating_sub(crate::clock::monotonic());
        tokio::select! { biased; () = shutdown.cancelled() => break, () = tokio::time::sleep(wait) => {} }
        let now_ms = crate::clock::wall().millis();
        let (topic, it, bytes) = match action {
            Action::Request(it) => {
                asked.lock().expect("no panic while noting").insert(it.event_id.clone(), now_ms);
                let topic = match it.kind {
                    Kind::PixReceived | Kind::PixSent => &topics.pix,
                    Kind::Code => &topics.codes,
                    Kind::Bill => &topics.bills,
                };
                (topic, it, encoder.request(it, pace, now_ms)?)
            }
            Action::Used(it) => (&topics.codes_used, it, encoder.used(it, now_ms)?),
        };
        let record = FutureRecord::to(topic).key(it.customer_id.as_bytes()).payload(&bytes);
        let acknowledged = producer.send_result(record).map_err(|(error, _)| error).with_context(|| format!("writing to {topic}"))?;
        acknowledgements.push((topic, acknowledged));
    }
    for (topic, acknowledged) in acknowledgements {
        acknowledged.await.context("the bank's producer ended")?.map_err(|(error, _)| error).with_context(|| format!("writing to {topic}"))?;
    }
    Ok(())
}

fn timetable(plan: &Plan, pace: Pace) -> Vec<(Duration, Action<'_>)> {
    let count = u32::try_from(plan.notifications.len()).unwrap_or(u32::MAX).max(1);
    let mut actions = Vec::new();
    for (at, it) in (0..).zip(&plan.notifications) {
        let when = pace.span * at / count;
        actions.push((when, Action::Request(it)));
        if let Some(after) = it.used_after {
            actions.push((when + after.mul_f64(pace.factor), Action::Used(it)));
        }
    }
    actions.sort_by_key(|(when, _)| *when);
    actions
}
