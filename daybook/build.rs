//! A new migration must find its way into the binary: cargo does not see files that are added to
//! the folders that are embedded.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
