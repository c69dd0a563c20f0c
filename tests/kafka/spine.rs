//! The whole path with real processes: record, engine, dispatcher, provider, webhook, gateway, status.

use crate::bank::pix_received;
use crate::process::Stage;
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
