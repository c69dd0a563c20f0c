//! Who watches while the faults go on: a reader of committed statuses, and a probe that notes when brokers or machine are slow.

use super::{Places, reader};
use crate::avro;
use crate::dice::now_ms;
use crate::stage::PARTITIONS;
use crate::support;
use rdkafka::consumer::Consumer;
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

/// What was seen while the faults went on.
pub struct Seen {
    pub(super) statuses: Places,
    pub(super) backwards: Vec<String>,
    pub(super) slow: Vec<(i64, i64)>,
}

/// Reads committed statuses while the faults go on; what it has seen is evidence.
pub struct Watcher {
    stop: Arc<AtomicBool>,
    told: Arc<std::sync::Mutex<BTreeMap<String, usize>>>,
    thread: std::thread::JoinHandle<(Places, Vec<String>)>,
    probe: std::thread::JoinHandle<Vec<(i64, i64)>>,
    /// When brokers or machine were last found slow.
    slow_until: Arc<AtomicI64>,
}

impl Watcher {
    /// Begins to read.
    pub fn start(topic: String) -> Self {
        let (stop, told) = (Arc::new(AtomicBool::new(false)), Arc::<std::sync::Mutex<BTreeMap<String, usize>>>::default());
        let (stopped, ends) = (stop.clone(), told.clone());
        let slow_until = Arc::<AtomicI64>::default();
        let probe = std::thread::spawn({
            let (topic, stopped, until) = (format!("{topic}-probe"), stop.clone(), slow_until.clone());
            move || slow(&topic, &stopped, &until)
        });
        let thread = std::thread::spawn(move || {
            let consumer = reader(true);
            let mut list = TopicPartitionList::new();
            for partition in 0..PARTITIONS {
                list.add_partition_offset(&topic, i32::from(partition), Offset::Beginning).unwrap();
            }
            consumer.assign(&list).unwrap();
            let (mut seen, mut backwards, mut last) = (Places::new(), Vec::new(), BTreeMap::new());
            loop {
                match consumer.poll(Duration::from_millis(100)) {
                    Some(Ok(message)) => {
                        let bytes = message.payload().unwrap_or_default();
                        let status = avro::status(bytes);
                        if status.status.word.terminal()
                            && let Some(event) = status.event_id
                        {
                            *ends.lock().unwrap().entry(event).or_default() += 1;
                        }
                        let (partition, offset) = (message.partition(), message.offset());
                        if let Some(before) = last.insert(partition, offset).filter(|before| *before >= offset) {
                            backwards.push(format!("The reader of statuses was shown offset {offset} of partition {partition} after {before}."));
                        }
                        seen.insert((partition, offset), bytes.to_vec());
                    }
                    // The end of a partition, or a broker that is slow: it reads on.
                    Some(Err(_)) => {}
                    None if stopped.load(Ordering::Relaxed) => return (seen, backwards),
                    None => {}
                }
            }
        });
        Self { stop, told, thread, probe, slow_until }
    }

    /// When brokers or machine were last found slow, ms since 1970; 0 where they never were.
    pub fn slow_until(&self) -> i64 {
        self.slow_until.load(Ordering::Relaxed)
    }

    /// How many events have their terminal status.
    pub fn ended(&self) -> usize {
        self.told.lock().unwrap().len()
    }

    /// Reads what is there and stops.
    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let (statuses, backwards) = self.thread.join().unwrap();
        Seen { statuses, backwards, slow: self.probe.join().unwrap() }
    }
}

/// How often the brokers are asked to take a record, and how long they may take for it before they count as slow: on one quiet broker it takes 5 ms.
const PROBE_EVERY: Duration = Duration::from_millis(100);
const SLOW_MS: i64 = 200;
/// Then it is given up and counts as slow all the same.
const PROBE_WITHIN: Duration = Duration::from_secs(30);

/// Writes a small record again and again; when it was slow.
fn slow(topic: &str, stop: &AtomicBool, until: &AtomicI64) -> Vec<(i64, i64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        support::create(&[(topic, 1, &[])]).await;
        let producer: FutureProducer = support::client().set("acks", "all").set("linger.ms", "0").create().unwrap();
        let mut slow = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            // That this program itself is woken late counts too.
            let began = now_ms();
            tokio::time::sleep(PROBE_EVERY).await;
            let sent = producer.send(FutureRecord::<(), [u8]>::to(topic).partition(0).payload(b"probe"), PROBE_WITHIN).await;
            let took = now_ms() - began - i64::try_from(PROBE_EVERY.as_millis()).unwrap();
            if took > SLOW_MS || sent.is_err() {
                slow.push((began, now_ms()));
                until.store(now_ms(), Ordering::Relaxed);
            }
        }
        slow
    })
}
