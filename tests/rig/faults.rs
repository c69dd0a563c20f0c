//! kill -9 at random while events flow: when and whom the seed says; and the crash log.
//!
//! Easily got wrong: a killed instance may still be starting or restoring when it is killed again. That is wanted.

use crate::dice::{Dice, now_ms};
use crate::stage::{PARTITIONS, Stage};
use crate::state;
use crate::support;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::time::{Duration, Instant};

/// Before the first kill and after the last one, and in between after each ten: lives that no fault touches.
pub const CALM: Duration = Duration::from_secs(16);
const KILLS_A_STRETCH: usize = 10;

/// One kill to come.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    pub at: Duration,
    draw: u64,
    /// How long it stays dead.
    down: Duration,
}

/// One kill that was.
#[derive(Clone, Debug)]
pub struct Kill {
    pub instance: &'static str,
    pub roles: &'static str,
    /// Just before the signal and just after the process was gone, ms since 1970.
    pub at: i64,
    pub gone: i64,
    /// When it was ready again.
    pub ready: Option<i64>,
    /// Whether it was ready when it was killed.
    pub was_ready: bool,
    /// Partitions of state and status on which it left a transaction open.
    pub open_transactions: usize,
}

/// So many kills, and how long the whole takes.
pub fn schedule(seed: u64, run: &str, kills: usize) -> (Vec<Planned>, Duration) {
    let mut dice = Dice::new(seed, &format!("kills of {run}"));
    let mut at = CALM;
    let mut planned = Vec::new();
    for number in 0..kills {
        if number > 0 && number % KILLS_A_STRETCH == 0 {
            at += CALM;
        }
        at += Duration::from_millis(dice.between(300, 5_500));
        planned.push(Planned { at, draw: dice.next(), down: Duration::from_millis(dice.between(0, 1_500)) });
    }
    (planned, at + CALM)
}

/// Kills and restarts as planned; at the end all are started again.
pub async fn carry_out(stage: &mut Stage, planned: &[Planned]) -> Vec<Kill> {
    let began = Instant::now();
    let ends = Ends::new();
    let mut kills: Vec<Kill> = Vec::new();
    let mut dead: Vec<(Instant, usize)> = Vec::new();
    let mut waiting: Vec<(usize, usize)> = Vec::new();
    let mut next = planned.iter().peekable();
    while next.peek().is_some() || !dead.is_empty() || !waiting.is_empty() {
        let now = Instant::now();
        for (_, index) in dead.extract_if(.., |(when, _)| *when <= now) {
            stage.start(index);
            if let Some(number) = kills.iter().rposition(|kill| kill.instance == stage.instances[index].name) {
                waiting.push((number, index));
            }
        }
        if let Some(plan) = next.next_if(|plan| began + plan.at <= now) {
            let alive: Vec<usize> = (0..stage.instances.len()).filter(|&index| stage.instances[index].runs()).collect();
            if alive.is_empty() {
                // All lie dead; the next one that stands up is killed then.
                next = planned[kills.len()..].iter().peekable();
            } else {
                let index = alive[usize::try_from(plan.draw % alive.len() as u64).unwrap()];
                waiting.retain(|(_, other)| *other != index);
                let was_ready = stage.ready(index).await;
                let at = now_ms();
                stage.kill(index);
                let gone = now_ms();
                let instance = &stage.instances[index];
                state::keep(stage, instance);
                let open_transactions = if instance.has("engine") { ends.open_transactions(stage) } else { 0 };
                kills.push(Kill { instance: instance.name, roles: instance.roles, at, gone, ready: None, was_ready, open_transactions });
                dead.push((Instant::now() + plan.down, index));
            }
        }
        let mut still = Vec::new();
        for (number, index) in std::mem::take(&mut waiting) {
            if stage.ready(index).await {
                kills[number].ready = Some(now_ms());
            } else {
                still.push((number, index));
            }
        }
        waiting = still;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(began.elapsed() < planned.last().map_or(CALM, |last| last.at) + Duration::from_secs(120), "an instance does not become ready again");
    }
    // One that was killed again before it was ready came back with the next one's return.
    for at in (0..kills.len()).rev() {
        if kills[at].ready.is_none() {
            kills[at].ready = kills[at + 1..].iter().find(|later| later.instance == kills[at].instance).and_then(|later| later.ready);
        }
    }
    kills
}

/// Asks for the ends that a reader of committed and of all records sees.
struct Ends {
    committed: BaseConsumer,
    all: BaseConsumer,
}

impl Ends {
    fn new() -> Self {
        let consumer = |level: &str| support::client().set("group.id", "rig-ends").set("isolation.level", level).create().unwrap();
        Self { committed: consumer("read_committed"), all: consumer("read_uncommitted") }
    }

    fn open_transactions(&self, stage: &Stage) -> usize {
        let topics = [stage.topic("state"), stage.topic("status")];
        let open = |topic: &String, partition: u16| {
            let end =
                |consumer: &BaseConsumer| consumer.fetch_watermarks(topic, i32::from(partition), Duration::from_secs(5)).map(|(_, high)| high).unwrap_or(0);
            end(&self.committed) < end(&self.all)
        };
        topics.iter().flat_map(|topic| (0..PARTITIONS).map(move |partition| (topic, partition))).filter(|(topic, partition)| open(topic, *partition)).count()
    }
}
