//! The dispatcher's numbers: attempts, calls, breakers, and how sure it is of the time.

use super::register;
use crate::delivery::{Channel, Lane, Outcome};
use prometheus::{Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use std::sync::LazyLock;
use std::time::Duration;

static DISPATCHES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = Opts::new("recado_dispatches_total", "Attempts that this dispatcher ended, by channel and outcome.");
    register(IntCounterVec::new(opts, &["channel", "outcome"]))
});

static IN_HAND: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let opts = Opts::new("recado_dispatches_in_hand", "Attempts that are read and not finished.");
    register(IntGaugeVec::new(opts, &["channel", "lane"]))
});

static PAUSED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let opts = Opts::new("recado_dispatches_paused", "1 while no more attempts are read because too many are in hand.");
    register(IntGaugeVec::new(opts, &["channel", "lane"]))
});

static BAD: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = Opts::new("recado_bad_records_total", "Records of our own topics that the dispatcher could not read or believe, by topic kind.");
    register(IntCounterVec::new(opts, &["topic"]))
});

static CALLS_IN_FLIGHT: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let opts = Opts::new("recado_calls_in_flight", "Calls to providers under way.");
    register(IntGaugeVec::new(opts, &["channel", "lane"]))
});

static CALL_DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    let opts = HistogramOpts::new("recado_call_duration_seconds", "How long one call to a provider took.");
    let opts = opts.buckets(vec![0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0]);
    register(HistogramVec::new(opts, &["channel"]))
});

static CALLS_REPEATED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = Opts::new("recado_calls_repeated_total", "Calls that were proven not to have gone out and were made again under the same attempt.");
    register(IntCounterVec::new(opts, &["channel", "outcome"]))
});

static ATTENTION: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts =
        Opts::new("recado_provider_attention_total", "Answers that concern somebody beside the customer: fault (ours), page (a person must act), unlisted.");
    register(IntCounterVec::new(opts, &["channel", "kind"]))
});

static BREAKER_OPEN: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let opts = Opts::new("recado_breaker_open", "1 while the breaker of a provider is open: attempts end unavailable at once.");
    register(IntGaugeVec::new(opts, &["provider"]))
});

static TLS_1_2_ALLOWED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let opts = Opts::new("recado_provider_tls_1_2_allowed", "1 where a provider may be spoken to in TLS 1.2, for the reason in the configuration.");
    register(IntGaugeVec::new(opts, &["provider"]))
});

static TEMPLATE_BREAKER_OPEN: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let opts = Opts::new("recado_template_breaker_open", "1 while the breaker of a template is open: its attempts on this channel end unavailable at once.");
    register(IntGaugeVec::new(opts, &["channel", "template"]))
});

static READ_BACK: LazyLock<Histogram> = LazyLock::new(|| {
    let opts = HistogramOpts::new("recado_journal_read_back_seconds", "From writing an entry of the dispatch journal to reading it back.");
    register(Histogram::with_opts(opts.buckets(vec![0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0])))
});

static CLOCK_OFFSET: LazyLock<GaugeVec> = LazyLock::new(|| {
    let opts = Opts::new("recado_dispatch_clock_offset_seconds", "Kafka time less own time: the lowest and the highest of the partitions in use.");
    register(GaugeVec::new(opts, &["bound"]))
});

static CLOCKS_DISAGREE: LazyLock<Gauge> = LazyLock::new(|| {
    let opts = Opts::new("recado_dispatch_clocks_disagree", "1 while the clocks of partitions in use differ by more than a second: nothing is called.");
    register(Gauge::with_opts(opts))
});

static PARTITIONS: LazyLock<IntGauge> = LazyLock::new(|| {
    let opts = Opts::new("recado_dispatch_partitions", "Partitions that this dispatcher holds.");
    register(IntGauge::with_opts(opts))
});

/// An attempt has a durable outcome.
pub fn ended(channel: Channel, outcome: Outcome) {
    DISPATCHES.with_label_values(&[channel.word(), outcome.word()]).inc();
}

/// How many attempts of this traffic are in hand.
pub fn in_hand(channel: Channel, lane: Lane, count: usize) {
    IN_HAND.with_label_values(&[channel.word(), lane.word()]).set(i64::try_from(count).unwrap_or(i64::MAX));
}

/// Reading stopped or went on.
pub fn paused(channel: Channel, lane: Lane, paused: bool) {
    PAUSED.with_label_values(&[channel.word(), lane.word()]).set(i64::from(paused));
}

/// A record that is not what its topic holds. `topic`: `dispatch` or `journal`.
pub fn bad_record(topic: &'static str) {
    BAD.with_label_values(&[topic]).inc();
}

/// A call begins; it ends when the value is dropped.
pub fn call(channel: Channel, lane: Lane) -> impl Drop {
    struct InFlight(IntGauge);
    impl Drop for InFlight {
        fn drop(&mut self) {
            self.0.dec();
        }
    }
    let gauge = CALLS_IN_FLIGHT.with_label_values(&[channel.word(), lane.word()]);
    gauge.inc();
    InFlight(gauge)
}

/// A call ended.
pub fn call_took(channel: Channel, span: Duration) {
    CALL_DURATION.with_label_values(&[channel.word()]).observe(span.as_secs_f64());
}

/// The same attempt is called again.
pub fn call_repeated(channel: Channel, outcome: Outcome) {
    CALLS_REPEATED.with_label_values(&[channel.word(), outcome.word()]).inc();
}

/// An answer concerns somebody beside the customer. `kind`: `fault`, `page` or `unlisted`.
pub fn attention(channel: Channel, kind: &'static str) {
    ATTENTION.with_label_values(&[channel.word(), kind]).inc();
}

/// A provider's breaker opened or closed. `provider`: its name in the configuration.
pub fn breaker(provider: &str, open: bool) {
    BREAKER_OPEN.with_label_values(&[provider]).set(i64::from(open));
}

/// Whether a provider may be spoken to in TLS 1.2. `provider`: its name in the configuration.
pub fn tls_1_2(provider: &str, allowed: bool) {
    TLS_1_2_ALLOWED.with_label_values(&[provider]).set(i64::from(allowed));
}

/// The breaker of one template on one channel opened or closed. `template`: its name in the catalogue.
pub fn template_breaker(channel: Channel, template: &str, open: bool) {
    TEMPLATE_BREAKER_OPEN.with_label_values(&[channel.word(), template]).set(i64::from(open));
}

/// An own entry of the journal was read back.
pub fn read_back(span: Duration) {
    READ_BACK.observe(span.as_secs_f64());
}

/// What is known of the clocks of the partitions in use; offsets in ms.
pub fn clocks(low_and_high: Option<(i64, i64)>, disagree: bool) {
    if let Some((low, high)) = low_and_high {
        CLOCK_OFFSET.with_label_values(&["low"]).set(seconds(low));
        CLOCK_OFFSET.with_label_values(&["high"]).set(seconds(high));
    }
    CLOCKS_DISAGREE.set(if disagree { 1.0 } else { 0.0 });
}

/// How many partitions are held.
pub fn partitions(count: usize) {
    PARTITIONS.set(i64::try_from(count).unwrap_or(i64::MAX));
}

fn seconds(millis: i64) -> f64 {
    let span = Duration::from_millis(millis.unsigned_abs()).as_secs_f64();
    if millis < 0 { -span } else { span }
}
