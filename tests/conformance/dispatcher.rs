//! Everything that the shipped templates can say, called by the dispatcher itself (headers and all) before both providers' descriptions.

use crate::prism::{meta, twilio};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use recado::delivery::{Attempt, AttemptId, Channel, Lane, MessageId, NotAfter, Outcome, Partition, SourcePosition, Timestamp};
use recado::dispatch::slot::{Slot, Turn};
use recado::dispatch::{Auth, MinTls, Provider, Sender, Settings};
use recado::event::records::{Dispatch, Returned, decode_returned, encode_dispatch};
use recado::privacy::{Class, Content, FileKeys, Payload, PhoneNumber, Purpose, Reference, RootKey, Sealer, Secret, Value};
use recado::template::{Catalogue, Masking};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const ACCOUNT: &str = "AC00000000000000000000000000000001";
const CUSTOMER: Reference = Reference::from_bytes([7; 16]);

#[tokio::test(flavor = "multi_thread")]
async fn every_shipped_template_is_accepted_on_each_of_its_channels() {
    let kafka = noida::kafka::spawn("127.0.0.1:0").unwrap().to_string();
    make_topics(&kafka).await;
    let folder = tempfile::tempdir().unwrap();
    let sealer = Sealer::new(Arc::new(FileKeys::open(folder.path(), RootKey::random(), Duration::from_secs(60)).unwrap()));
    let catalogue = Arc::new(shipped());
    let sent = dispatch_all(&kafka, &catalogue, &sealer).await;
    assert!(sent.len() >= 10, "WhatsApp, SMS and voice of the reference templates: {sent:?}");

    let shutdown = CancellationToken::new();
    let running = tokio::spawn(recado::dispatch::run(settings(&kafka), sealer, catalogue, recado::observe::Health::new(), shutdown.clone()));
    let count = sent.len();
    let outcomes = tokio::task::spawn_blocking(move || outcomes(&kafka, count)).await.unwrap();
    // Stopped before anything is asserted: a test that fails does not wait for its threads for ever.
    shutdown.cancel();
    running.await.unwrap().unwrap();
    for (id, what) in sent {
        assert_eq!(outcomes.get(&id), Some(&(Outcome::Accepted, 0)), "{what}");
    }
}

fn shipped() -> Catalogue {
    let folder = crate::support::repository().join("config/templates");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.display().to_string(), std::fs::read_to_string(&path).unwrap())
    };
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(read).collect();
    Catalogue::compile(&files, Masking::parse("masking.toml", include_str!("../../config/masking.toml")).unwrap()).unwrap()
}

fn settings(kafka: &str) -> Settings {
    let mut settings = Settings::new("a", config(kafka));
    let (base, account) = ("https://recado.example".to_owned(), "main".to_owned());
    let basic = || Auth::Basic { user: "SK00000000000000000000000000000001".into(), password: Secret::new("secret".into()) };
    let provider = |name: &str, base_url: &str, auth, sender| Provider {
        name: name.into(),
        base_url: base_url.into(),
        min_tls: MinTls::V1_3,
        auth,
        calls_per_second: 0,
        sender,
    };
    let whatsapp = Sender::whatsapp("v23.0".into(), "106540352242922".into());
    let sms = Sender::sms(ACCOUNT.into(), "29001".into(), base.clone(), account.clone());
    let voice = Sender::voice(ACCOUNT.into(), "+551155550000".into(), base, account, None);
    settings.providers = BTreeMap::from([
        (Channel::WhatsApp, provider("meta", meta().base_url(), Auth::Bearer(Secret::new("invented-token".into())), whatsapp)),
        (Channel::Sms, provider("twilio", twilio().base_url(), basic(), sms)),
        (Channel::Voice, provider("twilio", twilio().base_url(), basic(), voice)),
    ]);
    settings
}

/// One dispatch of each template on each of its channels, with all that a template may show and with as little as it needs.
async fn dispatch_all(kafka: &str, catalogue: &Catalogue, sealer: &Sealer) -> BTreeMap<AttemptId, String> {
    // Both judges are up before the first lease begins.
    meta();
    twilio();
    let producer: FutureProducer = config(kafka).create().unwrap();
    let mut sent = BTreeMap::new();
    for template in catalogue.names() {
        for channel in catalogue.channels(template) {
            for whole in [true, false] {
                let now = recado::clock::wall();
                let offset = i64::try_from(sent.len()).unwrap();
                let message_id = MessageId::derive(now, &SourcePosition { topic: "events".into(), partition: Partition(0), offset }, 0);
                let dispatch = dispatch(template, channel, AttemptId { message_id, attempt: Attempt::FIRST }, sealer, &payload(whole), now);
                let mut bytes = Vec::new();
                encode_dispatch(&dispatch, &mut bytes);
                let topic = Slot { lane: dispatch.lane, channel, turn: Turn::First }.topic("recado.");
                let record = FutureRecord::to(&topic).partition(0).key(&message_id.bytes()[..]).payload(&bytes);
                producer.send(record, Duration::from_secs(5)).await.unwrap();
                sent.insert(dispatch.attempt_id, format!("{template} on {} (every field: {whole})", channel.word()));
            }
        }
    }
    sent
}

fn dispatch(template: &str, channel: Channel, attempt_id: AttemptId, sealer: &Sealer, payload: &Payload, now: Timestamp) -> Dispatch {
    let expiry = now.plus(Duration::from_secs(120));
    let seal = |purpose, plain: &[u8]| sealer.seal(purpose, CUSTOMER, attempt_id.message_id, expiry, plain, now).unwrap();
    Dispatch {
        attempt_id,
        channel,
        lane: Lane::Express,
        route: "test".into(),
        template: template.into(),
        customer: CUSTOMER,
        lease_end: now.plus(Duration::from_secs(60)),
        not_after: NotAfter::new(now.plus(Duration::from_secs(50))),
        expiry,
        wait_ms: 30_000,
        why: None,
        sealed: seal(Purpose::Params, &payload.write()),
        sealed_code: (template == "codigo").then(|| seal(Purpose::Code, b"493817")),
        traceparent: None,
    }
}

/// What the reference routes give to the templates; all of it, or without what may be null.
fn payload(whole: bool) -> Payload {
    let text = |class, text: &str| (Value { class, content: Content::Text(Secret::new(text.to_owned())) }, false);
    let value = |class, content| (Value { class, content }, true);
    let values = [
        ("amount", value(Class::Amount, Content::Amount(Secret::new(123_456)))),
        ("payer_name", text(Class::Name, "Joana Ferreira Lima")),
        ("payee_name", text(Class::Name, "José d'Ávila & Irmãos <ME>")),
        ("customer_name", text(Class::Name, "Conceição")),
        ("institution", text(Class::Public, "Banco \"Modelo\" S/A")),
        ("purpose", text(Class::Public, "entrar no aplicativo")),
        ("occurred_at", value(Class::Public, Content::Time(Timestamp::from_millis(1_764_900_000_000)))),
        ("due_date", value(Class::Public, Content::Date(2026, 12, 10))),
    ];
    let values = values.into_iter().filter(|(_, (_, needed))| whole || *needed).map(|(name, (value, _))| (name.into(), value)).collect();
    Payload { phone: PhoneNumber::parse("+5511999990001"), values, ..Payload::default() }
}

async fn make_topics(kafka: &str) {
    let admin: AdminClient<DefaultClientContext> = config(kafka).create().unwrap();
    let names: Vec<String> = Slot::all().map(|slot| slot.topic("recado.")).chain(["recado.receipts".into(), "recado.dispatch-journal".into()]).collect();
    let topic = |name| NewTopic::new(name, 1, TopicReplication::Fixed(1)).set("message.timestamp.type", "LogAppendTime");
    let topics: Vec<NewTopic<'_>> = names.iter().map(|name| topic(name)).collect();
    for made in admin.create_topics(&topics, &AdminOptions::new()).await.unwrap() {
        made.unwrap();
    }
}

/// Reads until there are so many, for a minute at most: what became of each attempt, and the provider's number.
fn outcomes(kafka: &str, count: usize) -> BTreeMap<AttemptId, (Outcome, u32)> {
    let consumer: BaseConsumer = config(kafka).set("group.id", "eyes").set("enable.auto.commit", "false").create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("recado.receipts", 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let mut found = BTreeMap::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while found.len() < count && Instant::now() < deadline {
        let Some(message) = consumer.poll(Duration::from_millis(200)) else { continue };
        if let Returned::Outcome { attempt_id, outcome, code, .. } = decode_returned(message.unwrap().payload().unwrap()).unwrap() {
            found.insert(attempt_id, (outcome, code));
        }
    }
    found
}

fn config(kafka: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka);
    config
}
