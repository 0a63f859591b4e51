//! What the bank's own figures say, beyond single rows.
//!
//! The truth of a load is the exact sum of the published amounts; the published balances are a
//! plausibility check, since the bank kept finer fractions than it published and the rows of one
//! day are in no particular order.

use super::berka::Transaction;

const CREDIT_LINE_STEP_MINOR: i64 = 100_000;
/// How far a published balance may be from its predecessor's plus the amount: the fractions that
/// the bank kept and did not publish.
const FRACTIONS_MINOR: i64 = 20;

/// What the bank evidently allowed: the lowest point of the running sum of an account's rows in
/// the order of the file, up to the next 1,000 CZK. In minor units, not below zero.
pub(crate) fn evident_credit_line_minor(changes_minor: impl IntoIterator<Item = i64>) -> i64 {
    let (mut sum_minor, mut lowest_minor) = (0i64, 0i64);
    for change_minor in changes_minor {
        sum_minor = sum_minor.saturating_add(change_minor);
        lowest_minor = lowest_minor.min(sum_minor);
    }
    let steps = lowest_minor.unsigned_abs().div_ceil(CREDIT_LINE_STEP_MINOR.unsigned_abs());
    i64::try_from(steps).unwrap_or(i64::MAX).saturating_mul(CREDIT_LINE_STEP_MINOR)
}

/// The last balance that the bank published for an account, given its rows in the order of the
/// file: of the rows of the last day the one from whose balance no other row of that day goes on.
pub(crate) fn last_balance_minor(rows: &[&Transaction]) -> Option<i64> {
    let last = rows.last()?;
    let day: Vec<&Transaction> = rows.iter().copied().filter(|row| row.date == last.date).collect();
    let goes_on = |row: &Transaction| {
        day.iter().any(|next| {
            let before_minor = next.balance_minor.saturating_sub(next.change_minor());
            next.trans_id != row.trans_id && before_minor.abs_diff(row.balance_minor) <= FRACTIONS_MINOR.unsigned_abs()
        })
    };
    let closing = day.iter().rev().find(|row| !goes_on(row));
    Some(closing.map_or(last.balance_minor, |row| row.balance_minor))
}

#[cfg(test)]
mod tests {
    use super::super::berka::{Direction, Operation, Symbol};
    use super::*;
    use chrono::NaiveDate;

    fn row(trans_id: u64, day: u32, change_minor: i64, balance_minor: i64) -> Transaction {
        Transaction {
            trans_id,
            account_id: 1,
            date: NaiveDate::from_ymd_opt(1993, 6, day).unwrap(),
            direction: if change_minor < 0 { Direction::Debit } else { Direction::Credit },
            operation: Operation::CashDeposit,
            symbol: Symbol::None,
            amount_minor: change_minor.abs(),
            balance_minor,
        }
    }

    #[test]
    fn a_credit_line_covers_the_lowest_point_in_whole_thousands() {
        assert_eq!(evident_credit_line_minor([100, -50]), 0);
        assert_eq!(evident_credit_line_minor([100_000, -100_001]), 100_000);
        assert_eq!(evident_credit_line_minor([-100_000, 900_000]), 100_000);
        assert_eq!(evident_credit_line_minor([-1_905_680, 500, -1]), 2_000_000);
    }

    #[test]
    fn the_closing_row_of_a_day_is_the_one_that_nothing_goes_on_from() {
        // The fee was booked after the interest, and stands before it in the file.
        let rows = [row(1, 29, 100_000, 100_000), row(2, 30, -1_460, 98_950), row(3, 30, 405, 100_410)];
        let rows: Vec<&Transaction> = rows.iter().collect();
        assert_eq!(last_balance_minor(&rows), Some(98_950));
        assert_eq!(last_balance_minor(&rows[..1]), Some(100_000));
        assert_eq!(last_balance_minor(&[]), None);
    }
}
