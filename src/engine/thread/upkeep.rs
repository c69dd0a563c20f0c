//! Time and housekeeping: Kafka time of each partition, the gate's questions, expiry, flushes, gauges, and what `/readyz` is told.
//!
//! Easily got wrong: the end offsets of receipts belong to the gate only with the moment at which they were asked for.

use super::{Engine, EngineError, FLUSH_PACE, GATE_PACE, IDLE_COMMIT, NO_KAFKA_TIME, UPKEEP_PACE};
use crate::delivery::Timestamp;
use crate::engine::kafka_time;
use crate::engine::task::{Task, TaskError};
use crate::observe::engine as metrics;
use crate::observe::health::Cause;
use std::time::Duration;

impl Engine {
    /// Hellos out, samples in, answers to the gate's questions in, new questions out.
    pub(super) fn measure(&mut self) {
        let now = crate::clock::now();
        let tasks = &mut self.tasks;
        self.hello.samples(|partition, written, read, appended| {
            if let Some(task) = tasks.get_mut(&partition) {
                task.clock.sample(written, read, appended);
            }
        });
        for (partition, task) in tasks.iter_mut() {
            self.hello.write_if_due(*partition, &task.clock, &mut task.hello_written, now);
        }
        while let Some(answer) = self.questions.answer(Duration::ZERO) {
            let Some(asked_at) = self.asked_at else { continue };
            for end in answer.unwrap_or_default() {
                if let (Some(task), Some(offset)) = (tasks.get_mut(&end.partition), end.offset)
                    && let Some(asked) = task.now(asked_at)
                {
                    task.gate.end_offset(asked, offset);
                }
            }
        }
        let monotonic = crate::clock::monotonic();
        if self.questions.open() == 0 && monotonic.saturating_sub(self.asked) >= GATE_PACE && tasks.values().any(Task::anything_due) {
            let receipts = self.shared.settings.topics.receipts.to_string();
            let due = tasks.values().filter(|task| task.anything_due()).map(|task| (receipts.clone(), task.partition));
            self.questions.ask(due, Duration::from_secs(5));
            self.asked_at = Some(now);
            self.asked = monotonic;
        }
    }

    /// Whether the clocks of the partitions in use agree; if not, nothing fires and nothing is requested.
    pub(super) fn clocks_agree(&self, now: Timestamp) -> bool {
        let disagree = kafka_time::disagree(self.tasks.values().filter_map(|task| task.clock.offset(now)));
        self.shared
            .health
            .set(Cause::ClockDisagreement, disagree.then(|| "The clocks of the brokers that lead our partitions differ by more than a second.".into()));
        !disagree
    }

    pub(super) fn upkeep(&mut self) -> Result<(), EngineError> {
        let now = crate::clock::monotonic();
        if now.saturating_sub(self.last_upkeep) < UPKEEP_PACE {
            return Ok(());
        }
        self.last_upkeep = now;
        let own_now = crate::clock::now();
        // The longest window of all inputs counts for each: an event is looked for only under its own input's name.
        let window = self.shared.inputs.inputs().iter().map(|input| input.dedup_window).max().unwrap_or_default();
        for task in self.tasks.values_mut() {
            if let Some(now) = task.now(own_now) {
                task.expire(window, now);
            }
        }
        let known = self.tasks.values().all(|task| task.now(own_now).is_some());
        self.shared.health.set(Cause::NoKafkaTime(self.number), (!known).then(|| NO_KAFKA_TIME.into()));
        metrics::gauges(self.number, self.tasks.values().map(|task| task.timers.armed()).sum(), self.tasks.values().map(|task| task.window.events()).sum());
        metrics::held(self.number, self.tasks.values().flat_map(Task::held));
        if now.saturating_sub(self.last_idle_commit) >= IDLE_COMMIT {
            self.last_idle_commit = now;
            self.commit_positions()?;
        }
        if now.saturating_sub(self.last_flush) >= FLUSH_PACE {
            self.last_flush = now;
            for task in self.tasks.values() {
                task.store.begin_flush().map_err(TaskError::from)?;
            }
        }
        Ok(())
    }
}
