//! The stored replies against the commands of the log.

use sqlx::PgPool;
use tokio::task::JoinHandle;

use super::copied::{copy, number, text};
use super::{CommandId, Request, Walk, broken, request};
use crate::error::ReadError;
use crate::reader::LogReader;

/// How much of the table is read at once, in PostgreSQL's blocks: some ten thousand replies.
const PAGE_BLOCKS: i64 = 500;

/// Every stored reply belongs to a command of the log and ends where that command ends, and every
/// command of the log has one.
///
/// Rows of the table are neither changed nor moved, so that it can be read as it lies on the disk, in
/// pages with a short transaction each.
pub(super) async fn compare(reader: &LogReader, walk: &mut Walk, head: u64) -> Result<(), ReadError> {
    // Replies that come into it from now on are beyond the head.
    let blocks: i64 = sqlx::query_scalar(
        "SELECT (pg_relation_size('commands') + current_setting('block_size')::bigint - 1) \
         / current_setting('block_size')::bigint",
    )
    .fetch_one(reader.pool())
    .await?;
    let (mut met, mut block) = (0_u64, 0);
    let mut next = (block < blocks).then(|| page(reader.pool(), block));
    while let Some(page_read) = next {
        let replies = page_read.await.map_err(|_| ReadError::Database(sqlx::Error::WorkerCrashed))??;
        block += PAGE_BLOCKS;
        // The next page is read while this one is compared.
        next = (block < blocks).then(|| page(reader.pool(), block));
        for Reply { command_id, position, request } in replies {
            if position > head {
                continue;
            }
            met += 1;
            // Taken out, so that no reply counts twice.
            if walk.command_ends_at.remove(&command_id) != Some((position, request)) {
                return Err(broken(position, "a stored reply is not that of its command: another end, key or request"));
            }
        }
    }
    if met != walk.verified.commands {
        return Err(broken(head, format!("{} commands in the log, {met} stored replies", walk.verified.commands)));
    }
    Ok(())
}

/// What a stored reply says of its command.
struct Reply {
    command_id: CommandId,
    position: u64,
    request: Request,
}

/// Begins to read the stored replies of the blocks from that one.
fn page(pool: &PgPool, block: i64) -> JoinHandle<Result<Vec<Reply>, ReadError>> {
    let query = format!(
        "SELECT client, idempotency_key, command_id, request_hmac, position FROM commands \
         WHERE ctid >= '({block},0)' AND ctid < '({},0)'",
        block + PAGE_BLOCKS
    );
    let pool = pool.clone();
    tokio::spawn(async move {
        let (mut replies, mut hmac_hex) = (Vec::new(), Vec::new());
        copy(&pool, &query, |[client, key, command_id, hmac, position]| {
            hmac_hex.resize(hmac.len() * 2, 0);
            // It fits: two digits for each byte.
            let _ = hex::encode_to_slice(hmac, &mut hmac_hex);
            replies.push(Reply {
                command_id: CommandId::of(text(command_id)?),
                position: number(position)? as u64,
                request: request(client, key, &hmac_hex),
            });
            Ok(())
        })
        .await?;
        Ok(replies)
    })
}
