//! What an armed timer takes in memory, near and far: a process that was just started has read all of them from its disk, and has done nothing else.
//!
//! Easily got wrong: in the process that armed them lies what arming took. And the deduplication window is as large as the timers are many: it is empty here.

use crate::PARTITIONS;
use crate::armed::{Armed, timers};
use crate::leave;
use crate::load::{BILL_DUE_MS, OPEN, bill_route};
use crate::measure::metrics::{counted, scrape};
use crate::proc::memory;
use crate::process::{Instance, More, Stage};
use crate::shared::{asked, heading, until};
use crate::support;
use recado::clock::wall;
use recado::simulator;
use std::fs;
use std::time::{Duration, Instant};

/// Timers of each kind, unless `ARMED` says otherwise.
const ARMED: u64 = 1_000_000;
/// What RocksDB has while it is measured: it fills that, however few timers there are.
const ROCKSDB: &str = "cache = \"8MiB\"\nwrite_buffer = \"8MiB\"\n";
/// A process is measured when it has been ready for so long.
const RESTS: Duration = Duration::from_secs(10);
/// The near ones are read so long before the first of them is due, and are due within so long.
const NEAR_MS: i64 = 48_000;
const NEAR_SPREAD_MS: u64 = 10_000;
/// A window of a minute is empty after three, and stopping takes its time.
const FORGOTTEN_MS: i64 = 240_000;

/// A process at rest.
struct Resident {
    bytes: u64,
    timers: u64,
    events: u64,
}

/// The part.
pub async fn run() {
    let armed = asked("ARMED", ARMED);
    heading(&format!("Memory of {armed} far and {armed} near timers"));
    let more = More { files: short_windows(), engine: OPEN, ..More::default() };
    let stage = Stage::with("memory", PARTITIONS, simulator::Settings::default(), more).await;
    let mut arming = Armed::start(&stage);
    let nothing = resident(&stage).await;
    let instance = started(&stage, "").await;
    let took = arming.arm(&instance, armed, |_| None).await;
    forgotten(instance).await;
    let far = resident(&stage).await;
    let instance = started(&stage, "").await;
    let first = wall().millis() + i64::try_from(took.as_millis()).unwrap() * 3 / 2 + FORGOTTEN_MS + NEAR_MS;
    arming.arm(&instance, armed, |at| Some(first + i64::try_from(at % NEAR_SPREAD_MS).unwrap() - BILL_DUE_MS)).await;
    forgotten(instance).await;
    assert!(wall().millis() < first - NEAR_MS, "arming the near ones took too long");
    until(first - NEAR_MS).await;
    let near = resident(&stage).await;
    assert!(wall().millis() < first, "the near ones are due already");
    arming.end();
    println!("With nothing armed {:.1} MiB are resident.", mib(nothing.bytes));
    for (kind, more, less) in [("Far", &far, &nothing), ("Near", &near, &far)] {
        let (timers, bytes) = (more.timers - less.timers, more.bytes.saturating_sub(less.bytes));
        println!(
            "{kind}: {:.1} bytes each, {:.1} MiB more with {timers} more; the deduplication window holds {} events",
            bytes as f64 / timers as f64,
            mib(bytes),
            more.events
        );
    }
    println!("  Apart from it: RocksDB, 8 MiB of cache and 8 MiB of write buffer in all three (256 MiB together unless configured otherwise).");
    leave::delete_topics(&stage.prefix).await;
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// All inputs look for the same event for a minute only.
fn short_windows() -> Vec<(&'static str, String)> {
    let short = |text: String| text.replace("dedup_window = \"24h\"", "dedup_window = \"1m\"").replace("dedup_window = \"1h\"", "dedup_window = \"1m\"");
    let codes = support::file("config/routes/codes.toml").replace("lane = \"express\"", "dedup_window = \"1m\"\nlane = \"express\"");
    let (bills, text) = bill_route();
    vec![(bills, short(text)), ("routes/pix.toml", short(support::file("config/routes/pix.toml"))), ("routes/codes.toml", codes)]
}

/// The same instance once more, with more lines in its section `[engine]`.
async fn started(stage: &Stage, more: &str) -> Instance {
    let config = stage.config("a", stage.gateway_port, "");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("[engine]\n", &format!("[engine]\n{more}"))).unwrap();
    let mut instance = stage.start(&config, "engine");
    instance.ready().await;
    instance
}

/// Waits until the deduplication window is empty, and stops it.
async fn forgotten(instance: Instance) {
    let began = Instant::now();
    while counted(&scrape(&instance).await, "recado_dedup_events", "") > 0 {
        assert!(began.elapsed() < Duration::from_secs(600), "the window is not empty after ten minutes");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    instance.stop();
}

async fn resident(stage: &Stage) -> Resident {
    let instance = started(stage, ROCKSDB).await;
    tokio::time::sleep(RESTS).await;
    let (timers, events) = (timers(&instance).await, counted(&scrape(&instance).await, "recado_dedup_events", ""));
    let resident = Resident { bytes: memory(instance.pid(), "VmRSS").unwrap(), timers, events };
    instance.stop();
    resident
}
