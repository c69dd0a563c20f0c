//! The seeded bugs of `src/seeded_bug.rs`: what each must break, and under which fault. Source: testing.md §2.5.
//!
//! Easily got wrong: a run that is red proves nothing; it must be red for the bug's own reason, and for each of them where there are several.
//!
//! Some are not asked for everything that testing.md §2.5 names, since in these runs they cannot break it, or not for sure:
//!
//! | bug | not asked for | why |
//! |---|---|---|
//! | `all_unknown` | I1 | an *unknown* waits for receipts as an *accepted* does, and receipts or silence decide every end of `plan.rs`: no phone there refuses its last step |
//! | `fire_undrained` | I8 | it fires only what is due by Kafka time, so nothing comes early; and it waits for less, so nothing comes late |
//! | `lease_without_heartbeat` | I2 | the gate asks whether the receipts are drained before it asks for the dispatcher, and only the second answer is passed over; the wait behind the lease asks all of the gate |
//! | `unclaimed_too_late` | copies on one channel | somebody else must have called the attempt that is said to be too late, and its next one must go out too: that takes luck |
//! | `stable_end` | I10 | what the heir did not restore it decides again, under the same keys and behind what was held: in the end store and changelog agree. Its acting too early is E3 |
//! | `follow_group` | I11 | the next position record is written from where it went on, so store and changelog agree once more; what it jumped over is lost (I1), what it reads again begins anew (I4) |
//! | `keep_producer` | I4 | the other mitigations stay on: in case B the position record or the hash of the request stops what would begin anew. In case A the store has what no changelog has (I10) |
//!
//! The last three show in row 8, and what they must break stands in `tests/proxy/main.rs`.

use crate::stage::Profile;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

/// One bug.
pub struct Mutant {
    pub name: &'static str,
    /// What the rules begin with that it must break, each of them. Those of `tests/rig/reports/mutants.txt` that do not hang on luck.
    must: &'static [&'static str],
    /// What it may break besides: what testing.md names and needs luck or another fault, and what follows from the bug.
    may: &'static [&'static str],
    /// Where it shows; `None`: in the other program, where a proxy holds frames back (tests/proxy), which knows what it must break.
    course: Option<Course>,
}

/// What a run does, unless the environment says otherwise.
#[derive(Clone, Copy)]
pub struct Course {
    /// At random.
    pub kills: usize,
    /// One alone, or all.
    pub profile: Option<Profile>,
    /// `all`, `none`, or names with commas between them.
    pub points: &'static str,
    /// How often each; `None`: as the number of kills asks for.
    pub times: Option<u64>,
    /// What is wrong all the time, of [`FAULTS`].
    pub faults: &'static [(&'static str, &'static str)],
}

/// What can be wrong all the time, by the names that the environment gives: CLOCK, by how many ms the engines' wall clocks are ahead; LEAVE, for how many ms a dispatcher
/// waits for its calls in flight when it leaves its partitions; KAFKA_CLOCK, by how many ms the clock of the last broker is ahead.
pub const FAULTS: [&str; 3] = ["CLOCK", "LEAVE", "KAFKA_CLOCK"];

impl Course {
    /// The whole rig.
    pub const WHOLE: Self = Self { kills: 50, profile: None, points: "all", times: None, faults: &[] };
    /// Processes that stand still, with a twin and without.
    pub const ROW_4: Self = kills(Profile::Paused, 0);
    /// Dispatchers that come and go.
    pub const ROW_49: Self = kills(Profile::Moving, 0);
}

/// So many kills at random and nothing else.
const fn kills(profile: Profile, kills: usize) -> Course {
    Course { kills, profile: Some(profile), points: "none", ..Course::WHOLE }
}

/// These points alone, so often each.
const fn at(points: &'static str, times: u64) -> Course {
    Course { points, times: Some(times), ..kills(Together, 0) }
}

use Profile::{Apart, Together};

const SIX: Option<Course> = Some(kills(Together, 6));
const ONE_ROLE_EACH: Option<Course> = Some(kills(Apart, 24));
const STANDING_STILL: Option<Course> = Some(Course::ROW_4);
const COMING_AND_GOING: Option<Course> = Some(Course::ROW_49);
/// A wait that ends early overtakes receipts, and with them the end that the seed says. Here the engine also believes that it is so late: its statuses bear that time,
/// and the next lease counts from it. (`not_after` then lies too late, so no call comes after it.)
const AHEAD: &[&str] = &["I1 wrong end", "I2 fallback for", "I3 steps called", "I3 too late before", "I5 decided at another time", "I5 lease beyond"];
/// As above, where a partition takes the clock of whichever broker was asked last: what goes by the slower one ends late.
const BY_ANOTHER_CLOCK: &[&str] = &["I1 wrong end", "I2 fallback for", "I3 steps called", "I3 too late before", "I8 late"];
/// Two that call for one attempt contradict each other. All *unknown* without a cause are counted together too.
const CONTRADICTED: &[&str] = &["I3 called, ", "I3 call", "I3 copies", "I3 unknown without", "I3 too many unknown", "I5 called too late"];
/// State that is not what was committed: everything that is read from it, the timers too.
const STATE: &[&str] = &["E1 ", "I1 ", "I2 fallback f", "I2 fallback that", "I3 given up unheard", "I4 ", "I5 dispatched after", "I8 late near"];
/// What follows an end, and what a receipt began, is known by its `seq`.
const BY_SEQ: &[&str] = &["I4 ", "E1 said twice", "E1 told without a receipt", "I5 dispatch after"];

const MUTANTS: [Mutant; 22] = [
    mutant("intent_after_call", &["I3 called twice", "I3 call before its intent"], CONTRADICTED, SIX),
    mutant("no_read_back", &["I3 called twice", "I3 call before its intent"], CONTRADICTED, STANDING_STILL),
    mutant("epoch_per_process", &["I3 called twice"], CONTRADICTED, Some(Course { faults: &[("LEAVE", "0")], ..Course::ROW_49 })),
    mutant("unclaimed_too_late", &["I3 outcome without"], &["I3 called, and said", "I3 copies"], STANDING_STILL),
    mutant("ignore_not_after", &["I5 called too late"], &["I5 sent after the expiry", "I2 fallback for", "I8 "], COMING_AND_GOING),
    mutant("skip_unfinished", &["E9 position ahead"], &["E9 ", "I3 dispatch without"], SIX),
    mutant("all_unknown", &["I3 unknown without"], &["I3 too many", "I1 "], SIX),
    mutant("resend_unknown", &["I3 copies"], &["I1 wrong end", "I2 fallback without"], SIX),
    mutant("log_text", &["I7 "], &[], SIX),
    mutant("early_200", &["I13 acknowledged before", "I2 fallback for"], &["I13 ", "I1 wrong end", "I8 early"], ONE_ROLE_EACH),
    mutant("any_attempt", &["I1 delivered without"], &["I1 ", "E1 "], SIX),
    mutant("any_timer", &["I8 early"], AHEAD, SIX),
    mutant("fire_undrained", &["I2 fallback for"], &["I8 early", "I1 wrong end"], ONE_ROLE_EACH),
    mutant("lease_without_heartbeat", &["I3 given up unheard"], &["I1 wrong end", "I2 "], COMING_AND_GOING),
    mutant("wall_clock", &["I8 early", "I2 fallback for"], AHEAD, Some(Course { faults: &[("CLOCK", "2500")], ..kills(Together, 6) })),
    mutant("one_offset", &["I8 early", "I2 fallback for"], BY_ANOTHER_CLOCK, Some(Course { faults: &[("KAFKA_CLOCK", "900")], ..kills(Together, 12) })),
    mutant("seq_restarts", &["I4 gap in seq", "I4 the earlier of equal seq"], BY_SEQ, SIX),
    mutant("apply_before_commit", &["I10 state differs"], STATE, Some(at("mid_txn,before_endtxn", 4))),
    mutant("positions_apart", &["I10 state differs"], STATE, Some(at("mid_flush", 4))),
    mutant("stable_end", &[], &[], None),
    mutant("follow_group", &[], &[], None),
    mutant("keep_producer", &[], &[], None),
];

const fn mutant(name: &'static str, must: &'static [&'static str], may: &'static [&'static str], course: Option<Course>) -> Mutant {
    Mutant { name, must, may, course }
}

/// The bug of this name.
pub fn named(name: &str) -> &'static Mutant {
    MUTANTS.iter().find(|mutant| mutant.name == name).unwrap_or_else(|| panic!("no bug is called {name}"))
}

impl Mutant {
    /// Where it shows.
    pub fn course(&self) -> Course {
        self.course.unwrap_or_else(|| panic!("it shows in row 8: make rig-mutants BUGS={}", self.name))
    }

    /// Green where each of its own rules was broken. Told in one line, which goes into the file that REPORT names too.
    pub fn verdict(&self, broken: &BTreeMap<String, usize>, which: &str, seconds: u64) -> ExitCode {
        let of = |beginnings: &[&str], rule: &str| beginnings.iter().any(|beginning| rule.starts_with(beginning));
        let (own, others): (Vec<_>, Vec<_>) = broken.iter().partition(|(rule, _)| of(self.must, rule));
        let (known, unknown): (Vec<_>, Vec<_>) = others.into_iter().partition(|(rule, _)| of(self.may, rule));
        let list = |rules: &[(&String, &usize)]| rules.iter().map(|(rule, times)| format!("{rule}: {times}")).collect::<Vec<_>>().join(", ");
        let missing: Vec<&str> = self.must.iter().copied().filter(|must| !broken.keys().any(|rule| rule.starts_with(must))).collect();
        let mut told = match (missing.as_slice(), own.as_slice()) {
            ([], own) => format!("red, as it must be ({})", list(own)),
            (missing, []) => format!("NOT FOUND: nothing broke {}", missing.join(", ")),
            (missing, own) => format!("NOT FOUND: nothing broke {}, though {}", missing.join(", "), list(own)),
        };
        for (what, rules) in [("and", &known), ("and, which nobody expects of it,", &unknown)] {
            if !rules.is_empty() {
                told += &format!("; {what} {}", list(rules));
            }
        }
        let line = format!("{:<24} {which}: {told}; {seconds} s", self.name);
        println!("{line}");
        if let Ok(file) = std::env::var("REPORT") {
            let opened = std::fs::OpenOptions::new().append(true).create(true).open(&file);
            opened.and_then(|mut file| writeln!(file, "{line}")).unwrap_or_else(|error| panic!("{file}: {error}"));
        }
        if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
