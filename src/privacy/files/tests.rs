use super::*;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

const NOW: Timestamp = Timestamp::from_millis(1_764_900_000_123);
const MINUTE: Duration = Duration::from_secs(60);

/// A folder, its root, and a clock that is moved by hand.
struct World {
    folder: tempfile::TempDir,
    root: [u8; 32],
    seconds: Arc<AtomicU64>,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), root: aead::random(), seconds: Arc::new(AtomicU64::new(1000)) }
    }

    fn try_open(&self) -> Result<FileKeys, FolderError> {
        let seconds = self.seconds.clone();
        let clock = Box::new(move || Duration::from_secs(seconds.load(Ordering::Relaxed)));
        FileKeys::open_with_clock(self.folder.path(), RootKey(Zeroizing::new(self.root)), MINUTE, clock)
    }

    fn open(&self) -> FileKeys {
        self.try_open().unwrap()
    }

    fn pass(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn customer(number: u8) -> Reference {
    let mut bytes = [0x55; 16];
    bytes[15] = number; // all in one bucket
    Reference::from_bytes(bytes)
}

fn elsewhere(number: u8) -> Reference {
    Reference::from_bytes([number; 16])
}

#[test]
fn keys_and_pepper_outlive_the_process() {
    let world = World::new();
    let keys = world.open();
    let references: Vec<_> = (0..50).map(customer).chain((0..50).map(elsewhere)).collect();
    keys.prepare(&references, NOW).unwrap();
    let made: Vec<_> = references.iter().map(|reference| keys.customer(*reference, NOW).unwrap()).collect();
    let epoch = keys.epoch(KeyKind::CodeEpoch, NOW).unwrap();
    let day = keys.epoch(KeyKind::Day, NOW).unwrap();
    let hash = keys.pepper().hash(&[b"x"]);
    drop(keys);
    let keys = world.open();
    for (reference, (id, key)) in references.iter().zip(&made) {
        assert_eq!(&keys.customer(*reference, NOW).unwrap(), &(*id, key.clone()));
        assert_eq!(&keys.customer_by_id(*reference, *id).unwrap(), key);
    }
    assert_eq!(keys.epoch(KeyKind::CodeEpoch, NOW.plus(Duration::from_secs(1))).unwrap(), epoch);
    assert_eq!(keys.epoch_by_id(KeyKind::Day, day.0).unwrap(), day.1);
    assert_eq!(keys.pepper().hash(&[b"x"]), hash);
    let distinct: BTreeSet<_> = made.iter().map(|(_, key)| ***key).chain([**epoch.1, **day.1]).collect();
    assert_eq!(distinct.len(), 102);
}

#[test]
fn a_batch_is_one_write_and_known_keys_cost_none() {
    let world = World::new();
    let keys = world.open();
    let references: Vec<_> = (0..9).map(customer).chain((0..9).map(customer)).collect();
    keys.prepare(&references, NOW).unwrap();
    let length = fs::metadata(world.path(log::NAME)).unwrap().len();
    assert_eq!(length, 16 + 9 * log::ENTRY_BYTES as u64);
    keys.prepare(&references, NOW).unwrap();
    for reference in references {
        keys.customer(reference, NOW).unwrap();
    }
    assert_eq!(fs::metadata(world.path(log::NAME)).unwrap().len(), length);
}

#[test]
fn two_processes_agree_on_the_first_key_of_a_customer() {
    let world = World::new();
    let (one, two) = (world.open(), world.open());
    let first = one.customer(customer(1), NOW).unwrap();
    assert_eq!(two.customer_by_id(customer(1), first.0).unwrap(), first.1, "a key of another process is found in the log's tail");
    assert_eq!(two.customer(customer(1), NOW).unwrap(), first);
    let second = two.customer(customer(2), NOW).unwrap();
    assert_eq!(one.customer(customer(2), NOW).unwrap(), second);
    let epoch = one.epoch(KeyKind::CodeEpoch, NOW).unwrap();
    assert_eq!(two.epoch(KeyKind::CodeEpoch, NOW).unwrap(), epoch);
    assert_eq!(two.epoch_by_id(KeyKind::CodeEpoch, epoch.0).unwrap(), epoch.1);
}

#[test]
fn racing_processes_never_make_two_first_keys() {
    let world = World::new();
    let all: Vec<FileKeys> = (0..4).map(|_| world.open()).collect();
    let found: Vec<Vec<_>> = std::thread::scope(|scope| {
        let ask = |keys| move || (0..100).map(|number| FileKeys::customer(keys, elsewhere(number), NOW).unwrap()).collect();
        let threads: Vec<_> = all.iter().map(|keys| scope.spawn(ask(keys))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(fs::metadata(world.path(log::NAME)).unwrap().len(), 16 + 100 * log::ENTRY_BYTES as u64);
}

#[test]
fn a_torn_end_of_the_log_is_cut_at_every_byte() {
    let world = World::new();
    let keys = world.open();
    let kept = keys.customer(customer(1), NOW).unwrap();
    let before = fs::read(world.path(log::NAME)).unwrap();
    keys.prepare(&[customer(2), customer(3)], NOW).unwrap();
    let whole = fs::read(world.path(log::NAME)).unwrap();
    let id = keys.customer(customer(2), NOW).unwrap().0;
    drop(keys);
    for length in before.len()..whole.len() {
        fs::write(world.path(log::NAME), &whole[..length]).unwrap();
        let keys = world.open();
        assert_eq!(keys.customer(customer(1), NOW).unwrap(), kept, "cut at {length}");
        let second_is_whole = length >= before.len() + log::ENTRY_BYTES;
        assert_eq!(keys.customer_by_id(customer(2), id).is_ok(), second_is_whole, "cut at {length}");
        let new = keys.customer(customer(3), NOW).unwrap();
        drop(keys);
        assert_eq!(world.open().customer(customer(3), NOW).unwrap(), new, "what is appended behind a cut end is found: {length}");
    }
}

#[test]
fn pages_of_the_last_batch_may_be_lost_in_any_order_but_not_those_of_an_earlier_one() {
    let world = World::new();
    let keys = world.open();
    keys.prepare(&[customer(1), customer(2)], NOW).unwrap();
    keys.prepare(&[customer(3), customer(4), customer(5)], NOW).unwrap();
    drop(keys);
    let whole = fs::read(world.path(log::NAME)).unwrap();
    for entry in 0..5 {
        let mut bytes = whole.clone();
        bytes[16 + entry * log::ENTRY_BYTES + 50] ^= 1;
        fs::write(world.path(log::NAME), &bytes).unwrap();
        match world.try_open() {
            Ok(keys) => assert!(entry >= 2 && keys.customer(customer(1), NOW).is_ok(), "{entry}"),
            Err(error) => assert!(entry < 2 && matches!(error, FolderError::Damaged { file: log::NAME, .. }), "{entry}: {error}"),
        }
    }
}

#[test]
fn a_destroyed_key_is_gone_and_its_bytes_of_before_open_no_more() {
    let world = World::new();
    let keys = world.open();
    let all: Vec<_> = (0..20).map(customer).chain((0..5).map(elsewhere)).collect();
    keys.prepare(&all, NOW).unwrap();
    let made: Vec<_> = all.iter().map(|reference| keys.customer(*reference, NOW).unwrap()).collect();
    let old_log = fs::read(world.path(log::NAME)).unwrap();
    keys.destroy_customer(customer(7)).unwrap();
    let old_bucket = fs::read(world.path("bucket-555-2")).unwrap();
    keys.destroy_customer(customer(8)).unwrap();
    keys.destroy_customer(customer(99)).unwrap();
    let check = |keys: &FileKeys| {
        for (reference, (id, key)) in all.iter().zip(&made) {
            let gone = [customer(7), customer(8)].contains(reference);
            assert_eq!(keys.customer_by_id(*reference, *id).err(), gone.then_some(KeyError::Gone), "{reference}");
            assert!(gone || keys.customer(*reference, NOW).unwrap() == (*id, key.clone()));
        }
    };
    check(&keys);
    drop(keys);
    check(&world.open());
    // Whoever puts back the files of before, but not the index, gets nothing from them: the bucket's key is another one.
    fs::write(world.path(log::NAME), &old_log).unwrap();
    fs::write(world.path("bucket-555-2"), &old_bucket).unwrap();
    check(&world.open());
    assert_eq!(world.names(), ["bucket-555-3", "index", "keys.log", "lock", "pepper"]);
    let keys = world.open();
    let (id, key) = keys.customer(customer(7), NOW).unwrap();
    assert!(id != made[7].0 && key != made[7].1, "the next notification makes another key");
    assert_eq!(keys.customer_by_id(customer(7), made[7].0).err(), Some(KeyError::Gone));
}

#[test]
fn a_key_that_another_process_destroyed_is_gone_when_the_cached_copy_ends() {
    let world = World::new();
    let (one, two) = (world.open(), world.open());
    let (id, key) = one.customer(customer(1), NOW).unwrap();
    two.destroy_customer(customer(1)).unwrap();
    world.pass(59);
    assert_eq!(one.customer_by_id(customer(1), id).unwrap(), key);
    world.pass(1);
    assert_eq!(one.customer_by_id(customer(1), id).err(), Some(KeyError::Gone));
    assert_ne!(one.customer(customer(1), NOW).unwrap().0, id);
}

#[test]
fn cached_copies_are_cleared_when_their_time_is_over() {
    let world = World::new();
    let keys = world.open();
    let key = Arc::downgrade(&keys.customer(customer(1), NOW).unwrap().1);
    world.pass(59);
    keys.customer(customer(2), NOW).unwrap();
    assert!(key.upgrade().is_some());
    world.pass(10);
    keys.destroy_past(NOW).unwrap();
    assert!(key.upgrade().is_none());
}

#[test]
fn epochs_get_one_key_each_and_none_after_their_end() {
    let world = World::new();
    let (one, two) = (world.open(), world.open());
    let start = Timestamp::from_millis(NOW.millis() / 300_000 * 300_000);
    let first = one.epoch(KeyKind::CodeEpoch, start).unwrap();
    assert_eq!(one.epoch(KeyKind::CodeEpoch, start.plus(5 * MINUTE).minus(Duration::from_millis(1))).unwrap(), first);
    let second = two.epoch(KeyKind::CodeEpoch, start.plus(5 * MINUTE)).unwrap();
    let day = two.epoch(KeyKind::Day, start).unwrap();
    assert_eq!(second.0, first.0 + 1);
    let end = start.plus(15 * MINUTE);
    assert_eq!(two.destroy_past(end.minus(Duration::from_millis(1))), Ok(0));
    assert_eq!(two.destroy_past(end), Ok(1));
    assert_eq!(two.epoch_by_id(KeyKind::CodeEpoch, first.0), Err(KeyError::Gone));
    assert_eq!(two.epoch(KeyKind::CodeEpoch, start), Err(KeyError::Unavailable), "no second key for an epoch");
    assert_eq!(one.epoch_by_id(KeyKind::CodeEpoch, first.0), Ok(first.1), "the other's copy lives on for a minute");
    world.pass(60);
    assert_eq!(one.epoch_by_id(KeyKind::CodeEpoch, first.0), Err(KeyError::Gone));
    assert_eq!(one.epoch_by_id(KeyKind::CodeEpoch, second.0), Ok(second.1));
    assert_eq!(one.destroy_past(start.plus(40 * 24 * 60 * MINUTE)), Ok(2));
    assert_eq!(world.open().epoch_by_id(KeyKind::Day, day.0), Err(KeyError::Gone));
}

#[test]
fn a_long_log_is_folded_into_the_buckets() {
    let world = World::new();
    let (keys, other) = (world.open(), world.open());
    let all: Vec<_> = (0..30).map(customer).chain((0..30).map(elsewhere)).collect();
    keys.prepare(&all, NOW).unwrap();
    let made: Vec<_> = all.iter().map(|reference| keys.customer(*reference, NOW).unwrap()).collect();
    assert_eq!(other.customer(all[0], NOW).unwrap(), made[0]);
    keys.fold(&mut keys.state(), &keys.disk.lock().unwrap()).unwrap();
    assert_eq!(fs::metadata(world.path(log::NAME)).unwrap().len(), 16);
    let late = keys.customer(customer(77), NOW).unwrap();
    world.pass(60);
    for keys in [&keys, &other, &world.open()] {
        for (reference, found) in all.iter().zip(&made) {
            assert_eq!(&keys.customer(*reference, NOW).unwrap(), found);
        }
        assert_eq!(keys.customer(customer(77), NOW).unwrap(), late);
        assert_eq!(keys.customer_by_id(customer(78), 5), Err(KeyError::Gone));
    }
}

fn cut(world: &World, length: u64) {
    fs::File::options().write(true).open(world.path(log::NAME)).unwrap().set_len(length).unwrap();
}

#[test]
fn a_reader_that_was_ahead_of_a_log_that_was_cut_makes_no_hole_in_it() {
    let world = World::new();
    let (writer, reader) = (world.open(), world.open());
    writer.prepare(&[customer(1), customer(2)], NOW).unwrap();
    reader.customer(customer(1), NOW).unwrap();
    cut(&world, 16 + log::ENTRY_BYTES as u64);
    let third = reader.customer(customer(3), NOW).unwrap();
    assert_eq!(world.open().customer(customer(3), NOW).unwrap(), third, "the next start finds the log whole");

    let length = fs::metadata(world.path(log::NAME)).unwrap().len();
    let lock = writer.disk.lock().unwrap();
    assert!(writer.disk.append(log::NAME, length + 1, &[1; 8], &lock).is_err(), "who has read what is not there adds nothing");
    assert_eq!(fs::metadata(world.path(log::NAME)).unwrap().len(), length);
}

#[test]
fn a_folder_that_is_not_there_is_not_made_where_it_must_be() {
    let world = World::new();
    let existing = |folder: &Path| FileKeys::open_existing(folder, RootKey(Zeroizing::new(world.root)), MINUTE);
    let missing = world.path("unmounted");
    assert!(matches!(existing(&missing), Err(FolderError::Missing)));
    assert!(!missing.exists());
    assert!(matches!(existing(world.folder.path()), Err(FolderError::Missing)), "an empty mount point");
    world.open();
    assert!(existing(world.folder.path()).is_ok());
}

#[test]
fn a_reader_that_was_ahead_finds_its_way_after_the_log_was_begun_anew() {
    let world = World::new();
    let (writer, reader) = (world.open(), world.open());
    writer.prepare(&[customer(1), customer(2)], NOW).unwrap();
    reader.customer(customer(1), NOW).unwrap();
    // As an append that failed leaves it: cut, and with another number.
    let lock = writer.disk.lock().unwrap();
    cut(&world, 16 + log::ENTRY_BYTES as u64);
    writer.disk.overwrite(log::NAME, log::NUMBER_AT, &[7; 8], &lock).unwrap();
    drop(lock);
    let third = world.open().customer(customer(3), NOW).unwrap();
    assert_eq!(reader.customer(customer(3), NOW).unwrap(), third);
}

#[test]
fn damaged_or_missing_files_and_a_foreign_root_are_said_and_never_taken_for_missing_keys() {
    let world = World::new();
    let keys = world.open();
    keys.prepare(&[customer(1), customer(2)], NOW).unwrap();
    let (id, _) = keys.customer(customer(1), NOW).unwrap();
    keys.destroy_customer(customer(2)).unwrap();
    keys.epoch(KeyKind::Day, NOW).unwrap();
    let whole: Vec<_> = world.names().into_iter().filter(|name| name != "lock").map(|name| (fs::read(world.path(&name)).unwrap(), name)).collect();
    assert_eq!(whole.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["bucket-555-2", "epochs", "index", "keys.log", "pepper"]);
    for (bytes, name) in &whole {
        for at in [0, 7, bytes.len() / 2, bytes.len() - 1] {
            if name == "keys.log" && at > 7 {
                continue; // an empty log has a number and nothing else; its entries have tests of their own
            }
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(world.path(name), &changed).unwrap();
            let refused = match world.try_open() {
                Err(FolderError::Damaged { .. } | FolderError::WrongRoot { .. }) => true,
                Err(_) => false,
                Ok(keys) => keys.customer_by_id(customer(1), id) == Err(KeyError::Unavailable),
            };
            assert!(refused, "{name}, byte {at}");
        }
        fs::remove_file(world.path(name)).unwrap();
        match world.try_open() {
            Err(error) => assert!(matches!(error, FolderError::Damaged { .. }), "{name}: {error}"),
            Ok(keys) => assert!(keys.customer_by_id(customer(1), id) == Err(KeyError::Unavailable) || name == "epochs", "{name}"),
        }
        fs::write(world.path(name), bytes).unwrap();
    }
    assert!(world.open().customer_by_id(customer(1), id).is_ok());
    let other = World { root: aead::random(), ..world };
    assert!(matches!(other.try_open(), Err(FolderError::WrongRoot { .. })));
}

#[test]
fn a_folder_that_was_half_made_is_finished_with_its_pepper() {
    let world = World::new();
    let hash = world.open().pepper().hash(&[b"x"]);
    fs::remove_file(world.path("index")).unwrap();
    assert_eq!(world.open().pepper().hash(&[b"x"]), hash);
    fs::remove_file(world.path("index")).unwrap();
    fs::remove_file(world.path("keys.log")).unwrap();
    assert_eq!(world.open().pepper().hash(&[b"x"]), hash);
}

#[test]
fn files_are_for_their_owner_alone_and_hold_no_key_in_clear() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let keys = world.open();
    let (_, key) = keys.customer(customer(1), NOW).unwrap();
    let (_, epoch) = keys.epoch(KeyKind::CodeEpoch, NOW).unwrap();
    keys.destroy_customer(customer(2)).unwrap();
    for name in world.names() {
        assert_eq!(fs::metadata(world.path(&name)).unwrap().permissions().mode() & 0o077, 0, "{name}");
        let bytes = fs::read(world.path(&name)).unwrap();
        for secret in [key.as_slice(), epoch.as_slice(), &world.root] {
            assert!(!bytes.windows(32).any(|window| window == secret), "{name}");
        }
    }
}
