//! Judges that are not ours: the providers' own published descriptions under Prism, Twilio's own library, Prometheus' own tool, a client in another language.
//!
//! `make test-conformance` runs them; `make test` does not. A judge that cannot be had is a failure that says what to type.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]
#![allow(clippy::disallowed_methods, reason = "other people's programs are waited for with real deadlines, and the environment says where their files are")]
#![allow(clippy::type_complexity, reason = "cases and topics are listed in place")]

mod dispatcher;
mod metrics;
mod node;
mod prism;
mod signatures;
mod text_and_calls;
mod whatsapp;

#[path = "../kafka/foreign.rs"]
mod foreign;
#[path = "../clients/parts.rs"]
mod parts;
#[allow(dead_code, reason = "tests/kafka uses the rest")]
#[path = "../kafka/rig.rs"]
mod rig;
#[allow(dead_code, reason = "tests/kafka uses the rest")]
#[path = "../kafka/support.rs"]
mod support;
