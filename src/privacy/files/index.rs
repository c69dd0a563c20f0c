//! The index: for each of 4,096 buckets of customers its key and version, all sealed under the root; and the file of a bucket.
//!
//! Destroying a key rewrites its bucket under a fresh bucket key. The change counts from the moment at which the new index has the place of the old one.

use super::disk::{Disk, Locked};
use super::{FolderError, KeyId, Reference, RootKey};
use crate::privacy::aead::{self, ADDED_BYTES, Key};
use std::fs::File;
use std::os::unix::fs::FileExt;
use zeroize::Zeroizing;

/// Source: privacy.md §2.
pub(super) const BUCKETS: usize = 4096;
pub(super) const NAME: &str = "index";
const HEADER: &[u8; 8] = b"RCDIDX\0\x01";
const BUCKET_HEADER: &[u8; 8] = b"RCDBKT\0\x01";
const BUCKET_START: usize = 8 + 2 + 8 + 4;
const ROW_BYTES: usize = 16 + 8 + SEALED_KEY_BYTES;
const DIGEST_BYTES: usize = 32;

/// `nonce 12 | sealed key 32 | tag 16`.
pub(super) const SEALED_KEY_BYTES: usize = 32 + ADDED_BYTES;
pub(super) type SealedKey = [u8; SEALED_KEY_BYTES];
/// One key in a bucket's file.
pub(super) type Row = (Reference, KeyId, SealedKey);

/// Bytes: header 8 ‖ generation 8 ‖ sealed under the root (version 8 ‖ key 32, for each bucket).
pub(super) struct Index {
    /// Grows by one with each change.
    pub(super) generation: u64,
    slots: Vec<Slot>,
}

struct Slot {
    /// 1: never rewritten, so there is no file and all its keys are in the log.
    version: u64,
    key: Key,
}

/// The first 12 bits of a reference.
pub(super) fn bucket_of(customer: Reference) -> usize {
    let [first, second, ..] = *customer.bytes();
    usize::from(first) << 4 | usize::from(second >> 4)
}

/// The smallest reference of a bucket.
pub(super) fn reference_of(bucket: usize) -> Reference {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&u16::try_from(bucket << 4).expect("a bucket has 12 bits").to_be_bytes());
    Reference::from_bytes(bytes)
}

impl Index {
    pub(super) fn fresh() -> Self {
        Self { generation: 1, slots: (0..BUCKETS).map(|_| Slot { version: 1, key: Zeroizing::new(aead::random()) }).collect() }
    }

    pub(super) fn version(&self, bucket: usize) -> u64 {
        self.slots[bucket].version
    }

    /// The generation of the index that lies in the folder, without opening it.
    pub(super) fn generation_on(disk: &Disk) -> Result<u64, FolderError> {
        let mut start = [0; 16];
        File::open(disk.path(NAME)).and_then(|file| file.read_exact_at(&mut start, 0)).map_err(super::disk::io("reading the key index"))?;
        generation_of(&start)
    }

    pub(super) fn read(bytes: &[u8], root: &RootKey) -> Result<Self, FolderError> {
        let generation = generation_of(bytes)?;
        let Some(slots) = aead::open(&root.0, &bound(generation), &bytes[16..]) else {
            return Err(FolderError::WrongRoot { file: NAME });
        };
        if slots.len() != BUCKETS * 40 {
            return Err(FolderError::damaged(NAME, "it has another number of buckets"));
        }
        let slot = |bytes: &[u8]| {
            let (version, key) = bytes.split_first_chunk::<8>().expect("a slot has 40 bytes");
            let mut own = Zeroizing::new([0; 32]);
            own.copy_from_slice(key);
            Slot { version: u64::from_be_bytes(*version), key: own }
        };
        Ok(Self { generation, slots: slots.chunks_exact(40).map(slot).collect() })
    }

    pub(super) fn write(&self, root: &RootKey) -> Vec<u8> {
        let mut slots = Zeroizing::new(Vec::with_capacity(BUCKETS * 40));
        for Slot { version, key } in &self.slots {
            slots.extend_from_slice(&version.to_be_bytes());
            slots.extend_from_slice(key.as_slice());
        }
        let mut out = Vec::with_capacity(16 + slots.len() + ADDED_BYTES);
        out.extend_from_slice(HEADER);
        out.extend_from_slice(&self.generation.to_be_bytes());
        aead::seal_into(&mut out, &root.0, aead::random(), &bound(self.generation), &slots);
        out
    }

    /// Gives a bucket its next version and a fresh key.
    pub(super) fn renew(&mut self, bucket: usize) {
        let slot = &mut self.slots[bucket];
        *slot = Slot { version: slot.version + 1, key: Zeroizing::new(aead::random()) };
    }

    /// A copy with the same keys, to be changed and written before it takes the place of this one.
    pub(super) fn next(&self) -> Self {
        Self { generation: self.generation + 1, slots: self.slots.iter().map(|slot| Slot { version: slot.version, key: slot.key.clone() }).collect() }
    }

    pub(super) fn seal(&self, customer: Reference, id: KeyId, key: &[u8; 32]) -> SealedKey {
        let bucket = bucket_of(customer);
        let mut out = Vec::with_capacity(SEALED_KEY_BYTES);
        aead::seal_into(&mut out, &self.slots[bucket].key, aead::random(), &self.key_bound(customer, id), key);
        out.try_into().expect("32 bytes seal into 60")
    }

    pub(super) fn open(&self, customer: Reference, id: KeyId, sealed: &SealedKey) -> Result<Key, FolderError> {
        let key = aead::open_key(&self.slots[bucket_of(customer)].key, &self.key_bound(customer, id), sealed);
        key.ok_or(FolderError::damaged("a customer's key", "it does not open under its bucket's key"))
    }

    fn key_bound(&self, customer: Reference, id: KeyId) -> Vec<u8> {
        let version = self.version(bucket_of(customer));
        aead::bind(&[b"recado/key/v1", &version.to_be_bytes(), customer.bytes(), &id.to_be_bytes()])
    }

    pub(super) fn file_name(&self, bucket: usize) -> String {
        format!("bucket-{bucket:03x}-{}", self.version(bucket))
    }

    /// Whether a file is a bucket's, and not the one that counts: left by a crash before or after the index changed.
    pub(super) fn stale(&self, name: &str) -> bool {
        let Some((bucket, _)) = name.strip_prefix("bucket-").and_then(|rest| rest.split_once('-')) else { return false };
        usize::from_str_radix(bucket, 16).is_ok_and(|bucket| bucket < BUCKETS && (self.version(bucket) == 1 || name != self.file_name(bucket)))
    }

    /// Writes a bucket's file. Bytes: header 8 ‖ bucket 2 ‖ version 8 ‖ count 4 ‖ rows (reference 16 ‖ key id 8 ‖ sealed key 60), ascending ‖ SHA-256 of all.
    pub(super) fn write_bucket(&self, disk: &Disk, bucket: usize, keys: &[(Reference, KeyId, Key)], lock: &Locked) -> Result<(), FolderError> {
        let mut out = Vec::with_capacity(BUCKET_START + keys.len() * ROW_BYTES + DIGEST_BYTES);
        out.extend_from_slice(BUCKET_HEADER);
        out.extend_from_slice(&u16::try_from(bucket).expect("a bucket has 12 bits").to_be_bytes());
        out.extend_from_slice(&self.version(bucket).to_be_bytes());
        out.extend_from_slice(&u32::try_from(keys.len()).expect("a bucket has far fewer than 2^32 keys").to_be_bytes());
        for (customer, id, key) in keys {
            out.extend_from_slice(customer.bytes());
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&self.seal(*customer, *id, key));
        }
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &out);
        out.extend_from_slice(digest.as_ref());
        disk.write(&self.file_name(bucket), &out, lock)
    }

    /// The rows of a bucket's file, checked as a whole: a flipped bit must not look like a customer without a key. `None`: another process has just rewritten it.
    pub(super) fn read_bucket(&self, disk: &Disk, bucket: usize) -> Result<Option<Vec<Row>>, FolderError> {
        if self.version(bucket) == 1 {
            return Ok(Some(Vec::new()));
        }
        let Some(bytes) = disk.read(&self.file_name(bucket))? else { return Ok(None) };
        self.parse_bucket(&bytes, bucket).map(Some).ok_or(FolderError::damaged("a bucket's file", "its bytes are not those that were written"))
    }

    /// One customer's rows of a bucket's file. The file is checked as a whole the first time (`checked` is the version that was), then searched by halves.
    pub(super) fn find(&self, disk: &Disk, customer: Reference, checked: &mut u64) -> Result<Option<Vec<(KeyId, SealedKey)>>, FolderError> {
        let bucket = bucket_of(customer);
        let version = self.version(bucket);
        if version == 1 {
            return Ok(Some(Vec::new()));
        }
        if *checked != version {
            if self.read_bucket(disk, bucket)?.is_none() {
                return Ok(None);
            }
            *checked = version;
        }
        match File::open(disk.path(&self.file_name(bucket))) {
            Ok(file) => find_rows(&file, customer).map(Some).map_err(super::disk::io("reading a bucket's file")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(super::disk::io("opening a bucket's file")(error)),
        }
    }

    fn parse_bucket(&self, bytes: &[u8], bucket: usize) -> Option<Vec<Row>> {
        let (whole, digest) = bytes.split_last_chunk::<DIGEST_BYTES>()?;
        if aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, whole).as_ref() != digest {
            return None;
        }
        let (start, rows) = whole.split_at_checked(BUCKET_START)?;
        let number = u16::try_from(bucket).ok()?.to_be_bytes();
        let count = u32::try_from(rows.len() / ROW_BYTES).ok()?.to_be_bytes();
        let expected = [BUCKET_HEADER.as_slice(), &number, &self.version(bucket).to_be_bytes(), &count].concat();
        if start != expected.as_slice() || rows.len() % ROW_BYTES != 0 {
            return None;
        }
        rows.chunks_exact(ROW_BYTES)
            .map(|row| {
                let (customer, row) = row.split_first_chunk::<16>()?;
                let (id, key) = row.split_first_chunk::<8>()?;
                Some((Reference::from_bytes(*customer), KeyId::from_be_bytes(*id), key.try_into().ok()?))
            })
            .collect()
    }
}

fn find_rows(file: &File, customer: Reference) -> std::io::Result<Vec<(KeyId, SealedKey)>> {
    let row = |at: u64| {
        let mut bytes = [0; ROW_BYTES];
        file.read_exact_at(&mut bytes, BUCKET_START as u64 + at * ROW_BYTES as u64)?;
        std::io::Result::Ok(bytes)
    };
    let owner = |row: &[u8; ROW_BYTES]| Reference::from_bytes(*row.first_chunk().expect("a row begins with 16 bytes"));
    let count = file.metadata()?.len().saturating_sub((BUCKET_START + DIGEST_BYTES) as u64) / ROW_BYTES as u64;
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if owner(&row(middle)?) < customer { low = middle + 1 } else { high = middle }
    }
    let mut found = Vec::new();
    for at in low..count {
        let row = row(at)?;
        if owner(&row) != customer {
            break;
        }
        let (id, key) = row[16..].split_first_chunk::<8>().expect("a row has 84 bytes");
        found.push((KeyId::from_be_bytes(*id), key.try_into().expect("a row has 84 bytes")));
    }
    Ok(found)
}

fn generation_of(bytes: &[u8]) -> Result<u64, FolderError> {
    let Some(rest) = bytes.strip_prefix(HEADER) else { return Err(FolderError::damaged(NAME, "it does not begin as an index of version 1")) };
    rest.first_chunk().map(|generation| u64::from_be_bytes(*generation)).ok_or(FolderError::damaged(NAME, "it is cut"))
}

fn bound(generation: u64) -> Vec<u8> {
    aead::bind(&[b"recado/index/v1", &generation.to_be_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewritten_bucket_has_another_key_so_its_old_bytes_open_no_more() {
        let index = Index::fresh();
        let customer = Reference::from_bytes([0x77; 16]);
        let sealed = index.seal(customer, 5, &[1; 32]);
        let mut next = index.next();
        assert!(next.open(customer, 5, &sealed).is_ok(), "other buckets keep theirs");
        next.renew(bucket_of(customer));
        next.slots[bucket_of(customer)].version = 1; // as if the version were not bound
        assert!(next.open(customer, 5, &sealed).is_err());
    }

    #[test]
    fn the_index_reads_back_under_its_root_and_a_bucket_is_the_first_12_bits() {
        let (root, mut index) = (RootKey::random(), Index::fresh());
        index.renew(0xabc);
        let read = Index::read(&index.write(&root), &root).unwrap();
        assert_eq!((read.generation, read.version(0xabc), read.version(0xabd)), (1, 2, 1));
        assert!(read.slots.iter().zip(&index.slots).all(|(read, own)| read.key == own.key));
        assert_eq!(read.file_name(0xabc), "bucket-abc-2");
        assert_eq!(bucket_of(Reference::from_bytes([0xab; 16])), 0xaba);
        assert_eq!(bucket_of(reference_of(0xabc)), 0xabc);
        for (name, stale) in
            [("bucket-abc-2", false), ("bucket-abc-3", true), ("bucket-abc-1", true), ("bucket-abd-1", true), ("index", false), ("bucket-", false)]
        {
            assert_eq!(read.stale(name), stale, "{name}");
        }
    }
}
