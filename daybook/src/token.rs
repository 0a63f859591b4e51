//! `daybook token`: tokens for development, with which people and tools call the APIs.
//!
//! Invariant: only where the environment is one of development and holds the secret; elsewhere the
//! institution's issuer gives tokens.

use std::time::Duration;

use anyhow::Context;
use platform::auth::DevelopmentToken;
use platform::{Config, Role, Secret};
use uuid::Uuid;

/// Longest that a development token may be valid.
const TTL_MAX: Duration = Duration::from_secs(31 * 86_400);
/// How long the token of a tool is valid.
const TOOL_TTL: Duration = Duration::from_secs(86_400);

/// Mint a token for development and print it.
///
/// Use it as the header `Authorization: Bearer TOKEN`.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    /// A role: clerk, officer, approver, auditor, analyst or admin; may be given several times.
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<Role>,
    /// Who it is for.
    #[arg(long, value_name = "NAME")]
    subject: String,
    /// The client software, under whose name idempotency keys are kept [default: the subject].
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// Limit it to this account; may be given several times.
    #[arg(long = "account", value_name = "ID")]
    accounts: Vec<Uuid>,
    /// How long it is valid: 90s, 30m, 8h or 7d; 31d at most.
    #[arg(long, value_name = "TIME", default_value = "8h", value_parser = ttl)]
    ttl: Duration,
}

/// Mints and prints.
pub(crate) fn run(args: &TokenArgs, config: &Config) -> anyhow::Result<()> {
    let token = DevelopmentToken {
        subject: args.subject.clone(),
        client: args.client.clone(),
        roles: args.roles.clone(),
        accounts: (!args.accounts.is_empty()).then(|| args.accounts.clone()),
        ttl: args.ttl,
    };
    say!("{}", token.mint(config.auth())?.expose());
    Ok(())
}

/// The token that a tool of this binary calls the APIs with: the one given, else one minted for it.
pub(crate) fn of_tool(name: &str, given: Option<Secret>, config: &Config) -> anyhow::Result<Secret> {
    if let Some(token) = given {
        return Ok(token);
    }
    let token = DevelopmentToken {
        subject: name.to_owned(),
        client: None,
        roles: Role::ALL.to_vec(),
        accounts: None,
        ttl: TOOL_TTL,
    };
    token.mint(config.auth()).context("give a token with DAYBOOK_TOKEN")
}

fn ttl(text: &str) -> Result<Duration, String> {
    let needed = || "a time like 90s, 30m, 8h or 7d is needed, 31d at most".to_owned();
    let (count, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(needed)?;
    let unit_s: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(needed()),
    };
    let count: u64 = count.parse().map_err(|_| needed())?;
    let ttl = Duration::from_secs(count.checked_mul(unit_s).ok_or_else(needed)?);
    if (Duration::from_secs(1)..=TTL_MAX).contains(&ttl) { Ok(ttl) } else { Err(needed()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_a_number_and_a_unit() {
        assert_eq!(ttl("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(ttl("8h"), Ok(Duration::from_secs(28_800)));
        assert_eq!(ttl("31d"), Ok(TTL_MAX));
        for bad in ["", "8", "h", "0s", "32d", "-1h", "8 h", "99999999999999999999d", "8\u{e9}"] {
            assert!(ttl(bad).is_err(), "{bad}");
        }
    }
}
