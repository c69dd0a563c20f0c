//! Timers that are due at once: how quickly their fallbacks are appended, and what other traffic notices.
//!
//! Easily got wrong: a wait counts from the append of its outcome, so all outcomes are written in one go, when the last request is dispatched.

use crate::PARTITIONS;
use crate::answers::{Answers, LIFECYCLE, signs_of_life};
use crate::back::Back;
use crate::leave;
use crate::load::{BESIDE, Flow, Loader, Mould, OPEN, pix_route};
use crate::measure::cost::Reading;
use crate::measure::{Spread, topics};
use crate::process::{More, Stage};
use crate::shared::{Worker, asked, heading, until};
use crate::support::Reader;
use recado::clock::wall;
use recado::delivery::MessageId;
use recado::simulator;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Timers, and records a second beside them, unless `DUE` and `RATE` say otherwise.
const DUE: u64 = 100_000;
const RATE: u64 = 500;
const WAIT_SECS: u32 = 60;
const CUSTOMERS: u64 = 10_000;
/// Other traffic flows for so long before it is looked at.
const WARM_MS: i64 = 15_000;
/// By then the last fallback is there.
const OVER_MS: i64 = 30_000;

/// The part.
pub async fn run() {
    let (due, rate) = (asked("DUE", DUE), asked("RATE", RATE));
    heading(&format!("{due} timers due at once, beside {rate} records a second"));
    let more = More { files: vec![pix_route(600, WAIT_SECS)], engine: OPEN, ..More::default() };
    let stage = Stage::with("due", PARTITIONS, simulator::Settings::default(), more).await;
    let mut instance = stage.start(&stage.config("a", stage.gateway_port, ""), "engine");
    instance.ready().await;
    let signs = signs_of_life(&stage);
    let [first, last] = begin(&stage, due).map(|at| at + i64::from(WAIT_SECS) * 1_000);

    let (reader, read) = note_dispatches(&stage);
    let answers = Answers::start(&stage, "dispatch.whatsapp", LIFECYCLE);
    let flow = Flow::of(stage.input("pix.transactions"), rate, BESIDE..u64::MAX, Mould::pix(false, CUSTOMERS));
    let (quiet, end) = (wall().millis() + WARM_MS, first - 1_000);
    assert!(quiet + WARM_MS < end, "too many for a wait of {WAIT_SECS} s");
    until(quiet).await;
    let before = Reading::of(&instance);
    until(end).await;
    let (without, before) = (before.cost(&instance), Reading::of(&instance));
    until(last + OVER_MS).await;
    let with = before.cost(&instance);
    flow.end();
    answers.end();
    signs.end();
    reader.end();

    let mut fallbacks: Vec<i64> = topics::appended(&format!("{}retry.sms", stage.prefix)).into_iter().map(|(_, at)| at).collect();
    fallbacks.sort_unstable();
    assert_eq!(u64::try_from(fallbacks.len()).unwrap(), due, "each falls back once within {OVER_MS} ms");
    let (from, to) = (fallbacks[0], fallbacks[fallbacks.len() - 1]);
    let drained = |since: i64| due as f64 * 1e3 / (to - since) as f64;
    println!(
        "All due within {} ms. {:.0} fallbacks/s, from when the first was due to the last append; {:.0}/s from the first append on, {} ms later.",
        last - first,
        drained(first),
        drained(from),
        from - first
    );
    let usual = without.process.as_secs_f64() * with.wall.as_secs_f64() / without.wall.as_secs_f64();
    println!(
        "  {:.1} µs of CPU each, beside the {usual:.2} s that other traffic takes; before: {without}; meanwhile: {with}",
        (with.process.as_secs_f64() - usual) * 1e6 / due as f64
    );
    let others: Vec<(MessageId, i64)> = read.into_iter().collect();
    let (calm, busy) = (way(&others, quiet, end), way(&others, first, to));
    println!("Other traffic, record → dispatch committed and read, before: {calm}");
    println!("  while they are drained: {busy}; p99 is {:.2} × as long", busy.at(99) as f64 / calm.at(99) as f64);
    instance.stop();
    leave::delete_topics(&stage.prefix).await;
}

/// Brings so many Pix to their waits; returns the times between which the outcomes were appended.
fn begin(stage: &Stage, count: u64) -> [i64; 2] {
    let [dispatches, receipts] = ["dispatch.whatsapp", "receipts"].map(|topic| format!("{}{topic}", stage.prefix));
    let (loader, consumer) = (Loader::new(), topics::consumer(&dispatches, &topics::START));
    loader.all(&stage.input("pix.transactions"), &Mould::pix(true, CUSTOMERS), 0..count);
    let (mut ids, began): (Vec<MessageId>, _) = (Vec::new(), Instant::now());
    while u64::try_from(ids.len()).unwrap() < count {
        ids.extend(consumer.poll(Duration::from_millis(100)).and_then(|message| topics::id(&message.unwrap())));
        assert!(began.elapsed() < Duration::from_secs(100), "{} of {count} are dispatched, and their leases end", ids.len());
    }
    let first = wall().millis();
    for id in &ids {
        loader.back(&receipts, id, Back::Accepted);
    }
    loader.flush();
    [first, wall().millis()]
}

/// Reads all dispatches of first attempts as a dispatcher would, and notes when each was there: what is appended is not committed yet.
fn note_dispatches(stage: &Stage) -> (Worker, Receiver<(MessageId, i64)>) {
    let reader = Reader::new(&[(&format!("{}dispatch.whatsapp", stage.prefix), i32::from(PARTITIONS))]);
    let (noted, read) = channel();
    let worker = Worker::start(move |stop| {
        while !stop.load(Ordering::Relaxed) {
            if let Some(message) = reader.next() {
                noted.send((topics::id(&message).unwrap(), wall().millis())).unwrap();
            }
        }
    });
    (worker, read)
}

/// From the record until its dispatch was there, of the records of that time.
fn way(dispatches: &[(MessageId, i64)], from: i64, to: i64) -> Spread {
    let of_then = dispatches.iter().map(|(id, at)| (topics::record_ms(id), at)).filter(|(record, _)| (from..to).contains(record));
    Spread::of(of_then.map(|(record, at)| at - record).collect())
}
