//! How far a partition's store reaches: it stands in the store beside what it speaks of, so the two are flushed together.

use super::StoreError;
use crate::delivery::Timestamp;
use std::collections::BTreeMap;

/// The position of one partition's store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// All changelog records below this offset are in the store; at most one transaction above it may be. Replaying from here is always right.
    pub changelog_position: i64,
    /// For each source topic the next offset: all below it are applied. Source: the position record.
    pub next_offsets: BTreeMap<String, i64>,
    /// When this was written, on the instance's wall clock: a store older than the changelog's delete retention cannot be trusted.
    pub wall: Timestamp,
    /// Kafka's id of the changelog topic: a topic that was made anew has another.
    pub topic_id: [u8; 16],
}

const VERSION: u8 = 1;

impl Meta {
    /// Version 1, final: `1 | changelog position 8 | wall ms 8 | topic id 16 | count 2 | (length 2, topic, offset 8)…`, topics in ascending order, numbers
    /// big-endian.
    pub fn write(&self) -> Vec<u8> {
        let names: usize = self.next_offsets.keys().map(|topic| topic.len() + 10).sum();
        let mut out = Vec::with_capacity(35 + names);
        out.push(VERSION);
        out.extend_from_slice(&self.changelog_position.to_be_bytes());
        out.extend_from_slice(&self.wall.millis().to_be_bytes());
        out.extend_from_slice(&self.topic_id);
        out.extend_from_slice(&short(self.next_offsets.len()));
        for (topic, offset) in &self.next_offsets {
            out.extend_from_slice(&short(topic.len()));
            out.extend_from_slice(topic.as_bytes());
            out.extend_from_slice(&offset.to_be_bytes());
        }
        out
    }

    /// Reads what [`Meta::write`] wrote. Anything else is [`StoreError::Corrupt`], an unknown version too: the partition is restored.
    pub fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        parse(bytes).ok_or_else(|| StoreError::Corrupt("the position record has another version or shape".into()))
    }
}

fn short(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("a topic's name has at most 249 bytes, and a task far fewer than 65,536 sources").to_be_bytes()
}

fn parse(bytes: &[u8]) -> Option<Meta> {
    let (&[version], rest) = bytes.split_first_chunk::<1>()?;
    let (position, rest) = rest.split_first_chunk::<8>()?;
    let (wall, rest) = rest.split_first_chunk::<8>()?;
    let (topic_id, rest) = rest.split_first_chunk::<16>()?;
    let (count, mut rest) = rest.split_first_chunk::<2>()?;
    let mut next_offsets = BTreeMap::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, tail) = rest.split_first_chunk::<2>()?;
        let (topic, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let (offset, tail) = tail.split_first_chunk::<8>()?;
        let topic = std::str::from_utf8(topic).ok()?;
        if next_offsets.last_key_value().is_some_and(|(last, _): (&String, _)| last.as_str() >= topic) {
            return None;
        }
        next_offsets.insert(topic.to_owned(), i64::from_be_bytes(*offset));
        rest = tail;
    }
    (version == VERSION && rest.is_empty()).then(|| Meta {
        changelog_position: i64::from_be_bytes(*position),
        next_offsets,
        wall: Timestamp::from_millis(i64::from_be_bytes(*wall)),
        topic_id: *topic_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn version_1_has_these_bytes_for_ever() {
        let meta = Meta {
            changelog_position: 1_000_000,
            next_offsets: BTreeMap::from([("recado.receipts".into(), 7), ("pix.transactions".into(), -1)]),
            wall: Timestamp::from_millis(1_764_900_000_123),
            topic_id: [0xee; 16],
        };
        let golden = concat!(
            "01",
            "00000000000f4240",
            "0000019aec3cd17b",
            "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
            "0002",
            "00107069782e7472616e73616374696f6e73ffffffffffffffff",
            "000f72656361646f2e72656365697074730000000000000007",
        );
        assert_eq!(hex::encode(meta.write()), golden);
        assert_eq!(Meta::read(&hex::decode(golden).unwrap()), Ok(meta.clone()));
        for length in 0..meta.write().len() {
            assert!(Meta::read(&meta.write()[..length]).is_err(), "{length}");
        }
        let mut unknown = meta.write();
        unknown[0] = 2;
        assert!(matches!(Meta::read(&unknown), Err(StoreError::Corrupt(_))));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_other_bytes_never_panic(
            numbers in any::<(i64, i64, [u8; 16])>(),
            next_offsets in proptest::collection::btree_map("[a-z.]{0,30}", any::<i64>(), 0..5),
            noise in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let meta = Meta { changelog_position: numbers.0, next_offsets, wall: Timestamp::from_millis(numbers.1), topic_id: numbers.2 };
            prop_assert_eq!(Meta::read(&meta.write()), Ok(meta));
            if let Ok(read) = Meta::read(&noise) {
                prop_assert_eq!(read.write(), noise);
            }
        }
    }
}
