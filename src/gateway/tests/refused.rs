//! What the gateway refuses: whatever is forged, too large or too slow changes nothing and keeps nobody else waiting.

use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_forged_webhook_of_metas_is_refused_and_nothing_is_written() {
    let gateway = running(limits()).await;
    let body = webhook(&[("delivered", &attempt(0, 1).to_string())]);
    let good = meta_signature(SECRET, body.as_bytes());
    let header = "x-hub-signature-256";
    assert_eq!(gateway.meta_with(&body, &[]).await, 403, "unsigned");
    assert_eq!(gateway.meta_with(&body, &[(header, &meta_signature("an old secret", body.as_bytes()))]).await, 403);
    assert_eq!(gateway.meta_with(&body, &[(header, &good), (header, &good)]).await, 403, "signed twice");
    assert_eq!(gateway.meta_with(&body.replace("delivered", "read"), &[(header, &good)]).await, 403, "tampered");
    assert_eq!(gateway.meta_with(&body[..body.len() - 1], &[(header, &good)]).await, 403, "truncated");
    assert_eq!(gateway.meta_with(&body, &[(header, &good[..good.len() - 2])]).await, 403, "truncated signature");
    let request = gateway.http.post(gateway.url("/webhooks/meta/other")).header(header, &good).body(body.clone());
    assert_eq!(request.send().await.unwrap().status().as_u16(), 404, "another app");
    assert_eq!(gateway.receipts().await, []);
    gateway.stop().await;
}

#[tokio::test]
async fn a_forged_callback_of_twilios_is_refused_and_nothing_is_written() {
    let gateway = running(limits()).await;
    for kind in ["sms", "voice"] {
        let path = format!("/webhooks/twilio/main/{kind}?a={}", attempt(0, 1));
        let form = [("MessageStatus", "delivered"), ("CallStatus", "in-progress"), ("Digits", "1")];
        let good = twilio_signature(TOKEN, &format!("{PUBLIC}{path}"), &form);
        let tampered = [("MessageStatus", "read"), ("CallStatus", "in-progress"), ("Digits", "1")];
        assert_eq!(gateway.twilio(&path, &tampered, &good).await.0, 403, "tampered form");
        assert_eq!(gateway.twilio(&path.replace("-1-1", "-1-2"), &form, &good).await.0, 403, "tampered URL");
        assert_eq!(gateway.twilio(&path, &form, &twilio_signature("old", &format!("{PUBLIC}{path}"), &form)).await.0, 403);
        assert_eq!(gateway.twilio(&path, &form, "").await.0, 403);
        let host = twilio_signature(TOKEN, &gateway.url(&path), &form);
        assert_eq!(gateway.twilio(&path, &form, &host).await.0, 403, "the caller's Host is not believed");
        let request = gateway.http.post(gateway.url(&path)).form(&form).header("x-twilio-signature", &good);
        let request = request.header("x-twilio-webhooks-signature-settings", "key=k,algorithm=HMAC_MD5");
        assert_eq!(request.send().await.unwrap().status().as_u16(), 403, "an unknown algorithm");
    }
    assert_eq!(gateway.receipts().await, []);
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_over_its_limit_is_refused_by_its_header_and_while_it_is_read() {
    let gateway = running(Limits { meta_body_bytes_max: 2_000, body_bytes_max: 1_000, ..limits() }).await;
    let body = format!("{}{}", webhook(&[("sent", &attempt(0, 1).to_string())]), " ".repeat(2_000));
    assert_eq!(gateway.meta(&body).await, 413);
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> = body.as_bytes().chunks(100).map(|chunk| Ok(chunk.to_vec())).collect();
    let request = gateway.http.post(gateway.url("/webhooks/meta/bank")).header("x-hub-signature-256", meta_signature(SECRET, body.as_bytes()));
    let response = request.body(reqwest::Body::wrap_stream(futures_util::stream::iter(chunks))).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 413, "no length was announced");
    let long = "x".repeat(1_000);
    let form = [("MessageStatus", "sent"), ("Body", long.as_str())];
    assert_eq!(gateway.twilio("/webhooks/twilio/main/sms", &form, "").await.0, 413);
    assert_eq!(gateway.receipts().await, []);
    gateway.stop().await;
}

#[tokio::test]
async fn a_compressed_body_and_a_wrong_method_are_refused() {
    let gateway = running(limits()).await;
    let body = webhook(&[]);
    let signature = meta_signature(SECRET, body.as_bytes());
    assert_eq!(gateway.meta_with(&body, &[("x-hub-signature-256", &signature), ("content-encoding", "gzip")]).await, 415);
    assert_eq!(gateway.meta_with(&body, &[("x-hub-signature-256", &signature), ("content-encoding", "identity")]).await, 200);
    for (method, path) in [("PUT", "/webhooks/meta/bank"), ("GET", "/webhooks/twilio/main/sms"), ("GET", "/webhooks/twilio/main/voice")] {
        let request = gateway.http.request(method.parse().unwrap(), gateway.url(path));
        assert_eq!(request.send().await.unwrap().status().as_u16(), 405, "{method} {path}");
    }
    for path in ["/", "/metrics", "/webhooks", "/webhooks/meta/bank/x", "/webhooks/twilio/other/fax"] {
        assert_eq!(gateway.http.get(gateway.url(path)).send().await.unwrap().status().as_u16(), 404, "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn bodies_in_memory_are_bounded_together() {
    let gateway = running(Limits { bodies_bytes_max: 4 << 10, ..limits() }).await;
    let body = format!("{}{}", webhook(&[]), " ".repeat(8 << 10));
    assert_eq!(gateway.meta(&body).await, 503);
    assert_eq!(gateway.meta(&webhook(&[])).await, 200, "what was held was given back");
    // Whatever somebody sends in Meta's name: there is room for forms.
    let large = Arc::clone(&gateway.shared.bodies).acquire_many_owned(4).await.unwrap();
    let attempt_id = attempt(0, 1);
    let (path, form) = (format!("/webhooks/twilio/main/sms?a={attempt_id}"), [("MessageSid", "SM1"), ("MessageStatus", "delivered")]);
    let signature = twilio_signature(TOKEN, &format!("{PUBLIC}{path}"), &form);
    assert_eq!((gateway.meta(&webhook(&[])).await, gateway.twilio(&path, &form, &signature).await.0), (503, 200));
    drop(large);
    gateway.stop().await;
}

/// Connections that were closed for being slow, by with what.
fn cut(cause: &str) -> f64 {
    counted("recado_gateway_connections_cut_total", cause)
}

/// What a connection says until it is closed; fails when that takes longer than 5 s.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut said)).await.expect("the connection stayed open").unwrap_or(0);
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn slow_clients_are_cut_off_and_keep_nobody_waiting() {
    let gateway = running(limits()).await;
    let before = ["silent", "headers", "preface"].map(cut);
    let connect = async |first: &'static [u8]| {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(first).await.unwrap();
        stream
    };
    let mut silent = connect(b"").await;
    let mut half_a_word = connect(b"P").await;
    let mut headers = connect(b"POST /webhooks/meta/bank HTTP/1.1\r\nHost: x\r\nX-A: ").await;
    let mut preface = connect(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let mut body = connect(b"POST /webhooks/meta/bank HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").await;
    // Signed, whole but for its last byte, and therefore no receipt.
    let webhook_of_one = webhook(&[("delivered", &attempt(0, 1).to_string())]);
    let signature = meta_signature(SECRET, webhook_of_one.as_bytes());
    let length = webhook_of_one.len();
    let head = format!("POST /webhooks/meta/bank HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: {signature}\r\nContent-Length: {length}\r\n\r\n");
    let mut all_but_one = TcpStream::connect(gateway.address).await.unwrap();
    all_but_one.write_all(head.as_bytes()).await.unwrap();
    all_but_one.write_all(&webhook_of_one.as_bytes()[..length - 1]).await.unwrap();
    let dripping = tokio::spawn(async move {
        while headers.write_all(b"y").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert_eq!(gateway.meta(&webhook(&[])).await, 200, "others are served meanwhile");
    assert_eq!(until_closed(&mut silent).await, "");
    assert_eq!(until_closed(&mut half_a_word).await, "");
    until_closed(&mut preface).await;
    assert!(until_closed(&mut body).await.starts_with("HTTP/1.1 408 "), "a body past its deadline");
    assert!(until_closed(&mut all_but_one).await.starts_with("HTTP/1.1 408 "), "a signed body past its deadline");
    tokio::time::timeout(Duration::from_secs(5), dripping).await.expect("a header that drips is cut off").unwrap();
    for ((cause, connections), before) in [("silent", 1.0), ("headers", 2.0), ("preface", 1.0)].into_iter().zip(before) {
        assert!(cut(cause) >= before + connections, "the metric of {cause}");
    }
    assert_eq!(gateway.receipts().await, []);
    gateway.stop().await;
}

#[tokio::test]
async fn an_idle_connection_outlives_the_header_deadline_and_is_closed_by_its_own() {
    let gateway = running(limits()).await;
    let before = cut("idle");
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let ask = b"GET /webhooks/meta/bank HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut answer = [0; 4096];
    stream.write_all(ask).await.unwrap();
    assert!(stream.read(&mut answer).await.unwrap() > 0);
    tokio::time::sleep(2 * limits().header_deadline).await;
    stream.write_all(ask).await.unwrap();
    assert!(stream.read(&mut answer).await.unwrap() > 0, "idle is not slow");
    assert_eq!(until_closed(&mut stream).await, "");
    assert!(cut("idle") > before, "the metric of it");
    gateway.stop().await;
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let gateway = running(Limits { connections_per_address_max: 3, header_deadline: Duration::from_secs(5), ..limits() }).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(TcpStream::connect(gateway.address).await.unwrap());
    }
    // The client of `until_ready` holds the third.
    let mut fourth = TcpStream::connect(gateway.address).await.unwrap();
    assert_eq!(until_closed(&mut fourth).await, "");
    drop(held);
    assert_eq!(gateway.meta(&webhook(&[])).await, 200);
    gateway.stop().await;
}
