//! Ids of things and of their streams.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::{Uuid, uuid};

use crate::words::ExternalReference;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The stream in which this thing's events are.
            pub fn stream(self) -> StreamId {
                StreamId { kind: StreamKind::$kind, id: self.0 }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A member: a person, group or business that the institution serves.
    MemberId, Member
);
id!(
    /// An account, a member's or an internal one.
    AccountId, Account
);
id!(
    /// A transaction: a balanced set of legs.
    TransactionId, Transaction
);
id!(
    /// A product that loans are given on.
    LoanProductId, LoanProduct
);
id!(
    /// A loan.
    LoanId, Loan
);
id!(
    /// A saga: a disbursement, an incoming payment, a loan's collection.
    SagaId, Saga
);

/// What the ids of incoming payments are derived from; it never changes.
const INCOMING_PAYMENTS: Uuid = uuid!("6f1d1b0e-2c55-4b8e-9a3b-5b0c9d1f7e42");

/// An id that follows from another one and a name, the same each time (a version 5 UUID).
pub fn derived(from: Uuid, name: &str) -> Uuid {
    Uuid::new_v5(&from, name.as_bytes())
}

impl SagaId {
    /// The saga of an attempt to pay a loan out to another bank.
    pub fn of_disbursement(loan_id: LoanId, attempt: u32) -> Self {
        Self(derived(loan_id.0, &format!("disbursement/{attempt}")))
    }

    /// The saga that collects a loan's instalments.
    pub fn of_collection(loan_id: LoanId) -> Self {
        Self(derived(loan_id.0, "collection"))
    }

    /// The saga of a payment that came in, by the bank's reference of it: whichever way it is heard
    /// of, it is the same one.
    pub fn of_incoming_payment(bank_reference: &ExternalReference) -> Self {
        Self(derived(INCOMING_PAYMENTS, &format!("saga/{bank_reference}")))
    }
}

impl TransactionId {
    /// The transaction that puts an incoming payment into suspense.
    pub fn of_incoming_payment(bank_reference: &ExternalReference) -> Self {
        Self(derived(INCOMING_PAYMENTS, &format!("transaction/{bank_reference}")))
    }
}

/// The UUID of a text in the one spelling that the log has: hyphenated, lower case.
pub fn canonical_uuid(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text).ok()?;
    (id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text).then_some(id)
}

/// The kinds of streams, one for each aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StreamKind {
    /// A member's life.
    Member,
    /// An account's life, and a guarded account's entries and holds.
    Account,
    /// A transaction and what became of it.
    Transaction,
    /// Currencies, ledger codes, periods: one stream, `main`.
    Ledger,
    /// One refused command.
    Rejection,
    /// A loan product's versions.
    LoanProduct,
    /// A loan's life.
    Loan,
    /// A saga's steps.
    Saga,
}

impl StreamKind {
    /// Every kind, in the order of their declaration.
    pub const ALL: [StreamKind; 8] = [
        StreamKind::Member,
        StreamKind::Account,
        StreamKind::Transaction,
        StreamKind::Ledger,
        StreamKind::Rejection,
        StreamKind::LoanProduct,
        StreamKind::Loan,
        StreamKind::Saga,
    ];

    /// The name in the log (`aggregate_type`).
    pub const fn name(self) -> &'static str {
        match self {
            StreamKind::Member => "member",
            StreamKind::Account => "account",
            StreamKind::Transaction => "transaction",
            StreamKind::Ledger => "ledger",
            StreamKind::Rejection => "rejection",
            StreamKind::LoanProduct => "loan_product",
            StreamKind::Loan => "loan",
            StreamKind::Saga => "saga",
        }
    }

    /// The kind with this name, if there is one.
    pub fn from_name(name: &str) -> Option<StreamKind> {
        StreamKind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The identity of a stream: written `{kind}/{id}`, for example `account/0190…`.
///
/// The one ledger stream has the id `main`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// Which aggregate.
    pub kind: StreamKind,
    /// Which one of them; nil for the ledger.
    pub id: Uuid,
}

impl StreamId {
    /// The stream of currencies, ledger codes and periods.
    pub const LEDGER: StreamId = StreamId { kind: StreamKind::Ledger, id: Uuid::nil() };

    /// The stream of a refused command.
    pub fn rejection(command_id: Uuid) -> StreamId {
        StreamId { kind: StreamKind::Rejection, id: command_id }
    }

    /// The id as the log has it (`aggregate_id`).
    pub fn id_text(&self) -> String {
        match self.kind {
            StreamKind::Ledger => "main".to_owned(),
            StreamKind::Member
            | StreamKind::Account
            | StreamKind::Transaction
            | StreamKind::Rejection
            | StreamKind::LoanProduct
            | StreamKind::Loan
            | StreamKind::Saga => self.id.hyphenated().to_string(),
        }
    }

    /// The stream of the log's two columns; `None` when they name no stream. An id has one spelling
    /// (hyphenated, lower case): another one in a row would be a change that no hash covers.
    pub fn from_parts(aggregate_type: &str, aggregate_id: &str) -> Option<StreamId> {
        let kind = StreamKind::from_name(aggregate_type)?;
        if kind == StreamKind::Ledger {
            return (aggregate_id == "main").then_some(StreamId::LEDGER);
        }
        Some(StreamId { kind, id: canonical_uuid(aggregate_id)? })
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            StreamKind::Ledger => f.write_str("ledger/main"),
            StreamKind::Member
            | StreamKind::Account
            | StreamKind::Transaction
            | StreamKind::Rejection
            | StreamKind::LoanProduct
            | StreamKind::Loan
            | StreamKind::Saga => write!(f, "{}/{}", self.kind.name(), self.id.hyphenated()),
        }
    }
}

/// A text that names no stream.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a stream: expected `ledger/main` or a kind such as `account` and an id: `account/…`")]
pub struct NotAStream(String);

impl FromStr for StreamId {
    type Err = NotAStream;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split_once('/')
            .and_then(|(kind, id)| StreamId::from_parts(kind, id))
            .ok_or_else(|| NotAStream(text.to_owned()))
    }
}

impl Serialize for StreamId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StreamId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for StreamId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StreamId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^(ledger/main|(member|account|transaction|rejection|loan_product|loan|saga)/[0-9a-f-]{36})$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_id_reads_back_as_it_was_written() {
        for kind in StreamKind::ALL {
            let id = if kind == StreamKind::Ledger { Uuid::nil() } else { Uuid::from_u128(77) };
            let stream = StreamId { kind, id };
            assert_eq!(stream.to_string().parse::<StreamId>().unwrap(), stream);
            assert_eq!(StreamId::from_parts(kind.name(), &stream.id_text()), Some(stream));
        }
        assert!("account/7".parse::<StreamId>().is_err());
        assert!("account/0000000000000000000000000000004d".parse::<StreamId>().is_err());
        assert!("account/00000000-0000-0000-0000-00000000004D".parse::<StreamId>().is_err());
        assert!("ledger/other".parse::<StreamId>().is_err());
        assert!("teapot/00000000-0000-0000-0000-000000000001".parse::<StreamId>().is_err());
    }

    #[test]
    fn an_incoming_payment_has_the_same_ids_for_ever() {
        let reference = ExternalReference::try_new("BANK-00000001").unwrap();
        let ids = (SagaId::of_incoming_payment(&reference), TransactionId::of_incoming_payment(&reference));
        assert_eq!(
            (ids.0.to_string().as_str(), ids.1.to_string().as_str()),
            ("25bfd9ef-32bf-570f-9ab1-4a7231ba4e0c", "74ce43f5-ac4c-5b80-a718-a4258943c564")
        );
    }
}
