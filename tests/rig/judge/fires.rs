//! I8 above: how late a timer may fire, and what may hold it. In the calm a second after the provider's answer and the route's wait; near a fault some seconds after its
//! partition is served again.
//!
//! Easily got wrong: the timer that matters is the one that was set before a kill. So calm is asked for around its deadline, and not for its whole life; but from the first
//! word on where that began its wait, since nothing else says when.

use super::messages::{Message, begins_wait};
use super::service::served_within;
use super::{CUT_MS, Court, SLOW_NEAR_MS};
use crate::bank::What;
use crate::plan::Planned;
use recado::delivery::{Attempt, Hold, MessageId, Outcome};
use recado::event::records::Returned;

/// A timer that is not held fires within this. Source: design.md §11, promise 4.
const FIRE_WITHIN_MS: i64 = 1_000;
/// In the calm a word is decided upon so soon after its append. A guess: half of what a timer itself may take.
const TAKEN_WITHIN_MS: i64 = 500;
/// What is held goes out, and says that it was held, when that has lasted so long: the default of `engine.hold_max`, which `time.hurry` does not divide. No fault here
/// keeps a whole role away for as long.
pub const HOLD_MAX_MS: i64 = 120_000;

/// Of the timers near a fault that fall due while there is load one in so many may find nobody who serves its partition for long enough, once there are so many that this
/// says something. Guesses: in a part of 100 kills none of 2,189 did.
const UNSERVED_ONE_IN: usize = 20;
const UNSERVED_OF: usize = 100;

const SERVED: &str = "timers judged above: some seconds after their partition is served";
const UNSERVED: &str = "timers not judged above: nobody served their partition for long enough";

/// The beginning of a wait, by the first word of its attempt; ms since 1970.
struct Begun {
    /// When that word was appended.
    word: i64,
    /// Until when the wait had begun, whatever was the matter.
    taken: i64,
    /// Until when it had, where nothing was.
    in_calm: i64,
}

impl Court<'_> {
    /// I8 above, for the wait of one attempt and what its end began at `at`.
    pub(super) fn punctual(&mut self, id: MessageId, message: &Message<'_>, event: &Planned, from: Attempt, at: i64, what: &str) {
        let Some(wait) = event.kind.waits().get(usize::from(from.step) - 1) else { return };
        let call = message.sends().find(|(attempt, _)| *attempt == from).map(|(_, call)| call);
        let accepted = message.outcomes(from).filter(|(outcome, _)| *outcome == Outcome::Accepted).map(|(_, row)| row.at).min();
        let partition = id.partition().kafka();
        let (due, surely) = match call.zip(accepted) {
            Some((call, accepted)) => {
                let well = self.calm(call.answer_ms + wait, at) && self.well_again(call.answer_ms).is_none();
                let Some(excuse) = self.excuse(call.time_ms, well) else {
                    return self.within_a_second(id, at - call.answer_ms - wait, from, what);
                };
                self.counts.one(excuse);
                // Who was in trouble just then may have told it late.
                let told_by = self.well_again(call.answer_ms).unwrap_or(call.answer_ms).max(call.answer_ms) + SLOW_NEAR_MS;
                let due = accepted.clamp(call.answer_ms, told_by) + wait;
                (due, Some(due))
            }
            None => {
                let Some(begun) = self.begun(message, from, at) else {
                    self.counts.one("timers not judged above: nobody had said what became of their attempt");
                    return;
                };
                let deadline = message.deadline(from, event.kind).unwrap_or(0);
                let Some(excuse) = self.excuse(begun.word, self.calm(begun.word, at)) else {
                    self.counts.one("of the timers judged above within a second, of attempts whose answer nobody heard");
                    return self.within_a_second(id, at - deadline.max(begun.in_calm + wait), from, what);
                };
                self.counts.one(excuse);
                let taken = if begun.taken == begun.word { Some(begun.word) } else { self.due_by(partition, begun.word).map(|by| by.min(begun.taken)) };
                (deadline.max(begun.word + wait), taken.map(|taken| deadline.max(taken + wait)))
            }
        };
        let Some((due, by)) = surely.and_then(|due| Some((due, self.due_by(partition, due)?))) else {
            let loaded = due + 2 * served_within(self.evidence) < self.loaded_until(partition);
            self.counts.one(if loaded { UNSERVED } else { "timers not judged above: the bank stopped before their partition had been served for long enough" });
            return;
        };
        self.counts.one(SERVED);
        self.counts.add("of those, within a second of their wait", usize::from(at - due <= FIRE_WITHIN_MS));
        if at > by {
            let late = at - due;
            self.fault("I8 late near a fault", Some(id), format!("{what} came {late} ms after the wait of {from} had ended, {} ms too late.", at - by));
        }
    }

    /// I8: of an engine that is never at its work for some seconds on end no timer near a fault would be judged above. So a timer that falls due under load finds somebody who
    /// serves its partition for as long as he is given, in the calm behind the last fault at the latest.
    pub(super) fn unserved(&mut self) {
        let [served, unserved] = [SERVED, UNSERVED].map(|what| self.counts.of(what));
        let all = served + unserved;
        if all >= UNSERVED_OF && unserved * UNSERVED_ONE_IN > all {
            let sentence = format!("{unserved} of {all} timers near a fault; at most one in {UNSERVED_ONE_IN} may be.");
            self.fault("I8 unserved too often", None, sentence);
        }
    }

    /// When the bank wrote its last event in this partition, ms since 1970: until then it has commits several times a second.
    fn loaded_until(&self, partition: i32) -> i64 {
        let events = self.evidence.written.iter().filter(|written| written.what == What::Event && written.partition == partition);
        events.map(|written| written.at).max().unwrap_or(i64::MIN)
    }

    /// What began the wait of an attempt that nobody said was accepted. An outcome counts from its own append, whenever it is decided upon; all else that begins a wait,
    /// a receipt or a lease that ran out before that outcome, from its decision, and that came no later than the commit that passed the word.
    fn begun(&self, message: &Message<'_>, from: Attempt, at: i64) -> Option<Begun> {
        let words = message.returned.iter().filter(|row| row.at <= at && begins_wait(&row.what, from));
        let word = words.min_by_key(|row| row.offset)?;
        let lease_end = message.dispatches.iter().find(|row| row.what.attempt_id.attempt == from)?.what.lease_end.millis();
        if matches!(word.what, Returned::Outcome { .. }) && word.at + CUT_MS + self.evidence.clocks_apart_ms < lease_end {
            return Some(Begun { word: word.at, taken: word.at, in_calm: word.at });
        }
        let taken = self.passed(word.partition, word.offset).map_or(i64::MAX / 2, |passed| passed.by.at.max(word.at));
        Some(Begun { word: word.at, taken, in_calm: taken.min(word.at + TAKEN_WITHIN_MS) })
    }

    /// Why a timer is not held to its second: commits, brokers that were cold when this began, a fault.
    fn excuse(&self, began: i64, well: bool) -> Option<&'static str> {
        if !self.evidence.prompt {
            Some("timers not held to a second: commits are long")
        } else if began < self.warm {
            Some("timers not held to a second: the brokers had just started")
        } else if !well {
            Some("timers not held to a second: a fault was near")
        } else {
            None
        }
    }

    fn within_a_second(&mut self, id: MessageId, late: i64, from: Attempt, what: &str) {
        self.counts.one("timers judged above: within a second");
        self.counts.one(match late {
            ..=250 => "fires within 250 ms",
            251..=500 => "fires within 500 ms",
            _ => "fires later than 500 ms",
        });
        if late > FIRE_WITHIN_MS {
            self.fault("I8 late", Some(id), format!("{what} came {late} ms after the wait of {from} had ended."));
        }
    }

    /// I8: what is said to have been held was: nobody of the silent role was up to be heard for as long as a hold lasts.
    pub(super) fn held(&mut self, id: MessageId, hold: Hold, at: i64, what: &str) {
        let role = match hold {
            Hold::No => return,
            Hold::Storm => {
                self.fault("I8 held without a cause", Some(id), format!("{what}: the storm guard is off."));
                return;
            }
            Hold::GatewaySilent => "gateway",
            Hold::DispatcherSilent => "dispatcher",
        };
        self.counts.one("timers held, against who was up");
        let up = self.up_from(role, at - HOLD_MAX_MS);
        if up + served_within(self.evidence) < at {
            self.fault("I8 held without a cause", Some(id), format!("{what}: {hold:?}, and a {role} was up {} ms before.", at - up));
        }
    }
}
