//! I1: each event of the bank is one message with one end, the one that the seed says or one that a fault allows; what is no record is a dead letter.

use super::messages::{Message, attempt_of};
use super::{CUT_MS, Court};
use crate::faults::Cause;
use crate::plan::{CALL_MAX_MS, Kind, Planned};
use recado::delivery::{Attempt, Channel, MessageId, Outcome, StatusWord};
use recado::event::records::Returned;
use recado::simulator::Line;
use std::collections::{BTreeMap, BTreeSet};

/// Why a broken record of the generator is a dead letter: it ends before its schema does.
const BROKEN: &str = "truncated";
/// What a step waits before it is tried once more, when so many of its attempts in a row were *too_late*: nothing for the first, then a second, which doubles. Source:
/// `BACK_OFF_FIRST` and `BACK_OFF_MAX` of src/delivery/machine.rs, which `HURRY` does not divide.
const TRIED_AGAIN_AFTER_MS: i64 = 1_000;
const TRIED_AGAIN_AFTER_MAX_MS: i64 = 30_000;

impl Court<'_> {
    /// I1: each event is one message, and no message is without an event.
    pub(super) fn events(&mut self, all: &BTreeMap<MessageId, Message<'_>>) {
        let mut found: BTreeMap<usize, Vec<MessageId>> = BTreeMap::new();
        for (id, message) in all {
            match message.event {
                Some(event) => found.entry(event).or_default().push(*id),
                None => self.fault("I1 spurious message", Some(*id), "It belongs to no event of the bank."),
            }
        }
        let evidence = self.evidence;
        for (index, event) in evidence.plan.events.iter().enumerate() {
            let ids = found.get(&index).map_or(&[][..], Vec::as_slice);
            self.counts.one("events");
            match (event.kind, ids) {
                (Kind::Broken, []) => {}
                (Kind::Broken, ids) => self.fault("I1 spurious message", ids.first().copied(), "A broken record became a message."),
                (_, [_]) => {}
                (_, []) => self.fault("I1 lost event", None, format!("{} ({:?}, {}) has no message.", event.event_id, event.kind, event.story.name)),
                (_, ids) => self.fault("I1 doubled event", ids.first().copied(), format!("{} became {} messages.", event.event_id, ids.len())),
            }
        }
        let broken: BTreeSet<(String, i32, i64)> = evidence
            .written
            .iter()
            .filter(|written| evidence.plan.events[written.event].kind == Kind::Broken)
            .map(|written| (written.topic.to_owned(), written.partition, written.offset))
            .collect();
        let mut dead = BTreeSet::new();
        for (topic, partition, offset, reason) in &evidence.dead {
            let topic = topic.split_once("in.").map_or(topic.as_str(), |(_, name)| name).to_owned();
            if !broken.contains(&(topic.clone(), *partition, *offset)) {
                self.fault("I1 spurious dead letter", None, format!("{topic}-{partition} offset {offset}: {reason}"));
            }
            if reason != BROKEN {
                self.fault("I1 wrong dead letter", None, format!("{topic}-{partition} offset {offset}: {reason} instead of {BROKEN}"));
            }
            if !dead.insert((topic.clone(), *partition, *offset)) {
                self.fault("I1 doubled dead letter", None, format!("{topic}-{partition} offset {offset}"));
            }
        }
        for (topic, partition, offset) in broken.difference(&dead) {
            self.fault("I1 lost dead letter", None, format!("{topic}-{partition} offset {offset}"));
        }
        self.counts.add("dead letters", dead.len());
    }

    /// I1: the end is the one that the seed says, or one that the fault allows.
    pub(super) fn end(&mut self, id: MessageId, message: &Message<'_>, event: &Planned) {
        let Some(terminal) = message.terminal() else { return };
        let word = terminal.what.status.word;
        let from = self.written(message).map_or(0, |written| written.at);
        // Not when it says that it was decided: that is Recado's own word. Without a commit it is red by another rule.
        let to = self.evidence.log(terminal).committed(terminal.offset).map_or(terminal.at, |committed| committed.at);
        let calm = self.calm(from, to);
        self.counts.one(match word {
            StatusWord::Delivered => "ended delivered",
            StatusWord::Failed => "ended failed",
            StatusWord::Expired => "ended expired",
            StatusWord::Cancelled => "ended cancelled",
            _ => "ended unconfirmed",
        });
        if terminal.what.status.double_delivered {
            self.counts.one("double_delivered");
        }
        if calm {
            self.counts.one("lives clear of every fault");
            self.steps(id, message, event);
        }
        self.tried(id, message, event, word);
        let last = message.last();
        let said = |outcome| message.returned.iter().any(|row| matches!(&row.what, Returned::Outcome { outcome: other, .. } if *other == outcome));
        // What an earlier step did not achieve is the last one's to achieve: so it is of the last one that something must have been lost.
        let ended_here = |attempt: Attempt| last.is_some_and(|last| last.step == attempt.step);
        let unknown = message.returned.iter().any(|row| match &row.what {
            Returned::Outcome { attempt_id, outcome: Outcome::Unknown, .. } => ended_here(attempt_id.attempt),
            _ => false,
        });
        let lost = message.lines.iter().any(|line| matches!(line, Line::Lost { .. }) && attempt_of(line).is_some_and(|id| ended_here(id.attempt)));
        let not_sent = last.is_some_and(|last| message.outcomes(last).any(|(outcome, _)| matches!(outcome, Outcome::TooLate | Outcome::Unavailable)));
        let used = message.event.and_then(|event| self.used.get(&event)).map(|written| written.at);
        let allowed = word == event.story.end
            || match word {
                // The provider's log says that the wait was over by then.
                StatusWord::Unconfirmed if message.receipt_too_late(event.kind) => true,
                StatusWord::Unconfirmed if event.story.end == StatusWord::Failed && !calm && message.failure_too_late(event.kind) => true,
                // The bank withdrew it before anybody had heard that it had arrived.
                StatusWord::Cancelled if used.is_some_and(|used| message.acknowledged().all(|(at, _)| at > used)) => true,
                // A call in flight at the kill: nobody knows. What it was to say is said by the journal above.
                StatusWord::Unconfirmed => !calm && (unknown || lost || self.stood_still(from, to)),
                // The cancel comes in while the engine is away, and the fallback is due before it is read. That it was not lost `taken.rs` says.
                StatusWord::Delivered => !calm && (event.story.end == StatusWord::Cancelled || said(Outcome::TooLate)),
                // The customer got the code elsewhere, or gave up; the bank withdraws what is late.
                StatusWord::Cancelled => !calm && event.used_after.is_some(),
                // A fault delayed the code until too little of its life was left for the next step.
                StatusWord::Expired => !calm && too_little_life(message, event, from, to + CUT_MS + self.evidence.clocks_apart_ms),
                // Our own delay at the last step: `caused` asks for how long. Or no gateway was up to hear the key pressed, until the provider gave that up and ended the
                // call: a call that ends without a key has failed.
                StatusWord::Failed => !calm && (not_sent || lost),
                _ => false,
            };
        if !allowed {
            let (calm, end) = (if calm { "clear of every fault" } else { "near a fault" }, event.story.end.word());
            self.fault(
                "I1 wrong end",
                Some(id),
                format!("{} {:?} ({}): {} instead of {end}, {calm}.", event.event_id, event.kind, event.story.name, word.word()),
            );
        }
        if word == StatusWord::Delivered {
            self.named(id, message, terminal.what.status.attempt, terminal.at);
        }
        if word == StatusWord::Unconfirmed && event.story.end != word {
            self.counts.one("unconfirmed by a fault");
        }
    }

    /// I1: nobody is given up whose route has another channel. Every way to these two ends leads over the route's last step, also near a fault, but for three that
    /// nothing here provokes: a record that cannot even begin, a customer whose device changed, a record that killed its engine three times (src/delivery/machine.rs).
    fn tried(&mut self, id: MessageId, message: &Message<'_>, event: &Planned, word: StatusWord) {
        if !matches!(word, StatusWord::Unconfirmed | StatusWord::Failed) {
            return;
        }
        self.counts.one("ends held against the last step of their route");
        let (tried, steps) = (message.last().map_or(0, |last| usize::from(last.step)), event.kind.waits().len());
        if tried != steps {
            let sentence = format!("{:?} ({}): {} at step {tried} of {steps}.", event.kind, event.story.name, word.word());
            self.fault("I1 given up before the last step", Some(id), sentence);
        }
    }

    /// I1: who is said to have arrived had a receipt that says so before this was said. Held against the time at which the end was produced: the time of its
    /// decision is Kafka time as the engine measures it, which is behind by the way of a record, and after a restart that was long.
    fn named(&mut self, id: MessageId, message: &Message<'_>, attempt: Option<Attempt>, produced: i64) {
        self.counts.one("ends held against the receipt of their attempt");
        if !message.arrived().any(|(row, arrived)| Some(arrived) == attempt && row.at <= produced) {
            let named = attempt.map_or_else(|| "nobody".to_owned(), |attempt| attempt.to_string());
            self.fault("I1 delivered without a receipt", Some(id), format!("The end names {named}, of which no receipt said by then that it had arrived."));
        }
    }

    /// Whether a process stood still meanwhile: a webhook that it had accepted, but not read, comes when it goes on.
    fn stood_still(&self, from: i64, to: i64) -> bool {
        let mut stops = self.evidence.kills.iter().filter(|kill| matches!(kill.cause, Cause::Stopped(_)));
        stops.any(|stop| stop.at <= to && stop.ready.is_none_or(|ready| ready >= from))
    }

    /// I3: the steps that were called are those that the seed says; the others had no call.
    fn steps(&mut self, id: MessageId, message: &Message<'_>, event: &Planned) {
        let called: BTreeSet<u8> = message.calls().map(|(attempt, _)| attempt.step).collect();
        let [least, most] = event.story.steps.map(usize::from);
        // Where a commit takes as long as such a code lives, it may end before anybody is called.
        let least = if !self.evidence.prompt && event.story.end == StatusWord::Expired { 0 } else { least };
        if called.len() > most && message.receipt_too_late(event.kind) {
            self.counts.one("steps called after a receipt that came too late");
            return;
        }
        self.counts.one("steps called held against the seed");
        if !(least..=most).contains(&called.len()) || called.iter().zip(1..).any(|(step, at)| *step != at) {
            self.fault("I3 steps called", Some(id), format!("{:?} ({}): {called:?} instead of {least} to {most} of them.", event.kind, event.story.name));
        }
    }
}

/// Whether what was to be sent next could not begin at `at` for want of life: the first attempt, the step after the last dispatched one, or that one once more. A life
/// counts from the bank's record. Of a Pix and a bill it lasts longer than any delivery here, so those never expire.
fn too_little_life(message: &Message<'_>, event: &Planned, written: i64, at: i64) -> bool {
    let last = message.dispatches.iter().max_by_key(|row| row.what.attempt_id.attempt);
    let next = match last.map(|row| row.what.channel) {
        None => Channel::WhatsApp,
        Some(Channel::WhatsApp) => Channel::Sms,
        Some(Channel::Sms | Channel::Voice) => Channel::Voice,
    };
    let pause = message.last().map_or(0, |last| pause(too_late_in_a_row(message, last)));
    // Less than a call may take is too little for any.
    at + pause + event.kind.life_min(next).max(CALL_MAX_MS) >= written + event.life_ms()
}

/// How many attempts of this one's step were *too_late*, one after the other and it the last.
fn too_late_in_a_row(message: &Message<'_>, last: Attempt) -> u32 {
    let too_late = |n: &u16| message.outcomes(Attempt { n: *n, ..last }).any(|(outcome, _)| outcome == Outcome::TooLate);
    (1..=last.n).rev().take_while(too_late).map(|_| 1).sum()
}

/// How long that step waits before it is tried once more.
fn pause(in_a_row: u32) -> i64 {
    let Some(doublings) = in_a_row.checked_sub(2) else { return 0 };
    (TRIED_AGAIN_AFTER_MS << doublings.min(5)).min(TRIED_AGAIN_AFTER_MAX_MS)
}
