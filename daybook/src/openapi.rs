//! `daybook openapi`: the committed OpenAPI documents of both APIs, written or checked.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;
use utoipa::openapi::OpenApi;

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
    let mut drifted = Vec::new();
    for (name, api) in
        [("command-api/openapi.json", command_api::openapi()), ("query-api/openapi.json", query_api::openapi())]
    {
        let path = args.dir.join(name);
        let mut generated = api.to_pretty_json()?;
        generated.push('\n');
        if args.check {
            // Compared as JSON: the order of members is nobody's business.
            let committed: Option<Value> =
                std::fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str(&text).ok());
            if committed != Some(serde_json::from_str(&generated)?) {
                drifted.push(path.display().to_string());
            }
        } else {
            write(&path, &generated)?;
            println!("wrote {}", path.display());
        }
    }
    if !drifted.is_empty() {
        bail!("{} is not what the code says; `cargo run -p daybook -- openapi` writes it anew", drifted.join(", "));
    }
    if args.check {
        println!("both documents are those of the code");
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
