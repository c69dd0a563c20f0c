//! When a partition was served, by the ends of transactions on the brokers' disks; and who was up to give a sign of life, by the crash log. Recado's own word is in neither.
//!
//! Easily got wrong: a partition whose owner is alive need not be served: the group may be waiting for another. So what was committed counts, not who ran.

use super::{Court, SLOW_NEAR_MS};
use crate::bank::What;
use crate::evidence::Evidence;
use crate::faults::{Cause, Kill};
use crate::report::{FIRST_COMMIT_EVER_MAX_MS, REBUILT_MAX_MS};
use std::collections::BTreeMap;

/// Under load each partition has a commit several times a second; between two that are farther apart than the configuration says, and this, nobody may have served it.
const COMMITS_APART_MS: i64 = 1_000;
/// Of one who serves a partition it is asked this long after a deadline, or after his first commit: cancels from before are waited for at most 3 s (`CANCELS_BOUND` of the
/// engine's thread), a gateway is heard within its second (`HEARTBEAT`), and then a timer has the second of promise 4. The session's 10 s, restore and hello lie before
/// the first commit.
const SERVED_WITHIN_MS: i64 = 5_000;
/// Where the brokers' clocks are apart a restarted engine may take them for too far apart, and fires nothing, until it measures them once more: each 5 s (`PACE` of its
/// hellos).
const MEASURED_AGAIN_MS: i64 = 5_000;
/// A gateway beats each second and partition, a dispatcher too: who was up for two of them was heard.
const HEARD_WITHIN_MS: i64 = 2_000;
/// A member's session, and how much of it may be over when it dies or stands still: its heartbeats come each fifth of it. Source:
/// `session_timeout` of src/app/settings.rs, and the consumers' configurations in src/engine/thread/group.rs and src/dispatch/intake.rs.
pub(super) const SESSION_MS: i64 = 10_000;
const HEARTBEAT_MS: i64 = 2_000;
/// A process that was started has joined its group within this, or has died before. A guess: on a quiet machine it takes one second.
const JOINS_WITHIN_MS: i64 = 4_000;
/// Most gaps in service are over within this: what nine of ten engines may take to their first commit.
const SOON_MS: i64 = 6_000;
/// Of one that never came back.
const NEVER: i64 = i64::MAX / 2;

/// A stretch in which one producer, under one epoch, committed the partition's state again and again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    from: i64,
    to: i64,
    producer: i64,
}

/// A moment after which partitions of a group may need a session and a restore once more: somebody died, stood still, came back, or was given up.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    pub at: i64,
    pub instance: &'static str,
    /// Until when what it troubles is served again.
    until: i64,
    /// Whether it troubles the partitions of all, as a rebalance does. Else it troubles its own alone: a member that is back within its session gets back what it had, and
    /// the others do not hear of it.
    of_all: bool,
}

impl Trouble {
    /// Whether it troubles this instance's partitions; `None`: nobody knows whose they are.
    pub fn troubles(&self, instance: Option<&str>) -> bool {
        self.of_all || instance.is_none_or(|instance| instance == self.instance)
    }
}

/// The troubles of the group of this role, in their order. By the crash log alone: what a process says of its readiness is in none of them.
pub fn troubles(kills: &[Kill], role: &str) -> Vec<Trouble> {
    let mut faults: Vec<&Kill> = kills.iter().filter(|kill| kill.roles.contains(role)).collect();
    faults.sort_by_key(|kill| kill.at);
    let mut troubles: Vec<Trouble> = Vec::new();
    let mut unheard: BTreeMap<&str, i64> = BTreeMap::new();
    for kill in faults {
        let back = kill.started.or(kill.goes_on);
        // One that was killed again before it had joined has been silent since its first death.
        let silent = if kill.was_ready { kill.at } else { unheard.get(kill.instance).copied().unwrap_or(kill.at) };
        unheard.insert(kill.instance, silent);
        // One that was stopped goes on as a zombie, or has a twin; one that came or went moved partitions.
        let at_once = back.is_some_and(|back| back - silent + JOINS_WITHIN_MS <= SESSION_MS - HEARTBEAT_MS);
        let of_all = !at_once || matches!(kill.cause, Cause::Stopped(_) | Cause::Moved);
        let mut trouble = |at: i64, emptied: bool| {
            let within = if emptied { REBUILT_MAX_MS } else { FIRST_COMMIT_EVER_MAX_MS };
            troubles.push(Trouble { at, instance: kill.instance, until: at + i64::try_from(within).unwrap(), of_all });
        };
        // A twin has a disk of its own, and begins with nothing.
        trouble(kill.gone, matches!(kill.cause, Cause::Stopped(_)));
        back.into_iter().for_each(|back| trouble(back, kill.disk_lost));
        if of_all {
            // Then the group gives it up, if it has not come back.
            trouble(silent + SESSION_MS, false);
        }
    }
    troubles.sort_by_key(|trouble| trouble.at);
    // A group that moves partitions waits for each of its members: for one that dies meanwhile, too, until it is back or given up.
    let mut until = i64::MIN;
    for trouble in &mut troubles {
        trouble.of_all |= trouble.at <= until;
        if trouble.of_all {
            until = until.max(trouble.until);
        }
    }
    troubles
}

/// How long whoever serves a partition may take for what is due in it, with its commit.
pub fn served_within(evidence: &Evidence) -> i64 {
    SERVED_WITHIN_MS + evidence.commit_ms + if evidence.clocks_apart_ms > 0 { MEASURED_AGAIN_MS } else { 0 }
}

/// The stretches of each partition, in their order.
pub(super) fn served(evidence: &Evidence) -> BTreeMap<i32, Vec<Stretch>> {
    let mut served: BTreeMap<i32, (Vec<Stretch>, Option<(i64, i16)>)> = BTreeMap::new();
    // Whatever is committed for a partition moves its position record.
    for row in &evidence.positions {
        let Some(committed) = evidence.log(row).committed(row.offset) else { continue };
        let (stretches, producer) = served.entry(row.partition).or_default();
        let same = producer.replace((committed.producer, committed.epoch)) == Some((committed.producer, committed.epoch));
        match stretches.last_mut() {
            Some(last) if same && committed.at - last.to <= evidence.commit_ms + COMMITS_APART_MS => last.to = committed.at,
            _ => stretches.push(Stretch { from: committed.at, to: committed.at, producer: committed.producer }),
        }
    }
    served.into_iter().map(|(partition, (stretches, _))| (partition, stretches)).collect()
}

/// When each process was away, in order: from just before it was killed, or stopped, until it was ready again.
pub(super) fn away(evidence: &Evidence) -> BTreeMap<&'static str, Vec<(i64, i64)>> {
    let mut away: BTreeMap<&'static str, Vec<(i64, i64)>> = BTreeMap::new();
    for kill in &evidence.kills {
        away.entry(kill.instance).or_default().push((kill.at, kill.ready.unwrap_or(NEVER)));
    }
    away.values_mut().for_each(|stretches| stretches.sort_unstable());
    away
}

impl Court<'_> {
    /// Row 1: no partition in which an event of the bank's lies is unserved for longer than a session and a restore, from the last trouble of the engine that serves it
    /// next, or of all engines while partitions move. How long it says that it restores, or is not ready, counts for nothing.
    pub(super) fn gaps(&mut self) {
        self.unserved();
        let evidence = self.evidence;
        let troubles = troubles(&evidence.kills, "engine");
        let mut written: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        // An event always leads to something that is written. One that is repeated, or a code that is used too late, may only move a position, which can wait.
        let events = evidence.written.iter().filter(|record| record.what == What::Event);
        events.for_each(|record| written.entry(record.partition).or_default().push(record.at));
        for (partition, mut lying) in written {
            lying.sort_unstable();
            let stretches = self.served.get(&partition).cloned().unwrap_or_default();
            let ends = std::iter::once(i64::MIN).chain(stretches.iter().map(|stretch| stretch.to));
            let next = stretches.iter().map(|stretch| Some(*stretch)).chain([None]);
            for (end, next) in ends.zip(next) {
                let again = next.map_or(NEVER, |next| next.from);
                // From then on there was something to be committed.
                let Some(lies) = lying.get(lying.partition_point(|at| *at < end)).copied().filter(|lies| *lies < again) else { continue };
                self.counts.add("gaps in service of a partition held against session and restore", usize::from(end > i64::MIN));
                self.counts.add("of those gaps, over within six seconds", usize::from(end > i64::MIN && again - lies <= SOON_MS));
                let whose = next.and_then(|next| self.instance_of(next.producer));
                let since = troubles.iter().filter(|trouble| trouble.at < again && trouble.troubles(whose)).map(|trouble| trouble.until).max();
                let by = since.unwrap_or(i64::MIN).max(lies + i64::try_from(FIRST_COMMIT_EVER_MAX_MS).unwrap());
                let by = by + evidence.commit_ms + self.slow(lies, again);
                if again > by {
                    let late = format!("only {} ms later by {}, {} ms too late", again - lies, whose.unwrap_or("nobody known"), again - by);
                    let sentence = format!("state-{partition} was served {}.", if next.is_some() { late } else { "never again".to_owned() });
                    self.fault("row 1 a partition unserved for too long", None, sentence);
                }
            }
        }
    }

    /// Which instance has this producer.
    fn instance_of(&self, producer: i64) -> Option<&'static str> {
        let (id, _) = self.evidence.quiet.producers.iter().find(|(_, other)| **other == producer)?;
        let name = id.strip_suffix(".0")?.rsplit('.').next()?;
        self.evidence.instances.iter().map(|(instance, _)| *instance).find(|instance| *instance == name)
    }

    /// By when what was due in this partition must have been done and committed: the first time at which it had been served for long enough since, with a gateway to be
    /// heard. `None`: nobody served it for so long.
    pub(super) fn due_by(&self, partition: i32, due: i64) -> Option<i64> {
        let stretches = self.served.get(&partition)?;
        let first = stretches.partition_point(|stretch| stretch.to < due);
        stretches[first..].iter().find_map(|stretch| {
            let by = self.up_from("gateway", stretch.from.max(due)) + served_within(self.evidence);
            (by <= stretch.to).then_some(by)
        })
    }

    /// The first time, not before `from`, from which on a process of this role was up for long enough to give a sign of life.
    pub(super) fn up_from(&self, role: &str, from: i64) -> i64 {
        let next = |name: &&'static str| {
            let away = self.away.get(name).map_or(&[][..], Vec::as_slice);
            away.iter().fold(from, |from, (began, ended)| if *began < from + HEARD_WITHIN_MS && from < *ended { *ended } else { from })
        };
        let of_role = self.evidence.instances.iter().filter(|(_, roles)| roles.contains(role));
        of_role.map(|(name, _)| next(name)).min().unwrap_or(NEVER)
    }

    /// When everything was well again that was not at this moment; `None`: neither a fault nor slow brokers or machine came near it.
    pub(super) fn well_again(&self, at: i64) -> Option<i64> {
        let kills = self.evidence.kills.iter().map(|kill| (kill.at, kill.ready.unwrap_or(NEVER)));
        let near = kills.chain(self.evidence.slow.iter().copied()).filter(|(from, to)| from - SLOW_NEAR_MS <= at && at <= to + SLOW_NEAR_MS);
        near.map(|(_, to)| to).max()
    }
}
