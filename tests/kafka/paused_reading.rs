//! Whoever has more in hand than it may, reads no further; a change of owners meanwhile must not make that last for good. librdkafka keeps a pause over a new assignment.

use crate::bank;
use crate::process::{More, Stage};
use crate::stories::{assert_all_delivered_once, ends, stories};
use crate::support::{self, Writer};
use recado::simulator::{self, Behaviour, Phone, Report, Word};
use std::time::{Duration, Instant};

const PHONE: &str = "+5511987654321";
/// More than an input may have waiting in the engine (5,000).
const WAITING: usize = 5_400;

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_was_paused_at_a_rebalance_is_read_on_afterwards() {
    let stage = Stage::with("paused", 2, simulator::Settings::default(), More { engine: "attempts_open_max = 1\n", ..More::default() }).await;
    let mut first = stage.start(&stage.config("a", support::free_port(), "logs.level = \"info\""), "engine");
    first.ready().await;
    let (writer, pix, dead_letters) = (Writer::new(), stage.input("pix.transactions"), format!("{}dead-letters", stage.prefix));
    // Two attempts that nobody calls yet: that is one too many, and the input waits.
    for event in ["open-1", "open-2"] {
        writer.send(&pix, 0, b"customer-1", &bank::pix_received(event, "customer-1", PHONE));
    }
    first.says("/readyz", "too many open", |_, text| text.contains("Too many attempts are open")).await;
    (0..WAITING).for_each(|_| writer.send(&pix, 0, b"customer-1", b"no record of ours"));
    writer.flush();
    let deadline = Instant::now() + Duration::from_secs(90);
    while !std::fs::read_to_string(&first.log).unwrap().contains("Inputs are not read on") {
        assert!(Instant::now() < deadline, "it reads on though {WAITING} records wait");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Of two engines the one whose name comes first keeps partition 0, after all were taken from it.
    let mut second = stage.start(&stage.config("b", support::free_port(), ""), "engine");
    second.ready().await;
    let mut front = stage.start(&stage.config("front", stage.gateway_port, ""), "dispatcher,gateway");
    front.ready().await;
    support::Reader::new(&[(&dead_letters, 1)]).until("every record is decided", |read| read.len() == WAITING);
    [first, second, front].into_iter().for_each(crate::process::Instance::stop);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_was_paused_at_its_end_loses_no_record_that_comes_then() {
    let stage = Stage::with("paused-end", 1, simulator::Settings::default(), More { engine: "attempts_open_max = 1\n", ..More::default() }).await;
    let config = stage.config("a", support::free_port(), "logs.level = \"info\"");
    let mut engine = stage.start(&config, "engine");
    engine.ready().await;
    let (writer, pix) = (Writer::new(), stage.input("pix.transactions"));
    for event in ["open-1", "open-2"] {
        writer.send(&pix, 0, b"customer-1", &bank::pix_received(event, "customer-1", PHONE));
    }
    engine.says("/readyz", "too many open", |_, text| text.contains("Too many attempts are open")).await;
    engine.stop();
    // What waits is read in one go at the start, and its end with it.
    (0..WAITING).for_each(|_| writer.send(&pix, 0, b"customer-1", b"no record of ours"));
    writer.flush();
    let engine = stage.start(&config, "engine");
    let deadline = Instant::now() + Duration::from_secs(90);
    while !std::fs::read_to_string(&engine.log).unwrap().contains("Inputs are not read on") {
        assert!(Instant::now() < deadline, "it reads on though {WAITING} records wait");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The record that stands where the input ended, and one behind it.
    for event in ["at-the-end", "behind"] {
        writer.send(&pix, 0, b"customer-1", &bank::pix_received(event, "customer-1", PHONE));
    }
    writer.flush();
    let mut front = stage.start(&stage.config("front", stage.gateway_port, ""), "dispatcher,gateway");
    front.ready().await;
    let mut statuses = stage.statuses();
    statuses.until("every end", ends(4));
    assert_all_delivered_once(&stories(&statuses.read), &stage.calls());
    [engine, front].into_iter().for_each(crate::process::Instance::stop);
}

#[tokio::test(flavor = "multi_thread")]
async fn dispatches_that_were_paused_at_a_rebalance_are_read_on_afterwards() {
    const EACH: usize = 8;
    let mut settings = simulator::Settings::default();
    let slow = Behaviour { answer_after: Duration::from_secs(2), receipts: vec![Report::new(Word::Delivered, Duration::from_secs(1))], ..Behaviour::default() };
    settings.script.phones.insert(PHONE[1..].into(), Phone { whatsapp: slow, ..Phone::default() });
    let more = More { config: "[dispatcher]\nin_flight_max = 2\n".into(), ..More::default() };
    let stage = Stage::with("in-hand", 2, settings, more).await;
    let mut engine = stage.start(&stage.config("engine", support::free_port(), ""), "engine");
    let mut first = stage.start(&stage.config("a", stage.gateway_port, ""), "dispatcher,gateway");
    engine.ready().await;
    first.ready().await;
    let (writer, pix, mut told) = (Writer::new(), stage.input("pix.transactions"), stage.statuses());
    for number in 0..2 * EACH {
        let partition = i32::try_from(number % 2).unwrap();
        writer.send(&pix, partition, b"customer-1", &bank::pix_received(&format!("e-{number}"), "customer-1", PHONE));
    }
    first.says("/metrics", "it has enough in hand", |_, text| text.contains("recado_dispatches_paused{channel=\"whatsapp\",lane=\"express\"} 1")).await;
    let mut second = stage.start(&stage.config("b", support::free_port(), ""), "dispatcher");
    second.ready().await;
    told.until("all of them", ends(2 * EACH));
    assert_all_delivered_once(&stories(&told.read), &stage.calls());
    [engine, first, second].into_iter().for_each(crate::process::Instance::stop);
}
