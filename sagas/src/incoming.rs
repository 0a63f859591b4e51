//! The steps of an incoming payment: find its loan, let the loan take what it is owed, and give back
//! what is too much where no account of the member can have it.

use domain::ids::derived;
use domain::loan::{LoanCommand, LoanEvent, LoanStatus, Surplus};
use domain::rejection::Rejection;
use domain::saga::Process;
use domain::transaction::{LegInput, Legs, TransactionCommand, TransactionKind};
use domain::{Command, Event, LoanId, Money, Reservation, ReservationKind, Side, StreamKind, TransactionId};

use event_store::ReadError;

use crate::disbursement::{failed, settled};
use crate::door::{self, WorkError};
use crate::payments::ReturnPayment;
use crate::steps::{Tools, Tried, Turn, done, done_with, reason, refused};

/// A payment may come before its loan is known to be paid out: so often it is looked at again.
const MATCH_TRIES_MAX: u32 = 6;
/// After so many refusals by our own rules a step that can only go forward waits for a person.
const BOOK_TRIES_MAX: u32 = 12;

/// The loan whose number the payer gave. What does not fit waits for a person.
pub(crate) async fn find_loan(tools: &Tools<'_>, turn: &Turn<'_>, process: &Process) -> Result<Tried, WorkError> {
    let Process::IncomingPayment { loan_number, currency, .. } = process else { return Ok(refused("not_a_payment")) };
    let Some(number) = loan_number else { return Ok(refused("no_loan_number")) };
    let reservation = Reservation::new(ReservationKind::LoanNumber, number.as_str());
    let loan_id = match tools.store.stream_of(&reservation).await? {
        Some(stream) if stream.kind == StreamKind::Loan => LoanId(stream.id),
        Some(_) | None => return Ok(refused("loan_number_unknown")),
    };
    let loan = door::loan(tools.store, loan_id).await?;
    if loan.currency != *currency {
        return Ok(refused("loan_currency_mismatch"));
    }
    Ok(match loan.status {
        LoanStatus::Active => done_with(Some(loan_id), None, None),
        LoanStatus::Disbursing if turn.attempt() < MATCH_TRIES_MAX => turn.again("loan_disbursing"),
        status => refused(&format!("loan_{status}")),
    })
}

/// The loan takes what it is owed; the rest goes to its settlement account, or stays to be returned.
pub(crate) async fn allocate(tools: &Tools<'_>, turn: &Turn<'_>, process: &Process) -> Result<Tried, WorkError> {
    let Process::IncomingPayment { transaction_id, suspense_account_id, currency, value_date, .. } = process else {
        return Ok(refused("not_a_payment"));
    };
    let Some(loan_id) = turn.saga.loan_id else { return Ok(refused("loan_number_unknown")) };
    let loan = door::loan(tools.store, loan_id).await?;
    let receipt = door::transaction(tools.store, *transaction_id).await?;
    let surplus = if loan.settlement_account_id.is_some() { Surplus::ToSettlementAccount } else { Surplus::Leave };
    // On the receipt's booking date; on today's once that period is closed.
    let period_was_closed = turn.saga.code == Some(reason("period_closed"));
    let key = turn.key("allocate");
    let repayment_id = TransactionId(derived(turn.saga_id.0, &key));
    let command = Command::Loan(LoanCommand::RepayLoan {
        loan_id,
        transaction_id: repayment_id,
        from_account_id: *suspense_account_id,
        amount: Money::new(turn.saga.left_minor, *currency),
        surplus,
        booking_date: receipt.booking_date.filter(|_| !period_was_closed),
        value_date: Some(*value_date),
        external_reference: None,
    });
    match door::submit(tools.store, turn.saga_id, &key, command).await? {
        Ok(accepted) => Ok(done_with(None, None, Some(left_of(tools, loan_id, repayment_id, accepted.version).await?))),
        Err(Rejection::PeriodClosed { .. }) if !period_was_closed => Ok(turn.again("period_closed")),
        Err(rejection) => Ok(refused(rejection.code())),
    }
}

/// What the loan did not take and did not pass on, in minor units; `version` is the loan's after it.
async fn left_of(
    tools: &Tools<'_>,
    loan_id: LoanId,
    repayment_id: TransactionId,
    version: u64,
) -> Result<i64, WorkError> {
    // A payment is one event of the loan, or two where it is the last one.
    let last = tools.store.reader().stream_after(loan_id.stream(), version.saturating_sub(2), 2).await?;
    let mut left = None;
    for recorded in &last {
        let position = recorded.position;
        if let Event::Loan(LoanEvent::RepaymentReceived { transaction_id, surplus_minor, surplus_account_id, .. }) =
            recorded.event().map_err(|source| ReadError::Decode { position, source })?
            && transaction_id == repayment_id
        {
            left = Some(if surplus_account_id.is_none() { surplus_minor } else { 0 });
        }
    }
    left.ok_or_else(|| WorkError::Inconsistent(format!("loan {loan_id} does not know the payment {repayment_id}")))
}

/// Asks the other bank to take back what is left. Its doubt is handled as a payout's.
pub(crate) async fn give_back(tools: &Tools<'_>, turn: &Turn<'_>, process: &Process) -> Result<Tried, WorkError> {
    let Process::IncomingPayment { bank_reference, currency, .. } = process else {
        return Ok(refused("not_a_payment"));
    };
    // What the bank has refused under an id it refuses for ever: a person's word to go on enters the
    // step anew. An unknown outcome keeps its entry, and so its id.
    let id = derived(turn.saga_id.0, &format!("return/{}", turn.saga.entry));
    if turn.in_doubt() {
        match tools.port.return_status(id).await {
            Ok(Some(outcome)) => return Ok(settled(turn, outcome)),
            Ok(None) => {}
            Err(error) => return Ok(turn.unknown(error.code())),
        }
    }
    if let Some(announcement) = turn.announce() {
        return Ok(announcement);
    }
    let payment = ReturnPayment {
        id,
        original_bank_reference: bank_reference.as_str().to_owned(),
        amount: Money::new(turn.saga.left_minor, *currency),
        reason: if turn.saga.loan_id.is_some() { "overpayment".to_owned() } else { "not_for_us".to_owned() },
    };
    Ok(match tools.port.return_payment(&payment).await {
        Ok(outcome) => settled(turn, outcome),
        Err(error) => failed(turn, &error),
    })
}

/// What went back leaves the suspense account.
pub(crate) async fn book_return(tools: &Tools<'_>, turn: &Turn<'_>, process: &Process) -> Result<Tried, WorkError> {
    let Process::IncomingPayment { suspense_account_id, bank_account_id, currency, .. } = process else {
        return Ok(refused("not_a_payment"));
    };
    let amount = Money::new(turn.saga.left_minor, *currency);
    let leg = |account_id, side| LegInput { account_id, side, amount };
    let key = turn.key("book_return");
    let command = Command::Transaction(TransactionCommand::PostTransaction {
        transaction_id: TransactionId(derived(turn.saga_id.0, &key)),
        kind: TransactionKind::Withdrawal,
        booking_date: None,
        value_date: None,
        legs: Legs::Explicit(vec![leg(*suspense_account_id, Side::Debit), leg(*bank_account_id, Side::Credit)]),
        external_reference: None,
        narrative: None,
        pending: None,
    });
    Ok(match door::submit(tools.store, turn.saga_id, &key, command).await? {
        Ok(_) => done(),
        Err(rejection) => turn.forward_or_park(&rejection, BOOK_TRIES_MAX),
    })
}
