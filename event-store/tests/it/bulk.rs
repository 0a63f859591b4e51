//! Many commands sent together: order, repetition, and a key that is another request's.

use domain::Command;
use event_store::{Outcome, Reply, Store, Submission, SubmitError, part_key};

use crate::bank::{Bank, accepted, config, keyed, rejection_code, transfer};

/// The commands as the parts of one request; the HMAC stands for the request's content.
fn parts(key: &str, content: u8, commands: impl IntoIterator<Item = Command>) -> Vec<Submission> {
    commands.into_iter().enumerate().map(|(at, command)| keyed(command, &part_key(key, at), content)).collect()
}

fn replayed(answers: &[Result<Reply, SubmitError>]) -> Vec<bool> {
    answers.iter().map(|answer| answer.as_ref().unwrap().replayed).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_decided_for_itself_on_what_those_before_it_left() {
    let bank = Bank::open("many", 2).await;
    let (from, to) = (bank.accounts[0], bank.accounts[1]);
    let commands = [(from, to, 100_000), (from, to, 1), (to, from, 50_000), (from, to, 50_000)];
    let request = parts("pay", 1, commands.map(|(from, to, minor)| transfer(from, to, minor)));
    let mut answers = bank.store.submit_many(request).unwrap().await.unwrap();
    assert_eq!(replayed(&answers), [false; 4]);
    let positions: Vec<u64> = answers.iter().map(|answer| answer.as_ref().unwrap().outcome.position()).collect();
    assert!(positions.is_sorted(), "{positions:?}");
    assert_eq!(accepted(answers.remove(0)).balances[0].balance_minor, 0);
    assert_eq!(rejection_code(answers.remove(0)), "insufficient_funds");
    assert_eq!(accepted(answers.remove(0)).balances[1].balance_minor, 50_000);
    assert_eq!(accepted(answers.remove(0)).balances[1].balance_minor, 200_000);
    assert_eq!(bank.store.submit_many(Vec::new()).unwrap().await.unwrap().len(), 0);
    bank.verify().await;
    bank.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_goes_on_where_the_first_try_stopped() {
    let bank = Bank::open("go_on", 2).await;
    let (from, to) = (bank.accounts[0], bank.accounts[1]);
    let commands = |count: usize| (0..count).map(|_| transfer(from, to, 40_000));
    let first = bank.store.submit_many(parts("pay", 1, commands(2))).unwrap().await.unwrap();
    // A new process takes the rest; the money is short by then.
    let other = Store::start(config(&bank.place)).await.unwrap();
    let again = other.submit_many(parts("pay", 1, commands(4))).unwrap().await.unwrap();
    assert_eq!(replayed(&again), [true, true, false, false]);
    let outcomes = |answers: Vec<Result<Reply, SubmitError>>| -> Vec<Outcome> {
        answers.into_iter().map(|answer| answer.unwrap().outcome).collect()
    };
    let (first, again) = (outcomes(first), outcomes(again));
    assert_eq!(first, again[..2]);
    assert!(again[2..].iter().all(|outcome| matches!(outcome, Outcome::Rejected(_))), "{again:?}");
    assert_eq!(bank.verify().await.balances[&from].1, 20_000);
    other.shutdown().await;
    bank.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_of_a_request_under_a_used_key() {
    let bank = Bank::open("used", 2).await;
    let (from, to) = (bank.accounts[0], bank.accounts[1]);
    let request = |content, count: usize| parts("pay", content, (0..count).map(|_| transfer(from, to, 1)));
    let refused = |answers: Vec<Result<Reply, SubmitError>>| {
        answers.iter().all(|answer| matches!(answer, Err(SubmitError::KeyReused)))
    };
    bank.store.submit_many(request(1, 2)).unwrap().await.unwrap();
    // Also not the third, which the first request had none of: sent with the others, or alone to
    // another process that knows of nothing yet.
    assert!(refused(bank.store.submit_many(request(2, 3)).unwrap().await.unwrap()));
    let other = Store::start(config(&bank.place)).await.unwrap();
    assert!(refused(other.submit_many(request(2, 3).split_off(2)).unwrap().await.unwrap()));
    // A single command has the key as well.
    accepted(bank.store.submit(keyed(transfer(from, to, 1), "single", 1)).await);
    let under_single = parts("single", 2, [transfer(from, to, 1), transfer(from, to, 1)]);
    assert!(refused(other.submit_many(under_single).unwrap().await.unwrap()));
    assert_eq!(bank.verify().await.balances[&from].1, 100_000 - 3);
    other.shutdown().await;
    bank.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_requests_under_one_key_at_once_never_mix() {
    let bank = Bank::open("never_mix", 2).await;
    let (from, to) = (bank.accounts[0], bank.accounts[1]);
    let other = Store::start(config(&bank.place)).await.unwrap();
    for round in 0..10 {
        let request = |content| parts(&format!("pay-{round}"), content, (0..50).map(|_| transfer(from, to, 1)));
        let one = bank.store.submit_many(request(1)).unwrap();
        let (one, two) = tokio::join!(one, other.submit_many(request(2)).unwrap());
        let done = |answers: Vec<Result<Reply, SubmitError>>| answers.iter().filter(|answer| answer.is_ok()).count();
        let mut done = [done(one.unwrap()), done(two.unwrap())];
        done.sort_unstable();
        assert_eq!(done, [0, 50]);
    }
    assert_eq!(bank.verify().await.balances[&from].1, 100_000 - 500);
    other.shutdown().await;
    bank.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_does_not_enter_in_part() {
    let bank = Bank::open("no_room", 2).await;
    let small = Store::start(event_store::StoreConfig { queue_commands: 4, ..config(&bank.place) }).await.unwrap();
    let (from, to) = (bank.accounts[0], bank.accounts[1]);
    let request = || parts("pay", 1, (0..5).map(|_| transfer(from, to, 1)));
    assert!(matches!(small.submit_many(request()).map(drop), Err(SubmitError::Overloaded)));
    let answers = bank.store.submit_many(request()).unwrap().await.unwrap();
    assert_eq!(replayed(&answers), [false; 5], "nothing of it was decided before");
    small.shutdown().await;
    bank.close().await;
}
