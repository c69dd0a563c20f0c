//! PURE: timers in 32 bytes each, at places that stay where they are. A bank has millions of them.
//!
//! Easily got wrong: blocks, and not one vector, or its growth would take twice the memory.

use super::Timer;
use crate::delivery::{Attempt, Channel, Lane, MessageId, TimerKind, Timestamp};

/// No place.
pub(super) const NONE: u32 = u32::MAX;
/// Timers in a block: 128 KiB.
const BLOCK: usize = 4_096;
/// Of the 48 bits that say when it is due, the lower two say where it lies.
const LIES_BITS: u32 = 2;
/// 2 August 4199.
const LATEST_MS: i64 = (1 << (48 - LIES_BITS)) - 1;

/// In which list a timer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lies {
    /// In none: the place is free.
    Nowhere,
    /// In the wheel.
    Near,
    /// In a bucket.
    Far,
    /// Among the due.
    Due,
}

/// As far as a timer's time can be kept.
pub(super) fn bounded(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.millis().clamp(0, LATEST_MS))
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    message_id: MessageId,
    /// When it is due, and in the lowest bits where it lies.
    low: u32,
    high: u16,
    n: u16,
    step: u8,
    kind: TimerKind,
    traffic: (Channel, Lane),
    /// The next timer of the same delivery; of a free place the next free one.
    next: u32,
}

const _: () = assert!(size_of::<Entry>() == 32);

/// All timers of a task.
#[derive(Debug)]
pub(super) struct Slab {
    blocks: Vec<Vec<Entry>>,
    /// The first free place; each names the next.
    free: u32,
    len: usize,
}

impl Default for Slab {
    fn default() -> Self {
        Self { blocks: Vec::new(), free: NONE, len: 0 }
    }
}

impl Slab {
    /// How many timers there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// A place for it, in no list yet and followed by none.
    pub fn insert(&mut self, timer: Timer) -> u32 {
        let Timer { message_id, kind, attempt: Attempt { step, n }, at, traffic } = timer;
        let [.., h1, h0, l3, l2, l1, l0] = (bounded(at).millis() << LIES_BITS).to_be_bytes();
        let (low, high) = (u32::from_be_bytes([l3, l2, l1, l0]), u16::from_be_bytes([h1, h0]));
        let entry = Entry { message_id, low, high, n, step, kind, traffic, next: NONE };
        self.len += 1;
        if self.free != NONE {
            let place = self.free;
            self.free = self.entry(place).next;
            *self.entry_mut(place) = entry;
            return place;
        }
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        let full = (self.blocks.len() - 1) * BLOCK;
        let block = self.blocks.last_mut().expect("one was just made");
        block.push(entry);
        u32::try_from(full + block.len() - 1).ok().filter(|place| *place != NONE).expect("fewer than four thousand million timers")
    }

    /// Gives the place to the next that comes.
    pub fn remove(&mut self, place: u32) {
        self.lay(place, Lies::Nowhere);
        self.entry_mut(place).next = self.free;
        self.free = place;
        self.len -= 1;
    }

    /// The timer there; of a free place the one that was there last.
    pub fn timer(&self, place: u32) -> Timer {
        let entry = self.entry(place);
        let &Entry { message_id, low, high, n, step, kind, traffic, .. } = entry;
        let at = Timestamp::from_millis((i64::from(high) << u32::BITS | i64::from(low)) >> LIES_BITS);
        Timer { message_id, kind, attempt: Attempt { step, n }, at, traffic }
    }

    /// Whose it is, or was.
    pub fn message_id(&self, place: u32) -> &MessageId {
        &self.entry(place).message_id
    }

    /// In which list it is.
    pub fn lies(&self, place: u32) -> Lies {
        match self.entry(place).low & 3 {
            1 => Lies::Near,
            2 => Lies::Far,
            3 => Lies::Due,
            _ => Lies::Nowhere,
        }
    }

    /// It is in this list now.
    pub fn lay(&mut self, place: u32, lies: Lies) {
        let entry = self.entry_mut(place);
        let lies = match lies {
            Lies::Nowhere => 0,
            Lies::Near => 1,
            Lies::Far => 2,
            Lies::Due => 3,
        };
        entry.low = entry.low & !3 | lies;
    }

    /// The next timer of the same delivery, or [`NONE`].
    pub fn next(&self, place: u32) -> u32 {
        self.entry(place).next
    }

    /// It is followed by that one.
    pub fn link(&mut self, place: u32, next: u32) {
        self.entry_mut(place).next = next;
    }

    fn entry(&self, place: u32) -> &Entry {
        let place = place as usize;
        &self.blocks[place / BLOCK][place % BLOCK]
    }

    fn entry_mut(&mut self, place: u32) -> &mut Entry {
        let place = place as usize;
        &mut self.blocks[place / BLOCK][place % BLOCK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_comes_back_as_it_was_and_its_place_is_given_on() {
        let timer = |number: u8, at: i64| Timer {
            message_id: MessageId::from_bytes([number; 16]),
            kind: TimerKind::BackOff,
            attempt: Attempt { step: number, n: u16::MAX },
            at: Timestamp::from_millis(at),
            traffic: (Channel::Voice, Lane::Bulk),
        };
        let mut slab = Slab::default();
        let places: Vec<u32> = (0..=255).map(|number| slab.insert(timer(number, 1_795_000_000_000 + i64::from(number)))).collect();
        for lies in [Lies::Near, Lies::Far, Lies::Due, Lies::Nowhere] {
            slab.lay(places[7], lies);
            assert_eq!((slab.lies(places[7]), slab.timer(places[7])), (lies, timer(7, 1_795_000_000_007)));
        }
        slab.remove(places[7]);
        slab.remove(places[9]);
        assert_eq!([slab.insert(timer(1, -5)), slab.insert(timer(2, i64::MAX)), slab.insert(timer(3, LATEST_MS))], [places[9], places[7], 256]);
        assert_eq!([slab.timer(places[9]).at.millis(), slab.timer(places[7]).at.millis(), slab.timer(256).at.millis()], [0, LATEST_MS, LATEST_MS]);
        assert_eq!((slab.len(), slab.next(places[9])), (257, NONE));
        assert_eq!((0..BLOCK).map(|_| slab.insert(timer(4, 4))).filter(|place| *place == NONE).count(), 0);
        assert_eq!((slab.blocks.len(), slab.len()), (2, 257 + BLOCK));
    }
}
