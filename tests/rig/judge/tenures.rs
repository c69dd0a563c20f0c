//! Who held which partition of the dispatchers, and for how long, by the journal's own words: an epoch is drawn anew for each assignment of each partition, and begins
//! with a hello.
//!
//! Easily got wrong: when an epoch left nobody wrote down. It had not left yet when it claimed for the last time, and it had when the next one spoke.

use crate::evidence::{Evidence, Row};
use recado::delivery::AttemptId;
use recado::event::records::{JournalEntry, JournalKind};
use std::collections::{BTreeMap, BTreeSet};

/// One assignment of one partition, by the append times of its entries.
#[derive(Default)]
pub struct Tenure {
    /// All of them, in order.
    words: Vec<i64>,
    claimed: Option<i64>,
}

impl Tenure {
    /// When it began.
    pub fn first(&self) -> i64 {
        self.words.first().copied().unwrap_or(i64::MAX)
    }

    /// Its last word.
    pub fn last(&self) -> i64 {
        self.words.last().copied().unwrap_or(i64::MIN)
    }

    /// When it claimed something new for the last time, to call or that nobody calls: until then it had not left. What is not read back it writes again, also while it
    /// leaves.
    pub fn claimed(&self) -> Option<i64> {
        self.claimed
    }

    /// Whether it wrote anything after `from` and before `to`.
    pub fn spoke(&self, from: i64, to: i64) -> bool {
        self.words.get(self.words.partition_point(|at| *at <= from)).is_some_and(|at| *at < to)
    }
}

/// All of them, by partition in the order in which they began.
pub struct Tenures(BTreeMap<i32, Vec<(u64, Tenure)>>);

impl Tenures {
    /// From the journal.
    pub fn of(evidence: &Evidence) -> Self {
        let mut tenures: BTreeMap<(i32, u64), Tenure> = BTreeMap::new();
        let mut claims: BTreeSet<(u64, AttemptId)> = BTreeSet::new();
        for row in &evidence.journal {
            let tenure = tenures.entry((row.partition, row.what.epoch)).or_default();
            tenure.words.push(row.at);
            if matches!(row.what.kind, JournalKind::Intent | JournalKind::Refused) && claims.insert((row.what.epoch, row.what.attempt_id)) {
                tenure.claimed = tenure.claimed.max(Some(row.at));
            }
        }
        let mut by_partition: BTreeMap<i32, Vec<(u64, Tenure)>> = BTreeMap::new();
        for ((partition, epoch), mut tenure) in tenures {
            tenure.words.sort_unstable();
            by_partition.entry(partition).or_default().push((epoch, tenure));
        }
        by_partition.values_mut().for_each(|all| all.sort_by_key(|(_, tenure)| tenure.first()));
        Self(by_partition)
    }

    /// The one that wrote this entry, and the one that came next in its partition.
    pub fn of_entry(&self, row: &Row<JournalEntry>) -> Option<(&Tenure, Option<&Tenure>)> {
        let all = self.0.get(&row.partition)?;
        let at = all.iter().position(|(epoch, _)| *epoch == row.what.epoch)?;
        Some((&all[at].1, all.get(at + 1).map(|(_, next)| next)))
    }
}
