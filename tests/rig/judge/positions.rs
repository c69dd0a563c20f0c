//! I11, E1, E4, E9: where reading was resumed, and what was made of each input below that. The bank's own list of what it wrote is the measure, and the position records of
//! the changelog in the order of their log.
//!
//! Easily got wrong: a position record that jumped over a record of the bank looks like progress. So each record below it is asked for its outputs.

use super::messages::Message;
use super::{CUT_MS, Court};
use crate::bank::What;
use crate::plan::Kind;
use crate::quiet::Place;
use recado::delivery::{AttemptId, MessageId};
use recado::event::records::JournalKind;
use std::collections::{BTreeMap, BTreeSet};

/// An input's name without the prefix.
fn input(topic: &str) -> &str {
    topic.split_once("in.").map_or(topic, |(_, name)| name)
}

impl Court<'_> {
    /// Everything about positions.
    pub(super) fn positions(&mut self, all: &BTreeMap<MessageId, Message<'_>>) {
        let resumed = self.never_back();
        self.outputs(all, &resumed);
        self.group(&resumed);
        self.dispatchers();
        self.committed_positions();
        self.epochs();
    }

    /// I11: no committed position record goes back. Returns where each partition of each source has come to.
    fn never_back(&mut self) -> BTreeMap<Place, i64> {
        let mut resumed: BTreeMap<Place, i64> = BTreeMap::new();
        let evidence = self.evidence;
        for row in &evidence.positions {
            self.counts.one("position records");
            for (topic, next) in &row.what {
                let before = resumed.insert((topic.clone(), row.partition), *next);
                if let Some(before) = before.filter(|before| next < before) {
                    let sentence = format!("state-{} offset {}: {topic} goes back from {before} to {next}.", row.partition, row.offset);
                    self.fault("I11 position went back", None, sentence);
                }
            }
        }
        resumed
    }

    /// E1: exactly one set of outputs for each input below the position, none above it, and none for what the bank did not write.
    fn outputs(&mut self, all: &BTreeMap<MessageId, Message<'_>>, resumed: &BTreeMap<Place, i64>) {
        let evidence = self.evidence;
        let mut outputs: BTreeMap<(&str, i32, i64), BTreeSet<MessageId>> = BTreeMap::new();
        for (id, message) in all {
            for source in message.statuses.iter().filter_map(|row| row.what.source.as_ref()) {
                outputs.entry((input(&source.topic), source.partition.kafka(), source.offset)).or_default().insert(*id);
            }
        }
        let mut dead: BTreeMap<(&str, i32, i64), usize> = BTreeMap::new();
        for (topic, partition, offset, _) in &evidence.dead {
            *dead.entry((input(topic), *partition, *offset)).or_default() += 1;
        }
        let next: BTreeMap<(&str, i32), i64> = resumed.iter().map(|((topic, partition), next)| ((input(topic), *partition), *next)).collect();
        for written in &evidence.written {
            let place = (written.topic, written.partition, written.offset);
            let event = &evidence.plan.events[written.event];
            // A repetition has no outputs of its own, and what a cancel does is a delivery's.
            let expected = match (written.what, event.kind) {
                (What::Event, Kind::Broken) => (0, 1),
                (What::Event, _) => (1, 0),
                (What::Again | What::Used, _) => (0, 0),
            };
            let ids = outputs.remove(&place).unwrap_or_default();
            let found = (ids.len(), dead.remove(&place).unwrap_or(0));
            let below = next.get(&(written.topic, written.partition)).is_some_and(|next| written.offset < *next);
            self.counts.one(if below { "inputs below the position" } else { "inputs above the position" });
            let expected = if below { expected } else { (0, 0) };
            if found != expected {
                let side = if below { "below" } else { "above" };
                let sentence = format!(
                    "{}-{} offset {}, {side} the position: messages and dead letters are {found:?} instead of {expected:?}.",
                    place.0, place.1, place.2
                );
                self.fault("E1 outputs of an input", ids.first().copied(), sentence);
            }
        }
        for ((topic, partition, offset), ids) in outputs {
            self.fault("E1 outputs of nothing", ids.first().copied(), format!("The bank wrote nothing at {topic}-{partition} offset {offset}."));
        }
    }

    /// I11: after an orderly stop the group stands where the state stands.
    fn group(&mut self, resumed: &BTreeMap<Place, i64>) {
        for (place, next) in resumed {
            self.counts.one("positions of the group");
            let group = self.evidence.quiet.engine.get(place);
            if group != Some(next) {
                self.fault("I11 group and state differ", None, format!("{}-{}: the group stands at {group:?}, the state at {next}.", place.0, place.1));
            }
        }
    }

    /// E9: the dispatchers' position is at or below the lowest attempt that is not done.
    fn dispatchers(&mut self) {
        let evidence = self.evidence;
        let done: BTreeSet<AttemptId> =
            evidence.journal.iter().filter(|entry| entry.what.kind == JournalKind::Done).map(|entry| entry.what.attempt_id).collect();
        for row in &evidence.dispatches {
            let position = evidence.quiet.dispatcher.get(&(row.topic.to_string(), row.partition));
            if position.is_none_or(|position| row.offset >= *position) {
                continue;
            }
            self.counts.one("dispatches below the dispatchers' position");
            if !done.contains(&row.what.attempt_id) {
                let sentence = format!("{} at offset {} of {} is not done.", row.what.attempt_id.attempt, row.offset, row.topic);
                self.fault("E9 position past an unfinished attempt", Some(row.what.attempt_id.message_id), sentence);
            }
        }
    }

    /// E9 at any time: when the dispatchers' position first passed a dispatch, its attempt was done.
    fn committed_positions(&mut self) {
        let evidence = self.evidence;
        let mut done: BTreeMap<AttemptId, i64> = BTreeMap::new();
        for row in evidence.journal.iter().filter(|row| row.what.kind == JournalKind::Done) {
            let first = done.entry(row.what.attempt_id).or_insert(row.at);
            *first = row.at.min(*first);
        }
        let mut furthest: BTreeMap<&Place, Vec<(i64, i64)>> = BTreeMap::new();
        for (place, commits) in &evidence.quiet.commits {
            let moves = furthest.entry(place).or_default();
            for &(next, at) in commits {
                if moves.last().is_none_or(|(before, _)| *before < next) {
                    moves.push((next, at));
                }
            }
        }
        for row in &evidence.dispatches {
            let Some(moves) = furthest.get(&(row.topic.to_string(), row.partition)) else { continue };
            let Some((_, at)) = moves.get(moves.partition_point(|(next, _)| *next <= row.offset)) else { continue };
            self.counts.one("dispatches held against the commit that passed them");
            let attempt_id = row.what.attempt_id;
            if done.get(&attempt_id).is_none_or(|done| *done > at + CUT_MS) {
                let sentence = format!("{} at offset {} of {} was not done when its position was committed.", attempt_id.attempt, row.offset, row.topic);
                self.fault("E9 position ahead of an unfinished attempt", Some(attempt_id.message_id), sentence);
            }
        }
    }

    /// E4: nobody wrote under an epoch that a newer producer of the same name had replaced.
    fn epochs(&mut self) {
        let evidence = self.evidence;
        for ((topic, partition), log) in evidence.logs.iter() {
            let (committed, aborted) = log.transactions();
            self.counts.add("transactions committed, by partition", committed);
            self.counts.add("transactions aborted, by partition", aborted);
            for offset in log.outdated() {
                self.fault("E4 written by a zombie", None, format!("{topic}-{partition} offset {offset}"));
            }
        }
    }
}
