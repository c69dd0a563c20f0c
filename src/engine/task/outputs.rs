//! Decisions as records: dispatches and statuses, each in its topic and in the home partition.

use super::Task;
use crate::delivery::{self, Attempt, AttemptId, Hold, MessageId, Reason, Status, StatusWord, Timestamp};
use crate::engine::stored::Delivery;
use crate::engine::thread::Shared;
use crate::engine::transaction::Output;
use crate::event::records::{DispatchRef, SourceRef, StatusRef};
use crate::observe::engine as metrics;

impl Task {
    pub(super) fn dispatch(&self, shared: &Shared, id: MessageId, delivery: &Delivery, dispatch: &delivery::Dispatch) -> Output {
        let lane = delivery.state.lane();
        let record = DispatchRef {
            attempt_id: AttemptId { message_id: id, attempt: dispatch.attempt },
            channel: dispatch.channel,
            lane,
            route: &delivery.route,
            template: &dispatch.template,
            customer: delivery.customer,
            lease_end: dispatch.lease_end,
            not_after: dispatch.not_after,
            expiry: delivery.state.expiry(),
            wait_ms: delivery.state.step_wait(dispatch.attempt).map_or(0, |wait| u32::try_from(wait.as_millis()).unwrap_or(u32::MAX)),
            why: dispatch.why,
            sealed: &delivery.sealed,
            sealed_code: delivery.sealed_code.as_deref(),
            traceparent: delivery.traceparent.as_deref(),
        };
        let mut value = Vec::new();
        record.append(&mut value);
        let topics = &shared.settings.topics;
        let topic = if dispatch.why.is_some() { topics.retry(dispatch.channel, lane) } else { topics.dispatch(dispatch.channel, lane) };
        let before = dispatch.why.map(|why| (super::traffic(&delivery.state, why.from).0, why));
        metrics::dispatched(dispatch.attempt, dispatch.channel, lane, before);
        Output {
            topic: topic.clone(),
            partition: self.partition.kafka(),
            key: id.bytes().to_vec(),
            value: Some(value),
            headers: trace(delivery.traceparent.as_ref()),
        }
    }

    pub(super) fn status(&self, shared: &Shared, id: MessageId, delivery: &Delivery, status: &Status, now: Timestamp) -> Output {
        let template = status.attempt.and_then(|attempt| delivery.state.step_template(attempt)).unwrap_or_default();
        metrics::status(status, delivery.state.lane(), now, id);
        let record = StatusRef {
            message_id: id,
            status,
            live: true,
            decided: now,
            route: &delivery.route,
            template,
            event_id: delivery.event_id.as_deref(),
            source: Some(SourceRef { topic: &delivery.source_topic, partition: self.partition, offset: delivery.source_offset }),
        };
        let mut value = Vec::new();
        record.append(shared.status_framing, &mut value);
        let topic = shared.settings.topics.status.clone();
        Output { topic, partition: self.partition.kafka(), key: delivery.record_key.clone(), value: Some(value), headers: trace(delivery.traceparent.as_ref()) }
    }

    /// A `read` of an ended delivery goes on to the bank with the message id alone.
    pub(super) fn publish_read(
        &self,
        shared: &Shared,
        id: MessageId,
        attempt: Attempt,
        provider_time: Option<Timestamp>,
        now: Timestamp,
        out: &mut Vec<Output>,
    ) {
        let status = Status {
            seq: 0,
            word: StatusWord::Read,
            attempt: Some(attempt),
            channel: None,
            reason: Reason::None,
            code: 0,
            provider_time,
            double_delivered: false,
            hold: Hold::No,
        };
        let record = StatusRef { message_id: id, status: &status, live: false, decided: now, route: "", template: "", event_id: None, source: None };
        let mut value = Vec::new();
        record.append(shared.status_framing, &mut value);
        out.push(Output {
            topic: shared.settings.topics.status.clone(),
            partition: self.partition.kafka(),
            key: Vec::new(),
            value: Some(value),
            headers: Vec::new(),
        });
    }
}

fn trace(traceparent: Option<&String>) -> Vec<(&'static str, Vec<u8>)> {
    traceparent.map(|value| vec![("traceparent", value.clone().into_bytes())]).unwrap_or_default()
}
