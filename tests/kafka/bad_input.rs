//! What a bank should never write, and writes: each record has its reason in the dead letters or a terminal status, a metric, and the partition goes on.

use crate::bank::{self, CHALLENGE, PIX, Pix, USED};
use crate::process::Stage;
use crate::registry::Registry;
use crate::rig::{Running, World, dispatches, outcome, receipt, statuses};
use crate::support::{self, Reader, Writer};
use rdkafka::Message;
use rdkafka::admin::ResourceSpecifier;
use rdkafka::message::{Headers, OwnedMessage};
use recado::delivery::{Outcome, Partition, Reason, Receipt, SourcePosition, StatusWord};
use recado::event::dead_letter::{self, Original, Value};
use recado::event::records::StatusRecord;
use recado::simulator;
use std::collections::BTreeMap;

/// What is expected of one bad record.
enum Fate {
    /// A dead letter with this reason.
    Dead(&'static str),
    /// A dead letter of any of these reasons: random bytes may look like anything.
    DeadOfAny(&'static [&'static str]),
    /// This terminal status with this reason.
    Ends(StatusWord, Reason),
}

/// One bad record.
struct Bad {
    topic: String,
    value: Vec<u8>,
    time_ms: i64,
    fate: Fate,
}

/// A schema of the same bank with one more field, which nobody gave a class.
const WIDER: u32 = 7;
const UNKNOWN: u32 = 404;
const UNCLASSED: &str = "anotacao-interna-do-gerente";

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_record_has_its_reason_and_the_partition_goes_on() {
    let mut world = World::new("bad", 2).await;
    let registry = Registry::with(&[
        (PIX, support::file("schemas/pix_transaction.avsc")),
        (CHALLENGE, support::file("schemas/auth_challenge.avsc")),
        (USED, support::file("schemas/code_used.avsc")),
        (WIDER, wider_schema()),
    ])
    .await;
    world.schemas = std::sync::Arc::new(registry.cache.clone());
    let pix = world.input("pix.transactions");
    support::alter(ResourceSpecifier::Topic(&pix), &[("max.message.bytes", "20000000")]).await;
    let engine = world.engine(world.settings("a"));
    world.wait_for_start(&engine);
    let before = dead_letters_counted();
    let ends_before = statuses_counted();
    let fields_before = fields_counted();

    let writer = Writer::new();
    let all = bad_records(&world);
    for (at, bad) in all.iter().enumerate() {
        writer.send_of(&bad.topic, 1, b"customer-1", &bad.value, bad.time_ms);
        // The good one behind it, on the same partition of the same topic.
        let good = format!("good-{at}");
        let value = if bad.topic == pix { bank::pix_received(&good, "customer-1", PHONE) } else { bank::challenge(&good, "customer-1", PHONE, "481516") };
        writer.send(&bad.topic, 1, b"customer-1", &value);
    }
    // Nobody gave this field a class: the message goes out without it.
    writer.send(&pix, 1, b"customer-1", &bank::framed(WIDER, &bank::datum(&wider_schema(), wider_value())));
    writer.flush();

    let mut told = world.statuses();
    let ends: Vec<_> = all.iter().filter(|bad| matches!(bad.fate, Fate::Ends(..))).collect();
    let goods = all.len() + 1;
    deliver_all(&world, &writer, goods);
    told.until("every end", |read| read.iter().filter(|message| ended(message)).count() == goods + ends.len());
    let told = statuses(&told.read);
    for at in 0..all.len() {
        assert_eq!(end_of(&told, &format!("good-{at}")), (StatusWord::Delivered, Reason::None), "the good record behind {at}");
    }
    assert_eq!(end_of(&told, "wider"), (StatusWord::Delivered, Reason::None));
    assert!(fields_counted() > fields_before, "the metric of fields without a class");
    for bad in &ends {
        let Fate::Ends(word, reason) = bad.fate else { unreachable!("they were chosen so") };
        assert!(told.iter().any(|record| record.status.word == word && record.status.reason == reason), "{word:?} {reason:?}");
        let key = (word.word().to_owned(), reason.word().to_owned());
        let counted = |counts: &BTreeMap<_, u64>| counts.get(&key).copied().unwrap_or(0);
        assert!(counted(&statuses_counted()) > counted(&ends_before), "the metric of {key:?}");
    }
    assert_eq!(told.iter().filter(|record| record.status.word.terminal()).count(), goods + ends.len());
    check_dead_letters(&world, &engine, &all, &before);
    engine.stop();
}

const PHONE: &str = "+5511987654321";

fn bad_records(world: &World) -> Vec<Bad> {
    let (pix, challenges) = (world.input("pix.transactions"), world.input("auth.challenges"));
    let good = bank::pix_received("cut", "customer-1", PHONE);
    let now = bank::now_ms();
    let bad = |value: Vec<u8>, fate| Bad { topic: pix.clone(), value, time_ms: now, fate };
    let mut random = Random(0x5eed);
    let mut all = vec![
        bad([&[7], &good[1..]].concat(), Fate::Dead("wrong_magic")),
        bad(bank::framed(UNKNOWN, &good[5..]), Fate::Dead("unknown_schema")),
        bad([&[0xc3, 0x01, 1, 2, 3, 4, 5, 6, 7, 8], &good[5..]].concat(), Fate::Dead("unknown_schema")),
        bad([good.as_slice(), &[0]].concat(), Fate::Dead("trailing")),
        bad([&good[..5], &vec![0x55; 10_000_000]].concat(), Fate::Dead("too_large")),
        bad(Pix { event_id: "negative", centavos: -1, ..Pix::default() }.bytes(), Fate::Dead("negative_amount")),
        bad(replaced(&good, b"customer-1", b"customer-\xff"), Fate::Dead("invalid_utf8")),
        bad(Pix { event_id: "11987654321", ..Pix::default() }.bytes(), Fate::Dead("personal_event_id")),
        bad(Pix { event_id: "nobody", phone: None, ..Pix::default() }.bytes(), Fate::Ends(StatusWord::Failed, Reason::Unreachable)),
        Bad { time_ms: now - 16 * 60_000, ..bad(Pix { event_id: "old", ..Pix::default() }.bytes(), Fate::Ends(StatusWord::Expired, Reason::Expired)) },
        Bad { topic: challenges.clone(), ..bad(bank::challenge("short", "customer-1", PHONE, "123"), Fate::Ends(StatusWord::Failed, Reason::CodeShape)) },
        // A dead letter of an input with codes is sealed for minutes only.
        Bad { topic: challenges.clone(), ..bad(bank::challenge("cut", "customer-1", PHONE, "481516")[..30].to_vec(), Fate::Dead("truncated")) },
        bad(Vec::new(), Fate::Dead("truncated")),
    ];
    for cut in [3, 5, 6, good.len() / 2, good.len() - 1] {
        all.push(bad(good[..cut].to_vec(), Fate::Dead("truncated")));
    }
    for length in [1, 9, 40, 200, 4_000] {
        // No zero and no 0xc3 in front, or it might be the beginning of something.
        let bytes = random.bytes(length);
        all.push(bad([&[0x80 | (bytes[0] & 0x3f)], &bytes[1..]].concat(), Fate::Dead("wrong_magic")));
        all.push(bad(
            [&good[..5], &bytes].concat(),
            Fate::DeadOfAny(&["truncated", "trailing", "not_avro", "invalid_utf8", "event_id_shape", "missing_customer", "time_shape", "too_large"]),
        ));
    }
    all
}

/// Plays dispatcher and gateway for so many first dispatches.
fn deliver_all(world: &World, writer: &Writer, count: usize) {
    let mut sent = world.dispatches();
    let mut done = 0;
    sent.until("all good records' dispatches", |read| {
        for dispatch in dispatches(&read[done..]) {
            assert!(!dispatch.sealed.windows(UNCLASSED.len()).any(|part| part == UNCLASSED.as_bytes()));
            world.give_back(writer, &outcome(dispatch.attempt_id, Outcome::Accepted), 1);
            world.give_back(writer, &receipt(dispatch.attempt_id, Receipt::Delivered), 1);
        }
        done = read.len();
        done == count
    });
}

fn check_dead_letters(world: &World, engine: &Running, all: &[Bad], before: &BTreeMap<String, u64>) {
    let dead: Vec<&Bad> = all.iter().filter(|bad| !matches!(bad.fate, Fate::Ends(..))).collect();
    let mut letters = Reader::new(&[(&world.topics.dead_letters, world.partitions)]);
    letters.until("every dead letter", |read| read.len() >= dead.len());
    assert_eq!(letters.read.len(), dead.len());
    let mut reasons = BTreeMap::<String, u64>::new();
    // Within one topic they come in the order in which they were written.
    for topic in [world.input("pix.transactions"), world.input("auth.challenges")] {
        let of_topic = letters.read.iter().filter(|letter| header(letter, "__streams.errors.topic") == topic);
        for (letter, bad) in of_topic.zip(dead.iter().filter(|bad| bad.topic == topic)) {
            let reason = header(letter, "recado.reason");
            match bad.fate {
                Fate::Dead(expected) => assert_eq!(reason, expected),
                Fate::DeadOfAny(expected) => assert!(expected.contains(&reason.as_str()), "{reason}"),
                Fate::Ends(..) => unreachable!("they were left out"),
            }
            assert_eq!((letter.key(), letter.partition()), (None, 1));
            check_content(engine, letter, bad);
            *reasons.entry(reason).or_default() += 1;
        }
    }
    assert_eq!(reasons.values().sum::<u64>(), u64::try_from(dead.len()).unwrap());
    let after = dead_letters_counted();
    for (reason, count) in reasons {
        // Other tests of this program may count too.
        assert!(after[&reason] - before.get(&reason).copied().unwrap_or(0) >= count, "the metric of {reason}");
    }
}

/// The original rests sealed: not in clear, and whole.
fn check_content(engine: &Running, letter: &OwnedMessage, bad: &Bad) {
    let value = support::value(letter);
    let source = SourcePosition {
        topic: header(letter, "__streams.errors.topic"),
        partition: Partition(header(letter, "__streams.errors.partition").parse().unwrap()),
        offset: header(letter, "__streams.errors.offset").parse().unwrap(),
    };
    match dead_letter::read_value(value).unwrap() {
        Value::Sealed(sealed) => {
            let opened = engine.shared.sealer.open_dead_letter(&dead_letter::coordinates(&source), &sealed).unwrap();
            let original = dead_letter::read_plain(opened.expose()).unwrap();
            assert!(original == Original { key: Some(b"customer-1"), value: Some(&bad.value) }, "the original record is whole");
            assert!(!value.windows(10).any(|part| part == b"customer-1"), "the key is not in clear");
        }
        Value::Digest(digest) => assert_eq!(digest.length, u64::try_from(bad.value.len()).unwrap()),
    }
}

fn header(letter: &OwnedMessage, name: &str) -> String {
    let header = letter.headers().unwrap().iter().find(|header| header.key == name).unwrap();
    String::from_utf8(header.value.unwrap().to_vec()).unwrap()
}

fn ended(message: &OwnedMessage) -> bool {
    recado::event::records::decode_status(support::value(message)).unwrap().status.word.terminal()
}

fn end_of(told: &[StatusRecord], event_id: &str) -> (StatusWord, Reason) {
    let ends: Vec<_> = told.iter().filter(|record| record.event_id.as_deref() == Some(event_id) && record.status.word.terminal()).collect();
    assert_eq!(ends.len(), 1, "the ends of {event_id}");
    (ends[0].status.word, ends[0].status.reason)
}

fn dead_letters_counted() -> BTreeMap<String, u64> {
    counted("recado_dead_letters_total")
}

/// Fields without a class that records of the Pix input had.
fn fields_counted() -> u64 {
    counted("recado_fields_dropped_total").get("pix").copied().unwrap_or(0)
}

/// Statuses by word and reason.
fn statuses_counted() -> BTreeMap<(String, String), u64> {
    counted_by("recado_statuses_total", |labels| (labels["status"].clone(), labels["reason"].clone()))
}

/// A counter by the value of its only label.
fn counted(name: &str) -> BTreeMap<String, u64> {
    counted_by(name, |labels| labels.into_values().next().unwrap())
}

/// A counter by what is made of its labels.
fn counted_by<K: Ord>(name: &str, key: impl Fn(BTreeMap<String, String>) -> K) -> BTreeMap<K, u64> {
    let families = recado::observe::registry().gather();
    let family = families.iter().find(|family| family.name() == name);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter of whole things in a test")]
    family
        .iter()
        .flat_map(|family| family.get_metric())
        .map(|metric| {
            let labels = metric.get_label().iter().map(|label| (label.name().to_owned(), label.value().to_owned())).collect();
            (key(labels), metric.get_counter().get_value() as u64)
        })
        .collect()
}

fn wider_schema() -> String {
    let schema = support::file("schemas/pix_transaction.avsc");
    let last = schema.rfind(']').unwrap();
    format!(r#"{}, {{ "name": "internal_note", "type": "string" }} {}"#, &schema[..last], &schema[last..])
}

fn wider_value() -> apache_avro::types::Value {
    let apache_avro::types::Value::Record(mut fields) = (Pix { event_id: "wider", ..Pix::default() }).value() else { unreachable!("it is a record") };
    fields.push(("internal_note".into(), apache_avro::types::Value::String(UNCLASSED.into())));
    apache_avro::types::Value::Record(fields)
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|part| part == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

/// xorshift64: the same bytes in each run.
struct Random(u64);

impl Random {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count)
            .map(|_| {
                self.0 ^= self.0 << 13;
                self.0 ^= self.0 >> 7;
                self.0 ^= self.0 << 17;
                self.0.to_be_bytes()[3]
            })
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_event_twice_is_one_notification_and_a_cancel_counts_before_and_after_its_request() {
    let world = World::new("twice", 1).await;
    let writer = Writer::new();
    let engine = world.engine(world.settings("a"));
    world.wait_for_start(&engine);
    let before = counted("recado_duplicate_events_total").get("pix").copied().unwrap_or(0);
    let (pix, challenges, used) = (world.input("pix.transactions"), world.input("auth.challenges"), world.input("auth.codes-used"));
    let mut sent = world.dispatches();
    let mut told = world.statuses();
    let mut state = Reader::new(&[(&world.topics.state, 1)]);

    for _ in 0..3 {
        writer.send(&pix, 0, b"customer-1", &bank::pix_received("e-1", "customer-1", PHONE));
    }
    writer.send(&pix, 0, b"customer-1", &bank::pix_received("e-2", "customer-1", PHONE));
    // The cancel comes first; that the engine has taken it shows in its state: an entry of kind x.
    writer.send(&used, 0, b"customer-1", &bank::code_used("c-before"));
    state.until("the cancel that came first", |read| read.iter().any(|message| message.key().is_some_and(|key| key.first() == Some(&b'x'))));
    writer.send(&challenges, 0, b"customer-1", &bank::challenge("c-before", "customer-1", PHONE, "481516"));
    writer.send(&challenges, 0, b"customer-1", &bank::challenge("c-after", "customer-1", PHONE, "481516"));
    sent.until("the dispatches", |read| read.len() == 3);
    writer.send(&used, 0, b"customer-1", &bank::code_used("c-after"));
    told.until("both cancels", |read| read.len() >= 4 && statuses(read).iter().filter(|record| record.status.word == StatusWord::Cancelled).count() == 2);

    let told = statuses(&told.read);
    let words =
        |event_id: &str| -> Vec<_> { told.iter().filter(|record| record.event_id.as_deref() == Some(event_id)).map(|record| record.status.word).collect() };
    assert_eq!(words("e-1"), [StatusWord::Requested]);
    assert_eq!(words("e-2"), [StatusWord::Requested]);
    assert_eq!(words("c-before").last(), Some(&StatusWord::Cancelled));
    assert_eq!(words("c-after"), [StatusWord::Requested, StatusWord::Cancelled]);
    assert_eq!(counted("recado_duplicate_events_total")["pix"] - before, 2);
    let templates: Vec<_> = dispatches(&sent.read).into_iter().map(|dispatch| dispatch.template).collect();
    assert_eq!(templates.iter().filter(|template| *template == "codigo").count(), 1, "the code that was withdrawn first was never sent");
    engine.stop();
}

const OTHERS_WITHDRAWN: usize = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_withdrawn_while_the_engine_was_away_is_never_sent() {
    let world = World::new("withdrawn", 1).await;
    let writer = Writer::new();
    let engine = world.engine(world.settings("a"));
    world.wait_for_start(&engine);
    engine.stop();
    let (challenges, used) = (world.input("auth.challenges"), world.input("auth.codes-used"));
    for code in ["c-1", "c-2", "c-3"] {
        writer.send(&challenges, 0, b"customer-1", &bank::challenge(code, "customer-1", PHONE, "481516"));
    }
    writer.flush();
    // Many before them: the requests are fetched long before the last of what was withdrawn.
    for other in 0..OTHERS_WITHDRAWN {
        writer.send(&used, 0, b"customer-2", &bank::code_used(&format!("other-{other}")));
    }
    for code in ["c-1", "c-3"] {
        writer.send(&used, 0, b"customer-1", &bank::code_used(code));
    }
    writer.flush();
    let engine = world.engine(world.settings("a"));
    let mut told = world.statuses();
    told.until("an end or a beginning for each", |read| read.len() >= 3);
    let mut sent = world.dispatches();
    sent.until("the dispatch of the one that was not withdrawn", |read| !read.is_empty());
    engine.stop();
    let told = statuses(&told.read);
    let words =
        |event_id: &str| -> Vec<_> { told.iter().filter(|record| record.event_id.as_deref() == Some(event_id)).map(|record| record.status.word).collect() };
    assert_eq!((words("c-1"), words("c-2"), words("c-3")), (vec![StatusWord::Cancelled], vec![StatusWord::Requested], vec![StatusWord::Cancelled]));
    assert_eq!(dispatches(&sent.read).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_landline_is_called_after_whatsapp_and_sms_refused_it() {
    let stage = Stage::new("landline", 1, simulator::Settings::default()).await;
    let mut instance = stage.start(&stage.config("a", stage.gateway_port, ""), "engine,dispatcher,gateway");
    instance.ready().await;
    let writer = Writer::new();
    let pix = stage.input("pix.transactions");
    writer.send(&pix, 0, b"customer-1", &Pix { event_id: "e-1", phone: Some("+551133334444"), sent: true, ..Pix::default() }.bytes());
    writer.send(&pix, 0, b"customer-2", &bank::pix_received("behind", "customer-2", PHONE));
    writer.flush();
    let mut told = stage.statuses();
    told.until("both ends", |read| read.iter().filter(|message| ended(message)).count() == 2);
    let (behind, told): (Vec<_>, Vec<_>) = statuses(&told.read).into_iter().partition(|record| record.event_id.as_deref() == Some("behind"));
    assert_eq!(behind.last().unwrap().status.word, StatusWord::Delivered, "the partition goes on");
    let reasons: Vec<_> = told.iter().filter(|record| record.status.word == StatusWord::Fallback).map(|record| record.status.reason).collect();
    assert_eq!(reasons, [Reason::Landline, Reason::Landline]);
    assert_eq!(told.last().unwrap().status.word, StatusWord::Delivered);
    let calls: Vec<_> = stage.calls().into_iter().filter(|call| call.to == "551133334444").map(|call| call.channel).collect();
    assert_eq!(calls, [simulator::Channel::Voice], "no provider was asked for what cannot work");
    for (from, to) in [("whatsapp", "sms"), ("sms", "voice")] {
        let fallbacks = format!("recado_fallbacks_total{{from=\"{from}\",reason=\"landline\",to=\"{to}\"}}");
        assert!(instance.metric(&fallbacks).await > 0.0, "{fallbacks}");
    }
    instance.stop();
}
