//! The gateway as a provider meets it: real sockets, a Kafka stand-in in the process, signatures computed here and not by our own code.

mod refused;
mod taken;

use super::*;
use crate::delivery::{Attempt, AttemptId, MessageId, Receipt, Timestamp};
use crate::event::records::{Returned, decode_returned};
use crate::privacy::{FileKeys, RootKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Message as _, OwnedMessage};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::time::Duration;

const PARTITIONS: u16 = 4;
const RECEIPTS: &str = "recado.receipts";
const DEAD_LETTERS: &str = "recado.dead-letters";
const PUBLIC: &str = "https://recado.example/in";
const SECRET: &str = "an app secret";
const TOKEN: &str = "an auth token";

/// A gateway that serves, and what stands around it.
struct Running {
    address: SocketAddr,
    bootstrap: String,
    sealer: Sealer,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
    serving: tokio::task::JoinHandle<anyhow::Result<()>>,
    http: reqwest::Client,
    _keys: tempfile::TempDir,
}

/// Limits of which nothing has to wait long for.
fn limits() -> Limits {
    let short = Duration::from_millis(300);
    Limits { header_deadline: short, body_deadline: short, idle_deadline: Duration::from_millis(900), ..Limits::default() }
}

/// With a stand-in for Kafka that holds the two topics.
async fn running(limits: Limits) -> Running {
    let bootstrap = noida::kafka::spawn("127.0.0.1:0").unwrap().to_string();
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", &bootstrap).create().unwrap();
    let topics = [RECEIPTS, DEAD_LETTERS].map(|name| NewTopic::new(name, i32::from(PARTITIONS), TopicReplication::Fixed(1)));
    for made in admin.create_topics(&topics, &AdminOptions::new()).await.unwrap() {
        made.unwrap();
    }
    start(limits, bootstrap, None).await
}

async fn start(limits: Limits, bootstrap: String, partitions: Option<u16>) -> Running {
    let keys = tempfile::tempdir().unwrap();
    let sealer = Sealer::new(Arc::new(FileKeys::open(keys.path(), RootKey::random(), Duration::from_secs(60)).unwrap()));
    let secret = |text: &str| Secret::new(text.to_owned());
    let settings = Settings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        public_base_url: PUBLIC.into(),
        instance: "gateway-1".into(),
        meta_apps: vec![MetaApp { name: "bank".into(), secrets: vec![secret("the next secret"), secret(SECRET)], verify_tokens: vec![secret("verify me")] }],
        twilio_accounts: vec![TwilioAccount {
            name: "main".into(),
            tokens: vec![secret(TOKEN)],
            shared_keys: vec![],
            voice: crate::channel::voice::VOICE.into(),
        }],
        partitions,
        receipts_topic: RECEIPTS.into(),
        dead_letters_topic: DEAD_LETTERS.into(),
        kafka: ClientConfig::from_iter([("bootstrap.servers".into(), bootstrap.clone())]),
        limits,
    };
    let gateway = Gateway::bind(settings, sealer.clone(), Health::new()).await.unwrap();
    let (address, shared) = (gateway.address().unwrap(), Arc::clone(&gateway.shared));
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let serving = tokio::spawn(async move { gateway.run(stop).await });
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let running = Running { address, bootstrap, sealer, shared, shutdown, serving, http, _keys: keys };
    running.until_ready().await;
    running
}

impl Running {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Until the number of partitions is known: an empty webhook is then taken.
    async fn until_ready(&self) {
        for _ in 0..100 {
            if self.meta(&webhook(&[])).await != 503 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("The gateway never took a webhook.");
    }

    /// A signed webhook of Meta's; returns the status.
    async fn meta(&self, body: &str) -> u16 {
        self.meta_with(body, &[("x-hub-signature-256", &meta_signature(SECRET, body.as_bytes()))]).await
    }

    async fn meta_with(&self, body: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = self.http.post(self.url("/webhooks/meta/bank")).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status().as_u16()
    }

    /// A form of Twilio's with this signature; returns status and body.
    async fn twilio(&self, path_and_query: &str, form: &[(&str, &str)], signature: &str) -> (u16, String) {
        let request = self.http.post(self.url(path_and_query)).form(form).header("x-twilio-signature", signature);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Every receipt that stands in the topic, in the order of each partition. Ends with a mark in each, which is sent now and is not returned.
    async fn receipts(&self) -> Vec<(i32, AttemptId, Receipt)> {
        let mut marks: Vec<AttemptId> = (0..PARTITIONS).map(|partition| attempt(partition, u16::MAX)).collect();
        let statuses: Vec<_> = marks.iter().map(|mark| ("sent", mark.to_string())).collect();
        let statuses: Vec<_> = statuses.iter().map(|(word, mark)| (*word, mark.as_str())).collect();
        assert_eq!(self.meta(&webhook(&statuses)).await, 200);
        let mut receipts = Vec::new();
        self.read(RECEIPTS, |message| {
            if let Returned::Receipt { attempt_id, receipt, .. } = decode_returned(message.payload().unwrap()).unwrap() {
                assert_eq!(message.key(), Some(attempt_id.message_id.bytes().as_slice()), "the key is the message id");
                match marks.iter().position(|mark| *mark == attempt_id) {
                    Some(found) => drop(marks.swap_remove(found)),
                    None => receipts.push((message.partition(), attempt_id, receipt)),
                }
            }
            marks.is_empty()
        });
        receipts.sort_by_key(|(partition, _, _)| *partition);
        receipts
    }

    /// Reads a topic from its start until `done`; fails when that takes longer than 10 s.
    fn read(&self, topic: &str, done: impl FnMut(OwnedMessage) -> bool) {
        self.read_partitions(topic, 0..i32::from(PARTITIONS), done);
    }

    fn read_partitions(&self, topic: &str, partitions: std::ops::Range<i32>, mut done: impl FnMut(OwnedMessage) -> bool) {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &self.bootstrap).set("group.id", "test").set("enable.auto.commit", "false").create().unwrap();
        let mut start = TopicPartitionList::new();
        for partition in partitions {
            start.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&start).unwrap();
        for _ in 0..100 {
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100))
                && done(message.detach())
            {
                return;
            }
        }
        panic!("What was waited for never stood in {topic}.");
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.unwrap().unwrap();
    }
}

/// An attempt whose home is `partition`.
fn attempt(partition: u16, n: u16) -> AttemptId {
    let mut id = [0x5A; 16];
    id[6..8].copy_from_slice(&partition.to_be_bytes());
    AttemptId { message_id: MessageId::from_bytes(id), attempt: Attempt { step: 1, n } }
}

/// A counter by the value of its only label. Other tests of this program count too: it can only be compared with what it was.
fn counted(name: &str, label: &str) -> f64 {
    let families = crate::observe::registry().gather();
    let metrics = families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
    metrics.filter(|metric| metric.get_label().iter().all(|pair| pair.value() == label)).map(|metric| metric.get_counter().get_value()).sum()
}

fn webhook(statuses: &[(&str, &str)]) -> String {
    let statuses: Vec<String> = statuses
        .iter()
        .map(|(word, attempt)| format!(r#"{{"id":"wamid.TEST","status":"{word}","timestamp":"1750857384","biz_opaque_callback_data":"{attempt}"}}"#))
        .collect();
    format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{{"field":"messages","value":{{"statuses":[{}]}}}}]}}]}}"#,
        statuses.join(",")
    )
}

fn meta_signature(secret: &str, body: &[u8]) -> String {
    format!("sha256={}", hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body)))
}

/// As Twilio's page says: URL, then each name with its value, by name.
fn twilio_signature(token: &str, url: &str, form: &[(&str, &str)]) -> String {
    let mut sorted = form.to_vec();
    sorted.sort_unstable();
    let signed = sorted.into_iter().fold(url.to_owned(), |signed, (name, value)| signed + name + value);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(hmac::sign(&key, signed.as_bytes()))
}
