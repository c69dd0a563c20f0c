//! What a timer alone decides moves no position, and yet the group must be asked whether its partition is still ours: it is asked with the positions, or not at all.
//! An engine that stood still while its partitions went elsewhere could else commit the fallback that their new owner commits too.
//!
//! Easily got wrong: the last sign of life of the gateway moved a position, which goes with the next transaction. So a first timer fires, which takes it along, and
//! then a second one, before anything else is read.

use crate::broker::Kafka;
use crate::proxy::{END_TXN, TXN_OFFSETS, Way};
use crate::world::World;
use std::time::{Duration, Instant};

/// The wait of the first step of the route of a Pix received.
const WAIT: Duration = Duration::from_secs(33);
/// The gateway's last sign of life is so much older than the deadline; 3 s would be too much.
const SILENT_FOR: Duration = Duration::from_millis(1_500);
/// So much later the second timer fires: longer than a transaction takes, and soon enough for the last sign of life.
const APART: Duration = Duration::from_millis(700);
const BEAT: Duration = Duration::from_millis(250);

/// One run; what it shows, when that is not as it should be.
pub fn run(kafka: &Kafka, prefix: &str) -> Option<String> {
    let mut world = World::start(kafka, prefix, "all");
    world.publish("e-0");
    world.publish("e-1");
    let (first, second) = (world.dispatched(), world.dispatched());
    world.give_back(first, &[]);
    let silent = Instant::now() + WAIT - SILENT_FOR;
    std::thread::sleep(APART);
    world.give_back(second, &[]);
    while Instant::now() < silent {
        world.beat();
        std::thread::sleep(BEAT);
    }
    assert_eq!(world.dispatched().message_id, first.message_id, "the first wait ran out");
    kafka.proxy.forget();
    assert_eq!(world.dispatched().message_id, second.message_id, "the second wait ran out");
    let requests: Vec<i16> = kafka.proxy.log().iter().filter(|passed| passed.way == Way::Request).map(|passed| passed.key).collect();
    world.kill();
    // Positions may go before the first record of their transaction. The one before was over when its dispatch was seen.
    let mut transactions: Vec<&[i16]> = requests.split(|&key| key == END_TXN).collect();
    transactions.pop(); // what comes behind the last end has none
    assert!(!transactions.is_empty(), "a dispatch that is visible was committed");
    let unasked = transactions.iter().any(|requests| !requests.contains(&TXN_OFFSETS));
    unasked.then(|| format!("E4 unasked: the fallback was committed, and the group was not asked\n{}", kafka.proxy.story()))
}
