//! An input's topic is made anew under the engine's feet: it ends and says so, until an operator has said where to go on.

use crate::bank;
use crate::deployment::program;
use crate::process::Stage;
use crate::stories::{assert_all_delivered_once, ends, stories};
use crate::support::{self, Writer};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use recado::simulator;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

const PHONE: &str = "+5511987654321";

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_was_made_anew_is_read_where_the_operator_says_and_nowhere_before() {
    let stage = Stage::new("jump", 2, simulator::Settings::default()).await;
    let config = stage.config("a", stage.gateway_port, "");
    let start = || stage.start(&config, "engine,dispatcher,gateway");
    let mut instance = start();
    instance.ready().await;
    let (writer, pix, mut told) = (Writer::new(), stage.input("pix.transactions"), stage.statuses());
    let write = |event: &str| writer.send(&pix, 0, b"customer-1", &bank::pix_received(event, "customer-1", PHONE));
    ["e-1", "e-2", "e-3"].into_iter().for_each(write);
    told.until("the old topic's", ends(3));
    let refused = jump(&config, &["--topic", &pix, "--to", "earliest"]);
    assert!(text(&refused).contains("stop every engine"), "{}", text(&refused));
    instance.stop();
    anew(&pix).await;
    write("e-4");
    writer.flush();

    let mut instance = start();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !instance.has_ended() {
        assert!(Instant::now() < deadline, "it reads a topic that is not the one it knew");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(std::fs::read_to_string(&instance.log).unwrap().contains("say with `recado jump`"));

    // The engine that ended is a member until its session is over; what it left open may hold newer positions.
    let open = an_open_transaction(&format!("{}state", stage.prefix));
    let earliest = ["--topic", &pix, "--partition", "0", "--to", "earliest"];
    let refused = until("while a transaction is open", &config, &earliest, |done| !text(done).contains("stop every engine"));
    assert!(!refused.status.success() && text(&refused).contains("is still open"), "{}", text(&refused));
    open.abort_transaction(Duration::from_secs(10)).unwrap();
    let done = until("after it was aborted", &config, &earliest, |done| done.status.success());
    assert!(text(&done).contains(&format!("{pix}-0: 3 -> 0")), "{}", text(&done));
    for (wrong, sentence) in [(["--topic", "no.such", "--to", "0"], "is no input"), (["--topic", pix.as_str(), "--to", "99"], "is none of them")] {
        let refused = jump(&config, &wrong);
        assert!(!refused.status.success() && text(&refused).contains(sentence), "{}", text(&refused));
    }
    let mut instance = start();
    told.until("the new topic's", ends(4));
    instance.ready().await;
    instance.stop();
    assert_all_delivered_once(&stories(&told.read), &stage.calls());
}

/// One record in a transaction that nobody has ended.
fn an_open_transaction(topic: &str) -> BaseProducer {
    let producer: BaseProducer = support::client().set("transactional.id", format!("{topic}-left-open")).create().unwrap();
    producer.init_transactions(Duration::from_secs(10)).unwrap();
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::to(topic).partition(0).key("x").payload("x")).unwrap();
    producer.flush(Duration::from_secs(10)).unwrap();
    producer
}

/// Types it again until it answers so.
fn until(what: &str, config: &Path, options: &[&str], ends: impl Fn(&Output) -> bool) -> Output {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let done = jump(config, options);
        if ends(&done) {
            return done;
        }
        assert!(Instant::now() < deadline, "{what}: {}", text(&done));
    }
}

fn jump(config: &Path, options: &[&str]) -> Output {
    program().arg("jump").arg("--config").arg(config).args(options).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The topic goes, and one of the same name comes.
async fn anew(topic: &str) {
    let admin: AdminClient<DefaultClientContext> = support::client().create().unwrap();
    for gone in admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap() {
        gone.unwrap();
    }
    support::create(&[(topic, 2, &[])]).await;
}
