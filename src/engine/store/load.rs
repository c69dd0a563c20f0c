//! Tables that are written beside the database and then taken over by it, all of them or none: how a store that was lost is filled.
//!
//! Easily got wrong: RocksDB puts a table into the lowest level in which nothing overlaps it, from the smallest to the largest of its keys. So each kind of key has a
//! table of its own: one that held the position too would reach over all states, and the next one would lie on it, to be compacted at once.

use super::{Open, StoreError, io};
use rocksdb::{BoundColumnFamily, DBCompressionType, IngestExternalFileOptions, Options, SstFileWriter};
use std::io::ErrorKind;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// So begin the names of tables that are not taken over yet.
const BEGINS: &str = "loading-";

/// Whole tables that nobody has taken over yet. Those that nobody does are removed.
pub(super) struct Tables<'a> {
    open: &'a Open,
    partition: &'a str,
    options: Options,
    paths: Vec<PathBuf>,
}

impl<'a> Tables<'a> {
    /// None, for this partition.
    pub(super) fn new(open: &'a Open, partition: &'a str) -> Self {
        let mut options = open.tuning.options().clone();
        // As in the first level: most of it ends within minutes.
        options.set_compression_type(DBCompressionType::None);
        options.set_compression_per_level(&[DBCompressionType::None]);
        Self { open, partition, options, paths: Vec::new() }
    }

    /// A table for each kind of key. Keys ascend, and each stands there once.
    pub(super) fn write<'b>(&mut self, changes: impl IntoIterator<Item = (&'b [u8], Option<&'b [u8]>)>) -> Result<(), StoreError> {
        let mut changes = changes.into_iter().peekable();
        while let Some((key, _)) = changes.peek() {
            let kind = key.first().copied();
            self.of_kind(kind, &mut changes)?;
        }
        Ok(())
    }

    fn of_kind<'b>(&mut self, kind: Option<u8>, changes: &mut Peekable<impl Iterator<Item = (&'b [u8], Option<&'b [u8]>)>>) -> Result<(), StoreError> {
        let folder = self.open.db.path().parent().unwrap_or_else(|| Path::new("."));
        let path = folder.join(format!("{BEGINS}{}-{}.sst", self.partition, self.paths.len()));
        // It is written where it lies: one that could not be removed after it was taken over is the database's.
        remove(&path).map_err(io("removing a table that was not taken over"))?;
        self.paths.push(path.clone());
        let mut table = SstFileWriter::create(&self.options);
        table.open(&path)?;
        while let Some((key, value)) = changes.next_if(|(key, _)| key.first().copied() == kind) {
            match value {
                Some(value) => table.put(key, value)?,
                None => table.delete(key)?,
            }
        }
        Ok(table.finish()?)
    }

    /// Hands all of them to the database. What it holds in memory of the partition is to be flushed before: it would do that itself, while all others wait.
    pub(super) fn take_over(&self, family: &Arc<BoundColumnFamily<'_>>) -> Result<(), StoreError> {
        let hand_over = |moved| {
            let mut options = IngestExternalFileOptions::default();
            options.set_move_files(moved);
            self.open.db.ingest_external_file_cf_opts(family, &options, self.paths.clone())
        };
        // A file system that links no files has them copied.
        Ok(hand_over(true).or_else(|error| if error.kind() == rocksdb::ErrorKind::IOError { hand_over(false) } else { Err(error) })?)
    }
}

impl Drop for Tables<'_> {
    fn drop(&mut self) {
        for path in &self.paths {
            if let Err(error) = remove(path) {
                tracing::warn!(%error, "A table that was not taken over stays until the next start.");
            }
        }
    }
}

/// A file that is not there is removed.
fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes what a process that died has left: it is in no store, and comes back from the changelog.
pub(super) fn remove_rests(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(BEGINS.as_bytes()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
