//! What the bank writes, by the million: records cast from a specimen, a producer that batches, and routes whose waits a part chooses.
//!
//! Easily got wrong: the generator shares the machine with what is measured, so a record costs it a copy and some digits.

use crate::shared::{Bills, partition};
use crate::topics::Back;
use crate::{bank, support};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use recado::delivery::MessageId;
use std::ops::Range;
use std::time::Duration;

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

/// Writes much in few requests.
pub struct Loader(ThreadedProducer<DefaultProducerContext>);

impl Loader {
    /// An idempotent producer.
    pub fn new() -> Self {
        let producer = support::client()
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "20")
            .set("batch.size", "1000000")
            .set("compression.type", "lz4")
            .set("queue.buffering.max.messages", "500000")
            .create();
        Self(producer.unwrap())
    }

    /// Writes one record, which may say that it is of another time than now; waits while the queue is full.
    pub fn send(&self, topic: &str, partition: i32, key: &[u8], value: &[u8], time_ms: Option<i64>) {
        loop {
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(partition).key(key).payload(value);
            record.timestamp = time_ms;
            match self.0.send(record) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => std::thread::sleep(Duration::from_millis(1)),
                Err((error, _)) => panic!("{error}"),
            }
        }
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
        self.send(receipts, id.partition().kafka(), id.bytes(), &back.record(*id), None);
    }

    /// Waits until everything is acknowledged.
    pub fn flush(&self) {
        self.0.flush(Duration::from_secs(120)).unwrap();
    }
}

/// Many attempts may be open, and many waits run out at once: both are wanted here.
pub const OPEN: &str = "attempts_open_max = 100000000\nstorm_guard = false\n";

/// The route file of Pix with these waits, in seconds, for their WhatsApp; then an SMS with ten minutes.
pub fn pix_route(received_secs: u32, sent_secs: u32) -> (&'static str, String) {
    let text = support::file("config/routes/pix.toml");
    let (input, _) = text.split_once("# The first route whose conditions").unwrap();
    let step = |channel: &str, template: &str, wait_secs: u32| {
        format!("[[route.steps]]\nchannel = \"{channel}\"\ntemplate = \"{template}\"\nlease = \"2m\"\nwait = \"{wait_secs}s\"\n")
    };
    let route = |name: &str, direction: &str, template: &str, wait_secs: u32| {
        let when = format!("[[route]]\nname = \"{name}\"\nwhen = [{{ field = \"direction\", equals = \"{direction}\" }}]\nexpiry = \"1h\"\nlinger = \"1m\"\n");
        [when, step("whatsapp", template, wait_secs), step("sms", template, 600)].concat()
    };
    let routes = [route("pix.received", "RECEIVED", "pix_recebido", received_secs), route("pix.sent", "SENT", "pix_enviado", sent_secs)];
    ("routes/pix.toml", format!("{input}{}", routes.concat()))
}

/// The route file of bills with one step that waits longer than the bill lives: so a bill's own time says when its timer is due, and it has no fallback.
pub fn bill_route() -> (&'static str, String) {
    let text = support::file("config/routes/bills.toml");
    let (input, _) = text.split_once("[[route]]").unwrap();
    let route = "[[route]]\nname = \"bill\"\nexpiry = \"2h\"\n[[route.steps]]\nchannel = \"whatsapp\"\ntemplate = \"fatura\"\nlease = \"2m\"\nwait = \"24h\"\n";
    ("routes/bills.toml", format!("{input}{route}"))
}

/// How long after a bill's own time its timer is due: its life, and the 3 s more in which the delivery machine still takes a receipt.
pub const BILL_DUE_MS: i64 = 7_203_000;
