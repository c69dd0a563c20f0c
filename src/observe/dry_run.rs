//! The metrics of a dry run: what would have become of the records that came by.

use super::register;
use crate::delivery::Channel;
use prometheus::{IntCounterVec, Opts};
use std::sync::LazyLock;

static RECORDS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register(IntCounterVec::new(
        Opts::new("recado_dry_run_records_total", "Input records seen by a dry run, by what would have become of them."),
        &["input", "result"],
    ))
});
static MESSAGES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register(IntCounterVec::new(
        Opts::new("recado_dry_run_messages_total", "Messages rendered by a dry run, for each step of the matching route."),
        &["route", "channel", "result"],
    ))
});

/// A record was seen.
pub fn record(input: &str, result: &str) {
    RECORDS.with_label_values(&[input, result]).inc();
}

/// A step's message was rendered, or the rule that it broke.
pub fn message(route: &str, channel: Channel, result: &str) {
    MESSAGES.with_label_values(&[route, channel.word(), result]).inc();
}
