//! How quickly a store that was lost comes back from the changelog: from the start of the process until it is ready, less the same with the store kept.

use crate::PARTITIONS;
use crate::armed::Armed;
use crate::leave;
use crate::load::{OPEN, bill_route};
use crate::measure::cost::settled;
use crate::proc::cpu;
use crate::process::{Instance, More, Stage};
use crate::shared::{asked, heading};
use recado::simulator;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Deliveries whose states lie in the changelog, unless `ARMED` says otherwise: two records of each, as far as compaction has not come by.
const ARMED: u64 = 1_000_000;
const ROUNDS: usize = 3;

/// A start.
struct Start {
    wall: Duration,
    cpu: Duration,
    records: u64,
}

/// The part.
pub async fn run() {
    let armed = asked("ARMED", ARMED);
    heading(&format!("Restore from the changelog, {armed} deliveries"));
    let more = More { files: vec![bill_route()], engine: OPEN, ..More::default() };
    let stage = Stage::with("restore", PARTITIONS, simulator::Settings::default(), more).await;
    let config = stage.config("a", stage.gateway_port, "");
    let (mut instance, _) = started(&stage, &config).await;
    let mut arming = Armed::start(&stage);
    arming.arm(&instance, armed, |_| None).await;
    settled(&instance).await;
    arming.end();
    for _ in 0..ROUNDS {
        instance.stop();
        let (again, kept) = started(&stage, &config).await;
        again.stop();
        fs::remove_dir_all(stage.folder.path().join("state-a")).unwrap();
        let lost;
        (instance, lost) = started(&stage, &config).await;
        let (wall, cpu) = (lost.wall.saturating_sub(kept.wall), lost.cpu.saturating_sub(kept.cpu));
        let records = lost.records.saturating_sub(kept.records);
        let (of_wall, of_cpu) = (records as f64 / wall.as_secs_f64(), records as f64 / cpu.as_secs_f64());
        let whole = lost.records as f64 / lost.cpu.as_secs_f64();
        println!(
            "{records} records folded, and written so far as that is done before it is ready: {of_cpu:.0} records a CPU second ({whole:.0} of the whole start), {of_wall:.0} a second"
        );
        println!("  ready after {:.2?} ({:.2?} of CPU), with the store kept after {:.2?} ({:.2?})", lost.wall, lost.cpu, kept.wall, kept.cpu);
    }
    instance.stop();
    leave::delete_topics(&stage.prefix).await;
}

/// Starts it and waits until it is ready.
async fn started(stage: &Stage, config: &Path) -> (Instance, Start) {
    let before = fs::read_to_string(config.with_extension("log")).map_or(0, |log| log.len());
    let began = Instant::now();
    let mut instance = stage.start(config, "engine");
    instance.ready().await;
    let (wall, cpu) = (began.elapsed(), cpu(instance.pid()));
    let log = fs::read_to_string(&instance.log).unwrap();
    let replayed = log[before..].lines().filter(|line| line.contains("Replayed the changelog."));
    let records = replayed.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["records"].as_u64().unwrap()).sum();
    (instance, Start { wall, cpu, records })
}
