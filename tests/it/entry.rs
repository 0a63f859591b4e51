//! Every route of both APIs, as their own documents list them: nobody gets in without a token of
//! somebody who may, and whoever may does.

use std::time::Duration;

use platform::auth::DevelopmentToken;
use platform::{Config, Permission, Role};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use test_place::Place;
use uuid::Uuid;

use crate::client::{Client, moved};
use crate::processes::Processes;

/// What anybody may call: it proves by other means who sends it.
const PUBLIC: [&str; 1] = ["POST /v1/webhooks/payments"];

/// An operation of one of the documents.
#[derive(Debug)]
struct Operation {
    name: String,
    method: Method,
    url: String,
    /// The permission that its `security` names, the first if any of some will do; `None` is public.
    permission: Option<String>,
}

impl Operation {
    fn request(&self, client: &reqwest::Client) -> RequestBuilder {
        let request = client.request(self.method.clone(), &self.url);
        if self.method == Method::GET {
            return request;
        }
        request
            .header("Idempotency-Key", Uuid::now_v7().to_string())
            .header("content-type", "application/json")
            .body("{}")
    }

    async fn ask(&self, client: &reqwest::Client, token: &str) -> (u16, Value) {
        let answer = self.request(client).bearer_auth(token).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }
}

/// All operations of the document that is served there.
async fn operations(base: &str) -> Vec<Operation> {
    let document: Value = reqwest::get(format!("{base}/openapi.json")).await.unwrap().json().await.unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let name = format!("{method} {path}");
            let requirements = operation["security"].as_array().unwrap_or_else(|| panic!("{name} names no security"));
            let permission = requirements.first().map(|requirement| {
                let scopes = requirement["bearer"].as_array().unwrap();
                assert_eq!(scopes.len(), 1, "{name} needs one permission");
                scopes[0].as_str().unwrap().to_owned()
            });
            found.push(Operation { url: format!("{base}{}", filled(path)), name, method, permission });
        }
    }
    found
}

/// The path with something of the right form for each of its parameters.
fn filled(path: &str) -> String {
    let segments = path.split('/').map(|segment| match segment {
        "{position}" => "1".to_owned(),
        segment if segment.starts_with('{') => Uuid::now_v7().to_string(),
        segment => segment.to_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
}

fn code(body: &Value) -> &str {
    body["code"].as_str().unwrap_or_default()
}

async fn head(place: &Place) -> u64 {
    let pool = sqlx::PgPool::connect(place.get("DAYBOOK_LOG_READER_URL")).await.unwrap();
    event_store::LogReader::new(pool).head().await.unwrap().position
}

/// Without a token 401, with a wrong one 401, with a right one of somebody who may not 403 and its
/// permission named; nothing of it is in the log.
#[tokio::test(flavor = "multi_thread")]
async fn no_route_lets_anybody_in_who_may_not() {
    let place = Place::fresh("entry").await.unwrap();
    let processes = Processes::start(&place).await;
    let client = reqwest::Client::new();
    let mut operations = operations(&processes.command_url).await;
    operations.extend(self::operations(&processes.query_url).await);
    assert!(operations.len() >= 39, "{}", operations.len());

    let before = head(&place).await;
    let nobodys = place.token("nobody", &[]).unwrap();
    let mut foreign = place.env.clone();
    foreign.insert("DAYBOOK_AUTH_DEV_SECRET".to_owned(), "another secret of at least 32 characters".to_owned());
    let foreign = Config::from_values(&foreign).unwrap();
    let token = DevelopmentToken {
        subject: "tester".to_owned(),
        client: None,
        roles: Role::ALL.to_vec(),
        accounts: None,
        ttl: Duration::from_secs(600),
    };
    let foreign = token.mint(foreign.auth()).unwrap().expose().to_owned();
    for operation in &operations {
        let name = &operation.name;
        let Some(permission) = &operation.permission else {
            assert!(PUBLIC.contains(&name.as_str()), "{name} is public, and that is not meant");
            continue;
        };
        let missing = operation.request(&client).send().await.unwrap();
        assert!(missing.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"), "{name}");
        let status = missing.status().as_u16();
        assert_eq!((status, code(&missing.json().await.unwrap())), (401, "token_missing"), "{name}");
        for wrong in ["not.a.token", foreign.as_str()] {
            let (status, body) = operation.ask(&client, wrong).await;
            assert_eq!((status, code(&body)), (401, "token_invalid"), "{name}");
        }
        let (status, body) = operation.ask(&client, &nobodys).await;
        assert_eq!((status, code(&body)), (403, "permission_missing"), "{name}");
        assert_eq!(body["errors"][0]["detail"].as_str(), Some(permission.as_str()), "{name}");
    }
    assert_eq!(head(&place).await, before, "what was not let in left nothing behind");

    for url in [&processes.command_url, &processes.query_url] {
        for path in ["/healthz", "/readyz", "/openapi.json", "/docs/"] {
            assert_eq!(reqwest::get(format!("{url}{path}")).await.unwrap().status(), 200, "{path}");
        }
    }
    processes.assert_no_panic();
    drop(processes);
    place.discard().await.unwrap();
}

/// Each role gets through exactly where the table says so.
#[tokio::test(flavor = "multi_thread")]
async fn each_role_gets_through_where_the_table_says_so() {
    let place = Place::fresh("roles").await.unwrap();
    let processes = Processes::start(&place).await;
    let client = reqwest::Client::new();
    let mut operations = operations(&processes.command_url).await;
    operations.extend(self::operations(&processes.query_url).await);
    for role in Role::ALL {
        let token = place.token(role.name(), &[*role]).unwrap();
        for operation in &operations {
            let Some(needed) = &operation.permission else { continue };
            let permission = Permission::ALL.iter().find(|permission| permission.name() == needed);
            let permission = permission.unwrap_or_else(|| panic!("{}: there is no {needed}", operation.name));
            let (status, body) = operation.ask(&client, &token).await;
            if role.permissions().contains(permission) {
                assert!(status != 401 && status != 403, "{role} {}: {status} {body}", operation.name);
            } else {
                assert_eq!((status, code(&body)), (403, "permission_missing"), "{role} {}", operation.name);
            }
        }
    }
    processes.assert_no_panic();
    drop(processes);
    place.discard().await.unwrap();
}

/// `daybook token` mints what the APIs take, limited to accounts where that is asked; production
/// takes no secret that could mint.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_mints_tokens_in_development_alone() {
    let place = Place::fresh("minting").await.unwrap();
    let processes = Processes::start(&place).await;
    let bank = Client::new(&processes.command_url, &processes.query_url, &processes.token);
    let (_, accounts) = bank.found_bank(2).await;
    let [own, other] = accounts.as_slice() else { panic!("two accounts") };
    let limited = ["token", "--subject", "ann", "--role", "clerk", "--account", own, "--ttl", "5m"];
    let token = processes.succeed(&limited).await;
    let ann = Client::new(&processes.command_url, &processes.query_url, token.trim());
    let paid = ann.post("/v1/transactions", moved("transfer", own, other, "100.00")).await;
    let balances = paid.body["balances"].as_array().unwrap();
    assert_eq!(balances.len(), 1, "the payee's balance is not hers to see: {paid:?}");
    assert_eq!((&balances[0]["account_id"], &balances[0]["balance"]), (&json!(own), &json!("900.00")));
    let balance = ann.get(&format!("/v1/accounts/{own}/balance?min_position={}", paid.position())).await;
    assert_eq!(balance["balance"], "900.00");
    let (status, _, _) = ann.read(&format!("/v1/accounts/{other}/balance")).await;
    assert_eq!(status, 404);
    let stolen = ann.try_post("/v1/transactions", "mine", &moved("transfer", other, own, "100.00")).await.unwrap();
    assert_eq!((stolen.status.as_u16(), stolen.code()), (403, "account_not_permitted"));

    let mut production = processes.command(&["command-api"]);
    let refused = production.env("DAYBOOK_ENVIRONMENT", "production").output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("DAYBOOK_AUTH_DEV_SECRET is not valid"), "{said}");
    let mut production = processes.command(&["token", "--subject", "ann", "--role", "clerk"]);
    production.env("DAYBOOK_ENVIRONMENT", "production").env_remove("DAYBOOK_AUTH_DEV_SECRET");
    let refused = production.output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("in development only"), "{said}");
    processes.assert_no_panic();
    drop(processes);
    place.discard().await.unwrap();
}
