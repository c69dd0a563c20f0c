//! The transactional producer of one engine thread: begin, produce, positions, commit, as one call. A producer that met trouble is never used again.
//!
//! Easily got wrong: the crate's `commit_transaction` costs 100 ms and more, since its flush polls; and librdkafka repeats a commit behind our back, so a slow
//! one makes the producer suspect even when it succeeds.
#![expect(unsafe_code, reason = "the raw commit: measured p50 6 ms against 103 ms through the safe wrapper")]

use super::outputs::Output;
use super::produce::{self, Handles};
use super::settings::Settings;
use super::watchdog::Watch;
use crate::crash_point::crash_point;
use rdkafka::ClientConfig;
use rdkafka::bindings as sys;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig};
use rdkafka::topic_partition_list::TopicPartitionList;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A commit that took longer makes its producer suspect: an older EndTxn may still be on its way. Source: design §5.7.
const COMMIT_SUSPECT: Duration = Duration::from_secs(2);

/// So many events of librdkafka are looked through before a begin, at most.
const EVENTS_MAX: usize = 10_000;

/// These are speed alone: `[kafka.properties]` may say otherwise.
const SPEED: [(&str, &str); 5] =
    [("linger.ms", "5"), ("batch.size", "262144"), ("batch.num.messages", "10000"), ("queue.buffering.max.messages", "200000"), ("compression.type", "lz4")];

/// The configuration of the producer with this transactional id.
pub fn client_config(settings: &Settings, id: &str) -> ClientConfig {
    let mut config = settings.kafka.clone();
    for (key, value) in SPEED {
        if config.get(key).is_none() {
            config.set(key, value);
        }
    }
    let timeout = settings.transaction_timeout.as_millis();
    config
        .set("transactional.id", id)
        .set("transaction.timeout.ms", timeout.to_string())
        .set("socket.timeout.ms", (timeout * 6 / 10).to_string())
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("delivery.report.only.error", "true")
        .set("retry.backoff.ms", "20")
        .set("retry.backoff.max.ms", "500");
    // That it lost its connection while a commit was under way librdkafka says in a line of this level, and writes it only where its client's level is that low.
    // Without this the level follows our own logs, which show of others `warn` and worse: the line on which `suspect` rests would never be written.
    config.set_log_level(RDKafkaLogLevel::Info);
    config
}

/// A record that can never be written as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Where it was to go.
    pub topic: String,
    /// Into which partition.
    pub partition: i32,
    /// What Kafka or its client says of it.
    pub error: RDKafkaErrorCode,
}

/// What became of a transaction.
#[derive(Debug)]
pub enum End {
    /// All of it is committed.
    Committed {
        /// How long begin to commit took.
        took: Duration,
    },
    /// None of it is, for sure; the producer has been given up. Reopen the tasks, then go on with a new one.
    Aborted {
        /// What the client says.
        why: String,
        /// The first record that was refused for good (too large, say): the same batch would be aborted again and again.
        refused: Option<Refused>,
    },
    /// Nobody knows. Neither apply nor discard: a new producer decides it, then the changelog tells.
    Unknown(String),
    /// Another producer with the same transactional id took over: this process is the older one and must end.
    Fenced(String),
}

struct Context {
    /// librdkafka lost or repeated a request to the transaction coordinator without telling anybody.
    suspicious: AtomicBool,
    /// The first record that was refused for good.
    refused: OnceLock<Refused>,
}

impl Context {
    fn look(&self, error: &KafkaError, topic: &str, partition: i32) {
        if let Some(error) = error.rdkafka_error_code().filter(|code| refusal(*code)) {
            self.refused.get_or_init(|| Refused { topic: topic.to_owned(), partition, error });
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" && message.contains("TxnCoordinator") {
            self.suspicious.store(true, Ordering::Relaxed);
        }
        // The text may name hosts but never data: librdkafka's debug contexts are off.
        tracing::debug!(level = ?level, facility, "librdkafka: {message}");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, record)) = result {
            self.look(error, record.topic(), record.partition());
        }
    }
}

/// One transactional producer.
pub struct Transactor {
    topics: Handles,
    producer: BaseProducer<Context>,
    watch: Watch,
    timeout: Duration,
}

impl Transactor {
    /// Makes a producer and fences whoever used its transactional id before: what that one left open is aborted now.
    pub fn open(config: &ClientConfig, watch: Watch, timeout: Duration) -> Result<Self, KafkaError> {
        let producer: BaseProducer<Context> = config.create_with_context(Context { suspicious: AtomicBool::new(false), refused: OnceLock::new() })?;
        {
            let _guard = watch.enter("init_transactions");
            producer.init_transactions(timeout * 2)?;
        }
        // SAFETY: fields are dropped in their order, the producer after its topics.
        let topics = unsafe { Handles::new(producer.client()) };
        Ok(Self { topics, producer, watch, timeout })
    }

    /// Whether this producer must be replaced before the next begin, though nothing failed.
    pub fn suspect(&self) -> bool {
        // The log line of a silent reconnect is handed over by a poll.
        self.hear_all();
        self.producer.context().suspicious.load(Ordering::Relaxed)
    }

    /// Hears what the client has to say, and tells whether anything is still under way: the client's count is of records and of its events, and a poll hands over one.
    fn hear_all(&self) -> bool {
        (0..EVENTS_MAX).any(|_| {
            self.producer.poll(Duration::ZERO);
            self.producer.in_flight_count() == 0
        })
    }

    /// Writes the records in their order, then the positions, and commits. The producer comes back unless something is under way that it could not take back: it reads
    /// values where they lie, so it ends before they may.
    pub fn run(self, outputs: &[Output<'_>], positions: &TopicPartitionList, group: &ConsumerGroupMetadata) -> (End, Option<Self>) {
        // SAFETY: the outputs are borrowed here until nothing is under way, or this producer has ended.
        let end = unsafe { self.write_and_commit(outputs, positions, group) };
        // A commit waits for all records, and librdkafka lets go of each as it is acknowledged.
        let let_go = matches!(end, End::Committed { .. }) || self.hear_all();
        (end, let_go.then_some(self))
    }

    /// # Safety
    /// As [`Handles::produce`].
    unsafe fn write_and_commit(&self, outputs: &[Output<'_>], positions: &TopicPartitionList, group: &ConsumerGroupMetadata) -> End {
        let started = crate::clock::monotonic();
        // SAFETY: by our own contract.
        if let Err(error) = unsafe { self.begin(outputs, positions, group) } {
            return self.give_up(&error);
        }
        #[cfg(feature = "mutants")]
        if crate::seeded_bug::abort_now() {
            self.flush(); // records that never went out would leave a gap in the producer's sequence: another story
            return self.abort("a test asked for it".into());
        }
        match self.commit() {
            Ok(()) => {
                let took = crate::clock::monotonic().saturating_sub(started);
                if took > COMMIT_SUSPECT {
                    self.producer.context().suspicious.store(true, Ordering::Relaxed);
                }
                End::Committed { took }
            }
            Err(failure) => failure,
        }
    }

    /// # Safety
    /// As [`Handles::produce`].
    unsafe fn begin(&self, outputs: &[Output<'_>], positions: &TopicPartitionList, group: &ConsumerGroupMetadata) -> Result<(), KafkaError> {
        {
            let _guard = self.watch.enter("begin_transaction");
            self.producer.begin_transaction()?;
        }
        let outputs = produce::by_partition(outputs);
        let (first, rest) = outputs.split_at(outputs.len().div_ceil(2));
        // SAFETY: by our own contract, here and below.
        unsafe { self.produce(first)? };
        // What was handed over may still lie in the client's queue; in the pass that kills it goes out first.
        crash_point!("mid_txn", if !rest.is_empty(), after self.flush());
        // SAFETY: as above.
        unsafe { self.produce(rest)? };
        // So with the acknowledgement of the records, which nobody else waits for before the positions.
        crash_point!("after_changelog_ack", after self.flush());
        let _guard = self.watch.enter("send_offsets_to_transaction");
        self.producer.send_offsets_to_transaction(positions, group, self.timeout)
    }

    /// All of a transaction but its end, with everything acknowledged: what a process leaves that dies before it could commit.
    #[cfg(feature = "mutants")]
    pub fn leave_open(self, outputs: &[Output<'_>], positions: &TopicPartitionList, group: &ConsumerGroupMetadata) -> Result<Option<Self>, KafkaError> {
        // SAFETY: as in `run`.
        unsafe { self.begin(outputs, positions, group)? };
        self.flush();
        Ok(self.hear_all().then_some(self))
    }

    /// The client's queue empties by itself: with only-error reports nothing has to be polled.
    ///
    /// # Safety
    /// As [`Handles::produce`].
    unsafe fn produce(&self, outputs: &[Output<'_>]) -> Result<(), KafkaError> {
        let deadline = crate::clock::monotonic() + self.timeout;
        let mut rest = outputs;
        while let Some(next) = rest.first() {
            let alike = produce::alike(rest);
            // SAFETY: by our own contract.
            let taken = if alike == 0 { self.produce_one(next) } else { unsafe { self.topics.produce(&rest[..alike]) } };
            let taken = taken.inspect_err(|error| self.producer.context().look(error, next.topic, next.partition))?;
            if taken < alike.max(1) {
                if crate::clock::monotonic() >= deadline {
                    return Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// What has headers; 0 where the client's queue is full.
    fn produce_one(&self, output: &Output<'_>) -> Result<usize, KafkaError> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(output.topic).partition(output.partition);
        if !output.key.is_empty() {
            record = record.key(output.key);
        }
        if let Some(value) = output.value {
            record = record.payload(value);
        }
        let headers = output.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        match self.producer.send(record.headers(headers)) {
            Ok(()) => Ok(1),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Ok(0),
            Err((error, _)) => Err(error),
        }
    }

    fn commit(&self) -> Result<(), End> {
        let _guard = self.watch.enter("commit_transaction");
        self.flush();
        crash_point!("before_endtxn");
        loop {
            // SAFETY: the producer is live; the error, when there is one, is ours and freed in `TxnError::take`.
            let error = unsafe { sys::rd_kafka_commit_transaction(self.producer.client().native_ptr(), -1) };
            let Some(error) = TxnError::take(error) else { return Ok(()) };
            if error.retriable {
                continue; // the same call again resumes it
            }
            return Err(if error.requires_abort {
                self.abort(error.text)
            } else if fenced(error.code) {
                End::Fenced(error.text)
            } else {
                End::Unknown(error.text)
            });
        }
    }

    /// Brings the records out. Under rdkafka's event interface a failed record stays in the event queue and flush never reaches zero: hence the polls.
    fn flush(&self) {
        let deadline = crate::clock::monotonic() + self.timeout;
        while crate::clock::monotonic() < deadline {
            // SAFETY: the producer is live.
            let error = unsafe { sys::rd_kafka_flush(self.producer.client().native_ptr(), 20) };
            if error == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            self.producer.poll(Duration::ZERO);
        }
    }

    fn give_up(&self, error: &KafkaError) -> End {
        if let KafkaError::Transaction(inner) = error
            && inner.is_fatal()
        {
            return if fenced(inner.code()) { End::Fenced(error.to_string()) } else { End::Unknown(error.to_string()) };
        }
        self.abort(error.to_string())
    }

    /// Takes back what has not gone out, and hears of it. Abort purges too, and then waits for reports that, under rdkafka's event interface, lie in a queue that
    /// nobody serves meanwhile: it would wait for its whole time-out.
    fn drain(&self) {
        self.producer.purge(PurgeConfig::default().queue());
        let deadline = crate::clock::monotonic() + self.timeout;
        while self.producer.in_flight_count() > 0 && crate::clock::monotonic() < deadline {
            self.producer.poll(Duration::from_millis(10));
        }
    }

    fn abort(&self, text: String) -> End {
        let _guard = self.watch.enter("abort_transaction");
        self.drain();
        match self.producer.abort_transaction(self.timeout) {
            Ok(()) => {
                self.producer.poll(Duration::ZERO); // failed records report themselves
                End::Aborted { why: text, refused: self.producer.context().refused.get().cloned() }
            }
            Err(KafkaError::Transaction(error)) if fenced(error.code()) => End::Fenced(text),
            Err(abort) => End::Unknown(format!("{text}; then, on abort: {abort}")),
        }
    }
}

/// Whether a record can never be written as it is.
fn refusal(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge | RDKafkaErrorCode::InvalidRecord | RDKafkaErrorCode::InvalidMessage
    )
}

/// Whether another producer with our transactional id has taken over.
fn fenced(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch | RDKafkaErrorCode::Fenced)
}

struct TxnError {
    code: RDKafkaErrorCode,
    text: String,
    retriable: bool,
    requires_abort: bool,
}

impl TxnError {
    fn take(error: *mut sys::rd_kafka_error_t) -> Option<Self> {
        if error.is_null() {
            return None;
        }
        // SAFETY: a non-null error is live until destroyed here; its text is a C string that is copied first.
        unsafe {
            let taken = Self {
                code: sys::rd_kafka_error_code(error).into(),
                text: std::ffi::CStr::from_ptr(sys::rd_kafka_error_string(error)).to_string_lossy().into_owned(),
                retriable: sys::rd_kafka_error_is_retriable(error) != 0,
                requires_abort: sys::rd_kafka_error_txn_requires_abort(error) != 0,
            };
            sys::rd_kafka_error_destroy(error);
            Some(taken)
        }
    }
}
