//! What goes into the write door and what comes out.

use domain::{AccountId, Command, Currency, Rejection, TransactionId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A command with its envelope.
#[derive(Clone, Debug)]
pub struct Submission {
    /// What is asked.
    pub command: Command,
    /// The command's id; new for each request, or derived where a saga sends it.
    pub command_id: Uuid,
    /// Whose idempotency keys these are.
    pub client: String,
    /// The key: together with the client it names this request for ever.
    pub idempotency_key: String,
    /// The HMAC of the request; another request under the same key is refused.
    pub request_hmac: [u8; 32],
    /// Whether the id of the command's target was made for this very request, at random: then nothing
    /// can be in the log of it, and it is not looked for. Never for an id that somebody else chose.
    pub target_is_new: bool,
    /// The version that the caller believes the command's stream to have.
    pub expected_version: Option<u64>,
    /// Who acts.
    pub actor: String,
    /// The branch at which it happens.
    pub branch: Option<String>,
    /// Ties together what belongs to one piece of work, across services.
    pub correlation_id: String,
    /// The W3C trace context.
    pub traceparent: Option<String>,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Whether the same request was decided before and this is its first outcome again.
    pub replayed: bool,
    /// The outcome.
    pub outcome: Outcome,
}

/// The outcome of a decided command; it is in the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its events are in the log.
    Accepted(Accepted),
    /// The rules refused it; the refusal is in the log.
    Rejected(Rejected),
}

/// An accepted command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// The id of the thing that the command was about.
    pub id: String,
    /// That thing's version after it: the number of its stream's events.
    pub version: u64,
    /// The position of the command's last event.
    pub position: u64,
    /// Whether the command brought the thing into being.
    pub created: bool,
    /// The guarded accounts that it touched, as they were after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub balances: Vec<Balance>,
    /// The transactions that it brought into being besides its subject.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transaction_ids: Vec<TransactionId>,
}

/// A guarded account's balance after a command, in minor units on its normal side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Balance {
    /// The account.
    pub account_id: AccountId,
    /// Its currency.
    pub currency: Currency,
    /// The recorded balance.
    pub balance_minor: i64,
    /// The balance less what is held.
    pub available_minor: i64,
    /// The account's version: the number of its stream's events.
    pub version: u64,
}

/// A rejected command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    /// The position of the refusal.
    pub position: u64,
    /// Why.
    pub rejection: Rejection,
}

impl Outcome {
    /// The position of its last event.
    pub fn position(&self) -> u64 {
        match self {
            Outcome::Accepted(accepted) => accepted.position,
            Outcome::Rejected(rejected) => rejected.position,
        }
    }
}
