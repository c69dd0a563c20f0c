//! KAFKA-17754 with a bare client: no line of ours between librdkafka and the broker. What is observed here is why the engine does what it does.

use crate::broker::{Kafka, wait};
use crate::proxy::{ADD_OFFSETS, Deed, END_TXN, Way, short};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(20);
/// The broker's word for an EndTxn of a producer that another has replaced.
pub const INVALID_PRODUCER_EPOCH: i16 = 47;

/// How the transaction ends whose EndTxn comes late; the next one ends the other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// A late abort hits N+1, which then commits.
    A,
    /// A late commit hits N+1, which then aborts.
    B,
}

/// What was seen.
#[derive(Debug, PartialEq, Eq)]
pub struct Observed {
    /// What the broker answered to the late EndTxn.
    pub late: i16,
    /// The group's position, N having read up to 1 and N+1 up to 2.
    pub position: Option<i64>,
    /// What a reader of committed records sees.
    pub visible: Vec<String>,
}

/// The error code in an answer to EndTxn, up to version 2: behind correlation id and throttle time.
pub fn code(answer: &[u8]) -> i16 {
    short(answer, 8).expect("an answer to EndTxn has an error code")
}

/// Whether a request EndTxn commits: its last byte, up to version 2.
pub fn commits(request: &[u8]) -> bool {
    assert!(short(request, 2).is_some_and(|version| version <= 2), "librdkafka speaks an EndTxn whose last byte is no longer its verdict");
    request.last() == Some(&1)
}

/// One run. `renewed`: a new producer is made between N and N+1. Every call must succeed, which is the bug's other half.
pub fn run(kafka: &Kafka, case: Case, renewed: bool) -> Observed {
    let name = format!("bare-{case:?}{}", if renewed { "-renewed" } else { "" }).to_lowercase();
    let (from, to) = (format!("{name}.in"), format!("{name}.out"));
    kafka.create(&[&from, &to]);
    let feeder: BaseProducer = kafka.around().create().unwrap();
    for record in ["one", "two"] {
        feeder.send(BaseRecord::<(), _>::to(&from).partition(0).payload(record)).map_err(|(error, _)| error).unwrap();
    }
    feeder.flush(TIMEOUT).unwrap();
    let consumer: BaseConsumer =
        kafka.through().set("group.id", &name).set("enable.auto.commit", "false").set("auto.offset.reset", "earliest").create().unwrap();
    consumer.subscribe(&[&from]).unwrap();
    wait("the member reads", || consumer.poll(Duration::from_millis(50)).is_some_and(|read| read.is_ok_and(|read| read.offset() == 0)));

    let producer = producer(kafka, &name);
    begin(&producer, &to, "n");
    positions(&producer, &consumer, &from, 1);
    let late = kafka.proxy.next(END_TXN, Way::Request, Deed::Strand);
    end(&producer, case == Case::B);
    assert_eq!(commits(&late.met()), case == Case::B);

    let producer = if renewed {
        drop(producer);
        self::producer(kafka, &name)
    } else {
        producer
    };
    begin(&producer, &to, "n+1");
    let gate = kafka.proxy.next(ADD_OFFSETS, Way::Request, Deed::Aside);
    let late = std::thread::scope(|scope| {
        let sending = scope.spawn(|| positions(&producer, &consumer, &from, 2));
        gate.met();
        let late = code(&late.arrive());
        if late == 0 {
            kafka.settled(&to); // its markers are written: N+1 has been decided behind the client's back
        }
        gate.release();
        sending.join().unwrap();
        late
    });
    end(&producer, case == Case::A);
    kafka.settled(&to);
    let text = |message: &rdkafka::message::OwnedMessage| String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
    Observed { late, position: kafka.position(&name, &from), visible: kafka.dump(std::slice::from_ref(&to)).iter().map(text).collect() }
}

fn producer(kafka: &Kafka, name: &str) -> BaseProducer {
    let mut config = kafka.through();
    let producer: BaseProducer = config.set("transactional.id", name).set("transaction.timeout.ms", "30000").set("linger.ms", "0").create().unwrap();
    producer.init_transactions(TIMEOUT).unwrap();
    producer
}

/// Begins, and brings one record out.
fn begin(producer: &BaseProducer, to: &str, text: &str) {
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::<(), _>::to(to).partition(0).payload(text)).map_err(|(error, _)| error).unwrap();
    producer.flush(TIMEOUT).unwrap();
}

fn positions(producer: &BaseProducer, consumer: &BaseConsumer, from: &str, next: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(from, 0, Offset::Offset(next)).unwrap();
    producer.send_offsets_to_transaction(&list, &consumer.group_metadata().expect("it is a member"), TIMEOUT).unwrap();
}

fn end(producer: &BaseProducer, commit: bool) {
    if commit { producer.commit_transaction(TIMEOUT).unwrap() } else { producer.abort_transaction(TIMEOUT).unwrap() }
}
