//! Twilio's answer to a message or a call becomes an outcome.

use super::errors;
use crate::channel::loose::{Object, Scalar};
use crate::channel::{Again, Answer, Attention, Breaker, Scope, open};
use crate::delivery::{Outcome, Reason};
use crate::privacy::Secret;
use serde::Deserialize;

/// What Twilio's answer means: SMS and voice answer alike. `body` may be cut off at the dispatcher's limit: what then does not parse proves nothing.
///
/// 2xx with a `sid` is accepted, without one *unknown*; a `code` of the table counts by the table; else 429 throttled, 401 unavailable, other 4xx rejected; all
/// 5xx are *unknown*, whatever they say. Source: twilio-oai `twilio_api_v2010`, error object `{"code","message","more_info","status"}`.
pub fn answer(status: u16, body: &[u8]) -> Answer {
    let body: Body = serde_json::from_slice::<Object<Body>>(body).ok().and_then(|object| object.0).unwrap_or_default();
    match status {
        200..=299 => match body.sid.text() {
            Some(sid) => Answer::accepted(Secret::new(sid.to_owned())),
            None => Answer::unknown(0),
        },
        400..=499 => match (body.code.code(), status) {
            // Credentials that are not taken say so by the status, whatever number stands beside it.
            (Some(code), 401) if !errors::is_listed(code) => Answer { code, ..unauthorized() },
            (Some(code), _) => Answer::refused(errors::meaning(code), code, status),
            (None, 429) => refused(Outcome::Throttled, Reason::Throttled, Again::BackOff, Breaker::Count(Scope::App), Attention::None),
            (None, 401) => unauthorized(),
            (None, _) => refused(Outcome::Rejected, Reason::Provider, Again::Never, Breaker::Count(Scope::App), Attention::Page),
        },
        _ => Answer::unknown(body.code.code().unwrap_or(0)),
    }
}

fn unauthorized() -> Answer {
    refused(Outcome::Unavailable, Reason::Unavailable, Again::Never, open(Scope::App), Attention::Page)
}

fn refused(outcome: Outcome, reason: Reason, again: Again, breaker: Breaker, attention: Attention) -> Answer {
    Answer { outcome, reason, code: 0, provider_id: None, again, breaker, attention }
}

#[derive(Deserialize, Default)]
struct Body {
    #[serde(default)]
    sid: Scalar,
    #[serde(default)]
    code: Scalar,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outcome(status: u16, body: &str) -> (Outcome, Reason, u32, Again) {
        let answer = answer(status, body.as_bytes());
        (answer.outcome, answer.reason, answer.code, answer.again)
    }

    fn error(code: u32, status: u16) -> String {
        format!(r#"{{"code":{code},"message":"The number +5511999990001 is wrong","more_info":"https://www.twilio.com/docs/errors/{code}","status":{status}}}"#)
    }

    #[test]
    fn a_sid_means_accepted() {
        let answer = answer(201, br#"{"sid":"SM0123456789abcdef0123456789abcdef","status":"queued","error_code":null,"to":"+5511999990001"}"#);
        assert_eq!((answer.outcome, answer.breaker), (Outcome::Accepted, Breaker::Ignore));
        assert_eq!(answer.provider_id.map(|id| id.expose().clone()).as_deref(), Some("SM0123456789abcdef0123456789abcdef"));
    }

    #[test]
    fn what_proves_nothing_is_unknown() {
        for body in ["", "{}", "[]", r#"{"sid":null}"#, r#"{"sid":"SM012"#] {
            assert_eq!(outcome(201, body), (Outcome::Unknown, Reason::Unknown, 0, Again::Never), "{body}");
        }
        assert_eq!(outcome(500, &error(20_500, 500)), (Outcome::Unknown, Reason::Unknown, 20_500, Again::Never));
        assert_eq!(outcome(503, "Service Unavailable").0, Outcome::Unknown);
    }

    #[test]
    fn errors_follow_the_table() {
        assert_eq!(outcome(429, &error(20_429, 429)), (Outcome::Throttled, Reason::Throttled, 20_429, Again::BackOff));
        assert_eq!(outcome(429, ""), (Outcome::Throttled, Reason::Throttled, 0, Again::BackOff));
        assert_eq!(outcome(401, &error(20_003, 401)), (Outcome::Unavailable, Reason::Unavailable, 20_003, Again::Never));
        assert_eq!(outcome(401, ""), (Outcome::Unavailable, Reason::Unavailable, 0, Again::Never));
        assert_eq!(outcome(401, &error(20_101, 401)), (Outcome::Unavailable, Reason::Unavailable, 20_101, Again::Never));
        assert_eq!(outcome(400, &error(21_614, 400)), (Outcome::Rejected, Reason::Landline, 21_614, Again::Never));
        assert_eq!(outcome(400, &error(21_610, 400)), (Outcome::Rejected, Reason::OptedOut, 21_610, Again::Never));
        assert_eq!(outcome(400, &error(21_211, 400)), (Outcome::Rejected, Reason::Unreachable, 21_211, Again::Never));
        assert_eq!(outcome(400, &error(99_999, 400)), (Outcome::Rejected, Reason::Provider, 99_999, Again::Never));
        assert_eq!(outcome(404, "no"), (Outcome::Rejected, Reason::Provider, 0, Again::Never));
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
