package recado.peers;

/** Hears what a delivery decides, in the order in which it is to be written. */
interface Decisions {
    void dispatch(Dispatch dispatch);

    void status(Status status);

    /** Send attempt `step`/1; `why` is NONE for the first step. */
    record Dispatch(int step, long leaseEnd, long notAfter, Reason why) { }

    /** Tell the bank; `step` 0 speaks of no attempt, and a `providerTime` of {@link Returned#NO_TIME} is none. */
    record Status(int seq, StatusWord word, int step, Reason reason, long providerTime, boolean doubleDelivered) { }
}
