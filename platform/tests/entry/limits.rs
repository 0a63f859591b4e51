//! How much callers may ask, and what browsers are told.

use std::time::Duration;

use platform::Role;
use platform::auth::DevelopmentToken;
use platform::http::Transport;
use reqwest::header::HeaderMap;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::{Served, development, refused};

fn number(headers: &HeaderMap, name: &str) -> u64 {
    headers[name].to_str().unwrap().parse().unwrap()
}

fn token(config: &platform::Config, subject: &str) -> String {
    let ttl = Duration::from_secs(60);
    let roles = vec![Role::Clerk];
    let token = DevelopmentToken { subject: subject.to_owned(), client: None, roles, accounts: None, ttl };
    token.mint(config.auth()).unwrap().expose().to_owned()
}

#[tokio::test]
async fn a_subject_that_asks_too_often_waits_and_others_do_not() {
    let config = development(&[("DAYBOOK_RATE_LIMIT_SUBJECT", "2"), ("DAYBOOK_RATE_LIMIT_ADDRESS", "1000")]);
    let served = Served::start(&config, Transport::default()).await;
    let (ann, bob) = (token(&config, "ann"), token(&config, "bob"));
    let first = served.get("/loans", &ann).await;
    assert_eq!(first.status(), 200);
    assert_eq!((number(first.headers(), "ratelimit-limit"), number(first.headers(), "ratelimit-remaining")), (2, 1));
    // More than can be had back meanwhile.
    let mut limited = None;
    for _ in 0..50 {
        let response = served.get("/loans", &ann).await;
        if response.status() == 429 {
            limited = Some(response);
            break;
        }
    }
    let limited = limited.expect("50 at once are more than 2 a second");
    assert_eq!(number(limited.headers(), "ratelimit-remaining"), 0);
    assert_eq!(number(limited.headers(), "retry-after"), number(limited.headers(), "ratelimit-reset"));
    assert_eq!(refused(limited).await, (429, "rate_limited".to_owned()));
    assert_eq!(served.get("/loans", &bob).await.status(), 200);
    let wrong = served.get("/loans", "wrong").await;
    assert_eq!((wrong.status().as_u16(), number(wrong.headers(), "ratelimit-limit")), (401, 1000));
}

#[tokio::test]
async fn an_address_that_asks_too_often_waits_whoever_it_is_but_probes_pass() {
    let config = development(&[("DAYBOOK_RATE_LIMIT_ADDRESS", "1"), ("DAYBOOK_TRUSTED_PROXIES", "127.0.0.1")]);
    let served = Served::start(&config, Transport::default()).await;
    let from = |address: &'static str, path: &str| {
        let request = reqwest::Client::new().get(format!("{}{path}", served.url));
        async move { request.header("x-forwarded-for", address).send().await.unwrap() }
    };
    let mut limited = false;
    for _ in 0..50 {
        limited |= from("192.0.2.1", "/open").await.status() == 429;
    }
    assert!(limited);
    assert_eq!(from("192.0.2.2", "/open").await.status(), 200, "another caller behind the same proxy");
    for _ in 0..10 {
        let probe = from("192.0.2.1", "/healthz").await;
        assert_eq!(probe.status(), 200);
        assert!(!probe.headers().contains_key("ratelimit-limit"));
    }
}

#[tokio::test]
async fn without_limits_nothing_is_told_of_them() {
    let config = development(&[("DAYBOOK_RATE_LIMIT_SUBJECT", "off"), ("DAYBOOK_RATE_LIMIT_ADDRESS", "off")]);
    let served = Served::start(&config, Transport::default()).await;
    let response = served.get("/loans", &token(&config, "ann")).await;
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("ratelimit-limit"));
}

#[tokio::test]
async fn heads_are_bounded() {
    let config = development(&[("DAYBOOK_HTTP_HEADERS_MAX", "10"), ("DAYBOOK_HTTP_HEADER_BYTES_MAX", "2000")]);
    let served = Served::start(&config, Transport::default()).await;
    let request = || reqwest::Client::new().get(format!("{}/open", served.url));
    assert_eq!(request().send().await.unwrap().status(), 200);
    let large = request().header("x-large", "x".repeat(2_000)).send().await.unwrap();
    assert_eq!(refused(large).await, (431, "headers_too_large".to_owned()));
    let many = (0..11).fold(request(), |request, at| request.header(format!("x-{at}"), "x")).send().await.unwrap();
    assert_eq!(refused(many).await, (431, "headers_too_large".to_owned()));
    // Beyond what the middleware sees, the connection itself refuses.
    let huge = request().header("x-huge", "x".repeat(200_000)).send().await;
    assert!(huge.is_err() || huge.unwrap().status() == 431);
}

#[tokio::test]
async fn browsers_are_told_to_run_frame_and_keep_nothing() {
    let config = development(&[]);
    let served = Served::start(&config, Transport::default()).await;
    for path in ["/open", "/loans", "/nowhere"] {
        let response = served.get(path, "").await;
        let headers = response.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert_eq!(headers["content-security-policy"], "default-src 'none'; frame-ancestors 'none'", "{path}");
        assert_eq!(headers["cache-control"], "no-store", "{path}");
        assert!(!headers.contains_key("strict-transport-security"), "{path}: there is no TLS");
        assert!(!headers.contains_key("access-control-allow-origin"), "{path}");
    }
}

#[tokio::test]
async fn pages_of_named_origins_may_call_and_no_others() {
    let config = development(&[("DAYBOOK_CORS_ORIGINS", "https://desk.example.org")]);
    let served = Served::start(&config, Transport::default()).await;
    let preflight = |origin: &'static str| {
        let request = reqwest::Client::new().request(reqwest::Method::OPTIONS, format!("{}/loans", served.url));
        let request = request.header("origin", origin).header("access-control-request-method", "GET");
        async move { request.header("access-control-request-headers", "authorization").send().await.unwrap() }
    };
    let ours = preflight("https://desk.example.org").await;
    assert_eq!(ours.status(), 200);
    assert_eq!(ours.headers()["access-control-allow-origin"], "https://desk.example.org");
    assert!(ours.headers()["access-control-allow-headers"].to_str().unwrap().contains("authorization"));
    assert!(!ours.headers().contains_key("access-control-allow-credentials"));
    let theirs = preflight("https://evil.example.org").await;
    assert!(!theirs.headers().contains_key("access-control-allow-origin"));
}

/// A request whose body does not come; it is at work until this is dropped.
async fn unending(served: &Served, token: &str) -> TcpStream {
    let mut connection = TcpStream::connect(served.address).await.unwrap();
    let head = format!("POST /slow HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 9\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    connection
}

#[tokio::test]
async fn one_caller_cannot_have_all_at_work() {
    let config = development(&[("DAYBOOK_CONCURRENCY_LIMIT_SUBJECT", "2"), ("DAYBOOK_CONCURRENCY_LIMIT_ADDRESS", "3")]);
    let served = Served::start(&config, Transport::default()).await;
    let [ann, bob] = ["ann", "bob"].map(|subject| token(&config, subject));
    let at_work = [unending(&served, &ann).await, unending(&served, &ann).await];
    until(&served, &ann, 429).await;
    assert_eq!(refused(served.get("/loans", &ann).await).await, (429, "rate_limited".to_owned()));
    assert!(served.get("/loans", &ann).await.headers().contains_key("retry-after"));
    assert_eq!(served.get("/loans", &bob).await.status(), 200, "another subject");
    let of_bob = unending(&served, &bob).await;
    until(&served, &bob, 429).await;
    assert_eq!(served.get("/open", "").await.status(), 429, "the address has its three");
    assert_eq!(served.get("/healthz", "").await.status(), 200);
    drop(at_work);
    until(&served, &ann, 200).await;
    drop(of_bob);
}

#[tokio::test]
async fn a_process_with_too_much_at_work_lives() {
    let config = development(&[("DAYBOOK_HTTP_REQUESTS_MAX", "1")]);
    let served = Served::start(&config, Transport::default()).await;
    let ann = token(&config, "ann");
    let at_work = unending(&served, &ann).await;
    until(&served, &ann, 503).await;
    assert_eq!(refused(served.get("/loans", &ann).await).await, (503, "overloaded".to_owned()));
    assert_eq!(served.get("/healthz", "").await.status(), 200);
    drop(at_work);
}

async fn until(served: &Served, token: &str, status: u16) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while served.get("/loans", token).await.status() != status {
        assert!(tokio::time::Instant::now() < deadline, "{status}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
