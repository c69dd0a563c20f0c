package recado.peers;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.util.Utf8;

/** Reads the bank's records: Confluent's wire format around Avro, fields by their configured paths. The fields are those of the last record read. */
final class PixReader {
    private static final int HEADER = 5;

    Utf8 eventId;
    Utf8 customer;
    Utf8 phone;
    Utf8 zone;
    String direction;
    /** Centavos: the schema's decimal has two digits behind the point. */
    long amount;
    Utf8 counterparty;
    Utf8 institution;
    long occurredAt;

    private final GenericDatumReader<GenericRecord> reader;
    private final FieldPath eventIdPath;
    private final FieldPath customerPath;
    private final FieldPath phonePath;
    private final FieldPath zonePath;
    private final FieldPath directionPath;
    private final FieldPath amountPath;
    private final FieldPath counterpartyPath;
    private final FieldPath institutionPath;
    private final FieldPath occurredAtPath;
    private BinaryDecoder decoder;
    private GenericRecord record;

    PixReader(Path schemas) {
        Schema schema = Schemas.read(schemas, "pix_transaction");
        reader = new GenericDatumReader<>(schema);
        eventIdPath = FieldPath.of(schema, "event_id");
        customerPath = FieldPath.of(schema, "customer_id");
        phonePath = FieldPath.of(schema, "phone");
        zonePath = FieldPath.of(schema, "time_zone");
        directionPath = FieldPath.of(schema, "direction");
        amountPath = FieldPath.of(schema, "amount");
        counterpartyPath = FieldPath.of(schema, "counterparty.name");
        institutionPath = FieldPath.of(schema, "counterparty.institution");
        occurredAtPath = FieldPath.of(schema, "occurred_at");
    }

    /** There is no registry: the schema's id means nothing, the file counts. */
    void read(byte[] value) {
        if (value.length < HEADER || value[0] != 0) {
            throw new IllegalStateException("A request is not in Confluent's wire format.");
        }
        decoder = DecoderFactory.get().binaryDecoder(value, HEADER, value.length - HEADER, decoder);
        try {
            record = reader.read(record, decoder);
        } catch (IOException broken) {
            throw new UncheckedIOException("A request does not follow the schema.", broken);
        }
        eventId = (Utf8) eventIdPath.in(record);
        customer = (Utf8) customerPath.in(record);
        phone = (Utf8) phonePath.in(record);
        zone = (Utf8) zonePath.in(record);
        direction = directionPath.in(record).toString();
        amount = unscaled((ByteBuffer) amountPath.in(record));
        counterparty = (Utf8) counterpartyPath.in(record);
        institution = (Utf8) institutionPath.in(record);
        occurredAt = (Long) occurredAtPath.in(record);
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
