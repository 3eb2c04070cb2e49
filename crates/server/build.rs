//! Makes the table of the web app's files, from the folder that `STONECHAT_WEB_DIR` names (`cargo xtask web` makes one).
//! Without the variable the table is empty, and the server says that the web app is not in it.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=STONECHAT_WEB_DIR");
    println!("cargo::rerun-if-changed=build.rs");
    let files = match env::var_os("STONECHAT_WEB_DIR") {
        Some(dir) => list(Path::new(&dir)),
        None => BTreeMap::new(),
    };
    let mut table = "&[\n".to_owned();
    for (name, path) in &files {
        if name.ends_with(".br") {
            continue;
        }
        let packed = match files.get(&format!("{name}.br")) {
            Some(packed) => format!("Some(include_bytes!({packed:?}))"),
            None => "None".to_owned(),
        };
        // Writing to a string does not fail.
        let _ = writeln!(table, "    File {{ name: {name:?}, plain: include_bytes!({path:?}), brotli: {packed} }},");
    }
    table.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("Cargo sets OUT_DIR")).join("web_files.rs");
    fs::write(&out, table).unwrap_or_else(|error| panic!("cannot write {}: {error}", out.display()));
}

/// The files of a flat folder, by name.
fn list(dir: &Path) -> BTreeMap<String, PathBuf> {
    println!("cargo::rerun-if-changed={}", dir.display());
    let entries = fs::read_dir(dir).unwrap_or_else(|error| {
        panic!(
            "STONECHAT_WEB_DIR is {}, which cannot be read: {error}. `cargo xtask web` makes the folder",
            dir.display()
        )
    });
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry.expect("a folder's entries can be read").path();
        let path = path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        println!("cargo::rerun-if-changed={}", path.display());
        let name = path.file_name().and_then(|name| name.to_str()).expect("names in the folder are ASCII");
        files.insert(name.to_owned(), path.clone());
    }
    assert!(files.contains_key("index.html"), "STONECHAT_WEB_DIR is {}, which has no index.html", dir.display());
    files
}
