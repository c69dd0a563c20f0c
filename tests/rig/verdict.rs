//! The verdict on one part: what it left is judged, the judge is judged, and numbers are left for the whole.

use crate::bank::What;
use crate::broken;
use crate::evidence::Evidence;
use crate::evidence::found::Found;
use crate::faults::{Cause, Kill};
use crate::judge::{self, Fault, Histories, Subject};
use crate::points::Inside;
use crate::report::{self, Told};
use crate::stage::Profile;
use crate::{row4, row49};
use recado::simulator::Line;
use std::collections::BTreeMap;
use std::path::Path;

/// So many histories are printed; all of them are in a file.
const HISTORIES_MAX: usize = 12;
/// The most memory that an instance may have, whatever befalls it: what a bank gives a small pod.
const MEMORY_KIB_MAX: u64 = 1_536 * 1_024;

/// Judges it. Histories come to lie in the folder.
pub fn on(mut found: Found, folder: &Path) -> Told {
    let Found { profile, bug, seconds, .. } = found;
    let (prefix, memory) = (std::mem::take(&mut found.prefix), std::mem::take(&mut found.memory));
    let (mut red, counts) = (std::mem::take(&mut found.red), std::mem::take(&mut found.counts));
    let mut told = Told::of(&found.build, &found.kills, &memory);
    let evidence = Evidence::of(found);
    for (instance, kib) in memory.iter().filter(|(_, kib)| **kib > MEMORY_KIB_MAX) {
        red.push(Fault { rule: "memory", message: None, sentence: format!("{instance} had {} MiB.", kib / 1_024) });
    }
    told.of_commits(&evidence, &prefix);
    println!("  record -> call before the first fault: {}", report::spread(&quick(&evidence)));
    match profile {
        Profile::Paused => row4::count(&evidence, &mut told.counts),
        Profile::Moving => row49::count(&evidence, &mut told.counts),
        Profile::Together | Profile::Apart | Profile::Long => {}
    }
    let (faults, counted) = judge::judge(&evidence);
    println!("  dispatches by channel: {:?}", judge::by_channel(&evidence));
    if !bug {
        let (found, missed) = broken::judge_the_judge(&evidence, &faults);
        println!("  the judge was shown {} broken copies and found {found}", found + missed.len());
        red.extend(missed.into_iter().map(|sentence| Fault { rule: "the judge is blind", message: None, sentence }));
        told.counts.insert("broken copies of the evidence that the judge found".to_owned(), found);
        red.extend(told.slow_in_itself().into_iter().map(|sentence| Fault { rule: "recovery of a part", message: None, sentence }));
    }
    red.extend(faults);
    tell(&evidence, &red, folder);
    told.clear = counted.clear.into_iter().map(|((kind, story), count)| (judge::of_story(kind, story), count)).collect();
    let met = counted.judged.into_iter().chain(of_kills(&evidence.kills)).map(|(what, count)| (what.to_owned(), count)).chain(counts);
    met.for_each(|(what, count)| *told.counts.entry(what).or_default() += count);
    red.iter().for_each(|fault| *told.faults.entry(fault.rule.to_owned()).or_default() += 1);
    told.seconds = seconds;
    println!("{}: {} faults, {seconds} s", profile.word(), red.len());
    told
}

/// How long the first calls took, in ms from the bank's record, as long as no fault was near: whether the machine carries the load at all.
fn quick(evidence: &Evidence) -> Vec<u64> {
    let fault = evidence.kills.first().map_or(i64::MAX, |kill| kill.at);
    let mut called: BTreeMap<&str, i64> = BTreeMap::new();
    for line in &evidence.lines {
        if let Line::Call(call) = line {
            called.entry(&call.to).or_insert(call.time_ms.min(fault));
        }
    }
    let events = evidence.written.iter().filter(|written| written.what == What::Event && written.at + 2_000 < fault);
    let took = events.filter_map(|written| Some(called.get(evidence.plan.events[written.event].phone.as_str())? - written.at));
    took.map(|ms| u64::try_from(ms).unwrap_or(0)).collect()
}

/// Where the kills fell.
fn of_kills(kills: &[Kill]) -> BTreeMap<&'static str, usize> {
    let at = |inside: Inside| move |kill: &&Kill| matches!(kill.cause, Cause::Point(_, other) if other == inside);
    let (in_transaction, in_restore) = (at(Inside::Transaction), at(Inside::Restore));
    BTreeMap::from([
        ("kills at random", kills.iter().filter(|kill| kill.cause == Cause::Random).count()),
        ("kills at a point inside a transaction", kills.iter().filter(in_transaction).count()),
        ("kills inside a flush", kills.iter().filter(at(Inside::Flush)).count()),
        ("kills inside a restore", kills.iter().filter(|kill| kill.restoring || in_restore(kill)).count()),
        ("kills after which partitions moved", kills.iter().filter(|kill| kill.started.is_some_and(|started| started - kill.gone > 10_000)).count()),
    ])
}

/// Faults, and what happened to each message, event or place that one is about, in the order of time.
fn tell(evidence: &Evidence, faults: &[Fault], folder: &Path) {
    let histories = Histories::of(evidence);
    let mut by_rule: BTreeMap<&str, usize> = BTreeMap::new();
    let mut told: BTreeMap<Subject, String> = BTreeMap::new();
    let mut printed = 0;
    for fault in faults {
        *by_rule.entry(fault.rule).or_default() += 1;
        let few = by_rule[fault.rule] <= 5;
        if few {
            println!("FAULT {}: {} {}", fault.rule, fault.message.map_or_else(String::new, |id| id.to_string()), fault.sentence);
        }
        for subject in histories.subjects(fault) {
            if told.contains_key(&subject) {
                continue;
            }
            let history = histories.history(&subject);
            if few && printed < HISTORIES_MAX {
                printed += 1;
                print!("{history}");
            }
            told.insert(subject, history);
        }
    }
    if !by_rule.is_empty() {
        println!("faults by rule: {by_rule:?}");
    }
    if !told.is_empty() {
        let file = folder.join("histories");
        std::fs::write(&file, told.into_values().collect::<String>()).unwrap();
        println!("what happened to each message with a fault: {}", file.display());
    }
}
