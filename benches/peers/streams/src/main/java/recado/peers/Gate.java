package recado.peers;

import java.util.ArrayDeque;

/** Up to which deadline timers may fire: as far as the receipts are drained, and while gateway and dispatcher gave signs of life. */
final class Gate {
    // All pairs since the last safe time are kept: the newest end alone always runs ahead of a busy reader.

    private static final long HEARTBEAT_SLACK = 3_000;
    private static final int PAIRS_MAX = 1_000;

    /** The end of the receipts, asked for at or after this time. */
    private record Pair(long asked, long end) { }

    private final ArrayDeque<Pair> pairs = new ArrayDeque<>();
    private long safe;
    private long gatewaySeen;
    private final long[] settled = new long[2];

    void endOffset(long asked, long end) {
        if (pairs.size() == PAIRS_MAX) {
            pairs.removeFirst();
        }
        pairs.addLast(new Pair(asked, end));
    }

    /** Every receipt below `position` is processed. */
    void drainedTo(long position) {
        for (Pair first = pairs.peekFirst(); first != null && first.end <= position; first = pairs.peekFirst()) {
            safe = Math.max(safe, first.asked);
            pairs.removeFirst();
        }
    }

    void gatewayAlive(long appended) {
        gatewaySeen = Math.max(gatewaySeen, appended);
    }

    /** Every dispatch of the channel whose lease ended before `settledBefore` has its outcome above the heartbeat that says so. */
    void dispatcherSettled(int channel, long settledBefore) {
        settled[channel] = Math.max(settled[channel], settledBefore);
    }

    /** For each group of timers, the latest deadline that may fire. */
    void limits(long now, long[] limits) {
        long drained = Math.min(now, safe);
        for (int channel = 0; channel < settled.length; channel++) {
            limits[channel] = Math.min(drained, settled[channel] - 1);
        }
        limits[Timers.WAITS] = Math.min(drained, gatewaySeen + HEARTBEAT_SLACK);
        limits[Timers.LINGERS] = drained;
    }
}
