package recado.peers;

/** The clock that runs in a delivery; it has one at most. The ordinals are stored. */
enum Clock {
    NONE,
    /** The dispatch must have reached the provider by then. */
    LEASE,
    /** The receipt must have come by then. */
    WAIT,
    /** An ended delivery is kept until then for late receipts. */
    LINGER
}
