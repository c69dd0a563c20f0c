//! Kafka stands still for longer than a session, as in a paused machine, while records flow: transactions fail and partitions are lost at the same time.

use crate::bank;
use crate::process::{Company, More, Stage, Watched};
use crate::stories::{assert_all_delivered_once, ends, stories, words};
use crate::support::{self, Reader, Writer};
use rdkafka::ClientConfig;
use recado::event::records::StatusRecord;
use recado::simulator;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two records of the bank.
const PACE: Duration = Duration::from_millis(5);
/// Longer than the session of 10 s; shorter than the 30 s after which the watchdog ends a process that stands in a call.
const PAUSE: Duration = Duration::from_secs(14);

/// On machines that build and test at once.
const ENDED_WITHIN: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn kafka_stands_still_beyond_the_session_and_every_message_ends_once() {
    let broker = support::start(&[], &[]);
    let mut settings = simulator::Settings::default();
    settings.meta.repeat_first = Duration::from_millis(200);
    settings.meta.repeat_pause_max = Duration::from_secs(1);
    // A producer of librdkafka that may send no more to a broker that stands still turns without rest, a core each (2.12.1): beside this test another would starve, and
    // the broker with it. Receipts that come all at once after the pause look like a provider that was silent.
    let more = More { bootstrap: Some(broker.bootstrap.clone()), engine: "storm_guard = false\n", company: Company::None, ..More::default() };
    let stage = Stage::with("still", 2, settings, more).await;
    let mut engine = Watched::start(&stage, "engine", support::free_port(), 1, "engine");
    let mut front = Watched::start(&stage, "front", stage.gateway_port, 1, "dispatcher,gateway");
    engine.instance.ready().await;
    front.instance.ready().await;
    let client = || ClientConfig::new().set("bootstrap.servers", &broker.bootstrap).clone();
    let (stop, topic, writer) = (Arc::new(AtomicBool::new(false)), stage.input("pix.transactions"), Writer::of(client()));
    let stop_there = stop.clone();
    // Without a pause worth the name, so that there is always something to commit.
    let bank = std::thread::spawn(move || {
        let mut count = 0;
        while !stop_there.load(Ordering::Relaxed) {
            let (event, customer, phone) = (format!("e-{count}"), format!("customer-{count}"), format!("+55119{:08}", 80_000_000 + count));
            let partition = i32::try_from(count % 2).unwrap();
            writer.send(&topic, partition, customer.as_bytes(), &bank::pix_received(&event, &customer, &phone));
            std::thread::sleep(PACE);
            count += 1;
        }
        (writer, count)
    });
    let reader = || Reader::of(client(), &[(&format!("{}status", stage.prefix), 2)]);
    reader().until("the first", ends(10));
    let since = Instant::now();
    broker.signal("STOP");
    stop.store(true, Ordering::Relaxed);
    let (writer, count) = bank.join().unwrap();
    // The engine's loop stands in a transaction and cannot say so itself.
    let unanswered = |text: &str| text.contains("kafka_away") && text.contains("has not answered");
    engine.instance.says("/readyz", "Kafka's silence", |status, text| status == 503 && unanswered(text)).await;
    // The pause is the fault.
    tokio::time::sleep(PAUSE.saturating_sub(since.elapsed())).await;
    broker.signal("CONT");
    writer.flush();
    // A new reader: one that lives through the pause may read nothing more for good, when the controller has taken the broker's leaderships away meanwhile
    // (librdkafka's issue 5430). Recado's own consumers are assigned anew.
    let mut told = reader();
    let (mut all_ended, deadline) = (ends(count), Instant::now() + ENDED_WITHIN);
    while !all_ended(&told.read) {
        // Mostly they go on in the same process. A member whose join was repeated into the pause is fenced by itself when Kafka goes on, and on a busy machine a
        // call may stand longer than the watchdog allows: then the process ends, by design, and is started again.
        front.again();
        engine.again();
        if Instant::now() > deadline {
            let (engine, front) = (engine.instance.asked("/readyz").await, front.instance.asked("/readyz").await);
            panic!("after {ENDED_WITHIN:?}:\n{}engine: {engine:?}\nfront: {front:?}", open(&stories(&told.read), count));
        }
        let next = told.next();
        told.read.extend(next);
    }
    let log = engine.log();
    // An abort that does not go through costs 10 s, and leaves the transaction open for everybody who reads committed records. One that comes after the coordinator's
    // own is refused at once.
    let hopeless = log.lines().find(|line| line.contains("on abort") && !line.contains("invalid state"));
    assert_eq!(hopeless, None);
    engine.back().await;
    front.back().await;
    engine.instance.stop();
    front.instance.stop();
    let stories = stories(&told.read);
    assert_eq!(stories.len(), count);
    assert_all_delivered_once(&stories, &stage.calls());
}

/// Those of so many events that have not ended, with what was told of them.
fn open(stories: &BTreeMap<String, Vec<StatusRecord>>, count: usize) -> String {
    let told = |event: &str| stories.get(event).map(|story| words(story)).unwrap_or_default();
    let all = (0..count).map(|number| format!("e-{number}")).filter(|event| !told(event).iter().any(|word| word.terminal()));
    all.fold(String::new(), |text, event| format!("{text}{event} {:?}\n", told(&event)))
}
