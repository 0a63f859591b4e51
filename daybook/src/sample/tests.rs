//! The sample is what it says: the same bytes, readable by our own reader, true to its shape.

use super::*;
use crate::load::{bank, berka::DataSet, mapping};
use std::collections::{HashMap, HashSet};

fn text(accounts: u32, seed: u64, months: u32) -> String {
    Bank::make_up(accounts, seed, months).files().map(|(_, text)| text).concat()
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    assert_eq!(text(20, 7, 4), text(20, 7, 4));
    assert_ne!(text(20, 7, 4), text(20, 8, 4));
    for (accounts, months) in [(1, 1), (3, 72)] {
        assert!(!text(accounts, 1, months).is_empty());
    }
}

#[test]
fn our_own_reader_takes_it_and_every_row_has_a_meaning() {
    let folder = std::env::temp_dir().join(format!("daybook-sample-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let made_up = Bank::make_up(300, 1, 6);
    for (name, text) in made_up.files() {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let set = DataSet::read(&folder);
    std::fs::remove_dir_all(&folder).unwrap();
    let set = set.unwrap();
    assert_eq!(set.accounts.len(), 300);
    assert!((5_500..6_500).contains(&set.transactions.len()), "{}", set.transactions.len());
    assert!(set.transactions.is_sorted_by_key(|row| row.date));

    let opened: HashMap<u64, NaiveDate> = set.accounts.iter().map(|a| (a.account_id, a.opened_on)).collect();
    let mut balances: HashMap<u64, Vec<&crate::load::berka::Transaction>> = HashMap::new();
    let mut overdrawn = HashSet::new();
    let mut combinations = HashSet::new();
    for row in &set.transactions {
        mapping::classify(row).unwrap();
        combinations.insert((row.direction, row.operation, row.symbol));
        assert!(row.amount_minor > 0 && opened[&row.account_id] <= row.date);
        let rows = balances.entry(row.account_id).or_default();
        let before_minor = rows.last().map_or(0, |row| row.balance_minor);
        assert_eq!(before_minor + row.change_minor(), row.balance_minor, "row {}", row.trans_id);
        rows.push(row);
        if row.balance_minor < 0 {
            overdrawn.insert(row.account_id);
        }
    }
    assert!((3..30).contains(&overdrawn.len()), "{overdrawn:?}");
    assert!(combinations.len() >= 11, "{combinations:?}");
    for rows in balances.values() {
        let sum_minor: i64 = rows.iter().map(|row| row.change_minor()).sum();
        assert!(bank::last_balance_minor(rows).unwrap().abs_diff(sum_minor) <= 100);
    }
}

#[test]
fn a_loan_is_its_payments() {
    let bank = Bank::make_up(300, 1, 6);
    assert!(!bank.loans.is_empty());
    let repaid: Vec<&Row> = bank.rows.iter().filter(|row| row.movement.k_symbol == "UVER").collect();
    assert!(!repaid.is_empty());
    for row in repaid {
        let loan = bank.loans.iter().find(|loan| loan.account_id == row.account_id).unwrap();
        assert!(row.amount_minor.abs_diff(loan.payment_minor) <= 50 && row.date > loan.date);
    }
}

#[test]
fn real_data_is_never_overwritten() {
    let folder = std::env::temp_dir().join(format!("daybook-real-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("trans.asc"), "real").unwrap();
    let refused = refuse_to_overwrite(&folder).is_err();
    std::fs::write(folder.join(README), MARK).unwrap();
    let taken = refuse_to_overwrite(&folder).is_ok();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(refused && taken);
}
