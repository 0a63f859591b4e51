//! Sagas: work that takes time or touches the outside. Their state is in the log like any other;
//! what they do next follows from it alone ([`Saga::step`]), whoever runs them.
//!
//! Before the pivot (the other bank has the money) a disbursement compensates, after it only goes
//! forward. An unknown outcome is a state of its own: it is asked again, never guessed. What the
//! rules cannot settle waits for a person.

mod command;
mod decide;
mod event;
mod state;

pub use command::{SagaCommand, Transition};
pub use decide::decide;
pub use event::{Process, Resolution, SagaEvent, Step};
pub use state::{Saga, SagaStatus};
