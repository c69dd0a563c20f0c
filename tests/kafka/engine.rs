//! The engine on real Kafka: one notification through it, and what a restart makes of it.

use crate::bank::pix_received;
use crate::rig::{World, dispatches, outcome, receipt, statuses, words};
use crate::support::Writer;
use rdkafka::Message;
use recado::delivery::{Outcome, Receipt, StatusWord};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_pix_record_becomes_a_dispatch_and_its_receipt_a_delivered_status() {
    let world = World::new("spine", 3).await;
    let writer = Writer::new();
    let engine = world.engine(world.settings("a"));
    let mut sent = world.dispatches();
    let mut told = world.statuses();

    // The engine begins at an input's end: the record must come after it has joined.
    world.wait_for_start(&engine);
    writer.send(&world.input("pix.transactions"), 2, b"customer-1", &pix_received("e-1", "customer-1", "+5511987654321"));
    sent.until("the first dispatch", |read| read.len() == 1);
    let dispatch = dispatches(&sent.read).remove(0);
    assert_eq!(dispatch.attempt_id.message_id.partition().0, 2, "the home partition is the record's");
    assert_eq!(dispatch.template, "pix_recebido");

    world.give_back(&writer, &outcome(dispatch.attempt_id, Outcome::Accepted), 2);
    world.give_back(&writer, &receipt(dispatch.attempt_id, Receipt::Sent), 2);
    world.give_back(&writer, &receipt(dispatch.attempt_id, Receipt::Delivered), 2);
    told.until("the end", |read| words(read).contains(&StatusWord::Delivered));
    assert_eq!(words(&told.read), [StatusWord::Requested, StatusWord::Sent, StatusWord::Delivered]);
    let all = statuses(&told.read);
    assert_eq!(all.iter().map(|record| record.status.seq).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(all[2].event_id.as_deref(), Some("e-1"));
    assert_eq!(told.read[0].key(), Some(b"customer-1".as_slice()));
    engine.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_receipt_the_delivery_falls_back_after_its_wait_also_over_a_restart() {
    let mut world = World::new("fallback", 2).await;
    world.hurry = 20; // 33 s become 1.65 s
    let writer = Writer::new();
    let engine = world.engine(world.settings("a"));
    world.wait_for_start(&engine);
    let mut sent = world.dispatches();
    writer.send(&world.input("pix.transactions"), 1, b"customer-1", &pix_received("e-1", "customer-1", "+5511987654321"));
    sent.until("the first dispatch", |read| read.len() == 1);
    let first = dispatches(&sent.read).remove(0);
    world.give_back(&writer, &outcome(first.attempt_id, Outcome::Accepted), 1);
    let mut told = world.statuses();
    told.until("the request's status", |read| words(read).contains(&StatusWord::Requested));
    engine.stop();

    let engine = world.engine(world.settings("a"));
    let heart = world.heart(&writer);
    sent.until_within("the fallback", Duration::from_secs(90), |read| read.len() == 2);
    let second = dispatches(&sent.read).remove(1);
    assert_eq!((second.attempt_id.attempt.step, second.attempt_id.attempt.n), (2, 1));
    assert_eq!(second.attempt_id.message_id, first.attempt_id.message_id);
    world.give_back(&writer, &outcome(second.attempt_id, Outcome::Accepted), 1);
    world.give_back(&writer, &receipt(second.attempt_id, Receipt::Delivered), 1);
    told.until("the end", |read| words(read).contains(&StatusWord::Delivered));
    assert_eq!(words(&told.read), [StatusWord::Requested, StatusWord::Fallback, StatusWord::Delivered]);
    drop(heart);
    engine.stop();
}
