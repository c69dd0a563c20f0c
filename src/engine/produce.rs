//! Hands the records of a transaction over to librdkafka, partition by partition: one look for topic and partition for many records, and no copy of their values.
//!
//! Easily got wrong: where the client's queue is full, nothing behind the record that found it so was taken either; only then may a call be repeated from there. And what
//! librdkafka has not let go of must stay where it is, also when the transaction comes to nothing.
#![expect(unsafe_code, reason = "rdkafka hands records over one by one, by the topic's name: two to three microseconds more for each notification")]

use super::outputs::Output;
use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::cell::RefCell;
use std::ffi::CString;
use std::sync::Arc;

/// Neither `RD_KAFKA_MSG_F_COPY` nor `RD_KAFKA_MSG_F_FREE`.
const VALUES_STAY: i32 = 0;

/// The topics of one client.
pub(super) struct Handles {
    client: *mut sys::rd_kafka_t,
    topics: RefCell<Vec<(Arc<str>, *mut sys::rd_kafka_topic_t)>>,
}

// SAFETY: librdkafka's client and topics may be used from any thread; this type is not `Sync`, so one thread at a time uses them.
unsafe impl Send for Handles {}

impl Handles {
    /// Of this client.
    ///
    /// # Safety
    /// The client must outlive the value: keep it beside it in a struct, declared after it.
    pub unsafe fn new<C: ClientContext>(client: &Client<C>) -> Self {
        Self { client: client.native_ptr(), topics: RefCell::default() }
    }

    fn of(&self, topic: &Arc<str>) -> Result<*mut sys::rd_kafka_topic_t, KafkaError> {
        let mut topics = self.topics.borrow_mut();
        if let Some((_, handle)) = topics.iter().find(|(known, _)| Arc::ptr_eq(known, topic) || known == topic) {
            return Ok(*handle);
        }
        let name = CString::new(&**topic).map_err(|_| KafkaError::MessageProduction(RDKafkaErrorCode::InvalidTopic))?;
        // SAFETY: the client is live; no settings of its own.
        let handle = unsafe { sys::rd_kafka_topic_new(self.client, name.as_ptr(), std::ptr::null_mut()) };
        if handle.is_null() {
            return Err(KafkaError::MessageProduction(RDKafkaErrorCode::InvalidTopic));
        }
        topics.push((topic.clone(), handle));
        Ok(handle)
    }

    /// Hands over records of one partition, in their order; none of them has headers. How many were taken: fewer when the client's queue is full.
    ///
    /// # Safety
    /// Their values must stay where they are until librdkafka has let go of them: until the client has nothing under way any more, or is gone.
    pub unsafe fn produce(&self, outputs: &[Output<'_>]) -> Result<usize, KafkaError> {
        let Some(first) = outputs.first() else { return Ok(0) };
        let topic = self.of(first.topic)?;
        let mut messages: Vec<sys::rd_kafka_message_t> = outputs.iter().map(message).collect();
        let count = i32::try_from(messages.len()).expect("a transaction has fewer records than 2^31");
        // SAFETY: topic and messages are live; librdkafka copies keys before it returns, and values, which it reads alone, stay by our own contract: it is told neither to
        // copy nor to free them.
        let taken = unsafe { sys::rd_kafka_produce_batch(topic, first.partition, VALUES_STAY, messages.as_mut_ptr(), count) };
        if taken == count {
            return Ok(messages.len());
        }
        let refused = messages.iter().position(|message| message.err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
        let refused = refused.expect("one that was not taken says why");
        match messages[refused].err {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__QUEUE_FULL => Ok(refused),
            error => Err(KafkaError::MessageProduction(error.into())),
        }
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        for (_, topic) in self.topics.get_mut().drain(..) {
            // SAFETY: each was made above and is given back once, while the client is live.
            unsafe { sys::rd_kafka_topic_destroy(topic) };
        }
    }
}

fn message(output: &Output<'_>) -> sys::rd_kafka_message_t {
    let bytes = |bytes: &[u8]| bytes.as_ptr().cast_mut().cast();
    let null = std::ptr::null_mut();
    sys::rd_kafka_message_t {
        err: sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: std::ptr::null_mut(),
        partition: output.partition,
        payload: output.value.map_or(null, bytes),
        len: output.value.map_or(0, <[u8]>::len),
        key: if output.key.is_empty() { null } else { bytes(output.key) },
        key_len: output.key.len(),
        offset: 0,
        _private: null,
    }
}

/// The records partition by partition: topics in the order in which each is first met; within a partition as they stand.
pub(super) fn by_partition<'a>(outputs: &[Output<'a>]) -> Vec<Output<'a>> {
    let mut topics: Vec<&Arc<str>> = Vec::new();
    let partitions = outputs.iter().map(|output| output.partition).max().map_or(0, slot) + 1;
    let mut place_of = Vec::with_capacity(outputs.len());
    // How many lie before each partition of each topic, once they are added up.
    let mut before = vec![0];
    for output in outputs {
        let known = topics.iter().position(|topic| Arc::ptr_eq(topic, output.topic) || **topic == *output.topic);
        let topic = known.unwrap_or_else(|| {
            topics.push(output.topic);
            before.resize(topics.len() * partitions + 1, 0);
            topics.len() - 1
        });
        let place = topic * partitions + slot(output.partition);
        before[place + 1] += 1;
        place_of.push(place);
    }
    for place in 1..before.len() {
        before[place] += before[place - 1];
    }
    let mut sorted = outputs.to_vec();
    for (output, place) in outputs.iter().zip(place_of) {
        sorted[before[place]] = *output;
        before[place] += 1;
    }
    sorted
}

fn slot(partition: i32) -> usize {
    usize::try_from(partition).expect("partitions are counted from 0")
}

/// How many of these begin with the same partition, and nothing that must be handed over by itself.
pub(super) fn alike(outputs: &[Output<'_>]) -> usize {
    let Some(first) = outputs.first() else { return 0 };
    let same = |output: &&Output<'_>| output.partition == first.partition && Arc::ptr_eq(output.topic, first.topic) && output.headers.is_empty();
    outputs.iter().take_while(same).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    static HEADERS: [(&str, Vec<u8>); 1] = [("traceparent", Vec::new())];

    fn output<'a>(topic: &'a Arc<str>, partition: i32, key: &'a [u8], headers: bool) -> Output<'a> {
        Output { topic, partition, key, value: None, headers: if headers { &HEADERS } else { &[] } }
    }

    #[test]
    fn records_go_partition_by_partition_and_topics_as_they_were_met() {
        let (status, state): (Arc<str>, Arc<str>) = ("status".into(), "state".into());
        let outputs = [(&status, 1, b"0"), (&status, 0, b"1"), (&status, 1, b"2"), (&state, 1, b"3"), (&state, 0, b"4"), (&state, 1, b"5")]
            .map(|(topic, partition, key)| output(topic, partition, key, false));
        let keys: Vec<u8> = by_partition(&outputs).iter().map(|output| output.key[0]).collect();
        assert_eq!(keys, *b"102435", "each partition's own order, and the state behind everything");
        assert!(by_partition(&[]).is_empty());
    }

    #[test]
    fn a_run_ends_at_another_partition_or_a_header() {
        let (status, same): (Arc<str>, Arc<str>) = ("status".into(), "status".into());
        let all = [(&status, 0, false), (&status, 0, false), (&status, 0, true), (&status, 1, false), (&same, 1, false)]
            .map(|(topic, partition, headers)| output(topic, partition, b"", headers));
        assert_eq!(alike(&all), 2);
        assert_eq!(alike(&all[2..]), 0, "what has headers goes by itself");
        assert_eq!(alike(&all[3..]), 1, "two handles of one name are two runs, and no more than that");
        assert_eq!(alike(&[]), 0);
    }
}
