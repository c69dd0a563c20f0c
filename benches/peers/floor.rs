//! The floors: what it costs to read the same records and write as many of the same length, with nothing decided in between. A process of its own, so that its
//! CPU can be read apart: `peers floor <kind> …`.
//!
//! Easily got wrong: a floor that writes less than the program does is none. Per lifecycle both write a dispatch, four records of state (one a tombstone) and
//! three or four statuses.
#![expect(unsafe_code, reason = "the engine's way to commit: the crate's own costs 100 ms")]

use crate::script::PARTITIONS;
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, error::KafkaError, error::RDKafkaErrorCode};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// With transactions, or with acknowledgements alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A transaction each 100 ms, positions inside.
    ExactlyOnce,
    /// A flush each 100 ms, then the positions.
    AtLeastOnce,
}

impl Kind {
    /// As it is written on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ExactlyOnce => "exactly-once",
            Self::AtLeastOnce => "at-least-once",
        }
    }
}

/// How long values are that a program writes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// A dispatch.
    pub dispatch: usize,
    /// A status.
    pub status: usize,
    /// A delivery's state.
    pub state: usize,
}

impl Default for Sizes {
    /// Recado's, from a run before: without one in the same run.
    fn default() -> Self {
        Self { dispatch: 330, status: 190, state: 480 }
    }
}

/// Before a commit, so much time.
const COMMIT_EVERY: Duration = Duration::from_millis(100);

/// Half of it says the same again and again, half never: as records of ours do (names and words; ids and sealed bytes).
pub fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..1 << 20).map(|at| if at / 16 % 2 == 0 { next() } else { b"recado of a bank"[at % 16] }).collect()
}

/// So many bytes of it, others for each number.
pub fn slice(noise: &[u8], number: u32, bytes: usize) -> &[u8] {
    let from = (number as usize).wrapping_mul(2_654_435_761) % (noise.len() - bytes);
    &noise[from..from + bytes]
}

/// Runs until it is killed.
pub fn run(arguments: &[String]) -> ! {
    let [kind, bootstrap, prefix, sizes @ ..] = arguments else { panic!("kind, bootstrap, prefix, sizes") };
    let kind = if kind == Kind::ExactlyOnce.word() { Kind::ExactlyOnce } else { Kind::AtLeastOnce };
    let sizes: Vec<usize> = sizes.iter().map(|size| size.parse().expect("a number")).collect();
    Floor::new(kind, bootstrap, prefix, Sizes { dispatch: sizes[0], status: sizes[1], state: sizes[2] }).run()
}

struct Floor {
    kind: Kind,
    consumer: BaseConsumer,
    producer: BaseProducer,
    topics: Topics,
    sizes: Sizes,
    noise: Vec<u8>,
    written: u32,
}

struct Topics {
    input: String,
    receipts: String,
    dispatch: String,
    state: String,
    status: String,
}

impl Floor {
    fn new(kind: Kind, bootstrap: &str, prefix: &str, sizes: Sizes) -> Self {
        let topic = |word: &str| format!("{prefix}{word}");
        let topics = Topics {
            input: topic("in.pix.transactions"),
            receipts: topic("receipts"),
            dispatch: topic("dispatch.whatsapp"),
            state: topic("state"),
            status: topic("status"),
        };
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", bootstrap);
        let consumer: BaseConsumer = client
            .clone()
            .set("group.id", topic("floor"))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("fetch.min.bytes", "65536")
            .set("fetch.wait.max.ms", "10")
            .create()
            .expect("a consumer");
        consumer.subscribe(&[&topics.input, &topics.receipts]).expect("a subscription");
        let mut producer = client.clone();
        producer
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // The flush before each commit sends what waits; less would make more and smaller batches of what comes all the time in between.
            .set("linger.ms", "100")
            .set("batch.size", "262144")
            .set("batch.num.messages", "10000")
            .set("queue.buffering.max.messages", "200000")
            .set("compression.type", "lz4")
            .set("delivery.report.only.error", "true");
        if kind == Kind::ExactlyOnce {
            producer.set("transactional.id", topic("floor")).set("transaction.timeout.ms", "10000");
        }
        let producer: BaseProducer = producer.create().expect("a producer");
        Self { kind, consumer, producer, topics, sizes, noise: noise(), written: 0 }
    }

    fn run(mut self) -> ! {
        if self.kind == Kind::ExactlyOnce {
            self.producer.init_transactions(Duration::from_secs(20)).expect("the broker answers");
        }
        loop {
            let began = Instant::now();
            let mut positions = BTreeMap::new();
            while began.elapsed() < COMMIT_EVERY {
                let consumer = &self.consumer;
                let Some(message) = consumer.poll(COMMIT_EVERY.saturating_sub(began.elapsed())) else { continue };
                let message = message.expect("the broker answers").detach();
                if positions.is_empty() && self.kind == Kind::ExactlyOnce {
                    self.producer.begin_transaction().expect("a transaction begins");
                }
                let is_input = message.topic() == self.topics.input;
                positions.insert((is_input, message.partition()), message.offset() + 1);
                self.answer(is_input, message.partition(), message.key().unwrap_or_default(), message.payload().expect("a value"));
            }
            if !positions.is_empty() {
                self.commit(&positions);
            }
        }
    }

    /// Writes what a program would write for this record.
    fn answer(&mut self, is_input: bool, partition: i32, key: &[u8], value: &[u8]) {
        let id: [u8; 16] = value[1..17].try_into().expect("sixteen bytes");
        let state_key = [b"s".as_slice(), &id].concat();
        let topics = [self.topics.dispatch.clone(), self.topics.state.clone(), self.topics.status.clone()];
        let [dispatch, state, status] = &topics;
        if is_input {
            let mut bytes = [id.as_slice(), b"\x01\x00\x01"].concat();
            bytes.extend_from_slice(self.more(self.sizes.dispatch - bytes.len()));
            self.send(dispatch, partition, &id, Some(&bytes));
            self.send_state(state, partition, &state_key);
            return self.tell(status, partition, key, id, 0, 0);
        }
        match value[0] {
            0 => self.send_state(state, partition, &state_key),
            1 => {
                self.send_state(state, partition, &state_key);
                self.tell(status, partition, key, id, 1, 1);
            }
            2 => {
                self.send(state, partition, &state_key, None);
                self.tell(status, partition, key, id, 2, 2);
            }
            3 => self.tell(status, partition, key, id, -1, 3),
            _ => {}
        }
    }

    fn send_state(&mut self, topic: &str, partition: i32, key: &[u8]) {
        let bytes = self.more(self.sizes.state).to_vec();
        self.send(topic, partition, key, Some(&bytes));
    }

    fn tell(&mut self, topic: &str, partition: i32, key: &[u8], id: [u8; 16], seq: i32, word: u8) {
        let mut bytes = [id.as_slice(), &seq.to_be_bytes(), &[word, 1, 0, 1]].concat();
        bytes.extend_from_slice(self.more(self.sizes.status - bytes.len()));
        self.send(topic, partition, key, Some(&bytes));
    }

    fn more(&mut self, bytes: usize) -> &[u8] {
        self.written = self.written.wrapping_add(1);
        slice(&self.noise, self.written, bytes)
    }

    fn send(&self, topic: &str, partition: i32, key: &[u8], value: Option<&[u8]>) {
        loop {
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(partition).key(key);
            if let Some(value) = value {
                record = record.payload(value);
            }
            match self.producer.send(record) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => std::thread::sleep(Duration::from_millis(1)),
                Err((error, _)) => panic!("{error}"),
            }
        }
    }

    fn commit(&self, positions: &BTreeMap<(bool, i32), i64>) {
        let mut list = TopicPartitionList::with_capacity(usize::from(2 * PARTITIONS));
        for (&(is_input, partition), &next) in positions {
            let topic = if is_input { &self.topics.input } else { &self.topics.receipts };
            list.add_partition_offset(topic, partition, Offset::Offset(next)).expect("a legal position");
        }
        if self.kind == Kind::AtLeastOnce {
            self.flush();
            return self.consumer.commit(&list, CommitMode::Async).expect("positions are taken");
        }
        let group = self.consumer.group_metadata().expect("a member of a group");
        self.producer.send_offsets_to_transaction(&list, &group, Duration::from_secs(10)).expect("the broker takes positions");
        self.flush();
        // SAFETY: the producer is live; a run with any error is void, so the error is not freed.
        let error = unsafe { sys::rd_kafka_commit_transaction(self.producer.client().native_ptr(), -1) };
        assert!(error.is_null(), "the commit failed");
    }

    fn flush(&self) {
        loop {
            // SAFETY: the producer is live.
            let error = unsafe { sys::rd_kafka_flush(self.producer.client().native_ptr(), 100) };
            if error == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            self.producer.poll(Duration::ZERO);
        }
    }
}
