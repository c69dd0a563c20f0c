//! Kafka in, decisions out. Enters: the bank's records, receipts, time; leaves: dispatches, statuses, and the state that they came from, in one transaction.
//!
//! The order that everything rests on: decide, commit to Kafka, and only then write to RocksDB. The store is never ahead of what is committed, so recovery
//! only goes forward.
//!
//! `key`, `overlay`, `behind`, `outputs`, `gate`, `resume`, `timers`, `dedup`, `storm`, `kafka_time` and `stored` are pure; `thread` is the loop, `task` what one partition knows.

pub mod end_offsets;
pub mod jump;
pub mod kafka_time;
pub mod key;
pub mod outputs;
pub mod store;
pub mod stored;
pub mod transaction;
pub mod watchdog;

mod behind;
mod bell;
mod dedup;
mod fetch;
mod gate;
mod hello;
pub(crate) mod membership;
mod overlay;
mod poison;
mod produce;
mod restore;
mod resume;
mod settings;
pub(crate) mod standstill;
mod storm;
mod task;
mod thread;
mod timers;
mod topic_id;

#[cfg(feature = "gate")]
pub use behind::Behind; // benches/gate.rs counts what it takes
#[cfg(feature = "gate")]
pub use overlay::Overlay; // as above
pub use settings::{Settings, Topics};
pub use thread::{Engine, EngineError, Shared};
#[cfg(feature = "gate")]
pub use timers::Timers; // as above
