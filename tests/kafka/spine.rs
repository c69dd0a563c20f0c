//! The whole path with real processes: record, engine, dispatcher, provider, webhook, gateway, status.

use crate::bank::{code_used, pix_received};
use crate::process::{More, Stage};
use crate::rig::words;
use crate::support::{self, Writer};
use recado::delivery::StatusWord;
use recado::simulator;

#[tokio::test(flavor = "multi_thread")]
async fn one_pix_record_goes_through_all_roles_and_comes_back_as_delivered() {
    let stage = Stage::new("whole", 2, simulator::Settings::default()).await;
    let mut instance = stage.start(&stage.config("a", stage.gateway_port, "logs.level = \"debug\""), "engine,dispatcher,gateway");
    instance.ready().await;
    let writer = Writer::new();
    writer.send(&stage.input("pix.transactions"), 1, b"customer-1", &pix_received("e-1", "customer-1", "+5511987654321"));
    writer.flush();
    let mut told = stage.statuses();
    told.until("delivered", |read| words(read).contains(&StatusWord::Delivered));
    assert_eq!(words(&told.read).first(), Some(&StatusWord::Requested));
    let calls: Vec<_> = stage.send_log().into_iter().filter_map(|line| if let simulator::Line::Call(call) = line { Some(call) } else { None }).collect();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].to, "5511987654321");
    let log = instance.log.clone();
    instance.stop();
    let log = std::fs::read_to_string(log).unwrap();
    let line = |words: &[&str]| assert!(log.lines().any(|line| words.iter().all(|word| line.contains(word))), "{words:?}: {log}");
    let (bootstrap, gateway) = (support::bootstrap(), format!("127.0.0.1:{}", stage.gateway_port));
    line(&["INFO", "\"instance\":\"a\"", env!("CARGO_PKG_VERSION"), "engine,dispatcher,gateway", bootstrap, &gateway]);
    line(&["INFO", "\"cause\":\"starting\"", "ended"]);
    let message_id = calls[0].attempt_id.as_deref().unwrap().split('-').next().unwrap();
    line(&["DEBUG", message_id, "\"status\":\"delivered\"", "\"attempt\":\"1/1\""]);
    assert!(!log.contains("5511987654321") && !log.contains("customer-1"), "{log}");
}

/// The keys of one input's customers cannot be made, another input needs none: that is one cause, told for as long as it lasts.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_away_are_told_until_they_are_back_whatever_else_is_decided() {
    let stage = Stage::new("keyless", 2, simulator::Settings::default()).await;
    let mut instance = stage.start(&stage.config("a", stage.gateway_port, ""), "engine,dispatcher,gateway");
    instance.ready().await;
    let writer = Writer::new();
    let (keys, aside) = (stage.folder.path().join("keys"), stage.folder.path().join("aside"));
    std::fs::rename(&keys, &aside).unwrap();
    writer.send(&stage.input("pix.transactions"), 0, b"customer-1", &pix_received("e-1", "customer-1", "+5511987654321"));
    instance.says("/readyz", "the keys' absence", |status, text| status == 503 && text.contains("keys_away")).await;
    let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while std::time::Instant::now() < until {
        writer.send(&stage.input("auth.codes-used"), 0, b"customer-2", &code_used("c-1"));
        writer.flush();
        let said = instance.asked("/readyz").await.unwrap().1;
        assert!(said.contains("keys_away"), "{said}");
    }
    std::fs::rename(&aside, &keys).unwrap();
    instance.ready().await;
    stage.statuses().until("delivered", |read| words(read).contains(&StatusWord::Delivered));
    let log = std::fs::read_to_string(&instance.log).unwrap();
    let changes = log.lines().filter(|line| line.contains("\"cause\":\"keys_away\"")).count();
    assert_eq!(changes, 2, "it begins once and ends once: {log}");
    instance.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_request_it_falls_back_after_the_restart() {
    let silent = simulator::Phone::named("offline", "quick", "quick").expect("the simulator knows these behaviours");
    let script = simulator::Script { otherwise: silent, ..simulator::Script::default() };
    let stage = Stage::new("killed", 2, simulator::Settings { script, ..simulator::Settings::default() }).await;
    // Waits of 33 s become 11 s.
    let config = stage.config("a", stage.gateway_port, "time.hurry = 3");
    let mut instance = stage.start(&config, "engine,dispatcher,gateway");
    instance.ready().await;
    let writer = Writer::new();
    writer.send(&stage.input("pix.transactions"), 0, b"customer-1", &pix_received("e-1", "customer-1", "+5511987654321"));
    writer.flush();
    let mut told = stage.statuses();
    told.until("the request", |read| words(read).contains(&StatusWord::Requested));
    instance.kill();

    let mut instance = stage.start(&config, "engine,dispatcher,gateway");
    instance.ready().await;
    told.until("delivered", |read| words(read).contains(&StatusWord::Delivered));
    let terminal = words(&told.read).into_iter().filter(|word| word.terminal()).count();
    assert_eq!(terminal, 1);
    assert!(words(&told.read).contains(&StatusWord::Fallback), "{:?}", words(&told.read));
    instance.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_renders_and_counts_and_publishes_nothing() {
    let stage = Stage::new("dry", 2, simulator::Settings::default()).await;
    let mut instance = stage.start_with(&stage.config("a", stage.gateway_port, ""), &["--dry-run"]);
    instance.ready().await;
    let writer = Writer::new();
    let metrics = format!("http://{}/metrics", instance.management);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(90);
    // It begins at the inputs' ends, at a moment of its own: records are written until one is seen.
    let mut seen = String::new();
    for number in 0.. {
        assert!(std::time::Instant::now() < deadline, "nothing was rendered in 90 s: {seen}");
        writer.send(&stage.input("pix.transactions"), 1, b"customer-1", &pix_received(&format!("e-{number}"), "customer-1", "+5511987654321"));
        writer.flush();
        seen = reqwest::get(&metrics).await.unwrap().text().await.unwrap();
        if ["whatsapp", "sms"]
            .iter()
            .all(|channel| seen.contains(&format!("recado_dry_run_messages_total{{channel=\"{channel}\",result=\"rendered\",route=\"pix.received\"}}")))
        {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(!seen.contains("result=\"scan"), "{seen}");
    instance.stop();
    assert!(!stage.send_log().iter().any(|line| matches!(line, simulator::Line::Call(_))), "somebody was called");
    assert_eq!(stage.ends(), 0, "something was published");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_waits_for_a_kafka_that_is_away() {
    let broker = support::start(&[], &[]);
    let stage = Stage::with("patient", 2, simulator::Settings::default(), More { bootstrap: Some(broker.bootstrap.clone()), ..More::default() }).await;
    broker.stop();
    let mut instance = stage.start_with(&stage.config("a", stage.gateway_port, ""), &["--dry-run"]);
    instance.says("/readyz", "Kafka's absence", |status, text| status == 503 && text.contains("kafka_away")).await;
    broker.again();
    instance.ready().await;
    instance.says("/readyz", "Kafka is back", |_, text| !text.contains("kafka_away")).await;
    instance.stop();
}
