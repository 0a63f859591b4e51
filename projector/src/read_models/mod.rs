//! The read models of the projection `core`, one a file.
//!
//! Each folds the events of a batch in memory and writes with statements that take arrays, so that a
//! batch of any size costs the same few round trips. A row is only ever touched by the partition of
//! its stream; sums over streams have a row for each partition.

mod accounts;
mod balances;
mod copy;
mod entries;
mod holders;
mod holds;
mod ledger;
mod legs;
mod loan_products;
mod loan_schedule;
mod loans;
mod members;
mod rows;
mod sagas;
mod sums;
mod transactions;

use chrono::{DateTime, Utc};
use domain::Event;
use event_schemas::Recorded;
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

/// An event and where it came from.
#[derive(Clone, Copy)]
pub(crate) struct Fact<'a> {
    pub(crate) partition: i32,
    pub(crate) recorded: &'a Recorded,
    pub(crate) event: &'a Event,
}

impl Fact<'_> {
    /// The id of the stream's thing.
    fn id(&self) -> Uuid {
        self.recorded.stream.id
    }

    fn position(&self) -> i64 {
        self.recorded.position as i64
    }

    fn sequence(&self) -> i64 {
        self.recorded.sequence as i64
    }

    fn recorded_at(&self) -> DateTime<Utc> {
        self.recorded.recorded_at()
    }
}

/// Why events could not be applied.
#[derive(Debug)]
pub(crate) enum ApplyError {
    /// One of them never can be.
    Poison(String),
    /// The database did not answer, or refused for a reason that is not in the events.
    Database(sqlx::Error),
}

impl From<sqlx::Error> for ApplyError {
    fn from(error: sqlx::Error) -> Self {
        if is_about_values(&error) { ApplyError::Poison(error.to_string()) } else { ApplyError::Database(error) }
    }
}

/// Whether the refusal is about the values: data exceptions (22), constraints (23) and limits of a
/// value's size (54). All else, a missing table or right above all, would be true of every event.
fn is_about_values(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Encode(_) => true,
        sqlx::Error::Database(refusal) => {
            refusal.code().is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
        }
        _ => false,
    }
}

/// A set of rows that follow from events.
pub(crate) trait ReadModel<'a>: Default {
    /// The tables it writes; nobody else does.
    const TABLES: &'static [&'static str];

    /// Takes an event in, if it matters here. Events of a stream come in their order.
    fn collect(&mut self, fact: &Fact<'a>);

    /// Writes what was collected. The caller owns the transaction.
    async fn flush_in_tx(&mut self, connection: &mut PgConnection) -> Result<(), ApplyError>;
}

macro_rules! core_of {
    ($($field:ident: $model:ty),+ $(,)?) => {
        /// All read models together.
        #[derive(Default)]
        pub(crate) struct Core<'a> {
            $($field: $model,)+
        }

        impl<'a> Core<'a> {
            /// Every table of the read models.
            pub(crate) fn tables() -> Vec<&'static str> {
                [$(<$model as ReadModel<'a>>::TABLES),+].concat()
            }

            /// Takes an event in.
            pub(crate) fn collect(&mut self, fact: &Fact<'a>) {
                $(self.$field.collect(fact);)+
            }

            /// Writes what was collected. The caller owns the transaction.
            pub(crate) async fn flush_in_tx(&mut self, connection: &mut PgConnection) -> Result<(), ApplyError> {
                $(self.$field.flush_in_tx(connection).await?;)+
                Ok(())
            }
        }
    };
}

core_of! {
    ledger: ledger::Ledger<'a>,
    members: members::Members<'a>,
    accounts: accounts::Accounts<'a>,
    balances: balances::Balances,
    holders: holders::Holders,
    holds: holds::Holds,
    entries: entries::Entries<'a>,
    transactions: transactions::Transactions<'a>,
    legs: legs::Legs<'a>,
    sums: sums::Sums<'a>,
    loan_products: loan_products::LoanProducts<'a>,
    loans: loans::Loans<'a>,
    loan_schedule: loan_schedule::LoanSchedule,
    sagas: sagas::Sagas<'a>,
}

/// The name on the wire of a value of an enumeration.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

/// What a row says of a stream that should be there and is not.
fn missing(what: &str, ids: &[Uuid], found: impl Fn(&Uuid) -> bool) -> Result<(), ApplyError> {
    match ids.iter().find(|id| !found(id)) {
        None => Ok(()),
        Some(id) => Err(ApplyError::Poison(format!("an event of {what} {id}, which is not in the read model"))),
    }
}
