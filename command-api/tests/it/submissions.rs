//! What goes through the door for a good request, and how its outcome is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use command_api::{Answer, Door, ManyAnswers, MaybeSealed, Narrative, SealError};
use domain::account::AccountCommand;
use domain::member::MemberCommand;
use domain::saga::Process;
use domain::transaction::{Legs, TransactionCommand};
use domain::words::Sealed;
use domain::{AccountId, Command, Currency, LoanId, LoanProductId, MemberId, Money, Rejection, SagaId, TransactionId};
use event_store::{Accepted, Balance, Outcome, ReadError, Rejected, Reply, Submission, SubmitError};
use uuid::Uuid;

use crate::{Answered, api, ask, post};

const ID: &str = "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980";
const OTHER: &str = "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7981";

pub(crate) type Said = fn() -> Result<Reply, SubmitError>;

/// A door that notes what goes through it and gives the answer it was given.
#[derive(Clone)]
pub(crate) struct Noted {
    pub(crate) says: Said,
    pub(crate) submitted: Arc<Mutex<Vec<Submission>>>,
    pub(crate) sealed: Arc<Mutex<Vec<(String, String)>>>,
    /// Whether there is anybody, and anything, that a request names.
    pub(crate) parties: bool,
}

impl Noted {
    pub(crate) fn new(says: Said) -> Self {
        Self { says, submitted: Arc::default(), sealed: Arc::default(), parties: true }
    }

    pub(crate) fn last(&self) -> Submission {
        self.submitted.lock().unwrap().last().cloned().unwrap()
    }
}

fn sealed(plain: &str) -> Sealed {
    Sealed::try_new(format!("sealed{}", plain.len())).unwrap()
}

impl Door for Noted {
    fn submit(&self, submission: Submission) -> Answer<'_, Result<Reply, SubmitError>> {
        self.submitted.lock().unwrap().push(submission);
        Box::pin(async { (self.says)() })
    }

    fn submit_many(&self, submissions: Vec<Submission>) -> Result<Answer<'static, ManyAnswers>, SubmitError> {
        let answers: Vec<_> = submissions.iter().map(|_| (self.says)()).collect();
        self.submitted.lock().unwrap().extend(submissions);
        Ok(Box::pin(async { Ok(answers) }))
    }

    fn replay_many<'a>(
        &'a self,
        _: &'a str,
        keys: &'a [String],
        _: &'a [u8; 32],
    ) -> Answer<'a, Result<Vec<Option<Reply>>, SubmitError>> {
        Box::pin(async { Ok(keys.iter().map(|_| None).collect()) })
    }

    fn seal_narratives<'a>(&'a self, texts: &'a [Narrative<'a>]) -> Answer<'a, Result<Vec<MaybeSealed>, SealError>> {
        Box::pin(async { Ok(texts.iter().map(|text| Ok(self.parties.then(|| sealed(text.plain)))).collect()) })
    }

    fn replay<'a>(&'a self, _: &'a str, _: &'a str, _: &'a [u8; 32]) -> Answer<'a, Result<Option<Reply>, SubmitError>> {
        Box::pin(async { Ok(None) })
    }

    /// Not a hash at all: equal for equal parts, which is all that these tests look at.
    fn request_hmac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut sums = [0_u8; 32];
        for (at, byte) in parts.join(&0).into_iter().enumerate() {
            sums[at % 32] = sums[at % 32].wrapping_mul(31).wrapping_add(byte);
        }
        sums
    }

    fn seal_member(
        &self,
        _: MemberId,
        personal: BTreeMap<&'static str, String>,
    ) -> Answer<'_, Result<BTreeMap<String, Sealed>, SealError>> {
        let texts = personal.iter().map(|(field, plain)| ((*field).to_owned(), sealed(plain))).collect();
        self.sealed.lock().unwrap().extend(personal.into_iter().map(|(field, plain)| (field.to_owned(), plain)));
        Box::pin(async { Ok(texts) })
    }

    fn seal_narrative<'a>(
        &'a self,
        _: TransactionId,
        _: &'a [AccountId],
        plain: &'a str,
    ) -> Answer<'a, Result<Option<Sealed>, SealError>> {
        Box::pin(async { Ok(self.parties.then(|| sealed(plain))) })
    }

    fn seal_payout<'a>(&'a self, loan: LoanId, plain: &'a str) -> Answer<'a, Result<Option<Sealed>, SealError>> {
        self.sealed.lock().unwrap().push((format!("payout/{loan}"), plain.to_owned()));
        Box::pin(async { Ok(self.parties.then(|| sealed(plain))) })
    }

    fn product_currency(&self, _: LoanProductId) -> Answer<'_, Result<Option<Currency>, ReadError>> {
        Box::pin(async { Ok("CZK".parse().ok().filter(|_| self.parties)) })
    }

    fn saga_process(&self, _: SagaId) -> Answer<'_, Result<Option<(u64, Process)>, ReadError>> {
        Box::pin(async { Ok(None) })
    }

    fn is_ready(&self) -> bool {
        true
    }
}

pub(crate) fn accepted() -> Result<Reply, SubmitError> {
    let balance = Balance {
        account_id: AccountId(Uuid::from_u128(7)),
        currency: "CZK".parse().unwrap(),
        balance_minor: 123_456,
        available_minor: -50,
        version: 3,
    };
    let outcome = Accepted {
        id: ID.to_owned(),
        version: 1,
        position: 9,
        created: true,
        balances: vec![balance],
        transaction_ids: Vec::new(),
    };
    Ok(Reply { replayed: false, outcome: Outcome::Accepted(outcome) })
}

fn rejected() -> Result<Reply, SubmitError> {
    let czk = "CZK".parse().unwrap();
    let rejection = Rejection::InsufficientFunds {
        account_id: AccountId(Uuid::from_u128(7)),
        available: Money::new(100, czk),
        minimum_balance: Money::new(0, czk),
        requested: Money::new(500, czk),
    };
    Ok(Reply { replayed: true, outcome: Outcome::Rejected(Rejected { position: 12, rejection }) })
}

const TRANSFER: &str = r#"{"kind":"transfer","from_account_id":"0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980",
    "to_account_id":"0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7981","amount":{"amount":"5.00","currency":"CZK"}}"#;

pub(crate) async fn sent(door: &Noted, path: &str, body: &str) -> Answered {
    ask(&api(door.clone()), post(path, body.to_owned())).await
}

#[tokio::test]
async fn an_accepted_command_says_where_it_is() {
    let door = Noted::new(accepted);
    let mut request = post("/v1/transactions", TRANSFER);
    request.headers_mut().insert("x-correlation-id", "c-1".parse().unwrap());
    let answered = ask(&api(door.clone()), request).await;
    assert_eq!(answered.status, 201);
    assert_eq!(answered.headers["location"], format!("/v1/transactions/{ID}"));
    assert_eq!(answered.headers["etag"], "\"1\"");
    assert_eq!(answered.headers["daybook-position"], "9");
    assert_eq!(answered.headers["x-correlation-id"], "c-1");
    assert!(answered.headers.get("idempotency-replayed").is_none());
    let expected = serde_json::json!({
        "id": ID, "version": 1, "position": 9,
        "balances": [{
            "account_id": Uuid::from_u128(7), "currency": "CZK", "balance": "1234.56", "available": "-0.50", "version": 3,
        }],
    });
    assert_eq!(answered.body, expected);
    let submission = door.last();
    assert_eq!((submission.client.as_str(), submission.actor.as_str()), ("tester", "tester"));
    assert_eq!((submission.idempotency_key.as_str(), submission.correlation_id.as_str()), ("k-1", "c-1"));
    let Command::Transaction(TransactionCommand::PostTransaction { legs: Legs::Move { amount, .. }, .. }) =
        submission.command
    else {
        panic!("another command");
    };
    assert_eq!(amount.amount_minor, 500);
}

#[tokio::test]
async fn a_refusal_is_a_problem_that_says_what_it_is_about() {
    let answered = sent(&Noted::new(rejected), "/v1/transactions", TRANSFER).await;
    assert_eq!(answered.status, 422);
    assert_eq!(answered.headers["content-type"], "application/problem+json");
    assert_eq!(answered.headers["idempotency-replayed"], "true");
    assert_eq!(answered.headers["daybook-position"], "12");
    assert_eq!(answered.body["code"], "insufficient_funds");
    assert_eq!(answered.body["available"], serde_json::json!({"amount": "1.00", "currency": "CZK"}));
    assert_eq!(answered.body["path"], "/v1/transactions");
    assert!(answered.body["correlation_id"].is_string() && answered.body["timestamp"].is_string());
}

#[tokio::test]
async fn what_has_no_outcome_can_be_repeated() {
    let cases: [(Said, u16, &str); 3] = [
        (|| Err(SubmitError::KeyReused), 409, "idempotency_key_reused"),
        (|| Err(SubmitError::Overloaded), 503, "overloaded"),
        (|| Err(SubmitError::Unavailable("secret host".to_owned())), 503, "unavailable"),
    ];
    for (says, status, code) in cases {
        let answered = sent(&Noted::new(says), "/v1/transactions", TRANSFER).await;
        assert_eq!((answered.status.as_u16(), answered.body["code"].as_str()), (status, Some(code)));
        assert_eq!(answered.headers.get("retry-after").is_some(), status == 503);
        assert!(!answered.body.to_string().contains("secret host"));
    }
}

#[tokio::test]
async fn the_same_request_has_the_same_hmac_however_it_is_written() {
    let door = Noted::new(accepted);
    let rewritten = format!(
        r#"{{"amount":{{"currency":"CZK","amount":"5.00"}},"to_account_id":"{OTHER}","from_account_id":"{ID}","kind":"transfer"}}"#
    );
    sent(&door, "/v1/transactions", TRANSFER).await;
    sent(&door, "/v1/transactions", &rewritten).await;
    sent(&door, "/v1/transactions", &rewritten.replace("5.00", "5.01")).await;
    let submitted = door.submitted.lock().unwrap();
    assert_eq!(submitted[0].request_hmac, submitted[1].request_hmac);
    assert_ne!(submitted[0].request_hmac, submitted[2].request_hmac);
    // An id that the server mints is another one each time and no part of the request.
    assert_ne!(submitted[0].command.target(), submitted[1].command.target());
}

#[tokio::test]
async fn a_member_enters_sealed_and_never_comes_back() {
    let door = Noted::new(accepted);
    let body = r#"{"number":"M-1","kind":"person","name":"Jana Nováková","birth_date":"1961-04-05",
        "contact":{"phone":"+420 1"},"branch":"prague"}"#;
    let answered = sent(&door, "/v1/members", body).await;
    assert_eq!(answered.status, 201);
    assert!(!answered.body.to_string().contains("Jana"));
    let submission = door.last();
    assert!(!format!("{submission:?}").contains("Jana"));
    assert_eq!(submission.branch.as_deref(), Some("prague"));
    let Command::Member(MemberCommand::RegisterMember { personal, .. }) = submission.command else {
        panic!("another command");
    };
    assert_eq!(personal.into_keys().collect::<Vec<_>>(), ["birth_date", "contact_phone", "name"]);
    assert!(door.sealed.lock().unwrap().contains(&("birth_date".to_owned(), "1961-04-05".to_owned())));
}

#[tokio::test]
async fn a_narrative_needs_somebody_whose_it_is() {
    let body = TRANSFER.replace("\"kind\"", "\"narrative\":\"for Jana\",\"kind\"");
    let door = Noted::new(accepted);
    sent(&door, "/v1/transactions", &body).await;
    let submission = door.last();
    assert!(!format!("{submission:?}").contains("Jana"));
    let Command::Transaction(TransactionCommand::PostTransaction { narrative, .. }) = submission.command else {
        panic!("another command");
    };
    assert!(narrative.is_some());
    let nobody = Noted { parties: false, ..Noted::new(accepted) };
    let answered = sent(&nobody, "/v1/transactions", &body).await;
    assert_eq!((answered.status.as_u16(), answered.body["code"].as_str()), (400, Some("narrative_needs_member")));
    assert!(nobody.submitted.lock().unwrap().is_empty());
}

#[tokio::test]
async fn every_action_becomes_its_command() {
    let door = Noted::new(accepted);
    let cases = [
        (format!("/v1/members/{ID}/verify"), "{}", "VerifyKyc"),
        (format!("/v1/members/{ID}/reject"), r#"{"reason":"forged"}"#, "RejectKyc"),
        (format!("/v1/members/{ID}/suspend"), r#"{"reason":"fraud"}"#, "SuspendMember"),
        (format!("/v1/members/{ID}/reactivate"), "{}", "ReactivateMember"),
        (format!("/v1/members/{ID}/deactivate"), r#"{"reason":"left"}"#, "DeactivateMember"),
        (format!("/v1/accounts/{ID}/freeze"), r#"{"scope":"both","reason":"court_order"}"#, "FreezeAccount"),
        (format!("/v1/accounts/{ID}/unfreeze"), r#"{"scope":"debit"}"#, "UnfreezeAccount"),
        (format!("/v1/accounts/{ID}/limits"), r#"{"credit_line":{"amount":"5","currency":"CZK"}}"#, "ChangeLimit"),
        (format!("/v1/accounts/{ID}/dormant"), "{}", "MarkAccountDormant"),
        (format!("/v1/accounts/{ID}/reactivate"), "{}", "ReactivateAccount"),
        (format!("/v1/accounts/{ID}/close"), "{}", "CloseAccount"),
        (format!("/v1/accounts/{ID}/holders/remove"), &format!(r#"{{"member_id":"{OTHER}"}}"#), "RemoveHolder"),
        (
            format!("/v1/accounts/{ID}/holders"),
            &format!(r#"{{"member_id":"{OTHER}","role":"disponent"}}"#),
            "AddHolder",
        ),
        (format!("/v1/transactions/{ID}/post"), "{}", "PostPending"),
        (format!("/v1/transactions/{ID}/void"), r#"{"reason":"cancelled"}"#, "VoidPending"),
        (format!("/v1/transactions/{ID}/reverse"), r#"{"reason":"twice"}"#, "ReverseTransaction"),
        ("/v1/ledger/currencies".to_owned(), r#"{"code":"CZK","minor_units":2}"#, "DefineCurrency"),
        ("/v1/ledger/codes".to_owned(), r#"{"code":"1010","name":"Cash","class":"asset"}"#, "DefineLedgerCode"),
        ("/v1/ledger/periods".to_owned(), r#"{"id":"1993","from":"1993-01-01","to":"1993-12-31"}"#, "OpenPeriod"),
        ("/v1/ledger/periods/1993/close".to_owned(), "{}", "ClosePeriod"),
    ];
    for (path, body, name) in cases {
        let answered = sent(&door, &path, body).await;
        assert!(answered.status.is_success(), "{path}: {}", answered.body);
        assert_eq!(door.last().command.name(), name, "{path}");
    }
    let body = format!(
        r#"{{"id":"{OTHER}","number":"1","product":"current","currency":"CZK","ledger_code":"2010",
            "holders":[{{"member_id":"{ID}","role":"owner"}}],"credit_line":{{"amount":"5","currency":"CZK"}}}}"#
    );
    let answered = sent(&door, "/v1/accounts", &body).await;
    assert_eq!(answered.status, 201);
    let Command::Account(AccountCommand::OpenAccount { account_id, minimum_balance, .. }) = door.last().command else {
        panic!("another command");
    };
    assert_eq!(account_id.0.to_string(), OTHER);
    assert_eq!(minimum_balance.unwrap().amount_minor, -500);
}

#[tokio::test]
async fn the_parts_of_the_ledger_are_named_by_their_codes() {
    let door = Noted::new(accepted);
    let answered = sent(&door, "/v1/ledger/codes", r#"{"code":"1010","name":"Cash","class":"asset"}"#).await;
    assert_eq!(answered.status, 201);
    assert_eq!(answered.body["id"], "1010");
    assert!(answered.headers.get("location").is_none());
}

#[tokio::test]
async fn the_expected_version_goes_through() {
    let door = Noted::new(accepted);
    let mut request = post(&format!("/v1/accounts/{ID}/close"), "{}");
    request.headers_mut().insert("if-match", "\"5\"".parse().unwrap());
    ask(&api(door.clone()), request).await;
    assert_eq!(door.last().expected_version, Some(5));
}
