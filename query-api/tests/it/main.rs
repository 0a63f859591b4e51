//! The read API on real databases: rows as the projector writes them, requests through the router.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod bank;
mod events;
mod freshness;
mod lists;
#[path = "../../../projector/tests/it/loan_bank.rs"]
#[allow(dead_code, reason = "the tests of the projector use the rest")]
mod loan_bank;
mod loans;
mod money;
mod strictness;
mod visibility;
