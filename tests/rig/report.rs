//! What a part tells the whole, and what the whole tells its reader: on the screen, and with `REPORT` in a file.

use crate::evidence::Evidence;
use crate::faults::{Cause, Kill};
use crate::judge;
use crate::points::POINTS;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The numbers of one part, or of all of them.
#[derive(Default)]
pub struct Told {
    /// Of which builds the processes were, and how many parts of each.
    pub builds: BTreeMap<String, usize>,
    /// By rule.
    pub faults: BTreeMap<String, usize>,
    /// What was met and judged.
    pub counts: BTreeMap<String, usize>,
    /// By story, the lives that no fault came near.
    pub clear: BTreeMap<String, usize>,
    /// How often each point was reached.
    pub points: BTreeMap<String, usize>,
    /// By roles, ms from a kill to ready again, of those that were started again at once; and from the start, of all.
    pub recoveries: BTreeMap<String, Vec<u64>>,
    pub starts: BTreeMap<String, Vec<u64>>,
    /// The latter without what came before the last trouble of their groups.
    pub untroubled: BTreeMap<String, Vec<u64>>,
    /// ms from the kill of an engine to its first commit, of those that were started again at once: by the brokers' logs, not by Recado's word.
    pub commits: Vec<u64>,
    /// The same without what came before the last trouble of the group.
    pub untroubled_commits: Vec<u64>,
    /// Of those, how many were killed again, or had nothing more to do, before they had committed and before it was late.
    pub uncommitted: u64,
    /// The same of those that were started with their disk lost: ms from the kill to the first commit, and from the start, or the last trouble, to ready.
    pub rebuilt_commits: Vec<u64>,
    pub rebuilt_starts: Vec<u64>,
    /// The most that each instance had, in KiB.
    pub memory: BTreeMap<String, u64>,
    pub seconds: u64,
}

/// Nine of ten of these may take twice what one node may, 3 s. Source: the recovery promised for a million armed waits (benches/README.md). The tenth may have met
/// a machine that was slow.
const FIRST_COMMIT_MAX_MS: u64 = 6_000;
/// Of fewer nobody can say nine of ten.
const COMMITS_MIN: usize = 10;
/// Whatever the machine does, none may take longer from its kill or from the last trouble of its group: a session (10 s), for which the group may wait for a member that
/// died in the midst of its rebalance, and then what nine of ten may take. Source: testing.md §3, row 1: recovery < session time-out + restore. Seen from the kill on, while
/// one after the other died: 16,229 ms.
pub const FIRST_COMMIT_EVER_MAX_MS: u64 = 10_000 + FIRST_COMMIT_MAX_MS;
/// With the disk lost twice what one node may, 15 s, all in all. Source: the recovery promised for a million armed waits (benches/README.md); of the few waits of a
/// run it has taken 1.3 s.
pub const REBUILT_MAX_MS: u64 = 30_000;
/// Nine of ten processes of which some partitions may be: as soon ready as an engine has committed. The tenth may have met a group that waits for somebody else; then
/// that counts from the other's death or return, and a session and a restore behind it are enough. The most that 1,238 starts have shown, each counted from itself: 13,627 ms.
const READY_MAX_MS: u64 = FIRST_COMMIT_MAX_MS;
const READY_EVER_MAX_MS: u64 = FIRST_COMMIT_EVER_MAX_MS;
/// A gateway has no group and restores nothing: nine of ten, with the 1.5 s for which it stays dead, and ever. Guesses: on a quiet machine it starts in 0.2 s.
const GATEWAY_READY_MAX_MS: u64 = 3_000;
const GATEWAY_READY_EVER_MAX_MS: u64 = 10_000;
/// One that stays dead for longer says nothing of how quick a supervisor's restart is.
const AT_ONCE_MS: i64 = 2_000;

impl Told {
    /// What the crash log and the looks at the processes say.
    pub fn of(build: &str, kills: &[Kill], memory: &BTreeMap<String, u64>) -> Self {
        let mut told = Self { builds: BTreeMap::from([(build.to_owned(), 1)]), memory: memory.clone(), ..Self::default() };
        for (number, kill) in kills.iter().enumerate() {
            if let Cause::Point(name, _) = kill.cause {
                *told.points.entry(name.to_owned()).or_default() += 1;
            }
            let (Some(started), Some(ready)) = (kill.started, kill.ready) else { continue };
            // One that was killed again before it was ready has the next one's return.
            if kills[number + 1..].iter().any(|later| later.instance == kill.instance && later.at < ready) {
                continue;
            }
            let took = |since: i64| u64::try_from(ready - since).unwrap_or(0);
            let roles = kill.roles.to_owned();
            let groups = ["engine", "dispatcher"].into_iter().filter(|role| kill.roles.contains(role));
            let troubles = groups.flat_map(|role| judge::troubles(kills, role)).filter(|trouble| trouble.troubles(Some(kill.instance)));
            let since = troubles.map(|trouble| trouble.at).filter(|at| (started..ready).contains(at)).max().unwrap_or(started);
            if kill.disk_lost {
                told.rebuilt_starts.push(took(since));
                continue;
            }
            told.starts.entry(roles.clone()).or_default().push(took(started));
            told.untroubled.entry(roles.clone()).or_default().push(took(since));
            if started - kill.gone < AT_ONCE_MS {
                told.recoveries.entry(roles).or_default().push(took(kill.at));
            }
        }
        told
    }

    /// When each killed engine committed again, of those that were neither long dead nor killed again before.
    pub fn of_commits(&mut self, evidence: &Evidence, prefix: &str) {
        if !evidence.prompt {
            return; // where commits are long the first one is, too
        }
        // While the bank writes there is something to commit.
        let busy = evidence.written.iter().map(|written| written.at).max().unwrap_or(0);
        for (number, kill) in evidence.kills.iter().enumerate().filter(|(_, kill)| kill.roles.contains("engine")) {
            let at_once = kill.started.is_some_and(|started| started - kill.gone < AT_ONCE_MS);
            let Some(&producer) = evidence.quiet.producers.get(&format!("{prefix}{}.0", kill.instance)).filter(|_| at_once) else { continue };
            let back = evidence.logs.values().filter_map(|log| log.back(producer, kill.gone)).min();
            let again = evidence.kills[number + 1..].iter().find(|later| later.instance == kill.instance).map_or(i64::MAX, |later| later.at);
            let troubles = judge::troubles(&evidence.kills, "engine").into_iter().filter(|trouble| trouble.troubles(Some(kill.instance)));
            let (most, commits) = if kill.disk_lost { (REBUILT_MAX_MS, &mut self.rebuilt_commits) } else { (FIRST_COMMIT_MAX_MS, &mut self.commits) };
            let (back, until) = match back.filter(|back| *back < again) {
                Some(back) => (true, back),
                None => (false, again.min(busy)),
            };
            let since = troubles.map(|trouble| trouble.at).filter(|at| (kill.gone..until).contains(at)).max().unwrap_or(kill.at);
            let [all, untroubled] = [kill.at, since].map(|since| u64::try_from(until - since).unwrap_or(0));
            // One that lived for long enough and did not commit took longer than that.
            if !back && untroubled <= most {
                self.uncommitted += 1;
                continue;
            }
            commits.push(if kill.disk_lost { untroubled } else { all });
            if !kill.disk_lost {
                self.untroubled_commits.push(untroubled);
            }
        }
    }

    /// What is wrong with them, and with how soon anybody was ready.
    pub fn slow_commits(&self) -> Vec<String> {
        let mut faults = self.slow_starts();
        if let Some((counted, most)) = nine_of_ten(&self.commits).filter(|(_, most)| *most > FIRST_COMMIT_MAX_MS) {
            faults.push(format!("recovery: {counted} of {} killed engines took up to {most} ms to their first commit", self.commits.len()));
        }
        for (commits, most, disk) in [(&self.untroubled_commits, FIRST_COMMIT_EVER_MAX_MS, ""), (&self.rebuilt_commits, REBUILT_MAX_MS, " with its disk lost")]
        {
            let late = commits.iter().filter(|ms| **ms > most);
            faults.extend(late.map(|ms| format!("recovery: a killed engine{disk} took {ms} ms to its first commit; none may take {most}")));
        }
        faults
    }

    /// The same of one part: of too few kills the whole run says it.
    pub fn slow_in_itself(&self) -> Vec<String> {
        if self.commits.len() < COMMITS_MIN { Vec::new() } else { self.slow_commits() }
    }

    /// By roles: those that were ready too late.
    fn slow_starts(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let bounds = |roles: &str| if roles == "gateway" { (GATEWAY_READY_MAX_MS, GATEWAY_READY_EVER_MAX_MS) } else { (READY_MAX_MS, READY_EVER_MAX_MS) };
        for (what, by_roles) in [("killed", &self.recoveries), ("started", &self.starts)] {
            for (roles, times) in by_roles {
                if let Some((counted, most)) = nine_of_ten(times).filter(|(_, most)| *most > bounds(roles).0) {
                    faults.push(format!("recovery: {counted} of {} {what} processes ({roles}) took up to {most} ms until they were ready", times.len()));
                }
            }
        }
        let ever = self.untroubled.iter().flat_map(|(roles, times)| times.iter().map(move |ms| (roles.as_str(), *ms, bounds(roles).1)));
        let rebuilt = self.rebuilt_starts.iter().map(|ms| ("with the disk lost", *ms, REBUILT_MAX_MS));
        let late = ever.chain(rebuilt).filter(|(_, ms, most)| ms > most);
        faults.extend(late.map(|(whose, ms, most)| format!("recovery: a started process ({whose}) took {ms} ms until it was ready; none may take {most}")));
        faults
    }

    /// One line each.
    pub fn write(&self) -> String {
        let mut text = format!("seconds\t{}\nuncommitted\t{}\n", self.seconds, self.uncommitted);
        let maps = [("build", &self.builds), ("fault", &self.faults), ("count", &self.counts), ("clear", &self.clear), ("point", &self.points)];
        maps.iter().for_each(|(kind, map)| map.iter().for_each(|(what, count)| writeln!(text, "{kind}\t{count}\t{what}").unwrap()));
        self.memory.iter().for_each(|(what, kib)| writeln!(text, "memory\t{kib}\t{what}").unwrap());
        for (kind, by_roles) in [("recovery", &self.recoveries), ("start", &self.starts), ("untroubled start", &self.untroubled)] {
            by_roles.iter().for_each(|(roles, times)| times.iter().for_each(|ms| writeln!(text, "{kind}\t{ms}\t{roles}").unwrap()));
        }
        self.commits.iter().for_each(|ms| writeln!(text, "commit\t{ms}").unwrap());
        self.untroubled_commits.iter().for_each(|ms| writeln!(text, "untroubled commit\t{ms}").unwrap());
        self.rebuilt_commits.iter().for_each(|ms| writeln!(text, "rebuilt commit\t{ms}").unwrap());
        self.rebuilt_starts.iter().for_each(|ms| writeln!(text, "rebuilt start\t{ms}").unwrap());
        text
    }

    /// Adds what a part has written.
    pub fn add(&mut self, text: &str) {
        for line in text.lines() {
            let mut fields = line.split('\t');
            let (kind, number, what) = (fields.next().unwrap(), fields.next().unwrap().parse::<u64>().unwrap(), fields.next().unwrap_or_default().to_owned());
            let count = usize::try_from(number).unwrap();
            match kind {
                "seconds" => self.seconds += number,
                "uncommitted" => self.uncommitted += number,
                "build" => *self.builds.entry(what).or_default() += count,
                "fault" => *self.faults.entry(what).or_default() += count,
                "count" => *self.counts.entry(what).or_default() += count,
                "clear" => *self.clear.entry(what).or_default() += count,
                "point" => *self.points.entry(what).or_default() += count,
                "memory" => {
                    let most = self.memory.entry(what).or_default();
                    *most = (*most).max(number);
                }
                "recovery" => self.recoveries.entry(what).or_default().push(number),
                "start" => self.starts.entry(what).or_default().push(number),
                "untroubled start" => self.untroubled.entry(what).or_default().push(number),
                "commit" => self.commits.push(number),
                "untroubled commit" => self.untroubled_commits.push(number),
                "rebuilt commit" => self.rebuilt_commits.push(number),
                "rebuilt start" => self.rebuilt_starts.push(number),
                other => panic!("{other} is nothing that a part tells"),
            }
        }
    }

    /// As people read it.
    pub fn text(&self) -> String {
        let builds: Vec<String> = self.builds.iter().map(|(build, parts)| format!("{parts} parts with processes built{build}")).collect();
        let mut text = format!("{}\njudged, rule by rule:\n{}met:\n", builds.join(", "), judge::table(|what| self.counts.get(what).copied().unwrap_or(0)));
        self.counts.iter().for_each(|(what, count)| writeln!(text, "  {count:>8}  {what}").unwrap());
        text += "lives clear of every fault, which the seed alone judged, by story:\n";
        self.clear.iter().for_each(|(story, count)| writeln!(text, "  {count:>8}  {story}").unwrap());
        text += "crash points, how often reached:\n";
        for point in &POINTS {
            writeln!(text, "  {:>8}  {}", self.points.get(point.name).unwrap_or(&0), point.name).unwrap();
        }
        writeln!(text, "recovery, kill -9 -> ready again, where the restart came at once: {}", spread(&all(&self.recoveries))).unwrap();
        writeln!(
            text,
            "          kill -9 of an engine -> its first commit, likewise: {}; from the last death or start of any engine on: {}; {} without one before the next kill or the end",
            spread(&self.commits),
            spread(&self.untroubled_commits),
            self.uncommitted
        )
        .unwrap();
        writeln!(text, "          start -> ready, all restarts: {}", spread(&all(&self.starts))).unwrap();
        for (roles, starts) in &self.starts {
            let recoveries = self.recoveries.get(roles).map_or(&[][..], Vec::as_slice);
            writeln!(text, "          of {roles}: kill -9 -> ready again: {}; start -> ready: {}", spread(recoveries), spread(starts)).unwrap();
        }
        let (ready, commit) = (spread(&self.rebuilt_starts), spread(&self.rebuilt_commits));
        writeln!(text, "          with the disk lost, and in none of these: start -> ready: {ready}; kill -9 -> the first commit: {commit}").unwrap();
        let memory: Vec<String> = self.memory.iter().map(|(instance, kib)| format!("{instance} {} MiB", kib / 1_024)).collect();
        writeln!(text, "most memory (RSS): {}", memory.join(", ")).unwrap();
        let faults: Vec<String> = self.faults.iter().map(|(rule, count)| format!("{rule}: {count}")).collect();
        writeln!(text, "faults: {}", if faults.is_empty() { "none".into() } else { faults.join("; ") }).unwrap();
        text
    }
}

/// The bounds of recovery judged: times that they do not find, or find without need.
pub fn blind() -> Vec<String> {
    let quick = |more: &[u64]| [[1_000; 20].as_slice(), more].concat();
    let (none, ever, rebuilt) = (Vec::new(), FIRST_COMMIT_EVER_MAX_MS, REBUILT_MAX_MS);
    let times = [
        ("one slow moment", quick(&[ever]), vec![rebuilt], 0),
        ("three of 23 engines that took too long", quick(&[FIRST_COMMIT_MAX_MS + 1; 3]), none.clone(), 1),
        ("one that took longer than any may", quick(&[ever + 1]), none, 1),
        ("one that took longer on an empty disk", quick(&[]), vec![rebuilt + 1], 1),
    ];
    let told = |commits: Vec<u64>, rebuilt_commits: Vec<u64>| {
        Told { untroubled_commits: commits.clone(), commits, rebuilt_commits, ..Told::default() }.slow_commits().len()
    };
    let commits = times.into_iter().filter(|(_, commits, rebuilt, faults)| told(commits.clone(), rebuilt.clone()) != *faults).map(|(what, ..)| what.to_owned());
    commits.chain(blind_to_starts()).collect()
}

/// The same of how soon anybody is ready.
fn blind_to_starts() -> impl Iterator<Item = String> {
    let few = |roles: &str, slow: u64| BTreeMap::from([(roles.to_owned(), [[1_000; 20].as_slice(), &[slow; 3]].concat())]);
    let recoveries = |roles: &str, slow: u64| Told { recoveries: few(roles, slow), ..Told::default() };
    let starts = |roles: &str, slow: u64| Told { starts: few(roles, slow), ..Told::default() };
    let untroubled = |roles: &str, ms: u64| Told { untroubled: BTreeMap::from([(roles.to_owned(), vec![ms])]), ..Told::default() };
    let rebuilt = |ms: u64| Told { rebuilt_starts: vec![ms], ..Told::default() };
    let told = [
        ("engines that were ready in time", recoveries("engine", READY_MAX_MS), 0),
        ("three of 23 engines that were killed and ready too late", recoveries("engine", READY_MAX_MS + 1), 1),
        ("three of 23 gateways that were killed and ready too late", recoveries("gateway", GATEWAY_READY_MAX_MS + 1), 1),
        ("three of 23 dispatchers that were started and ready too late", starts("dispatcher", READY_MAX_MS + 1), 1),
        ("three of 23 gateways that were started and ready too late", starts("gateway", GATEWAY_READY_MAX_MS + 1), 1),
        ("one slow moment of a start", untroubled("engine,dispatcher,gateway", READY_EVER_MAX_MS), 0),
        ("an instance that was ready later than any may", untroubled("engine,dispatcher,gateway", READY_EVER_MAX_MS + 1), 1),
        ("a gateway that was ready later than any may", untroubled("gateway", GATEWAY_READY_EVER_MAX_MS + 1), 1),
        ("a start on an empty disk", rebuilt(REBUILT_MAX_MS), 0),
        ("one that took longer on an empty disk until it was ready", rebuilt(REBUILT_MAX_MS + 1), 1),
    ];
    // What a part tells is read back by the whole.
    let read = |told: &Told| {
        let mut read = Told::default();
        read.add(&told.write());
        read
    };
    told.into_iter().filter(move |(_, told, faults)| read(told).slow_commits().len() != *faults).map(|(what, ..)| what.to_owned())
}

/// Of all roles together.
fn all(by_roles: &BTreeMap<String, Vec<u64>>) -> Vec<u64> {
    by_roles.values().flatten().copied().collect()
}

/// How many of them nine of ten are, and what the slowest of those took. Of a few the median: one slow moment of the machine is a large part of them.
fn nine_of_ten(ms: &[u64]) -> Option<(usize, u64)> {
    let mut sorted = ms.to_vec();
    sorted.sort_unstable();
    let counted = if sorted.len() < COMMITS_MIN { sorted.len() / 2 } else { (sorted.len() * 9).div_ceil(10) - 1 };
    sorted.get(counted).map(|most| (counted + 1, *most))
}

pub fn spread(ms: &[u64]) -> String {
    let mut sorted = ms.to_vec();
    sorted.sort_unstable();
    match (sorted.first(), sorted.get(sorted.len() / 2), sorted.last()) {
        (Some(least), Some(median), Some(most)) => {
            let nine = nine_of_ten(&sorted).filter(|_| sorted.len() >= COMMITS_MIN).map_or_else(String::new, |(_, ms)| format!(", nine of ten within {ms} ms"));
            format!("min {least} ms, median {median} ms{nine}, max {most} ms of {}", sorted.len())
        }
        _ => "none".into(),
    }
}
