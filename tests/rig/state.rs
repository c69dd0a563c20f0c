//! State from the changelog alone against the live stores, byte for byte: a fold of its own, not the engine's restore.
//!
//! Easily got wrong: a partition that moved leaves an older store behind. After an orderly stop the store that reaches furthest is the live one; after a kill every
//! store, brought up from its own position, must equal the whole.

use crate::evidence::dump;
use crate::stage::{PARTITIONS, Stage};
use crate::support;
use rdkafka::message::{Message, OwnedMessage};
use recado::delivery::Partition;
use recado::engine::store::{Meta, Options, Store};
use std::collections::BTreeMap;

/// Keys and values of one partition, the position record among them.
type Fold = BTreeMap<Vec<u8>, Vec<u8>>;

/// The kinds that store and changelog share.
const KINDS: [u8; 3] = *b"sxd";
const POSITION: &[u8] = b"p";

/// How many keys of each kind were compared, and what differs.
#[derive(Default)]
pub struct Compared {
    pub keys: BTreeMap<char, usize>,
    pub stores: usize,
    pub differences: Vec<String>,
}

/// After an orderly stop: the live store of each partition is the fold of its changelog.
pub fn live(stage: &Stage) -> Compared {
    let mut compared = Compared::default();
    let changelog = changelog(stage);
    let stores = stores(stage);
    for partition in 0..PARTITIONS {
        let whole = fold(Fold::new(), &changelog[&partition], 0);
        let owner = stores
            .iter()
            .filter_map(|(name, store)| content(store, partition).map(|(meta, held)| (meta.changelog_position, name, meta, held)))
            .max_by_key(|(position, _, _, _)| *position);
        let Some((_, name, meta, held)) = owner else {
            compared.differences.push(format!("partition {partition}: no store holds it"));
            continue;
        };
        compared.compare(&format!("partition {partition} in the store of {name}"), &whole, &held, &meta);
    }
    compared
}

/// After a kill: each store, with its changelog replayed from the position that it says, is the fold of the whole changelog.
pub fn after_kill(stage: &Stage) -> Compared {
    let mut compared = Compared::default();
    let changelog = changelog(stage);
    for (name, store) in stores(stage) {
        for partition in 0..PARTITIONS {
            let Some((meta, held)) = content(&store, partition) else { continue };
            let whole = fold(Fold::new(), &changelog[&partition], 0);
            let brought_up = fold(held, &changelog[&partition], meta.changelog_position);
            let replayed = Meta { next_offsets: positions(&brought_up).unwrap_or(meta.next_offsets.clone()), ..meta };
            compared.compare(&format!("partition {partition} in the killed store of {name}"), &whole, &brought_up, &replayed);
        }
    }
    compared
}

impl Compared {
    fn compare(&mut self, what: &str, whole: &Fold, held: &Fold, meta: &Meta) {
        self.stores += 1;
        for kind in KINDS {
            let of = |fold: &Fold| fold.iter().filter(|(key, _)| key[0] == kind).map(|(key, value)| (key.clone(), value.clone())).collect::<Fold>();
            let (whole, held) = (of(whole), of(held));
            *self.keys.entry(char::from(kind)).or_default() += whole.len();
            for (key, value) in &whole {
                match held.get(key) {
                    None => self.differences.push(format!("{what}: {} is missing", hex::encode(key))),
                    Some(other) if other != value => {
                        self.differences.push(format!("{what}: {} differs: {} instead of {}", hex::encode(key), hex::encode(other), hex::encode(value)))
                    }
                    Some(_) => {}
                }
            }
            for key in held.keys().filter(|key| !whole.contains_key(*key)) {
                self.differences.push(format!("{what}: {} is there, but not in the changelog", hex::encode(key)));
            }
        }
        match positions(whole) {
            Some(recorded) if recorded == meta.next_offsets => *self.keys.entry('p').or_default() += recorded.len(),
            recorded => self.differences.push(format!("{what}: positions {:?} instead of {recorded:?}", meta.next_offsets)),
        }
    }
}

fn changelog(stage: &Stage) -> BTreeMap<u16, Vec<OwnedMessage>> {
    let mut by_partition: BTreeMap<u16, Vec<OwnedMessage>> = (0..PARTITIONS).map(|partition| (partition, Vec::new())).collect();
    for message in dump(&[stage.topic("state")], true) {
        by_partition.get_mut(&u16::try_from(message.partition()).unwrap()).unwrap().push(message);
    }
    by_partition
}

fn fold(mut fold: Fold, changelog: &[OwnedMessage], from: i64) -> Fold {
    for message in changelog.iter().filter(|message| message.offset() >= from) {
        let key = message.key().unwrap_or_default().to_vec();
        match message.payload() {
            Some(_) => fold.insert(key, support::value(message).to_vec()),
            None => fold.remove(&key),
        };
    }
    fold
}

/// The position record: version 1, then for each topic its length in four bytes, its name, the next offset in eight; all big-endian.
fn positions(fold: &Fold) -> Option<BTreeMap<String, i64>> {
    let mut rest = fold.get(POSITION)?.strip_prefix(&[1])?;
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

fn stores(stage: &Stage) -> Vec<(&'static str, Store)> {
    let engines = stage.instances.iter().filter(|instance| instance.has("engine"));
    engines
        .map(|instance| {
            let folder = stage.folder.join(format!("state-{}", instance.name)).join("db");
            (instance.name, Store::open(&folder, instance.name, &Options::default()).unwrap())
        })
        .collect()
}

fn content(store: &Store, partition: u16) -> Option<(Meta, Fold)> {
    if !store.partitions(PARTITIONS).contains(&Partition(partition)) {
        return None;
    }
    let store = store.partition(Partition(partition)).unwrap();
    let meta = store.meta().unwrap()?;
    let mut fold = Fold::new();
    for kind in KINDS {
        store.scan(kind, &mut |key, value| drop(fold.insert(key.to_vec(), value.to_vec()))).unwrap();
    }
    Some((meta, fold))
}
