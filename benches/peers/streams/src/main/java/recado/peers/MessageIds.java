package recado.peers;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/** Message ids: record time 6, partition 2, the first 8 bytes of SHA-256 over where the record lies. */
final class MessageIds {
    private static final byte[] TAG = "recado/message/v1".getBytes(StandardCharsets.US_ASCII);
    private static final long TIME_MAX = (1L << 48) - 1;

    private final MessageDigest sha256;
    private final int partition;
    /** What is hashed, each part with its length in four bytes before it; only the offset changes. */
    private final byte[] parts;
    private final int offsetAt;

    MessageIds(String topic, int partition) {
        try {
            sha256 = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException impossible) {
            throw new IllegalStateException("Every Java has SHA-256.", impossible);
        }
        this.partition = partition;
        byte[] name = topic.getBytes(StandardCharsets.UTF_8);
        ByteBuffer buffer = ByteBuffer.allocate(4 + TAG.length + 4 + name.length + 4 + 2 + 4 + 8 + 4 + 4);
        buffer.putInt(TAG.length).put(TAG).putInt(name.length).put(name).putInt(2).putShort((short) partition).putInt(8);
        offsetAt = buffer.position();
        buffer.putLong(0).putInt(4).putInt(0);
        parts = buffer.array();
    }

    byte[] derive(long recordTime, long offset) {
        BigEndian.putLong(parts, offsetAt, offset);
        byte[] digest = sha256.digest(parts);
        byte[] id = new byte[16];
        BigEndian.putLong(id, 0, Math.max(0, Math.min(recordTime, TIME_MAX)) << 16 | partition);
        System.arraycopy(digest, 0, id, 8, 8);
        return id;
    }
}
