//! The key log: new customer keys in the order in which they were made, each sealed under its bucket's key.
//!
//! An entry counts only while its bucket has the version under which it was written: when a bucket is rewritten, its keys move into the bucket's file and
//! what the log holds of it can be opened by nobody.

use super::disk::{Disk, io};
use super::index::{Index, SEALED_KEY_BYTES, SealedKey, bucket_of, reference_of};
use super::{FolderError, KeyId, Reference};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

pub(super) const NAME: &str = "keys.log";
const HEADER: &[u8; 8] = b"RCDLOG\0\x01";
const START_BYTES: usize = 8 + 8;
/// Where the number stands.
pub(super) const NUMBER_AT: u64 = 8;

/// `reference 16 | key id 8 | bucket version 8 | place in its batch 4 | nonce 12 | sealed key 32 | tag 16 | check 4`; the check is the start of the SHA-256 of
/// the rest.
pub(super) const ENTRY_BYTES: usize = 16 + 8 + 8 + 4 + SEALED_KEY_BYTES + 4;

/// What was read of the log so far.
#[derive(Default)]
pub(super) struct Log {
    keys: BTreeMap<(Reference, KeyId), SealedKey>,
    /// Which file it is: another number means that the log was begun anew.
    number: u64,
    /// Up to here the entries are known.
    pub(super) read: u64,
    /// Up to here they are known to be durable: whoever seals under a key that another process made must not trust its fsync to have happened.
    pub(super) synced: u64,
}

/// What reading the tail found.
#[derive(PartialEq, Eq)]
pub(super) enum Tail {
    /// Every whole entry is known now.
    Read,
    /// An entry belongs to a later version of its bucket: the index must be read again.
    IndexIsOld,
}

impl Log {
    pub(super) fn keys_of(&self, customer: Reference) -> impl Iterator<Item = (KeyId, &SealedKey)> {
        self.keys.range((customer, 0)..=(customer, KeyId::MAX)).map(|(&(_, id), key)| (id, key))
    }

    pub(super) fn keys_in(&self, bucket: usize) -> impl Iterator<Item = (Reference, KeyId, &SealedKey)> {
        self.keys
            .range((reference_of(bucket), 0)..)
            .take_while(move |((customer, _), _)| bucket_of(*customer) == bucket)
            .map(|(&(customer, id), key)| (customer, id, key))
    }

    /// The buckets of which the log holds keys.
    pub(super) fn buckets(&self) -> std::collections::BTreeSet<usize> {
        self.keys.keys().map(|(customer, _)| bucket_of(*customer)).collect()
    }

    pub(super) fn add(&mut self, customer: Reference, id: KeyId, key: SealedKey) {
        self.keys.insert((customer, id), key);
    }

    /// These buckets were rewritten: their keys are in their files.
    pub(super) fn forget(&mut self, rewritten: impl Fn(usize) -> bool) {
        self.keys.retain(|(customer, _), _| !rewritten(bucket_of(*customer)));
    }

    /// Which file, and how far it is read.
    pub(super) fn place(&self) -> (u64, u64) {
        (self.number, self.read)
    }

    /// Whether it is still the same file, read at least as far.
    pub(super) fn continues(&self, (number, read): (u64, u64)) -> bool {
        self.number == number && self.read >= read
    }

    /// Reads what was appended since the last time. A torn end is left alone: it may be a write of another process that is under way.
    pub(super) fn read_tail(&mut self, disk: &Disk, index: &Index) -> Result<Tail, FolderError> {
        let file = File::open(disk.path(NAME)).map_err(io("opening the key log"))?;
        let number = number_of(&file)?;
        let length = file.metadata().map_err(io("reading the key log"))?.len();
        // A shorter one lost what was read of it: an append that failed was cut again.
        if self.read == 0 || self.number != number || length < self.read {
            *self = Self { number, read: START_BYTES as u64, ..Self::default() };
        }
        let unread = usize::try_from(length.saturating_sub(self.read)).map_err(|_| FolderError::damaged(NAME, "it is too long"))?;
        let mut tail = vec![0; unread];
        let got = read_up_to(&file, &mut tail, self.read).map_err(io("reading the key log"))?;
        let entries: Vec<_> = tail[..got].chunks_exact(ENTRY_BYTES).map(parse).collect();
        for (at, entry) in entries.iter().enumerate() {
            let Some(entry) = entry else { return torn_or_damaged(&entries, at) };
            let current = index.version(bucket_of(entry.customer));
            if entry.version > current {
                return Ok(Tail::IndexIsOld);
            }
            if entry.version == current {
                self.add(entry.customer, entry.id, entry.key);
            }
            self.read += ENTRY_BYTES as u64;
        }
        Ok(Tail::Read)
    }

    /// Makes durable what was read, whoever wrote it.
    pub(super) fn sync(&mut self, disk: &Disk) -> Result<(), FolderError> {
        if self.synced < self.read {
            File::open(disk.path(NAME)).and_then(|file| file.sync_data()).map_err(io("syncing the key log"))?;
            self.synced = self.read;
        }
        Ok(())
    }
}

/// The first bytes of a log: header 8 ‖ number 8.
pub(super) fn start(number: u64) -> Vec<u8> {
    [HEADER.as_slice(), &number.to_be_bytes()].concat()
}

/// Whether a log of this length holds no key.
pub(super) fn is_empty(length: usize) -> bool {
    length <= START_BYTES
}

fn number_of(file: &File) -> Result<u64, FolderError> {
    let mut start = [0; START_BYTES];
    file.read_exact_at(&mut start, 0).map_err(io("reading the key log"))?;
    match start.strip_prefix(HEADER).and_then(|number| number.try_into().ok()) {
        Some(number) => Ok(u64::from_be_bytes(number)),
        None => Err(FolderError::damaged(NAME, "it does not begin as a key log of version 1")),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) customer: Reference,
    pub(super) id: KeyId,
    /// Its bucket's version when it was written.
    pub(super) version: u64,
    /// How many entries of its batch stand before it: a batch is durable as a whole.
    pub(super) place: u32,
    pub(super) key: SealedKey,
}

/// A broken entry is a torn write if no later batch stands behind it: a power failure may write the pages of the last batch in any order, and nobody was told
/// of its keys. Else it was durable once.
fn torn_or_damaged(entries: &[Option<Entry>], broken: usize) -> Result<Tail, FolderError> {
    let of_a_later_batch =
        |(at, entry): (usize, &Option<Entry>)| entry.as_ref().is_some_and(|entry| at.checked_sub(entry.place as usize).is_some_and(|start| start > broken));
    match entries.iter().enumerate().any(of_a_later_batch) {
        true => Err(FolderError::damaged(NAME, "an entry before its end is broken")),
        false => Ok(Tail::Read),
    }
}

impl Entry {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(self.customer.bytes());
        out.extend_from_slice(&self.id.to_be_bytes());
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.place.to_be_bytes());
        out.extend_from_slice(&self.key);
        let check = check_of(&out[start..]);
        out.extend_from_slice(&check);
    }
}

fn parse(bytes: &[u8]) -> Option<Entry> {
    let (body, check) = bytes.split_last_chunk::<4>()?;
    let (customer, rest) = body.split_first_chunk::<16>()?;
    let (id, rest) = rest.split_first_chunk::<8>()?;
    let (version, rest) = rest.split_first_chunk::<8>()?;
    let (place, key) = rest.split_first_chunk::<4>()?;
    let entry = Entry {
        customer: Reference::from_bytes(*customer),
        id: KeyId::from_be_bytes(*id),
        version: u64::from_be_bytes(*version),
        place: u32::from_be_bytes(*place),
        key: key.try_into().ok()?,
    };
    (check_of(body) == *check).then_some(entry)
}

fn check_of(body: &[u8]) -> [u8; 4] {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body).as_ref()[..4].try_into().expect("a SHA-256 has 32 bytes")
}

/// Another process may cut a torn end meanwhile, so fewer bytes than the file had are no failure.
fn read_up_to(file: &File, into: &mut [u8], start: u64) -> std::io::Result<usize> {
    let mut done = 0;
    while done < into.len() {
        match file.read_at(&mut into[done..], start + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_these_bytes_for_ever() {
        let entry = Entry { customer: Reference::from_bytes([0xab; 16]), id: 7, version: 3, place: 2, key: [0xcd; SEALED_KEY_BYTES] };
        let mut bytes = Vec::new();
        entry.write(&mut bytes);
        assert_eq!(bytes.len(), ENTRY_BYTES);
        let body = format!("{}{}{}{}{}", "ab".repeat(16), "0000000000000007", "0000000000000003", "00000002", "cd".repeat(60));
        assert_eq!(hex::encode(&bytes[..ENTRY_BYTES - 4]), body);
        assert_eq!(hex::encode(&bytes[ENTRY_BYTES - 4..]), "dec5a3f9");
        assert_eq!(parse(&bytes), Some(entry));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            assert_eq!(parse(&changed), None, "byte {at}");
        }
    }
}
