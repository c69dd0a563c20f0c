//! What the parts read: cost of processes, metrics, the providers' send log, our topics; and how figures are told.

pub mod cost;
pub mod metrics;
pub mod send_log;
pub mod topics;

mod spread;

pub use spread::Spread;
