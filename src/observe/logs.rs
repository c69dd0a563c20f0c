//! Enters: what the rooms say; leaves: one JSON object a line on standard output.
//!
//! What is easily got wrong: the crates that speak HTTP and Kafka would log addresses, numbers and bodies; they are capped at `warn`, whatever the
//! level is.

use serde::{Deserialize, Serialize};

/// The least severe level that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Somebody must get up.
    Error,
    /// Strange, still working.
    Warn,
    /// Start, stop, a partition moved, a breaker opened.
    Info,
    /// One delivery.
    Debug,
    /// One record. Refused outside development.
    Trace,
}
