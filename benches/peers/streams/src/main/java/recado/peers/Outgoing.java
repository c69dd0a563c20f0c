package recado.peers;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.util.Utf8;

/** Writes dispatches and statuses in single-object encoding, field by field as the classes do that Avro's compiler generates. */
final class Outgoing {
    private static final int EXPRESS = 0;
    private static final int HOLD_NO = 0;
    private static final Utf8 NO_HOLD = new Utf8("no");
    private static final Utf8 EMPTY = new Utf8("");
    private static final Utf8[] CHANNELS = {new Utf8("whatsapp"), new Utf8("sms")};
    private static final byte[] DIGITS = {'0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'};

    private final byte[] dispatchHeader;
    private final byte[] statusHeader;
    private final Utf8 topic;
    private final int partition;
    private final ByteArrayOutputStream out = new ByteArrayOutputStream(1 << 10);
    private final BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(out, null);
    private final byte[] hex = new byte[32];

    /** `topic` and `partition`: where requests lie. */
    Outgoing(Path schemas, String topic, int partition) {
        dispatchHeader = Schemas.header(schemas, "dispatch", "10f3fbdc1d36528d");
        statusHeader = Schemas.header(schemas, "status", "66bbf9ea2d4c6190");
        this.topic = new Utf8(topic);
        this.partition = partition;
    }

    byte[] dispatch(byte[] id, Delivery delivery, Decisions.Dispatch dispatch) {
        Route route = delivery.route();
        begin(dispatchHeader);
        try {
            encoder.writeFixed(id, 0, id.length);
            encoder.writeInt(dispatch.step());
            encoder.writeInt(1);
            encoder.writeEnum(dispatch.step() - 1);
            encoder.writeEnum(EXPRESS);
            encoder.writeString(route.name());
            encoder.writeString(route.template());
            encoder.writeFixed(delivery.bytes(), Delivery.CUSTOMER, 16);
            encoder.writeLong(dispatch.leaseEnd());
            encoder.writeLong(dispatch.notAfter());
            encoder.writeLong(delivery.expiry());
            encoder.writeLong(route.waitOf(dispatch.step()));
            if (dispatch.why() == Reason.NONE) {
                encoder.writeIndex(0);
            } else {
                encoder.writeIndex(1);
                encoder.writeString(dispatch.why().word);
                encoder.writeInt(dispatch.step() - 1);
                encoder.writeInt(1);
                encoder.writeEnum(HOLD_NO);
            }
            encoder.writeBytes(delivery.bytes(), delivery.restAt(), delivery.restLength());
            encoder.writeIndex(0);
            encoder.writeIndex(0);
            encoder.flush();
        } catch (IOException impossible) {
            throw new UncheckedIOException(impossible);
        }
        return out.toByteArray();
    }

    byte[] status(byte[] id, Delivery delivery, Decisions.Status status, long now) {
        Route route = delivery.route();
        boolean named = status.step() > 0;
        begin(statusHeader);
        try {
            messageId(id);
            encoder.writeIndex(1);
            encoder.writeInt(status.seq());
            encoder.writeEnum(status.word().ordinal());
            encoder.writeBoolean(status.word().terminal());
            encoder.writeLong(now);
            encoder.writeIndex(named ? 1 : 0);
            if (named) {
                encoder.writeString(CHANNELS[status.step() - 1]);
            }
            attempt(status.step(), 1);
            because(status.reason(), status.providerTime(), status.doubleDelivered());
            encoder.writeString(route.name());
            encoder.writeString(named ? route.template() : EMPTY);
            encoder.writeIndex(1);
            // In Avro a string is its bytes.
            encoder.writeBytes(delivery.bytes(), delivery.eventAt(), delivery.eventLength());
            encoder.writeIndex(1);
            encoder.writeString(topic);
            encoder.writeInt(partition);
            encoder.writeLong(delivery.offset());
            encoder.flush();
        } catch (IOException impossible) {
            throw new UncheckedIOException(impossible);
        }
        return out.toByteArray();
    }

    /** A read of a delivery that is forgotten: the attempt is all that is known. */
    byte[] lateRead(byte[] id, Returned read, long now) {
        begin(statusHeader);
        try {
            messageId(id);
            encoder.writeIndex(0);
            encoder.writeEnum(StatusWord.READ.ordinal());
            encoder.writeBoolean(StatusWord.READ.terminal());
            encoder.writeLong(now);
            encoder.writeIndex(0);
            attempt(read.step, read.n);
            because(Reason.NONE, read.providerTime, false);
            encoder.writeString(EMPTY);
            encoder.writeString(EMPTY);
            encoder.writeIndex(0);
            encoder.writeIndex(0);
            encoder.flush();
        } catch (IOException impossible) {
            throw new UncheckedIOException(impossible);
        }
        return out.toByteArray();
    }

    private void begin(byte[] header) {
        out.reset();
        out.write(header, 0, header.length);
    }

    /** 32 hexadecimal digits. */
    private void messageId(byte[] id) throws IOException {
        for (int at = 0; at < id.length; at++) {
            hex[2 * at] = DIGITS[id[at] >> 4 & 0xf];
            hex[2 * at + 1] = DIGITS[id[at] & 0xf];
        }
        encoder.writeBytes(hex, 0, hex.length);
    }

    private void attempt(int step, int n) throws IOException {
        if (step == 0) {
            encoder.writeIndex(0);
            encoder.writeIndex(0);
        } else {
            encoder.writeIndex(1);
            encoder.writeInt(step);
            encoder.writeIndex(1);
            encoder.writeInt(n);
        }
    }

    private void because(Reason reason, long providerTime, boolean doubleDelivered) throws IOException {
        encoder.writeString(reason.word);
        encoder.writeLong(0);
        if (providerTime == Returned.NO_TIME) {
            encoder.writeIndex(0);
        } else {
            encoder.writeIndex(1);
            encoder.writeLong(providerTime);
        }
        encoder.writeBoolean(doubleDelivered);
        encoder.writeString(NO_HOLD);
    }
}
