//! What must be true afterwards, whatever a late EndTxn did: no event lost, no gap in `seq`, nothing said or dispatched twice, and state that equals its changelog.
//! The bank's records and the topics are asked, never Recado's own word.

use crate::fold::{self, Fold};
use crate::support;
use crate::world::{World, calls};
use rdkafka::message::{Message, OwnedMessage};
use recado::delivery::{MessageId, StatusWord};
use recado::engine::store::{Options, Store};
use recado::event::records::{self, StatusRecord};
use std::collections::{BTreeMap, BTreeSet};

/// Every fault, its rule first. Each event must have ended `delivered`; the engine must have been stopped in order.
pub fn faults(world: &World<'_>) -> BTreeSet<String> {
    let mut faults = BTreeSet::new();
    let statuses: Vec<StatusRecord> =
        world.kafka.dump(&[world.topics.status.to_string()]).iter().map(|message| records::decode_status(support::value(message)).unwrap()).collect();
    let mut dispatched: BTreeMap<MessageId, BTreeMap<String, usize>> = BTreeMap::new();
    for message in world.kafka.dump(&calls(&world.topics)) {
        let id = records::decode_dispatch(support::value(&message)).unwrap().attempt_id;
        *dispatched.entry(id.message_id).or_default().entry(id.attempt.to_string()).or_default() += 1;
    }
    let published: BTreeSet<&str> = world.published.iter().map(String::as_str).collect();
    let known: BTreeSet<MessageId> = statuses.iter().map(|record| record.message_id).collect();
    for event in &published {
        let ids: BTreeSet<MessageId> = statuses.iter().filter(|record| record.event_id.as_deref() == Some(*event)).map(|record| record.message_id).collect();
        match ids.len() {
            1 => {}
            0 => drop(faults.insert(format!("I1 lost: {event} has no status"))),
            more => drop(faults.insert(format!("I1 doubled: {event} became {more} messages"))),
        }
        for id in ids {
            let own: Vec<&StatusRecord> = statuses.iter().filter(|record| record.message_id == id && record.live).collect();
            faults.extend(stream(event, &own));
            let attempts: Vec<(&str, usize)> = dispatched.get(&id).into_iter().flatten().map(|(attempt, times)| (attempt.as_str(), *times)).collect();
            if attempts != [("1/1", 1)] {
                faults.insert(format!("I1 attempts: {event} was dispatched as {attempts:?}, not once as 1/1"));
            }
        }
    }
    for id in dispatched.keys().filter(|id| !known.contains(*id)) {
        faults.insert(format!("I1 dispatch without a status: {id}"));
    }
    faults.extend(state(world));
    faults
}

/// I1, I4, E1: gapless; nothing that is committed is said twice; one end, `delivered`, and nothing begins after it.
fn stream(event: &str, own: &[&StatusRecord]) -> BTreeSet<String> {
    let mut faults = BTreeSet::new();
    let mut last: Option<u32> = None;
    for record in own {
        let seq = record.status.seq;
        match last {
            None if seq == 0 => {}
            Some(before) if seq == before + 1 => {}
            Some(before) if seq == before => drop(faults.insert(format!("E1 said twice: seq {seq} of {event}"))),
            _ => drop(faults.insert(format!("I4 seq: {seq} follows {last:?} in the statuses of {event}"))),
        }
        last = Some(seq);
    }
    let ends: BTreeSet<(u32, bool)> =
        own.iter().filter(|record| record.status.word.terminal()).map(|record| (record.status.seq, record.status.word == StatusWord::Delivered)).collect();
    match ends.into_iter().collect::<Vec<_>>()[..] {
        [(_, true)] => {}
        [(_, false)] => drop(faults.insert(format!("I1 wrong end: {event} was delivered"))),
        [] => drop(faults.insert(format!("I1 lost: {event} has no end"))),
        _ => drop(faults.insert(format!("I1 doubled: {event} has several ends"))),
    }
    let end = own.iter().position(|record| record.status.word.terminal());
    if end.is_some_and(|end| own[end..].iter().any(|record| record.status.word == StatusWord::Requested)) {
        faults.insert(format!("I5 begun again: {event} is requested after its end"));
    }
    faults
}

/// I10, I11, I12: the store is the fold of the committed changelog, reaches to the inputs' end, and nothing is left open.
fn state(world: &World<'_>) -> BTreeSet<String> {
    let mut faults = BTreeSet::new();
    let whole = fold::fold(Fold::new(), &world.kafka.dump(&[world.topics.state.to_string()]), 0);
    let (folder, instance) = world.store();
    let stores = Store::open(&folder, instance, &Options::default()).unwrap();
    let (meta, held) = fold::content(&stores, 0).unzip();
    faults.extend(fold::differences(&whole, &held.unwrap_or_default()).iter().map(|(_, difference)| format!("I10 state: {difference}")));
    let (stored, position) = (meta.map(|meta| meta.next_offsets), fold::position(&whole));
    if stored != position {
        faults.insert(format!("I11 positions: the store says {stored:?}, the changelog {position:?}"));
    }
    let (_, end) = world.kafka.ends(&world.input);
    let reached = position.and_then(|position| position.get(&world.input).copied());
    if reached != Some(end) {
        faults.insert(format!("I11 positions: the input ends at {end}, the state reaches to {reached:?}"));
    }
    for topic in [&world.topics.state, &world.topics.status] {
        let (committed, all) = world.kafka.ends(topic);
        if committed != all {
            faults.insert(format!("I12 open transaction: {topic} ends at {all}, readers are held at {committed}"));
        }
    }
    faults
}

/// One message's records, for a person.
pub fn history(world: &World<'_>) -> String {
    let line = |message: &OwnedMessage| {
        let at = format!("{} offset {}", message.topic(), message.offset());
        match records::decode_status(support::value(message)) {
            Ok(record) => {
                let (event, status) = (record.event_id.unwrap_or_default(), record.status);
                format!("  {at}: {} of {event}, seq {}, {}\n", status.word.word(), status.seq, record.message_id)
            }
            Err(_) => {
                format!("  {at}: {}\n", records::decode_dispatch(support::value(message)).map_or_else(|_| "?".into(), |call| call.attempt_id.to_string()))
            }
        }
    };
    let mut topics = calls(&world.topics);
    topics.push(world.topics.status.to_string());
    world.kafka.dump(&topics).iter().map(line).collect()
}
