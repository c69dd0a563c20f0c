//! What the last scan stopped and which values did not fit their class: numbers only, nothing of a text.

use super::registry;
use prometheus::{IntCounterVec, Opts};
use std::sync::LazyLock;

static SCAN_STOPS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("recado_scan_stops_total", "Finished texts that the last scan stopped, by rule, template and channel.", &["rule", "template", "channel"])
});

static MASKED_UNFIT: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("recado_masked_unfit_total", "Values that lacked the shape of their class and were shown as ***.", &["class"]));

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let counters = IntCounterVec::new(Opts::new(name, help), labels).expect("the metric's name and labels are legal");
    registry().register(Box::new(counters.clone())).expect("the metric is registered once");
    counters
}

/// The last scan stopped a text. `rule`: the word of the scan's rule; `template`: a name of the catalogue; `channel`: its word.
pub fn scan_stopped(rule: &str, template: &str, channel: &str) {
    SCAN_STOPS.with_label_values(&[rule, template, channel]).inc();
}

/// A value of this class (its word) lacked its shape and was shown as `***`.
pub fn masked_unfit(class: &str) {
    MASKED_UNFIT.with_label_values(&[class]).inc();
}
