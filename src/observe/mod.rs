//! What an operator sees: metrics, logs, health. One file of metrics for each room; callers use its functions and never see a metric's name.

pub mod dispatch;
pub mod event;
pub mod gateway;
pub mod health;
pub mod logs;
pub mod privacy;
pub mod template;

use prometheus::Registry;
use std::sync::LazyLock;

/// The registry behind `/metrics`: every metric of the process is in it.
pub fn registry() -> &'static Registry {
    static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);
    &REGISTRY
}
