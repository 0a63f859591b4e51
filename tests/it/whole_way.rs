//! The first whole way: a real bank's data (or the sample) loaded over HTTP, proven at every stage.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use test_place::{Place, eventually};

use crate::client::{Client, id, moved};
use crate::processes::{Processes, free_address};

/// The real data set where it is at hand; otherwise the sample that the binary writes.
async fn data(processes: &Processes) -> PathBuf {
    match std::env::var_os("DAYBOOK_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => {
            println!("NOT RUN on the real data set: DAYBOOK_DATA is not set; the sample stands in");
            let folder = test_place::root().join("target/sample-data");
            processes.succeed(&["sample", "berka", folder.to_str().unwrap()]).await;
            folder
        }
    }
}

/// What makes the bank simulator our bank, as scripts/roles.sh sets it.
fn bank_settings(bank: &str) -> [(String, String); 5] {
    let script = std::fs::read_to_string(test_place::root().join("scripts/roles.sh")).unwrap();
    let account = |name: &str| {
        let line = script.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.unwrap_or_else(|| panic!("scripts/roles.sh says no {name}")).to_owned()
    };
    [
        ("DAYBOOK_BANK_URL", format!("http://{bank}")),
        ("DAYBOOK_BANK_SECRET", "a-secret-of-client-and-bank".to_owned()),
        ("DAYBOOK_WEBHOOK_SECRETS", "a-secret-of-the-webhooks".to_owned()),
        ("DAYBOOK_INCOMING_BANK_ACCOUNT", account("INCOMING_BANK_ACCOUNT")),
        ("DAYBOOK_INCOMING_SUSPENSE_ACCOUNT", account("INCOMING_SUSPENSE_ACCOUNT")),
    ]
    .map(|(key, value)| (key.to_owned(), value))
}

/// The roles with a bank behind them, and the bank's address.
async fn with_a_bank(place: &Place) -> (Processes, String) {
    let bank = free_address();
    let settings = bank_settings(&bank);
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let mut processes = Processes::start_with(place, &settings).await;
    let webhook_url = format!("{}/v1/webhooks/payments", processes.command_url);
    let options = ["--listen", &bank, "--journal", "journal", "--webhook-url", &webhook_url];
    processes.start_role_with("bank-simulator", &options);
    processes.start_role("sagas");
    (processes, format!("http://{bank}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_banks_data_is_loaded_and_proven_and_loading_again_changes_nothing() {
    let place = Place::fresh("berka").await.unwrap();
    let (processes, bank_url) = with_a_bank(&place).await;
    let folder = data(&processes).await;
    let folder = folder.to_str().unwrap();
    let reports = test_place::root().join("target").join(&place.prefix);
    let apis = ["--command-url", &processes.command_url, "--query-url", &processes.query_url];
    let part = ["--limit-accounts", "15", "--limit-loans", "40"];
    let load = [&["load", "berka", folder, "--report-dir", reports.to_str().unwrap()], &part[..], &apis].concat();
    // Its own checks decide its exit code: sums, control code, accepted + refused = published, the bank's last balance,
    // every loan paid out and owing what its rows have left.
    let first = processes.succeed(&load).await;
    println!("{first}");
    assert!(first.contains("are paid out"), "{first}");

    // Later payments are made up; each loan must come to what the generator meant.
    let file = reports.join("payments.csv");
    let file = file.to_str().unwrap();
    println!(
        "{}",
        processes
            .succeed(&[&["sample", "payments", folder, "--out", file, "--as-of", "1994-12-31"], &part[..]].concat())
            .await
    );
    let pay = [&["load", "payments", file, "--through-bank", &bank_url], &apis[..]].concat();
    let paid = processes.succeed(&pay).await;
    println!("{paid}");
    assert!(paid.contains("Portfolio at risk as of 1994-12-31"), "{paid}");
    assert!(paid.contains("sagas left over: 0"), "{paid}");

    let proof = processes.succeed(&["audit", "reconcile"]).await;
    println!("{proof}");
    assert!(proof.contains("log = replay from Kafka = read model"), "{proof}");
    assert!(proof.contains("outstanding principal of"), "{proof}");

    let before = chain_hash(&proof);
    processes.succeed(&load).await;
    processes.succeed(&pay).await;
    let again = processes.succeed(&["audit", "verify"]).await;
    assert_eq!(chain_hash(&again), before, "loaded again: every reply was the first one, not an event more");

    let client = Client::new(&processes.command_url, &processes.query_url, &processes.token);
    let trial = client.get("/v1/trial-balance").await;
    assert!(trial["totals"].as_array().is_some_and(|totals| totals.iter().all(|t| t["balanced"] == true)), "{trial}");
    processes.assert_no_panic();
    let _ = std::fs::remove_dir_all(&reports);
    drop(processes);
    place.discard().await.unwrap();
}

fn chain_hash(printed: &str) -> String {
    let line = printed.lines().find(|line| line.starts_with("chain hash")).unwrap_or_else(|| panic!("{printed}"));
    line.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_reversals_dates_and_streams_are_seen_at_the_other_end() {
    let place = Place::fresh("way").await.unwrap();
    let processes = Processes::start(&place).await;
    let client = Client::new(&processes.command_url, &processes.query_url, &processes.token);
    let (cash, accounts) = client.found_bank(2).await;
    let (from, to) = (accounts[0].as_str(), accounts[1].as_str());

    let mut pending = moved("transfer", from, to, "300.00");
    pending["pending"] = json!({});
    let pending = client.post("/v1/transactions", pending).await;
    assert_eq!(pending.body["balances"][0]["available"], "700.00");
    let account = client.get(&format!("/v1/accounts/{from}?min_position={}", pending.position())).await;
    assert_eq!((&account["balance"], &account["available"]), (&json!("1000.00"), &json!("700.00")));

    let part = json!({"final": false, "legs": [
        {"leg": 1, "amount": {"amount": "100.00", "currency": "CZK"}},
        {"leg": 2, "amount": {"amount": "100.00", "currency": "CZK"}},
    ]});
    client.post(&format!("/v1/transactions/{}/post", id(&pending)), part).await;
    let voided =
        client.post(&format!("/v1/transactions/{}/void", id(&pending)), json!({"reason": "changed_mind"})).await;
    let account = client.get(&format!("/v1/accounts/{from}?min_position={}", voided.position())).await;
    assert_eq!((&account["balance"], &account["available"]), (&json!("900.00"), &json!("900.00")));

    let paid = client.post("/v1/transactions", moved("transfer", from, to, "50.00")).await;
    let reversed =
        client.post(&format!("/v1/transactions/{}/reverse", id(&paid)), json!({"reason": "duplicate"})).await;
    let transaction = client.get(&format!("/v1/transactions/{}?min_position={}", id(&paid), reversed.position())).await;
    assert!(transaction.to_string().contains(&id(&reversed)), "the original names its reversal: {transaction}");

    // A hold that expires no longer counts at once, and the sweeper writes it down.
    let expires_at = iso_in_two_seconds(&place).await;
    let mut short = moved("transfer", from, to, "800.00");
    short["pending"] = json!({"expires_at": expires_at});
    let short = client.post("/v1/transactions", short).await;
    let path = format!("/v1/transactions/{}?min_position={}", id(&short), short.position());
    eventually("the sweeper's event", Duration::from_secs(30), || async {
        Ok((client.get(&path).await["status"] == "expired").then_some(()))
    })
    .await
    .unwrap();

    // An auditor's stream: every event of the account, in order, with its hashes.
    let (status, headers, text) = client.read(&format!("/v1/events?stream=account/{from}&limit=1000")).await;
    assert!(status.is_success(), "{text}");
    assert!(headers.contains_key("daybook-position"));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sequences: Vec<u64> = lines.iter().filter_map(|line| line["sequence"].as_u64()).collect();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>());
    assert!(sequences.len() >= 8, "{text}");
    assert!(!text.contains("Ann"), "personal data stays sealed");

    let (status, headers, body) = client.read(&format!("/v1/accounts/{cash}?min_position=99999999&wait_ms=100")).await;
    assert_eq!(status, 503, "{body}");
    assert!(headers.contains_key("retry-after"));
    processes.succeed(&["audit", "reconcile"]).await;
    processes.assert_no_panic();
    drop(processes);
    place.discard().await.unwrap();
}

async fn iso_in_two_seconds(place: &Place) -> String {
    let pool = sqlx::PgPool::connect(place.get("DAYBOOK_LOG_READER_URL")).await.unwrap();
    let sql = "SELECT to_char((now() + interval '2 seconds') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')";
    sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_roles_run_in_one_process_under_one_address() {
    let place = Place::fresh("all").await.unwrap();
    let mut processes = Processes::start(&place).await;
    for role in crate::processes::ROLES {
        processes.kill9(role);
    }
    let address = processes.env["DAYBOOK_COMMAND_API_LISTEN"].clone();
    processes.env.insert("DAYBOOK_ALL_LISTEN".into(), address);
    processes.query_url.clone_from(&processes.command_url);
    processes.start_role("all");
    processes.ready().await;
    let client = Client::new(&processes.command_url, &processes.query_url, &processes.token);
    let (_, accounts) = client.found_bank(2).await;
    let paid = client.post("/v1/transactions", moved("transfer", &accounts[0], &accounts[1], "1.00")).await;
    let account = client.get(&format!("/v1/accounts/{}?min_position={}", accounts[1], paid.position())).await;
    assert_eq!(account["balance"], "1001.00");
    let document = client.get("/openapi.json").await;
    for path in ["/v1/transactions", "/v1/accounts/{id}/balance", "/v1/members/{id}/verify"] {
        assert!(document["paths"][path].is_object(), "{path} is not in /openapi.json");
    }
    drop(processes);
    place.discard().await.unwrap();
}
