//! Twilio's error codes as data: enters a code from an answer or an `ErrorCode` in a receipt, leaves what it means. One table for SMS and voice.
//!
//! Source: Twilio's error pages and its page on Brazil; what we do about them is our judgement (page `channels.md` §4.4, on which each row below stands).

use crate::channel::{Again, Attention, Breaker, Meaning, Scope, Sync, open};
use crate::delivery::{Outcome, Reason};

/// What a code means. Codes that the table does not list are `Unlisted`: rejected by a 4xx, throttled by a 429, unknown by a 5xx.
pub fn meaning(code: u32) -> &'static Meaning {
    TABLE.iter().find(|(codes, _)| codes.contains(&code)).map_or(&UNLISTED, |(_, meaning)| meaning)
}

/// Whether the table knows it.
pub fn is_listed(code: u32) -> bool {
    TABLE.iter().any(|(codes, _)| codes.contains(&code))
}

const fn rejected(reason: Reason, breaker: Breaker, attention: Attention) -> Meaning {
    Meaning { sync: Sync::Is(Outcome::Rejected), reason, breaker, again: Again::Never, ends: true, attention }
}

const fn throttled(again: Again) -> Meaning {
    Meaning { sync: Sync::Is(Outcome::Throttled), reason: Reason::Throttled, breaker: Breaker::Ignore, again, ends: true, attention: Attention::None }
}

const UNLISTED: Meaning =
    Meaning { sync: Sync::ByStatus, reason: Reason::Provider, breaker: Breaker::Ignore, again: Again::Never, ends: true, attention: Attention::Unlisted };

const TABLE: &[(&[u32], Meaning)] = &[
    // Too many requests at once, never processed; too many calls.
    (&[20_429, 10_004, 86_008], throttled(Again::BackOff)),
    // Login; account inactive or suspended.
    (
        &[20_003, 20_005, 30_002, 10_001],
        Meaning {
            sync: Sync::Is(Outcome::Unavailable),
            reason: Reason::Unavailable,
            breaker: open(Scope::App),
            again: Again::Never,
            ends: true,
            attention: Attention::Page,
        },
    ),
    // Number not valid.
    (&[21_211, 21_217, 21_401], rejected(Reason::Unreachable, Breaker::Ignore, Attention::None)),
    // Landline, or no SMS.
    (&[21_614, 21_635, 30_006], rejected(Reason::Landline, Breaker::Ignore, Attention::None)),
    // The customer opted out (PARE, SAIR, STOP).
    (&[21_610], rejected(Reason::OptedOut, Breaker::Ignore, Attention::None)),
    // Sender not usable there, country not permitted: SMS; calls.
    (&[21_606, 21_612, 21_408, 21_210, 21_215], rejected(Reason::Provider, open(Scope::Number), Attention::Page)),
    // Body empty or too long; ValidityPeriod out of range.
    (&[21_602, 21_624, 30_045, 90_007], rejected(Reason::Provider, Breaker::Ignore, Attention::Fault)),
    (&[21_617], rejected(Reason::TooLong, Breaker::Ignore, Attention::Fault)),
    // The sender's queue is full; ValidityPeriod ran out in it.
    (&[21_611, 30_001], throttled(Again::Never)),
    (&[30_036], rejected(Reason::Provider, Breaker::Ignore, Attention::None)),
    // Handset unreachable now; unknown.
    (&[30_003], rejected(Reason::Provider, Breaker::Ignore, Attention::None)),
    (&[30_005], rejected(Reason::Unreachable, Breaker::Ignore, Attention::None)),
    // Blocked or filtered by carrier or Twilio; unknown, segment lost, price limit.
    (&[30_004, 30_007], rejected(Reason::Provider, Breaker::Count(Scope::Number), Attention::None)),
    (&[30_008, 30_009, 30_010], rejected(Reason::Provider, Breaker::Count(Scope::App), Attention::None)),
    // Call impossible, unreachable, blocked by Twilio.
    (&[13_224, 21_214, 21_216], rejected(Reason::Unreachable, Breaker::Ignore, Attention::None)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_stands_in_one_row() {
        let mut codes: Vec<u32> = TABLE.iter().flat_map(|(codes, _)| codes.iter()).copied().collect();
        let all = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }

    #[test]
    fn only_what_was_surely_not_sent_may_be_called_again() {
        for (codes, meaning) in TABLE {
            assert!(meaning.sync == Sync::Is(Outcome::Throttled) || meaning.again == Again::Never, "{codes:?}");
        }
    }
}
