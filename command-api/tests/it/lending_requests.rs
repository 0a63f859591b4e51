//! Requests about loan products, loans, payments and sagas: what is wrong without looking at any
//! state, and what a good one becomes.

use domain::loan::{LoanCommand, Surplus};
use domain::product::{Component, LoanProductCommand};
use domain::saga::{Resolution, SagaCommand};
use domain::{Command, SagaId};
use platform::{Principal, Role};
use serde_json::{Value, json};

use crate::bad_requests::{Shut, expect};
use crate::submissions::{Noted, accepted, sent};
use crate::{Answered, api, api_for, ask, post};

const ID: &str = "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980";
const OTHER: &str = "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7981";

fn terms() -> Value {
    json!({
        "principal_min": "1000", "principal_max": "500000.00", "annual_rate_min": "9", "annual_rate_max": "14.5",
        "instalments_min": 6, "instalments_max": 60, "frequency": {"every": 1, "unit": "months"},
        "method": "reducing_balance", "amortization": "equal_instalments", "day_count": "thirty_360",
        "rounding": "half_even",
    })
}

fn product() -> Value {
    let accounts: Value = [
        "portfolio",
        "interest_receivable",
        "charges_receivable",
        "interest_income",
        "fee_income",
        "penalty_income",
        "write_off",
    ]
    .into_iter()
    .map(|name| (format!("{name}_account_id"), json!(ID)))
    .collect::<serde_json::Map<_, _>>()
    .into();
    json!({"code": "P", "name": "Personal", "currency": "CZK", "terms": terms(), "accounts": accounts})
}

fn loan() -> Value {
    json!({"number": "L-1", "member_id": ID, "product_id": OTHER, "instalments": 12,
        "principal": {"amount": "1000.00", "currency": "CZK"}})
}

fn preview() -> Value {
    json!({
        "principal": {"amount": "100.00", "currency": "CZK"}, "annual_rate": "7", "instalments": 6,
        "disbursed_on": "2024-01-01",
        "terms": {"frequency": {"every": 1, "unit": "months"}, "method": "reducing_balance",
            "amortization": "equal_instalments", "day_count": "thirty_360", "rounding": "half_even"},
    })
}

fn payment() -> Value {
    json!({"bank_account_id": ID, "suspense_account_id": OTHER, "bank_reference": "SIM-1", "loan_number": "L-1",
        "amount": {"amount": "10.00", "currency": "CZK"}})
}

/// The body with one value in another place changed: `with(loan(), "/principal/amount", json!("x"))`.
fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[name] = value;
    body
}

fn without(mut body: Value, name: &str) -> Value {
    body.as_object_mut().unwrap().remove(name).unwrap();
    body
}

async fn told(path: &str, body: &Value) -> Answered {
    ask(&api(Shut), post(path, body.to_string())).await
}

#[tokio::test]
async fn what_is_wrong_with_a_product_is_named() {
    let cases = [
        (without(product(), "terms"), "missing_field", "terms"),
        (with(product(), "/nick", json!(1)), "unknown_field", "nick"),
        (with(product(), "/code", json!("no spaces")), "invalid_value", "code"),
        (with(product(), "/currency", json!("XYZ")), "unknown_currency", "currency"),
        (with(product(), "/terms/principal_min", json!("-1")), "amount_not_positive", "terms.principal_min"),
        (with(product(), "/terms/principal_max", json!("1.001")), "amount_too_precise", "terms.principal_max"),
        (with(product(), "/terms/principal_max", json!(5)), "invalid_type", "terms.principal_max"),
        (with(product(), "/terms/annual_rate_min", json!("9 %")), "annual_rate_invalid", "terms.annual_rate_min"),
        (with(product(), "/terms/annual_rate_max", json!("1000.1")), "annual_rate_invalid", "terms.annual_rate_max"),
        (with(product(), "/terms/instalments_min", json!(70_000)), "invalid_value", "terms.instalments_min"),
        (with(product(), "/terms/frequency/every", json!(0)), "invalid_value", "terms.frequency.every"),
        (with(product(), "/terms/frequency/every", json!(256)), "invalid_value", "terms.frequency.every"),
        (with(product(), "/terms/frequency/unit", json!("years")), "invalid_value", "terms.frequency.unit"),
        (with(product(), "/terms/method", json!("simple")), "invalid_value", "terms.method"),
        (with(product(), "/terms/day_count", json!("thirty360")), "invalid_value", "terms.day_count"),
        (with(product(), "/terms/instalment_multiple", json!("0")), "amount_not_positive", "terms.instalment_multiple"),
        (with(product(), "/terms/allocation_order", json!(["tax"])), "invalid_value", "terms.allocation_order[0]"),
        (
            with(product(), "/terms/collection", json!({"retry_after_days": [-1]})),
            "invalid_value",
            "terms.collection.retry_after_days[0]",
        ),
        (
            with(product(), "/accounts/write_off_account_id", json!("1010")),
            "invalid_value",
            "accounts.write_off_account_id",
        ),
    ];
    for (body, code, field) in cases {
        expect(&told("/v1/loan-products", &body).await, 400, code, Some(field), &body.to_string());
    }
    let revised = json!({"terms": with(terms(), "/principal_min", json!("1.001"))});
    let answered = told(&format!("/v1/loan-products/{ID}/revise"), &revised).await;
    expect(&answered, 400, "amount_too_precise", Some("terms.principal_min"), "in the product's currency");
    // All that is wrong is told at once.
    let many = with(with(product(), "/terms/principal_min", json!("x")), "/terms/annual_rate_min", json!("x"));
    let answered = told("/v1/loan-products", &many).await;
    assert_eq!(answered.body["errors"].as_array().unwrap().len(), 2, "{}", answered.body);
}

#[tokio::test]
async fn what_is_wrong_with_a_loan_is_named() {
    let act = |verb: &str| format!("/v1/loans/{ID}/{verb}");
    let czk = |amount: &str| json!({"amount": amount, "currency": "CZK"});
    let bank = |number: &str, code: &str| json!({"funding_account_id": ID, "to_bank": {"account_number": number, "bank_code": code}});
    let cases = [
        ("/v1/loans".to_owned(), without(loan(), "member_id"), "missing_field", "member_id"),
        (
            "/v1/loans".to_owned(),
            with(loan(), "/principal/amount", json!("0")),
            "amount_not_positive",
            "principal.amount",
        ),
        ("/v1/loans".to_owned(), with(loan(), "/annual_rate", json!(9)), "invalid_type", "annual_rate"),
        ("/v1/loans".to_owned(), with(loan(), "/annual_rate", json!("-9")), "annual_rate_invalid", "annual_rate"),
        ("/v1/loans".to_owned(), with(loan(), "/instalments", json!("12")), "invalid_type", "instalments"),
        ("/v1/loans".to_owned(), with(loan(), "/purpose", json!("A new car")), "invalid_value", "purpose"),
        (act("approve"), json!({"principal": czk("1.001")}), "amount_too_precise", "principal.amount"),
        (act("approve"), json!({"annual_rate": ""}), "annual_rate_invalid", "annual_rate"),
        (act("approve"), json!({"by": "me"}), "unknown_field", "by"),
        (act("reject"), json!({}), "missing_field", "reason"),
        (act("disburse"), json!({}), "missing_field", "to_account_id"),
        (
            act("disburse"),
            json!({"to_account_id": ID, "funding_account_id": ID}),
            "ambiguous_destination",
            "to_account_id",
        ),
        (act("disburse"), json!({"funding_account_id": ID}), "missing_field", "to_bank"),
        (act("disburse"), without(bank("1", "AB"), "funding_account_id"), "missing_field", "funding_account_id"),
        (act("disburse"), bank("", "AB"), "invalid_value", "to_bank.account_number"),
        (act("disburse"), bank("19 2000", "AB"), "invalid_value", "to_bank.account_number"),
        (act("disburse"), bank(&"1".repeat(35), "AB"), "invalid_value", "to_bank.account_number"),
        (act("disburse"), bank("1", "A-B"), "invalid_value", "to_bank.bank_code"),
        (act("repayments"), json!({"from_account_id": ID}), "missing_field", "amount"),
        (
            act("repayments"),
            json!({"from_account_id": ID, "amount": czk("-1")}),
            "amount_not_positive",
            "amount.amount",
        ),
        (
            act("repayments"),
            json!({"from_account_id": ID, "amount": czk("1"), "surplus": "keep"}),
            "invalid_value",
            "surplus",
        ),
        (act("collect"), json!({"through": "today"}), "invalid_value", "through"),
        (act("accrue"), json!({"through": "2024-02-30"}), "invalid_value", "through"),
        (
            act("charges"),
            json!({"component": "interest", "amount": czk("1"), "reason": "x"}),
            "invalid_value",
            "component",
        ),
        (act("charges"), json!({"component": "fee", "amount": czk("1")}), "missing_field", "reason"),
        (act("write-off"), json!({"reason": "They went broke"}), "invalid_value", "reason"),
        (act("close"), json!({"reason": "done"}), "unknown_field", "reason"),
        (act("repayments/7/reverse"), json!({"reason": "x"}), "invalid_value", "transaction_id"),
        (format!("/v1/loans/7/repayments/{ID}/reverse"), json!({"reason": "x"}), "invalid_value", "id"),
        (act(&format!("repayments/{ID}/reverse")), json!({}), "missing_field", "reason"),
    ];
    for (path, body, code, field) in cases {
        expect(&told(&path, &body).await, 400, code, Some(field), &format!("{path} {body}"));
    }
}

#[tokio::test]
async fn what_is_wrong_with_payments_and_sagas_is_named() {
    let resume = format!("/v1/sagas/{ID}/resume");
    let both = json!({"resolution": {"assign_loan": {"loan_id": ID}, "return_payment": {}}});
    let cases = [
        ("/v1/incoming-payments", without(payment(), "bank_reference"), "missing_field", "bank_reference"),
        ("/v1/incoming-payments", with(payment(), "/bank_reference", json!("a b")), "invalid_value", "bank_reference"),
        ("/v1/incoming-payments", with(payment(), "/loan_number", json!("Jana's")), "invalid_value", "loan_number"),
        (
            "/v1/incoming-payments",
            with(payment(), "/suspense_account_id", json!(ID)),
            "invalid_value",
            "suspense_account_id",
        ),
        (
            "/v1/incoming-payments",
            with(payment(), "/amount/amount", json!("0")),
            "amount_not_positive",
            "amount.amount",
        ),
        (resume.as_str(), json!({"resolution": {}}), "missing_field", "resolution"),
        (resume.as_str(), both, "ambiguous_resolution", "resolution"),
        (
            resume.as_str(),
            json!({"resolution": {"assign_loan": {}}}),
            "missing_field",
            "resolution.assign_loan.loan_id",
        ),
        (
            resume.as_str(),
            json!({"resolution": {"return_payment": {"reason": "x"}}}),
            "unknown_field",
            "resolution.return_payment.reason",
        ),
        (&format!("/v1/sagas/{ID}/abandon"), json!({}), "missing_field", "reason"),
    ];
    for (path, body, code, field) in cases {
        expect(&told(path, &body).await, 400, code, Some(field), &format!("{path} {body}"));
    }
}

#[tokio::test]
async fn a_schedule_is_computed_and_nothing_else_happens() {
    let path = "/v1/loan-schedules/preview";
    let mut request = post(path, preview().to_string());
    request.headers_mut().remove("idempotency-key");
    let answered = ask(&api(Shut), request).await;
    assert_eq!(answered.status, 200, "{}", answered.body);
    let instalments = answered.body["instalments"].as_array().unwrap();
    // The example of the arithmetic's own documentation.
    let first = json!({"number": 1, "from": "2024-01-01", "due_on": "2024-02-01", "principal": "16.43",
        "interest": "0.58", "due": "17.01", "balance": "83.57"});
    assert_eq!((instalments.len(), &instalments[0]), (6, &first));
    assert_eq!(instalments[5]["balance"], "0.00");
    assert_eq!(answered.body["totals"], json!({"principal": "100.00", "interest": "2.05", "due": "102.05"}));
    assert_eq!(answered.body["currency"], "CZK");

    let wrong = [
        (with(preview(), "/principal/amount", json!("0")), 400, "amount_not_positive", "principal.amount"),
        (with(preview(), "/annual_rate", json!("many")), 400, "annual_rate_invalid", "annual_rate"),
        (
            with(preview(), "/terms/instalment_multiple", json!("0")),
            400,
            "amount_not_positive",
            "terms.instalment_multiple",
        ),
        (with(preview(), "/terms/frequency/every", json!(0)), 400, "invalid_value", "terms.frequency.every"),
        (with(preview(), "/instalments", json!(601)), 422, "instalments_out_of_range", "instalments"),
        (with(preview(), "/principal/amount", json!("0.05")), 422, "instalment_too_small", "instalments"),
        (
            with(preview(), "/first_due_on", json!("2023-12-31")),
            422,
            "first_due_not_after_disbursement",
            "first_due_on",
        ),
        (with(preview(), "/disbursed_on", json!("9999-12-31")), 422, "schedule_date_out_of_range", "disbursed_on"),
        (
            with(with(preview(), "/principal/amount", json!("90071992547409.91")), "/annual_rate", json!("1000")),
            422,
            "schedule_amount_too_large",
            "annual_rate",
        ),
    ];
    for (body, status, code, field) in wrong {
        expect(&told(path, &body).await, status, code, Some(field), &body.to_string());
    }
    let answered = told("/v1/loan-schedules/preview?as_of=2024-01-01", &preview()).await;
    expect(&answered, 400, "invalid_query", None, "a query");
}

#[tokio::test]
async fn every_action_becomes_its_command() {
    let door = Noted::new(accepted);
    let act = |verb: &str| format!("/v1/loans/{ID}/{verb}");
    let czk = json!({"amount": "5", "currency": "CZK"});
    let cases = [
        ("/v1/loan-products".to_owned(), product(), "DefineLoanProduct"),
        (format!("/v1/loan-products/{ID}/revise"), json!({"terms": terms()}), "ReviseLoanProduct"),
        (format!("/v1/loan-products/{ID}/retire"), json!({}), "RetireLoanProduct"),
        ("/v1/loans".to_owned(), loan(), "ApplyForLoan"),
        (act("approve"), json!({}), "ApproveLoan"),
        (act("reject"), json!({"reason": "income_too_low"}), "RejectLoan"),
        (act("disburse"), json!({"to_account_id": OTHER}), "DisburseLoan"),
        (
            act("disburse"),
            json!({"funding_account_id": OTHER, "to_bank": {"account_number": "19-2", "bank_code": "AB"}}),
            "StartDisbursement",
        ),
        (act("repayments"), json!({"from_account_id": OTHER, "amount": czk}), "RepayLoan"),
        (act(&format!("repayments/{OTHER}/reverse")), json!({"reason": "twice"}), "ReverseRepayment"),
        (act("collect"), json!({}), "CollectDue"),
        (act("accrue"), json!({}), "AccrueInterest"),
        (act("charges"), json!({"component": "fee", "amount": czk, "reason": "dunning"}), "ChargeLoan"),
        (act("write-off"), json!({"reason": "insolvency"}), "WriteOffLoan"),
        (act("close"), json!({}), "CloseLoan"),
        ("/v1/incoming-payments".to_owned(), payment(), "ReceivePayment"),
        (format!("/v1/sagas/{ID}/resume"), json!({}), "ResumeSaga"),
        (format!("/v1/sagas/{ID}/abandon"), json!({"reason": "by_hand"}), "AbandonSaga"),
    ];
    for (path, body, name) in cases {
        let answered = sent(&door, &path, &body.to_string()).await;
        assert!(answered.status.is_success(), "{path}: {}", answered.body);
        assert_eq!(door.last().command.name(), name, "{path}");
    }
}

#[tokio::test]
async fn amounts_and_choices_arrive_as_they_were_said() {
    let door = Noted::new(accepted);
    let body =
        with(with(product(), "/terms/instalment_multiple", json!("10")), "/terms/day_count", json!("actual_365"));
    sent(&door, "/v1/loan-products", &body.to_string()).await;
    let Command::LoanProduct(LoanProductCommand::DefineLoanProduct { terms, .. }) = door.last().command else {
        panic!("another command");
    };
    assert_eq!((terms.principal_min_minor, terms.principal_max_minor), (100_000, 50_000_000));
    assert_eq!((terms.instalment_multiple_minor, terms.annual_rate_max.to_string().as_str()), (Some(1_000), "14.5"));
    assert_eq!(serde_json::to_value(terms.day_count).unwrap(), "actual_365");
    assert_eq!(terms.allocation_order, Component::ALL, "the order where none is said");

    let body = json!({"from_account_id": OTHER, "amount": {"amount": "5", "currency": "CZK"}});
    sent(&door, &format!("/v1/loans/{ID}/repayments"), &body.to_string()).await;
    let Command::Loan(LoanCommand::RepayLoan { surplus, transaction_id, .. }) = door.last().command else {
        panic!("another command");
    };
    assert_eq!((surplus, transaction_id.0.get_version_num()), (Surplus::ToSettlementAccount, 7));
    let body = with(with(body, "/surplus", json!("leave")), "/transaction_id", json!(OTHER));
    sent(&door, &format!("/v1/loans/{ID}/repayments"), &body.to_string()).await;
    let Command::Loan(LoanCommand::RepayLoan { surplus, transaction_id, .. }) = door.last().command else {
        panic!("another command");
    };
    assert_eq!((surplus, transaction_id.0.to_string().as_str()), (Surplus::Leave, OTHER));

    let decided = json!({"resolution": {"assign_loan": {"loan_id": OTHER}}});
    sent(&door, &format!("/v1/sagas/{ID}/resume"), &decided.to_string()).await;
    let Command::Saga(SagaCommand::ResumeSaga { resolution, .. }) = door.last().command else {
        panic!("another command");
    };
    assert!(matches!(resolution, Some(Resolution::AssignLoan { loan_id }) if loan_id.0.to_string() == OTHER));
    sent(&door, &format!("/v1/sagas/{ID}/resume"), r#"{"resolution":{"return_payment":{}}}"#).await;
    let returned = door.last().command;
    assert!(matches!(
        returned,
        Command::Saga(SagaCommand::ResumeSaga { resolution: Some(Resolution::ReturnPayment), .. })
    ));
}

#[tokio::test]
async fn the_same_payment_has_the_same_saga_and_transaction() {
    let door = Noted::new(accepted);
    let ids = async |body: Value| {
        sent(&door, "/v1/incoming-payments", &body.to_string()).await;
        match door.last().command {
            Command::Saga(SagaCommand::ReceivePayment { saga_id, transaction_id, .. }) => (saga_id, transaction_id),
            other => panic!("{other:?}"),
        }
    };
    let first = ids(payment()).await;
    assert_eq!(first, ids(with(payment(), "/amount/amount", json!("11.00"))).await, "the reference alone names it");
    assert_ne!(first, ids(with(payment(), "/bank_reference", json!("SIM-2"))).await);
    let reference = domain::words::ExternalReference::try_new("SIM-1").unwrap();
    assert_eq!(first.0, SagaId::of_incoming_payment(&reference));
}

#[tokio::test]
async fn an_account_at_another_bank_leaves_sealed() {
    let door = Noted::new(accepted);
    let body = json!({"funding_account_id": OTHER, "to_bank": {"account_number": "19-2000145399", "bank_code": "AB"}});
    let answered = sent(&door, &format!("/v1/loans/{ID}/disburse"), &body.to_string()).await;
    assert!(answered.status.is_success(), "{}", answered.body);
    assert!(!format!("{:?}", door.last()).contains("2000145399"));
    // The sagas read it so.
    let expected = (format!("payout/{ID}"), r#"{"account_number":"19-2000145399","bank_code":"AB"}"#.to_owned());
    assert_eq!(door.sealed.lock().unwrap().last(), Some(&expected));

    let nobody = Noted { parties: false, ..Noted::new(accepted) };
    let answered = sent(&nobody, &format!("/v1/loans/{ID}/disburse"), &body.to_string()).await;
    expect(&answered, 404, "loan_not_found", None, "whose key it would be is not known");
    let answered =
        sent(&nobody, &format!("/v1/loan-products/{ID}/revise"), &json!({"terms": terms()}).to_string()).await;
    expect(&answered, 404, "loan_product_not_found", None, "in which currency is not known");
    assert!(nobody.submitted.lock().unwrap().is_empty());
}

#[tokio::test]
async fn whose_money_it_is_an_officer_decides_and_nobody_else() {
    let resume = format!("/v1/sagas/{ID}/resume");
    let (go_on, send_back) = (json!({}), json!({"resolution": {"return_payment": {}}}));
    let charge = json!({"component": "fee", "amount": {"amount": "5", "currency": "CZK"}, "reason": "dunning"});
    let [charges, accrue] = ["charges", "accrue"].map(|act| format!("/v1/loans/{ID}/{act}"));
    let cases = [
        (Role::Officer, resume.as_str(), &send_back, None),
        (Role::Officer, &resume, &go_on, Some("sagas:manage")),
        (Role::Admin, &resume, &go_on, None),
        (Role::Admin, &resume, &send_back, Some("payments:match")),
        (Role::Clerk, &resume, &send_back, Some("sagas:manage")),
        (Role::Officer, &charges, &charge, None),
        (Role::Officer, &accrue, &go_on, None),
        (Role::Clerk, &charges, &charge, Some("loans:charge")),
        (Role::Clerk, &accrue, &go_on, Some("loans:charge")),
    ];
    for (role, path, body, missing) in cases {
        let door = Noted::new(accepted);
        let api = api_for(door.clone(), &Principal::new("ann", "app", [role], None));
        let answered = ask(&api, post(path, body.to_string())).await;
        let told = answered.body["errors"][0]["detail"].as_str();
        assert_eq!((answered.status == 403, told), (missing.is_some(), missing), "{role} {path} {body}");
        assert_eq!(door.submitted.lock().unwrap().is_empty(), missing.is_some(), "{role} {path} {body}");
    }
}
