//! Which due timers may fire now, and which are held.

#[cfg(feature = "mutants")]
use super::bugs::careless;
use super::{Task, TaskError};
use crate::crash_point::crash_point;
use crate::delivery::{Hold, TimerKind, Timestamp};
use crate::engine::gate::Verdict;
use crate::engine::outputs::Outputs;
use crate::engine::settings::Settings;
use crate::engine::storm;
use crate::engine::thread::Shared;
use crate::engine::timers::{Group, Timer};

impl Task {
    /// Fires what may fire, at most `most` timers; returns how many did.
    pub fn fire_due(&mut self, shared: &Shared, now: Timestamp, guard: &mut storm::Guard, most: usize, out: &mut Outputs) -> Result<usize, TaskError> {
        self.timers.advance(now);
        let timers = &self.timers;
        self.holds.keep(|group| timers.first_due(group).is_some());
        let mut fired = 0;
        #[cfg(feature = "mutants")]
        for timer in self.cleared.extract_if(.., |timer| timer.at <= now).collect::<Vec<_>>() {
            self.fire(shared, timer, Hold::No, now, out)?;
            fired += 1;
        }
        for group in self.timers.due_groups() {
            while fired < most {
                let Some(timer) = self.timers.first_due(group) else { break };
                let Some(hold) = self.released(&shared.settings, group, &timer, now, guard) else { break };
                self.timers.fire(group);
                crash_point!("on_timer_fire", if timer.kind == TimerKind::Wait);
                if timer.kind == TimerKind::Wait {
                    guard.ran_out(timer.traffic.0, now, 1);
                }
                self.fire(shared, timer, hold, now, out)?;
                fired += 1;
            }
            if self.timers.first_due(group).is_none() {
                self.holds.release(group);
            }
        }
        Ok(fired)
    }

    /// Whether the earliest due timer of a group may fire, and with what said about having been held.
    fn released(&mut self, settings: &Settings, group: Group, timer: &Timer, now: Timestamp, guard: &mut storm::Guard) -> Option<Hold> {
        if timer.at > now {
            return None; // Kafka time has stepped back a little since it was found to be due
        }
        let verdict = self.gate.verdict(timer.kind, timer.at, timer.traffic);
        #[cfg(feature = "mutants")]
        let verdict = careless(verdict);
        let hold = match verdict {
            Verdict::NotDrained => return None,
            Verdict::Hold(hold) => hold,
            Verdict::Fire if timer.kind == TimerKind::Wait && settings.storm_guard && self.storm(group, now, guard) => Hold::Storm,
            Verdict::Fire => {
                self.holds.release(group);
                return Some(Hold::No);
            }
        };
        self.holds.hold(group, hold, now, settings.hold_max).then_some(hold)
    }

    fn storm(&self, group: Group, now: Timestamp, guard: &mut storm::Guard) -> bool {
        const ENOUGH: usize = 1_000;
        let due = self.timers.due_count(group, now, ENOUGH);
        guard.storm(group.1, now, u32::try_from(due).unwrap_or(u32::MAX))
    }

    /// Whether anything is due, so that the gate needs end offsets.
    pub fn anything_due(&self) -> bool {
        self.timers.anything_due()
    }

    /// The groups that are held now, and why.
    pub fn held(&self) -> impl Iterator<Item = (&Group, Hold)> + Clone {
        self.holds.iter()
    }
}
