//! The floors: what it costs to read the same records and write as many of the same length, with nothing decided in between. A process of its own, so that its
//! CPU can be read apart: `peers floor <kind> …`.
//!
//! Easily got wrong: a floor that writes less than the program does is none. Per lifecycle both write a dispatch, four records of state (one a tombstone) and
//! three or four statuses. And one that takes and hands over its records in a dearer way than the engine is none either: both take them in batches and hand
//! all of a transaction over at its commit, and librdkafka reads their values where they lie.
#![expect(unsafe_code, reason = "the engine's way to fetch, to produce and to commit: the crate's own takes records one by one, and 100 ms to commit")]

use crate::script::PARTITIONS;
use rdkafka::ClientConfig;
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
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
        Self { dispatch: 287, status: 158, state: 445 }
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
    let from = place(noise.len(), number, bytes);
    &noise[from..from + bytes]
}

/// Where they begin.
fn place(noise: usize, number: u32, bytes: usize) -> usize {
    (number as usize).wrapping_mul(2_654_435_761) % (noise - bytes)
}

/// Runs until it is killed.
pub fn run(arguments: &[String]) -> ! {
    let [kind, bootstrap, prefix, sizes @ ..] = arguments else { panic!("kind, bootstrap, prefix, sizes") };
    let kind = if kind == Kind::ExactlyOnce.word() { Kind::ExactlyOnce } else { Kind::AtLeastOnce };
    let sizes: Vec<usize> = sizes.iter().map(|size| size.parse().expect("a number")).collect();
    Floor::new(kind, bootstrap, prefix, Sizes { dispatch: sizes[0], status: sizes[1], state: sizes[2] }).run()
}

/// Topics that it writes to, in the order of [`Floor::handles`].
const DISPATCH: usize = 0;
const STATE: usize = 1;
const STATUS: usize = 2;

/// Neither copied nor freed by librdkafka: as the engine's.
const VALUES_STAY: i32 = 0;
/// How many records one call takes at most: the engine's.
const BATCH_MAX: usize = 1_000;
/// How long it waits for more where nothing was fetched.
const IDLE_MS: i32 = 2;

/// Where the bytes of a value lie.
#[derive(Clone, Copy)]
enum Bytes {
    /// None: a tombstone.
    Nothing,
    /// Put together for this record.
    Arena(usize, usize),
    /// As they are.
    Noise(usize, usize),
}

struct Floor {
    kind: Kind,
    consumer: BaseConsumer,
    queue: *mut sys::rd_kafka_queue_t,
    producer: BaseProducer,
    handles: [*mut sys::rd_kafka_topic_t; 3],
    input: CString,
    receipts: String,
    sizes: Sizes,
    noise: Vec<u8>,
    written: u32,
    /// Keys and values of what is not committed, and by topic and partition where those lie that wait to be handed over: key, value.
    arena: Vec<u8>,
    waiting: Vec<Vec<((usize, usize), Bytes)>>,
}

impl Floor {
    fn new(kind: Kind, bootstrap: &str, prefix: &str, sizes: Sizes) -> Self {
        let topic = |word: &str| format!("{prefix}{word}");
        let (input, receipts) = (topic("in.pix.transactions"), topic("receipts"));
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", bootstrap);
        let consumer: BaseConsumer = client
            .clone()
            .set("group.id", topic("floor"))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            // As the engine's (`src/engine/thread/group.rs`).
            .set("check.crcs", "true")
            .set("fetch.wait.max.ms", "10")
            .set("fetch.min.bytes", "65536")
            .set("fetch.message.max.bytes", "2097152")
            .set("queued.min.messages", "20000")
            .set("queued.max.messages.kbytes", "32768")
            .set("fetch.queue.backoff.ms", "10")
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        for (topic, partition) in [&input, &receipts].into_iter().flat_map(|topic| (0..i32::from(PARTITIONS)).map(move |partition| (topic, partition))) {
            list.add_partition_offset(topic, partition, Offset::Beginning).expect("a legal topic");
        }
        consumer.assign(&list).expect("a legal assignment");
        let mut producer = client.clone();
        producer
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // As the engine: all is handed over at once, and flushed.
            .set("linger.ms", "5")
            .set("batch.size", "262144")
            .set("batch.num.messages", "10000")
            .set("queue.buffering.max.messages", "200000")
            .set("compression.type", "lz4")
            .set("delivery.report.only.error", "true");
        if kind == Kind::ExactlyOnce {
            producer.set("transactional.id", topic("floor")).set("transaction.timeout.ms", "10000");
        }
        let producer: BaseProducer = producer.create().expect("a producer");
        let handles = ["dispatch.whatsapp", "state", "status"].map(|word| {
            let name = CString::new(topic(word)).expect("no zero byte");
            // SAFETY: the producer lives as long as the process, and so does the handle.
            unsafe { sys::rd_kafka_topic_new(producer.client().native_ptr(), name.as_ptr(), std::ptr::null_mut()) }
        });
        // SAFETY: as above, of the consumer.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        let waiting = vec![Vec::new(); handles.len() * usize::from(PARTITIONS)];
        let input = CString::new(input).expect("no zero byte");
        Self { kind, consumer, queue, producer, handles, input, receipts, sizes, noise: noise(), written: 0, arena: Vec::new(), waiting }
    }

    fn run(mut self) -> ! {
        if self.kind == Kind::ExactlyOnce {
            self.producer.init_transactions(Duration::from_secs(20)).expect("the broker answers");
        }
        let (mut batch, mut wait) = ([std::ptr::null_mut(); BATCH_MAX], IDLE_MS);
        loop {
            let began = Instant::now();
            let mut positions = BTreeMap::new();
            while began.elapsed() < COMMIT_EVERY {
                // SAFETY: the queue is live, and the array holds as many pointers as it says.
                let count = unsafe { sys::rd_kafka_consume_batch_queue(self.queue, wait, batch.as_mut_ptr(), batch.len()) };
                let count = usize::try_from(count).unwrap_or(0);
                wait = if count == 0 { IDLE_MS } else { 0 };
                for &message in &batch[..count] {
                    self.take(message, &mut positions);
                    // SAFETY: it was handed out to us, and nothing points to it any more.
                    unsafe { sys::rd_kafka_message_destroy(message) };
                }
            }
            if !positions.is_empty() {
                self.hand_over();
                self.commit(&positions);
                self.arena.clear();
            }
        }
    }

    fn take(&mut self, message: *mut sys::rd_kafka_message_t, positions: &mut BTreeMap<(bool, i32), i64>) {
        // SAFETY: the message is live while this is called; its topic's name is a C string; pointers and lengths belong together.
        let (error, is_input, partition, offset, key, value) = unsafe {
            let it = &*message;
            let bytes = |at: *mut std::ffi::c_void, length: usize| if at.is_null() { &[][..] } else { std::slice::from_raw_parts(at.cast::<u8>(), length) };
            let is_input = !it.rkt.is_null() && CStr::from_ptr(sys::rd_kafka_topic_name(it.rkt)) == self.input.as_c_str();
            (it.err, is_input, it.partition, it.offset, bytes(it.key, it.key_len), bytes(it.payload, it.len))
        };
        assert!(error == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR, "the broker answers: {error:?}");
        if positions.is_empty() && self.kind == Kind::ExactlyOnce {
            self.producer.begin_transaction().expect("a transaction begins");
        }
        positions.insert((is_input, partition), offset + 1);
        self.answer(is_input, partition, key, value);
    }

    /// Writes what a program would write for this record.
    fn answer(&mut self, is_input: bool, partition: i32, key: &[u8], value: &[u8]) {
        let id: [u8; 16] = value[1..17].try_into().expect("sixteen bytes");
        if is_input {
            let key_at = self.put(&[&id]);
            let value_at = self.padded(&[&id, b"\x01\x00\x01"], self.sizes.dispatch);
            self.write(DISPATCH, partition, key_at, value_at);
            self.state(partition, id, true);
            return self.tell(partition, key, id, 0, 0);
        }
        match value[0] {
            0 => self.state(partition, id, true),
            1 => {
                self.state(partition, id, true);
                self.tell(partition, key, id, 1, 1);
            }
            2 => {
                self.state(partition, id, false);
                self.tell(partition, key, id, 2, 2);
            }
            3 => self.tell(partition, key, id, -1, 3),
            _ => {}
        }
    }

    fn state(&mut self, partition: i32, id: [u8; 16], live: bool) {
        let key = self.put(&[b"s", &id]);
        let from = self.more(self.sizes.state);
        self.write(STATE, partition, key, if live { Bytes::Noise(from, self.sizes.state) } else { Bytes::Nothing });
    }

    fn tell(&mut self, partition: i32, key: &[u8], id: [u8; 16], seq: i32, word: u8) {
        let key = self.put(&[key]);
        let value = self.padded(&[&id, &seq.to_be_bytes(), &[word, 1, 0, 1]], self.sizes.status);
        self.write(STATUS, partition, key, value);
    }

    /// Into the arena: where, and how long.
    fn put(&mut self, parts: &[&[u8]]) -> (usize, usize) {
        let from = self.arena.len();
        parts.iter().for_each(|part| self.arena.extend_from_slice(part));
        (from, self.arena.len() - from)
    }

    /// The same with noise behind it, so long in all.
    fn padded(&mut self, parts: &[&[u8]], bytes: usize) -> Bytes {
        let (from, length) = self.put(parts);
        let noise = self.more(bytes - length);
        self.arena.extend_from_slice(&self.noise[noise..noise + bytes - length]);
        Bytes::Arena(from, bytes)
    }

    /// Where so many bytes of noise begin, others each time.
    fn more(&mut self, bytes: usize) -> usize {
        self.written = self.written.wrapping_add(1);
        place(self.noise.len(), self.written, bytes)
    }

    fn write(&mut self, topic: usize, partition: i32, key: (usize, usize), value: Bytes) {
        let partition = usize::try_from(partition).expect("partitions are counted from 0");
        self.waiting[topic * usize::from(PARTITIONS) + partition].push((key, value));
    }

    fn hand_over(&mut self) {
        let mut messages = Vec::new();
        for (at, waiting) in self.waiting.iter_mut().enumerate() {
            let (topic, partition) = (self.handles[at / usize::from(PARTITIONS)], at % usize::from(PARTITIONS));
            let pointer = |bytes: &[u8]| bytes.as_ptr().cast_mut().cast::<std::ffi::c_void>();
            messages.clear();
            messages.extend(waiting.drain(..).map(|((key, key_len), value)| {
                let (payload, len) = match value {
                    Bytes::Nothing => (std::ptr::null_mut(), 0),
                    Bytes::Arena(from, bytes) => (pointer(&self.arena[from..from + bytes]), bytes),
                    Bytes::Noise(from, bytes) => (pointer(&self.noise[from..from + bytes]), bytes),
                };
                sys::rd_kafka_message_t {
                    err: sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
                    rkt: std::ptr::null_mut(),
                    partition: 0,
                    payload,
                    len,
                    key: pointer(&self.arena[key..key + key_len]),
                    key_len,
                    offset: 0,
                    _private: std::ptr::null_mut(),
                }
            }));
            let mut rest = &mut messages[..];
            while !rest.is_empty() {
                let count = i32::try_from(rest.len()).expect("a transaction is smaller");
                let partition = i32::try_from(partition).expect("a few");
                // SAFETY: topic and messages are live; keys are copied before it returns, and arena and noise stay as they are until the commit, which waits for all.
                let taken = unsafe { sys::rd_kafka_produce_batch(topic, partition, VALUES_STAY, rest.as_mut_ptr(), count) };
                let taken = usize::try_from(taken).expect("how many");
                rest = &mut rest[taken..];
                if let Some(refused) = rest.first() {
                    assert!(refused.err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__QUEUE_FULL, "it takes records: {:?}", refused.err);
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }

    fn commit(&self, positions: &BTreeMap<(bool, i32), i64>) {
        let mut list = TopicPartitionList::with_capacity(usize::from(2 * PARTITIONS));
        let input = self.input.to_str().expect("a topic's name");
        for (&(is_input, partition), &next) in positions {
            list.add_partition_offset(if is_input { input } else { &self.receipts }, partition, Offset::Offset(next)).expect("a legal position");
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
