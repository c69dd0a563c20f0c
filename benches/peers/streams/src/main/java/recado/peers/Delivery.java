package recado.peers;

import java.util.Arrays;

/** The delivery machine and its memory; pure: time is an argument. */
final class Delivery {
    // Recado's machine, cut to two steps that wait for delivered, outcomes accepted, and receipts sent, delivered and read. One object serves all deliveries
    // of a task: `begin` or `read` fills it, and `write` gives the bytes to store.
    //
    // Bytes, big-endian: version 1, route 1, expiry 8, offset of the request 8, current step 1, flags 1, next seq 4, end 1, clock 1, due 8, one byte of
    // reports for each step, customer 16; then key and event id, each with its length in two bytes; the rest is the payload. Only what stands before the
    // customer changes.

    static final int CUSTOMER = 36;

    private static final byte VERSION = 1;
    private static final int ROUTE = 1;
    private static final int EXPIRY = 2;
    private static final int OFFSET = 10;
    private static final int STEP = 18;
    private static final int FLAGS = 19;
    private static final int SEQ = 20;
    private static final int END = 24;
    private static final int CLOCK = 25;
    private static final int DUE = 26;
    private static final int REPORTS = 34;
    private static final int KEY = 52;

    /** Reports on an attempt: how far it came in the lowest two bits (0 nothing, 1 sent, 2 delivered, 3 read), and these. */
    private static final int REACHED = 3;
    private static final int ACCEPTED = 4;
    private static final int LEASE_ENDED = 8;
    private static final int SENT = 1;
    private static final int ARRIVED = 2;
    private static final int SEEN = 3;

    private static final int STEPS = 2;
    /** How long after the expiry a receipt may still come. */
    private static final long RECEIPT_GRACE = 3_000;

    private static final Clock[] CLOCKS = Clock.values();
    private static final StatusWord[] WORDS = StatusWord.values();

    private final Route[] routes;
    private int route;
    private long expiry;
    private long offset;
    private int step;
    private int seq;
    private StatusWord end;
    private boolean lateTold;
    private boolean doubleTold;
    private Clock clock = Clock.NONE;
    private long due;
    private final int[] reports = new int[STEPS + 1];

    private byte[] bytes;
    /** Whether nobody else has `bytes`. */
    private boolean own;
    private int eventAt;
    private int restAt;

    Delivery(Route[] routes) {
        this.routes = routes;
    }

    /** A delivery of which nothing is sent yet; {@link #carry} must follow. */
    void begin(int route, long recordTime, long offset, long now) {
        this.route = route;
        this.offset = offset;
        expiry = Math.min(recordTime, now) + routes[route].expiry();
        step = 0;
        seq = 0;
        end = null;
        lateTold = false;
        doubleTold = false;
        clock = Clock.NONE;
        due = 0;
        Arrays.fill(reports, 0);
    }

    /** Makes room for what it carries; customer and payload are still to be filled in. */
    void carry(byte[] key, byte[] event, int eventLength, int restLength) {
        bytes = new byte[carried(key.length, eventLength) + restLength];
        own = true;
        BigEndian.putShort(bytes, KEY, key.length);
        System.arraycopy(key, 0, bytes, KEY + 2, key.length);
        locate();
        BigEndian.putShort(bytes, eventAt - 2, eventLength);
        System.arraycopy(event, 0, bytes, eventAt, eventLength);
        restAt = eventAt + eventLength;
    }

    /** How long the bytes are without a payload. */
    static int carried(int keyLength, int eventLength) {
        return KEY + 2 + keyLength + 2 + eventLength;
    }

    /** Takes in what {@link #write} gave; the array stays untouched. */
    void read(byte[] stored) {
        if (stored[0] != VERSION) {
            throw new IllegalStateException("A delivery of version " + stored[0] + " is stored.");
        }
        bytes = stored;
        own = false;
        route = stored[ROUTE];
        expiry = BigEndian.longAt(stored, EXPIRY);
        offset = BigEndian.longAt(stored, OFFSET);
        step = stored[STEP];
        lateTold = (stored[FLAGS] & 1) != 0;
        doubleTold = (stored[FLAGS] & 2) != 0;
        seq = BigEndian.intAt(stored, SEQ);
        end = stored[END] == 0 ? null : WORDS[stored[END]];
        clock = clockIn(stored);
        due = dueIn(stored);
        reports[1] = stored[REPORTS];
        reports[2] = stored[REPORTS + 1];
        locate();
        restAt = eventAt + BigEndian.shortAt(stored, eventAt - 2);
    }

    /** The bytes to store; they are the store's from now on. */
    byte[] write() {
        if (!own) {
            bytes = bytes.clone();
        }
        own = false;
        bytes[0] = VERSION;
        bytes[ROUTE] = (byte) route;
        BigEndian.putLong(bytes, EXPIRY, expiry);
        BigEndian.putLong(bytes, OFFSET, offset);
        bytes[STEP] = (byte) step;
        bytes[FLAGS] = (byte) ((lateTold ? 1 : 0) | (doubleTold ? 2 : 0));
        BigEndian.putInt(bytes, SEQ, seq);
        bytes[END] = (byte) (end == null ? 0 : end.ordinal());
        bytes[CLOCK] = (byte) clock.ordinal();
        BigEndian.putLong(bytes, DUE, due);
        bytes[REPORTS] = (byte) reports[1];
        bytes[REPORTS + 1] = (byte) reports[2];
        return bytes;
    }

    private void locate() {
        eventAt = KEY + 2 + BigEndian.shortAt(bytes, KEY) + 2;
    }

    static Clock clockIn(byte[] stored) {
        return CLOCKS[stored[CLOCK]];
    }

    static long dueIn(byte[] stored) {
        return BigEndian.longAt(stored, DUE);
    }

    static int stepIn(byte[] stored) {
        return stored[STEP];
    }

    /** Begins it. `reachable`: whether the record names a number. */
    void request(boolean reachable, long now, Decisions out) {
        if (!reachable) {
            end(StatusWord.FAILED, 0, Reason.UNREACHABLE, now, out);
        } else if (!dispatch(1, Reason.NONE, now, out)) {
            end(StatusWord.EXPIRED, 0, Reason.EXPIRED, now, out);
        }
    }

    /** The provider took an attempt; `appended` is when that was written. */
    void accepted(int step, int n, long appended) {
        if (!made(step, n)) {
            return;
        }
        boolean before = (reports[step] & ACCEPTED) != 0;
        reports[step] |= ACCEPTED;
        if (end == null && step == this.step && !before) {
            waitFrom(appended);
        }
    }

    /** A receipt; `reached` is its place in the lattice, 1 sent to 3 read. */
    void receipt(int step, int n, int reached, long providerTime, long now, Decisions out) {
        if (!made(step, n)) {
            return;
        }
        int before = reports[step] & REACHED;
        reports[step] = reports[step] & ~REACHED | Math.max(before, reached);
        if (end != null) {
            afterTheEnd(step, reached, before, providerTime, out);
        } else if (reached >= ARRIVED) {
            delivered(step, providerTime, now, out);
        } else if (step == this.step && before < SENT) {
            if (clock != Clock.WAIT) {
                waitFrom(now);
            }
            status(StatusWord.SENT, step, Reason.NONE, providerTime, false, out);
        }
    }

    /** The clock that runs is due. */
    void timer(long now, Decisions out) {
        if (clock == Clock.NONE || due > now) {
            return;
        }
        Clock ended = clock;
        clock = Clock.NONE;
        switch (ended) {
            case LEASE -> {
                reports[step] |= LEASE_ENDED;
                waitFrom(now);
            }
            case WAIT -> waitEnded(now, out);
            case LINGER, NONE -> { }
        }
    }

    private void delivered(int step, long providerTime, long now, Decisions out) {
        boolean both = doubled(step);
        clock = Clock.NONE;
        end = StatusWord.DELIVERED;
        if (step != 1) {
            linger(now);
        }
        status(StatusWord.DELIVERED, step, Reason.NONE, providerTime, both, out);
    }

    private void afterTheEnd(int step, int reached, int before, long providerTime, Decisions out) {
        if (reached >= ARRIVED && before < ARRIVED) {
            boolean both = doubled(step);
            boolean first = end != StatusWord.DELIVERED && !lateTold;
            if (first || both && !doubleTold) {
                lateTold = true;
                status(StatusWord.LATE, step, Reason.NONE, providerTime, both, out);
            }
        } else if (reached == SEEN && before == ARRIVED) {
            status(StatusWord.READ, step, Reason.NONE, providerTime, false, out);
        }
    }

    private void waitEnded(long now, Decisions out) {
        if (step == STEPS) {
            boolean unknown = (reports[step] & ~LEASE_ENDED) == 0;
            end(StatusWord.UNCONFIRMED, step, unknown ? Reason.UNKNOWN : Reason.TIMER, now, out);
        } else if (!dispatch(step + 1, Reason.TIMER, now, out)) {
            end(StatusWord.EXPIRED, step, Reason.TIMER, now, out);
        }
    }

    /** False, and nothing is done, when the expiry leaves no time for it. */
    private boolean dispatch(int next, Reason why, long now, Decisions out) {
        Route plan = routes[route];
        long leaseEnd = Math.min(now + plan.lease(), expiry);
        long notAfter = leaseEnd - plan.callMax();
        if (now > expiry || now >= notAfter) {
            return false;
        }
        step = next;
        out.dispatch(new Decisions.Dispatch(next, leaseEnd, notAfter, why));
        set(Clock.LEASE, leaseEnd);
        status(why == Reason.NONE ? StatusWord.REQUESTED : StatusWord.FALLBACK, next, why, Returned.NO_TIME, false, out);
        return true;
    }

    private void end(StatusWord word, int step, Reason reason, long now, Decisions out) {
        clock = Clock.NONE;
        end = word;
        if (this.step > 0) {
            linger(now);
        }
        status(word, step, reason, Returned.NO_TIME, false, out);
    }

    private void waitFrom(long from) {
        set(Clock.WAIT, Math.min(from + routes[route].waitOf(step), expiry + RECEIPT_GRACE));
    }

    private void linger(long now) {
        set(Clock.LINGER, now + routes[route].linger());
    }

    private void set(Clock clock, long due) {
        this.clock = clock;
        this.due = due;
    }

    private void status(StatusWord word, int step, Reason reason, long providerTime, boolean both, Decisions out) {
        doubleTold |= both;
        out.status(new Decisions.Status(seq++, word, step, reason, providerTime, both));
    }

    private boolean made(int step, int n) {
        return n == 1 && step >= 1 && step <= this.step;
    }

    /** Whether the message of the other step reached the customer too, or went out later and may yet. */
    private boolean doubled(int step) {
        return step == 1 ? this.step > 1 : (reports[1] & REACHED) >= ARRIVED;
    }

    /** Without a clock it is over: what is stored of it goes. */
    boolean forgotten() {
        return clock == Clock.NONE;
    }

    Clock clock() {
        return clock;
    }

    long due() {
        return due;
    }

    int step() {
        return step;
    }

    Route route() {
        return routes[route];
    }

    long expiry() {
        return expiry;
    }

    long offset() {
        return offset;
    }

    byte[] bytes() {
        return bytes;
    }

    /** The key of the request, which is that of its statuses. */
    byte[] key() {
        return Arrays.copyOfRange(bytes, KEY + 2, eventAt - 2);
    }

    int eventAt() {
        return eventAt;
    }

    int eventLength() {
        return restAt - eventAt;
    }

    int restAt() {
        return restAt;
    }

    int restLength() {
        return bytes.length - restAt;
    }
}
