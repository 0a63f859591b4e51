//! Members' balances of now: whoever asks while a statement is under way is answered by the next one,
//! together.
//!
//! Invariants: a statement begins after everybody whom it answers has asked, so no answer is older than
//! its question; position and balances are of one statement, hence of one snapshot; nobody waits for
//! others to come: a reader that is free reads at once, for one if need be.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{ConnectOptions, Row};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use domain::Currency;
use platform::Problem;
use platform::postgres::is_connection_lost;

use crate::amount::{currency, sum_minor};
use crate::freshness::{POSITION, PROJECTION};
use crate::reply::{Failure, Result};

/// Statements under way at once. Few: the fewer there are, the more each one answers.
const READERS: usize = 2;
/// Most answers of one statement.
const TOGETHER_MAX: usize = 256;
/// Most that wait for a reader; beyond that, whoever asks waits to ask.
const WAITING_MAX: usize = 10_000;
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the statement says in one row for each that asks, in any order; the accounts are parameter 2.
static SQL: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT asked.place, {POSITION} AS position, \
         EXISTS (SELECT 1 FROM parked_events p WHERE p.projection = $1 AND p.stream = 'account/' || asked.id) AS parked, \
         s.currency, s.normal_side, s.guarded, s.version, s.held_minor::text AS held_minor, \
         CASE WHEN s.guarded THEN s.balance_minor END::text AS balance_minor \
         FROM unnest($2::uuid[]) WITH ORDINALITY AS asked(id, place) \
         LEFT JOIN account_states s ON s.account_id = asked.id"
    )
});

/// What is known of an account at a position.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Every event up to this position is in it.
    pub(crate) position: u64,
    /// Whether events of the account are parked.
    pub(crate) parked: bool,
    /// The account, if there is one.
    pub(crate) account: Option<CurrentAccount>,
}

/// An account's balance of now.
#[derive(Debug)]
pub(crate) struct CurrentAccount {
    /// Its currency.
    pub(crate) currency: Currency,
    /// `debit` or `credit`.
    pub(crate) normal_side: String,
    /// Number of its events.
    pub(crate) version: i64,
    /// Balance and held, in minor units on the normal side; `None` for an internal account, whose balance is a sum.
    pub(crate) minor: Option<(i128, i128)>,
}

/// Reads for all who ask. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct CurrentBalances {
    asking: mpsc::Sender<Asked>,
    _readers: Arc<Vec<AbortOnDrop>>,
}

#[derive(Debug)]
struct Asked {
    account: Uuid,
    answer: oneshot::Sender<Result<Reading>>,
}

type Asking = Arc<Mutex<mpsc::Receiver<Asked>>>;

#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl CurrentBalances {
    /// Starts the readers, each on a connection of its own to the pool's database, made when it is first
    /// needed; to be called inside a Tokio runtime.
    pub(crate) fn start(views: &PgPool) -> Self {
        let (asking, asked) = mpsc::channel(WAITING_MAX);
        let asked: Asking = Arc::new(Mutex::new(asked));
        let reader = |_| AbortOnDrop(tokio::spawn(read_on(views.clone(), Arc::clone(&asked))));
        Self { asking, _readers: Arc::new((0..READERS).map(reader).collect()) }
    }

    /// What is known of the account now.
    pub(crate) async fn read(&self, account: Uuid) -> Result<Reading> {
        let (answer, answered) = oneshot::channel();
        // The readers end with the last of us.
        let stopping = |_| Failure::from(Problem::unavailable("database_unavailable", "the service is stopping"));
        self.asking.send(Asked { account, answer }).await.map_err(|_| stopping(()))?;
        answered.await.map_err(|_| stopping(()))?
    }
}

/// Answers whoever asks, until nobody can any more.
async fn read_on(views: PgPool, asked: Asking) {
    let mut connection = None;
    let mut together = Vec::with_capacity(TOGETHER_MAX);
    loop {
        if asked.lock().await.recv_many(&mut together, TOGETHER_MAX).await == 0 {
            return;
        }
        together.retain(|asked| !asked.answer.is_closed());
        let accounts: Vec<Uuid> = together.iter().map(|asked| asked.account).collect();
        let mut read = read(&mut connection, &views, &accounts).await;
        // A connection may have been lost since it was last used: that is found out by using it.
        if matches!(&read, Err(error) if is_connection_lost(error)) {
            connection = None;
            read = self::read(&mut connection, &views, &accounts).await;
        }
        match read {
            Ok(readings) => answer(&mut together, readings),
            Err(error) => {
                connection = None;
                let failure = Failure::from(error);
                for asked in together.drain(..) {
                    // Who has gone away needs no answer.
                    let _ = asked.answer.send(Err(failure.clone()));
                }
            }
        }
    }
}

fn answer(together: &mut Vec<Asked>, readings: Vec<(usize, Reading)>) {
    let mut by_place: Vec<Option<Reading>> = together.iter().map(|_| None).collect();
    for (place, reading) in readings {
        if let Some(slot) = by_place.get_mut(place) {
            *slot = Some(reading);
        }
    }
    for (asked, reading) in together.drain(..).zip(by_place) {
        let reading = reading.ok_or_else(|| Failure::from(sqlx::Error::RowNotFound));
        let _ = asked.answer.send(reading);
    }
}

async fn read(
    connection: &mut Option<PgConnection>,
    views: &PgPool,
    accounts: &[Uuid],
) -> std::result::Result<Vec<(usize, Reading)>, sqlx::Error> {
    if accounts.is_empty() {
        return Ok(Vec::new());
    }
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(connect(views).await?),
    };
    let rows = sqlx::query(&SQL).bind(PROJECTION).bind(accounts).fetch_all(connection).await?;
    rows.iter().map(reading).collect()
}

fn reading(row: &sqlx::postgres::PgRow) -> std::result::Result<(usize, Reading), sqlx::Error> {
    let (place, position): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let account = match row.try_get::<Option<&str>, _>(3)? {
        Some(code) => Some(CurrentAccount {
            currency: currency(code)?,
            normal_side: row.try_get(4)?,
            version: row.try_get(6)?,
            minor: match (row.try_get(5)?, row.try_get::<Option<&str>, _>(8)?) {
                (true, Some(balance_minor)) => Some((sum_minor(balance_minor)?, sum_minor(row.try_get(7)?)?)),
                (_, _) => None,
            },
        }),
        None => None,
    };
    let reading = Reading { position: u64::try_from(position).unwrap_or(0), parked: row.try_get(2)?, account };
    Ok((usize::try_from(place - 1).unwrap_or(usize::MAX), reading))
}

async fn connect(views: &PgPool) -> std::result::Result<PgConnection, sqlx::Error> {
    // One statement whose plan is the same for all values, by the tables' keys whatever they hold now;
    // to plan it each time would cost more than to run it.
    let settings = [("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off")];
    let options = (*views.connect_options()).clone().options(settings);
    timeout(CONNECT_TIMEOUT, options.connect()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}
