//! I3, E9: what was said to have become of each attempt, and who had claimed it before.

use super::messages::{Message, refused};
use super::statuses::begins;
use super::unknown::APPENDED_WITHIN_MS;
use super::{CUT_MS, Court};
use crate::evidence::Row;
use crate::faults::Cause;
use recado::delivery::{Attempt, MessageId, Outcome};
use recado::event::records::{Dispatch, JournalEntry, JournalKind};
use std::collections::BTreeSet;

/// An epoch that leaves is followed by the next one within this: it waits for its calls for 4 s, and the group for members that died meanwhile, for a session of 10 s
/// each. A guess.
pub const FOLLOWED_WITHIN_MS: i64 = 30_000;
/// What surely did not go out is called again for as long as it may leave, with no longer a pause. Source: `BACK_OFF_MAX` of src/dispatch/call.rs.
pub const BACK_OFF_MAX_MS: i64 = 2_000;

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

    /// What is said not to have gone out did not, and what is said to have been refused was, with the answer that says so.
    fn not_sent(&mut self, id: MessageId, message: &Message<'_>, attempt: Attempt, outcomes: &[Outcome]) {
        let said: Vec<&Outcome> = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Rejected | Outcome::Throttled | Outcome::Unavailable)).collect();
        let calls = || message.calls().filter(|(other, _)| *other == attempt);
        self.counts.add("outcomes not sent held against the send log", said.len());
        if !said.is_empty() && calls().any(|(_, call)| call.counts) {
            self.fault("I3 sent, and said not to be", Some(id), format!("{attempt} went out and is said to be {said:?}."));
        }
        let answered: Vec<u16> = calls().filter(|(_, call)| refused(call)).map(|(_, call)| call.status).chain(message.checked(attempt)).collect();
        let by_nobody = |outcome, statuses: &dyn Fn(u16) -> bool| outcomes.contains(&outcome) && !answered.iter().any(|status| statuses(*status));
        if by_nobody(Outcome::Rejected, &|status| (400..500).contains(&status) && status != 429) {
            self.fault("I3 rejected by nobody", Some(id), format!("{attempt} is said to be rejected, and the provider's answers to it are {answered:?}."));
        }
        if by_nobody(Outcome::Throttled, &|status| status == 429) {
            self.fault("I3 throttled by nobody", Some(id), format!("{attempt} is said to be throttled, and the provider's answers to it are {answered:?}."));
        }
        if by_nobody(Outcome::Unavailable, &|status| status >= 500) {
            if self.unreached(message, attempt) {
                self.counts.one("outcomes unavailable of a provider that was not reached");
            } else {
                let sentence = format!("{attempt} is said to be unavailable, and the provider's answers to it are {answered:?}: it was there all the time.");
                self.fault("I3 unavailable by nobody", Some(id), sentence);
            }
        }
    }

    /// Whether a dispatcher may have tried in vain to reach the provider, who is always there, until the attempt might not leave any more: no byte went out, and machine or
    /// process stood still meanwhile. No breaker opens here (`breaker_calls_min` of stage.rs): who claims that nobody calls has no such excuse.
    fn unreached(&self, message: &Message<'_>, attempt: Attempt) -> bool {
        let mut claims = message.journal.iter().copied().filter(|row| row.what.attempt_id.attempt == attempt && row.what.kind != JournalKind::Done);
        let Some(intent) = claims.next().filter(|first| first.what.kind == JournalKind::Intent) else { return false };
        let said = message.outcomes(attempt).find(|(outcome, _)| *outcome == Outcome::Unavailable).map(|(_, row)| row.at);
        let dispatch = message.dispatches.iter().find(|row| row.what.attempt_id.attempt == attempt);
        let (Some(said), Some(dispatch)) = (said, dispatch) else { return false };
        let tried = said >= dispatch.what.not_after.timestamp().millis() - BACK_OFF_MAX_MS;
        let mut stops = self.evidence.kills.iter().filter(|kill| matches!(kill.cause, Cause::Stopped(_)));
        let stood = stops.any(|stop| stop.at <= said && stop.goes_on.is_none_or(|goes_on| goes_on >= intent.at) && self.own(intent, stop));
        tried && (stood || self.slow(intent.at, said) > 0) && !message.calls().any(|(other, _)| other == attempt)
    }

    /// Each attempt is claimed in the journal before anything comes of it, and done in the end. Who said that nobody calls told the truth, and what could still leave was
    /// not given up.
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
            if let Some((_, said)) = message.outcomes(attempt).find(|(outcome, _)| *outcome == Outcome::TooLate) {
                self.given_back(id, row, first, said.at);
            }
            return;
        }
        self.counts.one("attempts without an intent");
        if message.calls().any(|(other, _)| other == attempt) {
            self.fault("I3 called, though refused", Some(id), format!("The first entry of {attempt} says that nobody calls."));
        }
        // Who leaves claims nothing any more, and no breaker opens: it is its time alone that keeps anybody from calling.
        let early = self.early(row, first.at);
        self.counts.one("attempts given up as too late held against their not_after");
        if early > 0 {
            self.fault("I3 refused before not_after", Some(id), format!("{attempt} could have left for {early} ms more."));
        }
    }

    /// What was claimed and then given up as too late was; or its epoch left, and gave back what it had not sent.
    fn given_back(&mut self, id: MessageId, row: &Row<Dispatch>, intent: &Row<JournalEntry>, said: i64) {
        let early = self.early(row, said);
        if early > 0 && self.gave_back(intent, said) {
            self.counts.one("attempts given back before their not_after by an epoch that left");
            return;
        }
        self.counts.one("attempts given up as too late held against their not_after");
        if early > 0 {
            self.fault("I3 too late before not_after", Some(id), format!("{} could have left for {early} ms more.", row.what.attempt_id.attempt));
        }
    }

    /// For how long an attempt could still have left, beyond what the clocks may be apart, ms. What a dispatcher takes for Kafka's time is behind it (engine/kafka_time.rs).
    fn early(&self, row: &Row<Dispatch>, given_up: i64) -> i64 {
        (row.what.not_after.timestamp().millis() - given_up - CUT_MS - self.evidence.clocks_apart_ms).max(0)
    }

    /// Whether the epoch of this intent left by then: it claimed nothing after it, and another one followed.
    fn gave_back(&self, intent: &Row<JournalEntry>, said: i64) -> bool {
        let Some((own, Some(next))) = self.tenures.of_entry(intent) else { return false };
        // What it had claimed when it was told to leave may be appended a little later.
        let claimed = own.claimed().is_some_and(|at| at > said + APPENDED_WITHIN_MS + self.slow(said, at));
        !claimed && next.first() <= said + FOLLOWED_WITHIN_MS + self.slow(said, next.first())
    }
}
