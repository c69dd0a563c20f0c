//! A real engine process on topics of its own, its Kafka behind the proxy; this program plays the bank, the dispatcher and the gateway, and goes around the proxy.

use crate::bank;
use crate::broker::{Kafka, WITHIN, wait};
use crate::deployment::{self, Process, program, with_us};
use crate::proxy::{ADD_PARTITIONS, FETCH, PRODUCE};
use crate::support::{self, Reader, Writer};
use recado::delivery::{AttemptId, Channel, Lane, Outcome, Reason, Receipt};
use recado::engine::Topics;
use recado::event::records::{self, Returned};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// Nobody is there: this program is the dispatcher and the gateway itself.
const NOWHERE: (&str, u16) = ("http://127.0.0.1:9", 9);

/// One engine and everything around it.
pub struct World<'k> {
    pub kafka: &'k Kafka,
    pub topics: Topics,
    /// The bank's topic.
    pub input: String,
    /// Event ids, as they were published.
    pub published: Vec<String>,
    folder: tempfile::TempDir,
    mitigations: String,
    instance: &'static str,
    config: PathBuf,
    management: u16,
    process: Option<Process>,
    writer: Writer,
    sent: Reader,
    told: Reader,
    /// Attempts that were answered, or that the test answers itself.
    answered: BTreeSet<String>,
}

impl<'k> World<'k> {
    /// Topics, configuration, and an engine that has begun to read. `mitigations` are those that stay on.
    pub fn start(kafka: &'k Kafka, prefix: &str, mitigations: &str) -> Self {
        let mut world = Self::set_up(kafka, prefix, mitigations);
        world.run();
        world
    }

    /// The same without the engine.
    pub fn set_up(kafka: &'k Kafka, prefix: &str, mitigations: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("recado-proxy-").tempdir().unwrap();
        let topics = Topics::under(prefix);
        let input = format!("{prefix}in.pix.transactions");
        kafka.create(&[&input]);
        write_folder(folder.path(), prefix);
        let management = support::free_port();
        let config = config(folder.path(), "a", prefix, kafka.bootstrap(), management);
        deployment::create_topics(&config);
        let calls: Vec<String> = calls(&topics);
        Self {
            kafka,
            input,
            published: Vec::new(),
            folder,
            mitigations: mitigations.to_owned(),
            instance: "a",
            config,
            management,
            process: None,
            writer: Writer::of(kafka.around()),
            sent: Reader::of(kafka.around(), &calls.iter().map(|topic| (topic.as_str(), 1)).collect::<Vec<_>>()),
            told: Reader::of(kafka.around(), &[(&topics.status, 1)]),
            answered: BTreeSet::new(),
            topics,
        }
    }

    /// Another instance takes its place: another name, another disk.
    pub fn rename(&mut self, instance: &'static str) {
        self.instance = instance;
        self.config = config(self.folder.path(), instance, self.topics.prefix(), self.kafka.bootstrap(), self.management);
    }

    /// Starts the process, under the name that it has.
    pub fn run(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let mut command = program();
        command.args(["run", "--roles", "engine", "--config"]).arg(&self.config).env("MITIGATIONS", &self.mitigations).env("SEEDED_ABORT", self.abort());
        self.process = Some(Process::start(with_us(&mut command), self.log()));
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("engine.log")
    }

    /// What it said last.
    pub fn said(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn abort(&self) -> PathBuf {
        self.folder.path().join("abort")
    }

    /// The next transaction is aborted instead of committed.
    pub fn abort_next(&self) {
        fs::write(self.abort(), "").unwrap();
    }

    /// Writes while the engine stands still, so that all of it comes in one batch.
    pub fn as_one(&mut self, write: impl FnOnce(&mut Self)) {
        self.process().signal(libc::SIGSTOP);
        // What it has asked for before is answered before: else a part of the batch could come with that answer.
        wait("no fetch is under way", || self.kafka.in_flight(FETCH) == 0);
        write(self);
        self.writer.flush();
        self.process().signal(libc::SIGCONT);
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    /// The bank publishes a Pix.
    pub fn publish(&mut self, event_id: &str) {
        let record = bank::pix_received(event_id, "customer-1", "+5511987654321");
        self.writer.send(&self.input, 0, b"customer-1", &record);
        self.writer.flush();
        self.published.push(event_id.to_owned());
    }

    /// What dispatcher and gateway say of an attempt.
    pub fn give_back(&mut self, attempt_id: AttemptId, receipts: &[Receipt]) {
        let mut value = Vec::new();
        let mut all = vec![Returned::Outcome { attempt_id, outcome: Outcome::Accepted, reason: Reason::None, code: 0, provider_id: None }];
        all.extend(receipts.iter().map(|&receipt| Returned::Receipt { attempt_id, receipt, reason: Reason::None, code: 0, provider_time: None }));
        for returned in all {
            value.clear();
            records::encode_returned(&returned, &mut value);
            self.writer.send(&self.topics.receipts, 0, b"", &value);
        }
        self.writer.flush();
        self.answered.insert(attempt_id.to_string());
    }

    /// A sign of life of the gateway.
    pub fn beat(&mut self) {
        let mut value = Vec::new();
        records::encode_returned(&Returned::GatewayHeartbeat { instance: "gateway".into() }, &mut value);
        self.writer.send(&self.topics.receipts, 0, b"", &value);
        self.writer.flush();
    }

    /// Waits for the next dispatch that nobody has answered yet. It is the test's to answer.
    pub fn dispatched(&mut self) -> AttemptId {
        let deadline = Instant::now() + WITHIN;
        loop {
            if let Some(attempt_id) = self.next_dispatch() {
                return attempt_id;
            }
            self.look(deadline, "a dispatch");
        }
    }

    fn next_dispatch(&mut self) -> Option<AttemptId> {
        let next = self.sent.next();
        self.sent.read.extend(next);
        let mut all = self.sent.read.iter().map(|message| records::decode_dispatch(support::value(message)).unwrap().attempt_id);
        let next = all.find(|attempt_id| !self.answered.contains(&attempt_id.to_string()))?;
        self.answered.insert(next.to_string());
        Some(next)
    }

    /// Answers every new dispatch as a provider does that delivers, until this event has its end. An attempt that comes again is dropped in silence, as the
    /// dispatcher's journal makes it.
    pub fn play_until_ended(&mut self, event_id: &str) {
        let deadline = Instant::now() + WITHIN;
        loop {
            while let Some(attempt_id) = self.next_dispatch() {
                self.give_back(attempt_id, &[Receipt::Sent, Receipt::Delivered]);
            }
            let next = self.told.next();
            self.told.read.extend(next);
            let ended = self.told.read.iter().any(|message| {
                let record = records::decode_status(support::value(message)).unwrap();
                record.status.word.terminal() && record.event_id.as_deref() == Some(event_id)
            });
            if ended {
                return;
            }
            self.look(deadline, &format!("the end of {event_id}"));
        }
    }

    fn look(&mut self, deadline: Instant, what: &str) {
        if let Some(ended) = self.process.as_mut().and_then(Process::ended) {
            panic!("the engine ended by itself ({ended}) while {what} was waited for:\n{}", self.said());
        }
        assert!(Instant::now() < deadline, "{what}: not within {WITHIN:?}; the engine says:\n{}\n{}", self.said(), self.kafka.proxy.story());
    }

    /// Waits until everything that the open transaction writes lies in the log, but is not committed.
    pub fn written(&self) {
        let asker = self.kafka.asker();
        let open = |topic: &str| {
            let (committed, all) = asker.ends(topic);
            committed < all
        };
        let under_way = || self.kafka.in_flight(PRODUCE) + self.kafka.in_flight(ADD_PARTITIONS);
        let deadline = Instant::now() + WITHIN;
        // State is written last, but another partition's batch may still be on its way: so twice in a row.
        let mut seen = 0;
        while seen < 2 {
            let written = under_way() == 0 && open(&self.topics.state) && open(&self.topics.status);
            seen = if written { seen + 1 } else { 0 };
            assert!(
                Instant::now() < deadline,
                "the records are not written within {WITHIN:?}: {} requests under way; the engine says:\n{}\n{}",
                under_way(),
                self.said(),
                self.kafka.proxy.story()
            );
        }
    }

    /// The attempts that are visible now and that nobody has answered. They are the test's to answer.
    pub fn visible(&mut self) -> Vec<AttemptId> {
        let all = self.kafka.dump(&calls(&self.topics));
        let ids = all.iter().map(|message| records::decode_dispatch(support::value(message)).unwrap().attempt_id);
        ids.filter(|attempt_id| self.answered.insert(attempt_id.to_string())).collect()
    }

    /// Waits until no transaction is open.
    pub fn settled(&self) {
        for topic in [&self.topics.state, &self.topics.status, self.topics.dispatch(Channel::WhatsApp, Lane::Express)] {
            self.kafka.settled(topic);
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
        // Its last wish counted for that life.
        let _ = fs::remove_file(self.abort());
    }

    /// SIGTERM: what it holds goes to the disk.
    pub fn stop(&mut self) {
        self.process().signal(libc::SIGTERM);
        let ended = self.wait_for_end(WITHIN).unwrap_or_else(|| panic!("the engine does not stop:\n{}", self.said()));
        assert!(ended.success(), "the engine ended with {ended}:\n{}", self.said());
    }

    /// Waits until the process has ended by itself; `None` when it has not.
    pub fn wait_for_end(&mut self, within: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            let ended = self.process.as_mut().expect("it runs").ended();
            if ended.is_some() {
                self.process = None;
                return ended;
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The disk is lost.
    pub fn wipe(&self) {
        fs::remove_dir_all(self.folder.path().join(format!("state-{}", self.instance))).unwrap();
    }

    /// Where RocksDB lies, and whose it is.
    pub fn store(&self) -> (PathBuf, &'static str) {
        (self.folder.path().join(format!("state-{}/db", self.instance)), self.instance)
    }

    /// The sum of a counter over its labels, as the process tells it now.
    pub fn counter(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.management)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let of = |line: &str| line.starts_with(name).then(|| line.rsplit(' ').next()?.parse::<u64>().ok()).flatten();
        text.lines().filter_map(of).sum()
    }
}

/// All topics that carry dispatches.
pub fn calls(topics: &Topics) -> Vec<String> {
    let traffics = || Channel::ALL.into_iter().flat_map(|channel| Lane::ALL.map(|lane| (channel, lane)));
    traffics().flat_map(|(channel, lane)| [topics.dispatch(channel, lane).to_string(), topics.retry(channel, lane).to_string()]).collect()
}

/// The reference route of a Pix alone, read from its topic's beginning.
fn write_folder(folder: &Path, prefix: &str) {
    deployment::write_folder(folder, prefix, |_, text| text.replace("start = \"latest\"", "start = \"earliest\""));
    for route in ["codes", "bills"] {
        fs::remove_file(folder.join(format!("routes/{route}.toml"))).unwrap();
    }
}

fn config(folder: &Path, instance: &str, prefix: &str, bootstrap: &str, management: u16) -> PathBuf {
    let level = std::env::var("LOGS").unwrap_or_else(|_| "info".into());
    let config = deployment::Config {
        instance,
        prefix,
        bootstrap,
        partitions: 1,
        provider: NOWHERE.0,
        door: NOWHERE.1,
        gateway: support::free_port(),
        management,
        top: "",
        engine: "cache = \"32MiB\"\nwrite_buffer = \"32MiB\"\n",
        sections: &format!("[logs]\nlevel = \"{level}\"\n"),
    };
    config.write(folder)
}
