//! To be written.

pub mod end_offsets;
pub mod kafka_time;
pub mod store;
