//! The box for everything that must not be printed: names, numbers, codes, texts.

use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// A value that prints as `***`, cannot be cloned or serialised by accident, and is cleared when dropped.
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Puts a value into the box.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// Opens the box. Called only in `privacy/`, `template/`, `dispatch/`, `gateway/` and `channel/`: a test reads the source for it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
