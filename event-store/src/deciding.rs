//! Deciding waiting commands with the database at hand: what turns out to be missing is loaded, for
//! all of them at once, and the batch goes on where it stopped.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use domain::{Missing, Reservation, StreamId};
use sqlx::{PgConnection, Row};

use crate::batch::{Batch, Frame, NotDecided, OnTheWay};
use crate::bulk;
use crate::error::StoreError;
use crate::in_flight::Failure;
use crate::load;
use crate::reader::Head;
use crate::streams::Cache;
use crate::submission::Submission;
use crate::writer::Waiting;

/// A commit has no more events than about this; what is left of the batch goes with the next.
pub(crate) const EVENTS_OF_A_COMMIT: usize = 20_000;
/// How far this machine's clock may be off the database's.
const CLOCK_ALLOWED_MS: i64 = 2_000;

/// A new batch on that head, dated now.
pub(crate) fn begin(head: &Head, time_zone: chrono_tz::Tz) -> Result<Batch, StoreError> {
    let now: DateTime<Utc> = Utc::now();
    let ahead_ms = (head.recorded_at_us - now.timestamp_micros()) / 1_000;
    if ahead_ms > 2 * CLOCK_ALLOWED_MS {
        // Going on would date everything by that mistake, for ever.
        return Err(StoreError::LogAhead { ahead_ms });
    }
    let recorded_at_us = now.timestamp_micros().max(head.recorded_at_us);
    let recorded_at = DateTime::from_timestamp_micros(recorded_at_us).unwrap_or(now);
    let business_date = recorded_at.with_timezone(&time_zone).date_naive();
    Ok(Batch::new(head, recorded_at, business_date))
}

/// Which keys are looked up before commands are decided.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LookUp {
    /// All.
    All,
    /// Only those on which the keys of a request's later parts depend: a key that is in the log
    /// already is found by the commit, which then writes nothing.
    Requests,
}

/// A connection that is opened when the first thing is missing.
pub(crate) struct Reads<'a> {
    pub(crate) connection: &'a mut Option<PgConnection>,
    pub(crate) connect: &'a sqlx::postgres::PgConnectOptions,
}

impl Reads<'_> {
    pub(crate) async fn get(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        use sqlx::ConnectOptions;
        if self.connection.is_none() {
            *self.connection = Some(self.connect.clone().application_name("daybook-writer-reads").connect().await?);
        }
        self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)
    }
}

/// Decides every command from the first undecided one on, in order. Stops early at a commit's most
/// events. Returns whether a key was found that is in the log already.
pub(crate) async fn decide_all(
    batch: &mut Batch,
    waiting: &[Waiting],
    cache: &mut Cache,
    on_the_way: OnTheWay<'_>,
    reads: &mut Reads<'_>,
    frame: Frame<'_>,
    look_up: LookUp,
) -> Result<bool, Failure> {
    let keys = match look_up {
        LookUp::All => bulk::keys(undecided(batch, waiting)),
        LookUp::Requests => bulk::request_keys(undecided(batch, waiting)),
    };
    let mut found = false;
    if !keys.is_empty() {
        let decided = load::decided(reads.get().await?, &keys).await?;
        found = !decided.is_empty();
        batch.know(decided);
    }
    let mut missing: Vec<Missing> = Vec::new();
    for submission in undecided(batch, waiting) {
        needs(submission, &mut missing);
    }
    loop {
        load_missing(batch, &missing, cache, on_the_way, reads, frame).await?;
        missing.clear();
        while let Some(next) = waiting.get(batch.replies.len()) {
            if batch.rows.events.len() >= EVENTS_OF_A_COMMIT {
                return Ok(found);
            }
            match batch.decide_next(&next.submission, cache, on_the_way, frame) {
                Ok(()) => {}
                Err(NotDecided::Missing(what)) => {
                    missing.push(what);
                    break;
                }
                Err(NotDecided::Failed(error)) => return Err(error.into()),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        // What the others behind it lack would be found one by one: look ahead for pending postings
        // and the like, whose needs show only in their transactions.
        let ahead = undecided(batch, waiting).filter_map(|next| batch.lacks(&next.command, cache, on_the_way));
        missing.extend(ahead.take(1_000));
    }
}

/// The commands that have no reply in the batch yet.
fn undecided<'a>(batch: &Batch, waiting: &'a [Waiting]) -> impl Iterator<Item = &'a Submission> + use<'a> {
    waiting.iter().skip(batch.replies.len()).map(|waiting| &waiting.submission)
}

/// What is known beforehand to be needed. Of a target that is new there is nothing.
fn needs(submission: &Submission, missing: &mut Vec<Missing>) {
    let target = Missing::Stream(submission.command.target());
    let needs = submission.command.needs();
    missing.extend(needs.into_iter().filter(|need| !submission.target_is_new || *need != target));
}

async fn load_missing(
    batch: &mut Batch,
    missing: &[Missing],
    cache: &mut Cache,
    on_the_way: OnTheWay<'_>,
    reads: &mut Reads<'_>,
    frame: Frame<'_>,
) -> Result<(), Failure> {
    let mut streams: HashSet<StreamId> = HashSet::new();
    let mut reservations: HashSet<Reservation> = HashSet::new();
    let book = batch.book(cache, on_the_way);
    for what in missing.iter().filter(|what| !book.has(what)) {
        match what {
            Missing::Stream(id) => {
                streams.insert(*id);
            }
            Missing::Reservation(reservation) => {
                reservations.insert(reservation.clone());
            }
        }
    }
    if !reservations.is_empty() {
        let wanted: Vec<Reservation> = reservations.into_iter().collect();
        let taken = load::reserved(reads.get().await?, frame.sealing, &wanted).await?;
        for (reservation, taken) in wanted.into_iter().zip(taken) {
            batch.overlay.set_reserved(reservation, taken);
        }
    }
    if !streams.is_empty() {
        let wanted: Vec<StreamId> = streams.into_iter().collect();
        for (id, stream) in load::streams(reads.get().await?, &wanted).await? {
            cache.insert(id, stream);
        }
    }
    Ok(())
}

/// Refuses to go on when this machine's clock is off the database's.
pub(crate) async fn check_clock(connection: &mut PgConnection) -> Result<(), StoreError> {
    let before = Utc::now();
    let row = sqlx::query("SELECT clock_timestamp() AS now").fetch_one(connection).await?;
    let database: DateTime<Utc> = row.try_get("now")?;
    let after = Utc::now();
    // The database's reading lies between ours; only what is outside counts as a difference.
    let difference_ms = if database < before {
        (before - database).num_milliseconds()
    } else if database > after {
        (after - database).num_milliseconds()
    } else {
        0
    };
    if difference_ms.abs() > CLOCK_ALLOWED_MS {
        return Err(StoreError::Clock { difference_ms, allowed_ms: CLOCK_ALLOWED_MS });
    }
    Ok(())
}
