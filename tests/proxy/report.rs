//! What row 8 tells its reader: `report.md`, written by the run that it tells of.
//!
//! Easily got wrong: a sentence that explains a result must not outlive it. So each mitigation has what it is expected to hold, and where a run shows otherwise that is
//! told in place of the explanation.

use crate::bare::{Case, INVALID_PRODUCER_EPOCH, Observed};
use crate::delayed::After;
use crate::lost::Loss;
use crate::{CASES, pairs};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

/// What the runs showed, as far as they ran.
#[derive(Default)]
pub struct Facts {
    /// Runs of all but the table, and how long they took; and of the table.
    pub parts: (usize, Duration),
    pub tables: (usize, Duration),
    pub bare: Vec<(Case, bool, Observed)>,
    /// What was on, and of each run of [`pairs`] the rules that it broke and the answer to the late EndTxn.
    pub table: Vec<(String, Vec<(BTreeSet<String>, i16)>)>,
    /// Sentences about the engine with and without what protects it.
    pub engine: Vec<String>,
    /// What was lost, how many frames, how the process ended because of it, and the faults.
    pub lost: Vec<(Loss, usize, Option<String>, usize)>,
    /// Faults where a marker was held, and where a timer alone decided.
    pub markers: Option<usize>,
    pub timer: Option<usize>,
}

/// One mitigation, what it is, where it holds alone, by [`pairs`], and why no further.
struct Worth {
    name: &'static str,
    what: &'static str,
    holds: [bool; 6],
    why: &'static str,
}

const WORTH: [Worth; 4] = [
    Worth { name: "recycle", what: "a new producer after each abort and on suspicion", holds: [true; 6], why: "The old EndTxn is fenced." },
    Worth {
        name: "position_record",
        what: "positions in the changelog, which count on resume whatever the group says",
        holds: [false, false, true, true, true, true],
        why: "With the disk kept, or the process alive, the store already has what no changelog has: only fencing helps there.",
    },
    Worth {
        name: "source_skip",
        what: "what a delivery has applied already is not applied again",
        holds: [false; 6],
        why: "What is read again here is a *request*, and it begins anew. A receipt that is applied twice changes nothing by the machine's own rules, \
            so this is a second net.",
    },
    Worth {
        name: "dedup",
        what: "a request that is read again meets its hash",
        holds: [false, false, false, true, true, true],
        why: "In case A nothing is read again.",
    },
];

impl Facts {
    /// The whole report. `commit`: the version that ran; `faults`: what was wrong.
    pub fn text(&self, commit: &str, librdkafka: &str, faults: &[String]) -> String {
        let mut text = String::from("# Row 8: an EndTxn that comes late (KAFKA-17754)\n\n");
        let nodes = if self.markers.is_some() { "one node, and three where a marker is held" } else { "one node" };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let build = if cfg!(debug_assertions) { "a debug build" } else { "a release build" };
        let runs = |(runs, took): (usize, Duration)| format!("{runs} runs in {} s", took.as_secs());
        let took: Vec<String> = [(self.parts, ""), (self.tables, " for the table")]
            .into_iter()
            .filter(|(part, _)| part.0 > 0)
            .map(|(part, what)| format!("{}{what}", runs(part)))
            .collect();
        writeln!(
            text,
            "recado {}{commit}, Apache Kafka 4.3.1 ({nodes}), librdkafka {librdkafka}, {build} on {cores} cores: {}.",
            env!("CARGO_PKG_VERSION"),
            took.join(", and ")
        )
        .unwrap();
        text += "This page is written by `make rig ROW=8 REPORT=tests/proxy/report.md`; without REPORT it runs all but the table, with \
            `MITIGATIONS=each` the table alone.\n";
        let faults: Vec<&str> = faults.iter().filter_map(|fault| fault.lines().next()).collect();
        writeln!(text, "Faults: {}.", if faults.is_empty() { "none".into() } else { faults.join("; ") }).unwrap();
        if !self.bare.is_empty() {
            text += "\n## The bug, with a bare client\n";
            text += "Transaction N ends, its EndTxn stays on the way and is repeated by the client; it arrives in the midst of N+1. Every call \
                succeeds; the client says nothing.\n\n";
            text += "| | late EndTxn answered | group's position | visible |\n|---|---|---|---|\n";
            self.bare.iter().for_each(|(case, renewed, seen)| text += &row(*case, *renewed, seen));
        }
        if !self.table.is_empty() || !self.engine.is_empty() {
            text += "\n## What each mitigation is worth alone, in the engine\n";
            text += "N+1 holds two requests, in case B also an outcome and a receipt of a living delivery. In case B dispatcher and provider have \
                acted on what the late commit made\nvisible before the engine comes back. *holds*: no event lost, `seq` gapless, one end each, store \
                equal to changelog; else the rules that are broken.\n\n";
        }
        if !self.table.is_empty() {
            text += &self.table();
            text += "\n";
            WORTH.iter().for_each(|worth| text += &self.worth(worth));
        }
        self.engine.iter().for_each(|sentence| writeln!(text, "- {sentence}").unwrap());
        let further = self.further();
        if !further.is_empty() {
            text += "\n## Lost for good (E8), markers held (E3), and the group asked (E4)\n";
            further.iter().for_each(|sentence| writeln!(text, "- {sentence}").unwrap());
        }
        text
    }

    /// A line for each that was on.
    pub fn table(&self) -> String {
        let heads: Vec<String> = pairs().map(|(case, after)| column(case, after)).into();
        let mut text = format!("| on | {} |\n|{}\n", heads.join(" | "), "---|".repeat(7));
        for (on, cells) in &self.table {
            let on = if WORTH.iter().any(|worth| worth.name == on) { format!("`{on}`") } else { on.clone() };
            let cells: Vec<String> = cells.iter().map(|(rules, _)| if rules.is_empty() { "holds".into() } else { list(rules) }).collect();
            writeln!(text, "| {on} | {} |", cells.join(" | ")).unwrap();
        }
        text
    }

    fn worth(&self, worth: &Worth) -> String {
        let Some((_, cells)) = self.table.iter().find(|(on, _)| on == worth.name) else { return String::new() };
        let held: Vec<bool> = cells.iter().map(|(rules, _)| rules.is_empty()).collect();
        let why = if held == worth.holds { worth.why.to_owned() } else { format!("**That is new**: it was known to hold {}.", places(&worth.holds)) };
        let answers: BTreeSet<String> = cells.iter().map(|(_, late)| answer(*late)).collect();
        format!("- **`{}`** ({}) holds {}; the late EndTxn is answered {}. {why}\n", worth.name, worth.what, places(&held), list(&answers))
    }

    /// What else was tried.
    fn further(&self) -> Vec<String> {
        let faults = |count: usize| if count == 0 { "nothing lost, nothing twice".to_owned() } else { format!("**{count} faults**") };
        let mut sentences: Vec<String> = self
            .lost
            .iter()
            .map(|(loss, frames, ended, count)| {
                let ended = ended.as_ref().map_or_else(|| "the process goes on".to_owned(), |ended| format!("the process ends ({ended})"));
                let what = match loss {
                    Loss::ThreeAnswers => format!(
                        "Three answers to one EndTxn lost with their connections: {ended}, told of the commit in the end, \
                        with a new producer before the next begin"
                    ),
                    Loss::Answers => format!(
                        "Every answer lost ({frames} frames): the commit call never returns, since librdkafka repeats without end and its time-out of \
                            -1 is none; {ended}, by its watchdog after 30 s, and the next one agrees with the transaction, which is committed"
                    ),
                    Loss::Requests => format!(
                        "Every request lost ({frames} frames): the coordinator aborts after 10 s; {ended}, having learnt that \
                        it is fenced, and the next one reads the batch again"
                    ),
                };
                format!("{what}: {}.", faults(*count))
            })
            .collect();
        sentences.extend(self.markers.map(|count| {
            format!(
                "Three brokers, the changelog's commit marker held over a change of owners: the heir begins no transaction before it has read the \
                held one: {}.",
                faults(count)
            )
        }));
        sentences.extend(self.timer.map(|count| {
            let asked = if count == 0 { "Each of them did" } else { "**One of them did not**" };
            format!(
                "What a timer alone decides moves no position. Its transaction commits one all the same (TxnOffsetCommit), since by it the group \
                says whether the partition is still the engine's: else one that stood still could commit a fallback that its successor commits too. \
                {asked}."
            )
        }));
        sentences
    }
}

/// One line of the bare client's table.
fn row(case: Case, renewed: bool, seen: &Observed) -> String {
    let what = match (case, renewed) {
        (Case::A, false) => "A: a late abort hits N+1, which then commits",
        (Case::B, false) => "B: a late commit hits N+1, which then aborts",
        (Case::A, true) => "A, a new producer between N and N+1",
        (Case::B, true) => "B, a new producer between N and N+1",
    };
    let position = match seen.position {
        Some(1) => "end of N".to_owned(),
        Some(2) => "past N+1".to_owned(),
        other => format!("{other:?}"),
    };
    let visible: Vec<&str> = seen.visible.iter().map(String::as_str).collect();
    let visible = match (case, visible.as_slice()) {
        (Case::A, []) => "nothing of N+1: a committed write is lost".to_owned(),
        (Case::B, ["n", "n+1"]) => "N, and N+1 although aborted".to_owned(),
        (_, words) => words.join(", ").to_uppercase(),
    };
    format!("| {what} | {} | {position} | {visible} |\n", answer(seen.late))
}

/// The broker's word for an answer.
fn answer(late: i16) -> String {
    if late == INVALID_PRODUCER_EPOCH { format!("{late} INVALID_PRODUCER_EPOCH") } else { late.to_string() }
}

fn column(case: Case, after: After) -> String {
    let what = match (case, after) {
        (Case::A, After::Runs) => "runs on",
        (Case::A, After::Restarted) => "restarted, disk kept",
        (Case::B, After::Runs) => "aborts N+1",
        (Case::B, After::Restarted) => "killed, disk kept",
        (_, After::Wiped) => "killed, disk lost",
    };
    format!("{case:?}, {what}")
}

/// Where something holds, in words.
fn places(held: &[bool]) -> String {
    let held: Vec<(Case, String)> = pairs().into_iter().zip(held).filter(|(_, held)| **held).map(|((case, after), _)| (case, column(case, after))).collect();
    let of = |case: Case| {
        let own: Vec<String> = held.iter().filter(|(other, _)| *other == case).map(|(_, column)| format!("in *{column}*")).collect();
        if own.len() == After::ALL.len() { vec![format!("in case {case:?}")] } else { own }
    };
    let all: Vec<String> = CASES.into_iter().flat_map(of).collect();
    match (held.len(), all.as_slice()) {
        (6, _) => "everywhere".into(),
        (_, []) => "nowhere".into(),
        (_, all) => all.join(" and "),
    }
}

/// Words with commas between them.
pub fn list(words: &BTreeSet<String>) -> String {
    words.iter().cloned().collect::<Vec<_>>().join(", ")
}
