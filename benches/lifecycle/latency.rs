//! Record → provider call: a steady load through one process with all roles, and what share of the way each stretch has.

use crate::PARTITIONS;
use crate::process::Stage;
use crate::shared::{Flow, Spread, heading, record_ms, scrape, until_calls};
use crate::support::{self, Reader};
use rdkafka::Message;
use recado::event::records;
use recado::simulator;
use std::collections::BTreeMap;

const RATE: u64 = 500;
/// A broker's Java compiles for half a minute under this load; one that has run for days does not.
const WARM: u64 = 40 * RATE;
const MEASURED: u64 = 30 * RATE;

/// The part.
pub async fn run() {
    heading("Record → provider call, 500 a second for 30 s, one process with all roles");
    let stage = Stage::new("latency", PARTITIONS, simulator::Settings::default()).await;
    let mut instance = stage.start(&stage.config("a", stage.gateway_port, ""), "engine,dispatcher,gateway");
    instance.ready().await;
    let count = WARM + MEASURED;
    let flow = Flow::start(&stage, RATE, count);
    tokio::task::spawn_blocking(move || flow.wait()).await.unwrap();
    let calls = until_calls(&stage, count).await;
    let all: Vec<i64> = sorted(&calls).into_iter().skip(usize::try_from(WARM).unwrap()).collect();
    println!("{}", Spread::of(all));
    let (decided, called) = stages(&stage, &calls);
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
    instance.stop();
}

/// Before and after the broker took the dispatch (its own time, of the same machine).
fn stages(stage: &Stage, calls: &[simulator::CallLine]) -> (Spread, Spread) {
    let mut dispatches = Reader::new(&[(&format!("{}dispatch.whatsapp", stage.prefix), i32::from(PARTITIONS))]);
    let mut appended = BTreeMap::new();
    dispatches.until("all dispatches", |read| read.len() >= calls.len());
    for message in &dispatches.read {
        let dispatch = records::decode_dispatch(support::value(message)).unwrap();
        appended.insert(dispatch.attempt_id.to_string(), message.timestamp().to_millis().unwrap());
    }
    let mut pairs: Vec<(i64, i64, i64)> = calls.iter().map(|call| (record_ms(call), appended[call.attempt_id.as_ref().unwrap()], call.time_ms)).collect();
    pairs.sort_unstable();
    let measured = || pairs.iter().skip(usize::try_from(WARM).unwrap());
    (Spread::of(measured().map(|(record, at, _)| at - record).collect()), Spread::of(measured().map(|(_, at, call)| call - at).collect()))
}

/// By record time: what each took.
fn sorted(calls: &[simulator::CallLine]) -> Vec<i64> {
    let mut pairs: Vec<(i64, i64)> = calls.iter().map(|call| (record_ms(call), call.time_ms)).collect();
    pairs.sort_unstable();
    pairs.into_iter().map(|(record, call)| call - record).collect()
}
