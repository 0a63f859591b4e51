//! The log for auditors: the exact bytes, in order, never silently cut short.

use std::fmt::Write;

use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;

use crate::bank::{ANNS, BOBS, Bank, Reply};

/// Events 1 to `last`: odd ones of the ledger, even ones of Ann's account.
async fn write_log(bank: &Bank, last: u64) {
    let mut sql = String::new();
    for position in 1..=last {
        let (stream, event_type, payload) = if position % 2 == 1 {
            (
                "'ledger', 'main'".to_owned(),
                "CurrencyDefined",
                format!("{{ \"type\":\"CurrencyDefined\",  \"n\":{position}.0}}"),
            )
        } else {
            (format!("'account', '{ANNS}'"), "EntryPosted", format!("{{\"b\":{position},\"a\":1e2}}"))
        };
        write!(
            sql,
            "INSERT INTO events VALUES ({stream}, {}, '{event_type}', '1', '{payload}', '{{\"client\":\"dev\"}}', {position}, \
             '2026-01-01 00:00:00.000001+00'::timestamptz + {position} * interval '1 second', \
             decode(lpad(to_hex({position}), 64, '0'), 'hex'), decode(lpad(to_hex({position}), 64, 'f'), 'hex'), 'c-{position}');",
            position.div_ceil(2)
        )
        .unwrap();
    }
    write!(sql, "UPDATE log_head SET batch = batch + 1, position = {last}").unwrap();
    sqlx::raw_sql(&sql).execute(&bank.log).await.unwrap();
}

fn lines(reply: &Reply) -> (Vec<Value>, Value) {
    let mut lines: Vec<Value> = reply.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.pop().unwrap();
    (lines, last)
}

fn positions(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["position"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn an_event_is_shown_with_its_exact_bytes() {
    let bank = Bank::found("bytes").await;
    write_log(&bank, 4).await;
    let reply = bank.get("/v1/events/3").await;
    assert_eq!(reply.position(), 4);
    let expected = format!(
        "{{\"position\":3,\"recorded_at\":\"2026-01-01T00:00:03.000001Z\",\"stream\":\"ledger/main\",\"sequence\":2,\
         \"type\":\"CurrencyDefined\",\"version\":\"1\",\"command_id\":\"c-3\",\"event_hash\":\"{:0>64}\",\
         \"chain_hash\":\"{:f>64}\",\"payload\":{{ \"type\":\"CurrencyDefined\",  \"n\":3.0}},\
         \"metadata\":{{\"client\":\"dev\"}}}}",
        3, 3
    );
    assert_eq!(reply.text, expected);
    let stream = bank.get("/v1/events?after_position=2&limit=1").await;
    assert_eq!(stream.headers["content-type"], "application/x-ndjson");
    assert_eq!(stream.text, format!("{expected}\n{{\"end\":{{\"position\":3,\"count\":1,\"head\":4}}}}\n"));
    assert_eq!(bank.refused("/v1/events/5").await, (404, "event_not_found".to_owned()));
    bank.close().await;
}

#[tokio::test]
async fn a_stream_of_events_is_whole() {
    let bank = Bank::found("whole").await;
    let empty = bank.get("/v1/events").await;
    assert_eq!(empty.text, "{\"end\":{\"position\":0,\"count\":0,\"head\":0}}\n");
    // More than two pages.
    let head: u64 = 2_345;
    write_log(&bank, head).await;
    let all: Vec<u64> = (1..=head).collect();
    let odd: Vec<u64> = (1..=head).step_by(2).collect();
    let even: Vec<u64> = (2..=head).step_by(2).collect();
    for (query, expected, end) in [
        ("".to_owned(), all.clone(), head),
        ("after_position=1000".to_owned(), all[1000..].to_vec(), head),
        ("after_position=1000&limit=1000".to_owned(), all[1000..2000].to_vec(), 2000),
        ("after_position=5000".to_owned(), vec![], 5000),
        ("stream=ledger/main".to_owned(), odd.clone(), head),
        (format!("stream=account/{ANNS}&limit=1100"), even[..1100].to_vec(), 2200),
        (format!("stream=account/{ANNS}&after_position=2200"), even[1100..].to_vec(), head),
        (format!("stream=account/{BOBS}"), vec![], head),
        ("type=EntryPosted".to_owned(), even.clone(), head),
        ("type=EntryPosted&limit=600&after_position=10".to_owned(), even[5..605].to_vec(), 1210),
        (format!("type=EntryPosted&stream=account/{ANNS}"), even, head),
        ("type=CurrencyDefined&stream=ledger/main&limit=2".to_owned(), odd[..2].to_vec(), 3),
        ("type=MemberRegistered".to_owned(), vec![], head),
    ] {
        let reply = bank.get(&format!("/v1/events?{query}")).await;
        let (events, last) = lines(&reply);
        assert_eq!(positions(&events), expected, "{query}");
        assert_eq!(last, json!({"end": {"position": end, "count": expected.len(), "head": head}}), "{query}");
        assert_eq!(reply.position(), head);
    }
    bank.close().await;
}

/// Rows that are missing below the head are an error in the reply's last line, after what was whole.
#[tokio::test]
async fn a_gap_is_never_passed_over() {
    let bank = Bank::found("gap").await;
    write_log(&bank, 2_345).await;
    let delete = "ALTER TABLE events_000000 DISABLE TRIGGER append_only; DELETE FROM events_000000 WHERE position IN (2100, 2345); \
                  ALTER TABLE events_000000 ENABLE TRIGGER append_only";
    sqlx::raw_sql(delete).execute(&bank.log).await.unwrap();
    for (query, sent) in [("", 2000), ("type=EntryPosted", 1000), (&*format!("stream=account/{ANNS}"), 1000)] {
        let reply = bank.get(&format!("/v1/events?{query}")).await;
        let (events, last) = lines(&reply);
        assert_eq!((reply.status.as_u16(), events.len()), (200, sent), "{query}");
        assert_eq!(last["error"]["code"], "log_broken", "{query}: {last}");
    }
    let reply = bank.get("/v1/events?after_position=2200").await;
    assert_eq!(
        reply.json()["code"],
        "log_broken",
        "the last is missing, and in the first page that is a plain problem"
    );
    assert_eq!(reply.status, 500);
    assert_eq!(bank.refused("/v1/events/2345").await, (500, "log_broken".to_owned()));
    bank.close().await;
}

/// The database goes away in the middle of a long reply: its last line says so.
#[tokio::test]
async fn a_lost_database_ends_the_stream_with_an_error() {
    use axum::body::Body;
    use axum::http::Request;
    use futures::StreamExt;
    use tower::ServiceExt;

    let bank = Bank::found("cut_off").await;
    write_log(&bank, 2_345).await;
    let log = PgPoolOptions::new().connect(bank.place.get("DAYBOOK_LOG_READER_URL")).await.unwrap();
    let router = bank.router_over(log.clone());
    let request = Request::get("/v1/events").body(Body::empty()).unwrap();
    let mut body = router.oneshot(request).await.unwrap().into_body().into_data_stream();
    let mut text = body.next().await.unwrap().unwrap().to_vec();
    log.close().await;
    while let Some(chunk) = body.next().await {
        text.extend_from_slice(&chunk.unwrap());
    }
    let text = String::from_utf8(text).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(text.lines().count(), 1_001);
    assert_eq!(last["error"]["code"], "database_unavailable", "{last}");
    bank.close().await;
}
