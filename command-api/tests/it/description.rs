//! The committed description of the API is the one that the code generates, so that a change of it
//! is seen in review.

use std::path::Path;

use serde_json::Value;

/// Set to write the file instead of comparing it.
const UPDATE: &str = "DAYBOOK_TEST_UPDATE_OPENAPI";

#[test]
fn the_committed_description_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let generated = serde_json::to_value(command_api::openapi()).unwrap();
    if std::env::var_os(UPDATE).is_some() {
        // As `daybook openapi` writes it, so that a diff shows what has changed and no more.
        let text = command_api::openapi().to_pretty_json().unwrap();
        std::fs::write(&path, text + "\n").unwrap();
    }
    let committed: Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap_or_default()).unwrap_or_default();
    assert!(
        committed == generated,
        "{} is not what the code generates; {UPDATE}=1 cargo test -p command-api --test it description writes it",
        path.display()
    );
}
