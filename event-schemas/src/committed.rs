//! The committed schemas: whether they are those of the Rust types, and whether a published
//! version has stayed as it is.
//!
//! `schemas/` holds what is generated; `schemas/published/` a copy of each schema that others rely
//! on. Writing takes a compatible change over into both and refuses any other, so that a published
//! copy changes only in ways that every reader bears. A version that is no longer generated stays
//! as long as an upcaster reads it, which is for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fmt, fs, io};

use domain::StreamKind;
use serde_json::Value;

use crate::compatibility::{Incompatibility, incompatibilities};
use crate::schema::GeneratedSchema;
use crate::upcast::Upcasters;

/// The folder of published copies, below the folder of schemas.
pub const PUBLISHED: &str = "published";
/// The command that writes the schemas anew.
pub const MEND: &str = "daybook schemas";

/// Something that is wrong with one committed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The file is not there.
    Missing {
        /// Below the folder of schemas.
        path: String,
    },
    /// The file is not what the Rust types say.
    Drifted {
        /// Below the folder of schemas.
        path: String,
    },
    /// A schema that is not generated and that no upcaster reads.
    Orphaned {
        /// Below the folder of schemas.
        path: String,
    },
    /// A published copy that is no JSON.
    Unreadable {
        /// Below the folder of schemas.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A published version was changed in a way that breaks its readers.
    Incompatible {
        /// Below the folder of schemas.
        path: String,
        /// What has changed.
        changes: Vec<Incompatibility>,
    },
}

impl Fault {
    /// Whether writing the schemas anew mends it.
    pub fn is_mended_by_writing(&self) -> bool {
        match self {
            Fault::Missing { .. } | Fault::Drifted { .. } => true,
            Fault::Orphaned { .. } | Fault::Unreadable { .. } | Fault::Incompatible { .. } => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Missing { path } => write!(f, "{path} is missing; write it with `{MEND}`"),
            Fault::Drifted { path } => {
                write!(f, "{path} is not what the Rust types say; write it anew with `{MEND}`")
            }
            Fault::Orphaned { path } => write!(
                f,
                "{path} describes a version that Daybook no longer reads, though a log may hold it: bring the type \
                 back, or add an upcaster from this version to event-schemas/src/upcast.rs (only if no log that anybody \
                 keeps holds it may the file and its published copy be deleted instead)"
            ),
            Fault::Unreadable { path, reason } => write!(f, "{path} cannot be read: {reason}"),
            Fault::Incompatible { path, changes } => {
                write!(f, "{path} is published, and this change breaks its readers:")?;
                for change in changes {
                    write!(f, "\n  - {change}")?;
                }
                write!(
                    f,
                    "\n  Leave this version as it is. Give the changed type a new version in domain/src/event.rs, add \
                     an upcaster from this version to event-schemas/src/upcast.rs and a golden sample of the new \
                     version to event-schemas/golden/, then run `{MEND}`. (Only if no log that anybody keeps holds \
                     this version may its published copy be deleted instead.)"
                )
            }
        }
    }
}

/// Why the schemas could not be written. Nothing has been written then, unless the disk failed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Reading or writing a file failed.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Faults that writing does not mend.
    #[error("{}", lines(.0))]
    Refused(Vec<Fault>),
}

/// One fault a line, in the order given.
pub fn lines(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
}

/// Everything that is wrong with the committed schemas in `dir`; empty if nothing is.
///
/// # Errors
/// A file or folder that cannot be read.
pub fn check(dir: &Path, generated: &[GeneratedSchema], upcasters: &Upcasters) -> Result<Vec<Fault>, WriteError> {
    let mut faults = Vec::new();
    let mut paths: BTreeSet<&str> = BTreeSet::new();
    let (current, published) = (read_all(dir)?, read_all(&dir.join(PUBLISHED))?);
    for schema in generated {
        paths.insert(&schema.path);
        match current.get(&schema.path) {
            None => faults.push(Fault::Missing { path: schema.path.clone() }),
            Some(text) if *text != schema.json => faults.push(Fault::Drifted { path: schema.path.clone() }),
            Some(_) => {}
        }
        let path = format!("{PUBLISHED}/{}", schema.path);
        match published.get(&schema.path) {
            None => faults.push(Fault::Missing { path }),
            Some(text) => faults.extend(compare(path, text, &schema.json)),
        }
    }
    let old: BTreeSet<&String> =
        current.keys().chain(published.keys()).filter(|path| !paths.contains(path.as_str())).collect();
    for path in old {
        let copy = format!("{PUBLISHED}/{path}");
        match (current.get(path), published.get(path)) {
            _ if !is_read(path, upcasters) => faults.push(Fault::Orphaned { path: path.clone() }),
            (Some(text), Some(published)) => faults.extend(compare(copy, published, text)),
            (Some(_), None) => faults.push(Fault::Missing { path: copy }),
            (None, _) => faults.push(Fault::Missing { path: path.clone() }),
        }
    }
    Ok(faults)
}

/// Writes the generated schemas and their published copies; gives the paths that changed.
///
/// # Errors
/// An incompatible change of a published version, a version that nothing reads any more, or a
/// failing disk.
pub fn write(dir: &Path, generated: &[GeneratedSchema], upcasters: &Upcasters) -> Result<Vec<String>, WriteError> {
    let refused: Vec<Fault> =
        check(dir, generated, upcasters)?.into_iter().filter(|fault| !fault.is_mended_by_writing()).collect();
    if !refused.is_empty() {
        return Err(WriteError::Refused(refused));
    }
    // The other copy of an older version brings a lost one back.
    let (current, published) = (read_all(dir)?, read_all(&dir.join(PUBLISHED))?);
    let mut wanted: BTreeMap<&String, &String> = published.iter().chain(&current).collect();
    wanted.extend(generated.iter().map(|schema| (&schema.path, &schema.json)));
    let mut written = Vec::new();
    for (path, json) in wanted {
        for (existing, path) in [(&current, path.clone()), (&published, format!("{PUBLISHED}/{path}"))] {
            if existing.get(path.strip_prefix("published/").unwrap_or(&path)) == Some(json) {
                continue;
            }
            let file = dir.join(&path);
            let failed = |source| WriteError::Io { path: file.display().to_string(), source };
            file.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
            fs::write(&file, json).map_err(failed)?;
            written.push(path);
        }
    }
    Ok(written)
}

fn compare(path: String, published: &str, current: &str) -> Option<Fault> {
    if published == current {
        return None;
    }
    let parse = serde_json::from_str::<Value>;
    match (parse(published), parse(current)) {
        (Ok(published), Ok(current)) => {
            let changes = incompatibilities(&published, &current);
            Some(if changes.is_empty() { Fault::Drifted { path } } else { Fault::Incompatible { path, changes } })
        }
        (Err(error), _) | (_, Err(error)) => Some(Fault::Unreadable { path, reason: error.to_string() }),
    }
}

/// Whether a path `{aggregate}/{type}.v{version}.json` names a version that an upcaster takes.
fn is_read(path: &str, upcasters: &Upcasters) -> bool {
    let parts = || {
        let (kind, file) = path.split_once('/')?;
        let (event_type, version) = file.strip_suffix(".json")?.split_once(".v")?;
        Some(upcasters.reads(StreamKind::from_name(kind)?, event_type, version))
    };
    parts().unwrap_or(false)
}

/// The text of every `{folder}/{name}.json` below `dir`, by that path. Published copies apart.
fn read_all(dir: &Path) -> Result<BTreeMap<String, String>, WriteError> {
    let mut files = BTreeMap::new();
    for folder in names(dir)? {
        if folder == PUBLISHED || !dir.join(&folder).is_dir() {
            continue;
        }
        for name in names(&dir.join(&folder))? {
            if name.ends_with(".json") {
                let path = format!("{folder}/{name}");
                let file = dir.join(&path);
                let text = fs::read_to_string(&file)
                    .map_err(|source| WriteError::Io { path: file.display().to_string(), source })?;
                files.insert(path, text);
            }
        }
    }
    Ok(files)
}

fn names(dir: &Path) -> Result<Vec<String>, WriteError> {
    let failed = |source| WriteError::Io { path: dir.display().to_string(), source };
    if !dir.exists() {
        return Ok(Vec::new());
    }
    fs::read_dir(dir)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()).map_err(failed))
        .collect()
}
