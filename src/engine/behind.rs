//! PURE: what is committed and not in the store yet. Most deliveries end within seconds: what begins and ends in here never reaches the store.
//!
//! Easily got wrong: the changelog knows a key before the store does. It needs a tombstone for such a one, the store does not.

use super::key::Key;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Committed changes of one task in two generations: the old one is written when the young one is old enough to take its place. What changes again meanwhile is young
/// again, so only what rests is written.
///
/// Once the old generation is written, every change from before the young one began is in the store, or younger in here: replaying from there is right.
///
/// Both lie in one table. It is larger than a processor's caches on a busy day, so what counts is how often it is looked into: once for a key, whatever its generation.
#[derive(Debug, Default)]
pub struct Behind {
    changes: HashMap<Key, Change, foldhash::fast::RandomState>,
    young: Generation,
    old: Generation,
    /// Of the young generation; the old one has the other.
    mark: bool,
}

/// What one generation comes to.
#[derive(Debug, Default)]
struct Generation {
    changes: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Change {
    value: Option<Vec<u8>>,
    /// Whether the store has the key.
    stored: bool,
    /// Its generation.
    mark: bool,
}

impl Behind {
    /// What is known of a key here: `None` nothing, `Some(None)` that it was deleted.
    pub fn get(&self, key: &Key) -> Option<Option<&[u8]>> {
        self.changes.get(key).map(|change| change.value.as_deref())
    }

    /// A change was committed. `logged`: whether the changelog had the key before; what it has and is not in here, the store has.
    pub fn change(&mut self, key: Key, value: Option<Vec<u8>>, logged: bool) {
        match self.changes.entry(key) {
            Entry::Occupied(mut entry) => {
                let before = entry.get();
                let generation = if before.mark == self.mark { &mut self.young } else { &mut self.old };
                generation.loses(size(&key, before));
                if value.is_some() || before.stored {
                    let change = Change { value, stored: before.stored, mark: self.mark };
                    self.young.gains(size(&key, &change));
                    entry.insert(change);
                } else {
                    entry.remove();
                }
            }
            Entry::Vacant(entry) => {
                if value.is_some() || logged {
                    let change = Change { value, stored: logged, mark: self.mark };
                    self.young.gains(size(&key, &change));
                    entry.insert(change);
                }
            }
        }
    }

    /// What is to be written now, in key order.
    pub fn due(&self) -> Vec<(&[u8], Option<&[u8]>)> {
        self.in_order(self.old.changes, |change| change.mark != self.mark)
    }

    /// All of it, in key order, for whoever closes.
    pub fn all(&self) -> Vec<(&[u8], Option<&[u8]>)> {
        self.in_order(self.changes.len(), |_| true)
    }

    /// What was due is written: the young generation is the old one from now on. The table stays as large as is needed now, unless it was made for many more.
    pub fn written(&mut self) {
        let mark = self.mark;
        if self.old.changes > 0 {
            self.changes.retain(|_, change| change.mark == mark);
        }
        let held = self.old.changes + self.young.changes;
        self.changes.shrink_to(held * 4);
        self.old = std::mem::take(&mut self.young);
        self.mark = !mark;
    }

    /// Whether anything is to be written now.
    pub fn anything_due(&self) -> bool {
        self.old.changes > 0
    }

    /// How many bytes of memory the young ones take, about: a reason to write before the time.
    pub fn young_bytes(&self) -> usize {
        self.young.bytes
    }

    fn in_order(&self, many: usize, which: impl Fn(&Change) -> bool) -> Vec<(&[u8], Option<&[u8]>)> {
        let mut all = Vec::with_capacity(many);
        all.extend(self.changes.iter().filter(|(_, change)| which(change)).map(|(key, change)| (&**key, change.value.as_deref())));
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }
}

impl Generation {
    fn gains(&mut self, bytes: usize) {
        self.changes += 1;
        self.bytes += bytes;
    }

    fn loses(&mut self, bytes: usize) {
        self.changes -= 1;
        self.bytes -= bytes;
    }
}

/// A change takes so much besides key and value: its place in the map, an allocation. A guess.
const ENTRY_BYTES: usize = 90;

fn size(key: &[u8], change: &Change) -> usize {
    ENTRY_BYTES + key.len() + change.value.as_ref().map_or(0, Vec::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::overlay::Overlay;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_begins_and_ends_in_here_is_never_written() {
        let mut behind = Behind::default();
        behind.change(Key::of(&[b"a"]), Some(b"1".to_vec()), false);
        behind.written();
        assert_eq!(behind.get(&Key::of(&[b"a"])), Some(Some(b"1".as_slice())));
        behind.change(Key::of(&[b"a"]), None, true);
        assert_eq!(behind.get(&Key::of(&[b"a"])), None, "the store knows nothing of it either");
        assert_eq!((behind.all(), behind.young_bytes(), behind.old.bytes), (Vec::new(), 0, 0));
    }

    #[test]
    fn what_the_store_has_is_deleted_there_and_known_as_deleted_until_then() {
        let mut behind = Behind::default();
        behind.change(Key::of(&[b"a"]), None, true);
        assert_eq!(behind.get(&Key::of(&[b"a"])), Some(None));
        behind.written();
        assert_eq!(behind.due(), [(b"a".as_slice(), None)]);
        behind.change(Key::of(&[b"a"]), Some(b"2".to_vec()), false);
        assert_eq!(behind.due(), [], "it is young again");
        behind.change(Key::of(&[b"a"]), None, true);
        behind.written();
        assert_eq!(behind.due(), [(b"a".as_slice(), None)], "the store still has the first one");
        behind.written();
        behind.written();
        assert_eq!((behind.all(), behind.young_bytes(), behind.old.bytes), (Vec::new(), 0, 0), "nothing is counted that is gone");
    }

    type Stored = BTreeMap<Vec<u8>, Vec<u8>>;

    fn apply(store: &mut Stored, key: &[u8], value: Option<&[u8]>) {
        match value {
            Some(value) => drop(store.insert(key.to_vec(), value.to_vec())),
            None => drop(store.remove(key)),
        }
    }

    proptest! {
        /// Against plain maps, through the overlay: what is seen is what was committed last; and a kill at any time, then a replay of the changelog from where the
        /// store says, gives it too.
        #[test]
        fn a_replay_from_where_the_young_generation_began_is_right(
            steps in proptest::collection::vec((0u8..6, any::<Option<u8>>(), any::<bool>(), 0u8..16), 1..160),
        ) {
            let (mut overlay, mut behind, mut store, mut truth) = (Overlay::default(), Behind::default(), Stored::new(), Stored::new());
            let mut log: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
            let (mut began, mut reached) = (0, 0);
            for (key, value, commits, turn) in steps {
                let key = Key::of(&[&[key]]);
                let known = overlay.get(&key).map_or_else(|| truth.contains_key(&*key), |value| value.is_some());
                match value {
                    Some(value) => overlay.put(key, vec![value], known),
                    None if known => overlay.delete(key, true),
                    None => {}
                }
                if commits {
                    for (key, value) in overlay.changes() {
                        log.push((key.to_vec(), value.map(<[u8]>::to_vec)));
                        apply(&mut truth, key, value);
                    }
                    overlay.take().for_each(|(key, value, logged)| behind.change(key, value, logged));
                }
                if turn < 3 {
                    behind.due().into_iter().for_each(|(key, value)| apply(&mut store, key, value));
                    behind.written();
                    (reached, began) = (began, log.len());
                } else if turn == 3 {
                    behind.all().into_iter().for_each(|(key, value)| apply(&mut store, key, value));
                    (behind, reached, began) = (Behind::default(), log.len(), log.len());
                    prop_assert_eq!(&store, &truth);
                }
                for key in 0..6_u8 {
                    let known = behind.get(&Key::of(&[&[key]])).map_or_else(|| store.get([key].as_slice()).cloned(), |value| value.map(<[u8]>::to_vec));
                    prop_assert_eq!(known.as_ref(), truth.get([key].as_slice()));
                }
                let mut replayed = store.clone();
                log[reached..].iter().for_each(|(key, value)| apply(&mut replayed, key, value.as_deref()));
                prop_assert_eq!(&replayed, &truth);
            }
        }
    }
}
