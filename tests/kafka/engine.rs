//! The engine on real Kafka: one notification through it, and what a restart makes of it.

use crate::bank::{challenge, pix_received};
use crate::rig::{Running, World, dispatches, outcome, receipt, statuses, words};
use crate::support::Writer;
use rdkafka::Message;
use recado::delivery::Timestamp;
use recado::delivery::{Outcome, Receipt, StatusWord};
use recado::privacy::{KeyError, KeyId, KeyKind, KeyService, Pepper, Reference, Sealer, SharedKey};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
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

/// Neither the interval nor an empty queue makes the commit in these: only the batch that is full.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_committed_when_it_holds_so_many_records_or_bytes() {
    for (test, records, bytes) in [("records", 3, usize::MAX), ("bytes", usize::MAX, 1)] {
        let world = World::new(test, 1).await;
        let writer = Writer::new();
        let mut settings = world.settings("a");
        (settings.commit_interval, settings.commit_on_drain) = (Duration::from_secs(600), None);
        (settings.batch_records_max, settings.batch_bytes_max) = (records, bytes);
        let engine = world.engine(settings);
        world.wait_for_start(&engine);
        for event in ["e-1", "e-2", "e-3"] {
            writer.send(&world.input("pix.transactions"), 0, b"customer-1", &pix_received(event, "customer-1", "+5511987654321"));
        }
        // Well before the idle commit, which comes once in a minute and would carry them too.
        world.dispatches().until_within(test, Duration::from_secs(30), |read| !read.is_empty());
        engine.stop();
    }
}

/// Keys in files whose code epochs cannot be had the first few times.
struct Faltering {
    keys: Arc<dyn KeyService>,
    left: AtomicU32,
}

impl KeyService for Faltering {
    fn prepare(&self, customers: &[Reference], now: Timestamp) -> Result<(), KeyError> {
        self.keys.prepare(customers, now)
    }
    fn customer(&self, customer: Reference, now: Timestamp) -> Result<(KeyId, SharedKey), KeyError> {
        self.keys.customer(customer, now)
    }
    fn customer_by_id(&self, customer: Reference, id: KeyId) -> Result<SharedKey, KeyError> {
        self.keys.customer_by_id(customer, id)
    }
    fn epoch(&self, kind: KeyKind, at: Timestamp) -> Result<(KeyId, SharedKey), KeyError> {
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            return Err(KeyError::Unavailable);
        }
        self.keys.epoch(kind, at)
    }
    fn epoch_by_id(&self, kind: KeyKind, id: KeyId) -> Result<SharedKey, KeyError> {
        self.keys.epoch_by_id(kind, id)
    }
    fn destroy_customer(&self, customer: Reference) -> Result<(), KeyError> {
        self.keys.destroy_customer(customer)
    }
    fn destroy_past(&self, now: Timestamp) -> Result<usize, KeyError> {
        self.keys.destroy_past(now)
    }
    fn pepper(&self) -> Arc<Pepper> {
        self.keys.pepper()
    }
}

/// The hash of the event went into the deduplication window before its code was sealed: the second try met it there and took the code for a duplicate.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_cannot_be_sealed_at_once_is_sent_when_it_can() {
    let world = World::new("faltering", 1).await;
    let writer = Writer::new();
    let mut shared = Arc::into_inner(world.shared(world.settings("a"))).unwrap();
    shared.sealer = Sealer::new(Arc::new(Faltering { keys: shared.sealer.keys().clone(), left: AtomicU32::new(3) }));
    let engine = Running::start(Arc::new(shared));
    world.wait_for_start(&engine);
    writer.send(&world.input("auth.challenges"), 0, b"customer-1", &challenge("c-1", "customer-1", "+5511987654321", "481516"));
    let mut sent = world.dispatches();
    sent.until("the dispatch", |read| read.len() == 1);
    assert!(dispatches(&sent.read)[0].sealed_code.is_some());
    engine.stop();
}
