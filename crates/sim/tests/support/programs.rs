//! The programs of this workspace.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A program of this workspace, built if need be into the folder that this test was built into. `STONECHAT_BIN_DIR` names
/// a folder that has them already.
pub(crate) fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| std::env::var_os("STONECHAT_BIN_DIR").map_or_else(built, PathBuf::from));
    folder.join(name)
}

fn built() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let [_, folder, target] = test.ancestors().skip(1).take(3).collect::<Vec<&Path>>()[..] else {
        panic!("{} is not in a target folder", test.display());
    };
    let profile = folder.file_name().unwrap().to_str().unwrap();
    let profile = if profile == "debug" { "dev" } else { profile };
    let mut build = Command::new(env!("CARGO"));
    // The whole workspace, as `cargo xtask test` builds it: another selection has other features, and builds everything again.
    build.args(["build", "--quiet", "--workspace", "--bins", "--examples", "--profile", profile]);
    build.arg("--target-dir").arg(target).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    assert!(build.status().expect("cargo runs").success(), "stonechatd and stonechat build");
    folder.to_owned()
}
