//! Many transactions in one request: each for itself, or all of them or none.
//!
//! - `independent`: up to 10,000, each a command of its own, under a key derived from the request's
//!   and the HMAC of the whole request. They go to the log in slices, so that what others send
//!   meanwhile waits for a few of them and not for all, however many requests there are. A repetition of the request replays what was
//!   decided and goes on with the rest.
//! - `atomic`: one command with up to 1,000 legs.
//!
//! Invariants: what is malformed anywhere refuses the whole request before anything is submitted;
//! nothing is done of a request whose key was used for another; what such requests hold in memory is
//! bounded (`batch_request`).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use domain::transaction::TransactionCommand;
use domain::words::Sealed;
use domain::{Command, TransactionId};
use event_store::{Outcome, Reply, Submission, part_key};
use platform::http::Routes;
use platform::{Permission, Problem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa_axum::routes;

use crate::AppState;
use crate::batch_reply::{BatchReply, Item};
use crate::batch_request::{
    Asked, BODY_BYTES_MAX, Batch, BatchMode, BatchRequest, PostBatch, ROOM_KIB, named, on_a_thread,
};
use crate::door::{Answer, ManyAnswers, Narrative};
use crate::request::{Caller, not_submitted};
use crate::sealing::cannot_seal;
use crate::transactions::no_member;

/// So many go to the log at once: what somebody else sends meanwhile waits for no more than these.
const SLICE: usize = 250;
/// So many slices of a request are queued, so that the log has the next one when it has committed the last.
const SLICES_AHEAD: usize = 3;
/// So many slices of all requests are queued, however many there are: for the commit in flight, for the one that is
/// staged behind it, and for the one that is decided meanwhile.
const SLICES_MAX: usize = 6;
/// A reply with so many items is written on a thread of its own.
const LONG_ITEMS: usize = 500;

/// The routes of this noun.
pub(crate) fn routes() -> Routes<AppState> {
    let (schemas, paths, methods) = routes!(post_batch);
    let methods = methods.layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    Routes::new().route(Permission::TransactionsPost, (schemas, paths, methods))
}

/// What bounds such requests in this process.
pub(crate) struct Limits {
    /// Room for their bodies, in KiB.
    pub(crate) room: Arc<Semaphore>,
    /// Slices that may be queued.
    slices: Arc<Semaphore>,
}

impl Limits {
    /// With all room there is.
    pub(crate) fn new() -> Self {
        Self { room: Arc::new(Semaphore::new(ROOM_KIB)), slices: Arc::new(Semaphore::new(SLICES_MAX)) }
    }
}

/// Post many transactions, each for itself or all of them or none.
///
/// Independent: up to 10,000, each with its own outcome, under keys derived from the request's; the
/// same request again replays those that were decided and goes on with the others. Atomic: up to
/// 1,000 legs in all; the first transaction that is rejected rejects them all, and the problem names
/// its `index`.
#[utoipa::path(
    post, path = "/v1/transactions/batch", tag = "transactions", operation_id = "postTransactionBatch",
    params(("balances" = Option<bool>, Query, description = "Whether the reply tells the balances afterwards.")),
    request_body = PostBatch,
    responses((status = 200, description = "Each transaction is decided; the items tell how.", body = BatchReply))
)]
async fn post_batch(State(state): State<AppState>, request: BatchRequest) -> Result<Response, Problem> {
    let batch = request.read(Arc::clone(state.door())).await?;
    let narratives = seal(&state, &batch).await?;
    match batch.mode {
        BatchMode::Independent => independent(&state, batch, narratives).await,
        BatchMode::Atomic => atomic(&state, batch, narratives).await,
    }
}

/// Of each transaction its narrative, sealed, or why it cannot be.
type Narratives = Vec<Result<Option<Sealed>, Problem>>;

/// Seals all narratives at once. What cannot be sealed for now refuses the request; what never can be
/// is for whoever asks whether it was decided before.
async fn seal(state: &AppState, batch: &Batch) -> Result<Narratives, Problem> {
    let with_text = batch.transactions.iter().enumerate();
    let with_text = with_text.filter_map(|(at, asked)| Some((at, asked, asked.body.narrative.as_deref()?)));
    let (places, texts): (Vec<usize>, Vec<Narrative<'_>>) = with_text
        .map(|(at, asked, plain)| (at, Narrative { transaction: asked.id, accounts: asked.legs.accounts(), plain }))
        .unzip();
    let mut narratives: Narratives = std::iter::repeat_with(|| Ok(None)).take(batch.transactions.len()).collect();
    if texts.is_empty() {
        return Ok(narratives);
    }
    let sealed = state.door().seal_narratives(&texts).await.map_err(|error| cannot_seal("narrative", &error))?;
    for (at, sealed) in places.into_iter().zip(sealed) {
        let sealed = match sealed {
            Ok(Some(sealed)) => Ok(Some(sealed)),
            Ok(None) => Err(no_member()),
            Err(error) => Err(cannot_seal("narrative", &error)),
        };
        match sealed {
            Err(problem) if problem.status >= 500 => return Err(problem),
            sealed => narratives[at] = sealed.map_err(|problem| named(at, problem)),
        }
    }
    Ok(narratives)
}

/// All of them or none, in one command under the request's own key.
async fn atomic(state: &AppState, batch: Batch, narratives: Narratives) -> Result<Response, Problem> {
    let Batch { caller, request_hmac, transactions, with_balances, _room, .. } = batch;
    let reply = match narratives.into_iter().collect::<Result<Vec<_>, _>>() {
        Ok(narratives) => {
            let new = transactions.into_iter().zip(narratives).map(|(asked, narrative)| asked.into_new(narrative));
            let command = TransactionCommand::PostTransactions { transactions: new.collect() };
            let key = caller.idempotency_key().to_owned();
            let submission = caller.submission(Command::Transaction(command), key, request_hmac);
            state.door().submit(submission).await.map_err(|error| not_submitted(&error))?
        }
        Err(problem) => caller.repeated(state).await?.ok_or(problem)?,
    };
    Ok(match &reply.outcome {
        Outcome::Accepted(accepted) => BatchReply::atomic(accepted, reply.replayed, with_balances, caller.principal()),
        Outcome::Rejected(rejected) => caller.render_rejected(rejected, reply.replayed),
    })
}

/// Each for itself, slice by slice.
async fn independent(state: &AppState, batch: Batch, narratives: Narratives) -> Result<Response, Problem> {
    let Batch { caller, request_hmac, transactions, with_balances, _room, .. } = batch;
    let ids: Vec<Option<TransactionId>> = transactions.iter().map(Asked::chosen_id).collect();
    let unsealed = narratives.iter().enumerate().filter_map(|(at, sealed)| Some((at, sealed.as_ref().err()?.clone())));
    let settled = settled(state, &caller, &request_hmac, unsealed.collect()).await?;
    let mut submitting = Submitting { state, waiting: VecDeque::with_capacity(SLICES_AHEAD), outcomes: settled };
    let mut rest = transactions.into_iter().zip(narratives).enumerate().peekable();
    while rest.peek().is_some() {
        let mut slice = Slice::default();
        for (at, (asked, narrative)) in rest.by_ref().take(SLICE) {
            if let Ok(narrative) = narrative {
                let target_is_new = asked.chosen_id().is_none();
                let command = Command::Transaction(asked.into_new(narrative).into());
                let key = part_key(caller.idempotency_key(), at);
                slice.submissions.push(Submission { target_is_new, ..caller.submission(command, key, request_hmac) });
                slice.places.push(at);
            }
        }
        submitting.queue(slice).await?;
    }
    let mut outcomes = submitting.finish().await?;
    let items = ids.into_iter().enumerate();
    let items = items.filter_map(|(index, id)| Some(Item { index, id, outcome: outcomes.remove(&index)? })).collect();
    tell(items, with_balances, caller).await
}

/// The outcomes by the place of their transaction: its reply, or why no command can be made of it.
type Outcomes = HashMap<usize, Result<Reply, Problem>>;

/// Of the transactions whose narrative cannot be sealed, the outcomes that they had when it could. A
/// request of which nothing was decided yet is refused whole; of one that was begun, such a
/// transaction is refused for itself, and that is not recorded.
async fn settled(
    state: &AppState,
    caller: &Caller,
    request_hmac: &[u8; 32],
    unsealed: Vec<(usize, Problem)>,
) -> Result<Outcomes, Problem> {
    let Some((_, problem)) = unsealed.first() else { return Ok(Outcomes::new()) };
    if caller.repeated(state).await?.is_none() {
        return Err(problem.clone());
    }
    let keys: Vec<String> = unsealed.iter().map(|(at, _)| part_key(caller.idempotency_key(), *at)).collect();
    let replies = state.door().replay_many(caller.principal().client(), &keys, request_hmac).await;
    let replies = replies.map_err(|error| not_submitted(&error))?;
    Ok(unsealed.into_iter().zip(replies).map(|((at, problem), reply)| (at, reply.ok_or(problem))).collect())
}

/// Some of the transactions, as commands, with their places in the request.
#[derive(Default)]
struct Slice {
    places: Vec<usize>,
    submissions: Vec<Submission>,
}

/// The slices on their way, in their order.
struct Submitting<'a> {
    state: &'a AppState,
    waiting: VecDeque<Queued>,
    outcomes: Outcomes,
}

/// A slice that is queued.
struct Queued {
    places: Vec<usize>,
    answers: Answer<'static, ManyAnswers>,
    /// Given back once it is decided and heard of.
    _turn: OwnedSemaphorePermit,
}

impl Submitting<'_> {
    /// Queues one more, once few enough are queued. One that finds no room ends the request: what was
    /// decided stays, and a repetition goes on with the rest.
    async fn queue(&mut self, slice: Slice) -> Result<(), Problem> {
        let turn = self.turn().await?;
        let answers = self.state.door().submit_many(slice.submissions).map_err(|error| not_submitted(&error))?;
        self.waiting.push_back(Queued { places: slice.places, answers, _turn: turn });
        Ok(())
    }

    /// Waits for this request's turn among all. While it has slices queued it listens to these, and
    /// gives back their turns, rather than wait with them in hand.
    async fn turn(&mut self) -> Result<OwnedSemaphorePermit, Problem> {
        loop {
            let slices = Arc::clone(&self.state.batches().slices);
            if self.waiting.is_empty() {
                // Nobody closes it.
                return slices.acquire_owned().await.map_err(|_| Problem::internal());
            }
            if self.waiting.len() < SLICES_AHEAD
                && let Ok(turn) = slices.try_acquire_owned()
            {
                return Ok(turn);
            }
            self.hear().await?;
        }
    }

    /// Waits for the first of them.
    async fn hear(&mut self) -> Result<(), Problem> {
        let Some(Queued { places, answers, _turn }) = self.waiting.pop_front() else { return Ok(()) };
        let answers = answers.await.map_err(|error| not_submitted(&error))?;
        for (at, answer) in places.into_iter().zip(answers) {
            self.outcomes.insert(at, Ok(answer.map_err(|error| not_submitted(&error))?));
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Outcomes, Problem> {
        while !self.waiting.is_empty() {
            self.hear().await?;
        }
        Ok(self.outcomes)
    }
}

/// Writes the reply; a long one on a thread of its own, so that nobody's reply waits for it.
async fn tell(items: Vec<Item>, with_balances: bool, caller: Caller) -> Result<Response, Problem> {
    if items.len() < LONG_ITEMS {
        return Ok(BatchReply::independent(items, with_balances, caller.principal()));
    }
    let writing = move || BatchReply::independent(items, with_balances, caller.principal());
    on_a_thread(writing).await
}
