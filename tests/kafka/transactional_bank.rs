//! A bank that writes in transactions, as an outbox or a stream processor does: what it aborts never was, and each of its transactions ends with a marker, which
//! takes an offset and is no record.

use crate::bank;
use crate::rig::{World, statuses};
use crate::support::{self, Writer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use recado::delivery::StatusWord;
use std::time::Duration;

const PHONE: &str = "+5511987654321";
const WITHIN: Duration = Duration::from_secs(30);
/// What the engine grants at most to cancels that do not come: 3 s. A partition that waited for a marker would be later than one that did not by so much.
const LATER_MAX: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bank_aborts_never_was_and_a_marker_at_the_end_of_its_cancels_keeps_nobody_waiting() {
    let world = World::new("outbox", 2).await;
    let (pix, challenges, used) = (world.input("pix.transactions"), world.input("auth.challenges"), world.input("auth.codes-used"));
    let outbox = Outbox::open(&world);
    let engine = world.engine(world.settings("a"));
    world.wait_for_start(&engine);
    let mut told = world.statuses();
    outbox.write(true, &[(&pix, 0, &bank::pix_received("e-committed", "customer-1", PHONE))]);
    outbox.write(false, &[(&pix, 0, &bank::pix_received("e-aborted", "customer-1", PHONE)), (&challenges, 1, &challenge("c-aborted"))]);
    outbox.write(true, &[(&pix, 0, &bank::pix_received("e-after", "customer-1", PHONE)), (&challenges, 1, &challenge("c-after"))]);
    told.until("both that were committed, and the code", |read| read.len() == 3);
    engine.stop();

    // Two codes that are used before anybody read of them; only the second's cancel ends in a marker.
    let plain = Writer::new();
    plain.send(&challenges, 0, b"customer-1", &challenge("c-plain"));
    plain.send(&challenges, 1, b"customer-1", &challenge("c-marked"));
    plain.send(&used, 0, b"customer-1", &bank::code_used("c-plain"));
    plain.flush();
    outbox.write(true, &[(&used, 1, &bank::code_used("c-marked"))]);
    let engine = world.engine(world.settings("a"));
    world.wait_for_start(&engine);
    told.until("both that were cancelled", |read| read.len() == 5);
    engine.stop();

    let all = statuses(&told.read);
    let word = |event: &str| -> Vec<StatusWord> {
        let of_it = all.iter().filter(|status| status.event_id.as_deref() == Some(event));
        of_it.map(|status| status.status.word).collect()
    };
    for event in ["e-committed", "e-after", "c-after"] {
        assert_eq!(word(event), [StatusWord::Requested], "{event}");
    }
    for event in ["c-plain", "c-marked"] {
        assert_eq!(word(event), [StatusWord::Cancelled], "{event}");
    }
    let decided = |event: &str| all.iter().find(|status| status.event_id.as_deref() == Some(event)).unwrap().decided;
    let later = decided("c-marked").since(decided("c-plain"));
    assert!(later < LATER_MAX, "the partition whose cancels end with a marker was {later:?} later");
}

fn challenge(id: &str) -> Vec<u8> {
    bank::challenge(id, "customer-1", PHONE, "481516")
}

/// The bank's transactional producer.
struct Outbox(BaseProducer);

impl Outbox {
    fn open(world: &World) -> Self {
        let producer: BaseProducer = support::client().set("transactional.id", format!("{}outbox", world.prefix)).create().unwrap();
        producer.init_transactions(WITHIN).unwrap();
        Self(producer)
    }

    /// One transaction over these topics, partitions and values.
    fn write(&self, commit: bool, records: &[(&str, i32, &[u8])]) {
        self.0.begin_transaction().unwrap();
        for (topic, partition, value) in records {
            self.0.send(BaseRecord::to(topic).partition(*partition).key("customer-1").payload(*value)).map_err(|(error, _)| error).unwrap();
        }
        self.0.flush(WITHIN).unwrap();
        if commit { self.0.commit_transaction(WITHIN) } else { self.0.abort_transaction(WITHIN) }.unwrap();
    }
}
