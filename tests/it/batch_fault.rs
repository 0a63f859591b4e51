//! kill -9 of the command API in the middle of a batch: sent again, it goes on where it stopped.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use test_place::{Place, eventually};

use crate::client::{Client, moved};
use crate::processes::Processes;

const TRANSFERS: usize = 10_000;
const PATH: &str = "/v1/transactions/batch";

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_killed_half_way_is_finished_by_sending_it_again() {
    let place = Place::fresh("batch_kill").await.unwrap();
    let mut processes = Processes::start(&place).await;
    let client = Client::new(&processes.command_url, &processes.query_url, &processes.token);
    let (_, accounts) = client.found_bank(2).await;
    let log = PgPool::connect(place.get("DAYBOOK_LOG_READER_URL")).await.unwrap();
    let posted = || async {
        let count = "SELECT count(*) FROM commands WHERE idempotency_key LIKE 'half%'";
        sqlx::query_scalar::<_, i64>(count).fetch_one(&log).await.map(|count| usize::try_from(count).unwrap_or(0))
    };

    let transfers: Vec<Value> = (0..TRANSFERS).map(|_| moved("transfer", &accounts[0], &accounts[1], "0.01")).collect();
    let body = json!({"mode": "independent", "transactions": transfers});
    let sending = {
        let (client, body) = (client.clone(), body.clone());
        tokio::spawn(async move { client.try_post(PATH, "half", &body).await })
    };
    let some = || async { Ok((posted().await? > 0).then_some(())) };
    eventually("some of the batch", Duration::from_secs(60), some).await.unwrap();
    processes.kill9("command-api");
    assert!(sending.await.unwrap().is_err(), "no reply came");
    let before = posted().await.unwrap();
    assert!((1..TRANSFERS).contains(&before), "killed half way: {before}");

    processes.start_role("command-api");
    let answer = client.insist(PATH, "half", &body).await;
    assert_eq!((answer.status.as_u16(), &answer.body["accepted"]), (200, &json!(TRANSFERS)), "{answer:?}");
    let items = answer.body["items"].as_array().unwrap();
    let replayed = items.iter().filter(|item| item["replayed"] == true).count();
    // A commit that was on its way at the kill may have come through after it.
    assert!(replayed >= before && replayed < TRANSFERS, "{replayed} of at least {before}");
    assert!(!answer.replayed);

    let position = items.iter().filter_map(|item| item["position"].as_u64()).max().unwrap();
    let balance = client.get(&format!("/v1/accounts/{}?min_position={position}", accounts[1])).await;
    assert_eq!(balance["balance"], "1100.00", "each once");
    processes.succeed(&["audit", "verify"]).await;
    processes.assert_no_panic();
    log.close().await;
    drop(processes);
    place.discard().await.unwrap();
}
