package recado.peers;

import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.AutoOffsetReset;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.FailOnInvalidTimestamp;
import org.apache.kafka.streams.processor.TimestampExtractor;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/** What reads what, and how Streams and its clients are set. */
final class Wiring {
    private static final String REQUESTS = "requests";
    private static final String RECEIPTS = "receipts";
    /**
     * As Recado keeps its own, but for what rolls segments by time (`segment.ms`, `max.compaction.lag.ms`): a broker goes by the records' times, and those of
     * {@link ReceiptsFirst} would roll one with each change between receipts and requests.
     */
    private static final Map<String, String> CHANGELOG =
        Map.of("segment.bytes", "134217728", "delete.retention.ms", "21600000", "min.cleanable.dirty.ratio", "0.2");

    private Wiring() { }

    /** Both inputs lead to one processor, so one task owns partition p of both. */
    static Topology topology(Settings settings, EndOffsets ends) {
        HomePartition home = new HomePartition();
        ProcessorSupplier<byte[], byte[], byte[], byte[]> engine = () -> new Engine(settings, home, ends);
        Topology topology = new Topology();
        source(topology, REQUESTS, settings.input(), new FailOnInvalidTimestamp());
        source(topology, RECEIPTS, settings.receipts(), settings.receiptsFirst() ? new ReceiptsFirst() : new FailOnInvalidTimestamp());
        topology.addProcessor(Engine.NAME, engine, REQUESTS, RECEIPTS);
        topology.addStateStore(store(Engine.DELIVERIES, settings), Engine.NAME);
        if (settings.form() == Settings.Form.A) {
            topology.addStateStore(store(Engine.TIMERS, settings), Engine.NAME);
        }
        if (settings.full()) {
            topology.addStateStore(Seen.over(store(Engine.SEEN, settings)), Engine.NAME);
        }
        sink(topology, Engine.DISPATCH, settings.prefix() + "dispatch.whatsapp", home);
        sink(topology, Engine.RETRY, settings.prefix() + "retry.sms", home);
        sink(topology, Engine.STATUS, settings.prefix() + "status", home);
        return topology;
    }

    private static void source(Topology topology, String name, String topic, TimestampExtractor time) {
        topology.addSource(AutoOffsetReset.earliest(), name, time, new ByteArrayDeserializer(), new ByteArrayDeserializer(), topic);
    }

    private static void sink(Topology topology, String name, String topic, HomePartition home) {
        topology.addSink(name, topic, new ByteArraySerializer(), new ByteArraySerializer(), home, Engine.NAME);
    }

    /** Plain stores, without Streams' timestamp in each value: nobody asks for it. */
    private static StoreBuilder<KeyValueStore<byte[], byte[]>> store(String name, Settings settings) {
        var supplier = settings.form() == Settings.Form.C ? Stores.inMemoryKeyValueStore(name) : Stores.persistentKeyValueStore(name);
        StoreBuilder<KeyValueStore<byte[], byte[]>> builder = Stores.keyValueStoreBuilder(supplier, Serdes.ByteArray(), Serdes.ByteArray());
        builder.withLoggingEnabled(CHANGELOG);
        return settings.cacheBytes() > 0 ? builder.withCachingEnabled() : builder.withCachingDisabled();
    }

    static Properties properties(Settings settings) {
        Properties all = new Properties();
        all.put(StreamsConfig.APPLICATION_ID_CONFIG, settings.applicationId());
        all.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, settings.bootstrap());
        all.put(StreamsConfig.STATE_DIR_CONFIG, settings.stateFolder());
        all.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        all.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        all.put(StreamsConfig.NUM_STANDBY_REPLICAS_CONFIG, 0);
        all.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        all.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        all.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, settings.cacheBytes());
        all.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.OPTIMIZE);
        all.put(StreamsConfig.METRICS_RECORDING_LEVEL_CONFIG, "INFO");
        all.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, StoreTuning.class);
        all.put(StreamsConfig.MAX_TASK_IDLE_MS_CONFIG, settings.taskIdle());
        // An idle thread sits in its poll for so long; with the default of 100 ms a quiet partition's timers would wait for it.
        all.put(StreamsConfig.POLL_MS_CONFIG, 20);
        all.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 4_000);
        consumer(all, settings);
        producer(all);
        settings.properties().forEach((name, value) -> {
            if (value.isEmpty()) {
                all.remove(name);
            } else {
                all.put(name, value);
            }
        });
        return all;
    }

    /** Isolation is read_committed by the guarantee. Fetches and the static membership are those of Recado; Streams puts the thread's number behind the id. */
    private static void consumer(Properties all, Settings settings) {
        Map<String, Object> consumer = Map.of(
            ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest",
            ConsumerConfig.MAX_POLL_RECORDS_CONFIG, 4_000,
            ConsumerConfig.FETCH_MIN_BYTES_CONFIG, 65_536,
            ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG, 10,
            ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG, 2_097_152,
            ConsumerConfig.GROUP_INSTANCE_ID_CONFIG, settings.applicationId(),
            ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG, 10_000,
            ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG, 3_000);
        consumer.forEach((name, value) -> all.put(StreamsConfig.mainConsumerPrefix(name), value));
    }

    /** Streams' own linger of 100 ms stays: each commit flushes what waits, and records come all the time in between. */
    private static void producer(Properties all) {
        Map<String, Object> producer = Map.of(
            ProducerConfig.ACKS_CONFIG, "all",
            ProducerConfig.COMPRESSION_TYPE_CONFIG, "lz4",
            ProducerConfig.BATCH_SIZE_CONFIG, 262_144,
            ProducerConfig.BUFFER_MEMORY_CONFIG, 67_108_864L,
            ProducerConfig.TRANSACTION_TIMEOUT_CONFIG, 10_000);
        producer.forEach((name, value) -> all.put(StreamsConfig.producerPrefix(name), value));
    }
}
