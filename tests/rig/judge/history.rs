//! One message's whole history, for a person.

use super::CLEAR_MS;
use super::messages::{attempt_of, messages};
use crate::evidence::Evidence;
use recado::delivery::{Channel, MessageId};
use recado::event::records::Returned;
use recado::simulator::Line;
use std::collections::BTreeMap;

/// One message's whole history in the order of time.
pub fn history(evidence: &Evidence, id: MessageId) -> String {
    let all = messages(evidence);
    let Some(message) = all.get(&id) else { return format!("  nothing is known of {id}\n") };
    let mut lines: Vec<(i64, String)> = Vec::new();
    if let Some(index) = message.event {
        let event = &evidence.plan.events[index];
        lines.extend(evidence.written.iter().filter(|written| written.event == index).map(|written| {
            (
                written.at,
                format!(
                    "bank     {:?} {} {}-{} offset {} ({:?}, {})",
                    written.what, event.event_id, written.topic, written.partition, written.offset, event.kind, event.story.name
                ),
            )
        }));
    }
    for row in &message.statuses {
        let status = &row.what.status;
        let seq = if row.what.live { status.seq.to_string() } else { "-".into() };
        let attempt = status.attempt.map_or_else(String::new, |attempt| attempt.to_string());
        lines.push((
            row.what.decided.millis(),
            format!("status   seq {seq} {} {attempt} {} (appended {}, offset {})", status.word.word(), status.reason.word(), row.at, row.offset),
        ));
    }
    for row in &message.dispatches {
        let why = row.what.why.map_or_else(|| "first".into(), |why| format!("because {} from {}", why.reason.word(), why.from));
        let (lease, attempt) = (row.what.lease_end.millis() - row.at, row.what.attempt_id.attempt);
        lines.push((
            row.at,
            format!(
                "dispatch {attempt} {} {why}; lease {lease} ms, not_after {} ({} offset {})",
                row.what.channel.word(),
                row.what.not_after.timestamp().millis(),
                row.topic,
                row.offset
            ),
        ));
    }
    for row in &message.journal {
        lines.push((row.at, format!("journal  {} {:?} epoch {:016x} (offset {})", row.what.attempt_id.attempt, row.what.kind, row.what.epoch, row.offset)));
    }
    for row in &message.returned {
        match &row.what {
            Returned::Outcome { attempt_id, outcome, reason, code, .. } => {
                lines.push((row.at, format!("outcome  {} {} {} {code} (offset {})", attempt_id.attempt, outcome.word(), reason.word(), row.offset)));
            }
            Returned::Receipt { attempt_id, receipt, .. } => {
                lines.push((row.at, format!("receipt  {} {receipt:?} (offset {})", attempt_id.attempt, row.offset)))
            }
            Returned::GatewayHeartbeat { .. } | Returned::DispatcherHeartbeat { .. } | Returned::Hello { .. } => {}
        }
    }
    for line in &message.lines {
        let attempt = attempt_of(line).map_or_else(String::new, |id| id.attempt.to_string());
        match line {
            Line::Call(call) => lines.push((
                call.time_ms,
                format!("provider {attempt} called on {:?}: {} {} (answer at {})", call.channel, call.answer, call.status, call.answer_ms),
            )),
            Line::Refused { time_ms, status, code, .. } => lines.push((*time_ms, format!("provider {attempt} refused: {status} {code}"))),
            Line::Webhook { time_ms, receipt, .. } => lines.push((*time_ms, format!("provider {attempt} {receipt} acknowledged"))),
            Line::Lost { time_ms, receipt, .. } => lines.push((*time_ms, format!("provider {attempt} {receipt} given up"))),
            Line::Spoken { time_ms, .. } => lines.push((*time_ms, format!("provider {attempt} spoken"))),
        }
    }
    let (first, last) = (lines.iter().map(|(at, _)| *at).min().unwrap_or(0), lines.iter().map(|(at, _)| *at).max().unwrap_or(0));
    for kill in evidence.kills.iter().filter(|kill| kill.gone >= first - CLEAR_MS && kill.at <= last + CLEAR_MS) {
        lines.push((
            kill.at,
            format!(
                "KILL     {} {} (ready again {})",
                kill.instance,
                kill.word(),
                kill.ready.map_or_else(|| "never".into(), |at| format!("+{} ms", at - kill.at))
            ),
        ));
    }
    lines.sort();
    lines.iter().fold(String::new(), |text, (at, line)| format!("{text}  {:>8} ms  {line}\n", at - first))
}

/// For the channel's words in a table.
pub fn by_channel(evidence: &Evidence) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for row in &evidence.dispatches {
        let word = match row.what.channel {
            Channel::WhatsApp => "whatsapp",
            Channel::Sms => "sms",
            Channel::Voice => "voice",
        };
        *counts.entry(word).or_default() += 1;
    }
    counts
}
