//! Entry control: who asks (a verified bearer token), what that lets them do, and what a reply may
//! show them.
//!
//! Invariants: a principal comes from a token whose signature, issuer, audience and dates were
//! checked, and from nowhere else in a role that serves; the algorithm belongs to the key, never to
//! the token; what a role of people may do is said in one table (`permission`); a token is never
//! logged. Nothing here knows a route: routes name their permission where they are registered
//! (`http::Routes`).

mod config;
mod jwks;
mod keys;
mod mint;
mod permission;
mod principal;
mod refusal;
mod verifier;

pub(crate) use config::KEYS;
pub use config::{AUDIENCE_DEFAULT, AuthSettings, DEVELOPMENT_ISSUER, Environment, JwksSource};
pub use mint::{DevelopmentToken, MintError};
pub use permission::{Permission, Role};
pub(crate) use principal::Identity;
pub use principal::Principal;
pub use refusal::Refusal;
pub use verifier::{AuthError, Verifier};
