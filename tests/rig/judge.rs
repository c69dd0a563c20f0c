//! The judge: seed, send log and status together. Enters the evidence; leaves every fault that it finds, and counts of what it judged.
//!
//! Easily got wrong: what Recado says of itself is never the measure where the provider's log or the seed knows it. Its outcomes and its journal only say which
//! of several ends a fault allows.

use crate::evidence::{Evidence, Row};
use crate::faults::Kill;
use crate::plan::{CALL_TIMEOUT_MS, Kind, Planned};
use recado::delivery::{Attempt, AttemptId, Channel, MessageId, Outcome, Reason, Receipt, Status, StatusWord};
use recado::event::records::{Dispatch, JournalEntry, JournalKind, Returned, StatusRecord};
use recado::simulator::{self, CallLine, Line};
use std::collections::{BTreeMap, BTreeSet};

/// A life that comes no nearer to a fault than this is judged by the seed alone. Source: testing.md §2.4, I1.
const CLEAR_MS: i64 = 5_000;
/// Two readings of one clock by two processes, each cut to whole ms.
const CUT_MS: i64 = 2;
/// How much later than its sending a provider on a busy machine may take up a call. A guess.
const PROVIDER_MS: i64 = 1_000;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The invariant of testing.md §2.4, and a word for the anomaly.
    pub rule: &'static str,
    pub message: Option<MessageId>,
    pub sentence: String,
}

/// What was judged: calm proves nothing.
#[derive(Clone, Debug, Default)]
pub struct Counts(pub BTreeMap<&'static str, usize>);

impl Counts {
    fn add(&mut self, what: &'static str, count: usize) {
        *self.0.entry(what).or_default() += count;
    }

    fn one(&mut self, what: &'static str) {
        self.add(what, 1);
    }
}

/// All that belongs to one message.
#[derive(Default)]
pub struct Message<'e> {
    pub event: Option<usize>,
    pub statuses: Vec<&'e Row<StatusRecord>>,
    pub dispatches: Vec<&'e Row<Dispatch>>,
    pub journal: Vec<&'e Row<JournalEntry>>,
    pub returned: Vec<&'e Row<Returned>>,
    pub lines: Vec<&'e Line>,
}

/// The evidence by message.
pub fn messages(evidence: &Evidence) -> BTreeMap<MessageId, Message<'_>> {
    let mut all: BTreeMap<MessageId, Message<'_>> = BTreeMap::new();
    let events: BTreeMap<&str, usize> = evidence.plan.events.iter().enumerate().map(|(index, event)| (event.event_id.as_str(), index)).collect();
    for row in &evidence.statuses {
        let message = all.entry(row.what.message_id).or_default();
        if let Some(event) = row.what.event_id.as_deref().and_then(|id| events.get(id)) {
            message.event = Some(*event);
        }
        message.statuses.push(row);
    }
    for row in &evidence.dispatches {
        all.entry(row.what.attempt_id.message_id).or_default().dispatches.push(row);
    }
    for row in evidence.journal.iter().filter(|row| row.what.kind != JournalKind::Hello) {
        all.entry(row.what.attempt_id.message_id).or_default().journal.push(row);
    }
    for row in &evidence.returned {
        if let Returned::Outcome { attempt_id, .. } | Returned::Receipt { attempt_id, .. } = &row.what {
            all.entry(attempt_id.message_id).or_default().returned.push(row);
        }
    }
    for line in &evidence.lines {
        if let Some(id) = attempt_of(line) {
            all.entry(id.message_id).or_default().lines.push(line);
        }
    }
    // What the simulator's strays pretended to be about is nobody's.
    all.remove(&MessageId::from_bytes([0; 16]));
    all
}

/// The attempt that a line of the send log names.
pub fn attempt_of(line: &Line) -> Option<AttemptId> {
    let text = match line {
        Line::Call(call) => &call.attempt_id,
        Line::Refused { attempt_id, .. } | Line::Webhook { attempt_id, .. } | Line::Lost { attempt_id, .. } | Line::Spoken { attempt_id, .. } => attempt_id,
    };
    AttemptId::parse(text.as_deref()?)
}

impl<'e> Message<'e> {
    fn calls(&self) -> impl Iterator<Item = (Attempt, &'e CallLine)> {
        self.lines.iter().filter_map(|line| if let Line::Call(call) = line { Some((attempt_of(line)?.attempt, call)) } else { None })
    }

    /// The calls that went out, or may have.
    fn sends(&self) -> impl Iterator<Item = (Attempt, &'e CallLine)> {
        self.calls().filter(|(_, call)| !refused(call))
    }

    fn outcomes(&self, attempt: Attempt) -> impl Iterator<Item = (Outcome, &'e Row<Returned>)> {
        self.returned.iter().filter_map(move |row| match &row.what {
            Returned::Outcome { attempt_id, outcome, .. } if attempt_id.attempt == attempt => Some((*outcome, *row)),
            _ => None,
        })
    }

    /// Receipts that prove the message on the phone, as the provider heard them acknowledged: when, for which attempt.
    fn acknowledged(&self) -> impl Iterator<Item = (i64, AttemptId)> {
        self.lines.iter().filter_map(|line| match line {
            Line::Webhook { time_ms, receipt, .. } if matches!(receipt.as_str(), "delivered" | "read" | "keypress") => Some((*time_ms, attempt_of(line)?)),
            _ => None,
        })
    }

    /// The earliest instant at which the wait of this attempt can end: the provider's answer, or, where nobody is known to have heard it, the call itself, plus the
    /// route's wait.
    fn deadline(&self, attempt: Attempt, kind: Kind) -> Option<i64> {
        let wait = *kind.waits().get(usize::from(attempt.step) - 1)?;
        let (_, call) = self.sends().find(|(other, _)| *other == attempt)?;
        let accepted = self.outcomes(attempt).any(|(outcome, _)| outcome == Outcome::Accepted);
        let receipt_first = self.lines.iter().any(|line| matches!(line, Line::Webhook { time_ms, .. } if *time_ms < call.answer_ms));
        Some(wait + if accepted && !receipt_first { call.answer_ms } else { call.time_ms })
    }

    fn terminal(&self) -> Option<&'e Row<StatusRecord>> {
        self.statuses.iter().copied().rfind(|row| row.what.live && row.what.status.word.terminal())
    }
}

/// A documented refusal: no send, and the same attempt may come again.
fn refused(call: &CallLine) -> bool {
    !call.counts && (call.answer == "error" || call.status == 429)
}

/// Whether the step after the last dispatched one, or a copy of that one, could not begin at `at` for want of life.
fn too_little_life(message: &Message<'_>, event: &Planned, at: i64) -> bool {
    let Some(last) = message.dispatches.iter().max_by_key(|row| row.what.attempt_id.attempt) else { return false };
    let next = match last.what.channel {
        Channel::WhatsApp => Channel::Sms,
        Channel::Sms | Channel::Voice => Channel::Voice,
    };
    at + event.kind.life_min(next) > last.what.expiry.millis()
}

/// Whether the script itself leaves the fate of this call open.
fn unknown_by_script(call: &CallLine) -> bool {
    matches!(call.answer.as_str(), "lost" | "hang" | "garbage") || (call.answer == "bare" && call.status >= 500)
}

/// Judges everything.
pub fn judge(evidence: &Evidence) -> (Vec<Fault>, Counts) {
    let mut court = Court { evidence, faults: Vec::new(), counts: Counts::default() };
    let all = messages(evidence);
    court.events(&all);
    for (id, message) in &all {
        court.message(*id, message);
    }
    court.whole();
    let Court { mut faults, mut counts, .. } = court;
    faults.sort();
    faults.dedup();
    counts.add("kills", evidence.kills.len());
    counts.add("kills that left a transaction open", evidence.kills.iter().filter(|kill| kill.open_transactions > 0).count());
    counts.add("kills before it was ready", evidence.kills.iter().filter(|kill| !kill.was_ready).count());
    (faults, counts)
}

struct Court<'e> {
    evidence: &'e Evidence,
    faults: Vec<Fault>,
    counts: Counts,
}

impl Court<'_> {
    fn fault(&mut self, rule: &'static str, message: Option<MessageId>, sentence: impl Into<String>) {
        self.faults.push(Fault { rule, message, sentence: sentence.into() });
    }

    /// I1: each event is one message, and no message is without an event.
    fn events(&mut self, all: &BTreeMap<MessageId, Message<'_>>) {
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
            if reason == "poison" || !broken.contains(&(topic.clone(), *partition, *offset)) {
                self.fault("I1 spurious dead letter", None, format!("{topic}-{partition} offset {offset}: {reason}"));
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

    fn message(&mut self, id: MessageId, message: &Message<'_>) {
        self.statuses(id, message);
        self.calls(id, message);
        self.attempts(id, message);
        let Some(event) = message.event.map(|event| &self.evidence.plan.events[event]) else { return };
        self.recipients(id, message, event);
        self.lives(id, message, event);
        self.fallbacks(id, message, event);
        self.copies(id, message, event);
        self.end(id, message, event);
        self.receipts(id, message);
    }

    /// I4, I1: seq without gaps; of equal ones the later counts; one terminal status.
    fn statuses(&mut self, id: MessageId, message: &Message<'_>) {
        let mut last: Option<u32> = None;
        let mut terminal = BTreeSet::new();
        for row in message.statuses.iter().filter(|row| row.what.live) {
            let seq = row.what.status.seq;
            match last {
                None if seq == 0 => {}
                Some(before) if seq == before + 1 => {}
                Some(before) if seq == before => self.counts.one("statuses said again with the same seq"),
                _ => self.fault("I4 gap in seq", Some(id), format!("{seq} follows {last:?} at partition {} offset {}.", row.partition, row.offset)),
            }
            last = Some(seq);
            if row.what.status.word.terminal() {
                terminal.insert(seq);
            } else if !terminal.is_empty() && matches!(row.what.status.word, StatusWord::Fallback | StatusWord::Retried | StatusWord::Requested) {
                self.fault("I5 dispatch after the end", Some(id), format!("{} follows the terminal status.", row.what.status.word.word()));
            }
            self.counts.one("statuses");
        }
        self.counts.add("reads of ended deliveries", message.statuses.iter().filter(|row| !row.what.live).count());
        if terminal.len() > 1 {
            self.fault("I1 two ends", Some(id), format!("{} terminal statuses.", terminal.len()));
        }
        if terminal.is_empty() && message.event.is_some() {
            self.fault("I1 lost: no terminal status", Some(id), "Its delivery never ended.");
        }
    }

    /// I3, I5: at most one call for each attempt, exactly one where it was accepted, none without a dispatch, none past its lease.
    fn calls(&mut self, id: MessageId, message: &Message<'_>) {
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

    /// Each attempt has one dispatch, one status and an outcome; each *unknown* has a cause.
    fn attempts(&mut self, id: MessageId, message: &Message<'_>) {
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
    fn recipients(&mut self, id: MessageId, message: &Message<'_>, event: &Planned) {
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

    /// I5: no attempt of a code is begun with too little of its life left.
    fn lives(&mut self, id: MessageId, message: &Message<'_>, event: &Planned) {
        if event.kind != Kind::Code {
            return;
        }
        for row in &message.dispatches {
            let attempt = row.what.attempt_id.attempt;
            let begun = |status: &&&Row<StatusRecord>| {
                let Status { word, attempt: of, .. } = status.what.status;
                status.what.live && of == Some(attempt) && matches!(word, StatusWord::Requested | StatusWord::Fallback | StatusWord::Retried)
            };
            let Some(begun) = message.statuses.iter().find(begun) else { continue };
            let left = row.what.expiry.millis() - begun.what.decided.millis();
            self.counts.one("lives of codes compared");
            if left < event.kind.life_min(row.what.channel) {
                self.fault("I5 begun with too little life", Some(id), format!("{attempt} on {} began with {left} ms left.", row.what.channel.word()));
            }
        }
    }

    /// I2, I8: no fallback by a timer before its deadline, and none where a receipt was acknowledged before it.
    fn fallbacks(&mut self, id: MessageId, message: &Message<'_>, event: &Planned) {
        for row in &message.dispatches {
            let Some(why) = row.what.why else { continue };
            self.counts.one("later attempts");
            if !matches!(why.reason, Reason::Timer | Reason::Unknown | Reason::Resend | Reason::GatewaySilent | Reason::DispatcherSilent | Reason::Storm) {
                continue;
            }
            self.counts.one("fallbacks by a timer judged");
            self.waited(id, message, event, why.from, row.at, &format!("{} {}", row.what.channel.word(), row.what.attempt_id.attempt));
        }
        if let Some(terminal) = message.terminal()
            && terminal.what.status.word == StatusWord::Unconfirmed
            && let Some(last) = message.dispatches.iter().map(|row| row.what.attempt_id.attempt).max()
        {
            self.waited(id, message, event, last, terminal.what.decided.millis(), "the end, unconfirmed,");
        }
    }

    fn waited(&mut self, id: MessageId, message: &Message<'_>, event: &Planned, from: Attempt, at: i64, what: &str) {
        let Some(deadline) = message.deadline(from, event.kind) else { return };
        if at < deadline - CUT_MS {
            self.fault("I8 early", Some(id), format!("{what} came {} ms before the wait of {from} could end.", deadline - at));
        }
        if let Some((acknowledged, by)) = message.acknowledged().find(|(acknowledged, _)| *acknowledged < deadline - CUT_MS) {
            let ahead = deadline - acknowledged;
            self.fault(
                "I2 fallback for an acknowledged receipt",
                Some(id),
                format!("{what}: the receipt of {} was acknowledged {ahead} ms ahead.", by.attempt),
            );
        }
        if message.acknowledged().any(|(acknowledged, _)| (acknowledged - deadline).abs() <= 200) {
            self.counts.one("receipts within 200 ms of a deadline that ran out");
        }
    }

    /// I3: copies on one step at most one, and only where the route asks for it.
    fn copies(&mut self, id: MessageId, message: &Message<'_>, event: &Planned) {
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

    /// I1: the end is the one that the seed says, or one that the fault allows.
    fn end(&mut self, id: MessageId, message: &Message<'_>, event: &Planned) {
        let Some(terminal) = message.terminal() else { return };
        let word = terminal.what.status.word;
        let from = message.event.and_then(|index| self.evidence.written.iter().find(|written| written.event == index)).map_or(0, |written| written.at);
        let to = terminal.what.decided.millis();
        let clear = |kill: &Kill| kill.ready.is_some_and(|ready| ready + CLEAR_MS < from) || kill.at - CLEAR_MS > to;
        let calm = self.evidence.kills.iter().all(clear);
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
        }
        let said = |outcome| message.returned.iter().any(|row| matches!(&row.what, Returned::Outcome { outcome: other, .. } if *other == outcome));
        let lost = message.lines.iter().any(|line| matches!(line, Line::Lost { .. }));
        let allowed = word == event.story.end
            || match word {
                // A call in flight at the kill: nobody knows. What it was to say is said by the journal above.
                StatusWord::Unconfirmed => !calm && (said(Outcome::Unknown) || lost),
                // The cancel comes in while the engine is away, and the fallback is due before it is read.
                StatusWord::Delivered => !calm && (event.story.end == StatusWord::Cancelled || said(Outcome::TooLate)),
                // The customer got the code elsewhere, or gave up; the bank withdraws what is late.
                StatusWord::Cancelled => !calm && event.used_after.is_some(),
                // A fault delayed the code until too little of its life was left for the next step.
                StatusWord::Expired if !calm && too_little_life(message, event, to) => true,
                // Our own delay, until nothing could be sent any more.
                StatusWord::Expired | StatusWord::Failed => !calm && (said(Outcome::TooLate) || said(Outcome::Unavailable)),
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
        if word == StatusWord::Unconfirmed && event.story.end != word {
            self.counts.one("unconfirmed by a fault");
        }
    }

    /// I13: what a webhook was acknowledged for is in the receipts topic.
    fn receipts(&mut self, id: MessageId, message: &Message<'_>) {
        for line in &message.lines {
            let Line::Webhook { channel, receipt, .. } = line else { continue };
            let expected = match (channel, receipt.as_str()) {
                (simulator::Channel::Whatsapp | simulator::Channel::Sms, "sent") => Receipt::Sent,
                (_, "delivered" | "keypress") => Receipt::Delivered,
                (_, "read") => Receipt::Read,
                (_, "failed" | "busy" | "no-answer") => Receipt::Failed,
                _ => continue,
            };
            self.counts.one("receipts acknowledged");
            let Some(attempt_id) = attempt_of(line) else { continue };
            let there =
                |row: &Row<Returned>| matches!(&row.what, Returned::Receipt { attempt_id: other, receipt, .. } if *other == attempt_id && *receipt == expected);
            if !message.returned.iter().any(|row| there(row)) {
                self.fault("I13 acknowledged receipt is missing", Some(id), format!("{receipt} of {}", attempt_id.attempt));
            }
        }
    }

    /// What belongs to no message: the reader during the faults, open transactions, instances that ended, the bound of *unconfirmed*, what the run met.
    fn whole(&mut self) {
        let evidence = self.evidence;
        for (place, bytes) in &evidence.seen {
            if evidence.lies.get(place) != Some(bytes) {
                self.fault("aborted read", None, format!("The status at {place:?} was seen during the faults and does not lie there now."));
            }
        }
        let unseen = evidence.lies.keys().filter(|place| !evidence.seen.contains_key(place)).count();
        if unseen > 0 {
            self.fault("unseen", None, format!("{unseen} statuses were never seen by the reader that ran all the time."));
        }
        if evidence.unstable > 0 {
            self.fault("I12 open transaction", None, format!("{} partitions have an open transaction after quiescence.", evidence.unstable));
        }
        for ended in &evidence.ended {
            self.fault("ended by itself", None, ended.clone());
        }
        let open = self.open_at_kills();
        let unconfirmed = self.counts.0.get("unconfirmed by a fault").copied().unwrap_or(0);
        self.counts.add("calls in flight at the kills", open);
        let timed_out = self.counts.0.get("outcomes unknown by the call's time-out").copied().unwrap_or(0);
        if unconfirmed > open + timed_out {
            self.fault("I1 too many unconfirmed", None, format!("{unconfirmed} by faults, but only {open} calls were in flight at the kills."));
        }
        for kill in &evidence.kills {
            self.counts.add("kills of an engine", usize::from(kill.roles.contains("engine")));
            self.counts.add("kills of a dispatcher", usize::from(kill.roles.contains("dispatcher")));
            self.counts.add("kills of a gateway", usize::from(kill.roles.contains("gateway")));
        }
    }

    fn open_at_kills(&self) -> usize {
        let mut attempts: BTreeMap<AttemptId, (i64, i64)> = BTreeMap::new();
        for row in &self.evidence.journal {
            match row.what.kind {
                JournalKind::Intent => {
                    let (intent, _) = attempts.entry(row.what.attempt_id).or_insert((i64::MAX, i64::MAX));
                    *intent = (*intent).min(row.at);
                }
                JournalKind::Done => {
                    let (_, done) = attempts.entry(row.what.attempt_id).or_insert((i64::MAX, i64::MAX));
                    *done = (*done).min(row.at);
                }
                JournalKind::Refused | JournalKind::Hello => {}
            }
        }
        let dispatchers: Vec<&Kill> = self.evidence.kills.iter().filter(|kill| kill.roles.contains("dispatcher")).collect();
        attempts.values().filter(|(intent, done)| dispatchers.iter().any(|kill| *intent <= kill.gone + CUT_MS && *done >= kill.at - CUT_MS)).count()
    }
}

/// As Brazil writes it.
fn reais(centavos: i64) -> String {
    let whole = (centavos / 100).to_string();
    let grouped: Vec<&str> = whole.as_bytes().rchunks(3).rev().map(|part| std::str::from_utf8(part).unwrap()).collect();
    format!("R$ {},{:02}", grouped.join("."), centavos % 100)
}

/// One message's whole history in the order of time.
pub fn history(evidence: &Evidence, id: MessageId) -> String {
    let all = messages(evidence);
    let Some(message) = all.get(&id) else { return format!("  nothing is known of {id}\n") };
    let mut lines: Vec<(i64, String)> = Vec::new();
    if let Some(index) = message.event {
        let event = &evidence.plan.events[index];
        lines.extend(evidence.written.iter().filter(|written| written.event == index).map(|written| {
            (
                written.at,
                format!(
                    "bank     {:?} {} {}-{} offset {} ({:?}, {})",
                    written.what, event.event_id, written.topic, written.partition, written.offset, event.kind, event.story.name
                ),
            )
        }));
    }
    for row in &message.statuses {
        let status = &row.what.status;
        let seq = if row.what.live { status.seq.to_string() } else { "-".into() };
        let attempt = status.attempt.map_or_else(String::new, |attempt| attempt.to_string());
        lines.push((
            row.what.decided.millis(),
            format!("status   seq {seq} {} {attempt} {} (appended {}, offset {})", status.word.word(), status.reason.word(), row.at, row.offset),
        ));
    }
    for row in &message.dispatches {
        let why = row.what.why.map_or_else(|| "first".into(), |why| format!("because {} from {}", why.reason.word(), why.from));
        let (lease, attempt) = (row.what.lease_end.millis() - row.at, row.what.attempt_id.attempt);
        lines.push((
            row.at,
            format!(
                "dispatch {attempt} {} {why}; lease {lease} ms, not_after {} ({} offset {})",
                row.what.channel.word(),
                row.what.not_after.timestamp().millis(),
                row.topic,
                row.offset
            ),
        ));
    }
    for row in &message.journal {
        lines.push((row.at, format!("journal  {} {:?} epoch {:016x} (offset {})", row.what.attempt_id.attempt, row.what.kind, row.what.epoch, row.offset)));
    }
    for row in &message.returned {
        match &row.what {
            Returned::Outcome { attempt_id, outcome, reason, code, .. } => {
                lines.push((row.at, format!("outcome  {} {} {} {code} (offset {})", attempt_id.attempt, outcome.word(), reason.word(), row.offset)));
            }
            Returned::Receipt { attempt_id, receipt, .. } => {
                lines.push((row.at, format!("receipt  {} {receipt:?} (offset {})", attempt_id.attempt, row.offset)))
            }
            Returned::GatewayHeartbeat { .. } | Returned::DispatcherHeartbeat { .. } | Returned::Hello { .. } => {}
        }
    }
    for line in &message.lines {
        let attempt = attempt_of(line).map_or_else(String::new, |id| id.attempt.to_string());
        match line {
            Line::Call(call) => lines.push((
                call.time_ms,
                format!("provider {attempt} called on {:?}: {} {} (answer at {})", call.channel, call.answer, call.status, call.answer_ms),
            )),
            Line::Refused { time_ms, status, code, .. } => lines.push((*time_ms, format!("provider {attempt} refused: {status} {code}"))),
            Line::Webhook { time_ms, receipt, .. } => lines.push((*time_ms, format!("provider {attempt} {receipt} acknowledged"))),
            Line::Lost { time_ms, receipt, .. } => lines.push((*time_ms, format!("provider {attempt} {receipt} given up"))),
            Line::Spoken { time_ms, .. } => lines.push((*time_ms, format!("provider {attempt} spoken"))),
        }
    }
    let (first, last) = (lines.iter().map(|(at, _)| *at).min().unwrap_or(0), lines.iter().map(|(at, _)| *at).max().unwrap_or(0));
    for kill in evidence.kills.iter().filter(|kill| kill.gone >= first - CLEAR_MS && kill.at <= last + CLEAR_MS) {
        lines.push((
            kill.at,
            format!("KILL     {} (ready again {})", kill.instance, kill.ready.map_or_else(|| "never".into(), |at| format!("+{} ms", at - kill.at))),
        ));
    }
    lines.sort();
    lines.iter().fold(String::new(), |text, (at, line)| format!("{text}  {:>8} ms  {line}\n", at - first))
}

/// For the channel's words in a table.
pub fn by_channel(evidence: &Evidence) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for row in &evidence.dispatches {
        let word = match row.what.channel {
            Channel::WhatsApp => "whatsapp",
            Channel::Sms => "sms",
            Channel::Voice => "voice",
        };
        *counts.entry(word).or_default() += 1;
    }
    counts
}
