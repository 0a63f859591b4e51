//! `daybook schemas`: the committed JSON Schemas of the events, written or checked.

use std::path::Path;

use anyhow::bail;
use event_schemas::committed::{self, MEND};
use event_schemas::upcast::UPCASTERS;

/// Writes the schemas of all events into `dir` (`event-schemas/schemas` of a checkout), or with
/// `check` only compares. Repeating it changes nothing.
///
/// # Errors
/// With `check`: any file that differs, each named with what mends it. Without: a change that
/// would break the readers of a published version, or a failing disk.
pub(crate) fn run(check: bool, dir: &Path) -> anyhow::Result<()> {
    let generated = event_schemas::generate();
    if check {
        let faults = committed::check(dir, &generated, &UPCASTERS)?;
        if !faults.is_empty() {
            bail!("{} faults in {}:\n{}", faults.len(), dir.display(), committed::lines(&faults));
        }
        say!("{} schemas in {} are those of the Rust types", generated.len(), dir.display());
        return Ok(());
    }
    let written = committed::write(dir, &generated, &UPCASTERS)?;
    for path in &written {
        say!("wrote {}", dir.join(path).display());
    }
    if written.is_empty() {
        say!("{} schemas in {} are up to date; `{MEND} --check` agrees", generated.len(), dir.display());
    }
    Ok(())
}
