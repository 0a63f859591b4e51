//! Entry control over real connections: who is let in, how much they may ask, and what is said.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

mod issuer;
mod limits;
mod tokens;
mod transport;

use std::collections::BTreeMap;

use axum::Router;
use platform::auth::Verifier;
use platform::http::{Options, ReadyCheck, Routes, Transport, bind, health, layers, serve_with};
use platform::{Config, Permission, Principal};
use tokio_util::sync::CancellationToken;
use utoipa_axum::routes;

/// A configuration of these values.
fn config(values: &[(&str, &str)]) -> Config {
    let values: BTreeMap<String, String> =
        values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Config::from_values(&values).unwrap()
}

const SECRET: &str = "a-secret-for-tests-of-32-characters-or-more";

/// A configuration for development, with more values.
fn development(more: &[(&str, &str)]) -> Config {
    let mut values = vec![("DAYBOOK_ENVIRONMENT", "development"), ("DAYBOOK_AUTH_DEV_SECRET", SECRET)];
    values.extend(more);
    config(&values)
}

#[utoipa::path(get, path = "/loans", responses((status = 200, description = "who asks")))]
async fn loans(principal: Principal) -> String {
    format!("{} {}", principal.subject(), principal.client())
}

#[utoipa::path(get, path = "/open", responses((status = 200, description = "anybody")))]
async fn open(principal: Option<Principal>) -> String {
    principal.map_or("nobody".to_owned(), |principal| principal.subject().to_owned())
}

#[utoipa::path(post, path = "/slow", request_body = String, responses((status = 200, description = "the body, read")))]
async fn slow(body: axum::body::Bytes) -> String {
    body.len().to_string()
}

fn routes() -> Routes<()> {
    Routes::new().route(Permission::LoansRead, routes!(loans)).public(routes!(open)).public(routes!(slow))
}

fn api() -> Router {
    routes().into_router(()).merge(health(vec![ReadyCheck::new("good", async || Ok(()))]))
}

/// An API of the tests' routes, served until it is dropped.
struct Served {
    url: String,
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
}

impl Served {
    async fn start(config: &Config, transport: Transport) -> Served {
        let verifier = Verifier::start(config.auth()).await.unwrap();
        Self::with(config, verifier, transport).await
    }

    async fn with(config: &Config, verifier: Verifier, transport: Transport) -> Served {
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let router = layers(api(), Options::serving(config.http(), verifier));
        tokio::spawn(serve_with(listener, router, transport, shutdown.clone()));
        Served { url: format!("http://{address}"), address, shutdown }
    }

    async fn get(&self, path: &str, token: &str) -> reqwest::Response {
        let request = reqwest::Client::new().get(format!("{}{path}", self.url));
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        request.send().await.unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// The status and the code of a refusal.
async fn refused(response: reqwest::Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: serde_json::Value = response.json().await.unwrap();
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn the_document_names_what_each_route_needs() {
    let api = serde_json::to_value(routes().into_openapi()).unwrap();
    assert_eq!(api["paths"]["/loans"]["get"]["security"], serde_json::json!([{"bearer": ["loans:read"]}]));
    assert_eq!(api["paths"]["/open"]["get"]["security"], serde_json::json!([]));
    assert_eq!(api["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
}
