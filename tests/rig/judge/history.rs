//! The whole history of what a fault is about, for a person: of a message, of an event that became none, or of a place in a topic.
//!
//! Easily got wrong: a record's own time may be that of its decision. Here everything stands at the time at which it could be seen: transactional records when their
//! transaction ended, others when they were appended.

use super::messages::{Message, attempt_of, messages};
use super::{CLEAR_MS, Fault};
use crate::evidence::{Evidence, Row};
use recado::delivery::{Channel, MessageId};
use recado::event::records::Returned;
use recado::simulator::Line;
use std::collections::BTreeMap;

/// So many position records on either side of a place are told.
const POSITIONS_NEAR: usize = 3;

/// What a fault is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Message(MessageId),
    /// Which event of the plan: no message is known of it.
    Event(usize),
    /// Topic without the prefix, partition, and offset where one is named.
    Place(String, i32, Option<i64>),
}

/// All histories of a run.
pub struct Histories<'e> {
    evidence: &'e Evidence,
    messages: BTreeMap<MessageId, Message<'e>>,
    events: BTreeMap<&'e str, usize>,
}

/// What happened, each line with its time.
type Lines = Vec<(i64, String)>;

impl<'e> Histories<'e> {
    pub fn of(evidence: &'e Evidence) -> Self {
        let events = evidence.plan.events.iter().enumerate().map(|(index, event)| (event.event_id.as_str(), index)).collect();
        Self { evidence, messages: messages(evidence), events }
    }

    /// What a fault is about: its message; without one, the events and places that its sentence names.
    pub fn subjects(&self, fault: &Fault) -> Vec<Subject> {
        if let Some(id) = fault.message {
            return vec![Subject::Message(id)];
        }
        let words: Vec<&str> = fault.sentence.split_whitespace().map(|word| word.trim_matches([',', ':', '.', '(', ')', '"'])).collect();
        let mut subjects = Vec::new();
        for (at, word) in words.iter().enumerate() {
            if let Some(index) = self.events.get(word) {
                subjects.push(self.event(*index));
            } else if let Some((topic, partition)) = place(word) {
                let offset = words[at..].windows(2).find(|pair| pair[0] == "offset").and_then(|pair| pair[1].parse().ok());
                subjects.push(self.place(topic, partition, offset));
            }
        }
        subjects
    }

    /// The message of an event, where it has become one.
    fn event(&self, index: usize) -> Subject {
        let message = self.messages.iter().find(|(_, message)| message.event == Some(index));
        message.map_or(Subject::Event(index), |(id, _)| Subject::Message(*id))
    }

    /// What the bank wrote at this place, where it wrote something there.
    fn place(&self, topic: &str, partition: i32, offset: Option<i64>) -> Subject {
        let topic = short(topic);
        let here = |written: &&crate::bank::Written| written.topic == topic && written.partition == partition && Some(written.offset) == offset;
        let written = self.evidence.written.iter().find(here);
        written.map_or_else(|| Subject::Place(topic.to_owned(), partition, offset), |written| self.event(written.event))
    }

    /// The whole history in the order of time.
    pub fn history(&self, subject: &Subject) -> String {
        let (head, mut lines) = match subject {
            Subject::Message(id) => match self.messages.get(id) {
                Some(message) => (format!("message {id}"), self.of_message(message)),
                None => return format!("  nothing is known of {id}\n"),
            },
            Subject::Event(index) => {
                let event = &self.evidence.plan.events[*index];
                (format!("{}, of which no message is known", event.event_id), self.of_event(*index))
            }
            Subject::Place(topic, partition, offset) => {
                let offset = offset.map_or_else(String::new, |offset| format!(" offset {offset}"));
                (format!("{topic}-{partition}{offset}"), self.of_place(topic, *partition, offset_of(subject)))
            }
        };
        let (first, last) = (lines.iter().map(|(at, _)| *at).min().unwrap_or(0), lines.iter().map(|(at, _)| *at).max().unwrap_or(0));
        for kill in self.evidence.kills.iter().filter(|kill| kill.gone >= first - CLEAR_MS && kill.at <= last + CLEAR_MS) {
            let ready = kill.ready.map_or_else(|| "never".into(), |at| format!("+{} ms", at - kill.at));
            lines.push((kill.at, format!("KILL     {} {} (ready again {ready})", kill.instance, kill.word())));
        }
        // Stable: what one transaction holds stays in its order.
        lines.sort_by_key(|(at, _)| *at);
        lines.iter().fold(format!("  {head}\n"), |text, (at, line)| format!("{text}  {:>8} ms  {line}\n", at - first))
    }

    /// When a record could be seen, and what it says of that.
    fn seen<T>(&self, row: &Row<T>) -> (i64, String) {
        match self.evidence.logs.get(&(row.topic.clone(), row.partition)).and_then(|log| log.committed(row.offset)) {
            Some(committed) => (committed.at, format!("offset {}, committed by producer {} epoch {}", row.offset, committed.producer, committed.epoch)),
            None => (row.at, format!("offset {}, NOT COMMITTED", row.offset)),
        }
    }

    fn of_message(&self, message: &Message<'e>) -> Lines {
        let mut lines = message.event.map_or_else(Vec::new, |index| self.bank(index));
        for row in &message.statuses {
            let status = &row.what.status;
            let seq = if row.what.live { status.seq.to_string() } else { "-".into() };
            let attempt = status.attempt.map_or_else(String::new, |attempt| attempt.to_string());
            let (at, seen) = self.seen(row);
            let (decided, produced) = (at - row.what.decided.millis(), at - row.at);
            lines.push((
                at,
                format!(
                    "status   seq {seq} {} {attempt} {} (decided {decided} ms before, produced {produced}; {seen})",
                    status.word.word(),
                    status.reason.word()
                ),
            ));
        }
        for row in &message.dispatches {
            let why = row.what.why.map_or_else(|| "first".into(), |why| format!("because {} from {}", why.reason.word(), why.from));
            let (lease, attempt) = (row.what.lease_end.millis() - row.at, row.what.attempt_id.attempt);
            let (at, seen) = self.seen(row);
            lines.push((
                at,
                format!(
                    "dispatch {attempt} {} {why}; lease {lease} ms, not_after {} (appended {} ms before; {} {seen})",
                    row.what.channel.word(),
                    row.what.not_after.timestamp().millis(),
                    at - row.at,
                    row.topic
                ),
            ));
        }
        for row in &message.journal {
            lines.push((row.at, format!("journal  {} {:?} epoch {:016x} (offset {})", row.what.attempt_id.attempt, row.what.kind, row.what.epoch, row.offset)));
        }
        lines.extend(message.returned.iter().filter_map(|row| Some((row.at, returned(row)?))));
        lines.extend(message.lines.iter().map(|line| provider(line)));
        lines
    }

    /// What the bank wrote of an event, or of what was to follow it.
    fn bank(&self, index: usize) -> Lines {
        let event = &self.evidence.plan.events[index];
        let of_it = self.evidence.written.iter().filter(|written| written.event == index);
        of_it
            .map(|written| {
                let (what, place) = (written.what, format!("{}-{} offset {}", written.topic, written.partition, written.offset));
                (written.at, format!("bank     {what:?} {} {place} ({:?}, {})", event.event_id, event.kind, event.story.name))
            })
            .collect()
    }

    /// Of one that has no message: how the positions passed each record that the bank wrote of it, and what has its place for a source.
    fn of_event(&self, index: usize) -> Lines {
        let mut lines = self.bank(index);
        for written in self.evidence.written.iter().filter(|written| written.event == index) {
            lines.extend(self.of_place(written.topic, written.partition, Some(written.offset)));
        }
        lines
    }

    /// Of a place: the position records around it (of the changelog those that lie near; of an input those that moved near it), and what came of what lies there.
    fn of_place(&self, topic: &str, partition: i32, offset: Option<i64>) -> Lines {
        let evidence = self.evidence;
        let mut lines = Vec::new();
        let rows: Vec<_> = evidence.positions.iter().filter(|row| row.partition == partition).collect();
        let next = |row: &Row<BTreeMap<String, i64>>| {
            if topic == "state" { Some(row.offset) } else { row.what.iter().find(|(name, _)| short(name) == topic).map(|(_, next)| *next) }
        };
        // Not the first beyond it by search: they may go back, which is what is looked for.
        let at = rows.iter().position(|row| offset.is_some_and(|offset| next(row).is_some_and(|next| next > offset))).unwrap_or(rows.len());
        for row in &rows[at.saturating_sub(POSITIONS_NEAR)..(at + POSITIONS_NEAR).min(rows.len())] {
            let (at, seen) = self.seen(row);
            let moved = if topic == "state" { format!("{:?}", row.what) } else { format!("{topic} to {}", next(row).map_or(-1, |next| next)) };
            lines.push((at, format!("position {moved} (state-{partition} {seen})")));
        }
        let source = |row: &&Row<recado::event::records::StatusRecord>| {
            let of = row.what.source.as_ref();
            of.is_some_and(|source| short(&source.topic) == topic && source.partition.kafka() == partition && Some(source.offset) == offset)
        };
        for row in evidence.statuses.iter().filter(source) {
            let (at, seen) = self.seen(row);
            lines.push((at, format!("status   {} of message {} (status-{} {seen})", row.what.status.word.word(), row.what.message_id, row.partition)));
        }
        // When it was written nobody kept: after all else that is known here.
        let last = lines.iter().map(|(at, _)| *at).max();
        let dead = evidence.dead.iter().filter(|(of, at, lies, _)| short(of) == topic && *at == partition && Some(*lies) == offset);
        lines.extend(dead.filter_map(|(_, _, _, reason)| Some((last?, format!("dead letter: {reason}")))));
        lines
    }
}

fn offset_of(subject: &Subject) -> Option<i64> {
    if let Subject::Place(_, _, offset) = subject { *offset } else { None }
}

/// A topic without the prefix of the run, and an input without that of inputs.
fn short(topic: &str) -> &str {
    let own = topic.strip_prefix("rig-").and_then(|rest| rest.split_once('.')).map_or(topic, |(_, own)| own);
    own.strip_prefix("in.").unwrap_or(own)
}

/// A topic and a partition of it, as sentences name them.
fn place(word: &str) -> Option<(&str, i32)> {
    let (topic, partition) = word.rsplit_once('-')?;
    let partition = partition.parse().ok()?;
    topic.starts_with(|c: char| c.is_ascii_alphabetic()).then_some((topic, partition))
}

fn returned(row: &Row<Returned>) -> Option<String> {
    match &row.what {
        Returned::Outcome { attempt_id, outcome, reason, code, .. } => {
            Some(format!("outcome  {} {} {} {code} (offset {})", attempt_id.attempt, outcome.word(), reason.word(), row.offset))
        }
        Returned::Receipt { attempt_id, receipt, .. } => Some(format!("receipt  {} {receipt:?} (offset {})", attempt_id.attempt, row.offset)),
        Returned::GatewayHeartbeat { .. } | Returned::DispatcherHeartbeat { .. } | Returned::Hello { .. } => None,
    }
}

fn provider(line: &Line) -> (i64, String) {
    let attempt = attempt_of(line).map_or_else(String::new, |id| id.attempt.to_string());
    match line {
        Line::Call(call) => {
            (call.time_ms, format!("provider {attempt} called on {:?}: {} {} (answer at {})", call.channel, call.answer, call.status, call.answer_ms))
        }
        Line::Refused { time_ms, status, code, .. } => (*time_ms, format!("provider {attempt} refused: {status} {code}")),
        Line::Webhook { time_ms, receipt, .. } => (*time_ms, format!("provider {attempt} {receipt} acknowledged")),
        Line::Lost { time_ms, receipt, .. } => (*time_ms, format!("provider {attempt} {receipt} given up")),
        Line::Spoken { time_ms, .. } => (*time_ms, format!("provider {attempt} spoken")),
    }
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
