//! I3, I5, I6: what was called, how often, until when, for whom; and what was said to have become of it.

use super::messages::{Message, unknown_by_script};
use super::{CUT_MS, Court};
use crate::faults::Kill;
use crate::plan::{CALL_TIMEOUT_MS, Kind, Planned};
use recado::delivery::{Attempt, MessageId, Outcome, Reason, StatusWord};
use recado::event::records::JournalKind;
use recado::simulator::{self, Line};
use std::collections::{BTreeMap, BTreeSet};

/// How much later than its sending a provider on a busy machine may take up a call. A guess.
const PROVIDER_MS: i64 = 1_000;

impl Court<'_> {
    /// I3, I5: at most one call for each attempt, exactly one where it was accepted, none without a dispatch, none past its lease.
    pub(super) fn calls(&mut self, id: MessageId, message: &Message<'_>) {
        let mut sends: BTreeMap<Attempt, usize> = BTreeMap::new();
        for (attempt, _) in message.sends() {
            *sends.entry(attempt).or_default() += 1;
        }
        for (attempt, count) in &sends {
            self.counts.one("attempts called");
            if *count > 1 {
                self.fault("I3 called twice", Some(id), format!("{attempt} was called {count} times."));
            }
        }
        for (attempt, call) in message.calls() {
            let Some(row) = message.dispatches.iter().find(|row| row.what.attempt_id.attempt == attempt) else {
                self.fault("I3 call without a dispatch", Some(id), format!("{attempt} was called, but no committed record asks for it."));
                continue;
            };
            // It left before `not_after`; when the provider takes it up is the provider's affair, but for a bound.
            let (limit, not_after) = (row.what.lease_end.min(row.what.expiry).millis() + PROVIDER_MS, row.what.not_after.timestamp().millis());
            self.counts.add("calls that the provider took up after not_after", usize::from(call.time_ms > not_after));
            if call.time_ms > limit {
                self.fault("I5 called too late", Some(id), format!("{attempt} was called {} ms after its lease.", call.time_ms - limit + PROVIDER_MS));
            }
        }
        for row in &message.dispatches {
            let attempt = row.what.attempt_id.attempt;
            if message.outcomes(attempt).any(|(outcome, _)| outcome == Outcome::Accepted) && !sends.contains_key(&attempt) {
                self.fault("I3 accepted without a call", Some(id), format!("{attempt} is said to be accepted, but the provider never saw it."));
            }
        }
        for line in &message.lines {
            match line {
                Line::Refused { status, code, message: sentence, .. } => {
                    self.fault("I6 refused by the provider's checks", Some(id), format!("{status} {code}: {sentence}"));
                }
                Line::Lost { .. } => self.counts.one("webhooks given up"),
                Line::Call(_) | Line::Webhook { .. } | Line::Spoken { .. } => {}
            }
        }
    }

    /// I5: nothing is dispatched in a transaction that was committed after the one of the end. What was committed before it and left after it is counted apart.
    pub(super) fn after_the_end(&mut self, id: MessageId, message: &Message<'_>) {
        let Some(terminal) = message.terminal() else { return };
        let Some(end) = self.evidence.log(terminal).committed(terminal.offset) else {
            self.fault("I5 end without a commit", Some(id), format!("No committed transaction has the status at offset {}.", terminal.offset));
            return;
        };
        for row in &message.dispatches {
            let attempt = row.what.attempt_id.attempt;
            let Some(own) = self.evidence.log(row).committed(row.offset) else {
                self.fault("I5 dispatch without a commit", Some(id), format!("No committed transaction has the dispatch of {attempt}."));
                continue;
            };
            self.counts.one("dispatches held against the commit of the end");
            // One transaction has an end in each partition, some ms apart. Of one producer what is appended after an end belongs to a later transaction.
            let after = if own.producer == end.producer { row.at > end.at } else { own.at > end.at };
            if after {
                self.fault("I5 dispatched after the end", Some(id), format!("{attempt} was committed {} ms after the terminal status.", own.at - end.at));
            }
            let left = message.sends().filter(|(other, call)| *other == attempt && call.time_ms > end.at).count();
            self.counts.add("sends after the end whose dispatch was committed before it", left);
        }
    }

    /// Each attempt has one dispatch, one status and an outcome; each *unknown* has a cause.
    pub(super) fn attempts(&mut self, id: MessageId, message: &Message<'_>) {
        let mut dispatched = BTreeSet::new();
        for row in &message.dispatches {
            if !dispatched.insert(row.what.attempt_id.attempt) {
                self.fault("I1 doubled dispatch", Some(id), format!("{} is dispatched twice.", row.what.attempt_id.attempt));
            }
        }
        let begins = |word| matches!(word, StatusWord::Requested | StatusWord::Fallback | StatusWord::Retried);
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

    /// I6: the recipient of each call is that of the event, and what is unique of the event stands in the text.
    pub(super) fn recipients(&mut self, id: MessageId, message: &Message<'_>, event: &Planned) {
        for (attempt, call) in message.calls() {
            if call.to != event.phone {
                self.fault("I6 wrong recipient", Some(id), format!("{attempt} went to another phone than the event's."));
            }
            let unique = if event.kind == Kind::Code { event.code.clone() } else { reais(event.centavos) };
            let text = call.text.as_deref().unwrap_or_default();
            if call.channel != simulator::Channel::Voice && !text.contains(&unique) {
                self.fault("I6 wrong text", Some(id), format!("{attempt}: {unique:?} does not stand in {text:?}."));
            }
            self.counts.one("recipients compared");
        }
    }

    /// I3: copies on one step at most one, and only where the route asks for it.
    pub(super) fn copies(&mut self, id: MessageId, message: &Message<'_>, event: &Planned) {
        let mut by_step: BTreeMap<u8, BTreeSet<Attempt>> = BTreeMap::new();
        for (attempt, _) in message.sends() {
            by_step.entry(attempt.step).or_default().insert(attempt);
        }
        for (step, attempts) in by_step {
            let copies = attempts.len() - 1;
            self.counts.add("copies sent", copies);
            let asked = message.dispatches.iter().filter(|row| {
                row.what.attempt_id.attempt.step == step && row.what.why.is_some_and(|why| matches!(why.reason, Reason::Resend | Reason::Unknown))
            });
            let last = usize::from(step) == event.kind.waits().len();
            let allowed = usize::from(event.kind.resends() && last && asked.count() > 0);
            if copies > allowed {
                self.fault("I3 copies", Some(id), format!("{} sends on step {step}: {attempts:?}", attempts.len()));
            }
        }
    }
}

/// As Brazil writes it.
fn reais(centavos: i64) -> String {
    let whole = (centavos / 100).to_string();
    let grouped: Vec<&str> = whole.as_bytes().rchunks(3).rev().map(|part| std::str::from_utf8(part).unwrap()).collect();
    format!("R$ {},{:02}", grouped.join("."), centavos % 100)
}
