//! The engine in the bare client's place: an EndTxn of transaction N comes late, in the midst of N+1, and nothing may be lost or said twice.
//!
//! Easily got wrong: without protection the damage must show, so each run makes N+1 hold what would be missed: requests, and in case B what came back for a living
//! delivery too.

use crate::bare::{self, Case, INVALID_PRODUCER_EPOCH};
use crate::broker::Kafka;
use crate::check;
use crate::proxy::{ADD_OFFSETS, Deed, END_TXN, TXN_OFFSETS, Way};
use crate::world::World;
use recado::delivery::{AttemptId, Receipt};
use std::collections::BTreeSet;

/// What becomes of the process after the late EndTxn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It goes on.
    Runs,
    /// It is restarted and finds its disk.
    Restarted,
    /// It is killed and its disk is lost.
    Wiped,
}

impl After {
    pub const ALL: [Self; 3] = [Self::Runs, Self::Restarted, Self::Wiped];
}

/// What one run showed.
pub struct Verdict {
    /// The broker's answer to the late EndTxn.
    pub late: i16,
    pub faults: BTreeSet<String>,
    /// Producers that the engine gave up, those of them that nothing but a silent trace made suspect, and positions on which state, group and log disagreed, as its
    /// metrics tell at the end.
    pub recycled: u64,
    pub suspected: u64,
    pub disagreed: u64,
    /// For a person, when there is a fault.
    pub story: String,
}

impl Verdict {
    /// The rules that are broken.
    pub fn rules(&self) -> BTreeSet<&str> {
        self.faults.iter().map(|fault| fault.split(':').next().unwrap_or(fault)).collect()
    }
}

/// One run: `mitigations` are those that stay on. `blip`: N loses its connection to the group's coordinator too, before its EndTxn.
pub fn run(kafka: &Kafka, prefix: &str, case: Case, after: After, mitigations: &str, blip: bool) -> Verdict {
    kafka.proxy.forget();
    let mut world = World::start(kafka, prefix, mitigations);
    world.publish("e-0");
    let first = world.dispatched();
    let late = match case {
        Case::A => late_abort(&mut world, after),
        Case::B => late_commit(&mut world, first, after, blip),
    };
    world.give_back(first, &[Receipt::Sent, Receipt::Delivered]);
    world.publish("e-last");
    world.play_until_ended("e-last");
    let (recycled, disagreed) = (world.counter("recado_producers_recycled_total"), world.counter("recado_position_disagreements_total"));
    let suspected = world.counter("recado_producers_recycled_total{reason=\"suspicion\"}");
    world.stop();
    let faults = check::faults(&world);
    let story = if faults.is_empty() { String::new() } else { format!("{}{}", check::history(&world), kafka.proxy.story()) };
    Verdict { late, faults, recycled, suspected, disagreed, story }
}

/// N is aborted, its EndTxn comes late; N+1, which decides the same records again, commits.
fn late_abort(world: &mut World<'_>, after: After) -> i16 {
    let late = world.kafka.proxy.next(END_TXN, Way::Request, Deed::Strand);
    world.abort_next();
    // Requests alone: the engine opens anew before N+1, and what lies in two topics may come to it in two transactions then.
    world.as_one(|world| BATCH.iter().for_each(|event_id| world.publish(event_id)));
    assert!(!bare::commits(&late.met()), "the engine was to abort N:\n{}", world.kafka.proxy.story());
    let gate = world.kafka.proxy.next(ADD_OFFSETS, Way::Request, Deed::Aside);
    gate.met();
    world.written();
    let late = bare::code(&late.arrive());
    if late == 0 {
        world.settled();
    }
    let end = world.kafka.proxy.next(END_TXN, Way::Answer, Deed::Note);
    gate.release();
    assert_eq!(bare::code(&end.met()), 0, "N+1 is told to be committed");
    match after {
        After::Runs => {}
        After::Restarted => {
            world.stop();
            world.run();
        }
        After::Wiped => {
            world.kill();
            world.wipe();
            world.run();
        }
    }
    late
}

/// N is committed, its EndTxn comes late; N+1 is aborted, or its process killed.
fn late_commit(world: &mut World<'_>, first: AttemptId, after: After, blip: bool) -> i16 {
    let blip = blip.then(|| world.kafka.proxy.rule(TXN_OFFSETS, Way::Answer, Deed::Lose, 2));
    let late = world.kafka.proxy.next(END_TXN, Way::Request, Deed::Strand);
    let end = world.kafka.proxy.next(END_TXN, Way::Answer, Deed::Note);
    world.publish("e-n");
    assert!(bare::commits(&late.met()), "the engine was to commit N");
    assert_eq!(bare::code(&end.met()), 0, "N is told to be committed");
    if let Some(blip) = blip {
        assert_eq!(blip.disarm(), 2, "N met the blip");
    }
    let of_n = world.dispatched();

    let gate = world.kafka.proxy.next(ADD_OFFSETS, Way::Request, Deed::Aside);
    world.abort_next();
    batch(world, first);
    gate.met();
    world.written();
    let late = bare::code(&late.arrive());
    if late == 0 {
        world.settled();
        // N+1 is visible before its engine has ended it: dispatcher and providers act on it.
        for attempt_id in world.visible() {
            world.give_back(attempt_id, &[Receipt::Sent, Receipt::Delivered]);
        }
    }
    match after {
        After::Runs => {
            let end = world.kafka.proxy.next(END_TXN, Way::Request, Deed::Note);
            gate.release();
            assert!(!bare::commits(&end.met()), "the engine was to abort N+1");
        }
        After::Restarted | After::Wiped => {
            world.kill();
            drop(gate);
            if after == After::Wiped {
                world.wipe();
            }
            world.run();
        }
    }
    world.give_back(of_n, &[Receipt::Sent, Receipt::Delivered]);
    late
}

const BATCH: [&str; 2] = ["e-1", "e-2"];

/// What one transaction takes: requests, and what came back for a delivery that lives.
pub fn batch(world: &mut World<'_>, first: AttemptId) {
    world.as_one(|world| {
        world.give_back(first, &[Receipt::Sent]);
        BATCH.iter().for_each(|event_id| world.publish(event_id));
    });
}

/// Faults of the run itself: what the broker answered to the late EndTxn must be what the mitigations say.
pub fn expected_answer(mitigations: &str) -> i16 {
    if mitigations.split(',').any(|on| on == "recycle" || on == "all") { INVALID_PRODUCER_EPOCH } else { 0 }
}
