//! The data set's loans: applied for, approved and paid out to another bank on the day that they were
//! granted, and repaid in equal instalments without interest.
//!
//! No row of `trans.asc` shows the money coming in, so the bank paid it out elsewhere. To which account
//! is not published: the account made up here is at the other bank `AB` and has the loan's own number.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use chrono::NaiveDate;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::berka::{Loan, currency};
use super::chart::Internal;
use super::client::Request;
use super::identity::{self, Kind};
use super::mapping::{Ids, amount};
use super::query::QueryClient;

/// The code by which people know the product.
const PRODUCT_CODE: &str = "BERKA-FLAT-0";
/// Where the loans are paid out to; a bank that the simulator knows.
const OTHER_BANK: &str = "AB";
/// How long all payouts together may take.
const PAYOUT_PATIENCE: Duration = Duration::from_secs(300);
const POLL_EVERY: Duration = Duration::from_millis(200);

/// The product: no interest, monthly, no collection (the bank's standing orders paid).
pub(super) fn product(loans: &[Loan]) -> Request {
    let terms = json!({
        "principal_min": decimal(loans.iter().map(|loan| loan.amount_minor).min().unwrap_or(1)),
        "principal_max": decimal(loans.iter().map(|loan| loan.amount_minor).max().unwrap_or(1)),
        "annual_rate_min": "0", "annual_rate_max": "0", "instalments_min": 1, "instalments_max": 60,
        "frequency": {"every": 1, "unit": "months"}, "method": "flat", "amortization": "equal_instalments",
        "day_count": "thirty_360", "rounding": "half_even",
        "allocation_order": ["penalty", "fee", "interest", "principal"],
    });
    let accounts = json!({
        "portfolio_account_id": Internal::LoanPortfolio.id(),
        "interest_receivable_account_id": Internal::LoanInterestReceivable.id(),
        "charges_receivable_account_id": Internal::LoanChargesReceivable.id(),
        "interest_income_account_id": Internal::LoanInterestIncome.id(),
        "fee_income_account_id": Internal::LoanFeeIncome.id(),
        "penalty_income_account_id": Internal::LoanPenaltyIncome.id(),
        "write_off_account_id": Internal::LoanLosses.id(),
    });
    let body = json!({
        "id": product_id(), "code": PRODUCT_CODE, "name": "Loan without interest", "currency": currency().code(),
        "terms": terms, "accounts": accounts,
    });
    Request::new("berka-loan-product".to_owned(), "/v1/loan-products", &body)
        .settled_by(&["id_taken", "loan_product_code_taken"])
}

fn decimal(amount_minor: i64) -> Value {
    amount(amount_minor)["amount"].clone()
}

fn product_id() -> Uuid {
    // No table has its date; the first day of the data set is before every loan.
    identity::id(Kind::LoanProduct, PRODUCT_CODE, NaiveDate::from_ymd_opt(1993, 1, 1).unwrap_or_default())
}

/// The id of a loan.
pub(super) fn loan_id(loan: &Loan) -> Uuid {
    identity::id(Kind::Loan, &loan.loan_id.to_string(), loan.granted_on)
}

/// The number by which a payer names a loan.
pub(crate) fn loan_number(loan: &Loan) -> String {
    format!("L-{}", loan.loan_id)
}

/// Applied for, approved, to be paid out: all on the day that it was granted.
pub(super) fn paid_out(loan: &Loan, ids: &Ids) -> [Request; 3] {
    let (id, on) = (loan_id(loan), loan.granted_on);
    let apply = json!({
        "id": id, "number": loan_number(loan), "member_id": ids.owner(loan.account_id), "product_id": product_id(),
        "principal": amount(loan.amount_minor), "instalments": loan.months,
        "settlement_account_id": ids.account(loan.account_id), "applied_on": on,
    });
    let disburse = json!({
        "funding_account_id": Internal::OtherBanks.id(), "booking_date": on, "disbursed_on": on,
        "to_bank": {"account_number": format!("{:08}", loan.loan_id), "bank_code": OTHER_BANK},
    });
    let key = |step: &str| format!("berka-loan-{}-{step}", loan.loan_id);
    [
        Request::new(key("apply"), "/v1/loans", &apply).settled_by(&["id_taken", "loan_number_taken"]),
        Request::new(key("approve"), &format!("/v1/loans/{id}/approve"), &json!({"approved_on": on}))
            .settled_by(&["loan_status_conflict"]),
        Request::new(key("disburse"), &format!("/v1/loans/{id}/disburse"), &disburse)
            .settled_by(&["loan_status_conflict"]),
    ]
}

/// A loan as the query API shows it, as far as it is of interest here.
#[derive(Clone, Debug, Deserialize)]
struct Disbursing {
    number: String,
}

/// Waits until no loan is on its way to another bank any more.
pub(super) async fn await_paid_out(query: &QueryClient, position: u64) -> Result<()> {
    let (began, position) = (Instant::now(), position.to_string());
    loop {
        let parameters = [("status", "disbursing"), ("min_position", position.as_str())];
        let left: Vec<Disbursing> = query.all("/v1/loans", &parameters).await?;
        let Some(first) = left.first() else { return Ok(()) };
        if began.elapsed() > PAYOUT_PATIENCE {
            let (count, number) = (left.len(), &first.number);
            bail!("{count} loans are not paid out yet, {number} among them; see `daybook saga list`");
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}
