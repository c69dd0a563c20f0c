//! The auditor: reads every committed status while a program runs, and says afterwards what was lost, said twice or said of nobody; then it reads every
//! dispatch of a first step, of which each life has one, and those of second steps, of which none may come before its wait is over; nothing else may be dispatched, and
//! nothing be called a dead letter. Reasons, times and sources in statuses are not compared, and sealed bytes are not opened.

use crate::back::Back;
use crate::load::Loader;
use crate::place::WAIT_SHORT_MS;
use crate::records::Codec;
use crate::script::{Life, PARTITIONS, Told};
use crate::support;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use recado::delivery::{Attempt, MessageId, StatusWord};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Which life a message is of; filled before a round is written.
pub type Names = Arc<Mutex<HashMap<MessageId, Life>>>;

/// Without any status for so long a run is given up.
const SILENT_MAX: Duration = Duration::from_secs(120);

/// While a program runs.
pub struct Auditor {
    stop: Arc<AtomicBool>,
    /// Statuses of lives that do not fall back, and of those that do.
    plain: Arc<AtomicU64>,
    fallen: Arc<AtomicU64>,
    reader: JoinHandle<Heard>,
    dispatcher: JoinHandle<()>,
}

/// What was read.
#[derive(Default)]
pub struct Heard {
    told: Vec<Told>,
    strangers: u64,
}

impl Auditor {
    /// Begins to read, and to answer the dispatches of second steps as their provider would.
    pub fn start(codec: &Arc<Codec>, loader: &Loader, prefix: &str, names: &Names) -> Self {
        let (stop, plain, fallen) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let reader = std::thread::spawn({
            let (stop, plain, fallen, codec, names, topic) =
                (stop.clone(), plain.clone(), fallen.clone(), codec.clone(), names.clone(), format!("{prefix}status"));
            move || {
                let (consumer, mut heard) = (consumer(&topic), Heard::default());
                let mut ends = None;
                loop {
                    // The program has ended: what it wrote last is read as well.
                    if stop.load(Ordering::Relaxed) && ends.get_or_insert_with(|| Ends::of(&consumer, &topic)).reached(&consumer) {
                        break;
                    }
                    let Some(message) = consumer.poll(Duration::from_millis(50)) else { continue };
                    let message = message.expect("the broker answers");
                    let Some(told) = codec.told(message.payload().unwrap_or_default(), &names.lock().expect("nobody panics with it")) else {
                        heard.strangers += 1;
                        continue;
                    };
                    heard.told.push(told);
                    (if told.life.falls_back() { &fallen } else { &plain }).fetch_add(1, Ordering::Relaxed);
                }
                heard
            }
        });
        let dispatcher = std::thread::spawn({
            let (stop, codec, loader, topic) = (stop.clone(), codec.clone(), loader.clone(), format!("{prefix}retry.sms"));
            move || {
                let consumer = consumer(&topic);
                while !stop.load(Ordering::Relaxed) {
                    let Some(message) = consumer.poll(Duration::from_millis(50)) else { continue };
                    let attempt_id = codec.dispatched(message.expect("the broker answers").payload().unwrap_or_default());
                    for back in [Back::Accepted, Back::Delivered] {
                        loader.back(attempt_id.message_id, attempt_id.attempt, back);
                    }
                }
                loader.flush();
            }
        });
        Self { stop, plain, fallen, reader, dispatcher }
    }

    /// How many statuses there are of lives that fall back.
    pub fn fallen(&self) -> u64 {
        self.fallen.load(Ordering::Relaxed)
    }

    /// Waits for so many statuses of lives that do not fall back, and of those that do. Errors: nothing came for two minutes.
    pub fn wait(&self, plain: u64, fallen: u64) -> Result<(), String> {
        let heard = || (self.plain.load(Ordering::Relaxed), self.fallen.load(Ordering::Relaxed));
        let (mut last, mut since) = (heard(), Instant::now());
        loop {
            let now = heard();
            if now.0 >= plain && now.1 >= fallen {
                return Ok(());
            }
            if now != last {
                (last, since) = (now, Instant::now());
            }
            if since.elapsed() > SILENT_MAX {
                return Err(format!("{} of {plain} statuses, {} of {fallen} after a fallback, and then nothing for {SILENT_MAX:?}", now.0, now.1));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends both, once all that was written is read.
    pub fn stop(self) -> Heard {
        self.stop.store(true, Ordering::Relaxed);
        self.dispatcher.join().expect("it does not panic");
        self.reader.join().expect("it does not panic")
    }
}

impl Heard {
    /// What is wrong, a sentence each, with up to three examples. `lives`: how many were begun. `fallbacks`: whether the program can fall back.
    pub fn faults(mut self, codec: &Codec, lives: u32, fallbacks: bool) -> Vec<String> {
        let counts = |told: &Told| fallbacks || !told.life.falls_back() || told.word == StatusWord::Requested;
        let mut wanted: Vec<Told> = (0..lives).map(Life).filter(|life| !codec.is_repeated(*life)).flat_map(Life::told).filter(counts).collect();
        wanted.sort_unstable();
        self.told.sort_unstable();
        let (lost, more) = differences(&wanted, &self.told);
        let sentence = |what: &str, of: &[Told]| (!of.is_empty()).then(|| format!("{} {what}: {:?}", of.len(), &of[..of.len().min(3)]));
        let strangers = (self.strangers > 0).then(|| format!("{} statuses of nobody", self.strangers));
        [sentence("lost", &lost), sentence("too many", &more), strangers].into_iter().flatten().collect()
    }
}

/// What is wrong with the dispatches, after the program has ended: each life has one of its first step, and one of its second where it falls back, not before its wait is
/// over.
pub fn faults_of_dispatches(codec: &Codec, loader: &Loader, prefix: &str, names: &Names, lives: u32, fallbacks: bool) -> Vec<String> {
    let names = names.lock().expect("nobody panics with it");
    let mut faults = spurious(prefix);
    for (word, attempt, counts) in [("dispatch.whatsapp", Attempt::FIRST, false), ("retry.sms", Attempt { step: 2, n: 1 }, true)] {
        let (topic, mut seen, mut strangers) = (format!("{prefix}{word}"), vec![0u8; lives as usize], 0);
        let mut early = 0;
        let consumer = consumer(&topic);
        let ends = Ends::of(&consumer, &topic);
        while !ends.reached(&consumer) {
            let Some(message) = consumer.poll(Duration::from_millis(50)) else { continue };
            let message = message.expect("the broker answers");
            let id = codec.dispatched(message.payload().unwrap_or_default());
            let life = names.get(&id.message_id);
            let over = || loader.accepted(id.message_id).is_some_and(|at| message.timestamp().to_millis() >= Some(at + i64::from(WAIT_SHORT_MS)));
            early += u32::from(counts && !over());
            match life.and_then(|life| seen.get_mut(life.0 as usize)) {
                Some(count) if id.attempt == attempt => *count = count.saturating_add(1),
                _ => strangers += 1,
            }
        }
        let wanted = |life: Life| u8::from(!codec.is_repeated(life) && (!counts || (fallbacks && life.falls_back())));
        let wrong = (0..lives).map(Life).zip(&seen).filter(|(life, count)| wanted(*life) != **count).count();
        if early > 0 {
            faults.push(format!("{word}: {early} dispatches before their wait was over"));
        }
        if wrong + strangers > 0 {
            faults.push(format!("{word}: {wrong} lives have more or fewer dispatches than one, and {strangers} dispatches are of nobody"));
        }
    }
    faults
}

/// What is committed in topics that the script leaves empty.
fn spurious(prefix: &str) -> Vec<String> {
    let client: BaseConsumer = support::client().create().expect("a consumer");
    let metadata = client.fetch_metadata(None, Duration::from_secs(10)).expect("the broker answers");
    let words = metadata.topics().iter().filter_map(|topic| topic.name().strip_prefix(prefix));
    let empty =
        |word: &&str| !["dispatch.whatsapp", "retry.sms"].contains(word) && ["dispatch.", "retry.", "dead-letters"].iter().any(|kind| word.starts_with(kind));
    let count = |word: &str| {
        let topic = format!("{prefix}{word}");
        let (consumer, mut count) = (consumer(&topic), 0);
        let ends = Ends::of(&consumer, &topic);
        while !ends.reached(&consumer) {
            count += u32::from(consumer.poll(Duration::from_millis(50)).is_some());
        }
        (count > 0).then(|| format!("{word}: {count} records of nobody"))
    };
    words.filter(empty).filter_map(count).collect()
}

/// Where what is committed ends, for whoever reads all of it.
struct Ends(Vec<i64>);

impl Ends {
    fn of(consumer: &BaseConsumer, topic: &str) -> Self {
        let end = |partition| consumer.fetch_watermarks(topic, partition, Duration::from_secs(10)).expect("the broker answers").1;
        Self((0..i32::from(PARTITIONS)).map(end).collect())
    }

    /// By position: it passes over the ends of transactions, which are no records.
    fn reached(&self, consumer: &BaseConsumer) -> bool {
        let positions = consumer.position().expect("it has partitions");
        let place = |partition: i32| usize::try_from(partition).expect("counted from 0");
        positions.elements().iter().all(|at| match at.offset() {
            Offset::Offset(next) => next >= self.0[place(at.partition())],
            _ => self.0[place(at.partition())] == 0,
        })
    }
}

/// Of two sorted lists what stands in the first alone, and in the second alone; each as often as it does.
fn differences(wanted: &[Told], heard: &[Told]) -> (Vec<Told>, Vec<Told>) {
    let (mut lost, mut more) = (Vec::new(), Vec::new());
    let (mut wanted, mut heard) = (wanted.iter().peekable(), heard.iter().peekable());
    loop {
        match (wanted.peek(), heard.peek()) {
            (Some(one), Some(other)) if one == other => {
                wanted.next();
                heard.next();
            }
            (Some(one), other) if other.is_none_or(|other| one < other) => lost.extend(wanted.next()),
            (_, Some(_)) => more.extend(heard.next()),
            (None, None) => return (lost, more),
            (Some(_), None) => unreachable!("as above"),
        }
    }
}

/// Reads committed records of all partitions from the start.
pub fn consumer(topic: &str) -> BaseConsumer {
    let consumer: BaseConsumer = support::client()
        .set("group.id", "auditor")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "20")
        .set("fetch.min.bytes", "65536")
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    for partition in 0..i32::from(PARTITIONS) {
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("a legal topic");
    }
    consumer.assign(&list).expect("a legal assignment");
    consumer
}
