//! An engine in this process, on topics of its own: the test plays the bank, the dispatcher and the gateway.

use crate::support;
use recado::delivery::{AttemptId, Channel, Lane, Outcome, Reason, Receipt, StatusWord};
use recado::engine::store::{Options, Store};
use recado::engine::{Engine, Settings, Shared, Topics};
use recado::event::input::{Inputs, NoRegistry, Schemas, TemplateFacts};
use recado::event::records::{self, Dispatch, Framing, Returned, StatusRecord};
use recado::observe::health::{Cause, Health};
use recado::privacy::{FileKeys, RootKey, Sealer};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Topics of one test, made with the settings that the engine rests on.
pub struct World {
    pub prefix: String,
    pub topics: Topics,
    pub partitions: i32,
    pub folder: tempfile::TempDir,
    pub routes: Vec<(String, String)>,
    /// Leases and waits are divided by it.
    pub hurry: u32,
    /// Where writers' schemas come from.
    pub schemas: Arc<dyn Schemas + Send + Sync>,
    /// How statuses are framed.
    pub framing: Framing,
}

impl World {
    /// With the reference routes, whose inputs get topics of this test's own.
    pub async fn new(test: &str, partitions: i32) -> Self {
        let prefix = support::prefix(test);
        let routes = ["pix", "codes", "bills"].map(|name| {
            let file = format!("config/routes/{name}.toml");
            let text = std::fs::read_to_string(support::repository().join(&file)).unwrap();
            let text = text.replace("topic = \"", &format!("topic = \"{prefix}in."));
            (file, text)
        });
        Self::with_routes(prefix, partitions, routes.to_vec()).await
    }

    /// With routes of the test's own.
    pub async fn with_routes(prefix: String, partitions: i32, routes: Vec<(String, String)>) -> Self {
        let topics = Topics::under(&prefix);
        let log = [("message.timestamp.type", "LogAppendTime")];
        let compact = [("cleanup.policy", "compact")];
        let mut all: Vec<(String, i32, &[(&str, &str)])> = vec![
            (topics.receipts.to_string(), partitions, &log),
            (topics.journal.to_string(), partitions, &log),
            (topics.state.to_string(), partitions, &compact),
            (topics.status.to_string(), partitions, &[]),
            (topics.dead_letters.to_string(), partitions, &[]),
        ];
        for channel in Channel::ALL {
            for lane in Lane::ALL {
                all.push((topics.dispatch(channel, lane).to_string(), partitions, &log));
                all.push((topics.retry(channel, lane).to_string(), partitions, &log));
            }
        }
        for line in routes.iter().flat_map(|(_, text)| text.lines()).filter(|line| line.starts_with("topic = ")) {
            let name = line.split('"').nth(1).unwrap().to_owned();
            all.push((name, partitions, &[]));
        }
        let list: Vec<(&str, i32, &[(&str, &str)])> = all.iter().map(|(name, count, settings)| (name.as_str(), *count, *settings)).collect();
        support::create(&list).await;
        Self {
            prefix,
            topics,
            partitions,
            folder: tempfile::tempdir().unwrap(),
            routes,
            hurry: 1,
            schemas: Arc::new(NoRegistry),
            framing: Framing::SingleObject,
        }
    }

    /// An input's topic of this test.
    pub fn input(&self, name: &str) -> String {
        format!("{}in.{name}", self.prefix)
    }

    /// The engine's settings of an instance.
    pub fn settings(&self, instance: &str) -> Settings {
        Settings {
            instance: instance.into(),
            threads: 1,
            state_folder: self.folder.path().join(format!("state-{instance}")),
            kafka: support::client(),
            commit_interval: Duration::from_millis(100),
            commit_on_drain: Some(Duration::from_millis(20)),
            fetch_wait: Duration::from_millis(10),
            batch_records_max: 4_000,
            batch_bytes_max: 4 << 20,
            transaction_timeout: Duration::from_secs(10),
            session_timeout: Duration::from_secs(6),
            attempts_open_max: 10_000,
            hold_max: Duration::from_secs(120),
            storm_guard: true,
            disk_free_min: 64 << 20,
            store_age_max: Duration::from_secs(6 * 3600),
            topics: self.topics.clone(),
        }
    }

    /// What the engine's threads share; keys are common to all instances of the test.
    pub fn shared(&self, settings: Settings) -> Arc<Shared> {
        let schemas: BTreeMap<String, String> = Inputs::schema_files(&self.routes)
            .into_iter()
            .map(|file| {
                (
                    file.clone(),
                    std::fs::read_to_string(support::repository().join(&file))
                        .unwrap_or_else(|_| std::fs::read_to_string(self.folder.path().join(&file)).unwrap()),
                )
            })
            .collect();
        let every = TemplateFacts { channels: Channel::ALL.into(), whatsapp_ttl: Some(Duration::from_secs(30)) };
        let facts = ["pix_recebido", "pix_enviado", "codigo", "fatura"].map(|name| (name.to_owned(), every.clone())).into();
        let compiling = recado::event::input::Settings { call_max: Duration::from_secs(5), hurry: self.hurry };
        let (inputs, _) = Inputs::compile(&self.routes, &schemas, &facts, compiling).unwrap();
        let keys = Arc::new(
            FileKeys::open(
                &self.folder.path().join("keys"),
                RootKey::from_text("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f").unwrap(),
                Duration::from_secs(60),
            )
            .unwrap(),
        );
        std::fs::create_dir_all(&settings.state_folder).unwrap();
        let store = Store::open(&settings.state_folder.join("db"), &settings.instance, &Options::default()).unwrap();
        let sealer = Sealer::new(keys.clone());
        let pepper = recado::privacy::KeyService::pepper(&*keys);
        Arc::new(Shared {
            settings,
            inputs: Arc::new(inputs),
            sealer,
            pepper,
            schemas: self.schemas.clone(),
            store,
            status_framing: self.framing,
            health: Health::new(),
        })
    }

    /// Starts an instance.
    pub fn engine(&self, settings: Settings) -> Running {
        Running::start(self.shared(settings))
    }

    /// Writes what comes back for an attempt, as dispatcher and gateway would.
    pub fn give_back(&self, writer: &support::Writer, returned: &Returned, partition: u16) {
        let mut value = Vec::new();
        records::encode_returned(returned, &mut value);
        writer.send(&self.topics.receipts, i32::from(partition), b"", &value);
        writer.flush();
    }

    /// Waits until the engine has taken its partitions: only then does it know where its inputs begin.
    pub fn wait_for_start(&self, engine: &Running) {
        let deadline = std::time::Instant::now() + Duration::from_secs(90);
        while engine.shared.health.has(Cause::NotJoined(0)) {
            assert!(std::time::Instant::now() < deadline, "the engine has not joined in 90 s");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The heartbeats of a gateway and a dispatcher, until dropped.
    pub fn heart(&self, _: &support::Writer) -> Heart {
        let stop = Arc::new(AtomicBool::new(false));
        let (there, topic, partitions) = (stop.clone(), self.topics.receipts.clone(), self.partitions);
        let thread = std::thread::spawn(move || {
            let writer = support::Writer::new();
            while !there.load(Ordering::Relaxed) {
                for partition in 0..partitions {
                    let mut value = Vec::new();
                    records::encode_returned(&Returned::GatewayHeartbeat { instance: "gateway".into() }, &mut value);
                    writer.send(&topic, partition, b"", &value);
                }
                writer.flush();
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        Heart { stop, thread: Some(thread) }
    }

    /// A reader of statuses.
    pub fn statuses(&self) -> support::Reader {
        support::Reader::new(&[(&self.topics.status, self.partitions)])
    }

    /// A reader of every dispatch and retry topic.
    pub fn dispatches(&self) -> support::Reader {
        let all: Vec<String> = Channel::ALL
            .into_iter()
            .flat_map(|channel| Lane::ALL.into_iter().flat_map(move |lane| [(channel, lane, false), (channel, lane, true)]))
            .map(|(channel, lane, retry)| if retry { self.topics.retry(channel, lane) } else { self.topics.dispatch(channel, lane) }.to_string())
            .collect();
        let list: Vec<(&str, i32)> = all.iter().map(|topic| (topic.as_str(), self.partitions)).collect();
        support::Reader::new(&list)
    }
}

/// Heartbeats under way.
pub struct Heart {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// An engine that runs in a thread of its own.
pub struct Running {
    pub shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), recado::engine::EngineError>>>,
}

impl Running {
    /// With what its threads share.
    pub fn start(shared: Arc<Shared>) -> Self {
        // The engine says so too, but not before it has opened its clients.
        shared.health.set(Cause::NotJoined(0), Some("Not started yet.".into()));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared_there, stop_there) = (shared.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let ended = Engine::open(shared_there, 0).and_then(|engine| engine.run(&stop_there));
            if let Err(error) = &ended {
                tracing::error!(%error, "The engine ended.");
            }
            ended
        });
        Self { shared, stop, thread: Some(thread) }
    }

    /// Stops it in order.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join().unwrap();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

/// All statuses of a read.
pub fn statuses(read: &[rdkafka::message::OwnedMessage]) -> Vec<StatusRecord> {
    read.iter().map(|message| records::decode_status(support::value(message)).unwrap()).collect()
}

/// The words of the statuses, in order.
pub fn words(read: &[rdkafka::message::OwnedMessage]) -> Vec<StatusWord> {
    statuses(read).into_iter().map(|record| record.status.word).collect()
}

/// All dispatches of a read.
pub fn dispatches(read: &[rdkafka::message::OwnedMessage]) -> Vec<Dispatch> {
    read.iter().map(|message| records::decode_dispatch(support::value(message)).unwrap()).collect()
}

/// The dispatcher's word.
pub fn outcome(attempt_id: AttemptId, outcome: Outcome) -> Returned {
    Returned::Outcome { attempt_id, outcome, reason: Reason::None, code: 0, provider_id: None }
}

/// The provider's report.
pub fn receipt(attempt_id: AttemptId, receipt: Receipt) -> Returned {
    Returned::Receipt { attempt_id, receipt, reason: Reason::None, code: 0, provider_time: None }
}
