//! A call: enters its first TwiML, leaves status callbacks, keypresses at the `action` URL, and the words of the second TwiML.
//!
//! What is easily got wrong: calls queue in silence (one per second and account), and the code is said only after a key was pressed.

use super::twiml::{self, Document};
use super::webhooks::{self, Callback};
use super::{Channel, Line, PickUp, Taken, World, script, twilio_checks};
use std::sync::Arc;
use std::time::Duration;

/// What runs on the line.
struct OpenLine {
    world: Arc<World>,
    sid: String,
    attempt_id: Option<String>,
    request: twilio_checks::Call,
    sequence: u32,
    started: Duration,
    times: u16,
}

/// Queues the call and lets it run. Returns how long it waits for its turn, in the provider's time.
pub(super) fn place(world: &Arc<World>, sid: &str, attempt_id: Option<String>, request: &twilio_checks::Call, document: Document, taken: &Taken) -> Duration {
    let now = world.elapsed();
    let spacing = world.scaled(Duration::from_secs(1) / world.settings.twilio.calls_per_second.max(1));
    let turn = {
        let mut next = world.next_ring.lock().expect("no panic while taking a turn");
        let turn = (*next).max(now);
        *next = turn + spacing;
        turn
    };
    let line = OpenLine {
        world: world.clone(),
        sid: sid.to_owned(),
        attempt_id,
        request: request.clone(),
        sequence: 0,
        started: turn,
        times: taken.behaviour.call.times,
    };
    let call = taken.behaviour.call.clone();
    world.tasks.spawn(line.run(call, document));
    turn.saturating_sub(now).div_f64(world.settings.time_factor)
}

impl OpenLine {
    async fn run(mut self, call: super::Call, document: Document) {
        let wait = self.started.saturating_sub(self.world.elapsed());
        if !self.world.pause(wait).await {
            return;
        }
        self.status("initiated", "initiated").await;
        self.status("ringing", "ringing").await;
        let rings = if call.picks_up == PickUp::NoAnswer { Duration::from_secs(self.request.timeout_secs) } else { call.rings };
        if !self.passes(rings).await {
            return;
        }
        match call.picks_up {
            PickUp::Yes => {}
            PickUp::NoAnswer => return self.status("completed", "no-answer").await,
            PickUp::Busy => return self.status("completed", "busy").await,
            PickUp::Failed => return self.status("completed", "failed").await,
        }
        self.status("answered", "in-progress").await;
        self.converse(&call, document).await;
        self.status("completed", "completed").await;
    }

    /// Listens, presses a key, hears the answer; as often as the script presses keys and the TwiML asks for them.
    async fn converse(&self, call: &super::Call, mut document: Document) {
        for _ in 0..call.keys {
            let Some(gather) = document.gather.take() else { return };
            if !self.passes(call.listens).await {
                return;
            }
            let Some(next) = self.key(&gather.action).await else { return };
            let said = next.said.join(" ");
            let text_sha256 = hex::encode(script::digest_whole(said.as_bytes()));
            let line = Line::Spoken { time_ms: crate::clock::wall().millis(), attempt_id: self.attempt_id.clone(), text_sha256, text: None };
            self.world.append(line, Some(&said)).await;
            document = next;
        }
        // Whoever presses nothing lets the gather run out; then the document ends the call.
        if let Some(gather) = &document.gather {
            self.passes(Duration::from_secs(gather.timeout_secs)).await;
        }
    }

    async fn key(&self, action: &str) -> Option<Document> {
        let mut parameters = self.parameters("in-progress");
        parameters.extend([("Digits", "1".to_owned()), ("FinishedOnKey", String::new()), ("msg", "Gather End".to_owned())]);
        let (channel, attempt_id) = (Channel::Voice, self.attempt_id.as_deref());
        let callback = Callback { url: action, parameters, channel, attempt_id, receipt: "keypress", code: 0 };
        let body = webhooks::twilio(&self.world, callback).await?;
        let document = std::str::from_utf8(&body).ok().map(twiml::parse)?;
        if let Err(fault) = &document {
            tracing::warn!(%fault, "The gateway's answer to a keypress is no TwiML; the call ends.");
        }
        document.ok()
    }

    /// One status callback, if the request asked for this event.
    async fn status(&mut self, event: &str, word: &str) {
        let (Some(url), true) = (self.request.callback.clone(), self.request.events.iter().any(|it| it == event)) else { return };
        for _ in 0..self.times {
            let mut parameters = self.parameters(word);
            parameters.extend([("CallbackSource", "call-progress-events".to_owned()), ("SequenceNumber", self.sequence.to_string())]);
            parameters.push(("Timestamp", timestamp()));
            if event == "completed" {
                let lasted = self.world.elapsed().saturating_sub(self.started).div_f64(self.world.settings.time_factor);
                parameters.push(("CallDuration", lasted.as_secs().to_string()));
                parameters.push(("SipResponseCode", sip(word).to_owned()));
            }
            let (channel, attempt_id) = (Channel::Voice, self.attempt_id.as_deref());
            webhooks::twilio(&self.world, Callback { url: &url, parameters, channel, attempt_id, receipt: word, code: 0 }).await;
        }
        self.sequence += 1;
    }

    fn parameters(&self, word: &str) -> Vec<(&'static str, String)> {
        let to = format!("+{}", self.request.to);
        vec![
            ("AccountSid", self.world.settings.twilio.account_sid.clone()),
            ("ApiVersion", "2010-04-01".into()),
            ("CallSid", self.sid.clone()),
            ("CallStatus", word.into()),
            ("Called", to.clone()),
            ("Caller", self.request.from.clone()),
            ("Direction", "outbound-api".into()),
            ("From", self.request.from.clone()),
            ("To", to),
        ]
    }

    async fn passes(&self, span: Duration) -> bool {
        self.world.pause(self.world.scaled(span)).await
    }
}

const fn sip(word: &str) -> &'static str {
    match word.as_bytes() {
        b"busy" => "486",
        b"no-answer" => "487",
        b"failed" => "404",
        _ => "200",
    }
}

/// Now, as RFC 2822 writes it.
fn timestamp() -> String {
    let now = jiff::Timestamp::from_millisecond(crate::clock::wall().millis()).unwrap_or_default();
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_string(&now).unwrap_or_default()
}
