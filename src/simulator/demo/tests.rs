//! The demo against a Kafka stand-in, with the test in the place of Recado.

use super::told::Told;
use super::*;
use crate::privacy::{PhoneKind, PhoneNumber};
use apache_avro::types::Value;
use rdkafka::Message as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn told(event_id: &str, seq: i32, status: &str, channel: &str, decided: i64) -> Told {
    Told {
        message_id: "00".into(),
        seq: Some(seq),
        status: status.into(),
        terminal: ["delivered", "failed", "expired", "cancelled", "unconfirmed"].contains(&status),
        decided,
        channel: Some(channel.to_owned()),
        reason: "none".into(),
        provider_code: 0,
        double_delivered: false,
        event_id: Some(event_id.to_owned()),
    }
}

fn because(reason: &str, provider_code: i64, told: Told) -> Told {
    Told { reason: reason.into(), provider_code, ..told }
}

/// The statuses that Recado would write for a notification, by its story, and the channel that delivers.
fn history(it: &Planned) -> Vec<Told> {
    let id = &it.event_id;
    let begin = told(id, 0, "requested", "whatsapp", 0);
    let sms = |reason, at| because(reason, 0, told(id, 1, "fallback", "sms", at));
    match it.story {
        Story::WhatsApp | Story::Throttled | Story::AnswerLost => vec![begin, told(id, 1, "sent", "whatsapp", 200), told(id, 2, "delivered", "whatsapp", 900)],
        Story::Sms => vec![begin, sms("timer", 33_000), told(id, 2, "delivered", "sms", 41_000)],
        Story::SmsAtOnce => vec![begin, sms("failed", 1_000), told(id, 2, "delivered", "sms", 2_000)],
        Story::SmsAfterUnknown => vec![begin, sms("unknown", 33_000), told(id, 2, "delivered", "sms", 34_000)],
        Story::Voice => {
            vec![begin, sms("timer", 33_000), because("failed", 30_003, told(id, 2, "fallback", "voice", 34_000)), told(id, 3, "delivered", "voice", 45_000)]
        }
        Story::Doubled => {
            vec![begin, sms("timer", 33_000), Told { double_delivered: true, ..told(id, 2, "delivered", "whatsapp", 49_000) }]
        }
        Story::Failed => vec![begin, sms("failed", 1_000), because("failed", 30_003, told(id, 2, "failed", "sms", 2_000))],
        Story::Expired => vec![begin, because("expired", 0, told(id, 1, "expired", "whatsapp", 33_000))],
        Story::Cancelled => vec![begin, because("cancelled", 0, told(id, 1, "cancelled", "whatsapp", 8_000))],
        Story::Unconfirmed => vec![begin, sms("timer", 33_000), because("timer", 0, told(id, 2, "unconfirmed", "sms", 63_000))],
    }
}

fn tallied(plan: &Plan) -> Tally {
    let mut tally = Tally::new(plan);
    for told in plan.notifications.iter().flat_map(history) {
        tally.hear(&told, Some(told.decided));
    }
    tally
}

#[test]
fn the_default_demo_has_200_customers_and_every_story_and_the_same_seed_gives_the_same_one() {
    let plan = Plan::of_run(1, "a");
    assert_eq!(plan.notifications.len(), 200);
    let numbers: BTreeSet<_> = plan.notifications.iter().map(|it| &it.phone).collect();
    let ids: BTreeSet<_> = plan.notifications.iter().map(|it| &it.event_id).collect();
    let stories: BTreeSet<_> = plan.notifications.iter().map(|it| it.story).collect();
    assert_eq!((numbers.len(), ids.len(), stories.len(), plan.script().phones.len()), (200, 200, 12, 200));
    assert!(plan.notifications.iter().all(|it| it.phone.len() == 13 && it.phone.as_bytes()[4] == b'9'));
    let mobile = |it: &Planned| PhoneNumber::parse(&format!("+{}", it.phone)).is_some_and(|it| it.kind() == PhoneKind::Mobile);
    assert!(plan.notifications.iter().all(mobile));
    assert!(plan.notifications.iter().any(|it| it.used_after.is_some() && it.story == Story::WhatsApp), "some codes are used after they arrived");
    let of = |seed| Plan::of_run(seed, "a").notifications.into_iter().map(|it| (it.kind, it.story, it.phone, it.code)).collect::<Vec<_>>();
    assert!(of(1) == of(1) && of(1) != of(2));
    assert_ne!(Plan::of_run(1, "a").notifications[0].event_id, Plan::of_run(1, "b").notifications[0].event_id);
}

#[test]
fn each_fallback_is_told_as_a_story_and_a_plain_delivery_is_not() {
    let plan = Plan::of_run(1, "a");
    let mut tally = Tally::new(&plan);
    let mut story_of = |story: Story, kind: Kind| {
        let it = plan.notifications.iter().find(|it| it.story == story && it.kind == kind).unwrap();
        let told = history(it).iter().filter_map(|told| tally.hear(told, None)).collect::<Vec<_>>().join("\n");
        told.replace(&it.short_name(), "NAME")
    };
    assert_eq!(story_of(Story::WhatsApp, Kind::Bill), "");
    assert_eq!(story_of(Story::Sms, Kind::Code), "Código para NAME: WhatsApp silent for 33.0 s → SMS → delivered after 41.0 s");
    assert_eq!(
        story_of(Story::Voice, Kind::PixSent),
        "Pix enviado para NAME: WhatsApp silent for 33.0 s → SMS cannot deliver it (30003) → call → delivered after 45.0 s"
    );
    assert_eq!(
        story_of(Story::Doubled, Kind::PixReceived),
        "Pix recebido para NAME: WhatsApp silent for 33.0 s → SMS → WhatsApp arrives after all, after 49.0 s: perhaps delivered twice"
    );
    assert_eq!(story_of(Story::Failed, Kind::Bill), "Fatura para NAME: WhatsApp cannot deliver it → SMS → FAILED after 2.0 s: cannot deliver it (30003)");
    assert_eq!(story_of(Story::Expired, Kind::Code), "Código para NAME: WhatsApp → EXPIRED after 33.0 s: nothing more is sent");
    assert_eq!(story_of(Story::Cancelled, Kind::Code), "Código para NAME: WhatsApp → CANCELLED after 8.0 s: the code was used");
    assert!(story_of(Story::Unconfirmed, Kind::PixReceived).contains("UNCONFIRMED after 63.0 s"));
}

#[test]
fn the_table_counts_every_notification_once() {
    let plan = Plan::of_run(1, "a");
    let mut tally = tallied(&plan);
    // Told again, as after a crash of Recado: of equal seq nothing is counted twice.
    plan.notifications.iter().flat_map(history).for_each(|told| assert_eq!(tally.hear(&told, None), None));
    assert_eq!((tally.faults(), tally.ended()), (Vec::new(), 200));
    let text = table(&tally, "waits are real.", "make test");
    let numbers =
        |word: &str| text.lines().find(|line| line.trim_start().starts_with(word)).and_then(|line| line.split_whitespace().find_map(|it| it.parse().ok()));
    let stories = |of: &[Story]| plan.notifications.iter().filter(|it| of.contains(&it.story)).count();
    let whatsapp = stories(&[Story::WhatsApp, Story::Throttled, Story::AnswerLost, Story::Doubled]);
    let ends: Vec<Option<usize>> = ["delivered", "unconfirmed", "failed", "expired", "cancelled"].map(&numbers).into();
    assert_eq!(ends.iter().flatten().sum::<usize>(), 200, "{text}");
    assert_eq!((numbers("by whatsapp"), numbers("double_delivered"), numbers("sum")), (Some(whatsapp), Some(4), Some(200)));
    assert!(text.contains("make test") && text.contains("Every notification ended exactly once"));
}

#[test]
fn whatever_is_missing_or_told_twice_is_a_fault() {
    let plan = Plan::of_run(1, "a");
    let faults = |change: &dyn Fn(&Planned, &mut Vec<Told>)| {
        let mut tally = Tally::new(&plan);
        for it in &plan.notifications {
            let mut history = history(it);
            change(it, &mut history);
            history.iter().for_each(|told| drop(tally.hear(told, None)));
        }
        tally.faults().join("\n")
    };
    let first = plan.notifications[0].event_id.clone();
    let last = |it: &Planned, history: &mut Vec<Told>| (it.event_id == first).then(|| history.pop().unwrap());
    assert!(faults(&|it, told| drop(last(it, told))).contains(&format!("{first} (")));
    assert!(
        faults(&|it, told| if let Some(end) = last(it, told) {
            told.extend([Told { seq: Some(9), ..end.clone() }, end])
        })
        .contains("2 terminal")
    );
    assert!(
        faults(&|it, told| if it.event_id == first {
            drop(told.remove(0))
        })
        .contains("gap")
    );
    for (story, word) in [(Story::Voice, "voice"), (Story::Expired, "expired"), (Story::Failed, "failed"), (Story::Cancelled, "cancelled")] {
        let as_sms = |it: &Planned, told: &mut Vec<Told>| {
            if it.story == story {
                *told = history(&Planned { story: Story::Sms, ..it.clone() });
            }
        };
        assert!(faults(&as_sms).contains(word), "{word}");
    }
    let single = |_: &Planned, told: &mut Vec<Told>| told.iter_mut().for_each(|it| it.double_delivered = false);
    assert!(faults(&single).contains("double_delivered"));
}

/// A status as the published schema has it, in single-object encoding.
fn encoded(told: &Told) -> Vec<u8> {
    let schema = apache_avro::Schema::parse_str(include_str!("../../../schemas/status.avsc")).unwrap();
    let text = |text: &str| Value::String(text.to_owned());
    let maybe = |value: Option<Value>| value.map_or(Value::Union(0, Box::new(Value::Null)), |it| Value::Union(1, Box::new(it)));
    let words = ["requested", "sent", "delivered", "read", "fallback", "retried", "failed", "expired", "cancelled", "unconfirmed", "late", "other"];
    let word = words.iter().position(|it| *it == told.status).unwrap();
    let fields = [
        ("message_id", text(&told.message_id)),
        ("seq", maybe(told.seq.map(Value::Int))),
        ("status", Value::Enum(word.try_into().unwrap(), told.status.clone())),
        ("terminal", Value::Boolean(told.terminal)),
        ("decided", Value::TimestampMillis(told.decided)),
        ("channel", maybe(told.channel.as_deref().map(text))),
        ("step", maybe(Some(Value::Int(1)))),
        ("n", maybe(Some(Value::Int(1)))),
        ("reason", text(&told.reason)),
        ("provider_code", Value::Long(told.provider_code)),
        ("provider_time", maybe(None)),
        ("double_delivered", Value::Boolean(told.double_delivered)),
        ("hold", text("no")),
        ("route", text("r")),
        ("template", text("t")),
        ("event_id", maybe(told.event_id.as_deref().map(text))),
        ("source", maybe(None)),
    ];
    let value = Value::Record(fields.map(|(name, value)| (name.to_owned(), value)).into());
    [b"\xC3\x01\0\0\0\0\0\0\0\0".to_vec(), apache_avro::writer::datum::GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap()]
        .concat()
}

#[test]
fn a_status_is_read_in_both_framings_and_nothing_else_is() {
    let status = Told { double_delivered: true, ..because("timer", 7, told("e", 3, "delivered", "sms", 1_700_000_000_123)) };
    let bytes = encoded(&status);
    assert_eq!(super::told::read(&bytes), Some(status.clone()));
    assert_eq!(super::told::read(&[&[0, 0, 0, 0, 9][..], &bytes[10..]].concat()), Some(status));
    assert!([&b""[..], b"\xC3\x01", b"{}", &bytes[..20]].into_iter().all(|bad| super::told::read(bad).is_none()));
}

async fn stand_in() -> (Kafka, Topics) {
    let address = noida::kafka::spawn("127.0.0.1:0").unwrap();
    let kafka = Kafka { bootstrap: address.to_string(), ..Kafka::default() };
    let topics = Topics::default();
    let admin: AdminClient<_> = kafka.config().create().unwrap();
    let names = [&topics.pix, &topics.codes, &topics.codes_used, &topics.bills, &topics.status];
    let new = names.map(|name| NewTopic::new(name, 4, TopicReplication::Fixed(1)));
    for made in admin.create_topics(&new, &AdminOptions::new()).await.unwrap() {
        made.unwrap();
    }
    (kafka, topics)
}

#[derive(serde::Deserialize)]
struct Challenge<'a> {
    challenge_id: &'a str,
    code: &'a str,
    expires_at: i64,
}

#[derive(serde::Deserialize)]
struct CodeUsed<'a> {
    challenge_id: &'a str,
}

#[tokio::test]
async fn the_bank_writes_each_record_once_and_a_used_code_beside_its_challenge() {
    let (kafka, topics) = stand_in().await;
    let plan = Plan::of_run(1, "a");
    let (asked, pace) = (Asked::default(), Pace { factor: 0.001, span: Duration::from_millis(200) });
    produce(&plan, &kafka, &topics, pace, &asked, &CancellationToken::new()).await.unwrap();
    assert_eq!(asked.lock().unwrap().len(), 200);
    let mut config = kafka.config();
    config.set("group.id", "test").set("auto.offset.reset", "earliest");
    let reader: StreamConsumer = config.create().unwrap();
    reader.subscribe(&[&topics.pix, &topics.codes, &topics.codes_used, &topics.bills]).unwrap();
    let used = plan.notifications.iter().filter(|it| it.used_after.is_some()).count();
    let schema = |text: &str| text.parse::<serde_avro_fast::Schema>().unwrap();
    let (challenge, code_used) = (schema(include_str!("../../../schemas/auth_challenge.avsc")), schema(include_str!("../../../schemas/code_used.avsc")));
    let (pix, bill) = (schema(include_str!("../../../schemas/pix_transaction.avsc")), schema(include_str!("../../../schemas/billing_invoice.avsc")));
    let (mut places, mut counts) = (std::collections::BTreeMap::new(), std::collections::BTreeMap::<String, usize>::new());
    for _ in 0..200 + used {
        let record = tokio::time::timeout(Duration::from_secs(20), reader.recv()).await.expect("a record within 20 s").unwrap();
        *counts.entry(record.topic().to_owned()).or_default() += 1;
        let bytes = record.payload().unwrap();
        let challenge_id = if record.topic() == topics.codes {
            let read: Challenge<'_> = serde_avro_fast::from_single_object_slice(bytes, &challenge).unwrap();
            assert!(read.code.len() == 6 && read.expires_at > 1_700_000_000_000);
            read.challenge_id
        } else if record.topic() == topics.codes_used {
            serde_avro_fast::from_single_object_slice::<CodeUsed<'_>>(bytes, &code_used).unwrap().challenge_id
        } else {
            let schema = if record.topic() == topics.bills { &bill } else { &pix };
            let _: serde::de::IgnoredAny = serde_avro_fast::from_single_object_slice(bytes, schema).unwrap();
            continue;
        };
        places.entry(challenge_id.to_owned()).or_insert_with(Vec::new).push(record.partition());
    }
    let expected = [(topics.pix.clone(), 120), (topics.codes.clone(), 50), (topics.codes_used.clone(), used), (topics.bills.clone(), 30)];
    assert_eq!(counts, expected.into());
    let pairs: Vec<_> = places.values().filter(|partitions| partitions.len() == 2).collect();
    assert!(pairs.len() == used && pairs.iter().all(|pair| pair[0] == pair[1]), "a code and its use lie in one partition");
}

#[tokio::test]
async fn the_reader_tells_what_happens_after_it_was_opened_and_ends_when_all_have_ended() {
    let (kafka, topics) = stand_in().await;
    let plan = Plan::of_run(1, "a");
    let producer: FutureProducer = kafka.config().create().unwrap();
    let write = async |told: &Told| {
        let (key, bytes) = (told.event_id.clone().unwrap(), encoded(told));
        producer.send(FutureRecord::to(&topics.status).key(&key).payload(&bytes), Duration::from_secs(10)).await.unwrap();
    };
    // Of an earlier demo with the same ids: were it read, each notification would end twice.
    write(&Told { seq: Some(99), ..told(&plan.notifications[0].event_id, 0, "failed", "sms", 0) }).await;
    let reader = Reader::open(&kafka, &topics).await.unwrap();
    futures_util::future::join_all(plan.notifications.iter().map(|it| async { futures_util::future::join_all(history(it).iter().map(&write)).await })).await;
    write(&told("somebody else's", 0, "delivered", "sms", 0)).await;
    let (mut tally, mut out) = (Tally::new(&plan), Vec::new());
    let mut screen = Screen { out: &mut out, live: false };
    watch(&reader, &mut tally, &Asked::default(), &mut screen, Duration::from_secs(30), &CancellationToken::new()).await.unwrap();
    assert_eq!(tally.faults(), Vec::<String>::new());
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("200 of 200 notifications have ended") && !text.contains('\x1b'));
    let stories = plan.notifications.iter().filter(|it| !matches!(it.story, Story::WhatsApp | Story::Throttled | Story::AnswerLost)).count();
    assert_eq!(text.lines().filter(|line| line.contains("→")).count(), stories);
}
