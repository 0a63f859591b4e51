//! Commands on accounts, members' and internal ones.

use axum::extract::State;
use axum::response::Response;
use domain::account::{AccountCommand, Holder};
use domain::words::{Branch, LedgerCode, Number, ReasonCode, Title};
use domain::{AccountId, Command, MemberId, Money};
use platform::http::Routes;
use platform::{Permission, Problem};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::AppState;
use crate::amount::{self, Amount};
use crate::fault::{Fault, Faults};
use crate::reply::{CommandReply, Subject};
use crate::request::{CommandRequest, PathId};
use crate::wire::{Day, FreezeScope, HolderRole, Id, Nothing, Product};

/// The reason that is recorded when a client names none for dormancy.
const REASON_OF_DORMANCY: &str = "inactivity";
const HOLDERS_MAX: usize = 100;

/// The routes of this noun.
pub(crate) fn routes() -> Routes<AppState> {
    Routes::new()
        .route(Permission::AccountsOpen, routes!(open))
        .route(Permission::AccountsFreeze, routes!(freeze))
        .route(Permission::AccountsFreeze, routes!(unfreeze))
        .route(Permission::AccountsLimit, routes!(change_limit))
        .route(Permission::AccountsManage, routes!(mark_dormant))
        .route(Permission::AccountsManage, routes!(reactivate))
        .route(Permission::AccountsManage, routes!(close))
        .route(Permission::AccountsManage, routes!(add_holder))
        .route(Permission::AccountsManage, routes!(remove_holder))
}

/// An account to be opened: a member's, or an internal one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "number": "A-0001",
    "product": "current",
    "holders": [{"member_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980", "role": "owner"}],
    "currency": "CZK",
    "ledger_code": "2010",
    "credit_line": {"amount": "5000.00", "currency": "CZK"},
}))]
struct OpenAccount {
    /// The client's own id for the account; minted if absent.
    id: Option<Id>,
    /// The number by which people know the account; unique.
    #[schema(value_type = String, max_length = 34, pattern = "^[A-Za-z0-9./-]+$", example = "A-0001")]
    number: Number,
    /// What kind of account it is.
    product: Product,
    /// What an internal account is called. A member's account has none: it could be a person's.
    #[schema(value_type = Option<String>, max_length = 80)]
    name: Option<Title>,
    /// Who holds it. A member's account has at least one owner, an internal one no holders.
    #[serde(default)]
    #[schema(max_items = 100)]
    holders: Vec<HolderBody>,
    /// The currency it is kept in, a code of ISO 4217 that the ledger has defined.
    #[schema(pattern = "^[A-Z]{3}$", example = "CZK")]
    currency: String,
    /// Its code in the chart of accounts: a control code for a member's account.
    #[schema(value_type = String, max_length = 16, pattern = "^[A-Za-z0-9.-]+$", example = "2010")]
    ledger_code: LedgerCode,
    /// The least available balance. At most one of this and `credit_line`.
    minimum_balance: Option<Amount>,
    /// How far the available balance may go below zero. At most one of this and `minimum_balance`.
    credit_line: Option<Amount>,
    /// The branch that keeps the account.
    #[schema(value_type = Option<String>, max_length = 32, pattern = "^[A-Za-z0-9_-]+$", example = "prague")]
    branch: Option<Branch>,
    /// Default: the business date.
    opened_on: Option<Day>,
}

/// A member who holds the account.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"member_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980", "role": "owner"}))]
struct HolderBody {
    /// The member.
    member_id: Id,
    /// As what.
    role: HolderRole,
}

impl From<HolderBody> for Holder {
    fn from(holder: HolderBody) -> Holder {
        Holder { member_id: MemberId(holder.member_id.0), role: holder.role.into() }
    }
}

/// Which entries to refuse, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"scope": "debit", "reason": "court_order"}))]
struct FreezeAccount {
    /// Which entries.
    scope: FreezeScope,
    /// Why, as a code.
    #[schema(value_type = String, max_length = 64, pattern = "^[a-z0-9_-]+$", example = "court_order")]
    reason: ReasonCode,
}

/// Which entries to take again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"scope": "debit"}))]
struct UnfreezeAccount {
    /// Which entries.
    scope: FreezeScope,
}

/// The new limit: exactly one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"credit_line": {"amount": "5000.00", "currency": "CZK"}}))]
struct ChangeLimit {
    /// The least available balance.
    minimum_balance: Option<Amount>,
    /// How far the available balance may go below zero.
    credit_line: Option<Amount>,
}

/// Why, if it is worth recording.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "members_wish"}))]
struct AccountReason {
    /// Why, as a code.
    #[schema(value_type = Option<String>, max_length = 64, pattern = "^[a-z0-9_-]+$", example = "members_wish")]
    reason: Option<ReasonCode>,
}

/// The member who no longer holds the account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RemoveHolder {
    /// The member.
    member_id: Id,
}

/// The limit that two fields give between them, if any: a credit line is a minimum below zero.
fn limit(minimum_balance: Option<&Amount>, credit_line: Option<&Amount>) -> Result<Option<Money>, Fault> {
    let under = |field: &str, fault: Fault| Fault { field: format!("{field}.{}", fault.field).into(), ..fault };
    match (minimum_balance, credit_line) {
        (None, None) => Ok(None),
        (Some(minimum), None) => minimum.not_negative().map(Some).map_err(|fault| under("minimum_balance", fault)),
        (None, Some(line)) => line
            .not_negative()
            .map(|line| Some(Money::new(-line.amount_minor, line.currency)))
            .map_err(|fault| under("credit_line", fault)),
        (Some(_), Some(_)) => {
            let detail = "give a minimum balance or a credit line, not both";
            Err(Fault::new("credit_line", "ambiguous_limit", detail))
        }
    }
}

impl OpenAccount {
    fn into_command(self) -> Result<AccountCommand, Problem> {
        let mut faults = Faults::default();
        let currency = faults.keep(amount::currency("currency", &self.currency));
        let minimum_balance = faults.keep(limit(self.minimum_balance.as_ref(), self.credit_line.as_ref()));
        if self.holders.len() > HOLDERS_MAX {
            faults.push(Fault::invalid("holders", format!("at most {HOLDERS_MAX} holders")));
        }
        let internal = matches!(self.product, Product::Internal);
        if self.name.is_some() && !internal {
            faults.push(Fault::invalid("name", "only an internal account has a name; a member's could be a person's"));
        }
        let (Some(currency), Some(minimum_balance), true) = (currency, minimum_balance, faults.is_empty()) else {
            return Err(faults.into_problem());
        };
        Ok(AccountCommand::OpenAccount {
            account_id: AccountId(Id::or_new(self.id)),
            number: self.number,
            name: self.name,
            product: self.product.into(),
            holders: self.holders.into_iter().map(Holder::from).collect(),
            currency,
            ledger_code: self.ledger_code,
            minimum_balance,
            branch: self.branch,
            opened_on: self.opened_on.map(|Day(date)| date),
        })
    }
}

/// Open an account.
#[utoipa::path(
    post, path = "/v1/accounts", tag = "accounts", operation_id = "openAccount",
    request_body = OpenAccount,
    responses((status = 201, description = "The account is open.", body = CommandReply))
)]
async fn open(State(state): State<AppState>, request: CommandRequest<OpenAccount>) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    if body.credit_line.is_some() {
        // Else whoever opens accounts would lend what only an approver may grant.
        caller.check_may(Permission::AccountsLimit)?;
    }
    let branch = body.branch.clone();
    let command = body.into_command()?;
    caller.at_branch(branch).send(&state, Command::Account(command), Subject::created("/v1/accounts")).await
}

/// Refuse debits, credits or both from now on.
#[utoipa::path(
    post, path = "/v1/accounts/{id}/freeze", tag = "accounts", operation_id = "freezeAccount",
    params(("id" = Uuid, Path, description = "The account.")),
    request_body = FreezeAccount,
    responses((status = 200, description = "The account is frozen so.", body = CommandReply))
)]
async fn freeze(
    State(state): State<AppState>,
    PathId(account_id): PathId<AccountId>,
    request: CommandRequest<FreezeAccount>,
) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    let command = AccountCommand::FreezeAccount { account_id, scope: body.scope.into(), reason: body.reason };
    caller.send(&state, Command::Account(command), Subject::changed()).await
}

/// Take debits, credits or both again.
#[utoipa::path(
    post, path = "/v1/accounts/{id}/unfreeze", tag = "accounts", operation_id = "unfreezeAccount",
    params(("id" = Uuid, Path, description = "The account.")),
    request_body = UnfreezeAccount,
    responses((status = 200, description = "The account is no longer frozen so.", body = CommandReply))
)]
async fn unfreeze(
    State(state): State<AppState>,
    PathId(account_id): PathId<AccountId>,
    request: CommandRequest<UnfreezeAccount>,
) -> Result<Response, Problem> {
    let command = AccountCommand::UnfreezeAccount { account_id, scope: request.body.scope.into() };
    request.caller.send(&state, Command::Account(command), Subject::changed()).await
}

/// Set the minimum balance or the credit line.
#[utoipa::path(
    post, path = "/v1/accounts/{id}/limits", tag = "accounts", operation_id = "changeAccountLimit",
    params(("id" = Uuid, Path, description = "The account.")),
    request_body = ChangeLimit,
    responses((status = 200, description = "The account has the limit.", body = CommandReply))
)]
async fn change_limit(
    State(state): State<AppState>,
    PathId(account_id): PathId<AccountId>,
    request: CommandRequest<ChangeLimit>,
) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    let minimum_balance = limit(body.minimum_balance.as_ref(), body.credit_line.as_ref())?
        .ok_or_else(|| Fault::missing("minimum_balance", "give a minimum balance or a credit line"))?;
    let command = AccountCommand::ChangeLimit { account_id, minimum_balance };
    caller.send(&state, Command::Account(command), Subject::changed()).await
}

/// Mark an account as dormant: its holders can debit it no more until it is reactivated.
#[utoipa::path(
    post, path = "/v1/accounts/{id}/dormant", tag = "accounts", operation_id = "markAccountDormant",
    params(("id" = Uuid, Path, description = "The account.")),
    request_body = AccountReason,
    responses((status = 200, description = "The account is dormant; the reason is `inactivity` if none was given.", body = CommandReply))
)]
async fn mark_dormant(
    State(state): State<AppState>,
    PathId(account_id): PathId<AccountId>,
    request: CommandRequest<AccountReason>,
) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    let reason = match body.reason {
        Some(reason) => reason,
        None => ReasonCode::try_new(REASON_OF_DORMANCY).map_err(|error| Fault::word("reason", &error))?,
    };
    let command = AccountCommand::MarkAccountDormant { account_id, reason };
    caller.send(&state, Command::Account(command), Subject::changed()).await
}

/// End an account's dormancy.
#[utoipa::path(
    post, path = "/v1/accounts/{id}/reactivate", tag = "accounts", operation_id = "reactivateAccount",
    params(("id" = Uuid, Path, description = "The account.")),
    request_body = Nothing,
    responses((status = 200, description = "The account is no longer dormant.", body = CommandReply))
)]
async fn reactivate(
    State(state): State<AppState>,
    PathId(account_id): PathId<AccountId>,
    request: CommandRequest<Nothing>,
) -> Result<Response, Problem> {
    let command = AccountCommand::ReactivateAccount { account_id };
    request.caller.send(&state, Command::Account(command), Subject::changed()).await
}

/// Close a member's account, or retire an internal one.
///
/// A member's account must have a zero balance and no pending transactions.
#[utoipa::path(
    post, path = "/v1/accounts/{id}/close", tag = "accounts", operation_id = "closeAccount",
    params(("id" = Uuid, Path, description = "The account.")),
    request_body = AccountReason,
    responses((status = 200, description = "The account takes nothing more.", body = CommandReply))
)]
async fn close(
    State(state): State<AppState>,
    PathId(account_id): PathId<AccountId>,
    request: CommandRequest<AccountReason>,
) -> Result<Response, Problem> {
    let command = AccountCommand::CloseAccount { account_id, reason: request.body.reason };
    request.caller.send(&state, Command::Account(command), Subject::changed()).await
}

/// Let a member hold the account.
#[utoipa::path(
    post, path = "/v1/accounts/{id}/holders", tag = "accounts", operation_id = "addAccountHolder",
    params(("id" = Uuid, Path, description = "The account.")),
    request_body = HolderBody,
    responses((status = 200, description = "The member holds the account.", body = CommandReply))
)]
async fn add_holder(
    State(state): State<AppState>,
    PathId(account_id): PathId<AccountId>,
    request: CommandRequest<HolderBody>,
) -> Result<Response, Problem> {
    let command = AccountCommand::AddHolder { account_id, holder: request.body.into() };
    request.caller.send(&state, Command::Account(command), Subject::changed()).await
}

/// Let a member no longer hold the account.
#[utoipa::path(
    post, path = "/v1/accounts/{id}/holders/remove", tag = "accounts", operation_id = "removeAccountHolder",
    params(("id" = Uuid, Path, description = "The account.")),
    request_body = RemoveHolder,
    responses((status = 200, description = "The member no longer holds the account.", body = CommandReply))
)]
async fn remove_holder(
    State(state): State<AppState>,
    PathId(account_id): PathId<AccountId>,
    request: CommandRequest<RemoveHolder>,
) -> Result<Response, Problem> {
    let command = AccountCommand::RemoveHolder { account_id, member_id: MemberId(request.body.member_id.0) };
    request.caller.send(&state, Command::Account(command), Subject::changed()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> Vec<(String, String)> {
        let body: OpenAccount = platform::json::parse(json.as_bytes()).unwrap();
        let problem = body.into_command().unwrap_err();
        problem.errors.into_iter().map(|error| (error.field, error.code.into_owned())).collect()
    }

    #[test]
    fn a_credit_line_is_a_minimum_below_zero() {
        let body = r#"{"number":"1","product":"current","currency":"CZK","ledger_code":"2010",
            "credit_line":{"amount":"50","currency":"CZK"}}"#;
        let body: OpenAccount = platform::json::parse(body.as_bytes()).unwrap();
        let AccountCommand::OpenAccount { minimum_balance, .. } = body.into_command().unwrap() else {
            panic!("another command");
        };
        assert_eq!(minimum_balance.unwrap().amount_minor, -5_000);
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let faults = refused(
            r#"{"number":"1","product":"savings","name":"Jana","currency":"KČS","ledger_code":"2010",
                "minimum_balance":{"amount":"-1","currency":"CZK"}}"#,
        );
        let expected = [
            ("currency", "unknown_currency"),
            ("minimum_balance.amount", "amount_negative"),
            ("name", "invalid_value"),
        ];
        assert_eq!(faults, expected.map(|(field, code)| (field.to_owned(), code.to_owned())));
        let faults = refused(
            r#"{"number":"1","product":"savings","currency":"CZK","ledger_code":"2010",
                "minimum_balance":{"amount":"1","currency":"CZK"},"credit_line":{"amount":"1","currency":"CZK"}}"#,
        );
        assert_eq!(faults, [("credit_line".to_owned(), "ambiguous_limit".to_owned())]);
    }
}
