//! PURE: what was read and is not decided yet, of one partition of a topic, and whether it is too much.
//!
//! Easily got wrong: a count alone is no bound; a bank's record may have a mebibyte.

use std::collections::VecDeque;

/// With so many an input is paused.
const RECORDS_MAX: usize = 5_000;
/// Or with so many bytes: a dozen partitions of three inputs then hold less than 300 MiB (judgement).
const BYTES_MAX: usize = 8 << 20;

/// In the order in which they were read.
#[derive(Debug)]
pub struct Waiting<T> {
    /// Each with what it weighs.
    all: VecDeque<(T, usize)>,
    bytes: usize,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { all: VecDeque::new(), bytes: 0 }
    }
}

impl<T> Waiting<T> {
    /// One more was read. It weighs so many bytes; 0 where its weight is nobody's question.
    pub fn push_back(&mut self, one: T, bytes: usize) {
        self.bytes += bytes;
        self.all.push_back((one, bytes));
    }

    /// The first is decided.
    pub fn pop_front(&mut self) -> Option<T> {
        let (first, bytes) = self.all.pop_front()?;
        self.bytes -= bytes;
        Some(first)
    }

    /// The next to be decided.
    pub fn front(&self) -> Option<&T> {
        self.all.front().map(|(one, _)| one)
    }

    /// The last that was read.
    pub fn back(&self) -> Option<&T> {
        self.all.back().map(|(one, _)| one)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.all.iter().map(|(one, _)| one)
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether no more should be read.
    pub fn too_much(&self) -> bool {
        self.all.len() > RECORDS_MAX || self.bytes > BYTES_MAX
    }

    /// Whether reading may go on.
    pub fn half_gone(&self) -> bool {
        self.all.len() < RECORDS_MAX / 2 && self.bytes < BYTES_MAX / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_ones_are_too_much_and_so_are_a_few_large_ones() {
        let mut small = Waiting::default();
        (0..RECORDS_MAX).for_each(|_| small.push_back((), 10));
        assert!(!small.too_much() && !small.half_gone());
        small.push_back((), 10);
        assert!(small.too_much());
        assert_eq!((0..RECORDS_MAX / 2 + 2).filter_map(|_| small.pop_front()).count(), RECORDS_MAX / 2 + 2);
        assert!(!small.too_much() && small.half_gone());

        let mut large = Waiting::default();
        (0..9).for_each(|_| large.push_back((), 1 << 20));
        assert!(large.too_much());
        assert_eq!((0..6).filter_map(|_| large.pop_front()).count(), 6);
        assert!(large.half_gone() && large.len() == 3 && large.front() == large.back());
    }
}
