//! The providers' languages: a finished message becomes the request of one call, an answer becomes an outcome, a webhook's body becomes receipts.
//!
//! Pure: bytes in, values out. What is easily got wrong: an answer that proves nothing is outcome *unknown*, never *unavailable*, because only what is
//! proven not to have gone out may be sent again; and whether a failure is final is decided here, once, by the tables beside each provider.
#![deny(clippy::wildcard_enum_match_arm)]

pub mod whatsapp;
pub mod sms;
pub mod voice;
pub mod signature;
pub mod twilio;
mod loose;

use crate::delivery::{AttemptId, Outcome, Reason, Receipt, Timestamp};
use crate::privacy::Secret;
use std::time::Duration;
use zeroize::Zeroizing;

/// One call to a provider, complete but for base URL and authentication, which the dispatcher adds.
pub struct Request {
    /// Begins with `/`.
    pub path_and_query: String,
    /// For the header `Content-Type`.
    pub content_type: &'static str,
    /// Text and number in clear: allocated once, cleared when dropped.
    pub body: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("content_type", &self.content_type).field("body_bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// Why no request was made: the provider would refuse it, so the attempt ends *rejected* before the call. Final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is not fit for the channel ({})", reason.word())]
pub struct Unfit {
    /// `too_long`, `template` (empty or forbidden characters) or `landline`.
    pub reason: Reason,
    /// Which part of the message, never its text.
    pub field: &'static str,
}

/// What a provider's immediate answer means.
#[derive(Debug)]
pub struct Answer {
    /// What became of the call.
    pub outcome: Outcome,
    /// Why, where it is not *accepted*.
    pub reason: Reason,
    /// The provider's own number; 0 where it gave none.
    pub code: u32,
    /// The provider's id of the message (wamid, sid). A wamid contains the phone number: it rests only as an HMAC.
    pub provider_id: Option<Secret<String>>,
    /// Whether the same attempt may call again inside its lease. Anything but `Never` means: proven not to have gone out.
    pub again: Again,
    /// What the circuit breaker learns.
    pub breaker: Breaker,
    /// Whom it concerns beside the customer.
    pub attention: Attention,
}

impl Answer {
    /// What a call means that ended without an answer after its body may have been written (timeout, lost connection).
    pub const fn lost() -> Self {
        Self::unknown(0)
    }

    /// What a call means that surely did not go out (refused connection, TLS failure, no such host).
    pub const fn unreached() -> Self {
        Self {
            outcome: Outcome::Unavailable,
            reason: Reason::Unavailable,
            code: 0,
            provider_id: None,
            again: Again::BackOff,
            breaker: Breaker::Count(Scope::App),
            attention: Attention::None,
        }
    }

    const fn accepted(provider_id: Secret<String>) -> Self {
        Self {
            outcome: Outcome::Accepted,
            reason: Reason::None,
            code: 0,
            provider_id: Some(provider_id),
            again: Again::Never,
            breaker: Breaker::Ignore,
            attention: Attention::None,
        }
    }

    const fn unknown(code: u32) -> Self {
        Self {
            outcome: Outcome::Unknown,
            reason: Reason::Unknown,
            code,
            provider_id: None,
            again: Again::Never,
            breaker: Breaker::Count(Scope::App),
            attention: Attention::None,
        }
    }

    /// From a row of an error table. `status` decides only where the row leaves it open.
    fn refused(meaning: &Meaning, code: u32, status: u16) -> Self {
        let (outcome, reason) = match meaning.sync {
            Sync::Is(outcome) => (outcome, meaning.reason),
            Sync::ByStatus => match status {
                429 => (Outcome::Throttled, Reason::Throttled),
                400..=499 => (Outcome::Rejected, meaning.reason),
                _ => (Outcome::Unknown, Reason::Unknown),
            },
        };
        let again = match outcome {
            Outcome::Throttled if meaning.sync == Sync::ByStatus => Again::BackOff,
            Outcome::Unknown => Again::Never,
            Outcome::Accepted | Outcome::Rejected | Outcome::Throttled | Outcome::Unavailable | Outcome::TooLate => meaning.again,
        };
        let breaker = match (outcome, meaning.sync) {
            (Outcome::Unknown, Sync::ByStatus) => Breaker::Count(Scope::App),
            _ => meaning.breaker,
        };
        Self { outcome, reason, code, provider_id: None, again, breaker, attention: meaning.attention }
    }
}

/// Whether the dispatcher may repeat a call under the same attempt. All of it ends at `not_after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// No: the machine decides what follows.
    Never,
    /// Once, after a jitter.
    Once,
    /// With a back-off, as often as fits.
    BackOff,
    /// At once from another sending number; never while there is only one.
    OtherSender,
    /// Too much for one customer: after 4^X seconds (X counts from 1) where that fits. A code does not wait: never.
    Pair,
}

/// What one answer says about the provider, for the dispatcher's circuit breakers. A failed receipt comes to the gateway and feeds none: it only ends its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// Nothing: it is about the customer, or all is well.
    Ignore,
    /// One failure.
    Count(Scope),
    /// Open at once.
    Open {
        /// For whom.
        scope: Scope,
        /// Not half-open before this has passed. `None`: the breaker's usual pause; `Duration::MAX`: until a person acts.
        pause: Option<Duration>,
    },
}

/// How wide a breaker reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One sending number.
    Number,
    /// One template.
    Template,
    /// The account at the provider.
    Account,
    /// Everything that goes out with these credentials.
    App,
}

/// Whom an answer or a failed receipt concerns beside the customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attention {
    /// Nobody.
    None,
    /// Our own fault: a request that should never have been made. Counted and alarmed.
    Fault,
    /// A person must act: token, account, template, number.
    Page,
    /// Both.
    FaultAndPage,
    /// A code that the table does not know: counted and alarmed, so that somebody adds it.
    Unlisted,
}

/// One row of a provider's error table: what a code means in the answer of a call and in a failed receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// The outcome when it stands in the answer of a call.
    pub sync: Sync,
    /// Why, in our words.
    pub reason: Reason,
    /// What the circuit breaker learns.
    pub breaker: Breaker,
    /// Whether the same attempt may call again. In a receipt nothing is called again.
    pub again: Again,
    /// Whether a failed receipt with it ends the attempt. False: the receipt says nothing about this message.
    pub ends: bool,
    /// Whom it concerns.
    pub attention: Attention,
}

/// The outcome of a call whose answer carries a known code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Always this.
    Is(Outcome),
    /// 4xx rejected, 429 throttled, else unknown: the provider itself may not know what it did.
    ByStatus,
}

impl Meaning {
    /// The reason of a failed receipt: where the code says something about the customer, that; else that the provider reported a failure.
    fn receipt_reason(&self) -> Reason {
        let says_more = matches!(self.reason, Reason::Unreachable | Reason::IdentityChanged | Reason::OptedOut | Reason::Landline | Reason::TooLong);
        if says_more { self.reason } else { Reason::Failed }
    }
}

/// What a provider reports of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which try: our own correlation data, echoed.
    pub attempt_id: AttemptId,
    /// What it says.
    pub receipt: Receipt,
    /// Why, where it failed.
    pub reason: Reason,
    /// The provider's own number; 0 for none.
    pub code: u32,
    /// The provider's time: shown, never compared with a deadline.
    pub provider_time: Option<Timestamp>,
}

/// What one webhook brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Receipts {
    /// In the order in which the provider wrote them.
    pub reports: Vec<Report>,
    /// Elements that name no receipt of ours.
    pub skipped: Skipped,
    /// Customers' messages: counted, not read.
    pub inbound: u32,
    /// Errors about the account or the app that belong to no message, by the provider's numbers.
    pub account_errors: Vec<u32>,
}

/// Elements of a webhook that were left out, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// No correlation data: another system writes from the same number.
    pub uncorrelated: u32,
    /// Correlation data of another shape than an attempt id.
    pub foreign: u32,
    /// A status word that means no receipt (queued, ringing), or that nobody knows.
    pub word: u32,
    /// A failure whose code says nothing about the message.
    pub not_final: u32,
    /// One that cannot be read by itself: the body must be kept.
    pub unreadable: u32,
}

/// Why a signed body was not understood. Final; carries no bytes of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// Not JSON at all (cut off, or something else).
    #[error("the body is not JSON")]
    NotJson,
    /// JSON or a form, but not of the documented kind.
    #[error("the body has no {field} of the documented kind")]
    WrongShape {
        /// The field that was looked for.
        field: &'static str,
    },
}

impl Receipts {
    /// Books one report under the correlation data that came with it.
    fn add(&mut self, correlation: Option<&str>, report: impl FnOnce(AttemptId) -> Report) {
        match correlation {
            None => self.skipped.uncorrelated += 1,
            Some(text) => match AttemptId::parse(text) {
                Some(attempt_id) => self.reports.push(report(attempt_id)),
                None => self.skipped.foreign += 1,
            },
        }
    }
}

const fn open(scope: Scope) -> Breaker {
    Breaker::Open { scope, pause: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::PhoneNumber;

    /// An invented number.
    pub(super) fn phone() -> PhoneNumber {
        PhoneNumber::parse("+5511999990001").unwrap()
    }

    pub(super) fn attempt() -> AttemptId {
        AttemptId::parse("019aec3cd17b00079018a60ffe2f1753-2-1").unwrap()
    }

    pub(super) fn callbacks() -> twilio::Callbacks {
        twilio::Callbacks { public_base_url: "https://recado.example".into(), account: "main".into() }
    }

    pub(super) fn fields(request: &Request) -> Vec<(String, String)> {
        assert_eq!(request.content_type, "application/x-www-form-urlencoded");
        form_urlencoded::parse(&request.body).into_owned().collect()
    }

    #[test]
    fn a_call_that_ended_without_an_answer_is_unknown_and_one_that_never_began_may_be_repeated() {
        assert_eq!((Answer::lost().outcome, Answer::lost().again), (Outcome::Unknown, Again::Never));
        assert_eq!((Answer::unreached().outcome, Answer::unreached().again), (Outcome::Unavailable, Again::BackOff));
    }

    #[test]
    fn a_request_prints_nothing_of_its_body() {
        let request = Request { path_and_query: "/x".into(), content_type: "text/plain", body: Zeroizing::new(b"493817".to_vec()) };
        assert!(!format!("{request:?}").contains("493817"));
    }
}
