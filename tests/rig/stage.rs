//! One cluster of processes: Kafka, configuration, topics, the simulator, the instances, and the load balancer that providers reach the gateways through.

use crate::cluster;
use crate::deployment::{self, Process, program, with_us};
use crate::dice::now_ms;
use crate::faults::CALM;
use crate::plan::{CALL_MAX_MS, CALL_TIMEOUT_MS, CODE_LIFE_MAX, HURRY, Kind, Plan, USED};
use crate::support;
use recado::simulator::{self, SendLog};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Partitions of each topic.
pub const PARTITIONS: u16 = 6;
/// The topics of the bank.
pub const INPUTS: [&str; 4] = ["pix.transactions", "auth.challenges", USED, "billing.invoices"];

/// How the roles are spread over processes, and how long a transaction gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// Three instances with all roles in each.
    Together,
    /// One role in each process, several processes for each role.
    Apart,
    /// Three instances with all roles, and five seconds of decisions in each commit: nearly every kill falls on some that are not committed.
    Long,
    /// Three instances with all roles, and leases that outlive a process that stands still.
    Paused,
    /// One role in each process, and dispatchers that come and go.
    Moving,
}

impl Profile {
    pub const ALL: [Self; 5] = [Self::Together, Self::Apart, Self::Long, Self::Paused, Self::Moving];

    pub fn word(self) -> &'static str {
        match self {
            Self::Together => "together",
            Self::Apart => "apart",
            Self::Long => "long",
            Self::Paused => "paused",
            Self::Moving => "moving",
        }
    }

    pub fn named(word: &str) -> Self {
        Self::ALL.into_iter().find(|profile| profile.word() == word).unwrap_or_else(|| panic!("no profile is called {word}"))
    }

    fn instances(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Together | Self::Long | Self::Paused => {
                &[("a", "engine,dispatcher,gateway"), ("b", "engine,dispatcher,gateway"), ("c", "engine,dispatcher,gateway")]
            }
            Self::Apart | Self::Moving => &[
                ("engine-a", "engine"),
                ("engine-b", "engine"),
                ("engine-c", "engine"),
                ("dispatcher-a", "dispatcher"),
                ("dispatcher-b", "dispatcher"),
                ("gateway-a", "gateway"),
                ("gateway-b", "gateway"),
            ],
        }
    }

    /// By time alone: three brokers verify and mark each transaction, and on two cores there would be little left between them.
    fn commits(self) -> &'static str {
        match self {
            Self::Together | Self::Apart | Self::Paused | Self::Moving => "commit_interval = \"100ms\"\ncommit_on_drain = false\n",
            Self::Long => "commit_interval = \"5s\"\ncommit_on_drain = false\n",
        }
    }

    /// Long enough for a restart; where a dispatch is seen five seconds after its decision, or a process stands still until another has its name, for that too.
    fn lease(self) -> &'static str {
        match self {
            Self::Together | Self::Apart | Self::Moving => "60s",
            Self::Long | Self::Paused => "2m",
        }
    }

    /// The same in real ms.
    pub fn lease_ms(self) -> i64 {
        millis(self.lease()) / i64::from(HURRY)
    }

    /// How long what is decided waits for its commit, in ms.
    pub fn commit_ms(self) -> i64 {
        if self == Self::Long { 5_000 } else { 100 }
    }

    /// How long a code lives at most: where every step takes a commit of five seconds, longer.
    fn code_expiry(self) -> &'static str {
        if self == Self::Long { "10m" } else { "5m" }
    }

    /// Before the first fault: lives that end in time to be judged by the seed alone.
    pub fn calm_first(self) -> Duration {
        if self == Self::Long { CALM * 2 } else { CALM }
    }

    /// A code that arrives has arrived by then.
    pub fn used_after(self) -> Duration {
        Duration::from_secs(if self == Self::Long { 12 } else { 5 })
    }

    /// About how many times rarer what an engine does at each commit is than usual.
    pub fn rarer(self) -> u64 {
        if self == Self::Long { 20 } else { 1 }
    }
}

/// The cluster.
pub struct Stage {
    pub profile: Profile,
    pub prefix: String,
    pub folder: PathBuf,
    pub instances: Vec<Instance>,
    /// Instances that ended without having been killed.
    pub ended: Vec<String>,
    /// The most memory that each process had, in KiB: by its instance, or by what it was beside one.
    pub memory: BTreeMap<String, u64>,
    simulator: Process,
    client: reqwest::Client,
}

impl Stage {
    /// Makes folder, topics, simulator and instances, and waits until all instances are ready.
    pub async fn new(profile: Profile, plan: &Plan, folder: &Path) -> Self {
        let folder = folder.join(profile.word());
        fs::create_dir_all(&folder).unwrap();
        let prefix = format!("rig-{}.", profile.word());
        let door = Door::open().await;
        deployment::write_folder(&folder, &prefix, |folder, text| quicker(profile, folder, text));
        let (simulator, provider) = simulator(plan, &folder, door.port);
        let inputs: Vec<String> = INPUTS.iter().map(|name| format!("{prefix}in.{name}")).collect();
        let topics: Vec<(&str, i32, &[(&str, &str)])> = inputs.iter().map(|name| (name.as_str(), i32::from(PARTITIONS), &[][..])).collect();
        support::create(&topics).await;
        cluster::in_sync(&inputs);
        let mut instances = Vec::new();
        for (name, roles) in profile.instances() {
            let (gateway, management) = (support::free_port(), support::free_port());
            let config = config(profile, &folder, &prefix, name, &provider, door.port, gateway, management);
            if roles.contains("gateway") {
                door.behind.lock().unwrap().push(gateway);
            }
            instances.push(Instance { name, roles, config, restoring: false, gateway, management, process: None, armed: None });
        }
        deployment::create_topics(&instances[0].config);
        let ours: Vec<String> = recado::topics::all(&prefix).into_iter().map(|topic| topic.name).collect();
        cluster::in_sync(&ours);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut stage = Self { profile, prefix, folder, instances, ended: Vec::new(), memory: BTreeMap::new(), simulator, client };
        for index in 0..stage.instances.len() {
            stage.start(index);
        }
        stage.all_ready(Duration::from_secs(90)).await;
        stage
    }

    /// A topic of ours.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Starts an instance, under its old name.
    pub fn start(&mut self, index: usize) {
        self.start_with(index, &[]);
    }

    /// Starts an instance that kills itself in this pass through this point.
    pub fn start_armed(&mut self, index: usize, point: &str, pass: u64) {
        self.start_with(index, &[("CRASH_POINT", point), ("CRASH_PASS", &pass.to_string())]);
        let process = self.instances[index].process.as_ref().expect("it was started");
        self.instances[index].armed = Some(Death::of(process.pid()));
    }

    fn start_with(&mut self, index: usize, environment: &[(&str, &str)]) {
        let instance = &mut self.instances[index];
        assert!(instance.process.is_none(), "{} runs already", instance.name);
        instance.process = Some(instance.run(&instance.config, environment));
    }

    /// Starts an instance that stops itself in this pass through this point.
    pub fn start_to_stop(&mut self, index: usize, point: &str, pass: u64) {
        self.start_with(index, &[("CRASH_POINT", point), ("CRASH_PASS", &pass.to_string()), ("CRASH_ACTION", "stop")]);
    }

    /// A second process with the roles of an instance, under this name and on a disk of its own; it is ready when this returns.
    pub async fn beside(&self, index: usize, name: &str, number: usize, within: Duration) -> Beside {
        let instance = &self.instances[index];
        let (gateway, management) = (support::free_port(), support::free_port());
        let mut text = fs::read_to_string(&instance.config).unwrap();
        let folder = format!("beside-{name}-{number}");
        for (from, to) in [
            (format!("\ninstance = \"{}\"\n", instance.name), format!("\ninstance = \"{name}\"\n")),
            (format!("\"state-{}\"", instance.name), format!("\"{folder}\"")),
            (format!(":{}\"", instance.gateway), format!(":{gateway}\"")),
            (format!(":{}\"", instance.management), format!(":{management}\"")),
        ] {
            // Under another's disk or at another's port it would be no process beside it.
            assert_eq!(text.matches(&from).count(), 1, "{from:?} in {}", instance.config.display());
            text = text.replace(&from, &to);
        }
        let config: PathBuf = instance.config.with_file_name(format!("beside-{name}.toml"));
        fs::write(&config, text).unwrap();
        let process = instance.run(&config, &[]);
        let deadline = Instant::now() + within;
        while !self.answers_ready(management).await {
            assert!(Instant::now() < deadline, "{name} beside {} is not ready: {}", instance.name, process.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Beside { process, management, state: self.folder.join(folder).join("db") }
    }

    /// Whether anybody answers at this management port that he is ready.
    pub async fn answers_ready(&self, management: u16) -> bool {
        let asked = self.client.get(format!("http://127.0.0.1:{management}/readyz")).timeout(Duration::from_millis(500)).send();
        asked.await.is_ok_and(|answer| answer.status().is_success())
    }

    /// Takes the process of an instance out, dead or to be let go.
    pub fn take(&mut self, index: usize) -> Process {
        self.instances[index].process.take().expect("it runs")
    }

    /// Nothing is left of what an instance had on its disk.
    pub fn lose_disk(&self, index: usize) {
        let folder = self.folder.join(format!("state-{}", self.instances[index].name));
        fs::remove_dir_all(folder).unwrap();
    }

    /// When an armed instance has died by its own SIGKILL: the last look that found it alive, and the first that did not. It is unarmed then, also where it ended
    /// in another way.
    pub fn crashed(&mut self, index: usize) -> Option<(i64, i64)> {
        let instance = &mut self.instances[index];
        let seen = instance.armed.as_ref()?.seen()?;
        instance.armed = None;
        let killed = instance.process.as_mut()?.ended()?.signal() == Some(libc::SIGKILL);
        killed.then(|| instance.process = None)?;
        Some(seen)
    }

    /// Looks how much memory each instance has had.
    pub fn note_memory(&mut self) {
        let running: Vec<(&str, u32)> = self.instances.iter().filter_map(|instance| Some((instance.name, instance.pid()?))).collect();
        for (name, pid) in running {
            self.note_memory_of(name, pid);
        }
    }

    /// The same for one process.
    pub fn note_memory_of(&mut self, name: &str, pid: u32) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok());
        let most = self.memory.entry(name.to_owned()).or_default();
        *most = (*most).max(peak.unwrap_or(0));
    }

    /// Where an instance's store lies.
    pub fn state_of(&self, name: &str) -> PathBuf {
        self.folder.join(format!("state-{name}")).join("db")
    }

    /// Whether it says that it is ready. One that has ended by itself is noted and started again, as a supervisor would.
    pub async fn ready(&mut self, index: usize) -> bool {
        let instance = &mut self.instances[index];
        let Some(process) = &mut instance.process else { return false };
        if let Some(ended) = process.ended() {
            if instance.armed.is_some() && ended.signal() == Some(libc::SIGKILL) {
                return false; // at its point: `crashed` tells
            }
            instance.armed = None;
            let log = process.said();
            let tail: Vec<&str> = log.lines().rev().take(8).collect();
            self.ended.push(format!("{} at {} with {ended}; the end of its log, last line first:\n{}", instance.name, now_ms(), tail.join("\n")));
            assert!(self.ended.len() < 20, "instances end by themselves again and again:\n{}", self.ended.join("\n"));
            instance.process = None;
            self.start(index);
            return false;
        }
        let asked = self.client.get(format!("http://127.0.0.1:{}/readyz", instance.management)).timeout(Duration::from_millis(500)).send();
        let Ok(answer) = asked.await else { return false };
        let is_ready = answer.status().is_success();
        instance.restoring = !is_ready && answer.text().await.is_ok_and(|text| text.contains("\"restoring\""));
        is_ready
    }

    /// Waits until all are ready; panics with what keeps them.
    pub async fn all_ready(&mut self, within: Duration) {
        let deadline = Instant::now() + within;
        for index in 0..self.instances.len() {
            while !self.ready(index).await {
                if Instant::now() > deadline {
                    let why = self.client.get(format!("http://127.0.0.1:{}/readyz", self.instances[index].management)).send().await;
                    let why = match why {
                        Ok(answer) => answer.text().await.unwrap_or_default(),
                        Err(error) => error.to_string(),
                    };
                    panic!("{} is not ready in {within:?}: {why}", self.instances[index].name);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self, index: usize) {
        self.instances[index].armed = None;
        self.instances[index].process.take().expect("it runs").kill();
    }

    /// SIGTERM to all at once, so that no partition moves; each must end in order within the bound.
    pub fn stop_all(&mut self, within: Duration) -> Result<(), String> {
        for instance in &self.instances {
            if let Some(process) = &instance.process {
                process.terminate();
            }
        }
        let deadline = Instant::now() + within;
        for instance in &mut self.instances {
            let Some(mut process) = instance.process.take() else { continue };
            match process.ended_by(deadline) {
                Some(ended) if ended.success() => {}
                Some(ended) => return Err(format!("{} ended with {ended} on SIGTERM", instance.name)),
                None => return Err(format!("{} did not end within {within:?} of SIGTERM", instance.name)),
            }
        }
        Ok(())
    }

    /// What the providers took and acknowledged.
    pub fn send_log(&self) -> Vec<simulator::Line> {
        SendLog::read(&self.folder.join("send.log")).unwrap()
    }

    /// Bytes of the send log: it no longer grows when the providers have said everything.
    pub fn send_log_bytes(&self) -> u64 {
        fs::metadata(self.folder.join("send.log")).map_or(0, |file| file.len())
    }

    /// Ends the simulator.
    pub fn stop_simulator(&mut self) {
        self.simulator.kill();
    }
}

/// A process beside the instances.
pub struct Beside {
    pub process: Process,
    pub management: u16,
    /// Where its store lies, if it has one.
    pub state: PathBuf,
}

/// One instance of Recado, running or not.
pub struct Instance {
    pub name: &'static str,
    pub roles: &'static str,
    pub config: PathBuf,
    /// Whether it said so when it was last asked.
    pub restoring: bool,
    pub gateway: u16,
    pub management: u16,
    process: Option<Process>,
    armed: Option<Death>,
}

impl Instance {
    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    pub fn has(&self, role: &str) -> bool {
        self.roles.contains(role)
    }

    pub fn is_armed(&self) -> bool {
        self.armed.is_some()
    }

    /// Its process, where it runs.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Starts a process of its roles with this configuration.
    pub fn run(&self, config: &Path, environment: &[(&str, &str)]) -> Process {
        let mut command = program();
        command.args(["run", "--roles", self.roles, "--config"]).arg(config).envs(environment.iter().copied());
        // What is wrong from the start of each process: mutants.rs says what the words mean.
        for (role, fault, seeded) in [("engine", "CLOCK", "SEEDED_CLOCK"), ("dispatcher", "LEAVE", "SEEDED_LEAVE")] {
            if let Some(value) = std::env::var_os(fault).filter(|_| self.has(role)) {
                command.env(seeded, value);
            }
        }
        Process::start(with_us(&mut command), config.with_extension("log"))
    }
}

/// When a process died, seen by a thread that looks each millisecond.
struct Death(Arc<Mutex<Option<(i64, i64)>>>);

impl Death {
    fn of(pid: u32) -> Self {
        let seen: Arc<Mutex<Option<(i64, i64)>>> = Arc::default();
        let told = seen.clone();
        std::thread::spawn(move || {
            let mut alive = now_ms();
            while !has_died(pid) {
                alive = now_ms();
                std::thread::sleep(Duration::from_millis(1));
            }
            *told.lock().unwrap() = Some((alive, now_ms()));
        });
        Self(seen)
    }

    fn seen(&self) -> Option<(i64, i64)> {
        *self.0.lock().unwrap()
    }
}

/// Whether this child is dead, waited for or not.
fn has_died(pid: u32) -> bool {
    #[expect(unsafe_code, reason = "the standard library waits for a child only where it owns it")]
    // SAFETY: `info` is all zeros, which is a value of its type, and lives as long as the call; WNOWAIT leaves the child to whoever waits for it.
    let (answer, of) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let answer = libc::waitid(libc::P_PID, pid, &raw mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT);
        (answer, info.si_pid())
    };
    answer != 0 || of != 0
}

fn simulator(plan: &Plan, folder: &Path, door: u16) -> (Process, String) {
    let port = support::free_port();
    let settings = simulator::Settings {
        listen: ([127, 0, 0, 1], port).into(),
        time_factor: 1.0 / f64::from(HURRY),
        script: plan.script(),
        ..simulator::Settings::default()
    };
    let mut settings = deployment::providers(settings, folder, door);
    settings.meta.repeat_first = Duration::from_millis(200);
    settings.meta.repeat_pause_max = Duration::from_secs(1);
    settings.twilio.calls_per_second = 10;
    let file = folder.join("simulator.toml");
    fs::write(&file, toml::to_string(&settings).unwrap()).unwrap();
    let process = Process::start(with_us(program().args(["simulate", "--settings"]).arg(&file)), folder.join("simulator.log"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "the simulator does not listen: {}", process.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    (process, format!("http://127.0.0.1:{port}"))
}

/// The reference routes and templates with leases long enough for a restart, and a bill that does not wait half an hour.
fn quicker(profile: Profile, folder: &str, text: String) -> String {
    match folder {
        "routes" => text
            .replace("lease = \"10s\"", "")
            .replace("[[route.steps]]", &format!("[[route.steps]]\nlease = \"{}\"", profile.lease()))
            .replace("expiry = \"5m\"", &format!("expiry = \"{}\"", profile.code_expiry()))
            .replace("wait = \"31m\"", "wait = \"33s\"")
            .replace("wait = \"10m\"", "wait = \"30s\"")
            .replace("start = \"latest\"", "start = \"earliest\""),
        "templates" => text.replace("ttl = \"30m\"", "ttl = \"30s\""),
        _ => text,
    }
}

/// A span of the configuration, in its own ms.
fn millis(text: &str) -> i64 {
    i64::try_from(humantime::parse_duration(text).unwrap().as_millis()).unwrap()
}

/// The waits, leases and expiries that the judge goes by are those of the routes, and its bounds of calls and commits those of the configuration: else it would judge
/// by other deadlines.
pub fn check_times(stage: &Stage) {
    let read = |file: &Path| -> toml::Table { fs::read_to_string(file).unwrap().parse().unwrap() };
    let real = |value: &toml::Value| millis(value.as_str().unwrap()) / i64::from(HURRY);
    for (kind, file, route) in
        [(Kind::PixReceived, "pix", "pix.received"), (Kind::PixSent, "pix", "pix.sent"), (Kind::Code, "codes", "code"), (Kind::Bill, "bills", "bill")]
    {
        let table = read(&stage.folder.join(format!("routes/{file}.toml")));
        let routes = table["route"].as_array().unwrap();
        let route = routes.iter().find(|other| other["name"].as_str() == Some(route)).unwrap();
        let steps = route["steps"].as_array().unwrap();
        assert_eq!(steps.iter().map(|step| real(&step["wait"])).collect::<Vec<_>>(), kind.waits(), "{kind:?}");
        assert!(steps.iter().all(|step| real(&step["lease"]) == stage.profile.lease_ms()), "{kind:?}");
        let expiry = millis(route["expiry"].as_str().unwrap());
        match kind.expiry_ms() {
            Some(expected) => assert_eq!(expiry, expected, "{kind:?}"),
            None => assert!(expiry >= i64::try_from(CODE_LIFE_MAX.as_millis()).unwrap(), "{kind:?}"),
        }
    }
    for instance in &stage.instances {
        let config = read(&instance.config);
        let (timeout, margin) = (real(&config["dispatcher"]["call_timeout"]), real(&config["dispatcher"]["call_margin"]));
        assert_eq!((timeout, timeout + margin), (CALL_TIMEOUT_MS, CALL_MAX_MS));
        assert_eq!(millis(config["engine"]["commit_interval"].as_str().unwrap()), stage.profile.commit_ms());
        assert!(config["engine"].get("hold_max").is_none(), "the judge knows its default");
    }
}

fn config(profile: Profile, folder: &Path, prefix: &str, name: &str, provider: &str, door: u16, gateway: u16, management: u16) -> PathBuf {
    let level = std::env::var("LOGS").unwrap_or_else(|_| "info".into());
    let config = deployment::Config {
        instance: name,
        prefix,
        bootstrap: support::bootstrap(),
        partitions: PARTITIONS,
        provider,
        door,
        gateway,
        management,
        top: "",
        engine: &format!("{}storm_guard = false\ncache = \"32MiB\"\nwrite_buffer = \"32MiB\"\n", profile.commits()),
        // Of the few calls of a voice provider the script itself loses up to every second one: to a breaker that is an outage, and then the seed's end is another.
        sections: &format!(
            "[dispatcher]\ncall_timeout = \"20s\"\ncall_margin = \"5s\"\nbreaker_calls_min = 1000\n[logs]\nlevel = \"{level}\"\n[time]\nhurry = {HURRY}\n"
        ),
    };
    config.write(folder)
}

/// So old a connection takes one request more at most.
const OLD: Duration = Duration::from_secs(1);
/// Behind an answer, before it is ended.
const REST: Duration = Duration::from_millis(10);

/// Passes bytes on, both ways, until one side ends; or until the connection is old and an answer is through: providers keep theirs, and a gateway that was away would be
/// sent nothing as long as those to the others suffice.
async fn pass(mut from: TcpStream, mut to: TcpStream) {
    let (began, mut answered) = (Instant::now(), false);
    let (mut there, mut back) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    loop {
        let ends = answered && began.elapsed() >= OLD;
        tokio::select! {
            read = from.read(&mut there) => match read {
                Ok(count @ 1..) if to.write_all(&there[..count]).await.is_ok() => answered = false,
                Ok(_) | Err(_) => return,
            },
            read = to.read(&mut back) => match read {
                Ok(count @ 1..) if from.write_all(&back[..count]).await.is_ok() => answered = true,
                Ok(_) | Err(_) => return,
            },
            () = tokio::time::sleep(REST), if ends => return,
        }
    }
}

/// A load balancer as a bank has one in front of its gateways: the next one in turn that takes a connection.
struct Door {
    port: u16,
    behind: Arc<Mutex<Vec<u16>>>,
}

impl Door {
    async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let behind: Arc<Mutex<Vec<u16>>> = Arc::default();
        let (ports, turn) = (behind.clone(), AtomicUsize::new(0));
        tokio::spawn(async move {
            loop {
                let Ok((from, _)) = listener.accept().await else { continue };
                let (ports, first) = (ports.lock().unwrap().clone(), turn.fetch_add(1, Ordering::Relaxed));
                tokio::spawn(async move {
                    for at in 0..ports.len() {
                        if let Ok(to) = TcpStream::connect(("127.0.0.1", ports[(first + at) % ports.len()])).await {
                            return pass(from, to).await;
                        }
                    }
                });
            }
        });
        Self { port, behind }
    }
}
