//! What a run left, as it was found: the records of every topic in their bytes, the logs, the send log, the crash log, the brokers' words. Enters a stage on which nothing
//! writes any more; leaves what can be judged, now or from a file (`EVIDENCE`, `JUDGE`).
//!
//! Easily got wrong: what is decoded here could not be read otherwise by a judge that has learnt more. So nothing is. And a kept file has no names of fields: fields and
//! variants of what stands in it are only ever added at the end, or what was kept is lost.

use super::watcher::Seen;
use super::{Places, dump};
use crate::bank::Written;
use crate::canaries::{Canaries, Environment};
use crate::cluster::Stamps;
use crate::faults::{Cause, Kill};
use crate::fold;
use crate::judge::Fault;
use crate::plan::{CALL_TIMEOUT_MS, LEAVE_MARGIN_MS, Plan};
use crate::quiet::Quiet;
use crate::segments::Log;
use crate::stage::{PARTITIONS, Profile, Stage};
use crate::support;
use rdkafka::message::{Headers, Message, OwnedMessage};
use recado::delivery::{Channel, Lane};
use recado::simulator::Line;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// A record as it lies.
#[derive(Serialize, Deserialize)]
pub struct Raw {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// As `at` of `Row`.
    pub at: i64,
    pub value: Vec<u8>,
}

/// Everything that the judge is shown, and what else the verdict on a part needs.
#[derive(Serialize, Deserialize)]
pub struct Found {
    /// What the processes were built from, and whether they have a seeded bug.
    pub build: String,
    pub bug: bool,
    pub profile: Profile,
    pub prefix: String,
    pub seed: u64,
    /// How long the plan is.
    pub span: Duration,
    #[serde(borrow)]
    pub instances: Vec<(&'static str, &'static str)>,
    pub written: Vec<Written>,
    pub kills: Vec<Kill>,
    #[serde(with = "as_json")]
    pub lines: Vec<Line>,
    pub statuses: Vec<Raw>,
    pub dispatches: Vec<Raw>,
    pub journal: Vec<Raw>,
    pub returned: Vec<Raw>,
    pub positions: Vec<Raw>,
    pub logs: Vec<(String, i32, Log)>,
    pub dead: Vec<(String, i32, i64, String)>,
    pub seen: Places,
    pub backwards: Vec<String>,
    pub slow: Vec<(i64, i64)>,
    pub leave_ms: i64,
    pub clocks_apart_ms: i64,
    pub quiet: Quiet,
    pub canaries: Canaries,
    pub ended: Vec<String>,
    /// What was seen to be wrong before anything was judged.
    pub red: Vec<Fault>,
    /// What was met, beside what the judge counts.
    pub counts: BTreeMap<String, usize>,
    /// The most that each instance had, in KiB.
    pub memory: BTreeMap<String, u64>,
    /// From the empty cluster to here.
    pub seconds: u64,
}

/// What is known of a run beside what lies in its topics.
pub struct Known {
    pub bug: bool,
    pub span: Duration,
    pub written: Vec<Written>,
    pub kills: Vec<Kill>,
    pub seen: Seen,
    pub environments: Vec<Environment>,
    pub red: Vec<Fault>,
    pub counts: BTreeMap<String, usize>,
}

impl Found {
    /// Reads everything. Nothing may write any more.
    pub fn gather(plan: &Plan, known: Known, stage: &Stage) -> Self {
        let traffics = || Channel::ALL.into_iter().flat_map(|channel| Lane::ALL.map(|lane| (channel, lane)));
        let of_traffic =
            |word: &str, (channel, lane): (Channel, Lane)| stage.topic(&format!("{word}.{}{}", channel.word(), if lane == Lane::Bulk { ".bulk" } else { "" }));
        let calls: Vec<String> = traffics().flat_map(|traffic| [of_traffic("dispatch", traffic), of_traffic("retry", traffic)]).collect();
        let transactional = ["state", "status", "dead-letters"].map(|name| stage.topic(name)).into_iter().chain(calls.iter().cloned());
        let ours: Vec<String> = transactional.clone().chain(["receipts", "dispatch-journal"].map(|name| stage.topic(name))).collect();
        let positions: Vec<OwnedMessage> = dump(&[stage.topic("state")], true).into_iter().filter(|message| message.key() == Some(fold::POSITION)).collect();
        let Known { bug, span, written, kills, seen, environments, red, counts } = known;
        Self {
            build: support::commit(),
            bug,
            profile: stage.profile,
            prefix: stage.prefix.clone(),
            seed: plan.seed,
            span,
            instances: stage.instances.iter().map(|instance| (instance.name, instance.roles)).collect(),
            written,
            kills,
            lines: stage.send_log(),
            statuses: raw(&dump(&[stage.topic("status")], true)),
            dispatches: raw(&dump(&calls, true)),
            journal: raw(&dump(&[stage.topic("dispatch-journal")], false)),
            returned: raw(&dump(&[stage.topic("receipts")], false)),
            positions: raw(&positions),
            logs: logs(transactional),
            dead: dump(&[stage.topic("dead-letters")], true).iter().map(dead_letter).collect(),
            seen: seen.statuses,
            backwards: seen.backwards,
            slow: seen.slow,
            leave_ms: std::env::var("LEAVE").ok().and_then(|ms| ms.parse().ok()).unwrap_or(CALL_TIMEOUT_MS + LEAVE_MARGIN_MS),
            clocks_apart_ms: Stamps::look().apart(),
            quiet: Quiet::ask(stage, &calls),
            canaries: Canaries::look(stage, &environments, &ours),
            ended: stage.ended.clone(),
            red,
            counts,
            memory: stage.memory.clone(),
            seconds: 0,
        }
    }

    /// How many kills at random there were, and how many starts with a point armed.
    pub fn injected(&self) -> (usize, usize) {
        let count = |such: fn(&Cause) -> bool| self.kills.iter().filter(|kill| such(&kill.cause)).count();
        (count(|cause| *cause == Cause::Random), count(|cause| matches!(cause, Cause::Point(..) | Cause::NotReached)))
    }

    /// Keeps it.
    pub fn write(&self, file: &Path) {
        let bytes = postcard::to_stdvec(self).expect("all of it has a form");
        std::fs::write(file, bytes).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// What was kept. It stays in memory until this process ends: names are read where they lie.
    pub fn read(file: &Path) -> Self {
        let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        postcard::from_bytes(bytes.leak()).unwrap_or_else(|error| panic!("{} was written by another version of the rig: {error}", file.display()))
    }
}

fn raw(messages: &[OwnedMessage]) -> Vec<Raw> {
    let stamps = Stamps::look();
    let one = |message: &OwnedMessage| Raw {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        at: stamps.right(message),
        value: support::value(message).to_vec(),
    };
    messages.iter().map(one).collect()
}

fn logs(topics: impl Iterator<Item = String>) -> Vec<(String, i32, Log)> {
    let data = support::broker().folder.join("data");
    let stamps = Stamps::look();
    let partitions = topics.flat_map(|topic| (0..i32::from(PARTITIONS)).map(move |partition| (topic.clone(), partition)));
    let read = |(topic, partition): (String, i32)| {
        let log = Log::read(&data, &topic, partition, stamps.ahead(&topic, partition));
        (topic, partition, log)
    };
    partitions.map(read).collect()
}

/// Topic, partition and offset of the record that it stands for, and the reason.
fn dead_letter(message: &OwnedMessage) -> (String, i32, i64, String) {
    let header = |name: &str| {
        let headers = message.headers().unwrap();
        let found = headers.iter().find(|header| header.key == name).and_then(|header| header.value).unwrap_or_default();
        String::from_utf8(found.to_vec()).unwrap()
    };
    let number = |name: &str| header(name).parse::<i64>().unwrap();
    let partition = i32::try_from(number("__streams.errors.partition")).unwrap();
    (header("__streams.errors.topic"), partition, number("__streams.errors.offset"), header("recado.reason"))
}

/// The simulator's own form of a line names its kind in a field, which the form of this file cannot.
mod as_json {
    use recado::simulator::Line;
    use serde::de::{Deserialize, Deserializer, Error as _};
    use serde::ser::{Error as _, Serializer};

    pub fn serialize<S: Serializer>(lines: &[Line], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&serde_json::to_string(lines).map_err(S::Error::custom)?)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Line>, D::Error> {
        serde_json::from_str(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
