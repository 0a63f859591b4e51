//! Queries of the read models: balances, pages of statements, loans.
//!
//! They are read from a template that went the whole way once: accounts, transfers and loans through the log, Kafka and
//! the projector.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use futures::FutureExt;
use serde_json::{Value, json};
use uuid::Uuid;

use super::transfers::{Client, Measuring, seed_now};
use super::{Length, Scenario};
use crate::bench::{Bench, head};
use crate::http::{self, Connection};
use crate::ledger::{Ledger, eventually};
use crate::load::{Group, Lane, Pace, Work};
use crate::results::Outcome;
use crate::roles::Roles;
use crate::seed;
use crate::workload::{Distribution, Draw, Random};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "reads-balance",
        about: "balances of 10,000 accounts, uniform",
        length: Length::Short,
        run: |bench| run(bench, Query::Balance, Some(20_000)).boxed_local(),
    },
    Scenario {
        name: "reads-statement",
        about: "a page of 50 entries of an account",
        length: Length::Short,
        run: |bench| run(bench, Query::Entries, None).boxed_local(),
    },
    Scenario {
        name: "reads-loan",
        about: "one of 500 loans, with what is owed",
        length: Length::Short,
        run: |bench| run(bench, Query::Loan, None).boxed_local(),
    },
];

const TRANSFERS: usize = 150_000;
const LOANS: usize = 500;
/// Connections of the generator: queries are short, and more would only wait.
const LANES: usize = 64;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Query {
    Balance,
    Entries,
    Loan,
}

async fn run(bench: &Bench, query: Query, aim: Option<u64>) -> anyhow::Result<Outcome> {
    let template = Ledger::template(bench, "read_models", true, async |ledger| make(bench, ledger).await).await?;
    let mut roles = Roles::on(bench, &template);
    let api = roles.start("query-api").await?;
    let client = Client::new(&template, Draw::new(Distribution::Uniform, bench.scale.accounts))?;
    let mut measuring = Measuring::new(bench, &template, "queries");
    let group = |pace| group(&client, api, query, bench.scale.accounts, pace);
    let capacity = measuring.part(&roles, "capacity", group(Pace::Closed)).await?;
    let mut rates = vec![("at 80 %", capacity * 8 / 10)];
    rates.extend(aim.filter(|aim| *aim <= capacity).map(|aim| ("at the aim", aim)));
    for (name, per_second) in rates {
        let group = group(Pace::Open { per_second: per_second.max(1) });
        measuring.part(&roles, name, group).await?;
    }
    roles.stop().await?;
    let failed: u64 = measuring.loads.iter().map(|load| load.errors.values().sum::<u64>()).sum();
    anyhow::ensure!(
        failed == 0,
        "{failed} queries failed: {:?}",
        measuring.loads.iter().map(|load| &load.errors).collect::<Vec<_>>()
    );
    Ok(Outcome::Measured(measuring.parts))
}

/// Connections that send such queries.
pub(super) fn group(client: &Client, api: SocketAddr, query: Query, accounts: usize, pace: Pace) -> Group {
    let lane = |lane: usize| {
        let work = Reads {
            authorization: format!("\r\nHost: {api}\r\nAuthorization: Bearer {}\r\n\r\n", client.token(lane)),
            query,
            accounts,
            random: Random::new(seed_now(lane)),
        };
        Lane { to: api, from: None, work: Box::new(work) }
    };
    Group { pace, lanes: (0..LANES).map(lane).collect() }
}

struct Reads {
    authorization: String,
    query: Query,
    accounts: usize,
    random: Random,
}

impl Work for Reads {
    fn request(&mut self, out: &mut Vec<u8>) {
        use std::io::Write as _;
        let account = seed::account_id(self.random.below(self.accounts));
        // A vector takes any text.
        let _ = match self.query {
            Query::Balance => write!(out, "GET /v1/accounts/{account}/balance HTTP/1.1"),
            Query::Entries => write!(out, "GET /v1/accounts/{account}/entries?limit=50 HTTP/1.1"),
            Query::Loan => write!(out, "GET /v1/loans/{} HTTP/1.1", loan_id(self.random.below(LOANS))),
        };
        out.extend_from_slice(self.authorization.as_bytes());
    }
}

/// The id of the n-th loan; those of accounts end below a hundred million.
fn loan_id(number: usize) -> Uuid {
    seed::account_id(100_000_000 + number)
}

/// Fills the log, lets relay and projector bring it into the read models, and stops them.
async fn make(bench: &Bench, ledger: &Ledger) -> anyhow::Result<()> {
    seed::found(ledger, bench.scale.accounts).await?;
    seed::fill(ledger, bench.scale.accounts, TRANSFERS).await?;
    let mut roles = Roles::on(bench, ledger);
    let api = roles.start("command-api").await?;
    lend(ledger, api).await?;
    for role in ["relay", "projector"] {
        roles.start(role).await?;
    }
    let query = roles.start("query-api").await?;
    await_visible(ledger, query, head(ledger).await?, Duration::from_secs(600)).await?;
    roles.stop().await
}

/// Waits until the read models have all up to a position.
pub(super) async fn await_visible(
    ledger: &Ledger,
    query: SocketAddr,
    position: u64,
    patience: Duration,
) -> anyhow::Result<()> {
    let token = ledger.token("bench")?;
    let path = format!("/v1/accounts/{}/balance?min_position={position}", seed::account_id(0));
    let request = http::request_head("GET", &path, query, &token) + "\r\n";
    eventually("the read models", patience, || {
        let request = request.as_bytes();
        async move {
            let mut connection = Connection::open(query, None).await?;
            let reply = connection.exchange(request).await?;
            anyhow::ensure!(
                matches!(reply.status, 200 | 503),
                "{}: {}",
                reply.status,
                String::from_utf8_lossy(reply.body)
            );
            Ok((reply.status == 200).then_some(()))
        }
    })
    .await
}

/// A loan product, and loans paid out to their settlement accounts.
async fn lend(ledger: &Ledger, api: SocketAddr) -> anyhow::Result<()> {
    let token = ledger.token("bench")?;
    let mut connection = Connection::open(api, None).await?;
    let mut post = async |path: String, body: Value| {
        let body = body.to_string();
        let head = http::request_head("POST", &path, api, &token);
        let request = format!(
            "{head}Content-Type: application/json\r\nIdempotency-Key: {}\r\nContent-Length: {}\r\n\r\n{body}",
            Uuid::now_v7(),
            body.len()
        );
        let reply = connection.exchange(request.as_bytes()).await?;
        anyhow::ensure!(reply.status < 300, "POST {path} {body}: {}", String::from_utf8_lossy(reply.body));
        anyhow::Ok(())
    };
    let (member, product) = (Uuid::now_v7(), Uuid::now_v7());
    post("/v1/members".into(), json!({"id": member, "number": "M2", "kind": "person", "name": "Ada Obi"})).await?;
    post(format!("/v1/members/{member}/verify"), json!({})).await?;
    let mut accounts = json!({});
    let internal = [
        ("portfolio_account_id", "1200", "asset"),
        ("interest_receivable_account_id", "1210", "asset"),
        ("charges_receivable_account_id", "1220", "asset"),
        ("interest_income_account_id", "4200", "income"),
        ("fee_income_account_id", "4210", "income"),
        ("penalty_income_account_id", "4220", "income"),
        ("write_off_account_id", "5100", "expense"),
    ];
    for (role, code, class) in internal {
        let id = Uuid::now_v7();
        post("/v1/ledger/codes".into(), json!({"code": code, "name": role, "class": class, "control": false})).await?;
        post("/v1/accounts".into(), internal_account(id, role, code)).await?;
        accounts[role] = json!(id);
    }
    let terms = json!({
        "principal_min": "1000.00", "principal_max": "100000.00", "annual_rate_min": "0", "annual_rate_max": "0.3",
        "instalments_min": 1, "instalments_max": 60, "frequency": {"every": 1, "unit": "months"},
        "method": "reducing_balance", "amortization": "equal_instalments", "day_count": "thirty_360",
        "rounding": "half_even", "allocation_order": ["penalty", "fee", "interest", "principal"],
    });
    let define = json!({
        "id": product, "code": "LOAN", "name": "Loan", "currency": "CZK", "terms": terms, "accounts": accounts,
    });
    post("/v1/loan-products".into(), define).await?;
    for number in 0..LOANS {
        let (id, settlement) = (loan_id(number), Uuid::now_v7());
        let account = json!({
            "id": settlement, "number": format!("S{number}"), "product": "current", "currency": "CZK",
            "ledger_code": "2100", "holders": [{"member_id": member, "role": "owner"}],
        });
        post("/v1/accounts".into(), account).await?;
        let apply = json!({
            "id": id, "number": format!("L-{number}"), "member_id": member, "product_id": product,
            "principal": {"amount": "24000.00", "currency": "CZK"}, "instalments": 24, "annual_rate": "0.12",
            "settlement_account_id": settlement,
        });
        post("/v1/loans".into(), apply).await?;
        post(format!("/v1/loans/{id}/approve"), json!({})).await?;
        post(format!("/v1/loans/{id}/disburse"), json!({"to_account_id": settlement})).await.context("disbursing")?;
    }
    Ok(())
}

fn internal_account(id: Uuid, name: &str, ledger_code: &str) -> Value {
    let number = format!("INT-{ledger_code}");
    json!({
        "id": id, "number": number, "product": "internal", "name": name, "currency": "CZK", "ledger_code": ledger_code,
    })
}
