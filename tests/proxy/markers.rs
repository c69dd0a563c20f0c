//! E3: a transaction is decided and its positions are committed, but the changelog's marker is still on its way, when its engine dies and another takes over. The heir
//! must not act before it has read that transaction: an engine that trusts the last *stable* offset of the changelog would not see it.
//!
//! Easily got wrong: markers go to each broker apart, so there must be several, and the changelog's leader must not lead the group's positions too.

use crate::broker::{Kafka, wait};
use crate::check;
use crate::proxy::{ADD_PARTITIONS, Deed, FETCH, LIST_OFFSETS, Proxy, WRITE_MARKERS, Way};
use crate::world::World;
use recado::delivery::Receipt;
use std::collections::BTreeSet;
use std::time::Duration;

/// So many answers to its questions for more of the changelog count as waiting.
const WAITED: usize = 150;
/// One that asks no more for so long has stopped waiting.
const STILL: Duration = Duration::from_secs(10);

/// One run.
pub fn run(kafka: &Kafka) -> BTreeSet<String> {
    let (mut world, leader) = apart(kafka);
    world.run();
    world.publish("e-0");
    let first = world.dispatched();

    let markers = kafka.inside[leader].rule(WRITE_MARKERS, Way::Request, Deed::Hold, usize::MAX);
    // A single record: what lies with several brokers comes in several batches.
    world.publish("e-1");
    markers.met();
    let group = format!("{}engine", world.topics.prefix());
    let (_, end) = kafka.ends(&world.input);
    wait("the group's position is committed", || kafka.position(&group, &world.input) == Some(end));
    let (committed, all) = kafka.ends(&world.topics.state);
    assert!(committed < all, "the changelog's marker is on its way");
    world.kill();

    let clients: Vec<&Proxy> = std::iter::once(&kafka.proxy).chain(&kafka.others).collect();
    let asked = clients[leader].rule(LIST_OFFSETS, Way::Request, Deed::Note, usize::MAX);
    let began: Vec<_> = clients.iter().map(|proxy| proxy.rule(ADD_PARTITIONS, Way::Request, Deed::Note, usize::MAX)).collect();
    world.rename("b");
    world.run();
    world.publish("e-2");
    asked.met();
    let fetched = clients[leader].rule(FETCH, Way::Answer, Deed::Note, usize::MAX);
    let waited = (0..WAITED).take_while(|_| fetched.meets(STILL)).count();
    let mut faults = BTreeSet::new();
    let acted: usize = began.into_iter().map(crate::proxy::Grip::disarm).sum();
    if acted > 0 {
        faults.insert("E3 acted: the heir began a transaction while a part of the changelog was still undecided".to_owned());
    } else if waited < WAITED {
        faults.insert(format!("E3 not met: the heir asked for the changelog {waited} times and then no more"));
    }
    fetched.disarm();
    asked.disarm();
    markers.release();
    world.give_back(first, &[Receipt::Sent, Receipt::Delivered]);
    world.publish("e-last");
    world.play_until_ended("e-last");
    world.stop();
    faults.extend(check::faults(&world));
    if !faults.is_empty() {
        print!("{}", check::history(&world));
    }
    faults
}

/// A world whose changelog and whose group's positions lie with different brokers, and the broker that leads the changelog.
fn apart(kafka: &Kafka) -> (World<'_>, usize) {
    for number in 0..12 {
        let prefix = format!("e3-{number}.");
        let world = World::set_up(kafka, &prefix, "all");
        let group = format!("{prefix}engine");
        kafka.position(&group, &world.input); // the first question makes the topic of positions
        let changelog = kafka.leader(&world.topics.state, 0).expect("a topic has leaders");
        // As the broker finds it: Java's hash of the name, without its sign, modulo the partitions (docker/kafka.sh).
        let hash = group.bytes().fold(0_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
        let positions = kafka.leader("__consumer_offsets", (hash & i32::MAX) % 4).expect("positions have a leader");
        if changelog != positions {
            return (world, changelog);
        }
    }
    panic!("in twelve tries changelog and positions always lay with one broker");
}
