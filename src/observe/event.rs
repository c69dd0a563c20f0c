//! Metrics of the schema registry's client. What becomes of the records themselves is counted where it is decided: `observe/engine.rs`.

use super::registry;
use prometheus::{IntCounterVec, IntGauge, Opts};
use std::sync::LazyLock;

static REGISTRY_REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Requests to the schema registry, by what came of them.";
    let counters = IntCounterVec::new(Opts::new("recado_registry_requests_total", help), &["result"]).expect("its name and labels are legal");
    registry().register(Box::new(counters.clone())).expect("no other metric has its name");
    counters
});

static SCHEMAS_WAITED_FOR: LazyLock<IntGauge> = LazyLock::new(|| {
    let help = "Schema ids that records carry and for which the registry has not yet answered.";
    let gauge = IntGauge::new("recado_registry_schemas_waited_for", help).expect("its name is legal");
    registry().register(Box::new(gauge.clone())).expect("no other metric has its name");
    gauge
});

/// The registry was asked. `result`: one of the words of `event::registry`.
pub fn registry_request(result: &'static str) {
    REGISTRY_REQUESTS.with_label_values(&[result]).inc();
}

/// How many schema ids wait for the registry's answer.
pub fn schemas_waited_for(count: usize) {
    SCHEMAS_WAITED_FOR.set(i64::try_from(count).unwrap_or(i64::MAX));
}
