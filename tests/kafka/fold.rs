//! State from the changelog alone, beside what a store holds: a fold of the tests' own, which shares nothing with the engine's restore.
//!
//! Easily got wrong: the far timers of a store are derived and stand in no changelog; only the kinds that both share are compared.

use crate::support;
use rdkafka::message::{Message, OwnedMessage};
use recado::delivery::Partition;
use recado::engine::store::{Meta, Store};
use std::collections::BTreeMap;

/// Keys and values of one partition, the position record among them.
pub type Fold = BTreeMap<Vec<u8>, Vec<u8>>;

/// The kinds of keys that store and changelog share.
pub const KINDS: [u8; 3] = *b"sxd";
/// The key of the position record.
pub const POSITION: &[u8] = b"p";

/// Puts the records of one changelog partition, in their order and from this offset on, over what is there.
pub fn fold<'m>(mut fold: Fold, changelog: impl IntoIterator<Item = &'m OwnedMessage>, from: i64) -> Fold {
    for message in changelog.into_iter().filter(|message| message.offset() >= from) {
        let key = message.key().unwrap_or_default().to_vec();
        match message.payload() {
            Some(_) => fold.insert(key, support::value(message).to_vec()),
            None => fold.remove(&key),
        };
    }
    fold
}

/// The positions that a fold has come to.
pub fn position(fold: &Fold) -> Option<BTreeMap<String, i64>> {
    positions(fold.get(POSITION)?)
}

/// The position record: version 1, then for each topic its length in four bytes, its name, the next offset in eight; all big-endian.
pub fn positions(record: &[u8]) -> Option<BTreeMap<String, i64>> {
    let mut rest = record.strip_prefix(&[1])?;
    let mut positions = BTreeMap::new();
    while !rest.is_empty() {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let (topic, tail) = tail.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        let (offset, tail) = tail.split_first_chunk::<8>()?;
        positions.insert(String::from_utf8(topic.to_vec()).ok()?, i64::from_be_bytes(*offset));
        rest = tail;
    }
    Some(positions)
}

/// What the store of one partition holds; `None` where it has nothing of it.
pub fn content(store: &Store, partition: u16) -> Option<(Meta, Fold)> {
    let store = store.partition(Partition(partition)).unwrap();
    let meta = store.meta().unwrap()?;
    let mut fold = Fold::new();
    for kind in KINDS {
        store.scan(kind, &mut |key, value| drop(fold.insert(key.to_vec(), value.to_vec()))).unwrap();
    }
    Some((meta, fold))
}

/// Where what a store holds is not the whole: keys, each with what is wrong with it.
pub fn differences(whole: &Fold, held: &Fold) -> Vec<(Vec<u8>, String)> {
    let of = |fold: &Fold| fold.iter().filter(|(key, _)| key.as_slice() != POSITION).map(|(key, value)| (key.clone(), value.clone())).collect::<Fold>();
    let (whole, held) = (of(whole), of(held));
    let mut differences = Vec::new();
    for (key, value) in &whole {
        match held.get(key) {
            None => differences.push((key.clone(), format!("{} is in the changelog alone", hex::encode(key)))),
            Some(other) if other != value => {
                let sentence = format!("{} differs: {} instead of {}", hex::encode(key), hex::encode(other), hex::encode(value));
                differences.push((key.clone(), sentence));
            }
            Some(_) => {}
        }
    }
    let alone = held.keys().filter(|key| !whole.contains_key(*key));
    differences.extend(alone.map(|key| (key.clone(), format!("{} is in the store alone", hex::encode(key)))));
    differences
}
