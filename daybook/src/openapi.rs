//! `daybook openapi`: the committed OpenAPI documents of both APIs, written or checked.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;
use utoipa::openapi::OpenApi;

use crate::openapi_breaking::breaking_changes;

/// Write the OpenAPI documents of both APIs, or check that the committed ones are these.
#[derive(Debug, clap::Args)]
pub(crate) struct OpenapiArgs {
    /// Only compare; exit code 1 where a committed document differs.
    #[arg(long)]
    check: bool,
    /// The checkout; each document is in its crate's folder.
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
}

/// Both APIs under one address, in one document.
pub(crate) fn whole() -> OpenApi {
    let mut api = command_api::openapi();
    "Daybook".clone_into(&mut api.info.title);
    api.merge(query_api::openapi());
    api
}

/// Writes or compares the documents. Repeating it changes nothing.
pub(crate) fn run(args: OpenapiArgs) -> anyhow::Result<()> {
    for (name, api) in [("command-api", command_api::openapi()), ("query-api", query_api::openapi())] {
        let path = args.dir.join(name).join("openapi.json");
        if args.check {
            check(name, &path, &args.dir, &serde_json::to_value(&api)?)?;
        } else {
            write(&path, &(api.to_pretty_json()? + "\n"))?;
            say!("wrote {}", path.display());
        }
    }
    if args.check {
        say!("both documents are those of the code, and break no client of the published ones");
    }
    Ok(())
}

/// Compared as JSON: the order of members is nobody's business.
fn check(name: &str, path: &Path, dir: &Path, generated: &Value) -> anyhow::Result<()> {
    if read(path).ok().as_ref() != Some(generated) {
        bail!("{} is not what the code says; `cargo run -p daybook -- openapi` writes it anew", path.display());
    }
    let published = read(&dir.join("docs/openapi/published").join(name).with_extension("json"))?;
    let broken = breaking_changes(&published, generated);
    if !broken.is_empty() {
        bail!("{name} would break clients of the published API:\n{}", broken.join("\n"));
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
