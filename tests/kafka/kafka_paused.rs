//! Kafka stands still for longer than a session, as in a paused machine, while records flow: transactions fail and partitions are lost at the same time.

use crate::bank;
use crate::process::{More, Stage};
use crate::stories::{assert_all_delivered_once, ends, stories};
use crate::support::{self, Reader, Writer};
use rdkafka::ClientConfig;
use recado::simulator;
use std::time::Duration;

const COUNT: usize = 300;
/// Longer than the session of 10 s; shorter than the 30 s after which the watchdog ends a process that stands in a call.
const PAUSE: Duration = Duration::from_secs(14);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn kafka_stands_still_beyond_the_session_and_the_engine_goes_on_in_the_same_process() {
    let broker = support::start(&[], &[]);
    let more = More { bootstrap: Some(broker.bootstrap.clone()), ..More::default() };
    let stage = Stage::with("still", 2, simulator::Settings::default(), more).await;
    let mut instance = stage.start(&stage.config("a", stage.gateway_port, ""), "engine,dispatcher,gateway");
    instance.ready().await;
    let client = || ClientConfig::new().set("bootstrap.servers", &broker.bootstrap).clone();
    let writer = Writer::of(client());
    for number in 0..COUNT {
        let (event, customer, phone) = (format!("e-{number}"), format!("customer-{number}"), format!("+55119{:08}", 80_000_000 + number));
        let partition = i32::try_from(number % 2).unwrap();
        writer.send(&stage.input("pix.transactions"), partition, customer.as_bytes(), &bank::pix_received(&event, &customer, &phone));
    }
    writer.flush();
    let mut told = Reader::of(client(), &[(&format!("{}status", stage.prefix), 2)]);
    told.until("the first", ends(1));
    broker.signal("STOP");
    // The pause is the fault.
    tokio::time::sleep(PAUSE).await;
    broker.signal("CONT");
    told.until("every end", ends(COUNT));
    let log = std::fs::read_to_string(&instance.log).unwrap();
    assert!(!instance.has_ended(), "it ended: {log}");
    // An abort that does not go through costs 10 s, and leaves the transaction open for everybody who reads committed records.
    assert!(!log.contains("on abort"), "{log}");
    instance.ready().await;
    instance.stop();
    let stories = stories(&told.read);
    assert_eq!(stories.len(), COUNT);
    assert_all_delivered_once(&stories, &stage.calls());
}
