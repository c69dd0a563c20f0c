use super::*;
use crate::delivery::{Channel, Lane, Outcome, Receipt};
use crate::event::records::codec::returned_by_serde;
use crate::event::records::samples::{dispatch, id, ids, numbers, one_of, times};
use crate::event::records::{decode_returned, encode_dispatch, encode_returned};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::Index;

fn written(record: &Returned) -> Vec<u8> {
    let mut out = Vec::new();
    encode_returned(record, &mut out);
    out
}

fn reports() -> impl Strategy<Value = Returned> {
    let outcome = (ids(), one_of(&Outcome::ALL), one_of(&Reason::ALL), numbers(), any::<Option<[u8; 16]>>());
    let receipt = (ids(), one_of(&Receipt::ALL), one_of(&Reason::ALL), numbers(), of(times()));
    prop_oneof![
        outcome.prop_map(|(attempt_id, outcome, reason, code, provider_id)| Returned::Outcome { attempt_id, outcome, reason, code, provider_id }),
        receipt.prop_map(|(attempt_id, receipt, reason, code, provider_time)| Returned::Receipt { attempt_id, receipt, reason, code, provider_time }),
    ]
}

fn two() -> [Returned; 2] {
    let provider_time = Some(Timestamp::from_millis(1_764_900_020_000));
    [
        Returned::Outcome { attempt_id: id(), outcome: Outcome::TooLate, reason: Reason::TooLate, code: 131_026, provider_id: Some([9; 16]) },
        Returned::Receipt { attempt_id: id(), receipt: Receipt::Failed, reason: Reason::None, code: 0, provider_time },
    ]
}

/// What is read by hand is what serde reads, and what is not is left to serde; so the door says what serde says.
fn check(bytes: &[u8]) {
    let by_serde = returned_by_serde(bytes);
    if let Some(record) = returned(bytes) {
        assert_eq!(Ok(record), by_serde, "{}", hex::encode(bytes));
    }
    assert_eq!(decode_returned(bytes), by_serde, "{}", hex::encode(bytes));
}

#[test]
fn every_word_is_read_by_hand() {
    for reason in Reason::ALL {
        for outcome in Outcome::ALL {
            let record = Returned::Outcome { attempt_id: id(), outcome, reason, code: 1, provider_id: None };
            assert_eq!(returned(&written(&record)), Some(record));
        }
        for receipt in Receipt::ALL {
            let record = Returned::Receipt { attempt_id: id(), receipt, reason, code: 1, provider_time: None };
            assert_eq!(returned(&written(&record)), Some(record));
        }
    }
}

#[test]
fn signs_of_life_and_other_kinds_are_left_to_serde() {
    for record in [
        Returned::GatewayHeartbeat { instance: "a".into() },
        Returned::DispatcherHeartbeat { instance: "a".into(), channel: Channel::Voice, lane: Lane::Bulk, settled: Timestamp::from_millis(5) },
        Returned::Hello { instance: "a.0".into(), nonce: u64::MAX },
    ] {
        assert_eq!(returned(&written(&record)), None);
        assert_eq!(decode_returned(&written(&record)), Ok(record));
    }
    let mut other = Vec::new();
    encode_dispatch(&dispatch(), &mut other);
    assert_eq!(returned(&other), None);
    check(&other);
}

#[test]
fn no_byte_more_less_or_other_makes_the_two_ways_disagree() {
    for record in two() {
        let good = written(&record);
        assert_eq!(returned(&good), Some(record));
        for at in 0..good.len() {
            check(&good[..at]);
            let mut bad = good.clone();
            for byte in 0..=u8::MAX {
                bad[at] = byte;
                check(&bad);
            }
        }
        let longer = [good.as_slice(), &[0_u8]].concat();
        assert_eq!(returned(&longer), None, "something behind the record");
        check(&longer);
    }
}

/// Nobody writes them, but a number may have more bytes than it needs, up to ten; in the tenth there is one bit left.
#[test]
fn long_numbers_are_read_as_serde_reads_them() {
    let record = two()[0].clone();
    let good = written(&record);
    assert_eq!(good[27], 4, "the step is 2");
    // The step's first byte, bytes that add nothing, and the last one.
    let with_step = |nothing: usize, last: u8| {
        let mut bytes = good[..28].to_vec();
        bytes[27] |= 0x80;
        bytes.resize(28 + nothing, 0x80);
        bytes.push(last);
        bytes.extend_from_slice(&good[28..]);
        bytes
    };
    for nothing in 0..=8 {
        assert_eq!(returned(&with_step(nothing, 0)), Some(record.clone()), "{nothing}");
    }
    for nothing in 0..12 {
        for last in [0x00, 0x01, 0x02, 0x7F, 0x80, 0x81] {
            check(&with_step(nothing, last));
        }
    }
}

proptest! {
    #[test]
    fn a_report_is_read_by_hand_as_serde_reads_it(record in reports()) {
        let bytes = written(&record);
        prop_assert_eq!(returned_by_serde(&bytes), Ok(record.clone()));
        prop_assert_eq!(returned(&bytes), Some(record));
    }

    #[test]
    fn garbled_bytes_are_read_as_serde_reads_them(record in reports(), how in 0..5_u8, at in any::<Index>(), byte in any::<u8>(), more in any::<Vec<u8>>()) {
        let mut bytes = written(&record);
        let at = at.index(bytes.len());
        match how {
            0 => bytes.truncate(at),
            1 => bytes[at] = byte,
            2 => bytes.insert(at, byte),
            3 => {
                bytes.truncate(at);
                bytes.extend(more);
            }
            _ => {
                bytes.truncate(11);
                bytes.extend(more);
            }
        }
        check(&bytes);
    }

    #[test]
    fn random_bytes_are_read_as_serde_reads_them(bytes in any::<Vec<u8>>(), headed in any::<bool>()) {
        check(&if headed { [HEADER.as_slice(), bytes.as_slice()].concat() } else { bytes });
    }
}
