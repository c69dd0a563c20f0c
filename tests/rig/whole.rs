//! A whole run: parts one after the other, each a process with a cluster of its own, and their sums.
//!
//! Easily got wrong: a part that ends without its numbers, by a panic say, is a fault like any other.

use crate::cluster;
use crate::deployment::with_us;
use crate::dice::Dice;
use crate::judge;
use crate::mutants::{self, Course, FAULTS, Mutant};
use crate::points::POINTS;
use crate::report::Told;
use crate::stage::Profile;
use crate::support;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

/// More kills than this get a fresh cluster: what a part leaves in Kafka and in memory is judged in one piece.
const KILLS_A_PART_MAX: usize = 100;
/// In a whole run each point is aimed at once for so many random kills.
const KILLS_A_POINT: usize = 50;
/// Of a hundred random kills, how many fall on each profile.
const SHARES: [(Profile, usize); 3] = [(Profile::Together, 40), (Profile::Apart, 40), (Profile::Long, 20)];

/// Folders in which what a part left is kept, and from which it is judged.
const KEPT: [&str; 2] = ["EVIDENCE", "JUDGE"];
/// Points that are also aimed at where commits take seconds.
const IN_LONG: [&str; 3] = ["mid_txn", "after_changelog_ack", "before_endtxn"];

/// What the environment asks for.
pub struct Wanted {
    pub kills: usize,
    pub seed: u64,
    /// One profile alone, or all.
    pub profile: Option<Profile>,
    pub points: Vec<&'static str>,
    /// How often each.
    times: usize,
    /// How often each part.
    repeat: usize,
    pub bug: Option<&'static Mutant>,
    /// What is wrong all the time.
    faults: Vec<(&'static str, String)>,
    /// Everything that a run can have: then it must also have met everything.
    complete: bool,
}

/// One part to come.
#[derive(Clone)]
struct Part {
    profile: Profile,
    kills: usize,
    points: Vec<&'static str>,
    seed: u64,
}

impl Wanted {
    /// From the environment.
    pub fn read(number: impl Fn(&str, u64) -> u64, now_ms: i64) -> Self {
        let asked = |name: &str| std::env::var(name).ok().filter(|word| !word.is_empty());
        let bug = asked("SEEDED_BUG").map(|name| mutants::named(&name));
        // One that shows in the other program must break nothing here, and would be found by it.
        let of_bug = bug.map(Mutant::course);
        let row = asked("ROW").map(|row| match row.as_str() {
            "4" => Course::ROW_4,
            "49" => Course::ROW_49,
            other => panic!("of the rows of the fault matrix this program knows 4 and 49, not {other}"),
        });
        // None is what a part of a row is told, and what the command says that repeats it.
        let own = row.is_none() || number("KILLS", 0) == 0;
        assert!(own, "ROW=4 and ROW=49 take no KILLS: whom they stop or move, and how often, stands in row4.rs and row49.rs");
        // A bug shows under its own fault, unless somebody asks for another.
        let course = match (row, of_bug) {
            (Some(row), _) => row,
            (None, None) => Course::WHOLE,
            (None, Some(_)) if ["KILLS", "POINTS", "PROFILE"].iter().any(|name| asked(name).is_some()) => Course { points: "none", ..Course::WHOLE },
            (None, Some(course)) => course,
        };
        let kills = if row.is_some() { 0 } else { usize::try_from(number("KILLS", course.kills as u64)).unwrap() };
        let seed = number("SEED", u64::try_from(now_ms).unwrap() % 1_000_000);
        let mut dice = Dice::new(seed, "choices");
        let profile = asked("PROFILE").map(|word| if word == "one" { dice.one(&SHARES).0 } else { Profile::named(&word) }).or(course.profile);
        let names = asked("POINTS").unwrap_or_else(|| course.points.into());
        let times = course.times.unwrap_or_else(|| u64::try_from((kills / KILLS_A_POINT).max(1)).unwrap());
        let times = usize::try_from(number("TIMES", times)).unwrap();
        let repeat = usize::try_from(number("REPEAT", 1)).unwrap().max(1);
        let all = POINTS.iter().map(|point| point.name);
        let points: Vec<&'static str> = match names.as_str() {
            "all" => all.collect(),
            "none" => Vec::new(),
            names => match names.parse::<usize>() {
                Ok(few) => {
                    let mut left: Vec<&str> = all.collect();
                    (0..few.min(left.len())).map(|_| left.swap_remove(usize::try_from(dice.below(left.len() as u64)).unwrap())).collect()
                }
                Err(_) => names.split(',').map(|name| crate::points::named(name).name).collect(),
            },
        };
        let of_course = |name: &str| course.faults.iter().find(|(fault, _)| *fault == name).map(|(_, value)| (*value).to_owned());
        let faults = FAULTS.into_iter().filter_map(|name| Some((name, asked(name).or_else(|| of_course(name))?))).collect();
        let complete = names == "all" && profile.is_none() && kills >= KILLS_A_POINT;
        Self { kills, seed, profile, points, times, repeat, bug, faults, complete }
    }

    /// The parts: kills by the shares, points in turn over the profiles that have the usual commits, and those inside a transaction where commits are long too.
    fn parts(&self) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let shares: Vec<(Profile, usize)> = match self.profile {
            Some(profile) => vec![(profile, self.kills)],
            None => {
                let rest = |taken: usize| self.kills - taken;
                let (together, apart) = (self.kills * SHARES[0].1 / 100, self.kills * SHARES[1].1 / 100);
                vec![(Profile::Together, together), (Profile::Apart, apart), (Profile::Long, rest(together + apart))]
            }
        };
        for (profile, kills) in shares {
            let pieces = kills.div_ceil(KILLS_A_PART_MAX).max(1);
            for piece in 0..pieces {
                let kills = kills * (piece + 1) / pieces - kills * piece / pieces;
                parts.push(Part { profile, kills, points: Vec::new(), seed: 0 });
            }
        }
        let hosts: Vec<usize> = (0..parts.len()).filter(|at| self.profile.is_some() || parts[*at].profile != Profile::Long).collect();
        // Each round begins with another part, so that the same point is not always met in the same profile.
        for round in 0..self.times {
            for (number, name) in self.points.iter().enumerate() {
                let turn = number + round + usize::try_from(self.seed % 2).unwrap();
                parts[hosts[turn % hosts.len()]].points.push(name);
            }
        }
        // A transaction that holds what was decided in seconds, and dies in its midst.
        if self.profile.is_none() {
            for part in parts.iter_mut().filter(|part| part.profile == Profile::Long && part.kills > 0) {
                part.points.extend(self.points.iter().filter(|name| IN_LONG.contains(name)));
            }
        }
        parts.retain(|part| part.kills > 0 || !part.points.is_empty() || matches!(part.profile, Profile::Paused | Profile::Moving));
        for (number, part) in parts.iter_mut().enumerate() {
            part.seed = self.seed + number as u64;
        }
        // The same load and faults once more: what a seed leaves open is how the processes interleave.
        parts.into_iter().flat_map(|part| std::iter::repeat_n(part, self.repeat)).collect()
    }
}

/// Runs it all and says what came of it.
pub fn run(wanted: &Wanted) -> ExitCode {
    let began = Instant::now();
    let Wanted { kills, seed, .. } = *wanted;
    let parts = wanted.parts();
    let mut command = format!("make rig KILLS={kills} SEED={seed}");
    for name in ["ROW", "PROFILE", "POINTS", "TIMES", "REPEAT", "SEEDED_BUG"].into_iter().chain(FAULTS) {
        if let Ok(value) = std::env::var(name) {
            write!(command, " {name}={value}").unwrap();
        }
    }
    let head = format!(
        "{command}\nrecado {}{}, Apache Kafka 4.3.1 ({} nodes, each record on all of them, min.insync.replicas 2), librdkafka {}\n",
        env!("CARGO_PKG_VERSION"),
        support::commit(),
        cluster::NODES,
        rdkafka::util::get_rdkafka_version().1
    );
    print!("{head}");
    let folder = tempfile::Builder::new().prefix("recado-rig-").tempdir().unwrap().keep();
    let mut sums = Told::default();
    let mut lines = String::from("parts, each with a cluster of its own:\n");
    for (number, part) in parts.iter().enumerate() {
        println!("\nrig: part {} of {}, by itself: {}", number + 1, parts.len(), part.command(wanted));
        let told = part.run(number + 1, &folder, &wanted.faults);
        let one = told.as_deref().map(|text| {
            let mut one = Told::default();
            one.add(text);
            one
        });
        let faults = one.as_ref().map_or_else(|| "DID NOT END".into(), |one| format!("{} faults in {} s", one.faults.values().sum::<usize>(), one.seconds));
        let Part { profile, kills, points, seed } = part;
        writeln!(lines, "  {:<8} SEED={seed} KILLS={kills} {} armed starts: {faults}; by itself: {}", profile.word(), points.len(), part.command(wanted))
            .unwrap();
        match told {
            Some(text) => sums.add(&text),
            None => *sums.faults.entry("a part did not end".into()).or_default() += 1,
        }
    }
    if wanted.bug.is_none() && !sums.counts.is_empty() {
        let met = |what: &str| sums.counts.get(what).copied().unwrap_or(0);
        let mut faults: Vec<String> = missing(met, wanted).into_iter().map(|what| format!("nothing met: {what}")).collect();
        let little = judge::enough(met, &sums.clear, wanted.profile != Some(Profile::Long));
        faults.extend(little.into_iter().map(|fault| format!("{}: {}", fault.rule, fault.sentence)));
        faults.extend(sums.slow_commits());
        faults.extend(fewer(&sums, wanted));
        for fault in faults {
            println!("FAULT {fault}");
            *sums.faults.entry(fault).or_default() += 1;
        }
    }
    let took = began.elapsed().as_secs();
    let duration = if std::env::var_os("JUDGE").is_some() { format!("{} s, and judged anew in {took} s", sums.seconds) } else { format!("{took} s") };
    let text = format!("{head}{lines}{}duration: {duration}\n", sums.text());
    println!("\n{}", text.strip_prefix(&head).unwrap_or(&text));
    if let (Ok(file), None) = (std::env::var("REPORT"), wanted.bug) {
        std::fs::write(&file, &text).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    let red = !sums.faults.is_empty();
    if red || std::env::var("KEEP").is_ok() {
        println!("rig: what it left lies in {}", folder.display());
    } else {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    if let Some(mutant) = wanted.bug {
        return mutant.verdict(&sums.faults, &format!("SEED={seed}{}", support::commit()), took);
    }
    if sums.faults.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("rig: RED. Once more with: {command}; one part alone, and twenty times with REPEAT=20 behind it, with the command that stands beside it above");
    ExitCode::FAILURE
}

impl Part {
    /// The command that runs this part alone, with the same load, kills and points in their order.
    fn command(&self, wanted: &Wanted) -> String {
        let seed = self.seed;
        let mut command = match self.profile {
            Profile::Paused => format!("make rig ROW=4 SEED={seed}"),
            Profile::Moving => format!("make rig ROW=49 SEED={seed}"),
            Profile::Together | Profile::Apart | Profile::Long => {
                format!("make rig PROFILE={} SEED={seed} KILLS={} POINTS={} TIMES=1", self.profile.word(), self.kills, self.points_word())
            }
        };
        let bug = wanted.bug.map(|mutant| ("SEEDED_BUG", mutant.name.to_owned()));
        wanted.faults.iter().cloned().chain(bug).for_each(|(name, value)| write!(command, " {name}={value}").unwrap());
        command
    }

    fn points_word(&self) -> String {
        if self.points.is_empty() { "none".into() } else { self.points.join(",") }
    }

    /// In a process of its own, which takes its cluster with it; `None` where it ended without its numbers.
    fn run(&self, number: usize, folder: &Path, faults: &[(&'static str, String)]) -> Option<String> {
        let folder = folder.join(number.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        let told = folder.join("told");
        let mut command = Command::new(std::env::current_exe().unwrap());
        for name in KEPT {
            if let Some(kept) = std::env::var_os(name).map(PathBuf::from) {
                std::fs::create_dir_all(&kept).unwrap();
                command.env(name, kept.join(format!("part-{number}")));
            }
        }
        command.env("RIG_PART", &folder).env("PROFILE", self.profile.word()).env("KILLS", self.kills.to_string()).env("SEED", self.seed.to_string());
        command.env("POINTS", self.points_word()).env("TIMES", "1").env("REPEAT", "1");
        command.envs(faults.iter().map(|(name, value)| (*name, value)));
        let ended = with_us(&mut command).status().unwrap();
        let told = std::fs::read_to_string(&told).ok();
        if told.is_none() {
            println!("rig: the part ended with {ended}");
        }
        told
    }
}

/// Whether there were as many kills, and each point was reached as often, as somebody asked for.
fn fewer(sums: &Told, wanted: &Wanted) -> Vec<String> {
    if matches!(wanted.profile, Some(Profile::Paused | Profile::Moving)) {
        return Vec::new();
    }
    let random = sums.counts.get("kills at random").copied().unwrap_or(0);
    let mut faults = Vec::new();
    if random < wanted.kills {
        faults.push(format!("fewer than asked: {random} of {} kills at random", wanted.kills));
    }
    for name in &wanted.points {
        let (reached, asked) = (sums.points.get(*name).copied().unwrap_or(0), wanted.times * wanted.points.iter().filter(|point| *point == name).count());
        if reached < asked {
            faults.push(format!("fewer than asked: {name} was reached {reached} times of {asked}"));
        }
    }
    faults.sort();
    faults.dedup();
    faults
}

/// What the run must have met: calm proves nothing. Short runs are not asked for what needs luck.
fn missing(met: impl Fn(&str) -> usize, wanted: &Wanted) -> Vec<&'static str> {
    let mut asked = vec![
        "fallbacks by a timer judged",
        "copies sent",
        "dead letters",
        "ended delivered",
        "ended failed",
        "ended expired",
        "ended cancelled",
        "ended unconfirmed",
    ];
    if met("kills at random") >= judge::KILLS_JUDGED {
        asked.extend(["kills before it was ready", "calls in flight at the kills", "kills of an engine", "kills of a dispatcher", "kills of a gateway"]);
    }
    if wanted.complete {
        asked.extend([
            "kills that left a transaction open",
            "kills at a point inside a transaction",
            "kills inside a flush",
            "kills inside a restore",
            "kills after which partitions moved",
        ]);
    }
    match wanted.profile {
        Some(Profile::Paused) => asked.extend(crate::row4::ASKED),
        Some(Profile::Moving) => asked.extend(crate::row49::ASKED),
        _ => {}
    }
    asked.into_iter().filter(|what| met(what) == 0).collect()
}
