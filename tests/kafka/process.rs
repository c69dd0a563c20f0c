//! Recado as the bank runs it: the binary, as processes of its own, against real Kafka and the provider simulator.

use crate::deployment::{self, Process, program};
use crate::support;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use recado::simulator::{self, CallLine, Providers};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

const INPUTS: [&str; 4] = ["pix.transactions", "auth.challenges", "auth.codes-used", "billing.invoices"];

/// One cluster of processes: configuration, topics, simulator.
pub struct Stage {
    pub prefix: String,
    pub partitions: u16,
    pub folder: tempfile::TempDir,
    pub simulator: Providers,
    pub gateway_port: u16,
    more: String,
    engine: String,
    bootstrap: Option<String>,
    counted: bool,
    _turn: Turn,
}

/// Whether the stages of other tests may stand at the same time.
#[derive(Default)]
pub enum Company {
    /// Yes.
    #[default]
    Any,
    /// No: what happens here would starve them, and they this.
    None,
    /// As the stage says that the same test has already.
    Same,
}

/// While it lives, so it is.
enum Turn {
    Beside { _guard: OwnedRwLockReadGuard<()> },
    Alone { _guard: OwnedRwLockWriteGuard<()> },
    Taken,
}

impl Turn {
    async fn wait(company: &Company) -> Self {
        match company {
            Company::Any => Self::Beside { _guard: TURNS.clone().read_owned().await },
            Company::None => Self::Alone { _guard: TURNS.clone().write_owned().await },
            Company::Same => Self::Taken,
        }
    }
}

static TURNS: LazyLock<Arc<RwLock<()>>> = LazyLock::new(Arc::default);

/// What a stage has beside the reference configuration.
#[derive(Default)]
pub struct More<'a> {
    /// Files of the configuration's folder by their path in it; they replace those of the repository.
    pub files: Vec<(&'a str, String)>,
    /// More topics of the bank with their own partition counts.
    pub inputs: Vec<(String, u16)>,
    /// Lines of every instance's configuration, at its end.
    pub config: String,
    /// Lines of its section `[engine]`.
    pub engine: &'a str,
    /// Our topics have as many partitions as the largest input, and not a number that the configuration says.
    pub counted: bool,
    /// Another broker than the common one; the inputs are then made by `recado topics --create`, too.
    pub bootstrap: Option<String>,
    /// The simulator keeps no send log: each of its lines is on the disk before an answer leaves, which takes time where time is measured.
    pub unlogged: bool,
    /// Whether other tests' stages may stand meanwhile.
    pub company: Company,
}

impl Stage {
    /// Topics made by `recado topics --create`, a simulator with these settings that knows where the gateway will be.
    pub async fn new(test: &str, partitions: u16, settings: simulator::Settings) -> Self {
        Self::with(test, partitions, settings, More::default()).await
    }

    /// As [`Stage::new`], with more.
    pub async fn with(test: &str, partitions: u16, settings: simulator::Settings, more: More<'_>) -> Self {
        let _turn = Turn::wait(&more.company).await;
        let prefix = support::prefix(test);
        let folder = tempfile::tempdir().unwrap();
        let gateway_port = support::free_port();
        let mut settings = deployment::providers(settings, folder.path(), gateway_port);
        settings.log = settings.log.filter(|_| !more.unlogged);
        let simulator = Providers::start(settings).await.unwrap();
        let stage = Self {
            prefix,
            partitions,
            folder,
            simulator,
            gateway_port,
            more: more.config,
            engine: more.engine.into(),
            bootstrap: more.bootstrap,
            counted: more.counted,
            _turn,
        };
        deployment::write_folder(stage.folder.path(), &stage.prefix, |_, text| text);
        for (path, text) in &more.files {
            deployment::write_private(&stage.folder.path().join(path), &deployment::own_topics(text, &stage.prefix));
        }
        let mut inputs: Vec<(String, u16)> = INPUTS.map(|name| (stage.input(name), partitions)).to_vec();
        inputs.extend(more.inputs.iter().map(|(name, count)| (stage.input(name), *count)));
        let list: Vec<(&str, i32, &[(&str, &str)])> = inputs.iter().map(|(name, count)| (name.as_str(), i32::from(*count), &[][..])).collect();
        if stage.bootstrap.is_none() {
            support::create(&list).await;
        }
        deployment::create_topics(&stage.config("maker", stage.gateway_port, ""));
        stage
    }

    /// An input's topic.
    pub fn input(&self, name: &str) -> String {
        format!("{}in.{name}", self.prefix)
    }

    /// The status topic.
    pub fn statuses(&self) -> support::Reader {
        support::Reader::new(&[(&format!("{}status", self.prefix), i32::from(self.partitions))])
    }

    /// How many records all topics of ours hold together.
    pub fn ends(&self) -> i64 {
        let inputs = format!("{}in.", self.prefix);
        self.ends_of(|topic| topic.starts_with(&self.prefix) && !topic.starts_with(&inputs))
    }

    /// How many records these topics hold together.
    pub fn ends_of(&self, which: impl Fn(&str) -> bool) -> i64 {
        let consumer: BaseConsumer = support::client().create().unwrap();
        let metadata = consumer.fetch_metadata(None, Duration::from_secs(10)).unwrap();
        let chosen = metadata.topics().iter().filter(|topic| which(topic.name()));
        chosen
            .flat_map(|topic| topic.partitions().iter().map(move |partition| (topic.name(), partition.id())))
            .map(|(topic, partition)| {
                loop {
                    // A client that has just met the topic may ask the wrong broker first.
                    match consumer.fetch_watermarks(topic, partition, Duration::from_secs(10)) {
                        Ok((_, end)) => break end,
                        Err(error) => assert!(error.rdkafka_error_code() == Some(RDKafkaErrorCode::NotLeaderForPartition), "{error}"),
                    }
                }
            })
            .sum()
    }

    /// Where the broker keeps its segments.
    pub fn broker_data(&self) -> PathBuf {
        support::broker().folder.join("data")
    }

    /// The simulator's send log.
    pub fn send_log(&self) -> Vec<simulator::Line> {
        simulator::SendLog::read(&self.folder.path().join("send.log")).unwrap()
    }

    /// The calls among its lines.
    pub fn calls(&self) -> Vec<CallLine> {
        self.send_log().into_iter().filter_map(|line| if let simulator::Line::Call(call) = line { Some(call) } else { None }).collect()
    }

    /// The same providers once more, at this port, with a send log of this name.
    pub async fn providers_at(&self, port: u16, log: &str) -> Providers {
        let mut settings = deployment::providers(simulator::Settings::default(), self.folder.path(), self.gateway_port);
        settings.listen = ([127, 0, 0, 1], port).into();
        settings.log = Some(self.folder.path().join(log));
        Providers::start(settings).await.unwrap()
    }

    /// Writes the configuration of one instance and gives its path. `more`: further lines, `key = value` of the top level first.
    pub fn config(&self, instance: &str, gateway_port: u16, more: &str) -> PathBuf {
        let config = deployment::Config {
            instance,
            prefix: &self.prefix,
            bootstrap: self.bootstrap.as_deref().unwrap_or_else(|| support::bootstrap()),
            partitions: if self.counted { 0 } else { self.partitions },
            provider: &self.simulator.base_url(),
            door: self.gateway_port,
            gateway: gateway_port,
            management: support::free_port(),
            top: more,
            engine: &self.engine,
            sections: &self.more,
        };
        config.write(self.folder.path())
    }

    /// Starts an instance with these roles.
    pub fn start(&self, config: &Path, roles: &str) -> Instance {
        self.start_with(config, &["--roles", roles])
    }

    /// Starts `recado run` with these options.
    pub fn start_with(&self, config: &Path, options: &[&str]) -> Instance {
        let log = config.with_extension("log");
        let process = Process::start(program().arg("run").args(options).arg("--config").arg(config), log.clone());
        let text = fs::read_to_string(config).unwrap();
        let management = text.split("[management]\nlisten = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
        Instance { process, management, log }
    }
}

/// One process.
pub struct Instance {
    process: Process,
    pub management: String,
    pub log: PathBuf,
}

impl Instance {
    /// Waits until it says that it is ready.
    pub async fn ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(90);
        let mut last = String::new();
        while Instant::now() < deadline {
            if let Some(ended) = self.process.ended() {
                panic!("it ended with {ended}; {}", self.process.said());
            }
            if let Ok(answer) = reqwest::get(format!("http://{}/readyz", self.management)).await {
                if answer.status().is_success() {
                    return;
                }
                last = answer.text().await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not ready in 90 s: {last}; {}", self.process.said());
    }

    /// Waits until `/readyz` is red with this in what it says, and returns all that it says.
    pub async fn red(&mut self, with: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(40);
        let mut last = String::new();
        while Instant::now() < deadline {
            assert!(self.process.ended().is_none(), "it ended; {}", self.process.said());
            if let Ok(answer) = reqwest::get(format!("http://{}/readyz", self.management)).await {
                assert!(!answer.status().is_success(), "it is ready");
                last = answer.text().await.unwrap();
                if last.contains(with) {
                    return last;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not red with `{with}` in 40 s: {last}; {}", self.process.said());
    }

    /// What it answers here: status and text. `None` while it does not.
    pub async fn asked(&self, path: &str) -> Option<(u16, String)> {
        let answer = reqwest::get(format!("http://{}{path}", self.management)).await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// Waits until what it answers here is as wanted; it must not end meanwhile.
    pub async fn says(&mut self, path: &str, what: &str, mut wanted: impl FnMut(u16, &str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(90);
        let mut last = None;
        while Instant::now() < deadline {
            assert!(!self.has_ended(), "it ended; {}", self.process.said());
            last = self.asked(path).await;
            if let Some((status, text)) = &last
                && wanted(*status, text)
            {
                return text.clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{what}: not within 90 s; {path} says {last:?}");
    }

    /// The value of one of its metrics, written with its labels as in `/metrics`; 0 where there is none.
    pub async fn metric(&self, name: &str) -> f64 {
        value_of(&self.asked("/metrics").await.unwrap_or_default().1, name)
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// Waits until it has ended with a failure, and returns its log.
    pub fn ended(&mut self, within: Duration) -> String {
        match self.process.ended_by(Instant::now() + within) {
            Some(ended) => assert!(!ended.success(), "it ended with {ended}"),
            None => panic!("it did not end in {within:?}: {}", self.process.said()),
        }
        self.process.said()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Another signal.
    pub fn signal(&self, signal: i32) {
        self.process.signal(signal);
    }

    /// SIGTERM; panics unless it ends well within 20 s.
    pub fn stop(mut self) {
        self.process.terminate();
        match self.process.ended_by(Instant::now() + Duration::from_secs(20)) {
            Some(ended) => assert!(ended.success(), "it ended with {ended}: {}", self.process.said()),
            None => panic!("it did not end in 20 s: {}", self.process.said()),
        }
    }
}

/// The value of a metric in the text of `/metrics`; 0 where it is not there.
pub fn value_of(text: &str, name: &str) -> f64 {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or(0.0)
}

impl Drop for Instance {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("The log of {}:\n{}", self.log.display(), self.process.said());
        }
    }
}

/// An instance with somebody who starts it again when it ends, as every bank has.
pub struct Watched<'a> {
    stage: &'a Stage,
    config: PathBuf,
    roles: &'static str,
    pub instance: Instance,
    /// Whether it has ended.
    pub ended: bool,
}

impl<'a> Watched<'a> {
    /// Starts it, with waits divided by `hurry`.
    pub fn start(stage: &'a Stage, name: &str, gateway: u16, hurry: u32, roles: &'static str) -> Self {
        let config = stage.config(name, gateway, &format!("time.hurry = {hurry}"));
        Self { stage, instance: stage.start(&config, roles), config, roles, ended: false }
    }

    /// Waits until it says that Kafka is away: it stays alive and red, or ends and, started again, waits for Kafka and is red.
    pub async fn away(&mut self, since: Instant, within: Duration) {
        while since.elapsed() < within {
            self.again();
            if let (Some((200, _)), Some((503, said))) = (self.instance.asked("/livez").await, self.instance.asked("/readyz").await)
                && said.contains("kafka_away")
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} says {:?} after {within:?} without Kafka", self.roles, self.instance.asked("/readyz").await);
    }

    /// Waits until it is ready.
    pub async fn back(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(90);
        while Instant::now() < deadline {
            self.again();
            if self.instance.asked("/readyz").await.is_some_and(|(status, _)| status == 200) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} says {:?}", self.roles, self.instance.asked("/readyz").await);
    }

    /// Starts it again if it has ended.
    pub fn again(&mut self) {
        if self.instance.has_ended() {
            self.ended = true;
            self.instance = self.stage.start(&self.config, self.roles);
        }
    }

    /// What it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.instance.log).unwrap()
    }
}
