//! Metrics of `privacy/`: keys made and destroyed, and a key folder that does not answer.

use super::registry;
use crate::privacy::KeyKind;
use prometheus::{IntCounter, IntCounterVec, Opts};
use std::sync::LazyLock;

static CREATED: LazyLock<IntCounterVec> = LazyLock::new(|| by_kind("recado_keys_created_total", "Keys made, by kind."));
static DESTROYED: LazyLock<IntCounterVec> = LazyLock::new(|| by_kind("recado_keys_destroyed_total", "Keys destroyed, by kind."));
static UNAVAILABLE: LazyLock<IntCounter> = LazyLock::new(|| {
    let counter = IntCounter::new("recado_keys_unavailable_total", "Requests for a key that the key service could not answer.").expect("a valid name");
    registry().register(Box::new(counter.clone())).expect("registered once");
    counter
});

fn by_kind(name: &str, help: &str) -> IntCounterVec {
    let counter = IntCounterVec::new(Opts::new(name, help), &["kind"]).expect("a valid name");
    registry().register(Box::new(counter.clone())).expect("registered once");
    counter
}

/// Keys were made.
pub fn keys_created(kind: KeyKind, count: usize) {
    CREATED.with_label_values(&[kind.word()]).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
}

/// Keys were destroyed.
pub fn keys_destroyed(kind: KeyKind, count: usize) {
    DESTROYED.with_label_values(&[kind.word()]).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
}

/// Somebody asked for a key and got no answer.
pub fn key_unavailable() {
    UNAVAILABLE.inc();
}
