package recado.peers;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.SecureRandom;
import java.util.HashMap;
import java.util.Map;
import javax.crypto.Cipher;
import javax.crypto.Mac;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.SecretKeySpec;

/** Seals parameters with AES-256-GCM under a key per customer, in Recado's blob v1. */
final class Sealer {
    // Version 1, algorithm 1, kind of key 1, key id 8, nonce 12, ciphertext, tag 16. A customer's key is derived from the root here, where Recado draws one and
    // keeps it in a file: there is no look-up, and no disk.

    private static final int NONCE = 12;
    private static final int TAG = 16;
    private static final int HEADER = 3 + 8;
    /** What sealing adds to a text. */
    static final int ADDED = HEADER + NONCE + TAG;

    private static final byte CUSTOMERS_KEY = 1;
    private static final long KEY_ID = 1;
    private static final int KEYS_MAX = 200_000;
    private static final int NONCES = 256;

    private record Reference(long high, long low) { }

    private final Mac root;
    private final Cipher cipher;
    private final Map<Reference, SecretKeySpec> keys = new HashMap<>();

    /** On Linux it reads /dev/urandom, which never blocks; many nonces in one go. */
    private final SecureRandom random = new SecureRandom();
    private final byte[] nonces = new byte[NONCES * NONCE];
    private int nonceAt = nonces.length;

    /** Associated data, each part with its length in four bytes before it; customer, message id and expiry change. */
    private final byte[] bound;
    private final int customerIn;
    private final int idIn;
    private final int expiryIn;

    Sealer(byte[] rootKey) {
        root = Pepper.hmac(rootKey);
        try {
            cipher = Cipher.getInstance("AES/GCM/NoPadding");
        } catch (GeneralSecurityException impossible) {
            throw new IllegalStateException("Every Java has AES-GCM.", impossible);
        }
        byte[] tag = "recado.seal.v1".getBytes(StandardCharsets.US_ASCII);
        byte[] purpose = "params".getBytes(StandardCharsets.US_ASCII);
        ByteBuffer buffer = ByteBuffer.allocate(7 * 4 + tag.length + 1 + 8 + 16 + 16 + purpose.length + 8);
        buffer.putInt(tag.length).put(tag).putInt(1).put(CUSTOMERS_KEY).putInt(8).putLong(KEY_ID).putInt(16);
        customerIn = buffer.position();
        buffer.putLong(0).putLong(0).putInt(16);
        idIn = buffer.position();
        buffer.putLong(0).putLong(0).putInt(purpose.length).put(purpose).putInt(8);
        expiryIn = buffer.position();
        bound = buffer.array();
    }

    /** Seals the first `length` bytes of `plain` into a delivery's bytes: the customer's reference stands there at `customerAt`, the blob comes to `at`. */
    void seal(byte[] plain, int length, byte[] id, long expiry, byte[] delivery, int customerAt, int at) {
        System.arraycopy(delivery, customerAt, bound, customerIn, 16);
        System.arraycopy(id, 0, bound, idIn, 16);
        BigEndian.putLong(bound, expiryIn, expiry);
        if (nonceAt == nonces.length) {
            random.nextBytes(nonces);
            nonceAt = 0;
        }
        delivery[at] = 1;
        delivery[at + 1] = 1;
        delivery[at + 2] = CUSTOMERS_KEY;
        BigEndian.putLong(delivery, at + 3, KEY_ID);
        System.arraycopy(nonces, nonceAt, delivery, at + HEADER, NONCE);
        try {
            cipher.init(Cipher.ENCRYPT_MODE, key(delivery, customerAt), new GCMParameterSpec(8 * TAG, nonces, nonceAt, NONCE));
            cipher.updateAAD(bound);
            cipher.doFinal(plain, 0, length, delivery, at + HEADER + NONCE);
        } catch (GeneralSecurityException bug) {
            throw new IllegalStateException("A payload could not be sealed.", bug);
        }
        nonceAt += NONCE;
    }

    private SecretKeySpec key(byte[] delivery, int customerAt) {
        Reference customer = new Reference(BigEndian.longAt(delivery, customerAt), BigEndian.longAt(delivery, customerAt + 8));
        SecretKeySpec key = keys.get(customer);
        if (key == null) {
            if (keys.size() == KEYS_MAX) {
                keys.clear();
            }
            root.update(delivery, customerAt, 16);
            key = new SecretKeySpec(root.doFinal(), "AES");
            keys.put(customer, key);
        }
        return key;
    }
}
