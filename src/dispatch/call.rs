//! One attempt from its own intent to its outcome: time, seal, text, call; and again, as long as every call before is proven not to have gone out.

use super::breaker::Breakers;
use super::ledger::{Final, Work};
use super::post::{Post, Posted};
use super::prepare::{self, Obstacle};
use super::rate::Rate;
use super::settings::{Provider, Settings};
use super::time::KafkaNow;
use crate::channel::{Again, Answer, Attention, Breaker, Request, Scope, sms, voice, whatsapp};
use crate::crash_point::crash_point;
use crate::delivery::{Channel, Lane, NotAfter, Outcome, Reason, Timestamp};
use crate::event::records::Dispatch;
use crate::observe::Health;
use crate::observe::dispatch as observe;
use crate::observe::health::Cause;
use crate::privacy::Sealer;
use crate::template::Catalogue;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The first pause before a call is repeated; it doubles.
const BACK_OFF_FIRST: Duration = Duration::from_millis(200);
/// And no further than this: the lease is seconds long.
const BACK_OFF_MAX: Duration = Duration::from_secs(2);
/// How often the time is asked for while it is not known.
const NO_TIME_PAUSE: Duration = Duration::from_millis(50);

/// Everything that calls need.
pub struct Caller {
    lines: BTreeMap<Channel, Line>,
    breakers: Mutex<Breakers<BreakerKey>>,
    sealer: Sealer,
    catalogue: Arc<Catalogue>,
    health: Health,
}

/// The way to one provider.
struct Line {
    provider: Arc<Provider>,
    post: Post,
    rate: Mutex<Rate>,
    /// Whether its breaker was open when it was last looked at.
    open: AtomicBool,
}

/// A provider, or one template at it.
type BreakerKey = (Channel, Option<String>);

/// What one pass came to.
enum Pass {
    End(Final),
    /// Called, and proven not to have gone out: again after so long, if that fits.
    Again(Final, Duration),
    /// Not called yet: after so long, if that fits.
    Wait(Final, Duration),
}

impl Caller {
    /// For these providers.
    pub fn new(settings: &mut Settings, sealer: Sealer, catalogue: Arc<Catalogue>, health: Health) -> anyhow::Result<Self> {
        let mut lines = BTreeMap::new();
        for (channel, provider) in std::mem::take(&mut settings.providers) {
            let post = Post::new(&provider, settings.call_timeout, settings.answer_bytes_max)?;
            let rate = Mutex::new(Rate::new(provider.calls_per_second, crate::clock::now()));
            observe::breaker(&provider.name, false);
            lines.insert(channel, Line { provider: Arc::new(provider), post, rate, open: AtomicBool::new(false) });
        }
        Ok(Self { lines, breakers: Mutex::new(Breakers::new(settings.breaker)), sealer, catalogue, health })
    }

    /// This instance has so many of all partitions, and that share of what the providers take.
    pub fn share(&self, held: usize, of: usize) {
        for line in self.lines.values() {
            line.rate.lock().unwrap_or_else(PoisonError::into_inner).share(held, of, crate::clock::now());
        }
    }

    /// Why this attempt should not even be claimed for a call: its channel has no provider, or the breaker is open. A yes may use up the probe of this second.
    pub fn refuse(&self, work: &Work, template: &str) -> Option<Final> {
        let unavailable = Final::plain(Outcome::Unavailable, Reason::Unavailable);
        let (channel, _) = work.traffic;
        (!self.lines.contains_key(&channel) || !self.breakers_allow(channel, template)).then_some(unavailable)
    }

    /// Makes the attempt whose own intent stands first in the journal. Ends at the latest `call_timeout` after `not_after`; `leave` ends it at once where
    /// nothing is under way on the wire.
    pub async fn attempt(self: Arc<Self>, dispatch: Arc<Dispatch>, now: Arc<KafkaNow>, leave: CancellationToken) -> Final {
        let Some(line) = self.lines.get(&dispatch.channel) else { return Final::plain(Outcome::Unavailable, Reason::Unavailable) };
        let mut end = Final::TOO_LATE;
        let mut calls = 0;
        loop {
            let Some(time) = now.get() else {
                if pause(NO_TIME_PAUSE, &leave).await {
                    continue;
                } else {
                    return Final::TOO_LATE;
                };
            };
            if !allows(dispatch.not_after, time) {
                return end;
            }
            if leave.is_cancelled() {
                return Final::TOO_LATE;
            }
            let (why, span) = match self.pass(line, &dispatch, (&now, &leave), time, calls + 1).await {
                Pass::End(why) => return why,
                Pass::Wait(why, span) => (why, span),
                Pass::Again(why, span) => {
                    calls += 1;
                    observe::call_repeated(dispatch.channel, why.outcome);
                    if !self.breakers_allow(dispatch.channel, &dispatch.template) {
                        return why;
                    }
                    (why, span)
                }
            };
            if !dispatch.not_after.allows(time.plus(span)) {
                return why;
            }
            end = why;
            if !pause(span, &leave).await {
                return Final::TOO_LATE;
            }
        }
    }

    async fn pass(
        self: &Arc<Self>,
        line: &Line,
        dispatch: &Arc<Dispatch>,
        (now, leave): (&Arc<KafkaNow>, &CancellationToken),
        time: Timestamp,
        count: u32,
    ) -> Pass {
        let place = line.rate.lock().unwrap_or_else(PoisonError::into_inner).take(dispatch.lane, crate::clock::now());
        if let Err(wait) = place {
            return Pass::Wait(Final::plain(Outcome::Throttled, Reason::Throttled), wait);
        }
        let request = match self.prepare(line, dispatch, time).await {
            Ok(request) => request,
            Err(obstacle @ Obstacle::Rejected(_)) => return Pass::End(obstacle.end()),
            Err(obstacle @ Obstacle::KeysAway) => return Pass::Wait(obstacle.end(), BACK_OFF_FIRST),
        };
        #[cfg(feature = "mutants")]
        let text = crate::seeded_bug::planted("log_text").then(|| String::from_utf8_lossy(&request.body).into_owned());
        let not_after = dispatch.not_after;
        let (clock, leave) = (now.clone(), leave.clone());
        // Once the partition is to go, nothing new goes out: its next owner may hold a call that is still under way for ours.
        let may_leave = move || !leave.is_cancelled() && clock.get().is_some_and(|time| allows(not_after, time));
        let began = crate::clock::monotonic();
        let in_flight = observe::call(dispatch.channel, dispatch.lane);
        let posted = line.post.send(request, may_leave).await;
        drop(in_flight);
        observe::call_took(dispatch.channel, crate::clock::monotonic().saturating_sub(began));
        let (answer, retry_after) = match posted {
            Posted::Answered { status, body, retry_after } => {
                crash_point!("after_response");
                (answer(dispatch.channel, status, &body), retry_after)
            }
            Posted::NotSent => (Answer::unreached(), None),
            // The time ran out, or is not known any more, or the partition is to go: the loop looks and says so.
            Posted::TooLate => return Pass::Wait(Final::TOO_LATE, Duration::ZERO),
            Posted::Lost => (Answer::lost(), None),
        };
        #[cfg(feature = "mutants")]
        if let Some(text) = text.filter(|_| answer.outcome != Outcome::Accepted) {
            tracing::error!(text, "A call was not accepted.");
        }
        self.learn(line, dispatch, &answer);
        let again = again(&answer, dispatch.lane, count, jitter(dispatch));
        let end = self.end(dispatch.channel, answer);
        match again {
            Some(span) => Pass::Again(end, span.max(retry_after.unwrap_or_default())),
            None => Pass::End(end),
        }
    }

    /// Opens, renders and builds on a thread that may block: the key service reads a disk or asks a network.
    async fn prepare(self: &Arc<Self>, line: &Line, dispatch: &Arc<Dispatch>, time: Timestamp) -> Result<Request, Obstacle> {
        let (caller, dispatch, provider) = (self.clone(), dispatch.clone(), line.provider.clone());
        let made = tokio::task::spawn_blocking(move || prepare::request(&dispatch, time, &caller.sealer, &caller.catalogue, &provider.sender));
        made.await.unwrap_or(Err(Obstacle::Rejected(Reason::Template)))
    }

    fn end(&self, channel: Channel, answer: Answer) -> Final {
        let pepper = answer.provider_id.as_ref().map(|_| self.sealer.keys().pepper());
        let provider_id = answer.provider_id.as_ref().zip(pepper).map(|(id, pepper)| provider_id(&pepper, channel, id.expose()));
        Final { outcome: answer.outcome, reason: answer.reason, code: answer.code, provider_id }
    }

    fn breakers_allow(&self, channel: Channel, template: &str) -> bool {
        let now = crate::clock::now();
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        breakers.of((channel, Some(template.to_owned()))).allows(now) && breakers.of((channel, None)).allows(now)
    }

    /// The breaker of this dispatch's template opened or closed. Told while all are locked, so that the last word is the newest.
    fn tell_template(&self, dispatch: &Dispatch, open: bool, breakers: &Breakers<BreakerKey>) {
        let (channel, template) = (dispatch.channel, &*dispatch.template);
        if open {
            tracing::warn!(channel = channel.word(), template, "The breaker of a template opened: its messages go on to the next step.");
        } else {
            tracing::info!(channel = channel.word(), template, "The breaker of a template closed.");
        }
        observe::template_breaker(channel, template, open);
        let away: Vec<String> = breakers.open().filter_map(|(channel, name)| name.as_ref().map(|name| format!("{name} ({})", channel.word()))).collect();
        self.health.set(Cause::TemplateAway, (!away.is_empty()).then(|| format!("The breaker is open for these templates: {}.", away.join(", "))));
    }

    fn learn(&self, line: &Line, dispatch: &Dispatch, answer: &Answer) {
        let now = crate::clock::now();
        let key = |scope| match scope {
            Scope::Template => (dispatch.channel, Some(dispatch.template.clone())),
            Scope::Number | Scope::Account | Scope::App => (dispatch.channel, None),
        };
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let template_open = breakers.of(key(Scope::Template)).open();
        match answer.breaker {
            Breaker::Ignore => {
                breakers.of(key(Scope::Template)).succeeded(now);
                breakers.of(key(Scope::App)).succeeded(now);
            }
            Breaker::Count(scope) => breakers.of(key(scope)).failed(now),
            Breaker::Open { scope, pause } => breakers.of(key(scope)).trip(now, pause),
        }
        let open = breakers.of(key(Scope::App)).open();
        if breakers.of(key(Scope::Template)).open() != template_open {
            self.tell_template(dispatch, !template_open, &breakers);
        }
        drop(breakers);
        if line.open.swap(open, Ordering::AcqRel) != open {
            tracing::info!(provider = line.provider.name, open, "The breaker of a provider opened or closed.");
            observe::breaker(&line.provider.name, open);
            let away: Vec<&str> = self.lines.values().filter(|line| line.open.load(Ordering::Acquire)).map(|line| line.provider.name.as_str()).collect();
            self.health.set(Cause::ProviderAway, (!away.is_empty()).then(|| format!("The breaker is open for: {}.", away.join(", "))));
        }
        let kinds: &[&str] = match answer.attention {
            Attention::None => &[],
            Attention::Fault => &["fault"],
            Attention::Page => &["page"],
            Attention::FaultAndPage => &["fault", "page"],
            Attention::Unlisted => &["unlisted"],
        };
        for kind in kinds {
            observe::attention(dispatch.channel, kind);
            tracing::warn!(provider = line.provider.name, code = answer.code, kind, "A provider's answer needs somebody's attention.");
        }
    }
}

/// Whether an attempt may still leave at this time.
fn allows(not_after: NotAfter, time: Timestamp) -> bool {
    #[cfg(feature = "mutants")]
    if crate::seeded_bug::planted("ignore_not_after") {
        return true;
    }
    not_after.allows(time)
}

/// How a provider's id appears outside: keyed, because a wamid contains the phone number.
pub fn provider_id(pepper: &crate::privacy::Pepper, channel: Channel, id: &str) -> [u8; 16] {
    pepper.hash(&[b"provider-id", channel.word().as_bytes(), id.as_bytes()])
}

fn answer(channel: Channel, status: u16, body: &[u8]) -> Answer {
    match channel {
        Channel::WhatsApp => whatsapp::answer(status, body),
        Channel::Sms => sms::answer(status, body),
        Channel::Voice => voice::answer(status, body),
    }
}

/// After how long the same attempt may be called again, after `count` calls; `None`: never.
fn again(answer: &Answer, lane: Lane, count: u32, jitter: Duration) -> Option<Duration> {
    match answer.again {
        // With one sending number there is no other.
        Again::Never | Again::OtherSender => None,
        Again::Once => (count == 1).then_some(jitter),
        Again::BackOff => Some(back_off(count)),
        Again::Pair => (lane == Lane::Bulk).then(|| Duration::from_secs(4u64.saturating_pow(count))),
    }
}

fn back_off(count: u32) -> Duration {
    BACK_OFF_FIRST.saturating_mul(1 << (count - 1).min(8)).min(BACK_OFF_MAX)
}

/// 100 to 355 ms, the same for one attempt: so that many that failed together do not come again together.
fn jitter(dispatch: &Dispatch) -> Duration {
    Duration::from_millis(100 + u64::from(dispatch.attempt_id.message_id.bytes()[15]))
}

/// Waits; false when it is time to leave.
async fn pause(span: Duration, leave: &CancellationToken) -> bool {
    tokio::select! {
        () = leave.cancelled() => false,
        () = tokio::time::sleep(span) => true,
    }
}
