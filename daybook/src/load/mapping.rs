//! From rows of the data set to the requests that a client would send.
//!
//! Transactions are written short (from, to, amount): the sides of their legs follow from the
//! accounts' normal sides, as for a client at a counter, who need not know which side is which; a
//! wrong direction would show in the checks at the end, which compare balances account by account.
//!
//! Invariants: a combination of columns that has no meaning here is refused before anything is
//! sent; the same row always gives the same bytes under the same key.

use anyhow::{Result, bail};
use chrono::NaiveDate;
use domain::Money;
use domain::transaction::TransactionKind;
use serde_json::json;
use std::collections::HashMap;
use uuid::Uuid;

use super::berka::{Account, Client, DataSet, Direction, Disposition, Operation, Role, Symbol, Transaction, currency};
use super::chart::{Internal, MEMBERS_CURRENT_ACCOUNTS};
use super::client::Request;
use super::identity::{self, Kind};
use super::loans;

/// What a row of `trans.asc` is in our ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) kind: TransactionKind,
    /// The other side of its entry.
    pub(crate) other: Other,
}

/// The other side of a row's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    /// An internal account.
    Internal(Internal),
    /// The loan that is paid for out of the account.
    Loan,
}

/// Classifies a row by direction, operation and k_symbol.
pub(crate) fn classify(row: &Transaction) -> Result<Class> {
    use TransactionKind::{Deposit, Fee, Interest, LoanRepayment, Transfer, Withdrawal};
    let (kind, internal) = match (row.direction, row.operation, row.symbol) {
        (Direction::Credit, Operation::Own, Symbol::Interest) => (Interest, Internal::InterestExpense),
        (Direction::Debit, Operation::CashWithdrawal | Operation::Own, Symbol::PenaltyInterest) => {
            (Interest, Internal::PenaltyInterestIncome)
        }
        (Direction::Debit, Operation::CashWithdrawal | Operation::Own, Symbol::StatementFee) => {
            (Fee, Internal::FeeIncome)
        }
        (Direction::Debit, Operation::ToOtherBank, Symbol::LoanPayment) => {
            return Ok(Class { kind: LoanRepayment, other: Other::Loan });
        }
        (Direction::Credit, Operation::CashDeposit, Symbol::None) => (Deposit, Internal::Cash),
        // `SIPO` in cash: the household's bills paid at the counter.
        (Direction::Debit, Operation::CashWithdrawal, Symbol::None | Symbol::Household) => (Withdrawal, Internal::Cash),
        (Direction::Debit, Operation::CardWithdrawal, Symbol::None) => (Withdrawal, Internal::Cards),
        (Direction::Credit, Operation::FromOtherBank, Symbol::None | Symbol::Pension) => {
            (Transfer, Internal::OtherBanks)
        }
        (
            Direction::Debit,
            Operation::ToOtherBank,
            Symbol::None | Symbol::Household | Symbol::Insurance | Symbol::Leasing,
        ) => (Transfer, Internal::OtherBanks),
        (direction, operation, symbol) => {
            bail!("trans.asc, row {}: a {direction} by {operation:?} for {symbol:?} has no meaning here", row.trans_id)
        }
    };
    Ok(Class { kind, other: Other::Internal(internal) })
}

/// The ids that rows refer to each other by.
pub(crate) struct Ids {
    members: HashMap<u64, Uuid>,
    accounts: HashMap<u64, Uuid>,
    /// An account's loan, and its holder who owes it.
    loans: HashMap<u64, Uuid>,
    owners: HashMap<u64, Uuid>,
}

impl Ids {
    /// The ids of the data set's clients and accounts. A client's timestamp is the day on which the
    /// first account was opened that is his to dispose of.
    pub(crate) fn of(set: &DataSet) -> Self {
        let opened: HashMap<u64, NaiveDate> = set.accounts.iter().map(|a| (a.account_id, a.opened_on)).collect();
        let mut joined: HashMap<u64, NaiveDate> = HashMap::new();
        for disposition in &set.dispositions {
            if let Some(date) = opened.get(&disposition.account_id) {
                let first = joined.entry(disposition.client_id).or_insert(*date);
                *first = (*first).min(*date);
            }
        }
        let member = |client: &Client| {
            let date = joined.get(&client.client_id).copied().unwrap_or_default();
            (client.client_id, identity::id(Kind::Client, &client.client_id.to_string(), date))
        };
        let account = |account: &Account| {
            let id = identity::id(Kind::Account, &account.account_id.to_string(), account.opened_on);
            (account.account_id, id)
        };
        let members: HashMap<u64, Uuid> = set.clients.iter().map(member).collect();
        let owner = |disposition: &Disposition| {
            let owns = disposition.role == Role::Owner;
            owns.then(|| Some((disposition.account_id, *members.get(&disposition.client_id)?))).flatten()
        };
        Self {
            accounts: set.accounts.iter().map(account).collect(),
            loans: set.loans.iter().map(|loan| (loan.account_id, loans::loan_id(loan))).collect(),
            owners: set.dispositions.iter().filter_map(owner).collect(),
            members,
        }
    }

    /// The member who owns an account; nil for none, which `DataSet::read` has excluded.
    pub(super) fn owner(&self, account_id: u64) -> Uuid {
        self.owners.get(&account_id).copied().unwrap_or_default()
    }

    /// The member that a client of the data set is; nil for none, which `DataSet::read` has excluded.
    fn member(&self, client_id: u64) -> Uuid {
        self.members.get(&client_id).copied().unwrap_or_default()
    }

    /// The account that an account of the data set is; nil for none, likewise.
    pub(crate) fn account(&self, account_id: u64) -> Uuid {
        self.accounts.get(&account_id).copied().unwrap_or_default()
    }
}

/// The number by which people know an account.
pub(crate) fn account_number(account_id: u64) -> String {
    format!("CZ-{account_id:08}")
}

/// Registers a client as a member, and verifies him. The data set is anonymised, so the name says
/// no more than the number.
pub(crate) fn member(client: &Client, ids: &Ids) -> [Request; 2] {
    let (client_id, member_id) = (client.client_id, ids.member(client.client_id));
    let body = json!({
        "id": member_id, "number": format!("C{client_id}"), "kind": "person", "name": format!("Client {client_id}"),
        "birth_date": client.birth_date, "national_id": client.birth_number, "branch": client.district_id.to_string(),
    });
    [
        Request::new(format!("berka-client-{client_id}"), "/v1/members", &body).settled_by(&["id_taken"]),
        Request::new(
            format!("berka-client-{client_id}-verify"),
            &format!("/v1/members/{member_id}/verify"),
            &json!({}),
        )
        .settled_by(&["kyc_not_pending"]),
    ]
}

/// Opens an account with those who dispose of it.
pub(crate) fn account(account: &Account, set_holders: &[(u64, Role)], ids: &Ids) -> Request {
    let holders: Vec<_> = set_holders
        .iter()
        .map(|(client_id, role)| {
            let role = match role {
                Role::Owner => "owner",
                Role::Disponent => "disponent",
            };
            json!({"member_id": ids.member(*client_id), "role": role})
        })
        .collect();
    let body = json!({
        "id": ids.account(account.account_id), "number": account_number(account.account_id), "product": "current",
        "holders": holders, "currency": "CZK", "ledger_code": MEMBERS_CURRENT_ACCOUNTS,
        "branch": account.district_id.to_string(), "opened_on": account.opened_on,
    });
    Request::new(format!("berka-account-{}", account.account_id), "/v1/accounts", &body).settled_by(&["id_taken"])
}

/// Posts a row, classified before, under this key. The transaction's id and external reference are
/// the row's, whatever the key: so it cannot be posted twice.
pub(crate) fn transaction(row: &Transaction, class: Class, key: String, ids: &Ids) -> Request {
    let member = ids.account(row.account_id);
    let internal = match (class.other, ids.loans.get(&row.account_id)) {
        (Other::Internal(internal), _) => internal.id(),
        (Other::Loan, Some(loan_id)) => return repayment(row, *loan_id, key, ids),
        // A payment on a loan that the data set does not have leaves as one to another bank.
        (Other::Loan, None) => Internal::OtherBanks.id(),
    };
    let (from, to) = match row.direction {
        Direction::Credit => (internal, member),
        Direction::Debit => (member, internal),
    };
    let body = json!({
        "id": transaction_id(row), "kind": class.kind.name(),
        "booking_date": row.date, "value_date": row.date, "from_account_id": from, "to_account_id": to,
        "amount": amount(row.amount_minor), "external_reference": identity::transaction_key(row.trans_id),
    });
    Request::new(key, "/v1/transactions", &body).settled_by(&["id_taken", "external_reference_taken"])
}

/// Pays for a loan out of its account, likewise.
fn repayment(row: &Transaction, loan_id: Uuid, key: String, ids: &Ids) -> Request {
    let body = json!({
        "transaction_id": transaction_id(row), "from_account_id": ids.account(row.account_id),
        "booking_date": row.date, "value_date": row.date, "amount": amount(row.amount_minor),
        "external_reference": identity::transaction_key(row.trans_id),
    });
    Request::new(key, &format!("/v1/loans/{loan_id}/repayments"), &body)
        .settled_by(&["id_taken", "external_reference_taken"])
}

/// The transaction that a row is.
pub(crate) fn transaction_id(row: &Transaction) -> Uuid {
    identity::id(Kind::Transaction, &row.trans_id.to_string(), row.date)
}

/// Grants an account a credit line.
pub(crate) fn credit_line(account_id: u64, line_minor: i64, ids: &Ids) -> Request {
    let path = format!("/v1/accounts/{}/limits", ids.account(account_id));
    Request::new(format!("berka-limit-{account_id}"), &path, &json!({"credit_line": amount(line_minor)}))
}

pub(super) fn amount(amount_minor: i64) -> serde_json::Value {
    amount_of(Money::new(amount_minor, currency()))
}

/// An amount as requests have it.
pub(super) fn amount_of(money: Money) -> serde_json::Value {
    json!({"amount": money.decimal(), "currency": money.currency.code()})
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
