package recado.peers;

import org.apache.avro.Schema;
import org.apache.avro.generic.IndexedRecord;

/** Where a field stands in records of one schema: the positions that its path leads through. */
record FieldPath(int[] positions) {
    /** `path`: names joined by dots. */
    static FieldPath of(Schema schema, String path) {
        String[] names = path.split("\\.");
        int[] positions = new int[names.length];
        Schema at = schema;
        for (int depth = 0; depth < names.length; depth++) {
            Schema.Field field = recordIn(at, path).getField(names[depth]);
            if (field == null) {
                throw new IllegalArgumentException("The schema has no field " + path);
            }
            positions[depth] = field.pos();
            at = field.schema();
        }
        return new FieldPath(positions);
    }

    private static Schema recordIn(Schema schema, String path) {
        if (schema.getType() == Schema.Type.RECORD) {
            return schema;
        }
        if (schema.getType() == Schema.Type.UNION) {
            for (Schema branch : schema.getTypes()) {
                if (branch.getType() == Schema.Type.RECORD) {
                    return branch;
                }
            }
        }
        throw new IllegalArgumentException("The path leads through something that is no record: " + path);
    }

    /** The field's value; null where it, or a record on the way, is null. */
    Object in(IndexedRecord record) {
        Object value = record;
        for (int position : positions) {
            if (value == null) {
                return null;
            }
            value = ((IndexedRecord) value).get(position);
        }
        return value;
    }
}
