//! What became of the bank's events, by the bank's own ids: the statuses that it was told, and the calls that the providers saw.

use crate::support;
use rdkafka::message::OwnedMessage;
use recado::delivery::StatusWord;
use recado::event::records::{StatusRecord, decode_status};
use recado::simulator::CallLine;
use std::collections::BTreeMap;

/// The statuses of each event in their order.
pub fn stories(read: &[OwnedMessage]) -> BTreeMap<String, Vec<StatusRecord>> {
    let mut stories = BTreeMap::<String, Vec<StatusRecord>>::new();
    for message in read {
        let record = decode_status(support::value(message)).unwrap();
        stories.entry(record.event_id.clone().expect("every event of these tests has an id")).or_default().push(record);
    }
    stories
}

/// The words of one of them.
pub fn words(story: &[StatusRecord]) -> Vec<StatusWord> {
    story.iter().map(|record| record.status.word).collect()
}

/// For [`support::Reader::until`]: true when so many events have ended.
pub fn ends(count: usize) -> impl FnMut(&[OwnedMessage]) -> bool {
    told(count, StatusWord::terminal)
}

/// For [`support::Reader::until`]: true when so many statuses have been read whose word is such a one.
pub fn told(count: usize, such: impl Fn(StatusWord) -> bool) -> impl FnMut(&[OwnedMessage]) -> bool {
    let (mut looked_at, mut found) = (0, 0);
    move |read| {
        let new = read[looked_at..].iter().filter(|message| such(decode_status(support::value(message)).unwrap().status.word));
        found += new.count();
        looked_at = read.len();
        found >= count
    }
}

/// Every event was delivered: one end, `seq` from 0 without gap or repeat. No attempt was called twice, and nobody got two messages.
pub fn assert_all_delivered_once(stories: &BTreeMap<String, Vec<StatusRecord>>, calls: &[CallLine]) {
    for (event, story) in stories {
        let seqs: Vec<u32> = story.iter().map(|record| record.status.seq).collect();
        assert!(seqs.iter().copied().eq(0..u32::try_from(seqs.len()).unwrap()), "{event}: {seqs:?} {:?}", words(story));
        let ends: Vec<StatusWord> = words(story).into_iter().filter(|word| word.terminal()).collect();
        assert_eq!(ends, [StatusWord::Delivered], "{event}: {:?}", words(story));
    }
    let mut by_attempt = BTreeMap::<&str, usize>::new();
    for call in calls {
        *by_attempt.entry(call.attempt_id.as_deref().expect("a call names its attempt")).or_default() += 1;
    }
    let twice: Vec<_> = by_attempt.into_iter().filter(|(_, count)| *count > 1).collect();
    assert!(twice.is_empty(), "attempts that were called more than once: {twice:?}");
}
