//! PURE: the timers of one task. Enters: what each delivery's state says is set; leaves: what is due. All of it is derived and rebuilt when a partition opens.
//!
//! Easily got wrong: a cancelled timer stays in its slot until its time; only the generation tells that it is dead.

use crate::delivery::{Attempt, Channel, Lane, MessageId, TimerKind, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Width of a slot, and how many there are: 65 s in all. Source: `engine.md` §5, measured 0.35–0.39 µs per arm and cancel.
const SLOT_MS: i64 = 16;
const SLOTS: i64 = 4096;
/// Timers farther away than this rest in the ordered map.
const NEAR_MS: i64 = 60_000;
const NONE: u32 = u32::MAX;

/// One timer that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Whose.
    pub message_id: MessageId,
    /// Which clock.
    pub kind: TimerKind,
    /// For which try.
    pub attempt: Attempt,
    /// When it is due (Kafka time).
    pub at: Timestamp,
    /// The traffic of that try.
    pub traffic: (Channel, Lane),
}

/// Timers that are held or released together: of one group, the earliest decides for all.
pub type Group = (Lane, Channel, TimerKind);

/// A wheel for the next minute, an ordered map for later, and what is due but not fired.
#[derive(Debug)]
pub struct Timers {
    slots: Vec<Vec<Handle>>,
    /// The slot number (time / slot width) up to which everything is in `due`.
    reached: i64,
    far: BTreeSet<(Timestamp, Handle)>,
    due: BTreeMap<Group, BTreeSet<(Timestamp, Handle)>>,
    slab: Vec<Entry>,
    free: Vec<u32>,
    of_message: HashMap<MessageId, [u32; 4], foldhash::fast::RandomState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Handle {
    index: u32,
    generation: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    generation: u32,
    timer: Option<Timer>,
}

impl Timers {
    /// No timers; time begins at `now`.
    pub fn new(now: Timestamp) -> Self {
        let slots = usize::try_from(SLOTS).expect("the number of slots fits");
        Self {
            slots: vec![Vec::new(); slots],
            reached: slot_of(now) - 1,
            far: BTreeSet::new(),
            due: BTreeMap::new(),
            slab: Vec::new(),
            free: Vec::new(),
            of_message: HashMap::default(),
        }
    }

    /// Makes the timers of one delivery exactly these; an empty list clears all of them.
    pub fn replace(&mut self, message_id: MessageId, timers: &[(TimerKind, Attempt, Timestamp)], traffic: impl Fn(Attempt) -> (Channel, Lane)) {
        let before = self.of_message.get(&message_id).copied().unwrap_or([NONE; 4]);
        let mut held = before;
        for (position, index) in held.iter_mut().enumerate() {
            let wanted = timers.iter().find(|(kind, _, _)| kind_index(*kind) == position);
            if let Some(timer) = self.slab.get(*index as usize).and_then(|entry| entry.timer)
                && wanted.is_some_and(|&(kind, attempt, at)| timer.kind == kind && timer.attempt == attempt && timer.at == at)
            {
                continue;
            }
            self.release(*index);
            *index = match wanted {
                Some(&(kind, attempt, at)) => self.arm(Timer { message_id, kind, attempt, at, traffic: traffic(attempt) }),
                None => NONE,
            };
        }
        if held == before {
            return;
        }
        if held == [NONE; 4] {
            self.of_message.remove(&message_id);
        } else {
            self.of_message.insert(message_id, held);
        }
    }

    /// Whether this delivery has a timer: each that lives has one.
    pub fn knows(&self, message_id: &MessageId) -> bool {
        self.of_message.contains_key(message_id)
    }

    fn arm(&mut self, timer: Timer) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slab.push(Entry { generation: 0, timer: None });
            u32::try_from(self.slab.len() - 1).expect("fewer than four thousand million timers")
        });
        let entry = &mut self.slab[index as usize];
        entry.timer = Some(timer);
        let handle = Handle { index, generation: entry.generation };
        self.place(timer, handle);
        index
    }

    fn place(&mut self, timer: Timer, handle: Handle) {
        let slot = slot_of(timer.at);
        if slot <= self.reached {
            self.due.entry(group(&timer)).or_default().insert((timer.at, handle));
        } else if slot - self.reached <= NEAR_MS / SLOT_MS {
            self.slots[wheel_index(slot)].push(handle);
        } else {
            self.far.insert((timer.at, handle));
        }
    }

    fn release(&mut self, index: u32) {
        if let Some(entry) = self.slab.get_mut(index as usize)
            && let Some(timer) = entry.timer.take()
        {
            let handle = Handle { index, generation: entry.generation };
            entry.generation = entry.generation.wrapping_add(1);
            self.free.push(index);
            // The wheel is cleaned when its slot comes up; the two ordered collections at once, or they would grow.
            if let Some(due) = self.due.get_mut(&group(&timer)) {
                due.remove(&(timer.at, handle));
            }
            self.far.remove(&(timer.at, handle));
        }
    }

    /// Time has reached `now`: whatever is set for it or earlier becomes due. Never goes back.
    pub fn advance(&mut self, now: Timestamp) {
        // A slot is due when it is wholly over, so that no timer in it is early.
        let target = slot_of(now) - 1;
        // Never walk the wheel more than once, however long we were away.
        self.reached = self.reached.max(target - SLOTS);
        while self.reached < target {
            self.reached += 1;
            // Nothing in it is placed in it again: it is all due.
            let mut slot = std::mem::take(&mut self.slots[wheel_index(self.reached)]);
            for handle in slot.drain(..) {
                if let Some(timer) = self.timer(handle) {
                    self.place(timer, handle);
                }
            }
            self.slots[wheel_index(self.reached)] = slot;
        }
        let horizon = Timestamp::from_millis((self.reached + 1) * SLOT_MS + NEAR_MS - SLOT_MS);
        while let Some(&(at, handle)) = self.far.first()
            && at < horizon
        {
            self.far.pop_first();
            if let Some(timer) = self.timer(handle) {
                self.place(timer, handle);
            }
        }
    }

    fn timer(&self, handle: Handle) -> Option<Timer> {
        self.slab.get(handle.index as usize).filter(|entry| entry.generation == handle.generation).and_then(|entry| entry.timer)
    }

    /// Whether anything is due.
    pub fn anything_due(&self) -> bool {
        self.due.values().any(|due| !due.is_empty())
    }

    /// The groups that have something due, express first.
    pub fn due_groups(&self) -> Vec<Group> {
        self.due.iter().filter(|(_, due)| !due.is_empty()).map(|(group, _)| *group).collect()
    }

    /// The earliest due timer of a group.
    pub fn first_due(&self, group: Group) -> Option<Timer> {
        self.due.get(&group)?.first().and_then(|&(_, handle)| self.timer(handle))
    }

    /// How many timers of a group are due, not later than `until`; counts no further than `most`.
    pub fn due_count(&self, group: Group, until: Timestamp, most: usize) -> usize {
        self.due.get(&group).map_or(0, |due| due.iter().take_while(|(at, _)| *at <= until).take(most).count())
    }

    /// Takes the earliest due timer of a group out: it fires now.
    pub fn fire(&mut self, group: Group) -> Option<Timer> {
        let timer = self.first_due(group)?;
        let held = self.of_message.get_mut(&timer.message_id)?;
        let index = std::mem::replace(&mut held[kind_index(timer.kind)], NONE);
        if *held == [NONE; 4] {
            self.of_message.remove(&timer.message_id);
        }
        self.release(index);
        Some(timer)
    }

    /// How many timers are set, due ones included.
    pub fn armed(&self) -> usize {
        self.slab.len() - self.free.len()
    }
}

fn group(timer: &Timer) -> Group {
    (timer.traffic.1, timer.traffic.0, timer.kind)
}

fn kind_index(kind: TimerKind) -> usize {
    match kind {
        TimerKind::Lease => 0,
        TimerKind::Wait => 1,
        TimerKind::Linger => 2,
        TimerKind::BackOff => 3,
    }
}

fn slot_of(at: Timestamp) -> i64 {
    at.millis().div_euclid(SLOT_MS)
}

fn wheel_index(slot: i64) -> usize {
    usize::try_from(slot.rem_euclid(SLOTS)).expect("a remainder is not negative")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRAFFIC: (Channel, Lane) = (Channel::Sms, Lane::Express);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn id(number: u8) -> MessageId {
        MessageId::from_bytes([number; 16])
    }

    fn fire_all(timers: &mut Timers) -> Vec<(u8, TimerKind, i64)> {
        let mut fired = Vec::new();
        for group in timers.due_groups() {
            while let Some(timer) = timers.fire(group) {
                fired.push((timer.message_id.bytes()[0], timer.kind, timer.at.millis()));
            }
        }
        fired
    }

    #[test]
    fn a_timer_fires_once_never_early_and_at_most_a_slot_late() {
        let mut timers = Timers::new(at(1_000));
        timers.replace(id(1), &[(TimerKind::Wait, Attempt::FIRST, at(31_000))], |_| TRAFFIC);
        timers.advance(at(30_999));
        assert_eq!(fire_all(&mut timers), []);
        timers.advance(at(31_000 + 2 * SLOT_MS));
        assert_eq!(fire_all(&mut timers), [(1, TimerKind::Wait, 31_000)]);
        timers.advance(at(200_000));
        assert_eq!(fire_all(&mut timers), []);
        assert_eq!(timers.armed(), 0);
    }

    #[test]
    fn a_cleared_or_moved_timer_does_not_fire_at_its_old_time() {
        let mut timers = Timers::new(at(0));
        timers.replace(id(1), &[(TimerKind::Lease, Attempt::FIRST, at(10_000)), (TimerKind::Wait, Attempt::FIRST, at(20_000))], |_| TRAFFIC);
        timers.replace(id(1), &[(TimerKind::Wait, Attempt::FIRST, at(40_000))], |_| TRAFFIC);
        timers.advance(at(30_000));
        assert_eq!(fire_all(&mut timers), []);
        timers.advance(at(41_000));
        assert_eq!(fire_all(&mut timers), [(1, TimerKind::Wait, 40_000)]);
    }

    #[test]
    fn far_timers_come_near_and_long_absence_loses_none() {
        let mut timers = Timers::new(at(0));
        timers.replace(id(1), &[(TimerKind::Linger, Attempt::FIRST, at(600_000))], |_| TRAFFIC);
        timers.replace(id(2), &[(TimerKind::Wait, Attempt::FIRST, at(59_000))], |_| TRAFFIC);
        timers.advance(at(100_000_000));
        let mut fired = fire_all(&mut timers);
        fired.sort_by_key(|fired| fired.0);
        assert_eq!(fired, [(1, TimerKind::Linger, 600_000), (2, TimerKind::Wait, 59_000)]);
    }

    proptest! {
        /// Against a plain map: the same timers fire, each exactly once, none early, each by the second slot after its time.
        #[test]
        fn the_wheel_behaves_like_a_sorted_list(steps in proptest::collection::vec((0u8..6, 0i64..200_000, 0i64..4_000), 1..80)) {
            let mut timers = Timers::new(at(0));
            let mut model: BTreeMap<u8, i64> = BTreeMap::new();
            let mut now = 0;
            for (message, ahead, pass) in steps {
                timers.replace(id(message), &[(TimerKind::Wait, Attempt::FIRST, at(now + ahead))], |_| TRAFFIC);
                model.insert(message, now + ahead);
                now += pass * 20;
                timers.advance(at(now));
                for (message, _, due) in fire_all(&mut timers) {
                    prop_assert!(due <= now);
                    prop_assert_eq!(model.remove(&message), Some(due));
                }
                for due in model.values() {
                    prop_assert!(*due > now - 2 * SLOT_MS, "a timer set for {} has not fired at {}", due, now);
                }
            }
            prop_assert_eq!(timers.armed(), model.len());
        }
    }
}
