//! Housekeeping: expiry, flushes, old keys, gauges, lag, and what `/readyz` is told.
//!
//! Easily got wrong: a full disk must stop intake before it stops what is already taken, so it is looked at before it is full.

use super::{Engine, EngineError, NO_KAFKA_TIME, Pace};
use crate::crash_point::crash_point;
use crate::delivery::{Hold, Partition, Timestamp};
use crate::engine::task::{self, Task, TaskError};
use crate::observe::engine as metrics;
use crate::observe::health::{Asker, Cause};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Kafka is asked for ends every 5 s; without an answer for so long it counts as away.
const KAFKA_SILENT: Duration = Duration::from_secs(15);

/// With so many records in the changelogs since the last flush, all threads of a process flush before their time, as soon as they have written behind. At 140,000 records a
/// second that is after each write, and a kill has up to two paces of writing replayed, 1.4 million (reckoned). Nobody writes sooner for it: what ends within seconds would
/// reach the store on a busy day, a tenth of a lifecycle's cost (`benches/TRIED.md`, "What brought the CPU of a lifecycle down").
const UNFLUSHED_MAX: i64 = 300_000;

/// When each of these is due again.
pub(super) struct Paces {
    upkeep: Pace,
    idle_commit: Pace,
    pub(super) flush: FlushPace,
    behind: Pace,
    lag: Pace,
    partitions: Pace,
    keys: Pace,
}

impl Paces {
    pub(super) fn new(now: Duration) -> Self {
        let every = |secs| Pace::new(Duration::from_secs(secs), now);
        Self {
            upkeep: every(1),
            idle_commit: every(60),                                           // source: `engine.md` §1.10
            flush: FlushPace { time: every(30), records: 0, written: false }, // source: design §5.3
            behind: every(5),                                                 // most deliveries end in that time; source: `engine.md` §4
            lag: every(5),
            partitions: every(30), // red within a minute; source: design §2
            keys: every(60),
        }
    }
}

impl Paces {
    /// Something was written behind before its time: of two soon after each other the second would write all that lives, and not what rests.
    pub(super) fn written_out_of_turn(&mut self, now: Duration) {
        self.behind.last = now;
    }
}

/// Bounds what is replayed after a kill, with the pace of writing behind, by time and by records: in a burst as many are committed within seconds as else in an hour.
pub(super) struct FlushPace {
    time: Pace,
    /// Committed to the changelogs since the last flush.
    records: i64,
    /// Whether anything was written behind since then: a flush brings no more to the disk than that.
    written: bool,
}

impl FlushPace {
    /// So many records more were committed.
    pub(super) fn committed(&mut self, records: i64) {
        self.records += records;
    }

    /// What had rested was written behind, if there was any.
    pub(super) fn written(&mut self) {
        self.written = true;
    }

    /// Whether it is due; if so it counts as done.
    fn due(&mut self, now: Duration, threads: usize) -> bool {
        let many = self.records >= UNFLUSHED_MAX / i64::try_from(threads.max(1)).unwrap_or(i64::MAX);
        let due = self.time.due(now) || (many && self.written);
        if due {
            (self.time.last, self.records, self.written) = (now, 0, false);
        }
        due
    }
}

impl Engine {
    pub(super) fn upkeep(&mut self) -> Result<(), EngineError> {
        let monotonic = crate::clock::monotonic();
        if !self.paces.upkeep.due(monotonic) {
            return Ok(());
        }
        self.look_for_fence()?;
        self.look_for_group()?;
        let own_now = crate::clock::now();
        self.expire(own_now);
        self.report(own_now);
        self.answer_lag(own_now);
        if self.paces.lag.due(monotonic) {
            self.ask_lag();
        }
        if self.paces.partitions.due(monotonic) && self.look_at_inputs() {
            self.reopen_tasks()?;
        }
        if self.number == 0 && self.paces.keys.due(monotonic) {
            self.destroy_old_keys(own_now);
        }
        if self.paces.idle_commit.due(monotonic) {
            self.commit_positions()?;
        }
        let threads = self.shared.settings.threads;
        if self.paces.behind.due(monotonic) {
            self.write_behind()?;
        }
        if self.paces.flush.due(monotonic, threads) {
            self.begin_flush()?;
        }
        Ok(())
    }

    fn begin_flush(&self) -> Result<(), TaskError> {
        let mut tasks = self.tasks.values();
        if let Some(first) = tasks.next() {
            first.store.begin_flush()?;
            // Nobody waits for these flushes; in the pass that kills, the first is through.
            crash_point!("mid_flush", if tasks.len() > 0, after first.store.flush()?);
        }
        for task in tasks {
            task.store.begin_flush()?;
        }
        Ok(())
    }

    fn expire(&mut self, own_now: Timestamp) {
        // The longest window of all inputs counts for each: an event is looked for only under its own input's name.
        let window = self.shared.inputs.inputs().iter().map(|input| input.dedup_window).max().unwrap_or_default();
        task::expire_all(&mut self.tasks, window, own_now);
    }

    /// Gauges and the causes of `/readyz`.
    fn report(&mut self, own_now: Timestamp) {
        let health = &self.shared.health;
        let known = self.tasks.values().all(|task| task.now(own_now).is_some());
        health.set(Cause::NoKafkaTime(self.number), (!known).then(|| NO_KAFKA_TIME.into()));
        let silence = crate::clock::monotonic().saturating_sub(self.heard);
        let silent = (silence > KAFKA_SILENT).then(|| format!("Kafka has answered nothing for {} s.", silence.as_secs()));
        health.set(Cause::KafkaAway(Asker::Engine(self.number)), silent);
        let held = self.tasks.values().flat_map(Task::held);
        metrics::held(self.number, held.clone().map(|(_, why)| why));
        let mut told: Vec<String> = held.map(|((lane, channel, kind), why)| format!("{kind:?} {} {} ({})", channel.word(), lane.word(), cause(why))).collect();
        told.sort_unstable();
        told.dedup(); // of several partitions
        health.set(Cause::TimersHeld(self.number), (!told.is_empty()).then(|| format!("Due timers are held: {}.", told.join(", "))));
        let tasks = &self.tasks;
        self.refusals.forget(crate::clock::monotonic(), |partition| tasks.contains_key(partition));
        health.set(Cause::OutputRefused(self.number), self.refusals.told());
        let paused = self.full_inputs();
        health.set(
            Cause::RequestsPaused(self.number),
            (!paused.is_empty()).then(|| format!("Too many attempts are open; these inputs wait: {}.", paused.join(", "))),
        );
        let keyless = self.keyless.values().next();
        health.set(Cause::KeysAway(self.number), keyless.map(|why| format!("Keys cannot be made: {why}. Nothing is taken that cannot be sealed.")));
        // One cache serves all threads: one of them tells how it is.
        if self.number == 0 {
            let unanswered = self.shared.schemas.unanswered();
            let told =
                unanswered.map(|ids| format!("The schema registry does not answer. Schemas waited for: {ids}; the input partitions that need them wait too."));
            health.set(Cause::RegistryAway, told);
        }
        self.look_at_disk();
        metrics::gauges(self.number, self.tasks.values().map(|task| task.timers.armed()).sum(), self.tasks.values().map(|task| task.window.events()).sum());
    }

    /// Whether anything new may be taken. Also called before the first turn: a start on a full disk takes nothing either.
    pub(super) fn look_at_disk(&mut self) {
        let settings = &self.shared.settings;
        let short = free_bytes(&settings.state_folder).filter(|free| *free < settings.disk_free_min);
        let told = short.map(|free| {
            let (free, wanted) = (free >> 20, settings.disk_free_min >> 20);
            format!("Only {free} MiB are free under the state folder; below {wanted} MiB nothing new is taken.")
        });
        self.disk_full = told.is_some();
        self.shared.health.set(Cause::Disk(self.number), told);
    }

    /// Asked without partitions too, for one end: the answer shows that Kafka is there.
    fn ask_lag(&mut self) {
        let sources = &self.sources;
        let one = self.tasks.is_empty().then(|| (self.shared.settings.topics.receipts.to_string(), Partition(0)));
        let all = self.tasks.keys().flat_map(|&partition| {
            sources.iter().filter(move |source| partition.0 < source.partitions).map(move |source| (source.topic.to_string(), partition))
        });
        if self.lag_questions.open() == 0 {
            self.lag_questions.ask(all.chain(one), Duration::from_secs(5));
        }
    }

    /// Lag by source: records between what is decided and the log's end, and the age of the oldest that waits here.
    fn answer_lag(&mut self, own_now: Timestamp) {
        let mut records: BTreeMap<String, i64> = BTreeMap::new();
        while let Some(answer) = self.lag_questions.answer(Duration::ZERO) {
            for end in answer.unwrap_or_default() {
                if end.offset.is_some() {
                    self.heard = crate::clock::monotonic();
                }
                let position = self.tasks.get(&end.partition).and_then(|task| task.positions.0.get(&end.topic));
                if let (Some(offset), Some(position)) = (end.offset, position) {
                    *records.entry(end.topic).or_default() += (offset - position).max(0);
                }
            }
        }
        for (topic, records) in records {
            metrics::lag_records(self.number, &topic, records);
        }
        let mut oldest: BTreeMap<&str, Duration> = self.sources.iter().map(|source| (&*source.topic, Duration::ZERO)).collect();
        let fronts = self.waiting_requests.iter().map(|((_, partition), waiting)| (partition, waiting)).chain(&self.waiting_receipts);
        for (record, now) in fronts.filter_map(|(partition, waiting)| Some((waiting.front()?, self.tasks.get(partition)?.now(own_now)?))) {
            if let Some(age) = oldest.get_mut(record.topic()) {
                *age = now.since(record.time()).max(*age);
            }
        }
        for (topic, age) in oldest {
            metrics::lag_seconds(self.number, topic, age);
        }
    }

    /// By the earliest of the times, and not at all while they disagree: a broker whose clock is ahead would destroy keys that are in use.
    fn destroy_old_keys(&mut self, own_now: Timestamp) {
        if !self.clocks_agree(own_now) {
            return;
        }
        let Some(now) = self.tasks.values().filter_map(|task| task.now(own_now)).min() else { return };
        if let Err(error) = self.shared.sealer.keys().destroy_past(now) {
            tracing::warn!(%error, "Keys whose time is over could not be destroyed; trying again in a minute.");
        }
    }
}

/// What holds a timer, for whoever is on call.
const fn cause(why: Hold) -> &'static str {
    match why {
        Hold::No => "no reason",
        Hold::GatewaySilent => "no gateway gives a sign of life",
        Hold::DispatcherSilent => "its dispatcher gives no sign of life",
        Hold::Storm => "most receipts of the channel stay away at once",
    }
}

/// Bytes that a plain user may still write on the file system of this folder; `None` when it does not say.
fn free_bytes(folder: &Path) -> Option<u64> {
    let path = CString::new(folder.as_os_str().as_bytes()).ok()?;
    #[expect(unsafe_code, reason = "the standard library does not tell free space")]
    // SAFETY: the path is a C string, and statvfs is plain data that the call fills.
    let stat = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &raw mut stat) == 0).then_some(stat)?
    };
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_is_due_by_time_or_by_records_and_each_begins_both_anew() {
        let at = Duration::from_secs;
        let mut pace = FlushPace { time: Pace::new(at(30), at(0)), records: 0, written: true };
        pace.committed(UNFLUSHED_MAX - 1);
        assert!(!pace.due(at(29), 1));
        pace.committed(1);
        assert!(pace.due(at(29), 1));
        assert!(!pace.due(at(58), 1), "30 s count from the flush before");
        assert!(pace.due(at(59), 1));
        pace.committed(UNFLUSHED_MAX / 4);
        assert!(!pace.due(at(60), 4), "it would bring nothing more to the disk");
        pace.written();
        assert!(!pace.due(at(60), 3) && pace.due(at(60), 4), "all threads together");
    }

    #[test]
    fn a_write_out_of_turn_begins_the_pace_anew() {
        let at = Duration::from_secs;
        let mut paces = Paces::new(at(0));
        assert!(!paces.behind.due(at(4)) && paces.behind.due(at(5)));
        paces.written_out_of_turn(at(8));
        assert!(!paces.behind.due(at(12)) && paces.behind.due(at(13)));
    }

    #[test]
    fn free_space_is_told_where_there_is_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_bytes(folder.path()).is_some_and(|free| free > 0));
        assert_eq!(free_bytes(&folder.path().join("missing")), None);
    }
}
