//! The framework's door: an aggregate's `handle` forwards to the decision over the whole book.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;

use crate::account::{Account, AccountEvent};
use crate::book::{Book, Context, Missing, Reservation, Stop};
use crate::command::{Command, decide};
use crate::event::Event;
use crate::ids::{AccountId, LoanId, LoanProductId, MemberId, SagaId, TransactionId};
use crate::ledger::{Ledger, LedgerEvent};
use crate::loan::{Loan, LoanEvent};
use crate::member::{Member, MemberEvent};
use crate::product::{LoanProduct, LoanProductEvent};
use crate::rejection::{Rejection, RejectionEvent, RejectionRecord};
use crate::saga::{Saga, SagaEvent};
use crate::transaction::{Transaction, TransactionEvent};

/// All the states that a decision looks at, the aggregate's own among them, as the framework's
/// services. Whether a stream exists cannot be told from its folded state, so the shelf tells it.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    /// Members by id.
    pub members: Vec<(MemberId, Member)>,
    /// Accounts by id.
    pub accounts: Vec<(AccountId, Account)>,
    /// Transactions by id.
    pub transactions: Vec<(TransactionId, Transaction)>,
    /// Loan products by id.
    pub loan_products: Vec<(LoanProductId, LoanProduct)>,
    /// Loans by id.
    pub loans: Vec<(LoanId, Loan)>,
    /// Sagas by id.
    pub sagas: Vec<(SagaId, Saga)>,
    /// Currencies, codes, periods.
    pub ledger: Ledger,
    /// Values that are taken.
    pub reserved: Vec<Reservation>,
}

impl Book for Shelf {
    fn member(&self, id: MemberId) -> Result<Option<&Member>, Missing> {
        Ok(self.members.iter().find(|(key, _)| *key == id).map(|(_, state)| state))
    }

    fn account(&self, id: AccountId) -> Result<Option<&Account>, Missing> {
        Ok(self.accounts.iter().find(|(key, _)| *key == id).map(|(_, state)| state))
    }

    fn transaction(&self, id: TransactionId) -> Result<Option<&Transaction>, Missing> {
        Ok(self.transactions.iter().find(|(key, _)| *key == id).map(|(_, state)| state))
    }

    fn loan_product(&self, id: LoanProductId) -> Result<Option<&LoanProduct>, Missing> {
        Ok(self.loan_products.iter().find(|(key, _)| *key == id).map(|(_, state)| state))
    }

    fn loan(&self, id: LoanId) -> Result<Option<&Loan>, Missing> {
        Ok(self.loans.iter().find(|(key, _)| *key == id).map(|(_, state)| state))
    }

    fn saga(&self, id: SagaId) -> Result<Option<&Saga>, Missing> {
        Ok(self.sagas.iter().find(|(key, _)| *key == id).map(|(_, state)| state))
    }

    fn ledger(&self) -> Result<&Ledger, Missing> {
        Ok(&self.ledger)
    }

    fn is_reserved(&self, reservation: &Reservation) -> Result<bool, Missing> {
        Ok(self.reserved.contains(reservation))
    }
}

/// A command with its circumstances, as the framework hands it to an aggregate.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is asked.
    pub command: Command,
    /// When and under which id.
    pub context: Context,
}

macro_rules! aggregate {
    ($state:ident, $event:ident, $variant:ident, $name:literal) => {
        impl Aggregate for $state {
            const TYPE: &'static str = $name;
            type Command = Request;
            type Event = $event;
            type Error = Rejection;
            type Services = Shelf;

            async fn handle(
                &mut self,
                request: Request,
                shelf: &Shelf,
                sink: &EventSink<Self>,
            ) -> Result<(), Rejection> {
                match decide(&request.command, shelf, &request.context) {
                    Ok(plan) => {
                        for (stream, event) in plan.events {
                            if let (true, Event::$variant(event)) = (stream == plan.subject, event) {
                                sink.write(event, self).await;
                            }
                        }
                        Ok(())
                    }
                    Err(Stop::Rejected(rejection)) => Err(rejection),
                    // A shelf knows everything that there is, so nothing can be missing from it.
                    Err(Stop::Missing(_)) => Err(Rejection::StateUnavailable),
                }
            }

            fn apply(&mut self, event: $event) {
                self.fold(&event);
            }
        }
    };
}

aggregate!(Member, MemberEvent, Member, "member");
aggregate!(Account, AccountEvent, Account, "account");
aggregate!(Transaction, TransactionEvent, Transaction, "transaction");
aggregate!(Ledger, LedgerEvent, Ledger, "ledger");
aggregate!(RejectionRecord, RejectionEvent, Rejection, "rejection");
aggregate!(LoanProduct, LoanProductEvent, LoanProduct, "loan_product");
aggregate!(Loan, LoanEvent, Loan, "loan");
aggregate!(Saga, SagaEvent, Saga, "saga");
