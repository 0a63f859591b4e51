//! The ledger's frame that a load stands on: currency, chart of accounts, periods, internal accounts.

use chrono::{Datelike, NaiveDate};
use serde_json::json;
use uuid::Uuid;

use super::berka::months;
use super::client::Request;
use super::identity::{self, Kind};

/// A code of the chart of accounts: code, name, class, whether members' accounts hang on it.
pub(crate) const LEDGER_CODES: &[(&str, &str, &str, bool)] = &[
    ("1000", "Cash", "asset", false),
    ("1100", "Other banks", "asset", false),
    ("1200", "Loan portfolio", "asset", false),
    ("1210", "Loan interest receivable", "asset", false),
    ("1220", "Loan charges receivable", "asset", false),
    ("1300", "Position", "asset", false),
    (MEMBERS_CURRENT_ACCOUNTS, "Members' current accounts", "liability", true),
    ("2200", "Members' savings", "liability", true),
    ("2300", "Members' fixed deposits", "liability", true),
    ("2900", "Suspense", "liability", false),
    ("3000", "Equity", "equity", false),
    ("4000", "Fee income", "income", false),
    ("4100", "Penalty interest income", "income", false),
    ("4200", "Loan interest income", "income", false),
    ("4210", "Loan fee income", "income", false),
    ("4220", "Loan penalty income", "income", false),
    ("5000", "Interest expense", "expense", false),
    ("5100", "Loan losses", "expense", false),
];

/// The control code of the data set's accounts.
pub(crate) const MEMBERS_CURRENT_ACCOUNTS: &str = "2100";

/// The institution's own accounts, one for each need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Internal {
    /// Banknotes and coins.
    Cash,
    /// What other banks owe us, less what we owe them.
    OtherBanks,
    /// Card payments until the card scheme settles them.
    Cards,
    /// Where money waits for a person to find its place.
    Suspense,
    /// Fees earned.
    FeeIncome,
    /// Penalty interest earned.
    PenaltyInterestIncome,
    /// Interest paid to members.
    InterestExpense,
    /// Principal that borrowers owe.
    LoanPortfolio,
    /// Loan interest earned and not yet paid.
    LoanInterestReceivable,
    /// Loan fees and penalties charged and not yet paid.
    LoanChargesReceivable,
    /// Loan interest earned.
    LoanInterestIncome,
    /// Loan fees earned.
    LoanFeeIncome,
    /// Loan penalties earned.
    LoanPenaltyIncome,
    /// Loans given up.
    LoanLosses,
}

impl Internal {
    /// Every one, in the order of the chart.
    pub(crate) const ALL: [Internal; 14] = [
        Internal::Cash,
        Internal::OtherBanks,
        Internal::Cards,
        Internal::Suspense,
        Internal::FeeIncome,
        Internal::PenaltyInterestIncome,
        Internal::InterestExpense,
        Internal::LoanPortfolio,
        Internal::LoanInterestReceivable,
        Internal::LoanChargesReceivable,
        Internal::LoanInterestIncome,
        Internal::LoanFeeIncome,
        Internal::LoanPenaltyIncome,
        Internal::LoanLosses,
    ];

    /// Number, name, ledger code.
    const fn describe(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Internal::Cash => ("INT-CASH", "Cash", "1000"),
            Internal::OtherBanks => ("INT-OTHER-BANKS", "Other banks", "1100"),
            Internal::Cards => ("INT-CARDS", "Card settlement", "1100"),
            Internal::Suspense => ("INT-SUSPENSE", "Suspense", "2900"),
            Internal::FeeIncome => ("INT-FEES", "Fee income", "4000"),
            Internal::PenaltyInterestIncome => ("INT-PENALTY-INTEREST", "Penalty interest income", "4100"),
            Internal::InterestExpense => ("INT-INTEREST", "Interest expense", "5000"),
            Internal::LoanPortfolio => ("INT-LOANS", "Loan portfolio", "1200"),
            Internal::LoanInterestReceivable => ("INT-LOAN-INTEREST-DUE", "Loan interest receivable", "1210"),
            Internal::LoanChargesReceivable => ("INT-LOAN-CHARGES-DUE", "Loan charges receivable", "1220"),
            Internal::LoanInterestIncome => ("INT-LOAN-INTEREST", "Loan interest income", "4200"),
            Internal::LoanFeeIncome => ("INT-LOAN-FEES", "Loan fee income", "4210"),
            Internal::LoanPenaltyIncome => ("INT-LOAN-PENALTIES", "Loan penalty income", "4220"),
            Internal::LoanLosses => ("INT-LOAN-LOSSES", "Loan losses", "5100"),
        }
    }

    /// The number by which people know it.
    pub(crate) const fn number(self) -> &'static str {
        self.describe().0
    }

    /// The code on which it hangs, for tests.
    #[cfg(test)]
    pub(crate) const fn ledger_code(self) -> &'static str {
        self.describe().2
    }

    /// Its id.
    pub(crate) fn id(self) -> Uuid {
        identity::id(Kind::Internal, self.number(), OPENED_ON)
    }

    fn open(self) -> Request {
        let (number, name, ledger_code) = self.describe();
        let body = json!({
            "id": self.id(), "number": number, "product": "internal", "name": name,
            "currency": "CZK", "ledger_code": ledger_code, "opened_on": OPENED_ON,
        });
        Request::new(format!("berka-internal-{number}"), "/v1/accounts", &body)
    }
}

/// The first day of the data set.
const OPENED_ON: NaiveDate = match NaiveDate::from_ymd_opt(1993, 1, 1) {
    Some(date) => date,
    None => NaiveDate::MIN,
};

/// The data set's loans run, and are paid for by made-up payments, until then.
pub(crate) const LOANS_UNTIL: NaiveDate = match NaiveDate::from_ymd_opt(1998, 12, 31) {
    Some(date) => date,
    None => NaiveDate::MAX,
};

/// Every request that the frame takes, in order: the months from the first to the last date of
/// the data get a period each, and so do this year's up to today, so that a newcomer can post.
pub(crate) fn requests(first: NaiveDate, last: NaiveDate, today: NaiveDate) -> Vec<Request> {
    let mut requests = vec![Request::new(
        "berka-currency-CZK".to_owned(),
        "/v1/ledger/currencies",
        &json!({"code": "CZK", "minor_units": 2}),
    )];
    requests.extend(LEDGER_CODES.iter().map(|(code, name, class, control)| {
        let body = json!({"code": code, "name": name, "class": class, "control": control});
        Request::new(format!("berka-code-{code}"), "/v1/ledger/codes", &body)
    }));
    let this_year = today.with_ordinal(1).unwrap_or(today);
    let mut periods = months(first, last);
    periods.extend(months(this_year, today));
    periods.sort_unstable();
    periods.dedup();
    requests.extend(periods.into_iter().map(period));
    requests.extend(Internal::ALL.into_iter().map(Internal::open));
    requests
}

fn period(from: NaiveDate) -> Request {
    let next = from.checked_add_months(chrono::Months::new(1)).and_then(|next| next.pred_opt());
    let id = from.format("%Y-%m").to_string();
    let body = json!({"id": id, "from": from, "to": next.unwrap_or(from)});
    Request::new(format!("berka-period-{id}"), "/v1/ledger/periods", &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(year: i32, month: u32, day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(year, month, day).unwrap()
    }

    #[test]
    fn the_frame_has_a_period_for_every_month_of_the_data_and_of_this_year() {
        let requests = requests(day(1993, 1, 1), day(1994, 3, 31), day(2026, 2, 14));
        let periods: Vec<&str> =
            requests.iter().filter_map(|request| request.key.strip_prefix("berka-period-")).collect();
        assert_eq!(periods.len(), 17);
        assert_eq!((periods[0], periods[14], periods[15], periods[16]), ("1993-01", "1994-03", "2026-01", "2026-02"));
        let february = requests.iter().find(|request| request.key == "berka-period-1994-02").unwrap();
        assert_eq!(february.json(), json!({"id": "1994-02", "from": "1994-02-01", "to": "1994-02-28"}));
    }

    #[test]
    fn the_scripts_know_where_incoming_payments_are_booked() {
        let script = include_str!("../../../scripts/roles.sh");
        for line in [
            format!("INCOMING_BANK_ACCOUNT={}", Internal::OtherBanks.id()),
            format!("INCOMING_SUSPENSE_ACCOUNT={}", Internal::Suspense.id()),
        ] {
            assert!(script.lines().any(|known| known == line), "scripts/roles.sh must say {line}");
        }
    }

    #[test]
    fn internal_accounts_hang_on_codes_of_the_chart_that_are_no_control_codes() {
        for internal in Internal::ALL {
            let code = LEDGER_CODES.iter().find(|code| code.0 == internal.ledger_code()).unwrap();
            assert!(!code.3, "{internal:?}");
        }
    }
}
