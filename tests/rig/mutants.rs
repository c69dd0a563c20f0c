//! The seeded bugs of `src/seeded_bug.rs`: what each must break, and under which fault. Source: testing.md §2.5.
//!
//! Easily got wrong: a run that is red proves nothing; it must be red for the bug's own reason.

use crate::stage::Profile;
use std::fmt::Write;
use std::process::ExitCode;

/// One bug.
pub struct Mutant {
    pub name: &'static str,
    /// The first words of the rules of which it must break one.
    breaks: &'static [&'static str],
    pub shows: Shows,
}

/// Where it shows, unless the environment asks for something else.
#[derive(Clone, Copy)]
pub enum Shows {
    /// So many kills at random.
    Kills(Profile, usize),
    /// At these points, so often each.
    Points(Profile, &'static str, u64),
    /// The same with the wall clocks of the engines ahead, by so many ms.
    Clock(Profile, usize, &'static str),
    /// Processes that stand still, with a twin and without.
    Row4,
    /// In the other program, where a proxy holds frames back: tests/proxy.
    Row8,
}

use Profile::{Apart, Together};

const MUTANTS: [Mutant; 22] = [
    mutant("intent_after_call", &["I3"], Shows::Kills(Together, 6)),
    mutant("no_read_back", &["I3"], Shows::Row4),
    mutant("epoch_per_process", &["I3"], Shows::Kills(Apart, 24)),
    mutant("unclaimed_too_late", &["I3"], Shows::Row4),
    mutant("ignore_not_after", &["I5"], Shows::Row4),
    mutant("skip_unfinished", &["E9", "I3"], Shows::Kills(Together, 6)),
    mutant("all_unknown", &["I3", "I1"], Shows::Kills(Together, 6)),
    mutant("resend_unknown", &["I3"], Shows::Kills(Together, 6)),
    mutant("log_text", &["I7"], Shows::Kills(Together, 6)),
    mutant("early_200", &["I13", "I2"], Shows::Kills(Apart, 24)),
    mutant("any_attempt", &["I1"], Shows::Kills(Together, 6)),
    mutant("any_timer", &["I8"], Shows::Kills(Together, 6)),
    mutant("fire_undrained", &["I2", "I8"], Shows::Kills(Apart, 24)),
    mutant("lease_without_heartbeat", &["I3", "I2"], Shows::Kills(Apart, 24)),
    mutant("wall_clock", &["I8"], Shows::Clock(Together, 6, "2500")),
    mutant("one_offset", &["I8"], Shows::Kills(Together, 6)),
    mutant("seq_restarts", &["I4"], Shows::Kills(Together, 6)),
    mutant("apply_before_commit", &["I10", "I1"], Shows::Points(Together, "mid_txn,before_endtxn", 4)),
    mutant("positions_apart", &["I10"], Shows::Points(Together, "mid_flush", 4)),
    mutant("stable_end", &["E3", "I10"], Shows::Row8),
    mutant("follow_group", &["I1", "I11"], Shows::Row8),
    mutant("keep_producer", &["I1", "I4"], Shows::Row8),
];

const fn mutant(name: &'static str, breaks: &'static [&'static str], shows: Shows) -> Mutant {
    Mutant { name, breaks, shows }
}

/// The bug of this name.
pub fn named(name: &str) -> &'static Mutant {
    MUTANTS.iter().find(|mutant| mutant.name == name).unwrap_or_else(|| panic!("no bug is called {name}"))
}

impl Mutant {
    /// Green where one of its own rules was broken.
    pub fn verdict<'a>(&self, mut rules: impl Iterator<Item = &'a String>) -> ExitCode {
        let own = |rule: &&String| self.breaks.iter().any(|own| rule.split(' ').next() == Some(own));
        let mut said = String::new();
        let ended = if let Some(rule) = rules.find(own) {
            write!(said, "red, as it must be with this bug ({rule}).").unwrap();
            ExitCode::SUCCESS
        } else {
            write!(said, "the bug was not found: nothing broke {}.", self.breaks.join(" or ")).unwrap();
            ExitCode::FAILURE
        };
        println!("{}: {said}", self.name);
        ended
    }
}
