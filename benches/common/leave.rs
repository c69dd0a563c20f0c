//! What a run leaves at the broker, for both benches.

use crate::support;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use std::time::Duration;

/// Deletes the topics whose names begin so: the next run needs the disk, and the broker's cleaner would go on for this one.
pub async fn delete_topics(prefix: &str) {
    let admin: AdminClient<DefaultClientContext> = support::client().create().unwrap();
    let metadata = admin.inner().fetch_metadata(None, Duration::from_secs(10)).unwrap();
    let own: Vec<&str> = metadata.topics().iter().map(|topic| topic.name()).filter(|name| name.starts_with(prefix)).collect();
    admin.delete_topics(&own, &AdminOptions::new()).await.unwrap();
}
