//! One of our own processes, or a provider, is silent: a wait that runs out then says nothing of the customer, so its fallback is held, visibly, and for a bounded time.

use crate::bank;
use crate::process::{Instance, More, Stage};
use crate::stories::{assert_all_delivered_once, ends, stories, told, words};
use crate::support::{self, Writer};
use recado::delivery::{Channel, Hold, Reason, StatusWord, Timestamp};
use recado::event::records::StatusRecord;
use recado::simulator::{self, Behaviour, Phone};
use std::time::Duration;

const PHONE: &str = "+5511987654321";
/// All waits of the routes are divided by this; `engine.hold_max` is not.
const HURRY: &str = "time.hurry = 10";
/// The WhatsApp step's wait of 33 s, in this hurry.
const WAIT: Duration = Duration::from_millis(3_300);

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_gateway_holds_the_fallback_until_it_is_back() {
    let stage = stage("mute-gateway", "hold_max = \"10m\"\n").await;
    let mut engine = stage.start(&stage.config("a", support::free_port(), HURRY), "engine,dispatcher");
    let gateway = stage.config("front", stage.gateway_port, HURRY);
    let mut front = stage.start(&gateway, "gateway");
    front.ready().await;
    engine.ready().await;
    front.kill();
    let (writer, mut statuses) = (Writer::new(), stage.statuses());
    write(&writer, &stage, 1);
    held(&mut engine, "gateway_silent").await;
    let returned = now();
    let mut front = stage.start(&gateway, "gateway");
    statuses.until("the SMS", ends(1));
    let story = stories(&statuses.read).remove("e-0").unwrap();
    let fallback = the_fallback(&story);
    assert!(fallback.decided >= returned, "it fell back while nobody could hear a receipt: {story:?}");
    assert_eq!((fallback.status.hold, fallback.status.channel), (Hold::No, Some(Channel::Sms)), "its gateway was heard again");
    engine.says("/readyz", "the end of the silence", |status, text| status == 200 && !text.contains("timers_held")).await;
    front.ready().await;
    engine.stop();
    front.stop();
    assert_all_delivered_once(&stories(&statuses.read), &stage.calls());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stays_away_holds_a_fallback_no_longer_than_hold_max() {
    const MOST: Duration = Duration::from_secs(2);
    let stage = stage("gone-gateway", "hold_max = \"2s\"\n").await;
    let mut engine = stage.start(&stage.config("a", support::free_port(), HURRY), "engine,dispatcher");
    engine.ready().await;
    let (writer, mut statuses) = (Writer::new(), stage.statuses());
    write(&writer, &stage, 1);
    statuses.until("the fallback", told(1, |word| word == StatusWord::Fallback));
    engine.stop();
    let story = stories(&statuses.read).remove("e-0").unwrap();
    let fallback = the_fallback(&story);
    assert_eq!((fallback.status.hold, fallback.status.reason), (Hold::GatewaySilent, Reason::Timer));
    let took = fallback.decided.since(story[0].decided);
    assert!(took >= WAIT + MOST, "it was held for less than hold_max: {took:?} after the request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_dispatcher_holds_the_end_of_a_lease_until_it_has_said_what_became_of_it() {
    let stage = stage("mute-dispatcher", "hold_max = \"10m\"\n").await;
    let mut engine = stage.start(&stage.config("a", stage.gateway_port, HURRY), "engine,gateway");
    let dispatcher = stage.config("d", support::free_port(), HURRY);
    let mut calls = stage.start(&dispatcher, "dispatcher");
    calls.ready().await;
    engine.ready().await;
    calls.kill();
    let (writer, mut statuses) = (Writer::new(), stage.statuses());
    write(&writer, &stage, 1);
    held(&mut engine, "dispatcher_silent").await;
    let mut calls = stage.start(&dispatcher, "dispatcher");
    statuses.until("the end", ends(1));
    let story = stories(&statuses.read).remove("e-0").unwrap();
    // What lay there while nobody called was our own delay: the same step again, and no `unknown` for a call that nobody made.
    assert!(words(&story).contains(&StatusWord::Retried), "{:?}", words(&story));
    assert!(story.iter().all(|record| record.status.reason != Reason::Unknown && record.status.hold == Hold::No), "{story:?}");
    calls.ready().await;
    calls.stop();
    engine.stop();
    assert_all_delivered_once(&stories(&statuses.read), &stage.calls());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_falls_silent_for_all_is_a_storm_and_its_fallbacks_are_held_for_hold_max() {
    const MANY: usize = 200;
    let stage = stage("storm", "hold_max = \"2s\"\n").await;
    let mut all = stage.start(&stage.config("a", stage.gateway_port, HURRY), "engine,dispatcher,gateway");
    all.ready().await;
    let (writer, mut statuses) = (Writer::new(), stage.statuses());
    write(&writer, &stage, MANY);
    held(&mut all, "storm").await;
    statuses.until("every SMS", ends(MANY));
    all.stop();
    let stories = stories(&statuses.read);
    assert_all_delivered_once(&stories, &stage.calls());
    // The first fifty may run out before so many are a storm.
    let held = stories.values().filter(|story| the_fallback(story).status.hold == Hold::Storm).count();
    assert!(held > MANY / 2, "{held} of {MANY} were held");
}

/// Phones whose WhatsApp never answers and whose SMS arrive.
async fn stage(name: &str, engine: &'static str) -> Stage {
    let mut settings = simulator::Settings::default();
    settings.script.otherwise = Phone { whatsapp: Behaviour::named("silent").unwrap(), ..Phone::named("quick", "quick", "quick").unwrap() };
    Stage::with(name, 2, settings, More { engine, ..More::default() }).await
}

/// So many Pix, all on one partition, since holds are a partition's own.
fn write(writer: &Writer, stage: &Stage, count: usize) {
    for number in 0..count {
        let (event, customer) = (format!("e-{number}"), format!("customer-{number}"));
        writer.send(&stage.input("pix.transactions"), 0, customer.as_bytes(), &bank::pix_received(&event, &customer, PHONE));
    }
    writer.flush();
}

/// Waits until it says that timers are held, and why.
async fn held(instance: &mut Instance, why: &str) {
    instance.says("/readyz", "timers held", |status, text| status == 200 && text.contains("timers_held")).await;
    let line = format!("recado_timers_held{{reason=\"{why}\",thread=\"0\"}} 1");
    instance.says("/metrics", &line, |_, text| text.lines().any(|said| said == line)).await;
}

fn the_fallback(story: &[StatusRecord]) -> &StatusRecord {
    story.iter().find(|record| record.status.word == StatusWord::Fallback).unwrap_or_else(|| panic!("no fallback: {:?}", words(story)))
}

/// The broker has this machine's clock.
fn now() -> Timestamp {
    Timestamp::from_millis(recado::clock::wall().millis())
}
