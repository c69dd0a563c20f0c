//! Lifecycles a second when the bank writes faster than anybody can, with everything: one process with all roles, providers over HTTP, one receipt in a POST.

use crate::PARTITIONS;
use crate::leave;
use crate::load::pix_route;
use crate::measure::cost::settled;
use crate::measure::metrics::{counted, scrape};
use crate::measure::topics;
use crate::process::{More, Stage};
use crate::rate::{kept, saturated, told};
use crate::shared::{asked, heading};
use rdkafka::message::Message;
use recado::delivery::StatusWord;
use recado::event::records;
use recado::simulator::{self, Behaviour, Phone, Report, Weighted, Word};
use std::collections::BTreeMap;
use std::time::Duration;

/// Lifecycles that are measured, unless `LIVES` says otherwise.
const LIVES: u64 = 100_000;
/// A broker's Java compiles at first: one life of each warms it up.
const CUSTOMERS: u64 = 80_000;
/// So many of a partition's attempts may be open before requests wait, or they would wait for the dispatcher until their leases end. And what an operator sets for
/// throughput: commits each 100 ms, and no more in hand than is needed.
const OPEN: &str = "attempts_open_max = 500\ncommit_on_drain = false\n";
const IN_HAND: &str = "[dispatcher]\nin_flight_max = 400\n";

/// The part.
pub async fn run() {
    let lives = asked("LIVES", LIVES);
    heading(&format!("Saturated with HTTP: {lives} lifecycles, one process with all roles, one receipt in a POST"));
    let mut settings = simulator::Settings::default();
    settings.script.mix = vec![phone(3, true), phone(2, false)];
    let more = More { files: vec![pix_route(600, 600)], engine: OPEN, config: IN_HAND.into(), unlogged: true, ..More::default() };
    let stage = Stage::with("rate-http", PARTITIONS, settings, more).await;
    let mut instance = stage.start(&stage.config("a", stage.gateway_port, ""), "engine,dispatcher,gateway");
    instance.ready().await;
    let cost = saturated(&stage, &instance, CUSTOMERS, lives).await;
    told(&cost, lives);
    let metrics = scrape(&instance).await;
    let (posts, refused) = (counted(&metrics, "recado_webhooks_total", "\"accepted\""), counted(&metrics, "recado_gateway_connections_refused_total", ""));
    println!("  {posts} webhooks taken of {} lifecycles so far, {refused} connections refused; the bench's time is that of the providers", CUSTOMERS + lives);
    kept(&stage, CUSTOMERS + lives);
    settled(&instance).await;
    instance.stop();
    let mut said: BTreeMap<StatusWord, u64> = BTreeMap::new();
    topics::each(&format!("{}status", stage.prefix), &topics::START, |message| {
        *said.entry(records::decode_status(message.payload().unwrap()).unwrap().status.word).or_default() += 1;
    });
    said.remove(&StatusWord::Read);
    assert_eq!(
        said,
        [StatusWord::Requested, StatusWord::Sent, StatusWord::Delivered].map(|word| (word, CUSTOMERS + lives)).into(),
        "of all of them, and nothing else"
    );
    leave::delete_topics(&stage.prefix).await;
}

/// A phone on which a message arrives within a second, and is seen or not; so many of five. Each word some commits behind the one before it.
fn phone(weight: u32, reads: bool) -> Weighted {
    let words = [(Word::Sent, 400), (Word::Delivered, 800), (Word::Read, 1_200)];
    let receipts = words.into_iter().filter(|(word, _)| reads || *word != Word::Read).map(|(word, ms)| Report::new(word, Duration::from_millis(ms)));
    Weighted { weight, phone: Phone { whatsapp: Behaviour { receipts: receipts.collect(), ..Behaviour::default() }, ..Phone::default() } }
}
