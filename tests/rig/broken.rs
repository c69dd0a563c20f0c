//! The judge judged: copies of the evidence, each broken in one way, and the rule that must be found broken. A judge that was never seen to fail counts for nothing.

mod attempts;
mod calls;
mod ends;
mod records;
mod texts;
mod times;
mod told;

use crate::bank::What;
use crate::evidence::{Evidence, Row};
use crate::judge::{self, Fault};
use crate::plan::Kind;
use crate::report;
use recado::delivery::{AttemptId, Outcome, Reason};
use recado::event::records::Returned;
use recado::simulator::Line;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How it is broken; false where the run had nothing of the kind.
type Breaking = fn(&mut Evidence) -> bool;

const ALL: [&[(&str, Breaking)]; 7] =
    [ends::BREAKINGS, calls::BREAKINGS, attempts::BREAKINGS, times::BREAKINGS, told::BREAKINGS, texts::BREAKINGS, records::BREAKINGS];

/// Breaks the evidence in each way; returns how many ways were found out, and those that were not.
pub fn judge_the_judge(evidence: &Evidence, green: &[Fault]) -> (usize, Vec<String>) {
    let (mut found, mut missed) = (0, Vec::new());
    missed.extend(judge::blind().into_iter().map(|what| format!("enough judged: it did not see {what}")));
    missed.extend(report::blind().into_iter().map(|what| format!("recovery: of {what} it says the wrong thing")));
    // Where commits are long no fire is held to its second, and in a short run no excuse is too much.
    let judged = |rule: &str| (evidence.prompt || rule != "I8 late") && (evidence.kills.len() >= judge::KILLS_JUDGED || rule != "I8 excused too often");
    let mut shown: BTreeMap<&str, usize> = BTreeMap::new();
    let mut copies = Vec::new();
    for (rule, breaking) in ALL.iter().copied().flatten() {
        let number = shown.entry(rule).or_default();
        *number += 1;
        if judged(rule) {
            copies.push((*rule, *number, *breaking));
        }
    }
    // Each is a whole judgement: two cores take half the time.
    let next = AtomicUsize::new(0);
    let take = || {
        let mut seen = Vec::new();
        while let Some((rule, number, breaking)) = copies.get(next.fetch_add(1, Ordering::Relaxed)) {
            seen.push(shown_to_the_judge(evidence, green, rule, *breaking).map_err(|why| format!("{rule}, copy {number}: {why}")));
        }
        seen
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let seen = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(take)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    for one in seen {
        match one {
            Ok(()) => found += 1,
            Err(sentence) => missed.push(sentence),
        }
    }
    (found, missed)
}

/// Whether the judge finds this rule broken in a copy that was broken so; else what was the matter.
fn shown_to_the_judge(evidence: &Evidence, green: &[Fault], rule: &str, breaking: Breaking) -> Result<(), String> {
    let mut copy = evidence.clone();
    if !breaking(&mut copy) {
        return Err("the run had nothing that could be broken so".into());
    }
    let (faults, _) = judge::judge(&copy);
    let new = || faults.iter().filter(|fault| !green.contains(fault));
    if new().any(|fault| fault.rule == rule) {
        return Ok(());
    }
    let others: Vec<String> = new().map(|fault| format!("{} {}", fault.rule, fault.sentence)).collect();
    Err(format!("the judge did not see it, but {}", if others.is_empty() { "nothing".into() } else { others.join("; ") }))
}

/// The attempt before a fallback by a failure, and that fallback's place among the dispatches.
fn failure(evidence: &Evidence) -> Option<(AttemptId, usize)> {
    evidence.dispatches.iter().enumerate().find_map(|(at, row)| {
        let why = row.what.why.filter(|why| matches!(why.reason, Reason::Failed | Reason::Provider))?;
        Some((AttemptId { message_id: row.what.attempt_id.message_id, attempt: why.from }, at))
    })
}

/// When the life of the code ends that this attempt tells, ms since 1970.
fn life_end(evidence: &Evidence, attempt_id: &str) -> Option<i64> {
    let id = AttemptId::parse(attempt_id)?.message_id;
    let told = evidence.statuses.iter().filter(|row| row.what.message_id == id).find_map(|row| row.what.event_id.as_deref())?;
    let event = evidence.plan.events.iter().position(|planned| planned.event_id == told && planned.kind == Kind::Code)?;
    let written = evidence.written.iter().find(|written| written.what == What::Event && written.event == event)?;
    Some(written.at + i64::try_from(evidence.plan.events[event].expires_after.as_millis()).unwrap())
}

/// When a receipt was acknowledged that says of which attempt that it arrived.
fn acknowledged(line: &Line) -> Option<(String, i64)> {
    match line {
        Line::Webhook { time_ms, attempt_id: Some(id), receipt, .. } if matches!(receipt.as_str(), "delivered" | "keypress") => Some((id.clone(), *time_ms)),
        _ => None,
    }
}

/// Whether a returned record names this attempt.
fn names(row: &Row<Returned>, id: AttemptId) -> bool {
    matches!(&row.what, Returned::Outcome { attempt_id, .. } | Returned::Receipt { attempt_id, .. } if *attempt_id == id)
}

/// Whose acceptance this is.
fn accepted(returned: &Returned) -> Option<AttemptId> {
    match returned {
        Returned::Outcome { attempt_id, outcome: Outcome::Accepted, .. } => Some(*attempt_id),
        _ => None,
    }
}

/// Changes what was said to have become of an attempt.
fn say(evidence: &mut Evidence, id: AttemptId, word: Outcome) -> bool {
    let mut any = false;
    for row in evidence.returned.iter_mut().filter(|row| names(row, id)) {
        if let Returned::Outcome { outcome, .. } = &mut row.what {
            (*outcome, any) = (word, true);
        }
    }
    any
}
