//! kill -9 of the engine with many armed timers → the first commit of the process that comes after it, with the disk kept and lost.

use crate::PARTITIONS;
use crate::process::{Instance, More, Stage};
use crate::shared::{Bills, Flow, GONE_MS, asked, heading, scrape};
use crate::support::{self, Reader, Writer};
use rdkafka::Message;
use recado::delivery::{Outcome, Reason};
use recado::event::records::{self, Returned};
use recado::simulator;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Waits that are armed when the engine is killed, unless `ARMED` says otherwise.
const ARMED: usize = 100_000;

/// The part.
pub async fn run() {
    let (armed, load) = (asked("ARMED", ARMED), asked("LOAD", 0));
    heading(&format!("kill -9 of the engine → first commit, with {armed} armed timers, {load} records a second"));
    let more = More { engine: "attempts_open_max = 4000000\n", ..More::default() };
    let stage = Stage::with("killed", PARTITIONS, simulator::Settings::default(), more).await;
    let config = stage.config("a", stage.gateway_port, "");
    let mut instance = stage.start(&config, "engine");
    instance.ready().await;
    let loading = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let dispatcher = accept_all(&stage, stop.clone());
    let bills = stage.input("billing.invoices");
    let prefix = stage.prefix.clone();
    tokio::task::spawn_blocking(move || {
        let (writer, bank) = (Writer::new(), Bills::new());
        for at in 0..armed {
            let customer = format!("customer-{}", at % 1_000);
            writer.send(&bills, i32::try_from(at % usize::from(PARTITIONS)).unwrap(), customer.as_bytes(), &bank.record(&format!("b-{at}"), &customer));
        }
        writer.flush();
    })
    .await
    .unwrap();
    loop {
        let metrics = scrape(&instance).await;
        let lines = metrics.lines().filter(|line| line.starts_with("recado_timers_armed"));
        let there: f64 = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        if there >= f64::from(u32::try_from(armed).unwrap()) && dispatcher.1.load(Ordering::Relaxed) >= u64::try_from(armed).unwrap() {
            break;
        }
        assert!(loading.elapsed() < Duration::from_secs(600 + u64::try_from(armed).unwrap() / 500), "{there} timers are armed");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    println!("Armed after {:.0?}; {}.", loading.elapsed(), memory(&instance));
    let flow = Flow::of_bills(&stage, u64::try_from(load).unwrap());
    let told = Reader::new(&[(&format!("{prefix}status"), i32::from(PARTITIONS))]);
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
        println!("  {}", memory(&instance));
    }
    flow.end();
    stop.store(true, Ordering::Relaxed);
    dispatcher.0.join().unwrap();
    instance.stop();
}

/// The most memory that a process has had.
fn memory(instance: &Instance) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", instance.pid())).unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmHWM")).map_or_else(String::new, |line| line.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Says *accepted* of everything that is dispatched, as a dispatcher would; counts.
fn accept_all(stage: &Stage, stop: Arc<AtomicBool>) -> (std::thread::JoinHandle<()>, Arc<AtomicU64>) {
    let (dispatches, receipts) = (format!("{}dispatch.whatsapp.bulk", stage.prefix), format!("{}receipts", stage.prefix));
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    let thread = std::thread::spawn(move || {
        let (writer, reader) = (Writer::new(), Reader::new(&[(&dispatches, i32::from(PARTITIONS))]));
        while !stop.load(Ordering::Relaxed) {
            let Some(message) = reader.next() else { continue };
            let dispatch = records::decode_dispatch(support::value(&message)).unwrap();
            let outcome = Returned::Outcome { attempt_id: dispatch.attempt_id, outcome: Outcome::Accepted, reason: Reason::None, code: 0, provider_id: None };
            let mut value = Vec::new();
            records::encode_returned(&outcome, &mut value);
            writer.send(&receipts, i32::from(dispatch.attempt_id.message_id.partition().0), b"", &value);
            counted.fetch_add(1, Ordering::Relaxed);
        }
        writer.flush();
    });
    (thread, count)
}
