use super::*;
use crate::event::records::samples::{HOLDS, dispatch, id, ids, one_of, status, times};
use proptest::prelude::*;

fn returned() -> Vec<Returned> {
    vec![
        Returned::Outcome { attempt_id: id(), outcome: Outcome::Accepted, reason: Reason::None, code: 0, provider_id: Some([9; 16]) },
        Returned::Receipt { attempt_id: id(), receipt: Receipt::Failed, reason: Reason::Failed, code: 131_026, provider_time: None },
        Returned::GatewayHeartbeat { instance: "a".into() },
        Returned::DispatcherHeartbeat { instance: "a".into(), channel: Channel::Voice, lane: Lane::Bulk, settled: Timestamp::from_millis(5) },
        Returned::Hello { instance: "a.0".into(), nonce: u64::MAX },
    ]
}

fn hex_of(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    hex::encode(out)
}

// These bytes are final: topics hold them for a week, and an older Recado reads them during an upgrade.

#[test]
fn the_bytes_of_a_dispatch_are_final() {
    assert_eq!(hex_of(|out| encode_dispatch(&dispatch(), out)), GOLDEN_DISPATCH);
}

#[test]
fn the_bytes_of_what_comes_back_are_final() {
    let written: Vec<String> = returned().iter().map(|returned| hex_of(|out| encode_returned(returned, out))).collect();
    assert_eq!(written, GOLDEN_RETURNED);
}

#[test]
fn the_bytes_of_a_journal_entry_are_final() {
    let written: Vec<String> = [JournalKind::Intent, JournalKind::Refused, JournalKind::Done, JournalKind::Hello]
        .map(|kind| hex_of(|out| encode_journal(&JournalEntry { attempt_id: id(), kind, epoch: u64::MAX - 1 }, out)))
        .to_vec();
    assert_eq!(written, GOLDEN_JOURNAL);
}

#[test]
fn the_bytes_of_a_status_are_final_in_both_framings() {
    let single = hex_of(|out| encode_status(&status(), Framing::SingleObject, out));
    assert_eq!(single, GOLDEN_STATUS);
    let confluent = hex_of(|out| encode_status(&status(), Framing::Confluent(258), out));
    assert_eq!(confluent, format!("0000000102{}", &single[20..]), "the same body behind the registry's id");
}

#[test]
fn a_read_of_an_ended_delivery_travels_without_seq() {
    let mut record = status();
    record.live = false;
    record.status.seq = 0;
    record.source = None;
    record.event_id = None;
    record.route = String::new();
    let mut out = Vec::new();
    encode_status(&record, Framing::SingleObject, &mut out);
    assert_eq!(decode_status(&out), Ok(record));
}

/// What a bank's own reader sees: the other library, with the schema file, in generic form.
#[test]
fn another_library_reads_a_status_field_by_field() {
    let schema = apache_avro::Schema::parse_str(crate::event::records::STATUS_SCHEMA).unwrap();
    let mut out = Vec::new();
    encode_status(&status(), Framing::SingleObject, &mut out);
    let value = apache_avro::reader::datum::GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut &out[10..]).unwrap();
    let apache_avro::types::Value::Record(fields) = value else { panic!("a status is a record") };
    let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| format!("{value:?}")).unwrap();
    assert_eq!(field("message_id"), "String(\"019aec3cd17b00070102030405060708\")");
    assert_eq!(field("status"), "Enum(2, \"delivered\")");
    assert_eq!(field("double_delivered"), "Boolean(true)");
    assert!(field("source").contains("Int(7)") && field("source").contains("Long(42)"), "{}", field("source"));
}

#[test]
fn every_word_of_our_lists_is_in_its_schema_and_reads_back() {
    for word in StatusWord::ALL {
        for reason in Reason::ALL {
            let mut record = status();
            record.status.word = word;
            record.status.reason = reason;
            let mut out = Vec::new();
            encode_status(&record, Framing::Confluent(1), &mut out);
            assert_eq!(decode_status(&out), Ok(record));
        }
        assert!(crate::event::records::STATUS_SCHEMA.contains(&format!("{}: ", word.word())), "{} is explained", word.word());
    }
    for reason in Reason::ALL {
        assert!(crate::event::records::STATUS_SCHEMA.contains(reason.word()), "{} is explained", reason.word());
    }
    for outcome in Outcome::ALL {
        for hold in HOLDS {
            let mut dispatch = dispatch();
            dispatch.why = Some(Why { reason: Reason::Failed, from: Attempt::FIRST, hold });
            let mut out = Vec::new();
            encode_dispatch(&dispatch, &mut out);
            assert_eq!(decode_dispatch(&out), Ok(dispatch));
        }
        let record = Returned::Outcome { attempt_id: id(), outcome, reason: Reason::None, code: 1, provider_id: None };
        let mut out = Vec::new();
        encode_returned(&record, &mut out);
        assert_eq!(decode_returned(&out), Ok(record));
    }
}

#[test]
fn what_is_no_record_of_this_kind_is_refused_with_its_reason() {
    let mut out = Vec::new();
    encode_dispatch(&dispatch(), &mut out);
    assert_eq!(decode_journal(&out), Err(BadRecord::OtherKind));
    assert_eq!(decode_dispatch(&out[..9]), Err(BadRecord::Framing));
    assert_eq!(decode_dispatch(&out[..out.len() - 1]), Err(BadRecord::Shape), "cut off");
    let mut longer = out.clone();
    longer.push(0);
    assert_eq!(decode_dispatch(&longer), Err(BadRecord::Shape), "something behind the record");
    let mut other = out.clone();
    other[5] ^= 1;
    assert_eq!(decode_dispatch(&other), Err(BadRecord::UnknownSchema));
    other[0] = 0;
    assert_eq!(decode_dispatch(&other), Err(BadRecord::Framing));
    let mut far = out;
    far.splice(26..27, [0x80, 0x04]);
    assert_eq!(decode_dispatch(&far), Err(BadRecord::Range("step")), "step 256");
}

proptest! {
    #[test]
    fn a_dispatch_reads_back(
        (attempt_id, channel, lane, route, template) in (ids(), one_of(&Channel::ALL), one_of(&Lane::ALL), ".*", ".*"),
        (customer, lease_end, not_after, expiry, wait_ms) in (any::<[u8; 16]>(), times(), times(), times(), any::<u32>()),
        why in proptest::option::of((one_of(&Reason::ALL), any::<(u8, u16)>())),
        (sealed, sealed_code, traceparent) in (any::<Vec<u8>>(), any::<Option<Vec<u8>>>(), proptest::option::of(".*")),
    ) {
        let why = why.map(|(reason, (step, n))| Why { reason, from: Attempt { step, n }, hold: Hold::Storm });
        let customer = Reference::from_bytes(customer);
        let not_after = NotAfter::new(not_after);
        let dispatch =
            Dispatch { attempt_id, channel, lane, route, template, customer, lease_end, not_after, expiry, wait_ms, why, sealed, sealed_code, traceparent };
        let mut out = Vec::new();
        encode_dispatch(&dispatch, &mut out);
        prop_assert_eq!(decode_dispatch(&out), Ok(dispatch));
    }

    #[test]
    fn what_comes_back_reads_back(
        (attempt_id, outcome, receipt, reason, code) in (ids(), one_of(&Outcome::ALL), one_of(&Receipt::ALL), one_of(&Reason::ALL), any::<u32>()),
        (provider_id, provider_time, epoch) in (any::<Option<[u8; 16]>>(), proptest::option::of(times()), any::<u64>()),
        kind in one_of(&[JournalKind::Intent, JournalKind::Refused, JournalKind::Done, JournalKind::Hello]),
    ) {
        for record in [
            Returned::Outcome { attempt_id, outcome, reason, code, provider_id },
            Returned::Receipt { attempt_id, receipt, reason, code, provider_time },
        ] {
            let mut out = Vec::new();
            encode_returned(&record, &mut out);
            prop_assert_eq!(decode_returned(&out), Ok(record));
        }
        let entry = JournalEntry { attempt_id, kind, epoch };
        let mut out = Vec::new();
        encode_journal(&entry, &mut out);
        prop_assert_eq!(decode_journal(&out), Ok(entry));
    }

    /// Bytes behind a right header reach the decoder proper. A record never holds more than its bytes do, so nothing can ask for more memory.
    #[test]
    fn random_bytes_never_panic_and_never_grow(kind in 0..4usize, body in any::<Vec<u8>>(), headed in any::<bool>()) {
        let mut bytes = Vec::new();
        if headed {
            match kind {
                0 => encode_dispatch(&dispatch(), &mut bytes),
                1 => encode_returned(&returned()[0], &mut bytes),
                2 => encode_journal(&JournalEntry { attempt_id: id(), kind: JournalKind::Done, epoch: 1 }, &mut bytes),
                _ => encode_status(&status(), Framing::SingleObject, &mut bytes),
            }
            bytes.truncate(10);
        }
        bytes.extend_from_slice(&body);
        if let Ok(dispatch) = decode_dispatch(&bytes) {
            prop_assert!(dispatch.sealed.capacity() + dispatch.route.capacity() + dispatch.template.capacity() <= bytes.len());
        }
        let _ = (decode_returned(&bytes), decode_journal(&bytes));
        if let Ok(status) = decode_status(&bytes) {
            prop_assert!(status.route.capacity() + status.template.capacity() <= bytes.len());
        }
    }

    /// One changed byte of a good record: an error, or another record, never a panic.
    #[test]
    fn a_changed_byte_never_panics(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = Vec::new();
        encode_dispatch(&dispatch(), &mut bytes);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = decode_dispatch(&bytes);
        let mut bytes = Vec::new();
        encode_status(&status(), Framing::Confluent(1), &mut bytes);
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = decode_status(&bytes);
    }
}

const GOLDEN_DISPATCH: &str = concat!(
    "c30110f3fbdc1d36528d019aec3cd17b0007010203040506070804020200067069780c7069785f696e07070707070707070707070707070707",
    "a0e0e7c3dd669092e7c3dd66c0938bc4dd66e0d403020a74696d65720202000601020300020a30302d6161"
);
const GOLDEN_RETURNED: [&str; 5] = [
    "c30135a7fcd3a9ec7fea00019aec3cd17b00070102030405060708040200086e6f6e65000209090909090909090909090909090909",
    "c30135a7fcd3a9ec7fea02019aec3cd17b000701020304050607080402060c6661696c6564a4ff0f00",
    "c30135a7fcd3a9ec7fea040261",
    "c30135a7fcd3a9ec7fea06026104020a",
    "c30135a7fcd3a9ec7fea0806612e3001",
];
const GOLDEN_JOURNAL: [&str; 4] = [
    "c301a5bfab67ea48f6e5019aec3cd17b0007010203040506070804020003",
    "c301a5bfab67ea48f6e5019aec3cd17b0007010203040506070804020203",
    "c301a5bfab67ea48f6e5019aec3cd17b0007010203040506070804020403",
    "c301a5bfab67ea48f6e5019aec3cd17b0007010203040506070804020603",
];
const GOLDEN_STATUS: &str = concat!(
    "c30166bbf9ea2d4c619040303139616563336364313762303030373031303230333034303530363037303802060401908ce9c3dd660206736d73",
    "02040202086e6f6e650002c0fce8c3dd6601046e6f067069780c7069785f696e0204453102207069782e7472616e73616374696f6e730e54"
);
