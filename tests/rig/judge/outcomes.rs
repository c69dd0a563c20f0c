//! I3, E9: what was said to have become of each attempt, and who had claimed it before.

use super::messages::Message;
use super::statuses::begins;
use super::{CLEAR_MS, CUT_MS, Court};
use crate::evidence::Row;
use crate::faults::{Cause, Kill};
use recado::delivery::{Attempt, MessageId, Outcome};
use recado::event::records::{Dispatch, JournalKind};
use std::collections::BTreeSet;

/// A member that was away for less keeps its partitions: its session is 10 s, and its last heartbeat up to 2 s old.
const SESSION_MS_MIN: i64 = 7_500;

impl Court<'_> {
    /// Each attempt has one dispatch, one status and an outcome; each *unknown* has a cause.
    pub(super) fn attempts(&mut self, id: MessageId, message: &Message<'_>) {
        let mut dispatched = BTreeSet::new();
        for row in &message.dispatches {
            if !dispatched.insert(row.what.attempt_id.attempt) {
                self.fault("I1 doubled dispatch", Some(id), format!("{} is dispatched twice.", row.what.attempt_id.attempt));
            }
        }
        let told: BTreeSet<Attempt> =
            message.statuses.iter().filter(|row| row.what.live && begins(row.what.status.word)).filter_map(|row| row.what.status.attempt).collect();
        if told != dispatched {
            self.fault("I1 status and dispatch differ", Some(id), format!("told {told:?}, dispatched {dispatched:?}"));
        }
        for attempt in &dispatched {
            let outcomes: Vec<Outcome> = message.outcomes(*attempt).map(|(outcome, _)| outcome).collect();
            if outcomes.is_empty() {
                self.fault("I3 dispatch without an outcome", Some(id), format!("Nobody said what became of {attempt}."));
            }
            self.claims(id, message, *attempt, &outcomes);
            self.not_sent(id, message, *attempt, &outcomes);
            self.counts.add("outcomes too_late", outcomes.iter().filter(|outcome| **outcome == Outcome::TooLate).count());
            if outcomes.iter().all(|outcome| *outcome == Outcome::Unknown) && !outcomes.is_empty() {
                self.unknown(id, message, *attempt);
            }
        }
    }

    /// What is said not to have gone out did not, and what is said to have been refused was.
    fn not_sent(&mut self, id: MessageId, message: &Message<'_>, attempt: Attempt, outcomes: &[Outcome]) {
        let said: Vec<&Outcome> = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Rejected | Outcome::Throttled | Outcome::Unavailable)).collect();
        let calls = || message.calls().filter(|(other, _)| *other == attempt);
        self.counts.add("outcomes not sent held against the send log", said.len());
        if !said.is_empty() && calls().any(|(_, call)| call.counts) {
            self.fault("I3 sent, and said not to be", Some(id), format!("{attempt} went out and is said to be {said:?}."));
        }
        if outcomes.contains(&Outcome::Rejected) && !calls().any(|(_, call)| !call.counts) {
            self.fault("I3 rejected by nobody", Some(id), format!("{attempt} is said to be rejected, and no provider has refused it."));
        }
    }

    /// Each attempt is claimed in the journal before anything comes of it, and done in the end. Who said that nobody calls told the truth; and where no fault was near,
    /// what could still leave was not left lying.
    fn claims(&mut self, id: MessageId, message: &Message<'_>, attempt: Attempt, outcomes: &[Outcome]) {
        let own = || message.journal.iter().filter(|row| row.what.attempt_id.attempt == attempt);
        let Some(row) = message.dispatches.iter().find(|row| row.what.attempt_id.attempt == attempt) else { return };
        if !own().any(|entry| entry.what.kind == JournalKind::Done) {
            self.fault("E9 never done", Some(id), format!("The journal has no end of {attempt}."));
        }
        let Some(first) = own().find(|entry| entry.what.kind != JournalKind::Done) else {
            if !outcomes.is_empty() {
                self.fault("I3 outcome without a claim", Some(id), format!("Nobody claimed {attempt}, and it is said to be {outcomes:?}."));
            }
            return;
        };
        if first.what.kind == JournalKind::Intent {
            self.counts.one("attempts with an intent");
            if outcomes.contains(&Outcome::TooLate) && message.sends().any(|(other, _)| other == attempt) {
                self.fault("I3 called, and said to be too late", Some(id), attempt.to_string());
            }
            let said = message.outcomes(attempt).find(|(outcome, _)| *outcome == Outcome::TooLate).map(|(_, row)| row.at);
            self.early(id, attempt, row, said);
            return;
        }
        self.counts.one("attempts without an intent");
        if message.calls().any(|(other, _)| other == attempt) {
            self.fault("I3 called, though refused", Some(id), format!("The first entry of {attempt} says that nobody calls."));
        }
        self.early(id, attempt, row, outcomes.contains(&Outcome::TooLate).then_some(first.at));
    }

    /// What was given up as too late at this time was. A dispatcher that leaves gives back what it has not sent: that happens only while partitions move.
    fn early(&mut self, id: MessageId, attempt: Attempt, row: &Row<Dispatch>, given_up: Option<i64>) {
        let Some(given_up) = given_up else { return };
        let early = row.what.not_after.timestamp().millis() - given_up;
        self.counts.one("attempts given up as too late held against their not_after");
        if early > CUT_MS + self.evidence.clocks_apart_ms && !self.may_move(row.at, given_up) {
            self.fault("I3 too late before not_after", Some(id), format!("{attempt} could have left for {early} ms more."));
        }
    }

    /// Whether dispatchers' partitions may have moved meanwhile: one stayed away for about as long as its session, or stood still, or came or went.
    fn may_move(&self, from: i64, to: i64) -> bool {
        let long = |kill: &Kill| kill.ready.is_none_or(|ready| ready - kill.at > SESSION_MS_MIN);
        let moves = |kill: &Kill| long(kill) || matches!(kill.cause, Cause::Stopped(_) | Cause::Twin | Cause::Moved);
        let near = |kill: &Kill| kill.at - CLEAR_MS <= to && kill.ready.is_none_or(|ready| ready + CLEAR_MS >= from);
        self.evidence.kills.iter().any(|kill| kill.roles.contains("dispatcher") && moves(kill) && near(kill))
    }
}
