//! I3, E9: what was said to have become of each attempt, and who had claimed it before.

use super::messages::{Message, unknown_by_script};
use super::statuses::begins;
use super::{CUT_MS, Court};
use crate::faults::Kill;
use crate::plan::CALL_TIMEOUT_MS;
use recado::delivery::{Attempt, MessageId, Outcome};
use recado::event::records::JournalKind;
use std::collections::BTreeSet;

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
            self.counts.add("outcomes too_late", outcomes.iter().filter(|outcome| **outcome == Outcome::TooLate).count());
            if outcomes.iter().all(|outcome| *outcome == Outcome::Unknown) && !outcomes.is_empty() {
                self.counts.one("outcomes unknown");
                let scripted = message.sends().any(|(other, call)| other == *attempt && unknown_by_script(call));
                if scripted {
                    self.counts.one("outcomes unknown by script");
                } else if self.in_flight_at_a_kill(message, *attempt) {
                    self.counts.one("outcomes unknown by a kill");
                } else if self.timed_out(message, *attempt) {
                    self.counts.one("outcomes unknown by the call's time-out");
                } else {
                    self.fault("I3 unknown without a cause", Some(id), format!("{attempt} was not in flight when a dispatcher was killed."));
                }
            }
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
            return;
        }
        self.counts.one("attempts without an intent");
        if message.calls().any(|(other, _)| other == attempt) {
            self.fault("I3 called, though refused", Some(id), format!("The first entry of {attempt} says that nobody calls."));
        }
        // A dispatcher that leaves gives back what it has not sent; that happens near faults alone.
        let early = row.what.not_after.timestamp().millis() - first.at;
        if outcomes.contains(&Outcome::TooLate) && early > CUT_MS && self.calm(row.at, first.at) {
            self.fault("I3 too late before not_after", Some(id), format!("{attempt} could have left for {early} ms more."));
        }
    }

    /// Whether its call took as long as a call may: a machine that is too busy to hear the answer.
    fn timed_out(&self, message: &Message<'_>, attempt: Attempt) -> bool {
        let intent = message.journal.iter().find(|row| row.what.attempt_id.attempt == attempt && row.what.kind == JournalKind::Intent);
        let said = message.outcomes(attempt).map(|(_, row)| row.at).min();
        intent.zip(said).is_some_and(|(intent, said)| said - intent.at >= CALL_TIMEOUT_MS - CUT_MS)
    }

    /// Whether the attempt's intent was open when a dispatcher was killed.
    fn in_flight_at_a_kill(&self, message: &Message<'_>, attempt: Attempt) -> bool {
        let of =
            |kind: JournalKind| message.journal.iter().filter(move |row| row.what.attempt_id.attempt == attempt && row.what.kind == kind).map(|row| row.at);
        let (intent, done) = (of(JournalKind::Intent).min(), of(JournalKind::Done).min());
        let open = |kill: &Kill| intent.is_some_and(|intent| intent <= kill.gone + CUT_MS) && done.is_none_or(|done| done >= kill.at - CUT_MS);
        self.evidence.kills.iter().any(|kill| kill.roles.contains("dispatcher") && open(kill))
    }
}
