//! One transaction: outputs, state, positions; and what follows it, in RocksDB when it committed, or a new beginning when it did not.
//!
//! Easily got wrong: any trouble has the same cure as a restart. The old producer is given up before anything else, so that nothing it left can land later.

use super::{Engine, EngineError, kafka};
use crate::crash_point::crash_point;
use crate::delivery::Partition;
use crate::engine::outputs::Output;
use crate::engine::stored::POSITION_KEY;
use crate::engine::task::Task;
#[cfg(feature = "mutants")]
use crate::engine::task::TaskError;
use crate::engine::transaction::{self, End, Refused, Transactor};
use crate::observe::engine as metrics;
use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::Duration;

/// So many events of the group are heard in one go before partitions are opened anew: errors and statistics of a long absence.
const GROUP_EVENTS_MAX: usize = 1_000;
/// While more timers of a task are due than a turn fires, commits come so much more often: what else is decided meanwhile waits for theirs. Source: `benches/TRIED.md`, "What keeps other traffic moving".
const FLOODED: u32 = 4;
/// With more than this committed since the store was written last, all threads of a process write before their time: twice as much rests in memory at most. A thread at
/// its fastest commits 110 MiB in the five seconds after which it writes anyway (40,000 deliveries a second of 550 bytes: reckoned; what this bound is worth was not measured by itself).
const YOUNG_BYTES_MAX: usize = 160 << 20;

impl Engine {
    pub(super) fn commit_due(&self, busy: bool) -> bool {
        self.commit_after(busy).is_some_and(|after| self.since_commit() >= after)
    }

    /// How long it is until a commit is due where nothing more comes; `None` where there is nothing to commit.
    pub(super) fn commit_in(&self) -> Option<Duration> {
        self.commit_after(false).map(|after| after.saturating_sub(self.since_commit()))
    }

    fn since_commit(&self) -> Duration {
        crate::clock::monotonic().saturating_sub(self.last_commit)
    }

    /// So long after the last commit the next one is due; `None` where there is nothing to commit.
    fn commit_after(&self, busy: bool) -> Option<Duration> {
        if self.decided == 0 && self.outputs.is_empty() {
            return None;
        }
        if !self.must_end() && !self.anything_to_write() {
            return None; // heartbeats alone: the idle commit takes care of their positions
        }
        let settings = &self.shared.settings;
        let now = self.careful > 0
            || self.must_end()
            || self.decided >= settings.batch_records_max
            || self.tasks.values().map(|task| task.overlay.bytes()).sum::<usize>() >= settings.batch_bytes_max;
        if now {
            return Some(Duration::ZERO);
        }
        let interval = settings.commit_interval / if self.flooded { FLOODED } else { 1 };
        Some(settings.commit_on_drain.filter(|_| !busy).map_or(interval, |pause| pause.min(interval)))
    }

    /// Whether the transaction must end although it may carry no more than positions: what stands alone in it keeps others waiting.
    fn must_end(&self) -> bool {
        self.alone.is_some() || self.tasks.values().any(Task::passed_suspect)
    }

    /// Whether a transaction would carry more than positions.
    pub(super) fn anything_to_write(&self) -> bool {
        !self.outputs.is_empty() || self.tasks.values().any(|task| !task.overlay.is_empty())
    }

    /// New starts are committed before the first read, so that a crash right after it starts at the same place.
    pub(super) fn commit_positions(&mut self) -> Result<(), EngineError> {
        self.commit_all(true)
    }

    pub(super) fn commit(&mut self) -> Result<(), EngineError> {
        self.commit_all(false)
    }

    fn commit_all(&mut self, idle: bool) -> Result<(), EngineError> {
        let touched: Vec<Partition> =
            self.tasks.values().filter(|task| task.positions != task.committed || !task.overlay.is_empty()).map(|task| task.partition).collect();
        if touched.is_empty() || (!idle && !self.must_end() && !self.anything_to_write()) {
            return Ok(());
        }
        let suspect = self.transactor.as_ref().map(Transactor::suspect);
        if suspect == Some(true) {
            metrics::producer_recycled("suspicion");
        }
        if suspect != Some(false) {
            self.new_producer()?;
        }
        self.put_blocks(&touched);
        #[cfg(feature = "mutants")]
        if crate::seeded_bug::planted("apply_before_commit") {
            for task in self.tasks.values_mut().filter(|task| !task.overlay.is_empty()) {
                task.write_too_early()?;
            }
        }
        let positions = self.changed_positions(&touched)?;
        let Some(group) = self.consumer.group_metadata() else { return self.start_over("the group's metadata are not known") };
        let transactor = self.transactor.take().expect("a producer was made above");
        let places = self.places(&touched);
        let (records, written) = self.records(&places);
        let count = records.len();
        let (end, transactor) = transactor.run(&records, &positions, &group);
        drop(records);
        self.transactor = transactor;
        match end {
            End::Committed { took } => {
                metrics::committed(took, self.decided, count);
                crash_point!("after_endtxn");
                self.committed(&written)
            }
            End::Aborted { why, refused } => {
                if let Some(refused) = refused {
                    self.blame(refused);
                }
                self.start_over(&why)
            }
            End::Unknown(why) => self.start_over(&why),
            End::Fenced(why) => Err(EngineError::Fenced(why)),
        }
    }

    /// Begins the transaction that would be committed now, positions alone if there is nothing else, and leaves it open.
    #[cfg(feature = "mutants")]
    pub(super) fn leave_transaction_open(&mut self) -> Result<(), EngineError> {
        let touched: Vec<Partition> = self.tasks.keys().copied().collect();
        self.put_blocks(&touched);
        let (positions, places) = (self.changed_positions(&touched)?, self.places(&touched));
        let transactor = self.transactor.take();
        let (records, _) = self.records(&places);
        let left = match (self.consumer.group_metadata(), transactor) {
            (Some(group), Some(transactor)) => transactor.leave_open(&records, &positions, &group).map_err(kafka("leaving a transaction open"))?,
            (_, transactor) => transactor,
        };
        drop(records);
        self.transactor = left;
        Ok(())
    }

    /// Adds the deduplication blocks of the touched tasks to what they change.
    fn put_blocks(&mut self, touched: &[Partition]) {
        for partition in touched {
            let task = self.tasks.get_mut(partition).expect("a touched task is there");
            for (key, value) in task.take_blocks() {
                task.overlay.put(key, value, false);
            }
        }
    }

    /// The position records of the touched tasks.
    fn places(&self, touched: &[Partition]) -> Vec<(Partition, Vec<u8>)> {
        touched.iter().map(|partition| (*partition, self.tasks[partition].positions.write())).collect()
    }

    /// All that the transaction writes: the outputs, then of each touched task what it changes, its position record last. And how many records each changelog
    /// partition gets.
    fn records<'a>(&'a self, places: &'a [(Partition, Vec<u8>)]) -> (Vec<Output<'a>>, BTreeMap<Partition, i64>) {
        let state = &self.shared.settings.topics.state;
        let changed = |(partition, _): &(Partition, Vec<u8>)| self.tasks[partition].overlay.len() + 1;
        let mut records = Vec::with_capacity(self.outputs.len() + places.iter().map(changed).sum::<usize>());
        records.extend(self.outputs.iter());
        let mut written = BTreeMap::new();
        for (partition, place) in places {
            let (number, before) = (partition.kafka(), records.len());
            let record = |key, value| Output { topic: state, partition: number, key, value, headers: &[] };
            records.extend(self.tasks[partition].overlay.changes().map(|(key, value)| record(key, value)));
            records.push(record(POSITION_KEY, Some(place)));
            written.insert(*partition, i64::try_from(records.len() - before).unwrap_or(0));
        }
        (records, written)
    }

    /// Of each touched partition at least one.
    fn changed_positions(&self, touched: &[Partition]) -> Result<TopicPartitionList, EngineError> {
        let mut list = TopicPartitionList::new();
        for partition in touched {
            let task = &self.tasks[partition];
            for (topic, next) in task.positions.to_commit(&task.committed, &self.shared.settings.topics.receipts) {
                list.add_partition_offset(topic, partition.kafka(), Offset::Offset(next)).map_err(kafka("noting positions"))?;
            }
        }
        Ok(list)
    }

    fn committed(&mut self, written: &BTreeMap<Partition, i64>) -> Result<(), EngineError> {
        let wall = crate::clock::wall();
        for (partition, records) in written {
            self.tasks.get_mut(partition).expect("a touched task is there").committed(*records, wall);
        }
        #[cfg(feature = "mutants")]
        if crate::seeded_bug::planted("apply_before_commit") {
            self.tasks.values_mut().try_for_each(Task::write_all)?;
        }
        self.paces.flush.committed(written.values().sum());
        self.outputs.clear();
        (self.decided, self.inputs_decided, self.flooded) = (0, 0, false);
        if self.alone.take().is_some() {
            self.careful -= 1;
        }
        self.last_commit = crate::clock::monotonic();
        self.heard = self.last_commit;
        let young: usize = self.tasks.values().map(|task| task.behind.young_bytes()).sum();
        if young > YOUNG_BYTES_MAX / self.shared.settings.threads.max(1) {
            self.paces.written_out_of_turn(self.last_commit);
            self.write_behind()?;
        }
        Ok(())
    }

    /// One batch for each task into its column family.
    pub(super) fn write_behind(&mut self) -> Result<(), EngineError> {
        self.paces.flush.written();
        let (due, rest): (Vec<Partition>, Vec<Partition>) = self.tasks.keys().partition(|partition| self.tasks[*partition].behind.anything_due());
        for partition in due.iter().chain(&rest) {
            // Of several stores one knows it for good: in the pass that kills it is flushed, or all of them would forget together.
            crash_point!("mid_apply", if due.contains(partition) && due.first() != Some(partition), after self.flush_all()?);
            self.tasks.get_mut(partition).expect("it was there just now").write_behind()?;
        }
        Ok(())
    }

    #[cfg(feature = "mutants")]
    fn flush_all(&self) -> Result<(), EngineError> {
        Ok(self.tasks.values().try_for_each(|task| task.store.flush()).map_err(TaskError::from)?)
    }

    /// The last commit for these tasks. Where it fails, they are not opened anew: their partitions go to somebody else, who would find them written to by two.
    pub(super) fn commit_for_good(&mut self) -> Result<(), EngineError> {
        self.giving_back = true;
        let committed = self.commit();
        self.giving_back = false;
        committed
    }

    /// A record of this transaction was refused for good. Its inputs are decided again one by one; one that stands alone has been found. Without any, what came
    /// back or a timer led to it: that partition's wait, since they would be refused in each transaction, and all else in it with them.
    fn blame(&mut self, refused: Refused) {
        match self.alone.take() {
            Some((partition, topic, offset)) => {
                if let Some(task) = self.tasks.get_mut(&partition) {
                    task.note.blame(&topic, offset);
                }
            }
            None if self.inputs_decided > 0 => self.careful = self.inputs_decided,
            None => {
                // Always: our records go to home partitions, and say to which.
                if let Ok(partition) = u16::try_from(refused.partition) {
                    self.refusals.refused(Partition(partition), refused, crate::clock::monotonic());
                }
            }
        }
    }

    /// The one cure: a new producer decides what the old one left, then the tasks are opened anew.
    pub(super) fn start_over(&mut self, why: &str) -> Result<(), EngineError> {
        tracing::warn!(thread = self.number, why, "A transaction did not commit; the tasks are opened anew.");
        metrics::producer_recycled("transaction");
        self.alone = None;
        let partitions: Vec<Partition> = self.tasks.keys().copied().collect();
        self.new_producer()?;
        if self.giving_back {
            self.close_tasks();
            return Ok(());
        }
        // The thread may have stood in the transaction for longer than the session: then the group took these partitions away meanwhile, and says so now.
        // Nothing else is in this queue: a record that was is read again after the next take-over.
        for _ in 0..GROUP_EVENTS_MAX {
            if self.consumer.poll(Duration::ZERO).is_none() || self.consumer.context().wants() {
                break;
            }
        }
        if self.consumer.context().wants() {
            self.close_tasks();
            return Ok(());
        }
        self.consumer.unassign().map_err(kafka("giving partitions back"))?;
        self.open_tasks(&partitions)
    }

    pub(super) fn new_producer(&mut self) -> Result<(), EngineError> {
        #[cfg(feature = "mutants")]
        if self.transactor.is_some() && crate::seeded_bug::without("recycle") {
            return Ok(());
        }
        self.transactor = None;
        let settings = &self.shared.settings;
        let id = format!("{}{}.{}", settings.topics.prefix(), settings.instance, self.number);
        let mut config = transaction::client_config(settings, &id);
        config.set("client.id", format!("{id}.producer"));
        let transactor = Transactor::open(&config, self.watch.clone(), settings.transaction_timeout).map_err(kafka("initialising transactions"))?;
        self.transactor = Some(transactor);
        Ok(())
    }
}
