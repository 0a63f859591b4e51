//! The door to the event store as this API sees it.
//!
//! A seam, so that a test can put a door in its place that proves that nothing went through. It is
//! never a stand-in for the log: whatever is accepted has been committed by the real store.

use std::collections::BTreeMap;
use std::pin::Pin;

use domain::saga::Process;
use domain::words::Sealed;
use domain::{AccountId, Currency, LoanId, LoanProductId, MemberId, SagaId, TransactionId};
use event_store::{ReadError, Reply, SealingError, Store, Submission, SubmitError};

use crate::{beginnings, parties};

/// The most members for whom one narrative can be sealed.
const PARTIES_MAX: usize = 255;

/// A future in a box.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a text could not be sealed. Nothing was submitted; the request can be repeated.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The keys could not be read or written.
    #[error(transparent)]
    Sealing(#[from] SealingError),
    /// Whose keys they are could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A narrative is sealed for so many members at most.
    #[error("{count} members hold the accounts; a narrative is sealed for {PARTIES_MAX} at most")]
    TooManyParties {
        /// How many hold the accounts.
        count: usize,
    },
}

/// What the handlers need of the event store.
pub trait Door: Send + Sync + 'static {
    /// Submits a command and waits for its outcome; dropping the future changes nothing.
    fn submit(&self, submission: Submission) -> Answer<'_, Result<Reply, SubmitError>>;

    /// The first reply to a request that was decided before, `None` when there is none. It submits
    /// nothing.
    fn replay<'a>(
        &'a self,
        client: &'a str,
        idempotency_key: &'a str,
        request_hmac: &'a [u8; 32],
    ) -> Answer<'a, Result<Option<Reply>, SubmitError>>;

    /// The HMAC of a request's canonical parts.
    fn request_hmac(&self, parts: &[&[u8]]) -> [u8; 32];

    /// Seals a member's personal data by field. The member's key is committed before anything is
    /// sealed under it; a key that nothing uses harms nothing.
    fn seal_member(
        &self,
        member: MemberId,
        personal: BTreeMap<&'static str, String>,
    ) -> Answer<'_, Result<BTreeMap<String, Sealed>, SealError>>;

    /// Seals a transaction's narrative under the keys of all members who hold one of the accounts;
    /// `None` when there is no such member.
    fn seal_narrative<'a>(
        &'a self,
        transaction: TransactionId,
        accounts: &'a [AccountId],
        plain: &'a str,
    ) -> Answer<'a, Result<Option<Sealed>, SealError>>;

    /// Seals the account at another bank to which a loan is paid out, under the key of the member
    /// whose loan it is; `None` when there is no such loan.
    fn seal_payout<'a>(&'a self, loan: LoanId, plain: &'a str) -> Answer<'a, Result<Option<Sealed>, SealError>>;

    /// The currency of a loan product; `None` when there is no such product.
    fn product_currency(&self, product: LoanProductId) -> Answer<'_, Result<Option<Currency>, ReadError>>;

    /// What a saga is about, and the position at which that was said; `None` when there is no such saga.
    fn saga_process(&self, saga: SagaId) -> Answer<'_, Result<Option<(u64, Process)>, ReadError>>;

    /// Whether commands can be taken now.
    fn is_ready(&self) -> bool;
}

impl Door for Store {
    fn submit(&self, submission: Submission) -> Answer<'_, Result<Reply, SubmitError>> {
        Box::pin(Store::submit(self, submission))
    }

    fn replay<'a>(
        &'a self,
        client: &'a str,
        idempotency_key: &'a str,
        request_hmac: &'a [u8; 32],
    ) -> Answer<'a, Result<Option<Reply>, SubmitError>> {
        Box::pin(Store::replay(self, client, idempotency_key, request_hmac))
    }

    fn request_hmac(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.sealing().request_hmac(parts)
    }

    fn seal_member(
        &self,
        member: MemberId,
        personal: BTreeMap<&'static str, String>,
    ) -> Answer<'_, Result<BTreeMap<String, Sealed>, SealError>> {
        Box::pin(async move {
            self.sealing().create_key(member).await?;
            let mut sealed = BTreeMap::new();
            for (field, plain) in personal {
                sealed.insert(field.to_owned(), self.sealing().seal_field(member, field, &plain).await?);
            }
            Ok(sealed)
        })
    }

    fn seal_narrative<'a>(
        &'a self,
        transaction: TransactionId,
        accounts: &'a [AccountId],
        plain: &'a str,
    ) -> Answer<'a, Result<Option<Sealed>, SealError>> {
        Box::pin(async move {
            let members = parties::holders(self.reader(), accounts).await?;
            if members.is_empty() {
                return Ok(None);
            }
            if members.len() > PARTIES_MAX {
                return Err(SealError::TooManyParties { count: members.len() });
            }
            Ok(Some(self.sealing().seal_narrative(transaction, &members, plain).await?))
        })
    }

    fn seal_payout<'a>(&'a self, loan: LoanId, plain: &'a str) -> Answer<'a, Result<Option<Sealed>, SealError>> {
        Box::pin(async move {
            let Some(member) = beginnings::member_of_loan(self.reader(), loan).await? else {
                return Ok(None);
            };
            // The sagas open it by the same name.
            Ok(Some(self.sealing().seal_field(member, &format!("payout/{loan}"), plain).await?))
        })
    }

    fn product_currency(&self, product: LoanProductId) -> Answer<'_, Result<Option<Currency>, ReadError>> {
        Box::pin(beginnings::currency_of_product(self.reader(), product))
    }

    fn saga_process(&self, saga: SagaId) -> Answer<'_, Result<Option<(u64, Process)>, ReadError>> {
        Box::pin(beginnings::process_of_saga(self.reader(), saga))
    }

    fn is_ready(&self) -> bool {
        self.ready()
    }
}
