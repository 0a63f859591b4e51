//! What takes time or touches the outside: process managers, and the port to other banks.
//!
//! `feed` follows the log and notes what is to be done in the table of `work`; `run` takes what is
//! due and tries the step at which a saga stands (`steps`: `disbursement`, `incoming`, `collection`).
//! A saga's state is in the log; what comes next follows from it in the domain.
//!
//! Invariants: an outcome that is not known is a state of its own, never guessed; what is sent to
//! another bank has an id that counts for ever, so that sending it again cannot pay twice; a command
//! of a saga has a key that follows from the saga, so that any step may be tried any number of times.

mod collection;
mod disbursement;
mod door;
mod feed;
mod incoming;
pub mod payments;
mod role;
mod run;
mod steps;
mod trace;
pub mod work;

pub use disbursement::destination_field;
pub use door::{CLIENT, WorkError};
pub use role::{RunError, run, run_on};
pub use run::Runner;
