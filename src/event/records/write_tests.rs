use super::*;
use crate::delivery::{Hold, Reason, StatusWord};
use crate::event::records::codec::oracle;
use crate::event::records::samples::{HOLDS, dispatch, dispatches, framings, status, statuses};
use proptest::prelude::*;

fn written(dispatch: &Dispatch) -> Vec<u8> {
    let mut out = Vec::new();
    DispatchRef::from(dispatch).append(&mut out);
    out
}

fn written_status(record: &StatusRecord, framing: Framing) -> Vec<u8> {
    let mut out = Vec::new();
    StatusRef::from(record).append(framing, &mut out);
    out
}

proptest! {
    #[test]
    fn a_dispatch_has_the_bytes_that_serde_writes(dispatch in dispatches()) {
        let out = written(&dispatch);
        prop_assert!(out.len() <= DispatchRef::from(&dispatch).bytes_max());
        prop_assert_eq!(out, oracle::dispatch(&dispatch));
    }

    #[test]
    fn a_status_has_the_bytes_that_serde_writes(record in statuses(), framing in framings()) {
        let out = written_status(&record, framing);
        prop_assert!(out.len() <= StatusRef::from(&record).bytes_max());
        prop_assert_eq!(out, oracle::status(&record, framing));
    }
}

#[test]
fn every_word_has_the_bytes_that_serde_writes() {
    for channel in Channel::ALL {
        for lane in Lane::ALL {
            let dispatch = Dispatch { channel, lane, why: None, ..dispatch() };
            assert_eq!(written(&dispatch), oracle::dispatch(&dispatch), "{channel:?} {lane:?}");
        }
    }
    for reason in Reason::ALL {
        for hold in HOLDS {
            let dispatch = Dispatch { why: Some(Why { reason, from: Attempt::FIRST, hold }), ..dispatch() };
            assert_eq!(written(&dispatch), oracle::dispatch(&dispatch), "{reason:?} {hold:?}");
            for word in StatusWord::ALL {
                let mut record = status();
                record.status = Status { word, reason, hold, ..record.status };
                assert_eq!(written_status(&record, Framing::SingleObject), oracle::status(&record, Framing::SingleObject), "{word:?} {reason:?} {hold:?}");
            }
        }
    }
}

/// The longest words and numbers with texts of nothing: the sums of the constants.
#[test]
fn the_largest_numbers_and_words_fit_what_is_reserved() {
    let far = Timestamp::from_millis(i64::MIN);
    let last = Attempt { step: u8::MAX, n: u16::MAX };
    let why = Some(Why { reason: Reason::DispatcherSilent, from: last, hold: Hold::DispatcherSilent });
    let attempt_id = AttemptId { attempt: last, ..dispatch().attempt_id };
    let limits = Dispatch { attempt_id, lease_end: far, not_after: NotAfter::new(far), expiry: far, wait_ms: u32::MAX, why, ..dispatch() };
    let whole = Dispatch { sealed: Vec::new(), sealed_code: Some(Vec::new()), traceparent: Some(String::new()), ..limits };
    let texts = whole.route.len() + whole.template.len();
    assert_eq!(written(&whole).len() + 5 * 4, DISPATCH_BYTES + texts, "each of five lengths takes one byte here, and might take five");
    let mut record = status();
    record.status = Status {
        seq: u32::MAX,
        attempt: Some(last),
        channel: Some(Channel::WhatsApp),
        reason: Reason::DispatcherSilent,
        code: u32::MAX,
        provider_time: Some(far),
        hold: Hold::DispatcherSilent,
        ..record.status
    };
    record.decided = far;
    let source = record.source.as_mut().expect("a live status has its source");
    (source.partition, source.offset) = (Partition(u16::MAX), i64::MIN);
    let texts = StatusRef::from(&record).bytes_max() - STATUS_BYTES;
    assert_eq!(written_status(&record, Framing::SingleObject).len() + 4 * 4, STATUS_BYTES + texts, "four lengths");
}
