//! Which invariant and which rule of the engine was judged by what, and by how much of it: testing.md §1.4 and §2.4. What a run of this kind cannot judge says so.

use super::{CLEAR, Fault, KILLS_JUDGED};
use crate::plan::{Kind, stories};
use std::collections::BTreeMap;

/// A rule, what judges it, and what of it was counted. Nothing counted: judged elsewhere, and the words say where.
struct Rule {
    name: &'static str,
    by: &'static str,
    /// What every run must have judged.
    always: &'static [&'static str],
    /// What a long one must have judged too.
    counted: &'static [&'static str],
}

/// From so many events on a run is long, however few its faults: it meets every story a score of times (a deck has 113). That of `.ci/run` is shorter.
const EVENTS_MANY: usize = 3_000;

/// One event in so many at least has a fallback by a timer, or an end in its place, that is judged. Seen: one in four.
const EVENTS_A_FIRE: usize = 10;
/// So many are asked for at most. Source: testing.md §2.4, I8.
const FIRES: usize = 1_000;
/// For each fault so many lives at least are clear of all: about half of what the calm between ten kills, each with an armed start beside it, leaves.
const CLEAR_A_FAULT: usize = 2;
/// One clear life in so many has a fire that is judged above. Seen: one in ten, and of runs in which a part has long commits one in thirteen.
const CLEAR_A_FIRE: usize = 30;

/// What processes that die or stand still leave, and those that merely come and go do not.
const OF_KILLS: &[&str] =
    &["transactions aborted, by partition", "outcomes unknown by a kill", "gaps in service of a partition held against session and restore"];

/// What is on the disks of the killed: a store that is killed every few seconds has hardly anything there, since its column families are flushed every 30 s. Of 28 kills
/// in one profile it was none, of 93 in three 61 stores, of 190 in one 123 and more.
const OF_DISKS: &[&str] = &["stores compared at the kills", "states without an end that those stores held"];
const KILLS_OF_DISKS: usize = 60;

/// What no run is asked for: good if it never comes, or what hangs on the machine.
const LUCK: &[&str] = &[
    "fires within 500 ms",
    "fires later than 500 ms",
    "attempts without an intent",
    "receipts written once more by a fault",
    "statuses after the end held against their receipts",
];

/// Fires that are judged above: none where commits are long. There a code of four seconds may be over, too, before its first attempt is dispatched.
const ABOVE: &[&str] = &["timers judged above: within a second", "fires within 250 ms", "ends expired by a wait, held to its time"];

const RULES: &[Rule] = &[
    Rule {
        name: "I1",
        by: "one end for each event, the seed's where no fault was near",
        always: &["events", CLEAR],
        counted: &["ends held against the receipt of their attempt", "double_delivered", "dead letters"],
    },
    Rule {
        name: "I2",
        by: "receipts acknowledged before a deadline, against recado.retry.*; each attempt there against the one dispatched before it",
        always: &["later attempts"],
        counted: &["fallbacks by a timer judged", "fallbacks by a failure judged", "receipts within 200 ms of a deadline that ran out"],
    },
    Rule {
        name: "I3",
        by: "the send log against dispatches, claims and outcomes",
        always: &["attempts called"],
        counted: &[
            "calls that name their attempt",
            "attempts accepted",
            "attempts with an intent",
            "attempts without an intent",
            "copies sent",
            "steps called held against the seed",
            "outcomes unknown",
            "calls held against their intent",
            "outcomes not sent held against the send log",
            "waits held against what was heard of their attempt",
        ],
    },
    Rule { name: "I4", by: "seq of every message", always: &["statuses"], counted: &[] },
    Rule {
        name: "I5",
        by: "the ends of transactions on the brokers' disks, the send log against not_after and expiry, those against the bank's record, the routes and the append",
        always: &["dispatches held against the commit of the end"],
        counted: &[
            "sends after the end whose dispatch was committed before it",
            "calls held against not_after and expiry",
            "dispatches held against lease, call and expiry",
            "lives of codes compared",
            "dispatches held against the cancel of their code",
        ],
    },
    Rule { name: "I6", by: "recipient and text of each call against the seed", always: &["recipients compared"], counted: &["codes spoken"] },
    Rule {
        name: "I7",
        by: "codes of 15 characters, a name and numbers, in all spellings, raw and decoded; no core dump is made here",
        always: &["calls with a canary"],
        counted: &["files searched for canaries", "records searched for canaries", "stored values searched for canaries", "environments searched for canaries"],
    },
    Rule {
        name: "I8",
        by: "append time of the fallback against the provider's answer and the route's wait; within a second where neither fault nor slow machine was near its end, else within 5 s of its partition's being served again, by the brokers' disks, which comes within a session and a restore",
        always: &["timers judged below: never early"],
        counted: &[
            "timers judged above: within a second",
            "fires within 250 ms",
            "fires within 500 ms",
            "fires later than 500 ms",
            "timers judged above: some seconds after their partition is served",
            "of those, within a second of their wait",
            "ends expired by a wait, held to its time",
            "gaps in service of a partition held against session and restore",
            "attempts delivered",
            "attempts delivered within 200 ms of their deadline",
        ],
    },
    Rule { name: "I9", by: "comes with the buttons", always: &[], counted: &[] },
    Rule {
        name: "I10",
        by: "a fold of the changelog against every store, after an orderly stop and as E2; no state without an end",
        always: &["stores compared after an orderly stop"],
        counted: &[],
    },
    Rule {
        name: "I11",
        by: "position records in the order of the changelog, the group's positions after an orderly stop",
        always: &["position records"],
        counted: &["positions of the group"],
    },
    Rule {
        name: "I12",
        by: "both ends of every partition, Kafka's own tool, the logs on the disk",
        always: &["partitions whose ends were compared"],
        counted: &["transactional ids asked for"],
    },
    Rule {
        name: "I13",
        by: "the provider's webhook log against recado.receipts, both ways, how often, and which came first",
        always: &["receipts acknowledged"],
        counted: &["receipts written", "receipts of strangers", "receipts written once more by a fault"],
    },
    Rule {
        name: "E1",
        by: "the bank's list against sources of statuses and dead letters, below and above the position; no status said twice; what came back, and withdrawals, against their effect; what is told of receipts against them, both ways",
        always: &["inputs below the position"],
        counted: &[
            "words of what became of an attempt held against their effect",
            "cancels held against the end of their delivery",
            "statuses sent held against their receipts",
            "statuses after the end held against their receipts",
            "reads of ended deliveries held against their receipts",
        ],
    },
    Rule {
        name: "E2",
        by: "I10 at each kill and after kill -9 of all: each store brought up from its own position, against the changelog as it was then",
        always: &["stores compared after kill -9 of all"],
        counted: &["stores compared at the kills", "states without an end that those stores held"],
    },
    Rule { name: "E3", by: "not in this run: make rig ROW=8, markers held", always: &[], counted: &[] },
    Rule {
        name: "E4",
        by: "epochs in the logs on the disk, and I11; a process that stands still and comes back: make rig ROW=4",
        always: &["transactions committed, by partition"],
        counted: &["transactions aborted, by partition"],
    },
    Rule {
        name: "E5",
        by: "I1, I2, I3 and I8: a wait ends in a receipt or in one later attempt, never early",
        always: &["fallbacks by a timer judged"],
        counted: &[],
    },
    Rule {
        name: "E6",
        by: "I2; a gateway that is away for long is not provoked here",
        always: &["receipts held against a deadline that ran out"],
        counted: &["receipts within 200 ms of a deadline that ran out"],
    },
    Rule {
        name: "E7",
        by: "I1 for phones that repeat, reorder and contradict: the seed's end whatever the order",
        always: &["lives clear of every fault"],
        counted: &["receipts said twice by the provider", "messages whose receipts came out of order"],
    },
    Rule { name: "E8", by: "not in this run: make rig ROW=8, the answer of an EndTxn lost", always: &[], counted: &[] },
    Rule {
        name: "E9",
        by: "each commit of the dispatchers' position against the journal as it was then; I3, I5 for the calls",
        always: &["dispatches below the dispatchers' position"],
        counted: &[
            "dispatches held against the commit that passed them",
            "attempts given up as too late held against their not_after",
            "outcomes too_late",
            "outcomes unknown by a kill",
        ],
    },
];

/// One line for each rule: how much of what was judged. `met` tells how often something was counted.
pub fn table(met: impl Fn(&str) -> usize) -> String {
    RULES.iter().fold(String::new(), |text, rule| {
        let counted: Vec<String> = rule.always.iter().chain(rule.counted).map(|what| format!("{} {what}", grouped(met(what)))).collect();
        let counted = if counted.is_empty() { String::new() } else { format!(": {}", counted.join("; ")) };
        format!("{text}  {:<4}{}{counted}\n", rule.name, rule.by)
    })
}

/// Faults of a run that judged too little to say anything, by what was injected and published. `prompt`: not every commit takes seconds, so fires are judged above too.
/// `clear`: by story, the lives that no fault came near.
pub fn enough(met: impl Fn(&str) -> usize, clear: &BTreeMap<String, usize>, prompt: bool) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    let mut fault = |sentence: String| faults.push(Fault { rule: "too little judged", message: None, sentence });
    let (events, injected, kills) = (met("events"), met("faults injected"), met("kills and stops"));
    let long = events >= EVENTS_MANY || injected >= KILLS_JUDGED;
    for rule in RULES {
        let enough_kills = |what: &str| (kills >= KILLS_JUDGED || !OF_KILLS.contains(&what)) && (kills >= KILLS_OF_DISKS || !OF_DISKS.contains(&what));
        let asked = |what: &&&str| (prompt || !ABOVE.contains(what)) && enough_kills(what) && !LUCK.contains(what);
        let counted = rule.counted.iter().filter(|_| long).filter(asked);
        for what in rule.always.iter().chain(counted).filter(|what| met(what) == 0) {
            fault(format!("{}: no {what}", rule.name));
        }
    }
    let mut little = |rule: &str, what: &str, least: usize, of: String| {
        if met(what) < least {
            fault(format!("{rule}: {} {what}; {of} ask for {least}", met(what)));
        }
    };
    little("I8", "timers judged below: never early", (events / EVENTS_A_FIRE).min(FIRES), format!("{events} events"));
    little("I1", CLEAR, injected * CLEAR_A_FAULT, format!("{injected} faults"));
    if prompt && long {
        little("I8", "timers judged above: within a second", met(CLEAR) / CLEAR_A_FIRE, format!("{} lives clear of every fault", met(CLEAR)));
    }
    if long {
        let delivered = met("attempts delivered");
        little("I8", "attempts delivered within 200 ms of their deadline", delivered / 10, format!("{delivered} of which a tenth is to come so near"));
    }
    if long {
        let what = "timers judged above: some seconds after their partition is served";
        little("I8", what, injected, format!("{injected} faults, near each of which some fire,"));
    }
    // Where every commit is long a life may be longer than any calm.
    for story in stories().map(|(kind, story)| of_story(kind, story.name)).filter(|_| prompt && events >= EVENTS_MANY) {
        if clear.get(&story).copied().unwrap_or(0) == 0 {
            fault(format!("I1: no life of {story} was clear of every fault, to be judged by the seed alone"));
        }
    }
    faults
}

/// What a story is called in a report.
pub fn of_story(kind: Kind, story: &str) -> String {
    format!("{kind:?}, {story}")
}

/// The judge of enough judged: ways in which a run can have judged too little that it does not see.
pub fn blind() -> Vec<String> {
    let clear: BTreeMap<String, usize> = stories().map(|(kind, story)| (of_story(kind, story.name), 1)).collect();
    let met = |few: &'static str, count: usize| {
        move |what: &str| match what {
            _ if what == few => count,
            "faults injected" | "kills and stops" => 1_000,
            _ => 10_000,
        }
    };
    let seen = |few: &'static str, count: usize| !enough(met(few, count), &clear, true).is_empty();
    let mut blind = Vec::new();
    if seen("nothing", 0) {
        blind.push("that a run judged everything".to_owned());
    }
    let asked = RULES.iter().flat_map(|rule| rule.always.iter().chain(rule.counted)).filter(|what| !LUCK.contains(what)).map(|what| (*what, 0));
    let few = [("timers judged below: never early", FIRES - 1), (CLEAR, 1_000 * CLEAR_A_FAULT - 1)];
    let few = few.into_iter().chain([("timers judged above: some seconds after their partition is served", 999)]);
    let fewer = [("timers judged above: within a second", 10_000 / CLEAR_A_FIRE - 1), ("attempts delivered within 200 ms of their deadline", 999)];
    blind.extend(asked.chain(few).chain(fewer).filter(|(what, count)| !seen(what, *count)).map(|(what, count)| format!("that there are but {count} {what}")));
    for story in clear.keys() {
        let others = clear.iter().filter(|(other, _)| *other != story).map(|(other, count)| (other.clone(), *count)).collect();
        if enough(met("nothing", 0), &others, true).is_empty() {
            blind.push(format!("that {story} was never judged by the seed"));
        }
    }
    // A row: few faults, none of which kills.
    let row = |what: &str| match what {
        "events" => EVENTS_MANY,
        "faults injected" => 5,
        _ => 0,
    };
    if enough(row, &clear, true).len() < RULES.len() / 2 {
        blind.push("that a long run with few faults judged nothing".to_owned());
    }
    blind
}

/// 1234567 as 1,234,567.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}
