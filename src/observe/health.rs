//! Enters: causes and heartbeats from every room; leaves: what `/livez` and `/readyz` answer.
//!
//! What is easily got wrong: `/livez` asks only whether our own loops still turn. It never depends on Kafka or a provider: restarting us would not bring
//! them back.

use prometheus::{IntGaugeVec, Opts};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Duration;

/// Why this instance is not ready, or is ready but not well. What belongs to one engine thread carries its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The roles are being put together. Set from the beginning.
    Starting,
    /// An engine thread is not a member of its group.
    NotJoined(u16),
    /// An engine thread is reading its changelog.
    Restoring(u16),
    /// The dispatcher is replaying its journal.
    Replaying,
    /// SIGTERM came: nothing new is taken.
    Draining,
    /// A partition has no sample of Kafka time: nothing fires, nothing is called.
    NoKafkaTime(u16),
    /// Clocks of brokers, or ours and theirs, are too far apart: timers and calls stand still.
    ClockDisagreement(Asker),
    /// Kafka does not answer.
    KafkaAway(Asker),
    /// An input has more partitions than our topics: some belong to nobody.
    PartitionsWithoutOwner,
    /// A cancel input has another number of partitions than its input.
    CancelsAstray,
    /// An engine thread found the disk under the state folder full.
    Disk(u16),
    /// An engine thread cannot have the keys of customers made: what it cannot seal it does not take.
    KeysAway(u16),
    /// Kafka refuses for good what receipts or timers of an engine thread lead to: those of the partition wait.
    OutputRefused(u16),
    /// The schema registry does not answer and a schema is missing: an input partition waits.
    RegistryAway,
    /// A provider's breaker is open.
    ProviderAway,
    /// A template's breaker is open: its provider paused or disabled it, or refuses what is sent with it.
    TemplateAway,
    /// Due timers are held: the gateway or a dispatcher is silent, or the storm guard holds them.
    TimersHeld(u16),
    /// Requests wait on the inputs, since too many attempts are open.
    RequestsPaused(u16),
    /// A record killed the process again and again, and became a dead letter.
    Poison,
}

/// Who asks Kafka, and would not know of another's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asker {
    /// The process, before its roles begin.
    Start,
    /// An engine thread.
    Engine(u16),
    /// The dispatcher.
    Dispatcher,
    /// The gateway.
    Gateway,
}

impl Cause {
    /// Its word in `/readyz` and in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::NotJoined(_) => "not_joined",
            Self::Restoring(_) => "restoring",
            Self::Replaying => "replaying",
            Self::Draining => "draining",
            Self::NoKafkaTime(_) => "no_kafka_time",
            Self::ClockDisagreement(_) => "clock_disagreement",
            Self::KafkaAway(_) => "kafka_away",
            Self::PartitionsWithoutOwner => "partitions_without_owner",
            Self::CancelsAstray => "cancels_astray",
            Self::Disk(_) => "disk",
            Self::KeysAway(_) => "keys_away",
            Self::OutputRefused(_) => "output_refused",
            Self::RegistryAway => "registry_away",
            Self::ProviderAway => "provider_away",
            Self::TemplateAway => "template_away",
            Self::TimersHeld(_) => "timers_held",
            Self::RequestsPaused(_) => "requests_paused",
            Self::Poison => "poison",
        }
    }

    /// Whether `/readyz` turns red for it. The others are told there and change nothing: this instance does all that it can do.
    pub const fn red(self) -> bool {
        match self {
            Self::Starting
            | Self::NotJoined(_)
            | Self::Restoring(_)
            | Self::Replaying
            | Self::Draining
            | Self::NoKafkaTime(_)
            | Self::ClockDisagreement(_)
            | Self::KafkaAway(_)
            | Self::PartitionsWithoutOwner
            | Self::CancelsAstray
            | Self::Disk(_)
            | Self::KeysAway(_)
            | Self::OutputRefused(_) => true,
            Self::RegistryAway | Self::ProviderAway | Self::TemplateAway | Self::TimersHeld(_) | Self::RequestsPaused(_) | Self::Poison => false,
        }
    }

    const fn thread(self) -> Option<u16> {
        match self {
            Self::NotJoined(thread)
            | Self::Restoring(thread)
            | Self::NoKafkaTime(thread)
            | Self::ClockDisagreement(Asker::Engine(thread))
            | Self::KafkaAway(Asker::Engine(thread))
            | Self::Disk(thread)
            | Self::KeysAway(thread)
            | Self::OutputRefused(thread)
            | Self::TimersHeld(thread)
            | Self::RequestsPaused(thread) => Some(thread),
            Self::Starting
            | Self::Replaying
            | Self::Draining
            | Self::ClockDisagreement(Asker::Start | Asker::Dispatcher | Asker::Gateway)
            | Self::KafkaAway(Asker::Start | Asker::Dispatcher | Asker::Gateway)
            | Self::PartitionsWithoutOwner
            | Self::CancelsAstray
            | Self::RegistryAway
            | Self::ProviderAway
            | Self::TemplateAway
            | Self::Poison => None,
        }
    }
}

/// How this instance is. Cheap to clone; every room has one.
#[derive(Clone)]
pub struct Health(Arc<Mutex<Now>>);

#[derive(Default)]
struct Now {
    causes: BTreeMap<Cause, String>,
    loops: BTreeMap<u64, Loop>,
    next: u64,
}

struct Loop {
    name: String,
    limit: Duration,
    last: Duration,
    dead: bool,
}

/// The pulse of one loop. While it exists the loop must beat; dropped in order it is forgotten, dropped by a panic the loop counts as dead for ever.
pub struct Pulse {
    health: Health,
    id: u64,
}

/// What `/livez` or `/readyz` says.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether the answer is 200; else it is 503.
    pub well: bool,
    /// Why not, and what else is worth knowing.
    pub causes: Vec<Told>,
}

/// One cause as it is told.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The cause's word; for `/livez` the word `loop`.
    pub cause: &'static str,
    /// The engine thread that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<u16>,
    /// A sentence for the person on call.
    pub detail: String,
    /// Whether it keeps this instance from being ready.
    pub red: bool,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Not ready yet: [`Cause::Starting`] is set.
    pub fn new() -> Self {
        let health = Self(Arc::default());
        // Not a line of the log: a start has its own.
        health.now().causes.insert(Cause::Starting, "The roles are being put together.".into());
        Self::count(&health.now(), Cause::Starting);
        health
    }

    /// Sets a cause with a sentence for the person on call (names from our own configuration, numbers, never data of a customer), or takes it away. The log
    /// has one line when it begins and one when it ends; a sentence that changes meanwhile is told by `/readyz` alone.
    pub fn set(&self, cause: Cause, detail: Option<String>) {
        let mut now = self.now();
        let begins = detail.clone().filter(|_| !now.causes.contains_key(&cause));
        let ended = match detail {
            Some(detail) => {
                now.causes.insert(cause, detail);
                false
            }
            None => now.causes.remove(&cause).is_some(),
        };
        Self::count(&now, cause);
        drop(now);
        let (word, thread) = (cause.word(), cause.thread());
        match begins {
            Some(detail) if cause.red() => tracing::warn!(cause = word, thread, detail, "Not ready: a cause begins."),
            Some(detail) => tracing::info!(cause = word, thread, detail, "A cause begins; this instance stays ready."),
            None if ended => tracing::info!(cause = word, thread, "A cause ended."),
            None => {}
        }
    }

    /// Threads share a word: it counts how many of them have the cause.
    fn count(now: &Now, cause: Cause) {
        let count = now.causes.keys().filter(|other| other.word() == cause.word()).count();
        CAUSES.with_label_values(&[cause.word()]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Whether a cause is set.
    pub fn has(&self, cause: Cause) -> bool {
        self.now().causes.contains_key(&cause)
    }

    /// A loop that must beat at least every `limit`, from now on.
    pub fn pulse(&self, name: impl Into<String>, limit: Duration) -> Pulse {
        let mut now = self.now();
        let id = now.next;
        now.next += 1;
        now.loops.insert(id, Loop { name: name.into(), limit, last: crate::clock::monotonic(), dead: false });
        Pulse { health: self.clone(), id }
    }

    /// Whether every loop has beaten within its limit at `at` (time since the machine's start). At exactly the limit it still has.
    pub fn live(&self, at: Duration) -> Report {
        let now = self.now();
        let late = now.loops.values().filter_map(|one| {
            let silence = at.saturating_sub(one.last);
            let detail = match (one.dead, silence > one.limit) {
                (true, _) => format!("The loop {} was stopped by a bug.", one.name),
                (false, true) => format!("The loop {} has not turned for {} s.", one.name, silence.as_secs()),
                (false, false) => return None,
            };
            Some(Told { cause: "loop", thread: None, detail, red: true })
        });
        let causes: Vec<_> = late.collect();
        Report { well: causes.is_empty(), causes }
    }

    /// Whether this instance does its work, and all causes that are set.
    pub fn ready(&self) -> Report {
        let now = self.now();
        let told = |(cause, detail): (&Cause, &String)| Told { cause: cause.word(), thread: cause.thread(), detail: detail.clone(), red: cause.red() };
        Report { well: !now.causes.keys().any(|cause| cause.red()), causes: now.causes.iter().map(told).collect() }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        // Nothing in here can panic half way: a poisoned lock holds whole values.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Pulse {
    /// The loop turns.
    pub fn beat(&self) {
        let at = crate::clock::monotonic();
        if let Some(one) = self.health.now().loops.get_mut(&self.id) {
            one.last = at;
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        let mut now = self.health.now();
        if std::thread::panicking() {
            if let Some(one) = now.loops.get_mut(&self.id) {
                one.dead = true;
            }
        } else {
            now.loops.remove(&self.id);
        }
    }
}

static CAUSES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let opts = Opts::new("recado_health_causes", "Reasons why this instance is not ready or not well, as told by /readyz.");
    super::register(IntGaugeVec::new(opts, &["cause"]))
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_instance_is_not_ready_until_it_says_so() {
        let health = Health::new();
        assert!(!health.ready().well);
        health.set(Cause::Starting, None);
        assert_eq!(health.ready(), Report { well: true, causes: vec![] });
    }

    #[test]
    fn a_provider_that_is_away_is_told_and_does_not_turn_red() {
        let health = Health::new();
        health.set(Cause::Starting, None);
        health.set(Cause::ProviderAway, Some("meta does not answer.".into()));
        let report = health.ready();
        assert!(report.well);
        assert_eq!(report.causes[0].cause, "provider_away");
        health.set(Cause::Restoring(1), Some("Thread 1 restores 3 partitions.".into()));
        health.set(Cause::Restoring(0), Some("Thread 0 restores 3 partitions.".into()));
        assert!(!health.ready().well);
        health.set(Cause::Restoring(0), None);
        let report = health.ready();
        assert!(!report.well, "thread 1 still restores");
        assert_eq!(report.causes.iter().filter(|told| told.thread == Some(1)).count(), 1);
    }

    #[test]
    fn a_loop_that_stops_turning_is_told_by_its_name() {
        let health = Health::new();
        let pulse = health.pulse("engine 0", Duration::from_secs(60));
        let start = crate::clock::monotonic();
        assert!(health.live(start + Duration::from_secs(59)).well, "Kafka may be away as long as it likes: the loop turns");
        let late = health.live(start + Duration::from_secs(62));
        assert!(!late.well && late.causes[0].detail.contains("engine 0"), "{late:?}");
        pulse.beat();
        assert!(health.live(crate::clock::monotonic()).well);
        drop(pulse);
        assert!(health.live(start + Duration::from_secs(3600)).well, "a loop that ended in order owes no pulse");
    }

    #[test]
    fn a_loop_that_ended_by_a_panic_is_dead_for_ever() {
        let health = Health::new();
        let pulse = health.pulse("engine 0", Duration::from_secs(60));
        let ended = std::thread::spawn(move || {
            let _held = pulse;
            panic!("on purpose");
        });
        assert!(ended.join().is_err());
        assert!(!health.live(crate::clock::monotonic()).well);
    }
}
