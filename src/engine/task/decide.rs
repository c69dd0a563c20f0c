//! A record or a timer in, the machine's decisions, a changed overlay and outputs out.
//!
//! Easily got wrong: nothing may fail behind the first trace that a request leaves; what could not be sealed comes again and must not meet itself.

#[cfg(feature = "mutants")]
use super::bugs::misheard;
use super::{At, Task, TaskError, traffic};
use crate::delivery::{
    self, AttemptId, Channel, Decision, Event, Hold, Lane, MessageId, Reason, Receipt, Request, SourcePosition, State, TimerKind, Timestamp,
};
use crate::engine::dedup::Hash;
use crate::engine::outputs::Outputs;
use crate::engine::stored::{self, CancelEntry, Delivery};
use crate::engine::storm;
use crate::engine::thread::Shared;
use crate::engine::timers::Timer;
use crate::event::input::Notification;
use crate::event::records::Returned;
use crate::observe::engine as metrics;
use crate::privacy::{Purpose, Reference};

impl Task {
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
        out: &mut Outputs,
    ) -> Result<(), TaskError> {
        let named = shared.inputs.route(notification.route);
        let source = SourcePosition { topic: at.topic.to_owned(), partition: self.partition, offset: at.offset };
        let id = MessageId::derive(at.time, &source, 0);
        let name = &shared.inputs.inputs()[input].name;
        let unique: &[u8] = notification.event_id.as_ref().map_or(id.bytes().as_slice(), |event_id| event_id.as_bytes());
        let event = shared.pepper.hash(&[b"dedup", name.as_bytes(), unique]);
        // Who lives has a timer. It began at this very record, which is read again; the window may have forgotten the event by now.
        let lived = self.timers.knows(&id);
        let seen = lived || self.window.contains(&event);
        #[cfg(feature = "mutants")]
        let seen = seen && !crate::seeded_bug::without("dedup");
        if seen {
            metrics::duplicate(name);
            return Ok(());
        }
        metrics::fields_dropped(name, notification.unclassed);
        let begins = at.time.min(now);
        let expiry = notification.expires_at.map_or(begins.plus(named.expiry), |own| own.min(begins.plus(named.expiry)));
        let cancel_hash = notification
            .event_id
            .as_ref()
            .filter(|_| shared.inputs.inputs()[input].has_cancel)
            .map(|event_id| shared.pepper.hash(&[b"cancel", name.as_bytes(), event_id.as_bytes()]));
        let before = cancel_hash.map(|hash| self.cancel_entry(&hash)).transpose()?.flatten();
        let cancelled = match before {
            Some(CancelEntry::Cancelled(until)) => Some(until),
            Some(CancelEntry::Delivery(_)) | None => None,
        };
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
        if let (Some(hash), Some(until)) = (cancel_hash, cancelled) {
            self.cancels_first.remove(&(until, hash));
            self.overlay.delete(stored::cancel_key(&hash), true);
        }
        let personal = shared.inputs.inputs()[input].key_personal;
        let key = key.filter(|_| !personal);
        let whose = if key.is_none() { customer.to_string() } else { String::new() };
        let delivery = Delivery {
            source_offset: at.offset,
            source_topic: at.topic,
            receipts_applied: 0,
            route: &named.name,
            customer,
            record_key: key.unwrap_or(whose.as_bytes()),
            event_id: notification.event_id.as_deref(),
            cancel_hash: cancel_hash.filter(|_| lives),
            sealed: &sealed,
            sealed_code: sealed_code.as_deref(),
            traceparent: notification.traceparent.as_deref(),
            state,
            unchanged: &[],
        };
        if let Some(hash) = cancel_hash.filter(|_| lives) {
            self.overlay.put(stored::cancel_key(&hash), CancelEntry::Delivery(id).write(), before.is_some());
        }
        self.carry_out(shared, id, &delivery, &decisions, None, lived, now, out);
        Ok(())
    }

    /// What the cancel index says of this event: the cancel that came first, or an older delivery of the same name.
    fn cancel_entry(&self, hash: &Hash) -> Result<Option<CancelEntry>, TaskError> {
        self.load(&stored::cancel_key(hash), CancelEntry::read)
    }

    /// The bank withdraws an event.
    pub fn cancel(&mut self, shared: &Shared, of: usize, event_id: &str, now: Timestamp, out: &mut Outputs) -> Result<(), TaskError> {
        let input = &shared.inputs.inputs()[of];
        let hash = shared.pepper.hash(&[b"cancel", input.name.as_bytes(), event_id.as_bytes()]);
        let key = stored::cancel_key(&hash);
        let known = self.cancel_entry(&hash)?;
        metrics::cancel(
            &input.name,
            match known {
                Some(CancelEntry::Delivery(_)) => "delivery",
                Some(CancelEntry::Cancelled(_)) => "cancel",
                None => "nothing",
            },
        );
        match known {
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
        out: &mut Outputs,
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
        // Who lives has a timer, so of most that have ended the store need not be asked.
        let lives = self.timers.knows(&message_id) || self.overlay.get(&stored::delivery_key(&message_id)).is_some();
        if !(lives && self.event_known(shared, message_id, &event, Some(at.offset), now, guard, out)?) {
            metrics::receipt_after_end();
            if let Event::Receipt { receipt: Receipt::Read, provider_time, .. } = event {
                self.publish_read(shared, message_id, attempt, provider_time, now, out);
            }
        }
        Ok(())
    }

    /// A due timer.
    pub fn fire(&mut self, shared: &Shared, timer: Timer, hold: Hold, now: Timestamp, out: &mut Outputs) -> Result<(), TaskError> {
        metrics::timer_fired(timer.kind, now.since(timer.at));
        self.event(shared, timer.message_id, &Event::Timer { kind: timer.kind, attempt: timer.attempt, hold }, None, now, out)
    }

    /// Ends the delivery of a record that killed the process again and again.
    pub fn poisoned(&mut self, shared: &Shared, at: At<'_>, now: Timestamp, out: &mut Outputs) -> Result<(), TaskError> {
        let source = SourcePosition { topic: at.topic.to_owned(), partition: self.partition, offset: at.offset };
        let id = MessageId::derive(at.time, &source, 0);
        self.event(shared, id, &Event::Poison, None, now, out)
    }

    fn event(&mut self, shared: &Shared, id: MessageId, event: &Event, offset: Option<i64>, now: Timestamp, out: &mut Outputs) -> Result<(), TaskError> {
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
        out: &mut Outputs,
    ) -> Result<bool, TaskError> {
        let mut bytes = std::mem::take(&mut self.reading);
        let known = self.copy(&stored::delivery_key(&id), &mut bytes)?;
        if known {
            let delivery = Delivery::read(&bytes, &mut self.routes)?;
            self.hear(shared, id, delivery, event, offset, now, guard, out)?;
        }
        self.reading = bytes;
        Ok(known)
    }

    /// One event of a delivery that lives.
    #[expect(clippy::too_many_arguments, reason = "an event has these sides: of which delivery, what, where it came from, when")]
    fn hear(
        &mut self,
        shared: &Shared,
        id: MessageId,
        mut delivery: Delivery<'_>,
        event: &Event,
        offset: Option<i64>,
        now: Timestamp,
        guard: &mut storm::Guard,
        out: &mut Outputs,
    ) -> Result<(), TaskError> {
        if let Some(offset) = offset {
            let applied = offset < delivery.receipts_applied;
            #[cfg(feature = "mutants")]
            let applied = applied && !crate::seeded_bug::without("source_skip");
            if applied {
                metrics::replayed();
                return Ok(());
            }
            delivery.receipts_applied = offset + 1;
        }
        #[cfg(feature = "mutants")]
        let (event, now) = &misheard(event, &delivery.state, now);
        #[cfg(feature = "mutants")]
        let now = *now;
        #[cfg(feature = "mutants")]
        let timer_before = delivery.state.timer();
        let open = delivery.state.open_attempt();
        let waits = |state: &State| matches!(state.timer(), Some((TimerKind::Wait, _, _)));
        let waited = waits(&delivery.state);
        let channel = traffic(&delivery.state, delivery.state.current()).0;
        let decisions = delivery::on(&mut delivery.state, event, now);
        if let Some(hash) = delivery.cancel_hash
            && decisions.contains(&Decision::Forget)
            && self.cancel_entry(&hash)? != Some(CancelEntry::Delivery(id))
        {
            (delivery.cancel_hash, delivery.unchanged) = (None, &[]); // the event came again meanwhile, and its cancel is another delivery's
        }
        #[cfg(feature = "mutants")]
        self.keep_cleared(id, timer_before, &delivery.state, now);
        if waited && matches!(event, Event::Receipt { receipt: Receipt::Delivered | Receipt::Read | Receipt::Sent, .. }) && !waits(&delivery.state) {
            guard.confirmed(channel, now);
        }
        self.carry_out(shared, id, &delivery, &decisions, open, true, now, out);
        Ok(())
    }

    /// Turns decisions into records, and the new state into a change of the overlay.
    #[expect(clippy::too_many_arguments, reason = "one decision has all these sides, and this is the one place where they meet")]
    fn carry_out(
        &mut self,
        shared: &Shared,
        id: MessageId,
        delivery: &Delivery<'_>,
        decisions: &[Decision],
        open_before: Option<(Channel, Lane)>,
        lived: bool,
        now: Timestamp,
        out: &mut Outputs,
    ) {
        let mut forget = false;
        for decision in decisions {
            match decision {
                Decision::Dispatch(dispatch) => {
                    tracing::debug!(message_id = %id, attempt = %dispatch.attempt, channel = dispatch.channel.word(), "A dispatch was decided.");
                    self.dispatch(shared, id, delivery, dispatch, out);
                }
                Decision::Status(status) => {
                    #[cfg(feature = "mutants")]
                    let status = &self.counted_anew(id, status);
                    let attempt = status.attempt.map(tracing::field::display);
                    tracing::debug!(message_id = %id, attempt, status = status.word.word(), reason = status.reason.word(), "A status was decided.");
                    self.status(shared, id, delivery, status, now, out);
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
                // An entry that this transaction made leaves no trace; one that the changelog has gets a tombstone.
                let cancel = stored::cancel_key(hash);
                let logged = self.overlay.get(&cancel).is_none();
                self.overlay.delete(cancel, logged);
            }
            self.overlay.delete(key, lived);
        } else {
            self.timers.replace(id, delivery.state.timer().as_slice(), |attempt| traffic(&delivery.state, attempt));
            self.overlay.put(key, delivery.write(), lived);
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
}
