//! Recado as the bank runs it: the binary, as processes of its own, against real Kafka and the provider simulator.

use crate::support;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use recado::simulator::{self, Providers};
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Secrets of both sides, invented.
const APP_SECRET: &str = "app-secret-of-the-tests";
const VERIFY: &str = "verify-token-of-the-tests";
const ACCESS: &str = "access-token-of-the-tests";
const TWILIO: &str = "twilio-token-of-the-tests";
const ACCOUNT: &str = "AC00000000000000000000000000000001";

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
}

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
    /// Another broker than the common one; the inputs are then made by `recado topics --create`, too.
    pub bootstrap: Option<String>,
}

impl Stage {
    /// Topics made by `recado topics --create`, a simulator with these settings that knows where the gateway will be.
    pub async fn new(test: &str, partitions: u16, settings: simulator::Settings) -> Self {
        Self::with(test, partitions, settings, More::default()).await
    }

    /// As [`Stage::new`], with more.
    pub async fn with(test: &str, partitions: u16, settings: simulator::Settings, more: More<'_>) -> Self {
        let prefix = support::prefix(test);
        let folder = tempfile::tempdir().unwrap();
        let gateway_port = support::free_port();
        let simulator = Providers::start(providers(settings, &folder, gateway_port)).await.unwrap();
        let stage = Self { prefix, partitions, folder, simulator, gateway_port, more: more.config, engine: more.engine.into(), bootstrap: more.bootstrap };
        stage.write_common();
        for (path, text) in &more.files {
            let path = stage.folder.path().join(path);
            fs::write(&path, text.replace("topic = \"", &format!("topic = \"{}in.", stage.prefix))).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        }
        let mut inputs: Vec<(String, u16)> = INPUTS.map(|name| (stage.input(name), partitions)).to_vec();
        inputs.extend(more.inputs.iter().map(|(name, count)| (stage.input(name), *count)));
        let list: Vec<(&str, i32, &[(&str, &str)])> = inputs.iter().map(|(name, count)| (name.as_str(), i32::from(*count), &[][..])).collect();
        if stage.bootstrap.is_none() {
            support::create(&list).await;
        }
        let config = stage.config("maker", stage.gateway_port, "");
        let made = Command::new(env!("CARGO_BIN_EXE_recado")).args(["topics", "--create", "--config"]).arg(&config).output().unwrap();
        assert!(made.status.success(), "{}{}", String::from_utf8_lossy(&made.stdout), String::from_utf8_lossy(&made.stderr));
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
        let consumer: BaseConsumer = support::client().create().unwrap();
        let metadata = consumer.fetch_metadata(None, Duration::from_secs(10)).unwrap();
        let inputs = format!("{}in.", self.prefix);
        let ours = metadata.topics().iter().filter(|topic| topic.name().starts_with(&self.prefix) && !topic.name().starts_with(&inputs));
        ours.flat_map(|topic| topic.partitions().iter().map(move |partition| (topic.name(), partition.id())))
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

    fn write_common(&self) {
        let root = self.folder.path();
        let repository = support::repository();
        for name in ["routes", "templates"] {
            fs::create_dir_all(root.join(name)).unwrap();
            for entry in fs::read_dir(repository.join("config").join(name)).unwrap() {
                let entry = entry.unwrap();
                let text = fs::read_to_string(entry.path()).unwrap().replace("topic = \"", &format!("topic = \"{}in.", self.prefix));
                let text = if name == "routes" { text } else { fs::read_to_string(entry.path()).unwrap() };
                fs::write(root.join(name).join(entry.file_name()), text).unwrap();
            }
        }
        fs::copy(repository.join("config/masking.toml"), root.join("masking.toml")).unwrap();
        fs::create_dir_all(root.join("schemas")).unwrap();
        for entry in fs::read_dir(repository.join("schemas")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), root.join("schemas").join(entry.file_name())).unwrap();
        }
        let root_key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        for (name, secret) in [("app", APP_SECRET), ("verify", VERIFY), ("access", ACCESS), ("twilio", TWILIO), ("root", root_key)] {
            let path = root.join(format!("secret-{name}"));
            fs::write(&path, secret).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        }
    }

    /// Writes the configuration of one instance and gives its path. `more`: further lines, `key = value` of the top level first.
    pub fn config(&self, instance: &str, gateway_port: u16, more: &str) -> PathBuf {
        let mut text = format!("{more}\nmode = \"development\"\ninstance = \"{instance}\"\nprefix = \"{}\"\n", self.prefix);
        let simulator = self.simulator.base_url();
        let public = format!("http://127.0.0.1:{}", self.gateway_port);
        write!(
            text,
            r#"
[kafka]
bootstrap = "{bootstrap}"
[topics]
partitions = {partitions}
replication_factor = 1
min_insync_replicas = 1
[engine]
state_folder = "state-{instance}"
{engine}[gateway]
listen = "127.0.0.1:{gateway_port}"
public_base_url = "{public}"
[gateway.meta.bank]
app_secret_file = "secret-app"
verify_token_file = "secret-verify"
[gateway.twilio.bank]
auth_token_file = "secret-twilio"
[keys]
folder = "keys"
root_key_file = "secret-root"
[management]
listen = "127.0.0.1:{management}"
[providers.meta]
channel = "whatsapp"
kind = "meta"
base_url = "{simulator}"
api_version = "v25.0"
phone_number_id = "100000000000001"
access_token_file = "secret-access"
app = "bank"
[providers.sms]
channel = "sms"
kind = "twilio"
base_url = "{simulator}"
account_sid = "{ACCOUNT}"
auth_token_file = "secret-twilio"
from = "+551150390001"
account = "bank"
[providers.voice]
channel = "voice"
kind = "twilio"
base_url = "{simulator}"
account_sid = "{ACCOUNT}"
auth_token_file = "secret-twilio"
from = "+551150390001"
account = "bank"
{more}
"#,
            more = self.more,
            engine = self.engine,
            bootstrap = self.bootstrap.as_deref().unwrap_or_else(|| support::bootstrap()),
            partitions = self.partitions,
            management = support::free_port(),
        )
        .unwrap();
        let path = self.folder.path().join(format!("{instance}.toml"));
        fs::write(&path, text).unwrap();
        path
    }

    /// Starts an instance with these roles.
    pub fn start(&self, config: &Path, roles: &str) -> Instance {
        self.start_with(config, &["--roles", roles])
    }

    /// Starts `recado run` with these options.
    pub fn start_with(&self, config: &Path, options: &[&str]) -> Instance {
        let log = fs::File::options().create(true).append(true).open(config.with_extension("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_recado"))
            .arg("run")
            .args(options)
            .arg("--config")
            .arg(config)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let text = fs::read_to_string(config).unwrap();
        let management = text.split("[management]\nlisten = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
        Instance { child, management, log: config.with_extension("log") }
    }
}

fn providers(mut settings: simulator::Settings, folder: &tempfile::TempDir, gateway_port: u16) -> simulator::Settings {
    settings.log = Some(folder.path().join("send.log"));
    settings.keep_texts = true;
    settings.meta.phone_number_id = "100000000000001".into();
    settings.meta.access_token = ACCESS.into();
    settings.meta.app_secret = APP_SECRET.into();
    settings.meta.webhook = format!("http://127.0.0.1:{gateway_port}/webhooks/meta/bank");
    settings.twilio.account_sid = ACCOUNT.into();
    settings.twilio.api_key = ACCOUNT.into();
    settings.twilio.api_secret = TWILIO.into();
    settings.twilio.auth_token = TWILIO.into();
    settings
}

/// One process.
pub struct Instance {
    child: Child,
    pub management: String,
    pub log: PathBuf,
}

impl Instance {
    /// Waits until it says that it is ready.
    pub async fn ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(90);
        let mut last = String::new();
        while Instant::now() < deadline {
            if let Some(ended) = self.child.try_wait().unwrap() {
                panic!("it ended with {ended}; {}", fs::read_to_string(&self.log).unwrap());
            }
            if let Ok(answer) = reqwest::get(format!("http://{}/readyz", self.management)).await {
                if answer.status().is_success() {
                    return;
                }
                last = answer.text().await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not ready in 90 s: {last}; {}", fs::read_to_string(&self.log).unwrap());
    }

    /// Waits until `/readyz` is red with this in what it says, and returns all that it says.
    pub async fn red(&mut self, with: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(40);
        let mut last = String::new();
        while Instant::now() < deadline {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended; {}", fs::read_to_string(&self.log).unwrap());
            if let Ok(answer) = reqwest::get(format!("http://{}/readyz", self.management)).await {
                assert!(!answer.status().is_success(), "it is ready");
                last = answer.text().await.unwrap();
                if last.contains(with) {
                    return last;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not red with `{with}` in 40 s: {last}; {}", fs::read_to_string(&self.log).unwrap());
    }

    /// Waits until it has ended with a failure, and returns its log.
    pub fn ended(&mut self, within: Duration) -> String {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if let Some(ended) = self.child.try_wait().unwrap() {
                assert!(!ended.success(), "it ended with {ended}");
                return fs::read_to_string(&self.log).unwrap();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it did not end in {within:?}: {}", fs::read_to_string(&self.log).unwrap());
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; panics unless it ends well within 20 s.
    pub fn stop(mut self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        #[expect(unsafe_code, reason = "the standard library sends no SIGTERM")]
        // SAFETY: kill takes no memory of ours; the pid is our child's, which has not been waited for.
        unsafe {
            libc::kill(pid, libc::SIGTERM);
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if let Some(ended) = self.child.try_wait().unwrap() {
                assert!(ended.success(), "it ended with {ended}: {}", fs::read_to_string(&self.log).unwrap());
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it did not end in 20 s: {}", fs::read_to_string(&self.log).unwrap());
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("The log of {}:\n{}", self.log.display(), fs::read_to_string(&self.log).unwrap_or_default());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
