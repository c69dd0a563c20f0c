//! The places where a process is made to die, by name. Source: testing.md §2.2.
//!
//! Easily got wrong: a point is armed in a process that is started, and counts when that process died by its own SIGKILL; one that was not reached is a fault.

use crate::dice::Dice;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where a point lies: kills inside one of these are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Inside {
    Transaction,
    Flush,
    Restore,
    Elsewhere,
}

/// What must be brought about so that a process comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The events that flow anyway.
    Load,
    /// Partitions that move: another engine stays dead for longer than its session.
    Move,
    /// Nothing on the disk: the state folder goes before the start.
    EmptyDisk,
}

#[derive(Debug)]
pub struct Point {
    pub name: &'static str,
    pub role: &'static str,
    pub inside: Inside,
    pub needs: Needs,
    /// It dies at one of so many passes.
    passes: u64,
    /// By then it must have come by.
    pub within: Duration,
}

const fn point(role: &'static str, name: &'static str, passes: u64, inside: Inside) -> Point {
    Point { name, role, inside, needs: Needs::Load, passes, within: Duration::from_secs(40) }
}

use Inside::{Elsewhere, Flush, Restore, Transaction};

pub const POINTS: [Point; 19] = [
    point("engine", "after_poll", 40, Elsewhere),
    point("engine", "on_timer_fire", 6, Elsewhere),
    point("engine", "mid_txn", 20, Transaction),
    point("engine", "after_changelog_ack", 20, Transaction),
    point("engine", "before_endtxn", 20, Transaction),
    point("engine", "after_endtxn", 20, Elsewhere),
    Point { needs: Needs::Move, within: Duration::from_secs(60), ..point("engine", "on_revoke", 1, Transaction) },
    Point { needs: Needs::EmptyDisk, ..point("engine", "mid_restore", 1, Restore) },
    Point { needs: Needs::EmptyDisk, ..point("engine", "mid_load", 1, Restore) },
    // Column families are flushed every 30 s.
    Point { within: Duration::from_secs(90), ..point("engine", "mid_flush", 1, Flush) },
    Point { within: Duration::from_secs(60), ..point("engine", "mid_apply", 3, Elsewhere) },
    point("dispatcher", "before_intent", 20, Elsewhere),
    point("dispatcher", "after_intent", 20, Elsewhere),
    point("dispatcher", "before_post", 20, Elsewhere),
    point("dispatcher", "after_post_before_response", 20, Elsewhere),
    point("dispatcher", "after_response", 20, Elsewhere),
    point("dispatcher", "before_accept", 20, Elsewhere),
    point("gateway", "webhook_before_produce", 20, Elsewhere),
    point("gateway", "webhook_after_ack_before_200", 20, Elsewhere),
];

/// The point of this name.
pub fn named(name: &str) -> &'static Point {
    POINTS.iter().find(|point| point.name == name).unwrap_or_else(|| panic!("no point is called {name}"))
}

/// One armed start to come.
#[derive(Clone, Copy, Debug)]
pub struct Aim {
    pub point: &'static Point,
    /// At which pass it dies, from 1.
    pub pass: u64,
    /// Chooses the instance.
    pub draw: u64,
    /// How long it stays dead.
    pub down: Duration,
}

/// These points in an order of the seed's. `rare`: transactions are so many times longer than usual, and everything about them rarer.
pub fn aims(names: &[&'static str], seed: u64, run: &str, rare: u64) -> Vec<Aim> {
    let mut dice = Dice::new(seed, &format!("points of {run}"));
    let mut left: Vec<&str> = names.to_vec();
    let mut aims = Vec::new();
    while !left.is_empty() {
        let point = named(left.swap_remove(usize::try_from(dice.below(left.len() as u64)).unwrap()));
        let down = Duration::from_millis(dice.between(0, 1_500));
        aims.push(Aim { point, pass: 1 + dice.below((point.passes / rare).max(1)), draw: dice.next(), down });
    }
    aims
}
