//! The identity of a topic: a topic that was deleted and made anew under its old name has another, and a store that followed the old one is worthless.
#![expect(unsafe_code, reason = "rdkafka has no safe binding of DescribeTopics")]

use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use std::ffi::CString;
use std::time::Duration;

/// The 128-bit id that the cluster gave the topic; all zero where it does not say (brokers before 2.8, stand-ins).
///
/// `None` when nobody answered in time.
pub fn topic_id<C: ClientContext>(client: &Client<C>, topic: &str, wait: Duration) -> Option<[u8; 16]> {
    let client = client.native_ptr();
    let topic = CString::new(topic).ok()?;
    let mut names = [topic.as_ptr()];
    let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client is live, as it is borrowed; everything made here is destroyed here, and results are copied before their event goes.
    unsafe {
        let queue = sys::rd_kafka_queue_new(client);
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let options = sys::rd_kafka_AdminOptions_new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        sys::rd_kafka_DescribeTopics(client, topics, options, queue);
        let event = sys::rd_kafka_queue_poll(queue, wait);
        let id = if event.is_null() { None } else { read(event) };
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_TopicCollection_destroy(topics);
        sys::rd_kafka_queue_destroy(queue);
        id
    }
}

/// # Safety
/// `event` is a live result of DescribeTopics.
unsafe fn read(event: *mut sys::rd_kafka_event_t) -> Option<[u8; 16]> {
    // SAFETY: by the contract above; the list has `count` entries, and an id is live as long as its description.
    unsafe {
        if sys::rd_kafka_event_error(event) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let mut count = 0;
        let list = sys::rd_kafka_DescribeTopics_result_topics(sys::rd_kafka_event_DescribeTopics_result(event), &raw mut count);
        if count == 0 {
            return None;
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(*list);
        if id.is_null() {
            return Some([0; 16]);
        }
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&sys::rd_kafka_Uuid_most_significant_bits(id).to_be_bytes());
        bytes[8..].copy_from_slice(&sys::rd_kafka_Uuid_least_significant_bits(id).to_be_bytes());
        Some(bytes)
    }
}
