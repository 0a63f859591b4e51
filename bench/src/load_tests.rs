use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server that answers at once, but for one stall that holds up everybody. Its address.
async fn server(stall_at: Duration, stall_for: Duration, status: u16) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let began = Instant::now();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut input = [0; 1_024];
                while let Ok(1..) = stream.read(&mut input).await {
                    let since = began.elapsed();
                    if since > stall_at && since < stall_at + stall_for {
                        tokio::time::sleep(stall_at + stall_for - since).await;
                    }
                    let reply = format!("HTTP/1.1 {status} X\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\nok");
                    if stream.write_all(reply.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

struct Ping;

impl Work for Ping {
    fn request(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
    }
}

async fn load(to: SocketAddr, pace: Pace, lanes: usize, measure: Duration) -> Load {
    let lanes = (0..lanes).map(|_| Lane { to, from: None, work: Box::new(Ping) }).collect();
    let times = Times { warm_up: Duration::from_millis(50), measure, drain: Duration::from_millis(300) };
    let running = start(vec![Group { pace, lanes }], times).await.unwrap();
    running.end().await.unwrap().pop().unwrap()
}

#[tokio::test]
async fn a_stalled_server_shows_in_the_percentiles_of_a_schedule() {
    // Stalled for 300 of 700 ms: some 40 % of requests were due within and wait 150 ms on average. A generator that
    // waits for its two connections would have counted two of them.
    let address = server(Duration::from_millis(200), Duration::from_millis(300), 200).await;
    let load = load(address, Pace::Open { per_second: 1_000 }, 2, Duration::from_millis(700)).await;
    let seen = load.latencies.percentiles().unwrap();
    assert!(seen.count >= 690, "every request that was due is counted: {seen:?}");
    assert!(seen.p95_us > 150_000 && seen.max_us > 250_000, "{seen:?}");
    assert!(seen.p50_us < 250_000, "{seen:?}");
    assert!(load.errors.is_empty(), "{:?}", load.errors);
}

#[tokio::test]
async fn requests_that_nobody_answers_are_counted_with_the_time_they_waited() {
    let address = server(Duration::from_millis(100), Duration::from_secs(60), 200).await;
    let load = load(address, Pace::Open { per_second: 1_000 }, 2, Duration::from_millis(200)).await;
    let seen = load.latencies.percentiles().unwrap();
    assert!(seen.count >= 195 && seen.max_us > 300_000, "{seen:?}");
    assert!(load.errors["never_begun"] > 50 && load.errors["unanswered"] == 2, "{:?}", load.errors);
    assert_eq!(load.unknown(), 2);
}

#[tokio::test]
async fn refusals_are_errors_by_their_status_and_never_throughput() {
    let address = server(Duration::MAX / 4, Duration::ZERO, 503).await;
    let load = load(address, Pace::Closed, 3, Duration::from_millis(100)).await;
    assert_eq!((load.done, load.all_done), (0, 0));
    assert!(load.errors["503"] > 10 && load.latencies.percentiles().is_none());
    assert_eq!(load.told_to_wait, load.errors["503"]);
    let figures = load.figures("requests");
    assert_eq!((figures.per_second(), &figures.errors), (0, &load.errors));
    assert!(figures.more["refusal_p99_us"] > 0);
}

#[tokio::test]
async fn without_a_server_a_load_does_not_begin() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let lanes = vec![Lane { to: gone, from: None, work: Box::new(Ping) }];
    let times = Times { warm_up: Duration::ZERO, measure: Duration::ZERO, drain: Duration::ZERO };
    let error = start(vec![Group { pace: Pace::Closed, lanes }], times).await.err().unwrap();
    assert!(format!("{error:#}").contains("connecting to"), "{error:#}");
}

#[test]
fn the_schedule_neither_drifts_nor_skips() {
    let began = Instant::now();
    assert_eq!(due_at(began, 3, 9_000_000_000), began + Duration::from_secs(3_000_000_000));
    assert_eq!(due_at(began, 7, 1) - began, Duration::from_nanos(142_857_142));
    for number in [1, 2, 1_000_003] {
        let due = due_at(began, 7_919, number);
        assert_eq!(due_by(began, 7_919, due + Duration::from_nanos(1_000)), number);
    }
}
