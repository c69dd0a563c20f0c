//! When a partition was served, by the ends of transactions on the brokers' disks; and who was up to give a sign of life, by the crash log. Recado's own word is in neither.
//!
//! Easily got wrong: a partition whose owner is alive need not be served: the group may be waiting for another. So what was committed counts, not who ran.

use super::{Court, SLOW_NEAR_MS};
use crate::evidence::Evidence;
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
/// Of one that never came back.
const NEVER: i64 = i64::MAX / 2;

/// A stretch in which one producer, under one epoch, committed the partition's state again and again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    from: i64,
    to: i64,
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
            _ => stretches.push(Stretch { from: committed.at, to: committed.at }),
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
