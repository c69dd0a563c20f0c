//! Records at a steady rate, and how late the generator was with them.

use super::Mould;
use crate::process::Stage;
use crate::shared::{Worker, partition};
use crate::support::Writer;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So many customers that nobody comes twice.
const EVERYBODY: u64 = 80_000_000;
/// Events of a flow beside others are numbered from here on: the same event twice is one message.
pub const BESIDE: u64 = 500_000_000;

/// Records at a steady rate.
pub struct Flow {
    worker: Worker,
    /// By how many µs one was written behind its time, at most.
    late: Arc<AtomicU64>,
}

impl Flow {
    /// Pix that were received, each by another customer with another phone.
    pub fn start(stage: &Stage, rate: u64, count: u64) -> Self {
        Self::of(stage.input("pix.transactions"), rate, 0..count, Mould::pix(false, EVERYBODY))
    }

    /// Bills, each of another customer, without an end; none where the rate is 0.
    pub fn of_bills(stage: &Stage, rate: u64) -> Self {
        let numbers = BESIDE..if rate == 0 { BESIDE } else { u64::MAX };
        Self::of(stage.input("billing.invoices"), rate.max(1), numbers, Mould::bills(EVERYBODY))
    }

    /// The records of these numbers.
    pub fn of(topic: String, rate: u64, numbers: Range<u64>, mould: Mould) -> Self {
        let late = Arc::<AtomicU64>::default();
        let most = late.clone();
        let worker = Worker::start(move |stop| {
            let writer = Writer::new();
            let began = Instant::now();
            for (at, number) in (0..).zip(numbers) {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let due = began + Duration::from_secs(at / rate) + Duration::from_nanos(at % rate * 1_000_000_000 / rate);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let (record, key) = mould.cast(number);
                writer.send(&topic, partition(number), key.as_bytes(), &record);
                most.fetch_max(u64::try_from(due.elapsed().as_micros()).unwrap(), Ordering::Relaxed);
            }
            writer.flush();
        });
        Self { worker, late }
    }

    /// By how much one was written behind its time at most, since this was asked last: what was late by more would hide what had to wait.
    pub fn late(&self) -> Duration {
        Duration::from_micros(self.late.swap(0, Ordering::Relaxed))
    }

    /// Waits until all are written, and says how late one was at most, as above.
    pub fn wait(self) -> Duration {
        self.worker.wait();
        Duration::from_micros(self.late.load(Ordering::Relaxed))
    }

    /// Ends it.
    pub fn end(self) {
        self.worker.end();
    }
}
