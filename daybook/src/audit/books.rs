//! What the events of the log, or of a replay, add up to: balances of guarded accounts, legs of every
//! account, loans.

use std::collections::{BTreeMap, HashMap};

use anyhow::ensure;
use domain::account::AccountEvent;
use domain::loan::LoanStatus;
use domain::money::decimal;
use domain::transaction::{Leg, TransactionEvent};
use domain::{AccountId, Currency, Event, Loan, LoanId, Side};
use event_schemas::Recorded;

/// The sums so far.
#[derive(Default)]
pub(super) struct Books {
    /// Of guarded accounts: the balance after the last entry, on the normal side, in minor units.
    pub(super) balances: HashMap<AccountId, i64>,
    /// Debits less credits of every account, in minor units.
    pub(super) legs: HashMap<AccountId, i128>,
    /// Loans, folded.
    pub(super) loans: BTreeMap<LoanId, Loan>,
}

impl Books {
    /// Takes the next event of its stream.
    pub(super) fn apply(&mut self, recorded: &Recorded) -> anyhow::Result<()> {
        match recorded.event()? {
            Event::Account(AccountEvent::EntryPosted { balance_minor, .. }) => {
                self.balances.insert(AccountId(recorded.stream.id), balance_minor);
            }
            Event::Transaction(
                TransactionEvent::TransactionPosted { legs, .. } | TransactionEvent::PendingPosted { legs, .. },
            ) => self.book(&legs),
            Event::Loan(event) => self.loans.entry(LoanId(recorded.stream.id)).or_default().fold(&event),
            Event::Account(_)
            | Event::Transaction(_)
            | Event::Member(_)
            | Event::Ledger(_)
            | Event::Rejection(_)
            | Event::LoanProduct(_)
            | Event::Saga(_) => {}
        }
        Ok(())
    }

    fn book(&mut self, legs: &[Leg]) {
        for leg in legs {
            let amount_minor = i128::from(leg.amount_minor);
            let sum_minor = self.legs.entry(leg.account_id).or_default();
            *sum_minor += if leg.side == Side::Debit { amount_minor } else { -amount_minor };
        }
    }

    /// Debits less credits of an account, in minor units.
    pub(super) fn legs_minor(&self, account_id: AccountId) -> i128 {
        self.legs.get(&account_id).copied().unwrap_or(0)
    }
}

/// What an account that only loans post to has to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dedicated {
    pub(super) currency: Currency,
    /// What it is for.
    pub(super) what: &'static str,
    /// The sum over its loans, in minor units.
    pub(super) owed_minor: i128,
    /// Loans that post to it and are not given up.
    pub(super) loans: u64,
}

/// Portfolio and receivable accounts with the sums of their loans. A loan that was written off is no
/// longer in them; one that is on its way to another bank is not yet.
pub(super) fn dedicated(loans: &BTreeMap<LoanId, Loan>) -> BTreeMap<AccountId, Dedicated> {
    let mut accounts: BTreeMap<AccountId, Dedicated> = BTreeMap::new();
    for loan in loans.values() {
        let owed = loan.outstanding();
        let parts = [
            (loan.accounts.portfolio_account_id, "outstanding principal", i128::from(owed.principal_minor)),
            (
                loan.accounts.interest_receivable_account_id,
                "interest receivable",
                loan.interest_receivable_minor().into(),
            ),
            (
                loan.accounts.charges_receivable_account_id,
                "charges receivable",
                i128::from(owed.fee_minor) + i128::from(owed.penalty_minor),
            ),
        ];
        for (account_id, what, owed_minor) in parts {
            let account = accounts.entry(account_id).or_default();
            account.currency = loan.currency;
            account.what = what;
            if loan.status != LoanStatus::WrittenOff {
                account.owed_minor += owed_minor;
                account.loans += 1;
            }
        }
    }
    accounts
}

/// That the legs of every such account are the sum of its loans.
pub(super) fn check_dedicated(name: &str, books: &Books) -> anyhow::Result<BTreeMap<AccountId, Dedicated>> {
    let accounts = dedicated(&books.loans);
    for (account_id, account) in &accounts {
        let (legs_minor, told) = (books.legs_minor(*account_id), |minor| decimal(minor, account.currency));
        ensure!(
            legs_minor == account.owed_minor,
            "account {account_id}: by the legs of the {name} {}, {} of its loans {}",
            told(legs_minor),
            account.what,
            told(account.owed_minor)
        );
    }
    Ok(accounts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::loan::{Amounts, Instalment};
    use uuid::Uuid;

    fn account(number: u128) -> AccountId {
        AccountId(Uuid::from_u128(number))
    }

    fn loan(status: LoanStatus, due: Amounts, recognised_interest_minor: i64) -> Loan {
        let mut loan = Loan { status, ..Loan::default() };
        loan.accounts.portfolio_account_id = account(1);
        loan.accounts.interest_receivable_account_id = account(2);
        loan.accounts.charges_receivable_account_id = account(3);
        let paid = Amounts { principal_minor: 300, ..Amounts::default() };
        let due_on = chrono::NaiveDate::default();
        loan.instalments = vec![Instalment { number: 1, due_on, due, paid, recognised_interest_minor }];
        loan
    }

    #[test]
    fn accounts_of_loans_are_their_sums_and_a_minor_unit_is_missed() {
        let due = Amounts { principal_minor: 1_000, interest_minor: 90, fee_minor: 7, penalty_minor: 5 };
        let mut books = Books::default();
        for (number, status) in [(1, LoanStatus::Active), (2, LoanStatus::Active), (3, LoanStatus::WrittenOff)] {
            books.loans.insert(LoanId(Uuid::from_u128(number)), loan(status, due, 40));
        }
        books.legs = HashMap::from([(account(1), 1_400), (account(2), 80), (account(3), 24)]);
        let accounts = check_dedicated("log", &books).unwrap();
        assert_eq!((accounts[&account(1)].owed_minor, accounts[&account(1)].loans), (1_400, 2), "what is lost is gone");
        for number in 1..=3 {
            *books.legs.get_mut(&account(number)).unwrap() += 1;
            let error = check_dedicated("log", &books).unwrap_err().to_string();
            assert!(error.contains(&account(number).to_string()), "{error}");
            *books.legs.get_mut(&account(number)).unwrap() -= 1;
        }
    }
}
