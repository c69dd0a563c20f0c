//! How RocksDB is set. Values and reasons: engine.md §4; a number without one there is a guess and says so.

use rocksdb::{BlockBasedOptions, Cache, DBCompactionStyle, DBCompressionType, LogLevel, WriteBufferManager};

/// What may be chosen; everything else is fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The cache of blocks, indexes and filters of the whole process, in bytes; memtables are charged to it. 128 to 256 MiB.
    pub cache_bytes: usize,
    /// All memtables of the process together, in bytes: above it RocksDB flushes the largest early. It never stalls a writer.
    pub memtables_bytes: usize,
    /// One memtable of one partition, in bytes: 32 MiB, 64 where one partition is hot.
    pub memtable_bytes: usize,
    /// LZ4 for all but the first level, where the linked RocksDB has it. Off only for searching the files for what must not be there.
    pub compression: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 256 << 20, memtables_bytes: 256 << 20, memtable_bytes: 32 << 20, compression: true }
    }
}

/// The options of the database and of each column family: the same, with one cache and one bound for all memtables behind them.
pub(super) struct Tuning(rocksdb::Options);

const BACKGROUND_JOBS: i32 = 2;
const WRITE_BYTES_PER_SECOND: i64 = 64 << 20;
const OPEN_FILES_MAX: i32 = 512;
const BLOCK_BYTES: usize = 16 << 10;
const BLOOM_BITS_PER_KEY: f64 = 10.0;
const MEMTABLE_BLOOM_RATIO: f64 = 0.1;
/// RocksDB's own log: small, and two files of it. A guess.
const LOG_FILE_BYTES: usize = 4 << 20;

impl Tuning {
    pub(super) fn new(options: &Options) -> Self {
        let cache = Cache::new_hyper_clock_cache(options.cache_bytes, 0); // 0: entries of all sizes, as memtables are charged too
        let mut rocks = rocksdb::Options::default();
        memory(&mut rocks, options, &cache);
        compaction(&mut rocks, options);
        tables(&mut rocks, &cache);
        rocks.set_max_open_files(OPEN_FILES_MAX);
        rocks.set_log_level(LogLevel::Warn);
        rocks.set_max_log_file_size(LOG_FILE_BYTES);
        rocks.set_keep_log_file_num(2);
        rocks.set_stats_dump_period_sec(0);
        Self(rocks)
    }

    pub(super) fn options(&self) -> &rocksdb::Options {
        &self.0
    }
}

fn memory(rocks: &mut rocksdb::Options, options: &Options, cache: &Cache) {
    rocks.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager_with_cache(options.memtables_bytes, false, cache.clone()));
    rocks.set_write_buffer_size(options.memtable_bytes);
    rocks.set_max_write_buffer_number(4);
    rocks.set_min_write_buffer_number_to_merge(2);
    rocks.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO);
    rocks.set_memtable_whole_key_filtering(true);
    // One writer for each partition: the locks for more cost more than they give.
    rocks.set_allow_concurrent_memtable_write(false);
    rocks.set_enable_pipelined_write(false);
}

fn compaction(rocks: &mut rocksdb::Options, options: &Options) {
    rocks.set_compaction_style(DBCompactionStyle::Level);
    rocks.set_level_compaction_dynamic_level_bytes(true);
    rocks.set_level_zero_file_num_compaction_trigger(4);
    rocks.set_level_zero_slowdown_writes_trigger(40);
    rocks.set_level_zero_stop_writes_trigger(80);
    rocks.set_max_background_jobs(BACKGROUND_JOBS);
    rocks.set_max_subcompactions(1);
    rocks.set_ratelimiter(WRITE_BYTES_PER_SECOND, 100_000, 10);
    // Nearly every state ends as a tombstone within minutes.
    rocks.add_compact_on_deletion_collector_factory(1000, 100, 0.25);
    let lower = if options.compression { DBCompressionType::Lz4 } else { DBCompressionType::None };
    rocks.set_compression_type(lower);
    // With dynamic level bytes the second entry is the base level, where nearly all of a small live set lies.
    rocks.set_compression_per_level(&[DBCompressionType::None, lower, lower, lower, lower, lower, lower]);
}

fn tables(rocks: &mut rocksdb::Options, cache: &Cache) {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_block_size(BLOCK_BYTES);
    blocks.set_format_version(6);
    blocks.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    blocks.set_whole_key_filtering(true);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    rocks.set_block_based_table_factory(&blocks);
}
