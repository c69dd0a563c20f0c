//! The schema registry is away and a record carries an id that is not known yet: its partition of that input waits, everything else goes on, and `/readyz` says so.
//! A start while it is away holds up no more than that either.

use crate::bank::{self, CHALLENGE, PIX, USED};
use crate::broker_away::webhook;
use crate::process::{More, Stage};
use crate::registry::Double;
use crate::stories::{assert_all_delivered_once, ends, stories, told};
use crate::support::{self, Writer};
use recado::delivery::StatusWord;
use recado::simulator::{self, Phone};

/// The same schema under an id that the registry gave it later.
const NEWER: u32 = 8;
const PHONE: &str = "+5511987654321";

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_cannot_be_asked_for_stops_one_partition_of_one_input_until_it_can() {
    let pix_schema = support::file("schemas/pix_transaction.avsc");
    let known = [
        (PIX, pix_schema.clone()),
        (NEWER, pix_schema),
        (CHALLENGE, support::file("schemas/auth_challenge.avsc")),
        (USED, support::file("schemas/code_used.avsc")),
    ];
    let registry = Double::with(&known).await;
    let more = More { config: format!("[schema_registry]\nurl = \"{}\"\n", registry.url), ..More::default() };
    let stage = Stage::with("unread", 2, simulator::Settings::default(), more).await;
    let mut instance = stage.start(&stage.config("a", stage.gateway_port, ""), "engine,dispatcher,gateway");
    instance.ready().await;
    let writer = Writer::new();
    let (pix, challenges) = (stage.input("pix.transactions"), stage.input("auth.challenges"));
    let newer = |event: &str| bank::framed(NEWER, &bank::pix_received(event, "customer-1", PHONE)[5..]);
    let write = |topic: &str, partition: i32, value: &[u8]| writer.send(topic, partition, b"customer-1", value);
    let mut told = stage.statuses();
    write(&pix, 0, &bank::pix_received("known", "customer-1", PHONE));
    write(&challenges, 0, &bank::challenge("known-code", "customer-1", PHONE, "481516"));
    told.until("both ids are known", ends(2));

    registry.away(true);
    write(&pix, 0, &newer("waits"));
    write(&pix, 0, &bank::pix_received("behind", "customer-1", PHONE));
    let red = |text: &str| text.contains("registry_away");
    let said = instance.says("/readyz", "the registry's absence", |_, text| red(text)).await;
    assert!(said.contains("Schemas waited for: 1"), "{said}");
    assert_eq!(instance.asked("/readyz").await.unwrap().0, 200, "it does all that it can do");
    write(&pix, 1, &bank::pix_received("beside", "customer-1", PHONE));
    write(&challenges, 0, &bank::challenge("other-input", "customer-1", PHONE, "481516"));
    told.until("what needs no new schema", ends(4));
    assert_eq!(stories(&told.read).into_keys().collect::<Vec<_>>(), ["beside", "known", "known-code", "other-input"], "the others wait");

    registry.away(false);
    told.until("what waited", ends(6));
    instance.says("/readyz", "the registry is back", |status, text| status == 200 && !red(text)).await;
    instance.stop();
    let stories = stories(&told.read);
    assert_all_delivered_once(&stories, &stage.calls());
    assert!(stories["waits"][0].decided <= stories["behind"][0].decided, "in their order");
    let dead_letters = format!("{}dead-letters", stage.prefix);
    assert_eq!(stage.ends_of(|topic| topic == dead_letters), 0, "waiting is no reason to give up");
}

/// An attempt in partition 0 that nobody made.
const STRANGER: &str = "019a0000000000000011223344556677-1-1";

#[tokio::test(flavor = "multi_thread")]
async fn a_start_while_the_registry_is_away_takes_webhooks_and_ends_what_was_in_flight() {
    let registry = Double::with(&[(PIX, support::file("schemas/pix_transaction.avsc"))]).await;
    let more = More { config: format!("[schema_registry]\nurl = \"{}\"\n", registry.url), ..More::default() };
    let mut settings = simulator::Settings::default();
    settings.script.phones.insert(PHONE[1..].into(), Phone::named("offline", "quick", "quick").unwrap());
    let stage = Stage::with("started", 2, settings, more).await;
    let config = stage.config("a", stage.gateway_port, "time.hurry = 4");
    let start = || stage.start(&config, "engine,dispatcher,gateway");
    let away = |text: &str| text.contains("registry_away");

    // The first start ever: the engine cannot say which schema its statuses have, and waits alone.
    registry.away(true);
    let mut instance = start();
    instance.says("/readyz", "the registry's absence", |status, text| status == 503 && away(text)).await;
    assert_eq!(webhook(&stage, STRANGER).await, 200, "the gateway needs no registry");
    registry.away(false);
    instance.ready().await;
    let writer = Writer::new();
    let pix = stage.input("pix.transactions");
    let mut read = stage.statuses();
    writer.send(&pix, 0, b"customer-1", &bank::pix_received("in-flight", "customer-1", PHONE));
    read.until("one is in flight", told(1, |word| word == StatusWord::Sent));

    // A later one: what its statuses have is known from before.
    registry.away(true);
    instance.kill();
    let mut instance = start();
    instance.says("/readyz", "the registry's absence", |status, text| status == 200 && away(text)).await;
    assert_eq!(webhook(&stage, STRANGER).await, 200);
    writer.send(&pix, 1, b"customer-1", &bank::pix_received("meanwhile", "customer-1", PHONE));
    read.until("its timer falls back, and the text message arrives", ends(1));
    assert_eq!(stories(&read.read).into_keys().collect::<Vec<_>>(), ["in-flight"], "a record's schema has to be asked for");

    registry.away(false);
    read.until("the other", ends(2));
    instance.says("/readyz", "the registry is back", |status, text| status == 200 && !away(text)).await;
    instance.stop();
    let stories = stories(&read.read);
    assert!(stories["in-flight"].iter().any(|record| record.status.word == StatusWord::Fallback));
    assert_all_delivered_once(&stories, &stage.calls());
}
