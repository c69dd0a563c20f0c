package recado.peers;

/** One record of the receipts, read; reused for the next. */
final class Returned {
    static final long NO_TIME = Long.MIN_VALUE;

    /** What it is. The ordinals of the receipts are their places in the lattice. */
    enum Kind { ACCEPTED, SENT, DELIVERED, READ, GATEWAY, DISPATCHER, OTHER }

    Kind kind;
    /** Of an outcome or a receipt. A new array each time: stores and caches keep it. */
    byte[] id;
    int step;
    int n;
    long providerTime;
    /** Of a dispatcher's heartbeat: 0 WhatsApp, 1 SMS. */
    int channel;
    long settled;
}
