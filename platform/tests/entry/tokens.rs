//! Which tokens are taken, and whose they are.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use platform::auth::{AuthError, DevelopmentToken, Refusal, Verifier};
use platform::http::Transport;
use platform::{Config, Role};
use serde_json::{Value, json};

use crate::issuer::{ISSUER, Key, base64, claims, document, now};
use crate::{Served, config, development, refused};

struct File(PathBuf);

impl File {
    fn new(text: &str) -> File {
        let path = std::env::temp_dir().join(format!("daybook-jwks-{}", uuid::Uuid::now_v7()));
        std::fs::write(&path, text).unwrap();
        File(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn with_jwks(source: &str) -> Config {
    config(&[("DAYBOOK_AUTH_JWKS", source), ("DAYBOOK_AUTH_ISSUER", ISSUER)])
}

async fn verifier(keys: &[Value]) -> Verifier {
    let file = File::new(&document(keys));
    Verifier::start(with_jwks(file.0.to_str().unwrap()).auth()).await.unwrap()
}

#[tokio::test]
async fn each_kind_of_key_verifies_its_tokens() {
    let keys = [("a", Key::ed()), ("b", Key::ec()), ("c", Key::rsa())];
    let verifier = verifier(&keys.each_ref().map(|(id, key)| key.jwk(id))).await;
    for (id, key) in &keys {
        let principal = verifier.verify(&key.good(id)).await.unwrap();
        assert_eq!((principal.subject(), principal.client()), ("ann", "desk"));
        assert_eq!(principal.roles().iter().collect::<Vec<_>>(), [&Role::Clerk]);
        assert_eq!(principal.accounts(), None);
    }
    let (id, key) = &keys[0];
    let account = uuid::Uuid::from_u128(7);
    let limited = claims(json!({"azp": null, "daybook_accounts": [account]}));
    let principal = verifier.verify(&key.token(&json!({"alg": "EdDSA", "kid": id}), &limited)).await.unwrap();
    assert_eq!(principal.client(), "ann", "without a client the subject is its own");
    assert!(principal.has_account(account) && !principal.has_account(uuid::Uuid::from_u128(8)));
}

#[tokio::test]
async fn a_token_does_not_choose_how_it_is_verified() {
    let (ed, ec, rsa) = (Key::ed(), Key::ec(), Key::rsa());
    let shared = Key::Shared(b"a key that is in the document but is no public one".to_vec());
    let jwks = [ed.jwk("ed"), ec.jwk("ec"), rsa.jwk("rsa"), shared.jwk("shared")];
    let verifier = verifier(&jwks).await;
    let good = claims(json!({}));
    let headed = |alg: &str, id: &str| json!({"alg": alg, "kid": id});
    let unsigned =
        format!("{}.{}.", base64(headed("none", "ed").to_string().as_bytes()), base64(good.to_string().as_bytes()));
    let mut tampered = ed.good("ed");
    let at = tampered.find('.').unwrap() + 12;
    tampered.replace_range(at..=at, if &tampered[at..=at] == "A" { "B" } else { "A" });
    let pem = format!("-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n", base64(&rsa.public()));
    let tokens = [
        ("no signature", unsigned),
        ("a public key as a shared secret", Key::Shared(rsa.public()).token(&headed("HS256", "rsa"), &good)),
        ("its PEM as a shared secret", Key::Shared(pem.into_bytes()).token(&headed("HS256", "rsa"), &good)),
        ("an Ed25519 key as a shared secret", Key::Shared(ed.public()).token(&headed("HS256", "ed"), &good)),
        ("a shared key of the document", shared.token(&headed("HS256", "shared"), &good)),
        ("another algorithm than the key's", ec.token(&headed("ES256", "rsa"), &good)),
        ("the right key under another algorithm", rsa.token(&headed("RS512", "rsa"), &good)),
        ("another key of the same kind", Key::ed().token(&headed("EdDSA", "ed"), &good)),
        ("its own key", {
            let own = Key::ed();
            own.token(&json!({"alg": "EdDSA", "jwk": own.jwk("ed"), "kid": "own"}), &good)
        }),
        ("no key id where there are several", ed.token(&json!({"alg": "EdDSA"}), &good)),
        ("what must be understood", ed.token(&json!({"alg": "EdDSA", "kid": "ed", "crit": ["exp"]}), &good)),
        ("changed after it was signed", tampered),
        ("no token at all", "abc".to_owned()),
        ("nothing", String::new()),
        ("too long", ed.token(&headed("EdDSA", "ed"), &claims(json!({"x": "x".repeat(9_000)})))),
    ];
    for (what, token) in tokens {
        assert_eq!(verifier.verify(&token).await, Err(Refusal::TokenInvalid), "{what}");
    }
    assert_eq!(verifier.remembered_count(), 0, "what is refused is not remembered");
}

#[tokio::test]
async fn a_token_must_say_for_whom_and_when() {
    let key = Key::ed();
    let verifier = verifier(&[key.jwk("k")]).await;
    let cases = [
        (json!({"exp": null}), Refusal::TokenInvalid),
        (json!({"iss": null}), Refusal::TokenInvalid),
        (json!({"aud": null}), Refusal::TokenInvalid),
        (json!({"sub": null}), Refusal::TokenInvalid),
        (json!({"sub": ""}), Refusal::TokenInvalid),
        (json!({"sub": "a\nb"}), Refusal::TokenInvalid),
        (json!({"sub": "bank"}), Refusal::TokenInvalid),
        (json!({"azp": "daybook-sagas"}), Refusal::TokenInvalid),
        (json!({"iss": "https://other.example.org"}), Refusal::TokenInvalid),
        (json!({"aud": ["other", "another"]}), Refusal::TokenInvalid),
        (json!({"exp": "tomorrow"}), Refusal::TokenInvalid),
        (json!({"roles": "clerk"}), Refusal::TokenInvalid),
        (json!({"daybook_accounts": ["not an id"]}), Refusal::TokenInvalid),
        (json!({"exp": now() - 40}), Refusal::TokenExpired),
        (json!({"nbf": now() + 60}), Refusal::TokenNotYetValid),
        (json!({"nbf": "tomorrow"}), Refusal::TokenInvalid),
    ];
    let header = json!({"alg": "EdDSA", "kid": "k"});
    for (changes, refusal) in cases {
        let token = key.token(&header, &claims(changes.clone()));
        assert_eq!(verifier.verify(&token).await, Err(refusal), "{changes}");
    }
    let mut nothing_named = claims(json!({}));
    nothing_named["daybook_accounts"] = Value::Null;
    let token = key.token(&header, &nothing_named);
    assert_eq!(verifier.verify(&token).await, Err(Refusal::TokenInvalid), "null is not: all accounts");
    for changes in [json!({"exp": now() - 10}), json!({"nbf": now() + 10}), json!({"aud": ["other", "daybook"]})] {
        let token = key.token(&header, &claims(changes.clone()));
        assert!(verifier.verify(&token).await.is_ok(), "{changes}: within the leeway, or meant for us too");
    }
    let mut without = claims(json!({}));
    without.as_object_mut().unwrap().remove("nbf");
    assert!(verifier.verify(&key.token(&header, &without)).await.is_ok(), "many issuers name no nbf");
}

#[tokio::test]
async fn a_remembered_token_expires_too() {
    let key = Key::ed();
    let verifier = verifier(&[key.jwk("k")]).await;
    // It expired 29 s ago: for a second more it is within the leeway.
    let token = key.token(&json!({"alg": "EdDSA", "kid": "k"}), &claims(json!({"exp": now() - 29})));
    assert!(verifier.verify(&token).await.is_ok());
    assert_eq!(verifier.remembered_count(), 1);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while verifier.verify(&token).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(verifier.verify(&token).await, Err(Refusal::TokenExpired));
}

/// An address of keys that can change and fail, and counts how often it is asked.
struct Address {
    url: String,
    answer: Arc<Mutex<(StatusCode, String)>>,
    asked: Arc<AtomicUsize>,
}

impl Address {
    async fn start(status: StatusCode, text: String) -> Address {
        let answer = Arc::new(Mutex::new((status, text)));
        let asked = Arc::new(AtomicUsize::new(0));
        let (answers, counts) = (Arc::clone(&answer), Arc::clone(&asked));
        let keys = get(async move || {
            counts.fetch_add(1, Ordering::SeqCst);
            answers.lock().unwrap().clone()
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let router = Router::new().route("/keys", keys);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Address { url, answer, asked }
    }

    fn now(&self, status: StatusCode, text: String) {
        *self.answer.lock().unwrap() = (status, text);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

const NEVER: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn keys_are_read_anew_when_an_unknown_one_is_named() {
    let (old, new) = (Key::ed(), Key::ec());
    let address = Address::start(StatusCode::OK, document(&[old.jwk("old")])).await;
    let verifier = Verifier::start_with(with_jwks(&address.url).auth(), NEVER, Duration::ZERO).await.unwrap();
    let (old_token, new_token) = (old.good("old"), new.good("new"));
    assert!(verifier.verify(&old_token).await.is_ok());
    assert_eq!(verifier.verify(&new_token).await, Err(Refusal::TokenInvalid));

    address.now(StatusCode::OK, document(&[old.jwk("old"), new.jwk("new")]));
    assert!(verifier.verify(&new_token).await.is_ok(), "rotated in");
    address.now(StatusCode::INTERNAL_SERVER_ERROR, String::new());
    assert!(verifier.verify(&Key::ed().good("other")).await.is_err());
    assert!(verifier.verify(&old.good("old")).await.is_ok(), "what cannot be read leaves the old keys");
    address.now(StatusCode::OK, "{\"keys\": []}".to_owned());
    assert!(verifier.verify(&Key::ed().good("other")).await.is_err());
    assert!(verifier.verify(&old.good("old")).await.is_ok(), "and so does a document without keys");

    address.now(StatusCode::OK, document(&[new.jwk("new")]));
    assert!(verifier.verify(&Key::ed().good("other")).await.is_err());
    assert!(verifier.verify(&old_token).await.is_err(), "a key that is gone, its remembered tokens too");
    assert!(verifier.verify(&new_token).await.is_ok());
}

#[tokio::test]
async fn made_up_key_ids_do_not_wait_for_an_issuer_that_hangs() {
    let key = Key::ed();
    let (document, asked) = (document(&[key.jwk("k")]), Arc::new(AtomicUsize::new(0)));
    let counts = Arc::clone(&asked);
    let keys = get(async move || {
        if counts.fetch_add(1, Ordering::SeqCst) > 0 {
            std::future::pending::<()>().await;
        }
        document
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/keys", keys)).await });
    let verifier = Verifier::start_with(with_jwks(&url).auth(), NEVER, Duration::ZERO).await.unwrap();

    let first = tokio::spawn({
        let (verifier, token) = (verifier.clone(), Key::ed().good("made-up"));
        async move { verifier.verify(&token).await }
    });
    let deadline = tokio::time::Instant::now() + Duration::from_secs(4);
    while asked.load(Ordering::SeqCst) < 2 {
        assert!(tokio::time::Instant::now() < deadline, "the first asks the issuer");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let others = (0..20).map(|at| {
        let (verifier, token) = (verifier.clone(), Key::ed().good(&format!("made-up-{at}")));
        async move { verifier.verify(&token).await }
    });
    let all = tokio::time::timeout(Duration::from_secs(3), futures::future::join_all(others)).await.unwrap();
    assert!(all.iter().all(|refused| *refused == Err(Refusal::KeysUnavailable)), "{all:?}");
    assert!(!first.is_finished(), "it waits for the issuer still");
    assert!(verifier.verify(&key.good("k")).await.is_ok(), "keys that are known need no reading");
    first.abort();
}

#[tokio::test]
async fn keys_are_read_anew_now_and_then() {
    let (old, new) = (Key::ed(), Key::ed());
    let address = Address::start(StatusCode::OK, document(&[old.jwk("k")])).await;
    let verifier =
        Verifier::start_with(with_jwks(&address.url).auth(), Duration::from_millis(20), NEVER).await.unwrap();
    address.now(StatusCode::OK, document(&[new.jwk("k")]));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while verifier.verify(&new.good("k")).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(verifier.verify(&old.good("k")).await.is_err());
}

#[tokio::test]
async fn a_flood_of_unknown_keys_does_not_reach_the_issuer() {
    let key = Key::ed();
    let address = Address::start(StatusCode::OK, document(&[key.jwk("k")])).await;
    let verifier = Verifier::start(with_jwks(&address.url).auth()).await.unwrap();
    for number in 0..200 {
        assert!(verifier.verify(&key.good(&format!("k{number}"))).await.is_err());
    }
    assert_eq!(address.asked(), 1, "the reading at the start is not long ago");
}

#[tokio::test]
async fn without_keys_yet_it_is_not_the_token_that_is_wrong() {
    let key = Key::ed();
    let address = Address::start(StatusCode::BAD_GATEWAY, String::new()).await;
    let config = with_jwks(&address.url);
    let verifier = Verifier::start_with(config.auth(), NEVER, Duration::ZERO).await.unwrap();
    let served = Served::with(&config, verifier, Transport::default()).await;
    let response = served.get("/loans", &key.good("k")).await;
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(refused(response).await, (503, "keys_unavailable".to_owned()));
    address.now(StatusCode::OK, document(&[key.jwk("k")]));
    assert_eq!(served.get("/loans", &key.good("k")).await.text().await.unwrap(), "ann desk");
}

#[tokio::test]
async fn a_process_without_keys_goes_on_asking_for_them() {
    let key = Key::ed();
    let address = Address::start(StatusCode::BAD_GATEWAY, String::new()).await;
    let soon = Duration::from_millis(20);
    let verifier = Verifier::start_with(with_jwks(&address.url).auth(), NEVER, soon).await.unwrap();
    let router = platform::http::health(vec![verifier.ready_check()]);
    let ready = async || {
        let request = axum::http::Request::get("/readyz").body(axum::body::Body::empty()).unwrap();
        tower::ServiceExt::oneshot(router.clone(), request).await.unwrap().status()
    };
    assert_eq!(ready().await, 503, "nobody is sent to a process that can let nobody in");
    address.now(StatusCode::OK, document(&[key.jwk("k")]));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while ready().await != 200 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(soon).await;
    }
    assert!(verifier.verify(&key.good("k")).await.is_ok());
}

#[tokio::test]
async fn a_start_that_could_verify_nothing_is_refused() {
    let missing = Verifier::start(with_jwks("/nowhere/keys.json").auth()).await.unwrap_err();
    assert!(matches!(&missing, AuthError::Keys(text) if text.contains("/nowhere/keys.json")), "{missing}");
    let file = File::new("{\"keys\": [{\"kty\": \"oct\", \"k\": \"c2VjcmV0\", \"alg\": \"HS256\"}]}");
    let useless = Verifier::start(with_jwks(file.0.to_str().unwrap()).auth()).await.unwrap_err();
    assert!(useless.to_string().contains("no key in it can be used"), "{useless}");
    let none = Verifier::start(config(&[]).auth()).await.unwrap_err().to_string();
    assert!(none.starts_with("DAYBOOK_AUTH_JWKS is not set"), "{none}");
    let no_issuer = config(&[("DAYBOOK_AUTH_JWKS", "/nowhere")]);
    let no_issuer = Verifier::start(no_issuer.auth()).await.unwrap_err().to_string();
    assert!(no_issuer.starts_with("DAYBOOK_AUTH_ISSUER is not set"), "{no_issuer}");
}

#[tokio::test]
async fn development_mints_its_own_and_production_does_not() {
    let token = |config: &Config| {
        let ttl = Duration::from_secs(60);
        let roles = vec![Role::Auditor];
        let token = DevelopmentToken { subject: "bob".to_owned(), client: None, roles, accounts: None, ttl };
        token.mint(config.auth()).map(|token| token.expose().to_owned())
    };
    let here = development(&[]);
    let served = Served::start(&here, Transport::default()).await;
    assert_eq!(served.get("/loans", &token(&here).unwrap()).await.text().await.unwrap(), "bob bob");
    let elsewhere = development(&[("DAYBOOK_AUTH_AUDIENCE", "elsewhere")]);
    let foreign = served.get("/loans", &token(&elsewhere).unwrap()).await;
    assert_eq!(refused(foreign).await, (401, "token_invalid".to_owned()));
    assert!(token(&with_jwks("/nowhere")).unwrap_err().to_string().contains("development only"));
}

#[tokio::test]
async fn a_route_says_why_it_lets_nobody_in() {
    let here = development(&[]);
    let served = Served::start(&here, Transport::default()).await;
    let minted = |roles: &[Role]| {
        let ttl = Duration::from_secs(60);
        let token =
            DevelopmentToken { subject: "bob".to_owned(), client: None, roles: roles.to_vec(), accounts: None, ttl };
        token.mint(here.auth()).unwrap().expose().to_owned()
    };
    let cases = [
        (String::new(), 401, "token_missing", "Bearer realm=\"daybook\""),
        (
            "x.y.z".to_owned(),
            401,
            "token_invalid",
            "Bearer realm=\"daybook\", error=\"invalid_token\", error_description=\"the bearer token is not valid here\"",
        ),
        (
            minted(&[Role::Admin]),
            403,
            "permission_missing",
            "Bearer realm=\"daybook\", error=\"insufficient_scope\", scope=\"loans:read\"",
        ),
    ];
    for (token, status, code, challenge) in cases {
        let response = served.get("/loans", &token).await;
        assert_eq!(response.headers()["www-authenticate"], challenge);
        assert_eq!(refused(response).await, (status, code.to_owned()));
        let open = served.get("/open", &token).await;
        assert_eq!(open.status(), 200, "what is public asks nobody");
    }
    let client = reqwest::Client::new();
    let basic = client.get(format!("{}/loans", served.url)).basic_auth("ann", Some("secret")).send().await.unwrap();
    assert_eq!(refused(basic).await, (401, "token_missing".to_owned()));
    let twice = client.get(format!("{}/loans", served.url));
    let twice = twice.header("authorization", "Bearer a").header("authorization", "Bearer b").send().await.unwrap();
    assert_eq!(refused(twice).await, (401, "token_invalid".to_owned()));
    assert_eq!(served.get("/healthz", "").await.status(), 200);
}
