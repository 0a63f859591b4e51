//! Ids and idempotency keys that follow from the data: a load that was interrupted and is started
//! again sends the same requests under the same keys, so it ends in the same state.
//!
//! Invariant: the derivation is frozen. Changing it would load everything a second time.

use chrono::{NaiveDate, NaiveTime};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Of which data set and which of its tables a thing is; part of its id and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A row of `client.asc`.
    Client,
    /// A row of `account.asc`.
    Account,
    /// A row of `trans.asc`.
    Transaction,
    /// An internal account of the chart.
    Internal,
    /// The product of the loans.
    LoanProduct,
    /// A row of `loan.asc`.
    Loan,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Kind::Client => "client",
            Kind::Account => "account",
            Kind::Transaction => "trans",
            Kind::Internal => "internal",
            Kind::LoanProduct => "loan-product",
            Kind::Loan => "loan",
        }
    }
}

/// The UUIDv7 of a thing: its date as the timestamp, and 74 bits of
/// SHA-256(`berka` ‖ 0 ‖ kind ‖ 0 ‖ source id) where a minted one is random.
pub(crate) fn id(kind: Kind, source_id: &str, date: NaiveDate) -> Uuid {
    let mut hash = Sha256::new();
    for part in ["berka", kind.name(), source_id] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let mut random = [0; 10];
    random.copy_from_slice(&hash.finalize()[..10]);
    let milliseconds = date.and_time(NaiveTime::MIN).and_utc().timestamp_millis();
    // Dates before 1970 have no UUIDv7; the data set has none but births, which are not used here.
    let milliseconds = u64::try_from(milliseconds).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid()
}

/// The external reference of a row of `trans.asc`, which is also its first idempotency key.
pub(crate) fn transaction_key(trans_id: u64) -> String {
    format!("berka-trans-{trans_id}")
}

/// The key under which a refused row is sent again once its account has a credit line: the first
/// key replays the refusal for ever.
pub(crate) fn transaction_after_limit_key(trans_id: u64) -> String {
    format!("berka-trans-{trans_id}-after-limit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_frozen() {
        let date = NaiveDate::from_ymd_opt(1993, 1, 1).unwrap();
        let first = id(Kind::Transaction, "695247", date);
        // Computed apart from this code: SHA-256 over `berka\0trans\x00695247\0`, version and variant set.
        assert_eq!(first.to_string(), "00a8ffd1-1c00-7f00-90c0-ba0f63301902");
        assert_eq!(first, id(Kind::Transaction, "695247", date));
    }

    #[test]
    fn ids_are_version_7_and_differ_by_kind_and_source() {
        let date = NaiveDate::from_ymd_opt(1994, 3, 31).unwrap();
        let account = id(Kind::Account, "1", date);
        assert_eq!(account.get_version_num(), 7);
        assert_eq!(account.get_variant(), uuid::Variant::RFC4122);
        let (seconds, _) = account.get_timestamp().unwrap().to_unix();
        assert_eq!(seconds, 765_072_000);
        assert_ne!(account, id(Kind::Client, "1", date));
        assert_ne!(account, id(Kind::Account, "2", date));
        assert_ne!(account, id(Kind::Account, "1", date.succ_opt().unwrap()));
    }

    #[test]
    fn keys_name_the_row() {
        assert_eq!(transaction_key(695_247), "berka-trans-695247");
        assert_eq!(transaction_after_limit_key(695_247), "berka-trans-695247-after-limit");
    }
}
