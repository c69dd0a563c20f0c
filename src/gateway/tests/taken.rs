//! What the gateway takes, and where it writes it.

use super::*;
use crate::channel::twilio::Callbacks;
use crate::channel::voice::{CarriedCode, keypress_url};
use crate::event::dead_letter::{self, Digest, Value};
use crate::privacy::{Purpose, Reference};
use rdkafka::message::Headers as _;

#[tokio::test]
async fn each_receipt_of_a_webhook_lands_in_its_home_partition_before_the_200() {
    let gateway = running(limits()).await;
    let (first, second, foreign) = (attempt(0, 1), attempt(3, 2), attempt(PARTITIONS, 1));
    let body = webhook(&[
        ("sent", &first.to_string()),
        ("delivered", &second.to_string()),
        ("sent", &foreign.to_string()),
        ("sent", "order-4711"),
        ("read", &first.to_string()),
    ]);
    assert_eq!(gateway.meta(&body).await, 200);
    let expected = [(0, first, Receipt::Sent), (0, first, Receipt::Read), (3, second, Receipt::Delivered)];
    assert_eq!(gateway.receipts().await, expected);
    gateway.stop().await;
}

#[tokio::test]
async fn a_receipt_of_a_partition_that_was_made_a_moment_ago_is_written() {
    let gateway = running(limits()).await;
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", &gateway.bootstrap).create().unwrap();
    let (attempt_id, new) = (attempt(PARTITIONS, 1), i32::from(PARTITIONS));
    let more = rdkafka::admin::NewPartitions::new(RECEIPTS, usize::from(PARTITIONS) + 1);
    admin.create_partitions([&more], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    assert_eq!(gateway.meta(&webhook(&[("delivered", &attempt_id.to_string())])).await, 200);
    gateway.read_partitions(
        RECEIPTS,
        new..new + 1,
        |message| matches!(decode_returned(message.payload().unwrap()).unwrap(), Returned::Receipt { attempt_id: read, .. } if read == attempt_id),
    );
    gateway.stop().await;
}

#[tokio::test]
async fn every_partition_gets_signs_of_life() {
    let gateway = running(limits()).await;
    let mut silent: std::collections::BTreeSet<i32> = (0..i32::from(PARTITIONS)).collect();
    gateway.read(RECEIPTS, |message| {
        let beat = decode_returned(message.payload().unwrap()).unwrap();
        if beat == (Returned::GatewayHeartbeat { instance: "gateway-1".into() }) {
            silent.remove(&message.partition());
        }
        silent.is_empty()
    });
    gateway.stop().await;
}

#[tokio::test]
async fn metas_handshake_answers_with_the_challenge_to_its_own_token_alone() {
    let gateway = running(limits()).await;
    let get = async |query: &str| {
        let response = gateway.http.get(gateway.url(&format!("/webhooks/meta/bank?{query}"))).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(get("hub.mode=subscribe&hub.verify_token=verify+me&hub.challenge=1158201444").await, (200, "1158201444".into()));
    let long = "1".repeat(65);
    for query in [
        "",
        "hub.mode=subscribe&hub.verify_token=other&hub.challenge=1",
        "hub.mode=subscribe&hub.challenge=1",
        "hub.mode=unsubscribe&hub.verify_token=verify+me&hub.challenge=1",
        "hub.mode=subscribe&hub.verify_token=verify+me&hub.challenge=%3Cb%3E",
        &format!("hub.mode=subscribe&hub.verify_token=verify+me&hub.challenge={long}"),
    ] {
        assert_eq!(get(query).await, (403, String::new()), "{query}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn twilios_callback_of_a_text_message_becomes_a_receipt() {
    let gateway = running(limits()).await;
    let attempt_id = attempt(2, 1);
    let path = format!("/webhooks/twilio/main/sms?a={attempt_id}");
    let form = [("MessageSid", "SM1"), ("MessageStatus", "delivered"), ("To", "+5511999990001")];
    let with_port = twilio_signature(TOKEN, &format!("https://recado.example:443/in{path}"), &form);
    assert_eq!(gateway.twilio(&path, &form, &with_port).await, (200, String::new()));
    assert_eq!(gateway.receipts().await, [(2, attempt_id, Receipt::Delivered)]);
    gateway.stop().await;
}

/// Presses a key in a call whose URL carries the code `carried`; returns status and script.
async fn press(gateway: &Running, attempt_id: &AttemptId, carried: Option<&CarriedCode>, digits: &str) -> (u16, String) {
    let callbacks = Callbacks { public_base_url: PUBLIC.into(), account: "main".into() };
    let url = keypress_url(attempt_id, carried, &callbacks);
    let signed = url.split_once('#').unwrap().0;
    let path = signed.strip_prefix(PUBLIC).unwrap();
    let form = [("CallSid", "CA1"), ("CallStatus", "in-progress"), ("Digits", digits)];
    gateway.twilio(path, &form, &twilio_signature(TOKEN, signed, &form)).await
}

#[tokio::test]
async fn the_key_1_is_a_receipt_and_opens_the_code_for_that_one_answer() {
    let gateway = running(limits()).await;
    let (attempt_id, customer, now) = (attempt(1, 1), Reference::from_bytes([9; 16]), crate::clock::wall());
    let carry = |expiry: Timestamp| {
        let sealed = gateway.sealer.seal(Purpose::Code, customer, attempt_id.message_id, expiry, b"49A8", now).unwrap();
        CarriedCode { customer, expiry, sealed }
    };
    let (status, script) = press(&gateway, &attempt_id, Some(&carry(now.plus(Duration::from_secs(300)))), "1").await;
    assert_eq!(status, 200);
    assert_eq!(script.matches(r#"4 <break time="500ms"/> 9 <break time="500ms"/> A <break time="500ms"/> 8"#).count(), 2, "{script}");
    assert_eq!(gateway.receipts().await, [(1, attempt_id, Receipt::Delivered)]);

    let late = attempt(1, 3);
    let (_, script) = press(&gateway, &late, Some(&carry(now)), "1").await;
    assert!(script.contains("já não vale") && !script.contains('9'), "expired: {script}");
    let moved = CarriedCode { customer: Reference::from_bytes([8; 16]), ..carry(now.plus(Duration::from_secs(300))) };
    let (_, script) = press(&gateway, &attempt_id, Some(&moved), "1").await;
    assert!(!script.contains("break"), "sealed for another customer: {script}");
    let other = attempt(1, 2);
    let longer = CarriedCode { expiry: now.plus(Duration::from_secs(301)), ..carry(now.plus(Duration::from_secs(300))) };
    let (_, script) = press(&gateway, &other, Some(&longer), "1").await;
    assert!(script.contains("Não conseguimos"), "sealed for a shorter life: {script}");
    let told = gateway.receipts().await;
    assert!(told.iter().all(|(_, attempt_id, _)| ![other, late].contains(attempt_id)), "nobody was told a code, so nothing was delivered");
    let (_, script) = press(&gateway, &attempt_id, None, "1").await;
    assert!(script.contains("Obrigado"), "a call without a code: {script}");
    let (status, script) = press(&gateway, &attempt_id, Some(&carry(now.plus(Duration::from_secs(300)))), "2").await;
    assert_eq!((status, script.as_str()), (200, "<Response><Hangup/></Response>"), "another key");
    gateway.stop().await;
}

#[tokio::test]
async fn a_signed_body_that_is_not_understood_is_kept_sealed_and_answered_with_200() {
    let gateway = running(limits()).await;
    let letters_of = |reason: &str| counted("recado_dead_letters_total", reason);
    let before = (letters_of("webhook_wrong_shape"), letters_of("webhook_not_json"));
    let body = r#"{"object":"page","entry":[{"text":"a customer's words"}]}"#;
    assert_eq!(gateway.meta(body).await, 200);
    let large = format!("{}{}", "x".repeat(300_000), "not JSON");
    assert_eq!(gateway.meta(&large).await, 200);
    let mut letters = Vec::new();
    gateway.read(DEAD_LETTERS, |message| {
        let headers = message.headers().unwrap().iter().map(|header| String::from_utf8(header.value.unwrap().to_vec()).unwrap()).collect::<Vec<_>>();
        letters.push((headers, message.payload().unwrap().to_vec()));
        letters.len() == 2
    });
    let (headers, value) = &letters[0];
    assert_eq!(headers, &["webhook_wrong_shape", "/webhooks/meta/bank"]);
    assert!(!value.windows(8).any(|window| window == b"customer"));
    let Some(Value::Sealed(sealed)) = dead_letter::read_value(value) else { panic!("it is not sealed") };
    let plain = gateway.sealer.open_dead_letter(b"/webhooks/meta/bank", &sealed).unwrap();
    assert_eq!(dead_letter::read_plain(plain.expose()).unwrap().value, Some(body.as_bytes()));
    let (headers, value) = &letters[1];
    assert_eq!(headers[0], "webhook_not_json");
    assert!(matches!(dead_letter::read_value(value), Some(Value::Digest(Digest { length: 300_008, .. }))), "above 256 KiB only length and hash");
    assert!(letters_of("webhook_wrong_shape") > before.0 && letters_of("webhook_not_json") > before.1, "each is counted by its reason");
    gateway.stop().await;
}

#[tokio::test]
async fn a_status_that_cannot_be_read_is_kept_and_the_receipts_beside_it_are_taken() {
    let gateway = running(limits()).await;
    let ours = attempt(0, 1);
    let body = webhook(&[("sent", r"order \ud83d"), ("delivered", &ours.to_string())]);
    assert_eq!(gateway.meta(&body).await, 200);
    assert_eq!(gateway.receipts().await, [(0, ours, Receipt::Delivered)]);
    gateway.read(DEAD_LETTERS, |message| {
        let headers = message.headers().unwrap().iter().map(|header| String::from_utf8(header.value.unwrap().to_vec()).unwrap()).collect::<Vec<_>>();
        assert_eq!(headers, ["webhook_unreadable_status", "/webhooks/meta/bank"]);
        let Some(Value::Sealed(sealed)) = dead_letter::read_value(message.payload().unwrap()) else { panic!("it is not sealed") };
        let plain = gateway.sealer.open_dead_letter(b"/webhooks/meta/bank", &sealed).unwrap();
        assert_eq!(dead_letter::read_plain(plain.expose()).unwrap().value, Some(body.as_bytes()), "all of it");
        true
    });
    gateway.stop().await;
}

#[tokio::test]
async fn http_2_is_spoken_too() {
    let gateway = running(limits()).await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let body = webhook(&[]);
    for _ in 0..3 {
        let request = client.post(gateway.url("/webhooks/meta/bank")).header("x-hub-signature-256", meta_signature(SECRET, body.as_bytes()));
        let response = request.body(body.clone()).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, reqwest::Version::HTTP_2));
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_kafka_is_away_the_answer_is_503_and_afterwards_200_again() {
    let kafka = rdkafka::mocking::MockCluster::new(1).unwrap();
    kafka.create_topic(RECEIPTS, i32::from(PARTITIONS), 1).unwrap();
    let gateway = start(limits(), kafka.bootstrap_servers(), Some(PARTITIONS)).await;
    let body = webhook(&[("sent", &attempt(0, 1).to_string()), ("sent", &attempt(1, 1).to_string())]);
    assert_eq!(gateway.meta(&body).await, 200);
    kafka.broker_down(1).unwrap();
    let (attempt_id, form) = (attempt(0, 1), [("CallStatus", "in-progress"), ("Digits", "1")]);
    let path = format!("/webhooks/twilio/main/voice?a={attempt_id}");
    let signature = twilio_signature(TOKEN, &format!("{PUBLIC}{path}"), &form);
    let (meta, twilio) = tokio::join!(gateway.meta(&body), gateway.twilio(&path, &form, &signature));
    assert_eq!((meta, twilio), (503, (503, String::new())), "nor is there a script before its receipt is durable");
    kafka.broker_up(1).unwrap();
    let mut status = 503;
    for _ in 0..20 {
        status = gateway.meta(&body).await;
        if status == 200 {
            break;
        }
    }
    assert_eq!(status, 200);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_record_that_kafka_refuses_costs_the_whole_webhook_its_200() {
    let kafka = rdkafka::mocking::MockCluster::new(1).unwrap();
    kafka.create_topic(RECEIPTS, 1, 1).unwrap();
    let gateway = start(limits(), kafka.bootstrap_servers(), Some(PARTITIONS)).await;
    assert_eq!(gateway.meta(&webhook(&[("sent", &attempt(0, 1).to_string())])).await, 200);
    let both = webhook(&[("sent", &attempt(0, 1).to_string()), ("sent", &attempt(1, 1).to_string())]);
    assert_eq!(gateway.meta(&both).await, 503, "partition 1 does not exist at the broker");
    gateway.stop().await;
}

#[tokio::test]
async fn a_request_under_way_ends_before_the_gateway_does() {
    let gateway = running(Limits { body_deadline: Duration::from_secs(5), ..limits() }).await;
    let body = webhook(&[("sent", &attempt(0, 7).to_string())]);
    let (first, second) = (body.as_bytes()[..50].to_vec(), body.as_bytes()[50..].to_vec());
    let (send, receive) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(2);
    send.send(Ok(first)).await.unwrap();
    let stream = futures_util::stream::unfold(receive, async |mut receive| receive.recv().await.map(|chunk| (chunk, receive)));
    let request = gateway.http.post(gateway.url("/webhooks/meta/bank")).header("x-hub-signature-256", meta_signature(SECRET, body.as_bytes()));
    let sending = tokio::spawn(request.body(reqwest::Body::wrap_stream(stream)).send());
    while gateway.shared.bodies.available_permits() == body::permits(limits().bodies_bytes_max) {
        tokio::task::yield_now().await;
    }
    gateway.shutdown.cancel();
    send.send(Ok(second)).await.unwrap();
    drop(send);
    assert_eq!(sending.await.unwrap().unwrap().status().as_u16(), 200);
    tokio::time::timeout(Duration::from_secs(5), gateway.serving).await.expect("the gateway did not end").unwrap().unwrap();
}
