//! The embedded key service: keys in files of one folder, sealed under a root key that the bank keeps elsewhere. Several processes of one host share it.
//!
//! What one would get wrong: a key counts only once it is durable, also one that another process made a moment ago; and a key that is gone stays gone, so a
//! damaged file is never taken for a missing key.
//!
//! The folder, all files readable by their owner alone, numbers big-endian, the version last in an 8-byte header:
//!
//! | file | what | changes |
//! |---|---|---|
//! | `lock` | empty; whoever changes the folder holds it | never |
//! | `pepper` | the pepper, under the root | never |
//! | `index` | 4,096 bucket keys and versions, under the root | replaced when buckets are rewritten |
//! | `keys.log` | new customer keys under their bucket's key | grows; emptied when it is folded into the buckets |
//! | `bucket-<hex>-<version>` | a bucket's keys at its last rewriting | replaced by its next version |
//! | `epochs` | code epoch and day keys, under the root | replaced every five minutes |
//!
//! Honest limit: whoever reads old disk blocks *and* holds the root can rebuild what was destroyed.

mod disk;
mod epochs;
mod index;
mod log;
mod root;
#[cfg(test)]
mod tests;

pub use root::RootKey;

use super::aead;
use super::keys::{KeyError, KeyId, KeyKind, KeyService, SharedKey};
use super::{Pepper, Reference};
use crate::delivery::Timestamp;
use crate::observe;
use disk::{Disk, Locked};
use epochs::Epochs;
use index::{BUCKETS, Index, bucket_of};
use log::{Entry, Log, Tail};
use smallvec::{SmallVec, smallvec};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use zeroize::Zeroizing;

/// Why a key folder cannot be used. None of it names a person or holds a key.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The disk refuses: worth another try when somebody has looked.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// The bytes of a file are not those that were written: it must come back from a backup.
    #[error("{file} in the key folder is damaged: {what}")]
    Damaged {
        /// Which file.
        file: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Another root key made this folder, or the file is damaged.
    #[error("{file} in the key folder does not open with this root key")]
    WrongRoot {
        /// Which file.
        file: &'static str,
    },
    /// There is none. A new one would be no help: what was sealed before opens with the old keys alone, and another pepper changes every reference.
    #[error("there is no key folder here: is it mounted? `recado keys --create` makes a new one")]
    Missing,
    /// Somebody holds the lock for longer than any change takes.
    #[error("the key folder stayed locked by another process")]
    Locked,
}

impl FolderError {
    fn damaged(file: &'static str, what: &'static str) -> Self {
        Self::Damaged { file, what }
    }
}

/// A longer cache would break the bound of an erasure. Source: privacy.md §2.
const CACHE_MAX: Duration = Duration::from_secs(5 * 60);
/// Cached copies whose time is over are looked for this often, when keys are asked for.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// A longer log is folded into the buckets when the folder is opened: 335,000 new customers. Bounds memory (100 bytes each) and the start: measured with twice
/// as many and unoptimised, reading 1 s and folding 3 s.
const LOG_BYTES_MAX: u64 = 32 << 20;
/// How often the folder may change under a reader before it gives up for now.
const READ_TRIES: usize = 5;

/// The embedded default: keys in files, sealed by a root key.
pub struct FileKeys {
    disk: Disk,
    root: RootKey,
    ttl: Duration,
    clock: Clock,
    pepper: Arc<Pepper>,
    state: Mutex<State>,
}

type Clock = Box<dyn Fn() -> Duration + Send + Sync>;
type Found = (KeyId, SharedKey);

struct State {
    index: Index,
    log: Log,
    /// The version of each bucket's file that was found whole.
    checked: Vec<u64>,
    cache: HashMap<Reference, Cached, foldhash::fast::RandomState>,
    swept: Duration,
    epochs: Epochs,
    epochs_read: Duration,
    /// Whether the last answer was *unavailable*: one log line for each time that it begins.
    failing: bool,
}

/// The keys of one customer, oldest first, as the folder had them at `since`.
struct Cached {
    keys: SmallVec<[Found; 1]>,
    since: Duration,
}

impl FileKeys {
    /// Opens a key folder, or makes one where there is none.
    ///
    /// - `root`: wraps all other keys; the bank keeps it.
    /// - `ttl`: how long a key may be used without another look into the folder: the bound of an erasure by another process. At most 5 min; 60 s is usual.
    /// - Errors: a folder of another root, damaged files, files missing beside others (a new pepper would change every reference), a disk that refuses.
    pub fn open(folder: &Path, root: RootKey, ttl: Duration) -> Result<Self, FolderError> {
        Self::open_with_clock(folder, root, ttl, Box::new(crate::clock::monotonic))
    }

    /// Opens a key folder that is there: [`FolderError::Missing`] where there is none.
    pub fn open_existing(folder: &Path, root: RootKey, ttl: Duration) -> Result<Self, FolderError> {
        let index = folder.join(index::NAME);
        if !index.try_exists().map_err(disk::io("looking for the key folder"))? {
            return Err(FolderError::Missing);
        }
        Self::open(folder, root, ttl)
    }

    fn open_with_clock(folder: &Path, root: RootKey, ttl: Duration, clock: Clock) -> Result<Self, FolderError> {
        let disk = Disk::open(folder)?;
        let lock = disk.lock()?;
        let pepper = open_or_make(&disk, &root, &lock)?;
        let index = Index::read(&disk.read(index::NAME)?.ok_or(FolderError::damaged(index::NAME, "it is missing"))?, &root)?;
        disk.sweep(&lock, |name| name.ends_with(".new") || index.stale(name))?;
        let epochs = disk.read(epochs::NAME)?.map_or(Ok(Epochs::default()), |bytes| Epochs::read(&bytes, &root))?;
        let now = clock();
        let state =
            State { index, log: Log::default(), checked: vec![0; BUCKETS], cache: HashMap::default(), swept: now, epochs, epochs_read: now, failing: false };
        let keys = Self { disk, root, ttl: ttl.min(CACHE_MAX), clock, pepper: Arc::new(pepper), state: Mutex::new(state) };
        {
            let mut state = keys.state();
            keys.refresh(&mut state)?;
            state.log.sync(&keys.disk)?;
            if state.log.read > LOG_BYTES_MAX {
                keys.fold(&mut state, &lock)?;
            }
        }
        Ok(keys)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings memory to what the folder holds now.
    fn refresh(&self, state: &mut State) -> Result<(), FolderError> {
        for _ in 0..READ_TRIES {
            if Index::generation_on(&self.disk)? != state.index.generation {
                let bytes = self.disk.read(index::NAME)?.ok_or(FolderError::damaged(index::NAME, "it is missing"))?;
                state.index = Index::read(&bytes, &self.root)?;
                state.log = Log::default();
                state.cache.clear();
            }
            let before = state.log.place();
            let tail = state.log.read_tail(&self.disk, &state.index)?;
            if !state.log.continues(before) {
                state.cache.clear(); // it was begun anew: what was read of it before may have been cut
            }
            // An index that was replaced meanwhile belongs to another log: what both say together would be of no time.
            if tail == Tail::Read && Index::generation_on(&self.disk)? == state.index.generation {
                return Ok(());
            }
        }
        Err(FolderError::damaged(log::NAME, "it is ahead of the index"))
    }

    /// All keys of a customer, oldest first, as the folder has them now; they are cached.
    fn look_up(&self, state: &mut State, customer: Reference) -> Result<Vec<Found>, FolderError> {
        for _ in 0..READ_TRIES {
            let Some(rows) = state.index.find(&self.disk, customer, &mut state.checked[bucket_of(customer)])? else {
                self.refresh(state)?;
                continue;
            };
            let sealed = rows.iter().map(|(id, key)| (*id, key)).chain(state.log.keys_of(customer));
            let mut keys = sealed.map(|(id, key)| Ok((id, Arc::new(state.index.open(customer, id, key)?)))).collect::<Result<Vec<Found>, FolderError>>()?;
            keys.sort_by_key(|(id, _)| *id);
            if !keys.is_empty() {
                state.cache.insert(customer, Cached { keys: keys.iter().cloned().collect(), since: (self.clock)() });
            }
            return Ok(keys);
        }
        Err(FolderError::damaged("a bucket's file", "it is missing"))
    }

    fn cached<'a>(&self, state: &'a mut State, customer: Reference) -> Option<&'a Cached> {
        let now = (self.clock)();
        self.sweep(state, now);
        self.cached_at(state, customer, now)
    }

    fn cached_at<'a>(&self, state: &'a State, customer: Reference, now: Duration) -> Option<&'a Cached> {
        state.cache.get(&customer).filter(|cached| now.saturating_sub(cached.since) < self.ttl)
    }

    /// Drops, and so clears, what is over.
    fn sweep(&self, state: &mut State, now: Duration) {
        if now.saturating_sub(state.swept) >= SWEEP_EVERY {
            state.cache.retain(|_, cached| now.saturating_sub(cached.since) < self.ttl);
            state.swept = now;
        }
    }

    /// Those of the customers who have no key in the folder; the keys of the others are in memory and durable then.
    fn without_key(&self, state: &mut State, customers: &[Reference]) -> Result<BTreeSet<Reference>, FolderError> {
        let now = (self.clock)();
        self.sweep(state, now);
        let unread: BTreeSet<_> = customers.iter().copied().filter(|customer| self.cached_at(state, *customer, now).is_none()).collect();
        // Each key is asked for behind this, and lies where no cache of the processor has it: looked at in a row they are waited for together.
        let looked_at = customers.iter().filter_map(|customer| state.cache.get(customer)?.keys.last()).fold(0, |all, (_, key)| all ^ key[0]);
        std::hint::black_box(looked_at);
        let mut missing = BTreeSet::new();
        if !unread.is_empty() {
            self.refresh(state)?;
        }
        for customer in unread {
            if self.look_up(state, customer)?.is_empty() {
                missing.insert(customer);
            }
        }
        state.log.sync(&self.disk)?;
        Ok(missing)
    }

    /// Makes the keys that are missing, under the lock: two engines never make two first keys for one customer.
    fn make(&self, customers: &[Reference], now: Timestamp) -> Result<(), FolderError> {
        let missing = self.without_key(&mut self.state(), customers)?;
        if missing.is_empty() {
            return Ok(());
        }
        let lock = self.disk.lock()?;
        let mut bytes = Vec::with_capacity(missing.len() * log::ENTRY_BYTES);
        let mut made = Vec::with_capacity(missing.len());
        let end = {
            let mut state = self.state();
            self.refresh(&mut state)?;
            let missing: Vec<_> = missing.into_iter().collect();
            for customer in self.without_key(&mut state, &missing)? {
                let (id, key) = (fresh_id(now), Zeroizing::new(aead::random()));
                let sealed = state.index.seal(customer, id, &key);
                let place = u32::try_from(made.len()).expect("a batch has fewer than 2^32 customers");
                Entry { customer, id, version: state.index.version(bucket_of(customer)), place, key: sealed }.write(&mut bytes);
                made.push((customer, id, key, sealed));
            }
            state.log.read
        };
        if made.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.disk.append(log::NAME, end, &bytes, &lock) {
            // Somebody may have read entries that are cut again: with another number everybody reads anew, this process too.
            let renumbered = self.disk.overwrite(log::NAME, log::NUMBER_AT, &KeyId::from_be_bytes(aead::random()).to_be_bytes(), &lock);
            let mut state = self.state();
            state.log = Log::default();
            state.cache.clear();
            return Err(renumbered.err().unwrap_or(error));
        }
        observe::privacy::keys_created(KeyKind::Customer, made.len());
        let mut state = self.state();
        let since = (self.clock)();
        state.log.read = state.log.read.max(end + bytes.len() as u64);
        state.log.synced = state.log.synced.max(end + bytes.len() as u64);
        for (customer, id, key, sealed) in made {
            state.log.add(customer, id, sealed);
            state.cache.insert(customer, Cached { keys: smallvec![(id, Arc::new(key))], since });
        }
        Ok(())
    }

    /// The newest key, if the folder has one; then it is durable.
    fn newest(&self, customer: Reference) -> Option<Found> {
        let mut state = self.state();
        let durable = state.log.synced >= state.log.read;
        self.cached(&mut state, customer).filter(|_| durable)?.keys.last().cloned()
    }

    /// Rewrites buckets without the keys of some customers, each under a fresh bucket key; returns how many keys went. Order: the new files, then the index,
    /// which makes them count, then the old files go.
    fn rewrite(&self, state: &mut State, buckets: &BTreeMap<usize, BTreeSet<Reference>>, lock: &Locked) -> Result<usize, FolderError> {
        let mut next = state.index.next();
        let mut destroyed = 0;
        for (&bucket, gone) in buckets {
            let rows = state.index.read_bucket(&self.disk, bucket)?.ok_or(FolderError::damaged("a bucket's file", "it is missing"))?;
            let logged = state.log.keys_in(bucket).map(|(customer, id, key)| (customer, id, *key));
            let mut keys = Vec::new();
            for (customer, id, key) in rows.iter().copied().chain(logged) {
                match gone.contains(&customer) {
                    true => destroyed += 1,
                    false => keys.push((customer, id, state.index.open(customer, id, &key)?)),
                }
            }
            keys.sort_by_key(|(customer, id, _)| (*customer, *id));
            next.renew(bucket);
            next.write_bucket(&self.disk, bucket, &keys, lock)?;
        }
        self.disk.sync()?;
        self.disk.replace(index::NAME, &next.write(&self.root), lock)?;
        state.index = next;
        state.log.forget(|bucket| buckets.contains_key(&bucket));
        for customer in buckets.values().flatten() {
            state.cache.remove(customer);
        }
        let index = &state.index;
        self.disk.sweep(lock, |name| index.stale(name))?;
        Ok(destroyed)
    }

    /// Moves all keys of the log into the files of their buckets, and begins an empty log.
    fn fold(&self, state: &mut State, lock: &Locked) -> Result<(), FolderError> {
        let buckets = state.log.buckets().into_iter().map(|bucket| (bucket, BTreeSet::new())).collect();
        self.rewrite(state, &buckets, lock)?;
        self.disk.replace(log::NAME, &log::start(KeyId::from_be_bytes(aead::random())), lock)?;
        self.refresh(state)
    }

    fn destroy(&self, customer: Reference) -> Result<(), FolderError> {
        let lock = self.disk.lock()?;
        let mut state = self.state();
        self.refresh(&mut state)?;
        if self.look_up(&mut state, customer)?.is_empty() {
            return Ok(());
        }
        let destroyed = self.rewrite(&mut state, &BTreeMap::from([(bucket_of(customer), BTreeSet::from([customer]))]), &lock)?;
        observe::privacy::keys_destroyed(KeyKind::Customer, destroyed);
        Ok(())
    }

    /// Reads the epoch keys again when that is due, or when `at_once`.
    fn refresh_epochs(&self, state: &mut State, at_once: bool) -> Result<(), FolderError> {
        let now = (self.clock)();
        if !at_once && now.saturating_sub(state.epochs_read) < self.ttl {
            return Ok(());
        }
        if let Some(bytes) = self.disk.read(epochs::NAME)? {
            let epochs = Epochs::read(&bytes, &self.root)?;
            if epochs.generation != state.epochs.generation {
                self.disk.sync()?; // whoever replaced the file may not have got so far
                state.epochs = epochs;
            }
        } else if state.epochs.generation > 0 {
            return Err(FolderError::damaged(epochs::NAME, "it is missing"));
        }
        state.epochs_read = now;
        Ok(())
    }

    fn epoch_key(&self, kind: KeyKind, id: KeyId) -> Result<Option<SharedKey>, FolderError> {
        let mut state = self.state();
        self.refresh_epochs(&mut state, false)?;
        if state.epochs.key(kind, id).is_none() {
            self.refresh_epochs(&mut state, true)?;
        }
        Ok(state.epochs.key(kind, id).cloned())
    }

    /// `None` when that epoch's key was destroyed.
    fn epoch_key_or_made(&self, kind: KeyKind, id: KeyId) -> Result<Option<SharedKey>, FolderError> {
        if let Some(key) = self.epoch_key(kind, id)? {
            return Ok(Some(key));
        }
        let lock = self.disk.lock()?;
        let mut state = self.state();
        self.refresh_epochs(&mut state, true)?;
        if state.epochs.key(kind, id).is_none() && !state.epochs.gone(kind, id) {
            let next = state.epochs.with(kind, id);
            self.disk.replace(epochs::NAME, &next.write(&self.root), &lock)?;
            state.epochs = next;
            observe::privacy::keys_created(kind, 1);
        }
        Ok(state.epochs.key(kind, id).cloned())
    }

    fn destroy_epochs(&self, now: Timestamp) -> Result<usize, FolderError> {
        {
            let mut state = self.state();
            let clock = (self.clock)();
            self.sweep(&mut state, clock);
            self.refresh_epochs(&mut state, true)?;
            if state.epochs.without_past(now).is_none() {
                return Ok(0);
            }
        }
        let lock = self.disk.lock()?;
        let mut state = self.state();
        self.refresh_epochs(&mut state, true)?;
        let Some((next, destroyed)) = state.epochs.without_past(now) else { return Ok(0) };
        self.disk.replace(epochs::NAME, &next.write(&self.root), &lock)?;
        state.epochs = next;
        for (kind, count) in destroyed {
            observe::privacy::keys_destroyed(kind, count);
        }
        Ok(destroyed.iter().map(|(_, count)| count).sum())
    }

    /// Turns what the folder says into what callers can act upon. A folder that fails is *unavailable*, never *gone*.
    fn answer<T>(&self, result: Result<T, FolderError>) -> Result<T, KeyError> {
        let was_failing = std::mem::replace(&mut self.state().failing, result.is_err());
        result.map_err(|error| {
            observe::privacy::key_unavailable();
            if !was_failing {
                tracing::error!(%error, "The key folder cannot be used: nothing is sealed or opened until it can.");
            }
            KeyError::Unavailable
        })
    }
}

impl KeyService for FileKeys {
    fn prepare(&self, customers: &[Reference], now: Timestamp) -> Result<(), KeyError> {
        self.answer(self.make(customers, now))
    }

    fn customer(&self, customer: Reference, now: Timestamp) -> Result<Found, KeyError> {
        for _ in 0..READ_TRIES {
            if let Some(found) = self.newest(customer) {
                return Ok(found);
            }
            self.prepare(&[customer], now)?;
        }
        Err(KeyError::Unavailable)
    }

    fn customer_by_id(&self, customer: Reference, id: KeyId) -> Result<SharedKey, KeyError> {
        let of = |keys: &[Found]| keys.iter().find(|(own, _)| *own == id).map(|(_, key)| key.clone());
        let cached = self.cached(&mut self.state(), customer).and_then(|cached| of(&cached.keys));
        if let Some(key) = cached {
            return Ok(key);
        }
        let read = {
            let mut state = self.state();
            self.refresh(&mut state).and_then(|()| self.look_up(&mut state, customer))
        };
        of(&self.answer(read)?).ok_or(KeyError::Gone)
    }

    fn epoch(&self, kind: KeyKind, at: Timestamp) -> Result<Found, KeyError> {
        let id = kind.epoch_id(at).expect("only codes and days have epochs");
        let key = self.answer(self.epoch_key_or_made(kind, id))?;
        key.map(|key| (id, key)).ok_or(KeyError::Unavailable)
    }

    fn epoch_by_id(&self, kind: KeyKind, id: KeyId) -> Result<SharedKey, KeyError> {
        assert!(kind != KeyKind::Customer, "only codes and days have epochs");
        self.answer(self.epoch_key(kind, id))?.ok_or(KeyError::Gone)
    }

    fn destroy_customer(&self, customer: Reference) -> Result<(), KeyError> {
        self.answer(self.destroy(customer))
    }

    fn destroy_past(&self, now: Timestamp) -> Result<usize, KeyError> {
        self.answer(self.destroy_epochs(now))
    }

    fn pepper(&self) -> Arc<Pepper> {
        self.pepper.clone()
    }
}

/// 44 bits of time in ms, 20 random bits: a later key of a customer has a larger id, and a key that was destroyed never gets its id back.
fn fresh_id(now: Timestamp) -> KeyId {
    let millis = u64::try_from(now.millis()).unwrap_or(0).min((1 << 44) - 1);
    millis << 20 | KeyId::from_be_bytes(aead::random()) >> 44
}

/// The pepper. A folder without an index and without keys in its log is new, or was being made when its process died: what it lacks is made.
fn open_or_make(disk: &Disk, root: &RootKey, lock: &Locked) -> Result<Pepper, FolderError> {
    const PEPPER: &str = "pepper";
    const HEADER: &[u8; 8] = b"RCDPEP\0\x01";
    let bound = aead::bind(&[b"recado/pepper/v1"]);
    let log_bytes = disk.read(log::NAME)?.map(|bytes| bytes.len());
    let is_new = disk.read(index::NAME)?.is_none();
    if is_new && (log_bytes.is_some_and(|bytes| !log::is_empty(bytes)) || disk.read(epochs::NAME)?.is_some()) {
        return Err(FolderError::damaged(index::NAME, "it is missing beside keys"));
    }
    if !is_new && log_bytes.is_none() {
        return Err(FolderError::damaged(log::NAME, "it is missing"));
    }
    if disk.read(PEPPER)?.is_none() && is_new {
        let mut bytes = HEADER.to_vec();
        aead::seal_into(&mut bytes, &root.0, aead::random(), &bound, Zeroizing::new(aead::random::<32>()).as_slice());
        disk.replace(PEPPER, &bytes, lock)?;
    }
    let bytes = disk.read(PEPPER)?.ok_or(FolderError::damaged(PEPPER, "it is missing"))?;
    let sealed = bytes.strip_prefix(HEADER).ok_or(FolderError::damaged(PEPPER, "it does not begin as a pepper of version 1"))?;
    let pepper = aead::open_key(&root.0, &bound, sealed).ok_or(FolderError::WrongRoot { file: PEPPER })?;
    if is_new {
        disk.replace(log::NAME, &log::start(1), lock)?;
        disk.replace(index::NAME, &Index::fresh().write(root), lock)?;
    }
    Ok(Pepper::new(&pepper))
}
