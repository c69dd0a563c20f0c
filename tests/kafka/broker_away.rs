//! Kafka itself goes away while messages are in flight, and comes back: `/readyz` says so, webhooks get 503, and afterwards everything ends as it should have.
//!
//! Two clusters of Recado share the broker that goes: in one the engine has not seen receipts that its gateway has acknowledged, the other is in the middle of
//! everything.

use crate::bank;
use crate::deployment;
use crate::process::{Company, More, Stage, Watched};
use crate::stories::{assert_all_delivered_once, ends, stories, told, words};
use crate::support::{self, Reader, Writer};
use rdkafka::ClientConfig;
use recado::delivery::StatusWord;
use recado::simulator::{self, Behaviour, Line, Phone, Report, Word};
use std::time::{Duration, Instant};

/// Messages of each kind.
const EACH: usize = 4;
/// The waits of 33 s are divided by it.
const HURRY: u32 = 2;
const WAIT: Duration = Duration::from_millis(16_500);
/// How long the outage may go unnoticed.
const NOTICED: Duration = Duration::from_secs(60);

/// Records of the other cluster.
const BUSY: usize = 120;

/// The phones of one kind of message.
const fn phone(kind: usize, number: usize) -> u64 {
    5_511_980_000_000 + 100 * kind as u64 + number as u64
}

const KINDS: [&str; 3] = ["acknowledged", "meanwhile", "offline"];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn kafka_may_go_and_come_back_and_nothing_is_lost_and_no_acknowledged_receipt_is_forgotten() {
    let broker = support::start(&[], &[]);
    let mut settings = simulator::Settings::default();
    settings.meta.repeat_first = Duration::from_millis(200);
    settings.meta.repeat_pause_max = Duration::from_secs(1);
    let delivered_after = |span| {
        let receipts = vec![Report::new(Word::Sent, Duration::ZERO), Report::new(Word::Delivered, span)];
        Phone { whatsapp: Behaviour { receipts, ..Behaviour::default() }, ..Phone::default() }
    };
    let kinds = [delivered_after(Duration::from_secs(6)), delivered_after(Duration::from_secs(15)), Phone::named("offline", "quick", "quick").unwrap()];
    for (kind, phone_of_kind) in kinds.into_iter().enumerate() {
        for number in 0..EACH {
            settings.script.phones.insert(phone(kind, number).to_string(), phone_of_kind.clone());
        }
    }
    let stage = Stage::with("outage", 2, settings, More { bootstrap: Some(broker.bootstrap.clone()), ..More::default() }).await;
    let other =
        Stage::with("busy", 2, simulator::Settings::default(), More { bootstrap: Some(broker.bootstrap.clone()), company: Company::Same, ..More::default() })
            .await;
    let mut all = Watched::start(&other, "all", other.gateway_port, 1, "engine,dispatcher,gateway");
    let mut engine = Watched::start(&stage, "engine", support::free_port(), HURRY, "engine");
    let mut front = Watched::start(&stage, "front", stage.gateway_port, HURRY, "dispatcher,gateway");
    engine.instance.ready().await;
    front.instance.ready().await;
    all.instance.ready().await;

    let client = || ClientConfig::new().set("bootstrap.servers", &broker.bootstrap).clone();
    let writer = Writer::of(client());
    let write = |stage: &Stage, name: &str, kind: usize, number: usize| {
        let (event, customer, phone) = (format!("{name}-{number}"), format!("customer-{kind}-{number}"), format!("+{}", phone(kind, number)));
        let partition = i32::try_from(number % 2).unwrap();
        writer.send(&stage.input("pix.transactions"), partition, customer.as_bytes(), &bank::pix_received(&event, &customer, &phone));
    };
    for (kind, name) in KINDS.iter().enumerate() {
        (0..EACH).for_each(|number| write(&stage, name, kind, number));
    }
    writer.flush();
    let mut read = Reader::of(client(), &[(&format!("{}status", stage.prefix), 2)]);
    read.until("all are in flight", told(KINDS.len() * EACH, |word| word == StatusWord::Sent));

    // The engine stands still while the gateway acknowledges receipts: it has not seen them when Kafka goes.
    engine.instance.signal(libc::SIGSTOP);
    until("the receipts are acknowledged", || {
        let such = |line: &Line| matches!(line, Line::Webhook { receipt, .. } if receipt == "delivered");
        stage.send_log().iter().filter(|line| such(line)).count() >= EACH
    })
    .await;
    assert_eq!(stories(&read.read).values().filter(|story| words(story).contains(&StatusWord::Delivered)).count(), 0);
    let mut other_read = Reader::of(client(), &[(&format!("{}status", other.prefix), 2)]);
    (0..BUSY).for_each(|number| write(&other, "busy", KINDS.len(), number));
    writer.flush();
    other_read.until("the first of the other cluster's", ends(1));
    broker.stop();
    let gone = Instant::now();
    engine.instance.signal(libc::SIGCONT);

    let acknowledged: Vec<String> = stage.calls().into_iter().filter_map(|call| call.attempt_id).collect();
    assert_eq!(webhook(&stage, &acknowledged[0]).await, 503, "never 200 before the write is acknowledged");
    front.away(gone, NOTICED).await;
    engine.away(gone, NOTICED).await;
    all.away(gone, NOTICED).await;
    // Everything that was in flight is overdue now.
    tokio::time::sleep((WAIT + Duration::from_secs(2)).saturating_sub(gone.elapsed())).await;

    broker.again();
    engine.back().await;
    front.back().await;
    all.back().await;
    read.until("every end", ends(KINDS.len() * EACH));
    // For the outage itself it has no reason to end. It may have stood still for longer than its session, while Kafka took its time to stop: then it ends by design
    // (`engine/standstill.rs`), and for that alone.
    let log = engine.log();
    let lives = !engine.ended || log.contains("This process stood still");
    assert!(
        lives && !log.contains("A role ended") && !log.contains("into the Kafka client hangs"),
        "an engine that was in no transaction lives through it: {log}"
    );
    engine.instance.stop();
    front.instance.stop();
    let stories = stories(&read.read);
    assert_eq!(stories.len(), KINDS.len() * EACH);
    let calls = stage.calls();
    assert_all_delivered_once(&stories, &calls);
    for (event, story) in &stories {
        let fell_back = words(story).contains(&StatusWord::Fallback);
        if event.starts_with("acknowledged") {
            assert!(!fell_back, "{event}: its receipt was acknowledged before its deadline: {:?}", words(story));
        }
        if event.starts_with("offline") {
            assert!(fell_back, "{event}: {:?}", words(story));
        }
    }
    let to_acknowledged: Vec<String> = (0..EACH).map(|number| phone(0, number).to_string()).collect();
    assert_eq!(calls.iter().filter(|call| to_acknowledged.contains(&call.to)).count(), EACH, "one message each");

    other_read.until_within("every end of the other cluster", Duration::from_secs(120), ends(BUSY));
    all.instance.stop();
    let stories = crate::stories::stories(&other_read.read);
    assert_eq!(stories.len(), BUSY);
    assert_all_delivered_once(&stories, &other.calls());
}

/// A delivered receipt, signed as Meta does it; returns the status of the answer.
pub async fn webhook(stage: &Stage, attempt_id: &str) -> u16 {
    let status = format!(r#"{{"id":"wamid.TEST","status":"delivered","timestamp":"1764900000","biz_opaque_callback_data":"{attempt_id}"}}"#);
    let body =
        format!(r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{{"field":"messages","value":{{"statuses":[{status}]}}}}]}}]}}"#);
    let request = reqwest::Client::new().post(format!("http://127.0.0.1:{}/webhooks/meta/bank", stage.gateway_port));
    request.header("x-hub-signature-256", deployment::signed_by_meta(&body)).body(body).send().await.unwrap().status().as_u16()
}

async fn until(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !there() {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
