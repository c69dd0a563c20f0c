//! One record must not stop its partition for ever: neither one at which the process dies, nor one whose outputs Kafka refuses.

use crate::bank::{self, Pix};
use crate::rig::{World, dispatches, outcome, receipt, words};
use crate::support::{self, Reader, Writer};
use rdkafka::Message;
use rdkafka::admin::ResourceSpecifier;
use rdkafka::message::{Headers, OwnedMessage};
use recado::delivery::{AttemptId, Channel, Lane, Outcome, Receipt, StatusWord};
use recado::engine::stored::Positions;
use recado::observe::health::Cause;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const PHONE: &str = "+5511987654321";

/// The second slot of the file that survives a kill -9: which record killed the process before, and how often. The first: which one it was deciding.
fn note(topic: &str, offset: i64, deaths_before: u32) -> Vec<u8> {
    let slot = |deaths: u32| {
        let length = u16::try_from(topic.len()).unwrap();
        let mut slot = [&[1], deaths.to_be_bytes().as_slice(), &offset.to_be_bytes(), &length.to_be_bytes(), topic.as_bytes()].concat();
        slot.resize(512, 0);
        slot
    };
    [slot(0), slot(deaths_before)].concat()
}

fn reason(letter: &OwnedMessage) -> String {
    let header = letter.headers().unwrap().iter().find(|header| header.key == "recado.reason").unwrap();
    String::from_utf8(header.value.unwrap().to_vec()).unwrap()
}

/// A world whose engine has begun to read and was stopped: where its note lies, and the input of Pix.
async fn started(test: &str) -> (World, PathBuf, String) {
    let world = World::new(test, 1).await;
    let settings = world.settings("a");
    let note_file = settings.state_folder.join("deciding-0");
    let engine = world.engine(settings);
    world.wait_for_start(&engine);
    engine.stop();
    let pix = world.input("pix.transactions");
    (world, note_file, pix)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_at_which_the_process_died_three_times_becomes_a_dead_letter_and_the_next_goes_out() {
    let (world, note_file, pix) = started("poison").await;
    let writer = Writer::new();
    writer.send(&pix, 0, b"customer-1", &bank::pix_received("e-poison", "customer-1", PHONE));
    writer.send(&pix, 0, b"customer-1", &bank::pix_received("e-next", "customer-1", PHONE));
    writer.flush();
    // As three processes leave it that were killed while they decided the first of the two.
    fs::write(&note_file, note(&pix, 0, 2)).unwrap();
    let engine = world.engine(world.settings("a"));
    let mut letters = Reader::new(&[(&world.topics.dead_letters, 1)]);
    letters.until("the dead letter", |read| !read.is_empty());
    assert_eq!(reason(&letters.read[0]), "poison");
    let mut sent = world.dispatches();
    sent.until("the next record's dispatch", |read| !read.is_empty());
    assert_eq!(sent.read.len(), 1);
    assert!(engine.shared.health.has(Cause::Poison), "somebody is told");
    engine.stop();

    // Two deaths are not enough.
    writer.send(&pix, 0, b"customer-1", &bank::pix_received("e-third", "customer-1", PHONE));
    writer.flush();
    fs::write(&note_file, note(&pix, 2, 1)).unwrap();
    let engine = world.engine(world.settings("a"));
    sent.until("the third record's dispatch", |read| read.len() == 2);
    engine.stop();
}

/// Two that kill, close together: the first is buried before the second is looked at, or each would be forgotten over the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_is_committed_before_anything_behind_it_is_read() {
    let (world, note_file, pix) = started("suspect").await;
    let writer = Writer::new();
    for number in 0..10 {
        writer.send(&pix, 0, b"customer-1", &bank::pix_received(&format!("e-{number}"), "customer-1", PHONE));
    }
    writer.flush();
    fs::write(&note_file, note(&pix, 3, 2)).unwrap();
    let engine = world.engine(world.settings("a"));
    let mut changelog = Reader::new(&[(&world.topics.state, 1)]);
    let positions = |read: &[OwnedMessage]| -> Vec<i64> {
        let records = read.iter().filter(|message| message.key() == Some(b"p"));
        records.map(|message| Positions::read(support::value(message)).unwrap().0.get(&pix).copied().unwrap_or(0)).collect()
    };
    changelog.until("all are decided", |read| positions(read).contains(&10));
    assert!(positions(&changelog.read).contains(&4), "the suspect ends its transaction: {:?}", positions(&changelog.read));
    let mut letters = Reader::new(&[(&world.topics.dead_letters, 1)]);
    letters.until("the dead letter", |read| !read.is_empty());
    assert_eq!(reason(&letters.read[0]), "poison");
    engine.stop();
}

/// What a suspect brings may be nothing at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_that_writes_nothing_keeps_nobody_waiting() {
    let (world, note_file, pix) = started("silent").await;
    let writer = Writer::new();
    let send = |event_id: &str| {
        writer.send(&pix, 0, b"customer-1", &bank::pix_received(event_id, "customer-1", PHONE));
        writer.flush();
    };
    send("e-once");
    let engine = world.engine(world.settings("a"));
    let mut sent = world.dispatches();
    sent.until("the first dispatch", |read| read.len() == 1);
    engine.stop();
    send("e-once");
    send("e-next");
    fs::write(&note_file, note(&pix, 1, 1)).unwrap();
    let engine = world.engine(world.settings("a"));
    // Positions alone are committed each minute.
    sent.until_within("the dispatch of the next", Duration::from_secs(30), |read| read.len() == 2);
    engine.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_outputs_kafka_refuses_becomes_a_dead_letter_and_those_around_it_go_out() {
    let world = World::new("refused", 1).await;
    let writer = Writer::new();
    let dispatches_topic = world.topics.dispatch(Channel::WhatsApp, Lane::Express).to_string();
    let engine = world.engine(world.settings("a"));
    world.wait_for_start(&engine);
    // A broker whose limit is below what the engine may write: only the record with a long name meets it.
    support::alter(ResourceSpecifier::Topic(&dispatches_topic), &[("message.timestamp.type", "LogAppendTime"), ("max.message.bytes", "1500")]).await;
    let pix = world.input("pix.transactions");
    let send = |event_id: &str, payee: &str| {
        writer.send(&pix, 0, b"customer-1", &Pix { event_id, payee, ..Pix::default() }.bytes());
    };
    send("e-before", "Joana Ferreira Lima");
    send("e-long", &"Joana ".repeat(600));
    send("e-after", "Joana Ferreira Lima");
    writer.flush();
    let mut letters = Reader::new(&[(&world.topics.dead_letters, 1)]);
    letters.until("the dead letter", |read| !read.is_empty());
    assert_eq!(reason(&letters.read[0]), "poison");
    let mut sent = world.dispatches();
    sent.until("both dispatches", |read| read.len() == 2);
    assert_eq!(dispatches(&sent.read).len(), 2);
    let mut told = world.statuses();
    told.until("both requests", |read| read.len() >= 2);
    engine.stop();
}

/// A topic of retries with a smaller limit than that of first attempts: what a receipt or a timer leads to cannot be written, and neither may become a dead letter.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_outcome_leads_to_and_kafka_refuses_keeps_its_own_partition_waiting_until_kafka_takes_it() {
    let world = World::new("refused-retry", 2).await;
    let writer = Writer::new();
    let retries = world.topics.retry(Channel::Sms, Lane::Express).to_string();
    let limit = async |bytes: &str| {
        support::alter(ResourceSpecifier::Topic(&retries), &[("message.timestamp.type", "LogAppendTime"), ("max.message.bytes", bytes)]).await;
    };
    let engine = world.engine(world.settings("a"));
    world.wait_for_start(&engine);
    limit("100").await;
    let pix = world.input("pix.transactions");
    for partition in [0, 1] {
        writer.send(&pix, partition, b"customer-1", &bank::pix_received(&format!("e-{partition}"), "customer-1", PHONE));
    }
    writer.flush();
    let mut sent = world.dispatches();
    sent.until("both first attempts", |read| read.len() == 2);
    let mut attempts: Vec<AttemptId> = dispatches(&sent.read).iter().map(|dispatch| dispatch.attempt_id).collect();
    attempts.sort_by_key(|attempt_id| attempt_id.message_id.partition().0);

    world.give_back(&writer, &outcome(attempts[0], Outcome::Rejected), 0);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !engine.shared.health.has(Cause::OutputRefused(0)) {
        assert!(Instant::now() < deadline, "nobody is told in 60 s");
        std::thread::sleep(Duration::from_millis(20));
    }
    world.give_back(&writer, &outcome(attempts[1], Outcome::Accepted), 1);
    world.give_back(&writer, &receipt(attempts[1], Receipt::Delivered), 1);
    let mut told = world.statuses();
    told.until("the other partition's end", |read| words(read).contains(&StatusWord::Delivered));
    assert_eq!(sent.read.len(), 2);

    limit("1000000").await;
    sent.until_within("the second attempt, after a minute at most", Duration::from_secs(90), |read| read.len() == 3);
    assert_eq!(dispatches(&sent.read)[2].attempt_id.message_id, attempts[0].message_id);
    // The first dead letter is that of a record which is none.
    writer.send(&pix, 0, b"customer-1", &[0, 0, 0, 0, 1]);
    writer.flush();
    let mut letters = Reader::new(&[(&world.topics.dead_letters, 2)]);
    letters.until("a dead letter", |read| !read.is_empty());
    assert_eq!(reason(&letters.read[0]), "truncated");
    engine.stop();
}
