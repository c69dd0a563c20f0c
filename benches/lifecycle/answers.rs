//! The dispatcher, the providers and the gateway in one: says of what is dispatched what a script says, each word after its time, and gives signs of life.
//!
//! Easily got wrong: words that follow each other at once are decided in one transaction, and the state is written once in the place of four times.

use crate::PARTITIONS;
use crate::back::{Back, encoded};
use crate::load::Loader;
use crate::measure::topics;
use crate::process::Stage;
use crate::shared::Worker;
use rdkafka::consumer::BaseConsumer;
use recado::delivery::MessageId;
use recado::event::records::Returned;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One word of a script.
pub struct Word {
    what: Back,
    /// So long after the dispatch was read.
    after: Duration,
    /// Of which messages it is said.
    of: fn(&MessageId) -> bool,
}

/// Taken, and then nothing more.
pub const ACCEPTED: &[Word] = &[Word { what: Back::Accepted, after: Duration::ZERO, of: all }];
/// A whole lifecycle: each word some commits behind the one before it, and three of five messages are read.
pub const LIFECYCLE: &[Word] = &[
    Word { what: Back::Accepted, after: Duration::ZERO, of: all },
    Word { what: Back::Sent, after: Duration::from_millis(400), of: all },
    Word { what: Back::Delivered, after: Duration::from_millis(800), of: all },
    Word { what: Back::Read, after: Duration::from_millis(1_200), of: three_of_five },
];
/// Each second message is taken and never heard of again.
pub const HALF: &[Word] = &[
    Word { what: Back::Accepted, after: Duration::ZERO, of: all },
    Word { what: Back::Sent, after: Duration::from_millis(400), of: half },
    Word { what: Back::Delivered, after: Duration::from_millis(800), of: half },
];

fn all(_: &MessageId) -> bool {
    true
}

// The last byte of an id is one of a hash.

fn three_of_five(id: &MessageId) -> bool {
    id.bytes()[15] % 5 < 3
}

/// Whether [`HALF`] confirms it.
pub fn half(id: &MessageId) -> bool {
    id.bytes()[15].is_multiple_of(2)
}

/// Somebody who answers.
pub struct Answers {
    worker: Worker,
    said: Arc<Vec<AtomicU64>>,
}

/// How long it waits for a dispatch before it looks whether something is to be said.
const POLL: Duration = Duration::from_millis(5);

impl Answers {
    /// Answers everything that is dispatched to this topic of first attempts from now on.
    pub fn start(stage: &Stage, topic: &str, script: &'static [Word]) -> Self {
        let topic = format!("{}{topic}", stage.prefix);
        let (consumer, receipts) = (topics::consumer(&topic, &topics::ends(&topic)), format!("{}receipts", stage.prefix));
        let said: Arc<Vec<AtomicU64>> = Arc::new(script.iter().map(|_| AtomicU64::new(0)).collect());
        let counts = said.clone();
        Self { worker: Worker::start(move |stop| answer(&consumer, &receipts, script, &counts, stop)), said }
    }

    /// How often a word of the script was said.
    pub fn said(&self, word: usize) -> u64 {
        self.said[word].load(Ordering::Relaxed)
    }

    /// Says what is still to be said of what was read, and ends. Returns how often the last word of the script was said.
    pub fn end(self) -> u64 {
        self.worker.end();
        self.said.last().unwrap().load(Ordering::Relaxed)
    }
}

fn answer(consumer: &BaseConsumer, receipts: &str, script: &[Word], said: &[AtomicU64], stop: &AtomicBool) {
    let loader = Loader::new();
    let mut waiting: Vec<VecDeque<(Instant, MessageId)>> = script.iter().map(|_| VecDeque::new()).collect();
    loop {
        if stop.load(Ordering::Relaxed) {
            if waiting.iter().all(VecDeque::is_empty) {
                break;
            }
            std::thread::sleep(POLL);
        } else if let Some(Ok(message)) = consumer.poll(POLL) {
            let (id, now) = (topics::id(&message).unwrap(), Instant::now());
            for (queue, word) in waiting.iter_mut().zip(script).filter(|(_, word)| (word.of)(&id)) {
                queue.push_back((now + word.after, id));
            }
        }
        let now = Instant::now();
        for ((queue, word), said) in waiting.iter_mut().zip(script).zip(said) {
            while let Some((_, id)) = queue.front().filter(|(at, _)| *at <= now) {
                loader.back(receipts, id, word.what);
                said.fetch_add(1, Ordering::Relaxed);
                queue.pop_front();
            }
        }
    }
    loader.flush();
}

/// A gateway's signs of life, each second: without them no wait ends.
pub fn signs_of_life(stage: &Stage) -> Worker {
    let receipts = format!("{}receipts", stage.prefix);
    Worker::start(move |stop| {
        let (loader, sign) = (Loader::new(), encoded(&Returned::GatewayHeartbeat { instance: "bench".into() }));
        while !stop.load(Ordering::Relaxed) {
            for partition in 0..i32::from(PARTITIONS) {
                loader.send(&receipts, partition, &[], &sign, None);
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    })
}
