//! State from the changelog alone against the live stores, byte for byte.
//!
//! Easily got wrong: a partition that moved leaves an older store behind. After an orderly stop the store that reaches furthest is the live one; after a kill every
//! store, brought up from its own position, must equal the whole.

use crate::evidence::dump;
use crate::fold::{self, Fold, KINDS};
use crate::stage::{PARTITIONS, Stage};
use rdkafka::message::{Message, OwnedMessage};
use recado::delivery::Partition;
use recado::engine::store::{Meta, Options, Store};
use std::collections::BTreeMap;

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
        let whole = fold::fold(Fold::new(), &changelog[&partition], 0);
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
            let whole = fold::fold(Fold::new(), &changelog[&partition], 0);
            let brought_up = fold::fold(held, &changelog[&partition], meta.changelog_position);
            let replayed = Meta { next_offsets: fold::position(&brought_up).unwrap_or(meta.next_offsets.clone()), ..meta };
            compared.compare(&format!("partition {partition} in the killed store of {name}"), &whole, &brought_up, &replayed);
        }
    }
    compared
}

impl Compared {
    fn compare(&mut self, what: &str, whole: &Fold, held: &Fold, meta: &Meta) {
        self.stores += 1;
        for kind in KINDS {
            *self.keys.entry(char::from(kind)).or_default() += whole.keys().filter(|key| key[0] == kind).count();
        }
        self.differences.extend(fold::differences(whole, held).iter().map(|difference| format!("{what}: {difference}")));
        match fold::position(whole) {
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

fn stores(stage: &Stage) -> Vec<(&'static str, Store)> {
    let engines = stage.instances.iter().filter(|instance| instance.has("engine"));
    engines
        .map(|instance| {
            let folder = stage.folder.join(format!("state-{}", instance.name)).join("db");
            (instance.name, Store::open(&folder, instance.name, &Options::default()).unwrap())
        })
        .collect()
}

/// A store is not asked for what it never had: that would make it.
fn content(store: &Store, partition: u16) -> Option<(Meta, Fold)> {
    store.partitions(PARTITIONS).contains(&Partition(partition)).then(|| fold::content(store, partition))?
}
