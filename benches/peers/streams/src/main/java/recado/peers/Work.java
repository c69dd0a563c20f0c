package recado.peers;

/** What is done around the machine: how records are read and written. Both kinds run the same machine. */
sealed interface Work permits FullWork, PlainWork {
    /** What became of a request. */
    enum Taken { DROPPED, UNREACHABLE, REACHABLE }

    /** Whether timers wait until the receipts are drained. */
    boolean gated();

    /** Reads a request and fills the delivery that it begins. */
    Taken request(byte[] key, byte[] value, byte[] id, long recordTime, long offset, long now, Delivery delivery);

    /** Reads a record of the receipts. */
    void returned(byte[] value, Returned into);

    byte[] dispatch(byte[] id, Delivery delivery, Decisions.Dispatch dispatch);

    byte[] status(byte[] id, Delivery delivery, Decisions.Status status, long now);

    /** The status of a read whose delivery is forgotten. */
    byte[] lateRead(byte[] id, Returned read, long now);

    /** Comes with each punctuation. */
    void upkeep(long now);
}
