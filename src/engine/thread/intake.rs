//! Records in, decisions out: receipts first, then cancels, then due timers, then requests.
//!
//! Easily got wrong: a record leaves its queue only when it is decided, so one that cannot be sealed now stays where it is, and so does all behind it.

use super::waiting::Waiting;
use super::{CANCELS_BOUND, Engine, EngineError, HELD_BACK, RECEIPTS_WAITING_MAX, REQUESTS_A_TURN, Shared, TIMERS_A_TURN};
use crate::crash_point::crash_point;
use crate::delivery::{Partition, SourcePosition, Timestamp};
use crate::engine::fetch::{Fetched, Record};
use crate::engine::outputs::Outputs;
use crate::engine::task::{At, LOOK_AHEAD, Task, TaskError};
use crate::event::dead_letter;
use crate::event::input::{DeadReason, Decoded, Kind, RawRecord};
use crate::event::records::{Returned, decode_returned};
use crate::observe::engine as metrics;
use crate::observe::health::Cause;
use crate::privacy::{Reference, ReferenceKind};
use arrayvec::ArrayVec;
use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::iter::Peekable;
use std::time::Duration;
use std::vec::IntoIter;

impl Engine {
    pub(super) fn take(&mut self) -> Result<bool, EngineError> {
        let mut fetched = Vec::new();
        if self.waiting_receipts.values().map(Waiting::len).sum::<usize>() < RECEIPTS_WAITING_MAX {
            self.receipts.take(&mut fetched);
        }
        self.requests.take(&mut fetched);
        let mut any = false;
        let mut fetched = fetched.into_iter().peekable();
        while let Some(next) = fetched.next() {
            match next {
                Fetched::Record(record) => {
                    any = true;
                    self.sort(record, &mut fetched);
                }
                Fetched::End { topic, partition, offset } => self.end_read(&topic, partition, offset),
                Fetched::Fault { topic, partition, error } => {
                    tracing::warn!(topic, partition, %error, "A source cannot be read.");
                    self.start_over("a source cannot be read")?;
                    return Ok(true);
                }
            }
        }
        crash_point!("after_poll", if any);
        Ok(any)
    }

    /// Puts a record where it waits, and those behind it of the same partition of the same topic: they come in runs, and where a run goes is looked for once.
    fn sort(&mut self, first: Record, rest: &mut Peekable<IntoIter<Fetched>>) {
        let (place, partition) = (first.place(), first.partition());
        let Some(task) = self.tasks.get(&partition) else { return }; // fetched before it was taken from us
        let (waiting, weighed) = if first.topic() == &*self.shared.settings.topics.receipts {
            (self.waiting_receipts.entry(partition).or_default(), false)
        } else if let Some(&input) = self.inputs_of.get(first.topic()) {
            (self.waiting_requests.entry((input, partition)).or_default(), true)
        } else {
            return;
        };
        let mut next = waiting.back().map_or_else(|| task.positions.0.get(first.topic()).copied().unwrap_or(0), |last| last.offset() + 1);
        let mut record = first;
        loop {
            if record.offset() >= next {
                next = record.offset() + 1;
                let bytes = if weighed { record.bytes() } else { 0 };
                waiting.push_back(record, bytes);
            }
            match rest.next_if(|next| matches!(next, Fetched::Record(record) if record.place() == place)) {
                Some(Fetched::Record(one)) => record = one,
                Some(_) | None => return,
            }
        }
    }

    /// An input is read to its end. Its last record may lie well before that: markers of transactions and what was aborted are nobody's to read.
    fn end_read(&mut self, topic: &str, partition: Partition, end: i64) {
        let Some(task) = self.tasks.get_mut(&partition) else { return };
        if !task.awaits_cancels_of(topic, end) {
            return;
        }
        let waiting = self.inputs_of.get(topic).and_then(|&input| self.waiting_requests.get(&(input, partition)));
        let last = waiting.and_then(Waiting::back).map(|record| record.offset() + 1);
        task.cancels_end_at(topic, last.unwrap_or(0));
    }

    pub(super) fn decide_receipts(&mut self) -> Result<bool, EngineError> {
        let topic = self.shared.settings.topics.receipts.clone();
        let mut any = false;
        let own_now = crate::clock::now();
        let monotonic = crate::clock::monotonic();
        for (partition, waiting) in &mut self.waiting_receipts {
            let Some(task) = self.tasks.get_mut(partition) else { continue };
            if task.rereading() || self.refusals.waits(*partition, monotonic) {
                continue;
            }
            let Some(now) = task.now(own_now) else { continue };
            while !waiting.is_empty() {
                any = true;
                let read: ArrayVec<_, LOOK_AHEAD> =
                    waiting.iter().take(LOOK_AHEAD).map(|record| record.value().and_then(|value| decode_returned(value).ok())).collect();
                task.look_ahead(read.iter().flatten().filter_map(Returned::message_id));
                let mut last = None;
                for returned in read {
                    let Some(record) = waiting.pop_front() else { break };
                    self.decided += 1;
                    let at = At { topic: &topic, offset: record.offset(), time: record.time() };
                    match returned {
                        Some(returned) => task.returned(&self.shared, at, returned, now, &mut self.guard, &mut self.outputs)?,
                        None => metrics::receipt_unreadable(),
                    }
                    last = Some(at);
                }
                // Once for all of them: where one could not be decided, the task is thrown away with what was.
                if let Some(at) = last {
                    task.passed(at);
                }
            }
            if let Some(&position) = task.positions.0.get(&*topic) {
                task.gate.drained_to(position);
            }
        }
        // An idle partition is drained too.
        for task in self.tasks.values_mut().filter(|task| !task.rereading()) {
            if self.waiting_receipts.get(&task.partition).is_none_or(Waiting::is_empty)
                && let Some(&position) = task.positions.0.get(&*topic)
            {
                task.gate.drained_to(position);
            }
        }
        Ok(any)
    }

    pub(super) fn fire_timers(&mut self) -> Result<bool, EngineError> {
        let own_now = crate::clock::now();
        if !self.clocks_agree(own_now) {
            return Ok(false);
        }
        let mut fired = 0;
        let opened = self.opened;
        let (refusals, monotonic) = (&self.refusals, crate::clock::monotonic());
        let share = (TIMERS_A_TURN / self.tasks.len().max(1)).max(1);
        for task in self.tasks.values_mut().filter(|task| !awaits_cancels(task, opened) && !refusals.waits(task.partition, monotonic)) {
            let now = task.now(own_now);
            #[cfg(feature = "mutants")]
            let now = if crate::seeded_bug::planted("wall_clock") { Some(crate::clock::wall()) } else { now };
            if let Some(now) = now {
                let of_task = task.fire_due(&self.shared, now, &mut self.guard, share, &mut self.outputs)?;
                self.flooded |= of_task >= share;
                fired += of_task;
            }
        }
        self.decided += fired;
        Ok(fired > 0)
    }

    /// The inputs that wait because too many attempts are open.
    pub(super) fn full_inputs(&self) -> Vec<String> {
        let inputs = self.shared.inputs.inputs();
        let waits = |number: usize| self.tasks.values().any(|task| full(&self.shared, task, number));
        inputs.iter().enumerate().filter(|(number, input)| input.kind == Kind::Events && waits(*number)).map(|(_, input)| input.name.clone()).collect()
    }

    /// What the bank withdraws, before timers and requests: a backlog of both must not send what was withdrawn long ago. A full disk stops none of it, or a code
    /// that was used would still fall back.
    pub(super) fn decide_cancels(&mut self) -> Result<bool, EngineError> {
        self.decide_inputs(crate::clock::now(), |kind| matches!(kind, Kind::Cancel { .. }))
    }

    pub(super) fn decide_requests(&mut self) -> Result<bool, EngineError> {
        let any = if self.disk_full { false } else { self.decide_inputs(crate::clock::now(), |kind| matches!(kind, Kind::Events))? };
        self.pause_and_resume()?;
        Ok(any)
    }

    fn decide_inputs(&mut self, own_now: Timestamp, which: impl Fn(&Kind) -> bool) -> Result<bool, EngineError> {
        let mut any = false;
        let inputs = self.shared.inputs.clone();
        let waiting = self.waiting_requests.iter().filter(|((input, _), waiting)| !waiting.is_empty() && which(&inputs.inputs()[*input].kind));
        let keys: Vec<_> = waiting.map(|(key, _)| *key).collect();
        for (input, partition) in keys {
            if self.careful > 0 && (self.alone.is_some() || self.anything_to_write()) {
                break; // what is decided already is committed first, so that the next one stands alone
            }
            let first = self.waiting_requests.get(&(input, partition)).filter(|_| self.careful > 0).and_then(Waiting::front);
            let first = first.map(|record| (partition, record.topic().to_owned(), record.offset()));
            let decided = self.decide_input(input, partition, own_now)?;
            if decided && self.careful > 0 {
                self.alone = first;
            }
            any |= decided;
        }
        Ok(any)
    }

    fn decide_input(&mut self, input: usize, partition: Partition, own_now: Timestamp) -> Result<bool, EngineError> {
        let shared = self.shared.clone();
        let opened = self.opened;
        let Some(task) = self.tasks.get_mut(&partition) else { return Ok(false) };
        let Some(now) = task.now(own_now) else { return Ok(false) };
        let is_cancel = matches!(shared.inputs.inputs()[input].kind, Kind::Cancel { .. });
        // While the clocks disagree nobody knows what has expired.
        if !is_cancel && (self.disagreed || awaits_cancels(task, opened)) {
            return Ok(false);
        }
        if self.held_back.get(&(input, partition)).is_some_and(|until| *until > own_now) || (!is_cancel && full(&shared, task, input)) {
            return Ok(false);
        }
        let Some(waiting) = self.waiting_requests.get_mut(&(input, partition)) else { return Ok(false) };
        let most = if self.careful > 0 { 1 } else { REQUESTS_A_TURN };
        // A suspect is read and decided alone, and committed before anything else of its partition is read: if there is a second one that kills, it must not be
        // forgotten over it, or each would be taken for the first time again and again.
        let most = match task.note.suspect() {
            Some(_) if task.passed_suspect() => return Ok(false),
            Some(suspect) if *suspect.topic == *shared.inputs.inputs()[input].topic => {
                waiting.iter().take(most).take_while(|record| record.offset() < suspect.offset).count().max(1)
            }
            Some(_) | None => most,
        };
        let decoded = decode(&shared, task, input, waiting.iter().take(most));
        let customers: Vec<_> = decoded.iter().filter_map(|decoded| decoded.customer).collect();
        let keys = shared.sealer.keys().prepare(&customers, now);
        match &keys {
            Ok(()) => drop(self.keyless.remove(&(input, partition))),
            Err(error) => drop(self.keyless.insert((input, partition), error.to_string())),
        }
        let mut any = false;
        if keys.is_ok() {
            for decoded in decoded {
                let Some(record) = waiting.front() else { break };
                match decide(&shared, task, input, record, decoded, now, &mut self.outputs) {
                    Ok(()) => {}
                    Err(TaskError::Seal(error)) => {
                        self.keyless.insert((input, partition), error.to_string());
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
                if is_cancel && task.awaits_cancels() {
                    task.cancel_read = crate::clock::monotonic();
                }
                waiting.pop_front();
                self.decided += 1;
                self.inputs_decided += 1;
                any = true;
            }
        }
        if !any && !waiting.is_empty() {
            self.held_back.insert((input, partition), own_now.plus(HELD_BACK));
            metrics::held_back(&shared.inputs.inputs()[input].name);
        }
        Ok(any)
    }

    /// Resumes what is paused, since its tasks end: librdkafka keeps a pause over a new assignment, and nobody would know of it.
    pub(super) fn resume_all(&mut self) {
        let mut resume = TopicPartitionList::new();
        for ((input, partition), _) in std::mem::take(&mut self.paused).into_iter().filter(|(_, paused)| *paused) {
            resume.add_partition(&self.shared.inputs.inputs()[input].topic, partition.kafka());
        }
        if resume.count() > 0
            && let Err(error) = self.consumer.resume(&resume)
        {
            tracing::warn!(partitions = resume.count(), %error, "Inputs could not be resumed.");
        }
    }

    /// Pauses an input at the consumer while too much of it waits here; resumes it when half is gone.
    fn pause_and_resume(&mut self) -> Result<(), EngineError> {
        let mut pause = TopicPartitionList::new();
        let mut resume = TopicPartitionList::new();
        for (&(input, partition), waiting) in &self.waiting_requests {
            let topic = &self.shared.inputs.inputs()[input].topic;
            let paused = self.paused.entry((input, partition)).or_default();
            if !*paused && waiting.too_much() {
                *paused = true;
                pause.add_partition(topic, partition.kafka());
            } else if *paused && waiting.half_gone() {
                let decided = self.tasks.get(&partition).and_then(|task| task.positions.0.get(&**topic).copied());
                let Some(next) = waiting.back().map(|last| last.offset() + 1).or(decided) else { continue };
                if resume.add_partition_offset(topic, partition.kafka(), Offset::Offset(next)).is_ok() {
                    *paused = false;
                }
            }
        }
        if pause.count() > 0 {
            tracing::info!(thread = self.number, partitions = pause.count(), "Inputs are not read on until half of what waits is decided.");
            if let Err(error) = self.consumer.pause(&pause) {
                tracing::warn!(partitions = pause.count(), %error, "Inputs could not be paused.");
            }
        }
        if resume.count() > 0 {
            self.resume(&resume)?;
        }
        Ok(())
    }

    /// Reads on behind what was read, and from nowhere else: a pause keeps the position of whoever reads in batches, which the end of a partition that was read just
    /// before moves one too far (librdkafka 2.12.1, `rd_kafka_q_serve_rkmessages`; its issue 4844), and the record there would never come.
    fn resume(&mut self, list: &TopicPartitionList) -> Result<(), EngineError> {
        self.seek(list)?;
        if let Err(error) = self.consumer.resume(list) {
            tracing::warn!(partitions = list.count(), %error, "Inputs could not be resumed.");
        }
        Ok(())
    }
}

impl Record {
    /// Its bytes, as far as they were somebody else's choice: to weigh a record reads its headers.
    fn bytes(&self) -> usize {
        let headers: usize = self.headers().iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key().map_or(0, <[u8]>::len) + self.value().map_or(0, <[u8]>::len) + headers
    }
}

/// Whether cancels from before the task was opened are still waited for. Each task by itself: one that waits in vain must not be kept by another's cancels.
fn awaits_cancels(task: &Task, opened: Duration) -> bool {
    task.awaits_cancels() && crate::clock::monotonic().saturating_sub(task.cancel_read.max(opened)) < CANCELS_BOUND
}

/// Whether too many attempts are open for this input to bring more: beyond the limit on the channel of a route's first step, beyond twice the limit on any.
fn full(shared: &Shared, task: &Task, input: usize) -> bool {
    // What would free a place waits itself until that input has been read again.
    if task.rereading() {
        return false;
    }
    let max = shared.settings.attempts_open_max;
    let lane = shared.inputs.inputs()[input].lane;
    let open = |channel| task.open.get(&(channel, lane)).copied().unwrap_or(0);
    let mut route = None;
    shared.inputs.template_uses().iter().filter(|used| shared.inputs.route(used.route).input == input).any(|used| {
        let first = route.replace(used.route) != Some(used.route);
        open(used.channel) > if first { max } else { 2 * max }
    })
}

/// A record as it was read, with the reference of its customer.
struct Read {
    decoded: Decoded,
    customer: Option<Reference>,
}

/// Reads records in their order, up to one whose schema is still on its way.
fn decode<'a>(shared: &Shared, task: &mut Task, input: usize, records: impl Iterator<Item = &'a Record>) -> Vec<Read> {
    let mut all = Vec::new();
    for record in records {
        let headers = record.headers();
        let raw = RawRecord { key: record.key(), value: record.value(), record_time: record.time(), headers: &headers };
        let decoded = if task.note.poison(record.topic(), record.offset()) {
            Decoded::Dead(DeadReason::Poison)
        } else {
            task.note.begin(record.topic(), record.offset());
            shared.inputs.decode(input, &raw, &*shared.schemas)
        };
        let customer = match &decoded {
            Decoded::NeedSchema(_) => break,
            Decoded::Notification(notification) => Some(shared.pepper.reference_of(ReferenceKind::Customer, &notification.customer)),
            Decoded::Cancel { .. } | Decoded::Ignored(_) | Decoded::Dead(_) => None,
        };
        all.push(Read { decoded, customer });
    }
    task.note.rest();
    all
}

/// Decides one record that was read.
fn decide(shared: &Shared, task: &mut Task, input: usize, record: &Record, read: Read, now: Timestamp, out: &mut Outputs) -> Result<(), TaskError> {
    let at = At { topic: record.topic(), offset: record.offset(), time: record.time() };
    task.deciding(at, |task| match (read.decoded, read.customer) {
        (Decoded::Notification(notification), Some(customer)) => task.request(shared, input, at, record.key(), customer, *notification, now, out),
        (Decoded::Cancel { event_id }, _) => match shared.inputs.inputs()[input].kind {
            Kind::Cancel { of } => task.cancel(shared, of, &event_id, now, out),
            Kind::Events => Ok(()),
        },
        (Decoded::Ignored(why), _) => {
            metrics::ignored(&shared.inputs.inputs()[input].name, why.word());
            Ok(())
        }
        (Decoded::Dead(reason), _) => {
            if reason == DeadReason::Poison {
                shared.health.set(
                    Cause::Poison,
                    Some(format!(
                        "The record at {}-{} offset {} ended the process again and again; it is a dead letter now.",
                        at.topic, task.partition.0, at.offset
                    )),
                );
                task.poisoned(shared, at, now, out)?;
            }
            dead(shared, input, record, reason, now, out)
        }
        (Decoded::NeedSchema(_) | Decoded::Notification(_), _) => {
            unreachable!("records are read up to one without a schema, and a notification has a customer")
        }
    })
}

/// Keeps a record that cannot be processed, with its reason.
fn dead(shared: &Shared, input: usize, record: &Record, reason: DeadReason, now: Timestamp, out: &mut Outputs) -> Result<(), TaskError> {
    metrics::dead_letter(reason.word());
    let source = SourcePosition { topic: record.topic().to_owned(), partition: record.partition(), offset: record.offset() };
    let value = match dead_letter::content(record.key(), record.value()) {
        dead_letter::Content::Seal(plain) => {
            let codes = shared.inputs.inputs()[input].has_code;
            dead_letter::Value::Sealed(shared.sealer.seal_dead_letter(codes, &dead_letter::coordinates(&source), &plain, now)?)
        }
        dead_letter::Content::Digest(digest) => dead_letter::Value::Digest(digest),
    };
    let headers = dead_letter::headers(reason, &source).into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
    let topic = &shared.settings.topics.dead_letters;
    out.push(topic, source.partition.kafka(), &[], headers, |bytes| bytes.extend_from_slice(&dead_letter::write_value(&value)));
    Ok(())
}
