//! `daybook saga`: the sagas that are not over, the story of one, and a person's word about it.

use anyhow::{Context, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use domain::ids::StreamKind;
use domain::saga::{Process, Resolution, SagaCommand as Command, SagaEvent, SagaStatus, Step};
use domain::words::ReasonCode;
use domain::{Event, LoanId, Money, Saga, SagaId, StreamId};
use event_schemas::Recorded;
use event_store::{LogReader, Outcome, Store, StoreConfig, Submission};
use platform::Config;
use uuid::Uuid;

/// The most events of one saga that are shown.
const EVENTS_MAX: u32 = 10_000;

/// Look at the sagas that are not over, and let one go on or give it up.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum SagaCommand {
    /// The sagas that are not over; those that wait for a person come first.
    List {
        /// Only those of this status.
        #[arg(long, value_parser = ["running", "unknown", "compensating", "parked"])]
        status: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// All that happened to one, from the log.
    Show {
        /// The saga.
        saga_id: Uuid,
    },
    /// Let it go on at once.
    Resume {
        /// The saga.
        saga_id: Uuid,
        /// The payment is for this loan.
        #[arg(long, value_name = "LOAN", conflicts_with = "return_payment")]
        assign_loan: Option<Uuid>,
        /// The payment goes back to where it came from.
        #[arg(long)]
        return_payment: bool,
        /// In whose name, as the log will say.
        #[arg(long, default_value = "operator")]
        actor: String,
    },
    /// Give it up; what has to be undone is undone first.
    Abandon {
        /// The saga.
        saga_id: Uuid,
        /// Why, as a code such as `customer_withdrew`.
        #[arg(long)]
        reason: String,
        /// In whose name, as the log will say.
        #[arg(long, default_value = "operator")]
        actor: String,
    },
}

pub(crate) async fn run(command: SagaCommand, config: &Config) -> anyhow::Result<()> {
    match command {
        SagaCommand::List { status, limit } => list(config, status.as_deref(), limit).await,
        SagaCommand::Show { saga_id } => show(config, SagaId(saga_id)).await,
        SagaCommand::Resume { saga_id, assign_loan, return_payment, actor } => {
            let saga_id = SagaId(saga_id);
            let resolution = match (assign_loan, return_payment) {
                (Some(loan_id), _) => Some(Resolution::AssignLoan { loan_id: LoanId(loan_id) }),
                (None, true) => Some(Resolution::ReturnPayment),
                (None, false) => None,
            };
            tell(config, &actor, Command::ResumeSaga { saga_id, resolution }).await
        }
        SagaCommand::Abandon { saga_id, reason, actor } => {
            let reason = ReasonCode::try_new(reason).context("--reason")?;
            tell(config, &actor, Command::AbandonSaga { saga_id: SagaId(saga_id), reason }).await
        }
    }
}

fn reader(config: &Config) -> anyhow::Result<LogReader> {
    Ok(LogReader::new(platform::postgres::pool(config.log_reader()?.expose(), 2, "daybook-saga")?))
}

async fn list(config: &Config, status: Option<&str>, limit: u32) -> anyhow::Result<()> {
    let log = reader(config)?;
    let counts = sagas::work::counts(log.pool()).await?;
    let told: Vec<String> =
        counts.iter().map(|(process, status, count)| format!("{count} {process} {status}")).collect();
    say!("{}", if told.is_empty() { "no saga is left over".to_owned() } else { told.join(", ") });
    let shown = sagas::work::open(log.pool(), status, limit).await?;
    if shown.is_empty() {
        return Ok(());
    }
    say!("{:<36}  {:<16} {:<12} {:<11} {:<20}  why", "saga", "process", "status", "step", "due");
    for saga in &shown {
        let state = state_of(&log, saga.saga_id).await?;
        let code = state.code.as_ref().map_or("", |code| code.as_str());
        let failure = saga.last_failure.as_ref().map(|failure| format!(" ({} failures: {failure})", saga.failures));
        let (due, failure) = (saga.due_at.map_or("waits for a person".to_owned(), moment), failure.unwrap_or_default());
        let (process, step) = (&saga.process, &saga.step);
        say!("{}  {process:<16} {:<12} {step:<11} {due:<20}  {code}{failure}", saga.saga_id, saga.status);
    }
    Ok(())
}

async fn state_of(log: &LogReader, saga_id: SagaId) -> anyhow::Result<Saga> {
    let mut saga = Saga::default();
    for event in log.events_of(saga_id.stream()).await? {
        if let Event::Saga(event) = event {
            saga.fold(&event);
        }
    }
    Ok(saga)
}

fn moment(at: DateTime<Utc>) -> String {
    if at <= DateTime::UNIX_EPOCH { "now".to_owned() } else { at.to_rfc3339_opts(SecondsFormat::Secs, true) }
}

async fn show(config: &Config, saga_id: SagaId) -> anyhow::Result<()> {
    let log = reader(config)?;
    let stream = StreamId { kind: StreamKind::Saga, id: saga_id.0 };
    let events = log.stream_after(stream, 0, EVENTS_MAX).await?;
    if events.is_empty() {
        bail!("there is no saga {saga_id}");
    }
    let mut saga = Saga::default();
    say!("{:<27}  {:>10}  what", "when", "position");
    for recorded in &events {
        let Event::Saga(event) = recorded.event()? else { bail!("{stream} has an event of another kind") };
        saga.fold(&event);
        say!("{}", line(recorded, &event));
    }
    say!("");
    say!("status     {}", saga.status.name());
    if !saga.status.has_ended() {
        // A wait for a due date is in no event: the table of work knows it.
        let due_at = sagas::work::of(log.pool(), saga_id).await?.and_then(|work| work.due_at);
        say!("next step  {} (try {}), {}", saga.step.name(), saga.attempts + 1, next(&saga, due_at));
    }
    if let Some(loan_id) = saga.loan_id {
        say!("loan       {loan_id}");
    }
    Ok(())
}

fn next(saga: &Saga, due_at: Option<DateTime<Utc>>) -> String {
    match (saga.status, due_at.or(saga.wake_at)) {
        (SagaStatus::Parked, _) if matches!(saga.step, Step::Match | Step::Allocate) => {
            "once a person says `daybook saga resume`, with --assign-loan or --return-payment".to_owned()
        }
        (SagaStatus::Parked, _) => "once a person says `daybook saga resume`".to_owned(),
        (_, Some(at)) if at > Utc::now() => format!("at {}", moment(at)),
        (_, Some(_) | None) => "at once".to_owned(),
    }
}

fn line(recorded: &Recorded, event: &SagaEvent) -> String {
    let at = DateTime::from_timestamp_micros(recorded.recorded_at_us).unwrap_or_default();
    let at = at.to_rfc3339_opts(SecondsFormat::Micros, true);
    format!("{at}  {:>10}  {}", recorded.position, told(event))
}

fn told(event: &SagaEvent) -> String {
    match event {
        SagaEvent::SagaStarted { process } => format!("started: {}", told_process(process)),
        SagaEvent::StepSucceeded { step, attempt, bank_reference, .. } => {
            let reference = bank_reference.as_ref().map(|reference| format!(", the bank's reference {reference}"));
            format!("{} done (try {attempt}){}", step.name(), reference.unwrap_or_default())
        }
        SagaEvent::StepFailed { step, attempt, code, retry_at } => {
            format!("{} failed (try {attempt}): {code}; again at {}", step.name(), moment(*retry_at))
        }
        SagaEvent::StepUnknown { step, attempt, code, .. } if code.as_str() == "sending" => {
            format!("{}: the order goes out (try {attempt})", step.name())
        }
        SagaEvent::StepUnknown { step, attempt, code, ask_at } => {
            format!("{} has an unknown outcome (try {attempt}): {code}; asked at {}", step.name(), moment(*ask_at))
        }
        SagaEvent::CompensationStarted { step, code } => {
            format!("{} refused: {code}; undoing what was done", step.name())
        }
        SagaEvent::SagaParked { step, code } => format!("waits for a person at {}: {code}", step.name()),
        SagaEvent::SagaResumed { resolution: None } => "resumed".to_owned(),
        SagaEvent::SagaResumed { resolution: Some(Resolution::AssignLoan { loan_id }) } => {
            format!("resumed: the payment is for loan {loan_id}")
        }
        SagaEvent::SagaResumed { resolution: Some(Resolution::ReturnPayment) } => {
            "resumed: the payment goes back".to_owned()
        }
        SagaEvent::SagaAbandoned { reason } => format!("given up: {reason}"),
        SagaEvent::SagaCompleted { outcome } => format!("over: {outcome}"),
    }
}

fn told_process(process: &Process) -> String {
    match process {
        Process::Disbursement { loan_id, attempt } => format!("disbursement of loan {loan_id}, attempt {attempt}"),
        Process::IncomingPayment { amount_minor, currency, bank_reference, loan_number, .. } => {
            let number =
                loan_number.as_ref().map_or("no loan number".to_owned(), |number| format!("loan number {number}"));
            let amount = Money::new(*amount_minor, *currency);
            format!("incoming payment {bank_reference} of {amount}, {number}")
        }
        Process::Collection { loan_id } => format!("collection of loan {loan_id}"),
    }
}

/// Through the same door as everybody: the log says who it was.
async fn tell(config: &Config, actor: &str, command: Command) -> anyhow::Result<()> {
    let (writer_url, keys_url) = (config.log_writer()?.expose(), config.keys()?.expose());
    let master_key = *config.master_key()?.expose();
    let time_zone = config.time_zone().to_string();
    let store = Store::start(StoreConfig::new(writer_url, keys_url, master_key, config.tenant(), &time_zone)).await?;
    let key = Uuid::now_v7().to_string();
    let (name, saga_id) = (command.name(), command.target());
    let reply = store
        .submit(Submission {
            command: domain::Command::Saga(command),
            command_id: Uuid::now_v7(),
            client: "daybook-saga".to_owned(),
            request_hmac: store.sealing().request_hmac(&[key.as_bytes()]),
            idempotency_key: key,
            target_is_new: false,
            expected_version: None,
            actor: actor.to_owned(),
            branch: None,
            correlation_id: saga_id.to_string(),
            traceparent: None,
        })
        .await;
    store.shutdown().await;
    match reply.with_context(|| format!("{name} was not decided; say it again"))?.outcome {
        Outcome::Accepted(accepted) => {
            say!("{name} accepted at position {}", accepted.position);
            Ok(())
        }
        Outcome::Rejected(rejected) => bail!("{} ({})", rejected.rejection, rejected.rejection.code()),
    }
}
