package recado.peers;

import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.TreeMap;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;

/** The bank's events of the last hour: a store from their hash (16) to when they came (8), and the same in memory, rebuilt from it. */
final class Seen {
    // They are looked for in memory, as Recado does: the store would be asked with each request, nearly always for a key that it does not have. What expires is
    // found by a queue, a list of hashes for each minute: an index of times in the store would double its writes, and a window store would need a look at each
    // of its segments.

    private static final long WINDOW = 3_600_000;
    private static final long MINUTE = 60_000;
    /** Expired at most in one go; ten goes a second are as many as come in at 10,000 a second and task. */
    private static final int EXPIRED_MAX = 1_000;

    private final KeyValueStore<byte[], byte[]> store;
    private final Hashes hashes = new Hashes();
    private final ArrayDeque<Minute> minutes = new ArrayDeque<>();

    Seen(KeyValueStore<byte[], byte[]> store) {
        this.store = store;
        TreeMap<Long, Minute> found = new TreeMap<>();
        try (KeyValueIterator<byte[], byte[]> all = store.all()) {
            while (all.hasNext()) {
                KeyValue<byte[], byte[]> event = all.next();
                hashes.add(event.key);
                found.computeIfAbsent(BigEndian.longAt(event.value, 0) / MINUTE, Minute::new).add(event.key);
            }
        }
        minutes.addAll(found.values());
    }

    boolean contains(byte[] hash) {
        return hashes.contains(hash);
    }

    /** Takes in one that it does not have. */
    void add(byte[] hash, long now) {
        byte[] time = new byte[Long.BYTES];
        BigEndian.putLong(time, 0, now);
        store.put(hash, time);
        hashes.add(hash);
        Minute last = minutes.peekLast();
        // Where the clock steps back, an event is kept a little longer.
        if (last == null || last.number < now / MINUTE) {
            last = new Minute(now / MINUTE);
            minutes.addLast(last);
        }
        last.add(hash);
    }

    /** Forgets minutes that are wholly older than the window. */
    void expire(long now) {
        long keep = (now - WINDOW) / MINUTE;
        int left = EXPIRED_MAX;
        for (Minute first = minutes.peekFirst(); first != null && first.number < keep; first = minutes.peekFirst()) {
            for (; first.count > 0 && left > 0; left--) {
                byte[] hash = first.take();
                store.put(hash, null);
                hashes.remove(hash);
            }
            if (first.count > 0) {
                return;
            }
            minutes.removeFirst();
        }
    }

    /** The hashes of one minute, one after the other. */
    private static final class Minute {
        private final long number;
        private byte[] hashes = new byte[1 << 10];
        private int count;

        Minute(long number) {
            this.number = number;
        }

        void add(byte[] hash) {
            if (16 * count == hashes.length) {
                hashes = Arrays.copyOf(hashes, 2 * hashes.length);
            }
            System.arraycopy(hash, 0, hashes, 16 * count++, 16);
        }

        byte[] take() {
            count--;
            return Arrays.copyOfRange(hashes, 16 * count, 16 * count + 16);
        }
    }
}
