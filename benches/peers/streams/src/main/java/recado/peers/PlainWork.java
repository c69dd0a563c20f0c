package recado.peers;

import java.util.Arrays;

/** The plain yardstick: bytes in, bytes out. */
final class PlainWork implements Work {
    // Request: direction 1 (0 received, 1 sent), then what nobody reads. Receipt: kind 1 (0 accepted, 1 sent, 2 delivered, 3 read; others pass), id 16, step
    // 1, n 2. Dispatch: id 16, step 1, n 2. Status: id 16, seq 4 (-1 for none), word 1, step 1, n 2. States, dispatches and statuses are filled up to their
    // size with the request's unread bytes, so that no two are alike.

    private static final int RECEIPT_BYTES = 20;
    private static final int DISPATCH_HEAD = 19;
    private static final int STATUS_HEAD = 24;
    private static final int NO_SEQ = -1;
    private static final byte[] NO_EVENT = {};
    private static final Returned.Kind[] KINDS = Returned.Kind.values();

    private final int dispatchBytes;
    private final int statusBytes;
    private final int stateBytes;

    PlainWork(Settings settings) {
        dispatchBytes = Math.max(settings.dispatchBytes(), DISPATCH_HEAD);
        statusBytes = Math.max(settings.statusBytes(), STATUS_HEAD);
        stateBytes = settings.stateBytes();
    }

    @Override
    public boolean gated() {
        return false;
    }

    @Override
    public Taken request(byte[] key, byte[] value, byte[] id, long recordTime, long offset, long now, Delivery delivery) {
        delivery.begin(value[0], recordTime, offset, now);
        delivery.carry(key, NO_EVENT, 0, Math.max(0, stateBytes - Delivery.carried(key.length, 0)));
        fill(delivery.bytes(), Delivery.CUSTOMER, Delivery.CUSTOMER + 16, value, 1, value.length - 1);
        fill(delivery.bytes(), delivery.restAt(), delivery.bytes().length, value, 1, value.length - 1);
        return Taken.REACHABLE;
    }

    @Override
    public void returned(byte[] value, Returned into) {
        if (value.length < RECEIPT_BYTES || value[0] < 0 || value[0] > Returned.Kind.READ.ordinal()) {
            into.kind = Returned.Kind.OTHER;
            return;
        }
        into.kind = KINDS[value[0]];
        into.id = Arrays.copyOfRange(value, 1, 17);
        into.step = value[17];
        into.n = BigEndian.shortAt(value, 18);
        into.providerTime = Returned.NO_TIME;
    }

    @Override
    public byte[] dispatch(byte[] id, Delivery delivery, Decisions.Dispatch dispatch) {
        byte[] out = new byte[dispatchBytes];
        System.arraycopy(id, 0, out, 0, id.length);
        out[16] = (byte) dispatch.step();
        BigEndian.putShort(out, 17, 1);
        fill(out, DISPATCH_HEAD, out.length, delivery.bytes(), delivery.restAt(), delivery.restLength());
        return out;
    }

    @Override
    public byte[] status(byte[] id, Delivery delivery, Decisions.Status status, long now) {
        byte[] out = head(id, status.seq(), status.word(), status.step(), 1);
        fill(out, STATUS_HEAD, out.length, delivery.bytes(), delivery.restAt(), delivery.restLength());
        return out;
    }

    /** Nothing is left to fill it with but the id. */
    @Override
    public byte[] lateRead(byte[] id, Returned read, long now) {
        byte[] out = head(id, NO_SEQ, StatusWord.READ, read.step, read.n);
        fill(out, STATUS_HEAD, out.length, id, 0, id.length);
        return out;
    }

    @Override
    public void upkeep(long now) { }

    private byte[] head(byte[] id, int seq, StatusWord word, int step, int n) {
        byte[] out = new byte[statusBytes];
        System.arraycopy(id, 0, out, 0, id.length);
        BigEndian.putInt(out, 16, seq);
        out[20] = (byte) word.ordinal();
        out[21] = (byte) step;
        BigEndian.putShort(out, 22, n);
        return out;
    }

    /** Fills a range with these bytes, again from their start where they are too few. */
    private static void fill(byte[] out, int from, int to, byte[] source, int start, int length) {
        for (int at = from; at < to && length > 0; at += length) {
            System.arraycopy(source, start, out, at, Math.min(length, to - at));
        }
    }
}
