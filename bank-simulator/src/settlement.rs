//! Orders on their way arrive when their time has come, also those from before a restart.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio_util::sync::CancellationToken;

use crate::Shared;

/// How long to wait after a failure, and at most for anything: the wall clock may jump.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Settles what is due until the token is cancelled.
pub(crate) async fn run(shared: &Arc<Shared>, shutdown: &CancellationToken) {
    while !shutdown.is_cancelled() {
        let wait = match shared.bank.look(|book| book.next_arrival()) {
            Some(at) => (at - Utc::now()).to_std().unwrap_or(Duration::ZERO).min(LOOK_AGAIN),
            None => LOOK_AGAIN,
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = shared.bank.departures.notified() => continue,
            () = tokio::time::sleep(wait) => {}
        }
        let bank = Arc::clone(shared);
        let arrived = tokio::task::spawn_blocking(move || bank.bank.arrive(Utc::now())).await;
        if !matches!(arrived, Ok(Ok(()))) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}
