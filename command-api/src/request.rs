//! A command's way through the edge: headers and body in, one submission, one reply.
//!
//! Every handler takes a [`CommandRequest`], turns its body into a domain command and sends it
//! through [`Caller::send`]: who asks, the idempotency key and the expected version cannot be
//! forgotten, and entry control has one place to stand in.

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::Response;
use domain::transaction::Legs;
use domain::words::Branch;
use domain::{AccountId, Command, LoanId, LoanProductId, MemberId, SagaId, TransactionId};
use event_store::{Outcome, ReadError, Rejected, Reply, Submission, SubmitError};
use platform::auth::Refusal;
use platform::{Permission, Principal, Problem, RequestContext, StrictJson};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::AppState;
use crate::fault::{Fault, Faults};
use crate::idempotency::{self, CanonicalRequest};
use crate::if_match;
use crate::reply::{self, Subject};
use crate::wire::{self, Id};

/// A request for a command, with its body read.
pub(crate) struct CommandRequest<T> {
    /// What the body says.
    pub(crate) body: T,
    /// Who asks, under which key.
    pub(crate) caller: Caller,
}

/// Who asks, under which key, expecting which version.
pub(crate) struct Caller {
    principal: Principal,
    context: RequestContext,
    idempotency_key: String,
    expected_version: Option<u64>,
    branch: Option<Branch>,
    target_is_new: bool,
    canonical: CanonicalRequest,
}

impl<T, S> FromRequest<S> for CommandRequest<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let principal = <Principal as FromRequestParts<S>>::from_request_parts(&mut parts, state).await?;
        let Ok(context) = <RequestContext as FromRequestParts<S>>::from_request_parts(&mut parts, state).await;
        refuse_query(&parts)?;
        let idempotency_key = idempotency::key(&parts.headers)?;
        let expected_version = if_match::expected_version(&parts.headers)?;
        let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
        let StrictJson { value, raw } = StrictJson::<T>::from_request(Request::from_parts(parts, body), state).await?;
        let canonical =
            CanonicalRequest::new(method, &path, expected_version, &raw).map_err(|error| not_json(&error))?;
        let caller = Caller {
            principal,
            context,
            idempotency_key,
            expected_version,
            branch: None,
            target_is_new: false,
            canonical,
        };
        Ok(Self { body: value, caller })
    }
}

/// A body that a type was read from is JSON; numbers beyond a double's range are not.
fn not_json(error: &serde_json::Error) -> Problem {
    Problem::malformed("malformed_json", format!("the body is not valid JSON: {error}"))
}

/// What a client is told where something had to be read and could not be.
pub(crate) fn cannot_read(error: &ReadError) -> Problem {
    tracing::warn!(%error, "the log could not be read for a command");
    Problem::unavailable("unavailable", "the log cannot be read now; repeat the request as it was, under the same key")
}

/// No command takes query parameters: one that is passed over in silence would mislead its sender.
fn refuse_query(parts: &Parts) -> Result<(), Problem> {
    match parts.uri.query() {
        None | Some("") => Ok(()),
        Some(_) => Err(Problem::malformed("invalid_query", "a command takes no query parameters")),
    }
}

impl Caller {
    /// Somebody who is known by a signature, with a key of the message's own. The message is one for
    /// ever, so it is its body and where it was sent that is remembered.
    pub(crate) fn signed(
        principal: Principal,
        context: RequestContext,
        idempotency_key: String,
        path: &str,
        raw: &[u8],
    ) -> Result<Self, Problem> {
        let canonical = CanonicalRequest::new(Method::POST, path, None, raw).map_err(|error| not_json(&error))?;
        Ok(Self {
            principal,
            context,
            idempotency_key,
            expected_version: None,
            branch: None,
            target_is_new: false,
            canonical,
        })
    }

    /// The same caller, about something whose id was made here just now, or is the client's own.
    pub(crate) fn on_new(mut self, id: Option<Id>) -> Self {
        self.target_is_new = id.is_none();
        self
    }

    /// The same caller, acting at a branch.
    pub(crate) fn at_branch(mut self, branch: Option<Branch>) -> Self {
        self.branch = branch;
        self
    }

    /// Refuses a caller whose token is for some accounts only to move money out of others. Which side
    /// takes from an account follows from its state, so legs are taken in the short form only.
    pub(crate) fn check_movement(&self, legs: &Legs) -> Result<(), Problem> {
        match legs {
            Legs::Move { from, .. } if self.principal.has_account(from.0) => Ok(()),
            Legs::Move { .. } | Legs::Explicit(_) => self.check_not_limited(),
        }
    }

    /// Refuses a caller whose token is for some accounts only, where it cannot be told from the
    /// request which accounts it is about.
    pub(crate) fn check_not_limited(&self) -> Result<(), Problem> {
        match self.principal.accounts() {
            None => Ok(()),
            Some(_) => Err(Refusal::BeyondAccounts.problem()),
        }
    }

    /// Refuses a caller whose token is for some accounts only and who sends what is for the
    /// institution to say; `fields` are what such a caller may not give, and whether it was given.
    pub(crate) fn check_plain(&self, fields: &[(&'static str, bool)]) -> Result<(), Problem> {
        if self.principal.accounts().is_none() {
            return Ok(());
        }
        let given = fields.iter().filter(|(_, is_given)| *is_given);
        let refusal = Refusal::BeyondAccounts;
        let problem = given.fold(None, |problem: Option<Problem>, (field, _)| {
            let detail = "not for a token that is limited to accounts";
            Some(problem.unwrap_or_else(|| refusal.problem()).with_error(*field, refusal.code(), detail))
        });
        problem.map_or(Ok(()), Err)
    }

    /// Refuses a caller who may do the command, but not with what the body asks for besides.
    pub(crate) fn check_may(&self, permission: Permission) -> Result<(), Problem> {
        self.principal.check(permission).map_err(Refusal::problem)
    }

    /// Submits the command and renders its outcome.
    pub(crate) async fn send(self, state: &AppState, command: Command, subject: Subject) -> Result<Response, Problem> {
        if subject.has_no_version_yet() {
            if_match::refuse_on_new(self.expected_version)?;
        }
        let reply = self.submit(state, command).await?;
        Ok(self.render(&reply, subject))
    }

    /// Submits the command under the caller's key.
    pub(crate) async fn submit(&self, state: &AppState, command: Command) -> Result<Reply, Problem> {
        let request_hmac = state.door().request_hmac(&self.canonical.parts());
        let submission = self.submission(command, self.idempotency_key.clone(), request_hmac);
        state.door().submit(submission).await.map_err(|error| not_submitted(&error))
    }

    /// A command of this caller under that key.
    pub(crate) fn submission(&self, command: Command, idempotency_key: String, request_hmac: [u8; 32]) -> Submission {
        Submission {
            command,
            command_id: Uuid::now_v7(),
            client: self.principal.client().to_owned(),
            idempotency_key,
            request_hmac,
            target_is_new: self.target_is_new,
            expected_version: self.expected_version,
            actor: self.principal.subject().to_owned(),
            branch: self.branch.clone().map(String::from),
            correlation_id: self.context.correlation_id.clone(),
            traceparent: self.context.traceparent.clone(),
        }
    }

    /// What the HMAC of the request is over.
    pub(crate) fn canonical(&self) -> &CanonicalRequest {
        &self.canonical
    }

    /// Who asks.
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The request's key.
    pub(crate) fn idempotency_key(&self) -> &str {
        &self.idempotency_key
    }

    /// The outcome as this caller may see it.
    pub(crate) fn render(&self, reply: &Reply, subject: Subject) -> Response {
        rendered(reply, subject, &self.context, &self.principal)
    }

    /// The same caller, under another key.
    pub(crate) fn under(mut self, idempotency_key: String) -> Self {
        self.idempotency_key = idempotency_key;
        self
    }

    /// The first reply, if this very request was decided before, else the problem for which no
    /// command can be made of it now: an outcome does not depend on what can still be sealed.
    pub(crate) async fn repeated_or(
        self,
        state: &AppState,
        subject: Subject,
        problem: Problem,
    ) -> Result<Response, Problem> {
        let reply = self.repeated(state).await?.ok_or(problem)?;
        Ok(self.render(&reply, subject))
    }

    /// The first reply, if this very request was decided before.
    pub(crate) async fn repeated(&self, state: &AppState) -> Result<Option<Reply>, Problem> {
        let request_hmac = state.door().request_hmac(&self.canonical.parts());
        let reply = state.door().replay(self.principal.client(), &self.idempotency_key, &request_hmac).await;
        reply.map_err(|error| not_submitted(&error))
    }

    /// A refusal as this caller may see it.
    pub(crate) fn render_rejected(&self, rejected: &Rejected, replayed: bool) -> Response {
        reply::rejected(rejected, replayed, &self.context, &self.principal)
    }
}

fn rendered(reply: &Reply, subject: Subject, context: &RequestContext, principal: &Principal) -> Response {
    match &reply.outcome {
        Outcome::Accepted(accepted) => reply::accepted(accepted, reply.replayed, subject, principal),
        Outcome::Rejected(rejected) => reply::rejected(rejected, reply.replayed, context, principal),
    }
}

pub(crate) fn not_submitted(error: &SubmitError) -> Problem {
    match error {
        SubmitError::KeyReused => {
            let detail = "this idempotency key was used for another request; a new request needs a new key";
            Problem::conflict("idempotency_key_reused", detail).with_error(
                "Idempotency-Key",
                "idempotency_key_reused",
                detail,
            )
        }
        SubmitError::Overloaded => {
            let detail = "too many commands are waiting; repeat the request as it was, under the same key";
            Problem::unavailable("overloaded", detail)
        }
        SubmitError::Unavailable(_) => {
            tracing::warn!(%error, "a command has no outcome");
            let detail = "the log cannot be written now; repeat the request as it was, under the same key";
            Problem::unavailable("unavailable", detail)
        }
    }
}

/// The id in a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathId<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for PathId<T>
where
    T: From<PathUuid>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = path_text(parts, state).await?;
        let id = wire::parse_id(&text).ok_or_else(|| Fault::invalid("id", wire::ID_RULE))?;
        Ok(PathId(T::from(PathUuid(id))))
    }
}

/// The ids in a path that names a thing and a part of it: `{id}` and then the part's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathIds<T, P>(pub(crate) T, pub(crate) P);

impl<T, P, S> FromRequestParts<S> for PathIds<T, P>
where
    T: From<PathUuid>,
    P: From<PathUuid>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(texts) = Path::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::malformed("invalid_path", rejection.body_text()))?;
        let mut faults = Faults::default();
        let mut ids = texts.into_iter().filter_map(|(name, text)| {
            faults.keep(wire::parse_id(&text).ok_or_else(|| Fault::invalid(name, wire::ID_RULE))).map(PathUuid)
        });
        match (ids.next(), ids.next()) {
            (Some(id), Some(part)) => Ok(Self(T::from(id), P::from(part))),
            _ => Err(faults.into_problem()),
        }
    }
}

/// The one parameter of the path, as text.
pub(crate) async fn path_text<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Problem> {
    let Path(text) = Path::<String>::from_request_parts(parts, state)
        .await
        .map_err(|rejection| Problem::malformed("invalid_path", rejection.body_text()))?;
    Ok(text)
}

/// A UUID that was read from a path.
pub(crate) struct PathUuid(Uuid);

macro_rules! path_ids {
    ($($name:ident),+) => {
        $(impl From<PathUuid> for $name {
            fn from(PathUuid(id): PathUuid) -> Self {
                $name(id)
            }
        })+
    };
}

path_ids!(MemberId, AccountId, TransactionId, LoanProductId, LoanId, SagaId);
