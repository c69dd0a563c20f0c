//! The judge judged: copies of the evidence, each broken in one way, and the rule that must be found broken. A judge that was never seen to fail counts for nothing.

mod times;
mod told;

use crate::bank::{NAME, What};
use crate::evidence::{Evidence, Row};
use crate::faults::{Cause, Kill};
use crate::judge::{self, Fault};
use crate::plan::{CANARY, Kind, PHONES_NATIONAL, PHONES_WITHOUT_NINE};
use crate::quiet::KAFKAS;
use crate::report;
use crate::segments::Log;
use recado::delivery::{Attempt, AttemptId, Hold, MessageId, Outcome, Reason, Receipt, StatusWord};
use recado::event::records::{Dispatch, JournalEntry, JournalKind, Returned, StatusRecord};
use recado::simulator::Line;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

mod attempts;

type Breaking = fn(&mut Evidence) -> bool;

/// What is broken, and how; false where the run had nothing of the kind.
const BREAKINGS: &[(&str, Breaking)] = &[
    ("I1 lost: no terminal status", |evidence| {
        let at = evidence.statuses.iter().position(|row| row.what.live && row.what.status.word.terminal());
        at.map(|at| evidence.statuses[at].what.status.word = StatusWord::Sent).is_some()
    }),
    ("I1 lost event", |evidence| {
        let event = evidence.statuses.iter().find_map(|row| row.what.event_id.clone());
        evidence.statuses.retain(|row| row.what.event_id != event);
        event.is_some()
    }),
    ("I1 two ends", |evidence| {
        let Some(at) = evidence.statuses.iter().position(|row| row.what.live && row.what.status.word.terminal()) else { return false };
        let mut more = evidence.statuses[at].clone();
        more.what.status.seq += 1;
        evidence.statuses.insert(at + 1, more);
        true
    }),
    ("I1 doubled event", |evidence| {
        let Some(at) = evidence.statuses.iter().position(|row| row.what.event_id.is_some()) else { return false };
        let mut more = evidence.statuses[at].clone();
        let mut bytes = *more.what.message_id.bytes();
        bytes[15] ^= 1;
        more.what.message_id = MessageId::from_bytes(bytes);
        evidence.statuses.push(more);
        true
    }),
    ("I1 wrong end", |evidence| {
        // A code may be withdrawn: then a fault near it allows that.
        let codes: BTreeSet<&str> = evidence.plan.events.iter().filter(|event| event.used_after.is_some()).map(|event| event.event_id.as_str()).collect();
        let other = |row: &Row<StatusRecord>| row.what.event_id.as_deref().is_some_and(|id| !codes.contains(id));
        let at = evidence.statuses.iter().position(|row| row.what.live && row.what.status.word == StatusWord::Delivered && other(row));
        at.map(|at| evidence.statuses[at].what.status.word = StatusWord::Cancelled).is_some()
    }),
    ("I1 delivered without a receipt", |evidence| {
        let delivered = |row: &&mut Row<StatusRecord>| row.what.live && row.what.status.word == StatusWord::Delivered;
        let Some(row) = evidence.statuses.iter_mut().find(delivered) else { return false };
        // No route has so many steps.
        row.what.status.attempt = row.what.status.attempt.map(|attempt| Attempt { step: 9, ..attempt });
        true
    }),
    ("I1 lost dead letter", |evidence| evidence.dead.pop().is_some()),
    ("I1 spurious dead letter", |evidence| {
        evidence.dead.push(("in.pix.transactions".into(), 0, 0, "poison".into()));
        true
    }),
    ("I1 wrong dead letter", |evidence| evidence.dead.first_mut().map(|(_, _, _, reason)| *reason = "poison".into()).is_some()),
    ("I1 doubled dead letter", |evidence| {
        let more = evidence.dead.first().cloned();
        evidence.dead.extend(more.clone());
        more.is_some()
    }),
    ("I4 gap in seq", |evidence| {
        let at = evidence.statuses.iter().position(|row| row.what.live && row.what.status.word == StatusWord::Requested);
        at.map(|at| evidence.statuses.remove(at)).is_some()
    }),
    ("I5 dispatch after the end", |evidence| {
        let Some(at) = evidence.statuses.iter().position(|row| row.what.live && row.what.status.word.terminal()) else { return false };
        let mut more = evidence.statuses[at].clone();
        more.what.status.seq += 1;
        more.what.status.word = StatusWord::Fallback;
        evidence.statuses.insert(at + 1, more);
        true
    }),
    ("I1 status and dispatch differ", |evidence| evidence.dispatches.pop().is_some()),
    ("I1 doubled dispatch", |evidence| {
        let more = evidence.dispatches.first().cloned();
        evidence.dispatches.extend(more.clone());
        more.is_some()
    }),
    ("I3 called twice", |evidence| {
        let call = evidence.lines.iter().find(|line| matches!(line, Line::Call(call) if call.counts)).cloned();
        evidence.lines.extend(call.clone());
        call.is_some()
    }),
    ("I3 call without a name", |evidence| {
        let Some(Line::Call(mut call)) = evidence.lines.iter().find(|line| matches!(line, Line::Call(_))).cloned() else { return false };
        call.attempt_id = None;
        evidence.lines.push(Line::Call(call));
        true
    }),
    ("I8 excused too often", |evidence| {
        let times = || evidence.written.iter().map(|written| written.at);
        let (Some(first), Some(last)) = (times().min(), times().max()) else { return false };
        evidence.slow.push((first, first + (last - first) / 3));
        true
    }),
    ("I3 call without a dispatch", |evidence| {
        let Some(Line::Call(mut call)) = evidence.lines.iter().find(|line| matches!(line, Line::Call(_))).cloned() else { return false };
        let id = call.attempt_id.clone().unwrap();
        call.attempt_id = Some(format!("{}-8-1", &id[..32]));
        evidence.lines.push(Line::Call(call));
        true
    }),
    ("I3 accepted without a call", |evidence| {
        let at = evidence.lines.iter().position(|line| matches!(line, Line::Call(call) if call.counts && call.answer == "accepted"));
        at.map(|at| evidence.lines.remove(at)).is_some()
    }),
    ("I3 unknown without a cause", |evidence| {
        // A dispatcher was killed meanwhile, but not the attempt's own: its epoch writes on. Of each epoch the last entry counts, in the order of offsets.
        let last: BTreeMap<u64, i64> = evidence.journal.iter().map(|row| (row.what.epoch, row.at)).collect();
        let accepted: BTreeSet<AttemptId> = evidence.returned.iter().filter_map(|row| accepted(&row.what)).collect();
        let known = |row: &&Row<JournalEntry>| row.what.kind == JournalKind::Intent && accepted.contains(&row.what.attempt_id);
        let own = |row: &&Row<JournalEntry>| known(row) && last[&row.what.epoch] > row.at + 5_000;
        let Some(intent) = evidence.journal.iter().find(own).cloned() else { return false };
        let Some(kill) = evidence.kills.iter().find(|kill| kill.roles.contains("dispatcher")).cloned() else { return false };
        evidence.kills = vec![Kill { at: intent.at, gone: intent.at + 1, cause: Cause::Random, ..kill }];
        say(evidence, intent.what.attempt_id, Outcome::Unknown)
    }),
    ("I3 unknown without a cause", |evidence| {
        // Its intent came after its dispatcher was gone, which says no more, and it was called all the same. No other kill is near.
        let accepted: BTreeSet<AttemptId> = evidence.returned.iter().filter_map(|row| accepted(&row.what)).collect();
        let done = evidence.journal.iter().filter(|row| row.what.kind == JournalKind::Done);
        let done: BTreeMap<AttemptId, i64> = done.map(|row| (row.what.attempt_id, row.at)).collect();
        let ended = |row: &Row<JournalEntry>| done.get(&row.what.attempt_id).copied().unwrap_or(i64::MAX);
        let alone = |row: &Row<JournalEntry>| evidence.kills.iter().all(|kill| ended(row) < kill.at - 100 || row.at > kill.gone + 1_000);
        let fits = |row: &Row<JournalEntry>| row.what.kind == JournalKind::Intent && accepted.contains(&row.what.attempt_id) && alone(row);
        let Some(at) = evidence.journal.iter().position(fits) else { return false };
        evidence.journal[at].what.epoch = u64::MAX;
        let intent = evidence.journal[at].clone();
        evidence.kills.push(Kill::new(("dispatcher-a", "dispatcher"), (intent.at - 101, intent.at - 100), Cause::Random));
        say(evidence, intent.what.attempt_id, Outcome::Unknown)
    }),
    ("I3 sent, and said not to be", |evidence| {
        let row = evidence.returned.iter_mut().find(|row| matches!(row.what, Returned::Outcome { outcome: Outcome::Accepted, .. }));
        let Some(Row { what: Returned::Outcome { outcome, .. }, .. }) = row else { return false };
        *outcome = Outcome::Unavailable;
        true
    }),
    ("I3 rejected by nobody", |evidence| {
        let row = evidence.returned.iter_mut().find(|row| matches!(row.what, Returned::Outcome { outcome: Outcome::Accepted, .. }));
        let Some(Row { what: Returned::Outcome { outcome, .. }, .. }) = row else { return false };
        *outcome = Outcome::Rejected;
        true
    }),
    ("I3 call before its intent", |evidence| {
        let call = evidence.lines.iter_mut().find_map(|line| if let Line::Call(call) = line { Some(call) } else { None });
        call.map(|call| call.time_ms -= 1_000).is_some()
    }),
    ("I3 call without an intent", |evidence| {
        let Some(at) = evidence.journal.iter().position(|row| row.what.kind == JournalKind::Intent) else { return false };
        let id = evidence.journal[at].what.attempt_id;
        evidence.journal.retain(|row| row.what.kind != JournalKind::Intent || row.what.attempt_id != id);
        true
    }),
    ("I3 given up unheard", |evidence| {
        let by_timer = |row: &Row<recado::event::records::Dispatch>| row.what.why.filter(|why| why.reason == Reason::Timer && why.hold == Hold::No);
        let Some((id, why)) = evidence.dispatches.iter().find_map(|row| Some((row.what.attempt_id.message_id, by_timer(row)?))) else { return false };
        let from = AttemptId { message_id: id, attempt: why.from };
        evidence.returned.retain(|row| !names(row, from) && !matches!(row.what, Returned::Receipt { attempt_id, .. } if attempt_id == from));
        true
    }),
    ("I3 called twice", |evidence| {
        // After a refusal for good.
        let refused = |line: &&Line| matches!(line, Line::Call(call) if !call.counts && (400..429).contains(&call.status));
        let Some(line) = evidence.lines.iter().find(refused).cloned() else { return false };
        evidence.lines.push(line);
        true
    }),
    ("I3 copies", |evidence| {
        // Of one that was accepted: the copy was for an unknown one alone.
        let copies = evidence.dispatches.iter().filter_map(|row| {
            let (id, why) = (row.what.attempt_id, row.what.why?);
            let again = matches!(why.reason, Reason::Resend | Reason::Unknown) && why.from.step == id.attempt.step;
            again.then_some((id, AttemptId { message_id: id.message_id, attempt: why.from }))
        });
        let sent = |id: &AttemptId| evidence.lines.iter().any(|line| matches!(line, Line::Call(call) if call.attempt_id == Some(id.to_string())));
        let Some((_, from)) = copies.into_iter().find(|(copy, from)| sent(copy) && sent(from)) else { return false };
        say(evidence, from, Outcome::Accepted)
    }),
    ("I2 fallback after a receipt", |evidence| {
        // A failed end in place of a fallback.
        let Some(end) = evidence.statuses.iter().find(|row| row.what.live && row.what.status.word == StatusWord::Failed) else { return false };
        let id = end.what.message_id;
        let attempts = evidence.dispatches.iter().map(|row| row.what.attempt_id).filter(|attempt_id| attempt_id.message_id == id);
        let Some(last) = attempts.max_by_key(|attempt_id| attempt_id.attempt) else { return false };
        let Some(at) = evidence.returned.iter().position(|row| names(row, last)) else { return false };
        let mut row = evidence.returned[at].clone();
        row.offset -= 1;
        row.what = Returned::Receipt { attempt_id: last, receipt: Receipt::Delivered, reason: Reason::None, code: 0, provider_time: None };
        evidence.returned.insert(at, row);
        true
    }),
    ("E1 said twice", |evidence| {
        let Some(at) = evidence.statuses.iter().position(|row| row.what.live) else { return false };
        let more = evidence.statuses[at].clone();
        evidence.statuses.insert(at + 1, more);
        true
    }),
    ("I5 dispatched after the cancel", |evidence| {
        // As if the code had been used long before: at the first record of that input.
        let used: Vec<usize> = evidence.written.iter().filter(|written| written.what == What::Used).map(|written| written.event).collect();
        let ids: BTreeSet<&str> = used.iter().map(|event| evidence.plan.events[*event].event_id.as_str()).collect();
        let of_used = evidence.statuses.iter().filter(|row| row.what.event_id.as_deref().is_some_and(|id| ids.contains(id))).map(|row| row.what.message_id);
        let messages: BTreeSet<MessageId> = of_used.collect();
        let Some(last) = evidence.dispatches.iter().filter(|row| messages.contains(&row.what.attempt_id.message_id)).max_by_key(|row| row.at) else {
            return false;
        };
        let id = last.what.attempt_id.message_id;
        let event = evidence.statuses.iter().find_map(|row| row.what.event_id.clone().filter(|_| row.what.message_id == id)).unwrap();
        let event = evidence.plan.events.iter().position(|planned| planned.event_id == event).unwrap();
        let written = evidence.written.iter_mut().find(|written| written.what == What::Used && written.event == event).unwrap();
        written.offset = -1;
        true
    }),
    ("I3 dispatch without an outcome", |evidence| {
        let at = evidence.returned.iter().position(|row| matches!(row.what, Returned::Outcome { .. }));
        at.map(|at| evidence.returned.remove(at)).is_some()
    }),
    ("I3 copies", |evidence| {
        let Some(Line::Call(mut call)) = evidence.lines.iter().find(|line| matches!(line, Line::Call(call) if call.counts)).cloned() else { return false };
        let id = call.attempt_id.clone().unwrap();
        call.attempt_id = Some(format!("{}-1-9", &id[..32]));
        evidence.lines.push(Line::Call(call));
        true
    }),
    ("I5 called too late", |evidence| {
        let call = evidence.lines.iter_mut().find_map(|line| if let Line::Call(call) = line { Some(call) } else { None });
        let Some(call) = call else { return false };
        let own = |row: &&Row<Dispatch>| Some(row.what.attempt_id.to_string()) == call.attempt_id;
        let Some(row) = evidence.dispatches.iter().find(own) else { return false };
        call.time_ms = row.what.not_after.timestamp().millis() + judge::PROVIDER_MS + 1;
        true
    }),
    ("I5 begun with too little life", |evidence| {
        let codes: BTreeSet<_> = evidence.plan.events.iter().filter(|event| event.kind == Kind::Code).map(|event| event.event_id.as_str()).collect();
        let is_code = |row: &&Row<recado::event::records::StatusRecord>| {
            row.what.live && row.what.status.word == StatusWord::Requested && row.what.event_id.as_deref().is_some_and(|id| codes.contains(id))
        };
        let Some((id, decided)) = evidence.statuses.iter().find(is_code).map(|row| (row.what.message_id, row.what.decided)) else { return false };
        let dispatch = evidence.dispatches.iter_mut().find(|row| row.what.attempt_id.message_id == id);
        dispatch.map(|row| row.what.expiry = decided.plus(std::time::Duration::from_millis(1_999))).is_some()
    }),
    ("I6 wrong recipient", |evidence| {
        let call = evidence.lines.iter_mut().find_map(|line| if let Line::Call(call) = line { Some(call) } else { None });
        call.map(|call| call.to = "5511900000000".into()).is_some()
    }),
    ("I6 wrong text", |evidence| {
        let call = evidence.lines.iter_mut().find_map(|line| match line {
            Line::Call(call) if call.text.is_some() && call.channel == recado::simulator::Channel::Whatsapp => Some(call),
            _ => None,
        });
        call.map(|call| call.text = Some("R$ 0,01".into())).is_some()
    }),
    ("I6 code withheld", |evidence| {
        (evidence.kills, evidence.slow) = (Vec::new(), Vec::new());
        let said = evidence.lines.iter_mut().filter_map(|line| if let Line::Spoken { text, .. } = line { Some(text) } else { None });
        said.map(|text| *text = Some("Não conseguimos ler o código.".into())).count() > 0
    }),
    ("I6 code withheld", |evidence| {
        // As if its life were over, a ms before the judge would believe that.
        let told = |line: &Line| if let Line::Spoken { attempt_id: Some(id), text: Some(_), .. } = line { life_end(evidence, id) } else { None };
        let Some((at, ends)) = evidence.lines.iter().enumerate().find_map(|(at, line)| Some((at, told(line)?))) else { return false };
        let Line::Spoken { time_ms, text, .. } = &mut evidence.lines[at] else { return false };
        (*time_ms, *text) = (ends - judge::PROVIDER_MS - 1, Some("Este código já não vale.".into()));
        true
    }),
    ("I6 refused by the provider's checks", |evidence| {
        let Some(Line::Call(call)) = evidence.lines.iter().find(|line| matches!(line, Line::Call(_))) else { return false };
        let (time_ms, channel, attempt_id) = (call.time_ms, call.channel, call.attempt_id.clone());
        evidence.lines.push(Line::Refused { time_ms, channel, attempt_id, status: 400, code: 132_000, message: "a parameter is missing".into() });
        true
    }),
    ("I6 wrong code spoken", |evidence| {
        let said = evidence.lines.iter_mut().filter_map(|line| if let Line::Spoken { text, .. } = line { Some(text) } else { None });
        said.map(|text| *text = Some("Seu código é: 0 0 0 0".into())).count() > 0
    }),
    ("I2 fallback for an acknowledged receipt", |evidence| {
        let by_timer = evidence.dispatches.iter().filter_map(|row| {
            let why = row.what.why.filter(|why| why.reason == Reason::Timer)?;
            Some(AttemptId { message_id: row.what.attempt_id.message_id, attempt: why.from })
        });
        let called = |id: &AttemptId| {
            let id = Some(id.to_string());
            evidence
                .lines
                .iter()
                .find_map(|line| if let Line::Call(call) = line { (call.attempt_id == id && call.counts).then_some(call.time_ms) } else { None })
        };
        let Some((attempt_id, called)) = by_timer.filter_map(|id| Some((id, called(&id)?))).next() else { return false };
        let (channel, receipt) = (recado::simulator::Channel::Whatsapp, "delivered".into());
        evidence.lines.push(Line::Webhook { time_ms: called + 1_000, channel, attempt_id: Some(attempt_id.to_string()), receipt, code: 0 });
        true
    }),
    ("I8 early", |evidence| {
        let mut any = false;
        // Where commits are long, fallbacks come up to so much later than they might.
        let early = if evidence.prompt { 1_000 } else { 6_000 };
        for row in evidence.dispatches.iter_mut().filter(|row| row.what.why.is_some_and(|why| why.reason == Reason::Timer)) {
            row.at -= early;
            any = true;
        }
        any
    }),
    ("I13 acknowledged receipt is missing", |evidence| {
        let at = evidence.returned.iter().position(
            |row| matches!(&row.what, Returned::Receipt { attempt_id, receipt: Receipt::Delivered, .. } if attempt_id.message_id.bytes() != &[0; 16]),
        );
        let Some(Returned::Receipt { attempt_id, .. }) = at.map(|at| evidence.returned[at].what.clone()) else { return false };
        evidence.returned.retain(|row| !matches!(&row.what, Returned::Receipt { attempt_id: other, .. } if *other == attempt_id));
        true
    }),
    ("I13 acknowledged before it was written", |evidence| {
        // By a hundredth of a second.
        let latest: BTreeMap<String, i64> = evidence.lines.iter().filter_map(acknowledged).collect();
        let written = |row: &Row<Returned>| match &row.what {
            Returned::Receipt { attempt_id, receipt: Receipt::Delivered, .. } if attempt_id.message_id.bytes() != &[0; 16] => {
                latest.get(&attempt_id.to_string()).copied()
            }
            _ => None,
        };
        let Some((at, acknowledged)) = evidence.returned.iter().enumerate().find_map(|(at, row)| Some((at, written(row)?))) else { return false };
        evidence.returned[at].at = acknowledged + 10;
        true
    }),
    ("E1 word without an effect", |evidence| {
        // A receipt that says "sent", and no status that does for long: what comes next comes late enough.
        evidence.slow.clear();
        let mut next: BTreeMap<MessageId, i64> = BTreeMap::new();
        let mut found = None;
        for (at, row) in evidence.statuses.iter().enumerate().rev() {
            let next = next.insert(row.what.message_id, row.at);
            if row.what.live && row.what.status.word == StatusWord::Sent && next.is_none_or(|next| next > row.at + 2_500) {
                found = Some(at);
            }
        }
        found.map(|at| evidence.statuses.remove(at)).is_some()
    }),
    ("E1 word without an effect", |evidence| {
        // A message that ended by another word, long after the position had passed its receipt.
        let delivered = |row: &&mut Row<StatusRecord>| row.what.live && row.what.status.word == StatusWord::Delivered;
        let Some(last) = evidence.statuses.iter().map(|row| row.offset).max() else { return false };
        evidence.statuses.iter_mut().find(delivered).map(|row| row.offset = last).is_some()
    }),
    ("E1 word without an effect", |evidence| {
        // An end that stands only in the transaction after the one that passed its receipt: as if receipt and effect were committed apart.
        let ends = evidence.statuses.iter().enumerate().filter(|(_, row)| row.what.live && row.what.status.word == StatusWord::Delivered);
        let later = |row: &Row<StatusRecord>| {
            let own = evidence.log(row).committed(row.offset)?;
            let next = evidence.statuses.iter().find(|next| (&next.topic, next.partition) == (&row.topic, row.partition) && next.offset > own.offset)?;
            (next.at > own.at + 50).then_some((next.offset, next.at))
        };
        let Some((at, (offset, produced))) = ends.into_iter().find_map(|(at, row)| Some((at, later(row)?))) else { return false };
        (evidence.statuses[at].offset, evidence.statuses[at].at) = (offset, produced);
        true
    }),
    ("I1 too many unconfirmed", |evidence| {
        evidence.journal.retain(|row| row.what.kind == JournalKind::Hello);
        let delivered: Vec<usize> = (0..evidence.statuses.len())
            .filter(|&at| evidence.statuses[at].what.live && evidence.statuses[at].what.status.word == StatusWord::Delivered)
            .collect();
        for at in &delivered {
            evidence.statuses[*at].what.status.word = StatusWord::Unconfirmed;
        }
        !delivered.is_empty()
    }),
    ("aborted read", |evidence| {
        let place = evidence.seen.keys().next().copied();
        place.and_then(|place| evidence.lies.remove(&place)).is_some()
    }),
    ("read backwards", |evidence| {
        evidence.backwards.push("partition 0: offset 7 after 8".into());
        true
    }),
    ("ended by itself", |evidence| {
        evidence.ended.push("a with exit status: 1".into());
        true
    }),
    ("unseen", |evidence| evidence.seen.pop_first().is_some()),
    ("I12 open transaction", |evidence| evidence.quiet.ends.values_mut().next_back().map(|(_, high)| *high += 1).is_some()),
    ("I12 open transaction", |evidence| {
        evidence.quiet.transactions.push(("recado.a.0".into(), "Ongoing".into()));
        true
    }),
    ("I12 open transaction", |evidence| {
        evidence.quiet.hanging.push("status 0 4711".into());
        true
    }),
    ("I12 open transaction", |evidence| {
        Arc::make_mut(&mut evidence.logs).values_mut().for_each(Log::forget_the_last_end);
        true
    }),
    ("I12 not looked at", |evidence| {
        evidence.quiet.ends.retain(|(topic, _), _| topic != KAFKAS[0]);
        true
    }),
    ("I2 fallback after a receipt", |evidence| {
        let Some((from, _)) = failure(evidence) else { return false };
        let at = evidence.returned.iter().position(|row| names(row, from)).unwrap();
        let mut row = evidence.returned[at].clone();
        row.offset -= 1;
        row.what = Returned::Receipt { attempt_id: from, receipt: Receipt::Delivered, reason: Reason::None, code: 0, provider_time: None };
        evidence.returned.insert(at, row);
        true
    }),
    ("I2 fallback without a cause", |evidence| {
        let Some((from, _)) = failure(evidence) else { return false };
        evidence.returned.retain(|row| !names(row, from));
        true
    }),
    ("I2 wrong topic", |evidence| {
        let Some(first) = evidence.dispatches.iter().find(|row| row.what.why.is_none()).map(|row| row.topic.clone()) else { return false };
        let retry = evidence.dispatches.iter_mut().find(|row| row.what.why.is_some());
        retry.map(|row| row.topic = first).is_some()
    }),
    ("I3 called, though refused", |evidence| {
        let row = evidence.journal.iter_mut().find(|row| row.what.kind == JournalKind::Intent);
        row.map(|row| row.what.kind = JournalKind::Refused).is_some()
    }),
    ("I3 called, and said to be too late", |evidence| {
        let accepted = evidence.returned.iter().find_map(|row| match row.what {
            Returned::Outcome { attempt_id, outcome: Outcome::Accepted, .. } => Some(attempt_id),
            _ => None,
        });
        accepted.is_some_and(|id| say(evidence, id, Outcome::TooLate))
    }),
    ("I3 outcome without a claim", |evidence| {
        evidence.journal.retain(|row| row.what.kind != JournalKind::Intent);
        true
    }),
    ("I3 steps called", |evidence| {
        // Judged in calm stretches alone: the copy is of a machine that was never slow.
        evidence.slow.clear();
        let first = evidence.kills.iter().map(|kill| kill.at).min().unwrap_or(i64::MAX);
        let one: BTreeSet<&str> = evidence.plan.events.iter().filter(|event| event.story.steps == [1, 1]).map(|event| event.phone.as_str()).collect();
        let call = evidence.lines.iter().find_map(|line| match line {
            Line::Call(call) if call.counts && one.contains(call.to.as_str()) && call.time_ms < first - 12_000 => Some(call.clone()),
            _ => None,
        });
        let Some(mut call) = call else { return false };
        call.attempt_id = call.attempt_id.map(|id| format!("{}-2-1", &id[..32]));
        evidence.lines.push(Line::Call(call));
        true
    }),
    ("I3 too many unknown", |evidence| {
        for row in &mut evidence.returned {
            if let Returned::Outcome { outcome, .. } = &mut row.what {
                *outcome = Outcome::Unknown;
            }
        }
        true
    }),
    ("I4 the later of equal seq is not followed", |evidence| {
        let Some(at) = evidence.statuses.iter().position(|row| row.what.live && row.what.status.word == StatusWord::Requested) else { return false };
        let mut more = evidence.statuses[at].clone();
        more.what.status.word = StatusWord::Fallback;
        more.what.status.attempt = Some(Attempt { step: 2, n: 7 });
        evidence.statuses.insert(at + 1, more);
        true
    }),
    ("I4 the earlier of equal seq is followed", |evidence| {
        let Some(at) = evidence.statuses.iter().position(|row| row.what.live && row.what.status.word == StatusWord::Fallback) else { return false };
        let mut more = evidence.statuses[at].clone();
        more.what.status.word = StatusWord::Sent;
        evidence.statuses.insert(at + 1, more);
        true
    }),
    ("I4 attempts out of order", |evidence| {
        let at = evidence.statuses.iter().position(|row| row.what.live && row.what.status.word == StatusWord::Fallback);
        at.map(|at| evidence.statuses[at].what.status.attempt = Some(Attempt::FIRST)).is_some()
    }),
    ("I4 away from home", |evidence| evidence.statuses.iter_mut().find(|row| row.what.live).map(|row| row.partition = (row.partition + 1) % 2).is_some()),
    ("I5 dispatched after the end", |evidence| {
        evidence.dispatches.iter_mut().for_each(|row| row.at += 600_000);
        true
    }),
    ("I5 end without a commit", |evidence| {
        Arc::make_mut(&mut evidence.logs).values_mut().for_each(|log| *log = Log::default());
        true
    }),
    ("I5 dispatch without a commit", |evidence| {
        let logs = Arc::make_mut(&mut evidence.logs).iter_mut().filter(|((topic, _), _)| topic.contains("dispatch."));
        logs.for_each(|(_, log)| *log = Log::default());
        true
    }),
    ("I5 sent after the expiry", |evidence| {
        let call = evidence.lines.iter_mut().find_map(|line| if let Line::Call(call) = line { Some(call) } else { None });
        call.map(|call| call.time_ms += 30 * 86_400_000).is_some()
    }),
    ("I5 expiry beyond the bank's", |evidence| {
        evidence.dispatches.iter_mut().for_each(|row| row.what.expiry = row.what.expiry.plus(Duration::from_secs(1)));
        true
    }),
    ("I7 canary at rest", |evidence| {
        // As a log would have it, and a table of the store.
        let planted = evidence.canaries.folder().join("planted.sst");
        std::fs::write(&planted, format!("{{\"message\":\"{}\"}}", hex::encode(format!("{CANARY}000000")))).unwrap();
        evidence.canaries.instances();
        std::fs::remove_file(planted).unwrap();
        true
    }),
    ("I7 canary at rest", |evidence| {
        // In a compressed batch: what was planted in a topic when all else was read, if the search found it.
        let planted = std::mem::take(&mut evidence.canaries.planted);
        evidence.canaries.found.extend(planted);
        true
    }),
    ("I7 canary at rest", |evidence| {
        evidence.canaries.bytes("an environment", format!("HOME=/\0NAME={NAME}\0").as_bytes());
        true
    }),
    ("I7 canary at rest", |evidence| {
        // As a table of the store would have it: the number of the run's first event, as its customer writes it.
        evidence.canaries.bytes("a stored value", format!("\u{16}{PHONES_NATIONAL}00000\u{2}").as_bytes());
        true
    }),
    ("I7 canary at rest", |evidence| {
        // As WhatsApp's webhook names it, in a log that quotes one.
        evidence.canaries.bytes("a log", format!("{{\"wa_id\":\"{PHONES_WITHOUT_NINE}00042\"}}").as_bytes());
        true
    }),
    ("I8 late", |evidence| {
        // As above: of a machine that was never slow.
        evidence.slow.clear();
        evidence.dispatches.iter_mut().filter(|row| row.what.why.is_some_and(|why| why.reason == Reason::Timer)).for_each(|row| row.at += 1_100);
        true
    }),
    ("I8 held without a cause", |evidence| {
        for why in evidence.dispatches.iter_mut().filter_map(|row| row.what.why.as_mut()) {
            why.hold = Hold::Storm;
        }
        true
    }),
    ("I11 position went back", |evidence| {
        let partition = evidence.positions.last().map(|row| row.partition);
        let first = evidence.positions.iter().find(|row| Some(row.partition) == partition).cloned();
        evidence.positions.extend(first);
        true
    }),
    ("I11 group and state differ", |evidence| evidence.quiet.engine.values_mut().next().map(|position| *position -= 1).is_some()),
    ("E1 outputs of an input", |evidence| {
        // Without outputs: jumped over.
        let id = evidence.statuses.iter().find(|row| row.what.source.is_some()).map(|row| row.what.message_id);
        evidence.statuses.iter_mut().filter(|row| Some(row.what.message_id) == id).for_each(|row| row.what.source = None);
        id.is_some()
    }),
    ("E1 outputs of an input", |evidence| {
        // Of what is not yet passed.
        evidence.positions.clear();
        true
    }),
    ("E1 outputs of an input", |evidence| {
        // Twice.
        let Some(mut more) = evidence.statuses.iter().find(|row| row.what.source.is_some()).cloned() else { return false };
        let mut bytes = *more.what.message_id.bytes();
        bytes[14] ^= 1;
        more.what.message_id = MessageId::from_bytes(bytes);
        evidence.statuses.push(more);
        true
    }),
    ("E1 outputs of nothing", |evidence| {
        let source = evidence.statuses.iter_mut().find_map(|row| row.what.source.as_mut());
        source.map(|source| source.offset += 1_000_000).is_some()
    }),
    ("E4 written by a zombie", |evidence| {
        Arc::make_mut(&mut evidence.logs).values_mut().for_each(Log::write_as_a_zombie);
        true
    }),
    ("E9 never done", |evidence| {
        let at = evidence.journal.iter().position(|row| row.what.kind == JournalKind::Done);
        let id = at.map(|at| evidence.journal[at].what.attempt_id);
        evidence.journal.retain(|row| row.what.kind != JournalKind::Done || Some(row.what.attempt_id) != id);
        id.is_some()
    }),
    ("E9 position past an unfinished attempt", |evidence| {
        evidence.journal.retain(|row| row.what.kind != JournalKind::Done);
        true
    }),
    ("E9 position ahead of an unfinished attempt", |evidence| {
        evidence.journal.iter_mut().filter(|row| row.what.kind == JournalKind::Done).for_each(|row| row.at += 5_000);
        true
    }),
    ("I13 receipt of nobody", |evidence| {
        let receipt = |row: &&Row<Returned>| matches!(&row.what, Returned::Receipt { attempt_id, .. } if attempt_id.message_id.bytes() != &[0; 16]);
        let Some(mut row) = evidence.returned.iter().find(receipt).cloned() else { return false };
        if let Returned::Receipt { attempt_id, .. } = &mut row.what {
            attempt_id.attempt.n += 7;
        }
        evidence.returned.push(row);
        true
    }),
    ("I13 receipt of nobody", |evidence| {
        // Of what strangers sent there is no more than they sent.
        let stray = |line: &Line| matches!(line, Line::Webhook { attempt_id: Some(id), .. } if id.starts_with(&"0".repeat(32)));
        let before = evidence.lines.len();
        evidence.lines.retain(|line| !stray(line));
        evidence.lines.len() < before
    }),
    ("I1 spurious message", |evidence| {
        let Some(row) = evidence.statuses.iter().find(|row| row.what.event_id.is_some()) else { return false };
        let event = row.what.event_id.clone();
        let planned = evidence.plan.events.iter_mut().find(|planned| Some(&planned.event_id) == event.as_ref());
        planned.map(|planned| planned.kind = Kind::Broken).is_some()
    }),
];

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

/// Breaks the evidence in each way; returns how many ways were found out, and those that were not.
pub fn judge_the_judge(evidence: &Evidence, green: &[Fault]) -> (usize, Vec<String>) {
    let (mut found, mut missed) = (0, Vec::new());
    missed.extend(judge::blind().into_iter().map(|what| format!("enough judged: it did not see {what}")));
    missed.extend(report::blind().into_iter().map(|what| format!("recovery: of {what} it says the wrong thing")));
    // Where commits are long no fire is held to its second, and in a short run no excuse is too much.
    let judged = |rule: &str| (evidence.prompt || rule != "I8 late") && (evidence.kills.len() >= judge::KILLS_JUDGED || rule != "I8 excused too often");
    let mut shown: BTreeMap<&str, usize> = BTreeMap::new();
    for (rule, breaking) in BREAKINGS.iter().chain(attempts::BREAKINGS).chain(times::BREAKINGS).chain(told::BREAKINGS) {
        let number = shown.entry(rule).or_default();
        *number += 1;
        if !judged(rule) {
            continue;
        }
        let mut copy = evidence.clone();
        if !breaking(&mut copy) {
            missed.push(format!("{rule}, copy {number}: the run had nothing that could be broken so"));
            continue;
        }
        let (faults, _) = judge::judge(&copy);
        if faults.iter().any(|fault| fault.rule == *rule && !green.contains(fault)) {
            found += 1;
        } else {
            missed.push(format!("{rule}, copy {number}: the judge did not see it"));
        }
    }
    (found, missed)
}
