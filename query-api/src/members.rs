//! Members: by id and as a list. Personal data is shown as it is stored, sealed.

use std::collections::BTreeMap;

use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::words::{Branch, Number};
use platform::extract::StrictPath;
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{Postgres, QueryBuilder};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::Api;
use crate::freshness::{PROJECTION, Snapshot};
use crate::listing::{self, Listed};
use crate::parameters::{Freshness, Page, Parameters};
use crate::parked::is_parked;
use crate::reply::{Answer, Failure, List, Result, rfc3339};

const KINDS: [&str; 3] = ["person", "group", "business"];
const KYC: [&str; 3] = ["pending", "verified", "rejected"];
const STATUSES: [&str; 3] = ["active", "inactive", "suspended"];
const LIST: &str = "members";

/// A text that only who holds the key can read.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SealedText {
    /// base64 of version, nonce, ciphertext and tag.
    #[schema(example = "AQAAAAAAAAAAAAAAAAAAAAAA")]
    pub(crate) sealed: String,
}

/// A member.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MemberView {
    /// The id.
    id: Uuid,
    /// The number by which people know the member.
    #[schema(example = "M-1001")]
    number: String,
    /// `person`, `group` or `business`.
    #[schema(example = "person")]
    kind: String,
    /// Where the KYC check stands: `pending`, `verified` or `rejected`.
    #[schema(example = "verified")]
    kyc: String,
    /// `active`, `inactive` or `suspended`.
    #[schema(example = "active")]
    status: String,
    /// The reason of the last change of `kyc` or `status` that gave one, as a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<String>,
    /// The branch that serves the member.
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    /// Personal data by field, each sealed.
    personal: BTreeMap<String, SealedText>,
    /// When the member was registered (RFC 3339, UTC).
    registered_at: String,
    /// When the member's last event was recorded (RFC 3339, UTC).
    updated_at: String,
    /// Number of the member's events.
    version: i64,
    /// Position of the member's first event; lists are in this order.
    position: i64,
    /// Whether events of the member could not be applied, so that this may be behind.
    parked: bool,
}

/// Which members.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct MemberFilter {
    /// By number.
    #[param(value_type = Option<String>, example = "M-1001")]
    number: Option<Number>,
    /// `person`, `group` or `business`.
    #[param(value_type = Option<String>, example = "person")]
    kind: Option<&'static str>,
    /// `pending`, `verified` or `rejected`.
    #[param(value_type = Option<String>, example = "verified")]
    kyc: Option<&'static str>,
    /// `active`, `inactive` or `suspended`.
    #[param(value_type = Option<String>, example = "active")]
    status: Option<&'static str>,
    /// By branch.
    #[param(value_type = Option<String>, example = "praha")]
    branch: Option<Branch>,
}

impl MemberFilter {
    fn read(parameters: &mut Parameters) -> Self {
        Self {
            number: parameters.word("number"),
            kind: parameters.choice("kind", &KINDS),
            kyc: parameters.choice("kyc", &KYC),
            status: parameters.choice("status", &STATUSES),
            branch: parameters.word("branch"),
        }
    }
}

/// Members.
///
/// In the order in which they were registered.
#[utoipa::path(
    get, path = "/v1/members", tag = "members", params(MemberFilter, Page, Freshness),
    responses((status = 200, description = "A page of members", body = List<MemberView>))
)]
pub(crate) async fn list_members(
    State(api): State<Api>,
    mut parameters: Parameters,
) -> Result<Answer<List<MemberView>>> {
    let asked = (parameters.freshness(), parameters.page());
    let filter = MemberFilter::read(&mut parameters);
    parameters.finish()?;
    listing::answer::<Row>(&api, LIST, asked, |_| filter.statement()).await
}

/// A member.
#[utoipa::path(
    get, path = "/v1/members/{id}", tag = "members",
    params(("id" = Uuid, Path, description = "The member"), Freshness),
    responses((status = 200, description = "The member", body = MemberView))
)]
pub(crate) async fn get_member(
    State(api): State<Api>,
    StrictPath(id): StrictPath<Uuid>,
    mut parameters: Parameters,
) -> Result<Answer<MemberView>> {
    let freshness = parameters.freshness();
    parameters.finish()?;
    let mut snapshot = api.gate.snapshot(freshness).await?;
    let Some(member) = select_one(&mut snapshot, id).await? else {
        let parked = is_parked(snapshot.connection(), &format!("member/{id}")).await?;
        let missing = Failure::not_found("member_not_found", "member with this id", snapshot.position);
        return Err(missing.parked(parked));
    };
    Ok(Answer { version: Some(member.version), parked: member.parked, ..Answer::new(snapshot.position, member) })
}

#[derive(sqlx::FromRow)]
struct Row {
    member_id: Uuid,
    number: String,
    kind: String,
    kyc: String,
    status: String,
    status_reason: Option<String>,
    branch: Option<String>,
    personal: Json<BTreeMap<String, String>>,
    registered_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    version: i64,
    position: i64,
    parked: bool,
}

impl From<Row> for MemberView {
    fn from(row: Row) -> Self {
        let Json(personal) = row.personal;
        Self {
            id: row.member_id,
            number: row.number,
            kind: row.kind,
            kyc: row.kyc,
            status: row.status,
            status_reason: row.status_reason,
            branch: row.branch,
            personal: personal.into_iter().map(|(field, sealed)| (field, SealedText { sealed })).collect(),
            registered_at: rfc3339(row.registered_at),
            updated_at: rfc3339(row.updated_at),
            version: row.version,
            position: row.position,
            parked: row.parked,
        }
    }
}

impl Listed for Row {
    type View = MemberView;
    const POSITION: &'static str = "m.position";

    fn position(&self) -> i64 {
        self.position
    }

    fn is_parked(&self) -> bool {
        self.parked
    }

    fn view(self) -> Result<MemberView> {
        Ok(self.into())
    }
}

fn select() -> QueryBuilder<'static, Postgres> {
    let mut sql = QueryBuilder::new(
        "SELECT m.member_id, m.number, m.kind, m.kyc, m.status, m.status_reason, m.branch, m.personal, \
         m.registered_at, m.updated_at, m.version, m.position, \
         EXISTS (SELECT 1 FROM parked_events p WHERE p.stream = 'member/' || m.member_id AND p.projection = ",
    );
    sql.push_bind(PROJECTION).push(") AS parked FROM members m");
    sql
}

async fn select_one(snapshot: &mut Snapshot, id: Uuid) -> Result<Option<MemberView>> {
    let mut sql = select();
    sql.push(" WHERE m.member_id = ").push_bind(id);
    let row: Option<Row> = sql.build_query_as().fetch_optional(snapshot.connection()).await?;
    Ok(row.map(MemberView::from))
}

impl MemberFilter {
    fn statement(&self) -> QueryBuilder<'static, Postgres> {
        let mut sql = select();
        sql.push(" WHERE true");
        if let Some(number) = &self.number {
            sql.push(" AND m.number = ").push_bind(number.as_str().to_owned());
        }
        for (column, wanted) in [("kind", self.kind), ("kyc", self.kyc), ("status", self.status)] {
            if let Some(wanted) = wanted {
                sql.push(" AND m.").push(column).push(" = ").push_bind(wanted);
            }
        }
        if let Some(branch) = &self.branch {
            sql.push(" AND m.branch = ").push_bind(branch.as_str().to_owned());
        }
        sql
    }
}
