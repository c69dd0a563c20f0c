//! Takes records out of the consumer in batches, through two queues of our own: receipts, which never wait, and the bank's inputs.
//!
//! Easily got wrong: a forward that is set before librdkafka has started the partition is overwritten by its start. The order that avoids it is `take_over` in
//! `thread/group.rs`.
#![expect(unsafe_code, reason = "rdkafka has no safe binding of batch consumption from a private queue")]

use super::bell::{Bell, Ringing};
use crate::delivery::{Partition, Timestamp};
use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use std::ffi::{CStr, CString};
use std::sync::Arc;

/// How many records one call takes at most.
const BATCH_MAX: usize = 1_000;

/// A record that was fetched; its bytes live until it is dropped.
pub struct Record {
    message: *mut sys::rd_kafka_message_t,
}

// SAFETY: a message that was handed out belongs to whoever holds it, on any thread.
unsafe impl Send for Record {}

impl Record {
    /// Its topic; empty for what speaks of no partition: an error of the group or of the whole client.
    pub fn topic(&self) -> &str {
        // SAFETY: the message is live; where `rkt` is set it is a topic handle that lives as long, and its name is a C string of ASCII.
        unsafe {
            let topic = (*self.message).rkt;
            if topic.is_null() { "" } else { CStr::from_ptr(sys::rd_kafka_topic_name(topic)).to_str().expect("Kafka's topic names are ASCII") }
        }
    }

    /// Its partition.
    pub fn partition(&self) -> Partition {
        Partition::from_kafka(self.number()).expect("we are assigned partitions of ours only")
    }

    /// Its partition as Kafka numbers it: -1 for what speaks of none.
    fn number(&self) -> i32 {
        // SAFETY: the message is live.
        unsafe { (*self.message).partition }
    }

    /// The same for records of one partition of one topic, and for no others.
    pub fn place(&self) -> (*const sys::rd_kafka_topic_t, i32) {
        // SAFETY: the message is live.
        unsafe { ((*self.message).rkt.cast_const(), (*self.message).partition) }
    }

    /// Its offset.
    pub fn offset(&self) -> i64 {
        // SAFETY: the message is live.
        unsafe { (*self.message).offset }
    }

    /// Its timestamp as Kafka holds it: create time or log append time, as the topic says; 0 when the record has none.
    pub fn time(&self) -> Timestamp {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is live, `kind` is writable.
        let millis = unsafe { sys::rd_kafka_message_timestamp(self.message, &raw mut kind) };
        Timestamp::from_millis(millis.max(0))
    }

    /// Its key; `None` where it has none.
    pub fn key(&self) -> Option<&[u8]> {
        // SAFETY: pointer and length belong together and live as long as the message.
        unsafe { slice((*self.message).key, (*self.message).key_len) }
    }

    /// Its value; `None` for a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        // SAFETY: as above.
        unsafe { slice((*self.message).payload, (*self.message).len) }
    }

    /// Its headers.
    pub fn headers(&self) -> Vec<(&str, &[u8])> {
        let mut list = Vec::new();
        let mut headers = std::ptr::null_mut();
        // SAFETY: headers, names and values live as long as the message; names are C strings.
        unsafe {
            if sys::rd_kafka_message_headers(self.message, &raw mut headers) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return list;
            }
            let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
            while sys::rd_kafka_header_get_all(headers, list.len(), &raw mut name, &raw mut value, &raw mut size)
                == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                list.push((CStr::from_ptr(name).to_str().unwrap_or(""), slice(value, size).unwrap_or(&[])));
            }
        }
        list
    }
}

/// # Safety
/// A non-null `pointer` is readable for `length` bytes as long as `'a`.
unsafe fn slice<'a>(pointer: *const std::ffi::c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: by the contract above.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer.cast(), length) })
}

impl Drop for Record {
    fn drop(&mut self) {
        // SAFETY: the message is ours and not used after this.
        unsafe { sys::rd_kafka_message_destroy(self.message) };
    }
}

/// What a queue gave.
pub enum Fetched {
    /// A record.
    Record(Record),
    /// What a reader may see of a partition is read to its end, which lies here: behind a transaction's marker, where one stands last.
    End {
        /// Of which topic.
        topic: String,
        /// Of which partition.
        partition: Partition,
        /// The offset that its next record will have at least.
        offset: i64,
    },
    /// A partition cannot be read: its offset is outside the log, or the broker refuses it. Or the group cannot be asked.
    Fault {
        /// Of which topic; empty where it is the group's.
        topic: String,
        /// Of which partition; -1 where it is the group's.
        partition: i32,
        /// What librdkafka says.
        error: rdkafka::error::RDKafkaErrorCode,
    },
}

/// A private queue of one consumer.
pub struct Queue {
    client: *mut sys::rd_kafka_t,
    queue: *mut sys::rd_kafka_queue_t,
    ringing: Option<Ringing>,
}

// SAFETY: librdkafka's queues may be used from any thread; the type is not `Sync`.
unsafe impl Send for Queue {}

impl Queue {
    /// A new queue on this consumer's client.
    ///
    /// # Safety
    /// The client must outlive the queue: keep it beside it in a struct, declared after it.
    pub unsafe fn new<C: ClientContext>(client: &Client<C>) -> Self {
        let client = client.native_ptr();
        // SAFETY: the client is live.
        Self { client, queue: unsafe { sys::rd_kafka_queue_new(client) }, ringing: None }
    }

    /// The queue of a consumer itself, for one that nothing else polls while it is read.
    ///
    /// # Safety
    /// As [`Queue::new`].
    pub unsafe fn of_consumer<C: ClientContext>(client: &Client<C>) -> Self {
        let client = client.native_ptr();
        // SAFETY: the client is live; the queue is a counted reference that is given back.
        Self { client, queue: unsafe { sys::rd_kafka_queue_get_consumer(client) }, ringing: None }
    }

    /// Rings this bell from now on, whenever it was empty and no longer is.
    pub fn ring(&mut self, bell: &Arc<Bell>) {
        self.ringing = None; // a second one is set when the first is taken away
        // SAFETY: the queue lives until `drop`, which ends the ringing first.
        self.ringing = Some(unsafe { Ringing::on(self.queue, bell.clone()) });
    }

    /// Sends what is fetched from this partition to this queue. Harmless when it is so already.
    pub fn forward(&self, topic: &str, partition: Partition) {
        let topic = CString::new(topic).expect("a topic name has no zero byte");
        // SAFETY: client and queue are live; the partition's queue is a counted reference that is given back.
        unsafe {
            let source = sys::rd_kafka_queue_get_partition(self.client, topic.as_ptr(), partition.kafka());
            if !source.is_null() {
                sys::rd_kafka_queue_forward(source, self.queue);
                sys::rd_kafka_queue_destroy(source);
            }
        }
    }

    /// What has been fetched, at most a batch, without waiting (a batch call that waits to be full adds its own time-out).
    pub fn take(&self, into: &mut Vec<Fetched>) {
        let mut batch = [std::ptr::null_mut(); BATCH_MAX];
        // SAFETY: the queue is live and the array holds as many pointers as it says.
        let count = unsafe { sys::rd_kafka_consume_batch_queue(self.queue, 0, batch.as_mut_ptr(), batch.len()) };
        let count = usize::try_from(count).unwrap_or(0);
        for message in &batch[..count] {
            let record = Record { message: *message };
            // SAFETY: the message is live.
            let error = unsafe { (*record.message).err };
            match error {
                sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => into.push(Fetched::Record(record)),
                sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
                    into.push(Fetched::End { topic: record.topic().to_owned(), partition: record.partition(), offset: record.offset() });
                }
                error => into.push(Fetched::Fault { topic: record.topic().to_owned(), partition: record.number(), error: error.into() }),
            }
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.ringing = None;
        // SAFETY: the queue is ours and not used after this.
        unsafe { sys::rd_kafka_queue_destroy(self.queue) };
    }
}
