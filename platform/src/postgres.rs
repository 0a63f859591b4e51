//! Connections to PostgreSQL.
//!
//! Invariants: every session plans without JIT (short statements lose by it), a client that stops
//! in the middle of a transaction loses its locks within seconds, and a statement that failed
//! because its connection went away is told apart from one that the database refused.

use crate::backoff::Backoff;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Executor};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How long a caller waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// Settings of every session. A stopped or vanished client must not hold a row's lock for long:
/// it would stop every writer. The keepalives find a machine that is gone (45 s), the server's own
/// check finds a client that closed while its statement runs.
const SESSION_SETTINGS: [(&str, &str); 6] = [
    ("jit", "off"),
    ("idle_in_transaction_session_timeout", "5s"),
    ("client_connection_check_interval", "5s"),
    ("tcp_keepalives_idle", "15"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
];

/// Why there is no pool of connections.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The URL cannot be read; it is not repeated here, since it holds a password.
    #[error("the URL of the database cannot be read")]
    Url,
    /// The database does not answer, or not yet.
    #[error("the database cannot be reached: {cause}")]
    Unreachable {
        /// The last failure.
        cause: sqlx::Error,
    },
    /// The database refused the connection.
    #[error("the database refused the connection: {cause}")]
    Refused {
        /// Its reason.
        cause: sqlx::Error,
    },
}

/// What a connection is made with: the URL's options and the settings of every session.
pub fn connect_options(url: &str, application_name: &str) -> Result<PgConnectOptions, PostgresError> {
    let options = PgConnectOptions::from_str(url).map_err(|_| PostgresError::Url)?;
    Ok(options.application_name(application_name).options(SESSION_SETTINGS))
}

/// A pool that connects when it is first used, so that a role starts before its database does.
/// `application_name` is what `pg_stat_activity` shows. Must be called inside a Tokio runtime.
pub fn pool(url: &str, max_connections: u32, application_name: &str) -> Result<PgPool, PostgresError> {
    let options = connect_options(url, application_name)?;
    Ok(PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options))
}

/// One connection, apart from any pool, tried once.
pub async fn connect(url: &str, application_name: &str) -> Result<PgConnection, PostgresError> {
    let options = connect_options(url, application_name)?;
    options.connect().await.map_err(|cause| {
        if is_worth_another_try(&cause) {
            PostgresError::Unreachable { cause }
        } else {
            PostgresError::Refused { cause }
        }
    })
}

/// A pool whose database has answered once: tries again while it is starting or unreachable, for
/// `patience` at most. What the database refuses (a password, a missing database) fails at once.
pub async fn connect_patiently(
    url: &str,
    max_connections: u32,
    application_name: &str,
    patience: Duration,
) -> Result<PgPool, PostgresError> {
    let pool = pool(url, max_connections, application_name)?;
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    let began = Instant::now();
    loop {
        // A connection of its own, since a pool hides the failure behind its own time-out.
        let left = patience.saturating_sub(began.elapsed());
        let once = connect(url, application_name);
        let tried = tokio::time::timeout(left.max(Duration::from_millis(100)), once);
        let failure = match tried.await {
            Ok(Ok(_)) => return Ok(pool),
            Ok(Err(failure)) => failure,
            Err(_) => PostgresError::Unreachable { cause: sqlx::Error::PoolTimedOut },
        };
        if !matches!(failure, PostgresError::Unreachable { .. }) || began.elapsed() >= patience {
            return Err(failure);
        }
        tracing::debug!(error = %failure, "trying again");
        backoff.wait().await;
    }
}

/// Whether the database answers on this pool; for readiness checks.
pub async fn ping(pool: &PgPool) -> Result<(), sqlx::Error> {
    pool.execute("SELECT 1").await.map(|_| ())
}

/// Whether a failure means that the connection, or the way to one, is gone: what the statement did
/// is then unknown, and trying on a new connection makes sense. Anything else is an answer.
pub fn is_connection_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(refusal) => refusal.code().is_some_and(|code| is_connection_code(code.as_ref())),
        _ => false,
    }
}

/// SQLSTATEs after which the session is gone or was never made: class 08, the server going down
/// or coming up (57P01-57P03), and sessions it ended for being idle (57P05, 25P03).
fn is_connection_code(code: &str) -> bool {
    code.starts_with("08") || matches!(code, "57P01" | "57P02" | "57P03" | "57P05" | "25P03")
}

/// No connection, or too many of them for now (53300).
fn is_worth_another_try(error: &sqlx::Error) -> bool {
    let crowded = matches!(
        error,
        sqlx::Error::Database(refusal) if refusal.code().as_deref() == Some("53300")
    );
    crowded || is_connection_lost(error)
}

#[cfg(test)]
mod tests {
    use super::{PostgresError, connect_patiently, is_connection_code, is_connection_lost};
    use std::io;
    use std::time::Duration;

    #[test]
    fn a_lost_connection_is_told_from_a_refusal() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert!(is_connection_lost(&sqlx::Error::Io(reset)));
        assert!(is_connection_lost(&sqlx::Error::PoolTimedOut));
        assert!(!is_connection_lost(&sqlx::Error::RowNotFound));
        for code in ["57P01", "57P02", "57P03", "08006", "08P01", "25P03"] {
            assert!(is_connection_code(code), "{code}");
        }
        for code in ["23505", "40001", "40P01", "57014", "42P01"] {
            assert!(!is_connection_code(code), "{code}");
        }
    }

    #[tokio::test]
    async fn patience_ends_with_the_reason() {
        let url = "postgres://nobody:x@127.0.0.1:1/none";
        let error = connect_patiently(url, 1, "test", Duration::from_millis(200)).await.unwrap_err();
        assert!(matches!(error, PostgresError::Unreachable { .. }), "{error}");
    }
}
