//! Two writers at once on the same accounts: nothing acknowledged is lost, doubled or decided on an
//! old state.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::AccountId;
use event_store::{Outcome, Store};
use tokio::sync::Mutex;

use crate::bank::{Bank, config, submission, transfer};

/// Clients on both writers move money around; each remembers what was acknowledged.
async fn contend(name: &str, accounts: usize, clients: usize, transfers: usize) {
    let bank = Bank::open(name, accounts).await;
    let other = Store::start(config(&bank.place)).await.unwrap();
    let acknowledged: Arc<Mutex<HashMap<AccountId, i64>>> = Arc::default();
    let (paid, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let tasks = (0..clients).map(|client| {
        let store = if client.is_multiple_of(2) { bank.store.clone() } else { other.clone() };
        let (accounts, acknowledged) = (bank.accounts.clone(), acknowledged.clone());
        let (paid, refused) = (paid.clone(), refused.clone());
        tokio::spawn(async move {
            let mut random = client as u64 * 7_919 + 1;
            for _ in 0..transfers {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let from = accounts[(random >> 33) as usize % accounts.len()];
                let to = accounts[(random >> 45) as usize % accounts.len()];
                // Large enough that accounts run dry and refusals happen too.
                let amount_minor = 10_000 + (random >> 20) as i64 % 60_000;
                if from == to {
                    continue;
                }
                match store.submit(submission(transfer(from, to, amount_minor))).await.unwrap().outcome {
                    Outcome::Accepted(reply) => {
                        assert!(reply.balances.iter().all(|balance| balance.balance_minor >= 0));
                        let mut sums = acknowledged.lock().await;
                        *sums.entry(from).or_default() -= amount_minor;
                        *sums.entry(to).or_default() += amount_minor;
                        paid.fetch_add(1, Ordering::Relaxed);
                    }
                    Outcome::Rejected(rejected) => {
                        assert_eq!(rejected.rejection.code(), "insufficient_funds");
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        })
    });
    for task in futures::future::join_all(tasks).await {
        task.unwrap();
    }
    other.shutdown().await;
    let verified = bank.verify().await;
    let (paid, refused) = (paid.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
    assert_eq!(verified.types["TransactionPosted"], paid + accounts as u64, "acknowledged and in the log: the same");
    assert_eq!(verified.types["CommandRejected"], refused);
    assert!(refused > 0 && paid > 0, "{paid} paid, {refused} refused");
    let sums = acknowledged.lock().await;
    for account_id in &bank.accounts {
        let expected = 100_000 + sums.get(account_id).copied().unwrap_or(0);
        assert_eq!(verified.balances[account_id].1, expected);
    }
    bank.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_on_many_accounts() {
    contend("twomany", 200, 32, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_on_the_same_ten_accounts() {
    contend("twoten", 10, 32, 40).await;
}
