//! What processes cost: time on the processor of the one under test, of the brokers and of this program, beside what the clock on the wall says.

use crate::proc::{cpu, share, stolen};
use crate::process::Instance;
use crate::support;
use std::fmt;
use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// One reading.
pub struct Reading {
    at: Instant,
    process: Duration,
    brokers: Duration,
    bench: Duration,
    stolen: Duration,
}

/// What lies between two readings.
pub struct Cost {
    pub wall: Duration,
    /// User and system time of the process under test.
    pub process: Duration,
    brokers: Duration,
    bench: Duration,
    /// Which share of all cores the machine's host kept for others.
    stolen: f64,
}

impl Reading {
    /// Now.
    pub fn of(instance: &Instance) -> Self {
        let brokers = (1..=support::NODES.load(Ordering::Relaxed)).map(|node| cpu(broker(node))).sum();
        Self { at: Instant::now(), process: cpu(instance.pid()), brokers, bench: cpu(std::process::id()), stolen: stolen() }
    }

    /// From then until now.
    pub fn cost(&self, instance: &Instance) -> Cost {
        let now = Self::of(instance);
        let wall = now.at - self.at;
        Cost {
            wall,
            process: now.process - self.process,
            brokers: now.brokers - self.brokers,
            bench: now.bench - self.bench,
            stolen: share(now.stolen - self.stolen, wall),
        }
    }
}

impl Cost {
    /// Microseconds that the process under test spent on each of so many.
    pub fn each(&self, count: u64) -> f64 {
        micros(self.process, count)
    }

    /// How many of so many were done in a second, and how many in a second of the process's time: what one core of its own does.
    pub fn rates(&self, count: u64) -> (f64, f64) {
        (count as f64 / self.wall.as_secs_f64(), 1e6 / self.each(count))
    }

    /// What the others spent on each of so many.
    pub fn others(&self, count: u64) -> String {
        format!("broker {:.1} µs, bench {:.1} µs", micros(self.brokers, count), micros(self.bench, count))
    }
}

fn micros(span: Duration, count: u64) -> f64 {
    span.as_secs_f64() * 1e6 / count as f64
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [wall, process, brokers, bench] = [self.wall, self.process, self.brokers, self.bench].map(|span| span.as_secs_f64());
        write!(f, "{wall:.2} s; on the processor {process:.2} s, broker {brokers:.2} s, bench {bench:.2} s; {:.1} % stolen", 100.0 * self.stolen)
    }
}

/// Waits until a process has done what was left to do: for five seconds it needs less than a tenth of a core.
pub async fn settled(instance: &Instance) {
    let began = Instant::now();
    loop {
        let before = cpu(instance.pid());
        tokio::time::sleep(Duration::from_secs(5)).await;
        if cpu(instance.pid()) - before < Duration::from_millis(500) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(600), "it is still busy after ten minutes");
    }
}

fn broker(node: usize) -> u32 {
    fs::read_to_string(support::broker().folder.join(format!("node{node}.pid"))).unwrap().trim().parse().unwrap()
}
