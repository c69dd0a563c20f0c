//! kill -9 of the engine with many armed timers → the first commit of the process that comes after it, with the disk kept and lost.

use crate::PARTITIONS;
use crate::armed::Armed;
use crate::leave;
use crate::load::{Bills, Flow};
use crate::measure::topics;
use crate::proc::memory;
use crate::process::{Instance, More, Stage};
use crate::shared::{GONE_MS, asked, heading};
use crate::support::Writer;
use rdkafka::message::Message;
use recado::clock::wall;
use recado::simulator;
use std::fs;
use std::time::{Duration, Instant};

/// Waits that are armed when the engine is killed, and records a second meanwhile, unless `ARMED` and `LOAD` say otherwise.
const ARMED: u64 = 1_000_000;
const LOAD: u64 = 1_000;
/// The kills: with the disk lost or kept, and for how long the load flows before. The first comes soon behind the arming, which is a burst of many times that load; the next
/// two behind more than the 30 s between two flushes of the store.
const KILLS: [(bool, i64); 4] = [(false, 5_000), (false, 40_000), (false, 40_000), (true, 5_000)];

/// The part.
pub async fn run() {
    let (armed, load) = (asked("ARMED", ARMED), asked("LOAD", LOAD));
    heading(&format!("kill -9 of the engine → first commit, with {armed} armed timers, {load} records a second"));
    let more = More { engine: "attempts_open_max = 4000000\n", ..More::default() };
    let stage = Stage::with("killed", PARTITIONS, simulator::Settings::default(), more).await;
    let config = stage.config("a", stage.gateway_port, "");
    let mut instance = stage.start(&config, "engine");
    instance.ready().await;
    let mut arming = Armed::start(&stage);
    let took = arming.arm(&instance, armed, |_| None).await;
    println!("Armed after {took:.0?}; {}.", most(&instance));
    let flow = Flow::of_bills(&stage, load);
    let status = format!("{}status", stage.prefix);
    let told = topics::consumer(&status, &topics::ends(&status));
    let next_ms = || told.poll(Duration::from_millis(20)).and_then(|message| message.unwrap().timestamp().to_millis());
    for (round, (lose_disk, load_ms)) in KILLS.into_iter().enumerate() {
        // Everything that was said so far, and some seconds of the load, under which there is always something to be read.
        let until_ms = wall().millis() + if load > 0 { load_ms } else { 0 };
        while next_ms().is_some_and(|at| at < until_ms) || wall().millis() < until_ms {}
        let (killed, killed_ms) = (Instant::now(), wall().millis());
        instance.kill();
        if lose_disk {
            fs::remove_dir_all(stage.folder.path().join("state-a")).unwrap();
        }
        instance = stage.start(&config, "engine");
        let (writer, bank) = (Writer::new(), Bills::new());
        writer.send(&stage.input("billing.invoices"), 3, b"customer-1", &bank.record(&format!("probe-{round}"), "customer-1"));
        writer.flush();
        // Nobody but the new process decides anything from now on, and it decides of records only when it can.
        while next_ms().is_none_or(|at| at <= killed_ms + GONE_MS) {
            assert!(killed.elapsed() < Duration::from_secs(180), "no commit in 180 s");
        }
        println!("{}: {:.2?}", if lose_disk { "the same with the disk lost" } else { "killed" }, killed.elapsed());
        instance.ready().await;
        println!("  {}", most(&instance));
    }
    flow.end();
    arming.end();
    instance.stop();
    leave::delete_topics(&stage.prefix).await;
}

/// The most memory that a process has had.
fn most(instance: &Instance) -> String {
    format!("{} MiB at most", memory(instance.pid(), "VmHWM").unwrap() >> 20)
}
