package recado.peers;

import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Iterator;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.internals.WrappedStateStore;

/**
 * The bank's events of the last hour: hashes in memory, rebuilt from a store that has a block of them for each minute and commit, keyed by the minute (8) and by how
 * many of that minute stand before (4).
 */
final class Seen extends WrappedStateStore<KeyValueStore<byte[], byte[]>, byte[], byte[]> {
    // They are looked for in memory, as Recado does: the store would be asked with each request, nearly always for a key that it does not have. What expires is
    // found by a queue, a list of hashes for each minute. A record for each hash would be a changelog record with each request, and one with each that expires: as
    // many as are seen between two commits go out together instead, when Streams has its caches flushed, which it does before each commit. (The hook is a class of
    // Streams' own that is no part of what it promises to keep.)

    private static final long WINDOW = 3_600_000;
    private static final long MINUTE = 60_000;
    /** Expired at most in one go; ten goes a second are as many as come in at 10,000 a second and task. */
    private static final int EXPIRED_MAX = 1_000;
    private static final int HASH = 16;
    /** Hashes of a block at most: 64 KiB. */
    private static final int BLOCK_MAX = 4_096;

    private final ArrayDeque<Minute> minutes = new ArrayDeque<>();
    private Hashes hashes = new Hashes();

    private Seen(KeyValueStore<byte[], byte[]> blocks) {
        super(blocks);
    }

    /** For each task one over what `blocks` builds. */
    static StoreBuilder<Seen> over(StoreBuilder<KeyValueStore<byte[], byte[]>> blocks) {
        return new Builder(blocks);
    }

    /** What is in memory is what the store has: its task starts. */
    void load() {
        hashes = new Hashes();
        minutes.clear();
        TreeMap<Long, Minute> found = new TreeMap<>();
        try (KeyValueIterator<byte[], byte[]> all = wrapped().all()) {
            while (all.hasNext()) {
                KeyValue<byte[], byte[]> block = all.next();
                Minute minute = found.computeIfAbsent(BigEndian.longAt(block.key, 0), Minute::new);
                for (int at = 0; at < block.value.length; at += HASH) {
                    byte[] hash = Arrays.copyOfRange(block.value, at, at + HASH);
                    hashes.add(hash);
                    minute.add(hash);
                }
            }
        }
        for (Minute minute : found.values()) {
            minute.written = minute.count;
            minutes.add(minute);
        }
    }

    boolean contains(byte[] hash) {
        return hashes.contains(hash);
    }

    /** Takes in one that it does not have. */
    void add(byte[] hash, long now) {
        hashes.add(hash);
        Minute last = minutes.peekLast();
        // Where the clock steps back, an event is kept a little longer.
        if (last == null || last.number < now / MINUTE) {
            last = new Minute(now / MINUTE);
            minutes.addLast(last);
        }
        last.add(hash);
    }

    /** Before each commit: what came since the last one. */
    @Override
    public void flushCache() {
        for (Iterator<Minute> latest = minutes.descendingIterator(); latest.hasNext();) {
            Minute minute = latest.next();
            if (minute.written == minute.count) {
                break;
            }
            while (minute.written < minute.count) {
                int end = Math.min(minute.count, minute.written + BLOCK_MAX);
                wrapped().put(minute.key(minute.written), Arrays.copyOfRange(minute.hashes, HASH * minute.written, HASH * end));
                minute.written = end;
            }
        }
        super.flushCache();
    }

    /** Forgets minutes that are wholly older than the window. What is forgotten here stays in the store until all of its minute is. */
    void expire(long now) {
        long keep = (now - WINDOW) / MINUTE;
        int left = EXPIRED_MAX;
        for (Minute first = minutes.peekFirst(); first != null && first.number < keep; first = minutes.peekFirst()) {
            for (; first.forgotten < first.written && left > 0; left--) {
                hashes.remove(first.forget());
            }
            if (first.forgotten < first.count) {
                return;
            }
            drop(first);
            minutes.removeFirst();
        }
    }

    /** A minute's blocks: all keys of its number. */
    private void drop(Minute minute) {
        try (KeyValueIterator<byte[], byte[]> blocks = wrapped().range(minute.key(0), minute.key(minute.count))) {
            while (blocks.hasNext()) {
                wrapped().put(blocks.next().key, null);
            }
        }
    }

    /** The hashes of one minute, one after the other. */
    private static final class Minute {
        private final long number;
        private byte[] hashes = new byte[1 << 10];
        private int count;
        /** So many of them stand in the store. */
        private int written;
        /** So many of them are out of memory already. */
        private int forgotten;

        Minute(long number) {
            this.number = number;
        }

        void add(byte[] hash) {
            if (HASH * count == hashes.length) {
                hashes = Arrays.copyOf(hashes, 2 * hashes.length);
            }
            System.arraycopy(hash, 0, hashes, HASH * count++, HASH);
        }

        byte[] forget() {
            int at = HASH * forgotten++;
            return Arrays.copyOfRange(hashes, at, at + HASH);
        }

        byte[] key(int first) {
            byte[] key = new byte[Long.BYTES + Integer.BYTES];
            BigEndian.putLong(key, 0, number);
            BigEndian.putInt(key, Long.BYTES, first);
            return key;
        }
    }

    private record Builder(StoreBuilder<KeyValueStore<byte[], byte[]>> blocks) implements StoreBuilder<Seen> {
        @Override
        public StoreBuilder<Seen> withCachingEnabled() {
            return new Builder(blocks.withCachingEnabled());
        }

        @Override
        public StoreBuilder<Seen> withCachingDisabled() {
            return new Builder(blocks.withCachingDisabled());
        }

        @Override
        public StoreBuilder<Seen> withLoggingEnabled(Map<String, String> config) {
            return new Builder(blocks.withLoggingEnabled(config));
        }

        @Override
        public StoreBuilder<Seen> withLoggingDisabled() {
            return new Builder(blocks.withLoggingDisabled());
        }

        @Override
        public Seen build() {
            return new Seen(blocks.build());
        }

        @Override
        public Map<String, String> logConfig() {
            return blocks.logConfig();
        }

        @Override
        public boolean loggingEnabled() {
            return blocks.loggingEnabled();
        }

        @Override
        public String name() {
            return blocks.name();
        }
    }
}
