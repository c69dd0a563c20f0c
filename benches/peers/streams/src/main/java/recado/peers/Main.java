package recado.peers;

import java.time.Duration;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;

/** Starts the topology, says `ready` once it runs, and closes it on SIGTERM. */
public final class Main {
    private static final Duration CLOSE_MAX = Duration.ofSeconds(30);

    private Main() { }

    public static void main(String[] arguments) throws Exception {
        Settings settings = Settings.of(arguments);
        EndOffsets ends = settings.full() ? EndOffsets.start(settings.bootstrap(), settings.receipts()) : null;
        KafkaStreams streams = new KafkaStreams(Wiring.topology(settings, ends), Wiring.properties(settings));
        AtomicBoolean said = new AtomicBoolean();
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING && said.compareAndSet(false, true)) {
                System.out.println("ready");
                System.out.flush();
            }
        });
        streams.setUncaughtExceptionHandler(exception -> {
            exception.printStackTrace();
            // An exit would run the hook below, and that would wait for this very thread.
            Runtime.getRuntime().halt(1);
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(CLOSE_MAX), "close"));
        streams.start();
    }
}
