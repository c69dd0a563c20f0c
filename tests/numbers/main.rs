//! What is promised in numbers, on a real Apache Kafka: `make numbers`. Not a part of `make test`, since a busy machine says nothing about time; each test
//! tells how far it is off.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]
#![allow(clippy::disallowed_methods, clippy::print_stderr, reason = "time is what is measured, and the figures are told")]
#![allow(clippy::type_complexity, reason = "topics are listed in place")]

mod transaction;

#[allow(dead_code, reason = "tests/kafka uses the rest")]
#[path = "../kafka/support.rs"]
mod support;
