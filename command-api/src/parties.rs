//! Who is party to a transaction: the members who hold its accounts, as the log has them now.
//!
//! Only narratives need them, and narratives are rare; so the holders are read from the log each
//! time and kept nowhere. Only the events that change holders are read: an account's stream may
//! have a million entries.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Account, AccountId, Event, MemberId, StreamId};
use event_store::{LogReader, ReadError};

/// What opens an account and what changes its holders.
const HOLDER_EVENTS: [&str; 3] = ["AccountOpened", "HolderAdded", "HolderRemoved"];

/// The holders of each account. An account that does not exist has none.
pub(crate) type Holders = BTreeMap<AccountId, Account>;

/// Each account folded from its opening and the changes of its holders, and from nothing else.
pub(crate) async fn holders(
    reader: &LogReader,
    accounts: impl Iterator<Item = AccountId>,
) -> Result<Holders, ReadError> {
    let streams: BTreeSet<StreamId> = accounts.map(|account_id| account_id.stream()).collect();
    let streams: Vec<StreamId> = streams.into_iter().collect();
    let mut holders = Holders::new();
    for recorded in reader.events_of_streams(&streams, &HOLDER_EVENTS).await? {
        let (position, stream) = (recorded.position, recorded.stream);
        match recorded.event().map_err(|source| ReadError::Decode { position, source })? {
            Event::Account(event) => holders.entry(AccountId(stream.id)).or_default().fold(&event),
            Event::Member(_)
            | Event::Transaction(_)
            | Event::Ledger(_)
            | Event::Rejection(_)
            | Event::LoanProduct(_)
            | Event::Loan(_)
            | Event::Saga(_) => {
                return Err(ReadError::Broken { position, what: format!("not an account's event in {stream}") });
            }
        }
    }
    Ok(holders)
}

/// The members who hold any of the accounts, each once, in order.
pub(crate) fn of(accounts: &[AccountId], holders: &Holders) -> Vec<MemberId> {
    let held = accounts.iter().filter_map(|account_id| holders.get(account_id));
    let members: BTreeSet<MemberId> =
        held.flat_map(|account| &account.holders).map(|holder| holder.member_id).collect();
    members.into_iter().collect()
}
