package recado.peers;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Consumer;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;

/** Timers in a store of their own, ordered by deadline: due 8, id 16 -> group 1. Each scan begins where the one before has left nothing behind. */
final class StoreTimers implements Timers {
    private static final int ID = 8;
    private static final int KEY_BYTES = 24;

    private final KeyValueStore<byte[], byte[]> store;
    /** Below this key there is nothing but tombstones. */
    private byte[] from = new byte[KEY_BYTES];
    private final List<byte[]> batch = new ArrayList<>();

    StoreTimers(KeyValueStore<byte[], byte[]> store) {
        this.store = store;
    }

    @Override
    public void set(byte[] id, int group, long due) {
        byte[] key = key(due, id);
        if (Arrays.compareUnsigned(key, from) < 0) {
            from = key;
        }
        store.put(key, new byte[] {(byte) group});
    }

    /** Not `delete`: that reads the old value first, which nobody asks for. */
    @Override
    public void clear(byte[] id, long due) {
        store.put(key(due, id), null);
    }

    @Override
    public boolean fire(long now, long[] limits, int most, Consumer<byte[]> fired) {
        byte[] to = new byte[KEY_BYTES];
        Arrays.fill(to, (byte) 0xff);
        BigEndian.putLong(to, 0, now);
        if (Arrays.compareUnsigned(from, to) >= 0) {
            return false;
        }
        byte[] left = scan(to, limits, most);
        from = left == null ? to : left;
        for (byte[] key : batch) {
            store.put(key, null);
            fired.accept(Arrays.copyOfRange(key, ID, KEY_BYTES));
        }
        batch.clear();
        return left != null;
    }

    /** Fills the batch; returns the first key that is due by `now` and stays. */
    private byte[] scan(byte[] to, long[] limits, int most) {
        long latest = Long.MIN_VALUE;
        for (long limit : limits) {
            latest = Math.max(latest, limit);
        }
        byte[] left = null;
        try (KeyValueIterator<byte[], byte[]> due = store.range(from, to)) {
            while (due.hasNext()) {
                KeyValue<byte[], byte[]> next = due.next();
                long at = BigEndian.longAt(next.key, 0);
                if (batch.size() < most && at <= limits[next.value[0]]) {
                    batch.add(next.key);
                } else if (left == null) {
                    left = next.key;
                }
                if (left != null && (batch.size() == most || at > latest)) {
                    break;
                }
            }
        }
        return left;
    }

    private static byte[] key(long due, byte[] id) {
        byte[] key = new byte[KEY_BYTES];
        BigEndian.putLong(key, 0, due);
        System.arraycopy(id, 0, key, ID, id.length);
        return key;
    }
}
