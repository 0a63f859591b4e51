//! The read API on real databases: rows as the projector writes them, requests through the router.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod bank;
mod events;
mod freshness;
mod lists;
mod money;
mod strictness;
mod visibility;
