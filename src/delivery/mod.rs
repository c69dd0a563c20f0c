//! The life of one notification as a pure machine: `on(state, event, now)` gives decisions. Enters: a request, then outcomes, receipts,
//! timers and cancels; leaves: dispatches, timers and statuses.
//!
//! Nothing in here reads a clock, draws a number, does I/O or logs, and nothing outside chooses a next step. No other folder of ours is used.
#![deny(clippy::wildcard_enum_match_arm)]

mod channel;
mod id;
mod route; // what was planned
mod event; // what it hears
mod machine; // what becomes of it
mod decision; // what is to be done
mod state; // what it remembers
mod attempts; // … of each attempt
mod bytes; // … in stored form
mod known_routes; // … which is read once for all of one route
mod outcome;
mod receipt;
mod time;
#[cfg(test)]
mod properties;

pub use channel::{Channel, Lane};
pub use decision::{Decision, Dispatch, Status, StatusWord, Why};
pub use event::{Event, Hold, Request, TimerKind};
pub use id::{Attempt, AttemptId, MessageId, Partition, SourcePosition};
pub use known_routes::KnownRoutes;
pub use machine::{on, request};
pub use outcome::{Outcome, Reason};
pub use receipt::Receipt;
pub use route::{OnUnknown, Route, STEPS_MAX, Step, WaitFor};
pub use state::{BadState, State};
pub use time::{NotAfter, Timestamp};
