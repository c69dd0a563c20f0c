//! PURE: the timers of one task. Enters: what each delivery's state says is set; leaves: what is due. All of it is derived and rebuilt when a partition opens.
//!
//! Easily got wrong: a cancelled timer stays in its slot until its time, and its place in the slab may be another's by then. So whoever comes to a place in a list
//! looks whether the timer there belongs into that list; and the same place may stand in a list twice.

mod slab;

use crate::delivery::{Attempt, Channel, Lane, MessageId, TimerKind, Timestamp};
use hashbrown::HashTable;
use slab::{Lies, NONE, Slab};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher as _;

/// Width of a slot, and how many there are: 65 s in all. Source: `engine.md` §5, measured 0.35–0.39 µs per arm and cancel.
const SLOT_MS: i64 = 16;
const SLOTS: i64 = 4096;
/// Timers farther away rest in buckets of so many slots, 16 s. A bucket is emptied into the wheel as soon as all of it fits: within 49 s.
const BUCKET_SLOTS: i64 = 1024;
/// With fewer a bucket is not looked through for the dead. A guess.
const BUCKET_MIN: usize = 64;

/// One timer that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Whose.
    pub message_id: MessageId,
    /// Which clock.
    pub kind: TimerKind,
    /// For which try.
    pub attempt: Attempt,
    /// When it is due (Kafka time), in the years 1970 to 4199: what lies outside counts as their end.
    pub at: Timestamp,
    /// The traffic of that try.
    pub traffic: (Channel, Lane),
}

/// Timers that are held or released together: of one group, the earliest decides for all.
pub type Group = (Lane, Channel, TimerKind);

/// A wheel for the next minute, buckets for later, and what is due but not fired. All of them name places in a slab.
#[derive(Debug)]
pub struct Timers {
    slots: Vec<Vec<u32>>,
    /// The slot number (time / slot width) up to which everything is in `due`.
    reached: i64,
    /// By their number: the first of their slots / how many each has.
    far: BTreeMap<i64, Bucket>,
    due: BTreeMap<Group, BTreeSet<(Timestamp, u32)>>,
    slab: Slab,
    /// The first timer of each delivery; the others of the same follow it in the slab.
    first: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
}

#[derive(Debug, Default)]
struct Bucket {
    places: Vec<u32>,
    /// How many of them were cancelled.
    dead: usize,
}

impl Timers {
    /// No timers; time begins at `now`.
    pub fn new(now: Timestamp) -> Self {
        let slots = usize::try_from(SLOTS).expect("the number of slots fits");
        Self {
            slots: vec![Vec::new(); slots],
            reached: slot_of(now) - 1,
            far: BTreeMap::new(),
            due: BTreeMap::new(),
            slab: Slab::default(),
            first: HashTable::new(),
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    /// Makes the timers of one delivery exactly these; an empty list clears all of them.
    pub fn replace(&mut self, message_id: MessageId, timers: &[(TimerKind, Attempt, Timestamp)], traffic: impl Fn(Attempt) -> (Channel, Lane)) {
        let hash = self.hasher.hash_one(message_id);
        let first = self.first_of(hash, &message_id);
        // A place that is given back may be taken again at once: the chain is made anew, also where it begins where it began.
        let (mut chain, mut kept, mut next) = (NONE, 0_u8, first);
        while next != NONE {
            let at = next;
            next = self.slab.next(at);
            let timer = self.slab.timer(at);
            if timers.iter().any(|&(kind, attempt, at)| (kind, attempt, slab::bounded(at)) == (timer.kind, timer.attempt, timer.at)) {
                kept |= bit(timer.kind);
                self.slab.link(at, chain);
                chain = at;
            } else {
                self.release(at);
            }
        }
        for &(kind, attempt, at) in timers.iter().filter(|(kind, ..)| kept & bit(*kind) == 0) {
            let at = self.arm(Timer { message_id, kind, attempt, at: slab::bounded(at), traffic: traffic(attempt) });
            self.slab.link(at, chain);
            chain = at;
        }
        self.begin_with(hash, first, chain);
    }

    /// Whether this delivery has a timer: each that lives has one.
    pub fn knows(&self, message_id: &MessageId) -> bool {
        self.first_of(self.hasher.hash_one(message_id), message_id) != NONE
    }

    /// By the hash of its id.
    fn first_of(&self, hash: u64, message_id: &MessageId) -> u32 {
        self.first.find(hash, |at| self.slab.message_id(*at) == message_id).copied().unwrap_or(NONE)
    }

    /// The timers of the delivery of this hash that began at `before` begin at `first` from now on.
    fn begin_with(&mut self, hash: u64, before: u32, first: u32) {
        let (slab, hasher) = (&self.slab, &self.hasher);
        if before == NONE && first != NONE {
            self.first.insert_unique(hash, first, |at| hasher.hash_one(slab.message_id(*at)));
        } else if before != first
            && let Ok(mut entry) = self.first.find_entry(hash, |at| *at == before)
        {
            if first == NONE {
                entry.remove();
            } else {
                *entry.get_mut() = first;
            }
        }
    }

    fn arm(&mut self, timer: Timer) -> u32 {
        let at = self.slab.insert(timer);
        self.place(at, timer);
        at
    }

    /// Into the list to which its time belongs.
    fn place(&mut self, at: u32, timer: Timer) {
        let slot = slot_of(timer.at);
        let lies = if slot <= self.reached {
            self.due.entry(group(&timer)).or_default().insert((timer.at, at));
            Lies::Due
        } else if slot - self.reached < SLOTS {
            self.slots[wheel_index(slot)].push(at);
            Lies::Near
        } else {
            self.far.entry(bucket_of(slot)).or_default().places.push(at);
            Lies::Far
        };
        self.slab.lay(at, lies);
    }

    /// The wheel is cleaned when its slot comes up; the others at once or when half of them is dead, or they would grow.
    fn release(&mut self, at: u32) {
        let timer = self.slab.timer(at);
        match self.slab.lies(at) {
            Lies::Due => {
                if let Some(due) = self.due.get_mut(&group(&timer)) {
                    due.remove(&(timer.at, at));
                }
            }
            Lies::Far => {
                let number = bucket_of(slot_of(timer.at));
                if let Some(bucket) = self.far.get_mut(&number) {
                    bucket.dead += 1;
                    if 2 * bucket.dead > bucket.places.len().max(BUCKET_MIN) {
                        self.slab.remove(at);
                        bucket.places.sort_unstable();
                        bucket.places.dedup();
                        bucket.places.retain(|at| in_bucket(&self.slab, *at, number));
                        bucket.places.shrink_to_fit();
                        bucket.dead = 0;
                        if bucket.places.is_empty() {
                            self.far.remove(&number);
                        }
                        return;
                    }
                }
            }
            Lies::Near | Lies::Nowhere => {}
        }
        self.slab.remove(at);
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
            for at in slot.drain(..) {
                if self.slab.lies(at) == Lies::Near {
                    let timer = self.slab.timer(at);
                    if slot_of(timer.at) <= self.reached {
                        self.place(at, timer);
                    }
                }
            }
            self.slots[wheel_index(self.reached)] = slot;
        }
        while let Some(bucket) = self.far.first_entry()
            && (bucket.key() + 1) * BUCKET_SLOTS - self.reached <= SLOTS
        {
            let (number, bucket) = bucket.remove_entry();
            for at in bucket.places {
                if in_bucket(&self.slab, at, number) {
                    self.place(at, self.slab.timer(at));
                }
            }
        }
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
        self.due.get(&group)?.first().map(|&(_, at)| self.slab.timer(at))
    }

    /// How many timers of a group are due, not later than `until`; counts no further than `most`.
    pub fn due_count(&self, group: Group, until: Timestamp, most: usize) -> usize {
        self.due.get(&group).map_or(0, |due| due.iter().take_while(|(at, _)| *at <= until).take(most).count())
    }

    /// Takes the earliest due timer of a group out: it fires now.
    pub fn fire(&mut self, group: Group) -> Option<Timer> {
        let &(_, at) = self.due.get(&group)?.first()?;
        let timer = self.slab.timer(at);
        let hash = self.hasher.hash_one(timer.message_id);
        let (first, next) = (self.first_of(hash, &timer.message_id), self.slab.next(at));
        if first == at {
            self.begin_with(hash, first, next);
        } else {
            let mut before = first;
            while self.slab.next(before) != at {
                before = self.slab.next(before);
            }
            self.slab.link(before, next);
        }
        self.release(at);
        Some(timer)
    }

    /// How many timers are set, due ones included.
    pub fn armed(&self) -> usize {
        self.slab.len()
    }
}

fn group(timer: &Timer) -> Group {
    (timer.traffic.1, timer.traffic.0, timer.kind)
}

/// Of each kind its own.
fn bit(kind: TimerKind) -> u8 {
    match kind {
        TimerKind::Lease => 1,
        TimerKind::Wait => 2,
        TimerKind::Linger => 4,
        TimerKind::BackOff => 8,
    }
}

fn slot_of(at: Timestamp) -> i64 {
    at.millis().div_euclid(SLOT_MS)
}

fn bucket_of(slot: i64) -> i64 {
    slot.div_euclid(BUCKET_SLOTS)
}

/// Whether the timer at this place of the slab lies in this bucket.
fn in_bucket(slab: &Slab, at: u32, number: i64) -> bool {
    slab.lies(at) == Lies::Far && bucket_of(slot_of(slab.timer(at).at)) == number
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

    #[test]
    fn what_is_cancelled_in_a_bucket_leaves_it_and_its_place_may_be_anothers_there() {
        let mut timers = Timers::new(at(0));
        let wait = |ahead: i64| [(TimerKind::Wait, Attempt::FIRST, at(ahead))];
        for round in 0..10_000 {
            timers.replace(id(1), &wait(1_000_000 + round % 7), |_| TRAFFIC);
            timers.replace(id(2), &wait(1_000_000 + round % 5), |_| TRAFFIC);
            assert!(timers.far.values().all(|bucket| bucket.places.len() == 2 + bucket.dead), "a place stands there once for each time that it was taken");
        }
        let places: usize = timers.far.values().map(|bucket| bucket.places.len()).sum();
        assert!(places <= 2 * BUCKET_MIN, "{places} places for two timers");
        timers.replace(id(2), &[], |_| TRAFFIC);
        timers.replace(id(3), &wait(1_000_002), |_| TRAFFIC);
        timers.advance(at(2_000_000));
        let mut fired = fire_all(&mut timers);
        fired.sort_by_key(|fired| fired.0);
        assert_eq!(fired, [(1, TimerKind::Wait, 1_000_000 + 9_999 % 7), (3, TimerKind::Wait, 1_000_002)]);
        assert_eq!((timers.armed(), timers.far.len()), (0, 0));
    }

    #[test]
    fn of_several_timers_of_a_delivery_each_fires_by_itself() {
        let mut timers = Timers::new(at(0));
        let all = [(TimerKind::Lease, 10_000), (TimerKind::Wait, 20_000), (TimerKind::Linger, 30_000), (TimerKind::BackOff, 40_000)];
        let all = all.map(|(kind, due)| (kind, Attempt { step: 2, n: 300 }, at(due)));
        for first in 0..4 {
            timers.replace(id(1), &all, |_| TRAFFIC);
            timers.replace(id(2), &[(TimerKind::Lease, Attempt::FIRST, at(15_000))], |_| TRAFFIC);
            for moved in 0..4 {
                let mut other = all;
                other[moved].2 = at(45_000);
                timers.replace(id(1), &other, |_| TRAFFIC);
                timers.replace(id(1), &all, |_| TRAFFIC);
            }
            let mut order = all;
            order[..=first].reverse();
            timers.advance(at(50_000));
            for (left, (kind, attempt, due)) in (0..4).rev().zip(order) {
                let timer = timers.fire((Lane::Express, Channel::Sms, kind)).unwrap();
                assert_eq!((timer.kind, timer.attempt, timer.at, timers.knows(&id(1))), (kind, attempt, due, left > 0));
            }
            timers.replace(id(2), &[], |_| TRAFFIC);
            assert_eq!((timers.armed(), timers.first.len()), (0, 0));
        }
    }

    const KINDS: [TimerKind; 4] = [TimerKind::Lease, TimerKind::Wait, TimerKind::Linger, TimerKind::BackOff];

    proptest! {
        /// Of several kinds, near and far, moved, cleared and fired over jumps of any length: what is set is what a plain map says, and each fires for itself.
        #[test]
        fn deliveries_with_several_timers_are_what_a_plain_map_says(
            steps in proptest::collection::vec((0u8..40, proptest::collection::vec(proptest::option::of(0i64..400_000), 4), 0i64..90_000), 1..120),
        ) {
            let mut timers = Timers::new(at(0));
            let mut model: BTreeMap<(u8, TimerKind), i64> = BTreeMap::new();
            let mut now = 0;
            for (message, ahead, pass) in steps {
                let wanted: Vec<_> = KINDS.into_iter().zip(&ahead).filter_map(|(kind, ahead)| Some((kind, Attempt::FIRST, at(now + (*ahead)?)))).collect();
                timers.replace(id(message), &wanted, |_| TRAFFIC);
                model.retain(|(of, _), _| *of != message);
                model.extend(wanted.iter().map(|&(kind, _, due)| ((message, kind), due.millis())));
                prop_assert_eq!(timers.armed(), model.len());
                now += pass;
                timers.advance(at(now));
                for (message, kind, due) in fire_all(&mut timers) {
                    prop_assert!(due <= now);
                    prop_assert_eq!(model.remove(&(message, kind)), Some(due));
                }
                prop_assert!(model.values().all(|due| *due > now - 2 * SLOT_MS));
                for message in 0..40 {
                    prop_assert_eq!(timers.knows(&id(message)), model.keys().any(|(of, _)| *of == message));
                }
                let living = model.keys().map(|(of, _)| of).collect::<BTreeSet<_>>().len();
                prop_assert_eq!((timers.armed(), timers.first.len()), (model.len(), living));
            }
        }

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
