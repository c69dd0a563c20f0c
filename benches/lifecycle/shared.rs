//! What the parts share: what was asked for, the machine, and a thread that works beside.

use crate::proc::processor;
use crate::{PARTITIONS, support};
use std::fmt::Debug;
use std::fs;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A process that is killed has not written anything later than this after it. A guess.
pub const GONE_MS: i64 = 50;

/// A number of the environment.
pub fn asked<N: FromStr<Err: Debug>>(name: &str, otherwise: N) -> N {
    std::env::var(name).map_or(otherwise, |number| number.parse().unwrap())
}

/// What everything runs on.
pub fn machine() {
    let brokers = support::NODES.load(Ordering::Relaxed);
    println!("recado{}; {}: all processes, the providers and {brokers} broker(s) share them.", support::commit(), processor());
}

/// What others do here meanwhile.
pub fn heading(part: &str) {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("\n{part} (load of the machine before: {})", load.split(' ').next().unwrap_or("unknown"));
}

/// Of which partition a record of this number is.
pub fn partition(number: u64) -> i32 {
    i32::try_from(number % u64::from(PARTITIONS)).unwrap()
}

/// A thread that works until it is told to end.
pub struct Worker {
    thread: std::thread::JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    /// Starts it; it looks now and then whether it is to stop.
    pub fn start(work: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        Self { thread: std::thread::spawn(move || work(&told)), stop }
    }

    /// Waits until it ends by itself.
    pub fn wait(self) {
        self.thread.join().unwrap();
    }

    /// Ends it.
    pub fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wait();
    }
}

/// Waits until the wall clock says so.
pub async fn until(time_ms: i64) {
    let left = time_ms - recado::clock::wall().millis();
    tokio::time::sleep(Duration::from_millis(u64::try_from(left).unwrap_or(0))).await;
}
