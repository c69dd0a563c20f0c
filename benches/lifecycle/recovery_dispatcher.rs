//! kill -9 of the only dispatcher → the first call of the one that comes after it, of the same name and of another.

use crate::PARTITIONS;
use crate::load::Flow;
use crate::measure::send_log::calls;
use crate::process::Stage;
use crate::shared::{GONE_MS, heading};
use recado::simulator;
use std::time::{Duration, Instant};

/// The part.
pub async fn run() {
    heading("kill -9 of the only dispatcher → first provider call, same name, 50 records a second");
    let stage = Stage::new("calls", PARTITIONS, simulator::Settings::default()).await;
    let mut engine = stage.start(&stage.config("a", stage.gateway_port, ""), "engine,gateway");
    let config = stage.config("d", stage.gateway_port, "");
    let mut dispatcher = stage.start(&config, "dispatcher");
    engine.ready().await;
    dispatcher.ready().await;
    let flow = Flow::start(&stage, 50, u64::MAX);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(4)).await;
        let killed_ms = recado::clock::wall().millis();
        dispatcher.kill();
        dispatcher = stage.start(&config, "dispatcher");
        let started_ms = recado::clock::wall().millis();
        println!("killed: {} ms", first_call_after(&stage, started_ms).await - killed_ms);
    }
    // Another name gets the partitions only when the session of the dead one is over.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let killed_ms = recado::clock::wall().millis();
    dispatcher.kill();
    let mut other = stage.start(&stage.config("e", stage.gateway_port, ""), "dispatcher");
    println!("killed, another name: {} ms", first_call_after(&stage, killed_ms + GONE_MS).await - killed_ms);
    flow.end();
    other.ready().await;
    other.stop();
    engine.stop();
}

/// When the provider has the first call after this time.
async fn first_call_after(stage: &Stage, time_ms: i64) -> i64 {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(call) = calls(stage).into_iter().find(|call| call.time_ms > time_ms) {
            return call.time_ms;
        }
        assert!(Instant::now() < deadline, "no call in 60 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
