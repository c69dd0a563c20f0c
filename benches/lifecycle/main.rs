//! What a notification's way costs on this machine: the real binary as processes, a real broker (`BROKERS=3`: three), providers played in this process.
//!
//! It prints numbers and judges none of them. `make bench`, or with names of parts: see ../README.md.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]
#![expect(clippy::print_stderr, reason = "the log of a process that went wrong")]
#![expect(clippy::type_complexity, reason = "topics with their settings are listed in place")]
#![expect(clippy::unwrap_used, reason = "it may stop at the first thing that is not as it should be")]
#![expect(clippy::disallowed_methods, reason = "it measures with the machine's clock, not with Recado's")]

#[path = "../../tests/kafka/bank.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod bank;
#[path = "../../tests/kafka/deployment.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod deployment;
#[path = "../common/back.rs"]
mod back;
#[path = "../common/bulk.rs"]
mod bulk;
#[path = "../common/leave.rs"]
mod leave;
#[path = "../common/proc.rs"]
mod proc;
#[path = "../../tests/kafka/process.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod process;
#[path = "../../tests/kafka/support.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod support;

mod shared;
mod load;
mod answers;
mod armed;
mod measure;

mod latency;
mod timers;
mod recovery;
mod recovery_dispatcher;
mod webhooks;
mod rate;
mod rate_http;
mod due;
mod restore;
mod memory;
mod lateness;
mod growth;

use std::sync::atomic::Ordering;

/// As Recado's own: providers and generator share the cores with what is measured.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Of every topic.
const PARTITIONS: u16 = 8;
/// What the broker's cleaner has for keys (24 bytes each): of five million deliveries a partition's at once. With the tests' 2 MiB it would copy the changelog
/// again for each 80,000 keys, beside what is measured. Kafka's own default is 128 MiB, a quarter of the heap that the broker has here.
const CLEANER: &str = "log.cleaner.dedupe.buffer.size=33554432";
/// In the order in which they run where none is named.
const PARTS: [&str; 12] =
    ["latency", "timers", "recovery", "recovery_dispatcher", "webhooks", "rate", "rate_http", "due", "restore", "memory", "lateness", "growth"];

#[tokio::main]
async fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    for word in &wanted {
        assert!(PARTS.contains(&word.as_str()), "no part is called {word}; there are {}", PARTS.join(", "));
    }
    support::NODES.store(shared::asked("BROKERS", 1), Ordering::Relaxed);
    support::SETTINGS.set(&[CLEANER]).unwrap();
    shared::machine();
    for part in PARTS.into_iter().filter(|part| wanted.is_empty() || wanted.iter().any(|word| word == part)) {
        match part {
            "latency" => latency::run().await,
            "timers" => timers::run().await,
            "recovery" => recovery::run().await,
            "recovery_dispatcher" => recovery_dispatcher::run().await,
            "webhooks" => webhooks::run().await,
            "rate" => rate::run().await,
            "rate_http" => rate_http::run().await,
            "due" => due::run().await,
            "restore" => restore::run().await,
            "memory" => memory::run().await,
            "lateness" => lateness::run().await,
            "growth" => growth::run().await,
            _ => unreachable!("it is of the list"),
        }
    }
}
