//! State from the changelog alone against the live stores, byte for byte.
//!
//! Easily got wrong: a partition that moved leaves an older store behind. After an orderly stop the store that reaches furthest is the live one; after a kill every
//! store, brought up from its own position, must equal the whole. And what a killed store should not have had is overwritten or deleted soon after: so each is kept
//! as the kill left it, and compared with the changelog as it was then.

use crate::evidence::dump;
use crate::fold::{self, Fold, KINDS};
use crate::stage::{PARTITIONS, Stage};
use crate::support;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Message, OwnedMessage};
use recado::delivery::{KnownRoutes, MessageId, Partition};
use recado::engine::store::{Meta, Options, Store};
use recado::engine::stored::Delivery;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How many keys of each kind were compared, and what differs.
#[derive(Default)]
pub struct Compared {
    pub keys: BTreeMap<char, usize>,
    pub stores: usize,
    pub differences: Vec<Difference>,
    /// Deliveries that have not ended: after an orderly stop none should be left.
    pub goes_on: Vec<Difference>,
}

/// What is wrong, and with which message's state, where it is one's.
pub type Difference = (Option<MessageId>, String);

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
            compared.differences.push((None, format!("state-{partition}: no store holds it")));
            continue;
        };
        let what = format!("state-{partition} in the store of {name}");
        compared.compare(&what, &whole, &held, &meta);
        compared.differences.extend(blind(&whole, &held, &meta).into_iter().map(|how| (None, format!("{what}: nobody saw that {how}"))));
        compared.goes_on.extend(goes_on(&held));
    }
    compared
}

/// Messages whose state has no end.
fn goes_on(held: &Fold) -> impl Iterator<Item = Difference> {
    held.iter().filter(|(key, _)| key[0] == b's').filter_map(|(key, value)| match Delivery::read(value, &mut KnownRoutes::default()) {
        Ok(delivery) if delivery.state.ended() => None,
        Ok(_) => Some((message_of(key), format!("{} has no end in its state.", hex::encode(&key[1..])))),
        Err(error) => Some((message_of(key), format!("{}: {error}", hex::encode(&key[1..])))),
    })
}

/// Whose state a key holds; or, of a block of event hashes, one of those whose hashes they are.
fn message_of(key: &[u8]) -> Option<MessageId> {
    let id = match key {
        [b's', id @ ..] | [b'd', _, _, _, _, id @ ..] => id,
        _ => return None,
    };
    Some(MessageId::from_bytes(id.try_into().ok()?))
}

/// The comparison compared: ways in which a store can be wrong that it does not see.
fn blind(whole: &Fold, held: &Fold, meta: &Meta) -> Vec<&'static str> {
    let sees = |held: &Fold, meta: &Meta| {
        let mut compared = Compared::default();
        compared.compare("a broken copy", whole, held, meta);
        !compared.differences.is_empty()
    };
    let Some(key) = held.keys().find(|key| KINDS.contains(&key[0])).cloned() else { return Vec::new() };
    let (mut less, mut more, mut other) = (held.clone(), held.clone(), held.clone());
    less.remove(&key);
    more.insert([key.as_slice(), b"more"].concat(), Vec::new());
    other.get_mut(&key).unwrap().push(0);
    let mut moved = meta.clone();
    moved.next_offsets.values_mut().for_each(|next| *next += 1);
    let seen = [("a key is missing", sees(&less, meta)), ("there is one more", sees(&more, meta)), ("a value differs", sees(&other, meta))];
    seen.into_iter().chain([("the position differs", sees(held, &moved))]).filter(|(_, seen)| !seen).map(|(how, _)| how).collect()
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
            compared.compare(&format!("state-{partition} in the killed store of {name}"), &whole, &brought_up, &replayed);
        }
    }
    compared
}

/// So many killed stores are kept: the first ones. More than a part has kills.
const KEPT_MAX: usize = 250;

/// Keeps this store of an instance of this name that was just killed, or stands still, beside the ends of the changelog. False: there was none, or there are enough.
pub fn keep(stage: &Stage, name: &str, store: &Path) -> bool {
    let folder = stage.folder.join("killed");
    let number = fs::read_dir(&folder).map_or(0, Iterator::count);
    if number >= KEPT_MAX || !store.exists() {
        return false;
    }
    let kept = folder.join(format!("{number}-{name}"));
    copy(store, &kept.join("db"));
    // Aborted and open transactions count too: nothing that the dead one wrote lies beyond.
    let asker: BaseConsumer = support::client().set("isolation.level", "read_uncommitted").create().unwrap();
    let end = |partition: u16| asker.fetch_watermarks(&stage.topic("state"), i32::from(partition), Duration::from_secs(30)).unwrap().1;
    fs::write(kept.join("ends"), serde_json::to_vec(&(0..PARTITIONS).map(end).collect::<Vec<i64>>()).unwrap()).unwrap();
    true
}

/// Tables never change, so that a second name for each is enough.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        match path.extension().and_then(|ending| ending.to_str()) {
            _ if path.is_dir() => copy(&path, &to),
            Some("sst") => fs::hard_link(&path, &to).unwrap(),
            _ => drop(fs::copy(&path, &to).unwrap()),
        }
    }
}

/// At each kill: the killed store, with its changelog replayed from the position that it says, was the fold of the changelog as it was then.
pub fn at_kills(stage: &Stage) -> Compared {
    let mut compared = Compared::default();
    let changelog = changelog(stage);
    let mut kept: Vec<(i64, u16, String, Meta, Fold)> = Vec::new();
    for folder in fs::read_dir(stage.folder.join("killed")).into_iter().flatten().flatten() {
        let name = folder.file_name().into_string().unwrap();
        let ends: Vec<i64> = serde_json::from_slice(&fs::read(folder.path().join("ends")).unwrap()).unwrap();
        let store = match Store::open(&folder.path().join("db"), name.split_once('-').unwrap().1, &Options::default()) {
            Ok(store) => store,
            Err(error) => {
                compared.differences.push((None, format!("the store of kill {name} cannot be opened: {error}")));
                continue;
            }
        };
        for (partition, end) in (0..PARTITIONS).zip(ends) {
            kept.extend(content(&store, partition).map(|(meta, held)| (end, partition, name.clone(), meta, held)));
        }
    }
    kept.sort_by_key(|(end, partition, ..)| (*partition, *end));
    let mut then: (u16, i64, Fold) = (0, 0, Fold::new());
    for (end, partition, name, meta, held) in kept {
        compared.goes_on.extend(goes_on(&held));
        if then.0 != partition {
            then = (partition, 0, Fold::new());
        }
        let records = |from: i64| changelog[&partition].iter().filter(move |message| (from..end).contains(&message.offset()));
        let whole = fold::fold(then.2, records(then.1), 0);
        let brought_up = fold::fold(held, records(meta.changelog_position), 0);
        let replayed = Meta { next_offsets: fold::position(&brought_up).unwrap_or(meta.next_offsets.clone()), ..meta };
        compared.compare(&format!("state-{partition} in the store of kill {name}"), &whole, &brought_up, &replayed);
        then = (partition, end, whole);
    }
    fs::remove_dir_all(stage.folder.join("killed")).unwrap_or_default();
    compared
}

impl Compared {
    fn compare(&mut self, what: &str, whole: &Fold, held: &Fold, meta: &Meta) {
        self.stores += 1;
        for kind in KINDS {
            *self.keys.entry(char::from(kind)).or_default() += whole.keys().filter(|key| key[0] == kind).count();
        }
        let differences = fold::differences(whole, held).into_iter();
        self.differences.extend(differences.map(|(key, difference)| (message_of(&key), format!("{what}: {difference}"))));
        match fold::position(whole) {
            Some(recorded) if recorded == meta.next_offsets => *self.keys.entry('p').or_default() += recorded.len(),
            recorded => self.differences.push((None, format!("{what}: positions {:?} instead of {recorded:?}", meta.next_offsets))),
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
            let folder = stage.state_of(instance.name);
            (instance.name, Store::open(&folder, instance.name, &Options::default()).unwrap())
        })
        .collect()
}

/// A store is not asked for what it never had: that would make it.
fn content(store: &Store, partition: u16) -> Option<(Meta, Fold)> {
    store.partitions(PARTITIONS).contains(&Partition(partition)).then(|| fold::content(store, partition))?
}
