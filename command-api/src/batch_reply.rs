//! What a request for many transactions is told: the outcome of each, in their order.

use std::borrow::Cow;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::TransactionId;
use event_store::{Accepted, Outcome, Rejected, Reply};
use platform::{Principal, Problem};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::reply::{AccountBalance, Told, standing, told};

/// What became of the transactions of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "accepted": 1,
    "rejected": 1,
    "items": [
        {"index": 0, "status": "accepted", "id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980", "position": 4711},
        {
            "index": 1,
            "status": "rejected",
            "position": 4712,
            "code": "account_closed",
            "detail": "account 0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7983 is closed",
            "account_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7983",
        },
    ],
}))]
pub(crate) struct BatchReply {
    /// How many were accepted.
    accepted: usize,
    /// How many were rejected.
    rejected: usize,
    /// The outcome of each, in the order of the request.
    items: Vec<BatchItem>,
    /// Atomic, with `balances=true`: the members' accounts that were touched and that the caller may
    /// see, as they were afterwards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    balances: Vec<AccountBalance>,
}

/// The outcome of one transaction of a batch. Of a rejected one further members say what it is about.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchItem {
    /// Its place in the request, from 0.
    index: usize,
    /// What became of it.
    status: BatchItemStatus,
    /// The transaction's id; of a rejected one only where the client chose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The position of its last event in the log, or of its recorded refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    /// Whether it was decided by an earlier, equal request.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    replayed: bool,
    /// Of a rejected one: the stable code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "insufficient_funds")]
    code: Option<Cow<'static, str>>,
    /// Of a rejected one: an explanation for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// With `balances=true`: the members' accounts that it touched and that the caller may see, as they
    /// were after it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    balances: Vec<AccountBalance>,
    #[serde(flatten)]
    #[schema(ignore)]
    about: Map<String, Value>,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum BatchItemStatus {
    /// It is posted, or pending.
    Accepted,
    /// The rules refuse it.
    Rejected,
}

/// One transaction's outcome before it is told.
pub(crate) struct Item {
    /// Its place in the request.
    pub(crate) index: usize,
    /// The id that the client chose.
    pub(crate) id: Option<TransactionId>,
    /// The outcome, or why no command could be made of it, which is not recorded.
    pub(crate) outcome: Result<Reply, Problem>,
}

impl BatchItem {
    fn accepted(index: usize, id: String, position: u64, replayed: bool) -> Self {
        Self { id: Some(id), position: Some(position), replayed, ..Self::of(index, BatchItemStatus::Accepted) }
    }

    fn rejected(index: usize, id: Option<TransactionId>) -> Self {
        Self { id: id.map(|id| id.0.to_string()), ..Self::of(index, BatchItemStatus::Rejected) }
    }

    fn of(index: usize, status: BatchItemStatus) -> Self {
        Self {
            index,
            status,
            id: None,
            position: None,
            replayed: false,
            code: None,
            detail: None,
            balances: Vec::new(),
            about: Map::new(),
        }
    }

    fn recorded(self, rejected: &Rejected, replayed: bool, caller: &Principal) -> Self {
        let Told { code, detail, about, .. } = told(&rejected.rejection, caller);
        let (code, detail) = (Some(code.into()), Some(detail));
        Self { position: Some(rejected.position), replayed, code, detail, about, ..self }
    }

    fn unrecorded(self, problem: Problem) -> Self {
        Self { code: Some(problem.code), detail: Some(problem.detail), ..self }
    }
}

impl BatchReply {
    /// Of transactions that were decided each for itself.
    pub(crate) fn independent(items: Vec<Item>, with_balances: bool, caller: &Principal) -> Response {
        let mut position = 0;
        let mut all_replayed = true;
        let told = items.into_iter().map(|item| {
            let index = item.index;
            all_replayed &= item.outcome.as_ref().is_ok_and(|reply| reply.replayed);
            match item.outcome {
                Ok(Reply { replayed, outcome: Outcome::Accepted(accepted) }) => {
                    position = position.max(accepted.position);
                    let balances = if with_balances { seen(&accepted, caller) } else { Vec::new() };
                    BatchItem { balances, ..BatchItem::accepted(index, accepted.id, accepted.position, replayed) }
                }
                Ok(Reply { replayed, outcome: Outcome::Rejected(rejected) }) => {
                    position = position.max(rejected.position);
                    BatchItem::rejected(index, item.id).recorded(&rejected, replayed, caller)
                }
                Err(problem) => BatchItem::rejected(index, item.id).unrecorded(problem),
            }
        });
        let items: Vec<BatchItem> = told.collect();
        Self::of(items, Vec::new()).render(position, all_replayed)
    }

    /// Of transactions that were all accepted together.
    pub(crate) fn atomic(accepted: &Accepted, replayed: bool, with_balances: bool, caller: &Principal) -> Response {
        let others = accepted.transaction_ids.iter().map(|id| id.0.to_string());
        let ids = std::iter::once(accepted.id.clone()).chain(others);
        let items = ids.enumerate().map(|(index, id)| BatchItem::accepted(index, id, accepted.position, replayed));
        let balances = if with_balances { seen(accepted, caller) } else { Vec::new() };
        Self::of(items.collect(), balances).render(accepted.position, replayed)
    }

    fn of(items: Vec<BatchItem>, balances: Vec<AccountBalance>) -> Self {
        let accepted = items.iter().filter(|item| item.status == BatchItemStatus::Accepted).count();
        Self { accepted, rejected: items.len() - accepted, items, balances }
    }

    fn render(self, position: u64, replayed: bool) -> Response {
        (StatusCode::OK, standing(position, replayed), Json(self)).into_response()
    }
}

/// The balances that this caller may see.
fn seen(accepted: &Accepted, caller: &Principal) -> Vec<AccountBalance> {
    let shown = accepted.balances.iter().filter(|balance| caller.sees_balance(balance.account_id.0));
    shown.map(AccountBalance::from).collect()
}

#[cfg(test)]
mod tests {
    use domain::{AccountId, Rejection};
    use platform::Permission;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_item_tells_each_member_once() {
        let rejection = Rejection::AccountClosed { account_id: AccountId(Uuid::from_u128(1)) };
        let caller = Principal::in_process("tester", Permission::ALL);
        let item = BatchItem::rejected(7, None).recorded(&Rejected { position: 9, rejection }, false, &caller);
        let told = serde_json::to_string(&item).unwrap();
        let expected = r#"{"index":7,"status":"rejected","position":9,"code":"account_closed","detail":"account 00000000-0000-0000-0000-000000000001 is closed","account_id":"00000000-0000-0000-0000-000000000001"}"#;
        assert_eq!(told, expected);
    }
}
