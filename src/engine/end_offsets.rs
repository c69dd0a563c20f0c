//! Asks the brokers for the end of many partitions at once, without waiting: the questions of the drain gate and of restore.
//!
//! Easily got wrong: a read_committed client's own watermarks are the last *stable* offset; only ListOffsets with the isolation level said gives the true end.
#![expect(unsafe_code, reason = "rdkafka has no safe binding of ListOffsets")]

use super::bell::{Bell, Ringing};
use crate::delivery::Partition;
use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::ffi::CStr;
use std::sync::Arc;

/// A queue of questions and answers on one client.
pub struct EndOffsets {
    client: *mut sys::rd_kafka_t,
    queue: *mut sys::rd_kafka_queue_t,
    open: usize,
    ringing: Option<Ringing>,
}

// SAFETY: librdkafka's client and queue may be used from any thread; this type is not `Sync`, so one thread at a time uses them.
unsafe impl Send for EndOffsets {}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Of which topic.
    pub topic: String,
    /// Of which partition.
    pub partition: Partition,
    /// The offset that its next record will have; `None` when the broker could not say (a leader that moves, or that is a new one of which the client has not
    /// heard): ask again, after new metadata where the topic is not one that this client reads.
    pub offset: Option<i64>,
}

impl EndOffsets {
    /// On this client.
    ///
    /// # Safety
    /// The client must outlive the value: keep it beside it in a struct, declared after it.
    pub unsafe fn new<C: ClientContext>(client: &Client<C>) -> Self {
        let client = client.native_ptr();
        // SAFETY: the client is live.
        let queue = unsafe { sys::rd_kafka_queue_new(client) };
        Self { client, queue, open: 0, ringing: None }
    }

    /// Rings this bell from now on, when an answer comes.
    pub fn ring(&mut self, bell: &Arc<Bell>) {
        self.ringing = None; // a second one is set when the first is taken away
        // SAFETY: the queue lives until `drop`, which ends the ringing first.
        self.ringing = Some(unsafe { Ringing::on(self.queue, bell.clone()) });
    }

    /// How many questions are unanswered.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Asks for the read-uncommitted end of these partitions; the answer comes through [`EndOffsets::answer`].
    pub fn ask(&mut self, partitions: impl IntoIterator<Item = (String, Partition)>, timeout: std::time::Duration) {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in partitions {
            // -1 is both librdkafka's OFFSET_END and OFFSET_SPEC_LATEST.
            list.add_partition_offset(&topic, partition.kafka(), Offset::End).expect("a topic name without a zero byte is legal");
        }
        if list.count() == 0 {
            return;
        }
        let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: client, list, options and queue are live; librdkafka copies list and options before it returns; both error pointers are null or ours to free.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(self.client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS);
            let isolation = sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED;
            let refused = sys::rd_kafka_AdminOptions_set_isolation_level(options, isolation);
            assert!(refused.is_null(), "ListOffsets knows isolation levels");
            let mut text = [0; 256];
            let refused = sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout, text.as_mut_ptr(), text.len());
            assert!(refused == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR, "a positive time-out is legal");
            sys::rd_kafka_ListOffsets(self.client, list.ptr(), options, self.queue);
            sys::rd_kafka_AdminOptions_destroy(options);
        }
        self.open += 1;
    }

    /// The next answer, waiting at most so long. `Some(Err)`: the whole question failed, ask again.
    pub fn answer(&mut self, wait: std::time::Duration) -> Option<Result<Vec<End>, rdkafka::error::RDKafkaErrorCode>> {
        let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is live; the event is ours until it is destroyed below, and what it points to is copied before that.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.queue, wait);
            if event.is_null() {
                return None;
            }
            self.open = self.open.saturating_sub(1);
            let error = sys::rd_kafka_event_error(event);
            let answer = if error == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR { Ok(read(event)) } else { Err(error.into()) };
            sys::rd_kafka_event_destroy(event);
            Some(answer)
        }
    }
}

/// # Safety
/// `event` is a live result of ListOffsets.
unsafe fn read(event: *mut sys::rd_kafka_event_t) -> Vec<End> {
    let mut ends = Vec::new();
    // SAFETY: by the contract above; librdkafka guarantees `count` valid entries whose topic names are C strings.
    unsafe {
        let result = sys::rd_kafka_event_ListOffsets_result(event);
        let mut count = 0;
        let list = sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
        for index in 0..count {
            let partition = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*list.add(index));
            let known = partition.err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && partition.offset >= 0;
            ends.push(End {
                topic: CStr::from_ptr(partition.topic).to_string_lossy().into_owned(),
                partition: Partition::from_kafka(partition.partition).expect("we asked for partitions of ours"),
                offset: known.then_some(partition.offset),
            });
        }
    }
    ends
}

impl Drop for EndOffsets {
    fn drop(&mut self) {
        self.ringing = None;
        // SAFETY: the queue is ours and not used after this.
        unsafe { sys::rd_kafka_queue_destroy(self.queue) };
    }
}
