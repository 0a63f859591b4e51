//! Records that come back as they were, and records that are refused.

use super::*;

type Headers = Vec<(&'static str, Vec<u8>)>;

fn recorded() -> Recorded {
    Recorded {
        position: 71,
        recorded_at_us: 1_790_000_000_123_456,
        stream: "account/0190f3a0-0000-7000-8000-000000000001".parse().unwrap(),
        sequence: 5,
        event_type: "LimitChanged".to_owned(),
        event_version: "1".to_owned(),
        // Spaces, order and escapes must come back as they are.
        payload: "{ \"type\":\"LimitChanged\",  \"minimum_balance_minor\" : -100, \"é\":\"\\u00e9\" }".to_owned(),
        metadata: "{\"traceparent\": \"00-aa-bb-01\",\"tenant\":\"main\", \"actor\":\"žofie\"}".to_owned(),
        command_id: "0190f3a0-0000-7000-8000-0000000000ff".to_owned(),
        event_hash: [0xab; 32],
        chain_hash: [0x01; 32],
    }
}

fn bytes(headers: Vec<(&'static str, impl AsRef<str>)>) -> Headers {
    headers.into_iter().map(|(name, value)| (name, value.as_ref().as_bytes().to_vec())).collect()
}

fn read(headers: &Headers, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<KafkaRecord, EnvelopeError> {
    from_kafka(|name| headers.iter().find(|(of, _)| *of == name).map(|(_, value)| value.as_slice()), key, value)
}

fn read_event_with(name: &'static str, value: &[u8]) -> Result<KafkaRecord, EnvelopeError> {
    let event = recorded();
    let mut headers = bytes(headers(&event, "main", 12));
    headers.iter_mut().filter(|(of, _)| *of == name).for_each(|(_, old)| *old = value.to_vec());
    read(&headers, Some(event.stream.to_string().as_bytes()), Some(event.payload.as_bytes()))
}

#[test]
fn an_event_comes_back_byte_for_byte() {
    let mut event = recorded();
    for recorded_at_us in [0, 1, -1, 1_790_000_000_000_000, 1_790_000_000_999_999, 253_402_300_799_999_999] {
        event.recorded_at_us = recorded_at_us;
        for tenant in ["main", "a/b", "x"] {
            let headers = bytes(headers(&event, tenant, 12));
            let key = event.stream.to_string();
            let back = read(&headers, Some(key.as_bytes()), Some(event.payload.as_bytes())).unwrap();
            assert_eq!(back, KafkaRecord::Event { recorded: event.clone(), ordinal: 12, tenant: tenant.to_owned() });
        }
    }
}

#[test]
fn the_headers_are_those_of_cloud_events() {
    let event = recorded();
    let headers = headers(&event, "main", 12);
    let lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(
        lines,
        [
            "ce_specversion: 1.0",
            "ce_id: main/71",
            "ce_source: /daybook/main",
            "ce_type: daybook.account.LimitChanged.v1",
            "ce_subject: account/0190f3a0-0000-7000-8000-000000000001",
            "ce_time: 2026-09-21T14:13:20.123456Z",
            "content-type: application/json",
            "ce_position: 71",
            "ce_sequence: 5",
            "ce_ordinal: 12",
            &format!("ce_eventhash: {}", "ab".repeat(32)),
            &format!("ce_chainhash: {}", "01".repeat(32)),
            "ce_commandid: 0190f3a0-0000-7000-8000-0000000000ff",
            "ce_traceparent: 00-aa-bb-01",
            "daybook-metadata: {\"traceparent\": \"00-aa-bb-01\",\"tenant\":\"main\", \"actor\":\"žofie\"}",
        ]
    );
}

#[test]
fn a_watermark_comes_back() {
    for (partition, position, ordinal) in [(0, 0, 0), (11, 9, 4), (3, u64::MAX, u64::MAX)] {
        let headers = bytes(watermark_headers("main", partition, position));
        let value = watermark_value(position, ordinal);
        assert_eq!(read(&headers, None, Some(value.as_bytes())).unwrap(), KafkaRecord::Watermark { position, ordinal });
    }
    let headers = bytes(watermark_headers("main", 3, 9));
    for value in
        ["", "{}", "{\"position\":9}", "{\"position\":-9,\"ordinal\":1}", "{\"position\":9,\"ordinal\":1,\"x\":1}"]
    {
        let error = read(&headers, None, Some(value.as_bytes())).unwrap_err();
        assert!(matches!(error, EnvelopeError::WatermarkValue { .. }), "{value}: {error}");
    }
    let error = read(&headers, None, Some(watermark_value(8, 1).as_bytes())).unwrap_err();
    assert!(matches!(error, EnvelopeError::Contradiction { header: CE_ID, .. }), "{error}");
}

#[test]
fn every_missing_header_is_named() {
    let event = recorded();
    let all = bytes(headers(&event, "main", 12));
    let key = event.stream.to_string();
    for (name, _) in &all {
        let mut some = all.clone();
        some.retain(|(of, _)| of != name);
        let result = read(&some, Some(key.as_bytes()), Some(event.payload.as_bytes()));
        if *name == CE_TRACEPARENT {
            assert!(result.is_ok(), "a trace is not required");
        } else {
            assert!(
                matches!(result, Err(EnvelopeError::MissingHeader { header }) if header == *name),
                "without {name}: {result:?}"
            );
        }
    }
}

#[test]
fn every_malformed_header_is_named() {
    let cases: [(&str, &[&str]); 13] = [
        (CE_SPECVERSION, &["", "1", "2.0"]),
        (CONTENT_TYPE, &["", "text/plain"]),
        (CE_SOURCE, &["", "/daybook/", "daybook/main"]),
        (
            CE_TYPE,
            &["", "daybook", "daybook.account", "daybook.account.X", "daybook.payment.X.v1", "daybook.account..v1"],
        ),
        (CE_SUBJECT, &["", "account", "account/1", "loan/main", "account/0190F3A0-0000-7000-8000-000000000001"]),
        (
            CE_TIME,
            &["", "now", "2026-09-21T14:13:20Z", "2026-09-21T14:13:20.123456+00:00", "2026-09-21T14:13:20.1234567Z"],
        ),
        (CE_POSITION, &["", "0", "-1", "+71", "071", "7.1", "18446744073709551616"]),
        (CE_SEQUENCE, &["", "0", "x"]),
        (CE_ORDINAL, &["", "0", "x"]),
        (CE_EVENTHASH, &["", "ab", "zz"]),
        (CE_CHAINHASH, &["", "AB"]),
        (CE_COMMANDID, &[""]),
        (CE_CHAINHASH, &["ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB"]),
    ];
    for (name, values) in cases {
        for value in values {
            let result = read_event_with(name, value.as_bytes());
            assert!(
                matches!(result, Err(EnvelopeError::MalformedHeader { header, .. }) if header == name),
                "{name}: {value}: {result:?}"
            );
        }
        let result = read_event_with(name, b"\xff");
        assert!(matches!(result, Err(EnvelopeError::HeaderNotUtf8 { header }) if header == name), "{name}: {result:?}");
    }
    assert!(matches!(read_event_with(METADATA, b"\xff"), Err(EnvelopeError::HeaderNotUtf8 { header: METADATA })));
}

#[test]
fn a_record_that_contradicts_itself_is_refused() {
    for (name, value) in [(CE_ID, "main/72"), (CE_ID, "other/71"), (CE_TYPE, "daybook.member.LimitChanged.v1")] {
        let result = read_event_with(name, value.as_bytes());
        assert!(
            matches!(result, Err(EnvelopeError::Contradiction { header, .. }) if header == name),
            "{name}: {value}: {result:?}"
        );
    }
    let event = recorded();
    let headers = bytes(headers(&event, "main", 12));
    let key = event.stream.to_string();
    let payload = Some(event.payload.as_bytes());
    assert!(matches!(read(&headers, None, payload), Err(EnvelopeError::MissingKey)));
    assert!(matches!(read(&headers, Some(b"account/\xff"), payload), Err(EnvelopeError::WrongKey { .. })));
    assert!(matches!(read(&headers, Some(key.as_bytes()), None), Err(EnvelopeError::MissingValue)));
    assert!(matches!(read(&headers, Some(key.as_bytes()), Some(b"\xff")), Err(EnvelopeError::ValueNotUtf8)));
}

#[test]
fn a_time_that_rfc_3339_cannot_express_is_refused_rather_than_changed() {
    for recorded_at_us in [i64::MAX, i64::MIN, 253_402_300_800_000_000] {
        let event = Recorded { recorded_at_us, ..recorded() };
        let headers = bytes(headers(&event, "main", 1));
        let result = read(&headers, Some(event.stream.to_string().as_bytes()), Some(event.payload.as_bytes()));
        assert!(
            matches!(result, Err(EnvelopeError::MalformedHeader { header: CE_TIME, .. })),
            "{recorded_at_us}: {result:?}"
        );
    }
}
