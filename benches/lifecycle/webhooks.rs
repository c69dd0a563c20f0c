//! What one gateway takes: signed webhooks of Meta's over connections that stay open, each answered when Kafka has all of its receipts.
//!
//! Easily got wrong: the gateway's own signs of life lie in the same topic; their keys are empty.

use crate::PARTITIONS;
use crate::deployment::signed_by_meta;
use crate::leave;
use crate::measure::cost::Reading;
use crate::measure::topics;
use crate::process::{Instance, Stage};
use crate::shared::{asked, heading};
use rdkafka::message::Message;
use recado::delivery::{Attempt, AttemptId, MessageId};
use recado::simulator;
use std::ops::Range;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Receipts of each kind of POST, unless `RECEIPTS` says otherwise.
const RECEIPTS: u64 = 200_000;
/// So many POSTs are under way at once: one on each connection, which waits for Kafka most of the time.
const CONNECTIONS: u64 = 128;
/// The gateway says 503 when Kafka has not acknowledged in 4 s: after so long no answer comes any more.
const ANSWER: Duration = Duration::from_secs(30);

/// The part.
pub async fn run() {
    let receipts = asked("RECEIPTS", RECEIPTS);
    heading(&format!("Webhooks: {receipts} receipts in POSTs of one and of twenty, {CONNECTIONS} connections, one gateway"));
    let stage = Stage::new("webhooks", PARTITIONS, simulator::Settings::default()).await;
    let mut gateway = stage.start(&stage.config("g", stage.gateway_port, ""), "gateway");
    gateway.ready().await;
    // A broker's Java compiles at first.
    let mut next = all(&stage, 0, 1, receipts / 2).await;
    for of_a_post in [1, 20] {
        next = measured(&stage, &gateway, next, of_a_post, receipts / of_a_post).await;
    }
    gateway.stop();
    let (topic, mut there) = (format!("{}receipts", stage.prefix), 0);
    let records = topics::each(&topic, &topics::START, |message| there += u64::from(message.key().is_some_and(|key| !key.is_empty())));
    let ends: i64 = topics::ends(&topic).iter().sum();
    assert_eq!((there, i64::try_from(records).unwrap()), (next, ends), "what was acknowledged is there, and no more");
    leave::delete_topics(&stage.prefix).await;
}

async fn measured(stage: &Stage, gateway: &Instance, first: u64, of_a_post: u64, posts: u64) -> u64 {
    let before = Reading::of(gateway);
    let next = all(stage, first, of_a_post, posts).await;
    let (cost, receipts) = (before.cost(gateway), next - first);
    let (rate, of_a_core) = cost.rates(receipts);
    println!(
        "{of_a_post} in a POST: {rate:.0} receipts/s, {:.1} µs of CPU each, {of_a_core:.0} receipts a CPU second; {}",
        cost.each(receipts),
        cost.others(receipts)
    );
    println!("  {cost}");
    next
}

/// Posts so many, all answered with 200; returns the number of the next receipt.
async fn all(stage: &Stage, first: u64, of_a_post: u64, posts: u64) -> u64 {
    let port = stage.gateway_port;
    let share = |connection: u64| posts * connection / CONNECTIONS..posts * (connection + 1) / CONNECTIONS;
    let tasks: Vec<_> = (0..CONNECTIONS).map(|connection| tokio::spawn(connect(port, first, of_a_post, share(connection)))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    first + posts * of_a_post
}

const HEAD: &str = "POST /webhooks/meta/bank HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: facebookexternalua\r\ncontent-type: application/json\r\n";

/// One connection: a POST, its answer, the next one.
async fn connect(port: u16, first: u64, of_a_post: u64, posts: Range<u64>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answer = [0; 2_048];
    for post in posts {
        let from = first + post * of_a_post;
        let body = webhook(from..from + of_a_post);
        let request = format!("{HEAD}x-hub-signature-256: {}\r\ncontent-length: {}\r\n\r\n{body}", signed_by_meta(&body), body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut length = 0;
        // No answer of the gateway's to Meta has a body.
        while !answer[..length].ends_with(b"\r\n\r\n") {
            let more = timeout(ANSWER, stream.read(&mut answer[length..])).await.expect("the gateway answers in time").unwrap();
            assert!(more > 0, "the gateway closed the connection");
            length += more;
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer[..length]));
    }
}

/// A webhook as Meta writes it, with one status for each of these numbers.
fn webhook(numbers: Range<u64>) -> String {
    let status = |number: u64| {
        let attempt_id = AttemptId { message_id: message_id(number), attempt: Attempt::FIRST };
        let message = format!(r#""id":"wamid.HBgNNTUxMTk5OTk5MDAwMRUCABEYEjlB{number:016X}AA==","status":"delivered","timestamp":"1764900000""#);
        format!(r#"{{{message},{CUSTOMER},"biz_opaque_callback_data":"{attempt_id}",{PRICING}}}"#)
    };
    let statuses: Vec<String> = numbers.map(status).collect();
    let value = format!(r#"{{"messaging_product":"whatsapp",{ACCOUNT},"statuses":[{}]}}"#, statuses.join(","));
    format!(r#"{{"object":"whatsapp_business_account","entry":[{{"id":"200000000000002","changes":[{{"field":"messages","value":{value}}}]}}]}}"#)
}

const CUSTOMER: &str = r#""recipient_id":"5511999990001","recipient_user_id":"BR.13491208655302741918""#;
const PRICING: &str = r#""pricing":{"billable":true,"pricing_model":"PMP","type":"regular","category":"utility"}"#;
const ACCOUNT: &str = r#""metadata":{"display_phone_number":"551140040001","phone_number_id":"100000000000001"}"#;

/// Of a message of that number: its time, its home, and for the rest the number itself.
fn message_id(number: u64) -> MessageId {
    let mut id = [0; 16];
    id[..6].copy_from_slice(&1_764_900_000_000_u64.to_be_bytes()[2..]);
    id[6..8].copy_from_slice(&u16::try_from(number % u64::from(PARTITIONS)).unwrap().to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    MessageId::from_bytes(id)
}
