package recado.peers;

import java.util.Arrays;

/** Recado's own work: Avro by field path, deduplication, sealing, and the drain gate. */
final class FullWork implements Work {
    /** The input's name in the deduplication hash. */
    private static final String INPUT = "pix";
    /** The secrets of the bench. */
    private static final byte[] PEPPER = filled(0x50);
    private static final byte[] ROOT_KEY = filled(0x72);

    private final PixReader pix;
    private final Payload payload = new Payload();
    private final Pepper pepper = new Pepper(PEPPER, INPUT);
    private final Sealer sealer = new Sealer(ROOT_KEY);
    private final Seen seen;
    private final Incoming incoming;
    private final Outgoing outgoing;

    FullWork(Settings settings, int partition, Seen seen) {
        pix = new PixReader(settings.schemas());
        this.seen = seen;
        seen.load();
        incoming = new Incoming(settings.schemas());
        outgoing = new Outgoing(settings.schemas(), settings.input(), partition);
    }

    private static byte[] filled(int value) {
        byte[] key = new byte[32];
        Arrays.fill(key, (byte) value);
        return key;
    }

    @Override
    public boolean gated() {
        return true;
    }

    @Override
    public Taken request(byte[] key, byte[] value, byte[] id, long recordTime, long offset, long now, Delivery delivery) {
        pix.read(value);
        byte[] event = pepper.event(pix.eventId);
        if (seen.contains(event)) {
            return Taken.DROPPED;
        }
        int route = switch (pix.direction) {
            case "RECEIVED" -> 0;
            case "SENT" -> 1;
            default -> throw new IllegalStateException("A direction that no route takes.");
        };
        boolean reachable = payload.write(pix);
        delivery.begin(route, recordTime, offset, now);
        delivery.carry(key, pix.eventId.getBytes(), pix.eventId.getByteLength(), reachable ? Sealer.ADDED + payload.length() : 0);
        pepper.customer(pix.customer, delivery.bytes(), Delivery.CUSTOMER);
        if (reachable) {
            sealer.seal(payload.bytes(), payload.length(), id, delivery.expiry(), delivery.bytes(), Delivery.CUSTOMER, delivery.restAt());
        }
        seen.add(event, now);
        return reachable ? Taken.REACHABLE : Taken.UNREACHABLE;
    }

    @Override
    public void returned(byte[] value, Returned into) {
        incoming.read(value, into);
    }

    @Override
    public byte[] dispatch(byte[] id, Delivery delivery, Decisions.Dispatch dispatch) {
        return outgoing.dispatch(id, delivery, dispatch);
    }

    @Override
    public byte[] status(byte[] id, Delivery delivery, Decisions.Status status, long now) {
        return outgoing.status(id, delivery, status, now);
    }

    @Override
    public byte[] lateRead(byte[] id, Returned read, long now) {
        return outgoing.lateRead(id, read, now);
    }

    @Override
    public void upkeep(long now) {
        seen.expire(now);
    }
}
