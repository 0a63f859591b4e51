//! Every event of the log, whatever its stream.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use crate::account::AccountEvent;
use crate::ids::StreamKind;
use crate::ledger::LedgerEvent;
use crate::loan::LoanEvent;
use crate::member::MemberEvent;
use crate::product::LoanProductEvent;
use crate::rejection::RejectionEvent;
use crate::saga::SagaEvent;
use crate::transaction::TransactionEvent;

mod frequent;

/// An event of any stream. Its bytes are those of the event inside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Event {
    /// Of a member.
    Member(MemberEvent),
    /// Of an account.
    Account(AccountEvent),
    /// Of a transaction.
    Transaction(TransactionEvent),
    /// Of the ledger.
    Ledger(LedgerEvent),
    /// A refusal.
    Rejection(RejectionEvent),
    /// Of a loan product.
    LoanProduct(LoanProductEvent),
    /// Of a loan.
    Loan(LoanEvent),
    /// Of a saga.
    Saga(SagaEvent),
}

macro_rules! each {
    ($self:expr, $event:ident => $value:expr) => {
        match $self {
            Event::Member($event) => $value,
            Event::Account($event) => $value,
            Event::Transaction($event) => $value,
            Event::Ledger($event) => $value,
            Event::Rejection($event) => $value,
            Event::LoanProduct($event) => $value,
            Event::Loan($event) => $value,
            Event::Saga($event) => $value,
        }
    };
}

impl Event {
    /// The name of its type, for example `EntryPosted`.
    pub fn name(&self) -> &'static str {
        each!(self, event => event.name())
    }

    /// The version of its type.
    pub fn version(&self) -> &'static str {
        each!(self, event => event.version())
    }

    /// Reads the payload of an event of that kind of stream, in its current version. The payload
    /// names its type.
    pub fn from_payload(kind: StreamKind, payload: &str) -> Result<Self, serde_json::Error> {
        Ok(match kind {
            StreamKind::Member => Event::Member(serde_json::from_str(payload)?),
            StreamKind::Account => Event::Account(serde_json::from_str(payload)?),
            StreamKind::Transaction => Event::Transaction(serde_json::from_str(payload)?),
            StreamKind::Ledger => Event::Ledger(serde_json::from_str(payload)?),
            StreamKind::Rejection => Event::Rejection(serde_json::from_str(payload)?),
            StreamKind::LoanProduct => Event::LoanProduct(serde_json::from_str(payload)?),
            StreamKind::Loan => Event::Loan(serde_json::from_str(payload)?),
            StreamKind::Saga => Event::Saga(serde_json::from_str(payload)?),
        })
    }

    /// As [`Event::from_payload`], for who knows the type beforehand: the frequent types are read faster. A
    /// payload that names another type is read as that one.
    pub fn from_payload_of_type(kind: StreamKind, event_type: &str, payload: &str) -> Result<Self, serde_json::Error> {
        match frequent::read(event_type, payload) {
            Some(event) if event.kind() == kind => Ok(event),
            _ => Self::from_payload(kind, payload),
        }
    }

    /// On which kind of stream it is.
    pub fn kind(&self) -> StreamKind {
        match self {
            Event::Member(_) => StreamKind::Member,
            Event::Account(_) => StreamKind::Account,
            Event::Transaction(_) => StreamKind::Transaction,
            Event::Ledger(_) => StreamKind::Ledger,
            Event::Rejection(_) => StreamKind::Rejection,
            Event::LoanProduct(_) => StreamKind::LoanProduct,
            Event::Loan(_) => StreamKind::Loan,
            Event::Saga(_) => StreamKind::Saga,
        }
    }
}

macro_rules! events {
    ($($kind:ident: $event:ident { $($name:ident),+ $(,)? })+) => {
        $(
            impl $event {
                /// The name of its type.
                pub fn name(&self) -> &'static str {
                    match self {
                        $($event::$name { .. } => stringify!($name),)+
                    }
                }

                /// The version of its type; a change of a published type is a new version.
                pub fn version(&self) -> &'static str {
                    "1"
                }
            }

            impl DomainEvent for $event {
                fn event_type(&self) -> String {
                    self.name().to_owned()
                }

                fn event_version(&self) -> String {
                    self.version().to_owned()
                }
            }

            impl From<$event> for Event {
                fn from(event: $event) -> Event {
                    Event::$kind(event)
                }
            }
        )+

        /// Every type of event with its kind of stream and its current version.
        pub const EVENT_TYPES: &[(StreamKind, &str, &str)] = &[
            $($((StreamKind::$kind, stringify!($name), "1"),)+)+
        ];
    };
}

events! {
    Member: MemberEvent {
        MemberRegistered, KycVerified, KycRejected, MemberSuspended, MemberReactivated, MemberDeactivated,
    }
    Account: AccountEvent {
        AccountOpened, HolderAdded, HolderRemoved, LimitChanged, AccountFrozen, AccountUnfrozen,
        AccountMarkedDormant, AccountReactivated, AccountClosed, AccountRetired, AccountDedicated,
        EntryPosted, HoldPlaced, HoldReleased,
    }
    Transaction: TransactionEvent {
        TransactionPosted, TransactionPending, PendingPosted, PendingVoided, PendingExpired, TransactionReversed,
    }
    Ledger: LedgerEvent {
        CurrencyDefined, LedgerCodeDefined, PeriodOpened, PeriodClosed,
    }
    Rejection: RejectionEvent {
        CommandRejected,
    }
    LoanProduct: LoanProductEvent {
        LoanProductDefined, LoanProductRevised, LoanProductRetired,
    }
    Loan: LoanEvent {
        LoanApplied, LoanApproved, LoanRejected, LoanDisbursementStarted, LoanDisbursementCancelled, LoanDisbursed,
        InterestAccrued, LoanCharged, RepaymentReceived, RepaymentReversed, LoanRepaid, LoanWrittenOff, LoanClosed,
    }
    Saga: SagaEvent {
        SagaStarted, StepSucceeded, StepFailed, StepUnknown, CompensationStarted,
        SagaParked, SagaResumed, SagaAbandoned, SagaCompleted,
    }
}
