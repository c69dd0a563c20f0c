package recado.peers;

import java.util.Optional;
import java.util.Set;
import org.apache.kafka.streams.processor.StreamPartitioner;

/** Sends each output to the partition of the task that made it; with one stream thread one field says whose turn it is. */
final class HomePartition implements StreamPartitioner<byte[], byte[]> {
    private Optional<Set<Integer>> current = Optional.empty();

    /** Whatever is forwarded from now on goes to this partition. */
    void turnOf(Optional<Set<Integer>> partition) {
        current = partition;
    }

    @Override
    public Optional<Set<Integer>> partitions(String topic, byte[] key, byte[] value, int partitions) {
        return current;
    }
}
