//! The seeded bugs of `src/seeded_bug.rs`: what each must break, and under which fault. Source: testing.md §2.5.
//!
//! Easily got wrong: a run that is red proves nothing; it must be red for the bug's own reason.

use crate::stage::Profile;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

/// One bug.
pub struct Mutant {
    pub name: &'static str,
    /// What the rules begin with of which it must break one.
    breaks: &'static [&'static str],
    /// Where it shows; `None`: in the other program, where a proxy holds frames back (tests/proxy).
    pub aim: Option<Aim>,
}

/// What a run does, unless the environment says otherwise.
#[derive(Clone, Copy)]
pub struct Aim {
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

impl Aim {
    /// The whole rig.
    pub const WHOLE: Self = Self { kills: 50, profile: None, points: "all", times: None, faults: &[] };
    /// Processes that stand still, with a twin and without.
    pub const ROW_4: Self = kills(Profile::Paused, 0);
    /// Dispatchers that come and go.
    pub const ROW_49: Self = kills(Profile::Moving, 0);
}

/// So many kills at random and nothing else.
const fn kills(profile: Profile, kills: usize) -> Aim {
    Aim { kills, profile: Some(profile), points: "none", ..Aim::WHOLE }
}

/// These points alone, so often each.
const fn at(points: &'static str, times: u64) -> Aim {
    Aim { points, times: Some(times), ..kills(Together, 0) }
}

use Profile::{Apart, Together};

const SIX: Option<Aim> = Some(kills(Together, 6));
const ONE_ROLE_EACH: Option<Aim> = Some(kills(Apart, 24));
const STANDING_STILL: Option<Aim> = Some(Aim::ROW_4);
const COMING_AND_GOING: Option<Aim> = Some(Aim::ROW_49);

const MUTANTS: [Mutant; 22] = [
    mutant("intent_after_call", &["I3 called twice"], SIX),
    mutant("no_read_back", &["I3 called twice"], STANDING_STILL),
    mutant("epoch_per_process", &["I3 called twice"], Some(Aim { faults: &[("LEAVE", "0")], ..Aim::ROW_49 })),
    mutant("unclaimed_too_late", &["I3 called, and said", "I3 outcome without"], STANDING_STILL),
    mutant("ignore_not_after", &["I5 called too late"], COMING_AND_GOING),
    mutant("skip_unfinished", &["E9 ", "I3 dispatch without"], SIX),
    mutant("all_unknown", &["I3 unknown without", "I3 too many"], SIX),
    mutant("resend_unknown", &["I3 copies"], SIX),
    mutant("log_text", &["I7 "], SIX),
    mutant("early_200", &["I13 "], ONE_ROLE_EACH),
    mutant("any_attempt", &["I1 delivered without", "I1 wrong end"], SIX),
    mutant("any_timer", &["I8 early"], SIX),
    mutant("fire_undrained", &["I2 fallback for", "I8 early"], ONE_ROLE_EACH),
    mutant("lease_without_heartbeat", &["I3 given up unheard"], COMING_AND_GOING),
    mutant("wall_clock", &["I8 early"], Some(Aim { faults: &[("CLOCK", "2500")], ..kills(Together, 6) })),
    mutant("one_offset", &["I8 early"], Some(Aim { faults: &[("KAFKA_CLOCK", "900")], ..kills(Together, 12) })),
    mutant("seq_restarts", &["I4 "], SIX),
    mutant("apply_before_commit", &["I10 ", "I1 "], Some(at("mid_txn,before_endtxn", 4))),
    mutant("positions_apart", &["I10 "], Some(at("mid_flush", 4))),
    mutant("stable_end", &["E3 ", "I10 "], None),
    mutant("follow_group", &["I1 ", "I11 "], None),
    mutant("keep_producer", &["I1 ", "I4 "], None),
];

const fn mutant(name: &'static str, breaks: &'static [&'static str], aim: Option<Aim>) -> Mutant {
    Mutant { name, breaks, aim }
}

/// The bug of this name.
pub fn named(name: &str) -> &'static Mutant {
    MUTANTS.iter().find(|mutant| mutant.name == name).unwrap_or_else(|| panic!("no bug is called {name}"))
}

impl Mutant {
    /// Green where one of its own rules was broken. Told in one line, which goes into the file that REPORT names too.
    pub fn verdict(&self, broken: &BTreeMap<String, usize>, which: &str, seconds: u64) -> ExitCode {
        let own = |rule: &str| self.breaks.iter().any(|own| rule.starts_with(own));
        let (own, others): (Vec<_>, Vec<_>) = broken.iter().partition(|(rule, _)| own(rule));
        let list = |rules: &[(&String, &usize)]| rules.iter().map(|(rule, times)| format!("{rule}: {times}")).collect::<Vec<_>>().join(", ");
        let found = match own.as_slice() {
            [] => format!("NOT FOUND: nothing broke {}", self.breaks.join("or ").trim()),
            own => format!("red, as it must be ({})", list(own)),
        };
        let others = if others.is_empty() { String::new() } else { format!("; and {}", list(&others)) };
        let line = format!("{:<24} {which}: {found}{others}; {seconds} s", self.name);
        println!("{line}");
        if let Ok(file) = std::env::var("REPORT") {
            let opened = std::fs::OpenOptions::new().append(true).create(true).open(&file);
            opened.and_then(|mut file| writeln!(file, "{line}")).unwrap_or_else(|error| panic!("{file}: {error}"));
        }
        if own.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}
