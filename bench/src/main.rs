//! `daybook-bench`: how fast Daybook is on this machine, beside baselines that are measured in the same run.
//!
//! `figures` is what a measurement says, `workload` which accounts it touches, `baselines` what we compare with.

mod baselines;
mod figures;
mod workload;

fn main() {}
