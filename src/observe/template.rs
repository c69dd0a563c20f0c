//! What the last scan stopped and which values did not fit their class: numbers only, nothing of a text.

use super::registry;
use crate::delivery::Channel;
use crate::privacy::Class;
use crate::template::RenderError;
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

/// A message was not made. Counted where the last scan stopped it; `template` is a name of the catalogue.
pub fn refused(error: RenderError, template: &str, channel: Channel) {
    if let RenderError::Scan(rule) = error {
        SCAN_STOPS.with_label_values(&[rule.word(), template, channel.word()]).inc();
    }
}

/// A value lacked the shape of its class and was shown as `***`.
pub fn masked_unfit(class: Class) {
    MASKED_UNFIT.with_label_values(&[class.word()]).inc();
}
