//! I3: why nobody knows what became of an attempt. The provider's script leaves its call open; or its own dispatcher died, stood still, or left after it had waited for as
//! long as it promises; or the call's time ran out before anybody could hear the provider's answer.
//!
//! Easily got wrong: "two seconds after its intent" is also what a dispatcher says that loses answers. When it answered, the provider's log says.

use super::messages::{Message, attempt_of, repeatable, unknown_by_script};
use super::service::SESSION_MS;
use super::tenures::Tenure;
use super::{CUT_MS, Court};
use crate::evidence::Row;
use crate::faults::{Cause, Kill};
use crate::plan::CALL_TIMEOUT_MS;
use recado::delivery::{Attempt, MessageId};
use recado::event::records::{JournalEntry, JournalKind};
use recado::simulator::{CallLine, Line};

/// What a process has handed to the kernel before it died or stood still may be appended so long after. A guess.
pub const APPENDED_WITHIN_MS: i64 = 500;
/// After a call's time-out, until its outcome lies in the receipts topic; and from an answer until then. A guess.
pub const TOLD_WITHIN_MS: i64 = 1_000;
/// An answer that comes so late may not be heard in time, though nobody was slow: for less than this nobody is noted as slow. Source: `SLOW_MS` of evidence.rs.
pub const HEARD_WITHIN_MS: i64 = 200;
/// In one part so many calls may have run out of their time while brokers or machine were slow. Thirty were seen at once, of a commit of five seconds.
pub const TIMED_OUT_SLOW_MAX: usize = 100;

const SCRIPT: &str = "outcomes unknown by script";
const KILL: &str = "outcomes unknown by a kill";
const LEFT: &str = "outcomes unknown by a dispatcher that left and had waited as long as it promises";
const NOT_GIVEN_BACK: &str = "outcomes unknown by a dispatcher that left and had not called, and nothing explains why it did not give back";
const ANSWERED_LATE: &str = "outcomes unknown by an answer that came too late";
const RECEIPTS_FIRST: &str = "outcomes unknown by receipts that the provider sent before its answer";
const SLOW: &str = "outcomes unknown by a time-out on a slow machine";
const UNEXPLAINED: &str = "outcomes unknown by a time-out near a fault that nothing explains";

/// In one part so many calls may have run out of their time near a fault though the provider's log says that it had answered; and so many that an epoch had claimed and
/// not called may be unknown when it has left. A guess: in a part of 100 kills there was neither, and of 1,750 kills five time-outs were seen when nobody looked whether the
/// machine was slow.
pub fn unexplained_max(kills: usize) -> usize {
    2 + kills / 100
}

/// An attempt of which nobody knows.
struct Unknown<'e> {
    attempt: Attempt,
    /// The first, which decides who called.
    intent: &'e Row<JournalEntry>,
    done: Option<i64>,
    said: i64,
    /// Whether anybody called at all, and the call that may have gone out.
    called: bool,
    call: Option<&'e CallLine>,
    /// That call did not begin before this: the intent, or the answer that let it be repeated.
    begun: i64,
}

impl Court<'_> {
    /// Each *unknown* has a cause.
    pub(super) fn unknown(&mut self, id: MessageId, message: &Message<'_>, attempt: Attempt) {
        self.counts.one("outcomes unknown");
        if message.sends().any(|(other, call)| other == attempt && unknown_by_script(call)) {
            self.counts.one(SCRIPT);
            return;
        }
        let unknown = Unknown::of(message, attempt);
        let why = unknown.as_ref().and_then(|unknown| {
            let by_fault = if self.killed(unknown) { Some(KILL) } else { self.left(unknown) };
            by_fault.or_else(|| self.timed_out(message, unknown))
        });
        match (why, unknown.and_then(|unknown| unknown.call)) {
            (Some(why), _) => self.counts.one(why),
            (None, None) => {
                self.fault("I3 unknown without a cause", Some(id), format!("{attempt} was not in flight when its own dispatcher died, and nobody called."))
            }
            (None, Some(call)) => {
                let took = call.answer_ms - call.time_ms;
                let sentence = format!("{attempt} was not in flight when its own dispatcher died, and the provider answered within {took} ms.");
                self.fault("I3 unknown without a cause", Some(id), sentence);
            }
        }
    }

    /// What all of them may be together.
    pub(super) fn unknowns(&mut self) {
        let kills = self.evidence.kills.len();
        let [slow, unexplained, not_given_back] = [SLOW, UNEXPLAINED, NOT_GIVEN_BACK].map(|what| self.counts.of(what));
        if slow > TIMED_OUT_SLOW_MAX {
            self.fault("I3 too many timed out", None, format!("{slow} calls while brokers or machine were slow; at most {TIMED_OUT_SLOW_MAX}."));
        }
        if unexplained > unexplained_max(kills) {
            let sentence = format!("{unexplained} calls near faults, which the provider had answered; at most {} in {kills} kills.", unexplained_max(kills));
            self.fault("I3 too many timed out", None, sentence);
        }
        if not_given_back > unexplained_max(kills) {
            let sentence =
                format!("{not_given_back} attempts of epochs that left, which nobody had called; at most {} in {kills} kills.", unexplained_max(kills));
            self.fault("I3 too many not given back", None, sentence);
        }
        // A dispatcher that came or went waits for its calls: what it may leave open is proven one by one.
        let open = self.in_flight(|kill| kill.cause != Cause::Moved);
        self.counts.add("calls in flight at the kills", open);
        let others: usize = [SCRIPT, LEFT, NOT_GIVEN_BACK].map(|what| self.counts.of(what)).iter().sum();
        let by_kill = self.counts.of("outcomes unknown") - others - self.timed_out_in_all();
        if by_kill > open {
            self.fault("I3 too many unknown", None, format!("{by_kill} by faults, but only {open} intents were open at the kills."));
        }
        let (unconfirmed, faults) = (self.counts.of("unconfirmed by a fault"), self.in_flight(|_| true));
        if unconfirmed > faults + self.timed_out_in_all() {
            self.fault("I1 too many unconfirmed", None, format!("{unconfirmed} by faults, but only {faults} calls were in flight at the faults."));
        }
    }

    fn timed_out_in_all(&self) -> usize {
        [ANSWERED_LATE, RECEIPTS_FIRST, SLOW, UNEXPLAINED].map(|what| self.counts.of(what)).iter().sum()
    }

    /// Whether its intent was open when its own dispatcher was killed, or stood still.
    fn killed(&self, unknown: &Unknown<'_>) -> bool {
        // An intent may reach the log after its process is gone; but then nobody has read it back, and nobody calls.
        let appended_within = if unknown.called { CUT_MS } else { APPENDED_WITHIN_MS };
        let open = |kill: &Kill| {
            let until = match kill.cause {
                // Its epoch may claim and call once more when it goes on, until it finds that it was given up.
                Cause::Stopped(_) => kill.ready.unwrap_or(i64::MAX),
                _ => kill.gone + appended_within,
            };
            unknown.intent.at <= until && unknown.done.is_none_or(|done| done >= kill.at - CUT_MS)
        };
        let mut kills = self.evidence.kills.iter().filter(|kill| kill.roles.contains("dispatcher") && kill.cause != Cause::Moved);
        kills.any(|kill| open(kill) && self.own(unknown.intent, kill))
    }

    /// Whether whoever wrote this entry may have been this one's victim: its epoch was not over yet, and it was silent from then on, or for as long as it stood still.
    pub(super) fn own(&self, entry: &Row<JournalEntry>, kill: &Kill) -> bool {
        let Some((tenure, next)) = self.tenures.of_entry(entry) else { return false };
        if next.is_some_and(|next| self.over(tenure, next, kill.at)) {
            return false;
        }
        match kill.cause {
            Cause::Stopped(_) => {
                tenure.first() <= kill.gone + APPENDED_WITHIN_MS && !tenure.spoke(kill.gone + APPENDED_WITHIN_MS, kill.goes_on.unwrap_or(i64::MAX))
            }
            _ => tenure.last() <= kill.gone + APPENDED_WITHIN_MS,
        }
    }

    /// Whether an epoch was surely over by then: the next one had begun, and it said nothing more. One that speaks on was not followed, but met a zombie's word. And where
    /// brokers or machine were slow the group may have given up a member that lives, with calls under way: then it can still be killed in the midst of them.
    fn over(&self, tenure: &Tenure, next: &Tenure, at: i64) -> bool {
        let began = next.first();
        let before = began + CUT_MS + self.evidence.clocks_apart_ms < at;
        before && !tenure.spoke(began, at) && self.slow(began - SESSION_MS, began) == 0
    }

    /// Whether its dispatcher left in order, had waited for as long as it promises, and had not heard by then what it had to tell: then its successor says so. What it has
    /// not called it gives back as it leaves: that nothing keeps from being told, unless brokers or machine are slow, or it waits for nothing.
    fn left(&self, unknown: &Unknown<'_>) -> Option<&'static str> {
        let Some((own, Some(next))) = self.tenures.of_entry(unknown.intent) else { return None };
        // It left after its last claim at the earliest.
        let over = own.claimed().unwrap_or(unknown.intent.at) + self.evidence.leave_ms;
        let waited = next.first() + CUT_MS >= over && unknown.said + CUT_MS >= next.first();
        if !waited {
            return None;
        }
        let until = over.max(next.first());
        match unknown.call {
            Some(call) => (call.answer_ms + TOLD_WITHIN_MS + self.slow(call.answer_ms, until) >= over).then_some(LEFT),
            None if self.evidence.leave_ms < TOLD_WITHIN_MS || self.slow(unknown.intent.at, until) > 0 => Some(LEFT),
            None => Some(NOT_GIVEN_BACK),
        }
    }

    /// Whether it was told when its time had run out, and why nobody may have heard the answer. What is told much later nobody was waiting for.
    fn timed_out(&self, message: &Message<'_>, unknown: &Unknown<'_>) -> Option<&'static str> {
        let Unknown { attempt, said, call, begun, .. } = *unknown;
        let (over, slow) = (begun + CALL_TIMEOUT_MS, self.slow(begun, said));
        if !(over - CUT_MS..=over + TOLD_WITHIN_MS + slow).contains(&said) {
            return None;
        }
        let in_time = over - HEARD_WITHIN_MS;
        if call.is_some_and(|call| call.answer_ms > in_time) {
            return Some(ANSWERED_LATE);
        }
        if call.is_some_and(|call| self.receipts_first(message, attempt, call, in_time)) {
            return Some(RECEIPTS_FIRST);
        }
        if slow > 0 {
            return Some(SLOW);
        }
        (!self.calm(begun, said)).then_some(UNEXPLAINED)
    }

    /// Whether this phone's provider answers a call only when it has tried to tell what became of it, and had not been heard by then: a gateway that is away.
    fn receipts_first(&self, message: &Message<'_>, attempt: Attempt, call: &CallLine, by: i64) -> bool {
        let script = self.script.get_or_init(|| self.evidence.plan.script());
        let heard = |word: &str| {
            let told = |line: &Line| matches!(line, Line::Webhook { time_ms, receipt, .. } if receipt == word && *time_ms <= by);
            message.lines.iter().any(|line| told(line) && attempt_of(line).is_some_and(|id| id.attempt == attempt))
        };
        let reports = &script.phone(&call.to).on(call.channel).receipts;
        reports.iter().any(|report| report.before_answer && !heard(report.word.text()))
    }
}

impl<'e> Unknown<'e> {
    /// `None` where nobody had an intent: then nobody may say so.
    fn of(message: &Message<'e>, attempt: Attempt) -> Option<Self> {
        let of = |kind: JournalKind| message.journal.iter().copied().filter(move |row| row.what.attempt_id.attempt == attempt && row.what.kind == kind);
        let intent = of(JournalKind::Intent).min_by_key(|row| row.offset)?;
        let done = of(JournalKind::Done).map(|row| row.at).min();
        let said = message.outcomes(attempt).map(|(_, row)| row.at).min()?;
        let calls = || message.calls().filter(|(other, _)| *other == attempt).map(|(_, call)| call);
        let call = calls().filter(|call| !repeatable(call)).max_by_key(|call| call.time_ms);
        let refused = calls().filter(|call| repeatable(call)).map(|call| call.answer_ms).max();
        Some(Self { attempt, intent, done, said, called: calls().next().is_some(), call, begun: refused.map_or(intent.at, |refused| refused.max(intent.at)) })
    }
}
