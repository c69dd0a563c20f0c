//! The bank, the dispatcher and the providers in one: requests, what comes back to them, signs of life.
//!
//! Easily got wrong: a receipt must come after the dispatch that it answers, or it finds nothing. So what comes back to a round of requests is written with the next
//! round, when all of the first are known to be dispatched, and no program still has them in the transaction that wrote them. The first record that comes back to a
//! life is written before its wait can begin: its time is noted, so that the auditor can tell what falls back too early.

use crate::back::Back;
use crate::bulk::Bulk;
use crate::records::Codec;
use crate::script::{Life, PARTITIONS};
use recado::delivery::{Attempt, MessageId, Timestamp};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Of what comes back to so many lives first all outcomes are written, then all receipts of each kind. A commit lies between them even where 400,000 records a second
/// are taken: else two changes of a delivery would be one record of state.
const BLOCK: u32 = 50_000;
const BEAT: Duration = Duration::from_secs(1);
/// At a steady rate what comes back to a life comes so far apart: some commits lie between two of them.
const APART: Duration = Duration::from_millis(400);
/// And so many records are written at once, unless more are late.
const TICK: Duration = Duration::from_millis(2);
/// What comes back, in its order.
const BACKS: [Back; 4] = [Back::Accepted, Back::Sent, Back::Delivered, Back::Read];

/// Where a run writes.
#[derive(Clone)]
pub struct Loader {
    bulk: Bulk,
    codec: Arc<Codec>,
    /// The bank's topic and ours.
    pub input: String,
    pub receipts: String,
    /// The time that the first request says.
    pub began: Timestamp,
    /// When *accepted* was written of those that fall back, ms since 1970.
    accepted: Arc<Mutex<HashMap<MessageId, i64>>>,
}

impl Loader {
    /// For the topics of this run.
    pub fn new(codec: Arc<Codec>, prefix: &str, began: Timestamp) -> Self {
        Self { bulk: Bulk::new(), codec, input: format!("{prefix}in.pix.transactions"), receipts: format!("{prefix}receipts"), began, accepted: Arc::default() }
    }

    /// What this life is called.
    pub fn id(&self, life: Life) -> MessageId {
        life.id(&self.input, self.began)
    }

    /// Requests of `new`, and what comes back to `known`, which are dispatched. Returns how many statuses of lives that do not fall back it leads to.
    pub fn round(&self, new: Range<u32>, known: Range<u32>) -> u64 {
        let (mut new, mut known, mut told) = (new, known, 0);
        while !new.is_empty() || !known.is_empty() {
            told += cut(&mut new).map(|life| self.request(Life(life))).sum::<u64>();
            let block = cut(&mut known);
            told += BACKS.iter().map(|back| block.clone().map(|life| self.comes_back(Life(life), *back)).sum::<u64>()).sum::<u64>();
        }
        self.flush();
        told
    }

    /// The same at so many lives a second: with the request of each what comes back to the one that was requested a round before, and to those before it. Nothing new
    /// begins where `new` is over: the last round ends when all that is known is answered.
    pub fn steady(&self, new: Range<u32>, lives: u32, rate: u32) -> u64 {
        let apart = rate * u32::try_from(APART.as_millis()).expect("a fraction of a second") / 1_000;
        let ends = new.is_empty();
        let end = if ends { new.start + lives + 3 * apart } else { new.end };
        let (began, mut told) = (Instant::now(), 0);
        for (written, at) in (new.start..end).enumerate() {
            while began.elapsed().as_secs_f64() * f64::from(rate) < written as f64 {
                std::thread::sleep(TICK);
            }
            if !ends {
                told += self.request(Life(at));
            }
            for (back, behind) in BACKS.iter().zip(0..) {
                let known = at.checked_sub(lives + behind * apart).filter(|life| *life < new.start);
                told += known.map_or(0, |life| self.comes_back(Life(life), *back));
            }
        }
        self.flush();
        told
    }

    /// How many statuses of those that do not fall back it leads to.
    fn request(&self, life: Life) -> u64 {
        let (value, key) = (self.codec.request(life, self.id(life), &self.input), format!("customer-{}", life.customer()));
        self.bulk.send(&self.input, life.partition().kafka(), key.as_bytes(), &value, Some(life.time(self.began).millis()));
        u64::from(!life.falls_back() && !self.codec.is_repeated(life))
    }

    /// As above.
    fn comes_back(&self, life: Life, back: Back) -> u64 {
        let comes = match back {
            Back::Accepted => true,
            Back::Sent | Back::Delivered => !life.falls_back(),
            Back::Read => life.is_read(),
        };
        if !comes || self.codec.is_repeated(life) {
            return 0;
        }
        let id = self.id(life);
        if life.falls_back() {
            self.accepted.lock().expect("nobody panics with it").insert(id, recado::clock::wall().millis());
        }
        self.back(id, Attempt::FIRST, back);
        u64::from(back != Back::Accepted)
    }

    /// When what falls back was said to be accepted, ms since 1970: its wait begins then at the earliest.
    pub fn accepted(&self, id: MessageId) -> Option<i64> {
        self.accepted.lock().expect("nobody panics with it").get(&id).copied()
    }

    /// One word about one attempt.
    pub fn back(&self, id: MessageId, attempt: Attempt, back: Back) {
        self.bulk.send(&self.receipts, id.partition().kafka(), id.bytes(), &self.codec.back(id, attempt, back), None);
    }

    /// Signs of life, each second, until told to stop.
    pub fn beat(self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            for partition in 0..i32::from(PARTITIONS) {
                for value in self.codec.heartbeats(self.began) {
                    self.bulk.send(&self.receipts, partition, &[], &value, None);
                }
            }
            std::thread::sleep(BEAT);
        }
    }

    /// Waits until everything is acknowledged.
    pub fn flush(&self) {
        self.bulk.flush();
    }
}

/// The next block.
fn cut(range: &mut Range<u32>) -> Range<u32> {
    let end = range.end.min(range.start + BLOCK);
    let block = range.start..end;
    range.start = end;
    block
}
