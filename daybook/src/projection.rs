//! `daybook projection`: how far the read models are, and building them anew.

use std::time::Duration;

use anyhow::bail;
use event_store::LogReader;
use platform::Config;
use sqlx::PgPool;

use crate::audit::bar;

/// Look at the read models' progress, or build them anew.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ProjectionCommand {
    /// How far each partition is, and what stands still.
    Status {
        /// Which projection.
        #[arg(long, default_value = projector::CORE)]
        projection: String,
    },
    /// Throw the read models away and make them again from Kafka's first record. Queries see them
    /// grow; those that ask for a position wait.
    Rebuild {
        /// Which projection.
        #[arg(long, default_value = projector::CORE)]
        projection: String,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
        /// Return at once instead of when the head of the log is reached.
        #[arg(long)]
        no_wait: bool,
    },
}

pub(crate) async fn run(command: ProjectionCommand, config: &Config) -> anyhow::Result<()> {
    let views = platform::postgres::pool(config.views_owner()?.expose(), 2, "daybook-projection")?;
    let log = LogReader::new(platform::postgres::pool(config.log_reader()?.expose(), 1, "daybook-projection")?);
    match command {
        ProjectionCommand::Status { projection } => status(&views, &log, &projection).await,
        ProjectionCommand::Rebuild { projection, yes, no_wait } => {
            if !yes {
                bail!("this empties the read models of `{projection}` and makes them anew; say --yes to do it");
            }
            projector::rebuild::rebuild(&views, &projection).await?;
            say!("`{projection}` is empty; its projectors begin again at the first record");
            if no_wait { Ok(()) } else { wait(&views, &log, &projection).await }
        }
    }
}

async fn status(views: &PgPool, log: &LogReader, projection: &str) -> anyhow::Result<()> {
    let head = log.head().await?.position;
    let status = projector::status::status(views, projection).await?;
    say!("projection {} from topic {}", status.projection, status.topic);
    say!("applied    {} of {head}; {} behind", status.applied_position, status.lag(head));
    say!("partition  next offset      events   watermark  epoch  stopped");
    for partition in &status.partitions {
        say!(
            "{:>9} {:>12} {:>11} {:>11} {:>6}  {}",
            partition.partition,
            partition.next_offset,
            partition.ordinal,
            partition.watermark,
            partition.epoch,
            partition.stopped.as_deref().unwrap_or("no")
        );
    }
    for parked in &status.parked {
        let error = parked.error.as_deref().unwrap_or("not known");
        say!("parked     {} from {} on, {} events: {error}", parked.stream, parked.first_position, parked.events);
    }
    Ok(())
}

/// Until everything that was in the log when it began is applied.
async fn wait(views: &PgPool, log: &LogReader, projection: &str) -> anyhow::Result<()> {
    let head = log.head().await?.position;
    let bar = bar(head, "rebuild");
    let began = std::time::Instant::now();
    let mut moved = (began, 0);
    loop {
        let status = projector::status::status(views, projection).await?;
        bar.set_position(status.events().min(head));
        if status.applied_position >= head {
            break;
        }
        if let Some(stopped) = status.partitions.iter().find_map(|partition| partition.stopped.as_deref()) {
            bail!("a partition stands still: {stopped}");
        }
        if status.events() != moved.1 {
            moved = (std::time::Instant::now(), status.events());
        } else if moved.0.elapsed() > Duration::from_secs(60) {
            let places = status.partitions.iter().map(|of| format!("{} at {}", of.partition, of.next_offset));
            let places = places.collect::<Vec<_>>().join(", ");
            bail!(
                "nothing was applied for a minute, position {} of {head} is reached (partitions: {places}): \
                 does a projector run?",
                status.applied_position
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bar.finish_and_clear();
    say!("{head} events applied in {:.1?}", began.elapsed());
    Ok(())
}
