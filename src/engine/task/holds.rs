//! PURE: which groups of due timers are held, since when, and why.
//!
//! Easily got wrong: a hold ends when nothing of its group is due any more, too. One that is kept would let the next silence of a dispatcher or a gateway count as
//! if it had lasted since the last one, and release what it should hold.

use crate::delivery::{Hold, Timestamp};
use crate::engine::timers::Group;
use std::collections::BTreeMap;
use std::time::Duration;

/// The holds of one task.
#[derive(Debug, Default)]
pub struct Holds(BTreeMap<Group, (Timestamp, Hold)>);

impl Holds {
    /// Holds a group's earliest timer; true when it has been held for this long: then it goes.
    pub fn hold(&mut self, group: Group, why: Hold, now: Timestamp, most: Duration) -> bool {
        let held = self.0.entry(group).or_insert((now, why));
        held.1 = why;
        now.since(held.0) >= most
    }

    /// Nothing holds this group any more.
    pub fn release(&mut self, group: Group) {
        self.0.remove(&group);
    }

    /// Of groups of which nothing is due nothing is held.
    pub fn keep(&mut self, due: impl Fn(Group) -> bool) {
        self.0.retain(|group, _| due(*group));
    }

    /// The groups that are held now, and why.
    pub fn iter(&self) -> impl Iterator<Item = (&Group, Hold)> + Clone {
        self.0.iter().map(|(group, (_, why))| (group, *why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{Channel, Lane, TimerKind};

    const LEASES: Group = (Lane::Express, Channel::WhatsApp, TimerKind::Lease);
    const MOST: Duration = Duration::from_secs(120);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn a_group_is_held_for_so_long_and_then_goes() {
        let mut holds = Holds::default();
        assert!(!holds.hold(LEASES, Hold::DispatcherSilent, at(0), MOST));
        assert!(!holds.hold(LEASES, Hold::DispatcherSilent, at(119), MOST));
        assert!(holds.hold(LEASES, Hold::DispatcherSilent, at(120), MOST));
    }

    #[test]
    fn a_hold_of_which_nothing_is_due_any_more_does_not_shorten_the_next_one() {
        let mut holds = Holds::default();
        assert!(!holds.hold(LEASES, Hold::DispatcherSilent, at(0), MOST));
        holds.keep(|_| true);
        assert_eq!(holds.iter().count(), 1);
        holds.keep(|_| false); // its outcomes came
        assert_eq!(holds.iter().count(), 0);
        assert!(!holds.hold(LEASES, Hold::DispatcherSilent, at(600), MOST), "another silence");
        holds.release(LEASES);
        assert!(!holds.hold(LEASES, Hold::GatewaySilent, at(800), MOST));
    }
}
