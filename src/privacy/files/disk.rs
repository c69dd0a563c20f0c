//! The key folder as files: one lock, whole files replaced at once, one log that only grows.
//!
//! What a reader without the lock sees is whole: a file is replaced by a rename, and the log's tail is believed only up to its last whole entry.

use super::FolderError;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The folder; nothing of it stays open, as other processes replace its files.
pub(super) struct Disk {
    folder: PathBuf,
}

/// Held while the folder is changed; another process, or another user in this one, waits.
pub(super) struct Locked {
    _file: File,
}

/// How often, and how long each time, the lock is waited for: 5 s in all. Its holders do a few writes and fsyncs.
const LOCK_TRIES: u32 = 2000;
const LOCK_PAUSE: Duration = Duration::from_micros(2500);

impl Disk {
    /// Makes the folder, for its owner alone, when there is none.
    pub(super) fn open(folder: &Path) -> Result<Self, FolderError> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io("making the key folder"))?;
        Ok(Self { folder: folder.to_owned() })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The lock of the kernel goes with its process, so a killed one leaves none behind.
    pub(super) fn lock(&self) -> Result<Locked, FolderError> {
        let file = writable(OpenOptions::new().create(true).truncate(false), &self.path("lock")).map_err(io("opening the lock of the key folder"))?;
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Locked { _file: file }),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(error)) => return Err(io("locking the key folder")(error)),
            }
        }
        Err(FolderError::Locked)
    }

    /// A whole file; `None` when there is none.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FolderError> {
        match std::fs::read(self.path(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io("reading a file of the key folder")(error)),
        }
    }

    /// Writes a new file and its bytes to the disk. Its name is durable after [`Disk::sync`].
    pub(super) fn write(&self, name: &str, bytes: &[u8], _lock: &Locked) -> Result<(), FolderError> {
        let mut file = writable(OpenOptions::new().create(true).truncate(true), &self.path(name)).map_err(io("making a file of the key folder"))?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io("writing a file of the key folder"))
    }

    /// Puts new bytes in the place of a file: before a crash the old ones, after it the old or the new ones, on return the new ones.
    pub(super) fn replace(&self, name: &str, bytes: &[u8], lock: &Locked) -> Result<(), FolderError> {
        let new = format!("{name}.new");
        self.write(&new, bytes, lock)?;
        std::fs::rename(self.path(&new), self.path(name)).map_err(io("replacing a file of the key folder"))?;
        self.sync()
    }

    /// Makes durable which names the folder has.
    pub(super) fn sync(&self) -> Result<(), FolderError> {
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(io("syncing the key folder"))
    }

    /// Removes files whose name `unwanted` says yes to.
    pub(super) fn sweep(&self, _lock: &Locked, unwanted: impl Fn(&str) -> bool) -> Result<(), FolderError> {
        for entry in std::fs::read_dir(&self.folder).map_err(io("listing the key folder"))? {
            let name = entry.map_err(io("listing the key folder"))?.file_name();
            if name.to_str().is_some_and(&unwanted) {
                std::fs::remove_file(self.folder.join(&name)).map_err(io("removing a file of the key folder"))?;
            }
        }
        Ok(())
    }

    /// Writes over what stands at `at`, which needs no room, and is durable on return.
    pub(super) fn overwrite(&self, name: &str, at: u64, bytes: &[u8], _lock: &Locked) -> Result<(), FolderError> {
        let file = OpenOptions::new().write(true).open(self.path(name)).map_err(io("opening the key log"))?;
        file.write_all_at(bytes, at).and_then(|()| file.sync_data()).map_err(io("writing the key log"))
    }

    /// Appends at `end`, and is durable on return. Whatever lies behind `end` is a torn write and is cut first; after a failure the new bytes are cut again. A file
    /// that ends before `end` is an error: whoever asks has read what is not there.
    pub(super) fn append(&self, name: &str, end: u64, bytes: &[u8], _lock: &Locked) -> Result<(), FolderError> {
        let mut file = OpenOptions::new().append(true).open(self.path(name)).map_err(io("opening the key log"))?;
        let written = (|| {
            match file.metadata()?.len() {
                shorter if shorter < end => return Err(io::Error::other("it is shorter than it was")),
                longer if longer > end => file.set_len(end)?,
                _ => {}
            }
            // First the room: on a full disk a part of the bytes would be there to be read before the rest fails.
            reserve(&file, end, bytes.len())?;
            file.write_all(bytes)?;
            file.sync_data()
        })();
        written.map_err(|error| {
            // What could not be made durable must not be read by anybody. If even this fails, readers still sync before they seal under what they read.
            if file.metadata().is_ok_and(|metadata| metadata.len() > end) {
                let _cut = file.set_len(end);
            }
            io("writing the key log")(error)
        })
    }
}

/// Has the file system set aside so many bytes from `end` on, which stay invisible. One that cannot has no such promise to give.
fn reserve(file: &File, end: u64, bytes: usize) -> io::Result<()> {
    let (Ok(end), Ok(bytes)) = (libc::off_t::try_from(end), libc::off_t::try_from(bytes)) else { return Ok(()) };
    #[expect(unsafe_code, reason = "the standard library cannot ask for room")]
    // SAFETY: the descriptor is open for as long as `file` is borrowed; the call touches no memory of ours.
    let done = unsafe { libc::fallocate(file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, end, bytes) };
    let error = io::Error::last_os_error();
    if done == 0 || matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINTR)) { Ok(()) } else { Err(error) }
}

fn writable(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.write(true).mode(0o600).open(path)
}

pub(super) fn io(what: &'static str) -> impl Fn(io::Error) -> FolderError {
    move |source| FolderError::Io { what, source }
}
