//! Decisions as records: dispatches and statuses, each in its topic and in the home partition.

use super::Task;
use crate::delivery::{self, Attempt, AttemptId, Hold, MessageId, Reason, Status, StatusWord, Timestamp};
use crate::engine::outputs::{Headers, Outputs};
use crate::engine::stored::Delivery;
use crate::engine::thread::Shared;
use crate::event::records::{DispatchRef, SourceRef, StatusRef};
use crate::observe::engine as metrics;

impl Task {
    pub(super) fn dispatch(&self, shared: &Shared, id: MessageId, delivery: &Delivery<'_>, dispatch: &delivery::Dispatch, out: &mut Outputs) {
        let lane = delivery.state.lane();
        let record = DispatchRef {
            attempt_id: AttemptId { message_id: id, attempt: dispatch.attempt },
            channel: dispatch.channel,
            lane,
            route: delivery.route,
            template: &dispatch.template,
            customer: delivery.customer,
            lease_end: dispatch.lease_end,
            not_after: dispatch.not_after,
            expiry: delivery.state.expiry(),
            wait_ms: delivery.state.step_wait(dispatch.attempt).map_or(0, |wait| u32::try_from(wait.as_millis()).unwrap_or(u32::MAX)),
            why: dispatch.why,
            sealed: delivery.sealed,
            sealed_code: delivery.sealed_code,
            traceparent: delivery.traceparent,
        };
        let topics = &shared.settings.topics;
        let topic = if dispatch.why.is_some() { topics.retry(dispatch.channel, lane) } else { topics.dispatch(dispatch.channel, lane) };
        let before = dispatch.why.map(|why| (super::traffic(&delivery.state, why.from).0, why));
        metrics::dispatched(dispatch.attempt, dispatch.channel, lane, before);
        out.push(topic, self.partition.kafka(), id.bytes(), trace(delivery.traceparent), |value| record.append(value));
    }

    pub(super) fn status(&self, shared: &Shared, id: MessageId, delivery: &Delivery<'_>, status: &Status, now: Timestamp, out: &mut Outputs) {
        let template = status.attempt.and_then(|attempt| delivery.state.step_template(attempt)).unwrap_or_default();
        metrics::status(status, delivery.state.lane(), now, id);
        let record = StatusRef {
            message_id: id,
            status,
            live: true,
            decided: now,
            route: delivery.route,
            template,
            event_id: delivery.event_id,
            source: Some(SourceRef { topic: delivery.source_topic, partition: self.partition, offset: delivery.source_offset }),
        };
        let (topic, headers) = (&shared.settings.topics.status, trace(delivery.traceparent));
        out.push(topic, self.partition.kafka(), delivery.record_key, headers, |value| record.append(shared.status_framing, value));
    }

    /// A `read` of an ended delivery goes on to the bank with the message id alone.
    pub(super) fn publish_read(&self, shared: &Shared, id: MessageId, attempt: Attempt, provider_time: Option<Timestamp>, now: Timestamp, out: &mut Outputs) {
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
        let topic = &shared.settings.topics.status;
        out.push(topic, self.partition.kafka(), &[], Headers::new(), |value| record.append(shared.status_framing, value));
    }
}

fn trace(traceparent: Option<&str>) -> Headers {
    traceparent.map(|value| vec![("traceparent", value.as_bytes().to_vec())]).unwrap_or_default()
}
