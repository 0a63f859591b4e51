use super::*;
use crate::results::tests::{self, result};

fn figures(done: u64, p99_us: u64) -> Figures {
    let latency = Percentiles { count: done, p50_us: 1, p95_us: 2, p99_us, p999_us: 1_234_567, max_us: 9 };
    Figures {
        unit: "transfers".into(),
        done,
        elapsed_us: 2_000_000,
        latency: Some(latency),
        events: done * 3,
        commits: 10,
        wal_bytes: done * 900,
        cpu_ms: [(GENERATOR.to_owned(), 100), ("postgres".to_owned(), 1_000)].into(),
        ..Figures::default()
    }
}

fn results(lines: &[(&str, u32, Outcome)]) -> (tempfile::TempDir, Results) {
    let folder = tempfile::tempdir().unwrap();
    let mut results = Results::open(&folder.path().join("results.jsonl")).unwrap();
    for (scenario, round, outcome) in lines {
        results.append(result(scenario, *round, outcome.clone())).unwrap();
    }
    (folder, results)
}

fn measured(part: &str, figures: Figures) -> Outcome {
    Outcome::Measured(vec![Part::new(part, figures)])
}

#[test]
fn rounds_are_told_by_their_median_and_aims_by_what_was_reached() {
    let (_folder, results) = results(&[
        ("transfers-10k", 1, measured("capacity", figures(50_000, 7_000))),
        ("transfers-10-hot", 1, measured("capacity", figures(30_000, 7_000))),
        ("transfers-10k", 2, measured("capacity", figures(30_000, 9_000))),
        ("transfers-10k", 3, measured("capacity", figures(44_000, 8_000))),
    ]);
    let (machine, scale) = results.last().unwrap();
    let told = told(&results, machine, scale).unwrap();
    let row = "| transfers-10k | capacity | transfers | closed loop | 22000 | 15000–25000 | 0.00 | 0.00 | 8.00 | 1234 | 0.00 |  |";
    assert!(told.text.contains(row), "{}", told.text);
    assert!(
        told.text.contains("| transfers, one a request, 10,000 accounts | ≥ 20000 /s | 22000 /s | yes |"),
        "{}",
        told.text
    );
    assert!(told.text.contains("| ten hot accounts, of uniform | ≥ 90 % | 68 % | **no** |"), "{}", told.text);
    assert!(told.text.contains("| of stock cqrs-es | ≥ 800 % | not measured | – |"), "{}", told.text);
    assert!(told.text.contains("| transfers-10k | capacity | 2 | 22 |  | 300 | 13200 |"), "{}", told.text);
    let json: serde_json::Value = serde_json::from_str(&told.json).unwrap();
    assert_eq!(json["rows"][0]["per_second"], serde_json::json!({"median": 22_000, "min": 15_000, "max": 25_000}));
}

#[test]
fn a_latency_at_a_rate_that_was_not_reached_meets_no_aim() {
    let at = |done| {
        let asked_per_second = Some(20_000);
        Figures { asked_per_second, ..figures(done, 7_000) }
    };
    for (done, reached) in [(40_000, "7000 µs | yes"), (20_000, "not measured | –")] {
        let (_folder, results) = results(&[("transfers-10k", 1, measured("at the aim", at(done)))]);
        let (machine, scale) = results.last().unwrap();
        let text = told(&results, machine, scale).unwrap().text;
        assert!(text.contains(&format!("| their p99 at 20,000/s | ≤ 20000 µs | {reached} |")), "{text}");
    }
}

#[test]
fn a_failure_stays_in_the_report_until_it_is_taken_back() {
    let failure = Outcome::Failed("the trial balance is 7".into());
    let (_folder, results) = results(&[
        ("overload", 1, failure.clone()),
        ("growth", 1, failure),
        ("overload", 1, measured("3x", figures(1, 1))),
        ("idle-50k", 1, Outcome::NotRun("too few files".into())),
    ]);
    let (machine, scale) = results.last().unwrap();
    let text = told(&results, machine, scale).unwrap().text;
    assert!(text.contains("- growth (round 1): the trial balance is 7"), "{text}");
    assert!(!text.contains("- overload (round 1)"), "{text}");
    assert!(text.contains("- idle-50k: too few files"), "{text}");
}

#[test]
fn what_bounds_a_figure_is_added_to_the_written_report() {
    let (folder, results) = results(&[("growth", 1, measured("grown", figures(1, 1)))]);
    let (machine, scale) = results.last().unwrap();
    std::fs::write(folder.path().join("bounds.toml"), "growth = \"the disk\"\n").unwrap();
    told(&results, machine, scale).unwrap().write(folder.path()).unwrap();
    let text = std::fs::read_to_string(folder.path().join("latest.md")).unwrap();
    assert!(text.contains("- **growth**: the disk"), "{text}");
    let short = Scale { short: true, ..tests::scale() };
    let told = told(&results, machine, &short).unwrap();
    assert!(told.text.contains(SHORT), "a short form says so and is written beside: {}", told.text);
}

#[test]
fn latencies_are_shown_in_milliseconds() {
    assert_eq!([7, 9_999, 12_345, 123_456].map(millis), ["0.00", "9.99", "12.3", "123"]);
}
