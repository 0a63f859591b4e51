//! What the processes tell of themselves: traces, log lines, metrics and probes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use platform::metrics::{Kind, TABLE};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use test_place::{Place, eventually};

use crate::client::{Client, id, moved};
use crate::collector::{Collector, Sent};
use crate::processes::{Processes, ROLES};

const CALLERS_SPAN: &str = "b7ad6b7169203331";
const LONG: Duration = Duration::from_secs(60);

async fn deposit(client: &Client, accounts: (&str, &str), trace: &str, flags: &str) -> u64 {
    let body = moved("deposit", accounts.0, accounts.1, "98765.43");
    let request = client.raw(Method::POST, "/v1/transactions").header("Idempotency-Key", trace).json(&body);
    let traceparent = format!("00-{trace}-{CALLERS_SPAN}-{flags}");
    let response = request.header("traceparent", traceparent).header("x-correlation-id", trace).send().await.unwrap();
    assert_eq!(response.status(), 201);
    response.json::<Value>().await.unwrap()["position"].as_u64().unwrap()
}

/// The one span of this name.
fn one<'a>(spans: &'a [Sent], name: &str) -> &'a Sent {
    let found: Vec<&Sent> = spans.iter().filter(|sent| sent.name() == name).collect();
    assert_eq!(found.len(), 1, "{name}: {spans:#?}");
    found[0]
}

async fn traceparent_in_log(log: &PgPool, position: u64) -> Option<String> {
    sqlx::query_scalar("SELECT metadata->>'traceparent' FROM events WHERE position = $1")
        .bind(position as i64)
        .fetch_one(log)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_from_the_request_to_the_view_over_grpc() {
    let collector = Collector::default();
    let address = collector.grpc().await;
    one_trace(&collector, "grpc", &format!("http://{address}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_from_the_request_to_the_view_over_http() {
    let collector = Collector::default();
    let address = collector.http().await;
    one_trace(&collector, "http", &format!("http://{address}")).await;
}

/// A payment for nobody: its saga parks, in the trace of the request that handed it in.
async fn a_saga_goes_on_with_the_trace(client: &Client, collector: &Collector, log: &PgPool, bank: &str) {
    let suspense = json!({"number": "SUSPENSE", "product": "internal", "name": "Suspense", "currency": "CZK", "ledger_code": "2900"});
    let suspense = id(&client.post("/v1/accounts", suspense).await);
    let trace = "2cf7651916cd43dd8448eb211c80319e";
    let payment = json!({
        "bank_account_id": bank, "suspense_account_id": suspense, "bank_reference": "FOR-NOBODY",
        "amount": {"amount": "12.00", "currency": "CZK"},
    });
    let request = client.raw(Method::POST, "/v1/incoming-payments").header("Idempotency-Key", trace).json(&payment);
    let traceparent = format!("00-{trace}-{CALLERS_SPAN}-01");
    let response = request.header("traceparent", traceparent).send().await.unwrap();
    assert_eq!(response.status(), 201);
    eventually("the saga's step as a child of the request", LONG, || async {
        let spans = collector.trace(trace);
        let request = spans.iter().find(|sent| sent.name() == "platform.http.request").map(Sent::id);
        let step = spans.iter().find(|sent| sent.name() == "sagas.saga.step" && sent.service == "daybook-sagas");
        Ok(step.is_some_and(|step| Some(step.parent()) == request).then_some(()))
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}\n{:#?}", collector.trace(trace)));
    let parked = "SELECT metadata->>'traceparent' FROM events WHERE event_type = 'SagaParked'";
    // The first of its steps may be seen before the last is in the log.
    let traceparent: String =
        eventually("the saga is parked", LONG, || async { Ok(sqlx::query_scalar(parked).fetch_optional(log).await?) })
            .await
            .unwrap();
    assert!(traceparent.contains(trace));
}

async fn one_trace(collector: &Collector, protocol: &str, endpoint: &str) {
    let place = Place::fresh("trace").await.unwrap();
    // None of the traces that begin here are recorded, those of callers are as they say.
    let settings =
        [("DAYBOOK_OTLP_ENDPOINT", endpoint), ("DAYBOOK_OTLP_PROTOCOL", protocol), ("DAYBOOK_OTLP_SAMPLE", "0")];
    let mut processes = Processes::start_with(&place, &settings).await;
    processes.start_role("sagas");
    let client = Client::new(&processes.command_url, &processes.query_url, &processes.token);
    let (cash, accounts) = client.found_bank(1).await;
    let recorded = "0af7651916cd43dd8448eb211c80319c";
    let unrecorded = "1bf7651916cd43dd8448eb211c80319d";
    let position = deposit(&client, (&cash, &accounts[0]), recorded, "01").await;
    let quiet = deposit(&client, (&cash, &accounts[0]), unrecorded, "00").await;

    // A deposit is two events: each is published and applied.
    let spans = eventually("all spans of the trace", LONG, || async {
        let spans = collector.trace(recorded);
        Ok((spans.len() >= 6).then_some(spans))
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}\n{:#?}\n{}", collector.all(), processes.logs()));
    let request = one(&spans, "platform.http.request");
    assert_eq!((request.service.as_str(), request.parent().as_str()), ("daybook-command-api", CALLERS_SPAN));
    let command = one(&spans, "event_store.command.submit");
    assert_eq!(command.parent(), request.id());
    // The batch is a trace of its own, since it is of many commands: the command has a link to it.
    let batch = command.span.links.first().expect("a link to the batch");
    let batches: Vec<Sent> = collector.trace(&crate::collector::hex(&batch.trace_id));
    let batch_span = one(&batches, "event_store.batch.commit");
    assert_eq!(batch_span.id(), crate::collector::hex(&batch.span_id));
    let published: Vec<&Sent> = spans.iter().filter(|sent| sent.name() == "relay.event.publish").collect();
    let applied: Vec<&Sent> = spans.iter().filter(|sent| sent.name() == "projector.event.apply").collect();
    assert_eq!((published.len(), applied.len()), (2, 2), "{spans:#?}");
    for sent in &published {
        assert_eq!((sent.service.as_str(), sent.parent()), ("daybook-relay", request.id()));
    }
    let publications: BTreeSet<String> = published.iter().map(|sent| sent.id()).collect();
    let parents: BTreeSet<String> = applied.iter().map(|sent| sent.parent()).collect();
    assert_eq!(parents, publications, "each view follows from its own publication");
    assert!(applied.iter().all(|sent| sent.service == "daybook-projector"));

    let log = PgPool::connect(place.get("DAYBOOK_LOG_READER_URL")).await.unwrap();
    let ours = format!("00-{recorded}-{}-01", request.id());
    assert_eq!(traceparent_in_log(&log, position).await, Some(ours));
    assert_eq!(
        traceparent_in_log(&log, quiet).await,
        Some(format!("00-{unrecorded}-{CALLERS_SPAN}-00")),
        "a caller that does not record keeps its own context"
    );
    let first: Option<String> = traceparent_in_log(&log, 1).await;
    assert_eq!(first, None, "nothing was sent and nothing is recorded");
    assert!(collector.trace(unrecorded).is_empty());
    a_saga_goes_on_with_the_trace(&client, collector, &log, &cash).await;
    drop(processes);
    place.discard().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_is_said_once_and_costs_nothing() {
    let place = Place::fresh("away").await.unwrap();
    let settings = [("DAYBOOK_OTLP_ENDPOINT", "http://127.0.0.1:9"), ("DAYBOOK_LOG_FORMAT", "json")];
    let mut processes = Processes::start_with(&place, &settings).await;
    let client = Client::new(&processes.command_url, &processes.query_url, &processes.token);
    let (cash, accounts) = client.found_bank(1).await;
    let told =
        |processes: &Processes| processes.log("command-api").matches("the collector does not take spans").count();
    for _ in 0..20 {
        client.post("/v1/transactions", moved("deposit", &cash, &accounts[0], "1.00")).await;
    }
    eventually("a warning", LONG, || async { Ok((told(&processes) == 1).then_some(())) }).await.unwrap();
    for _ in 0..20 {
        client.post("/v1/transactions", moved("deposit", &cash, &accounts[0], "1.00")).await;
    }
    for role in ROLES {
        let (code, took) = processes.terminate(role).await;
        assert_eq!(code, Some(0), "{role}: {}", processes.logs());
        assert!(took < Duration::from_secs(4), "{role} took {took:?}");
    }
    assert_eq!(told(&processes), 1, "{}", processes.log("command-api"));
    drop(processes);
    place.discard().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_holds_no_request_and_no_shutdown() {
    let place = Place::fresh("mute").await.unwrap();
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for protocol in ["grpc", "http"] {
        let endpoint = format!("http://{}", mute.local_addr().unwrap());
        let settings = [("DAYBOOK_OTLP_ENDPOINT", endpoint.as_str()), ("DAYBOOK_OTLP_PROTOCOL", protocol)];
        let mut processes = Processes::start_with(&place, &settings).await;
        let client = Client::new(&processes.command_url, &processes.query_url, &processes.token);
        let began = Instant::now();
        for number in 0..50 {
            let member = json!({"number": format!("{protocol}{number}"), "kind": "person", "name": "A"});
            client.post("/v1/members", member).await;
        }
        let took = began.elapsed();
        assert!(took < Duration::from_secs(10), "50 requests took {took:?}");
        for role in ROLES {
            let (code, took) = processes.terminate(role).await;
            println!("{protocol}: {role} stopped in {took:?}");
            assert_eq!(code, Some(0), "{role}: {}", processes.logs());
            assert!(took < Duration::from_secs(4), "{role} took {took:?}");
        }
    }
    place.discard().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_name_their_request_and_tell_no_secret() {
    let place = Place::fresh("lines").await.unwrap();
    let filter = "info,platform=debug,event_store=debug,command_api=debug,query_api=debug,relay=debug,projector=debug";
    let processes = Processes::start_with(&place, &[("DAYBOOK_LOG_FORMAT", "json"), ("RUST_LOG", filter)]).await;
    let client = Client::new(&processes.command_url, &processes.query_url, &processes.token);
    let (cash, accounts) = client.found_bank(1).await;
    let member = json!({"number": "M-77", "kind": "person", "name": "Zebulon Quux", "national_id": "8001019999"});
    let member = id(&client.post("/v1/members", member).await);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let position = deposit(&client, (&cash, &accounts[0]), trace, "01").await;
    // Refused by the rules, for more money than there is; and with a body that cannot be read.
    let refused = moved("withdrawal", &accounts[0], &cash, "55555544.32");
    assert_eq!(client.insist("/v1/transactions", "too-much", &refused).await.status, 422);
    let broken = json!({"kind": "deposit", "narrative": "Quuxian secret", "amount": "424242.42"});
    assert_eq!(client.insist("/v1/transactions", "broken", &broken).await.status, 400);
    client.get(&format!("/v1/members/{member}?min_position={position}")).await;
    client.get(&format!("/v1/accounts/{}?min_position={position}", accounts[0])).await;

    let mut requests = 0;
    for role in ROLES {
        let log = processes.log(role);
        let secrets = [
            "Zebulon",
            "8001019999",
            "98765.43",
            "9876543",
            "55555544",
            "424242",
            "Quuxian",
            "Bearer",
            &processes.token,
        ];
        let parts = processes.token.split('.').chain(secrets);
        for secret in parts {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{role} tells {secret}");
        }
        for line in log.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{role}: {error}: {line}"));
            assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
            if line["message"] == "request" && line["status"] != 401 {
                requests += 1;
                assert!(line["correlation_id"].is_string(), "{line}");
                let probe = matches!(line["path"].as_str(), Some("/readyz" | "/healthz"));
                assert!(probe || line["subject"] == "tester", "{line}");
            }
        }
        let ours = |line: &&str| line.contains(trace) && line.contains("\"message\":\"request\"");
        if let Some(line) = log.lines().find(ours) {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!((&line["correlation_id"], &line["trace_id"]), (&json!(trace), &json!(trace)));
        } else {
            assert_ne!(role, "command-api", "{log}");
        }
    }
    assert!(requests > 8, "{requests} lines were looked at");
    drop(processes);
    place.discard().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_by_route_and_follow_an_event_to_its_view() {
    let place = Place::fresh("metrics").await.unwrap();
    let processes = Processes::start(&place).await;
    let client = Client::new(&processes.command_url, &processes.query_url, &processes.token);
    let (cash, accounts) = client.found_bank(2).await;
    let sent = client.post("/v1/transactions", moved("transfer", &accounts[0], &accounts[1], "5.00")).await;
    let refused = moved("withdrawal", &accounts[0], &cash, "5000.00");
    assert_eq!(client.insist("/v1/transactions", "too-much", &refused).await.status, 422);
    let position = client.insist("/v1/transactions", "too-much", &refused).await;
    assert!(position.replayed);
    client.get(&format!("/v1/accounts/{}?min_position={}", accounts[0], sent.position())).await;
    Client::new(&processes.command_url, &processes.query_url, "")
        .raw(Method::POST, "/v1/members")
        .send()
        .await
        .unwrap();

    let (_, text) = processes.ops("command-api", "/metrics").await.unwrap();
    for line in [
        r#"daybook_http_requests_total{method="POST",route="/v1/transactions",status="4xx"} 2"#,
        r#"daybook_commands_total{command="transfer",outcome="#,
        r#"daybook_command_rejections_total{code="insufficient_funds"} 1"#,
        r#"daybook_auth_refusals_total{reason="token_missing"} 1"#,
        r#"daybook_build_info{version="0.1.0",role="command-api"} 1"#,
        "daybook_writer_connected 1",
        "daybook_writer_commit_duration_seconds_bucket",
        r#"daybook_pool_connections_max{pool="keys"} 8"#,
    ] {
        if line.starts_with("daybook_commands_total") {
            assert!(text.contains("daybook_commands_total{command="), "{text}");
            assert!(text.contains(r#"outcome="replayed"} 1"#), "{text}");
        } else {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
    let head = sample(&text, "daybook_log_head_position");
    for (role, metric) in
        [("relay", "daybook_relay_position"), ("projector", "daybook_projector_applied_position{projection=\"core\"")]
    {
        eventually(metric, LONG, || async {
            let (_, text) = processes.ops(role, "/metrics").await?;
            Ok(text
                .lines()
                .any(|line| line.starts_with(metric))
                .then(|| sample(&text, metric))
                .filter(|at| *at >= head))
        })
        .await
        .unwrap();
    }
    for role in ROLES {
        let (_, text) = processes.ops(role, "/metrics").await.unwrap();
        for account in &accounts {
            assert!(!text.contains(account.as_str()), "{role}: no raw path, no id");
        }
        for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = name.split(' ').next().unwrap();
            assert!(TABLE.iter().any(|metric| metric.name == name), "{role}: {name} is not in the table");
        }
        for loops in [processes.ops(role, "/healthz").await.unwrap(), processes.ops(role, "/readyz").await.unwrap()] {
            assert_eq!(loops.0, 200, "{role}: {}", loops.1);
        }
    }
    drop(processes);
    place.discard().await.unwrap();
}

/// The least value of a metric.
fn sample(text: &str, metric: &str) -> f64 {
    let values = text.lines().filter(|line| line.starts_with(metric));
    let values = values.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
    values.reduce(f64::min).unwrap_or_else(|| panic!("{metric}\n{text}"))
}

#[test]
fn the_event_stores_metrics_are_those_of_the_table() {
    for name in event_store::telemetry::METRICS {
        let metric = TABLE.iter().find(|metric| metric.name == name);
        let metric = metric.unwrap_or_else(|| panic!("{name} is not in platform/src/metrics.rs"));
        assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
    }
    let ours = TABLE.iter().filter(|metric| {
        ["daybook_writer_", "daybook_command", "daybook_log_"].iter().any(|prefix| metric.name.starts_with(prefix))
    });
    assert_eq!(ours.count(), event_store::telemetry::METRICS.len());
    assert_eq!(event_store::telemetry::TRACE_TARGET, platform::telemetry::trace::TARGET);
}

#[test]
fn the_document_has_every_metric_as_the_table_has_it() {
    let document = std::fs::read_to_string(test_place::root().join("docs/metrics.md")).unwrap();
    let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = TABLE
        .iter()
        .map(|metric| {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Seconds => "histogram, seconds",
                Kind::Sizes => "histogram, counts",
            };
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            format!("| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.help)
        })
        .collect();
    assert_eq!(rows, expected, "docs/metrics.md: these rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_most_commands_do_without_is_told_and_takes_nobody_out_of_service() {
    let place = Place::fresh("probes").await.unwrap();
    let processes = Processes::start(&place).await;
    let admin = PgPool::connect(place.admin_url().expose()).await.unwrap();
    let keys = format!("{}_keys", place.prefix);
    let allow = |allowed: bool| format!("ALTER DATABASE \"{keys}\" ALLOW_CONNECTIONS {allowed}");
    sqlx::query(&allow(false)).execute(&admin).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
    sqlx::query(end).bind(&keys).execute(&admin).await.unwrap();
    let (status, told) = eventually("degraded", LONG, || async {
        Ok(Some(processes.ops("command-api", "/readyz").await?).filter(|(_, told)| told.contains("degraded")))
    })
    .await
    .unwrap();
    assert_eq!(status, 200, "all but personal data goes on: {told}");
    assert!(told.contains(r#""keys":"the database does not answer""#) && told.contains(r#""log":"ok""#), "{told}");
    let api = reqwest::get(format!("{}/readyz", processes.command_url)).await.unwrap();
    assert_eq!(api.status(), 200, "the API's own readiness says the same");
    sqlx::query(&allow(true)).execute(&admin).await.unwrap();
    eventually("ready again", LONG, || async {
        Ok(Some(processes.ops("command-api", "/readyz").await?).filter(|(_, told)| told.contains(r#""ready""#)))
    })
    .await
    .unwrap();
    drop(processes);
    place.discard().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_lost_its_database_is_ready_again_without_a_command() {
    let place = Place::fresh("again").await.unwrap();
    let processes = Processes::start(&place).await;
    let client = Client::new(&processes.command_url, &processes.query_url, &processes.token);
    let (cash, accounts) = client.found_bank(1).await;
    let admin = PgPool::connect(place.admin_url().expose()).await.unwrap();
    let log = format!("{}_log", place.prefix);
    let allow = |allowed: bool| format!("ALTER DATABASE \"{log}\" ALLOW_CONNECTIONS {allowed}");
    sqlx::query(&allow(false)).execute(&admin).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
    sqlx::query(end).bind(&log).execute(&admin).await.unwrap();
    // One command finds out; an orchestrator would send no more.
    let body = moved("deposit", &cash, &accounts[0], "1.00");
    assert_eq!(client.try_post("/v1/transactions", "away", &body).await.unwrap().status, 503);
    assert_eq!(processes.ops("command-api", "/readyz").await.unwrap().0, 503);
    sqlx::query(&allow(true)).execute(&admin).await.unwrap();
    eventually("ready again", LONG, || async {
        Ok(Some(processes.ops("command-api", "/readyz").await?).filter(|(status, _)| *status == 200))
    })
    .await
    .unwrap();
    assert_eq!(client.insist("/v1/transactions", "away", &body).await.status, 201);
    drop(processes);
    place.discard().await.unwrap();
}

/// What must never happen is an assertion; here it is made to: a trigger keeps the head in its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_ends_by_a_fault_ends_its_process_to_be_started_again() {
    let place = Place::fresh("fault").await.unwrap();
    let mut processes = Processes::start(&place).await;
    let client = Client::new(&processes.command_url, &processes.query_url, &processes.token);
    let (cash, accounts) = client.found_bank(1).await;
    let owner = PgPool::connect(place.get("DAYBOOK_LOG_OWNER_URL")).await.unwrap();
    for statement in [
        "CREATE FUNCTION dropped() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER dropped BEFORE UPDATE ON log_head FOR EACH ROW EXECUTE FUNCTION dropped()",
    ] {
        sqlx::query(statement).execute(&owner).await.unwrap();
    }
    let body = moved("deposit", &cash, &accounts[0], "1.00");
    let answer = client.try_post("/v1/transactions", "once", &body).await;
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 503), "nothing was written");
    let deadline = Instant::now() + LONG;
    let status = loop {
        if let Some(status) = processes.ended("command-api") {
            break status;
        }
        assert!(Instant::now() < deadline, "it goes on without a writer\n{}", processes.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(status.code(), Some(1), "{}", processes.logs());
    assert!(processes.log("command-api").contains("the writer has ended by a fault of its own"));
    sqlx::query("DROP TRIGGER dropped ON log_head").execute(&owner).await.unwrap();
    processes.start_role("command-api");
    let answer = client.insist("/v1/transactions", "once", &body).await;
    assert_eq!((answer.status.as_u16(), answer.replayed), (201, false), "{answer:?}");
    processes.succeed(&["audit", "verify"]).await;
    drop(processes);
    place.discard().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_role_stops_at_once_and_says_so_before() {
    let place = Place::fresh("idle").await.unwrap();
    let mut processes = Processes::start(&place).await;
    processes.start_role("sagas");
    for role in ROLES.into_iter().chain(["sagas"]) {
        eventually(role, LONG, || async { Ok((processes.ops(role, "/readyz").await?.0 == 200).then_some(())) })
            .await
            .unwrap();
        let (code, took) = processes.terminate(role).await;
        println!("{role} stopped in {took:?}");
        assert_eq!(code, Some(0), "{role}\n{}", processes.logs());
        assert!(took < Duration::from_secs(2), "{role} took {took:?}\n{}", processes.logs());
    }
    drop(processes);
    place.discard().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_shutdown_of_each_role_under_load_loses_nothing() {
    let place = Place::fresh("graceful").await.unwrap();
    let mut processes = Processes::start(&place).await;
    let client = Client::new(&processes.command_url, &processes.query_url, &processes.token);
    let (_, accounts) = client.found_bank(10).await;
    let load = crate::fault::Load::start(&client, &accounts);
    processes.start_role("sagas");
    load.progress(50, &processes).await;
    for role in ROLES.into_iter().chain(["sagas"]) {
        let (code, took) = processes.terminate(role).await;
        println!("{role} stopped under load in {took:?}");
        assert_eq!(code, Some(0), "{role}\n{}", processes.logs());
        assert!(took < Duration::from_secs(10), "{role} took {took:?}");
        let began = Instant::now();
        processes.start_role(role);
        load.progress(50, &processes).await;
        println!("the load went on {:?} after {role} was started again", began.elapsed());
    }
    let acknowledged = load.end().await;
    processes.succeed(&["audit", "reconcile"]).await;
    let log = PgPool::connect(place.get("DAYBOOK_LOG_READER_URL")).await.unwrap();
    let sql = "SELECT count(*) FROM events WHERE event_type IN ('TransactionPosted', 'CommandRejected')";
    let decided: i64 = sqlx::query_scalar(sql).fetch_one(&log).await.unwrap();
    println!("{acknowledged} transfers acknowledged");
    assert_eq!(decided as u64, acknowledged + 10, "each acknowledged once and only once, none refused");
    processes.assert_no_panic();
    drop(processes);
    place.discard().await.unwrap();
}
