//! The read API on real databases: rows as the projector writes them, requests through the router.

mod bank;
mod events;
mod freshness;
mod lists;
mod money;
mod strictness;
