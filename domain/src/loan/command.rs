//! What may be asked about a loan.

use chrono::NaiveDate;

use crate::book::{Missing, Reservation, ReservationKind};
use crate::calc::AnnualRate;
use crate::ids::{AccountId, LoanId, LoanProductId, MemberId, TransactionId};
use crate::money::Money;
use crate::product::Component;
use crate::words::{Branch, ExternalReference, Number, ReasonCode, Sealed};

/// What to do with money beyond all that is owed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Surplus {
    /// Pass it on to the loan's settlement account; refuse the payment where there is none.
    #[default]
    ToSettlementAccount,
    /// Leave it where it came from.
    Leave,
}

/// A command on a loan. Dates default to the business date, value dates to their booking date.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the fields are those of the events
pub enum LoanCommand {
    /// Ask for a loan.
    ApplyForLoan {
        loan_id: LoanId,
        number: Number,
        member_id: MemberId,
        product_id: LoanProductId,
        principal: Money,
        /// Default: the least that the product allows.
        annual_rate: Option<AnnualRate>,
        instalments: u16,
        settlement_account_id: Option<AccountId>,
        purpose: Option<ReasonCode>,
        branch: Option<Branch>,
        applied_on: Option<NaiveDate>,
    },
    /// Approve it; what is left out stays as asked for.
    ApproveLoan {
        loan_id: LoanId,
        principal: Option<Money>,
        annual_rate: Option<AnnualRate>,
        instalments: Option<u16>,
        approved_on: Option<NaiveDate>,
    },
    /// Do not give it.
    RejectLoan { loan_id: LoanId, reason: ReasonCode },
    /// Pay it out into a member's account, at once.
    DisburseLoan {
        loan_id: LoanId,
        transaction_id: TransactionId,
        to_account_id: AccountId,
        booking_date: Option<NaiveDate>,
        /// From when interest counts.
        disbursed_on: Option<NaiveDate>,
        first_due_on: Option<NaiveDate>,
    },
    /// Hold the money for a payout to another bank.
    StartDisbursement {
        loan_id: LoanId,
        transaction_id: TransactionId,
        funding_account_id: AccountId,
        destination: Sealed,
        booking_date: Option<NaiveDate>,
        disbursed_on: Option<NaiveDate>,
        first_due_on: Option<NaiveDate>,
    },
    /// The other bank has the money.
    ConfirmDisbursement { loan_id: LoanId, bank_reference: Option<ExternalReference> },
    /// The other bank does not get the money.
    CancelDisbursement { loan_id: LoanId, reason: ReasonCode },
    /// Recognise the interest of instalments due until then.
    AccrueInterest { loan_id: LoanId, transaction_id: TransactionId, through: Option<NaiveDate> },
    /// Charge a fee or a penalty.
    ChargeLoan {
        loan_id: LoanId,
        transaction_id: TransactionId,
        component: Component,
        amount: Money,
        reason: ReasonCode,
        booking_date: Option<NaiveDate>,
    },
    /// Take a payment: from a member's account, or from an internal one where it has arrived.
    RepayLoan {
        loan_id: LoanId,
        transaction_id: TransactionId,
        from_account_id: AccountId,
        amount: Money,
        surplus: Surplus,
        booking_date: Option<NaiveDate>,
        value_date: Option<NaiveDate>,
        external_reference: Option<ExternalReference>,
    },
    /// Take all that is due until then from the settlement account.
    CollectDue { loan_id: LoanId, transaction_id: TransactionId, through: Option<NaiveDate> },
    /// Undo a payment.
    ReverseRepayment {
        loan_id: LoanId,
        /// The reversal.
        transaction_id: TransactionId,
        repayment_id: TransactionId,
        reason: ReasonCode,
        booking_date: Option<NaiveDate>,
    },
    /// Give up what is owed.
    WriteOffLoan { loan_id: LoanId, transaction_id: TransactionId, reason: ReasonCode, booking_date: Option<NaiveDate> },
    /// Close the file of a loan that is repaid or written off.
    CloseLoan { loan_id: LoanId },
}

impl LoanCommand {
    /// The name of the command.
    pub fn name(&self) -> &'static str {
        match self {
            LoanCommand::ApplyForLoan { .. } => "ApplyForLoan",
            LoanCommand::ApproveLoan { .. } => "ApproveLoan",
            LoanCommand::RejectLoan { .. } => "RejectLoan",
            LoanCommand::DisburseLoan { .. } => "DisburseLoan",
            LoanCommand::StartDisbursement { .. } => "StartDisbursement",
            LoanCommand::ConfirmDisbursement { .. } => "ConfirmDisbursement",
            LoanCommand::CancelDisbursement { .. } => "CancelDisbursement",
            LoanCommand::AccrueInterest { .. } => "AccrueInterest",
            LoanCommand::ChargeLoan { .. } => "ChargeLoan",
            LoanCommand::RepayLoan { .. } => "RepayLoan",
            LoanCommand::CollectDue { .. } => "CollectDue",
            LoanCommand::ReverseRepayment { .. } => "ReverseRepayment",
            LoanCommand::WriteOffLoan { .. } => "WriteOffLoan",
            LoanCommand::CloseLoan { .. } => "CloseLoan",
        }
    }

    /// The loan that the command is about.
    pub fn target(&self) -> LoanId {
        match self {
            LoanCommand::ApplyForLoan { loan_id, .. }
            | LoanCommand::ApproveLoan { loan_id, .. }
            | LoanCommand::RejectLoan { loan_id, .. }
            | LoanCommand::DisburseLoan { loan_id, .. }
            | LoanCommand::StartDisbursement { loan_id, .. }
            | LoanCommand::ConfirmDisbursement { loan_id, .. }
            | LoanCommand::CancelDisbursement { loan_id, .. }
            | LoanCommand::AccrueInterest { loan_id, .. }
            | LoanCommand::ChargeLoan { loan_id, .. }
            | LoanCommand::RepayLoan { loan_id, .. }
            | LoanCommand::CollectDue { loan_id, .. }
            | LoanCommand::ReverseRepayment { loan_id, .. }
            | LoanCommand::WriteOffLoan { loan_id, .. }
            | LoanCommand::CloseLoan { loan_id } => *loan_id,
        }
    }

    pub(crate) fn needs(&self, needs: &mut Vec<Missing>) {
        let mut stream = |id: crate::ids::StreamId| needs.push(Missing::Stream(id));
        match self {
            LoanCommand::ApplyForLoan { number, member_id, product_id, settlement_account_id, .. } => {
                stream(member_id.stream());
                stream(product_id.stream());
                settlement_account_id.iter().for_each(|id| stream(id.stream()));
                needs.push(Missing::Reservation(Reservation::new(ReservationKind::LoanNumber, number.as_str())));
            }
            LoanCommand::DisburseLoan { transaction_id, to_account_id, .. } => {
                stream(transaction_id.stream());
                stream(to_account_id.stream());
            }
            LoanCommand::StartDisbursement { transaction_id, funding_account_id, .. } => {
                stream(transaction_id.stream());
                stream(funding_account_id.stream());
            }
            LoanCommand::RepayLoan { transaction_id, from_account_id, external_reference, .. } => {
                stream(transaction_id.stream());
                stream(from_account_id.stream());
                if let Some(reference) = external_reference {
                    let reservation = Reservation::new(ReservationKind::ExternalReference, reference.as_str());
                    needs.push(Missing::Reservation(reservation));
                }
            }
            LoanCommand::ReverseRepayment { transaction_id, repayment_id, .. } => {
                stream(transaction_id.stream());
                stream(repayment_id.stream());
            }
            LoanCommand::AccrueInterest { transaction_id, .. }
            | LoanCommand::ChargeLoan { transaction_id, .. }
            | LoanCommand::CollectDue { transaction_id, .. }
            | LoanCommand::WriteOffLoan { transaction_id, .. } => stream(transaction_id.stream()),
            LoanCommand::ApproveLoan { .. }
            | LoanCommand::RejectLoan { .. }
            | LoanCommand::ConfirmDisbursement { .. }
            | LoanCommand::CancelDisbursement { .. }
            | LoanCommand::CloseLoan { .. } => {}
        }
    }
}
