//! Records of the reference schemas: what is taken, in which framings, and each reason for which one is not.

use super::*;

fn hex(text: &str) -> Vec<u8> {
    ::hex::decode(text.replace(char::is_whitespace, "")).unwrap()
}

/// `format = …` in a file that does not say it.
fn with_format(file: &str, format: &str) -> String {
    let file = file.replace("format = \"avro\" ", "#");
    file.replacen("lane =", &format!("format = \"{format}\"\nlane ="), 1)
}

/// The same datum in all three framings.
fn in_three_framings(file: &str, schema: &str, datum: &[u8], check: impl Fn(Decoded)) {
    let inputs = one(file);
    check(decode(&inputs, 0, &confluent(77, datum), &NoRegistry));
    check(decode(&inputs, 0, &confluent(77, datum), &Known::default().with(77, schema)));
    let fingerprint = self::fingerprint(schema);
    check(decode(&inputs, 0, &[&[0xc3, 0x01], fingerprint.as_slice(), datum].concat(), &Known::default()));
    check(decode(&one(&with_format(file, "avro_plain")), 0, datum, &NoRegistry));
}

#[test]
fn a_pix_reads_the_same_in_all_framings() {
    let golden = hex("
        10 6576742d30303031 0c 432d34373131 02 1c 2b35353131393837363534333231 02 1c 416d65726963612f4d616e617573 00
        10 000000000001e240 02 30 4d61726961204170617265636964612064612053696c7661 00 02 1a 42616e636f204578656d706c6f 00
        02 40 4539393939393939393230323631313235313230303030303030303030303030 02 0e 616c756775656c 80a894aed766");
    assert_eq!(datum(PIX_SCHEMA, record(pix())), golden, "these bytes are what banks send");
    in_three_framings(PIX, PIX_SCHEMA, &golden, |decoded| {
        let notification = notification(decoded);
        assert_eq!(&*notification.route_name, "pix.received");
        assert_eq!(clear(&notification.customer), "C-4711");
        assert_eq!(notification.event_id.as_deref(), Some("evt-0001"));
        assert_eq!(notification.payload.phone.as_ref().map(|phone| phone.e164().to_owned()).as_deref(), Some("+5511987654321"));
        assert_eq!(notification.payload.zone.as_deref(), Some("America/Manaus"));
        assert_eq!(shown(&notification, "amount").as_deref(), Some("amount: 123456 centavos"));
        assert_eq!(shown(&notification, "payer_name").as_deref(), Some("name: Maria Aparecida da Silva"));
        assert_eq!(shown(&notification, "payee_name"), shown(&notification, "payer_name"), "two names may share a path");
        assert_eq!(shown(&notification, "institution").as_deref(), Some("public: Banco Exemplo"));
        assert_eq!(shown(&notification, "occurred_at").as_deref(), Some("public: 1764072000000 ms"));
        assert_eq!(notification.payload.values.len(), 5, "note, key and end-to-end id are not named, so they are not taken");
        assert!(notification.code.is_none() && notification.expires_at.is_none() && notification.obstacle.is_none());
    });
}

#[test]
fn a_code_reads_the_same_in_all_framings() {
    let golden = hex("
        0a 63682d3137 0c 432d34373131 02 1c 2b35353131393837363534333231 0c 343933383137 02 28 656e74726172206e6f2061706c6963617469766f c0f7b8aed766");
    assert_eq!(datum(CODE_SCHEMA, code_record("493817", some(text("+5511987654321")))), golden);
    in_three_framings(CODES, CODE_SCHEMA, &golden, |decoded| {
        let notification = notification(decoded);
        assert_eq!(notification.code.as_ref().map(|code| clear(code).as_str()), Some("493817"));
        assert_eq!(shown(&notification, "code"), None, "a code is no parameter");
        assert_eq!(shown(&notification, "purpose").as_deref(), Some("public: entrar no aplicativo"));
        assert_eq!(notification.expires_at, Some(Timestamp::from_millis(1_764_072_300_000)));
        assert_eq!(notification.obstacle, None);
    });
}

#[test]
fn a_bill_reads_the_same_in_all_framings() {
    let golden = hex("
        0a 696e762d39 0c 432d34373131 02 0a 4a6fc3a36f 02 1c 2b35353131393837363534333231 10 0000000000006586 80c502 00 00");
    assert_eq!(datum(BILL_SCHEMA, bill()), golden);
    in_three_framings(BILLS, BILL_SCHEMA, &golden, |decoded| {
        let notification = notification(decoded);
        assert_eq!(shown(&notification, "amount").as_deref(), Some("amount: 25990 centavos"));
        assert_eq!(shown(&notification, "due_date").as_deref(), Some("public: 2026-12-13"));
        assert_eq!(shown(&notification, "customer_name").as_deref(), Some("name: João"));
    });
}

#[test]
fn a_used_code_withdraws_its_event_in_all_framings() {
    let inputs = one(CODES);
    assert_eq!(inputs.inputs()[1].kind, Kind::Cancel { of: 0 });
    let golden = hex("0a 63682d3137 80a894aed766");
    assert_eq!(datum(USED_SCHEMA, record(vec![("challenge_id", text("ch-17")), ("used_at", Avro::TimestampMillis(1_764_072_000_000))])), golden);
    let fingerprint = self::fingerprint(USED_SCHEMA);
    let plain = one(&with_format(CODES, "avro_plain"));
    for decoded in [
        decode(&inputs, 1, &confluent(1, &golden), &NoRegistry),
        decode(&inputs, 1, &[&[0xc3, 0x01], fingerprint.as_slice(), &golden].concat(), &NoRegistry),
        decode(&plain, 1, &golden, &NoRegistry),
    ] {
        assert!(matches!(decoded, Decoded::Cancel { ref event_id } if event_id == "ch-17"), "{decoded:?}");
    }
}

#[test]
fn the_first_route_that_matches_takes_the_record_and_none_leaves_it_aside() {
    let inputs = one(PIX);
    let sent = datum(PIX_SCHEMA, pix_with("direction", Avro::Enum(1, "SENT".to_owned())));
    assert_eq!(&*notification(decode(&inputs, 0, &confluent(1, &sent), &NoRegistry)).route_name, "pix.sent");
    let received_only = one(&PIX.replace("equals = \"SENT\"", "equals = \"RECEIVED\""));
    assert!(matches!(decode(&received_only, 0, &confluent(1, &sent), &NoRegistry), Decoded::Ignored(IgnoredWhy::NoRoute)));
    let none = RawRecord { key: None, value: None, record_time: Timestamp::from_millis(0), headers: &[] };
    assert!(matches!(inputs.decode(0, &none, &NoRegistry), Decoded::Ignored(IgnoredWhy::Tombstone)));
}

#[test]
fn framing_and_schema_faults_each_have_their_reason() {
    let inputs = reference();
    let good = datum(PIX_SCHEMA, record(pix()));
    let mut registry = Known::default().with(7, PIX_SCHEMA);
    registry.0.insert(404, WriterSchema::Unknown);
    registry.0.insert(8, WriterSchema::Unreadable);
    let reason = |value: &[u8]| dead(&decode(&inputs, 0, value, &registry));
    assert_eq!(reason(&[]), Some(DeadReason::Truncated));
    assert_eq!(reason(&[0, 0, 0, 0]), Some(DeadReason::Truncated));
    assert_eq!(reason(&[0xc3, 0x01, 1, 2, 3]), Some(DeadReason::Truncated));
    assert_eq!(reason(&[&[1, 0, 0, 0, 7], good.as_slice()].concat()), Some(DeadReason::WrongMagic));
    assert_eq!(reason(b"{\"event_id\": 1}"), Some(DeadReason::WrongMagic));
    assert_eq!(reason(&confluent(404, &good)), Some(DeadReason::UnknownSchema));
    assert_eq!(reason(&confluent(8, &good)), Some(DeadReason::IncompatibleSchema));
    assert_eq!(reason(&[&[0xc3, 0x01, 1, 2, 3, 4, 5, 6, 7, 8], good.as_slice()].concat()), Some(DeadReason::UnknownSchema));
    assert_eq!(reason(&vec![0; RECORD_BYTES_MAX + 1]), Some(DeadReason::TooLarge));
    assert_eq!(reason(&confluent(7, &[good.as_slice(), &[0]].concat())), Some(DeadReason::Trailing));
    assert_eq!(reason(&confluent(7, &good[..good.len() - 1])), Some(DeadReason::Truncated));
    assert!(matches!(decode(&inputs, 0, &confluent(9, &good), &registry), Decoded::NeedSchema(9)));
}

#[test]
fn what_does_not_follow_the_schema_has_its_reason() {
    let inputs = reference();
    let reason = |value: &[u8]| dead(&decode(&inputs, 0, &confluent(1, value), &NoRegistry));
    // The event id's length: negative, beyond the record, a varint without end.
    assert_eq!(reason(&[1, 0, 0]), Some(DeadReason::NotAvro));
    assert_eq!(reason(&[0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0]), Some(DeadReason::Truncated));
    assert_eq!(reason(&[0xff; 12]), Some(DeadReason::Truncated));
    // Invalid UTF-8 in the event id.
    let mut bytes = datum(PIX_SCHEMA, record(pix()));
    bytes[3] = 0xff;
    assert_eq!(reason(&bytes), Some(DeadReason::InvalidUtf8));
    // No third branch of the phone's union, no third direction.
    let valid = datum(PIX_SCHEMA, record(pix()));
    let phone = 1 + 8 + 1 + 6;
    let mut bytes = valid.clone();
    bytes[phone] = 4;
    assert_eq!(reason(&bytes), Some(DeadReason::NotAvro));
    let direction = phone + 16 + 16;
    let mut bytes = valid.clone();
    assert_eq!(bytes[direction], 0);
    bytes[direction] = 4;
    assert_eq!(reason(&bytes), Some(DeadReason::NotAvro));
}

#[test]
fn values_that_cannot_be_used_have_their_reason() {
    let inputs = reference();
    let pix_reason = |name: &str, value: Avro| dead(&decode(&inputs, 0, &confluent(1, &datum(PIX_SCHEMA, pix_with(name, value))), &NoRegistry));
    assert_eq!(pix_reason("amount", decimal(-1)), Some(DeadReason::NegativeAmount));
    assert_eq!(pix_reason("amount", Avro::Decimal([0x7f; 16].into())), Some(DeadReason::AmountShape));
    assert_eq!(pix_reason("customer_id", text("")), Some(DeadReason::MissingCustomer));
    assert_eq!(pix_reason("customer_id", text("  ")), Some(DeadReason::MissingCustomer));
    assert_eq!(pix_reason("occurred_at", Avro::TimestampMillis(i64::MAX)), Some(DeadReason::TimeShape));
    assert_eq!(pix_reason("event_id", text("")), Some(DeadReason::EventIdShape));
    assert_eq!(pix_reason("event_id", text("a\nb")), Some(DeadReason::EventIdShape));
    assert_eq!(pix_reason("event_id", text(&"x".repeat(201))), Some(DeadReason::EventIdShape));
    let long = record(vec![("name", some(text(&"x".repeat(5000)))), ("document", null()), ("institution", null()), ("pix_key", null())]);
    assert_eq!(pix_reason("counterparty", long), Some(DeadReason::TooLarge));
    let used = datum(USED_SCHEMA, record(vec![("challenge_id", text("")), ("used_at", Avro::TimestampMillis(0))]));
    let used_inputs = one(CODES);
    assert_eq!(dead(&decode(&used_inputs, 1, &confluent(1, &used), &NoRegistry)), Some(DeadReason::EventIdShape));
}

#[test]
fn a_cancel_without_an_event_is_dead() {
    let schema = USED_SCHEMA.replace("\"type\": \"string\"", "\"type\": [\"null\", \"string\"]");
    let mut all = schemas();
    all.insert("schemas/code_used.avsc".into(), schema.clone());
    let (inputs, _) = compile(&[("routes/codes.toml", CODES)], &all).unwrap();
    let used = datum(&schema, record(vec![("challenge_id", null()), ("used_at", Avro::TimestampMillis(0))]));
    assert_eq!(dead(&decode(&inputs, 1, &confluent(1, &used), &NoRegistry)), Some(DeadReason::MissingEventId));
}

#[test]
fn event_ids_that_name_a_person_are_refused_unless_the_bank_says_that_they_are_public() {
    let inputs = reference();
    let full = one(&PIX.replace("event_id = \"event_id\"", "event_id = { path = \"event_id\" }"));
    let reason = |inputs: &Inputs, id: &str| dead(&decode(inputs, 0, &confluent(1, &datum(PIX_SCHEMA, pix_with("event_id", text(id)))), &NoRegistry));
    for personal in ["52998224725", "529.982.247-25", "+5511987654321", "5511987654321", "11987654321", "(11) 98765-4321", "maria@exemplo.com.br"] {
        assert_eq!(reason(&inputs, personal), Some(DeadReason::PersonalEventId), "{personal}");
        assert_eq!(reason(&full, personal), Some(DeadReason::PersonalEventId), "{personal}");
    }
    for plain in ["12345678901", "52398224726", "11111111111", "1764072000000", "11337654321", "E9999999920261125120000000000000", "a@b", "7d9f-c2a1", "123"] {
        assert_eq!(reason(&inputs, plain), None, "{plain}");
    }
    let public = pix_by(PIX, &pix_schema("event_id", "public"));
    for id in ["52998224725", "52998224725-20251125"] {
        assert_eq!(reason(&public, id), None, "{id}");
    }
}

/// A person's number was found only where it was all of the id: with a date behind it, all digits together were no number.
#[test]
fn event_ids_that_hold_a_persons_number_among_others_are_refused() {
    let inputs = reference();
    let reason = |id: &str| dead(&decode(&inputs, 0, &confluent(1, &datum(PIX_SCHEMA, pix_with("event_id", text(id)))), &NoRegistry));
    for personal in [
        "52998224725-20251125",
        "20251125-52998224725",
        "pix:529.982.247-25:1",
        "529982247-25-0001",
        "529 982 247 25 0001",
        "CPF52998224725",
        "2025_C52998224725_7",
        "5511988887777-1764900000",
        "1764900000-5511988887777",
        "TX5511988887777",
        "551133334444.1",
        "pix_55 11 98888-7777_1",
        "+55 (11) 98888-7777 1764900000",
        "pix_+11988887777",
        "+14155552671-1764900000",
        "52998224725@7",
        "+44 20 7946 0958",
        "11 9 8765-4321",
    ] {
        assert_eq!(reason(personal), Some(DeadReason::PersonalEventId), "{personal}");
    }
    for plain in [
        "evt-1764072000000-000000000017",
        "1764072000000000",
        "2025-11-25-0001",
        "20251125120000-0001",
        // Nobody's: a check digit, an area code, the length.
        "52998224726-20251125",
        "5520988887777",
        "5511988887777001",
        // National, and not all of the id.
        "11988887777-20251125",
        "1133334444",
        "E00038166201907261559y6j6mt9l0pi",
        "7f8c1d9e-6d0b-4a53-9a35-0b8f6f1c2d3e",
        // A UUID and a trace id with the digits of a CPF or a phone number in them.
        "7f8c1d9e-6d0b-4a53-9a35-a52998224725",
        "pix-7f8c1d9e-5511-4333-8444-0b8f6f1c2d3e",
        "4bf92f3577b34da6a52998224725ce92",
    ] {
        assert_eq!(reason(plain), None, "{plain}");
    }
}

#[test]
fn a_missing_or_impossible_phone_and_a_bad_code_are_obstacles_not_dead_letters() {
    let inputs = one(CODES);
    let made = |code: &str, phone: Avro| notification(decode(&inputs, 0, &confluent(1, &datum(CODE_SCHEMA, code_record(code, phone))), &NoRegistry));
    for phone in [null(), some(text("")), some(text("123")), some(text("telefone"))] {
        let notification = made("493817", phone);
        assert_eq!(notification.obstacle, Some(Reason::Unreachable));
        assert!(notification.payload.phone.is_none());
    }
    let phone = || some(text("+5511987654321"));
    for bad in ["", "123", "12345", "1234567890123456", "AB1", "ABCD-1", "AB 12", "ÁBCD"] {
        let notification = made(bad, phone());
        assert_eq!(notification.obstacle, Some(Reason::CodeShape), "{bad}");
        assert!(notification.code.is_none(), "{bad}");
    }
    for good in ["123456", "123456789012345", "A1B2", "CANARIO2026ABCD"] {
        assert_eq!(made(good, phone()).obstacle, None, "{good}");
    }
    assert_eq!(made("493817", some(text("+551133334444"))).obstacle, None, "of a landline the dispatcher decides, channel by channel");
}

#[test]
fn what_a_notification_prints_has_no_customer_in_it() {
    let inputs = one(CODES);
    let printed =
        format!("{:?}", notification(decode(&inputs, 0, &confluent(1, &datum(CODE_SCHEMA, code_record("493817", some(text("+5511987654321"))))), &NoRegistry)));
    for secret in ["493817", "4711", "98765", "entrar"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}

#[test]
fn only_a_trace_context_of_the_known_shape_is_handed_on() {
    let inputs = one(PIX);
    let value = confluent(1, &datum(PIX_SCHEMA, record(pix())));
    let taken = |header: &[u8]| notification(decode_with(&inputs, 0, &value, &NoRegistry, &[("ce_id", b"x"), ("traceparent", header)])).traceparent;
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(taken(good.as_bytes()).as_deref(), Some(good));
    for bad in ["", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-maria", "\u{e9}"] {
        assert_eq!(taken(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn a_writer_may_add_remove_and_reorder_fields() {
    let inputs = one(PIX);
    // Newer: a field in front, a big decimal and an array that nobody takes, the phone gone, the amount with four decimals.
    let newer = r#"{"type": "record", "name": "PixTransaction", "namespace": "recado.reference.v1", "fields": [
        {"name": "added", "type": {"type": "array", "items": {"type": "map", "values": ["null", "string"]}}},
        {"name": "huge", "type": {"type": "bytes", "logicalType": "decimal", "precision": 60, "scale": 30}},
        {"name": "amount", "type": {"type": "fixed", "name": "Money", "size": 16, "logicalType": "decimal", "precision": 18, "scale": 4}},
        {"name": "direction", "type": {"type": "enum", "name": "Direction", "symbols": ["OTHER", "SENT", "RECEIVED"]}},
        {"name": "customer_id", "type": "string"},
        {"name": "event_id", "type": ["null", "string"], "default": null},
        {"name": "occurred_at", "type": {"type": "long", "logicalType": "timestamp-micros"}}]}"#;
    let value = record(vec![
        ("added", Avro::Array(vec![Avro::Map([("k".to_owned(), some(text("v")))].into_iter().collect())])),
        ("huge", Avro::Decimal([0x11; 40].into())),
        ("amount", Avro::Decimal(12_345_600_i128.to_be_bytes().into())),
        ("direction", Avro::Enum(2, "RECEIVED".to_owned())),
        ("customer_id", text("C-1")),
        ("event_id", null()),
        ("occurred_at", Avro::TimestampMicros(1_764_072_000_000_999)),
    ]);
    let bytes = confluent(12, &datum(newer, value));
    let registry = Known::default().with(12, newer);
    for _ in 0..2 {
        let notification = notification(decode(&inputs, 0, &bytes, &registry));
        assert_eq!(shown(&notification, "amount").as_deref(), Some("amount: 123456 centavos"));
        assert_eq!(shown(&notification, "occurred_at").as_deref(), Some("public: 1764072000000 ms"));
        assert_eq!(shown(&notification, "payer_name"), None);
        assert_eq!(notification.event_id, None);
        assert_eq!(notification.obstacle, Some(Reason::Unreachable));
    }
    // The cache is used: the second time the registry is not needed.
    assert!(matches!(decode(&inputs, 0, &bytes, &Known::default()), Decoded::Notification(_)));
}

#[test]
fn a_writer_whose_types_do_not_fit_is_dead_and_its_secrets_are_not_taken() {
    let inputs = one(PIX);
    let array = PIX_SCHEMA
        .replace(r#"{ "name": "phone", "type": ["null", "string"], "default": null"#, r#"{ "name": "phone", "type": {"type": "array", "items": "string"}"#);
    assert_ne!(array, PIX_SCHEMA);
    let good = confluent(5, &datum(PIX_SCHEMA, record(pix())));
    assert_eq!(dead(&decode(&inputs, 0, &good, &Known::default().with(5, &array))), Some(DeadReason::IncompatibleSchema));
    let inputs = one(PIX);
    let secret = PIX_SCHEMA.replace("\"recado.class\": \"name\"", "\"recado.class\": \"secret\"");
    let notification = notification(decode(&inputs, 0, &good, &Known::default().with(5, &secret)));
    assert_eq!(shown(&notification, "payer_name"), None, "the bank calls it secret by now");
    assert!(shown(&notification, "amount").is_some());
}

/// The reference schema of a Pix, but that it gives one field another class.
fn pix_schema(field: &str, class: &str) -> String {
    let (name, word) = (format!("\"name\": \"{field}\""), "\"recado.class\": \"");
    let lines: Vec<_> = PIX_SCHEMA
        .lines()
        .map(|line| match line.split_once(word) {
            Some((before, after)) if before.contains(&name) => format!("{before}{word}{class}{}", &after[after.find('"').unwrap()..]),
            _ => line.to_owned(),
        })
        .collect();
    let schema = lines.join("\n");
    assert_ne!(schema, PIX_SCHEMA.trim_end(), "{field} has this class");
    schema
}

/// The input of one route file whose own schema is this one.
fn pix_by(file: &str, schema: &str) -> Inputs {
    let mut all = schemas();
    all.insert("schemas/pix_transaction.avsc".into(), schema.to_owned());
    compile(&[("routes/pix.toml", file)], &all).unwrap().0
}

/// A schema of the registry that tightened a class was taken as it is, and the field shown by the class of the file's schema; only `secret` was heeded.
#[test]
fn a_writer_that_gives_a_field_another_class_does_not_fit() {
    let good = confluent(5, &datum(PIX_SCHEMA, record(pix())));
    let by = |file: &str, own: &str, writers: &str| decode(&pix_by(file, own), 0, &good, &Known::default().with(5, writers));
    let institution = |decoded: Decoded| shown(&notification(decoded), "institution").unwrap();
    for class in ["name", "cpf", "free_text", "reference", "otp", "nome"] {
        let decoded = by(PIX, PIX_SCHEMA, &pix_schema("institution", class));
        assert_eq!(dead(&decoded), Some(DeadReason::IncompatibleSchema), "{class}");
    }
    assert_eq!(institution(by(PIX, PIX_SCHEMA, PIX_SCHEMA)), "public: Banco Exemplo");
    // Tightened here before the bank does it: older records are shown by the narrower class.
    let name = pix_schema("institution", "name");
    assert_eq!(institution(by(PIX, &name, PIX_SCHEMA)), "name: Banco Exemplo");
    assert_eq!(institution(by(PIX, &name, &name)), "name: Banco Exemplo");
    // What nobody takes may be of any class.
    assert_eq!(dead(&by(PIX, PIX_SCHEMA, &pix_schema("note", "name"))), None);
}

#[test]
fn a_class_of_the_route_file_holds_for_writers_that_say_none_or_the_same() {
    let good = confluent(5, &datum(PIX_SCHEMA, record(pix())));
    let silent = PIX_SCHEMA.replace("recado.class", "bank.class");
    let table = r#"
[input.classes]
direction = "public"
amount = "amount"
"counterparty.name" = "name"
"counterparty.institution" = "public"
occurred_at = "public"

[input.fields]"#;
    let by = |writers: &str| decode(&pix_by(&PIX.replacen("\n[input.fields]", table, 1), &silent), 0, &good, &Known::default().with(5, writers));
    for writers in [silent.as_str(), PIX_SCHEMA] {
        let made = notification(by(writers));
        assert_eq!(shown(&made, "payer_name").as_deref(), Some("name: Maria Aparecida da Silva"));
        assert_eq!(shown(&made, "institution").as_deref(), Some("public: Banco Exemplo"));
    }
    assert_eq!(dead(&by(&pix_schema("institution", "name"))), Some(DeadReason::IncompatibleSchema));
}

#[test]
fn what_is_not_shown_may_have_any_class_that_the_check_takes() {
    let good = confluent(5, &datum(PIX_SCHEMA, record(pix())));
    let reason = |file: &str, field: &str, class: &str| {
        let decoded = decode(&pix_by(file, PIX_SCHEMA), 0, &good, &Known::default().with(5, &pix_schema(field, class)));
        dead(&decoded)
    };
    assert_eq!(reason(PIX, "customer_id", "cpf"), None);
    assert_eq!(reason(PIX, "customer_id", "name"), Some(DeadReason::IncompatibleSchema));
    assert_eq!(reason(PIX, "phone", "name"), Some(DeadReason::IncompatibleSchema));
    assert_eq!(reason(PIX, "event_id", "cpf"), Some(DeadReason::IncompatibleSchema));
    assert_eq!(reason(PIX, "direction", "reference"), None, "a condition shows nothing");
    assert_eq!(reason(PIX, "direction", "otp"), Some(DeadReason::IncompatibleSchema));
    let stated = PIX.replace("{ field = \"direction\", equals = \"RECEIVED\" }", "{ field = \"direction\", equals = \"RECEIVED\", class = \"public\" }");
    assert_eq!(reason(&stated, "direction", "reference"), Some(DeadReason::IncompatibleSchema), "the route file says another");
}

#[test]
fn a_record_that_claims_to_be_endless_ends_at_once() {
    let schema = r#"{"type": "record", "name": "R", "fields": [
        {"name": "id", "type": "string", "recado.class": "reference"},
        {"name": "phone", "type": "string", "recado.class": "phone"},
        {"name": "nothing", "type": {"type": "array", "items": {"type": "array", "items": "null"}}},
        {"name": "map", "type": {"type": "map", "values": {"type": "record", "name": "Empty", "fields": []}}, "recado.class": "public"}]}"#;
    let file = r#"
        [input]
        name = "r"
        topic = "r"
        lane = "express"
        format = "avro_plain"
        schema = "r.avsc"
        key_class = "reference"
        customer = "id"
        phone = "phone"
        [[route]]
        name = "r"
        expiry = "5m"
        when = [{ field = "map.k", exists = true }]
        steps = [{ channel = "sms", template = "codigo" }]"#;
    let (inputs, _) = compile(&[("routes/r.toml", file)], &BTreeMap::from([("r.avsc".to_owned(), schema.to_owned())])).unwrap();
    let claim = |count: u64| {
        let mut varint = Vec::new();
        let mut rest = count << 1;
        while rest > 0x7f {
            varint.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        varint.push(u8::try_from(rest).unwrap());
        varint
    };
    // Ten thousand arrays of a billion nulls each, in 60 kB.
    let mut bytes = [&[2, b'c', 2, b'p'][..], &claim(10_000)].concat();
    for _ in 0..10_000 {
        bytes.extend(claim(1_000_000_000));
        bytes.push(0);
    }
    assert_eq!(dead(&decode(&inputs, 0, &bytes, &NoRegistry)), Some(DeadReason::NotAvro));
    // A text and a map of the length of the universe.
    assert_eq!(dead(&decode(&inputs, 0, &claim(1 << 61), &NoRegistry)), Some(DeadReason::Truncated));
    assert_eq!(dead(&decode(&inputs, 0, &[&[2, b'c', 2, b'p', 0][..], &claim(1 << 61)].concat(), &NoRegistry)), Some(DeadReason::NotAvro));
}

#[test]
fn writers_schemas_that_contain_themselves_or_nest_without_end_are_refused() {
    let recursive = r#"{"type": "record", "name": "a.Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}"#;
    assert_eq!(Writer::parse(recursive, &[]).unwrap_err(), BadSchema::Recursive("a.Node".into()));
    let mut deep = "\"string\"".to_owned();
    for _ in 0..80 {
        deep = format!(r#"{{"type": "array", "items": {deep}}}"#);
    }
    assert_eq!(Writer::parse(&deep, &[]).unwrap_err(), BadSchema::TooDeep);
    assert!(matches!(Writer::parse("{", &[]), Err(BadSchema::NotAvro(_))));
    let main = r#"{"type": "record", "name": "b.Main", "fields": [{"name": "part", "type": "b.Part"}]}"#;
    assert!(matches!(Writer::parse(main, &[]), Err(BadSchema::NotAvro(_))), "a name that nobody defines");
    let part = r#"{"type": "record", "name": "Part", "namespace": "b", "fields": [{"name": "x", "type": "string", "recado.class": "public"}]}"#;
    let writer = Writer::parse(main, &[part.to_owned()]).unwrap();
    assert_eq!(writer.find(&["part".to_owned(), "x".to_owned()]).classes, ["public"], "a referenced schema keeps its classes");
}

#[test]
fn our_fingerprint_is_that_of_another_implementation() {
    for schema in [PIX_SCHEMA, CODE_SCHEMA, USED_SCHEMA, BILL_SCHEMA] {
        let other = self::fingerprint(schema);
        assert_eq!(Writer::parse(schema, &[]).unwrap().fingerprint().as_slice(), other);
    }
}

#[test]
fn each_reason_has_its_own_word_and_a_sentence() {
    let words: BTreeSet<_> = DeadReason::ALL.iter().map(|reason| reason.word()).collect();
    assert_eq!(words.len(), DeadReason::ALL.len());
    for reason in DeadReason::ALL {
        assert_eq!(DeadReason::from_word(reason.word()), Some(reason));
        assert!(reason.sentence().ends_with('.'));
    }
}

#[test]
fn a_public_value_tells_whether_it_has_the_shape_of_its_field() {
    let mut all = schemas();
    all.insert("schemas/pix_transaction.avsc".into(), patterned_pix("Banco [A-Z][a-z]+"));
    let inputs = compile(&[("routes/pix.toml", PIX)], &all).unwrap().0;
    let shaped = |institution: Avro| {
        let counterparty = record(vec![("name", null()), ("document", null()), ("institution", institution), ("pix_key", null())]);
        let bytes = datum(PIX_SCHEMA, pix_with("counterparty", counterparty));
        notification(decode(&inputs, 0, &confluent(1, &bytes), &NoRegistry)).payload.shaped
    };
    let institution = BTreeSet::from(["institution".to_owned()]);
    assert_eq!(shaped(some(text("Banco Exemplo"))), institution);
    for other in [some(text("Banco 4111111111111111")), some(text("O Banco Exemplo")), null()] {
        assert_eq!(shaped(other), BTreeSet::new());
    }

    let json = r#"
        [input]
        name = "orders"
        topic = "orders"
        lane = "express"
        format = "json"
        key_class = "reference"
        customer = "customer"
        phone = "phone"
        [input.fields]
        protocol = { path = "protocol", class = "public", pattern = "[0-9]{13,19}" }
        [[route]]
        name = "order"
        expiry = "15m"
        steps = [{ channel = "sms", template = "pix_recebido" }]"#;
    let inputs = one(json);
    let shaped = |protocol: &str| {
        let value = format!(r#"{{"customer": "C-1", "phone": "+5511987654321", "protocol": {protocol}}}"#);
        notification(decode(&inputs, 0, value.as_bytes(), &NoRegistry)).payload.shaped
    };
    let protocol = BTreeSet::from(["protocol".to_owned()]);
    assert_eq!((shaped("\"4111111111111111\""), shaped("4111111111111111")), (protocol.clone(), protocol));
    assert_eq!((shaped("\"4111 1111 1111 1111\""), shaped("411111111111"), shaped("null")), Default::default());
}
