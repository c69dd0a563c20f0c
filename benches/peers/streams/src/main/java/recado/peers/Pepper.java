package recado.peers;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.util.Arrays;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import org.apache.avro.util.Utf8;

/** Keyed hashes of several parts, each with its length in four bytes before it, cut to 16 bytes: customers' references and deduplication. */
final class Pepper {
    private static final int BYTES = 16;

    private final Mac mac;
    private final byte[] customer = parts("customer");
    private final byte[] event;
    private final byte[] length = new byte[4];

    Pepper(byte[] key, String input) {
        mac = hmac(key);
        event = parts("dedup", input);
    }

    static Mac hmac(byte[] key) {
        try {
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(key, "HmacSHA256"));
            return mac;
        } catch (GeneralSecurityException impossible) {
            throw new IllegalStateException("Every Java has HMAC-SHA256.", impossible);
        }
    }

    /** Writes the reference of a customer. */
    void customer(Utf8 id, byte[] into, int at) {
        System.arraycopy(hash(customer, id), 0, into, at, BYTES);
    }

    /** The deduplication hash of an event of the bank. */
    byte[] event(Utf8 id) {
        return Arrays.copyOf(hash(event, id), BYTES);
    }

    private byte[] hash(byte[] before, Utf8 last) {
        mac.update(before);
        BigEndian.putInt(length, 0, last.getByteLength());
        mac.update(length);
        mac.update(last.getBytes(), 0, last.getByteLength());
        return mac.doFinal();
    }

    private static byte[] parts(String... words) {
        ByteBuffer buffer = ByteBuffer.allocate(Arrays.stream(words).mapToInt(word -> 4 + word.length()).sum());
        for (String word : words) {
            buffer.putInt(word.length()).put(word.getBytes(StandardCharsets.US_ASCII));
        }
        return buffer.array();
    }
}
