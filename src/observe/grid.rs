//! The counters of a family with two labels, both of them closed lists: found by number, where the family itself would hash and compare words each time.

use std::sync::OnceLock;

/// One place for each pair of values; a counter comes into being when it is first asked for, so that nothing is told of what never happened.
pub(super) struct Grid<T, const A: usize, const B: usize>([[OnceLock<T>; B]; A]);

impl<T, const A: usize, const B: usize> Grid<T, A, B> {
    pub(super) const fn new() -> Self {
        Self([const { [const { OnceLock::new() }; B] }; A])
    }

    /// The one at this place.
    pub(super) fn at(&self, a: usize, b: usize, made: impl FnOnce() -> T) -> &T {
        self.0[a][b].get_or_init(made)
    }
}
