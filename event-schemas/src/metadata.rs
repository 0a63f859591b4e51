//! What every event carries about its command: a flat JSON object of strings.
//!
//! With it the `commands` table can be rebuilt from the log alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who asked for the event, with which request. The fields are written in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    /// The tenant whose log it is.
    pub tenant: String,
    /// The branch at which it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The command that caused it.
    pub command_id: String,
    /// The client that sent the command; its idempotency keys are its own.
    pub client: String,
    /// The key under which the client may repeat the command.
    pub idempotency_key: String,
    /// HMAC-SHA-256 of the request, in hexadecimal.
    pub request_hmac: String,
    /// On whose behalf it was done.
    pub actor: String,
    /// What ties it to other requests of the same matter.
    pub correlation_id: String,
    /// The trace of the request, as W3C writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}
