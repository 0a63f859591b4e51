//! kill -9 of the bank under the payment port: what it had taken is not lost, and nothing is paid twice.

use std::collections::{BTreeMap, HashMap};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use domain::Money;
use platform::Config;
use sagas::payments::{Destination, HttpBank, PayOut, PayOutOutcome, PaymentPort, PortError};
use test_place::eventually;
use uuid::Uuid;

use crate::processes::{binary, free_address};

const SECRET: &str = "a-secret-of-client-and-bank";

/// The bank as a process, which may be killed and started again at the same address.
struct Bank {
    folder: tempfile::TempDir,
    address: String,
    child: Child,
}

impl Bank {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = free_address();
        let child = Self::spawn(&folder, &address);
        let bank = Self { folder, address, child };
        bank.listens().await;
        bank
    }

    fn spawn(folder: &tempfile::TempDir, address: &str) -> Child {
        let mut command = Command::new(binary());
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("DAYBOOK_")) {
            command.env_remove(key);
        }
        command
            .args(["bank-simulator", "--listen", address, "--journal", "journal"])
            .current_dir(folder.path())
            .env("DAYBOOK_BANK_SECRET", SECRET)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    async fn listens(&self) {
        let url = format!("http://{}/healthz", self.address);
        eventually("the bank listens", Duration::from_secs(20), || async {
            Ok(reqwest::get(&url).await?.status().is_success().then_some(()))
        })
        .await
        .unwrap();
    }

    fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    async fn start_again(&mut self) {
        self.child = Self::spawn(&self.folder, &self.address);
        self.listens().await;
    }

    fn port(&self, timeout_ms: &str) -> HttpBank {
        let url = format!("http://{}", self.address);
        let values = [
            ("DAYBOOK_BANK_URL", url.as_str()),
            ("DAYBOOK_BANK_SECRET", SECRET),
            ("DAYBOOK_BANK_TIMEOUT_MS", timeout_ms),
        ];
        let values: BTreeMap<_, _> =
            values.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        HttpBank::new(Config::from_values(&values).unwrap().bank()).unwrap()
    }

    async fn get(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        let request = reqwest::Client::new().get(format!("http://{}{path}", self.address)).bearer_auth(SECRET);
        Ok(serde_json::from_str(&request.send().await?.text().await?)?)
    }

    async fn faults(&self, faults: &'static str) {
        let request = reqwest::Client::new().put(format!("http://{}/faults", self.address)).bearer_auth(SECRET);
        let response = request.header("content-type", "application/json").body(faults).send().await.unwrap();
        assert!(response.status().is_success());
    }

    /// How often money has left under each id.
    async fn left(&self) -> HashMap<String, u32> {
        let statement = self.get("/statements?limit=10000").await.unwrap();
        let mut left = HashMap::new();
        for movement in statement["items"].as_array().unwrap() {
            *left.entry(movement["id"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
        left
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pay_out() -> PayOut {
    PayOut {
        id: Uuid::now_v7(),
        amount: Money::parse("100.00", "CZK".parse().unwrap()).unwrap(),
        to: Destination { account_number: "87144583".to_owned(), bank_code: "YZ".to_owned() },
        reference: "loan 4959".to_owned(),
    }
}

#[tokio::test]
async fn a_bank_killed_between_payment_and_reply_has_paid_once() {
    let mut bank = Bank::start().await;
    bank.faults(r#"{"requests":[{"operation":"pay","fault":{"kind":"answer_late","delay_ms":60000}}]}"#).await;
    let (order, port) = (pay_out(), bank.port("30000"));
    let trying = tokio::spawn({
        let (order, port) = (order.clone(), port.clone());
        async move { port.pay_out(&order).await }
    });
    eventually("the money has left", Duration::from_secs(10), || async {
        Ok((bank.get("/balance").await?["movements"] == 1).then_some(()))
    })
    .await
    .unwrap();
    bank.kill9();
    let answer = trying.await.unwrap();
    assert!(matches!(answer, Err(PortError::Unknown { .. })), "{answer:?}");
    // While the bank is away, a question certainly does not reach it, and says nothing of the order.
    assert!(matches!(port.pay_out_status(order.id).await, Err(PortError::NotSent { .. })));
    bank.start_again().await;
    let known = port.pay_out_status(order.id).await.unwrap();
    assert!(matches!(known, Some(PayOutOutcome::Settled { .. })), "{known:?}");
    assert_eq!(port.pay_out(&order).await.unwrap(), known.unwrap());
    assert_eq!(bank.left().await, HashMap::from([(order.id.to_string(), 1)]));
}

#[tokio::test]
async fn under_load_every_order_pays_once_whatever_moment_the_bank_is_killed_at() {
    const KILLS: u64 = 5;
    const SENDERS: usize = 8;
    let mut bank = Bank::start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (port, stop) = (bank.port("5000"), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut ids, unknown) = (Vec::new(), AtomicU32::new(0));
                while !stop.load(Ordering::Relaxed) {
                    let order = pay_out();
                    // The same id until the bank has answered: what a saga does.
                    let settled =
                        eventually("an answer", Duration::from_secs(60), async || match port.pay_out(&order).await {
                            Ok(PayOutOutcome::Settled { .. }) => Ok(Some(())),
                            Ok(other) => panic!("{other:?}"),
                            Err(error) => {
                                assert!(error.is_transient(), "{error}");
                                unknown.fetch_add(u32::from(error.may_have_happened()), Ordering::Relaxed);
                                Ok(None)
                            }
                        });
                    settled.await.unwrap();
                    ids.push(order.id.to_string());
                }
                (ids, unknown.into_inner())
            })
        })
        .collect();
    for kill in 1..=KILLS {
        let already = kill * 20;
        eventually("money moves", Duration::from_secs(60), || async {
            let movements = bank.get("/balance").await?["movements"].as_u64();
            Ok(movements.filter(|movements| *movements >= already))
        })
        .await
        .unwrap();
        bank.kill9();
        bank.start_again().await;
    }
    stop.store(true, Ordering::Relaxed);
    let (mut expected, mut unknown_all) = (HashMap::new(), 0);
    for sender in senders {
        let (ids, unknown) = sender.await.unwrap();
        expected.extend(ids.into_iter().map(|id| (id, 1)));
        unknown_all += unknown;
    }
    assert_eq!(bank.left().await, expected);
    println!("{} payments over {KILLS} kills, {unknown_all} tries of unknown outcome, each paid once", expected.len());
}
