//! PURE: the books of one partition and one assignment of it. Enters: dispatches as they are read, the journal as it is read back, what calls and writes came
//! to, the time; leaves: what to write, call and report, and how far Kafka's positions may go.
//!
//! Easily got wrong: the journal decides, not the group. Only who reads his own entry back as the *first* of its attempt may call, or say that nobody called;
//! and own means this assignment's epoch, since an earlier tenure of ours may have calls out too.

mod book;
mod reading;
mod settled;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

pub use book::{Coverage, REPLAY_BEFORE_LAST, replay_start};

use super::slot::{Slot, Traffic};
use crate::delivery::{AttemptId, Lane, NotAfter, Outcome, Reason, Timestamp};
use crate::event::records::{JournalEntry, JournalKind};
use book::{Book, First};
use reading::Reading;
use settled::Settled;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// An entry that was written and not read back within this time is written again: a write may have failed, and a second entry of the same epoch changes nothing.
pub const REPEAT_AFTER: Duration = Duration::from_secs(1);

/// What the ledger must know of a dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Which try.
    pub attempt_id: AttemptId,
    /// Channel and lane.
    pub traffic: Traffic,
    /// When nobody may hold it any more (Kafka time).
    pub lease_end: Timestamp,
    /// From then on it must not leave (Kafka time).
    pub not_after: NotAfter,
    /// When the whole notification ends (Kafka time).
    pub expiry: Timestamp,
}

/// What became of an attempt: the content of its outcome record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Final {
    /// What became of the call.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// The provider's own number; 0 for none.
    pub code: u32,
    /// Keyed hash of the provider's id, where it gave one.
    pub provider_id: Option<[u8; 16]>,
}

impl Final {
    /// Without a provider's number or id.
    pub const fn plain(outcome: Outcome, reason: Reason) -> Self {
        Self { outcome, reason, code: 0, provider_id: None }
    }

    /// Not sent, by our own delay.
    pub const TOO_LATE: Self = Self::plain(Outcome::TooLate, Reason::TooLate);
    /// Nobody can say whether it went out.
    pub const UNKNOWN: Self = Self::plain(Outcome::Unknown, Reason::Unknown);
}

/// What is to be done. The order between two of them does not matter; what must come after something else is not said before that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Todo {
    /// Append to the journal.
    Write(JournalEntry),
    /// Make the call: the own intent stands first. `not_after` is asked once more right before the socket.
    Call(AttemptId),
    /// Make the outcome durable in the receipts topic, then say [`Ledger::reported`].
    Report(AttemptId, Final),
}

/// Where an attempt in hand stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing is claimed. Counted in the order of reading.
    Waiting { order: u64 },
    /// An entry is written and not yet read back.
    Claimed { claim: Claim, since: Timestamp },
    /// The own intent stands first; the call is the shell's.
    Calling,
    /// Somebody else's entry stands first, or might: the end of the lease decides.
    Foreign,
    /// The outcome is being written.
    Reporting(Final),
    /// The outcome is durable; the done mark is written and not yet read back.
    Closing { since: Timestamp },
}

/// What an entry of ours claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// To call.
    Intent,
    /// That nobody calls.
    Refused(Final),
}

#[derive(Debug)]
struct InHand {
    work: Work,
    /// When the dispatch was appended to its topic.
    appended: Timestamp,
    /// Where the instruction lies; more than one place after a torn transaction.
    records: Vec<(Slot, i64)>,
    stage: Stage,
}

/// The books of one partition.
#[derive(Debug)]
pub struct Ledger {
    epoch: u64,
    book: Book,
    hand: BTreeMap<AttemptId, InHand>,
    /// Not claimed yet, express first, then in the order of reading.
    waiting: BTreeSet<(Lane, u64, AttemptId)>,
    taken: u64,
    /// Without a durable outcome, by the end of their leases.
    unsettled: BTreeMap<Traffic, BTreeSet<(Timestamp, AttemptId)>>,
    /// Written and not read back, by own time of the writing.
    unread: BTreeSet<(Timestamp, AttemptId)>,
    reading: BTreeMap<Slot, Reading>,
    settled: Settled,
    leaving: bool,
    todo: Vec<Todo>,
    finished: Vec<AttemptId>,
}

impl Ledger {
    /// For a partition that was just assigned. `epoch` is random, drawn for this assignment. Nothing is claimed before [`Ledger::replay`] was told and reached.
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            book: Book::default(),
            hand: BTreeMap::new(),
            waiting: BTreeSet::new(),
            taken: 0,
            unsettled: BTreeMap::new(),
            unread: BTreeSet::new(),
            reading: BTreeMap::new(),
            settled: Settled::default(),
            leaving: false,
            todo: Vec::new(),
            finished: Vec::new(),
        }
    }

    /// The journal is replayed from `start` and counts as replayed at `end`, which was asked for after the epoch was drawn.
    pub fn replay(&mut self, start: i64, end: i64, coverage: Coverage) {
        self.book.replay(start, end, coverage);
    }

    /// Whether the journal is read up to the end that counts.
    pub fn replayed(&self) -> bool {
        self.book.replayed()
    }

    /// Its epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// One dispatch was read. `appended`: its append time (Kafka time). True: it is in hand from now on, until [`Ledger::finished`] names it. False: it was in
    /// hand or done already, and nothing more will come of this record.
    pub fn taken(&mut self, slot: Slot, offset: i64, appended: Timestamp, work: Work) -> bool {
        if !self.reading.entry(slot).or_default().take(offset) {
            return false;
        }
        let id = work.attempt_id;
        if let Some(hand) = self.hand.get_mut(&id) {
            hand.records.push((slot, offset));
            return false;
        }
        if let Some(first_offset) = self.book.done(&id) {
            self.reading.entry(slot).or_default().finish(offset, Some(first_offset));
            return false;
        }
        let stage = if self.book.first(&id).is_some() {
            Stage::Foreign
        } else {
            self.taken += 1;
            self.waiting.insert((work.traffic.1, self.taken, id));
            Stage::Waiting { order: self.taken }
        };
        self.unsettled.entry(work.traffic).or_default().insert((work.lease_end, id));
        self.hand.insert(id, InHand { work, appended, records: vec![(slot, offset)], stage });
        true
    }

    /// A record that is no dispatch: nothing will come of it.
    pub fn skipped(&mut self, slot: Slot, offset: i64) {
        let reading = self.reading.entry(slot).or_default();
        if reading.take(offset) {
            reading.finish(offset, None);
        }
    }

    /// Everything below `position` of this topic was handed in: control records count too.
    pub fn read(&mut self, slot: Slot, position: i64) {
        self.reading.entry(slot).or_default().reach(position);
    }

    /// One entry of the journal, in the journal's order. `None`: bytes that are no entry.
    pub fn journal(&mut self, offset: i64, appended: Timestamp, entry: Option<JournalEntry>) {
        let Some(entry) = entry else { return self.book.pass(offset, appended) };
        let id = entry.attempt_id;
        let Some(first) = self.book.enter(offset, appended, entry) else { return };
        if entry.kind == JournalKind::Done {
            self.done(id);
            return;
        }
        let Some(hand) = self.hand.get_mut(&id) else { return };
        match hand.stage {
            Stage::Waiting { order } => {
                hand.stage = Stage::Foreign;
                self.waiting.remove(&(hand.work.traffic.1, order, id));
            }
            Stage::Claimed { claim, since } => {
                self.unread.remove(&(since, id));
                let ours = matches!(first, First::Intent(epoch) | First::Refused(epoch) if epoch == self.epoch);
                match claim {
                    Claim::Intent if ours && !self.leaving => {
                        hand.stage = Stage::Calling;
                        self.todo.push(Todo::Call(id));
                    }
                    // Own and first, and not called: proven not to have gone out.
                    Claim::Intent if ours => self.report(id, Final::TOO_LATE),
                    Claim::Refused(end) if ours => self.report(id, end),
                    Claim::Intent | Claim::Refused(_) => hand.stage = Stage::Foreign,
                }
            }
            Stage::Calling | Stage::Foreign | Stage::Reporting(_) | Stage::Closing { .. } => {}
        }
    }

    /// Time passes. `now` is Kafka time; `None` while it is not known or the clocks disagree: then nothing is claimed and no lease ends. `refuse` is asked for each
    /// attempt that could be claimed, and answers why it should not be called (an open breaker).
    pub fn tick(&mut self, own_now: Timestamp, now: Option<Timestamp>, mut refuse: impl FnMut(&Work) -> Option<Final>) {
        if !self.book.replayed() {
            return;
        }
        #[cfg(feature = "mutants")]
        self.go_on_with_own();
        if let Some(now) = now {
            self.end_leases(now);
            if !self.leaving {
                while let Some((_, _, id)) = self.waiting.pop_first() {
                    self.claim_or_leave(id, own_now, now, &mut refuse);
                }
            }
            self.book.forget(now);
        }
        self.repeat(own_now, now);
    }

    fn claim_or_leave(&mut self, id: AttemptId, own_now: Timestamp, now: Timestamp, refuse: &mut impl FnMut(&Work) -> Option<Final>) {
        let hand = self.hand.get_mut(&id).expect("what waits is in hand");
        if !self.book.covers(hand.appended) {
            hand.stage = Stage::Foreign;
            return;
        }
        let in_time = hand.work.not_after.allows(now);
        #[cfg(feature = "mutants")]
        let in_time = in_time || crate::seeded_bug::planted("ignore_not_after");
        let claim = if !in_time {
            Claim::Refused(Final::TOO_LATE)
        } else if let Some(end) = refuse(&hand.work) {
            Claim::Refused(end)
        } else {
            Claim::Intent
        };
        #[cfg(feature = "mutants")]
        if claim == Claim::Intent && crate::seeded_bug::planted("intent_after_call") {
            hand.stage = Stage::Calling;
            self.todo.push(Todo::Call(id));
            return;
        }
        #[cfg(feature = "mutants")]
        if claim == Claim::Intent && crate::seeded_bug::planted("no_read_back") {
            hand.stage = Stage::Calling;
            self.write(id, JournalKind::Intent);
            self.todo.push(Todo::Call(id));
            return;
        }
        #[cfg(feature = "mutants")]
        if let (Claim::Refused(end), true) = (claim, crate::seeded_bug::planted("unclaimed_too_late")) {
            return self.report(id, end);
        }
        hand.stage = Stage::Claimed { claim, since: own_now };
        self.unread.insert((own_now, id));
        self.write(id, claim.kind());
    }

    /// A bug: what stands first and has this epoch is called, as if no earlier assignment could have called it. With an epoch for each assignment there is none.
    #[cfg(feature = "mutants")]
    fn go_on_with_own(&mut self) {
        if !crate::seeded_bug::planted("epoch_per_process") {
            return;
        }
        for (id, hand) in self.hand.iter_mut().filter(|(_, hand)| hand.stage == Stage::Foreign) {
            if matches!(self.book.first(id), Some(First::Intent(epoch)) if epoch == self.epoch) {
                hand.stage = Stage::Calling;
                self.todo.push(Todo::Call(*id));
            }
        }
    }

    /// A lease ended: what somebody else claimed and did not finish is told now, and not before.
    fn end_leases(&mut self, now: Timestamp) {
        let ended: Vec<AttemptId> = self.unsettled.values().flat_map(|leases| leases.iter().take_while(|(end, _)| *end <= now).map(|(_, id)| *id)).collect();
        for id in ended {
            let foreign = self.hand.get(&id).is_some_and(|hand| hand.stage == Stage::Foreign);
            if foreign {
                // A refusal that stands first proves that nobody calls; what else it was to say is lost with its writer.
                let end = if matches!(self.book.first(&id), Some(First::Refused(_))) { Final::TOO_LATE } else { Final::UNKNOWN };
                self.report(id, end);
            }
        }
    }

    /// What was written and not read back in time is written again; an intent that can no longer be followed by a call becomes a refusal.
    fn repeat(&mut self, own_now: Timestamp, now: Option<Timestamp>) {
        let long_ago = own_now.minus(REPEAT_AFTER);
        while let Some(&(since, id)) = self.unread.first()
            && since <= long_ago
        {
            self.unread.remove(&(since, id));
            let Some(hand) = self.hand.get_mut(&id) else { continue };
            let kind = match &mut hand.stage {
                Stage::Claimed { claim, since } => {
                    if *claim == Claim::Intent && now.is_some_and(|now| !hand.work.not_after.allows(now)) {
                        *claim = Claim::Refused(Final::TOO_LATE);
                    }
                    *since = own_now;
                    claim.kind()
                }
                Stage::Closing { since } => {
                    *since = own_now;
                    JournalKind::Done
                }
                Stage::Waiting { .. } | Stage::Calling | Stage::Foreign | Stage::Reporting(_) => continue,
            };
            self.unread.insert((own_now, id));
            self.write(id, kind);
        }
    }

    /// A call ended, or was never made after all.
    pub fn called(&mut self, id: AttemptId, end: Final) {
        if self.hand.get(&id).is_some_and(|hand| hand.stage == Stage::Calling) {
            #[cfg(feature = "mutants")]
            if crate::seeded_bug::planted("intent_after_call") {
                self.write(id, JournalKind::Intent);
            }
            self.report(id, end);
        }
    }

    /// The outcome is durable.
    pub fn reported(&mut self, id: AttemptId, own_now: Timestamp) {
        let Some(hand) = self.hand.get_mut(&id) else { return };
        if !matches!(hand.stage, Stage::Reporting(_)) {
            return;
        }
        hand.stage = Stage::Closing { since: own_now };
        if let Some(leases) = self.unsettled.get_mut(&hand.work.traffic) {
            leases.remove(&(hand.work.lease_end, id));
        }
        if self.book.done(&id).is_some() {
            self.finish(id);
        } else {
            self.unread.insert((own_now, id));
            self.write(id, JournalKind::Done);
        }
    }

    /// The partition goes to somebody else, or the process ends. Nothing is claimed any more; what is claimed and not called ends as *too_late*. What was never
    /// claimed stays for the next owner.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// After [`Ledger::leave`]: whether nothing of ours is under way any more.
    pub fn left(&self) -> bool {
        self.leaving && self.hand.values().all(|hand| matches!(hand.stage, Stage::Waiting { .. } | Stage::Foreign))
    }

    /// What is to be done now.
    pub fn todo(&mut self) -> Vec<Todo> {
        std::mem::take(&mut self.todo)
    }

    /// Attempts that are out of hand since the last time.
    pub fn finished(&mut self) -> Vec<AttemptId> {
        std::mem::take(&mut self.finished)
    }

    /// Up to where this topic's position may be committed: its lowest unfinished attempt; `None` before anything is known of it.
    pub fn watermark(&self, slot: Slot) -> Option<i64> {
        #[cfg(feature = "mutants")]
        if crate::seeded_bug::planted("skip_unfinished") {
            return self.reading.get(&slot).and_then(Reading::position);
        }
        self.reading.get(&slot).and_then(Reading::watermark)
    }

    /// Up to where the journal's position may be committed together with the watermarks: nothing that a reader of the records above them must know lies below.
    pub fn journal_position(&self) -> Option<i64> {
        let position = self.book.position()?;
        let above = self.reading.values().filter_map(Reading::lowest_journal_offset).min();
        // What waits unclaimed (no Kafka time, say) must still be known to have no entry after the next replay, or it would be *unknown* without anybody's call.
        let waiting = self.waiting.iter().filter_map(|(_, _, id)| self.hand.get(id)).map(|hand| hand.appended);
        let waiting = waiting.filter(|appended| self.book.covers(*appended)).min().and_then(|appended| self.book.covering(appended));
        Some([above, self.book.lowest_open(), waiting].into_iter().flatten().fold(position, i64::min))
    }

    /// The ends of topics (read uncommitted), asked for at `asked` (Kafka time).
    pub fn ends(&mut self, asked: Timestamp, ends: &BTreeMap<Slot, i64>) {
        self.settled.ends(asked, ends);
    }

    /// For the heartbeat of one channel and lane: every dispatch whose lease ended before this time, and that was committed by then, has a durable outcome.
    /// `None` before enough is known. Never goes back.
    pub fn settled(&mut self, traffic: Traffic) -> Option<Timestamp> {
        let unfinished = self.unsettled.get(&traffic).and_then(|leases| leases.first()).map(|(end, _)| *end);
        let reading = &self.reading;
        self.settled.advance(traffic, unfinished, |slot| reading.get(&slot).and_then(Reading::position))
    }

    /// How many attempts are in hand.
    pub fn in_hand(&self) -> usize {
        self.hand.len()
    }

    fn report(&mut self, id: AttemptId, end: Final) {
        let hand = self.hand.get_mut(&id).expect("only an attempt in hand is reported");
        hand.stage = Stage::Reporting(end);
        self.todo.push(Todo::Report(id, end));
    }

    fn write(&mut self, attempt_id: AttemptId, kind: JournalKind) {
        self.todo.push(Todo::Write(JournalEntry { attempt_id, kind, epoch: self.epoch }));
    }

    /// Somebody marked it done. While a call or a report of ours is under way it stays in hand: the known outcome must not get lost.
    fn done(&mut self, id: AttemptId) {
        let Some(hand) = self.hand.get(&id) else { return };
        match hand.stage {
            Stage::Calling | Stage::Reporting(_) => {}
            Stage::Waiting { order } => {
                self.waiting.remove(&(hand.work.traffic.1, order, id));
                self.finish(id);
            }
            Stage::Claimed { since, .. } | Stage::Closing { since } => {
                self.unread.remove(&(since, id));
                self.finish(id);
            }
            Stage::Foreign => self.finish(id),
        }
    }

    fn finish(&mut self, id: AttemptId) {
        let hand = self.hand.remove(&id).expect("only an attempt in hand is finished");
        let journal_offset = self.book.done(&id);
        for (slot, offset) in hand.records {
            self.reading.entry(slot).or_default().finish(offset, journal_offset);
        }
        if let Some(leases) = self.unsettled.get_mut(&hand.work.traffic) {
            leases.remove(&(hand.work.lease_end, id));
        }
        self.book.keep_until(&id, hand.work.expiry);
        self.finished.push(id);
    }
}

impl Claim {
    fn kind(self) -> JournalKind {
        match self {
            Self::Intent => JournalKind::Intent,
            Self::Refused(_) => JournalKind::Refused,
        }
    }
}
