//! Writes the committed schemas without building the whole of Daybook:
//! `cargo run -p event-schemas --example schemas`. The same as `daybook schemas`.

use std::path::Path;

fn main() -> Result<(), event_schemas::committed::WriteError> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let written = event_schemas::committed::write(&dir, &event_schemas::generate(), &event_schemas::upcast::UPCASTERS)?;
    written.iter().for_each(|path| println!("wrote {path}"));
    Ok(())
}
