//! Lifecycles a second when the bank writes faster than anybody can: engine, broker and generator, which plays dispatcher and providers. No HTTP.
//!
//! It counts from the first record to the last *delivered*: in the last second only what is under way comes to its end.

use crate::PARTITIONS;
use crate::answers::{Answers, LIFECYCLE, signs_of_life};
use crate::leave;
use crate::load::{Loader, Mould, OPEN, pix_route};
use crate::measure::cost::{Cost, Reading, settled};
use crate::measure::metrics::delivered;
use crate::measure::topics;
use crate::process::{Instance, More, Stage};
use crate::shared::{asked, heading};
use recado::simulator;
use std::time::{Duration, Instant};

/// Lifecycles that are measured, unless `LIVES` says otherwise.
const LIVES: u64 = 400_000;
/// In turn: a key is made for each the first time, while it warms up.
const CUSTOMERS: u64 = 50_000;

/// The part.
pub async fn run() {
    let lives = asked("LIVES", LIVES);
    heading(&format!("Saturated without HTTP: {lives} lifecycles, one engine thread"));
    let more = More { files: vec![pix_route(600, 600)], engine: OPEN, ..More::default() };
    let stage = Stage::with("rate", PARTITIONS, simulator::Settings::default(), more).await;
    let mut instance = stage.start(&stage.config("a", stage.gateway_port, ""), "engine");
    instance.ready().await;
    let (signs, answers) = (signs_of_life(&stage), Answers::start(&stage, "dispatch.whatsapp", LIFECYCLE));
    let cost = saturated(&stage, &instance, CUSTOMERS, lives).await;
    told(&cost, lives);
    kept(&stage, CUSTOMERS + lives);
    let (read, begun) = (answers.end(), CUSTOMERS + lives);
    settled(&instance).await;
    signs.end();
    instance.stop();
    let statuses = topics::each(&format!("{}status", stage.prefix), &topics::START, |_| {});
    assert_eq!(statuses, 3 * begun + read, "requested, sent and delivered of each, and what was read");
    leave::delete_topics(&stage.prefix).await;
}

/// Brings so many lives of so many customers, after one of each to warm up; returns what they cost.
pub async fn saturated(stage: &Stage, instance: &Instance, customers: u64, lives: u64) -> Cost {
    let (bank, mould, input) = (Loader::new(), Mould::pix(false, customers), stage.input("pix.transactions"));
    bank.all(&input, &mould, 0..customers);
    until_delivered(instance, customers).await;
    let before = Reading::of(instance);
    bank.all(&input, &mould, customers..customers + lives);
    until_delivered(instance, customers + lives).await;
    before.cost(instance)
}

/// Says it.
pub fn told(cost: &Cost, lives: u64) {
    let (rate, of_a_core) = cost.rates(lives);
    println!("{rate:.0} lifecycles/s; {:.1} µs of CPU each ({of_a_core:.0} a CPU second), {}", cost.each(lives), cost.others(lives));
    println!("  {cost}");
}

/// Says what so many lives left at the broker.
pub fn kept(stage: &Stage, lives: u64) {
    println!("  {} bytes of each lie in the broker's segments, the cleaner's work taken off", topics::segments(stage) / lives);
}

/// Waits until so many have ended on a phone.
async fn until_delivered(instance: &Instance, count: u64) {
    let (mut there, mut since) = (0, Instant::now());
    while there < count {
        let now = delivered(instance).await;
        if now > there {
            (there, since) = (now, Instant::now());
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{there} of {count} are delivered, and for a minute no more");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
