//! Whether a lifecycle costs more the more timers are armed, and the more threads share the same load.

use crate::PARTITIONS;
use crate::answers::{Answers, LIFECYCLE, signs_of_life};
use crate::armed::Armed;
use crate::leave;
use crate::load::{Flow, Mould, OPEN, bill_route, pix_route};
use crate::measure::cost::{Reading, settled};
use crate::measure::metrics::delivered;
use crate::process::{Instance, More, Stage};
use crate::shared::{Worker, asked, heading};
use recado::simulator;
use std::time::Duration;

/// The few; and the many, and lifecycles a second, unless `ARMED` and `RATE` say otherwise.
const FEW: u64 = 1_000;
const ARMED: u64 = 5_000_000;
const RATE: u64 = 2_000;
/// They come in turn, unless `CUSTOMERS` says how many: of so few all have their keys in memory when it is warm.
const CUSTOMERS: u64 = 10_000;
/// Events of one flow; the next begins behind them.
const EVENTS: u64 = 100_000_000;
const WARM: Duration = Duration::from_secs(30);
const MEASURED: Duration = Duration::from_secs(60);

/// The part.
pub async fn run() {
    let (armed, rate) = (asked("ARMED", ARMED), asked("RATE", RATE));
    heading(&format!("CPU of a lifecycle at {rate} a second: {FEW} and {armed} armed, one thread and two"));
    let mut one = Growing::start(1, FEW).await;
    let few = one.cost(rate, "one thread, few armed").await;
    // What was under way has timers too: they must be over before more are counted.
    settled(&one.instance).await;
    one.armed.arm(&one.instance, armed.saturating_sub(FEW), |_| None).await;
    settled(&one.instance).await;
    let many = one.cost(rate, "one thread, many armed").await;
    one.end().await;
    let mut two = Growing::start(2, FEW).await;
    let shared = two.cost(rate, "two threads, few armed").await;
    two.end().await;
    println!("With {armed} armed {:.2} × of {FEW} armed; with two threads {:.2} × of one", many / few, shared / few);
}

/// An engine under a steady load.
struct Growing {
    stage: Stage,
    instance: Instance,
    signs: Worker,
    answers: Answers,
    armed: Armed,
    next: u64,
}

impl Growing {
    async fn start(threads: u16, few: u64) -> Self {
        let engine = format!("{OPEN}threads = {threads}\n");
        let more = More { files: vec![pix_route(600, 600), bill_route()], engine: &engine, ..More::default() };
        let stage = Stage::with("growth", PARTITIONS, simulator::Settings::default(), more).await;
        let mut instance = stage.start(&stage.config("a", stage.gateway_port, ""), "engine");
        instance.ready().await;
        let (signs, answers, mut armed) = (signs_of_life(&stage), Answers::start(&stage, "dispatch.whatsapp", LIFECYCLE), Armed::start(&stage));
        armed.arm(&instance, few, |_| None).await;
        Self { stage, instance, signs, answers, armed, next: 0 }
    }

    /// Microseconds of the process for each lifecycle of a warm minute.
    async fn cost(&mut self, rate: u64, what: &str) -> f64 {
        let numbers = self.next..self.next + EVENTS;
        self.next = numbers.end;
        let flow = Flow::of(self.stage.input("pix.transactions"), rate, numbers, Mould::pix(false, asked("CUSTOMERS", CUSTOMERS)));
        tokio::time::sleep(WARM).await;
        let (before, from) = (Reading::of(&self.instance), delivered(&self.instance).await);
        tokio::time::sleep(MEASURED).await;
        let (cost, lives) = (before.cost(&self.instance), delivered(&self.instance).await - from);
        flow.end();
        assert!(lives >= rate * MEASURED.as_secs() * 95 / 100, "{what}: {lives} in a minute are fewer than were written, and larger transactions cost less");
        println!("{what}: {:.1} µs of CPU for each of {lives} lifecycles, {}", cost.each(lives), cost.others(lives));
        println!("  {cost}");
        cost.each(lives)
    }

    async fn end(self) {
        self.answers.end();
        self.armed.end();
        self.signs.end();
        self.instance.stop();
        leave::delete_topics(&self.stage.prefix).await;
    }
}
