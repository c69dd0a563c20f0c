//! What the engine remembers on its own disk: after a Kafka commit the changes of a partition come in, with the position in the changelog up to which they
//! reach; out come the states of deliveries. The only place that knows RocksDB.
//!
//! What one would get wrong: nothing is durable after [`PartitionStore::apply`], and need not be. There is no write-ahead log; a flush makes changes and
//! position durable together, and what a crash takes comes back from the changelog behind that position. What is restored by the thousand is durable at once
//! ([`PartitionStore::load`]). A wiped store is slow, never wrong.
//!
//! One database for each process, a column family `p<number>` for each partition. Keys and values are those of `stored`: each key begins with its kind, and
//! under [`POSITION_KEY`] stands the [`Meta`].

mod load;
mod options;
mod partition;
#[cfg(test)]
pub(super) mod tests;

pub use super::stored::Meta;
pub use options::Options;
pub use partition::PartitionStore;

use super::stored::{BadBytes, POSITION_KEY};
use crate::delivery::Partition;
use rocksdb::{ColumnFamilyDescriptor, DBWithThreadMode, ErrorKind, MultiThreaded};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

type Db = DBWithThreadMode<MultiThreaded>;

/// Why the store did not do what it was asked. The texts are RocksDB's or the system's: they name files and offsets, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process has this folder open. Final: it must end first.
    #[error("the state folder is in use by another process")]
    InUse,
    /// The folder belongs to another instance: somebody has copied it. Final: give this instance a folder of its own, or empty this one.
    #[error("the state folder belongs to the instance {owner:?}, not to this one")]
    Foreign {
        /// The name in the owner mark.
        owner: String,
    },
    /// RocksDB cannot open (broken CURRENT or MANIFEST, files missing): [`Store::rebuild`] makes an empty one, and every partition is restored from its changelog.
    #[error("RocksDB does not open: {0}")]
    CannotOpen(String),
    /// Bytes are not those that were written, or of an unknown version: [`Store::drop_partition`], then restore that partition. From `apply` or `flush` it may be
    /// the fault of another partition: then the process ends, and the scan at its next start finds out whose.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// No space on the disk. The process ends: what is not written comes back from the changelog.
    #[error("the disk is full: {0}")]
    Full(String),
    /// Any other failure of the disk. The process ends.
    #[error("the store failed: {0}")]
    Io(String),
    /// The partition was dropped, and not opened again since.
    #[error("the partition is not in the store")]
    NoPartition,
    /// It was opened once more since: another thread of this process has it now, and what is not written from the changelog.
    #[error("another thread of this process has taken the partition over")]
    Taken,
}

impl From<rocksdb::Error> for StoreError {
    fn from(error: rocksdb::Error) -> Self {
        let kind = error.kind();
        told(kind, error.into_string())
    }
}

impl From<BadBytes> for StoreError {
    fn from(bad: BadBytes) -> Self {
        Self::Corrupt(format!("the position: {bad}"))
    }
}

fn told(kind: ErrorKind, text: String) -> StoreError {
    match kind {
        _ if text.contains("No space left on device") || text.contains("Disk quota exceeded") => StoreError::Full(text),
        ErrorKind::Corruption | ErrorKind::NotSupported => StoreError::Corrupt(text),
        _ => StoreError::Io(text),
    }
}

/// What cannot be read now (permissions, a failing disk, too many open files) is no reason to throw a database away; what is broken or missing is.
fn not_opened(kind: ErrorKind, text: String) -> StoreError {
    let of_the_disk = kind == ErrorKind::IOError;
    match told(kind, text) {
        StoreError::Io(text) if of_the_disk && !text.contains("No such file or directory") => StoreError::Io(text),
        StoreError::Full(text) => StoreError::Full(text),
        other => StoreError::CannotOpen(other.to_string()),
    }
}

fn io(what: &'static str) -> impl Fn(std::io::Error) -> StoreError {
    move |error| match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreError::Full(format!("{what}: {error}")),
        _ => StoreError::Io(format!("{what}: {error}")),
    }
}

/// The database of this process. Clones are the same database; it closes, and writes what is not yet written, when the last one and the last
/// [`PartitionStore`] are dropped.
#[derive(Clone)]
pub struct Store {
    open: Arc<Open>,
}

struct Open {
    db: Db,
    tuning: options::Tuning,
    /// How often each partition was opened. Held while a column family is made or dropped.
    terms: Mutex<BTreeMap<Partition, Arc<Mutex<u64>>>>,
    /// Holds the lock of the folder.
    _owner: File,
}

impl Store {
    /// Opens the state folder, or makes one.
    ///
    /// `owner` is the instance's stable name: a folder that bears another one was copied, and is refused. Errors: [`StoreError::InUse`], [`StoreError::Foreign`],
    /// [`StoreError::CannotOpen`] (then [`Store::rebuild`]), [`StoreError::Full`], [`StoreError::Io`].
    pub fn open(folder: &Path, owner: &str, options: &Options) -> Result<Self, StoreError> {
        let mark = own(folder, owner)?;
        Self::open_owned(folder, mark, options)
    }

    /// Throws the database away and opens an empty one: after [`StoreError::CannotOpen`] only. Another owner's folder is refused here too.
    pub fn rebuild(folder: &Path, owner: &str, options: &Options) -> Result<Self, StoreError> {
        let mark = own(folder, owner)?;
        match std::fs::remove_dir_all(database(folder)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io("removing the database")(error)),
            _ => {}
        }
        Self::open_owned(folder, mark, options)
    }

    fn open_owned(folder: &Path, mark: File, options: &Options) -> Result<Self, StoreError> {
        load::remove_rests(folder).map_err(io("removing tables that were not taken over"))?;
        let path = database(folder);
        let is_new = match std::fs::read_dir(&path) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
            Err(error) => return Err(io("looking into the state folder")(error)),
        };
        let mut tuning = options::Tuning::new(options);
        let opened = open_database(&path, is_new, &tuning).or_else(|error| match error {
            // A RocksDB that was built without LZ4 says so when it is asked to use it.
            error if error.as_ref().contains("not linked") => {
                tracing::warn!("This RocksDB was built without LZ4: the state is stored uncompressed.");
                tuning = options::Tuning::new(&Options { compression: false, ..options.clone() });
                open_database(&path, is_new, &tuning)
            }
            error => Err(error),
        });
        let db = opened.map_err(|error| not_opened(error.kind(), error.into_string()))?;
        Ok(Self { open: Arc::new(Open { db, tuning, terms: Mutex::default(), _owner: mark }) })
    }

    /// The store of one partition, made when there is none: an empty one has no [`PartitionStore::meta`]. Those that were opened before write no more: a thread
    /// that Kafka has left out, and that does not know it yet, would write old states over what its heir has written, and the position over them would hide it.
    pub fn partition(&self, partition: Partition) -> Result<PartitionStore, StoreError> {
        let name = name_of(partition);
        let mut terms = self.open.terms.lock().unwrap_or_else(PoisonError::into_inner);
        if self.open.db.cf_handle(&name).is_none() {
            self.open.db.create_cf(&name, self.open.tuning.options())?;
        }
        let term = terms.entry(partition).or_default().clone();
        Ok(PartitionStore::new(self.open.clone(), name, term))
    }

    /// The partitions that have a store, in ascending order.
    pub fn partitions(&self, n: u16) -> Vec<Partition> {
        (0..n).map(Partition).filter(|partition| self.open.db.cf_handle(&name_of(*partition)).is_some()).collect()
    }

    /// Throws one partition away, without a tombstone: given away for good, or to be restored from nothing. One that is not there is a success. A
    /// [`PartitionStore`] of it says [`StoreError::NoPartition`] from now on.
    pub fn drop_partition(&self, partition: Partition) -> Result<(), StoreError> {
        let name = name_of(partition);
        let _terms = self.open.terms.lock().unwrap_or_else(PoisonError::into_inner);
        match self.open.db.cf_handle(&name).is_some() {
            true => Ok(self.open.db.drop_cf(&name)?),
            false => Ok(()),
        }
    }
}

fn name_of(partition: Partition) -> String {
    format!("p{}", partition.0)
}

fn database(folder: &Path) -> PathBuf {
    folder.join("rocksdb")
}

/// Never repairs and never guesses: a folder that holds anything must hold a whole database.
fn open_database(path: &Path, is_new: bool, tuning: &options::Tuning) -> Result<Db, rocksdb::Error> {
    let mut options = tuning.options().clone();
    options.create_if_missing(is_new);
    let families = if is_new { vec![rocksdb::DEFAULT_COLUMN_FAMILY_NAME.to_owned()] } else { Db::list_cf(&options, path)? };
    let families = families.into_iter().map(|name| ColumnFamilyDescriptor::new(name, tuning.options().clone()));
    Db::open_cf_descriptors(&options, path, families)
}

/// Takes the folder's lock, and reads or writes whose it is.
fn own(folder: &Path, owner: &str) -> Result<File, StoreError> {
    std::fs::create_dir_all(folder).map_err(io("making the state folder"))?;
    let path = folder.join("owner");
    let mut mark = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io("opening the owner mark"))?;
    match mark.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StoreError::InUse),
        Err(TryLockError::Error(error)) => return Err(io("locking the owner mark")(error)),
    }
    let mut text = String::new();
    mark.read_to_string(&mut text).map_err(io("reading the owner mark"))?;
    match text.strip_suffix('\n') {
        Some(name) if name == owner => {}
        Some(name) => return Err(StoreError::Foreign { owner: name.to_owned() }),
        // Empty, or cut by a crash while it was written: nobody had used the folder yet.
        None => {
            mark.rewind()
                .and_then(|()| mark.set_len(0))
                .and_then(|()| mark.write_all(format!("{owner}\n").as_bytes()))
                .map_err(io("writing the owner mark"))?;
            mark.sync_all().map_err(io("writing the owner mark"))?;
        }
    }
    Ok(mark)
}
