package recado.peers;

import java.time.Duration;
import java.util.Arrays;
import java.util.Optional;
import java.util.Set;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;

/** One task: records and timers in, the machine's decisions, changed stores and outputs out. */
final class Engine implements Processor<byte[], byte[], byte[], byte[]>, Decisions {
    static final String NAME = "engine";
    static final String DELIVERIES = "deliveries";
    static final String TIMERS = "timers";
    static final String SEEN = "seen";
    static final String DISPATCH = "dispatch";
    static final String RETRY = "retry";
    static final String STATUS = "status";

    private static final Duration PUNCTUATION = Duration.ofMillis(100);
    /** Fired at most in one punctuation: eight tasks with so many must not outlive a transaction. */
    private static final int FIRED_MAX = 20_000;
    private static final byte[] NO_KEY = {};
    /** Where the message id holds the partition. */
    private static final int PARTITION = 6;

    private final Settings settings;
    private final HomePartition homePartition;
    private final EndOffsets ends;
    private final Returned returned = new Returned();

    private ProcessorContext<byte[], byte[]> context;
    private int partition;
    private Optional<Set<Integer>> home;
    private String receipts;
    private long headStart;
    private MessageIds ids;
    private KeyValueStore<byte[], byte[]> deliveries;
    private Timers timers;
    private Work work;
    private Delivery delivery;
    private Gate gate;
    private final long[] limits = new long[Timers.GROUPS];
    /** The receipts below it are processed. */
    private long position;
    private EndOffsets.Answer heard;
    /** Of the delivery that is dealt with now. */
    private byte[] id;
    private long now;

    /** `ends`: null in plain work, which has no gate. */
    Engine(Settings settings, HomePartition homePartition, EndOffsets ends) {
        this.settings = settings;
        this.homePartition = homePartition;
        this.ends = ends;
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
        this.context = context;
        partition = context.taskId().partition();
        home = Optional.of(Set.of(partition));
        receipts = settings.receipts();
        headStart = settings.receiptsFirst() ? ReceiptsFirst.HEAD_START : 0;
        ids = new MessageIds(settings.input(), partition);
        deliveries = context.getStateStore(DELIVERIES);
        delivery = new Delivery(settings.routes());
        work = settings.full() ? new FullWork(settings, partition, context.getStateStore(SEEN)) : new PlainWork(settings);
        timers = settings.form() == Settings.Form.A ? new StoreTimers(context.getStateStore(TIMERS)) : rebuilt();
        gate = new Gate();
        position = 0;
        heard = null;
        context.schedule(PUNCTUATION, PunctuationType.WALL_CLOCK_TIME, time -> punctuate());
    }

    private Timers rebuilt() {
        HeapTimers all = new HeapTimers();
        try (KeyValueIterator<byte[], byte[]> live = deliveries.all()) {
            while (live.hasNext()) {
                KeyValue<byte[], byte[]> next = live.next();
                all.set(next.key, Timers.group(Delivery.clockIn(next.value), Delivery.stepIn(next.value)), Delivery.dueIn(next.value));
            }
        }
        return all;
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        RecordMetadata at = context.recordMetadata().orElseThrow();
        now = context.currentSystemTimeMs();
        if (at.topic().equals(receipts)) {
            returned(record.value(), record.timestamp() + headStart);
            position = at.offset() + 1;
        } else if (record.value() != null) {
            request(record, at.offset());
        }
    }

    private void request(Record<byte[], byte[]> record, long offset) {
        id = ids.derive(record.timestamp(), offset);
        Work.Taken taken = work.request(record.key(), record.value(), id, record.timestamp(), offset, now, delivery);
        if (taken == Work.Taken.DROPPED) {
            return;
        }
        delivery.request(taken == Work.Taken.REACHABLE, now, this);
        if (!delivery.forgotten()) {
            settle(Clock.NONE, 0);
        }
    }

    private void returned(byte[] value, long appended) {
        work.returned(value, returned);
        switch (returned.kind) {
            case ACCEPTED, SENT, DELIVERED, READ -> about(appended);
            case GATEWAY -> gate.gatewayAlive(appended);
            case DISPATCHER -> gate.dispatcherSettled(returned.channel, returned.settled);
            case OTHER -> { }
        }
    }

    /** An outcome or a receipt. */
    private void about(long appended) {
        id = returned.id;
        if (BigEndian.shortAt(id, PARTITION) != partition) {
            return;
        }
        byte[] stored = deliveries.get(id);
        if (stored == null) {
            if (returned.kind == Returned.Kind.READ) {
                forward(STATUS, NO_KEY, work.lateRead(id, returned, now));
            }
            return;
        }
        delivery.read(stored);
        Clock before = delivery.clock();
        long dueBefore = delivery.due();
        if (returned.kind == Returned.Kind.ACCEPTED) {
            delivery.accepted(returned.step, returned.n, appended);
        } else {
            delivery.receipt(returned.step, returned.n, returned.kind.ordinal(), returned.providerTime, now, this);
        }
        settle(before, dueBefore);
    }

    private void punctuate() {
        now = context.currentSystemTimeMs();
        if (work.gated()) {
            EndOffsets.Answer answer = ends.last();
            if (answer != heard) {
                heard = answer;
                gate.endOffset(answer.asked(), answer.ends()[partition]);
            }
            gate.drainedTo(position);
            gate.limits(now, limits);
        } else {
            Arrays.fill(limits, now);
        }
        boolean left = timers.fire(now, limits, FIRED_MAX, this::fire);
        if (left && work.gated()) {
            ends.wish(now);
        }
        work.upkeep(now);
    }

    /** A timer that is taken out already. */
    private void fire(byte[] of) {
        id = of;
        byte[] stored = deliveries.get(id);
        if (stored == null) {
            throw new IllegalStateException("A timer has outlived its delivery.");
        }
        delivery.read(stored);
        delivery.timer(now, this);
        settle(Clock.NONE, 0);
    }

    /** Carries over what changed: the timer that was set before, and the state. Not `delete`: that would read the old value first. */
    private void settle(Clock before, long dueBefore) {
        if (delivery.clock() != before || delivery.due() != dueBefore) {
            if (before != Clock.NONE) {
                timers.clear(id, dueBefore);
            }
            if (!delivery.forgotten()) {
                timers.set(id, Timers.group(delivery.clock(), delivery.step()), delivery.due());
            }
        }
        deliveries.put(id, delivery.forgotten() ? null : delivery.write());
    }

    @Override
    public void dispatch(Dispatch dispatch) {
        forward(dispatch.why() == Reason.NONE ? DISPATCH : RETRY, id, work.dispatch(id, delivery, dispatch));
    }

    @Override
    public void status(Status status) {
        forward(STATUS, delivery.key(), work.status(id, delivery, status, now));
    }

    private void forward(String sink, byte[] key, byte[] value) {
        homePartition.turnOf(home);
        context.forward(new Record<>(key, value, now), sink);
    }
}
