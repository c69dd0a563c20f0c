//! Behaviours with a name: enters a word of a script file, leaves the whole behaviour.
//!
//! What is easily got wrong: the word says what the *provider* does; what becomes of the delivery also depends on its route and on the other channels.

use super::{Answer, Behaviour, Call, Garbage, PickUp, Report, Word};
use std::time::Duration;

/// The names that [`Behaviour::named`] knows.
pub const NAMES: [&str; 31] = [
    "quick",
    "read",
    "slow",
    "late",
    "double",
    "reordered",
    "sent_only",
    "silent",
    "offline",
    "undeliverable",
    "failed_then_delivered",
    "delivered_then_failed",
    "receipt_first",
    "stray",
    "rejected",
    "held",
    "throttled",
    "throttled_bare",
    "throttled_once",
    "unavailable",
    "server_error",
    "server_error_accepted",
    "lost_answer",
    "lost_call",
    "hang",
    "hang_accepted",
    "garbage",
    "no_id",
    "huge",
    "nobody",
    "busy",
];

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn report(word: Word, after: u64, spread: u64) -> Report {
    Report { spread: ms(spread), ..Report::new(word, ms(after)) }
}

/// Sent and delivered within three seconds.
pub(super) fn quick() -> Behaviour {
    receipts(vec![report(Word::Sent, 100, 200), report(Word::Delivered, 800, 1_500)])
}

fn receipts(receipts: Vec<Report>) -> Behaviour {
    Behaviour { receipts, ..Behaviour::default() }
}

/// Refused, or disturbed, and where it was accepted all the same the receipts come.
fn answered(answer: Answer) -> Behaviour {
    Behaviour { answer, ..quick() }
}

fn call(call: Call) -> Behaviour {
    Behaviour { call, ..quick() }
}

impl Behaviour {
    /// A behaviour by its name; `None` for an unknown one. On voice the names about receipts pick up and press the key; `nobody`, `busy` and `offline`
    /// do not.
    pub fn named(name: &str) -> Option<Self> {
        use Word::{Delivered, Failed, Read, Sent};
        let nobody = Call { picks_up: PickUp::NoAnswer, ..Call::default() };
        let error = |code, status| Answer::Error { code, status, retry_after_secs: None };
        let bare = |status, accepted| Answer::Bare { status, accepted, retry_after_secs: None };
        Some(match name {
            "quick" => quick(),
            "read" => receipts(vec![report(Sent, 100, 200), report(Delivered, 800, 1_500), report(Read, 4_000, 8_000)]),
            "slow" => receipts(vec![report(Sent, 400, 600), report(Delivered, 12_000, 8_000)]),
            // Reaches the phone before a TTL of 30 s, but its receipt comes after a wait of 30 s: `double_delivered`.
            "late" => receipts(vec![report(Sent, 100, 200), Report { lag: ms(8_000), ..report(Delivered, 29_000, 0) }]),
            "double" => receipts(quick().receipts.into_iter().map(|it| Report { times: 2, ..it }).collect()),
            "reordered" => receipts(vec![report(Read, 300, 100), report(Delivered, 2_000, 100), report(Sent, 4_000, 100)]),
            "sent_only" => receipts(vec![report(Sent, 100, 200)]),
            "silent" => receipts(vec![]),
            // Comes back after an hour: past the TTL of any template with a fallback, so `sent` for ever.
            "offline" => Behaviour { call: nobody, ..receipts(vec![report(Sent, 100, 200), report(Delivered, 3_600_000, 0)]) },
            "undeliverable" => receipts(vec![report(Failed, 700, 1_000)]),
            "failed_then_delivered" => receipts(vec![report(Sent, 100, 200), report(Failed, 700, 300), report(Delivered, 2_000, 500)]),
            "delivered_then_failed" => receipts(vec![report(Sent, 100, 200), report(Delivered, 800, 300), report(Failed, 2_000, 500)]),
            "receipt_first" => receipts(vec![Report { before_answer: true, ..report(Sent, 0, 0) }, Report { before_answer: true, ..report(Delivered, 0, 0) }]),
            "stray" => {
                let unknown = Some("00000000000000000000000000000000-1-1".to_owned());
                let strays = [unknown, Some(String::new()), Some("another system".to_owned())];
                let strays = strays.into_iter().map(|correlation| Report { correlation, ..report(Delivered, 100, 100) });
                receipts(strays.chain(quick().receipts).collect())
            }
            "rejected" => answered(error(131_008, None)),
            "held" => receipts(vec![]).with(Answer::Held),
            "throttled" => answered(Answer::Error { code: 130_429, status: Some(429), retry_after_secs: Some(1) }),
            "throttled_bare" => answered(Answer::Bare { status: 429, accepted: false, retry_after_secs: Some(1) }),
            "throttled_once" => Behaviour { only_first: Some(1), ..answered(bare(429, false)) },
            "unavailable" => answered(error(131_016, None)),
            "server_error" => answered(bare(500, false)),
            "server_error_accepted" => answered(bare(502, true)),
            "lost_answer" => answered(Answer::Lost { accepted: true }),
            "lost_call" => answered(Answer::Lost { accepted: false }),
            "hang" => answered(Answer::Hang { accepted: false }),
            "hang_accepted" => answered(Answer::Hang { accepted: true }),
            "garbage" => answered(Answer::Garbage(Garbage::NotJson)),
            "no_id" => answered(Answer::Garbage(Garbage::NoId)),
            "huge" => answered(Answer::Garbage(Garbage::Huge)),
            "nobody" => call(nobody),
            "busy" => call(Call { picks_up: PickUp::Busy, ..Call::default() }),
            _ => return None,
        })
    }

    fn with(mut self, answer: Answer) -> Self {
        self.answer = answer;
        self
    }
}
