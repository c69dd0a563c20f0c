//! PURE: what one transaction changes, on top of what is logged. Enters: each decision's new state; leaves: one change for each key, in the order in which the keys came.
//!
//! Easily got wrong: `Some(None)` (deleted in here) is not `None` (not touched in here).

use super::key::Key;
use indexmap::IndexMap;
use indexmap::map::Entry;

/// Changes of one task that are decided but not yet committed. Whole values: replaying a put or a delete twice changes nothing.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    changes: IndexMap<Key, Change, foldhash::fast::RandomState>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Change {
    value: Option<Vec<u8>>,
    /// Whether the changelog had the key before: deleting one that it had not leaves no trace at all.
    logged: bool,
}

impl Overlay {
    /// What this transaction made of the key: `None` not touched, `Some(None)` deleted.
    pub fn get(&self, key: &Key) -> Option<Option<&[u8]>> {
        self.changes.get(key).map(|change| change.value.as_deref())
    }

    /// Puts a whole value. `logged`: whether the changelog had the key before.
    pub fn put(&mut self, key: Key, value: Vec<u8>, logged: bool) {
        self.change(key, Some(value), logged);
    }

    /// Deletes a key. One that began in this transaction leaves no trace.
    pub fn delete(&mut self, key: Key, logged: bool) {
        self.change(key, None, logged);
    }

    fn change(&mut self, key: Key, value: Option<Vec<u8>>, logged: bool) {
        let size = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        match self.changes.entry(key) {
            Entry::Occupied(mut entry) => {
                let change = entry.get_mut();
                self.bytes = self.bytes - size(&change.value) + size(&value);
                change.value = value;
            }
            Entry::Vacant(entry) => {
                self.bytes += entry.key().len() + size(&value);
                entry.insert(Change { value, logged });
            }
        }
    }

    /// How many bytes of keys and values it holds: one reason to commit.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many keys it holds, those that leave no trace among them.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// All changes, the key that came first first. A delivery that began and ended in here is left out.
    pub fn changes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> + Clone {
        self.changes.iter().filter(|(_, change)| change.value.is_some() || change.logged).map(|(key, change)| (&**key, change.value.as_deref()))
    }

    /// Takes all changes out, as [`Overlay::changes`] shows them, each with whether the changelog had its key before: they are committed. The room stays for the next
    /// transaction.
    pub fn take(&mut self) -> impl Iterator<Item = (Key, Option<Vec<u8>>, bool)> {
        self.bytes = 0;
        let changes = self.changes.drain(..);
        changes.filter(|(_, change)| change.value.is_some() || change.logged).map(|(key, change)| (key, change.value, change.logged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(overlay: &Overlay) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        overlay.changes().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect()
    }

    #[test]
    fn several_changes_of_one_key_become_one_and_begin_and_end_becomes_none() {
        let mut overlay = Overlay::default();
        overlay.put(Key::of(&[b"b"]), b"1".to_vec(), false);
        overlay.put(Key::of(&[b"b"]), b"22".to_vec(), false);
        overlay.put(Key::of(&[b"a"]), b"3".to_vec(), true);
        overlay.delete(Key::of(&[b"a"]), true);
        overlay.put(Key::of(&[b"c"]), b"4".to_vec(), false);
        overlay.delete(Key::of(&[b"c"]), false);
        assert_eq!(list(&overlay), [(b"b".to_vec(), Some(b"22".to_vec())), (b"a".to_vec(), None)]);
        assert_eq!(overlay.get(&Key::of(&[b"c"])), Some(None), "deleted in here, though it leaves no trace");
        assert_eq!(overlay.get(&Key::of(&[b"d"])), None);
        assert_eq!(overlay.bytes(), 1 + 2 + 1 + 1);
        let taken: Vec<_> = overlay.take().collect();
        assert_eq!(taken, [(Key::of(&[b"b"]), Some(b"22".to_vec()), false), (Key::of(&[b"a"]), None, true)]);
        assert!(overlay.is_empty());
        assert_eq!(overlay.bytes(), 0);
    }
}
