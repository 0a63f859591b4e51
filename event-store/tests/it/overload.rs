//! More commands than can be done: some are refused at once, none is lost, and those refused can come again.

use std::time::Duration;

use event_store::{Store, StoreConfig, SubmitError};
use futures::future::join_all;

use crate::bank::{Bank, accepted, config, submission, transfer};

#[tokio::test(flavor = "multi_thread")]
async fn a_long_queue_refuses_and_what_it_took_is_done() {
    const CROWD: usize = 12_000;
    let bank = Bank::open("overload", 2).await;
    let (from, to) = (bank.accounts[0], bank.accounts[1]);
    // A queue with room for all of them: it is their wait that is too long.
    let hurried = StoreConfig { queue_wait_max: Duration::from_millis(1), ..config(&bank.place) };
    assert!(hurried.queue_commands > CROWD);
    let store = Store::start(hurried).await.unwrap();
    // So that it is known how long a command takes.
    for reply in join_all((0..500).map(|_| store.submit(submission(transfer(from, to, 1))))).await {
        accepted(reply);
    }
    let crowd: Vec<_> = (0..CROWD).map(|_| submission(transfer(from, to, 1))).collect();
    let answers = join_all(crowd.iter().map(|one| store.submit(one.clone()))).await;
    let (mut taken, mut refused) = (0, Vec::new());
    for (one, answer) in crowd.into_iter().zip(answers) {
        match answer {
            Err(SubmitError::Overloaded) => refused.push(one),
            answer => {
                accepted(answer);
                taken += 1;
            }
        }
    }
    assert!(taken >= 1_000, "{taken} taken: what one commit takes never waits too long");
    assert!(!refused.is_empty());
    // Later there is room for them, a few at a time.
    for some in refused.chunks(900) {
        for reply in join_all(some.iter().map(|one| store.submit(one.clone()))).await {
            assert!(!reply.as_ref().unwrap().replayed, "a refused one had left nothing");
            accepted(reply);
        }
    }
    let balances = bank.verify().await.balances;
    assert_eq!(balances[&to].1 - 100_000, i64::try_from(500 + CROWD).unwrap());
    store.shutdown().await;
    bank.close().await;
}
