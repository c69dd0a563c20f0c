package recado.peers;

/** A set of hashes of 16 bytes, in one array. */
final class Hashes {
    // A HashSet would be some 80 bytes a hash in objects that the collector has to age. Here it is 32 to 64 and no object.

    private static final int SLOTS_FIRST = 1 << 12;

    /** Two numbers a slot; open addressing, at most half full. They are parts of an HMAC: their own bits spread them, and both are zero only where a slot is free. */
    private long[] table = new long[2 * SLOTS_FIRST];
    private int count;

    boolean contains(byte[] hash) {
        return !isFree(find(BigEndian.longAt(hash, 0), BigEndian.longAt(hash, 8)));
    }

    /** Takes in one that it does not have. */
    void add(byte[] hash) {
        count++;
        if (2 * count > slots()) {
            grow();
        }
        put(BigEndian.longAt(hash, 0), BigEndian.longAt(hash, 8));
    }

    /** Takes out one that it has, and closes the gap: later entries of the run move up, unless they would come to stand before their home. */
    void remove(byte[] hash) {
        int mask = slots() - 1;
        int gap = find(BigEndian.longAt(hash, 0), BigEndian.longAt(hash, 8));
        for (int next = gap + 1 & mask; !isFree(next); next = next + 1 & mask) {
            int home = (int) table[2 * next + 1] & mask;
            if ((next - home & mask) >= (next - gap & mask)) {
                table[2 * gap] = table[2 * next];
                table[2 * gap + 1] = table[2 * next + 1];
                gap = next;
            }
        }
        table[2 * gap] = 0;
        table[2 * gap + 1] = 0;
        count--;
    }

    private int slots() {
        return table.length / 2;
    }

    private boolean isFree(int slot) {
        return table[2 * slot] == 0 && table[2 * slot + 1] == 0;
    }

    /** Where it stands, or would. */
    private int find(long high, long low) {
        int mask = slots() - 1;
        int at = (int) low & mask;
        while (!isFree(at) && (table[2 * at] != high || table[2 * at + 1] != low)) {
            at = at + 1 & mask;
        }
        return at;
    }

    private void put(long high, long low) {
        int slot = find(high, low);
        table[2 * slot] = high;
        table[2 * slot + 1] = low;
    }

    private void grow() {
        long[] before = table;
        table = new long[2 * before.length];
        for (int at = 0; at < before.length; at += 2) {
            if (before[at] != 0 || before[at + 1] != 0) {
                put(before[at], before[at + 1]);
            }
        }
    }
}
