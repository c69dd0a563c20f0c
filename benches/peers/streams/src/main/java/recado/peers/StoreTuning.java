package recado.peers;

import java.util.List;
import java.util.Map;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.Cache;
import org.rocksdb.CompactionStyle;
import org.rocksdb.CompressionType;
import org.rocksdb.HyperClockCache;
import org.rocksdb.Options;
import org.rocksdb.RocksDB;
import org.rocksdb.WriteBufferManager;

/** RocksDB as Recado sets it, as far as Streams lets us: one cache and one bound on memtables for all stores, levels, LZ4. */
public final class StoreTuning implements RocksDBConfigSetter {
    // Not to be had: bounds of iterators (Streams makes the read options itself, so a range that ends nowhere crosses every tombstone in front of it), and
    // the merge of memtables before a flush (Streams 4.3 flushes its data and its offsets atomically, and then RocksDB takes any minimum to merge for 1).

    private static final long MIB = 1 << 20;

    static {
        RocksDB.loadLibrary();
    }

    private static final Cache CACHE = new HyperClockCache(256 * MIB, 0, -1, false);
    private static final WriteBufferManager MEMTABLES = new WriteBufferManager(256 * MIB, CACHE);

    @Override
    public void setConfig(String storeName, Options options, Map<String, Object> configs) {
        // Streams has put a filter of 10 bits a key in here, which stays, and a cache for each store, which goes.
        BlockBasedTableConfig tables = (BlockBasedTableConfig) options.tableFormatConfig();
        tables.setBlockCache(CACHE);
        tables.setBlockSize(16 << 10);
        tables.setCacheIndexAndFilterBlocks(true);
        tables.setPinL0FilterAndIndexBlocksInCache(true);
        options.setTableFormatConfig(tables);
        // Streams leaves the filters of the last level out; most reads ask for a delivery that is gone.
        options.setOptimizeFiltersForHits(false);

        options.setWriteBufferManager(MEMTABLES);
        options.setWriteBufferSize(64 * MIB);
        options.setMaxWriteBufferNumber(3);
        options.setMemtablePrefixBloomSizeRatio(0.1);
        options.setMemtableWholeKeyFiltering(true);
        options.setAllowConcurrentMemtableWrite(false);

        options.setCompactionStyle(CompactionStyle.LEVEL);
        options.setLevelCompactionDynamicLevelBytes(true);
        options.setMaxBackgroundJobs(2);
        CompressionType lz4 = CompressionType.LZ4_COMPRESSION;
        options.setCompressionType(lz4);
        options.setCompressionPerLevel(List.of(CompressionType.NO_COMPRESSION, lz4, lz4, lz4, lz4, lz4, lz4));
    }

    @Override
    public void close(String storeName, Options options) {
        // The cache and the manager are everybody's, and live as long as the process.
    }
}
