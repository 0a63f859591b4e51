//! Many transactions in one request, on a real log. Needs `TEST_DATABASE_URL`.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::Answered;
use crate::real_log::{Bank, place};

const PATH: &str = "/v1/transactions/batch";

fn batch(mode: &str, transactions: impl IntoIterator<Item = Value>) -> Value {
    json!({"mode": mode, "transactions": transactions.into_iter().collect::<Vec<_>>()})
}

async fn balance(bank: &Bank, account: Uuid) -> i64 {
    let verified = event_store::verify::verify(bank.store.reader(), |_, _| ()).await.unwrap();
    verified.balances[&domain::AccountId(account)].1
}

fn statuses(answered: &Answered) -> Vec<&str> {
    answered.body["items"].as_array().unwrap().iter().map(|item| item["status"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_transaction_has_its_own_outcome_and_is_done_once() {
    let Some(place) = place("batch_each").await else { return };
    let bank = Bank::open(&place).await;
    let [one, two] = bank.accounts;
    bank.done("/v1/transactions", bank.moved(bank.cash, one, "100.00")).await;
    let id = Uuid::now_v7();
    let mut chosen = bank.moved(one, two, "30.00");
    chosen["id"] = json!(id);
    let body = batch(
        "independent",
        [chosen.clone(), bank.moved(two, one, "30.01"), bank.moved(two, one, "10.00"), chosen.clone()],
    );
    let first = bank.send("pay", PATH, &body).await;
    assert_eq!(first.status, 200, "{}", first.body);
    assert_eq!((&first.body["accepted"], &first.body["rejected"]), (&json!(2), &json!(2)));
    assert_eq!(statuses(&first), ["accepted", "rejected", "accepted", "rejected"]);
    let items = first.body["items"].as_array().unwrap();
    assert_eq!(items.iter().map(|item| item["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(items[0]["id"], json!(id));
    assert_eq!(items[1]["code"], "insufficient_funds");
    assert_eq!(items[1]["account_id"], json!(two));
    assert_eq!(items[1]["available"], json!({"amount": "30.00", "currency": "CZK"}));
    assert!(items[1].get("id").is_none() && items[0].get("balances").is_none(), "{}", first.body);
    assert_eq!((&items[3]["code"], &items[3]["id"]), (&json!("id_taken"), &json!(id)));
    assert_eq!(first.headers["daybook-position"], items[3]["position"].to_string());
    assert!(first.headers.get("idempotency-replayed").is_none());

    // Again, and with what it leaves out.
    let again = bank.send("pay", &format!("{PATH}?balances=true"), &body).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let repeated = again.body["items"].as_array().unwrap();
    for (first, again) in items.iter().zip(repeated) {
        assert_eq!(again["replayed"], true);
        assert_eq!([&first["id"], &first["position"]], [&again["id"], &again["position"]]);
    }
    assert_eq!(repeated[2]["balances"][0]["balance"], "20.00");
    assert_eq!(balance(&bank, two).await, 2_000);

    // The key is the request's: nothing is done of another one, single or not.
    let other = batch("independent", [bank.moved(one, two, "1.00"), bank.moved(one, two, "1.00")]);
    let refused = bank.send("pay", PATH, &other).await;
    assert_eq!((refused.status.as_u16(), &refused.body["code"]), (409, &json!("idempotency_key_reused")));
    let refused = bank.send("pay", "/v1/transactions", &chosen).await;
    assert_eq!(refused.status, 409);
    let atomic = bank.send("pay", PATH, &batch("atomic", [bank.moved(one, two, "1.00")])).await;
    assert_eq!(atomic.status, 409);
    assert_eq!(balance(&bank, two).await, 2_000);
    bank.close(place).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_slices_are_decided_in_order() {
    let Some(place) = place("batch_many").await else { return };
    let bank = Bank::open(&place).await;
    let [one, two] = bank.accounts;
    // Each needs the one before it: the money goes there and back.
    let there_and_back = (0..1_000).map(|at| if at % 2 == 0 { (one, two) } else { (two, one) });
    let first = std::iter::once(bank.moved(bank.cash, one, "5.00"));
    let body = batch("independent", first.chain(there_and_back.map(|(from, to)| bank.moved(from, to, "5.00"))));
    let answered = bank.send("many", PATH, &body).await;
    assert_eq!((&answered.body["accepted"], &answered.body["rejected"]), (&json!(1_001), &json!(0)));
    let items = answered.body["items"].as_array().unwrap();
    assert!(items.iter().map(|item| item["position"].as_u64().unwrap()).is_sorted());
    // Sent again it is replayed, however long.
    let again = bank.send("many", PATH, &body).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(balance(&bank, one).await, 500);
    bank.close(place).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn atomic_is_all_or_nothing() {
    let Some(place) = place("batch_atomic").await else { return };
    let bank = Bank::open(&place).await;
    let [one, two] = bank.accounts;
    bank.done("/v1/transactions", bank.moved(bank.cash, one, "100.00")).await;
    let before = bank.store.reader().head().await.unwrap().position;
    let too_much = batch("atomic", [bank.moved(one, two, "60.00"), bank.moved(one, two, "40.01")]);
    for replayed in [false, true] {
        let refused = bank.send("all-1", PATH, &too_much).await;
        assert_eq!((refused.status.as_u16(), &refused.body["code"]), (422, &json!("insufficient_funds")));
        assert_eq!(refused.body["index"], 1);
        assert_eq!(refused.body["available"], json!({"amount": "40.00", "currency": "CZK"}));
        assert_eq!(refused.headers.get("idempotency-replayed").is_some(), replayed);
    }
    assert_eq!(bank.store.reader().head().await.unwrap().position, before + 1, "the refusal alone");
    let body = batch("atomic", [bank.moved(one, two, "60.00"), bank.moved(two, one, "10.00")]);
    let done = bank.send("all-2", &format!("{PATH}?balances=true"), &body).await;
    assert_eq!((done.status.as_u16(), &done.body["accepted"]), (200, &json!(2)));
    let items = done.body["items"].as_array().unwrap();
    assert!(items.iter().all(|item| item["position"] == before + 7 && item["id"].is_string()), "{}", done.body);
    assert_ne!(items[0]["id"], items[1]["id"]);
    let balances = done.body["balances"].as_array().unwrap();
    assert_eq!(balances.iter().map(|balance| &balance["balance"]).collect::<Vec<_>>(), ["50.00", "50.00"]);
    let again = bank.send("all-2", PATH, &body).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.body["items"][1]["id"], items[1]["id"], "minted ids are those of the first time");
    assert_eq!(balance(&bank, two).await, 5_000);
    bank.close(place).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_is_replayed_though_a_member_has_been_erased() {
    let Some(place) = place("batch_erased").await else { return };
    let bank = Bank::open(&place).await;
    let [one, two] = bank.accounts;
    bank.done("/v1/transactions", bank.moved(bank.cash, one, "100.00")).await;
    let mut rent = bank.moved(one, two, "50.00");
    rent["narrative"] = json!("the rent of May");
    let all = [bank.moved(one, two, "1.00"), rent.clone(), rent.clone()];
    let body = batch("independent", all.clone());
    let first = bank.send("rent", PATH, &body).await;
    assert_eq!(first.body["accepted"], 2, "{}", first.body);
    assert_eq!(first.body["items"][2]["code"], "insufficient_funds");
    let atomic = batch("atomic", [bank.moved(two, one, "0.50"), rent]);
    let together = bank.send("together", PATH, &atomic).await;
    assert_eq!((together.status.as_u16(), &together.body["code"]), (422, &json!("insufficient_funds")));

    bank.store.sealing().destroy_key(domain::MemberId(bank.members[1])).await.unwrap();
    let again = bank.send("rent", PATH, &body).await;
    assert_eq!(again.headers["idempotency-replayed"], "true", "{}", again.body);
    for at in 0..3 {
        assert_eq!(again.body["items"][at]["position"], first.body["items"][at]["position"]);
    }
    let together = bank.send("together", PATH, &atomic).await;
    assert_eq!((&together.headers["idempotency-replayed"], together.status.as_u16()), (&"true".parse().unwrap(), 422));
    // A new request cannot be made of it any more, and nothing of it is done.
    let refused = bank.send("new", PATH, &body).await;
    assert_eq!((refused.status.as_u16(), &refused.body["code"]), (422, &json!("member_erased")));
    assert_eq!(refused.body["errors"][0]["field"], "transactions[1]");
    assert_eq!(balance(&bank, one).await, 4_900);
    bank.close(place).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_batches_at_once_take_turns_and_all_end() {
    let Some(place) = place("batch_turns").await else { return };
    let bank = Bank::open(&place).await;
    let [one, _] = bank.accounts;
    let bodies: Vec<Value> =
        (0..12).map(|_| batch("independent", (0..600).map(|_| bank.moved(bank.cash, one, "0.01")))).collect();
    let keys: Vec<String> = (0..bodies.len()).map(|at| format!("turn-{at}")).collect();
    let sent = keys.iter().zip(&bodies).map(|(key, body)| bank.send(key, PATH, body));
    for answered in futures::future::join_all(sent).await {
        assert_eq!((answered.status.as_u16(), &answered.body["accepted"]), (200, &json!(600)), "{}", answered.body);
    }
    assert_eq!(balance(&bank, one).await, 12 * 600);
    bank.close(place).await;
}
