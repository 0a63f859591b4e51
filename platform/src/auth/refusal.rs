//! Why a caller is not let in, and how that is told.

use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::permission::Permission;
use crate::problem::Problem;

/// Why a request is not let in. Nothing was looked at or left behind but the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No token came with the request.
    #[error("this path needs a bearer token in the header Authorization")]
    TokenMissing,
    /// What came is no token that is accepted here; which check failed is in the log only.
    #[error("the bearer token is not valid here")]
    TokenInvalid,
    /// It was valid once.
    #[error("the bearer token has expired")]
    TokenExpired,
    /// It will be valid later.
    #[error("the bearer token is not valid yet")]
    TokenNotYetValid,
    /// The keys to verify it with have not been had yet.
    #[error("tokens cannot be verified now; try again as the header Retry-After says")]
    KeysUnavailable,
    /// The caller is known and may not do this.
    #[error("this needs the permission {0}")]
    PermissionMissing(Permission),
    /// The caller's token is for some accounts only, and this is about more.
    #[error("the token is limited to accounts (daybook_accounts), and this is not about those alone")]
    BeyondAccounts,
}

impl Refusal {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TokenMissing => "token_missing",
            Self::TokenInvalid => "token_invalid",
            Self::TokenExpired => "token_expired",
            Self::TokenNotYetValid => "token_not_yet_valid",
            Self::KeysUnavailable => "keys_unavailable",
            Self::PermissionMissing(_) => "permission_missing",
            Self::BeyondAccounts => "account_not_permitted",
        }
    }

    /// The problem document: 401, 403, or 503 where the keys are not at hand.
    pub fn problem(self) -> Problem {
        let detail = self.to_string();
        match self {
            Self::TokenMissing | Self::TokenInvalid | Self::TokenExpired | Self::TokenNotYetValid => {
                Problem::new(StatusCode::UNAUTHORIZED, self.code(), detail)
            }
            Self::KeysUnavailable => Problem::unavailable(self.code(), detail),
            Self::PermissionMissing(permission) => {
                let problem = Problem::new(StatusCode::FORBIDDEN, self.code(), detail);
                problem.with_error("permission", self.code(), permission.name())
            }
            Self::BeyondAccounts => Problem::new(StatusCode::FORBIDDEN, self.code(), detail),
        }
    }

    /// The challenge of RFC 6750 that goes with it.
    fn challenge(self) -> Option<String> {
        match self {
            Self::TokenMissing => Some("Bearer realm=\"daybook\"".to_owned()),
            Self::TokenInvalid | Self::TokenExpired | Self::TokenNotYetValid => {
                Some(format!("Bearer realm=\"daybook\", error=\"invalid_token\", error_description=\"{self}\""))
            }
            Self::PermissionMissing(permission) => {
                Some(format!("Bearer realm=\"daybook\", error=\"insufficient_scope\", scope=\"{permission}\""))
            }
            Self::KeysUnavailable | Self::BeyondAccounts => None,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.problem().into_response();
        // Our own words are visible ASCII.
        if let Some(Ok(challenge)) = self.challenge().map(HeaderValue::try_from) {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_a_client_can_do_about_it() {
        let cases = [
            (Refusal::TokenMissing, 401, Some("Bearer realm=\"daybook\"")),
            (
                Refusal::TokenExpired,
                401,
                Some(
                    "Bearer realm=\"daybook\", error=\"invalid_token\", \
                     error_description=\"the bearer token has expired\"",
                ),
            ),
            (
                Refusal::PermissionMissing(Permission::LoansApprove),
                403,
                Some("Bearer realm=\"daybook\", error=\"insufficient_scope\", scope=\"loans:approve\""),
            ),
            (Refusal::BeyondAccounts, 403, None),
            (Refusal::KeysUnavailable, 503, None),
        ];
        for (refusal, status, challenge) in cases {
            let response = refusal.into_response();
            assert_eq!(response.status(), status, "{refusal}");
            let shown = response.headers().get(WWW_AUTHENTICATE).map(|value| value.to_str().unwrap());
            assert_eq!(shown, challenge, "{refusal}");
        }
        let problem = Refusal::PermissionMissing(Permission::LoansApprove).problem();
        assert_eq!(problem.errors[0].detail, "loans:approve");
        assert!(problem.detail.contains("loans:approve"));
    }
}
