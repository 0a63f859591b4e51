//! Room for the loan aggregate: applied, approved, disbursed, repaid. It will have the same files
//! as every noun (`command.rs`, `event.rs`, `state.rs`, `decide.rs`).
