package recado.peers;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;

/** Asks for the read-uncommitted ends of the receipts, each 100 ms while a task has something due, on a thread of its own. */
final class EndOffsets implements Runnable {
    private static final long PACE = 100;
    /** After the last wish, questions go on for so long: tasks wish in each punctuation. */
    private static final long WISH = 500;
    private static final long ANSWER_MAX = 5_000;

    /** The ends by partition, asked for at or after this time. */
    record Answer(long asked, long[] ends) { }

    private final Admin admin;
    private final String topic;
    private final Map<TopicPartition, OffsetSpec> question = new HashMap<>();
    private volatile long wished;
    private volatile Answer last;

    private EndOffsets(Admin admin, String topic, int partitions) {
        this.admin = admin;
        this.topic = topic;
        for (int partition = 0; partition < partitions; partition++) {
            question.put(new TopicPartition(topic, partition), OffsetSpec.latest());
        }
    }

    static EndOffsets start(String bootstrap, String topic) throws InterruptedException, ExecutionException {
        Admin admin = Admin.create(Map.of(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap));
        int partitions = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size();
        EndOffsets ends = new EndOffsets(admin, topic, partitions);
        Thread thread = new Thread(ends, "end-offsets");
        thread.setDaemon(true);
        thread.start();
        return ends;
    }

    /** Something is due. */
    void wish(long now) {
        wished = now;
    }

    /** The newest answer; null before the first. */
    Answer last() {
        return last;
    }

    @Override
    public void run() {
        try {
            while (true) {
                Thread.sleep(PACE);
                if (System.currentTimeMillis() - wished <= WISH) {
                    ask();
                }
            }
        } catch (InterruptedException stopped) {
            Thread.currentThread().interrupt();
        }
    }

    private void ask() throws InterruptedException {
        long asked = System.currentTimeMillis();
        try {
            Map<TopicPartition, ListOffsetsResultInfo> answer = admin.listOffsets(question, new ListOffsetsOptions(IsolationLevel.READ_UNCOMMITTED))
                .all().get(ANSWER_MAX, TimeUnit.MILLISECONDS);
            long[] ends = new long[question.size()];
            for (int partition = 0; partition < ends.length; partition++) {
                ends[partition] = answer.get(new TopicPartition(topic, partition)).offset();
            }
            last = new Answer(asked, ends);
        } catch (ExecutionException | TimeoutException noAnswer) {
            System.err.println("The ends of the receipts were not told, asking again: " + noAnswer);
        }
    }
}
