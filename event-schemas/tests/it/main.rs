//! The committed schemas and golden samples, and the way from an older version to the current one.

#![allow(clippy::unwrap_used)] // a test's helper may fail the test

mod golden;
mod schemas;
mod upcasting;

use std::path::PathBuf;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}
