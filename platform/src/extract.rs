//! Path and query parameters whose faults are problems like every other.

use crate::problem::Problem;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

/// The query's parameters as `T`; a fault is 400 `invalid_query`. Give `T`
/// `#[serde(deny_unknown_fields)]`, so that a misspelt parameter is refused.
#[derive(Debug, Clone, Copy)]
pub struct StrictQuery<T>(pub T);

impl<T, S> FromRequestParts<S> for StrictQuery<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(Problem::malformed("invalid_query", rejection.body_text())),
        }
    }
}

/// The path's parameters as `T`; a fault is 400 `invalid_path`.
#[derive(Debug, Clone, Copy)]
pub struct StrictPath<T>(pub T);

impl<T, S> FromRequestParts<S> for StrictPath<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(rejection) if rejection.status().is_client_error() => {
                Err(Problem::malformed("invalid_path", rejection.body_text()))
            }
            Err(rejection) => {
                tracing::error!(error = %rejection, "a route and its handler do not fit");
                Err(Problem::internal())
            }
        }
    }
}
