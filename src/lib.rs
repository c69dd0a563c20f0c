//! Recado passes a bank's messages on: a record from a Kafka topic becomes a masked message on WhatsApp, and, when no receipt comes in
//! time, an SMS and then a call. Read the modules from top to bottom and you follow one notification from its record to its status.
//!
//! The one thing to know first: the engine never acts on what is not committed. A decision leaves inside the Kafka transaction that also
//! carries the state it came from; RocksDB follows the commit, and providers are called by the dispatcher, which reads committed records only.

pub mod event; // the bank's records and our own, bytes ⇄ types
pub mod delivery; // PURE: what becomes of a notification
pub mod engine; // Kafka in, decisions out, state that is never ahead of Kafka
pub mod dispatch; // at most one call per attempt
pub mod channel; // PURE: WhatsApp, SMS and voice, request and answer
pub mod template; // catalogue, render, masking, lint
pub mod gateway; // what providers tell us: webhooks
pub mod pix; // Brazilian money and dates
pub mod privacy; // classes, sealing, keys, references
pub mod observe; // metrics, logs, health
pub mod clock; // the only reader of the time
pub mod lifeline; // a client of Kafka that has lost every broker gets them back
#[cfg(feature = "demo")]
pub mod simulator; // providers to play with
pub mod config; // files into types, all faults at once
pub mod app; // roles put together
pub mod topics; // our topics as data: made, compared, who may touch them
pub mod cli; // the command line
mod crash_point; // where a process is told to kill itself, in the crash rig alone
#[cfg(feature = "mutants")]
mod seeded_bug; // what the crash rig must find
