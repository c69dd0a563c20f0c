package recado.peers;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.Arrays;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;

/** Reads the records of the receipts, `returned.avsc`, field by field as the classes do that Avro's compiler generates. */
final class Incoming {
    private static final int EXPRESS = 0;
    private static final int CHANNELS = 2;

    private final byte[] header;
    private BinaryDecoder decoder;

    Incoming(Path schemas) {
        header = Schemas.header(schemas, "returned", "35a7fcd3a9ec7fea");
    }

    void read(byte[] value, Returned into) {
        if (value == null || value.length < header.length || !Arrays.equals(value, 0, header.length, header, 0, header.length)) {
            throw new IllegalStateException("A record of the receipts was written with another schema.");
        }
        decoder = DecoderFactory.get().binaryDecoder(value, header.length, value.length - header.length, decoder);
        try {
            switch (decoder.readIndex()) {
                case 0 -> outcome(into);
                case 1 -> receipt(into);
                case 2 -> into.kind = Returned.Kind.GATEWAY;
                case 3 -> heartbeat(into);
                default -> into.kind = Returned.Kind.OTHER;
            }
        } catch (IOException broken) {
            throw new UncheckedIOException("A record of the receipts does not follow its schema.", broken);
        }
    }

    private void outcome(Returned into) throws IOException {
        attempt(into);
        if (decoder.readEnum() != 0) {
            throw new IllegalStateException("An outcome is not accepted: none of the bench's is.");
        }
        into.kind = Returned.Kind.ACCEPTED;
        into.providerTime = Returned.NO_TIME;
    }

    private void receipt(Returned into) throws IOException {
        attempt(into);
        into.kind = switch (decoder.readEnum()) {
            case 0 -> Returned.Kind.SENT;
            case 1 -> Returned.Kind.DELIVERED;
            case 2 -> Returned.Kind.READ;
            default -> throw new IllegalStateException("A receipt says failed: none of the bench's does.");
        };
        decoder.skipString();
        decoder.readLong();
        into.providerTime = decoder.readIndex() == 0 ? Returned.NO_TIME : decoder.readLong();
    }

    private void attempt(Returned into) throws IOException {
        into.id = new byte[16];
        decoder.readFixed(into.id, 0, into.id.length);
        into.step = decoder.readInt();
        into.n = decoder.readInt();
    }

    private void heartbeat(Returned into) throws IOException {
        decoder.skipString();
        into.channel = decoder.readEnum();
        boolean ours = decoder.readEnum() == EXPRESS && into.channel < CHANNELS;
        into.settled = decoder.readLong();
        into.kind = ours ? Returned.Kind.DISPATCHER : Returned.Kind.OTHER;
    }
}
