use super::*;
use crate::delivery::{MessageId, Timestamp};
use crate::engine::stored::{BLOCK, CANCEL, DELIVERY, block_key, cancel_key, delivery_key};
use std::collections::BTreeMap;
use std::fs;

const P7: Partition = Partition(7);
const NOW: Timestamp = Timestamp::from_millis(1_764_900_000_123);

fn open(folder: &Path) -> Store {
    Store::open(folder, "a", &small()).unwrap()
}

fn small() -> Options {
    Options { cache_bytes: 8 << 20, memtables_bytes: 8 << 20, memtable_bytes: 1 << 20, compression: true }
}

fn meta(changelog_position: i64) -> Meta {
    Meta { changelog_position, next_offsets: BTreeMap::from([("in".into(), changelog_position * 2)]), wall: NOW, topic_id: [3; 16] }
}

fn state(number: u64) -> Vec<u8> {
    delivery_key(&MessageId::from_bytes((u128::from(number) << 64).to_be_bytes())).to_vec()
}

/// A value that does not compress, so that a flipped byte hits data.
fn value(number: u64) -> Vec<u8> {
    (0..8_u64).flat_map(|part| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &(number * 8 + part).to_be_bytes()).as_ref().to_vec()).collect()
}

fn fill(store: &PartitionStore, numbers: std::ops::Range<u64>, position: i64) {
    store.apply(numbers.map(|number| (state(number), Some(value(number)))), &meta(position)).unwrap();
}

type Pair = (Vec<u8>, Vec<u8>);

fn scanned(store: &PartitionStore, kind: u8) -> Result<Vec<Pair>, StoreError> {
    let mut all = Vec::new();
    store.scan(kind, &mut |key, value| all.push((key.to_vec(), value.to_vec())))?;
    Ok(all)
}

/// The folder as `kill -9` would leave it. A file that RocksDB deletes between the listing and its turn makes the copy begin again.
fn crashed(folder: &Path) -> tempfile::TempDir {
    let copy = || -> std::io::Result<tempfile::TempDir> {
        let copy = tempfile::tempdir()?;
        fs::create_dir(database(copy.path()))?;
        fs::copy(folder.join("owner"), copy.path().join("owner"))?;
        for entry in fs::read_dir(database(folder))? {
            let path = entry?.path();
            fs::copy(&path, database(copy.path()).join(path.file_name().unwrap()))?;
        }
        Ok(copy)
    };
    loop {
        match copy() {
            Ok(copy) => return copy,
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
        }
    }
}

/// The tables of the database in this folder.
pub fn tables(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(database(folder)).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "sst")).collect()
}

#[test]
fn what_was_applied_is_read_and_outlives_an_ordered_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let p7 = store.partition(P7).unwrap();
    assert_eq!(p7.meta(), Ok(None));
    fill(&p7, 0..10, 5);
    p7.apply([(state(3), None), (state(4), Some(b"new".to_vec()))], &meta(6)).unwrap();
    store.partition(Partition(8)).unwrap().apply([(state(3), Some("of 8"))], &meta(1)).unwrap();
    let check = |p7: &PartitionStore| {
        assert_eq!(p7.get(&state(2)), Ok(Some(value(2))));
        assert_eq!((p7.get(&state(3)), p7.get(&state(4))), (Ok(None), Ok(Some(b"new".to_vec()))));
        assert_eq!(p7.meta(), Ok(Some(meta(6))));
        assert_eq!(scanned(p7, DELIVERY).unwrap().len(), 9);
    };
    check(&p7);
    drop((store, p7));
    let store = open(folder.path());
    assert_eq!(store.partitions(100), [P7, Partition(8)]);
    check(&store.partition(P7).unwrap());
    assert_eq!(store.partition(Partition(8)).unwrap().get(&state(3)), Ok(Some(b"of 8".to_vec())));
}

#[test]
fn after_a_crash_data_and_position_are_those_of_one_flush() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (p7, p8) = (store.partition(P7).unwrap(), store.partition(Partition(8)).unwrap());
    fill(&p7, 0..100, 100);
    fill(&p8, 0..100, 100);
    p7.flush().unwrap();
    p7.apply((0..100).map(|number| (state(number), None::<Vec<u8>>)), &meta(200)).unwrap();
    let copy = crashed(folder.path());
    let store = open(copy.path());
    let (p7, p8) = (store.partition(P7).unwrap(), store.partition(Partition(8)).unwrap());
    assert_eq!(p7.meta(), Ok(Some(meta(100))));
    assert_eq!(scanned(&p7, DELIVERY).unwrap(), (0..100).map(|number| (state(number), value(number))).collect::<Vec<_>>());
    assert_eq!((p8.meta(), scanned(&p8, DELIVERY).unwrap().len()), (Ok(None), 0), "never flushed: to be restored from the log's start");
}

#[test]
fn a_flush_that_nobody_waits_for_comes_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let p7 = open(folder.path()).partition(P7).unwrap();
    fill(&p7, 0..100, 100);
    p7.begin_flush().unwrap();
    let deadline = crate::clock::monotonic() + std::time::Duration::from_secs(20);
    while tables(folder.path()).is_empty() {
        assert!(crate::clock::monotonic() < deadline, "no table was written");
        std::thread::yield_now();
    }
}

/// Loads these numbers' values.
fn load(store: &PartitionStore, changes: &[(u64, Option<u64>)], position: i64) -> Result<(), StoreError> {
    let changes: Vec<(Vec<u8>, Option<Vec<u8>>)> = changes.iter().map(|(number, of)| (state(*number), of.map(value))).collect();
    store.load(changes.iter().map(|(key, value)| (&key[..], value.as_deref())), &meta(position))
}

/// Tables that nobody has taken over.
fn rests(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("loading-")).count()
}

#[test]
fn what_was_loaded_lies_over_what_was_applied_before_and_is_durable_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let p7 = store.partition(P7).unwrap();
    fill(&p7, 0..100, 5);
    load(&p7, &[(1, None), (2, Some(1002)), (200, Some(200))], 6).unwrap();
    let [block, cancel] = [block_key(9, &MessageId::from_bytes([1; 16])).to_vec(), cancel_key(&[7; 16]).to_vec()];
    p7.apply([(block, Some("a block")), (cancel, Some("a cancel"))], &meta(7)).unwrap();
    load(&p7, &[(2, Some(2002)), (3, None)], 8).unwrap();
    let check = |p7: &PartitionStore| {
        assert_eq!((p7.get(&state(1)), p7.get(&state(2)), p7.get(&state(3))), (Ok(None), Ok(Some(value(2002))), Ok(None)));
        assert_eq!((p7.get(&state(4)), p7.get(&state(200))), (Ok(Some(value(4))), Ok(Some(value(200)))));
        assert_eq!((scanned(p7, DELIVERY).unwrap().len(), scanned(p7, BLOCK).unwrap().len(), scanned(p7, CANCEL).unwrap().len()), (99, 1, 1));
        assert_eq!(p7.meta(), Ok(Some(meta(8))));
    };
    check(&p7);
    let copy = crashed(folder.path());
    check(&open(copy.path()).partition(P7).unwrap());
    p7.apply([(state(2), Some("newest"))], &meta(9)).unwrap();
    assert_eq!((p7.get(&state(2)), p7.meta()), (Ok(Some(b"newest".to_vec())), Ok(Some(meta(9)))));
    assert_eq!(rests(folder.path()), 0);
}

#[test]
fn tables_of_different_kinds_lie_where_nothing_overlaps_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let p7 = store.partition(P7).unwrap();
    for part in 0..10 {
        let numbers: Vec<_> = (part * 100..part * 100 + 100).map(|number| (number, Some(number))).collect();
        load(&p7, &numbers, 1 + i64::try_from(part).unwrap()).unwrap();
    }
    let of_states = |file: &rocksdb::LiveFile| file.start_key.as_ref().is_some_and(|key| key.first() == Some(&DELIVERY));
    let levels: Vec<i32> = store.open.db.live_files().unwrap().iter().filter(|file| of_states(file)).map(|file| file.level).collect();
    assert!(levels.len() == 10 && levels.iter().all(|level| *level > 0), "{levels:?}");
}

#[test]
fn who_has_lost_the_partition_loads_nothing_and_rests_of_a_load_are_removed_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let old = store.partition(P7).unwrap();
    let p7 = store.partition(P7).unwrap();
    assert_eq!(load(&old, &[(1, Some(1))], 5), Err(StoreError::Taken));
    assert_eq!((p7.meta(), rests(folder.path())), (Ok(None), 0));
    drop((store, old, p7));
    fs::write(folder.path().join("loading-p7-0.sst"), "half a table").unwrap();
    let p7_store = open(folder.path());
    let p7 = p7_store.partition(P7).unwrap();
    assert_eq!((p7.meta(), rests(folder.path())), (Ok(None), 0));
    // Of tables of which one is broken none is taken over.
    let name = name_of(P7);
    let mut tables = load::Tables::new(&p7_store.open, &name);
    let (key, value) = (state(1), value(1));
    tables.write([(&key[..], Some(&value[..]))]).unwrap();
    tables.write([(POSITION_KEY, Some(&meta(5).write()[..]))]).unwrap();
    let path = folder.path().join("loading-p7-0.sst");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    tables.take_over(&p7_store.open.db.cf_handle(&name).unwrap()).unwrap_err();
    drop(tables);
    assert_eq!((p7.meta(), p7.get(&state(1)), rests(folder.path())), (Ok(None), Ok(None), 0));
    // A table that cannot be written leaves nothing behind either.
    fs::create_dir(folder.path().join("loading-p7-1.sst")).unwrap();
    assert!(matches!(load(&p7, &[(1, Some(1))], 5), Err(StoreError::Io(_))));
    assert_eq!((p7.meta(), p7.get(&state(1)), rests(folder.path())), (Ok(None), Ok(None), 1));
}

#[test]
fn after_a_crash_under_load_the_position_tells_exactly_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let p7 = store.partition(P7).unwrap();
    for step in 0..60 {
        fill(&p7, step * 1000..(step + 1) * 1000, i64::try_from(step + 1).unwrap()); // memtables of 1 MiB fill and are flushed in the background
        if step % 20 == 19 {
            let copy = crashed(folder.path());
            let Ok(store) = Store::open(copy.path(), "a", &small()) else { continue }; // a copy that takes a while may miss files that a kill would not
            let p7 = store.partition(P7).unwrap();
            let steps = p7.meta().unwrap().map_or(0, |meta| meta.changelog_position);
            assert_eq!(scanned(&p7, DELIVERY).unwrap().len(), usize::try_from(steps * 1000).unwrap());
        }
    }
}

#[test]
fn a_scan_sees_its_kind_alone_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let p7 = open(folder.path()).partition(P7).unwrap();
    let block = block_key(29_415_000, &MessageId::from_bytes([9; 16]));
    let all = [cancel_key(&[1; 16]).to_vec(), cancel_key(&[0xff; 16]).to_vec(), block.to_vec(), state(2), state(1)];
    p7.apply(all.iter().map(|key| (key, Some(key))), &meta(1)).unwrap();
    let keys_of = |kind| scanned(&p7, kind).unwrap().into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys_of(DELIVERY), [state(1), state(2)]);
    assert_eq!(keys_of(CANCEL), &all[..2]);
    assert_eq!(keys_of(BLOCK), &all[2..3]);
}

#[test]
fn who_has_a_partition_no_longer_writes_nothing_over_its_heir() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (first, p8) = (store.partition(P7).unwrap(), store.partition(Partition(8)).unwrap());
    fill(&first, 0..10, 10);
    let heir = store.partition(P7).unwrap();
    heir.apply([(state(1), None::<Vec<u8>>)], &meta(20)).unwrap();
    assert_eq!(first.apply([(state(1), Some(value(1)))], &meta(11)), Err(StoreError::Taken));
    assert_eq!((heir.get(&state(1)), heir.meta()), (Ok(None), Ok(Some(meta(20)))));
    fill(&p8, 0..10, 1);
    heir.apply([(state(2), None::<Vec<u8>>)], &meta(30)).unwrap();
}

#[test]
fn a_dropped_partition_is_empty_when_it_comes_back_and_the_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (p7, p8) = (store.partition(P7).unwrap(), store.partition(Partition(8)).unwrap());
    fill(&p7, 0..10, 1);
    fill(&p8, 0..10, 1);
    store.drop_partition(P7).unwrap();
    store.drop_partition(P7).unwrap();
    assert_eq!(p7.get(&state(1)), Err(StoreError::NoPartition));
    assert_eq!(store.partitions(10), [Partition(8)]);
    let p7 = store.partition(P7).unwrap();
    assert_eq!((p7.meta(), p7.get(&state(1))), (Ok(None), Ok(None)));
    assert_eq!(p8.get(&state(1)), Ok(Some(value(1))));
}

#[test]
fn a_changed_byte_of_a_table_is_corrupt_and_never_another_value() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (p7, p8) = (store.partition(P7).unwrap(), store.partition(Partition(8)).unwrap());
    fill(&p7, 0..200, 5);
    p7.flush().unwrap();
    let whole = scanned(&p7, DELIVERY).unwrap();
    drop((p7, p8, store));
    let path = tables(folder.path()).pop().unwrap();
    let bytes = fs::read(&path).unwrap();
    let mut corrupt = 0;
    for at in (0..bytes.len()).step_by(bytes.len() / 40) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        fs::write(&path, changed).unwrap();
        match Store::open(folder.path(), "a", &small()).and_then(|store| Ok((scanned(&store.partition(P7)?, DELIVERY)?, store.partition(P7)?.meta()?))) {
            Ok((read, position)) => assert!(read == whole && position == Some(meta(5)), "byte {at}"),
            // The footer is read on opening, and RocksDB then opens nothing at all.
            Err(StoreError::Corrupt(_) | StoreError::CannotOpen(_)) => corrupt += 1,
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    assert!(corrupt >= 30, "{corrupt}");
    let mut changed = bytes.clone();
    changed[100] ^= 0x10;
    fs::write(&path, changed).unwrap();
    let store = open(folder.path());
    assert!(matches!(scanned(&store.partition(P7).unwrap(), DELIVERY), Err(StoreError::Corrupt(_))));
    store.drop_partition(P7).unwrap();
    fill(&store.partition(P7).unwrap(), 0..200, 5);
    assert_eq!(scanned(&store.partition(P7).unwrap(), DELIVERY).unwrap(), whole, "that partition alone was rebuilt");
}

#[test]
fn a_broken_database_does_not_open_and_is_rebuilt_on_purpose_only() {
    let folder = tempfile::tempdir().unwrap();
    fill(&open(folder.path()).partition(P7).unwrap(), 0..10, 1);
    for name in ["CURRENT", "MANIFEST", ".sst"] {
        let mut files = fs::read_dir(database(folder.path())).unwrap().map(|entry| entry.unwrap().path());
        let path = files.find(|path| path.to_str().unwrap().contains(name)).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        for _ in 0..2 {
            assert!(matches!(Store::open(folder.path(), "a", &small()), Err(StoreError::CannotOpen(_))), "without {name}");
        }
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(matches!(Store::open(folder.path(), "a", &small()), Err(StoreError::CannotOpen(_))), "half of {name}");
        fs::write(&path, &bytes).unwrap();
        assert_eq!(open(folder.path()).partition(P7).unwrap().get(&state(1)), Ok(Some(value(1))));
    }
    fs::remove_file(database(folder.path()).join("CURRENT")).unwrap();
    let store = Store::rebuild(folder.path(), "a", &small()).unwrap();
    assert_eq!(store.partition(P7).unwrap().meta(), Ok(None));
}

#[test]
fn a_second_process_and_a_copied_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    assert_eq!(Store::open(folder.path(), "a", &small()).err(), Some(StoreError::InUse));
    assert_eq!(Store::rebuild(folder.path(), "a", &small()).err(), Some(StoreError::InUse));
    let copy = crashed(folder.path());
    drop(store);
    for folder in [&folder, &copy] {
        assert_eq!(Store::open(folder.path(), "b", &small()).err(), Some(StoreError::Foreign { owner: "a".into() }));
        assert_eq!(Store::rebuild(folder.path(), "b", &small()).err(), Some(StoreError::Foreign { owner: "a".into() }));
        open(folder.path());
    }
}

#[test]
fn failures_of_the_disk_are_told_apart() {
    let text = |text: &str| text.to_owned();
    assert!(matches!(told(ErrorKind::IOError, text("IO error: No space left on device: While appending to file")), StoreError::Full(_)));
    assert!(matches!(told(ErrorKind::Corruption, text("Corruption: block checksum mismatch")), StoreError::Corrupt(_)));
    assert!(matches!(told(ErrorKind::IOError, text("IO error: Input/output error")), StoreError::Io(_)));
    assert!(matches!(not_opened(ErrorKind::IOError, text("IO error: Permission denied: While open a file")), StoreError::Io(_)));
    assert!(matches!(not_opened(ErrorKind::IOError, text("IO error: No such file or directory: CURRENT")), StoreError::CannotOpen(_)));
    assert!(matches!(told(ErrorKind::Busy, text("Resource busy")), StoreError::Io(_)));
}

#[test]
fn old_tables_are_compressed_and_not_where_that_is_switched_off() {
    let bytes_in = |compression| {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "a", &Options { compression, ..small() }).unwrap();
        let p7 = store.partition(P7).unwrap();
        for round in 0..2 {
            p7.apply((0..2000).map(|number| (state(number), Some([7; 500]))), &meta(round)).unwrap();
            p7.flush().unwrap();
        }
        let family = store.open.db.cf_handle("p7").unwrap();
        store.open.db.compact_range_cf(&family, None::<&[u8]>, None::<&[u8]>);
        tables(folder.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>()
    };
    let (plain, compressed) = (bytes_in(false), bytes_in(true));
    assert!(plain > 1_000_000 && compressed < plain / 5, "{plain} {compressed}: the linked RocksDB may have no LZ4");
}
