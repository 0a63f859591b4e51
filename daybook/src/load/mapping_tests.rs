//! Every combination of type, operation and k_symbol that occurs in the data set, and the requests.

use super::super::berka::{Loan, Standing};
use super::*;

fn row(direction: Direction, operation: Operation, symbol: Symbol) -> Transaction {
    let date = NaiveDate::from_ymd_opt(1993, 6, 30).unwrap();
    Transaction {
        trans_id: 7,
        account_id: 576,
        date,
        direction,
        operation,
        symbol,
        amount_minor: 12_345,
        balance_minor: 0,
    }
}

fn set() -> DataSet {
    let opened_on = NaiveDate::from_ymd_opt(1993, 1, 1).unwrap();
    DataSet {
        clients: vec![Client {
            client_id: 692,
            birth_number: "365111".into(),
            birth_date: NaiveDate::from_ymd_opt(1936, 1, 11).unwrap(),
            district_id: 74,
        }],
        accounts: vec![Account { account_id: 576, district_id: 55, opened_on }],
        dispositions: vec![super::super::berka::Disposition { client_id: 692, account_id: 576, role: Role::Owner }],
        transactions: Vec::new(),
        loans: Vec::new(),
    }
}

#[test]
fn every_combination_in_the_data_has_a_kind_and_an_other_side() {
    use Direction::{Credit, Debit};
    use Operation::{CardWithdrawal, CashDeposit, CashWithdrawal, FromOtherBank, Own, ToOtherBank};
    use TransactionKind::{Deposit, Fee, Interest, LoanRepayment, Transfer, Withdrawal};
    // As counted by `cut -d';' -f4,5,8 trans.asc | sort | uniq -c`.
    let combinations = [
        (Credit, Own, Symbol::Interest, Interest, Internal::InterestExpense),
        (Credit, FromOtherBank, Symbol::None, Transfer, Internal::OtherBanks),
        (Credit, FromOtherBank, Symbol::Pension, Transfer, Internal::OtherBanks),
        (Credit, CashDeposit, Symbol::None, Deposit, Internal::Cash),
        (Debit, CashWithdrawal, Symbol::None, Withdrawal, Internal::Cash),
        (Debit, ToOtherBank, Symbol::None, Transfer, Internal::OtherBanks),
        (Debit, ToOtherBank, Symbol::Insurance, Transfer, Internal::OtherBanks),
        (Debit, ToOtherBank, Symbol::Household, Transfer, Internal::OtherBanks),
        (Debit, CardWithdrawal, Symbol::None, Withdrawal, Internal::Cards),
        (Debit, CashWithdrawal, Symbol::PenaltyInterest, Interest, Internal::PenaltyInterestIncome),
        (Debit, CashWithdrawal, Symbol::Household, Withdrawal, Internal::Cash),
        (Debit, CashWithdrawal, Symbol::StatementFee, Fee, Internal::FeeIncome),
    ];
    for (direction, operation, symbol, kind, internal) in combinations {
        let class = Class { kind, other: Other::Internal(internal) };
        assert_eq!(classify(&row(direction, operation, symbol)).unwrap(), class);
    }
    let payment = row(Debit, ToOtherBank, Symbol::LoanPayment);
    assert_eq!(classify(&payment).unwrap(), Class { kind: LoanRepayment, other: Other::Loan });
}

#[test]
fn a_loan_payment_is_a_repayment_of_the_accounts_loan() {
    let mut set = set();
    let granted_on = NaiveDate::from_ymd_opt(1993, 7, 5).unwrap();
    set.loans.push(Loan {
        loan_id: 5314,
        account_id: 576,
        granted_on,
        amount_minor: 9_639_600,
        months: 12,
        payment_minor: 803_300,
        standing: Standing::FinishedUnpaid,
    });
    let ids = Ids::of(&set);
    let payment = row(Direction::Debit, Operation::ToOtherBank, Symbol::LoanPayment);
    let request = transaction(&payment, classify(&payment).unwrap(), identity::transaction_key(7), &ids);
    let loan_id = identity::id(Kind::Loan, "5314", granted_on);
    assert_eq!(request.path, format!("/v1/loans/{loan_id}/repayments"));
    assert_eq!(
        request.json(),
        json!({
            "transaction_id": identity::id(Kind::Transaction, "7", payment.date), "from_account_id": ids.account(576),
            "booking_date": "1993-06-30", "value_date": "1993-06-30",
            "amount": {"amount": "123.45", "currency": "CZK"}, "external_reference": "berka-trans-7",
        })
    );
    let [apply, approve, disburse] = loans::paid_out(&set.loans[0], &ids);
    assert_eq!((apply.path.as_str(), &apply.json()["member_id"]), ("/v1/loans", &json!(ids.member(692))));
    assert_eq!(apply.json()["principal"], json!({"amount": "96396.00", "currency": "CZK"}));
    assert_eq!(approve.path, format!("/v1/loans/{loan_id}/approve"));
    assert_eq!(disburse.json()["to_bank"], json!({"account_number": "00005314", "bank_code": "AB"}));
}

#[test]
fn a_combination_without_meaning_is_refused() {
    for (direction, operation, symbol) in [
        (Direction::Debit, Operation::CashDeposit, Symbol::None),
        (Direction::Credit, Operation::Own, Symbol::None),
        (Direction::Credit, Operation::FromOtherBank, Symbol::LoanPayment),
    ] {
        let error = classify(&row(direction, operation, symbol)).unwrap_err();
        assert!(error.to_string().contains("row 7"), "{error}");
    }
}

#[test]
fn money_moves_from_the_member_on_a_debit_and_to_him_on_a_credit() {
    let ids = Ids::of(&set());
    let (member, cash) = (ids.account(576), Internal::Cash.id());
    let credit = row(Direction::Credit, Operation::CashDeposit, Symbol::None);
    let request = transaction(&credit, classify(&credit).unwrap(), identity::transaction_key(7), &ids);
    assert_eq!((request.key.as_str(), request.path.as_str()), ("berka-trans-7", "/v1/transactions"));
    assert_eq!(
        request.json(),
        json!({
            "id": identity::id(Kind::Transaction, "7", credit.date), "kind": "deposit",
            "booking_date": "1993-06-30", "value_date": "1993-06-30",
            "from_account_id": cash, "to_account_id": member,
            "amount": {"amount": "123.45", "currency": "CZK"}, "external_reference": "berka-trans-7",
        })
    );
    let debit = row(Direction::Debit, Operation::CashWithdrawal, Symbol::None);
    let again = transaction(&debit, classify(&debit).unwrap(), identity::transaction_after_limit_key(7), &ids);
    let body = again.json();
    assert_eq!((&body["from_account_id"], &body["to_account_id"]), (&json!(member), &json!(cash)));
    assert_eq!(body["external_reference"], "berka-trans-7");
    assert_eq!(body["id"], request.json()["id"]);
}

#[test]
fn a_client_becomes_a_verified_member_who_holds_his_account() {
    let set = set();
    let ids = Ids::of(&set);
    let [register, verify] = member(&set.clients[0], &ids);
    assert_eq!(
        register.json(),
        json!({
            "id": ids.member(692), "number": "C692", "kind": "person", "name": "Client 692",
            "birth_date": "1936-01-11", "national_id": "365111", "branch": "74",
        })
    );
    assert_eq!(verify.path, format!("/v1/members/{}/verify", ids.member(692)));
    let open = account(&set.accounts[0], &[(692, Role::Owner)], &ids);
    assert_eq!(
        open.json(),
        json!({
            "id": ids.account(576), "number": "CZ-00000576", "product": "current",
            "holders": [{"member_id": ids.member(692), "role": "owner"}], "currency": "CZK",
            "ledger_code": "2100", "branch": "55", "opened_on": "1993-01-01",
        })
    );
}

#[test]
fn a_credit_line_is_granted_once() {
    let ids = Ids::of(&set());
    let request = credit_line(576, 2_000_000, &ids);
    assert_eq!(request.key, "berka-limit-576");
    assert_eq!(request.json(), json!({"credit_line": {"amount": "20000.00", "currency": "CZK"}}));
}
