//! What a delivery remembers between two events, and its bytes in `recado.state` and RocksDB.

use super::{Attempt, TimerKind, Timestamp};

/// The memory of one delivery. Opaque outside `delivery/`: ask it through its methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {}

/// Why bytes are no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadState {
    /// Written by a newer Recado.
    #[error("unknown version {0} of a delivery's state")]
    Version(u8),
    /// Cut off, or not a state at all.
    #[error("the bytes are not a delivery's state")]
    Shape,
}

impl State {
    /// The timers that are set, in no particular order: what the engine's wheel is rebuilt from.
    pub fn timers(&self) -> Vec<(TimerKind, Attempt, Timestamp)> {
        todo!()
    }

    /// The channel and lane of the current attempt when it has neither outcome nor receipt yet and the delivery has not ended: it counts as open.
    pub fn open_attempt(&self) -> Option<(super::Channel, super::Lane)> {
        todo!()
    }

    /// Whether its terminal status has been published.
    pub fn ended(&self) -> bool {
        todo!()
    }

    /// Appends its bytes (version in front).
    pub fn write(&self, out: &mut Vec<u8>) {
        let _ = out;
        todo!()
    }

    /// Reads what [`State::write`] wrote, in any version that was ever shipped. The whole slice must be one state.
    pub fn read(bytes: &[u8]) -> Result<Self, BadState> {
        let _ = bytes;
        todo!()
    }
}
