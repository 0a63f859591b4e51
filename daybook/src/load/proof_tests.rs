//! The checks find what is wrong, and only that.

use super::*;

fn shown(trial: &[(&str, &str, &str, &str)], accounts: &[(&str, i128)]) -> Shown {
    let line = |(code, debit, credit, balance): &(&str, &str, &str, &str)| TrialLine {
        ledger_code: (*code).to_owned(),
        name: "Name".to_owned(),
        currency: currency(),
        debit: (*debit).to_owned(),
        credit: (*credit).to_owned(),
        balance: (*balance).to_owned(),
    };
    let mut by_code: BTreeMap<(String, String), (i128, u64)> = BTreeMap::new();
    for (code, balance_minor) in accounts {
        let (sum_minor, count) = by_code.entry(((*code).to_owned(), "CZK".to_owned())).or_default();
        *sum_minor += balance_minor;
        *count += 1;
    }
    Shown { trial_balance: trial.iter().map(line).collect(), parked: false, accounts: HashMap::new(), by_code }
}

fn failed(checks: &[Check]) -> Vec<&str> {
    checks.iter().filter(|check| !check.passed).map(|check| check.text.as_str()).collect()
}

#[test]
fn a_trial_balance_that_agrees_with_its_accounts_passes() {
    let trial = [("1000", "10.00", "2.50", "7.50"), ("2100", "2.50", "10.00", "7.50")];
    let checks = ledger_checks(&shown(&trial, &[("1000", 750), ("2100", 1000), ("2100", -250)])).unwrap();
    assert_eq!(failed(&checks), Vec::<&str>::new());
    assert!(checks.iter().any(|check| check.text == "code 2100 Name: 7.50 = sum of its 2 accounts 7.50"), "{checks:?}");
}

#[test]
fn an_unbalanced_ledger_and_a_control_code_that_differs_fail() {
    let trial = [("1000", "10.00", "2.50", "7.50"), ("2100", "2.50", "10.01", "7.51")];
    let checks = ledger_checks(&shown(&trial, &[("1000", 750), ("2100", 750)])).unwrap();
    let failed = failed(&checks);
    assert_eq!(failed.len(), 3, "{failed:?}");
    assert_eq!(failed[0], "trial balance in CZK: debits 12.50 = credits 12.51");
    assert_eq!(failed[1], "code 2100 Name: 7.51 = sum of its 1 accounts 7.50");
}

fn expectation(accepted_minor: i64, bank_minor: i64) -> Expectation {
    Expectation {
        source_id: 1,
        account_id: Uuid::from_u128(1),
        accepted_minor,
        published_minor: accepted_minor,
        rows: 1,
        replied_minor: Some(accepted_minor),
        bank_minor: Some(bank_minor),
        transactions: HashSet::new(),
    }
}

#[test]
fn bookings_of_others_are_set_apart() {
    let found = Found { shown_minor: Some(1_300), foreign_minor: 300, bank_agrees: None };
    assert!(found.matches(&expectation(1_000, 0)));
    assert!(!found.matches(&expectation(1_001, 0)));
    assert!(!Found { shown_minor: None, ..found }.matches(&expectation(1_000, 0)));
}

#[test]
fn the_bank_may_differ_by_a_crown_and_on_a_few_accounts() {
    assert_eq!(bank_agrees(&expectation(1_000, 1_100)), Some(true));
    assert_eq!(bank_agrees(&expectation(1_000, 1_101)), Some(false));
    let found = |agreeing: usize| -> Vec<Found> {
        (0..100).map(|at| Found { shown_minor: None, foreign_minor: 0, bank_agrees: Some(at < agreeing) }).collect()
    };
    assert!(bank(&found(97), 97).unwrap().passed);
    assert!(!bank(&found(96), 97).unwrap().passed);
    assert!(bank(&[], 97).is_none());
}

#[test]
fn sums_are_read_exactly_and_of_any_size() {
    assert_eq!(parse("-0.50", currency()).unwrap(), -50);
    assert_eq!(parse("90071992547409910.00", currency()).unwrap(), 9_007_199_254_740_991_000);
    assert!(parse("1", currency()).is_err());
    assert!(parse("1.5", currency()).is_err());
    assert!(parse("1.x0", currency()).is_err());
}
