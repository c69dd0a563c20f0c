package recado.peers;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.List;
import org.apache.avro.Schema;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.util.Utf8;

/** Reads the bank's records: Confluent's wire format around Avro, field by field as the classes do that Avro's compiler generates. The fields are those of the last record read. */
final class PixReader {
    private static final int HEADER = 5;
    private static final List<String> FIELDS = List.of(
            "event_id", "customer_id", "phone", "time_zone", "direction", "amount", "counterparty", "end_to_end_id", "note", "occurred_at");
    private static final List<String> COUNTERPARTY = List.of("name", "document", "institution", "pix_key");

    Utf8 eventId = new Utf8();
    Utf8 customer = new Utf8();
    /** Null where the record says so, as the next three. */
    Utf8 phone;
    Utf8 zone;
    Utf8 counterparty;
    Utf8 institution;
    String direction;
    /** Centavos: the schema's decimal has two digits behind the point. */
    long amount;
    long occurredAt;

    private final List<String> directions;
    // What is read into, record after record.
    private final Utf8 phoneRead = new Utf8();
    private final Utf8 zoneRead = new Utf8();
    private final Utf8 counterpartyRead = new Utf8();
    private final Utf8 institutionRead = new Utf8();
    private ByteBuffer amountRead = ByteBuffer.allocate(16);
    private BinaryDecoder decoder;

    PixReader(Path schemas) {
        Schema schema = Schemas.read(schemas, "pix_transaction");
        if (!names(schema).equals(FIELDS) || !names(schema.getField("counterparty").schema()).equals(COUNTERPARTY)) {
            throw new IllegalStateException("pix_transaction.avsc has changed: this program reads another schema.");
        }
        directions = schema.getField("direction").schema().getEnumSymbols();
    }

    private static List<String> names(Schema schema) {
        return schema.getFields().stream().map(Schema.Field::name).toList();
    }

    /** There is no registry: the schema's id means nothing, the file counts. */
    void read(byte[] value) {
        if (value.length < HEADER || value[0] != 0) {
            throw new IllegalStateException("A request is not in Confluent's wire format.");
        }
        decoder = DecoderFactory.get().binaryDecoder(value, HEADER, value.length - HEADER, decoder);
        try {
            eventId = decoder.readString(eventId);
            customer = decoder.readString(customer);
            phone = optional(phoneRead);
            zone = optional(zoneRead);
            direction = directions.get(decoder.readEnum());
            amountRead = decoder.readBytes(amountRead);
            amount = unscaled(amountRead);
            counterparty = optional(counterpartyRead);
            skipOptional();
            institution = optional(institutionRead);
            skipOptional();
            skipOptional();
            skipOptional();
            occurredAt = decoder.readLong();
        } catch (IOException broken) {
            throw new UncheckedIOException("A request does not follow the schema.", broken);
        }
    }

    private Utf8 optional(Utf8 into) throws IOException {
        return decoder.readIndex() == 0 ? null : decoder.readString(into);
    }

    private void skipOptional() throws IOException {
        if (decoder.readIndex() != 0) {
            decoder.skipString();
        }
    }

    /** Two's complement, big-endian. */
    private static long unscaled(ByteBuffer bytes) {
        int at = bytes.position();
        long value = bytes.get(at);
        for (at++; at < bytes.limit(); at++) {
            value = value << 8 | bytes.get(at) & 0xff;
        }
        return value;
    }
}
