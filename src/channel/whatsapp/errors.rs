//! Meta's error codes as data: enters a code from an answer, a failed receipt or `value.errors`, leaves what it means. One table for all three.
//!
//! Classified by `code` alone, never by title (to be removed), subcode (gone since v16) or HTTP status. Source: Meta's WhatsApp error page of May 2026, further
//! codes from pywa; what we do about them is our judgement (page `channels.md` §3, on which each row below stands in the same order).

use crate::channel::{Again, Attention, Breaker, Meaning, Scope, Sync, open};
use crate::delivery::{Outcome, Reason};
use std::time::Duration;

/// What a code means. Codes that the table does not list are `Unlisted`: rejected by a 4xx, unknown by a 5xx.
pub fn meaning(code: u32) -> &'static Meaning {
    TABLE.iter().find(|(ranges, _)| ranges.iter().any(|(first, last)| (*first..=*last).contains(&code))).map_or(&UNLISTED, |(_, meaning)| meaning)
}

type Ranges = &'static [(u32, u32)];

const fn one(code: u32) -> (u32, u32) {
    (code, code)
}

/// Meta's page asks for three hours after a template's first pause, six after its second: ours probes after three.
const TEMPLATE_PAUSE: Duration = Duration::from_secs(3 * 3_600);
/// An upgrade of a number's throughput takes up to a minute.
const MAINTENANCE: Duration = Duration::from_secs(60);

const fn row(outcome: Outcome, reason: Reason, breaker: Breaker, again: Again, attention: Attention) -> Meaning {
    Meaning { sync: Sync::Is(outcome), reason, breaker, again, ends: true, attention }
}

const fn rejected(breaker: Breaker, attention: Attention) -> Meaning {
    row(Outcome::Rejected, Reason::Provider, breaker, Again::Never, attention)
}

const fn unavailable(breaker: Breaker, again: Again, attention: Attention) -> Meaning {
    row(Outcome::Unavailable, Reason::Unavailable, breaker, again, attention)
}

const fn throttled(breaker: Breaker, again: Again, attention: Attention) -> Meaning {
    row(Outcome::Throttled, Reason::Throttled, breaker, again, attention)
}

const fn about_customer(reason: Reason) -> Meaning {
    row(Outcome::Rejected, reason, Breaker::Ignore, Again::Never, Attention::None)
}

const UNLISTED: Meaning =
    Meaning { sync: Sync::ByStatus, reason: Reason::Provider, breaker: Breaker::Ignore, again: Again::Never, ends: true, attention: Attention::Unlisted };

/// The first row that holds a code counts: single codes stand before the range that they are taken out of.
const TABLE: &[(Ranges, Meaning)] = &[
    // Login failed, token expired; permission missing or withdrawn.
    (&[one(0), one(190), one(3), one(10), (200, 299), one(131_005)], unavailable(open(Scope::App), Again::Never, Attention::Page)),
    // Unknown API error: a bad request by a 4xx, a fault of theirs by a 5xx.
    (
        &[one(1)],
        Meaning {
            sync: Sync::ByStatus,
            reason: Reason::Provider,
            breaker: Breaker::Count(Scope::App),
            again: Again::Never,
            ends: true,
            attention: Attention::Fault,
        },
    ),
    // Down or overloaded; failed for an unknown reason.
    (&[one(2), one(131_016), one(133_004), one(131_000), one(135_000)], unavailable(Breaker::Count(Scope::App), Again::Once, Attention::None)),
    // Call rate of the app; of the account.
    (&[one(4)], throttled(open(Scope::App), Again::Never, Attention::None)),
    (&[one(80_007)], throttled(open(Scope::Account), Again::Never, Attention::None)),
    // Parameter unknown, missing or wrong; type not supported.
    (&[one(100), one(131_008), one(131_009), one(131_051)], rejected(Breaker::Count(Scope::Template), Attention::Fault)),
    // Number unknown, display name, certificate, registration; spam limit of the number.
    (&[one(33), one(131_037), one(131_045), (133_000, 133_099)], rejected(open(Scope::Number), Attention::Page)),
    (&[one(131_048)], throttled(open(Scope::Number), Again::Never, Attention::Page)),
    // Account restricted or locked; country barred; payment problem; limit cut for misclassified templates.
    (&[one(368), one(131_031), one(130_497), one(131_042), one(131_044), one(131_064)], unavailable(open(Scope::Account), Again::Never, Attention::Page)),
    // Not on a test number's list; sender = customer.
    (&[one(130_403), one(131_030)], rejected(Breaker::Ignore, Attention::Page)),
    (&[one(131_021)], rejected(Breaker::Ignore, Attention::Fault)),
    // Throughput of the number: never burn the wait.
    (&[one(130_429)], throttled(Breaker::Count(Scope::Number), Again::OtherSender, Attention::None)),
    // Marketing experiment; ecosystem limit; the customer stopped marketing.
    (&[one(130_472), one(131_049)], about_customer(Reason::Provider)),
    (&[one(131_050)], about_customer(Reason::OptedOut)),
    // Undeliverable: not on WhatsApp, an old app, terms not accepted.
    (&[one(131_026)], about_customer(Reason::Unreachable)),
    // Over 24 h since the customer wrote: free text was sent where a template was due.
    (&[one(131_047)], rejected(Breaker::Ignore, Attention::Fault)),
    // Upload failed; and two about media that the *customer* sent, which say nothing about our message.
    (&[one(131_053)], rejected(Breaker::Ignore, Attention::None)),
    (
        &[one(131_052), one(131_060)],
        Meaning {
            sync: Sync::Is(Outcome::Rejected),
            reason: Reason::Provider,
            breaker: Breaker::Ignore,
            again: Again::Never,
            ends: false,
            attention: Attention::None,
        },
    ),
    // Pair limit; number in maintenance.
    (&[one(131_056)], throttled(Breaker::Ignore, Again::Pair, Attention::None)),
    (&[one(131_057)], unavailable(Breaker::Open { scope: Scope::Number, pause: Some(MAINTENANCE) }, Again::OtherSender, Attention::None)),
    // A business-scoped id cannot get this message. We always send the number.
    (&[one(131_062)], rejected(Breaker::Ignore, Attention::None)),
    // Marketing templates are off here; template unknown in this language or not approved.
    (&[one(131_063), one(132_001)], rejected(open(Scope::Template), Attention::Page)),
    // Number of parameters differs: not the approved copy; text too long; value or format wrong.
    (&[one(132_000)], rejected(open(Scope::Template), Attention::FaultAndPage)),
    (&[one(132_005)], row(Outcome::Rejected, Reason::TooLong, Breaker::Count(Scope::Template), Again::Never, Attention::Fault)),
    (&[one(132_008), one(132_012), one(132_018)], rejected(Breaker::Count(Scope::Template), Attention::Fault)),
    // Content against policy; flow blocked or throttled.
    (&[one(132_007), one(132_068), one(132_069)], rejected(open(Scope::Template), Attention::Page)),
    // Template paused; disabled for good.
    (&[one(132_015)], rejected(Breaker::Open { scope: Scope::Template, pause: Some(TEMPLATE_PAUSE) }, Attention::Page)),
    (&[one(132_016)], rejected(Breaker::Open { scope: Scope::Template, pause: Some(Duration::MAX) }, Attention::Page)),
    // The device key differs: a code stops here, without fallback.
    (&[one(137_000)], about_customer(Reason::IdentityChanged)),
    // WhatsApp calling (not built); Direct Send blocked.
    (&[(138_000, 138_018), one(613)], rejected(Breaker::Ignore, Attention::Fault)),
    (&[one(139_200)], rejected(open(Scope::Template), Attention::Page)),
    // Groups, flows, blocking, user names, template editing, migration, sign-up: never from a send.
    (
        &[one(131_020), one(131_041), one(131_059), (131_200, 131_299), (139_000, 139_199), (147_000, 147_099), (2_388_000, 2_388_999), (2_494_000, 2_494_999)],
        rejected(Breaker::Ignore, Attention::Fault),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_stands_in_two_rows_but_for_those_taken_out_of_a_range() {
        let mut ranges: Vec<_> = TABLE.iter().flat_map(|(ranges, _)| ranges.iter()).copied().collect();
        ranges.sort_unstable();
        let overlaps: Vec<_> = ranges.windows(2).filter(|pair| pair[1].0 <= pair[0].1).map(|pair| pair[1]).collect();
        assert_eq!(overlaps, [(133_004, 133_004)]);
        assert_eq!(meaning(133_004).sync, Sync::Is(Outcome::Unavailable));
        assert_eq!(meaning(133_010).sync, Sync::Is(Outcome::Rejected));
    }

    #[test]
    fn only_what_was_surely_not_sent_may_be_called_again() {
        for (ranges, meaning) in TABLE {
            let not_sent = matches!(meaning.sync, Sync::Is(Outcome::Throttled | Outcome::Unavailable));
            assert!(not_sent || meaning.again == Again::Never, "{ranges:?}");
        }
    }

    #[test]
    fn codes_about_the_customer_say_nothing_about_the_provider() {
        for code in [131_026, 130_472, 131_049, 131_050, 137_000] {
            assert_eq!(meaning(code).breaker, Breaker::Ignore, "{code}");
        }
        assert_eq!(meaning(131_026).reason, Reason::Unreachable);
        assert_eq!(meaning(137_000).reason, Reason::IdentityChanged);
        assert_eq!(meaning(999_999).attention, Attention::Unlisted);
    }
}
