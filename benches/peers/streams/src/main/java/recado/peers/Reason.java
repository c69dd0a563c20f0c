package recado.peers;

import org.apache.avro.util.Utf8;

/** Why, in a dispatch or a status; of Recado's list the words that can come up here. */
enum Reason {
    NONE("none"),
    TIMER("timer"),
    UNKNOWN("unknown"),
    EXPIRED("expired"),
    UNREACHABLE("unreachable");

    final Utf8 word;

    Reason(String word) {
        this.word = new Utf8(word);
    }
}
