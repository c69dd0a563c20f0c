//! Kafka time of each partition, and how far its receipts are drained: hellos and questions out, samples and answers in.
//!
//! Easily got wrong: the end offsets of receipts belong to the gate only with the moment at which they were asked for.

use super::{Engine, GATE_PACE};
use crate::delivery::Timestamp;
use crate::engine::kafka_time;
use crate::engine::task::Task;
use crate::observe::health::{Asker, Cause};
use std::time::Duration;

impl Engine {
    /// Hellos out, samples in, answers to the gate's questions in, new questions out.
    pub(super) fn measure(&mut self) {
        let now = crate::clock::now();
        let tasks = &mut self.tasks;
        self.hello.samples(|partition, written, read, appended| {
            #[cfg(feature = "mutants")]
            if crate::seeded_bug::planted("one_offset") {
                return tasks.values_mut().for_each(|task| task.clock.sample(written, read, appended));
            }
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
                let (Some(task), Some(offset)) = (tasks.get_mut(&end.partition), end.offset) else { continue };
                let asked = task.now(asked_at);
                #[cfg(feature = "mutants")]
                let asked = if crate::seeded_bug::planted("wall_clock") { Some(crate::clock::wall().minus(now.since(asked_at))) } else { asked };
                if let Some(asked) = asked {
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

    /// Whether the clocks of the partitions in use agree; if not, nothing fires.
    pub(super) fn clocks_agree(&mut self, now: Timestamp) -> bool {
        let disagree = kafka_time::disagree(self.tasks.values().filter_map(|task| task.clock.offset(now)));
        if disagree != self.disagreed {
            self.disagreed = disagree;
            self.shared.health.set(
                Cause::ClockDisagreement(Asker::Engine(self.number)),
                disagree.then(|| "The clocks of the brokers that lead our partitions differ by more than a second.".into()),
            );
        }
        !disagree
    }
}
