package recado.peers;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import org.apache.avro.Schema;
import org.apache.avro.SchemaNormalization;

/** The schemas of the project, and the header of Avro's single-object encoding. */
final class Schemas {
    static final int HEADER = 10;

    private Schemas() { }

    static Schema read(Path folder, String name) {
        try {
            return new Schema.Parser().parse(folder.resolve(name + ".avsc").toFile());
        } catch (IOException unread) {
            throw new UncheckedIOException(unread);
        }
    }

    /** `C3 01` and the fingerprint, lowest byte first. Records are written field by field: the schema must be the one that this was made for. */
    static byte[] header(Path folder, String name, String fingerprint) {
        byte[] found;
        try {
            found = SchemaNormalization.parsingFingerprint("CRC-64-AVRO", read(folder, name));
        } catch (NoSuchAlgorithmException impossible) {
            throw new IllegalStateException("Avro has its own fingerprint.", impossible);
        }
        if (!HexFormat.of().formatHex(found).equals(fingerprint)) {
            throw new IllegalStateException(name + ".avsc has changed: this program writes another schema.");
        }
        byte[] header = new byte[HEADER];
        header[0] = (byte) 0xc3;
        header[1] = 1;
        System.arraycopy(found, 0, header, 2, found.length);
        return header;
    }
}
