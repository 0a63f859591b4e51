//! What the rules refuse, and why: one variant for every way to fail.
//!
//! A rejection is a fact as well: it is appended as `CommandRejected` on a stream of its own, so
//! that a repeated request gets the same answer for ever. It carries codes, ids and numbers only.

use chrono::{DateTime, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, LoanId, LoanProductId, MemberId, SagaId, StreamId, TransactionId};
use crate::ledger::LedgerClass;
use crate::loan::LoanStatus;
use crate::money::{Currency, Money, Side};
use crate::product::Component;
use crate::words::{LedgerCode, PeriodId};

/// What kind of refusal it is; the HTTP APIs map it to a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionClass {
    /// Something that was named is not there (404).
    NotFound,
    /// It is there, or in use, already (409).
    Conflict,
    /// The caller's expected version is not the current one (412).
    Precondition,
    /// A business rule says no (422).
    Rule,
}

/// A term of a loan or a loan product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoanTerm {
    /// The principal or its range.
    Principal,
    /// The annual rate or its range.
    AnnualRate,
    /// The number of instalments or its range.
    Instalments,
    /// The multiple that instalments are rounded to.
    InstalmentMultiple,
    /// The order of allocation.
    AllocationOrder,
    /// The policy of collection.
    Collection,
}

impl std::fmt::Display for LoanTerm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LoanTerm::Principal => "principal",
            LoanTerm::AnnualRate => "annual_rate",
            LoanTerm::Instalments => "instalments",
            LoanTerm::InstalmentMultiple => "instalment_multiple",
            LoanTerm::AllocationOrder => "allocation_order",
            LoanTerm::Collection => "collection",
        })
    }
}

macro_rules! rejections {
    ($($(#[$doc:meta])* $class:ident $code:literal $name:ident $({ $($field:ident: $type:ty),+ $(,)? })? => $text:literal;)+) => {
        /// Why a command was refused. The serialised form is part of the log and frozen.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
        #[serde(tag = "code")]
        #[allow(missing_docs)] // the fields are named in the text of each
        pub enum Rejection {
            $($(#[$doc])* #[serde(rename = $code)] #[error($text)] $name $({ $($field: $type),+ })?,)+
        }

        impl Rejection {
            /// The stable code.
            pub const fn code(&self) -> &'static str {
                match self { $(Rejection::$name { .. } => $code,)+ }
            }

            /// What kind of refusal it is.
            pub const fn class(&self) -> RejectionClass {
                match self { $(Rejection::$name { .. } => RejectionClass::$class,)+ }
            }
        }

        /// Every code with its class, for documentation.
        pub const REJECTION_CODES: &[(&str, RejectionClass)] = &[$(($code, RejectionClass::$class),)+];
    };
}

rejections! {
    /// A member that does not exist.
    NotFound "member_not_found" MemberNotFound { member_id: MemberId } => "there is no member {member_id}";
    /// An account that does not exist.
    NotFound "account_not_found" AccountNotFound { account_id: AccountId } => "there is no account {account_id}";
    /// A transaction that does not exist.
    NotFound "transaction_not_found" TransactionNotFound { transaction_id: TransactionId } => "there is no transaction {transaction_id}";
    /// A period that does not exist.
    NotFound "period_not_found" PeriodNotFound { period: PeriodId } => "there is no period {period}";
    /// The client-chosen id is taken.
    Conflict "id_taken" IdTaken { stream: StreamId } => "{stream} exists already";
    /// Another member has this number.
    Conflict "member_number_taken" MemberNumberTaken => "another member has this number";
    /// Another account has this number.
    Conflict "account_number_taken" AccountNumberTaken => "another account has this number";
    /// Another transaction has this external reference.
    Conflict "external_reference_taken" ExternalReferenceTaken => "another transaction has this external reference";
    /// Defined already.
    Conflict "currency_exists" CurrencyExists { currency: Currency } => "the ledger has {currency} already";
    /// Defined already.
    Conflict "ledger_code_exists" LedgerCodeExists { ledger_code: LedgerCode } => "the ledger has the code {ledger_code} already";
    /// Opened already.
    Conflict "period_exists" PeriodExists { period: PeriodId } => "the period {period} exists already";
    /// `If-Match` named another version.
    Precondition "version_mismatch" VersionMismatch { expected: u64, actual: u64 } => "expected version {expected}, the current one is {actual}";

    /// Already verified or rejected.
    Rule "kyc_not_pending" KycNotPending { member_id: MemberId } => "the KYC check of member {member_id} has been decided already";
    /// The member must be active for this.
    Rule "member_not_active" MemberNotActive { member_id: MemberId } => "member {member_id} is not active";
    /// The member is active.
    Rule "member_active" MemberActive { member_id: MemberId } => "member {member_id} is active already";
    /// The member's KYC check must have passed.
    Rule "member_not_verified" MemberNotVerified { member_id: MemberId } => "member {member_id} has not passed the KYC check";

    /// The ledger has not defined the currency.
    Rule "currency_not_defined" CurrencyNotDefined { currency: Currency } => "the ledger has not defined {currency}";
    /// The chart has no such code.
    Rule "ledger_code_not_defined" LedgerCodeNotDefined { ledger_code: LedgerCode } => "the chart of accounts has no code {ledger_code}";
    /// A member's account hangs on a control code, and only those do.
    Rule "ledger_code_not_control" LedgerCodeNotControl { ledger_code: LedgerCode } => "members' accounts need a control code, {ledger_code} is none";
    /// An internal account hangs on a code that is no control code.
    Rule "ledger_code_is_control" LedgerCodeIsControl { ledger_code: LedgerCode } => "{ledger_code} is a control code, kept for members' accounts";
    /// A member's account has an owner.
    Rule "owner_required" OwnerRequired => "a member's account needs at least one holder who owns it";
    /// An internal account has no holders and no limit.
    Rule "internal_account_has_no_holders" InternalAccountHasNoHolders => "an internal account has neither holders nor a limit";
    /// A member's account is known by its number: a name could tell a person's in the clear.
    Rule "name_not_allowed" NameNotAllowed => "only an internal account has a name";
    /// Named twice, or a holder already.
    Rule "holder_exists" HolderExists { member_id: MemberId } => "member {member_id} holds the account already";
    /// Not a holder.
    Rule "holder_not_found" HolderNotFound { member_id: MemberId } => "member {member_id} does not hold the account";
    /// A date of opening in the future.
    Rule "opening_date_in_future" OpeningDateInFuture { opened_on: NaiveDate, business_date: NaiveDate } => "the account cannot open on {opened_on}, after the business date {business_date}";

    /// The command is for members' accounts.
    Rule "account_is_internal" AccountIsInternal { account_id: AccountId } => "account {account_id} is internal: it has no limit, holders or freezes";
    /// The account is closed.
    Rule "account_closed" AccountClosed { account_id: AccountId } => "account {account_id} is closed";
    /// The account is retired.
    Rule "account_retired" AccountRetired { account_id: AccountId } => "account {account_id} is retired";
    /// Nothing to do.
    Rule "account_frozen_already" AccountFrozenAlready { account_id: AccountId } => "account {account_id} is frozen so already";
    /// Nothing to do.
    Rule "account_not_frozen" AccountNotFrozen { account_id: AccountId } => "account {account_id} is not frozen so";
    /// This side of the account is frozen.
    Rule "account_frozen" AccountFrozen { account_id: AccountId, side: Side } => "account {account_id} is frozen for {side} entries";
    /// A dormant account takes no debits until it is reactivated.
    Rule "account_dormant" AccountDormant { account_id: AccountId } => "account {account_id} is dormant";
    /// Not dormant.
    Rule "account_not_dormant" AccountNotDormant { account_id: AccountId } => "account {account_id} is not dormant";
    /// Closing needs a zero balance.
    Rule "balance_not_zero" BalanceNotZero { account_id: AccountId, balance: Money } => "account {account_id} still has a balance of {balance}";
    /// Closing needs that no pending transaction refers to the account.
    Rule "holds_remain" HoldsRemain { account_id: AccountId, holds: u64 } => "account {account_id} still has {holds} legs of pending transactions";
    /// The limit would be broken at once.
    Rule "limit_above_available" LimitAboveAvailable { account_id: AccountId, available: Money, minimum_balance: Money } => "account {account_id} has {available} available, less than the minimum of {minimum_balance}";

    /// The transaction's net would break the account's limit.
    Rule "insufficient_funds" InsufficientFunds { account_id: AccountId, available: Money, minimum_balance: Money, requested: Money } => "account {account_id} has {available} available and must keep {minimum_balance}; {requested} was asked";
    /// Debits and credits differ in a currency.
    Rule "unbalanced" Unbalanced { currency: Currency, debit_minor: String, credit_minor: String } => "the legs do not balance in {currency}: debits {debit_minor}, credits {credit_minor} minor units";
    /// A leg in another currency than its account's.
    Rule "currency_mismatch" CurrencyMismatch { account_id: AccountId, account_currency: Currency, leg_currency: Currency } => "account {account_id} is kept in {account_currency}, the leg is in {leg_currency}";
    /// From and to are the same account.
    Rule "same_account" SameAccount { account_id: AccountId } => "account {account_id} is both source and target";
    /// Fewer legs than one, or more than a transaction may have.
    Rule "leg_count_out_of_range" LegCountOutOfRange { legs: u64, legs_max: u64 } => "a booking has 1 to {legs_max} legs, not {legs}";
    /// An amount that is not above zero, or beyond what one leg may have.
    Rule "amount_out_of_range" AmountOutOfRange { amount: Money } => "the amount of a leg must be above zero and at most 9007199254740991 minor units, not {amount}";
    /// A balance beyond what can be counted.
    Rule "balance_overflow" BalanceOverflow { account_id: AccountId } => "the balance of account {account_id} would be beyond what can be counted";
    /// A booking date that has not come.
    Rule "booking_date_in_future" BookingDateInFuture { booking_date: NaiveDate, business_date: NaiveDate } => "the booking date {booking_date} is after the business date {business_date}";
    /// No period covers the booking date.
    Rule "no_period" NoPeriod { booking_date: NaiveDate } => "no accounting period covers {booking_date}";
    /// The period is closed.
    Rule "period_closed" PeriodClosed { period: PeriodId } => "the period {period} is closed";
    /// A period whose end is before its start.
    Rule "period_ends_before_start" PeriodEndsBeforeStart => "the period ends before it starts";
    /// Periods do not overlap.
    Rule "period_overlaps" PeriodOverlaps { period: PeriodId } => "the period overlaps the period {period}";

    /// One of several transactions that were to be posted together is refused, and with it all of them.
    Rule "transaction_refused" TransactionRefused { index: u16, refusal: Box<Rejection> } => "transaction {index} is refused, and with it all that were sent with it: {refusal}";

    /// Only a pending transaction can be posted, voided or expire.
    Rule "not_pending" NotPending { transaction_id: TransactionId } => "transaction {transaction_id} is not pending";
    /// The hold has expired.
    Rule "pending_expired" PendingExpired { transaction_id: TransactionId, expires_at: DateTime<Utc> } => "transaction {transaction_id} expired at {expires_at}";
    /// The hold has not expired yet.
    Rule "not_expired" NotExpired { transaction_id: TransactionId } => "transaction {transaction_id} has not expired";
    /// An expiry that is not in the future.
    Rule "expiry_not_in_future" ExpiryNotInFuture { expires_at: DateTime<Utc> } => "the expiry {expires_at} is not in the future";
    /// No such leg.
    Rule "leg_not_found" LegNotFound { transaction_id: TransactionId, leg: u16 } => "transaction {transaction_id} has no leg {leg}";
    /// A leg named twice.
    Rule "leg_repeated" LegRepeated { leg: u16 } => "leg {leg} is named twice";
    /// More than what is left of the leg.
    Rule "leg_amount_exceeded" LegAmountExceeded { leg: u16, remaining: Money, requested: Money } => "leg {leg} has {remaining} left, {requested} was asked";
    /// Nothing was posted, or all of it is reversed.
    Rule "nothing_to_reverse" NothingToReverse { transaction_id: TransactionId } => "transaction {transaction_id} has nothing left to reverse";
    /// A reversal is final: what it undid is posted anew.
    Rule "reversal_not_reversible" ReversalNotReversible { transaction_id: TransactionId } => "transaction {transaction_id} is itself a reversal";
    /// The suspense account must be internal.
    Rule "suspense_not_internal" SuspenseNotInternal { account_id: AccountId } => "the suspense account {account_id} is not an internal account";

    /// A loan product that does not exist.
    NotFound "loan_product_not_found" LoanProductNotFound { product_id: LoanProductId } => "there is no loan product {product_id}";
    /// A loan that does not exist.
    NotFound "loan_not_found" LoanNotFound { loan_id: LoanId } => "there is no loan {loan_id}";
    /// The loan has no such repayment.
    NotFound "repayment_not_found" RepaymentNotFound { loan_id: LoanId, transaction_id: TransactionId } => "loan {loan_id} has no repayment {transaction_id}";
    /// A saga that does not exist.
    NotFound "saga_not_found" SagaNotFound { saga_id: SagaId } => "there is no saga {saga_id}";
    /// Another loan product has this code.
    Conflict "loan_product_code_taken" LoanProductCodeTaken => "another loan product has this code";
    /// Another loan has this number.
    Conflict "loan_number_taken" LoanNumberTaken => "another loan has this number";

    /// The account must be one of the institution's own.
    Rule "account_not_internal" AccountNotInternal { account_id: AccountId } => "account {account_id} is a member's, an internal one is needed";
    /// The account hangs on a code of another class than its use needs.
    Rule "account_of_other_class" AccountOfOtherClass { account_id: AccountId, needed: LedgerClass } => "account {account_id} hangs on a ledger code of another class than {needed}";
    /// The account takes entries of loans only, and of one use.
    Rule "account_dedicated" AccountDedicated { account_id: AccountId } => "account {account_id} is kept for loans; use a command on the loan";
    /// The transaction is a loan's, and changes with it only.
    Rule "transaction_of_loan" TransactionOfLoan { transaction_id: TransactionId } => "transaction {transaction_id} belongs to a loan; use a command on the loan";
    /// The account must be owned by the member.
    Rule "not_the_members_account" NotTheMembersAccount { account_id: AccountId, member_id: MemberId } => "account {account_id} is not owned by member {member_id}";
    /// The product is offered no longer.
    Rule "loan_product_retired" LoanProductRetired { product_id: LoanProductId } => "the loan product {product_id} is offered no longer";
    /// The terms of a product contradict themselves.
    Rule "product_terms_invalid" ProductTermsInvalid { term: LoanTerm } => "the product's {term} cannot be";
    /// A term that the product does not allow.
    Rule "loan_term_out_of_range" LoanTermOutOfRange { product_id: LoanProductId, term: LoanTerm } => "the {term} is outside what the loan product {product_id} allows";
    /// An amount in another currency than the loan's.
    Rule "loan_currency_mismatch" LoanCurrencyMismatch { currency: Currency, asked: Currency } => "the loan is in {currency}, the amount in {asked}";
    /// The terms give no schedule.
    Rule "schedule_impossible" ScheduleImpossible { loan_id: LoanId, cause: String } => "the terms of loan {loan_id} give no schedule: {cause}";
    /// Not in this status.
    Rule "loan_status_conflict" LoanStatusConflict { loan_id: LoanId, status: LoanStatus } => "loan {loan_id} is {status}";
    /// Only fees and penalties are charged.
    Rule "not_a_charge" NotACharge { component: Component } => "{component} is not charged, it follows from the schedule";
    /// Money cannot come back before it was paid out.
    Rule "before_disbursement" BeforeDisbursement { loan_id: LoanId, value_date: NaiveDate, disbursed_on: NaiveDate } => "the value date {value_date} is before loan {loan_id} was paid out on {disbursed_on}";
    /// More than is owed, and no account to pass the rest to.
    Rule "overpayment_without_account" OverpaymentWithoutAccount { loan_id: LoanId, surplus: Money } => "{surplus} more than loan {loan_id} owes, and it has no settlement account";
    /// Nothing to collect from.
    Rule "no_settlement_account" NoSettlementAccount { loan_id: LoanId } => "loan {loan_id} has no settlement account";
    /// Nothing is due.
    Rule "nothing_due" NothingDue { loan_id: LoanId } => "nothing is due on loan {loan_id}";
    /// All interest that is due is recognised.
    Rule "nothing_to_accrue" NothingToAccrue { loan_id: LoanId } => "loan {loan_id} has no interest to accrue";
    /// All that is left is interest that was never recognised.
    Rule "nothing_to_write_off" NothingToWriteOff { loan_id: LoanId } => "loan {loan_id} owes only interest that is not in the books";
    /// Undone before.
    Rule "repayment_reversed" RepaymentReversedAlready { loan_id: LoanId, transaction_id: TransactionId } => "the repayment {transaction_id} of loan {loan_id} is reversed already";

    /// The saga is over.
    Rule "saga_ended" SagaEnded { saga_id: SagaId } => "saga {saga_id} is over";
    /// The step is not the one at which the saga stands.
    Rule "saga_step_out_of_turn" SagaStepOutOfTurn { saga_id: SagaId } => "saga {saga_id} does not stand at this try of this step";
    /// Only a payment that waits for a person can be decided about.
    Rule "saga_not_parked" SagaNotParked { saga_id: SagaId } => "saga {saga_id} is no payment that waits for a decision";
    /// What the other bank did cannot be undone here.
    Rule "saga_past_pivot" SagaPastPivot { saga_id: SagaId } => "saga {saga_id} is past the point where it could be given up";
    /// It has to be known first whether it happened.
    Rule "saga_outcome_unknown" SagaOutcomeUnknown { saga_id: SagaId } => "it is not known yet what the other bank did for saga {saga_id}";

    /// The framework's door was used without the states that it needs.
    Rule "state_unavailable" StateUnavailable => "the states needed for the decision are not at hand";
}

impl Rejection {
    /// Why in the end: of transactions that were to be posted together, the refusal of the one that
    /// was refused, with its index.
    pub fn cause(&self) -> (Option<u16>, &Rejection) {
        match self {
            Rejection::TransactionRefused { index, refusal } => (Some(*index), refusal),
            other => (None, other),
        }
    }
}

/// The one event of a rejection's stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum RejectionEvent {
    /// A command was refused by the rules; nothing else changed.
    CommandRejected {
        /// The command's name, for example `PostTransaction`.
        command: String,
        /// The stream that it was about.
        target: StreamId,
        /// Why.
        rejection: Rejection,
    },
}

/// The state of a rejection's stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RejectionRecord {
    /// Why; `None` before the one event.
    pub rejection: Option<Rejection>,
}

impl RejectionRecord {
    /// Applies an event.
    pub fn fold(&mut self, event: &RejectionEvent) {
        match event {
            RejectionEvent::CommandRejected { rejection, .. } => self.rejection = Some(rejection.clone()),
        }
    }
}
