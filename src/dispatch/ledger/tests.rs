use super::*;
use crate::delivery::{Attempt, Channel, MessageId};

const EXPRESS: Slot = Slot { lane: Lane::Express, channel: Channel::WhatsApp, turn: crate::dispatch::slot::Turn::First };
const BULK: Slot = Slot { lane: Lane::Bulk, ..EXPRESS };
const OURS: u64 = 7;
const THEIRS: u64 = 8;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn id(number: u8) -> AttemptId {
    AttemptId { message_id: MessageId::from_bytes([number; 16]), attempt: Attempt::FIRST }
}

/// Not after 5 s, lease until 10 s, expiry 60 s.
fn work(number: u8, slot: Slot) -> Work {
    Work { attempt_id: id(number), traffic: slot.traffic(), lease_end: at(10), not_after: NotAfter::new(at(5)), expiry: at(60) }
}

fn entry(number: u8, kind: JournalKind, epoch: u64) -> JournalEntry {
    JournalEntry { attempt_id: id(number), kind, epoch }
}

fn intent(number: u8, epoch: u64) -> JournalEntry {
    entry(number, JournalKind::Intent, epoch)
}

/// With an empty journal that was never cut.
fn ready() -> Ledger {
    let mut ledger = Ledger::new(OURS);
    ledger.replay(0, 0, Coverage::Whole);
    ledger
}

fn tick(ledger: &mut Ledger, seconds: i64) -> Vec<Todo> {
    ledger.tick(at(seconds), Some(at(seconds)), |_| None);
    ledger.todo()
}

#[test]
fn the_call_follows_the_own_intent_read_back_and_the_watermark_follows_the_done_mark() {
    let mut ledger = ready();
    assert!(ledger.taken(EXPRESS, 40, at(0), work(1, EXPRESS)));
    assert_eq!(tick(&mut ledger, 1), [Todo::Write(intent(1, OURS))]);
    assert_eq!(tick(&mut ledger, 1), [], "written once");
    ledger.journal(0, at(1), Some(intent(1, OURS)));
    assert_eq!(ledger.todo(), [Todo::Call(id(1))]);
    let accepted = Final::plain(Outcome::Accepted, Reason::None);
    ledger.called(id(1), accepted);
    assert_eq!(ledger.todo(), [Todo::Report(id(1), accepted)]);
    ledger.reported(id(1), at(1));
    assert_eq!(ledger.todo(), [Todo::Write(entry(1, JournalKind::Done, OURS))]);
    assert_eq!((ledger.watermark(EXPRESS), ledger.journal_position()), (Some(40), Some(0)));
    ledger.journal(1, at(1), Some(entry(1, JournalKind::Done, OURS)));
    assert_eq!((ledger.watermark(EXPRESS), ledger.journal_position()), (Some(41), Some(2)));
    assert_eq!(ledger.finished(), [id(1)]);
    assert!(!ledger.taken(EXPRESS, 41, at(2), work(1, EXPRESS)), "a repeated dispatch is dropped in silence");
    assert_eq!((tick(&mut ledger, 2), ledger.watermark(EXPRESS)), (vec![], Some(42)));
}

#[test]
fn nothing_is_claimed_before_the_replay_is_through_or_without_kafka_time() {
    let mut ledger = Ledger::new(OURS);
    ledger.taken(EXPRESS, 0, at(0), work(1, EXPRESS));
    assert_eq!(tick(&mut ledger, 1), []);
    ledger.replay(10, 12, Coverage::Since(at(-300)));
    ledger.journal(10, at(0), None);
    assert_eq!(tick(&mut ledger, 1), []);
    ledger.journal(11, at(0), Some(entry(0, JournalKind::Hello, THEIRS)));
    ledger.tick(at(1), None, |_| None);
    assert_eq!(ledger.todo(), []);
    assert_eq!(tick(&mut ledger, 1), [Todo::Write(intent(1, OURS))]);
}

#[test]
fn somebody_elses_entry_in_front_means_no_call_and_unknown_at_the_end_of_the_lease() {
    let mut ledger = ready();
    ledger.taken(EXPRESS, 0, at(0), work(1, EXPRESS));
    tick(&mut ledger, 1);
    ledger.journal(0, at(1), Some(intent(1, THEIRS)));
    ledger.journal(1, at(1), Some(intent(1, OURS)));
    assert_eq!(ledger.todo(), []);
    assert_eq!(tick(&mut ledger, 9), [], "not before the lease ends");
    assert_eq!(tick(&mut ledger, 10), [Todo::Report(id(1), Final::UNKNOWN)]);
    ledger.reported(id(1), at(10));
    assert_eq!(ledger.todo(), [Todo::Write(entry(1, JournalKind::Done, OURS))]);
}

#[test]
fn a_foreign_refusal_without_an_end_proves_that_nobody_calls() {
    let mut ledger = ready();
    ledger.journal(0, at(1), Some(entry(1, JournalKind::Refused, THEIRS)));
    ledger.taken(EXPRESS, 0, at(0), work(1, EXPRESS));
    assert_eq!(tick(&mut ledger, 1), []);
    assert_eq!(tick(&mut ledger, 10), [Todo::Report(id(1), Final::TOO_LATE)]);
}

#[test]
fn an_intent_of_an_earlier_tenure_of_ours_is_not_ours() {
    let mut ledger = Ledger::new(OURS);
    ledger.replay(0, 1, Coverage::Whole);
    ledger.journal(0, at(1), Some(intent(1, OURS - 1)));
    ledger.taken(EXPRESS, 0, at(0), work(1, EXPRESS));
    assert_eq!(tick(&mut ledger, 2), []);
}

#[test]
fn what_is_too_late_or_refused_is_claimed_before_it_is_said() {
    let mut ledger = ready();
    ledger.taken(EXPRESS, 0, at(0), work(1, EXPRESS));
    assert_eq!(tick(&mut ledger, 5), [Todo::Write(entry(1, JournalKind::Refused, OURS))], "at exactly not_after it is too late");
    ledger.journal(0, at(5), Some(entry(1, JournalKind::Refused, OURS)));
    assert_eq!(ledger.todo(), [Todo::Report(id(1), Final::TOO_LATE)]);

    let down = Final::plain(Outcome::Unavailable, Reason::Unavailable);
    ledger.taken(EXPRESS, 1, at(0), work(2, EXPRESS));
    ledger.taken(EXPRESS, 2, at(0), work(3, EXPRESS));
    ledger.tick(at(1), Some(at(1)), |work| (work.attempt_id == id(2)).then_some(down));
    assert_eq!(ledger.todo(), [Todo::Write(entry(2, JournalKind::Refused, OURS)), Todo::Write(intent(3, OURS))]);
    ledger.journal(1, at(1), Some(intent(2, THEIRS)));
    ledger.journal(2, at(1), Some(entry(2, JournalKind::Refused, OURS)));
    assert_eq!(ledger.todo(), [], "somebody else may have sent it: we say nothing");
}

#[test]
fn a_lost_write_is_repeated_and_becomes_a_refusal_when_its_time_is_over() {
    let mut ledger = ready();
    ledger.taken(EXPRESS, 0, at(0), work(1, EXPRESS));
    tick(&mut ledger, 1);
    assert_eq!(tick(&mut ledger, 2), [Todo::Write(intent(1, OURS))]);
    assert_eq!(tick(&mut ledger, 5), [Todo::Write(entry(1, JournalKind::Refused, OURS))]);
    ledger.journal(0, at(5), Some(intent(1, OURS)));
    assert_eq!(ledger.todo(), [Todo::Report(id(1), Final::TOO_LATE)], "the intent came through after all, and was never followed by a call");
}

#[test]
fn leaving_ends_what_is_claimed_and_leaves_the_rest_to_the_next() {
    let mut ledger = ready();
    ledger.taken(EXPRESS, 0, at(0), work(1, EXPRESS));
    tick(&mut ledger, 1);
    ledger.taken(EXPRESS, 1, at(0), work(2, EXPRESS));
    ledger.leave();
    assert_eq!(tick(&mut ledger, 1), [], "the second is never claimed");
    assert!(!ledger.left());
    ledger.journal(0, at(1), Some(intent(1, OURS)));
    assert_eq!(ledger.todo(), [Todo::Report(id(1), Final::TOO_LATE)]);
    ledger.reported(id(1), at(1));
    assert!(!ledger.left(), "the done mark is not read back yet");
    ledger.journal(1, at(1), Some(entry(1, JournalKind::Done, OURS)));
    assert!(ledger.left());
    assert_eq!(ledger.watermark(EXPRESS), Some(1));
}

#[test]
fn a_code_is_claimed_before_the_bills_that_were_read_first() {
    let mut ledger = ready();
    ledger.taken(BULK, 0, at(0), work(1, BULK));
    ledger.taken(EXPRESS, 0, at(0), work(2, EXPRESS));
    assert_eq!(tick(&mut ledger, 1), [Todo::Write(intent(2, OURS)), Todo::Write(intent(1, OURS))]);
}

#[test]
fn a_dispatch_older_than_the_replay_is_unknown_and_never_called() {
    let mut ledger = Ledger::new(OURS);
    ledger.replay(500, 500, Coverage::FromFirst);
    ledger.taken(EXPRESS, 0, at(1), work(1, EXPRESS));
    ledger.taken(EXPRESS, 1, at(4), work(2, EXPRESS));
    assert_eq!(tick(&mut ledger, 2), [], "an empty journal says nothing of the past");
    ledger.journal(500, at(2), Some(entry(0, JournalKind::Hello, OURS)));
    assert_eq!(tick(&mut ledger, 4), [Todo::Write(intent(2, OURS))]);
    assert_eq!(tick(&mut ledger, 10).first(), Some(&Todo::Report(id(1), Final::UNKNOWN)));
}

#[test]
fn what_waits_unclaimed_for_long_is_covered_by_the_next_replay_too() {
    let mut ledger = ready();
    let hello = Some(entry(0, JournalKind::Hello, OURS));
    ledger.journal(0, at(10), hello);
    ledger.journal(1, at(90), hello);
    ledger.taken(EXPRESS, 0, at(100), work(1, EXPRESS));
    ledger.journal(2, at(500), hello);
    ledger.journal(3, at(900), hello);
    ledger.tick(at(900), None, |_| None);
    assert_eq!(ledger.journal_position(), Some(1), "the clocks disagree, and nobody knows the time");
    let (start, coverage) = replay_start(0, 4, ledger.journal_position(), Some((at(900), 3)));
    let mut next = Ledger::new(THEIRS);
    next.replay(start, 4, coverage);
    (1..4).for_each(|offset| next.journal(offset, at([10, 90, 500, 900][usize::try_from(offset).unwrap()]), hello));
    next.taken(EXPRESS, 0, at(100), work(1, EXPRESS));
    assert_eq!(tick(&mut next, 901), [Todo::Write(entry(1, JournalKind::Refused, THEIRS))], "known not to have been called: too late, and not unknown");
    assert_eq!(tick(&mut ledger, 901), [Todo::Write(entry(1, JournalKind::Refused, OURS))]);
    assert_eq!(ledger.journal_position(), Some(4), "it is claimed now");
}

#[test]
fn a_done_mark_of_another_does_not_hide_our_own_answer() {
    let mut ledger = ready();
    ledger.taken(EXPRESS, 0, at(0), work(1, EXPRESS));
    tick(&mut ledger, 1);
    ledger.journal(0, at(1), Some(intent(1, OURS)));
    ledger.todo();
    ledger.journal(1, at(11), Some(entry(1, JournalKind::Done, THEIRS)));
    let accepted = Final::plain(Outcome::Accepted, Reason::None);
    ledger.called(id(1), accepted);
    assert_eq!(ledger.todo(), [Todo::Report(id(1), accepted)]);
    ledger.reported(id(1), at(11));
    assert_eq!((ledger.todo(), ledger.finished()), (vec![], vec![id(1)]));
}

#[test]
fn the_heartbeat_vouches_only_for_what_is_read_and_ended() {
    let later = Slot { turn: crate::dispatch::slot::Turn::Later, ..EXPRESS };
    let mut ledger = ready();
    let ends = |first, second| BTreeMap::from([(EXPRESS, first), (later, second)]);
    ledger.read(EXPRESS, 0);
    ledger.ends(at(20), &ends(1, 0));
    assert_eq!(ledger.settled(EXPRESS.traffic()), None, "one dispatch is unread, and of the retries nothing is known");
    ledger.read(later, 0);
    ledger.taken(EXPRESS, 0, at(0), work(1, EXPRESS));
    assert_eq!(ledger.settled(EXPRESS.traffic()), Some(at(10)), "its lease ends then, and it has no outcome");
    assert_eq!(ledger.settled(BULK.traffic()), None);
    for todo in tick(&mut ledger, 20) {
        let Todo::Write(entry) = todo else { panic!("{todo:?}") };
        ledger.journal(0, at(20), Some(entry));
    }
    ledger.todo();
    ledger.reported(id(1), at(20));
    assert_eq!(ledger.settled(EXPRESS.traffic()), Some(at(20)));
    ledger.ends(at(30), &ends(9, 0));
    assert_eq!(ledger.settled(EXPRESS.traffic()), Some(at(20)), "eight more are unread");
}

#[test]
fn entries_are_forgotten_after_an_hour_and_narrow_what_is_covered() {
    let mut ledger = ready();
    ledger.journal(0, at(1), Some(intent(9, THEIRS)));
    assert_eq!(ledger.journal_position(), Some(0), "an open intent keeps the replay where it is");
    tick(&mut ledger, 3_601);
    assert_eq!(ledger.journal_position(), Some(1));
    ledger.taken(EXPRESS, 0, at(1), Work { lease_end: at(9_000), not_after: NotAfter::new(at(9_000)), ..work(9, EXPRESS) });
    ledger.taken(EXPRESS, 1, at(100), Work { lease_end: at(9_000), not_after: NotAfter::new(at(9_000)), ..work(8, EXPRESS) });
    assert_eq!(tick(&mut ledger, 3_602), [Todo::Write(intent(8, OURS))], "what might have been in the forgotten part is not called");
}

/// The group's position of the dispatches was lost, and they are read from the log's start. *Too late* beats *unknown*, and would have the same message sent again.
#[test]
fn what_was_called_longer_ago_than_is_remembered_is_unknown_and_never_too_late() {
    let mut ledger = Ledger::new(OURS);
    ledger.replay(0, 4, Coverage::Whole);
    ledger.journal(0, at(1), Some(intent(1, THEIRS)));
    ledger.journal(1, at(2), Some(entry(1, JournalKind::Done, THEIRS)));
    ledger.journal(2, at(3_602), Some(intent(2, THEIRS)));
    ledger.journal(3, at(3_602), Some(entry(2, JournalKind::Done, THEIRS)));
    ledger.taken(EXPRESS, 0, at(0), Work { expiry: at(90_000), ..work(1, EXPRESS) });
    assert_eq!(tick(&mut ledger, 3_603), []);
    assert_eq!(tick(&mut ledger, 3_604), [Todo::Report(id(1), Final::UNKNOWN)]);
}

#[test]
fn the_replay_begins_early_enough() {
    let newest = Some((at(1_000), 70));
    let since = Coverage::Since(at(700));
    assert_eq!(replay_start(0, 0, None, None), (0, Coverage::Whole), "a new journal");
    assert_eq!(replay_start(0, 100, None, newest), (0, Coverage::Whole), "no position: all of it");
    assert_eq!(replay_start(20, 100, None, newest), (20, Coverage::FromFirst));
    assert_eq!(replay_start(20, 100, Some(90), newest), (70, since), "never later than five minutes before the last entry");
    assert_eq!(replay_start(20, 100, Some(50), newest), (50, Coverage::FromFirst));
    assert_eq!(replay_start(20, 100, Some(10), newest), (20, Coverage::FromFirst), "cut off below the position");
    assert_eq!(replay_start(0, 100, Some(500), newest), (0, Coverage::FromFirst), "another journal under the same name");
    assert_eq!(replay_start(100, 100, Some(100), None), (100, Coverage::FromFirst), "all of it was deleted");
}
