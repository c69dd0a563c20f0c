import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.math.BigDecimal;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.avro.Conversions;
import org.apache.avro.LogicalTypes;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.message.BinaryMessageDecoder;
import org.apache.avro.message.BinaryMessageEncoder;
import org.apache.avro.message.RawMessageEncoder;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * A bank's program. It knows Recado by its topics and its schemas alone: writes Pix events or any others, and reads what became of them.
 *
 * <pre>
 *   BankClient write  BOOTSTRAP TOPIC pix_transaction.avsc NAME           one line of JSON for each event
 *   BankClient events BOOTSTRAP TOPIC SCHEMA               KEY            the same; the events stand on stdin, in Avro's JSON, one a line
 *   BankClient read   BOOTSTRAP TOPIC status.avsc          NAME COUNT     one line for each status, until COUNT of them are terminal
 * </pre>
 *
 * Kafka's own client and Avro's own library do the talking: nothing here shares a line with Recado.
 */
public final class BankClient {
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    public static void main(String[] args) throws Exception {
        Schema schema = new Schema.Parser().parse(Path.of(args[3]).toFile());
        switch (args[0]) {
            case "write" -> write(args[1], args[2], schema, args[4]);
            case "events" -> events(args[1], args[2], schema, args[4]);
            case "read" -> read(args[1], args[2], schema, args[4], Integer.parseInt(args[5]));
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    /** Two events that are committed, in the two framings of Avro, and before them one whose transaction is aborted. */
    private static void write(String bootstrap, String topic, Schema schema, String name) throws Exception {
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", bootstrap, "transactional.id", name, "compression.type", "zstd", "delivery.timeout.ms", 60_000, "max.block.ms", 60_000);
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new ByteArraySerializer())) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(record(topic, name + "-aborted", confluent(pix(schema, name + "-aborted"))));
            producer.flush();
            producer.abortTransaction();

            producer.beginTransaction();
            String first = name + "-confluent";
            String second = name + "-single-object";
            Future<RecordMetadata> there = producer.send(record(topic, first, confluent(pix(schema, first))));
            Future<RecordMetadata> here = producer.send(record(topic, second, singleObject(pix(schema, second))));
            producer.commitTransaction();
            tell(first, there.get());
            tell(second, here.get());
        }
    }

    /** Events of whatever schema. In Avro's JSON a value of a union stands beside its type and a decimal is its bytes; every field of the schema is there. */
    private static void events(String bootstrap, String topic, Schema schema, String key) throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "delivery.timeout.ms", 60_000, "max.block.ms", 60_000);
        var events = new GenericDatumReader<GenericRecord>(schema);
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new ByteArraySerializer())) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                GenericRecord event = events.read(null, DecoderFactory.get().jsonDecoder(schema, line));
                RecordMetadata at = producer.send(new ProducerRecord<>(topic, key, singleObject(event))).get();
                System.out.printf("{\"partition\": %d, \"offset\": %d}%n", at.partition(), at.offset());
            }
        }
    }

    private static void tell(String eventId, RecordMetadata at) {
        System.out.printf("{\"event_id\": \"%s\", \"partition\": %d, \"offset\": %d}%n", eventId, at.partition(), at.offset());
    }

    private static ProducerRecord<String, byte[]> record(String topic, String eventId, byte[] value) {
        return new ProducerRecord<>(topic, "customer-of-" + eventId, value);
    }

    /** A Pix that an invented customer received. */
    private static GenericRecord pix(Schema schema, String eventId) {
        Schema amount = schema.getField("amount").schema();
        var counterparty = new GenericData.Record(schema.getField("counterparty").schema());
        counterparty.put("name", "Joana Ferreira Lima");
        counterparty.put("institution", "Banco Modelo");
        var pix = new GenericData.Record(schema);
        pix.put("event_id", eventId);
        pix.put("customer_id", "customer-of-" + eventId);
        pix.put("phone", "+5511987654321");
        pix.put("direction", new GenericData.EnumSymbol(schema.getField("direction").schema(), "RECEIVED"));
        pix.put("amount", new Conversions.DecimalConversion().toBytes(new BigDecimal("1234.56"), amount, (LogicalTypes.Decimal) amount.getLogicalType()));
        pix.put("counterparty", counterparty);
        pix.put("occurred_at", 1_764_900_000_000L);
        return pix;
    }

    /** The Confluent wire format. Without a registry the schema's id means nothing. */
    private static byte[] confluent(GenericRecord record) throws Exception {
        ByteBuffer body = new RawMessageEncoder<GenericRecord>(GenericData.get(), record.getSchema()).encode(record);
        return ByteBuffer.allocate(5 + body.remaining()).put((byte) 0).putInt(1).put(body).array();
    }

    private static byte[] singleObject(GenericRecord record) throws Exception {
        ByteBuffer message = new BinaryMessageEncoder<GenericRecord>(GenericData.get(), record.getSchema()).encode(record);
        byte[] bytes = new byte[message.remaining()];
        message.get(bytes);
        return bytes;
    }

    private static void read(String bootstrap, String topic, Schema schema, String name, int count) throws Exception {
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", bootstrap, "group.id", name, "isolation.level", "read_committed", "auto.offset.reset", "earliest", "enable.auto.commit", false);
        var decoder = new BinaryMessageDecoder<GenericRecord>(GenericData.get(), schema);
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic));
            Instant deadline = Instant.now().plus(PATIENCE);
            for (int terminal = 0; terminal < count;) {
                if (Instant.now().isAfter(deadline)) {
                    throw new IllegalStateException(terminal + " of " + count + " terminal statuses within " + PATIENCE);
                }
                for (ConsumerRecord<String, byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    GenericRecord status = decoder.decode(record.value());
                    System.out.printf("{\"partition\": %d, \"offset\": %d, \"key\": \"%s\", \"status\": %s}%n", record.partition(), record.offset(), record.key(), status);
                    terminal += (Boolean) status.get("terminal") ? 1 : 0;
                }
            }
        }
    }
}
