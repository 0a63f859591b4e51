//! The ledger's rules, pure: money, ids, aggregates, and the decisions over them.
//!
//! Nothing here reads a clock, draws a random number or does I/O: time and ids arrive as
//! arguments. Deciding never changes a state, applying never fails and never decides.
//! Every noun has the same files: `command.rs` (what may be asked), `event.rs` (what became
//! true), `state.rs` (the fold of its events), `decide.rs` (the rules).

pub mod account;
pub mod book;
pub mod calc;
pub mod command;
pub mod event;
pub mod forward;
pub mod ids;
pub mod ledger;
pub mod loan;
pub mod member;
pub mod money;
pub mod product;
pub mod rejection;
pub mod saga;
pub mod soundness;
pub mod transaction;
pub mod words;

pub use account::Account;
pub use book::{Book, Context, Missing, Plan, Reservation, ReservationKind, Stop};
pub use command::{Command, decide};
pub use event::Event;
pub use ids::{AccountId, LoanId, LoanProductId, MemberId, SagaId, StreamId, StreamKind, TransactionId};
pub use ledger::Ledger;
pub use loan::Loan;
pub use member::Member;
pub use money::{Currency, Money, Side};
pub use product::LoanProduct;
pub use rejection::Rejection;
pub use saga::Saga;
pub use soundness::Unsound;
pub use transaction::Transaction;
