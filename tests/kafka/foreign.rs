//! The bank's side in somebody else's words: a program that is no librdkafka writes events and reads statuses, and both sides are compared.

use crate::rig::{World, dispatches, outcome, receipt, statuses, words};
use crate::support::{self, Writer, value};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use recado::delivery::{AttemptId, Channel, Hold, Outcome, Receipt, StatusWord, Timestamp};
use recado::event::records::StatusRecord;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

/// One event that the client wrote and committed.
#[derive(Deserialize)]
struct Written {
    event_id: String,
    partition: i32,
    offset: i64,
}

/// Has a bank's program (`tests/clients/`) write two Pix events and read what becomes of them: one is delivered by WhatsApp, the other one by SMS.
///
/// - What a transaction of the bank's aborted is no event: the engine reads committed records only.
/// - What stands aborted on the status topic is no status: neither does the client see it, nor may it stop it.
/// - Each status that the client decoded by `schemas/status.avsc` says in every field what Recado's own decoder says.
pub async fn writes_events_and_reads_statuses(name: &'static str, program: fn() -> Command) {
    let world = World::new(name, 3).await;
    leave_an_aborted_record(&world);
    let engine = world.engine(world.settings("a"));
    world.wait_for_start(&engine);

    let pix = world.input("pix.transactions");
    let written: Vec<Written> =
        run(program, vec!["write".into(), support::bootstrap().into(), pix.clone(), file("pix_transaction"), world.prefix.clone()]).await;
    assert_eq!(written.len(), 2, "the client tells what it wrote");

    let writer = Writer::new();
    let (mut sent, mut told) = (world.dispatches(), world.statuses());
    sent.until("both events' dispatches", |read| read.len() == 2);
    let first = dispatches(&sent.read);
    let partition = |id: &AttemptId| id.message_id.partition().0;
    for (dispatch, answer) in first.iter().zip([Outcome::Accepted, Outcome::Rejected]) {
        world.give_back(&writer, &outcome(dispatch.attempt_id, answer), partition(&dispatch.attempt_id));
    }
    world.give_back(&writer, &receipt(first[0].attempt_id, Receipt::Delivered), partition(&first[0].attempt_id));
    sent.until("the fallback", |read| read.len() == 3);
    let fallback = dispatches(&sent.read).remove(2);
    assert_eq!(fallback.channel, Channel::Sms);
    world.give_back(&writer, &outcome(fallback.attempt_id, Outcome::Accepted), partition(&fallback.attempt_id));
    world.give_back(&writer, &receipt(fallback.attempt_id, Receipt::Delivered), partition(&fallback.attempt_id));
    told.until("both ends", |read| words(read).iter().filter(|word| **word == StatusWord::Delivered).count() == 2);

    let arguments =
        vec!["read".into(), support::bootstrap().into(), world.topics.status.to_string(), file("status"), format!("{}reader", world.prefix), "2".into()];
    let read: Vec<Value> = run(program, arguments).await;
    let place = |line: &Value| (line["partition"].as_i64(), line["offset"].as_i64());
    let theirs: BTreeMap<_, _> = read.iter().map(|line| (place(line), line.clone())).collect();
    let ours: BTreeMap<_, _> = told.read.iter().map(as_the_bank_reads_it).map(|line| (place(&line), line)).collect();
    assert_eq!(theirs, ours);

    let all = statuses(&told.read);
    for event in &written {
        let its: Vec<_> = all.iter().filter(|status| status.event_id.as_deref() == Some(&event.event_id)).collect();
        assert!(its.iter().map(|status| status.status.seq).eq(0..u32::try_from(its.len()).unwrap()) && its.len() >= 2, "{} has its statuses", event.event_id);
        for source in its.iter().filter_map(|status| status.source.as_ref()) {
            assert_eq!((&*source.topic, source.partition.kafka(), source.offset), (&*pix, event.partition, event.offset));
        }
    }
    assert!(all.iter().all(|status| written.iter().any(|event| status.event_id.as_ref() == Some(&event.event_id))), "what was aborted is no event");
    engine.stop();
}

/// In each partition of the status topic, so that the client has something not to read.
fn leave_an_aborted_record(world: &World) {
    let producer: BaseProducer = support::client().set("transactional.id", format!("{}aborts", world.prefix)).create().unwrap();
    let within = Duration::from_secs(30);
    producer.init_transactions(within).unwrap();
    producer.begin_transaction().unwrap();
    for partition in 0..world.partitions {
        producer.send(BaseRecord::<[u8], [u8]>::to(&world.topics.status).partition(partition).payload(b"aborted")).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(within).unwrap();
    producer.abort_transaction(within).unwrap();
}

/// Runs the client and reads the lines of JSON that it prints. It has a deadline of its own.
async fn run<T: for<'a> Deserialize<'a>>(program: fn() -> Command, arguments: Vec<String>) -> Vec<T> {
    let what = arguments[0].clone();
    let ended = tokio::task::spawn_blocking(move || program().args(arguments).stderr(Stdio::inherit()).output()).await.unwrap().expect("the client starts");
    let text = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.success(), "the client failed to {what}: {text}");
    text.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn file(schema: &str) -> String {
    support::repository().join(format!("schemas/{schema}.avsc")).to_str().unwrap().to_owned()
}

/// A record of `recado.status` by its schema.
fn as_the_bank_reads_it(message: &OwnedMessage) -> Value {
    let StatusRecord { message_id, status, live, decided, route, template, event_id, source } = recado::event::records::decode_status(value(message)).unwrap();
    json!({
        "partition": message.partition(),
        "offset": message.offset(),
        "key": std::str::from_utf8(message.key().unwrap()).unwrap(),
        "status": {
            "message_id": message_id.to_string(),
            "seq": live.then_some(status.seq),
            "status": word(status.word),
            "terminal": status.word.terminal(),
            "decided": decided.millis(),
            "channel": status.channel.map(Channel::word),
            "step": status.attempt.map(|attempt| attempt.step),
            "n": status.attempt.map(|attempt| attempt.n),
            "reason": status.reason.word(),
            "provider_code": status.code,
            "provider_time": status.provider_time.map(Timestamp::millis),
            "double_delivered": status.double_delivered,
            "hold": if status.hold == Hold::No { "no" } else { "held" },
            "route": route,
            "template": template,
            "event_id": event_id,
            "source": source.map(|source| json!({ "topic": source.topic, "partition": source.partition.0, "offset": source.offset })),
        },
    })
}

/// The words of `schemas/status.avsc`, written out: the test would follow a renamed word otherwise.
fn word(word: StatusWord) -> &'static str {
    match word {
        StatusWord::Requested => "requested",
        StatusWord::Fallback => "fallback",
        StatusWord::Delivered => "delivered",
        other => panic!("{other:?} does not come about in this test"),
    }
}
