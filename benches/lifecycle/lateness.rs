//! How late a fallback is appended while millions of other timers are armed, near and far.
//!
//! Easily got wrong: near timers that fire are load. Those here are all due within seconds after the time that is measured, so in it they only lie there.

use crate::PARTITIONS;
use crate::answers::{Answers, HALF, half, signs_of_life};
use crate::armed::{Armed, timers};
use crate::leave;
use crate::load::{BILL_DUE_MS, Flow, Mould, OPEN, bill_route, pix_route};
use crate::measure::Spread;
use crate::measure::cost::{Reading, settled};
use crate::measure::topics;
use crate::process::{More, Stage};
use crate::shared::{asked, heading, until};
use rdkafka::message::Message;
use recado::clock::wall;
use recado::delivery::{Attempt, MessageId};
use recado::event::records::{Returned, decode_returned};
use recado::simulator;
use std::collections::HashMap;
use std::ops::Range;

/// Timers that are due within a minute and later, and records a second, unless `NEAR`, `FAR` and `RATE` say otherwise.
const NEAR: u64 = 500_000;
const FAR: u64 = 4_500_000;
const RATE: u64 = 500;
const CUSTOMERS: u64 = 10_000;
const WAIT_SECS: u32 = 33;
/// Before the first of the near ones is due: when the load begins, and when the fallbacks are due that count. By then all of the near ones have come near.
const LOAD_MS: i64 = 90_000;
const COUNTED_MS: Range<i64> = 3_000..43_000;
/// By then the last fallback that counts is committed.
const SAID_MS: i64 = 1_000;
/// The near ones are due within so long.
const NEAR_SPREAD_MS: u64 = 10_000;

/// The part.
pub async fn run() {
    let (near, far, rate) = (asked("NEAR", NEAR), asked("FAR", FAR), asked("RATE", RATE));
    heading(&format!("Lateness of fallbacks with {near} near and {far} far timers armed, {rate} records a second, of which half fall back"));
    let more = More { files: vec![pix_route(WAIT_SECS, WAIT_SECS), bill_route()], engine: OPEN, ..More::default() };
    let stage = Stage::with("lateness", PARTITIONS, simulator::Settings::default(), more).await;
    let mut instance = stage.start(&stage.config("a", stage.gateway_port, ""), "engine");
    instance.ready().await;
    let (signs, mut armed) = (signs_of_life(&stage), Armed::start(&stage));
    let took = armed.arm(&instance, far, |_| None).await;
    settled(&instance).await;
    // For the near ones half as long again as the far ones took, each; and a minute.
    let each_us = took.as_micros().checked_div(u128::from(far)).unwrap_or(200);
    let arming = i64::try_from(u128::from(near) * each_us * 3 / 2 / 1_000).unwrap() + 60_000;
    let first = wall().millis() + arming + LOAD_MS;
    armed.arm(&instance, near, |at| Some(first + i64::try_from(at % NEAR_SPREAD_MS).unwrap() - BILL_DUE_MS)).await;
    assert!(wall().millis() < first - LOAD_MS, "the near ones took longer to arm than the far ones: too little time is left");

    until(first - LOAD_MS).await;
    let (receipts, answers) = (format!("{}receipts", stage.prefix), Answers::start(&stage, "dispatch.whatsapp", HALF));
    let from = topics::ends(&receipts);
    let flow = Flow::of(stage.input("pix.transactions"), rate, 0..u64::MAX, Mould::pix(false, CUSTOMERS));
    until(first - COUNTED_MS.end).await;
    let before = Reading::of(&instance);
    until(first - COUNTED_MS.start).await;
    let (cost, there) = (before.cost(&instance), timers(&instance).await);
    flow.end();
    until(first - SAID_MS).await;
    // The near ones are about to fire: that would be load while what counts is read.
    instance.kill();
    let late = lateness(&stage, &receipts, &from, first - COUNTED_MS.end..first - COUNTED_MS.start);
    println!("From due to the fallback's append: {late}; p99.9 {} ms, with {there} timers armed", late.at_mille(999));
    println!("  {cost}");
    answers.end();
    armed.end();
    signs.end();
    leave::delete_topics(&stage.prefix).await;
}

/// Of the fallbacks that were due in this time: how long after that the broker appended them.
fn lateness(stage: &Stage, receipts: &str, from: &[i64], counted: Range<i64>) -> Spread {
    let mut taken: HashMap<MessageId, i64> = HashMap::new();
    topics::each(receipts, from, |message| {
        if let Ok(Returned::Outcome { attempt_id, .. }) = decode_returned(message.payload().unwrap_or_default())
            && attempt_id.attempt == Attempt::FIRST
        {
            taken.insert(attempt_id.message_id, message.timestamp().to_millis().unwrap());
        }
    });
    taken.values_mut().for_each(|at| *at += i64::from(WAIT_SECS) * 1_000);
    let fallbacks = topics::appended(&format!("{}retry.sms", stage.prefix)).into_iter();
    let late: Vec<i64> = fallbacks
        .map(|(id, at)| (*taken.get(&id).expect("what falls back was accepted"), at))
        .filter(|(due, _)| counted.contains(due))
        .map(|(due, at)| at - due)
        .collect();
    let wanted = taken.iter().filter(|(id, due)| !half(id) && counted.contains(*due)).count();
    assert_eq!(late.len(), wanted, "each that nobody confirmed fell back once");
    Spread::of(late)
}
