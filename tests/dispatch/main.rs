//! The dispatcher against a Kafka in this process and a provider that misbehaves. What the stand-in cannot do (fencing of members, time-outs of transactions) is
//! proven elsewhere on Apache Kafka; what decides here, the order of the journal, it has.
#![allow(clippy::unwrap_used, reason = "a test says where it failed")]

mod bank;
mod provider;

use bank::Bank;
use provider::Manner;
use recado::delivery::{Lane, NotAfter, Outcome, Partition};
use recado::event::records::{JournalKind, Returned};
use recado::observe::health::Cause;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispatch_becomes_one_call_and_one_outcome_and_the_position_follows() {
    let bank = Bank::open().await;
    let running = bank.run(bank.settings("a"));
    let dispatch = bank.dispatch();
    bank.send(&dispatch).await;
    let id = dispatch.attempt_id;
    bank.until("the outcome", |bank| bank.outcomes() == [(id, Outcome::Accepted)]).await;
    bank.until("the done mark", |bank| {
        bank.entries().iter().map(|entry| (entry.attempt_id, entry.kind)).eq([(id, JournalKind::Intent), (id, JournalKind::Done)])
    })
    .await;
    assert_eq!(bank.provider.calls(), [id]);
    bank.until("the position", |bank| bank.committed("recado.dispatch", "recado.dispatch.sms") == Some(1)).await;
    bank.until("a heartbeat past the lease", |bank| {
        bank.returned().iter().any(|returned| matches!(returned, Returned::DispatcherHeartbeat { settled, .. } if *settled > dispatch.lease_end))
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispatcher_is_ready_once_its_journal_is_read_and_the_time_is_known() {
    let bank = Bank::open().await;
    bank.journal(bank.dispatch().attempt_id, JournalKind::Done, 1).await;
    let running = bank.run(bank.settings("a"));
    bank.until("the red", |_| running.health.has(Cause::Replaying)).await;
    bank.until("the green", |_| !running.health.has(Cause::Replaying)).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_dispatchers_that_both_hold_the_partition_call_each_attempt_once() {
    let bank = Bank::open().await;
    let both = ["a", "b"].map(|name| {
        let mut settings = bank.settings(name);
        settings.group = format!("recado.dispatch.{name}");
        bank.run(settings)
    });
    let mut sent = Vec::new();
    for _ in 0..100 {
        let dispatch = bank.dispatch();
        bank.send(&dispatch).await;
        sent.push(dispatch.attempt_id);
    }
    bank.until("all outcomes", |bank| sent.iter().all(|id| !bank.outcomes_of(*id).is_empty())).await;
    bank.until("both positions", |bank| ["a", "b"].iter().all(|name| bank.committed(&format!("recado.dispatch.{name}"), "recado.dispatch.sms") == Some(100)))
        .await;
    let mut calls = bank.provider.calls();
    calls.sort();
    sent.sort();
    assert_eq!(calls, sent, "each once");
    assert!(bank.outcomes().iter().all(|(_, outcome)| *outcome == Outcome::Accepted), "{:?}", bank.outcomes());
    for running in both {
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intent_that_somebody_left_behind_is_unknown_at_the_end_of_its_lease_and_never_called() {
    let bank = Bank::open().await;
    let dispatch = bank.dispatch();
    let id = dispatch.attempt_id;
    bank.journal(id, JournalKind::Intent, 1).await;
    bank.send(&dispatch).await;
    let running = bank.run(bank.settings("a"));
    bank.until("the outcome", |bank| !bank.outcomes().is_empty()).await;
    assert!(recado::clock::wall() >= dispatch.lease_end, "not before the lease ends");
    assert_eq!(bank.outcomes(), [(id, Outcome::Unknown)]);
    bank.until("the position", |bank| bank.committed("recado.dispatch", "recado.dispatch.sms") == Some(1)).await;
    assert_eq!(bank.provider.calls(), []);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_not_after_nothing_is_sent_and_it_is_claimed_before_it_is_said() {
    let bank = Bank::open().await;
    let mut dispatch = bank.dispatch();
    dispatch.not_after = NotAfter::new(recado::clock::wall());
    bank.send(&dispatch).await;
    let id = dispatch.attempt_id;
    let running = bank.run(bank.settings("a"));
    bank.until("the outcome", |bank| bank.outcomes() == [(id, Outcome::TooLate)]).await;
    assert_eq!(bank.entries()[0].kind, JournalKind::Refused);
    assert_eq!(bank.provider.calls(), []);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_proven_not_sent_is_called_again_under_the_same_attempt() {
    let bank = Bank::open().await;
    bank.provider.next(&[Manner::Status(429, ""), Manner::Status(429, "")]);
    let running = bank.run(bank.settings("a"));
    let dispatch = bank.dispatch();
    bank.send(&dispatch).await;
    let id = dispatch.attempt_id;
    bank.until("the outcome", |bank| bank.outcomes() == [(id, Outcome::Accepted)]).await;
    assert_eq!(bank.provider.calls(), [id, id, id]);
    assert_eq!(bank.entries().iter().filter(|entry| entry.kind == JournalKind::Intent).count(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_may_have_gone_out_is_unknown_and_never_repeated() {
    let bank = Bank::open().await;
    bank.provider.next(&[Manner::HangUp, Manner::Status(500, ""), Manner::Status(200, "garbage"), Manner::Flood]);
    let running = bank.run(bank.settings("a"));
    for count in 1..=4 {
        let dispatch = bank.dispatch();
        bank.send(&dispatch).await;
        bank.until("the outcome", |bank| bank.outcomes_of(dispatch.attempt_id) == [Outcome::Unknown]).await;
        assert_eq!(bank.provider.calls().len(), count);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_does_not_answer_in_time_leaves_it_unknown() {
    let bank = Bank::open().await;
    bank.provider.always(Manner::Slow(Duration::from_secs(30)));
    let mut settings = bank.settings("a");
    settings.call_timeout = Duration::from_millis(500);
    let running = bank.run(settings);
    let dispatch = bank.dispatch();
    bank.send(&dispatch).await;
    bank.until("the outcome", |bank| bank.outcomes() == [(dispatch.attempt_id, Outcome::Unknown)]).await;
    assert_eq!(bank.provider.calls().len(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection_is_tried_until_not_after_and_then_unavailable() {
    let bank = Bank::open().await;
    let mut settings = bank.settings("a");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    settings.providers.values_mut().for_each(|provider| provider.base_url = format!("http://{nobody}"));
    let running = bank.run(settings);
    let dispatch = bank.dispatch();
    bank.send(&dispatch).await;
    bank.until("the outcome", |bank| bank.outcomes() == [(dispatch.attempt_id, Outcome::Unavailable)]).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_awaits_the_call_in_flight_and_ends_what_is_proven_not_sent() {
    let bank = Bank::open().await;
    bank.provider.next(&[Manner::Slow(Duration::from_millis(1_500))]);
    let running = bank.run(bank.settings("a"));
    let slow = bank.dispatch();
    bank.send(&slow).await;
    bank.until("the call", |bank| bank.provider.calls().len() == 1).await;
    bank.provider.always(Manner::Status(429, ""));
    let refused = bank.dispatch();
    bank.send(&refused).await;
    bank.until("the refused call", |bank| bank.provider.calls().len() >= 2).await;
    running.stop().await;
    assert_eq!(bank.outcomes_of(slow.attempt_id), [Outcome::Accepted]);
    assert_eq!(bank.outcomes_of(refused.attempt_id), [Outcome::TooLate]);
    assert_eq!(bank.entries().iter().filter(|entry| entry.kind == JournalKind::Done).count(), 2);
    assert_eq!(bank.committed("recado.dispatch", "recado.dispatch.sms"), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_name_goes_on_where_it_stopped() {
    let bank = Bank::open().await;
    for _ in 0..3 {
        let running = bank.run(bank.settings("a"));
        let dispatch = bank.dispatch();
        bank.send(&dispatch).await;
        bank.until("the outcome", |bank| bank.outcomes_of(dispatch.attempt_id) == [Outcome::Accepted]).await;
        running.stop().await;
    }
    assert_eq!(bank.provider.calls().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_40_a_dispatch_older_than_the_journal_is_unknown_and_never_called() {
    let bank = Bank::open().await;
    let mut old = bank.dispatch();
    old.not_after = NotAfter::new(recado::clock::wall().plus(Duration::from_secs(30)));
    bank.send(&old).await;
    bank.journal(bank.dispatch().attempt_id, JournalKind::Done, 1).await;
    bank.cut_journal().await;
    let running = bank.run(bank.settings("a"));
    bank.until("the outcome", |bank| bank.outcomes() == [(old.attempt_id, Outcome::Unknown)]).await;
    assert_eq!(bank.provider.calls(), []);
    let young = bank.dispatch();
    bank.send(&young).await;
    bank.until("the outcome", |bank| bank.outcomes_of(young.attempt_id) == [Outcome::Accepted]).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bills_that_hang_do_not_hold_up_a_code() {
    let bank = Bank::open().await;
    bank.provider.always(Manner::Slow(Duration::from_secs(3)));
    let mut settings = bank.settings("a");
    settings.in_hand_max = 5;
    let running = bank.run(settings);
    for _ in 0..50 {
        let bill = recado::event::records::Dispatch { lane: Lane::Bulk, ..bank.dispatch() };
        bank.send(&bill).await;
    }
    bank.until("the first bills", |bank| bank.provider.calls().len() >= 5).await;
    bank.provider.always(Manner::Accept);
    let code = bank.dispatch();
    bank.send(&code).await;
    let asked = recado::clock::monotonic();
    bank.until("the code's outcome", |bank| bank.outcomes_of(code.attempt_id) == [Outcome::Accepted]).await;
    assert!(recado::clock::monotonic() - asked < Duration::from_secs(2), "it waited for the bills");
    assert!(bank.provider.calls().len() < 20, "the limit holds back the other bills");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_no_dispatch_is_passed_over() {
    let bank = Bank::open().await;
    bank.write("recado.dispatch.sms", Partition(0), b"", b"nonsense").await;
    let running = bank.run(bank.settings("a"));
    bank.until("the position", |bank| bank.committed("recado.dispatch", "recado.dispatch.sms") == Some(1)).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_answers_after_the_lease_is_called_unknown_and_then_known() {
    let bank = Bank::open().await;
    bank.provider.always(Manner::Slow(Duration::from_secs(3)));
    let both = ["a", "b"].map(|name| {
        let mut settings = bank.settings(name);
        settings.group = format!("recado.dispatch.{name}");
        bank.run(settings)
    });
    let mut dispatch = bank.dispatch();
    dispatch.lease_end = recado::clock::wall().plus(Duration::from_secs(2));
    bank.send(&dispatch).await;
    bank.until("both outcomes", |bank| bank.outcomes_of(dispatch.attempt_id) == [Outcome::Unknown, Outcome::Accepted]).await;
    assert_eq!(bank.provider.calls().len(), 1);
    for running in both {
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_49_a_rebalance_with_calls_in_flight_calls_nothing_twice() {
    let bank = Bank::open_with(2).await;
    bank.provider.always(Manner::Slow(Duration::from_secs(1)));
    let mut sent = Vec::new();
    let mut running = vec![bank.run(bank.settings("a"))];
    // Tenures show by the epochs of their entries: the first holds both partitions; the second joins, so one goes over to it and the other leaves and comes back;
    // the second starts again under its name.
    for tenures in [2, 4, 5] {
        let deadline = recado::clock::monotonic() + Duration::from_secs(30);
        while bank.tenures() < tenures {
            assert!(recado::clock::monotonic() < deadline, "there were {} tenures, not {tenures}", bank.tenures());
            for _ in 0..5 {
                let mut dispatch = bank.dispatch();
                dispatch.not_after = NotAfter::new(recado::clock::wall().plus(Duration::from_secs(50)));
                dispatch.lease_end = recado::clock::wall().plus(Duration::from_secs(55));
                bank.send(&dispatch).await;
                sent.push(dispatch.attempt_id);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        match tenures {
            2 => running.push(bank.run(bank.settings("b"))),
            4 => {
                running.remove(1).stop().await;
                running.push(bank.run(bank.settings("b")));
            }
            _ => {}
        }
    }
    bank.until("the outcomes", |bank| bank.outcomes().len() >= sent.len()).await;
    for running in running {
        running.stop().await;
    }
    let mut calls = bank.provider.calls();
    calls.sort();
    let accepted: Vec<_> = bank.outcomes().into_iter().filter(|(_, outcome)| *outcome == Outcome::Accepted).map(|(id, _)| id).collect();
    assert_eq!(accepted.iter().collect::<std::collections::BTreeSet<_>>(), calls.iter().collect(), "what was called is known");
    let count = calls.len();
    calls.dedup();
    assert_eq!(calls.len(), count, "each once");
    assert!(sent.iter().all(|id| bank.outcomes_of(*id).len() == 1), "one outcome each");
}
