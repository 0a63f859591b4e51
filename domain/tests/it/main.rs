//! The ledger's rules, proven from outside: given events, when a command, then events or a refusal.
//!
//! `desk` applies plans to states in memory and checks after each what must never be false
//! (`invariants`); `model` runs random commands against it and against a simple second opinion;
//! `accounting` posts the worked examples of docs/accounting.md.

#![allow(clippy::unwrap_used, reason = "a test that unwraps has failed, which is its purpose")]

mod accounting;
mod accounts;
mod calc;
mod desk;
mod framework;
mod invariants;
mod ledger;
mod lending;
mod lending_model;
mod loan_invariants;
mod loan_rejections;
mod loans;
mod mirror;
mod model;
mod pending;
mod products;
mod rejections;
mod reversals;
mod sagas;
mod soundness;
mod together;
mod transactions;
mod values;
