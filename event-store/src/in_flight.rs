//! A batch on its way into the log: its statements run in a task of its own, so that the next batch
//! is decided meanwhile, and so that nothing can cancel a commit half way.
//!
//! With nothing before it a batch is sent as one statement. Behind another one it is staged: its rows are
//! inserted while that one commits, and the head is moved on to it once that one has.

use std::time::{Duration, Instant};

use sqlx::PgConnection;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::Span;

use crate::append::Append;
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
    /// Of a staged one: told when the batch before it has committed.
    go: Option<oneshot::Sender<()>>,
}

impl InFlight {
    /// Sends the batch; it has events.
    pub(crate) fn send(connection: PgConnection, waiting: Vec<Waiting>, batch: Batch, work: Work) -> Self {
        Self::new(tokio::spawn(send(connection, batch.append())), None, waiting, batch, work)
    }

    /// Stages the batch behind the one that is in flight; it has events.
    pub(crate) fn stage(connection: PgConnection, waiting: Vec<Waiting>, batch: Batch, work: Work) -> Self {
        let (go, told) = oneshot::channel();
        Self::new(tokio::spawn(stage(connection, batch.append(), told)), Some(go), waiting, batch, work)
    }

    fn new(
        task: JoinHandle<Ended>,
        go: Option<oneshot::Sender<()>>,
        waiting: Vec<Waiting>,
        batch: Batch,
        work: Work,
    ) -> Self {
        let span = telemetry::batch_span(&waiting);
        let Work { began, decided_in } = work;
        Self { task, waiting, batch, span, decided_in, began, sent: Instant::now(), go }
    }

    /// The batch before it has committed.
    pub(crate) fn go(&mut self) {
        if let Some(go) = self.go.take() {
            // If it has ended already, its end says why.
            let _ = go.send(());
        }
    }

    /// The batch before it has not committed: nothing remains of this one either. Gives back the
    /// connection and the commands.
    pub(crate) async fn abandon(mut self) -> (Option<PgConnection>, Vec<Waiting>) {
        self.go = None;
        let (connection, _) = self.ended().await;
        (connection, self.waiting)
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

async fn send(mut connection: PgConnection, append: Append) -> Ended {
    match answered(append.send(&mut connection)).await {
        Ok(written) => (Some(connection), Ok(written)),
        Err(Failure::KnownKey) => (Some(connection), Err(Failure::KnownKey)),
        Err(failure) => (None, Err(failure)),
    }
}

async fn stage(mut connection: PgConnection, append: Append, told: oneshot::Receiver<()>) -> Ended {
    let staged = answered(append.stage(&mut connection)).await;
    let ended = match staged {
        Ok(true) if told.await.is_ok() => answered(append.move_head(&mut connection)).await,
        Ok(_) => Ok(false),
        Err(failure) => Err(failure),
    };
    match ended {
        Ok(true) => (Some(connection), ended),
        Ok(false) | Err(Failure::KnownKey) => {
            let rollback = answered(async { Ok(sqlx::query("ROLLBACK").execute(&mut connection).await?) }).await;
            (rollback.is_ok().then_some(connection), ended)
        }
        Err(_) => (None, ended),
    }
}

/// With no answer in time the outcome is unknown.
async fn answered<T>(asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, Failure> {
    Ok(tokio::time::timeout(COMMIT_PATIENCE, asked).await.unwrap_or_else(|_| Err(no_answer()))?)
}

pub(crate) fn no_answer() -> StoreError {
    StoreError::Database(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))
}
