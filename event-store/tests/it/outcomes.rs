//! Accepted, rejected, repeated: what a client sees.

use domain::account::AccountCommand;
use domain::{Command, StreamId};
use event_store::{Store, SubmitError};

use crate::bank::{Bank, accepted, config, keyed, money, rejection_code, submission, transfer};

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_is_three_events_and_its_reply_tells_both_balances() {
    let bank = Bank::open("three", 2).await;
    let before = bank.store.reader().head().await.unwrap().position;
    let reply = accepted(bank.send(transfer(bank.accounts[0], bank.accounts[1], 25_050)).await);
    assert_eq!(reply.position, before + 3);
    assert_eq!(reply.version, 1);
    assert!(reply.created);
    let balances: Vec<_> = reply.balances.iter().map(|b| (b.account_id, b.balance_minor, b.available_minor)).collect();
    assert_eq!(balances, [(bank.accounts[0], 74_950, 74_950), (bank.accounts[1], 125_050, 125_050)]);
    let deposit = accepted(bank.send(transfer(bank.cash, bank.accounts[1], 1)).await);
    assert_eq!(deposit.position, before + 5, "cash has no entry of its own");
    assert_eq!(deposit.balances.len(), 1, "and is left out of the reply");
    let verified = bank.verify().await;
    assert_eq!(verified.events, before + 5);
    assert!(verified.trial_balance.values().sum::<i128>() == 0);
    bank.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_gets_its_first_outcome_for_ever_rejections_included() {
    let bank = Bank::open("again", 2).await;
    let (from, to) = (bank.accounts[0], bank.accounts[1]);
    let first = bank.store.submit(keyed(transfer(from, to, 60_000), "pay", 1)).await.unwrap();
    assert!(!first.replayed);
    // The money is gone by now: decided anew it would be refused.
    let again = bank.store.submit(keyed(transfer(from, to, 60_000), "pay", 1)).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.outcome, first.outcome);

    let refused = bank.store.submit(keyed(transfer(from, to, 60_000), "too-much", 2)).await;
    assert_eq!(rejection_code(refused), "insufficient_funds");
    accepted(bank.send(transfer(bank.cash, from, 500_000)).await);
    let refused = bank.store.submit(keyed(transfer(from, to, 60_000), "too-much", 2)).await;
    assert_eq!(rejection_code(refused), "insufficient_funds", "the first outcome, though there is money now");

    let other = bank.store.submit(keyed(transfer(from, to, 1), "pay", 9)).await;
    assert!(matches!(other, Err(SubmitError::KeyReused)));

    // Without a command to submit, the reply can be had as well.
    let head = bank.store.reader().head().await.unwrap();
    let replay = bank.store.replay("test", "pay", &[1; 32]).await.unwrap();
    assert_eq!(replay, Some(event_store::Reply { replayed: true, outcome: first.outcome.clone() }));
    assert!(matches!(bank.store.replay("test", "pay", &[9; 32]).await, Err(SubmitError::KeyReused)));
    assert_eq!(bank.store.replay("test", "never", &[1; 32]).await.unwrap(), None);
    assert_eq!(bank.store.replay("another", "pay", &[1; 32]).await.unwrap(), None, "a key is its client's own");
    assert_eq!(bank.store.reader().head().await.unwrap(), head);

    // A new process knows it as well.
    bank.store.shutdown().await;
    let store = Store::start(config(&bank.place)).await.unwrap();
    let later = store.submit(keyed(transfer(from, to, 60_000), "pay", 1)).await.unwrap();
    assert!(later.replayed);
    assert_eq!(later.outcome, first.outcome);
    store.shutdown().await;
    bank.verify().await;
    bank.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_many_times_at_once_happens_once() {
    let bank = Bank::open("once", 2).await;
    let (from, to) = (bank.accounts[0], bank.accounts[1]);
    let sends = (0..50).map(|_| {
        let store = bank.store.clone();
        let request = keyed(transfer(from, to, 70_000), "one", 1);
        tokio::spawn(async move { store.submit(request).await.unwrap() })
    });
    let replies = futures::future::join_all(sends).await;
    let outcomes: Vec<_> = replies.into_iter().map(|reply| reply.unwrap()).collect();
    assert_eq!(outcomes.iter().filter(|reply| !reply.replayed).count(), 1);
    assert!(outcomes.iter().all(|reply| reply.outcome == outcomes[0].outcome));
    assert_eq!(bank.verify().await.balances[&from].1, 30_000);
    bank.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_changes_nothing() {
    let bank = Bank::open("hangup", 2).await;
    let (from, to) = (bank.accounts[0], bank.accounts[1]);
    for number in 0..20 {
        let request = keyed(transfer(from, to, 100), &format!("hang-{number}"), 1);
        // Polled once, so that the command is queued, and dropped before its reply.
        let mut call = Box::pin(bank.store.submit(request));
        assert!(futures::poll!(&mut call).is_pending());
        drop(call);
    }
    for number in 0..20 {
        let request = keyed(transfer(from, to, 100), &format!("hang-{number}"), 1);
        assert!(bank.store.submit(request).await.unwrap().replayed);
    }
    assert_eq!(bank.verify().await.balances[&from].1, 98_000);
    bank.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expected_version_is_checked_at_the_head() {
    let bank = Bank::open("ifmatch", 1).await;
    let account_id = bank.accounts[0];
    let limit = |minor| Command::Account(AccountCommand::ChangeLimit { account_id, minimum_balance: money(minor) });
    let mut stale = submission(limit(-100));
    stale.expected_version = Some(1);
    assert_eq!(rejection_code(bank.store.submit(stale).await), "version_mismatch");
    let mut current = submission(limit(-100));
    current.expected_version = Some(2);
    assert_eq!(accepted(bank.store.submit(current).await).version, 3);
    bank.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_a_fact_on_a_stream_of_its_own() {
    let bank = Bank::open("fact", 1).await;
    let request = submission(transfer(bank.accounts[0], bank.cash, 100_001));
    let stream = StreamId::rejection(request.command_id);
    assert_eq!(rejection_code(bank.store.submit(request).await), "insufficient_funds");
    let events = bank.store.reader().stream_after(stream, 0, 10).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].event_type, "CommandRejected");
    assert!(events[0].payload.contains("insufficient_funds"));
    bank.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_unique_for_ever_within_a_batch_and_across_writers() {
    let bank = Bank::open("unique", 1).await;
    let other = Store::start(config(&bank.place)).await.unwrap();
    let register = |store: &Store| {
        let member_id = domain::MemberId(uuid::Uuid::now_v7());
        let command = Command::Member(domain::member::MemberCommand::RegisterMember {
            member_id,
            number: domain::words::Number::try_new("M-77").unwrap(),
            kind: domain::member::MemberKind::Person,
            personal: Default::default(),
            branch: None,
        });
        let store = store.clone();
        tokio::spawn(async move { store.submit(submission(command)).await.unwrap().outcome })
    };
    let tries = (0..40u32).map(|number| register(if number.is_multiple_of(2) { &bank.store } else { &other }));
    let outcomes = futures::future::join_all(tries).await;
    let taken = outcomes.iter().filter(|o| matches!(o, Ok(event_store::Outcome::Accepted(_)))).count();
    assert_eq!(taken, 1);
    other.shutdown().await;
    bank.verify().await;
    bank.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_known_at_a_time_is_found_by_its_position() {
    let bank = Bank::open("known", 3).await;
    let reader = bank.store.reader();
    let events = reader.events_after(0, 1_000).await.unwrap();
    for event in &events {
        let known = reader.position_at(event.recorded_at_us).await.unwrap();
        let last = events.iter().rev().find(|other| other.recorded_at_us <= event.recorded_at_us).unwrap();
        assert_eq!(known, last.position);
    }
    assert_eq!(reader.position_at(0).await.unwrap(), 0);
    assert_eq!(reader.position_at(i64::MAX).await.unwrap(), events.len() as u64);
    bank.close().await;
}
