//! What the gateway took, refused and wrote.

use super::registry;
use crate::delivery::{Channel, Receipt};
use prometheus::{
    HistogramVec, IntCounter, IntCounterVec, IntGauge, exponential_buckets, register_histogram_vec_with_registry, register_int_counter_vec_with_registry,
    register_int_counter_with_registry, register_int_gauge_with_registry,
};
use std::sync::LazyLock;
use std::time::Duration;

/// One webhook ended. `result`: `accepted`, `handshake`, `not_understood`, or the word of a refusal.
pub fn webhook(provider: &'static str, result: &'static str) {
    WEBHOOKS.with_label_values(&[provider, result]).inc();
}

/// From the end of a webhook's headers to its answer, Kafka's acknowledgement included.
pub fn webhook_took(provider: &'static str, took: Duration) {
    WEBHOOK_DURATION.with_label_values(&[provider]).observe(took.as_secs_f64());
}

/// One receipt was written to its home partition.
pub fn receipt(channel: Channel, receipt: Receipt) {
    RECEIPTS.with_label_values(&[channel.word(), receipt.word()]).inc();
}

/// Elements of webhooks that were left out. `cause`: `uncorrelated`, `foreign`, `word`, `not_final`, `unreadable`, `partition`.
pub fn skipped(channel: Channel, cause: &'static str, count: u32) {
    if count > 0 {
        SKIPPED.with_label_values(&[channel.word(), cause]).inc_by(u64::from(count));
    }
}

/// Customers' messages came in.
pub fn inbound(count: u32) {
    INBOUND.inc_by(u64::from(count));
}

/// A provider reported an error that belongs to no message.
pub fn account_error() {
    ACCOUNT_ERRORS.inc();
}

/// A failed receipt carried a code that our table does not know: somebody should add it.
pub fn unlisted_code(channel: Channel) {
    UNLISTED_CODES.with_label_values(&[channel.word()]).inc();
}

/// A keypress was answered. `result`: `said`, `expired`, `unavailable`, `broken`.
pub fn spoken_code(result: &'static str) {
    SPOKEN_CODES.with_label_values(&[result]).inc();
}

/// One heartbeat of one partition was acknowledged, or not.
pub fn heartbeat(written: bool) {
    HEARTBEATS.with_label_values(&[if written { "written" } else { "failed" }]).inc();
}

/// A connection was closed before it was served. `cause`: `address` (too many of one), `accept`.
pub fn connection_refused(cause: &'static str) {
    CONNECTIONS_REFUSED.with_label_values(&[cause]).inc();
}

/// A connection was closed because a deadline of its had passed. `cause`: `silent` (it never said a word), `headers`, `preface` (of HTTP/2) or `idle`.
pub fn connection_cut(cause: &'static str) {
    CONNECTIONS_CUT.with_label_values(&[cause]).inc();
}

/// A signed webhook that was not understood was kept. `reason`: `webhook_not_json`, `webhook_wrong_shape` or `webhook_unreadable_status`. All dead letters have one
/// metric.
pub fn dead_letter(reason: &'static str) {
    super::engine::dead_letter(reason);
}

/// One open connection, counted until it is dropped.
pub fn connection() -> OpenConnection {
    CONNECTIONS.inc();
    OpenConnection(())
}

/// Counts one open connection.
pub struct OpenConnection(());

impl Drop for OpenConnection {
    fn drop(&mut self) {
        CONNECTIONS.dec();
    }
}

const REGISTERED: &str = "a name registered once with a valid shape";

static WEBHOOKS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec_with_registry!("recado_webhooks_total", "Webhooks by how they ended.", &["provider", "result"], registry()).expect(REGISTERED)
});
static WEBHOOK_DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    // Meta asks for a median of 250 ms at most and 1 % above 1 s at most; Twilio gives up after 5 s.
    let buckets = exponential_buckets(0.001, 2.0, 14).expect("a rising series");
    register_histogram_vec_with_registry!("recado_webhook_duration_seconds", "From a webhook's headers to its answer.", &["provider"], buckets, registry())
        .expect(REGISTERED)
});
static RECEIPTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec_with_registry!("recado_receipts_total", "Receipts written to their home partition.", &["channel", "receipt"], registry())
        .expect(REGISTERED)
});
static SKIPPED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec_with_registry!("recado_receipts_skipped_total", "Elements of webhooks that were left out.", &["channel", "cause"], registry())
        .expect(REGISTERED)
});
static INBOUND: LazyLock<IntCounter> =
    LazyLock::new(|| register_int_counter_with_registry!("recado_inbound_messages_total", "Customers' messages that came in.", registry()).expect(REGISTERED));
static ACCOUNT_ERRORS: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter_with_registry!("recado_account_errors_total", "Errors that a provider reported of the account, not of a message.", registry())
        .expect(REGISTERED)
});
static UNLISTED_CODES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec_with_registry!(
        "recado_receipt_codes_unlisted_total",
        "Failed receipts whose code our table does not know.",
        &["channel"],
        registry()
    )
    .expect(REGISTERED)
});
static SPOKEN_CODES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec_with_registry!("recado_spoken_codes_total", "Answers to the keypress of a call that carries a code.", &["result"], registry())
        .expect(REGISTERED)
});
static HEARTBEATS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec_with_registry!("recado_gateway_heartbeats_total", "Signs of life, one a second and partition.", &["result"], registry())
        .expect(REGISTERED)
});
static CONNECTIONS: LazyLock<IntGauge> =
    LazyLock::new(|| register_int_gauge_with_registry!("recado_gateway_connections", "Open connections of providers.", registry()).expect(REGISTERED));
static CONNECTIONS_REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec_with_registry!("recado_gateway_connections_refused_total", "Connections closed before they were served.", &["cause"], registry())
        .expect(REGISTERED)
});
static CONNECTIONS_CUT: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec_with_registry!(
        "recado_gateway_connections_cut_total",
        "Connections closed because they were silent, slow or idle for too long.",
        &["cause"],
        registry()
    )
    .expect(REGISTERED)
});
