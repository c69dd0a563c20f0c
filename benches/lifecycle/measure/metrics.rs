//! What a process says of itself at `/metrics`.

use crate::process::Instance;
use std::sync::LazyLock;
use std::time::Duration;

/// One for all questions: each client that is made reads the system's certificates. It keeps no connection, since a process may come again at the same port.
static CLIENT: LazyLock<reqwest::Client> =
    LazyLock::new(|| reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(Duration::from_secs(30)).build().unwrap());

/// All metrics of a process, as text; it has half a minute for them.
pub async fn scrape(instance: &Instance) -> String {
    CLIENT.get(format!("http://{}/metrics", instance.management)).send().await.unwrap().text().await.unwrap()
}

/// The sum of a metric over all labels, or over those that have this among them.
pub fn counted(metrics: &str, name: &str, label: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(label)));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// How many deliveries have ended on a phone.
pub async fn delivered(instance: &Instance) -> u64 {
    counted(&scrape(instance).await, "recado_statuses_total", "status=\"delivered\"")
}
