//! What one partition knows, and what it waits for; it decides in `decide.rs`: a record or a timer in, a changed overlay and outputs out. Nothing here talks to
//! Kafka.
//!
//! Easily got wrong: everything in a task may be ahead of what is committed. When a transaction does not commit, the task is thrown away and opened anew.

#[cfg(feature = "mutants")]
mod bugs;
mod decide;
mod due;
mod holds;
mod outputs;
#[cfg(test)]
mod tests;

use super::behind::Behind;
use super::dedup::{Hash, Window};
use super::gate::Gate;
use super::kafka_time::{self, Estimator};
use super::key::Key;
use super::overlay::Overlay;
use super::poison::Note;
use super::store::{PartitionStore, StoreError};
use super::stored::{self, BadBytes, CancelEntry, Delivery, Meta, Positions};
#[cfg(feature = "mutants")]
use super::timers::Timer;
use super::timers::Timers;
use crate::delivery::{Channel, KnownRoutes, Lane, MessageId, Partition, State, Timestamp};
use crate::privacy::SealError;
use holds::Holds;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// So many deduplication blocks are deleted in one go, and the rest of their minute: each second, where some 30 become old (a guess of both).
const EXPIRED_MAX: usize = 500;
/// So many deliveries are looked up in a row: a core waits for some ten lines of memory at once (a guess; 8 and 32 were not tried).
pub(super) const LOOK_AHEAD: usize = 16;

/// One partition of everything.
pub struct Task {
    /// Which.
    pub partition: Partition,
    pub(super) store: PartitionStore,
    pub(super) overlay: Overlay,
    pub(super) behind: Behind,
    pub(super) timers: Timers,
    pub(super) gate: Gate,
    pub(super) clock: Estimator,
    pub(super) hello_written: Option<Timestamp>,
    pub(super) window: Window,
    pub(super) note: Note,
    /// The next offset of each source, decided ones included.
    pub(super) positions: Positions,
    /// What of it is committed.
    pub(super) committed: Positions,
    /// The changelog's position and identity as of the last transaction.
    pub(super) meta: Meta,
    /// The same as of when what is young began: it goes into the store with what is old.
    began: Meta,
    /// The changelog's position that the store says.
    reached: i64,
    /// Sources that are read again below these offsets; until then receipts wait.
    pub(super) reread: BTreeMap<String, i64>,
    /// Cancel inputs that had records up to here when the task opened, and are not read so far yet.
    unread_cancels: BTreeMap<String, i64>,
    /// When one of them was last read (monotonic).
    pub(super) cancel_read: Duration,
    /// Attempts without outcome and receipt.
    pub(super) open: BTreeMap<(Channel, Lane), usize>,
    cancels_first: BTreeSet<(Timestamp, Hash)>,
    holds: Holds,
    first_of_block: Option<MessageId>,
    /// Where a delivery is read while its key is changed.
    reading: Vec<u8>,
    routes: KnownRoutes,
    /// Statuses told of each message since the task was opened, and waits that were cleared: two bugs live of them.
    #[cfg(feature = "mutants")]
    told: BTreeMap<MessageId, u32>,
    #[cfg(feature = "mutants")]
    cleared: Vec<Timer>,
}

/// Why a task cannot go on: it is thrown away, and opened anew or rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The store answers with an error.
    #[error("the state store: {0}")]
    Store(#[from] StoreError),
    /// What is stored cannot be read: this partition is rebuilt from the changelog.
    #[error("stored bytes: {0}")]
    Bytes(#[from] BadBytes),
    /// No key to seal with, now: nothing is taken until there is.
    #[error("sealing: {0}")]
    Seal(#[from] SealError),
}

/// Where a record lies, as a task needs it.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its offset.
    pub offset: i64,
    /// Its Kafka timestamp.
    pub time: Timestamp,
}

impl Task {
    /// A task on an opened store whose changelog has been replayed. `rebuild` must follow.
    pub(super) fn new(partition: Partition, store: PartitionStore, note: Note, meta: Meta, now: Timestamp) -> Self {
        let positions = Positions(meta.next_offsets.clone());
        Self {
            partition,
            store,
            overlay: Overlay::default(),
            behind: Behind::default(),
            timers: Timers::new(now),
            gate: Gate::default(),
            clock: Estimator::default(),
            hello_written: None,
            window: Window::default(),
            note,
            committed: positions.clone(),
            positions,
            began: meta.clone(),
            reached: meta.changelog_position,
            meta,
            reread: BTreeMap::new(),
            unread_cancels: BTreeMap::new(),
            cancel_read: Duration::ZERO,
            open: BTreeMap::new(),
            cancels_first: BTreeSet::new(),
            holds: Holds::default(),
            first_of_block: None,
            reading: Vec::new(),
            routes: KnownRoutes::default(),
            #[cfg(feature = "mutants")]
            told: BTreeMap::new(),
            #[cfg(feature = "mutants")]
            cleared: Vec::new(),
        }
    }

    /// Fills timers, counts and the deduplication window from the store.
    pub(super) fn rebuild(&mut self) -> Result<(), TaskError> {
        let mut fault = Ok(());
        let (timers, open, routes) = (&mut self.timers, &mut self.open, &mut self.routes);
        self.store.scan(stored::DELIVERY, &mut |key, value| {
            let read = Delivery::read(value, routes).and_then(|delivery| Ok((stored::message_id_of(key).ok_or(BadBytes::Shape)?, delivery)));
            match read {
                Ok((id, delivery)) => {
                    timers.replace(id, delivery.state.timer().as_slice(), |attempt| traffic(&delivery.state, attempt));
                    if let Some(traffic) = delivery.state.open_attempt() {
                        *open.entry(traffic).or_default() += 1;
                    }
                }
                Err(bad) => fault = Err(bad),
            }
        })?;
        let window = &mut self.window;
        self.store.scan(stored::BLOCK, &mut |key, value| {
            if let Err(bad) = window.restore(key, value) {
                fault = Err(bad);
            }
        })?;
        let cancels = &mut self.cancels_first;
        self.store.scan(stored::CANCEL, &mut |key, value| match (CancelEntry::read(value), stored::cancel_hash_of(key)) {
            (Ok(CancelEntry::Cancelled(until)), Some(hash)) => {
                cancels.insert((until, hash));
            }
            (Ok(CancelEntry::Delivery(_)), Some(_)) => {}
            (Err(bad), _) => fault = Err(bad),
            (_, None) => fault = Err(BadBytes::Shape),
        })?;
        fault.map_err(TaskError::from)
    }

    /// Kafka time now; `None` while it is not known: then nothing is decided that needs it.
    pub fn now(&self, own_now: Timestamp) -> Option<Timestamp> {
        self.clock.kafka_now(own_now)
    }

    /// Decides the record at `at`, which the note names meanwhile: a process that dies in here dies of it. One that ends of an error does not: the error is the
    /// store's, or of whoever has the keys, and the record may be decided the next time.
    pub(super) fn deciding(&mut self, at: At<'_>, decide: impl FnOnce(&mut Self) -> Result<(), TaskError>) -> Result<(), TaskError> {
        self.note.begin(at.topic, at.offset);
        let decided = decide(self);
        self.note.rest();
        decided?;
        self.passed(at);
        Ok(())
    }

    /// The record at `at` is dealt with, whatever became of it.
    pub fn passed(&mut self, at: At<'_>) {
        match self.positions.0.get_mut(at.topic) {
            Some(next) => *next = at.offset + 1,
            None => {
                self.positions.0.insert(at.topic.to_owned(), at.offset + 1);
            }
        }
        if self.reread.get(at.topic).is_some_and(|&until| at.offset + 1 >= until) {
            self.reread.remove(at.topic);
        }
        if self.unread_cancels.get(at.topic).is_some_and(|&end| at.offset + 1 >= end) {
            self.unread_cancels.remove(at.topic);
        }
    }

    /// Whether the record at which the process may have died is decided, and not committed yet.
    pub fn passed_suspect(&self) -> bool {
        self.note.suspect().is_some_and(|suspect| self.positions.0.get(&suspect.topic).is_some_and(|next| *next > suspect.offset))
    }

    /// The end of a cancel input as it was when the task opened, or the end of its last record once that is known.
    pub(super) fn cancels_end_at(&mut self, topic: &str, end: i64) {
        if self.positions.0.get(topic).is_some_and(|&next| next < end) {
            self.unread_cancels.insert(topic.to_owned(), end);
        } else {
            self.unread_cancels.remove(topic);
        }
    }

    /// Whether this input has cancels from before the task opened, none of them behind `end`.
    pub(super) fn awaits_cancels_of(&self, topic: &str, end: i64) -> bool {
        self.unread_cancels.get(topic).is_some_and(|&until| until <= end)
    }

    /// Whether requests and timers should wait, because what was withdrawn before the task opened is not all read.
    pub fn awaits_cancels(&self) -> bool {
        !self.unread_cancels.is_empty()
    }

    /// Whether receipts must wait, because an input is read again below the positions seen when the task opened.
    pub fn rereading(&self) -> bool {
        !self.reread.is_empty()
    }

    /// Reads what is known of a key. Whoever then changes it says that it was committed: where it began in this transaction, the overlay's first word on it counts.
    fn load<T>(&self, key: &Key, read: impl FnOnce(&[u8]) -> Result<T, BadBytes>) -> Result<Option<T>, TaskError> {
        match self.overlay.get(key).or_else(|| self.behind.get(key)) {
            Some(value) => Ok(value.map(read).transpose()?),
            None => Ok(self.store.get(key)?.as_deref().map(read).transpose()?),
        }
    }

    /// Looks these deliveries up and forgets what it saw. A busy day's deliveries are in no cache of the processor: looked up one by one, as they are decided, each
    /// waits for memory by itself; in a row they wait together. What that is worth: `benches/TRIED.md`.
    pub(super) fn look_ahead(&self, ids: impl Iterator<Item = MessageId> + Clone) {
        let armed = ids.clone().filter(|id| self.timers.knows(id)).count();
        let changed = ids.clone().filter(|id| self.overlay.get(&stored::delivery_key(id)).is_some()).count();
        let first_byte = |id| self.behind.get(&stored::delivery_key(&id)).flatten()?.first().copied();
        std::hint::black_box((armed, changed, ids.filter_map(first_byte).fold(0, u8::wrapping_add)));
    }

    /// Copies the value of a key, as [`Task::load`] finds it; false where there is none.
    fn copy(&self, key: &Key, into: &mut Vec<u8>) -> Result<bool, TaskError> {
        into.clear();
        let copied = self.load(key, |value| {
            into.extend_from_slice(value);
            Ok(())
        });
        copied.map(|copied| copied.is_some())
    }

    /// The transaction that held the overlay is committed, with so many records in the changelog.
    pub(super) fn committed(&mut self, records: i64, wall: Timestamp) {
        // A lower bound: our records and one commit marker. Aborted junk makes it lag, which replay forgives.
        self.meta.changelog_position += records + 1;
        self.meta.next_offsets.clone_from(&self.positions.0);
        self.meta.wall = wall;
        for (key, value, logged) in self.overlay.take() {
            self.behind.change(key, value, logged);
        }
        for (topic, &next) in &self.positions.0 {
            self.note.committed(topic, next);
        }
        self.committed = self.positions.clone();
    }

    /// Writes what has rested for a while into the store, and lets what is younger rest. Where another thread has the partition by now nothing is written, and
    /// nothing is wrong: the revoke is on its way to us, and the heir has all of it from the changelog.
    pub(super) fn write_behind(&mut self) -> Result<(), TaskError> {
        if self.behind.anything_due() || self.began.changelog_position != self.reached {
            match self.store.apply(self.behind.due(), &self.began) {
                Ok(()) => {}
                Err(StoreError::Taken) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            self.reached = self.began.changelog_position;
        }
        self.behind.written();
        self.began = self.meta.clone();
        Ok(())
    }

    /// Writes everything into the store that is committed.
    pub(super) fn write_all(&mut self) -> Result<(), TaskError> {
        if self.meta.changelog_position != self.reached {
            self.store.apply(self.behind.all(), &self.meta)?;
            self.reached = self.meta.changelog_position;
        }
        self.behind = Behind::default();
        self.began = self.meta.clone();
        Ok(())
    }

    /// What a process would do that wrote before it committed.
    #[cfg(feature = "mutants")]
    pub(super) fn write_too_early(&mut self) -> Result<(), TaskError> {
        self.write_all()?;
        Ok(self.store.apply(self.overlay.changes(), &self.meta)?)
    }

    /// Forgets deduplication minutes and early cancels whose time is over.
    fn expire(&mut self, window: Duration, now: Timestamp) {
        for key in self.window.expire(now, window, EXPIRED_MAX) {
            self.overlay.delete(key, true);
        }
        while let Some(&(until, hash)) = self.cancels_first.first()
            && until <= now
        {
            self.cancels_first.pop_first();
            let key = stored::cancel_key(&hash);
            let logged = self.overlay.get(&key).is_none();
            self.overlay.delete(key, logged);
        }
    }

    /// The deduplication blocks of this transaction.
    pub(super) fn take_blocks(&mut self) -> Vec<(Key, Vec<u8>)> {
        self.first_of_block.take().map(|first| self.window.take_blocks(first)).unwrap_or_default()
    }
}

/// Forgets in each task what is over. In none while their clocks disagree, or one has not been heard yet: nobody knows then whose time is right, and what is
/// forgotten does not come back.
pub(super) fn expire_all(tasks: &mut BTreeMap<Partition, Task>, window: Duration, own_now: Timestamp) {
    let heard = tasks.values().all(|task| task.clock.age(own_now).is_some());
    if !heard || kafka_time::disagree(tasks.values().filter_map(|task| task.clock.offset(own_now))) {
        return;
    }
    for task in tasks.values_mut() {
        if let Some(now) = task.now(own_now) {
            task.expire(window, now);
        }
    }
}

/// The channel and lane of an attempt.
fn traffic(state: &State, attempt: crate::delivery::Attempt) -> (Channel, Lane) {
    let at = usize::from(attempt.step).saturating_sub(1);
    (state.channels().nth(at).unwrap_or(Channel::Sms), state.lane())
}
