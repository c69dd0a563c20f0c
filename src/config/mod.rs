//! Enters: the folder `config/` and the environment; leaves: typed settings for every room, or all faults at once. It runs before anything else does.
//!
//! What is easily got wrong: nothing here stops at the first fault; whoever mends a configuration wants to see all of them.

mod fault;

pub use fault::{Fault, Severity};
