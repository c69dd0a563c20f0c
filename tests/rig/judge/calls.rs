//! I3, I5: what was called, how often, until when, and on whose word.

use super::messages::{Message, repeatable};
use super::statuses::begins;
use super::{CUT_MS, Court, PROVIDER_MS};
use crate::evidence::Row;
use crate::plan::{Kind, Planned};
use recado::delivery::{Attempt, MessageId, Outcome, Reason};
use recado::event::records::{JournalKind, StatusRecord};
use recado::simulator::{CallLine, Line};
use std::collections::{BTreeMap, BTreeSet};

/// A provider takes up a call within this of its sending, where all is well. A guess: less than the margin that `not_after` leaves (`call_margin` of stage.rs, 500 ms),
/// so that a dispatcher without it is seen; and what a process that waits for its turn on a busy core may take.
const TAKEN_UP_MS: i64 = 100;

/// Near a fault it is often later: what waited for a partition to be served is called at once, and may all be near its `not_after`. Seen: 31 calls of one moment, 104 to
/// 153 ms late. Later than this is seldom there, too. A guess: less than the margin, as above.
const TAKEN_UP_NEAR_MS: i64 = 300;

const VERY_LATE: &str = "calls that the provider took up over 300 ms late near a fault";

/// So many calls of one part may be later than that. A guess.
fn taken_up_late_max(kills: usize) -> usize {
    2 + kills / 50
}

impl Court<'_> {
    /// I3, I5: at most one call for each attempt, exactly one where it was accepted, none without a dispatch, none past its `not_after`.
    pub(super) fn calls(&mut self, id: MessageId, message: &Message<'_>) {
        let mut sends: BTreeMap<Attempt, usize> = BTreeMap::new();
        for (attempt, _) in message.sends() {
            *sends.entry(attempt).or_default() += 1;
        }
        // From the first answer on that does not ask for it, nobody calls again, whatever the provider says then.
        let mut calls: BTreeMap<Attempt, Vec<&CallLine>> = BTreeMap::new();
        message.calls().for_each(|(attempt, call)| calls.entry(attempt).or_default().push(call));
        let mut last_words: BTreeMap<Attempt, usize> = BTreeMap::new();
        for (attempt, mut calls) in calls {
            calls.sort_by_key(|call| call.time_ms);
            last_words.insert(attempt, calls.iter().skip_while(|call| repeatable(call)).count());
        }
        self.counts.add("attempts called", sends.len());
        for (attempt, count) in &last_words {
            if *count > 1 {
                self.fault("I3 called twice", Some(id), format!("{attempt} was called {count} times."));
            }
        }
        for (attempt, call) in message.calls() {
            let Some(row) = message.dispatches.iter().find(|row| row.what.attempt_id.attempt == attempt) else {
                self.fault("I3 call without a dispatch", Some(id), format!("{attempt} was called, but no committed record asks for it."));
                continue;
            };
            let intents = message.journal.iter().filter(|row| row.what.attempt_id.attempt == attempt && row.what.kind == JournalKind::Intent);
            match intents.map(|row| row.at).min() {
                None => self.fault("I3 call without an intent", Some(id), attempt.to_string()),
                Some(intent) if call.time_ms < intent - CUT_MS => {
                    self.fault(
                        "I3 call before its intent",
                        Some(id),
                        format!("{attempt} was called {} ms before anybody had claimed it.", intent - call.time_ms),
                    );
                }
                Some(_) => self.counts.one("calls held against their intent"),
            }
            self.counts.one("calls held against not_after and expiry");
            self.taken_up(id, attempt, call.time_ms, row.what.not_after.timestamp().millis());
            if call.time_ms > row.what.expiry.millis() {
                self.fault("I5 sent after the expiry", Some(id), format!("{attempt} was called {} ms after it.", call.time_ms - row.what.expiry.millis()));
            }
        }
        for row in &message.dispatches {
            let attempt = row.what.attempt_id.attempt;
            if message.outcomes(attempt).any(|(outcome, _)| outcome == Outcome::Accepted) {
                self.counts.one("attempts accepted");
                if !sends.contains_key(&attempt) {
                    self.fault("I3 accepted without a call", Some(id), format!("{attempt} is said to be accepted, but the provider never saw it."));
                }
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

    /// I5: a call left before its `not_after`. When the provider takes it up is the provider's affair, but for a bound: a tight one, but where brokers or machine were
    /// slow, or a fault was near; there it is a wider one for nearly all of them, and the widest for a few. Where commits are long a dispatch may first be seen when it may
    /// hardly leave any more, and then no fault need be near.
    fn taken_up(&mut self, id: MessageId, attempt: Attempt, at: i64, not_after: i64) {
        let late = at - not_after;
        self.counts.add("calls that the provider took up after not_after", usize::from(late > 0));
        if late <= TAKEN_UP_MS + self.evidence.clocks_apart_ms {
            return;
        }
        if late > PROVIDER_MS + self.evidence.clocks_apart_ms || (self.evidence.prompt && self.calm(not_after, at)) {
            self.fault("I5 called too late", Some(id), format!("{attempt} was called {late} ms after its not_after."));
            return;
        }
        self.counts.one("calls that the provider took up late near a fault");
        if late <= TAKEN_UP_NEAR_MS + self.evidence.clocks_apart_ms {
            return;
        }
        self.counts.one(VERY_LATE);
        let (seen, most) = (self.counts.of(VERY_LATE), taken_up_late_max(self.evidence.kills.len()));
        if seen > most {
            let sentence =
                format!("{attempt} was called {late} ms after its not_after, and {} others were so late near a fault; at most {most} may be.", seen - 1);
            self.fault("I5 called late too often", Some(id), sentence);
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
            let unknown = |attempt: Attempt| message.outcomes(attempt).any(|(outcome, _)| outcome == Outcome::Unknown);
            let asked = message.dispatches.iter().filter(|row| {
                let resent = row.what.why.is_some_and(|why| matches!(why.reason, Reason::Resend | Reason::Unknown) && unknown(why.from));
                row.what.attempt_id.attempt.step == step && resent
            });
            let last = usize::from(step) == event.kind.waits().len();
            let allowed = usize::from(event.kind.resends() && last && asked.count() > 0);
            if copies > allowed {
                self.fault("I3 copies", Some(id), format!("{} sends on step {step}: {attempts:?}", attempts.len()));
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

    /// I5: nothing is dispatched of a code whose withdrawal was decided upon in an earlier transaction.
    pub(super) fn after_the_cancel(&mut self, id: MessageId, message: &Message<'_>) {
        let used = message.event.and_then(|event| self.used.get(&event).copied());
        let Some(cancel) = used.and_then(|used| self.decided(used)) else { return };
        for row in &message.dispatches {
            let Some(own) = self.evidence.log(row).committed(row.offset) else { continue };
            self.counts.one("dispatches held against the cancel of their code");
            let after = if own.producer == cancel.producer { row.at > cancel.at } else { own.at > cancel.at };
            if after {
                let sentence = format!("{} was committed {} ms after the code had been withdrawn.", row.what.attempt_id.attempt, own.at - cancel.at);
                self.fault("I5 dispatched after the cancel", Some(id), sentence);
            }
        }
    }

    /// I5: no attempt of a code is begun with too little of its life left, and none leaves when it is over.
    pub(super) fn lives(&mut self, id: MessageId, message: &Message<'_>, event: &Planned) {
        if event.kind != Kind::Code {
            return;
        }
        let ends = self.written(message).map_or(0, |written| written.at) + i64::try_from(event.expires_after.as_millis()).unwrap();
        for row in &message.dispatches {
            let attempt = row.what.attempt_id.attempt;
            let begun = |status: &&&Row<StatusRecord>| {
                let status = &status.what;
                status.live && status.status.attempt == Some(attempt) && begins(status.status.word)
            };
            let Some(begun) = message.statuses.iter().find(begun) else { continue };
            let left = row.what.expiry.millis() - begun.what.decided.millis();
            self.counts.one("lives of codes compared");
            if left < event.kind.life_min(row.what.channel) {
                self.fault("I5 begun with too little life", Some(id), format!("{attempt} on {} began with {left} ms left.", row.what.channel.word()));
            }
        }
        for (attempt, call) in message.sends().filter(|(_, call)| call.time_ms > ends + CUT_MS) {
            self.fault("I5 sent after the expiry", Some(id), format!("{attempt} was called {} ms after the code had ended.", call.time_ms - ends));
        }
    }
}
