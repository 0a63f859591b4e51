//! Which crate may use which: docs/architecture.md's table, held against every Cargo.toml.

use std::collections::BTreeSet;

/// A stage of the way and what it may use of ours. Tests may use anything.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("event-schemas", &["domain"]),
    ("event-store", &["domain", "event-schemas"]),
    ("platform", &[]),
    ("relay", &["event-schemas", "event-store", "platform"]),
    ("command-api", &["domain", "event-schemas", "event-store", "platform"]),
    ("sagas", &["domain", "event-schemas", "event-store", "platform"]),
    ("bank-simulator", &["platform"]),
    ("projector", &["domain", "event-schemas", "event-store", "platform"]),
    ("query-api", &["domain", "event-schemas", "event-store", "platform"]),
    (
        "daybook",
        &[
            "bank-simulator",
            "command-api",
            "domain",
            "event-schemas",
            "event-store",
            "platform",
            "projector",
            "query-api",
            "relay",
            "sagas",
        ],
    ),
    // Measures the binary from outside, and the write door in process.
    ("bench", &["domain", "event-store", "platform"]),
];

fn manifest(folder: &str) -> toml::Table {
    let path = test_place::root().join(folder).join("Cargo.toml");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).parse().unwrap()
}

#[test]
fn every_crate_uses_only_what_it_may() {
    let ours: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    for (name, allowed) in ARROWS {
        let used: BTreeSet<String> = manifest(name)["dependencies"].as_table().unwrap().keys().cloned().collect();
        for dependency in used.iter().filter(|dependency| ours.contains(dependency.as_str())) {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{name} uses {dependency}: docs/architecture.md forbids it"
            );
        }
    }
}

#[test]
fn the_table_has_every_crate_and_the_document_has_the_table() {
    let members = manifest("")["workspace"]["members"].as_array().unwrap().clone();
    let document = std::fs::read_to_string(test_place::root().join("docs/architecture.md")).unwrap();
    for member in members.iter().filter_map(|member| member.as_str()).filter(|member| !member.starts_with("tests")) {
        let (_, allowed) = ARROWS.iter().find(|(name, _)| *name == member).unwrap_or_else(|| panic!("{member}?"));
        let row = document.lines().find(|line| line.starts_with(&format!("| `{member}/`")));
        let row = row.unwrap_or_else(|| panic!("docs/architecture.md has no row for {member}/"));
        for dependency in *allowed {
            assert!(row.contains(&format!("`{dependency}`")), "docs/architecture.md: {member}/ may use {dependency}");
        }
    }
}

#[test]
fn versions_are_in_the_workspace_root_only() {
    for (name, _) in ARROWS {
        for section in ["dependencies", "dev-dependencies"] {
            let manifest = manifest(name);
            let Some(dependencies) = manifest.get(section).and_then(|section| section.as_table()) else { continue };
            for (dependency, value) in dependencies {
                let inherited = value.get("workspace").and_then(|workspace| workspace.as_bool());
                assert_eq!(inherited, Some(true), "{name}: {dependency} has a version of its own");
            }
        }
    }
}

/// The code of a crate's sources, without their unit tests.
fn sources(folder: &std::path::Path, found: &mut Vec<(std::path::PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            found.push((path, code));
        }
    }
}

/// Nothing that is shipped serves the APIs without verifying who asks: the ways in for tests are
/// used by tests alone, and routes are registered with their permission.
#[test]
fn no_role_serves_without_verifying_who_asks() {
    let mut found = Vec::new();
    for (name, _) in ARROWS.iter().filter(|(name, _)| *name != "platform") {
        sources(&test_place::root().join(name).join("src"), &mut found);
    }
    assert!(found.iter().any(|(_, code)| code.contains("Options::serving(")), "the roles serve");
    for (path, code) in &found {
        for way in ["everybody_is(", "Principal::in_process(", "Options::default()", "OpenApiRouter"] {
            assert!(!code.contains(way), "{} uses {way}", path.display());
        }
    }
}
