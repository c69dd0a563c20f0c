//! Record → provider call: a steady load through one process with all roles, and what share of the way each stretch has.

use crate::PARTITIONS;
use crate::load::Flow;
use crate::measure::Spread;
use crate::measure::cost::Reading;
use crate::measure::metrics::scrape;
use crate::measure::send_log::{record_ms, until_calls};
use crate::process::{More, Stage};
use crate::shared::{asked, heading};
use crate::support::{self, Reader};
use rdkafka::Message;
use recado::event::records;
use recado::simulator;
use std::collections::BTreeMap;
use std::time::Duration;

/// Records a second, one after the other, unless `RATE` says otherwise.
const RATES: [u64; 2] = [500, 1_000];
/// A broker's Java compiles for half a minute under this load; one that has run for days does not.
const WARM_SECS: u64 = 40;
const MEASURED_SECS: u64 = 30;

/// The part.
pub async fn run() {
    match asked("RATE", 0) {
        0 => {
            for rate in RATES {
                at(rate).await;
            }
        }
        rate => at(rate).await,
    }
}

async fn at(rate: u64) {
    let threads = asked("THREADS", 1_u16);
    heading(&format!("Record → provider call, {rate} a second for {MEASURED_SECS} s, one process with all roles, engine threads: {threads}"));
    let engine = format!("threads = {threads}\n");
    let stage = Stage::with("latency", PARTITIONS, simulator::Settings::default(), More { engine: &engine, ..More::default() }).await;
    let mut instance = stage.start(&stage.config("a", stage.gateway_port, ""), "engine,dispatcher,gateway");
    instance.ready().await;
    let (warm, count) = (usize::try_from(WARM_SECS * rate).unwrap(), (WARM_SECS + MEASURED_SECS) * rate);
    let flow = Flow::start(&stage, rate, count);
    tokio::time::sleep(Duration::from_secs(WARM_SECS)).await;
    flow.late();
    let before = Reading::of(&instance);
    let late = tokio::task::spawn_blocking(move || flow.wait()).await.unwrap();
    let calls = until_calls(&stage, count).await;
    let cost = before.cost(&instance);
    let all: Vec<i64> = sorted(&calls).into_iter().skip(warm).collect();
    println!("{}", Spread::of(all));
    println!("  no record was written later than {late:.1?} behind its time");
    let (decided, called) = stages(&stage, &calls, warm);
    println!("  of it, until the dispatch is appended in the engine's transaction: {decided}");
    println!("  of it, from there through commit, journal and back to the call: {called}");
    let metrics = scrape(&instance).await;
    for name in ["recado_commit_duration_seconds", "recado_journal_read_back_seconds"] {
        let of = |end: &str| -> f64 {
            let all = metrics.lines().filter(|line| line.starts_with(&format!("{name}_{end}")));
            all.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        println!("  {name}: {} measured, {:.1} ms each", of("count"), 1_000.0 * of("sum") / of("count"));
    }
    println!("  {cost}");
    instance.stop();
}

/// Before and after the broker took the dispatch (its own time, of the same machine).
fn stages(stage: &Stage, calls: &[simulator::CallLine], warm: usize) -> (Spread, Spread) {
    let mut dispatches = Reader::new(&[(&format!("{}dispatch.whatsapp", stage.prefix), i32::from(PARTITIONS))]);
    let mut appended = BTreeMap::new();
    dispatches.until("all dispatches", |read| read.len() >= calls.len());
    for message in &dispatches.read {
        let dispatch = records::decode_dispatch(support::value(message)).unwrap();
        appended.insert(dispatch.attempt_id.to_string(), message.timestamp().to_millis().unwrap());
    }
    let mut pairs: Vec<(i64, i64, i64)> = calls.iter().map(|call| (record_ms(call), appended[call.attempt_id.as_ref().unwrap()], call.time_ms)).collect();
    pairs.sort_unstable();
    let measured = || pairs.iter().skip(warm);
    (Spread::of(measured().map(|(record, at, _)| at - record).collect()), Spread::of(measured().map(|(_, at, call)| call - at).collect()))
}

/// By record time: what each took.
fn sorted(calls: &[simulator::CallLine]) -> Vec<i64> {
    let mut pairs: Vec<(i64, i64)> = calls.iter().map(|call| (record_ms(call), call.time_ms)).collect();
    pairs.sort_unstable();
    pairs.into_iter().map(|(record, call)| call - record).collect()
}
