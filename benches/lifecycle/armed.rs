//! Arms timers by the million: bills that are dispatched and taken, and of which nothing more is heard.

use crate::answers::{ACCEPTED, Answers};
use crate::load::{Loader, Mould};
use crate::measure::metrics::{counted, scrape};
use crate::process::{Instance, Stage};
use crate::shared::partition;
use std::time::{Duration, Instant};

/// Of so many customers: each has a key, and keys are not what is measured.
const CUSTOMERS: u64 = 1_000;
/// Slower than so many a second is a fault: of five million the first would be due before the last is armed.
const RATE_MIN: u64 = 1_000;

/// The bank and the dispatcher of what is armed.
pub struct Armed {
    answers: Answers,
    loader: Loader,
    mould: Mould,
    bills: String,
    sent: u64,
}

impl Armed {
    /// On the stage's bills.
    pub fn start(stage: &Stage) -> Self {
        let answers = Answers::start(stage, "dispatch.whatsapp.bulk", ACCEPTED);
        Self { answers, loader: Loader::new(), mould: Mould::bills(CUSTOMERS), bills: stage.input("billing.invoices"), sent: 0 }
    }

    /// Arms so many more. `time_ms`: what the record of each says of its own time; `None` is now. Returns how long that took.
    pub async fn arm(&mut self, instance: &Instance, count: u64, time_ms: impl Fn(u64) -> Option<i64>) -> Duration {
        let (began, before) = (Instant::now(), timers(instance).await);
        for at in 0..count {
            let (number, (value, key)) = (self.sent + at, self.mould.cast(self.sent + at));
            self.loader.send(&self.bills, partition(number), key.as_bytes(), &value, time_ms(at));
        }
        self.loader.flush();
        self.sent += count;
        loop {
            let there = timers(instance).await;
            if there >= before + count && self.answers.said(0) >= self.sent {
                return began.elapsed();
            }
            assert!(began.elapsed() < Duration::from_secs(600 + count / RATE_MIN), "{there} timers are armed");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// What is armed stays.
    pub fn end(self) {
        self.answers.end();
    }
}

/// How many timers a process says are set.
pub async fn timers(instance: &Instance) -> u64 {
    counted(&scrape(instance).await, "recado_timers_armed", "")
}
