//! kill -9 of the engine with many armed timers → the first commit of the process that comes after it, with the disk kept and lost.

use crate::PARTITIONS;
use crate::armed::Armed;
use crate::cost::memory;
use crate::process::{Instance, More, Stage};
use crate::shared::{Bills, Flow, GONE_MS, asked, heading};
use crate::support::{Reader, Writer};
use rdkafka::Message;
use recado::simulator;
use std::fs;
use std::time::{Duration, Instant};

/// Waits that are armed when the engine is killed, unless `ARMED` says otherwise.
const ARMED: u64 = 100_000;

/// The part.
pub async fn run() {
    let (armed, load) = (asked("ARMED", ARMED), asked("LOAD", 0_u64));
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
    let told = Reader::new(&[(&format!("{}status", stage.prefix), i32::from(PARTITIONS))]);
    for (round, lose_disk) in [false, false, false, true].into_iter().enumerate() {
        // Everything that was said so far, and some seconds of the load.
        let began = Instant::now();
        while told.next().is_some() || began.elapsed() < Duration::from_secs(if load > 0 { 5 } else { 0 }) {}
        let (killed, killed_ms) = (Instant::now(), recado::clock::wall().millis());
        instance.kill();
        if lose_disk {
            fs::remove_dir_all(stage.folder.path().join("state-a")).unwrap();
        }
        instance = stage.start(&config, "engine");
        let (writer, bank) = (Writer::new(), Bills::new());
        writer.send(&stage.input("billing.invoices"), 3, b"customer-1", &bank.record(&format!("probe-{round}"), "customer-1"));
        writer.flush();
        // Nobody but the new process decides anything from now on, and it decides of records only when it can.
        let is_new = |message: &rdkafka::message::OwnedMessage| message.timestamp().to_millis().is_some_and(|at| at > killed_ms + GONE_MS);
        while told.next().as_ref().is_none_or(|message| !is_new(message)) {
            assert!(killed.elapsed() < Duration::from_secs(180), "no commit in 180 s");
        }
        println!("{}: {:.2?}", if lose_disk { "the same with the disk lost" } else { "killed" }, killed.elapsed());
        instance.ready().await;
        println!("  {}", most(&instance));
    }
    flow.end();
    arming.end();
    instance.stop();
}

/// The most memory that a process has had.
fn most(instance: &Instance) -> String {
    format!("{} MiB at most", memory(instance.pid(), "VmHWM") >> 20)
}
