//! What one partition knows, and how it decides: a record or a timer in, a changed overlay and outputs out. Nothing here talks to Kafka.
//!
//! Easily got wrong: everything in a task may be ahead of what is committed. When a transaction does not commit, the task is thrown away and opened anew.

use super::dedup::{Hash, Window};
use super::gate::{Gate, Verdict};
use super::kafka_time::Estimator;
use super::overlay::Overlay;
use super::poison::Note;
use super::settings::Settings;
use super::store::PartitionStore;
use super::stored::{self, BadBytes, CancelEntry, Delivery, Meta, Positions};
use super::storm;
use super::thread::Shared;
use super::timers::{Group, Timer, Timers};
use super::transaction::Output;
use crate::crash_point::crash_point;
use crate::delivery::{
    self, AttemptId, Channel, Decision, Event, Hold, Lane, MessageId, Partition, Reason, Receipt, Request, SourcePosition, State, Status, StatusWord,
    TimerKind, Timestamp,
};
use crate::event::input::Notification;
use crate::event::records::{self, Returned, StatusRecord};
use crate::observe::engine as metrics;
use crate::privacy::{Purpose, Reference, SealError};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One partition of everything.
pub struct Task {
    /// Which.
    pub partition: Partition,
    pub(super) store: PartitionStore,
    pub(super) overlay: Overlay,
    pub(super) timers: Timers,
    pub(super) gate: Gate,
    pub(super) clock: Estimator,
    pub(super) hello_written: Option<Timestamp>,
    pub(super) window: Window,
    pub(super) note: Note,
    /// The next offset of each source, decided ones included.
    pub(super) positions: Positions,
    /// What of it is committed.
    pub(super) committed: Positions,
    /// The changelog's position and identity as they go into the store with the next batch.
    pub(super) meta: Meta,
    /// Sources that are read again below these offsets; until then receipts wait.
    pub(super) reread: BTreeMap<String, i64>,
    /// Cancel inputs that had records up to here when the task opened, and are not read so far yet.
    unread_cancels: BTreeMap<String, i64>,
    /// When one of them was last read (monotonic).
    pub(super) cancel_read: Duration,
    /// Attempts without outcome and receipt.
    pub(super) open: BTreeMap<(Channel, Lane), usize>,
    cancels_first: BTreeSet<(Timestamp, Hash)>,
    held: BTreeMap<Group, Timestamp>,
    first_of_block: Option<MessageId>,
    /// Statuses told of each message since the task was opened, and waits that were cleared: two bugs live of them.
    #[cfg(feature = "mutants")]
    told: BTreeMap<MessageId, u32>,
    #[cfg(feature = "mutants")]
    cleared: Vec<Timer>,
}

/// Why a task cannot go on: it is thrown away, and opened anew or rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The store answers with an error.
    #[error("the state store: {0}")]
    Store(#[from] super::store::StoreError),
    /// What is stored cannot be read: this partition is rebuilt from the changelog.
    #[error("stored bytes: {0}")]
    Bytes(#[from] BadBytes),
    /// No key to seal with, now: nothing is taken until there is.
    #[error("sealing: {0}")]
    Seal(#[from] SealError),
}

/// Where a record lies, as a task needs it.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its offset.
    pub offset: i64,
    /// Its Kafka timestamp.
    pub time: Timestamp,
}

impl Task {
    /// A task on an opened store whose changelog has been replayed. `rebuild` must follow.
    pub(super) fn new(partition: Partition, store: PartitionStore, note: Note, meta: Meta, now: Timestamp) -> Self {
        let positions = Positions(meta.next_offsets.clone());
        Self {
            partition,
            store,
            overlay: Overlay::default(),
            timers: Timers::new(now),
            gate: Gate::default(),
            clock: Estimator::default(),
            hello_written: None,
            window: Window::default(),
            note,
            committed: positions.clone(),
            positions,
            meta,
            reread: BTreeMap::new(),
            unread_cancels: BTreeMap::new(),
            cancel_read: Duration::ZERO,
            open: BTreeMap::new(),
            cancels_first: BTreeSet::new(),
            held: BTreeMap::new(),
            first_of_block: None,
            #[cfg(feature = "mutants")]
            told: BTreeMap::new(),
            #[cfg(feature = "mutants")]
            cleared: Vec::new(),
        }
    }

    /// Fills timers, counts and the deduplication window from the store.
    pub(super) fn rebuild(&mut self) -> Result<(), TaskError> {
        let mut fault = Ok(());
        let (timers, open) = (&mut self.timers, &mut self.open);
        self.store.scan(stored::DELIVERY, &mut |key, value| {
            let read = Delivery::read(value).and_then(|delivery| Ok((stored::message_id_of(key).ok_or(BadBytes::Shape)?, delivery)));
            match read {
                Ok((id, delivery)) => {
                    timers.replace(id, &delivery.state.timers(), |attempt| traffic(&delivery.state, attempt));
                    if let Some(traffic) = delivery.state.open_attempt() {
                        *open.entry(traffic).or_default() += 1;
                    }
                }
                Err(bad) => fault = Err(bad),
            }
        })?;
        let window = &mut self.window;
        self.store.scan(stored::BLOCK, &mut |key, value| {
            if let Err(bad) = window.restore(key, value) {
                fault = Err(bad);
            }
        })?;
        let cancels = &mut self.cancels_first;
        self.store.scan(stored::CANCEL, &mut |key, value| match (CancelEntry::read(value), stored::cancel_hash_of(key)) {
            (Ok(CancelEntry::Cancelled(until)), Some(hash)) => {
                cancels.insert((until, hash));
            }
            (Ok(CancelEntry::Delivery(_)), Some(_)) => {}
            (Err(bad), _) => fault = Err(bad),
            (_, None) => fault = Err(BadBytes::Shape),
        })?;
        fault.map_err(TaskError::from)
    }

    /// Kafka time now; `None` while it is not known: then nothing is decided that needs it.
    pub fn now(&self, own_now: Timestamp) -> Option<Timestamp> {
        self.clock.kafka_now(own_now)
    }

    /// The record at `at` is dealt with, whatever became of it.
    pub fn passed(&mut self, at: At<'_>) {
        match self.positions.0.get_mut(at.topic) {
            Some(next) => *next = at.offset + 1,
            None => {
                self.positions.0.insert(at.topic.to_owned(), at.offset + 1);
            }
        }
        if self.reread.get(at.topic).is_some_and(|&until| at.offset + 1 >= until) {
            self.reread.remove(at.topic);
        }
        if self.unread_cancels.get(at.topic).is_some_and(|&end| at.offset + 1 >= end) {
            self.unread_cancels.remove(at.topic);
        }
    }

    /// The end of a cancel input as it was when the task opened, or the end of its last record once that is known.
    pub(super) fn cancels_end_at(&mut self, topic: &str, end: i64) {
        if self.positions.0.get(topic).is_some_and(|&next| next < end) {
            self.unread_cancels.insert(topic.to_owned(), end);
        } else {
            self.unread_cancels.remove(topic);
        }
    }

    /// Whether this input has cancels from before the task opened, none of them behind `end`.
    pub(super) fn awaits_cancels_of(&self, topic: &str, end: i64) -> bool {
        self.unread_cancels.get(topic).is_some_and(|&until| until <= end)
    }

    /// Whether requests and timers should wait, because what was withdrawn before the task opened is not all read.
    pub fn awaits_cancels(&self) -> bool {
        !self.unread_cancels.is_empty()
    }

    /// Whether receipts must wait, because an input is read again below the positions seen when the task opened.
    pub fn rereading(&self) -> bool {
        !self.reread.is_empty()
    }

    /// One notification of the bank.
    #[expect(clippy::too_many_arguments, reason = "a record has these sides: where it lies, its key, whose it is, what it says")]
    pub fn request(
        &mut self,
        shared: &Shared,
        input: usize,
        at: At<'_>,
        key: Option<&[u8]>,
        customer: Reference,
        notification: Notification,
        now: Timestamp,
        out: &mut Vec<Output>,
    ) -> Result<(), TaskError> {
        let named = shared.inputs.route(notification.route);
        let source = SourcePosition { topic: at.topic.to_owned(), partition: self.partition, offset: at.offset };
        let id = MessageId::derive(at.time, &source, 0);
        let name = &shared.inputs.inputs()[input].name;
        let unique: &[u8] = notification.event_id.as_ref().map_or(id.bytes().as_slice(), |event_id| event_id.as_bytes());
        let event = shared.pepper.hash(&[b"dedup", name.as_bytes(), unique]);
        let seen = self.window.contains(&event);
        #[cfg(feature = "mutants")]
        let seen = seen && !crate::seeded_bug::without("dedup");
        if seen {
            metrics::duplicate(name);
            return Ok(());
        }
        let begins = at.time.min(now);
        let expiry = notification.expires_at.map_or(begins.plus(named.expiry), |own| own.min(begins.plus(named.expiry)));
        let cancel_hash = notification
            .event_id
            .as_ref()
            .filter(|_| shared.inputs.inputs()[input].has_cancel)
            .map(|event_id| shared.pepper.hash(&[b"cancel", name.as_bytes(), event_id.as_bytes()]));
        let cancelled = cancel_hash.map(|hash| self.cancelled_first(&hash)).transpose()?.flatten();
        let obstacle = if cancelled.is_some() { Some(Reason::Cancelled) } else { notification.obstacle };
        let (state, decisions) = delivery::request(Request { route: named.route.clone(), expiry, obstacle }, now);
        let lives = !decisions.contains(&Decision::Forget);
        let (mut sealed, mut sealed_code) = (Vec::new(), None);
        if lives {
            sealed = shared.sealer.seal(Purpose::Params, customer, id, expiry, &notification.payload.write(), now)?;
            if let Some(code) = &notification.code {
                sealed_code = Some(shared.sealer.seal_text(Purpose::Code, customer, id, expiry, code, now)?);
            }
        }
        // Nothing may fail from here on: what could not be sealed comes again, and must not meet its own traces.
        self.window.insert(event, now);
        self.first_of_block.get_or_insert(id);
        if let (Some(hash), Some((until, stored))) = (cancel_hash, cancelled) {
            self.cancels_first.remove(&(until, hash));
            self.overlay.delete(stored::cancel_key(&hash), stored);
        }
        let personal = shared.inputs.inputs()[input].key_personal;
        let record_key = key.filter(|_| !personal).map_or_else(|| customer.to_string().into_bytes(), <[u8]>::to_vec);
        let delivery = Delivery {
            source_offset: at.offset,
            source_topic: at.topic.to_owned(),
            receipts_applied: 0,
            route: named.name.to_string(),
            customer,
            record_key,
            event_id: notification.event_id,
            cancel_hash: cancel_hash.filter(|_| lives),
            sealed,
            sealed_code,
            traceparent: notification.traceparent,
            state,
        };
        if let Some(hash) = cancel_hash.filter(|_| lives) {
            self.overlay.put(stored::cancel_key(&hash), CancelEntry::Delivery(id).write(), false);
        }
        self.carry_out(shared, id, delivery, &decisions, None, false, now, out);
        Ok(())
    }

    /// Whether the cancel of this event came first: until when it is kept, and whether it is stored.
    fn cancelled_first(&self, hash: &Hash) -> Result<Option<(Timestamp, bool)>, TaskError> {
        let Some((bytes, stored)) = self.load(&stored::cancel_key(hash))? else { return Ok(None) };
        Ok(match CancelEntry::read(&bytes)? {
            CancelEntry::Cancelled(until) => Some((until, stored)),
            CancelEntry::Delivery(_) => None,
        })
    }

    /// The bank withdraws an event.
    pub fn cancel(&mut self, shared: &Shared, of: usize, event_id: &str, now: Timestamp, out: &mut Vec<Output>) -> Result<(), TaskError> {
        let input = &shared.inputs.inputs()[of];
        let hash = shared.pepper.hash(&[b"cancel", input.name.as_bytes(), event_id.as_bytes()]);
        let key = stored::cancel_key(&hash);
        match self.load(&key)?.map(|(bytes, _)| CancelEntry::read(&bytes)).transpose()? {
            Some(CancelEntry::Delivery(id)) => self.event(shared, id, &Event::Cancel, None, now, out)?,
            Some(CancelEntry::Cancelled(_)) => {}
            None => {
                let until = now.plus(input.expiry_max);
                self.cancels_first.insert((until, hash));
                self.overlay.put(key, CancelEntry::Cancelled(until).write(), false);
            }
        }
        Ok(())
    }

    /// One record of the receipts topic.
    pub fn returned(
        &mut self,
        shared: &Shared,
        at: At<'_>,
        returned: Returned,
        now: Timestamp,
        guard: &mut storm::Guard,
        out: &mut Vec<Output>,
    ) -> Result<(), TaskError> {
        let (AttemptId { message_id, attempt }, event) = match returned {
            Returned::GatewayHeartbeat { .. } => {
                self.gate.gateway_heartbeat(at.time);
                return Ok(());
            }
            Returned::DispatcherHeartbeat { channel, lane, settled, .. } => {
                self.gate.dispatcher_heartbeat(channel, lane, settled);
                return Ok(());
            }
            Returned::Hello { .. } => return Ok(()),
            Returned::Outcome { attempt_id, outcome, reason, code, .. } => {
                #[cfg(feature = "mutants")]
                let resend = outcome == delivery::Outcome::Unknown && crate::seeded_bug::planted("resend_unknown");
                #[cfg(feature = "mutants")]
                let outcome = if resend { delivery::Outcome::TooLate } else { outcome };
                (attempt_id, Event::Outcome { attempt: attempt_id.attempt, outcome, reason, code, appended: at.time })
            }
            Returned::Receipt { attempt_id, receipt, reason, code, provider_time } => {
                (attempt_id, Event::Receipt { attempt: attempt_id.attempt, receipt, reason, code, provider_time })
            }
        };
        if message_id.partition() != self.partition {
            metrics::receipt_astray();
            return Ok(());
        }
        let known = self.event_known(shared, message_id, &event, Some(at.offset), now, guard, out)?;
        if !known {
            metrics::receipt_after_end();
            if let Event::Receipt { receipt: Receipt::Read, provider_time, .. } = event {
                self.publish_read(shared, message_id, attempt, provider_time, now, out);
            }
        }
        Ok(())
    }

    /// A due timer.
    pub fn fire(&mut self, shared: &Shared, timer: Timer, hold: Hold, now: Timestamp, out: &mut Vec<Output>) -> Result<(), TaskError> {
        metrics::timer_fired(timer.kind, now.since(timer.at));
        self.event(shared, timer.message_id, &Event::Timer { kind: timer.kind, attempt: timer.attempt, hold }, None, now, out)
    }

    /// Ends the delivery of a record that killed the process again and again.
    pub fn poisoned(&mut self, shared: &Shared, at: At<'_>, now: Timestamp, out: &mut Vec<Output>) -> Result<(), TaskError> {
        let source = SourcePosition { topic: at.topic.to_owned(), partition: self.partition, offset: at.offset };
        let id = MessageId::derive(at.time, &source, 0);
        self.event(shared, id, &Event::Poison, None, now, out)
    }

    fn event(&mut self, shared: &Shared, id: MessageId, event: &Event, offset: Option<i64>, now: Timestamp, out: &mut Vec<Output>) -> Result<(), TaskError> {
        self.event_known(shared, id, event, offset, now, &mut storm::Guard::default(), out).map(|_| ())
    }

    fn event_known(
        &mut self,
        shared: &Shared,
        id: MessageId,
        event: &Event,
        offset: Option<i64>,
        now: Timestamp,
        guard: &mut storm::Guard,
        out: &mut Vec<Output>,
    ) -> Result<bool, TaskError> {
        let Some((bytes, is_stored)) = self.load(&stored::delivery_key(&id))? else { return Ok(false) };
        let mut delivery = Delivery::read(&bytes)?;
        if let Some(offset) = offset {
            let applied = offset < delivery.receipts_applied;
            #[cfg(feature = "mutants")]
            let applied = applied && !crate::seeded_bug::without("source_skip");
            if applied {
                metrics::replayed();
                return Ok(true);
            }
            delivery.receipts_applied = offset + 1;
        }
        #[cfg(feature = "mutants")]
        let (event, now) = &misheard(event, &delivery.state, now);
        #[cfg(feature = "mutants")]
        let now = *now;
        #[cfg(feature = "mutants")]
        let timers_before = delivery.state.timers();
        let open = delivery.state.open_attempt();
        let waited = delivery.state.timers().iter().any(|(kind, _, _)| *kind == TimerKind::Wait);
        let channel = traffic(&delivery.state, delivery.state.current()).0;
        let decisions = delivery::on(&mut delivery.state, event, now);
        #[cfg(feature = "mutants")]
        self.keep_cleared(id, &timers_before, &delivery.state, now);
        if waited
            && matches!(event, Event::Receipt { receipt: Receipt::Delivered | Receipt::Read | Receipt::Sent, .. })
            && delivery.state.timers().iter().all(|(kind, _, _)| *kind != TimerKind::Wait)
        {
            guard.confirmed(channel, now);
        }
        self.carry_out(shared, id, delivery, &decisions, open, is_stored, now, out);
        Ok(true)
    }

    /// Turns decisions into records, and the new state into a change of the overlay.
    #[expect(clippy::too_many_arguments, reason = "one decision has all these sides, and this is the one place where they meet")]
    fn carry_out(
        &mut self,
        shared: &Shared,
        id: MessageId,
        delivery: Delivery,
        decisions: &[Decision],
        open_before: Option<(Channel, Lane)>,
        is_stored: bool,
        now: Timestamp,
        out: &mut Vec<Output>,
    ) {
        let mut forget = false;
        for decision in decisions {
            match decision {
                Decision::Dispatch(dispatch) => {
                    tracing::debug!(message_id = %id, attempt = %dispatch.attempt, channel = dispatch.channel.word(), "A dispatch was decided.");
                    out.push(self.dispatch(shared, id, &delivery, dispatch));
                }
                Decision::Status(status) => {
                    #[cfg(feature = "mutants")]
                    let status = &self.counted_anew(id, status);
                    let attempt = status.attempt.map(tracing::field::display);
                    tracing::debug!(message_id = %id, attempt, status = status.word.word(), reason = status.reason.word(), "A status was decided.");
                    out.push(self.status(shared, id, &delivery, status, now));
                }
                Decision::Forget => forget = true,
                // The wheel follows the state itself, below.
                Decision::SetTimer { .. } | Decision::ClearTimer { .. } => {}
            }
        }
        let open_after = if forget { None } else { delivery.state.open_attempt() };
        self.count_open(open_before, open_after);
        let key = stored::delivery_key(&id);
        if forget {
            self.timers.replace(id, &[], |_| (Channel::Sms, Lane::Express));
            if let Some(hash) = &delivery.cancel_hash {
                // An entry that this transaction made leaves no trace; one that is stored gets a tombstone.
                let cancel = stored::cancel_key(hash);
                let stored = self.overlay.get(&cancel).is_none();
                self.overlay.delete(cancel, stored);
            }
            self.overlay.delete(key, is_stored);
        } else {
            self.timers.replace(id, &delivery.state.timers(), |attempt| traffic(&delivery.state, attempt));
            self.overlay.put(key, delivery.write(), is_stored);
        }
    }

    fn count_open(&mut self, before: Option<(Channel, Lane)>, after: Option<(Channel, Lane)>) {
        if before == after {
            return;
        }
        if let Some(count) = before.and_then(|traffic| self.open.get_mut(&traffic)) {
            *count = count.saturating_sub(1);
        }
        if let Some(traffic) = after {
            *self.open.entry(traffic).or_default() += 1;
        }
    }

    fn dispatch(&self, shared: &Shared, id: MessageId, delivery: &Delivery, dispatch: &delivery::Dispatch) -> Output {
        let lane = delivery.state.lane();
        let record = records::Dispatch {
            attempt_id: AttemptId { message_id: id, attempt: dispatch.attempt },
            channel: dispatch.channel,
            lane,
            route: delivery.route.clone(),
            template: dispatch.template.clone(),
            customer: delivery.customer,
            lease_end: dispatch.lease_end,
            not_after: dispatch.not_after,
            expiry: delivery.state.expiry(),
            wait_ms: delivery.state.step_wait(dispatch.attempt).map_or(0, |wait| u32::try_from(wait.as_millis()).unwrap_or(u32::MAX)),
            why: dispatch.why,
            sealed: delivery.sealed.clone(),
            sealed_code: delivery.sealed_code.clone(),
            traceparent: delivery.traceparent.clone(),
        };
        let mut value = Vec::new();
        records::encode_dispatch(&record, &mut value);
        let topics = &shared.settings.topics;
        let topic = if dispatch.why.is_some() { topics.retry(dispatch.channel, lane) } else { topics.dispatch(dispatch.channel, lane) };
        metrics::dispatched(dispatch.channel, lane, dispatch.why);
        Output {
            topic: topic.clone(),
            partition: self.partition.kafka(),
            key: id.bytes().to_vec(),
            value: Some(value),
            headers: trace(delivery.traceparent.as_ref()),
        }
    }

    fn status(&self, shared: &Shared, id: MessageId, delivery: &Delivery, status: &Status, now: Timestamp) -> Output {
        let template = status.attempt.and_then(|attempt| delivery.state.step_template(attempt)).unwrap_or_default();
        metrics::status(status, delivery.state.lane(), now, id);
        let record = StatusRecord {
            message_id: id,
            status: status.clone(),
            live: true,
            decided: now,
            route: delivery.route.clone(),
            template: template.to_owned(),
            event_id: delivery.event_id.clone(),
            source: Some(SourcePosition { topic: delivery.source_topic.clone(), partition: self.partition, offset: delivery.source_offset }),
        };
        let mut value = Vec::new();
        records::encode_status(&record, shared.status_framing, &mut value);
        let topic = shared.settings.topics.status.clone();
        Output { topic, partition: self.partition.kafka(), key: delivery.record_key.clone(), value: Some(value), headers: trace(delivery.traceparent.as_ref()) }
    }

    /// A `read` of an ended delivery goes on to the bank with the message id alone.
    fn publish_read(
        &self,
        shared: &Shared,
        id: MessageId,
        attempt: crate::delivery::Attempt,
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
        let record =
            StatusRecord { message_id: id, status, live: false, decided: now, route: String::new(), template: String::new(), event_id: None, source: None };
        let mut value = Vec::new();
        records::encode_status(&record, shared.status_framing, &mut value);
        out.push(Output {
            topic: shared.settings.topics.status.clone(),
            partition: self.partition.kafka(),
            key: Vec::new(),
            value: Some(value),
            headers: Vec::new(),
        });
    }

    fn load(&self, key: &[u8]) -> Result<Option<(Vec<u8>, bool)>, TaskError> {
        match self.overlay.get(key) {
            // What `stored` is told for a key that the overlay knows is not used: the first word on it counts.
            Some(value) => Ok(value.map(|value| (value.to_vec(), true))),
            None => Ok(self.store.get(key)?.map(|value| (value, true))),
        }
    }

    /// Fires what may fire, at most `most` timers; returns how many did.
    pub fn fire_due(&mut self, shared: &Shared, now: Timestamp, guard: &mut storm::Guard, most: usize, out: &mut Vec<Output>) -> Result<usize, TaskError> {
        self.timers.advance(now);
        let mut fired = 0;
        #[cfg(feature = "mutants")]
        for timer in self.cleared.extract_if(.., |timer| timer.at <= now).collect::<Vec<_>>() {
            self.fire(shared, timer, Hold::No, now, out)?;
            fired += 1;
        }
        for group in self.timers.due_groups() {
            while fired < most {
                let Some(timer) = self.timers.first_due(group) else { break };
                let Some(hold) = self.released(&shared.settings, group, &timer, now, guard) else { break };
                self.timers.fire(group);
                crash_point!("on_timer_fire");
                if timer.kind == TimerKind::Wait {
                    guard.ran_out(timer.traffic.0, now, 1);
                }
                self.fire(shared, timer, hold, now, out)?;
                fired += 1;
            }
            if self.timers.first_due(group).is_none() {
                self.held.remove(&group);
            }
        }
        Ok(fired)
    }

    /// Whether the earliest due timer of a group may fire, and with what said about having been held.
    fn released(&mut self, settings: &Settings, group: Group, timer: &Timer, now: Timestamp, guard: &mut storm::Guard) -> Option<Hold> {
        let verdict = self.gate.verdict(timer.kind, timer.at, timer.traffic);
        #[cfg(feature = "mutants")]
        let verdict = careless(verdict);
        let hold = match verdict {
            Verdict::NotDrained => return None,
            Verdict::Hold(hold) => hold,
            Verdict::Fire if timer.kind == TimerKind::Wait && settings.storm_guard && self.storm(group, now, guard) => Hold::Storm,
            Verdict::Fire => {
                self.held.remove(&group);
                return Some(Hold::No);
            }
        };
        let since = *self.held.entry(group).or_insert(now);
        (now.since(since) >= settings.hold_max).then_some(hold)
    }

    fn storm(&self, group: Group, now: Timestamp, guard: &mut storm::Guard) -> bool {
        const ENOUGH: usize = 1_000;
        let due = self.timers.due_count(group, now, ENOUGH);
        guard.storm(group.1, now, u32::try_from(due).unwrap_or(u32::MAX))
    }

    /// The status as it is, or with a `seq` of the task's own memory.
    #[cfg(feature = "mutants")]
    fn counted_anew(&mut self, id: MessageId, status: &Status) -> Status {
        if !crate::seeded_bug::planted("seq_restarts") {
            return status.clone();
        }
        let next = self.told.entry(id).or_default();
        let seq = *next;
        *next += 1;
        Status { seq, ..status.clone() }
    }

    /// Notes a wait that an event cleared before its time: with a bug it fires all the same.
    #[cfg(feature = "mutants")]
    fn keep_cleared(&mut self, id: MessageId, before: &[(TimerKind, delivery::Attempt, Timestamp)], state: &State, now: Timestamp) {
        if !crate::seeded_bug::planted("any_timer") {
            return;
        }
        let after = state.timers();
        for &(kind, attempt, at) in before.iter().filter(|timer| timer.0 == TimerKind::Wait && timer.2 > now && !after.contains(timer)) {
            self.cleared.push(Timer { message_id: id, kind, attempt, at, traffic: traffic(state, attempt) });
        }
    }

    /// Whether anything is due, so that the gate needs end offsets.
    pub fn anything_due(&self) -> bool {
        self.timers.anything_due()
    }

    /// The groups that are held now, for the metric.
    pub fn held(&self) -> impl Iterator<Item = &Group> {
        self.held.keys()
    }

    /// Forgets deduplication minutes and early cancels whose time is over.
    pub fn expire(&mut self, window: std::time::Duration, now: Timestamp) {
        for key in self.window.expire(now, window) {
            self.overlay.delete(key, true);
        }
        while let Some(&(until, hash)) = self.cancels_first.first()
            && until <= now
        {
            self.cancels_first.pop_first();
            let key = stored::cancel_key(&hash);
            let stored = self.overlay.get(&key).is_none();
            self.overlay.delete(key, stored);
        }
    }

    /// The deduplication blocks of this transaction.
    pub(super) fn take_blocks(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.first_of_block.take().map(|first| self.window.take_blocks(first)).unwrap_or_default()
    }
}

/// What the machine hears where a bug forgets which attempt a receipt or a timer was about; and when it believes to hear it.
#[cfg(feature = "mutants")]
fn misheard(event: &Event, state: &State, now: Timestamp) -> (Event, Timestamp) {
    use crate::seeded_bug::planted;
    match event.clone() {
        Event::Receipt { receipt, reason, code, provider_time, .. } if planted("any_attempt") => {
            (Event::Receipt { attempt: state.current(), receipt, reason, code, provider_time }, now)
        }
        // The machine compares the time too: it is told that the deadline of the attempt under way has come.
        Event::Timer { kind, hold, .. } if planted("any_timer") => {
            (Event::Timer { kind, attempt: state.current(), hold }, state.timers().iter().map(|timer| timer.2).fold(now, Timestamp::max))
        }
        event => (event, now),
    }
}

/// What the gate says, or what a bug makes of it.
#[cfg(feature = "mutants")]
fn careless(verdict: Verdict) -> Verdict {
    use crate::seeded_bug::planted;
    match verdict {
        Verdict::NotDrained if planted("fire_undrained") => Verdict::Fire,
        Verdict::Hold(Hold::DispatcherSilent) if planted("lease_without_heartbeat") => Verdict::Fire,
        verdict => verdict,
    }
}

/// The channel and lane of an attempt.
fn traffic(state: &State, attempt: crate::delivery::Attempt) -> (Channel, Lane) {
    let at = usize::from(attempt.step).saturating_sub(1);
    (state.channels().nth(at).unwrap_or(Channel::Sms), state.lane())
}

fn trace(traceparent: Option<&String>) -> Vec<(&'static str, Vec<u8>)> {
    traceparent.map(|value| vec![("traceparent", value.clone().into_bytes())]).unwrap_or_default()
}
