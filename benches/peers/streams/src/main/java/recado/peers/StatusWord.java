package recado.peers;

/** What a status says, in the order of `status.avsc`: the ordinal is what is written. */
enum StatusWord {
    REQUESTED, SENT, DELIVERED, READ, FALLBACK, RETRIED, FAILED, EXPIRED, CANCELLED, UNCONFIRMED, LATE;

    boolean terminal() {
        return switch (this) {
            case DELIVERED, FAILED, EXPIRED, CANCELLED, UNCONFIRMED -> true;
            case REQUESTED, SENT, READ, FALLBACK, RETRIED, LATE -> false;
        };
    }
}
