package recado.peers;

import java.util.Arrays;
import java.util.function.Consumer;

/** Timers in memory: a binary heap of slot numbers for each group, the timers in arrays, and a hash table from id to slot. */
final class HeapTimers implements Timers {
    // Of a hundred timers 98 are cancelled, and most of them minutes before they are due. So a cancel must take the timer out: a heap that only marked it
    // would hold ten minutes of dead ones. A TreeMap can do that as well, but takes some 90 bytes a timer in objects that the collector has to age,
    // rebalances with each change and follows a pointer for each comparison. Here it is some 50 bytes and no object; as deadlines hardly ever go back, a
    // timer goes in at the end of its heap and, cancelled soon, is taken out near it, so neither sifts far.

    private static final int SLOTS_FIRST = 1 << 12;

    private long[] due = new long[SLOTS_FIRST];
    private long[] high = new long[SLOTS_FIRST];
    private long[] low = new long[SLOTS_FIRST];
    private byte[] group = new byte[SLOTS_FIRST];
    /** Where in its heap a slot stands; of a free slot, the next free one. */
    private int[] place = new int[SLOTS_FIRST];
    private int used;
    private int free = -1;

    /** Slot + 1, or 0; open addressing, at most half full. The low half of an id comes from SHA-256 and needs no hashing. */
    private int[] table = new int[2 * SLOTS_FIRST];

    private final int[][] heaps = new int[GROUPS][SLOTS_FIRST];
    private final int[] sizes = new int[GROUPS];

    @Override
    public void set(byte[] id, int group, long due) {
        long high = BigEndian.longAt(id, 0);
        long low = BigEndian.longAt(id, 8);
        if (find(high, low) >= 0) {
            throw new IllegalStateException("A timer was set beside another of the same delivery.");
        }
        int slot = take();
        this.due[slot] = due;
        this.high[slot] = high;
        this.low[slot] = low;
        this.group[slot] = (byte) group;
        hash(slot);
        int size = sizes[group]++;
        if (size == heaps[group].length) {
            heaps[group] = Arrays.copyOf(heaps[group], 2 * size);
        }
        up(heaps[group], size, slot);
    }

    @Override
    public void clear(byte[] id, long due) {
        int at = find(BigEndian.longAt(id, 0), BigEndian.longAt(id, 8));
        if (at >= 0) {
            release(at);
        }
    }

    @Override
    public boolean fire(long now, long[] limits, int most, Consumer<byte[]> fired) {
        int left = most;
        boolean more = false;
        for (int of = 0; of < GROUPS; of++) {
            while (left > 0 && firstDue(of) <= limits[of]) {
                int slot = heaps[of][0];
                byte[] id = new byte[16];
                BigEndian.putLong(id, 0, high[slot]);
                BigEndian.putLong(id, 8, low[slot]);
                release(find(high[slot], low[slot]));
                left--;
                fired.accept(id);
            }
            more |= firstDue(of) <= now;
        }
        return more;
    }

    private long firstDue(int of) {
        return sizes[of] == 0 ? Long.MAX_VALUE : due[heaps[of][0]];
    }

    private int take() {
        if (free >= 0) {
            int slot = free;
            free = place[slot];
            return slot;
        }
        if (used == due.length) {
            grow();
        }
        return used++;
    }

    private void grow() {
        int slots = 2 * used;
        due = Arrays.copyOf(due, slots);
        high = Arrays.copyOf(high, slots);
        low = Arrays.copyOf(low, slots);
        group = Arrays.copyOf(group, slots);
        place = Arrays.copyOf(place, slots);
        // Every slot is taken when they grow.
        table = new int[2 * slots];
        for (int slot = 0; slot < used; slot++) {
            hash(slot);
        }
    }

    /** Takes the timer out that stands here in the table. */
    private void release(int at) {
        int slot = table[at] - 1;
        unhash(at);
        unheap(slot);
        place[slot] = free;
        free = slot;
    }

    private int find(long high, long low) {
        int mask = table.length - 1;
        for (int at = (int) low & mask; table[at] != 0; at = at + 1 & mask) {
            int slot = table[at] - 1;
            if (this.low[slot] == low && this.high[slot] == high) {
                return at;
            }
        }
        return -1;
    }

    private void hash(int slot) {
        int mask = table.length - 1;
        int at = (int) low[slot] & mask;
        while (table[at] != 0) {
            at = at + 1 & mask;
        }
        table[at] = slot + 1;
    }

    /** Empties a place and closes the gap: later entries of the run move up, unless they would come to stand before their home. */
    private void unhash(int at) {
        int mask = table.length - 1;
        int gap = at;
        for (int next = gap + 1 & mask; table[next] != 0; next = next + 1 & mask) {
            int home = (int) low[table[next] - 1] & mask;
            if ((next - home & mask) >= (next - gap & mask)) {
                table[gap] = table[next];
                gap = next;
            }
        }
        table[gap] = 0;
    }

    private void unheap(int slot) {
        int of = group[slot];
        int[] heap = heaps[of];
        int size = --sizes[of];
        int at = place[slot];
        int last = heap[size];
        if (last == slot) {
            return;
        }
        if (at > 0 && due[last] < due[heap[at - 1 >> 1]]) {
            up(heap, at, last);
        } else {
            down(heap, size, at, last);
        }
    }

    private void up(int[] heap, int from, int slot) {
        int at = from;
        while (at > 0) {
            int parent = at - 1 >> 1;
            int above = heap[parent];
            if (due[above] <= due[slot]) {
                break;
            }
            heap[at] = above;
            place[above] = at;
            at = parent;
        }
        heap[at] = slot;
        place[slot] = at;
    }

    private void down(int[] heap, int size, int from, int slot) {
        int at = from;
        for (int child = 2 * at + 1; child < size; child = 2 * at + 1) {
            if (child + 1 < size && due[heap[child + 1]] < due[heap[child]]) {
                child++;
            }
            int below = heap[child];
            if (due[below] >= due[slot]) {
                break;
            }
            heap[at] = below;
            place[below] = at;
            at = child;
        }
        heap[at] = slot;
        place[slot] = at;
    }
}
