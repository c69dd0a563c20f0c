package recado.peers;

import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.streams.processor.TimestampExtractor;

/** Makes receipts older than they are: of a task's two inputs Streams takes the older record first. */
final class ReceiptsFirst implements TimestampExtractor {
    // Without it, receipts would lie until the last request of a backlog is taken. The changelog gets these times too, and a broker rolls its segments by
    // them: so they must not be a week (segment.ms) from those of the requests.
    static final long HEAD_START = 24 * 3_600_000L;

    @Override
    public long extract(ConsumerRecord<Object, Object> record, long partitionTime) {
        return record.timestamp() - HEAD_START;
    }
}
