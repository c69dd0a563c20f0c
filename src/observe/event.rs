//! Metrics of the door: what was taken, left aside, or found dead, and how the schema registry answers.

use super::registry;
use crate::event::input::{DeadReason, IgnoredWhy};
use prometheus::{IntCounterVec, IntGauge, Opts};
use std::sync::LazyLock;

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let metric = IntCounterVec::new(Opts::new(name, help), labels).expect("its name and labels are legal");
    registry().register(Box::new(metric.clone())).expect("no other metric has its name");
    metric
}

static DEAD_LETTERS: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("recado_dead_letters_total", "Records that could not be processed, by reason.", &["reason"]));

static IGNORED: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("recado_records_ignored_total", "Records that ask for nothing (no route matches, tombstone).", &["input", "why"]));

static NOTIFICATIONS: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("recado_notifications_total", "Records that became a notification, by route.", &["route"]));

static REGISTRY_REQUESTS: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("recado_registry_requests_total", "Requests to the schema registry, by what came of them.", &["result"]));

static SCHEMAS_WAITED_FOR: LazyLock<IntGauge> = LazyLock::new(|| {
    let metric = IntGauge::new("recado_registry_schemas_waited_for", "Schema ids that records carry and the registry has not yet answered for.")
        .expect("its name is legal");
    registry().register(Box::new(metric.clone())).expect("no other metric has its name");
    metric
});

/// A record became a dead letter.
pub fn dead_letter(reason: DeadReason) {
    DEAD_LETTERS.with_label_values(&[reason.word()]).inc();
}

/// A record of this input asks for nothing.
pub fn ignored(input: &str, why: IgnoredWhy) {
    IGNORED.with_label_values(&[input, why.word()]).inc();
}

/// A record became a notification of this route.
pub fn notification(route: &str) {
    NOTIFICATIONS.with_label_values(&[route]).inc();
}

/// The registry was asked. `result`: one of the words of `event::registry`.
pub fn registry_request(result: &'static str) {
    REGISTRY_REQUESTS.with_label_values(&[result]).inc();
}

/// How many schema ids wait for the registry's answer.
pub fn schemas_waited_for(count: usize) {
    SCHEMAS_WAITED_FOR.set(i64::try_from(count).unwrap_or(i64::MAX));
}
