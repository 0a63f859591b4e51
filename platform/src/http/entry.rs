//! Who each request is from, found out before anything else looks at it.

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use crate::auth::{Identity, Principal, Refusal, Verifier};

/// How it is found out who asks.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    /// From the bearer token. The only way in a role that serves.
    Token(Verifier),
    /// Everybody is this one: tests that call a router in their own process.
    Everybody(Principal),
    /// Nobody can be known.
    Nobody,
}

impl Entry {
    /// Finds out who asks and leaves it with the request, for routes and for handlers.
    pub(super) async fn identify(&self, request: &mut Request) -> Result<Principal, Refusal> {
        let identity = match self {
            Self::Token(verifier) => match bearer(request.headers()) {
                Ok(token) => verifier.verify(token).await,
                Err(refusal) => Err(refusal),
            },
            Self::Everybody(principal) => Ok(principal.clone()),
            Self::Nobody => Err(Refusal::TokenMissing),
        };
        // Nothing after this needs the token, so nothing can log it or pass it on.
        request.headers_mut().remove(AUTHORIZATION);
        request.extensions_mut().insert(Identity(identity.clone()));
        identity
    }
}

/// The token of the header `Authorization: Bearer …`, given once.
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::TokenMissing)?;
    if values.next().is_some() {
        return Err(Refusal::TokenInvalid);
    }
    let text = value.to_str().map_err(|_| Refusal::TokenInvalid)?;
    let (scheme, token) = text.split_once(' ').ok_or(Refusal::TokenInvalid)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::TokenMissing);
    }
    Ok(token.trim())
}
