package recado.peers;

import java.nio.file.Path;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import org.apache.avro.util.Utf8;

/** The arguments, each `--name value`; times in milliseconds, sizes in bytes. One with a dot in its name is a property of Streams or of its clients. */
record Settings(
    String bootstrap,
    String prefix,
    Form form,
    long cacheBytes,
    boolean full,
    String stateFolder,
    Path schemas,
    long waitLong,
    long waitShort,
    long lease,
    long callMax,
    long linger,
    long expiry,
    long taskIdle,
    boolean receiptsFirst,
    int dispatchBytes,
    int statusBytes,
    int stateBytes,
    Map<String, String> properties) {

    /** A: a store of timers beside the deliveries. B: timers in memory. C: the deliveries in memory as well. */
    enum Form { A, B, C }

    static Settings of(String[] arguments) {
        Map<String, String> given = new HashMap<>();
        for (int at = 0; at < arguments.length; at += 2) {
            if (!arguments[at].startsWith("--") || at + 1 == arguments.length) {
                throw new IllegalArgumentException("Arguments come as --name value; this one does not: " + arguments[at]);
            }
            given.put(arguments[at].substring(2), arguments[at + 1]);
        }
        Map<String, String> properties = new HashMap<>(given);
        properties.keySet().removeIf(name -> !name.contains("."));
        given.keySet().removeAll(properties.keySet());
        Settings settings = new Settings(
            needed(given, "bootstrap"),
            needed(given, "prefix"),
            Form.valueOf(needed(given, "form").toUpperCase(Locale.ROOT)),
            number(given, "cache", 0),
            isFull(taken(given, "work", "full")),
            needed(given, "state"),
            Path.of(taken(given, "schemas", "schemas")),
            number(given, "wait-long", 600_000),
            number(given, "wait-short", 33_000),
            number(given, "lease", 10_000),
            number(given, "call-max", 5_000),
            number(given, "linger", 600_000),
            number(given, "expiry", 900_000),
            number(given, "task-idle", -1),
            isFirst(taken(given, "order", "receipts")),
            Math.toIntExact(number(given, "dispatch-bytes", 400)),
            Math.toIntExact(number(given, "status-bytes", 200)),
            Math.toIntExact(number(given, "state-bytes", 450)),
            properties);
        if (!given.isEmpty()) {
            throw new IllegalArgumentException("Nobody knows these arguments: " + given.keySet());
        }
        if (settings.lease <= settings.callMax) {
            throw new IllegalArgumentException("With a lease that is not longer than a call may take nothing is ever sent.");
        }
        return settings;
    }

    String applicationId() {
        return prefix + "streams-" + form.name().toLowerCase(Locale.ROOT);
    }

    String input() {
        return prefix + "in.pix.transactions";
    }

    String receipts() {
        return prefix + "receipts";
    }

    /** By the number that a delivery keeps: 0 received, 1 sent. */
    Route[] routes() {
        return new Route[] {
            new Route(new Utf8("pix.received"), new Utf8("pix_recebido"), waitLong, waitLong, lease, callMax, expiry, linger),
            new Route(new Utf8("pix.sent"), new Utf8("pix_enviado"), waitShort, waitLong, lease, callMax, expiry, linger)};
    }

    private static boolean isFull(String word) {
        return switch (word) {
            case "full" -> true;
            case "plain" -> false;
            default -> throw new IllegalArgumentException("--work is full or plain, not " + word);
        };
    }

    private static boolean isFirst(String word) {
        return switch (word) {
            case "receipts" -> true;
            case "time" -> false;
            default -> throw new IllegalArgumentException("--order is receipts or time, not " + word);
        };
    }

    private static String needed(Map<String, String> given, String name) {
        String value = given.remove(name);
        if (value == null) {
            throw new IllegalArgumentException("--" + name + " is missing.");
        }
        return value;
    }

    private static String taken(Map<String, String> given, String name, String otherwise) {
        String value = given.remove(name);
        return value == null ? otherwise : value;
    }

    private static long number(Map<String, String> given, String name, long otherwise) {
        String value = given.remove(name);
        return value == null ? otherwise : Long.parseLong(value);
    }
}
