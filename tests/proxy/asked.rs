//! What a timer alone decides moves no position, and yet the group must be asked whether its partition is still ours: it is asked with the positions, or not at all.
//! An engine that stood still while its partitions went elsewhere could else commit the fallback that their new owner commits too.
//!
//! Easily got wrong: a record that is read together with the timer moves a position by itself. So nothing is written for the last second before it fires.

use crate::broker::Kafka;
use crate::proxy::{ADD_PARTITIONS, END_TXN, TXN_OFFSETS, Way};
use crate::world::World;
use std::time::{Duration, Instant};

/// The wait of the first step of the route of a Pix received.
const WAIT: Duration = Duration::from_secs(33);
/// The gateway's last sign of life is so much older than the deadline; 3 s would be too much.
const SILENT_FOR: Duration = Duration::from_millis(1_500);
/// Long enough for the last sign of life to be read and committed.
const COMMITTED_WITHIN: Duration = Duration::from_millis(500);
const BEAT: Duration = Duration::from_millis(250);

/// One run; what it shows, when that is not as it should be.
pub fn run(kafka: &Kafka, prefix: &str) -> Option<String> {
    let mut world = World::start(kafka, prefix, "all");
    world.publish("e-0");
    let first = world.dispatched();
    world.give_back(first, &[]);
    let silent = Instant::now() + WAIT - SILENT_FOR;
    while Instant::now() < silent {
        world.beat();
        std::thread::sleep(BEAT);
    }
    std::thread::sleep(COMMITTED_WITHIN);
    kafka.proxy.forget();
    let fallback = world.dispatched();
    assert_eq!(fallback.message_id, first.message_id, "the wait ran out");
    let requests: Vec<i16> = kafka.proxy.log().iter().filter(|passed| passed.way == Way::Request).map(|passed| passed.key).collect();
    world.kill();
    let began = requests.iter().position(|&key| key == ADD_PARTITIONS).expect("a dispatch that is visible was written in a transaction");
    let mut transactions: Vec<&[i16]> = requests[began..].split(|&key| key == END_TXN).collect();
    transactions.pop(); // what comes behind the last end has none
    assert!(!transactions.is_empty(), "a dispatch that is visible was committed");
    let unasked = transactions.iter().any(|requests| !requests.contains(&TXN_OFFSETS));
    unasked.then(|| format!("E4 unasked: the fallback was committed, and the group was not asked\n{}", kafka.proxy.story()))
}
