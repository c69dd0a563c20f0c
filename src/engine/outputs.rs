//! PURE: records to be written in a transaction. Those besides its state (dispatches, statuses, dead letters) wait here for its end: keys and values lie one behind the other
//! in one block of memory.

use std::sync::Arc;

/// Headers of a record.
pub type Headers = Vec<(&'static str, Vec<u8>)>;

/// A record to be written in a transaction, where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output<'a> {
    /// Where to.
    pub topic: &'a Arc<str>,
    /// The home partition.
    pub partition: i32,
    /// Its key; empty for none.
    pub key: &'a [u8],
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a [(&'static str, Vec<u8>)],
}

/// Records in the order in which they were decided. None of them is a tombstone.
#[derive(Debug, Default)]
pub struct Outputs {
    bytes: Vec<u8>,
    all: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    topic: Arc<str>,
    partition: i32,
    headers: Headers,
    /// It begins where the one before ended.
    key_end: usize,
    end: usize,
}

impl Outputs {
    /// Puts a record behind the others. `value` appends its value.
    pub fn push(&mut self, topic: &Arc<str>, partition: i32, key: &[u8], headers: Headers, value: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        value(&mut self.bytes);
        self.all.push(Place { topic: topic.clone(), partition, headers, key_end, end: self.bytes.len() });
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Output<'_>> {
        let mut begin = 0;
        self.all.iter().map(move |Place { topic, partition, headers, key_end, end }| {
            let (key, value) = (&self.bytes[begin..*key_end], &self.bytes[*key_end..*end]);
            begin = *end;
            Output { topic, partition: *partition, key, value: Some(value), headers }
        })
    }

    /// Takes all out. The room stays as large as was needed just now, unless it was made for much more.
    pub fn clear(&mut self) {
        let (bytes, all) = (self.bytes.len(), self.all.len());
        self.bytes.clear();
        self.bytes.shrink_to(bytes * 4);
        self.all.clear();
        self.all.shrink_to(all * 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_comes_out_as_it_was_put_in() {
        let (status, retry): (Arc<str>, Arc<str>) = ("status".into(), "retry".into());
        let headers = vec![("traceparent", b"00-1".to_vec())];
        let mut outputs = Outputs::default();
        for _ in 0..2 {
            outputs.push(&status, 3, b"k", headers.clone(), |value| value.extend_from_slice(b"one"));
            outputs.push(&retry, 0, b"", Headers::new(), |_| ());
            outputs.push(&retry, 1, b"key", Headers::new(), |value| value.push(2));
            let output = |topic, partition, key, value, headers| Output { topic, partition, key, value: Some(value), headers };
            let expected: [Output<'_>; 3] = [
                output(&status, 3, b"k".as_slice(), b"one".as_slice(), headers.as_slice()),
                output(&retry, 0, b"", b"", &[]),
                output(&retry, 1, b"key", &[2], &[]),
            ];
            assert_eq!(outputs.iter().collect::<Vec<_>>(), expected);
            assert_eq!((outputs.len(), outputs.is_empty()), (3, false));
            outputs.clear();
            assert!(outputs.is_empty() && outputs.iter().next().is_none());
        }
    }
}
