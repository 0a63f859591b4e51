//! The runners' way to the log: commands through the same door as clients', under keys that follow
//! from the saga, and states folded from streams.

use domain::ids::derived;
use domain::rejection::Rejection;
use domain::{Command, Event, Loan, LoanId, Saga, SagaId, StreamId, Transaction, TransactionId};
use event_store::{Accepted, Outcome, ReadError, Reply, Store, Submission, SubmitError};
use uuid::Uuid;

/// Under which name the runners' idempotency keys are kept, and who acts in their events.
pub const CLIENT: &str = "daybook-sagas";

/// The namespace of command ids: a key of a runner names one command, for ever.
const COMMANDS: Uuid = Uuid::from_u128(0x6461_7962_6f6f_6b2d_7361_6761_732d_0001);

/// What a runner could not do now. Nothing is lost: it is done again.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// A command has no outcome yet.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The table of work could not be read or written.
    #[error("the table of work: {0}")]
    Work(#[from] sqlx::Error),
    /// What must be there is not: the log and the rules disagree.
    #[error("{0}")]
    Inconsistent(String),
}

/// Sends a command under a key that names it for ever, for the saga of that id.
pub(crate) async fn submit(
    store: &Store,
    saga_id: SagaId,
    key: &str,
    command: Command,
) -> Result<Result<Accepted, Rejection>, WorkError> {
    submit_at(store, saga_id, key, command, None).await
}

/// The same, for the command's subject at that version only.
pub(crate) async fn submit_at(
    store: &Store,
    saga_id: SagaId,
    key: &str,
    command: Command,
    expected_version: Option<u64>,
) -> Result<Result<Accepted, Rejection>, WorkError> {
    Ok(match ask(store, saga_id, key, command, expected_version).await?.outcome {
        Outcome::Accepted(accepted) => Ok(accepted),
        Outcome::Rejected(rejected) => Err(rejected.rejection),
    })
}

/// The same, with whether it was decided before.
pub(crate) async fn ask(
    store: &Store,
    saga_id: SagaId,
    key: &str,
    command: Command,
    expected_version: Option<u64>,
) -> Result<Reply, WorkError> {
    let reply = store
        .submit(Submission {
            command,
            command_id: derived(COMMANDS, key),
            client: CLIENT.to_owned(),
            idempotency_key: key.to_owned(),
            // The key alone says what is asked: the same step of the same saga is the same request.
            request_hmac: store.sealing().request_hmac(&[CLIENT.as_bytes(), key.as_bytes()]),
            // The ids that sagas use follow from what they are for.
            target_is_new: false,
            expected_version,
            actor: CLIENT.to_owned(),
            branch: None,
            correlation_id: saga_id.to_string(),
            traceparent: crate::trace::of_command(),
        })
        .await?;
    Ok(reply)
}

macro_rules! loading {
    ($(#[$doc:meta])* $name:ident, $id:ty, $state:ty, $kind:ident) => {
        $(#[$doc])*
        pub(crate) async fn $name(store: &Store, id: $id) -> Result<$state, WorkError> {
            let stream: StreamId = id.stream();
            let events = store.reader().events_of(stream).await?;
            if events.is_empty() {
                return Err(WorkError::Inconsistent(format!("{stream} is not in the log")));
            }
            let mut state = <$state>::default();
            for event in &events {
                let Event::$kind(event) = event else {
                    return Err(WorkError::Inconsistent(format!("{stream} has an event of another kind")));
                };
                state.fold(event);
            }
            Ok(state)
        }
    };
}

loading!(
    /// The saga as it is now.
    saga, SagaId, Saga, Saga
);
loading!(
    /// The loan as it is now.
    loan, LoanId, Loan, Loan
);
loading!(
    /// The transaction as it is now.
    transaction, TransactionId, Transaction, Transaction
);

/// The saga as it is now, if there is one.
pub(crate) async fn saga_if_any(store: &Store, id: SagaId) -> Result<Option<Saga>, WorkError> {
    let events = store.reader().events_of(id.stream()).await?;
    let mut saga = Saga::default();
    for event in &events {
        if let Event::Saga(event) = event {
            saga.fold(event);
        }
    }
    Ok((!events.is_empty()).then_some(saga))
}
