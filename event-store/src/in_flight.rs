//! A batch on its way into the log: its statement runs in a task of its own, so that the next batch
//! is decided meanwhile, and so that nothing can cancel a commit half way.

use std::time::{Duration, Instant};

use sqlx::PgConnection;
use sqlx::postgres::PgArguments;
use tokio::task::JoinHandle;
use tracing::Span;

use crate::append;
use crate::batch::Batch;
use crate::error::StoreError;
use crate::pace::Pace;
use crate::telemetry::{self, Committed};
use crate::writer::Waiting;

/// After so long without an answer of the database the outcome of a batch counts as unknown.
pub(crate) const COMMIT_PATIENCE: Duration = Duration::from_secs(20);

/// What a failure tells about the commit.
pub(crate) enum Failure {
    /// The statement was refused: nothing is written.
    Refused(StoreError),
    /// A key of the batch is in the log already: nothing is written.
    KnownKey,
    /// The connection is gone: it is not known.
    Unknown(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Database(sqlx::Error::Database(database)) => {
                if database.is_unique_violation() && database.table() == Some("commands") {
                    return Failure::KnownKey;
                }
                // Shutdown, crash or failover of the server (57, 58, XX, 08) say nothing about a commit.
                let class = database.code().map(|code| code.chars().take(2).collect::<String>());
                match class.as_deref() {
                    None | Some("57" | "58" | "XX" | "08" | "25") => Failure::Unknown(error),
                    Some(_) => Failure::Refused(error),
                }
            }
            StoreError::Database(_) => Failure::Unknown(error),
            StoreError::Read(crate::ReadError::Database(_)) => Failure::Unknown(error),
            StoreError::Read(_)
            | StoreError::Json(_)
            | StoreError::Unsound(_)
            | StoreError::Clock { .. }
            | StoreError::LogAhead { .. }
            | StoreError::MasterKey
            | StoreError::Thread(_)
            | StoreError::TimeZone(_) => Failure::Refused(error),
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        StoreError::from(error).into()
    }
}

/// The end of an append: the connection, if it is still good, and whether the head was still there.
pub(crate) type Ended = (Option<PgConnection>, Result<bool, Failure>);

/// How long a batch was worked on before it was sent.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    pub(crate) began: Instant,
    pub(crate) decided_in: Duration,
}

/// A batch whose statement runs.
pub(crate) struct InFlight {
    task: JoinHandle<Ended>,
    /// The commands, each with its reply in the batch.
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) batch: Batch,
    pub(crate) span: Span,
    decided_in: Duration,
    began: Instant,
    sent: Instant,
}

impl InFlight {
    /// Sends the batch; it has events.
    pub(crate) fn send(connection: PgConnection, waiting: Vec<Waiting>, batch: Batch, work: Work) -> Self {
        let span = telemetry::batch_span(&waiting);
        let arguments = append::arguments(batch.before(), &batch.after(), &batch.rows);
        let events = batch.rows.events.len();
        let task = tokio::spawn(run(connection, arguments, events));
        let Work { began, decided_in } = work;
        Self { task, waiting, batch, span, decided_in, began, sent: Instant::now() }
    }

    /// Waits for the end. May be dropped and called again.
    pub(crate) async fn ended(&mut self) -> Ended {
        (&mut self.task).await.unwrap_or_else(|error| {
            // A panic in there is a bug, and tells nothing of the commit.
            (None, Err(Failure::Unknown(StoreError::Database(sqlx::Error::Io(std::io::Error::other(error))))))
        })
    }

    /// Counts it as committed; the one before it ended then.
    pub(crate) fn record(&self, pace: &Pace, before_ended: Option<Instant>) {
        pace.measure(self.waiting.len(), self.began, before_ended);
        let committed = Committed {
            commands: self.batch.rows.commands.len(),
            events: self.batch.rows.events.len(),
            position: self.batch.after().position,
            decided_in: self.decided_in,
            committed_in: self.sent.elapsed(),
        };
        self.span.in_scope(|| committed.record());
    }
}

async fn run(mut connection: PgConnection, arguments: PgArguments, events: usize) -> Ended {
    match tokio::time::timeout(COMMIT_PATIENCE, append::send(&mut connection, arguments, events)).await {
        Ok(Ok(written)) => (Some(connection), Ok(written)),
        Ok(Err(error)) => match Failure::from(error) {
            Failure::KnownKey => (Some(connection), Err(Failure::KnownKey)),
            failure => (None, Err(failure)),
        },
        Err(_) => (None, Err(Failure::Unknown(no_answer()))),
    }
}

pub(crate) fn no_answer() -> StoreError {
    StoreError::Database(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))
}
