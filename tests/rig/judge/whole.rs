//! What belongs to no message: the reader during the faults, open transactions, instances that ended, the bound of *unconfirmed*, what the run met.

use super::messages::attempt_of;
use super::{CUT_MS, Court, KILLS_JUDGED, SLOW_NEAR_MS, SLOW_PARTS_MIN};
use crate::faults::Kill;
use crate::plan::{CANARY, Kind};
use crate::quiet::KAFKAS;
use recado::delivery::AttemptId;
use recado::event::records::JournalKind;
use recado::simulator::Line;
use std::collections::{BTreeMap, BTreeSet};

impl Court<'_> {
    /// All of it.
    pub(super) fn whole(&mut self) {
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
        self.quiet();
        self.canaries();
        for sentence in &evidence.backwards {
            self.fault("read backwards", None, sentence.clone());
        }
        self.excused();
        self.nameless();
        for ended in &evidence.ended {
            self.fault("ended by itself", None, ended.clone());
        }
        self.unknowns();
        for kill in &evidence.kills {
            self.counts.add("kills of an engine", usize::from(kill.roles.contains("engine")));
            self.counts.add("kills of a dispatcher", usize::from(kill.roles.contains("dispatcher")));
            self.counts.add("kills of a gateway", usize::from(kill.roles.contains("gateway")));
        }
    }

    /// Slow brokers or a slow machine excuse what is late: then they must not be slow all the time.
    fn excused(&mut self) {
        let slow: i64 = self.evidence.slow.iter().map(|(began, ended)| ended - began).sum();
        self.counts.add("ms in which brokers or machine were slow", usize::try_from(slow).unwrap());
        let written = self.evidence.written.iter().map(|written| written.at);
        let span = written.clone().max().unwrap_or(0) - written.min().unwrap_or(0);
        // With what lies near.
        let mut stretches: Vec<(i64, i64)> = self.evidence.slow.iter().map(|(began, ended)| (began - SLOW_NEAR_MS, ended + SLOW_NEAR_MS)).collect();
        stretches.sort_unstable();
        let (mut near, mut until) = (0, i64::MIN);
        for (began, ended) in stretches {
            near += (ended - began.max(until)).max(0);
            until = until.max(ended);
        }
        if self.evidence.kills.len() >= KILLS_JUDGED && near * SLOW_PARTS_MIN > span {
            self.fault("I8 excused too often", None, format!("Brokers or machine were slow in or near {near} ms of {span} ms."));
        }
    }

    /// I3: whatever a provider was asked for names its attempt; else nobody could say of which it was the second.
    fn nameless(&mut self) {
        for line in &self.evidence.lines {
            let (Line::Call(_) | Line::Refused { .. }) = line else { continue };
            match attempt_of(line) {
                Some(id) if id.message_id.bytes() != &[0; 16] => self.counts.one("calls that name their attempt"),
                _ => self.fault("I3 call without a name", None, format!("{line:?}")),
            }
        }
    }

    /// I12: no transaction is open, by the ends of every partition, by Kafka's own tool, and by the logs on the disk.
    fn quiet(&mut self) {
        let evidence = self.evidence;
        for ((topic, partition), (stable, high)) in &evidence.quiet.ends {
            self.counts.one("partitions whose ends were compared");
            if stable != high {
                self.fault("I12 open transaction", None, format!("{topic}-{partition}: readers are held at {stable}, it ends at {high}."));
            }
        }
        for topic in KAFKAS {
            if !evidence.quiet.ends.keys().any(|(name, _)| name == topic) {
                self.fault("I12 not looked at", None, format!("{topic} is not among the topics."));
            }
        }
        for (id, state) in &evidence.quiet.transactions {
            self.counts.one("transactional ids asked for");
            if !matches!(state.as_str(), "Empty" | "CompleteCommit" | "CompleteAbort") {
                self.fault("I12 open transaction", None, format!("The last one of {id} is {state}."));
            }
        }
        for hanging in &evidence.quiet.hanging {
            self.fault("I12 open transaction", None, format!("Kafka's tool takes for hanging: {hanging}"));
        }
        for ((topic, partition), log) in evidence.logs.iter() {
            for producer in log.open() {
                self.fault("I12 open transaction", None, format!("{topic}-{partition}: what producer {producer} began has no end."));
            }
        }
    }

    /// I7: nothing that must not rest in clear was found.
    fn canaries(&mut self) {
        let canaries = &self.evidence.canaries;
        let looked = [
            ("files searched for canaries", canaries.files),
            ("records searched for canaries", canaries.records),
            ("stored values searched for canaries", canaries.values),
            ("environments searched for canaries", canaries.environments),
        ];
        for (what, count) in looked {
            self.counts.add(what, count);
        }
        let events = self.evidence.plan.events.iter();
        let codes: BTreeSet<&str> =
            events.filter(|event| event.kind == Kind::Code && event.code.starts_with(CANARY)).map(|event| event.phone.as_str()).collect();
        let called = |line: &&Line| matches!(line, Line::Call(call) if call.counts && codes.contains(call.to.as_str()));
        let sent = self.evidence.lines.iter().filter(called).count();
        self.counts.add("calls with a canary", sent);
        for found in &canaries.found {
            self.fault("I7 canary at rest", None, found.clone());
        }
    }

    /// How many intents were open at these faults of a dispatcher.
    pub(super) fn in_flight(&self, faults: impl Fn(&Kill) -> bool) -> usize {
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
        let mut kills: Vec<&Kill> = self.evidence.kills.iter().filter(|kill| kill.roles.contains("dispatcher") && faults(kill)).collect();
        kills.sort_by_key(|kill| kill.gone);
        let open = |(intent, done): &&(i64, i64)| {
            let next = kills.partition_point(|kill| kill.gone + CUT_MS < *intent);
            kills.get(next).is_some_and(|kill| *done >= kill.at - CUT_MS)
        };
        attempts.values().filter(open).count()
    }
}
