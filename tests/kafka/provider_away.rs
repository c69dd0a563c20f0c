//! A provider refuses connections: messages go on to the next channel without waiting for a receipt that cannot come, and return when it is back.

use crate::bank;
use crate::process::{Instance, More, Stage};
use crate::rig::statuses;
use crate::stories::{assert_all_delivered_once, ends, stories, words};
use crate::support::{self, Reader, Writer};
use recado::delivery::{Channel, Reason, StatusWord};
use recado::simulator::{self, Answer, Behaviour, Phone, SendLog};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const BREAKER: &str = "recado_breaker_open{provider=\"meta\"}";

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_refuses_connections_is_passed_over_at_once_and_used_again_when_it_is_back() {
    // One message's calls are enough to open the breaker: the usual twenty need several.
    let more = More { config: "[dispatcher]\nbreaker_calls_min = 3\nbreaker_pause = \"2s\"\n".into(), ..More::default() };
    let stage = Stage::with("gone", 2, simulator::Settings::default(), more).await;
    let meta = support::free_port();
    let mut instance = stage.start(&config(&stage, meta), "engine,dispatcher,gateway");
    instance.ready().await;
    let writer = Writer::new();
    let mut told = stage.statuses();
    let mut count = 0;
    let mut deliver = |told: &mut Reader| {
        count += 1;
        let event = format!("e-{count}");
        let value = bank::pix_received(&event, "customer-1", "+5511987654321");
        writer.send(&stage.input("pix.transactions"), 0, b"customer-1", &value);
        writer.flush();
        told.until(&event, ends(count));
        stories(&told.read).remove(&event).unwrap()
    };

    // Called again and again until the breaker opens; then with the breaker open.
    for _ in 0..2 {
        let story = deliver(&mut told);
        assert_eq!(words(&story), [StatusWord::Requested, StatusWord::Fallback, StatusWord::Sent, StatusWord::Delivered]);
        assert_eq!((story[1].status.reason, story[3].status.channel), (Reason::Unavailable, Some(Channel::Sms)));
        // The wait for a receipt would be 33 s. Both times are Kafka's own.
        let took = story[1].decided.since(story[0].decided);
        assert!(took < Duration::from_secs(15), "the fallback came after {took:?}");
        assert_eq!(instance.metric(BREAKER).await.to_string(), "1");
        let said = provider_away(&mut instance, true).await;
        assert!(said.contains("The breaker is open for: meta."), "{said}");
    }
    assert!(!stage.calls().iter().any(|call| call.channel == simulator::Channel::Whatsapp), "nothing listened at {meta}");

    let _meta = stage.providers_at(meta, "meta.log").await;
    // Only a call can show that it is back: while the breaker is half-open one a second is tried.
    for tries in 0.. {
        assert!(tries < 30, "the breaker did not close");
        deliver(&mut told);
        if instance.metric(BREAKER).await == 0.0 {
            break;
        }
    }
    provider_away(&mut instance, false).await;
    let story = deliver(&mut told);
    assert_eq!(words(&story), [StatusWord::Requested, StatusWord::Sent, StatusWord::Delivered], "by WhatsApp, as ever");
    instance.stop();
    let mut calls = stage.calls();
    calls.extend(SendLog::read(&stage.folder.path().join("meta.log")).unwrap().into_iter().filter_map(|line| match line {
        simulator::Line::Call(call) => Some(call),
        _ => None,
    }));
    assert_all_delivered_once(&stories(&told.read), &calls);
    assert_eq!(calls.len(), count, "one message each: {:?}", statuses(&told.read).len());
}

/// Meta's number for a template that it has paused.
const PAUSED: u32 = 132_015;

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_meta_paused_is_told_by_name_for_as_long_as_its_messages_go_another_way() {
    let mut settings = simulator::Settings::default();
    let paused = Behaviour { answer: Answer::Error { code: PAUSED, status: None, retry_after_secs: None }, ..Behaviour::default() };
    settings.script.phones.insert("5511987654321".into(), Phone { whatsapp: paused, ..Phone::named("quick", "quick", "quick").unwrap() });
    let stage = Stage::with("paused", 2, settings, More::default()).await;
    let mut instance = stage.start(&stage.config("a", stage.gateway_port, ""), "engine,dispatcher,gateway");
    instance.ready().await;
    let writer = Writer::new();
    writer.send(&stage.input("pix.transactions"), 0, b"customer-1", &bank::pix_received("e-1", "customer-1", "+5511987654321"));
    writer.flush();
    let mut told = stage.statuses();
    told.until("the SMS", ends(1));
    let said = instance.says("/readyz", "the template", |status, text| status == 200 && text.contains("template_away")).await;
    assert!(said.contains("pix_recebido (whatsapp)") && !said.contains("provider_away"), "{said}");
    assert_eq!(instance.metric("recado_template_breaker_open{channel=\"whatsapp\",template=\"pix_recebido\"}").await.to_string(), "1");
    let log = fs::read_to_string(&instance.log).unwrap();
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains("\"template\":\"pix_recebido\"")), "{log}");
    instance.stop();
}

/// An instance whose Meta is at this port.
fn config(stage: &Stage, meta: u16) -> PathBuf {
    let path = stage.config("a", stage.gateway_port, "");
    let text = fs::read_to_string(&path).unwrap();
    let (before, after) = text.split_once("[providers.meta]").unwrap();
    let after = after.replacen(&stage.simulator.base_url(), &format!("http://127.0.0.1:{meta}"), 1);
    fs::write(&path, format!("{before}[providers.meta]{after}")).unwrap();
    path
}

/// Waits until `/readyz` tells of a provider that is away, or of none; it is well either way.
async fn provider_away(instance: &mut Instance, away: bool) -> String {
    instance.says("/readyz", "the provider's absence or return", |status, text| status == 200 && text.contains("provider_away") == away).await
}
