//! kill -9 while events flow, at random and at named points: when and whom the seed says; and the crash log.
//!
//! Easily got wrong: a killed instance may still be starting or restoring when it is killed again. That is wanted. An armed one is left to its point.

use crate::dice::{Dice, now_ms};
use crate::part::LAST_CALM_MAX;
use crate::points::{Aim, Inside, Needs};
use crate::stage::{Profile, Stage};
use crate::state;
use crate::support;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Before the first kill, and in between after each ten: lives that no fault touches. After the last one it is longer: `LAST_CALM` of part.rs.
pub const CALM: Duration = Duration::from_secs(16);
const KILLS_A_STRETCH: usize = 10;
/// One in so many stays dead for longer than its sessions, and its partitions move.
const ONE_IN_MOVES: u64 = 6;
/// Longer than the engine's and the dispatcher's session (10 s).
const BEYOND_SESSION: Duration = Duration::from_millis(11_500);
/// How long everything may take to stand again after the last fault.
const STANDS_WITHIN: Duration = Duration::from_secs(120);

/// One kill to come.
#[derive(Clone, Copy, Debug)]
pub struct ToCome {
    pub at: Duration,
    draw: u64,
    /// How long it stays dead.
    down: Duration,
}

/// Why it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// By chance.
    Random,
    /// So that it could be started with a point armed.
    ToArm,
    /// So that its partitions move.
    ToMove,
    /// It came by this point.
    Point(&'static str, Inside),
    /// It was armed, and did not come by its point.
    NotReached,
    /// It was stopped, not killed, at this point or anywhere.
    Stopped(&'static str),
    /// It was the second of a name.
    Twin,
    /// It came or went, and partitions moved: nobody was killed.
    Moved,
}

/// One kill that was.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kill {
    pub instance: &'static str,
    pub roles: &'static str,
    /// Just before the signal and just after the process was gone, ms since 1970. Of one that died at a point: the last look that found it alive and the first
    /// that did not.
    pub at: i64,
    pub gone: i64,
    /// When it was started again, and when it was ready again.
    pub started: Option<i64>,
    pub ready: Option<i64>,
    /// When one that stood still went on.
    pub goes_on: Option<i64>,
    /// Whether it was ready when it was killed.
    pub was_ready: bool,
    /// Whether it was restoring.
    pub restoring: bool,
    /// Whether it was started again on an empty disk, or on what it had restored there so far.
    pub disk_lost: bool,
    /// Partitions of state and status, of those that it held, on which it left a transaction open.
    pub open_transactions: usize,
    pub cause: Cause,
}

impl Kill {
    /// One that was ready, went and has not come back.
    pub fn new((instance, roles): (&'static str, &'static str), (at, gone): (i64, i64), cause: Cause) -> Self {
        let (started, ready, goes_on) = (None, None, None);
        Self { instance, roles, at, gone, started, ready, goes_on, was_ready: true, restoring: false, disk_lost: false, open_transactions: 0, cause }
    }

    /// What the crash log calls it.
    pub fn word(&self) -> &'static str {
        match self.cause {
            Cause::Random => "at random",
            Cause::ToArm => "to be armed",
            Cause::ToMove => "for longer than its session",
            Cause::Point(name, _) => name,
            Cause::Stopped(word) => word,
            Cause::Twin => "the twin",
            Cause::Moved => "came or went",
            Cause::NotReached => "its point was not reached",
        }
    }
}

/// What was done.
pub struct Crashes {
    pub kills: Vec<Kill>,
    /// Points that were not reached, each with a sentence.
    pub missed: Vec<String>,
    /// What else was met.
    pub counts: BTreeMap<&'static str, usize>,
}

/// So many kills, and how long the whole takes at most with these points.
pub fn schedule(seed: u64, profile: Profile, kills: usize, aims: &[Aim]) -> (Vec<ToCome>, Duration) {
    let mut dice = Dice::new(seed, &format!("kills of {}", profile.word()));
    let mut at = profile.calm_first();
    let mut planned = Vec::new();
    for number in 0..kills {
        if number > 0 && number % KILLS_A_STRETCH == 0 {
            at += CALM;
        }
        at += Duration::from_millis(dice.between(300, 5_500));
        let down = if dice.below(ONE_IN_MOVES) == 0 { BEYOND_SESSION } else { Duration::ZERO } + Duration::from_millis(dice.between(0, 1_500));
        planned.push(ToCome { at, draw: dice.next(), down });
    }
    let aimed: Duration = aims.iter().map(|aim| aim.point.within + STARTS_WITHIN).sum();
    (planned, at.max(profile.calm_first() + aimed) + STANDS_WITHIN + LAST_CALM_MAX)
}

/// A start with everything on two busy cores. A guess.
const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// Kills and restarts as planned, one armed start after the other beside them; at the end all are started again.
pub async fn carry_out(stage: &mut Stage, planned: &[ToCome], aims: &[Aim]) -> Crashes {
    let deadline = Instant::now() + schedule_end(stage.profile, planned, aims) + STANDS_WITHIN;
    let aims = aims.iter().copied().collect();
    let began = Instant::now();
    let mut driver = Driver { stage, ends: Ends::new(), kills: Vec::new(), missed: Vec::new(), dead: Vec::new(), waiting: Vec::new(), aims, armed: None };
    let mut next = planned.iter().peekable();
    while next.peek().is_some() || driver.busy() {
        driver.start_again();
        if let Some(plan) = next.peek().filter(|plan| began + plan.at <= Instant::now())
            && driver.at_random(plan).await
        {
            next.next();
        }
        if began.elapsed() >= driver.stage.profile.calm_first() {
            driver.arm().await;
        }
        driver.look_at_armed().await;
        driver.look_at_waiting().await;
        driver.stage.note_memory();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(Instant::now() < deadline, "an instance does not become ready again");
    }
    driver.end()
}

fn schedule_end(profile: Profile, planned: &[ToCome], aims: &[Aim]) -> Duration {
    let aimed: Duration = aims.iter().map(|aim| aim.point.within + STARTS_WITHIN).sum();
    planned.last().map_or(CALM, |last| last.at).max(profile.calm_first() + aimed)
}

struct Dead {
    when: Instant,
    index: usize,
    aim: Option<Aim>,
}

struct Armed {
    index: usize,
    aim: Aim,
    since: Instant,
    /// Whether what it needs was brought about.
    provoked: bool,
}

struct Driver<'s> {
    stage: &'s mut Stage,
    ends: Ends,
    kills: Vec<Kill>,
    missed: Vec<String>,
    dead: Vec<Dead>,
    /// Number of the kill, and the instance that is not ready again yet.
    waiting: Vec<(usize, usize)>,
    aims: VecDeque<Aim>,
    armed: Option<Armed>,
}

impl Driver<'_> {
    fn busy(&self) -> bool {
        !self.dead.is_empty() || !self.waiting.is_empty() || !self.aims.is_empty() || self.armed.is_some()
    }

    fn start_again(&mut self) {
        let now = Instant::now();
        for Dead { index, aim, .. } in self.dead.extract_if(.., |dead| dead.when <= now).collect::<Vec<_>>() {
            match aim {
                None => self.stage.start(index),
                Some(aim) => {
                    if aim.point.needs == Needs::EmptyDisk {
                        self.stage.lose_disk(index);
                    }
                    self.stage.start_armed(index, aim.point.name, aim.pass);
                    self.armed = Some(Armed { index, aim, since: now, provoked: false });
                }
            }
            let of_it = |kill: &Kill| kill.instance == self.stage.instances[index].name;
            if let Some(number) = self.kills.iter().rposition(of_it) {
                let before = self.kills[..number].iter().rfind(|kill| of_it(kill)).is_some_and(|kill| kill.disk_lost);
                let emptied = aim.is_some_and(|aim| aim.point.needs == Needs::EmptyDisk);
                self.kills[number].disk_lost = emptied || (before && !self.kills[number].was_ready);
                self.kills[number].started = Some(now_ms());
                self.waiting.push((number, index));
            }
        }
    }

    /// Those that run, but for the armed one.
    fn victims(&self, role: &str) -> Vec<usize> {
        let armed = self.armed.as_ref().map(|armed| armed.index);
        let fits = |index: &usize| self.stage.instances[*index].runs() && self.stage.instances[*index].has(role) && Some(*index) != armed;
        (0..self.stage.instances.len()).filter(fits).collect()
    }

    /// Where all lie dead, the next one that stands up is killed.
    async fn at_random(&mut self, plan: &ToCome) -> bool {
        let Some(index) = one(&self.victims(""), plan.draw) else { return false };
        self.kill(index, Cause::Random, plan.down, None).await;
        true
    }

    /// The next armed start, as soon as the last one has come to its end.
    async fn arm(&mut self) {
        let arming = self.armed.is_some() || self.dead.iter().any(|dead| dead.aim.is_some());
        let Some(aim) = self.aims.front().filter(|_| !arming).copied() else { return };
        if let Some(index) = one(&self.victims(aim.point.role), aim.draw) {
            self.aims.pop_front();
            self.kill(index, Cause::ToArm, Duration::ZERO, Some(aim)).await;
        }
    }

    async fn look_at_armed(&mut self) {
        let Some(Armed { index, aim, since, provoked }) = self.armed.take() else { return };
        let is_ready = !self.waiting.iter().any(|(_, other)| *other == index);
        if let Some((at, gone)) = self.stage.crashed(index) {
            let restoring = aim.point.inside == Inside::Restore;
            self.note(index, (at, gone), is_ready, restoring, Cause::Point(aim.point.name, aim.point.inside));
            self.dead.push(Dead { when: Instant::now() + aim.down, index, aim: None });
            return;
        }
        let told = format!("{} at pass {} by {}", aim.point.name, aim.pass, self.stage.instances[index].name);
        if !self.stage.instances[index].is_armed() {
            // `ready` tells how it ended instead, and starts it again.
            self.missed.push(format!("{told}: it ended by itself before."));
            return;
        }
        if since.elapsed() > aim.point.within {
            self.missed.push(format!("{told}: not within {:?}.", aim.point.within));
            self.kill(index, Cause::NotReached, Duration::ZERO, None).await;
            return;
        }
        let provoke = aim.point.needs == Needs::Move && !provoked && is_ready;
        self.armed = Some(Armed { index, aim, since, provoked: provoked || provoke });
        if provoke && let Some(other) = one(&self.victims("engine"), aim.draw) {
            self.kill(other, Cause::ToMove, BEYOND_SESSION, None).await;
        }
    }

    async fn look_at_waiting(&mut self) {
        for (number, index) in std::mem::take(&mut self.waiting) {
            if self.stage.ready(index).await {
                self.kills[number].ready = Some(now_ms());
            } else {
                self.waiting.push((number, index));
            }
        }
    }

    async fn kill(&mut self, index: usize, cause: Cause, down: Duration, aim: Option<Aim>) {
        let was_ready = self.stage.ready(index).await;
        let restoring = self.stage.instances[index].restoring;
        self.stage.note_memory();
        let at = now_ms();
        self.stage.kill(index);
        self.note(index, (at, now_ms()), was_ready, restoring, cause);
        self.dead.push(Dead { when: Instant::now() + down, index, aim });
    }

    /// Into the crash log.
    fn note(&mut self, index: usize, (at, gone): (i64, i64), was_ready: bool, restoring: bool, cause: Cause) {
        self.waiting.retain(|(_, other)| *other != index);
        let instance = &self.stage.instances[index];
        state::keep(self.stage, instance.name, &self.stage.state_of(instance.name));
        let open_transactions = if instance.has("engine") { self.ends.open_transactions(self.stage, instance.name) } else { 0 };
        let kill = Kill::new((instance.name, instance.roles), (at, gone), cause);
        self.kills.push(Kill { was_ready, restoring, open_transactions, ..kill });
    }

    fn end(self) -> Crashes {
        let mut kills = self.kills;
        // One that was killed again before it was ready came back with the next one's return.
        for at in (0..kills.len()).rev() {
            if kills[at].ready.is_none() {
                kills[at].ready = kills[at + 1..].iter().find(|later| later.instance == kills[at].instance).and_then(|later| later.ready);
            }
        }
        Crashes { kills, missed: self.missed, counts: BTreeMap::new() }
    }
}

fn one(of: &[usize], draw: u64) -> Option<usize> {
    (!of.is_empty()).then(|| of[usize::try_from(draw % of.len() as u64).unwrap()])
}

/// Asks for the ends that a reader of committed and of all records sees.
pub struct Ends {
    committed: BaseConsumer,
    all: BaseConsumer,
}

impl Ends {
    pub fn new() -> Self {
        let consumer = |level: &str| support::client().set("group.id", "rig-ends").set("isolation.level", level).create().unwrap();
        Self { committed: consumer("read_committed"), all: consumer("read_uncommitted") }
    }

    /// On how many partitions of state and status an instance that is dead, or stands still, has a transaction open. Other instances' do not count: only what the
    /// group says is this one's is looked at.
    pub fn open_transactions(&self, stage: &Stage, instance: &str) -> usize {
        let topics = [stage.topic("state"), stage.topic("status")];
        let owned = self.owned(stage, instance);
        let open = |topic: &String, partition: i32| {
            let end = |consumer: &BaseConsumer| consumer.fetch_watermarks(topic, partition, Duration::from_secs(5)).map(|(_, high)| high).unwrap_or(0);
            end(&self.committed) < end(&self.all)
        };
        topics.iter().flat_map(|topic| owned.iter().map(move |partition| (topic, *partition))).filter(|(topic, partition)| open(topic, *partition)).count()
    }

    /// The partitions that the engines' group has given to this instance.
    fn owned(&self, stage: &Stage, instance: &str) -> Vec<i32> {
        let client = format!("{}.0.consumer", stage.topic(instance));
        let Ok(list) = self.all.fetch_group_list(Some(&stage.topic("engine")), Duration::from_secs(5)) else { return Vec::new() };
        let members = list.groups().iter().flat_map(|group| group.members());
        members
            .filter(|member| member.client_id() == client)
            .flat_map(|member| partitions(member.assignment().unwrap_or_default()).unwrap_or_default())
            .collect()
    }
}

/// A member's assignment in the classic protocol: version, then topics with their partitions; the engine's is of one topic.
fn partitions(bytes: &[u8]) -> Option<Vec<i32>> {
    let (_, rest) = bytes.split_first_chunk::<2>()?;
    let (_topics, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let rest = rest.get(usize::try_from(i16::from_be_bytes(*length)).ok()?..)?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let count = usize::try_from(i32::from_be_bytes(*count)).ok()?;
    Some(rest.as_chunks::<4>().0.iter().take(count).map(|number| i32::from_be_bytes(*number)).collect())
}
