//! E8: an EndTxn, or the answer to it, is lost with its connection, once or for good. Nobody knows then whether the transaction is committed: the producer must never
//! be used again, and what comes after must agree with whichever it was.
//!
//! Easily got wrong: librdkafka repeats an EndTxn by itself and without end, so a commit whose result stays unknown is a call that hangs: the watchdog ends it.

use crate::broker::Kafka;
use crate::check;
use crate::delayed::batch;
use crate::proxy::{ADD_PARTITIONS, Deed, END_TXN, INIT_PRODUCER_ID, Way};
use crate::world::World;
use recado::delivery::Receipt;
use std::collections::BTreeSet;
use std::time::Duration;

/// Longer than the watchdog lets a call hang: three transaction time-outs.
const HANGS: Duration = Duration::from_secs(45);

/// What is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Three answers; the transaction is committed by the first request, and the fourth answer says so.
    ThreeAnswers,
    /// All answers until the process has ended; the transaction is committed.
    Answers,
    /// All requests until the coordinator has aborted the transaction by its time-out.
    Requests,
}

impl Loss {
    pub const ALL: [Self; 3] = [Self::ThreeAnswers, Self::Answers, Self::Requests];
}

/// What one run showed.
pub struct Verdict {
    pub faults: BTreeSet<String>,
    /// How many frames were lost.
    pub lost: usize,
    /// How the process ended because of it, if it did.
    pub ended: Option<String>,
    /// For a person, when there is a fault.
    pub story: String,
}

/// One run, with every mitigation on.
pub fn run(kafka: &Kafka, prefix: &str, loss: Loss) -> Verdict {
    kafka.proxy.forget();
    let mut world = World::start(kafka, prefix, "all");
    world.publish("e-0");
    let first = world.dispatched();
    let (way, times) = match loss {
        Loss::ThreeAnswers => (Way::Answer, 3),
        Loss::Answers => (Way::Answer, usize::MAX),
        Loss::Requests => (Way::Request, usize::MAX),
    };
    let losing = kafka.proxy.rule(END_TXN, way, Deed::Lose, times);
    batch(&mut world, first);
    losing.met();
    let mut lost = 1;
    let ended = match loss {
        Loss::ThreeAnswers => {
            losing.met();
            losing.met();
            lost += 2 + losing.disarm();
            None
        }
        Loss::Answers => {
            let ended = world.wait_for_end(HANGS);
            lost += losing.disarm();
            ended
        }
        Loss::Requests => {
            world.settled(); // by the coordinator's time-out
            lost += losing.disarm();
            world.wait_for_end(HANGS)
        }
    };
    if ended.is_some() {
        world.run();
    }
    world.give_back(first, &[Receipt::Sent, Receipt::Delivered]);
    world.publish("e-last");
    world.play_until_ended("e-last");
    world.stop();
    let mut faults = check::faults(&world);
    if !renewed(kafka) {
        faults.insert("E8 used again: a transaction began on a producer whose EndTxn had been lost".into());
    }
    if (loss == Loss::Answers) != ended.is_some_and(|ended| ended.code().is_none()) {
        faults.insert(format!("E8 end: the process ended with {ended:?}"));
    }
    let story = if faults.is_empty() { String::new() } else { format!("{}{}", check::history(&world), kafka.proxy.story()) };
    Verdict { faults, lost, ended: ended.map(|ended| ended.to_string()), story }
}

/// Whether a new producer was made after the last loss, before anything else was begun.
fn renewed(kafka: &Kafka) -> bool {
    let log = kafka.proxy.log();
    let Some(lost) = log.iter().rposition(|passed| passed.deed == Some(Deed::Lose)) else { return false };
    let next = log[lost..].iter().find(|passed| passed.way == Way::Request && [INIT_PRODUCER_ID, ADD_PARTITIONS].contains(&passed.key));
    next.is_some_and(|passed| passed.key == INIT_PRODUCER_ID)
}
