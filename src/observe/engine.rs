//! The engine's metrics: what it takes in, decides, commits and holds.

use super::grid::Grid;
use super::register;
use crate::delivery::{Attempt, Channel, Hold, Lane, MessageId, Reason, Status, StatusWord, TimerKind, Timestamp, Why};
use prometheus::{GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, exponential_buckets};
use std::sync::LazyLock;
use std::time::Duration;

fn counter(name: &str, help: &str) -> IntCounter {
    register(IntCounter::new(name, help))
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauges_of(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(IntGaugeVec::new(Opts::new(name, help), labels))
}

fn histograms(name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    register(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets()), labels))
}

/// 1 ms to 65 s, doubling.
fn buckets() -> Vec<f64> {
    exponential_buckets(0.001, 2.0, 17).expect("a positive start and factor")
}

static DISPATCHED: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("recado_attempts_total", "Attempts decided, first ones and later ones.", &["channel", "lane", "attempt"]));
static FALLBACKS: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("recado_fallbacks_total", "Steps begun after another, by both channels and reason.", &["from", "to", "reason"]));
static RETRIES: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("recado_retries_total", "Attempts at the same step again, by channel and reason.", &["channel", "reason"]));
static CANCELS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Cancels of the bank by what they met: a delivery, a cancel before them, or nothing (it came first, or what it withdraws has ended).";
    counters("recado_cancels_total", help, &["input", "met"])
});
static STATUSES: LazyLock<IntCounterVec> = LazyLock::new(|| counters("recado_statuses_total", "Statuses decided, by word and reason.", &["status", "reason"]));
static DOUBLE: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("recado_double_delivered_total", "Deliveries confirmed by a channel after a fallback had gone out.", &["channel"]));
static DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    histograms(
        "recado_delivery_duration_seconds",
        "From the record to its terminal status, by the channel that it speaks of; none where it ended by itself.",
        &["lane", "channel"],
    )
});
static TIMER_LAG: LazyLock<HistogramVec> = LazyLock::new(|| histograms("recado_timer_lag_seconds", "How long after its deadline a timer fired.", &["kind"]));
static COMMIT: LazyLock<Histogram> = LazyLock::new(|| {
    register(Histogram::with_opts(HistogramOpts::new("recado_commit_duration_seconds", "One transaction from begin to committed.").buckets(buckets())))
});
static COMMITTED_RECORDS: LazyLock<IntCounter> = LazyLock::new(|| counter("recado_committed_records_total", "Records written by committed transactions."));
static COMMITTED_INPUTS: LazyLock<IntCounter> =
    LazyLock::new(|| counter("recado_committed_inputs_total", "Records and timers decided by committed transactions."));
static RECYCLED: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("recado_producers_recycled_total", "Transactional producers given up and made anew.", &["reason"]));
static REBUILT: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("recado_stores_rebuilt_total", "Partition stores thrown away and rebuilt from the changelog.", &["reason"]));
static ODDITIES: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("recado_position_disagreements_total", "Positions on which state, group and log disagreed at a start.", &["kind"]));
static DUPLICATES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "recado_duplicate_events_total",
        "Events of the bank that came again within the deduplication window, or were read again while their delivery lives.",
        &["input"],
    )
});
static IGNORED: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("recado_ignored_records_total", "Input records for which no route is meant.", &["input", "reason"]));
static FIELDS_DROPPED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Fields without a class in the schemas of records that became notifications: none is taken.";
    counters("recado_fields_dropped_total", help, &["input"])
});
static HELD_BACK: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("recado_input_waits_total", "Times an input partition had to wait for a schema or a key.", &["input"]));
static RECEIPTS_DROPPED: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("recado_receipts_dropped_total", "Records of the receipts topic that changed nothing.", &["reason"]));
static DEAD: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("recado_dead_letters_total", "Records and webhooks that could not be processed, by reason.", &["reason"]));
static ARMED: LazyLock<IntGaugeVec> = LazyLock::new(|| gauges_of("recado_timers_armed", "Timers that are set.", &["thread"]));
static HELD: LazyLock<IntGaugeVec> =
    LazyLock::new(|| gauges_of("recado_timers_held", "Groups of due timers (partition, channel, lane, kind) that are held.", &["thread", "reason"]));
static WINDOW: LazyLock<IntGaugeVec> = LazyLock::new(|| gauges_of("recado_dedup_events", "Events in the deduplication window.", &["thread"]));
static LAG_RECORDS: LazyLock<IntGaugeVec> =
    LazyLock::new(|| gauges_of("recado_lag_records", "Records of a source that are not decided yet.", &["thread", "topic"]));
static LAG_SECONDS: LazyLock<GaugeVec> =
    LazyLock::new(|| register(GaugeVec::new(Opts::new("recado_lag_seconds", "Age of the oldest record of a source that waits."), &["thread", "topic"])));
static TASKS: LazyLock<IntGaugeVec> = LazyLock::new(|| gauges_of("recado_tasks", "Partitions that this process owns.", &["thread"]));

// Each grid below has a place for each of them.
const _: () = assert!(Channel::Voice as usize + 1 == Channel::ALL.len() && Lane::Bulk as usize + 1 == Lane::ALL.len());
const _: () = assert!(StatusWord::Late as usize + 1 == StatusWord::ALL.len() && Reason::IdentityChanged as usize + 1 == Reason::ALL.len());

/// An attempt was decided; `before`: the channel of the attempt before it and why it was not the last.
pub fn dispatched(attempt: Attempt, channel: Channel, lane: Lane, before: Option<(Channel, Why)>) {
    static FIRST: Grid<IntCounter, { Channel::ALL.len() }, { Lane::ALL.len() }> = Grid::new();
    let counter = |which| DISPATCHED.with_label_values(&[channel.word(), lane.word(), which]);
    match before {
        None => FIRST.at(channel as usize, lane as usize, || counter("first")).inc(),
        Some(_) => counter("later").inc(),
    }
    match before {
        Some((from, why)) if why.from.step != attempt.step => FALLBACKS.with_label_values(&[from.word(), channel.word(), why.reason.word()]).inc(),
        Some((_, why)) => RETRIES.with_label_values(&[channel.word(), why.reason.word()]).inc(),
        None => {}
    }
}

/// A cancel was read.
pub fn cancel(input: &str, met: &str) {
    CANCELS.with_label_values(&[input, met]).inc();
}

/// A status was decided.
pub fn status(status: &Status, lane: Lane, now: Timestamp, id: MessageId) {
    static BY_WORD: Grid<IntCounter, { StatusWord::ALL.len() }, { Reason::ALL.len() }> = Grid::new();
    static BY_LANE: Grid<Histogram, { Lane::ALL.len() }, { Channel::ALL.len() + 1 }> = Grid::new();
    let (word, reason) = (status.word, status.reason);
    BY_WORD.at(word as usize, reason as usize, || STATUSES.with_label_values(&[word.word(), reason.word()])).inc();
    if status.double_delivered {
        DOUBLE.with_label_values(&[status.channel.map_or("none", Channel::word)]).inc();
    }
    if status.word.terminal() {
        // A message id begins with the record's time in ms.
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&id.bytes()[..6]);
        let record_time = Timestamp::from_millis(i64::from_be_bytes(millis));
        let channel = status.channel.map_or(Channel::ALL.len(), |channel| channel as usize);
        let made = || DURATION.with_label_values(&[lane.word(), status.channel.map_or("none", Channel::word)]);
        BY_LANE.at(lane as usize, channel, made).observe(now.since(record_time).as_secs_f64());
    }
}

/// A timer fired, so long after its deadline.
pub fn timer_fired(kind: TimerKind, late: Duration) {
    let word = match kind {
        TimerKind::Lease => "lease",
        TimerKind::Wait => "wait",
        TimerKind::Linger => "linger",
        TimerKind::BackOff => "back_off",
    };
    TIMER_LAG.with_label_values(&[word]).observe(late.as_secs_f64());
}

/// A transaction committed.
pub fn committed(took: Duration, inputs: usize, records: usize) {
    COMMIT.observe(took.as_secs_f64());
    COMMITTED_INPUTS.inc_by(u64::try_from(inputs).unwrap_or(0));
    COMMITTED_RECORDS.inc_by(u64::try_from(records).unwrap_or(0));
}

/// A producer was given up.
pub fn producer_recycled(reason: &str) {
    RECYCLED.with_label_values(&[reason]).inc();
}

/// A partition's store was thrown away.
pub fn rebuilt(reason: &str) {
    REBUILT.with_label_values(&[reason]).inc();
}

/// State, group and log disagreed about a position.
pub fn oddity(kind: &str) {
    ODDITIES.with_label_values(&[kind]).inc();
}

/// The same event came again.
pub fn duplicate(input: &str) {
    DUPLICATES.with_label_values(&[input]).inc();
}

/// A record for which no route is meant.
pub fn ignored(input: &str, reason: &str) {
    IGNORED.with_label_values(&[input, reason]).inc();
}

/// A record became a notification; so many fields of its schema have no class.
pub fn fields_dropped(input: &str, fields: u32) {
    if fields > 0 {
        FIELDS_DROPPED.with_label_values(&[input]).inc_by(u64::from(fields));
    }
}

/// An input partition waits for a schema or a key.
pub fn held_back(input: &str) {
    HELD_BACK.with_label_values(&[input]).inc();
}

/// A receipt that names another partition.
pub fn receipt_astray() {
    RECEIPTS_DROPPED.with_label_values(&["astray"]).inc();
}

/// A receipt of a delivery that has ended.
pub fn receipt_after_end() {
    RECEIPTS_DROPPED.with_label_values(&["after_end"]).inc();
}

/// A receipt that was applied before.
pub fn replayed() {
    RECEIPTS_DROPPED.with_label_values(&["replayed"]).inc();
}

/// Bytes on the receipts topic that are none of ours.
pub fn receipt_unreadable() {
    RECEIPTS_DROPPED.with_label_values(&["unreadable"]).inc();
}

/// A record that could not be processed.
pub fn dead_letter(reason: &str) {
    DEAD.with_label_values(&[reason]).inc();
}

/// What one thread holds now.
pub fn gauges(thread: u16, armed: usize, window: usize) {
    let thread = thread.to_string();
    ARMED.with_label_values(&[&thread]).set(i64::try_from(armed).unwrap_or(i64::MAX));
    WINDOW.with_label_values(&[&thread]).set(i64::try_from(window).unwrap_or(i64::MAX));
}

/// Why one thread holds groups of due timers now: once for each group.
pub fn held(thread: u16, groups: impl Iterator<Item = Hold> + Clone) {
    for (hold, word) in [(Hold::GatewaySilent, "gateway_silent"), (Hold::DispatcherSilent, "dispatcher_silent"), (Hold::Storm, "storm")] {
        let count = groups.clone().filter(|why| *why == hold).count();
        HELD.with_label_values(&[&thread.to_string(), word]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// Records between what one thread has decided and the ends of its partitions of a source.
pub fn lag_records(thread: u16, topic: &str, records: i64) {
    LAG_RECORDS.with_label_values(&[&thread.to_string(), topic]).set(records);
}

/// Age of the oldest record of a source that waits in one thread.
pub fn lag_seconds(thread: u16, topic: &str, age: Duration) {
    LAG_SECONDS.with_label_values(&[&thread.to_string(), topic]).set(age.as_secs_f64());
}

/// How many tasks one thread has.
pub fn tasks(thread: u16, count: usize) {
    TASKS.with_label_values(&[&thread.to_string()]).set(i64::try_from(count).unwrap_or(i64::MAX));
}
