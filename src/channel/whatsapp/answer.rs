//! Meta's answer to a send becomes an outcome.
//!
//! A 2xx without a message id proves nothing, nor does a 5xx without Graph's error object: both are *unknown*.

use super::errors;
use crate::channel::loose::{List, Object, Scalar};
use crate::channel::{Again, Answer, Attention, Breaker, Scope};
use crate::delivery::{Outcome, Reason};
use crate::privacy::Secret;
use serde::Deserialize;

/// What Meta's answer means. `body` may be cut off at the dispatcher's limit: what then does not parse proves nothing.
///
/// Source: Cloud API `messages`, its 200 answer and Graph's `error` object; `held_for_quality_assessment` and `paused` count as not accepted, and should such a
/// message go out later, its `delivered` wins over the failure.
pub fn answer(status: u16, body: &[u8]) -> Answer {
    let body: Body = serde_json::from_slice::<Object<Body>>(body).ok().and_then(|object| object.0).unwrap_or_default();
    if (200..=299).contains(&status) {
        return accepted(&body);
    }
    if let Some(code) = body.error.get().and_then(|error| error.code.code()) {
        return Answer::refused(errors::meaning(code), code, status);
    }
    match status {
        429 => refused(Outcome::Throttled, Reason::Throttled, Again::BackOff, Attention::None),
        400..=499 => refused(Outcome::Rejected, Reason::Provider, Again::Never, Attention::Page),
        _ => Answer::unknown(0),
    }
}

fn accepted(body: &Body) -> Answer {
    let Some(message) = body.messages.0.first().and_then(Object::get) else { return Answer::unknown(0) };
    let Some(id) = message.id.text() else { return Answer::unknown(0) };
    let id = Secret::new(id.to_owned());
    match message.message_status.text() {
        Some("held_for_quality_assessment" | "paused") => {
            Answer { provider_id: Some(id), ..refused(Outcome::Rejected, Reason::Held, Again::Never, Attention::None) }
        }
        _ => Answer::accepted(id),
    }
}

fn refused(outcome: Outcome, reason: Reason, again: Again, attention: Attention) -> Answer {
    let breaker = if reason == Reason::Held { Breaker::Count(Scope::Template) } else { Breaker::Count(Scope::App) };
    Answer { outcome, reason, code: 0, provider_id: None, again, breaker, attention }
}

#[derive(Deserialize, Default)]
struct Body {
    #[serde(default)]
    messages: List<Object<Message>>,
    #[serde(default)]
    error: Object<Error>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    id: Scalar,
    #[serde(default)]
    message_status: Scalar,
}

#[derive(Deserialize)]
struct Error {
    #[serde(default)]
    code: Scalar,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ACCEPTED: &str = r#"{"messaging_product":"whatsapp","contacts":[{"input":"5511999990001","wa_id":"551199990001"}],
        "messages":[{"id":"wamid.HBgMTEST","message_status":"accepted"}]}"#;

    fn outcome(status: u16, body: &str) -> (Outcome, Reason, u32, Again) {
        let answer = answer(status, body.as_bytes());
        (answer.outcome, answer.reason, answer.code, answer.again)
    }

    fn error(code: u32) -> String {
        format!(
            r#"{{"error":{{"message":"(#{code}) to 5511999990001","type":"OAuthException","code":{code},"error_data":{{"details":"…"}},"fbtrace_id":"A"}}}}"#
        )
    }

    #[test]
    fn a_message_id_means_accepted_and_is_kept_secret() {
        let answer = answer(200, ACCEPTED.as_bytes());
        assert_eq!((answer.outcome, answer.reason, answer.again, answer.breaker), (Outcome::Accepted, Reason::None, Again::Never, Breaker::Ignore));
        assert_eq!(answer.provider_id.as_ref().map(|id| id.expose().as_str()), Some("wamid.HBgMTEST"));
        assert!(!format!("{answer:?}").contains("wamid"), "a wamid contains the phone number");
        assert_eq!(outcome(200, r#"{"messages":[{"id":"wamid.X"}]}"#).0, Outcome::Accepted, "message_status may be absent");
    }

    #[test]
    fn held_back_for_checks_is_rejected_so_that_the_fallback_goes_out_now() {
        for word in ["held_for_quality_assessment", "paused"] {
            let body = ACCEPTED.replace("accepted", word);
            assert_eq!(outcome(200, &body), (Outcome::Rejected, Reason::Held, 0, Again::Never));
        }
    }

    #[test]
    fn an_answer_that_proves_nothing_is_unknown_and_never_called_again() {
        let garbage = ["", "{}", "[]", "null", "<html>", r#"{"messages":[]}"#, r#"{"messages":[{"id":7}]}"#, r#"{"messages":[{"id":""}]}"#, &ACCEPTED[..60]];
        for body in garbage {
            assert_eq!(outcome(200, body), (Outcome::Unknown, Reason::Unknown, 0, Again::Never), "{body}");
        }
        for status in [500, 502, 503, 504, 302] {
            assert_eq!(outcome(status, "<html>Bad gateway</html>"), (Outcome::Unknown, Reason::Unknown, 0, Again::Never), "{status}");
        }
        assert_eq!(outcome(200, &error(131_026)).0, Outcome::Unknown, "an answer that contradicts itself proves nothing");
        assert_eq!(outcome(500, &error(1)), (Outcome::Unknown, Reason::Unknown, 1, Again::Never));
        assert_eq!(outcome(503, &error(987_654)), (Outcome::Unknown, Reason::Unknown, 987_654, Again::Never));
    }

    #[test]
    fn errors_are_classified_by_code_and_not_by_status() {
        assert_eq!(outcome(401, &error(190)), (Outcome::Unavailable, Reason::Unavailable, 190, Again::Never));
        assert_eq!(outcome(500, &error(131_016)), (Outcome::Unavailable, Reason::Unavailable, 131_016, Again::Once));
        assert_eq!(outcome(400, &error(131_026)), (Outcome::Rejected, Reason::Unreachable, 131_026, Again::Never));
        assert_eq!(outcome(400, &error(137_000)), (Outcome::Rejected, Reason::IdentityChanged, 137_000, Again::Never));
        assert_eq!(outcome(400, &error(130_429)), (Outcome::Throttled, Reason::Throttled, 130_429, Again::OtherSender));
        assert_eq!(outcome(400, &error(131_056)), (Outcome::Throttled, Reason::Throttled, 131_056, Again::Pair));
        assert_eq!(outcome(404, &error(132_001)), (Outcome::Rejected, Reason::Provider, 132_001, Again::Never));
        assert_eq!(outcome(400, &error(1)), (Outcome::Rejected, Reason::Provider, 1, Again::Never));
        assert_eq!(outcome(400, &error(987_654)), (Outcome::Rejected, Reason::Provider, 987_654, Again::Never));
    }

    #[test]
    fn without_an_error_object_the_status_decides() {
        assert_eq!(outcome(429, ""), (Outcome::Throttled, Reason::Throttled, 0, Again::BackOff));
        assert_eq!(outcome(429, &error(987_654)), (Outcome::Throttled, Reason::Throttled, 987_654, Again::BackOff));
        assert_eq!(outcome(404, "no such path"), (Outcome::Rejected, Reason::Provider, 0, Again::Never));
        assert_eq!(answer(400, b"").attention, Attention::Page);
        assert_eq!(answer(401, error(0).as_bytes()).breaker, crate::channel::open(Scope::App));
    }

    proptest! {
        #[test]
        fn random_bytes_prove_nothing(status in 0_u16..1_000, body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let answer = answer(status, &body);
            prop_assert!(answer.outcome != Outcome::Accepted);
            prop_assert!(answer.outcome != Outcome::Unknown || answer.again == Again::Never);
        }
    }
}
