//! Which invariant and which rule of the engine was judged by what, and by how much of it: testing.md §1.4 and §2.4. What a run of this kind cannot judge says so.

use super::Fault;
use super::fallbacks::fires_min;

/// A rule, what judges it, and what of it was counted. Nothing counted: judged elsewhere, and the words say where.
struct Rule {
    name: &'static str,
    by: &'static str,
    counted: &'static [&'static str],
}

/// A run with fewer kills is not asked for what needs luck.
const SHORT: usize = 20;

/// What no run is asked for: good if it never comes, or what hangs on the machine.
const LUCK: &[&str] = &[
    "fires within 500 ms",
    "fires later than 500 ms",
    "attempts without an intent",
    "receipts written once more by a fault",
    "statuses after the end held against their receipts",
];

/// Fires that are judged above: none where commits are long.
const ABOVE: &[&str] = &["timers judged above: within a second", "fires within 250 ms"];

/// From so many kills on a run meets everything.
const LONG: usize = 20;

const RULES: &[Rule] = &[
    Rule {
        name: "I1",
        by: "one end for each event, the seed's where no fault was near",
        counted: &["events", "lives clear of every fault", "ends held against the receipt of their attempt", "dead letters"],
    },
    Rule {
        name: "I2",
        by: "receipts acknowledged before a deadline, against recado.retry.*",
        counted: &["later attempts", "fallbacks by a timer judged", "fallbacks by a failure judged", "receipts within 200 ms of a deadline that ran out"],
    },
    Rule {
        name: "I3",
        by: "the send log against dispatches, claims and outcomes",
        counted: &[
            "attempts called",
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
    Rule { name: "I4", by: "seq of every message", counted: &["statuses"] },
    Rule {
        name: "I5",
        by: "the ends of transactions on the brokers' disks, the send log against not_after and expiry, those against the bank's record, the routes and the append",
        counted: &[
            "dispatches held against the commit of the end",
            "sends after the end whose dispatch was committed before it",
            "calls held against not_after and expiry",
            "dispatches held against lease, call and expiry",
            "lives of codes compared",
            "dispatches held against the cancel of their code",
        ],
    },
    Rule { name: "I6", by: "recipient and text of each call against the seed", counted: &["recipients compared", "codes spoken"] },
    Rule {
        name: "I7",
        by: "codes of 15 characters, a name and numbers, in all spellings, raw and decoded; no core dump is made here",
        counted: &[
            "calls with a canary",
            "files searched for canaries",
            "records searched for canaries",
            "stored values searched for canaries",
            "environments searched for canaries",
        ],
    },
    Rule {
        name: "I8",
        by: "append time of the fallback against the provider's answer and the route's wait; within a second where neither fault nor slow machine was near its end, else within 5 s of its partition's being served again, by the brokers' disks",
        counted: &[
            "timers judged below: never early",
            "timers judged above: within a second",
            "fires within 250 ms",
            "fires within 500 ms",
            "fires later than 500 ms",
            "timers judged above: some seconds after their partition is served",
            "of those, within a second of their wait",
            "attempts delivered",
            "attempts delivered within 200 ms of their deadline",
        ],
    },
    Rule { name: "I9", by: "comes with the buttons", counted: &[] },
    Rule {
        name: "I10",
        by: "a fold of the changelog against every store, after an orderly stop and as E2; no state without an end",
        counted: &["stores compared after an orderly stop"],
    },
    Rule {
        name: "I11",
        by: "position records in the order of the changelog, the group's positions after an orderly stop",
        counted: &["position records", "positions of the group"],
    },
    Rule {
        name: "I12",
        by: "both ends of every partition, Kafka's own tool, the logs on the disk",
        counted: &["partitions whose ends were compared", "transactional ids asked for"],
    },
    Rule {
        name: "I13",
        by: "the provider's webhook log against recado.receipts, both ways, how often, and which came first",
        counted: &["receipts acknowledged", "receipts written", "receipts of strangers", "receipts written once more by a fault"],
    },
    Rule {
        name: "E1",
        by: "the bank's list against sources of statuses and dead letters, below and above the position; no status said twice; what came back against its effect; what is told of receipts against them, both ways",
        counted: &[
            "inputs below the position",
            "words of what became of an attempt held against their effect",
            "statuses sent held against their receipts",
            "statuses after the end held against their receipts",
            "reads of ended deliveries held against their receipts",
        ],
    },
    Rule {
        name: "E2",
        by: "I10 at each kill and after kill -9 of all: each store brought up from its own position, against the changelog as it was then",
        counted: &["stores compared after kill -9 of all", "stores compared at the kills"],
    },
    Rule { name: "E3", by: "not in this run: make rig ROW=8, markers held", counted: &[] },
    Rule {
        name: "E4",
        by: "epochs in the logs on the disk, and I11; a process that stands still and comes back: make rig ROW=4",
        counted: &["transactions committed, by partition", "transactions aborted, by partition"],
    },
    Rule { name: "E5", by: "I1, I3 and I8: a wait ends in a receipt or in one later attempt, never early", counted: &["fallbacks by a timer judged"] },
    Rule {
        name: "E6",
        by: "I2; a gateway that is away for long is not provoked here",
        counted: &["receipts held against a deadline that ran out", "receipts within 200 ms of a deadline that ran out"],
    },
    Rule {
        name: "E7",
        by: "I1 for phones that repeat, reorder and contradict: the seed's end whatever the order",
        counted: &["lives clear of every fault", "receipts said twice by the provider", "messages whose receipts came out of order"],
    },
    Rule { name: "E8", by: "not in this run: make rig ROW=8, the answer of an EndTxn lost", counted: &[] },
    Rule {
        name: "E9",
        by: "each commit of the dispatchers' position against the journal as it was then; I3, I5 for the calls",
        counted: &[
            "dispatches below the dispatchers' position",
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
        let counted: Vec<String> = rule.counted.iter().map(|what| format!("{} {what}", grouped(met(what)))).collect();
        let counted = if counted.is_empty() { String::new() } else { format!(": {}", counted.join("; ")) };
        format!("{text}  {:<4}{}{counted}\n", rule.name, rule.by)
    })
}

/// Faults of a run that judged too little to say anything. `prompt`: not every commit takes seconds, so fires are judged above too.
pub fn enough(met: impl Fn(&str) -> usize, kills: usize, prompt: bool) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    let mut fault = |sentence: String| faults.push(Fault { rule: "too little judged", message: None, sentence });
    for rule in RULES {
        // Of a short run only what needs no luck.
        let asked = rule.counted.iter().take(if kills >= LONG { usize::MAX } else { 1 });
        for what in asked.filter(|what| !LUCK.contains(what) && met(what) == 0) {
            if prompt || !ABOVE.contains(what) {
                fault(format!("{}: no {what}", rule.name));
            }
        }
    }
    let fires = met("timers judged below: never early");
    if fires < fires_min(kills) {
        fault(format!("I8: {fires} fires; {kills} kills ask for {}", fires_min(kills)));
    }
    let above = met("timers judged above: within a second");
    if prompt && kills >= LONG && above < kills / 2 {
        fault(format!("I8: {above} fires were judged above; {kills} kills ask for {}", kills / 2));
    }
    let served = met("timers judged above: some seconds after their partition is served");
    if kills >= LONG && served < kills {
        fault(format!("I8: {served} fires near faults were judged above; {kills} kills ask for as many"));
    }
    // Of few a tenth may be missed by chance.
    let (near, delivered) = (met("attempts delivered within 200 ms of their deadline"), met("attempts delivered"));
    if kills >= SHORT && near * 10 < delivered {
        fault(format!("I8: {near} of {delivered} receipts came near their deadline, less than a tenth"));
    }
    faults
}

/// 1234567 as 1,234,567.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}
