package recado.peers;

import org.apache.avro.util.Utf8;

/** A route of two steps, WhatsApp and then SMS, both waiting for delivered; times in milliseconds. */
record Route(Utf8 name, Utf8 template, long firstWait, long secondWait, long lease, long callMax, long expiry, long linger) {
    long waitOf(int step) {
        return step == 1 ? firstWait : secondWait;
    }
}
