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

/// The outcomes of commands that were submitted together.
pub type ManyAnswers = Result<Vec<Result<Reply, SubmitError>>, SubmitError>;

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

/// A sealed text; `None` where there is no member under whose key it could be sealed.
pub type MaybeSealed = Result<Option<Sealed>, SealError>;

/// The free text of a transaction.
pub struct Narrative<'a> {
    /// The transaction.
    pub transaction: TransactionId,
    /// Its accounts, whose holders are party to it.
    pub accounts: Vec<AccountId>,
    /// The text.
    pub plain: &'a str,
}

/// What the handlers need of the event store.
pub trait Door: Send + Sync + 'static {
    /// Submits a command and waits for its outcome; dropping the future changes nothing.
    fn submit(&self, submission: Submission) -> Answer<'_, Result<Reply, SubmitError>>;

    /// Queues commands before it returns, all or none; what is returned tells all outcomes, in the
    /// order of the commands. Dropping it changes nothing.
    fn submit_many(&self, submissions: Vec<Submission>) -> Result<Answer<'static, ManyAnswers>, SubmitError>;

    /// The first reply to a request that was decided before, `None` when there is none. It submits
    /// nothing.
    fn replay<'a>(
        &'a self,
        client: &'a str,
        idempotency_key: &'a str,
        request_hmac: &'a [u8; 32],
    ) -> Answer<'a, Result<Option<Reply>, SubmitError>>;

    /// The same under several keys, in one look; the replies are in the order of the keys.
    fn replay_many<'a>(
        &'a self,
        client: &'a str,
        idempotency_keys: &'a [String],
        request_hmac: &'a [u8; 32],
    ) -> Answer<'a, Result<Vec<Option<Reply>>, SubmitError>>;

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

    /// The same of several, with one look for all holders and one for all keys; what is returned is in
    /// their order.
    fn seal_narratives<'a>(
        &'a self,
        narratives: &'a [Narrative<'a>],
    ) -> Answer<'a, Result<Vec<MaybeSealed>, SealError>>;

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

    fn submit_many(&self, submissions: Vec<Submission>) -> Result<Answer<'static, ManyAnswers>, SubmitError> {
        Ok(Box::pin(Store::submit_many(self, submissions)?))
    }

    fn replay<'a>(
        &'a self,
        client: &'a str,
        idempotency_key: &'a str,
        request_hmac: &'a [u8; 32],
    ) -> Answer<'a, Result<Option<Reply>, SubmitError>> {
        Box::pin(Store::replay(self, client, idempotency_key, request_hmac))
    }

    fn replay_many<'a>(
        &'a self,
        client: &'a str,
        idempotency_keys: &'a [String],
        request_hmac: &'a [u8; 32],
    ) -> Answer<'a, Result<Vec<Option<Reply>>, SubmitError>> {
        Box::pin(Store::replay_many(self, client, idempotency_keys, request_hmac))
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
            let narrative = Narrative { transaction, accounts: accounts.to_vec(), plain };
            let mut sealed = self.seal_narratives(std::slice::from_ref(&narrative)).await?;
            sealed.pop().unwrap_or(Ok(None))
        })
    }

    fn seal_narratives<'a>(
        &'a self,
        narratives: &'a [Narrative<'a>],
    ) -> Answer<'a, Result<Vec<MaybeSealed>, SealError>> {
        Box::pin(async move {
            let accounts = narratives.iter().flat_map(|narrative| narrative.accounts.iter().copied());
            let holders = parties::holders(self.reader(), accounts).await?;
            let members: Vec<Vec<MemberId>> =
                narratives.iter().map(|narrative| parties::of(&narrative.accounts, &holders)).collect();
            let keys = self.sealing().keys(members.iter().flatten().copied()).await?;
            let sealed = narratives.iter().zip(&members).map(|(narrative, members)| {
                if members.is_empty() {
                    return Ok(None);
                }
                if members.len() > PARTIES_MAX {
                    return Err(SealError::TooManyParties { count: members.len() });
                }
                Ok(Some(keys.seal_narrative(narrative.transaction, members, narrative.plain)?))
            });
            Ok(sealed.collect())
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
