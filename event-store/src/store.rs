//! The write door: commands in, outcomes out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use domain::{Reservation, StreamId};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, Row};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::bulk::{Answer, Gathering, ReplyTo};
use crate::error::{ReadError, StoreError, SubmitError};
use crate::load;
use crate::pace::Pace;
use crate::reader::LogReader;
use crate::sealing::Sealing;
use crate::snapshots::SnapshotSink;
use crate::streams::Cache;
use crate::submission::{Reply, Submission};
use crate::telemetry::{self, Rounds};
use crate::writer::{Settings, Waiting, Writer};

/// What the write door needs. URLs are of PostgreSQL.
pub struct StoreConfig {
    /// The log's database, as the writer role.
    pub writer_url: String,
    /// The database of members' keys.
    pub keys_url: String,
    /// Wraps members' keys and gives the keys of HMACs.
    pub master_key: [u8; 32],
    /// Whose log it is.
    pub tenant: String,
    /// In which the business date is the date of `recorded_at`, for example `Europe/Prague`.
    pub time_zone: String,
    /// How many streams are kept in memory.
    pub cache_streams: usize,
    /// A stream gets a snapshot every so many events.
    pub snapshot_every: u64,
    /// How many commands may wait; one more is refused as overload.
    pub queue_commands: usize,
    /// The most commands of one commit. Larger ones save little, and keep the next one from being inserted
    /// meanwhile.
    pub batch_commands: usize,
    /// How many connections read beside the writer's own.
    pub read_connections: u32,
    /// For how long a command may expect to wait in a queue of more than 1,000; one more is refused
    /// as overload, so that those that were taken keep their time.
    pub queue_wait_max: Duration,
}

impl StoreConfig {
    /// With the usual limits: 200,000 streams in memory, a snapshot every 25 events, 20,000 commands
    /// or a tenth of a second waiting, 500 in a commit, 4 connections that read.
    pub fn new(writer_url: &str, keys_url: &str, master_key: [u8; 32], tenant: &str, time_zone: &str) -> Self {
        Self {
            writer_url: writer_url.to_owned(),
            keys_url: keys_url.to_owned(),
            master_key,
            tenant: tenant.to_owned(),
            time_zone: time_zone.to_owned(),
            cache_streams: 200_000,
            snapshot_every: 25,
            queue_commands: 20_000,
            batch_commands: 500,
            read_connections: 4,
            queue_wait_max: Duration::from_millis(100),
        }
    }
}

/// The write door. Cheap to clone; any number of them, in any number of processes, are correct.
#[derive(Clone)]
pub struct Store {
    queue: mpsc::Sender<Waiting>,
    ready: Arc<AtomicBool>,
    sealing: Sealing,
    reader: LogReader,
    shutdown: CancellationToken,
    rounds: Rounds,
    pace: Pace,
    queue_wait_max: Duration,
    ended: CancellationToken,
}

impl Store {
    /// Starts the writer. The database need not be up yet: [`Store::ready`] tells.
    ///
    /// # Errors
    /// A URL or time zone that cannot be read.
    pub async fn start(config: StoreConfig) -> Result<Self, StoreError> {
        let time_zone = config.time_zone.parse().map_err(|_| StoreError::TimeZone(config.time_zone.clone()))?;
        let connect = options(&config.writer_url)?;
        let pool = lazy_pool(connect.clone(), config.read_connections);
        let sealing = Sealing::new(lazy_pool(options(&config.keys_url)?, 8), &config.master_key);
        let (queue, waiting) = mpsc::channel(config.queue_commands);
        let ready = Arc::new(AtomicBool::new(false));
        let shutdown = CancellationToken::new();
        let (rounds, pace) = (Rounds::new(), Pace::default());
        let writer = Writer {
            settings: Settings {
                // One look at a cold account would else be planned anew for its values, over all partitions; and
                // each is by an index, whatever the statistics of a log that has just begun say.
                connect: connect.application_name("daybook-writer").options([
                    ("plan_cache_mode", "force_generic_plan"),
                    ("enable_hashjoin", "off"),
                    ("enable_mergejoin", "off"),
                ]),
                tenant: config.tenant,
                time_zone,
                snapshot_every: config.snapshot_every,
                batch_max: config.batch_commands,
            },
            sealing: sealing.clone(),
            queue: waiting,
            snapshots: SnapshotSink::start(pool.clone()),
            ready: ready.clone(),
            shutdown: shutdown.clone(),
            cache: Cache::new(config.cache_streams),
            connection: None,
            second: None,
            reads: None,
            in_flight: None,
            staged: None,
            next: None,
            head: None,
            look_up_until: Instant::now(),
            lock_first_until: Instant::now(),
            clock_checked: None,
            rounds: rounds.clone(),
            pace: pace.clone(),
            settled_at: None,
        };
        let ended = on_a_thread("log-writer", writer.run())?;
        tokio::spawn(keep_partitions_ahead(pool.clone(), shutdown.clone()));
        Ok(Self {
            queue,
            ready,
            sealing,
            reader: LogReader::new(pool),
            shutdown,
            rounds,
            pace,
            queue_wait_max: config.queue_wait_max,
            ended,
        })
    }

    /// Decides a command at the head of the log. It is queued before this returns; what is returned
    /// tells its outcome once that has committed; a refusal by the rules is an outcome too. Dropping
    /// the future changes nothing. Idempotent: the same request under the same key gets its first
    /// outcome again, for ever.
    ///
    /// # Errors
    /// The future's: the key was used for another request, too many commands wait, or the log cannot
    /// be written now: then the same request under the same key may be sent again at any time.
    pub fn submit(&self, submission: Submission) -> impl Future<Output = Answer> + Send + use<> {
        let command = submission.command.name();
        let span = telemetry::command_span(&submission);
        // Here and not in the future, which thus stays small: it is boxed and moved for each request.
        let queued = self.queued(submission, span.clone());
        let answer = async move {
            let answer = match queued {
                Ok(outcome) => outcome.await.unwrap_or_else(|_| Err(stopped())),
                Err(error) => Err(error),
            };
            telemetry::answered(command, &answer);
            answer
        };
        answer.instrument(span)
    }

    fn queued(&self, submission: Submission, span: tracing::Span) -> Result<oneshot::Receiver<Answer>, SubmitError> {
        if self.is_overloaded_by(0) {
            return Err(SubmitError::Overloaded);
        }
        let (reply, outcome) = oneshot::channel();
        let reply = ReplyTo::One(reply);
        self.queue.try_send(Waiting { submission, span, reply }).map_err(not_queued)?;
        Ok(outcome)
    }

    /// Decides many commands in their order, in one commit or in several; each is accepted or refused
    /// for itself. They are queued before this returns, together or not at all; what is returned tells
    /// all outcomes, in the order of the commands, once they have committed. What others send
    /// meanwhile waits behind them, so send no more at once than others may have to wait for.
    /// Otherwise as [`Store::submit`].
    ///
    /// # Errors
    /// They find no room in the queue: nothing was submitted. The future's: the writer has ended, and
    /// no outcome is known.
    pub fn submit_many(
        &self,
        submissions: Vec<Submission>,
    ) -> Result<impl Future<Output = Result<Vec<Answer>, SubmitError>> + Send + use<>, SubmitError> {
        let command = submissions.first().map_or("none", |first| first.command.name());
        let span = submissions.first().map_or_else(tracing::Span::none, telemetry::command_span);
        let outcomes = self.queue_together(submissions, span.clone()).inspect_err(|error| {
            telemetry::not_queued(command, error);
        })?;
        let answers = async move {
            let Some(outcomes) = outcomes else { return Ok(Vec::new()) };
            let answers = outcomes.await.map_err(|_| stopped())?;
            telemetry::answered_together(command, &answers);
            Ok(answers)
        };
        Ok(answers.instrument(span))
    }

    /// `None` where there is nothing to wait for.
    fn queue_together(
        &self,
        submissions: Vec<Submission>,
        span: tracing::Span,
    ) -> Result<Option<oneshot::Receiver<Vec<Answer>>>, SubmitError> {
        if submissions.is_empty() {
            return Ok(None);
        }
        let (gathering, outcomes) = Gathering::new(submissions.len());
        let room = self.queue.try_reserve_many(submissions.len()).map_err(not_queued)?;
        // The first stands for all of them in a trace.
        let spans = std::iter::once(span).chain(std::iter::repeat_with(tracing::Span::none));
        for (at, ((place, submission), span)) in room.zip(submissions).zip(spans).enumerate() {
            place.send(Waiting { submission, span, reply: ReplyTo::Place(gathering.clone(), at) });
        }
        Ok(Some(outcomes))
    }

    /// The first reply to a request that was decided before; `None` when nothing is decided under
    /// its key yet. It submits nothing: for a repetition whose command can no longer be made, say
    /// because a key that sealed it is destroyed by now.
    ///
    /// # Errors
    /// The key was used for another request, or the log cannot be read now.
    pub async fn replay(
        &self,
        client: &str,
        idempotency_key: &str,
        request_hmac: &[u8; 32],
    ) -> Result<Option<Reply>, SubmitError> {
        let keys = [idempotency_key.to_owned()];
        Ok(self.replay_many(client, &keys, request_hmac).await?.pop().flatten())
    }

    /// The same under several keys, in one look; the replies are in the order of the keys.
    ///
    /// # Errors
    /// One of the keys was used for another request, or the log cannot be read now.
    pub async fn replay_many(
        &self,
        client: &str,
        idempotency_keys: &[String],
        request_hmac: &[u8; 32],
    ) -> Result<Vec<Option<Reply>>, SubmitError> {
        let keys: Vec<_> = idempotency_keys.iter().map(|key| (client.to_owned(), key.clone())).collect();
        let found = async {
            let mut connection = self.reader.pool().acquire().await?;
            load::decided(&mut connection, &keys).await
        };
        let mut found = found.await.map_err(|error| SubmitError::Unavailable(error.to_string()))?;
        let replies = keys.iter().map(|key| match found.remove(key) {
            Some(decided) if decided.request_hmac == *request_hmac => {
                Ok(Some(Reply { replayed: true, outcome: decided.outcome }))
            }
            Some(_) => Err(SubmitError::KeyReused),
            None => Ok(None),
        });
        replies.collect()
    }

    /// The stream that took a value that is unique beyond a stream, say the loan of a number.
    ///
    /// # Errors
    /// The log cannot be read now.
    pub async fn stream_of(&self, reservation: &Reservation) -> Result<Option<StreamId>, ReadError> {
        let row = sqlx::query("SELECT stream FROM reservations WHERE kind = $1 AND value_hmac = $2")
            .bind(reservation.kind.name())
            .bind(self.sealing.reservation_hmac(reservation).to_vec())
            .fetch_optional(self.reader.pool())
            .await?;
        Ok(row.map(|row| row.try_get::<String, _>("stream")).transpose()?.and_then(|text| text.parse().ok()))
    }

    /// Whether the writer is connected.
    pub fn ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && !self.shutdown.is_cancelled() && !self.queue.is_closed()
    }

    /// Whether a command that came now would have to wait for too long, behind those in the queue or, where they are
    /// more, behind so many that are at work elsewhere in this process: before the queue, or with their replies to be
    /// sent. Costs nothing, so that it can be asked before anything is done for a command.
    pub fn is_overloaded_by(&self, at_work: usize) -> bool {
        self.pace.wait_for(self.waiting().max(at_work)) > self.queue_wait_max
    }

    /// How many commands wait now.
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// How long ago the writer's loop last came round. Idle, it does so each second; while the
    /// database does not answer, at least every half minute.
    pub fn silence(&self) -> Duration {
        self.rounds.silence()
    }

    /// Returns once the writer has ended: after a shutdown, or by a fault of its own, after which
    /// this process can take no command and is to be started again.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Sealing of personal data.
    pub fn sealing(&self) -> &Sealing {
        &self.sealing
    }

    /// The read half.
    pub fn reader(&self) -> &LogReader {
        &self.reader
    }

    /// Takes no more commands, commits those that wait, and returns. Idempotent.
    pub async fn shutdown(&self) {
        self.shutdown.cancel();
        self.ended.cancelled().await;
    }
}

fn not_queued<T>(error: mpsc::error::TrySendError<T>) -> SubmitError {
    match error {
        mpsc::error::TrySendError::Full(_) => SubmitError::Overloaded,
        mpsc::error::TrySendError::Closed(_) => SubmitError::Unavailable("it is shutting down".into()),
    }
}

fn stopped() -> SubmitError {
    SubmitError::Unavailable("the writer has stopped".into())
}

/// Runs a task on a thread of its own and gives a token that is cancelled when it ends, by a panic as
/// well. The system then shares the processor between the writer, for which everybody waits, and the
/// many requests; among their tasks it would wait for its turn twice in every commit. What is sent and
/// received has a second thread: a message of a megabyte goes on being sent while the next batch is decided.
fn on_a_thread(
    name: &str,
    task: impl Future<Output = ()> + Send + 'static,
) -> Result<CancellationToken, std::io::Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(format!("{name}-io"))
        .enable_all()
        .build()?;
    let ended = CancellationToken::new();
    let guard = ended.clone().drop_guard();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _guard = guard;
        runtime.block_on(task);
    })?;
    Ok(ended)
}

/// Connection settings of everything on the log. Sequential scans are off because a plan made while
/// the log was empty would stay with them; an abandoned lock on the head ends after five seconds.
pub(crate) fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    Ok(url.parse::<PgConnectOptions>()?.options([
        ("jit", "off"),
        ("enable_seqscan", "off"),
        ("idle_in_transaction_session_timeout", "5s"),
        // Whatever the database's or the role's defaults: an acknowledged command is durable, and a
        // commit is never cancelled by the server.
        ("synchronous_commit", "on"),
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
    ]))
}

fn lazy_pool(options: PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new().max_connections(connections).acquire_timeout(Duration::from_secs(5)).connect_lazy_with(options)
}

/// Attaches partitions well before the head reaches them.
async fn keep_partitions_ahead(pool: PgPool, shutdown: CancellationToken) {
    let mut every = tokio::time::interval(Duration::from_secs(10));
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = every.tick() => {}
        }
        if let Err(error) = sqlx::query("SELECT extend_event_partitions()").execute(&pool).await {
            tracing::warn!(%error, "partitions were not extended; trying again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::on_a_thread;

    #[tokio::test]
    async fn a_task_that_panics_is_known_to_have_ended() {
        let ended = on_a_thread("panics", async { panic!("as a bug would") }).unwrap();
        ended.cancelled().await;
    }
}
