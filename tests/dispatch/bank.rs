//! Kafka with our topics, an engine that dispatches, and eyes on what comes back. One of it for each test: nothing is shared.

use crate::provider::Provider;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use recado::channel::sms;
use recado::channel::twilio::Callbacks;
use recado::delivery::{Attempt, AttemptId, Channel, Lane, MessageId, NotAfter, Outcome, Partition, SourcePosition};
use recado::dispatch::slot::{Slot, Turn};
use recado::dispatch::{Auth, MinTls, Settings};
use recado::event::records::{Dispatch, JournalEntry, JournalKind, Returned, decode_journal, decode_returned, encode_dispatch, encode_journal, journal_key};
use recado::observe::Health;
use recado::privacy::{FileKeys, Payload, PhoneNumber, Purpose, Reference, RootKey, Sealer, Secret};
use recado::template::{Catalogue, Masking};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub struct Bank {
    pub kafka: String,
    pub provider: Provider,
    producer: FutureProducer,
    sealer: Sealer,
    catalogue: Arc<Catalogue>,
    partitions: u16,
    dispatched: std::cell::Cell<i64>,
    _keys: tempfile::TempDir,
}

pub struct Running {
    pub health: Health,
    /// Cancelled when this is dropped too: a test that fails would otherwise hang in its runtime's end, which waits for the role's threads.
    shutdown: DropGuard,
    ended: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub async fn stop(self) {
        drop(self.shutdown);
        self.ended.await.unwrap().unwrap();
    }
}

const CUSTOMER: Reference = Reference::from_bytes([7; 16]);
pub const LEASE: Duration = Duration::from_secs(4);
pub const TO_LEAVE: Duration = Duration::from_secs(2);

impl Bank {
    pub async fn open() -> Self {
        Self::open_with(1).await
    }

    pub async fn open_with(partitions: u16) -> Self {
        let kafka = noida::kafka::spawn("127.0.0.1:0").unwrap().to_string();
        let admin: AdminClient<DefaultClientContext> = config(&kafka).create().unwrap();
        let names: Vec<String> = Slot::all().map(|slot| slot.topic("recado.")).chain(["recado.receipts".into(), "recado.dispatch-journal".into()]).collect();
        let topics: Vec<NewTopic<'_>> = names
            .iter()
            .map(|name| NewTopic::new(name, partitions.into(), TopicReplication::Fixed(1)).set("message.timestamp.type", "LogAppendTime"))
            .collect();
        for made in admin.create_topics(&topics, &AdminOptions::new()).await.unwrap() {
            made.unwrap();
        }
        let keys = tempfile::tempdir().unwrap();
        let sealer = Sealer::new(Arc::new(FileKeys::open(keys.path(), RootKey::random(), Duration::from_secs(60)).unwrap()));
        let masking = Masking::parse("masking.toml", include_str!("../../config/masking.toml")).unwrap();
        let files = [("aviso.toml".into(), "name = \"aviso\"\n[sms]\ntext = \"{{ bank }}: aviso de teste.\"\n".into())];
        Self {
            producer: config(&kafka).create().unwrap(),
            kafka,
            provider: Provider::start().await,
            sealer,
            catalogue: Arc::new(Catalogue::compile(&files, masking).unwrap()),
            partitions,
            dispatched: std::cell::Cell::new(0),
            _keys: keys,
        }
    }

    pub fn settings(&self, instance: &str) -> Settings {
        let mut settings = Settings::new(instance, config(&self.kafka));
        let callbacks = Callbacks { public_base_url: "https://recado.example".into(), account: "main".into() };
        let sender = sms::Sender { account_sid: "AC1".into(), from: sms::From::Number("29001".into()), callbacks };
        settings.providers.insert(
            Channel::Sms,
            recado::dispatch::Provider {
                name: "test".into(),
                base_url: self.provider.address.clone(),
                min_tls: MinTls::V1_3,
                auth: Auth::Basic { user: "AC1".into(), password: Secret::new("token".into()) },
                calls_per_second: 0,
                sender: recado::dispatch::Sender::Sms(sender),
            },
        );
        settings
    }

    pub fn run(&self, settings: Settings) -> Running {
        let shutdown = CancellationToken::new();
        let health = Health::new();
        let ended = tokio::spawn(recado::dispatch::run(settings, self.sealer.clone(), self.catalogue.clone(), health.clone(), shutdown.clone()));
        Running { health, shutdown: shutdown.drop_guard(), ended }
    }

    /// A dispatch of an SMS that must leave within [`TO_LEAVE`], leased for [`LEASE`].
    pub fn dispatch(&self) -> Dispatch {
        self.dispatched.set(self.dispatched.get() + 1);
        let now = recado::clock::wall();
        let partition = Partition(u16::try_from(self.dispatched.get()).unwrap() % self.partitions);
        let source = SourcePosition { topic: "pix.transactions".into(), partition, offset: self.dispatched.get() };
        let message_id = MessageId::derive(now, &source, 0);
        let expiry = now.plus(Duration::from_secs(60));
        let payload = Payload { phone: PhoneNumber::parse("+5511999990001"), ..Payload::default() };
        let sealed = self.sealer.seal(Purpose::Params, CUSTOMER, message_id, expiry, &payload.write(), now).unwrap();
        Dispatch {
            attempt_id: AttemptId { message_id, attempt: Attempt::FIRST },
            channel: Channel::Sms,
            lane: Lane::Express,
            route: "test".into(),
            template: "aviso".into(),
            customer: CUSTOMER,
            lease_end: now.plus(LEASE),
            not_after: NotAfter::new(now.plus(TO_LEAVE)),
            expiry,
            wait_ms: 30_000,
            why: None,
            sealed,
            sealed_code: None,
            traceparent: None,
        }
    }

    pub async fn send(&self, dispatch: &Dispatch) {
        let topic = Slot { lane: dispatch.lane, channel: dispatch.channel, turn: Turn::First }.topic("recado.");
        let mut bytes = Vec::new();
        encode_dispatch(dispatch, &mut bytes);
        self.write(&topic, dispatch.attempt_id.message_id.partition(), &dispatch.attempt_id.message_id.bytes()[..], &bytes).await;
    }

    pub async fn journal(&self, attempt_id: AttemptId, kind: JournalKind, epoch: u64) {
        let mut bytes = Vec::new();
        encode_journal(&JournalEntry { attempt_id, kind, epoch }, &mut bytes);
        self.write("recado.dispatch-journal", attempt_id.message_id.partition(), &journal_key(&attempt_id), &bytes).await;
    }

    pub async fn write(&self, topic: &str, partition: Partition, key: &[u8], bytes: &[u8]) {
        self.producer.send(FutureRecord::to(topic).partition(partition.kafka()).key(key).payload(bytes), Duration::from_secs(5)).await.unwrap();
    }

    /// Deletes all that the journal holds.
    pub async fn cut_journal(&self) {
        let admin: AdminClient<DefaultClientContext> = config(&self.kafka).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("recado.dispatch-journal", 0, Offset::End).unwrap();
        admin.delete_records(&list, &AdminOptions::new()).await.unwrap();
    }

    pub fn entries(&self) -> Vec<JournalEntry> {
        let all = self.read("recado.dispatch-journal");
        all.iter().map(|bytes| decode_journal(bytes).unwrap()).filter(|entry| entry.kind != JournalKind::Hello).collect()
    }

    /// How many assignments wrote an intent.
    pub fn tenures(&self) -> usize {
        let intents = self.entries().into_iter().filter(|entry| entry.kind == JournalKind::Intent);
        intents.map(|entry| entry.epoch).collect::<std::collections::BTreeSet<_>>().len()
    }

    pub fn returned(&self) -> Vec<Returned> {
        self.read("recado.receipts").iter().map(|bytes| decode_returned(bytes).unwrap()).collect()
    }

    pub fn outcomes(&self) -> Vec<(AttemptId, Outcome)> {
        let outcome = |returned| match returned {
            Returned::Outcome { attempt_id, outcome, .. } => Some((attempt_id, outcome)),
            _ => None,
        };
        self.returned().into_iter().filter_map(outcome).collect()
    }

    pub fn outcomes_of(&self, id: AttemptId) -> Vec<Outcome> {
        self.outcomes().into_iter().filter(|(of, _)| *of == id).map(|(_, outcome)| outcome).collect()
    }

    /// What the group may have read: the position of `topic`.
    pub fn committed(&self, group: &str, topic: &str) -> Option<i64> {
        let consumer: BaseConsumer = config(&self.kafka).set("group.id", group).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, 0);
        let committed = consumer.committed_offsets(list, Duration::from_secs(5)).unwrap();
        match committed.elements()[0].offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    fn read(&self, topic: &str) -> Vec<Vec<u8>> {
        (0..self.partitions.into()).flat_map(|partition| self.read_partition(topic, partition)).collect()
    }

    fn read_partition(&self, topic: &str, partition: i32) -> Vec<Vec<u8>> {
        let consumer: BaseConsumer = config(&self.kafka).set("group.id", "eyes").set("enable.auto.commit", "false").create().unwrap();
        let (mut next, end) = consumer.fetch_watermarks(topic, partition, Duration::from_secs(5)).unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(next)).unwrap();
        consumer.assign(&list).unwrap();
        let mut records = Vec::new();
        while next < end {
            if let Some(message) = consumer.poll(Duration::from_secs(5)) {
                let message = message.unwrap();
                next = message.offset() + 1;
                records.push(message.payload().unwrap_or_default().to_vec());
            }
        }
        records
    }

    /// Looks until it is so.
    pub async fn until(&self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let deadline = recado::clock::monotonic() + Duration::from_secs(20);
        while !so(self) {
            assert!(recado::clock::monotonic() < deadline, "{what} did not come: journal {:?}, outcomes {:?}", self.entries(), self.outcomes());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn config(kafka: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka);
    config
}
