package recado.peers;

import java.util.function.Consumer;

/** The timers of one task; a delivery has one at most. */
sealed interface Timers permits HeapTimers, StoreTimers {
    /** Timers that may fire up to the same deadline: leases of WhatsApp, leases of SMS, waits, lingers. */
    int GROUPS = 4;
    int WAITS = 2;
    int LINGERS = 3;

    static int group(Clock clock, int step) {
        return switch (clock) {
            case LEASE -> step - 1;
            case WAIT -> WAITS;
            case LINGER -> LINGERS;
            case NONE -> throw new IllegalArgumentException("No clock runs.");
        };
    }

    void set(byte[] id, int group, long due);

    /** `due`: for when it was set. */
    void clear(byte[] id, long due);

    /**
     * Takes out at most `most` timers that are due by the limit of their group, none of which is later than `now`, and hands over their ids. Returns whether
     * others are due by `now`.
     */
    boolean fire(long now, long[] limits, int most, Consumer<byte[]> fired);
}
