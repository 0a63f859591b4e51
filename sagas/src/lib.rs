//! What takes time or touches the outside: process managers, and the port to other banks.
//!
//! Invariants: an outcome that is not known is a state of its own, never guessed; what is sent to
//! another bank has an id that counts for ever, so that sending it again cannot pay twice.

pub mod payments;
