//! Snapshots: a way to load a long stream faster, never a source of truth. Written aside from the
//! way of a command: every so many events, on eviction, and of all that is in memory at an orderly end,
//! so that the next start need not fold it anew. `audit verify` compares each with a fold.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use domain::StreamId;
use sqlx::{PgConnection, PgExecutor, PgPool};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::StoreError;
use crate::streams::Stream;

/// The form of the states in snapshots; those of another form are passed over and folded anew.
pub(crate) const STATE_VERSION: i32 = 2;

/// A stream with fewer events than this is folded as fast as a snapshot is read.
pub(crate) const WORTHWHILE_EVENTS: u64 = 20;

/// At an end a stream with fewer new events than this is left as it is: they are read as fast.
pub(crate) const WORTHWHILE_AT_END: u64 = 3;

/// How many are written in one statement.
const AT_ONCE: usize = 500;

/// For so long snapshots gather before they are written. Nobody waits for them, and a statement and a
/// commit for the few of each batch would cost as much as a tenth of the log's own work.
const GATHER_FOR: Duration = Duration::from_secs(1);

/// Takes streams to be written. When the queue is full a snapshot is left out; a later one comes.
pub(crate) struct SnapshotSink {
    queue: mpsc::Sender<(StreamId, Stream)>,
    task: JoinHandle<()>,
}

impl SnapshotSink {
    /// Starts the task that writes them. It ends when the sink is dropped.
    pub(crate) fn start(pool: PgPool) -> Self {
        let (queue, mut waiting) = mpsc::channel::<(StreamId, Stream)>(10_000);
        let task = tokio::spawn(async move {
            let mut streams = Vec::new();
            while waiting.recv_many(&mut streams, AT_ONCE).await > 0 {
                gather(&mut waiting, &mut streams).await;
                if let Err(error) = write(&pool, streams.iter().map(|(id, stream)| (*id, stream))).await {
                    tracing::warn!(%error, snapshots = streams.len(), "snapshots were not written");
                }
                streams.clear();
            }
        });
        Self { queue, task }
    }

    /// Waits until what was offered is written, for as long as is allowed.
    pub(crate) async fn end(self, allowed: Duration) {
        drop(self.queue);
        if tokio::time::timeout(allowed, self.task).await.is_err() {
            tracing::warn!("the last snapshots were not written in time");
        }
    }

    pub(crate) fn offer(&self, id: StreamId, stream: Stream) {
        // Full or closed: loading falls back on the older snapshot.
        let _ = self.queue.try_send((id, stream));
    }
}

/// Waits for more, up to what one statement writes; no longer when no more can come.
async fn gather(waiting: &mut mpsc::Receiver<(StreamId, Stream)>, streams: &mut Vec<(StreamId, Stream)>) {
    let gathering = async {
        while streams.len() < AT_ONCE {
            let room = AT_ONCE - streams.len();
            if waiting.recv_many(streams, room).await == 0 {
                break;
            }
        }
    };
    // What has come stays in `streams` when the time is over.
    let _ = tokio::time::timeout(GATHER_FOR, gathering).await;
}

/// Writes the snapshots of these streams, in their order, for as long as is allowed. Whatever is not
/// written is folded by who needs it.
pub(crate) async fn write_all(connection: &mut PgConnection, streams: &[(StreamId, &Stream)], allowed: Duration) {
    let began = Instant::now();
    let mut written = 0;
    for some in streams.chunks(AT_ONCE) {
        let left = allowed.saturating_sub(began.elapsed());
        match tokio::time::timeout(left, write(&mut *connection, some.iter().copied())).await {
            Ok(Ok(())) => written += some.len(),
            Ok(Err(error)) => {
                tracing::warn!(%error, "snapshots were not written");
                break;
            }
            Err(_) => break,
        }
    }
    let (elapsed_ms, left_out) = (began.elapsed().as_millis(), streams.len() - written);
    tracing::info!(written, left_out, elapsed_ms, "snapshots of what was in memory");
}

async fn write<'s>(
    executor: impl PgExecutor<'_>,
    streams: impl Iterator<Item = (StreamId, &'s Stream)>,
) -> Result<(), StoreError> {
    // The newest state of each stream only: one statement must not write a row twice. In the order of
    // their ids: two processes that write the same rows then never wait for each other in a circle.
    let newest: BTreeMap<_, _> = streams.collect();
    let (mut kinds, mut ids, mut sequences) = (Vec::new(), Vec::new(), Vec::new());
    let (mut positions, mut hashes, mut states) = (Vec::new(), Vec::new(), Vec::new());
    for (id, stream) in newest {
        if let (Some(state), Some(hash)) = (stream.state.to_json()?, stream.last_hash) {
            kinds.push(id.kind.name());
            ids.push(id.id_text());
            sequences.push(stream.version as i64);
            positions.push(stream.position as i64);
            hashes.push(hash.to_vec());
            states.push(state);
        }
    }
    sqlx::query(
        "INSERT INTO snapshots AS old \
         (aggregate_type, aggregate_id, sequence, position, event_hash, state_version, state) \
         SELECT kind, id, sequence, position, hash, $7, state::json \
         FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bytea[], $6::text[]) \
         AS new (kind, id, sequence, position, hash, state) \
         ON CONFLICT (aggregate_id, aggregate_type) DO UPDATE SET sequence = excluded.sequence, \
         position = excluded.position, event_hash = excluded.event_hash, \
         state_version = excluded.state_version, state = excluded.state \
         WHERE old.sequence < excluded.sequence OR old.state_version <> excluded.state_version",
    )
    .bind(kinds)
    .bind(ids)
    .bind(sequences)
    .bind(positions)
    .bind(hashes)
    .bind(states)
    .bind(STATE_VERSION)
    .execute(executor)
    .await?;
    Ok(())
}
