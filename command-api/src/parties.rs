//! Who is party to a transaction: the members who hold its accounts, as the log has them now.
//!
//! Only a narrative needs them, and narratives are rare; so the holders are read from the log each
//! time and kept nowhere. Only the events that change holders are read: an account's stream may
//! have a million entries.

use std::collections::BTreeSet;

use domain::{Account, AccountId, Event, MemberId};
use event_store::{LogReader, ReadError};

const HOLDER_EVENTS: [&str; 2] = ["HolderAdded", "HolderRemoved"];
const PAGE: u32 = 500;

/// The members who hold any of the accounts, each once, in order. An account that does not exist
/// has none.
pub(crate) async fn holders(reader: &LogReader, accounts: &[AccountId]) -> Result<Vec<MemberId>, ReadError> {
    let accounts: BTreeSet<AccountId> = accounts.iter().copied().collect();
    let mut members = BTreeSet::new();
    for account_id in accounts {
        let account = with_holders(reader, account_id).await?;
        members.extend(account.holders.iter().map(|holder| holder.member_id));
    }
    Ok(members.into_iter().collect())
}

/// The account folded from its opening and the changes of its holders, and from nothing else.
async fn with_holders(reader: &LogReader, account_id: AccountId) -> Result<Account, ReadError> {
    let stream = account_id.stream();
    let mut events = reader.stream_after(stream, 0, 1).await?;
    if events.is_empty() {
        return Ok(Account::default());
    }
    for event_type in HOLDER_EVENTS {
        let mut after = 0;
        loop {
            let page = reader.events_matching(after, Some(stream), Some(event_type), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.position;
            events.extend(page);
        }
    }
    events.sort_by_key(|event| event.sequence);
    let mut account = Account::default();
    for recorded in &events {
        let position = recorded.position;
        match recorded.event().map_err(|source| ReadError::Decode { position, source })? {
            Event::Account(event) => account.fold(&event),
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
    Ok(account)
}
