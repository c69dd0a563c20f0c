//! The life of one notification as a pure machine: `on(state, event, now)` gives decisions. Enters: a request, then outcomes, receipts,
//! timers and cancels; leaves: dispatches, timers and statuses.
//!
//! Nothing in here reads a clock, draws a number, does I/O or logs, and nothing outside chooses a next step. No other folder of ours is used.
#![deny(clippy::wildcard_enum_match_arm)]

mod channel;
mod id;
mod machine;
mod outcome;
mod receipt;
mod route;
mod state;
mod time;

pub use channel::{Channel, Lane};
pub use id::{Attempt, AttemptId, MessageId, Partition, SourcePosition};
pub use machine::{Decision, Dispatch, Event, Hold, Request, Status, StatusWord, TimerKind, Why, on, request};
pub use outcome::{Outcome, Reason};
pub use receipt::Receipt;
pub use route::{OnUnknown, Route, Step, WaitFor};
pub use state::{BadState, State};
pub use time::{NotAfter, Timestamp};
