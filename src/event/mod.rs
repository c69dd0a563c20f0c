//! Records into types and back: the bank's inputs at the door, our own records between the roles, and what the bank reads.
//!
//! Nothing here knows Kafka, the clock or async, but for the registry client.

pub mod dead_letter;
pub mod input;
pub mod records;
pub mod registry;
