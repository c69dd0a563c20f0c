//! `make rig ROW=8`: a delayed EndTxn (KAFKA-17754), first with a bare client, then with the engine, whole and with its mitigations switched off. Real processes,
//! a real Apache Kafka, and a proxy between them that holds one frame back.
//!
//! `MITIGATIONS` names those that stay on: `all` (the default, which then also shows that both cases fail with none), `off`, or a list of `recycle`,
//! `position_record`, `source_skip`, `dedup`. `each` prints what every single one is worth. `PARTS` names parts of `all`: `bare`, `engine`, `blip`, `alone`, `off`, `lost`,
//! `markers`, `timer`. `REPORT` names a file for what was seen; with `all` and no `PARTS` it has the table of `each` too. A run with a fault is red. So is `off`, always: with
//! 1 where both cases broke, as they must, and with 2 where one did not, which it names. With `SEEDED_BUG` it runs the part that must find that bug, and fails unless it
//! does.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program of its own: it reads its parameters and the time, and tells what it did"
)]
#![allow(clippy::type_complexity, reason = "topics with their settings are listed in place")]

mod asked;
mod bare;
mod broker;
mod check;
mod delayed;
mod lost;
mod markers;
mod proxy;
mod report;
mod world;
#[path = "../kafka/deployment.rs"]
#[allow(dead_code, reason = "shared with the Kafka tests, which use the rest of it")]
mod deployment;
#[path = "../kafka/bank.rs"]
#[allow(dead_code, reason = "shared with the Kafka tests, which use the rest of it")]
mod bank;
#[path = "../kafka/fold.rs"]
mod fold;
#[path = "../kafka/support.rs"]
#[allow(dead_code, reason = "shared with the Kafka tests, which use the rest of it")]
mod support;

use bare::{Case, INVALID_PRODUCER_EPOCH, Observed};
use broker::Kafka;
use delayed::After;
use lost::Loss;
use report::Facts;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

const MITIGATIONS: [&str; 4] = ["recycle", "position_record", "source_skip", "dedup"];
const CASES: [Case; 2] = [Case::A, Case::B];

/// The parts of `all`, in their order.
const PARTS: [(&str, fn(&mut Row)); 8] = [
    ("bare", Row::bare),
    ("engine", |row| row.engine("all")),
    ("blip", Row::blip),
    ("alone", Row::alone),
    ("off", Row::must_fail),
    ("lost", Row::lost),
    ("markers", Row::markers),
    ("timer", Row::timer),
];

/// What the rig takes and this row does not, and why not.
const NOT_TAKEN: [(&str, &str); 3] = [
    ("SEED", "ROW=8 takes no SEED: its load and its faults are written down, none is drawn."),
    ("KILLS", "ROW=8 takes no KILLS: which process dies, and when, belongs to its cases."),
    ("REPEAT", "ROW=8 takes no REPEAT: what it has is told by PARTS and MITIGATIONS, and the same command runs it again."),
];

fn main() -> ExitCode {
    let row = std::env::var("ROW").unwrap_or_else(|_| "8".into());
    assert_eq!(row, "8", "of the rows of the fault matrix this program knows row 8");
    let mitigations = std::env::var("MITIGATIONS").unwrap_or_else(|_| "all".into());
    for name in mitigations.split(',') {
        assert!(["all", "off", "each"].contains(&name) || MITIGATIONS.contains(&name), "no mitigation is called {name}");
    }
    if let Some(sentence) = refused(&mitigations) {
        eprintln!("{sentence}");
        return ExitCode::FAILURE;
    }
    let began = Instant::now();
    println!("row 8: MITIGATIONS={mitigations}");
    let librdkafka = rdkafka::util::get_rdkafka_version().1;
    println!("row 8: recado {}{}, Apache Kafka 4.3.1, librdkafka {librdkafka}", env!("CARGO_PKG_VERSION"), support::commit());
    let kafka = Kafka::start();
    let mut row = Row { kafka, runs: 0, red: Vec::new(), facts: Facts::default() };
    if let Ok(bug) = std::env::var("SEEDED_BUG") {
        return row.bug(&bug);
    }
    row.row_08_delayed_commit_loses_nothing(&mitigations);
    for fault in &row.red {
        println!("FAULT {fault}");
    }
    println!("row 8: {} runs, {} faults in {} s", row.runs, row.red.len(), began.elapsed().as_secs());
    if let Ok(file) = std::env::var("REPORT") {
        std::fs::write(&file, row.facts.text(&support::commit(), &librdkafka, &row.red)).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    match (mitigations.as_str(), row.red.is_empty()) {
        ("off", true) => {
            println!("row 8: RED, as it must be: with all mitigations off both cases broke. It must be green with: make rig ROW=8");
            ExitCode::FAILURE
        }
        ("off", false) => {
            println!("row 8: RED, but not as it must be: see the faults above. Once more with: make rig ROW=8 MITIGATIONS=off");
            ExitCode::from(2) // another number than where both broke
        }
        (_, true) => ExitCode::SUCCESS,
        (_, false) => {
            println!("row 8: RED. Once more with: make rig ROW=8 MITIGATIONS={mitigations}");
            ExitCode::FAILURE
        }
    }
}

/// What somebody asked for that would be passed over without a word.
fn refused(mitigations: &str) -> Option<String> {
    let asked = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    // `make rig-mutants SEED=7` gives its seed to both programs.
    if asked("SEEDED_BUG").is_some() {
        return None;
    }
    let not_taken = NOT_TAKEN.iter().find(|(name, _)| asked(name).is_some()).map(|(_, sentence)| (*sentence).to_owned());
    let parts = asked("PARTS").unwrap_or_default();
    let unknown = parts.split(',').find(|part| !part.is_empty() && PARTS.iter().all(|(name, _)| name != part));
    not_taken
        .or_else(|| unknown.map(|part| format!("PARTS: no part is called {part}.")))
        .or_else(|| (!parts.is_empty() && mitigations != "all").then(|| "PARTS names parts of MITIGATIONS=all, and of nothing else.".to_owned()))
}

struct Row {
    kafka: Kafka,
    runs: usize,
    red: Vec<String>,
    facts: Facts,
}

impl Row {
    fn row_08_delayed_commit_loses_nothing(&mut self, mitigations: &str) {
        let began = Instant::now();
        match mitigations {
            "all" => {
                let parts = std::env::var("PARTS").unwrap_or_default();
                let wanted = |part: &str| parts.is_empty() || parts.split(',').any(|other| other == part);
                PARTS.into_iter().filter(|(part, _)| wanted(part)).for_each(|(_, run)| run(self));
                self.facts.parts = (self.runs, began.elapsed());
                // A report of all has all.
                if parts.is_empty() && std::env::var("REPORT").is_ok() {
                    self.table();
                }
            }
            "each" => self.table(),
            "off" => {
                self.must_fail();
                self.facts.parts = (self.runs, began.elapsed());
            }
            other => {
                self.engine(other);
                self.facts.parts = (self.runs, began.elapsed());
            }
        }
    }

    /// With a bug of `src/seeded_bug.rs`: green where it is found for its own reason.
    fn bug(&mut self, bug: &str) -> ExitCode {
        let began = Instant::now();
        // What each must break, all of it (why not all that testing.md §2.5 names stands in tests/rig/mutants.rs), and what follows from it.
        let (must, may): (&[&str], &[&str]) = match bug {
            // What it did not restore it decides again: said and dispatched twice.
            "stable_end" => {
                self.markers();
                (&["E3 acted"], &["E1 said twice", "I1 attempts"])
            }
            // Where a late EndTxn is fenced it changes nothing; where the position record alone protects it must show. Nothing is compared with the group then, so
            // nobody says that the two disagree.
            "follow_group" => {
                self.alone();
                (&["I1 lost", "I4 seq"], &["I1 attempts", "I5 begun again", "the engine did not say that state and group disagree"])
            }
            // Nobody fences the late EndTxn.
            "keep_producer" => {
                self.engine("all");
                (&["I1 lost", "I10 state"], &["the late EndTxn was answered 0, not 47"])
            }
            other => panic!("{other} shows elsewhere: make rig-mutants BUGS={other}"),
        };
        let mut broken: BTreeMap<&str, usize> = BTreeMap::new();
        for fault in &self.red {
            *broken.entry(fault.split(": ").nth(1).unwrap_or(fault)).or_default() += 1;
        }
        let list = |wanted: &dyn Fn(&str) -> bool| {
            let rules = broken.iter().filter(|(rule, _)| wanted(rule)).map(|(rule, times)| format!("{rule}: {times}"));
            rules.collect::<Vec<_>>().join(", ")
        };
        let missing: Vec<&str> = must.iter().copied().filter(|must| !broken.contains_key(must)).collect();
        let own = list(&|rule| must.contains(&rule));
        let mut told = if missing.is_empty() { "red, as it must be".to_owned() } else { format!("NOT FOUND: nothing broke {}", missing.join(", ")) };
        told += &format!(" ({})", if own.is_empty() { "nothing of its own" } else { &own });
        let unexpected = list(&|rule| !must.contains(&rule) && !may.contains(&rule));
        let others = [("and", list(&|rule| may.contains(&rule))), ("and, which nobody expects of it,", unexpected)];
        for (what, rules) in others.iter().filter(|(_, rules)| !rules.is_empty()) {
            told += &format!("; {what} {rules}");
        }
        let line = format!("{bug:<24} row 8{}: {told}; {} s", support::commit(), began.elapsed().as_secs());
        println!("{line}");
        // One line for each bug: REPORT.
        if let Ok(file) = std::env::var("REPORT") {
            let opened = std::fs::OpenOptions::new().append(true).create(true).open(&file);
            opened.and_then(|mut file| writeln!(file, "{line}")).unwrap_or_else(|error| panic!("{file}: {error}"));
        }
        if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// The bug itself. Source of what is expected: testing.md §4, observed with librdkafka 2.12.1 and 2.16.0.
    fn bare(&mut self) {
        let visible = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let expected = [
            (Case::A, false, Observed { late: 0, position: Some(2), visible: visible(&[]) }),
            (Case::B, false, Observed { late: 0, position: Some(1), visible: visible(&["n", "n+1"]) }),
            (Case::A, true, Observed { late: INVALID_PRODUCER_EPOCH, position: Some(2), visible: visible(&["n+1"]) }),
            (Case::B, true, Observed { late: INVALID_PRODUCER_EPOCH, position: Some(1), visible: visible(&["n"]) }),
        ];
        for (case, renewed, expected) in expected {
            self.kafka.proxy.forget();
            let seen = bare::run(&self.kafka, case, renewed);
            let what = format!("bare client, case {case:?}{}", if renewed { ", a new producer in between" } else { "" });
            println!("  {what}: late EndTxn answered {}, group position {:?}, visible {:?}; every call succeeded", seen.late, seen.position, seen.visible);
            self.runs += 1;
            if seen != expected {
                self.red.push(format!("{what}: {seen:?} instead of {expected:?}\n{}", self.kafka.proxy.story()));
            }
            self.facts.bare.push((case, renewed, seen));
        }
    }

    fn one(&mut self, case: Case, after: After, mitigations: &str) -> delayed::Verdict {
        self.blipped(case, after, mitigations, false)
    }

    fn blipped(&mut self, case: Case, after: After, mitigations: &str, blip: bool) -> delayed::Verdict {
        self.runs += 1;
        let began = Instant::now();
        let verdict = delayed::run(&self.kafka, &format!("row8-{}.", self.runs), case, after, mitigations, blip);
        let other = if blip { ", another connection lost before" } else { "" };
        println!(
            "  engine, mitigations {mitigations}, case {case:?}, {after:?}{other}: late EndTxn answered {}, the engine counts {} producers given up ({} on suspicion), {} positions disagreed, broken: {:?}; {} ms",
            verdict.late,
            verdict.recycled,
            verdict.suspected,
            verdict.disagreed,
            verdict.rules(),
            began.elapsed().as_millis()
        );
        let wanted = delayed::expected_answer(mitigations);
        if verdict.late != wanted {
            self.red.push(format!("case {case:?}, {after:?}, {mitigations}: the late EndTxn was answered {}, not {wanted}", verdict.late));
        }
        verdict
    }

    /// The engine with these mitigations on: nothing may be broken.
    fn engine(&mut self, mitigations: &str) {
        for (case, after) in pairs() {
            let verdict = self.one(case, after, mitigations);
            // Whether the engine notices anything can be asked in case B alone, where the call succeeds and a line of the client's log is all that there is. In case A the
            // abort that the test orders takes the producer with it whatever the engine saw; that the late EndTxn is fenced is all that shows.
            if mitigations == "all" && case == Case::B && after == After::Runs {
                if verdict.suspected == 0 {
                    self.red.push(format!("case {case:?}: the engine did not notice: no producer was made anew on suspicion"));
                }
                self.facts.engine.push(format!(
                    "All on, case B: every call succeeds, and the engine makes {} of its producers anew on suspicion. In case A it makes one anew because the run orders \
                        an abort: whether it would have noticed anything does not show there.",
                    verdict.suspected
                ));
            }
            self.red.extend(verdict.faults.iter().map(|fault| format!("case {case:?}, {after:?}: {fault}")));
            print!("{}", verdict.story);
        }
    }

    /// The line that gives a lost connection away stands behind others.
    fn blip(&mut self) {
        let verdict = self.blipped(Case::B, After::Runs, "all", true);
        self.red.extend(verdict.faults.iter().map(|fault| format!("case B after a blip: {fault}")));
        self.facts.engine.push(format!(
            "All on, case B, and another connection lost before, so that the line which gives the lost EndTxn away stands behind others: {}; \
                {} producers made anew, {} of them on suspicion.",
            told(&verdict.faults),
            verdict.recycled,
            verdict.suspected
        ));
        print!("{}", verdict.story);
    }

    /// Where the late EndTxn is not fenced and the disk is lost, the position record alone must do.
    fn alone(&mut self) {
        for case in CASES {
            let verdict = self.one(case, After::Wiped, "position_record");
            if verdict.disagreed == 0 {
                self.red.push(format!("case {case:?}, position record alone: the engine did not say that state and group disagree"));
            }
            self.red.extend(verdict.faults.iter().map(|fault| format!("case {case:?}, position record alone: {fault}")));
            let disagreed = verdict.disagreed;
            self.facts.engine.push(format!(
                "`position_record` alone, case {case:?}, disk lost: {}; on {disagreed} positions the engine says that state and group disagree.",
                told(&verdict.faults)
            ));
            print!("{}", verdict.story);
        }
    }

    /// With nothing that protects it both cases must fail, each in its own way, else the proxy did nothing.
    fn must_fail(&mut self) {
        for case in CASES {
            // What a late abort takes back is lost; what a late commit makes visible is dispatched, and once more when it is read again. Source: testing.md §4.
            let own = match case {
                Case::A => "I1 lost",
                Case::B => "I1 attempts",
            };
            let (mut found, mut broke) = (BTreeSet::new(), 0);
            for after in After::ALL {
                let verdict = self.one(case, after, "off");
                broke += usize::from(verdict.rules().contains(own));
                found.extend(verdict.rules().into_iter().map(str::to_owned));
            }
            self.facts.engine.push(format!("All off, case {case:?}: broken is {}, or else the proxy would have done nothing.", report::list(&found)));
            let runs = After::ALL.len();
            if broke > 0 {
                println!(
                    "row 8: case {case:?}: broken, as it must be with all mitigations off: {own} in {broke} of {runs} runs; in all {}",
                    report::list(&found)
                );
            } else {
                println!("row 8: NOT FOUND in case {case:?}: nothing broke {own} in {runs} runs with all mitigations off; in all {found:?}");
                self.red.push(format!("case {case:?}: NOT FOUND: nothing broke {own} with all mitigations off; this test is blind"));
            }
        }
    }

    /// E8: an EndTxn or its answer is lost, once or for good.
    fn lost(&mut self) {
        for loss in Loss::ALL {
            self.runs += 1;
            let began = Instant::now();
            let verdict = lost::run(&self.kafka, &format!("row8-{}.", self.runs), loss);
            self.facts.lost.push((loss, verdict.lost, verdict.ended.clone(), verdict.faults.len()));
            let ended = verdict.ended.unwrap_or_else(|| "went on".into());
            println!(
                "  engine, {loss:?} lost ({} frames): the process {ended}, {} faults; {} ms",
                verdict.lost,
                verdict.faults.len(),
                began.elapsed().as_millis()
            );
            self.red.extend(verdict.faults.iter().map(|fault| format!("{loss:?} lost: {fault}")));
            print!("{}", verdict.story);
        }
    }

    /// E3: the changelog's marker comes after the group's position.
    fn markers(&mut self) {
        self.runs += 1;
        let began = Instant::now();
        let faults = markers::run(&Kafka::start_nodes(3));
        println!(
            "  engine, three brokers, the changelog's commit marker held over a change of owners: {} faults; {} ms",
            faults.len(),
            began.elapsed().as_millis()
        );
        self.facts.markers = Some(faults.len());
        self.red.extend(faults.iter().map(|fault| format!("marker held: {fault}")));
    }

    /// E4: what a timer alone decided is committed by the group's leave.
    fn timer(&mut self) {
        self.runs += 1;
        let began = Instant::now();
        let fault = asked::run(&self.kafka, &format!("row8-{}.", self.runs));
        println!("  engine, a transaction that moves no position: {} faults; {} ms", fault.iter().count(), began.elapsed().as_millis());
        self.facts.timer = Some(fault.iter().count());
        self.red.extend(fault);
    }

    /// What each mitigation is worth alone.
    fn table(&mut self) {
        let (began, before) = (Instant::now(), self.runs);
        for on in ["all"].into_iter().chain(MITIGATIONS).chain(["off"]) {
            let cells: Vec<_> = pairs()
                .into_iter()
                .map(|(case, after)| {
                    let verdict = self.one(case, after, on);
                    (verdict.rules().into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), verdict.late)
                })
                .collect();
            let broken: BTreeSet<String> = cells.iter().flat_map(|(rules, _)| rules.clone()).collect();
            if on == "all" && !broken.is_empty() {
                self.red.push(format!("table, all on: broken is {}", report::list(&broken)));
            }
            self.facts.table.push((on.to_owned(), cells));
        }
        self.facts.tables = (self.runs - before, began.elapsed());
        println!("\n{}", self.facts.table());
    }
}

/// In words, for a report.
fn told(faults: &BTreeSet<String>) -> String {
    if faults.is_empty() { "holds".to_owned() } else { report::list(faults) }
}

fn pairs() -> [(Case, After); 6] {
    let mut pairs = [(Case::A, After::Runs); 6];
    let all = CASES.into_iter().flat_map(|case| After::ALL.map(|after| (case, after)));
    pairs.iter_mut().zip(all).for_each(|(pair, one)| *pair = one);
    pairs
}
