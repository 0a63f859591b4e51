//! Stopping: the first SIGTERM or SIGINT asks every part to finish, the second leaves at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code after a second signal, as a shell writes it for an interrupted process.
const INTERRUPTED: i32 = 130;

/// Listens for SIGTERM and SIGINT from now on; the first of them cancels the token that is
/// returned, the second ends the process. To be called once, inside a Tokio runtime.
pub fn on_signals() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        for _ in 0..2 {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if cancelled.is_cancelled() {
                tracing::warn!(signal = name, "second signal: leaving at once");
                std::process::exit(INTERRUPTED);
            }
            tracing::info!(signal = name, "shutting down; a second signal leaves at once");
            cancelled.cancel();
        }
    });
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::on_signals;
    use std::process::Command;
    use std::time::Duration;

    #[tokio::test]
    async fn the_first_signal_asks_to_finish() {
        let token = on_signals().unwrap();
        let pid = std::process::id().to_string();
        assert!(Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status().unwrap().success());
        tokio::time::timeout(Duration::from_secs(5), token.cancelled()).await.unwrap();
    }
}
