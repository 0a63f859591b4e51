//! A request for many transactions: taken in while there is room, read, and found whole.
//!
//! Invariants: what the bodies of such requests hold is bounded before they are read; no list is read
//! beyond what it may have; nothing is submitted here.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use domain::TransactionId;
use domain::transaction::{LEGS_MAX, Legs, NewTransaction};
use domain::words::Sealed;
use platform::{Principal, Problem, RequestContext};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::ToSchema;

use crate::AppState;
use crate::door::Door;
use crate::fault::{Fault, Faults};
use crate::idempotency;
use crate::if_match;
use crate::request::Caller;
use crate::transactions::PostTransaction;
use crate::wire::Id;

/// The largest body of such a request.
pub(crate) const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The most transactions of one request.
const TRANSACTIONS_MAX: usize = 10_000;
const COUNT_RULE: &str = "a batch has 1 to 10000 transactions";
/// What the bodies of all such requests at work may have, in KiB; what is made of them is some times as large.
pub(crate) const ROOM_KIB: usize = 24 * 1024;
/// A body from so many bytes on is read on a thread of its own.
const LARGE_BYTES: usize = 64 * 1024;

/// Transactions to be posted by one request.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(
    json!({
        "mode": "independent",
        "transactions": [
            {
                "kind": "transfer",
                "from_account_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7981",
                "to_account_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7982",
                "amount": {"amount": "1234.56", "currency": "CZK"},
            },
            {
                "kind": "transfer",
                "from_account_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7981",
                "to_account_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7983",
                "amount": {"amount": "10.00", "currency": "CZK"},
            },
        ],
    })
))]
pub(crate) struct PostBatch {
    /// Whether each is decided for itself, or all of them together.
    mode: BatchMode,
    /// The transactions, decided in their order, each on what those before it leave. Atomic: with at
    /// most 1,000 legs in all.
    #[serde(deserialize_with = "bounded")]
    #[schema(min_items = 1, max_items = 10_000)]
    transactions: Vec<PostTransaction>,
}

/// How the transactions of a request belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BatchMode {
    /// Each is accepted or rejected for itself.
    Independent,
    /// All are accepted, or none.
    Atomic,
}

/// Reads no more of them than may be: a small text can name very many.
fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PostTransaction>, D::Error> {
    struct Bounded;

    impl<'de> Visitor<'de> for Bounded {
        type Value = Vec<PostTransaction>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a list of transactions")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut transactions = Vec::new();
            while let Some(transaction) = items.next_element()? {
                if transactions.len() == TRANSACTIONS_MAX {
                    return Err(de::Error::custom(COUNT_RULE));
                }
                transactions.push(transaction);
            }
            if transactions.is_empty() { Err(de::Error::custom(COUNT_RULE)) } else { Ok(transactions) }
        }
    }

    deserializer.deserialize_seq(Bounded)
}

/// A request for many transactions, its body not read yet. Its room is given back when it is dropped.
pub(crate) struct BatchRequest {
    principal: Principal,
    context: RequestContext,
    idempotency_key: String,
    path: String,
    with_balances: bool,
    raw: Bytes,
    room: OwnedSemaphorePermit,
}

impl FromRequest<AppState> for BatchRequest {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let principal = Principal::from_request_parts(&mut parts, state).await?;
        let Ok(context) = RequestContext::from_request_parts(&mut parts, state).await;
        let with_balances = with_balances(&parts)?;
        let idempotency_key = idempotency::key(&parts.headers)?;
        if_match::refuse_on_new(if_match::expected_version(&parts.headers)?)?;
        let path = parts.uri.path().to_owned();
        let room = take_room(&parts, &state.batches().room)?;
        let raw = platform::json::body(Request::from_parts(parts, body), state).await?;
        Ok(Self { principal, context, idempotency_key, path, with_balances, raw, room })
    }
}

/// Whether the reply shall tell balances: `balances=true`, the one parameter there is.
fn with_balances(parts: &Parts) -> Result<bool, Problem> {
    match parts.uri.query() {
        None | Some("" | "balances=false") => Ok(false),
        Some("balances=true") => Ok(true),
        Some(_) => {
            Err(Problem::malformed("invalid_query", "a batch takes one query parameter: balances=true or false"))
        }
    }
}

/// Room for the body before it is read; who does not say how long it is takes that of the longest.
fn take_room(parts: &Parts, room: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    let said = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let bytes = said.unwrap_or(BODY_BYTES_MAX);
    if bytes > BODY_BYTES_MAX {
        return Err(Problem::payload_too_large());
    }
    let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
    Arc::clone(room).try_acquire_many_owned(kib).map_err(|_| {
        let detail = "too many batches are at work; repeat the request as it was, under the same key";
        Problem::unavailable("overloaded", detail)
    })
}

/// A request for many transactions, read and found whole.
pub(crate) struct Batch {
    pub(crate) caller: Caller,
    pub(crate) request_hmac: [u8; 32],
    pub(crate) mode: BatchMode,
    pub(crate) transactions: Vec<Asked>,
    pub(crate) with_balances: bool,
    /// Given back when the reply is written.
    pub(crate) _room: OwnedSemaphorePermit,
}

/// One of its transactions.
pub(crate) struct Asked {
    pub(crate) body: PostTransaction,
    pub(crate) legs: Legs,
    /// The client's own id, or a new one.
    pub(crate) id: TransactionId,
}

impl Asked {
    /// The id that the client chose.
    pub(crate) fn chosen_id(&self) -> Option<TransactionId> {
        self.body.id.map(|Id(id)| TransactionId(id))
    }

    /// The domain's.
    pub(crate) fn into_new(self, narrative: Option<Sealed>) -> NewTransaction {
        self.body.into_new(self.legs, self.id, narrative)
    }
}

impl BatchRequest {
    /// Reads the body; a large one on a thread of its own, so that nobody's reply waits for it.
    pub(crate) async fn read(self, door: Arc<dyn Door>) -> Result<Batch, Problem> {
        if self.raw.len() < LARGE_BYTES {
            return self.read_now(&*door);
        }
        on_a_thread(move || self.read_now(&*door)).await?
    }

    fn read_now(self, door: &dyn Door) -> Result<Batch, Problem> {
        let Self { principal, context, idempotency_key, path, with_balances, raw, room } = self;
        let PostBatch { mode, transactions } = platform::json::parse(&raw)?;
        let caller = Caller::signed(principal, context, idempotency_key, &path, &raw)?;
        drop(raw);
        let transactions = with_legs(transactions)?;
        let legs: usize = transactions.iter().map(|asked| asked.legs.count()).sum();
        if mode == BatchMode::Atomic && legs > LEGS_MAX {
            let detail = format!("an atomic batch has at most {LEGS_MAX} legs in all, not {legs}");
            return Err(Fault::new("transactions", "leg_count", detail).into());
        }
        for (at, asked) in transactions.iter().enumerate() {
            asked.body.check_of(&caller, &asked.legs).map_err(|problem| named(at, problem))?;
        }
        let request_hmac = door.request_hmac(&caller.canonical().parts());
        Ok(Batch { caller, request_hmac, mode, transactions, with_balances, _room: room })
    }
}

/// Does work that takes long on a thread for such.
pub(crate) async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "the work on a batch ended badly");
        Problem::internal()
    })
}

/// Each with its legs, or what is wrong with any of them.
fn with_legs(transactions: Vec<PostTransaction>) -> Result<Vec<Asked>, Problem> {
    let mut faults = Faults::default();
    let mut read = Vec::with_capacity(transactions.len());
    for (at, body) in transactions.into_iter().enumerate() {
        let mut of_this = Faults::default();
        match body.read(&mut of_this) {
            Some(legs) => read.push(Asked { id: TransactionId(Id::or_new(body.id)), body, legs }),
            None => faults.under(|| place(at), of_this),
        }
    }
    faults.none_or_problem()?;
    Ok(read)
}

fn place(at: usize) -> String {
    format!("transactions[{at}]")
}

/// The same problem, with the transaction that it is about.
pub(crate) fn named(at: usize, mut problem: Problem) -> Problem {
    let place = place(at);
    if problem.errors.is_empty() {
        let (code, detail) = (problem.code.clone(), problem.detail.clone());
        return problem.with_error(place, code, detail);
    }
    problem.errors.iter_mut().for_each(|error| error.field = format!("{place}.{}", error.field));
    problem
}
