//! A client as a user would write one: HTTP, JSON, an idempotency key, retries under the same key.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde_json::{Value, json};
use uuid::Uuid;

#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    command_url: String,
    query_url: String,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) replayed: bool,
    pub(crate) body: Value,
}

impl Answer {
    /// The stable code of a problem.
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub(crate) fn position(&self) -> u64 {
        self.body["position"].as_u64().unwrap_or_else(|| panic!("no position: {self:?}"))
    }
}

impl Client {
    /// With a token, or without one where it is empty.
    pub(crate) fn new(command_url: &str, query_url: &str, token: &str) -> Client {
        let mut headers = HeaderMap::new();
        if !token.is_empty() {
            headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        }
        let http = reqwest::Client::builder().default_headers(headers);
        let http = http.timeout(Duration::from_secs(30)).build().unwrap();
        Client { http, command_url: command_url.to_owned(), query_url: query_url.to_owned() }
    }

    /// Tells this client's keys from another's.
    pub(crate) fn name(&self) -> &str {
        &self.command_url
    }

    /// One request; an error where no answer came.
    pub(crate) async fn try_post(&self, path: &str, key: &str, body: &Value) -> reqwest::Result<Answer> {
        let url = format!("{}{path}", self.command_url);
        let response = self.http.post(url).header("Idempotency-Key", key).json(body).send().await?;
        let status = response.status();
        let replayed = response.headers().contains_key("idempotency-replayed");
        let body = serde_json::from_slice(&response.bytes().await?).unwrap_or(Value::Null);
        Ok(Answer { status, replayed, body })
    }

    /// The same request under the same key until there is an outcome.
    pub(crate) async fn insist(&self, path: &str, key: &str, body: &Value) -> Answer {
        loop {
            match self.try_post(path, key, body).await {
                Ok(answer) if answer.status != StatusCode::SERVICE_UNAVAILABLE => return answer,
                // Not up, gone, or shedding: a client waits a little, so as not to be a part of the problem.
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// A command that must be accepted.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        let answer = self.insist(path, &Uuid::now_v7().to_string(), &body).await;
        assert!(answer.status.is_success(), "POST {path} {body}: {answer:?}");
        answer
    }

    /// A read that must succeed, asked again while the answer is 503 with Retry-After: a killed
    /// projector keeps its partitions for some seconds.
    pub(crate) async fn get(&self, path: &str) -> Value {
        for _ in 0..30 {
            let (status, _, text) = self.read(path).await;
            if status != StatusCode::SERVICE_UNAVAILABLE {
                assert!(status.is_success(), "GET {path}: {status} {text}");
                return serde_json::from_str(&text).unwrap_or_else(|error| panic!("GET {path}: {error}: {text}"));
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("GET {path}: 503 for half a minute");
    }

    /// A read with its status, headers and text.
    pub(crate) async fn read(&self, path: &str) -> (StatusCode, reqwest::header::HeaderMap, String) {
        let response = self.http.get(format!("{}{path}", self.query_url)).send().await.unwrap();
        (response.status(), response.headers().clone(), response.text().await.unwrap())
    }

    /// A raw request to the command API.
    pub(crate) fn raw(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.command_url))
    }

    /// A chart of accounts, a period around today, one member, cash, and so many accounts with
    /// 1,000.00 CZK each. Returns cash and the accounts.
    pub(crate) async fn found_bank(&self, accounts: usize) -> (String, Vec<String>) {
        self.post("/v1/ledger/currencies", json!({"code": "CZK", "minor_units": 2})).await;
        let codes = [
            ("1000", "Cash", "asset", false),
            ("2100", "Members", "liability", true),
            ("2900", "Suspense", "liability", false),
        ];
        for (code, name, class, control) in codes {
            let body = json!({"code": code, "name": name, "class": class, "control": control});
            self.post("/v1/ledger/codes", body).await;
        }
        self.post("/v1/ledger/periods", json!({"id": "all", "from": "2020-01-01", "to": "2099-12-31"})).await;
        let member = json!({"number": "M1", "kind": "person", "name": "Ann Ášek", "birth_date": "1970-12-13"});
        let member = id(&self.post("/v1/members", member).await);
        self.post(&format!("/v1/members/{member}/verify"), json!({})).await;
        let cash =
            json!({"number": "CASH", "product": "internal", "name": "Cash", "currency": "CZK", "ledger_code": "1000"});
        let cash = id(&self.post("/v1/accounts", cash).await);
        let mut opened = Vec::new();
        for number in 0..accounts {
            let body = json!({
                "number": format!("A{number}"), "product": "current", "currency": "CZK", "ledger_code": "2100",
                "holders": [{"member_id": member, "role": "owner"}],
            });
            let account = id(&self.post("/v1/accounts", body).await);
            self.post("/v1/transactions", moved("deposit", &cash, &account, "1000.00")).await;
            opened.push(account);
        }
        (cash, opened)
    }
}

/// The body of a short transaction.
pub(crate) fn moved(kind: &str, from: &str, to: &str, amount: &str) -> Value {
    json!({"kind": kind, "from_account_id": from, "to_account_id": to, "amount": {"amount": amount, "currency": "CZK"}})
}

pub(crate) fn id(answer: &Answer) -> String {
    answer.body["id"].as_str().unwrap_or_else(|| panic!("no id: {answer:?}")).to_owned()
}
