//! What an operator sees: metrics, logs, health. One file of metrics for each room; callers use its functions and never see a metric's name.

pub mod dispatch;
pub mod dry_run;
pub mod engine;
pub mod event;
pub mod gateway;
pub mod health;
pub mod logs;
pub mod privacy;
pub mod template;
mod grid;
mod management;

pub use health::Health;
pub use management::serve;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{IntGauge, Opts, Registry};
use std::sync::LazyLock;

/// The registry behind `/metrics`: every metric of the process is in it.
pub fn registry() -> &'static Registry {
    static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
        let registry = Registry::new();
        let opts = Opts::new("recado_build_info", "Which version this is; always 1.").const_label("version", env!("CARGO_PKG_VERSION"));
        let build = IntGauge::with_opts(opts).expect("the metric's name and labels are legal");
        build.set(1);
        registry.register(Box::new(build)).expect("the registry is new");
        registry.register(Box::new(ProcessCollector::for_self())).expect("the registry is new");
        registry
    });
    &REGISTRY
}

/// Puts a new metric into the registry. A wrong name or a second one of the same name is a bug.
fn register<C: Collector + Clone + 'static>(made: prometheus::Result<C>) -> C {
    let metric = made.expect("the metric's name and labels are legal");
    registry().register(Box::new(metric.clone())).expect("each metric is registered once");
    metric
}
