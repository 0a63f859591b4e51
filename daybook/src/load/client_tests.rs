//! The client against a server that answers from a script, over real connections.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;

const ACCEPTED: &str = r#"{"id":"1","version":1,"position":42,"balances":[]}"#;

/// Answers each connection with the next reply of the script (none: hangs up) and returns what was asked.
async fn serve(script: &'static [Option<(&'static str, &'static str)>]) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let mut asked = Vec::new();
        for reply in script {
            let (mut stream, _) = listener.accept().await.unwrap();
            asked.push(read_request(&mut stream).await);
            if let Some((head, body)) = reply {
                let reply =
                    format!("HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
        }
        asked
    });
    (address, serving)
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.unwrap();
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        // The bodies of these tests end with the first brace that closes.
        if count == 0 || text.ends_with('}') {
            return text;
        }
    }
}

fn request() -> Request {
    Request::new("key-1".to_owned(), "/v1/members", &json!({"number": "1"})).settled_by(&["id_taken"])
}

fn client(address: &str, patience_ms: u64) -> CommandClient {
    CommandClient::try_new(address, &Secret::new("a-token"), 1, Duration::from_millis(patience_ms)).unwrap()
}

#[tokio::test]
async fn it_asks_again_under_the_same_key_until_there_is_an_answer() {
    let (address, serving) = serve(&[
        None,
        Some(("503 Service Unavailable\r\nretry-after: 0", "{}")),
        Some(("429 Too Many Requests\r\nretry-after: 0", "{}")),
        Some(("500 Internal Server Error", "")),
        Some(("201 Created\r\nidempotency-replayed: true", ACCEPTED)),
    ])
    .await;
    let client = client(&address, 30_000);
    let answer = client.send(&request()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Accepted(Accepted { position: 42, .. })), "{answer:?}");
    assert!(answer.replayed);
    assert_eq!(answer.retries, 4);
    assert_eq!(client.acknowledged().load(Ordering::Relaxed), 42);
    let asked = serving.await.unwrap();
    assert_eq!(asked.len(), 5);
    for request in &asked {
        assert!(request.contains("idempotency-key: key-1\r\n"), "{request}");
        assert!(request.ends_with(r#"{"number":"1"}"#), "{request}");
    }
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_what_was_done_before_is_settled() {
    let (address, serving) = serve(&[
        Some((
            "422 Unprocessable Entity\r\ndaybook-position: 7",
            r#"{"code":"insufficient_funds","detail":"too little"}"#,
        )),
        Some(("409 Conflict", r#"{"code":"id_taken","detail":"it exists already"}"#)),
        Some(("400 Bad Request", r#"{"code":"c","detail":"d","errors":[{"field":"f","code":"e","detail":"g"}]}"#)),
    ])
    .await;
    let client = client(&address, 30_000);
    let refused = |answer: Answer| match answer.outcome {
        Outcome::Refused(refusal) => (refusal.status, refusal.code, refusal.detail),
        Outcome::Accepted(_) | Outcome::Settled => panic!("not refused"),
    };
    let first = refused(client.send(&request()).await.unwrap());
    assert_eq!(first, (422, "insufficient_funds".to_owned(), "too little".to_owned()));
    assert_eq!(client.acknowledged().load(Ordering::Relaxed), 7);
    assert!(matches!(client.send(&request()).await.unwrap().outcome, Outcome::Settled));
    let third = refused(client.send(&request()).await.unwrap());
    assert_eq!(third, (400, "c".to_owned(), "d; f: g".to_owned()));
    serving.await.unwrap();
}

#[tokio::test]
async fn patience_ends_with_the_advice_to_start_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = client(&address, 100).send(&request()).await.unwrap_err();
    assert!(format!("{error:#}").contains("start the load again"), "{error:#}");
}
