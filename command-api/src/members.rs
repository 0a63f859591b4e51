//! Commands on members. Personal data is sealed here, before the command is made, and never comes
//! back in a reply.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use domain::member::MemberCommand;
use domain::words::{Branch, Number, ReasonCode};
use domain::{Command, MemberId};
use platform::http::Routes;
use platform::{Permission, Problem};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::AppState;
use crate::fault::Faults;
use crate::reply::{CommandReply, Subject};
use crate::request::{CommandRequest, PathId};
use crate::sealing::{cannot_seal, check_text};
use crate::wire::{Day, Id, MemberKind, Nothing};

const NAME_CHARS_MAX: usize = 200;
const NATIONAL_ID_CHARS_MAX: usize = 64;
const CONTACT_CHARS_MAX: usize = 300;

/// The routes of this noun.
pub(crate) fn routes() -> Routes<AppState> {
    Routes::new()
        .route(Permission::MembersRegister, routes!(register))
        .route(Permission::MembersVerify, routes!(verify))
        .route(Permission::MembersVerify, routes!(reject))
        .route(Permission::MembersManage, routes!(suspend))
        .route(Permission::MembersManage, routes!(reactivate))
        .route(Permission::MembersManage, routes!(deactivate))
}

/// A member to be registered. Everything personal is sealed under a key of the member's own before
/// it enters the log.
// No `Debug`: it holds personal data.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "number": "M-0001",
    "kind": "person",
    "name": "Jana Nováková",
    "birth_date": "1961-04-05",
    "branch": "prague",
}))]
struct RegisterMember {
    /// The client's own id for the member; minted if absent.
    id: Option<Id>,
    /// The number by which people know the member; unique.
    #[schema(value_type = String, max_length = 34, pattern = "^[A-Za-z0-9./-]+$", example = "M-0001")]
    number: Number,
    /// What the member is.
    kind: MemberKind,
    /// The member's name. Sealed.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// The date of birth. Sealed.
    birth_date: Option<Day>,
    /// A number given by the state. Sealed.
    #[schema(min_length = 1, max_length = 64)]
    national_id: Option<String>,
    /// How to reach the member. Sealed.
    contact: Option<Contact>,
    /// The branch that serves the member.
    #[schema(value_type = Option<String>, max_length = 32, pattern = "^[A-Za-z0-9_-]+$", example = "prague")]
    branch: Option<Branch>,
}

/// How to reach a member.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Contact {
    /// An e-mail address.
    #[schema(min_length = 1, max_length = 300)]
    email: Option<String>,
    /// A telephone number.
    #[schema(min_length = 1, max_length = 300)]
    phone: Option<String>,
    /// A postal address.
    #[schema(min_length = 1, max_length = 300)]
    address: Option<String>,
}

/// Why, as a code and never as free text, so that nothing personal enters the log.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "documents_incomplete"}))]
struct MemberReason {
    /// A code.
    #[schema(value_type = String, max_length = 64, pattern = "^[a-z0-9_-]+$", example = "documents_incomplete")]
    reason: ReasonCode,
}

impl RegisterMember {
    /// The personal data by the field names under which it is sealed.
    fn personal(&self) -> Result<BTreeMap<&'static str, String>, Problem> {
        let contact =
            |pick: fn(&Contact) -> &Option<String>| self.contact.as_ref().and_then(|contact| pick(contact).as_ref());
        let texts = [
            ("name", "name", Some(&self.name), NAME_CHARS_MAX),
            ("national_id", "national_id", self.national_id.as_ref(), NATIONAL_ID_CHARS_MAX),
            ("contact.email", "contact_email", contact(|contact| &contact.email), CONTACT_CHARS_MAX),
            ("contact.phone", "contact_phone", contact(|contact| &contact.phone), CONTACT_CHARS_MAX),
            ("contact.address", "contact_address", contact(|contact| &contact.address), CONTACT_CHARS_MAX),
        ];
        let mut faults = Faults::default();
        let mut personal = BTreeMap::new();
        for (field, sealed_as, text, chars_max) in texts {
            if let Some(text) = text {
                faults.keep(check_text(field, text, chars_max));
                personal.insert(sealed_as, text.clone());
            }
        }
        if let Some(Day(date)) = self.birth_date {
            personal.insert("birth_date", date.to_string());
        }
        faults.none_or_problem()?;
        Ok(personal)
    }
}

/// Register a member.
///
/// The KYC check is pending then; until it has passed, the member can hold no account.
#[utoipa::path(
    post, path = "/v1/members", tag = "members", operation_id = "registerMember",
    request_body = RegisterMember,
    responses((status = 201, description = "The member is registered.", body = CommandReply))
)]
async fn register(State(state): State<AppState>, request: CommandRequest<RegisterMember>) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    let member_id = MemberId(Id::or_new(body.id));
    let personal = body.personal()?;
    let subject = Subject::created("/v1/members");
    let personal = match state.door().seal_member(member_id, personal).await {
        Ok(personal) => personal,
        Err(error) => return caller.repeated_or(&state, subject, cannot_seal("name", &error)).await,
    };
    let command = MemberCommand::RegisterMember {
        member_id,
        number: body.number,
        kind: body.kind.into(),
        personal,
        branch: body.branch.clone(),
    };
    caller.at_branch(body.branch).send(&state, Command::Member(command), subject).await
}

/// Say that the KYC check has passed.
#[utoipa::path(
    post, path = "/v1/members/{id}/verify", tag = "members", operation_id = "verifyMember",
    params(("id" = Uuid, Path, description = "The member.")),
    request_body = Nothing,
    responses((status = 200, description = "The member has passed the check.", body = CommandReply))
)]
async fn verify(
    State(state): State<AppState>,
    PathId(member_id): PathId<MemberId>,
    request: CommandRequest<Nothing>,
) -> Result<Response, Problem> {
    let command = MemberCommand::VerifyKyc { member_id };
    request.caller.send(&state, Command::Member(command), Subject::changed()).await
}

/// Say that the KYC check has failed.
#[utoipa::path(
    post, path = "/v1/members/{id}/reject", tag = "members", operation_id = "rejectMember",
    params(("id" = Uuid, Path, description = "The member.")),
    request_body = MemberReason,
    responses((status = 200, description = "The member has failed the check.", body = CommandReply))
)]
async fn reject(
    State(state): State<AppState>,
    PathId(member_id): PathId<MemberId>,
    request: CommandRequest<MemberReason>,
) -> Result<Response, Problem> {
    let command = MemberCommand::RejectKyc { member_id, reason: request.body.reason };
    request.caller.send(&state, Command::Member(command), Subject::changed()).await
}

/// Suspend an active member.
#[utoipa::path(
    post, path = "/v1/members/{id}/suspend", tag = "members", operation_id = "suspendMember",
    params(("id" = Uuid, Path, description = "The member.")),
    request_body = MemberReason,
    responses((status = 200, description = "The member is suspended.", body = CommandReply))
)]
async fn suspend(
    State(state): State<AppState>,
    PathId(member_id): PathId<MemberId>,
    request: CommandRequest<MemberReason>,
) -> Result<Response, Problem> {
    let command = MemberCommand::SuspendMember { member_id, reason: request.body.reason };
    request.caller.send(&state, Command::Member(command), Subject::changed()).await
}

/// Make a suspended or inactive member active again.
#[utoipa::path(
    post, path = "/v1/members/{id}/reactivate", tag = "members", operation_id = "reactivateMember",
    params(("id" = Uuid, Path, description = "The member.")),
    request_body = Nothing,
    responses((status = 200, description = "The member is active.", body = CommandReply))
)]
async fn reactivate(
    State(state): State<AppState>,
    PathId(member_id): PathId<MemberId>,
    request: CommandRequest<Nothing>,
) -> Result<Response, Problem> {
    let command = MemberCommand::ReactivateMember { member_id };
    request.caller.send(&state, Command::Member(command), Subject::changed()).await
}

/// Mark an active member as inactive.
#[utoipa::path(
    post, path = "/v1/members/{id}/deactivate", tag = "members", operation_id = "deactivateMember",
    params(("id" = Uuid, Path, description = "The member.")),
    request_body = MemberReason,
    responses((status = 200, description = "The member is inactive.", body = CommandReply))
)]
async fn deactivate(
    State(state): State<AppState>,
    PathId(member_id): PathId<MemberId>,
    request: CommandRequest<MemberReason>,
) -> Result<Response, Problem> {
    let command = MemberCommand::DeactivateMember { member_id, reason: request.body.reason };
    request.caller.send(&state, Command::Member(command), Subject::changed()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(json: &str) -> RegisterMember {
        platform::json::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn personal_data_is_gathered_by_field() {
        let member = body(
            r#"{"number":"1","kind":"person","name":"A B","birth_date":"1961-04-05","national_id":"610405/1234",
                "contact":{"email":"a@b.example"}}"#,
        );
        let fields: Vec<_> = member.personal().unwrap().into_keys().collect();
        assert_eq!(fields, ["birth_date", "contact_email", "name", "national_id"]);
    }

    #[test]
    fn texts_are_bounded_and_named() {
        let member = body(r#"{"number":"1","kind":"group","name":" ","contact":{"phone":"a\nb","email":""}}"#);
        let problem = member.personal().unwrap_err();
        let fields: Vec<_> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["name", "contact.email", "contact.phone"]);
    }
}
