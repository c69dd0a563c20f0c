//! The keys of code epochs and days: one small file, sealed whole under the root, replaced at each change.
//!
//! An epoch whose key was destroyed gets no other one: what was sealed under the first must stay *gone*, not turn into *broken*.

use super::{FolderError, KeyId, KeyKind, RootKey, SharedKey};
use crate::delivery::Timestamp;
use crate::privacy::aead;
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::Zeroizing;

pub(super) const NAME: &str = "epochs";
const HEADER: &[u8; 8] = b"RCDEPO\0\x01";
const KINDS: [KeyKind; 2] = [KeyKind::CodeEpoch, KeyKind::Day];
const ROW_BYTES: usize = 1 + 8 + 32;

/// Bytes: header 8 ‖ generation 8 ‖ sealed under the root (for codes, then days: all ids below this are gone 8; then rows of kind 1 ‖ id 8 ‖ key 32, ascending).
#[derive(Default)]
pub(super) struct Epochs {
    /// Grows by one with each change; 0: there is no file yet.
    pub(super) generation: u64,
    gone_below: [KeyId; 2],
    keys: BTreeMap<(u8, KeyId), SharedKey>,
}

impl Epochs {
    pub(super) fn key(&self, kind: KeyKind, id: KeyId) -> Option<&SharedKey> {
        self.keys.get(&(kind.ordinal(), id))
    }

    /// Whether that epoch had a key that was destroyed.
    pub(super) fn gone(&self, kind: KeyKind, id: KeyId) -> bool {
        KINDS.iter().zip(self.gone_below).any(|(own, below)| *own == kind && id < below)
    }

    /// This with a fresh key more.
    pub(super) fn with(&self, kind: KeyKind, id: KeyId) -> Self {
        let mut next = self.next();
        next.keys.insert((kind.ordinal(), id), Arc::new(Zeroizing::new(aead::random())));
        next
    }

    /// This without the keys whose time is over at `now`, and how many of each kind these are; `None` when there are none.
    pub(super) fn without_past(&self, now: Timestamp) -> Option<(Self, [(KeyKind, usize); 2])> {
        let mut next = self.next();
        let mut destroyed = KINDS.map(|kind| (kind, 0));
        for ((kind, count), below) in destroyed.iter_mut().zip(&mut next.gone_below) {
            let over: Vec<_> = next.keys.keys().filter(|(ordinal, id)| *ordinal == kind.ordinal() && over(*kind, *id, now)).copied().collect();
            for key in over {
                next.keys.remove(&key);
                *below = key.1 + 1;
                *count += 1;
            }
        }
        destroyed.iter().any(|(_, count)| *count > 0).then_some((next, destroyed))
    }

    fn next(&self) -> Self {
        Self { generation: self.generation + 1, gone_below: self.gone_below, keys: self.keys.clone() }
    }

    pub(super) fn write(&self, root: &RootKey) -> Vec<u8> {
        let mut rows = Zeroizing::new(Vec::with_capacity(16 + self.keys.len() * ROW_BYTES));
        for below in self.gone_below {
            rows.extend_from_slice(&below.to_be_bytes());
        }
        for ((kind, id), key) in &self.keys {
            rows.push(*kind);
            rows.extend_from_slice(&id.to_be_bytes());
            rows.extend_from_slice(key.as_slice());
        }
        let mut out = [HEADER.as_slice(), &self.generation.to_be_bytes()].concat();
        aead::seal_into(&mut out, &root.0, aead::random(), &bound(self.generation), &rows);
        out
    }

    pub(super) fn read(bytes: &[u8], root: &RootKey) -> Result<Self, FolderError> {
        let start = bytes.strip_prefix(HEADER).and_then(|rest| rest.split_first_chunk::<8>());
        let Some((generation, sealed)) = start else { return Err(FolderError::damaged(NAME, "it does not begin as a file of epoch keys of version 1")) };
        let generation = u64::from_be_bytes(*generation);
        let Some(rows) = aead::open(&root.0, &bound(generation), sealed) else { return Err(FolderError::WrongRoot { file: NAME }) };
        Self::parse(generation, &rows).ok_or(FolderError::damaged(NAME, "its rows have another shape"))
    }

    fn parse(generation: u64, bytes: &[u8]) -> Option<Self> {
        let (codes, rest) = bytes.split_first_chunk::<8>()?;
        let (days, rows) = rest.split_first_chunk::<8>()?;
        let mut keys = BTreeMap::new();
        for row in rows.chunks(ROW_BYTES) {
            let ([kind], row) = row.split_first_chunk::<1>()?;
            let (id, bytes) = row.split_first_chunk::<8>()?;
            let mut key = Zeroizing::new([0; 32]);
            key.copy_from_slice(bytes.first_chunk::<32>()?);
            keys.insert((*kind, KeyId::from_be_bytes(*id)), Arc::new(key));
        }
        Some(Self { generation, gone_below: [KeyId::from_be_bytes(*codes), KeyId::from_be_bytes(*days)], keys })
    }
}

fn over(kind: KeyKind, id: KeyId, now: Timestamp) -> bool {
    let (Some(epoch), Some(kept)) = (kind.epoch(), kind.kept()) else { return false };
    let start = u64::try_from(epoch.as_millis()).unwrap_or(u64::MAX).saturating_mul(id);
    now >= Timestamp::from_millis(i64::try_from(start).unwrap_or(i64::MAX)).plus(kept)
}

fn bound(generation: u64) -> Vec<u8> {
    aead::bind(&[b"recado/epochs/v1", &generation.to_be_bytes()])
}
