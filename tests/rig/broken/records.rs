//! Copies of what lies in Kafka: positions, transactions, receipts, and what a reader of statuses saw.

use super::{Breaking, acknowledged};
use crate::evidence::{Evidence, Row};
use crate::quiet::KAFKAS;
use crate::segments::Log;
use recado::delivery::{MessageId, Receipt, StatusWord};
use recado::event::records::{Returned, StatusRecord};
use recado::simulator::Line;
use std::collections::BTreeMap;
use std::sync::Arc;

pub const BREAKINGS: &[(&str, Breaking)] = &[
    ("E1 said twice", |evidence| {
        let Some(at) = evidence.statuses.iter().position(|row| row.what.live) else { return false };
        let more = evidence.statuses[at].clone();
        evidence.statuses.insert(at + 1, more);
        true
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
        let Some((at, (offset, produced))) = ends.into_iter().find_map(|(at, row)| Some((at, later(evidence, row)?))) else { return false };
        (evidence.statuses[at].offset, evidence.statuses[at].at) = (offset, produced);
        true
    }),
    ("E1 cancel without an effect", |evidence| {
        // Near a fault, where such a code may have arrived before: each ends delivered, and only in the transaction after the one that passed its withdrawal.
        evidence.slow = vec![(0, 1 << 50)];
        let cancelled = evidence.statuses.iter().enumerate().filter(|(_, row)| row.what.live && row.what.status.word == StatusWord::Cancelled);
        let moved: Vec<_> = cancelled.filter_map(|(at, row)| Some((at, later(evidence, row)?))).collect();
        for (at, (offset, produced)) in &moved {
            let row = &mut evidence.statuses[*at];
            (row.what.status.word, row.offset, row.at) = (StatusWord::Delivered, *offset, *produced);
        }
        !moved.is_empty()
    }),
    ("aborted read", |evidence| {
        let place = evidence.seen.keys().next().copied();
        place.and_then(|place| evidence.lies.remove(&place)).is_some()
    }),
    ("read backwards", |evidence| {
        evidence.backwards.push("partition 0: offset 7 after 8".into());
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
];

/// Where the next transaction of this status's partition begins, and when that was produced, if not at once.
fn later(evidence: &Evidence, row: &Row<StatusRecord>) -> Option<(i64, i64)> {
    let own = evidence.log(row).committed(row.offset)?;
    let next = evidence.statuses.iter().find(|next| (&next.topic, next.partition) == (&row.topic, row.partition) && next.offset > own.offset)?;
    (next.at > own.at + 50).then_some((next.offset, next.at))
}
