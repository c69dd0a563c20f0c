//! I7: what must not rest in clear is looked for everywhere where it could rest: the instances' folders (state, keys, logs), the brokers' disks but for the bank's own
//! inputs, their logs, the environment of the running processes; and once more in what was decoded: every record of ours, aborted ones too, and every stored value.
//!
//! Easily got wrong: a search that looks in the wrong place finds nothing either. Leaks are planted, and must be found (`broken.rs`).

use crate::bank::NAME;
use crate::evidence::each;
use crate::fold;
use crate::leaks::{self, Search};
use crate::plan::{CANARY, PHONE_OWN_DIGITS, PHONES, PHONES_NATIONAL, PHONES_WITHOUT_NINE};
use crate::stage::{PARTITIONS, Stage};
use crate::support;
use rdkafka::message::{Headers, Message};
use recado::delivery::Partition;
use recado::engine::store::{Options, Store};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the provider and the bank may know: the send log, the phones' script.
const NOT_OURS: [&str; 2] = ["send.log", "simulator.toml"];

/// A running process's environment.
pub struct Environment {
    instance: &'static str,
    bytes: Vec<u8>,
}

/// What was looked for, where, and what was found.
#[derive(Clone, Serialize, Deserialize)]
pub struct Canaries {
    #[serde(skip, default = "search")]
    search: Arc<Search>,
    folder: PathBuf,
    /// Places and spellings.
    pub found: Vec<String>,
    /// Where a leak was found that was planted in a topic, in a compressed batch, after everything was searched.
    pub planted: Vec<String>,
    pub files: usize,
    pub records: usize,
    pub values: usize,
    pub environments: usize,
}

/// While they run.
pub fn environments(stage: &Stage) -> Vec<Environment> {
    let of = |instance: &crate::stage::Instance| {
        Some(Environment { instance: instance.name, bytes: fs::read(format!("/proc/{}/environ", instance.pid()?)).unwrap() })
    };
    stage.instances.iter().filter_map(of).collect()
}

impl Canaries {
    /// Looks everywhere. Nothing may write any more.
    pub fn look(stage: &Stage, environments: &[Environment], topics: &[String]) -> Self {
        let mut canaries = Self {
            search: search(),
            folder: stage.folder.clone(),
            found: Vec::new(),
            planted: Vec::new(),
            files: 0,
            records: 0,
            values: 0,
            environments: environments.len(),
        };
        for Environment { instance, bytes } in environments {
            canaries.bytes(&format!("the environment of {instance}"), bytes);
        }
        canaries.instances();
        // The bank's own topics hold what it wrote there; and another part of the run has planted its own.
        let not_ours = |topic: &str| topic.starts_with("rig-") && (!topic.starts_with(&stage.prefix) || topic.contains(".in."));
        canaries.files(broker_files().filter(|file| leaks::tells(file) && !leaks::of_topic(file, not_ours)));
        canaries.records(topics);
        for instance in stage.instances.iter().filter(|instance| instance.has("engine")) {
            let store = Store::open(&stage.folder.join(format!("state-{}", instance.name)).join("db"), instance.name, &Options::default()).unwrap();
            for Partition(partition) in store.partitions(PARTITIONS) {
                for (key, value) in fold::content(&store, partition).map(|(_, held)| held).unwrap_or_default() {
                    canaries.bytes(&format!("{} in the store of {}", hex::encode(&key), instance.name), &[key, value].concat());
                    canaries.values += 1;
                }
            }
        }
        canaries.plant(stage.topic("dead-letters"));
        canaries
    }

    /// Looks once more where the instances write.
    pub fn instances(&mut self) {
        let ours = |file: &PathBuf| !file.file_name().and_then(|name| name.to_str()).is_some_and(|name| NOT_OURS.contains(&name));
        let files = leaks::files(&self.folder).into_iter().filter(ours);
        self.files(files);
    }

    /// Looks in what topics hold.
    fn records(&mut self, topics: &[String]) {
        each(topics, false, |message| {
            let headers: Vec<&[u8]> = message.headers().into_iter().flat_map(|headers| headers.iter().filter_map(|header| header.value)).collect();
            let bytes = [message.key().unwrap_or_default(), message.payload().unwrap_or_default(), &headers.concat()].concat();
            let place = format!("{}-{} offset {}", message.topic(), message.partition(), message.offset());
            self.found.extend(self.search.in_bytes(&place, &bytes));
            self.records += 1;
        });
    }

    /// Writes what must not be written, and looks there.
    fn plant(&mut self, topic: String) {
        let mut client = support::client();
        let writer = support::Writer::of(client.set("compression.type", "lz4").clone());
        writer.send(&topic, 0, b"", format!("código {CANARY}000000, código {CANARY}000000").as_bytes());
        writer.flush();
        let mut again = Self { found: Vec::new(), ..self.clone() };
        again.records(&[topic]);
        self.planted = again.found;
    }

    /// Looks in these bytes.
    pub fn bytes(&mut self, place: &str, bytes: &[u8]) {
        self.found.extend(self.search.in_bytes(place, bytes));
    }

    /// Another folder than that of the instances, which is gone where a run is judged once more.
    pub fn in_folder(mut self, folder: &Path) -> Self {
        folder.clone_into(&mut self.folder);
        self
    }

    /// The folder of the instances, for who plants a leak.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn files(&mut self, files: impl Iterator<Item = PathBuf>) {
        let files: Vec<PathBuf> = files.collect();
        self.files += files.len();
        self.found.extend(self.search.in_files(files));
    }
}

/// What is looked for.
fn search() -> Arc<Search> {
    // Six digits in the clear occur by chance: as the microseconds of a log's line in one of a million, at the end of a time in milliseconds once in 17 minutes. As the
    // beginning of a number of exactly eleven they would in one of 900,000, and nothing here writes numbers of that length (times have 10, 13 or 16 digits, positions
    // at most 7); seven of exactly twelve in one of nine million. The other spellings have from 7 characters of base64 (one in 64^7, 4 * 10^12) to 16 bytes.
    let number = |name, begins: &'static str| (name, begins, begins.len() + PHONE_OWN_DIGITS);
    let search = Search::of([("a code", CANARY), ("a name", NAME), ("a number", PHONES), ("a number as it is written", "(11) 9800")])
        .and_numbers([number("a number without its country", PHONES_NATIONAL), number("a wa_id without its nine", PHONES_WITHOUT_NINE)]);
    Arc::new(search)
}

fn broker_files() -> impl Iterator<Item = PathBuf> {
    leaks::files(&support::broker().folder).into_iter()
}
