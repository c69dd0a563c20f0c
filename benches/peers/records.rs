//! The same lifecycle as bytes: as Recado's topics hold it (*full* work), or as a fixed layout of the same length (*plain* work: floors, and a Streams program
//! without Avro, seals, deduplication and gate).

use crate::back::{Back, encoded};
use crate::bank;
use crate::script::{Life, Told};
use apache_avro::Schema;
use apache_avro::writer::datum::GenericDatumWriter;
use recado::delivery::{Attempt, AttemptId, Channel, Lane, MessageId, StatusWord, Timestamp};
use recado::event::records::{self, Returned};
use std::collections::HashMap;

/// What a program has to do besides delivering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Avro by field path, deduplication, seals, drain gate.
    Full,
    /// None of it.
    Plain,
}

/// Writes records of one kind of work.
pub struct Codec {
    work: Work,
    schema: Schema,
    noise: Vec<u8>,
}

/// Of a plain record of the receipts topic that is a sign of life.
const PLAIN_HEARTBEAT: u8 = 9;
/// How long a plain record of the receipts topic is: as the average of the full ones.
const PLAIN_BACK_BYTES: usize = 64;
/// How long a plain request is: as a full one.
const PLAIN_REQUEST_BYTES: usize = 110;

impl Codec {
    /// For this work.
    pub fn new(work: Work) -> Self {
        let schema = Schema::parse_str(&crate::support::file("schemas/pix_transaction.avsc")).expect("it is in the repository");
        Self { work, schema, noise: crate::floor::noise() }
    }

    /// Whether nothing may come of it, as the bank has sent its event before.
    pub fn is_repeated(&self, life: Life) -> bool {
        self.work == Work::Full && life.repeats().is_some()
    }

    /// The bank's record.
    pub fn request(&self, life: Life, id: MessageId, event_prefix: &str) -> Vec<u8> {
        match self.work {
            Work::Full => {
                let life = life.repeats().unwrap_or(life);
                let number = life.0;
                let (event_id, customer) = (format!("{event_prefix}-{number}"), format!("customer-{}", life.customer()));
                let phone = format!("+55119{:08}", 10_000_000 + life.customer());
                let pix = bank::Pix {
                    event_id: &event_id,
                    customer: &customer,
                    phone: Some(&phone),
                    sent: life.falls_back(),
                    centavos: 100 + i64::from(number % 1_000_000),
                    ..bank::Pix::default()
                };
                let datum =
                    GenericDatumWriter::builder(&self.schema).build().expect("a schema").write_value_to_vec(pix.value()).expect("it follows its schema");
                bank::framed(bank::PIX, &datum)
            }
            Work::Plain => {
                let mut bytes = vec![u8::from(life.falls_back())];
                bytes.extend_from_slice(id.bytes()); // spares a floor the hash
                bytes.extend_from_slice(crate::floor::slice(&self.noise, life.0, PLAIN_REQUEST_BYTES - bytes.len()));
                bytes
            }
        }
    }

    /// A record of the receipts topic.
    pub fn back(&self, message_id: MessageId, attempt: Attempt, back: Back) -> Vec<u8> {
        match self.work {
            Work::Full => back.record(AttemptId { message_id, attempt }),
            Work::Plain => {
                let mut bytes = vec![back as u8];
                bytes.extend_from_slice(message_id.bytes());
                bytes.push(attempt.step);
                bytes.extend_from_slice(&attempt.n.to_be_bytes());
                bytes.resize(PLAIN_BACK_BYTES, 0);
                bytes
            }
        }
    }

    /// The signs of life of a gateway and of the dispatchers of both channels, for one partition. No lease ever counts as settled: each gets its outcome.
    pub fn heartbeats(&self, began: Timestamp) -> Vec<Vec<u8>> {
        match self.work {
            Work::Full => {
                let instance = || "bench".to_owned();
                let settled = |channel| Returned::DispatcherHeartbeat { instance: instance(), channel, lane: Lane::Express, settled: began };
                let all = [Returned::GatewayHeartbeat { instance: instance() }, settled(Channel::WhatsApp), settled(Channel::Sms)];
                all.iter().map(encoded).collect()
            }
            Work::Plain => {
                let mut bytes = vec![PLAIN_HEARTBEAT];
                bytes.resize(PLAIN_BACK_BYTES, 0);
                vec![bytes]
            }
        }
    }

    /// Which attempt a dispatch is for.
    pub fn dispatched(&self, value: &[u8]) -> AttemptId {
        match self.work {
            Work::Full => records::decode_dispatch(value).expect("a dispatch").attempt_id,
            Work::Plain => plain_attempt(value, 16),
        }
    }

    /// What a status says; `None` of a life that nobody began.
    pub fn told(&self, value: &[u8], lives: &HashMap<MessageId, Life>) -> Option<Told> {
        match self.work {
            Work::Full => {
                let record = records::decode_status(value).expect("a status");
                let life = *lives.get(&record.message_id)?;
                let seq = record.live.then_some(record.status.seq);
                Some(Told { life, word: record.status.word, seq, attempt: record.status.attempt.expect("each of these speaks of an attempt") })
            }
            Work::Plain => {
                let AttemptId { message_id, attempt } = plain_attempt(value, 21);
                let life = *lives.get(&message_id)?;
                let seq = i32::from_be_bytes(value[16..20].try_into().expect("four bytes"));
                let words = [StatusWord::Requested, StatusWord::Sent, StatusWord::Delivered, StatusWord::Read, StatusWord::Fallback];
                Some(Told { life, word: words[usize::from(value[20])], seq: u32::try_from(seq).ok(), attempt })
            }
        }
    }
}

/// The id at the beginning; step and n from `at` on.
fn plain_attempt(value: &[u8], at: usize) -> AttemptId {
    let message_id = MessageId::from_bytes(value[..16].try_into().expect("sixteen bytes"));
    AttemptId { message_id, attempt: Attempt { step: value[at], n: u16::from_be_bytes([value[at + 1], value[at + 2]]) } }
}
