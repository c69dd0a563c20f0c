//! The log of a partition as it lies on a broker's disk: which transaction each record belongs to, and when that one was committed. No client tells this: the ends
//! of transactions are records that no consumer is shown.
//!
//! Easily got wrong: a batch may be compressed, its header never is, and an end of a transaction stands in a batch of its own. Source: Kafka's documentation,
//! "Message format", record batch of magic 2.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What stands before the records of a batch.
const HEADER_BYTES: usize = 61;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const APPEND_TIME: i16 = 1 << 3;

/// One batch.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Batch {
    first: i64,
    last: i64,
    producer: i64,
    epoch: i16,
    what: What,
    /// The newest timestamp in it, ms since 1970.
    at: i64,
    /// Whether the leader stamped it: ends of transactions, and all of a topic with append times.
    by_leader: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum What {
    Plain,
    Transactional,
    Commit,
    Abort,
}

/// The transaction of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub producer: i64,
    pub epoch: i16,
    /// When the broker wrote its end, ms since 1970.
    pub at: i64,
    /// Where that end stands.
    pub offset: i64,
}

/// One partition.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Log(Vec<Batch>);

impl Log {
    /// Reads it from below `data`, which holds a folder for each broker: of its replicas the longest. `ahead_ms`: by how much its leader's clock was wrong.
    pub fn read(data: &Path, topic: &str, partition: i32, ahead_ms: i64) -> Self {
        let brokers = fs::read_dir(data).unwrap().flatten();
        let replicas = brokers.map(|broker| replica(&broker.path().join(format!("{topic}-{partition}"))));
        let mut longest = replicas.max_by_key(|batches| batches.last().map_or(-1, |batch| batch.last)).unwrap_or_default();
        longest.iter_mut().filter(|batch| batch.by_leader).for_each(|batch| batch.at -= ahead_ms);
        Self(longest)
    }

    /// The transaction that the record at this offset was committed with. `None`: it belongs to none, or to one that was aborted or is open.
    pub fn committed(&self, offset: i64) -> Option<Committed> {
        let at = self.0.partition_point(|batch| batch.last < offset);
        let batch = self.0.get(at).filter(|batch| batch.first <= offset && batch.what == What::Transactional)?;
        let end = self.0[at..].iter().find(|end| end.producer == batch.producer && matches!(end.what, What::Commit | What::Abort))?;
        (end.what == What::Commit).then_some(Committed { producer: batch.producer, epoch: batch.epoch, at: end.at, offset: end.first })
    }

    /// When the end of the same producer's next transaction here was written, ms since 1970.
    pub fn next_end(&self, of: Committed) -> Option<i64> {
        let behind = self.0.partition_point(|batch| batch.last <= of.offset);
        let end = self.0[behind..].iter().find(|end| end.producer == of.producer && matches!(end.what, What::Commit | What::Abort));
        end.map(|end| end.at)
    }

    /// When this producer committed here first after this time (ms since 1970), under another epoch than it had before.
    pub fn back(&self, producer: i64, after: i64) -> Option<i64> {
        let own = || self.0.iter().filter(|batch| batch.producer == producer && batch.what != What::Plain);
        let before = own().filter(|batch| batch.at <= after).map(|batch| batch.epoch).max();
        own().find(|batch| batch.what == What::Commit && batch.at > after && Some(batch.epoch) != before).map(|batch| batch.at)
    }

    /// How many transactions were committed here, and how many aborted.
    pub fn transactions(&self) -> (usize, usize) {
        let count = |what| self.0.iter().filter(|batch| batch.what == what).count();
        (count(What::Commit), count(What::Abort))
    }

    /// Producers whose last transaction here has no end.
    pub fn open(&self) -> Vec<i64> {
        let mut open: Vec<i64> = Vec::new();
        for batch in &self.0 {
            match batch.what {
                What::Transactional if !open.contains(&batch.producer) => open.push(batch.producer),
                What::Commit | What::Abort => open.retain(|producer| *producer != batch.producer),
                What::Plain | What::Transactional => {}
            }
        }
        open
    }

    /// For who breaks it: the last transaction has no end.
    pub fn forget_the_last_end(&mut self) {
        if let Some(at) = self.0.iter().rposition(|batch| matches!(batch.what, What::Commit | What::Abort)) {
            self.0.truncate(at);
        }
    }

    /// For who breaks it: whoever wrote first writes once more, under an epoch that is over.
    pub fn write_as_a_zombie(&mut self) {
        if let Some(batch) = self.0.iter().find(|batch| batch.what != What::Plain).copied() {
            self.0.push(Batch { epoch: batch.epoch - 1, ..batch });
        }
    }

    /// Where a producer wrote under an epoch that a newer one of the same producer had replaced.
    pub fn outdated(&self) -> Vec<i64> {
        let mut newest: BTreeMap<i64, i16> = BTreeMap::new();
        let mut outdated = Vec::new();
        for batch in self.0.iter().filter(|batch| batch.what != What::Plain) {
            let newest = newest.entry(batch.producer).or_insert(batch.epoch);
            *newest = batch.epoch.max(*newest);
            if batch.epoch < *newest {
                outdated.push(batch.first);
            }
        }
        outdated
    }
}

fn replica(folder: &Path) -> Vec<Batch> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut segments: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ending| ending == "log")).collect();
    segments.sort();
    segments.iter().flat_map(|segment| batches(&fs::read(segment).unwrap())).collect()
}

fn batches(mut bytes: &[u8]) -> Vec<Batch> {
    let mut batches = Vec::new();
    while bytes.len() >= HEADER_BYTES {
        let number = |at: usize, count: usize| bytes[at..at + count].iter().fold(0_i64, |sum, byte| sum << 8 | i64::from(*byte));
        let (first, length) = (number(0, 8), usize::try_from(number(8, 4)).unwrap());
        if length == 0 || bytes.len() < 12 + length {
            break; // its writer died over it: nobody was ever told of it
        }
        assert_eq!(bytes[16], 2, "a batch of magic 2");
        let attributes = i16::try_from(number(21, 2)).unwrap();
        let what = match attributes & (TRANSACTIONAL | CONTROL) {
            0 => What::Plain,
            TRANSACTIONAL => What::Transactional,
            // After length, attributes and the two deltas the key's length, then its version and the type of the end: 0 is an abort.
            _ => match end(&bytes[HEADER_BYTES..12 + length]) {
                0 => What::Abort,
                1 => What::Commit,
                _ => What::Plain, // of the quorum, never here
            },
        };
        let epoch = i16::from_be_bytes([bytes[51], bytes[52]]);
        let by_leader = attributes & (CONTROL | APPEND_TIME) != 0;
        batches.push(Batch { first, last: first + number(23, 4), producer: number(43, 8), epoch, what, at: number(35, 8), by_leader });
        bytes = &bytes[12 + length..];
    }
    batches
}

/// The type in the key of a control record.
fn end(record: &[u8]) -> i16 {
    let mut rest = record;
    let skip_number = |rest: &mut &[u8]| {
        let length = rest.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        *rest = &rest[length..];
    };
    skip_number(&mut rest); // length
    rest = &rest[1..]; // attributes
    for _ in 0..3 {
        skip_number(&mut rest); // deltas of time and offset, length of the key
    }
    i16::from_be_bytes([rest[2], rest[3]])
}
