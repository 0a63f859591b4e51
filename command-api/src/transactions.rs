//! Commands on transactions.

use axum::extract::State;
use axum::response::Response;
use domain::transaction::{Legs, NewTransaction, Pending, TransactionCommand};
use domain::words::{ExternalReference, ReasonCode, Sealed};
use domain::{AccountId, Command, TransactionId};
use platform::http::Routes;
use platform::{Permission, Problem};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::AppState;
use crate::amount::Amount;
use crate::fault::{Fault, Faults};
use crate::legs::{self, LegAmountBody, LegBody, LegsBody};
use crate::reply::{CommandReply, Subject};
use crate::request::{Caller, CommandRequest, PathId};
use crate::sealing::{cannot_seal, check_text};
use crate::wire::{Day, Id, Moment, TransactionKind, date};

const NARRATIVE_CHARS_MAX: usize = 1_000;

/// The routes of this noun.
pub(crate) fn routes() -> Routes<AppState> {
    Routes::new()
        .route(Permission::TransactionsPost, routes!(post))
        .route(Permission::TransactionsPost, routes!(post_pending))
        .route(Permission::TransactionsPost, routes!(void))
        .route(Permission::TransactionsReverse, routes!(reverse))
}

/// A transaction: its legs, or the short form in which value moves from one account to another.
// No `Debug`: a narrative may name people.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(
    json!({
        "kind": "transfer",
        "from_account_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7981",
        "to_account_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7982",
        "amount": {"amount": "1234.56", "currency": "CZK"},
        "external_reference": "INV-2024-17",
    }),
    json!({
        "kind": "deposit",
        "legs": [
            {"account_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980", "side": "debit", "amount": {"amount": "100.00", "currency": "CZK"}},
            {"account_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7981", "side": "credit", "amount": {"amount": "100.00", "currency": "CZK"}},
        ],
        "pending": {"expires_at": "2030-01-31T12:00:00Z"},
    })
))]
pub(crate) struct PostTransaction {
    /// The client's own id for the transaction; minted if absent.
    pub(crate) id: Option<Id>,
    /// The type of the transaction.
    kind: TransactionKind,
    /// The business date it belongs to, in an open period and not in the future. Default: the
    /// business date.
    booking_date: Option<Day>,
    /// From when interest counts. Default: the booking date.
    value_date: Option<Day>,
    /// The legs; they balance in every currency. Either these or the short form.
    #[schema(min_items = 2, max_items = 1000)]
    legs: Option<Vec<LegBody>>,
    /// Short form: where the value comes from. The sides follow from the accounts' normal sides.
    from_account_id: Option<Id>,
    /// Short form: where the value goes to.
    to_account_id: Option<Id>,
    /// Short form: how much, above zero.
    amount: Option<Amount>,
    /// Free text. Sealed under the keys of all members who hold one of the accounts; refused where
    /// there is none.
    #[schema(min_length = 1, max_length = 1000)]
    pub(crate) narrative: Option<String>,
    /// How the outside world knows the transaction; unique.
    #[schema(value_type = Option<String>, max_length = 64, pattern = "^[!-~]+$", example = "INV-2024-17")]
    external_reference: Option<ExternalReference>,
    /// Make the transaction pending: its legs are held until it is posted, voided or expires.
    pending: Option<PendingBody>,
}

/// That the transaction is pending first.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"expires_at": "2030-01-31T12:00:00Z"}))]
struct PendingBody {
    /// From then on it can no longer be posted; it never expires if absent.
    expires_at: Option<Moment>,
}

/// What to post of a pending transaction, and when.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"legs": [
    {"leg": 1, "amount": {"amount": "60.00", "currency": "CZK"}},
    {"leg": 2, "amount": {"amount": "60.00", "currency": "CZK"}},
], "final": false}))]
struct PostPending {
    /// Each leg at most what is pending of it; absent: all that is left of every leg.
    #[schema(min_items = 1, max_items = 1000)]
    legs: Option<Vec<LegAmountBody>>,
    /// Whether the rest is released.
    #[serde(default = "yes", rename = "final")]
    #[schema(default = true)]
    is_final: bool,
    /// The business date of this posting. Default: the business date.
    booking_date: Option<Day>,
    /// From when interest counts. Default: the booking date.
    value_date: Option<Day>,
}

/// Why, as a code and never as free text.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "order_cancelled"}))]
struct VoidPending {
    /// A code.
    #[schema(value_type = String, max_length = 64, pattern = "^[a-z0-9_-]+$", example = "order_cancelled")]
    reason: ReasonCode,
}

/// What to undo of a transaction, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "booked_twice"}))]
struct ReverseTransaction {
    /// The client's own id for the reversal, which is a transaction of its own; minted if absent.
    id: Option<Id>,
    /// Each leg at most what is not reversed of it; absent: all that is left of every leg.
    #[schema(min_items = 1, max_items = 1000)]
    legs: Option<Vec<LegAmountBody>>,
    /// Why, as a code.
    #[schema(value_type = String, max_length = 64, pattern = "^[a-z0-9_-]+$", example = "booked_twice")]
    reason: ReasonCode,
    /// The internal account that stands in for accounts that have been closed meanwhile.
    suspense_account_id: Option<Id>,
    /// The business date of the reversal. Default: the business date.
    booking_date: Option<Day>,
    /// From when interest counts. Default: the booking date.
    value_date: Option<Day>,
}

fn yes() -> bool {
    true
}

impl PostTransaction {
    /// Its legs; what is wrong is kept in `faults`, and then there are none.
    pub(crate) fn read(&self, faults: &mut Faults) -> Option<Legs> {
        let body = LegsBody {
            legs: self.legs.as_deref(),
            from_account_id: self.from_account_id,
            to_account_id: self.to_account_id,
            amount: self.amount.as_ref(),
        };
        let legs = body.read(faults);
        if let Some(narrative) = &self.narrative {
            faults.keep(check_text("narrative", narrative, NARRATIVE_CHARS_MAX))?;
        }
        legs
    }

    /// Refuses a caller whose token is for some accounts only, where this is beyond them.
    pub(crate) fn check_of(&self, caller: &Caller, legs: &Legs) -> Result<(), Problem> {
        caller.check_movement(legs)?;
        caller.check_plain(&beyond_accounts(self))
    }

    /// The domain's, with these legs.
    pub(crate) fn into_new(
        self,
        legs: Legs,
        transaction_id: TransactionId,
        narrative: Option<Sealed>,
    ) -> NewTransaction {
        NewTransaction {
            transaction_id,
            kind: self.kind.into(),
            booking_date: date(self.booking_date),
            value_date: date(self.value_date),
            legs,
            external_reference: self.external_reference,
            narrative,
            pending: self.pending.map(|pending| Pending { expires_at: pending.expires_at.map(|Moment(at)| at) }),
        }
    }
}

/// What a caller whose token is for some accounts only may not say of a transaction. A fee is taken
/// from a dormant account too, a date earns interest, an id that is derived (version 5) or a reference
/// may be one that a payment to come needs, and a hold stands on the payee's account as well.
fn beyond_accounts(body: &PostTransaction) -> [(&'static str, bool); 6] {
    use TransactionKind::{Deposit, Transfer, Withdrawal};
    let is_derived = |Id(id): Id| id.get_version_num() == 5;
    [
        ("kind", !matches!(body.kind, Deposit | Withdrawal | Transfer)),
        ("id", body.id.is_some_and(is_derived)),
        ("booking_date", body.booking_date.is_some()),
        ("value_date", body.value_date.is_some()),
        ("external_reference", body.external_reference.is_some()),
        ("pending", body.pending.is_some()),
    ]
}

async fn seal_narrative(
    state: &AppState,
    transaction_id: TransactionId,
    accounts: &[AccountId],
    narrative: &str,
) -> Result<Sealed, Problem> {
    let sealed = state.door().seal_narrative(transaction_id, accounts, narrative).await;
    sealed.map_err(|error| cannot_seal("narrative", &error))?.ok_or_else(no_member)
}

/// There is nobody under whose key a narrative could be sealed.
pub(crate) fn no_member() -> Problem {
    let detail = "no member holds any of the accounts, and a narrative is sealed under members' keys";
    Fault::new("narrative", "narrative_needs_member", detail).into()
}

/// Post a transaction, or make it pending.
///
/// All legs are posted together or not at all.
#[utoipa::path(
    post, path = "/v1/transactions", tag = "transactions", operation_id = "postTransaction",
    request_body = PostTransaction,
    responses((status = 201, description = "The transaction is posted, or pending.", body = CommandReply))
)]
async fn post(State(state): State<AppState>, request: CommandRequest<PostTransaction>) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    let mut faults = Faults::default();
    let Some(legs) = body.read(&mut faults) else { return Err(faults.into_problem()) };
    body.check_of(&caller, &legs)?;
    let transaction_id = TransactionId(Id::or_new(body.id));
    let subject = Subject::created("/v1/transactions");
    let narrative = match &body.narrative {
        Some(narrative) => match seal_narrative(&state, transaction_id, &legs.accounts(), narrative).await {
            Ok(sealed) => Some(sealed),
            Err(problem) => return caller.repeated_or(&state, subject, problem).await,
        },
        None => None,
    };
    let caller = caller.on_new(body.id);
    let command = TransactionCommand::from(body.into_new(legs, transaction_id, narrative));
    caller.send(&state, Command::Transaction(command), subject).await
}

/// Post a pending transaction, whole or in part.
#[utoipa::path(
    post, path = "/v1/transactions/{id}/post", tag = "transactions", operation_id = "postPendingTransaction",
    params(("id" = Uuid, Path, description = "The pending transaction.")),
    request_body = PostPending,
    responses((status = 200, description = "It is posted, so far as it was asked.", body = CommandReply))
)]
async fn post_pending(
    State(state): State<AppState>,
    PathId(transaction_id): PathId<TransactionId>,
    request: CommandRequest<PostPending>,
) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    caller.check_not_limited()?;
    let legs = legs::parts(body.legs.as_deref())?;
    let command = TransactionCommand::PostPending {
        transaction_id,
        legs,
        is_final: body.is_final,
        booking_date: date(body.booking_date),
        value_date: date(body.value_date),
    };
    caller.send(&state, Command::Transaction(command), Subject::changed()).await
}

/// Give up what is left of a pending transaction.
#[utoipa::path(
    post, path = "/v1/transactions/{id}/void", tag = "transactions", operation_id = "voidPendingTransaction",
    params(("id" = Uuid, Path, description = "The pending transaction.")),
    request_body = VoidPending,
    responses((status = 200, description = "Nothing of it is pending any more.", body = CommandReply))
)]
async fn void(
    State(state): State<AppState>,
    PathId(transaction_id): PathId<TransactionId>,
    request: CommandRequest<VoidPending>,
) -> Result<Response, Problem> {
    request.caller.check_not_limited()?;
    let command = TransactionCommand::VoidPending { transaction_id, reason: request.body.reason };
    request.caller.send(&state, Command::Transaction(command), Subject::changed()).await
}

/// Undo a transaction, whole or in part, by one with opposite sides.
#[utoipa::path(
    post, path = "/v1/transactions/{id}/reverse", tag = "transactions", operation_id = "reverseTransaction",
    params(("id" = Uuid, Path, description = "The transaction to undo.")),
    request_body = ReverseTransaction,
    responses((status = 201, description = "The reversal is posted; the reply is about it.", body = CommandReply))
)]
async fn reverse(
    State(state): State<AppState>,
    PathId(original_id): PathId<TransactionId>,
    request: CommandRequest<ReverseTransaction>,
) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    let legs = legs::parts(body.legs.as_deref())?;
    let command = TransactionCommand::ReverseTransaction {
        transaction_id: TransactionId(Id::or_new(body.id)),
        original_id,
        legs,
        reason: body.reason,
        suspense_account_id: body.suspense_account_id.map(|Id(id)| AccountId(id)),
        booking_date: date(body.booking_date),
        value_date: date(body.value_date),
    };
    caller.send(&state, Command::Transaction(command), Subject::created("/v1/transactions")).await
}
