package recado.peers;

import java.nio.charset.StandardCharsets;
import org.apache.avro.util.Utf8;

/** Destination and parameters before they are sealed, in Recado's payload version 1. */
final class Payload {
    // 1, kind of phone 1, number, zone, count, then each value by its name: name, class 1, type 1, content. Texts have their length before them, seven bits
    // a byte, lowest first.

    private static final int CLASS_NAME = 1;
    private static final int CLASS_AMOUNT = 9;
    private static final int CLASS_PUBLIC = 13;
    private static final int TEXT = 1;
    private static final int AMOUNT = 2;
    private static final int TIME = 3;

    private static final int MOBILE = 1;
    private static final int LANDLINE = 2;
    private static final int ABROAD = 3;

    private static final byte[] AMOUNT_FIELD = field("amount", CLASS_AMOUNT, AMOUNT);
    private static final byte[] INSTITUTION_FIELD = field("institution", CLASS_PUBLIC, TEXT);
    private static final byte[] OCCURRED_AT_FIELD = field("occurred_at", CLASS_PUBLIC, TIME);
    private static final byte[] PAYEE_FIELD = field("payee_name", CLASS_NAME, TEXT);
    private static final byte[] PAYER_FIELD = field("payer_name", CLASS_NAME, TEXT);

    /** Six texts of 4 KiB and what stands between them. */
    private final byte[] bytes = new byte[32 << 10];
    private int length;

    /** False where the record names no number that can be reached; there is no payload then. */
    boolean write(PixReader pix) {
        length = 0;
        int kind = pix.phone == null ? 0 : kind(pix.phone);
        if (kind == 0) {
            return false;
        }
        put(1);
        put(kind);
        text(pix.phone);
        if (pix.zone == null) {
            put(0);
        } else {
            text(pix.zone);
        }
        put(2 + (pix.institution == null ? 0 : 1) + (pix.counterparty == null ? 0 : 2));
        number(AMOUNT_FIELD, pix.amount);
        text(INSTITUTION_FIELD, pix.institution);
        number(OCCURRED_AT_FIELD, pix.occurredAt);
        // One field under two names: the templates of money received and sent call the other side so.
        text(PAYEE_FIELD, pix.counterparty);
        text(PAYER_FIELD, pix.counterparty);
        return true;
    }

    byte[] bytes() {
        return bytes;
    }

    int length() {
        return length;
    }

    /** Mobile or landline by its shape; 0 for what is not `+` and 8 to 15 digits. Recado asks a library that knows all numbers of the world. */
    private static int kind(Utf8 phone) {
        byte[] text = phone.getBytes();
        int end = phone.getByteLength();
        if (end < 9 || end > 16 || text[0] != '+') {
            return 0;
        }
        for (int at = 1; at < end; at++) {
            if (text[at] < '0' || text[at] > '9') {
                return 0;
            }
        }
        if (text[1] != '5' || text[2] != '5') {
            return ABROAD;
        }
        // After country and area: nine digits that begin with 9 are a mobile, eight that begin with 6 to 9 an old one, with 2 to 5 a landline.
        byte first = text[5];
        return switch (end - 5) {
            case 9 -> first == '9' ? MOBILE : 0;
            case 8 -> first >= '6' ? MOBILE : first >= '2' ? LANDLINE : 0;
            default -> 0;
        };
    }

    private void put(int value) {
        bytes[length++] = (byte) value;
    }

    private void number(byte[] field, long value) {
        put(field);
        BigEndian.putLong(bytes, length, value);
        length += Long.BYTES;
    }

    private void text(byte[] field, Utf8 value) {
        if (value != null) {
            put(field);
            text(value);
        }
    }

    private void text(Utf8 value) {
        int left = value.getByteLength();
        while (left > 0x7f) {
            put(left & 0x7f | 0x80);
            left >>= 7;
        }
        put(left);
        System.arraycopy(value.getBytes(), 0, bytes, length, value.getByteLength());
        length += value.getByteLength();
    }

    private void put(byte[] some) {
        System.arraycopy(some, 0, bytes, length, some.length);
        length += some.length;
    }

    private static byte[] field(String name, int fieldClass, int type) {
        byte[] word = name.getBytes(StandardCharsets.US_ASCII);
        byte[] field = new byte[word.length + 3];
        field[0] = (byte) word.length;
        System.arraycopy(word, 0, field, 1, word.length);
        field[word.length + 1] = (byte) fieldClass;
        field[word.length + 2] = (byte) type;
        return field;
    }
}
