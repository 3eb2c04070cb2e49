//! The tools that the build and the checks stand on: installs what rustup has, and says exactly what to install otherwise.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::layout::Layout;

/// SQLCipher and OpenSSL are built from source: that takes a C compiler, make, and perl with its standard modules.
pub(crate) fn check_compilers() -> Result<()> {
    let needed: [(&str, &[&str]); 3] = [
        ("cc", &["--version"]),
        ("make", &["--version"]),
        ("perl", &["-MFindBin", "-MIPC::Cmd", "-MFile::Compare", "-MFile::Copy", "-e", "1"]),
    ];
    let missing = needed.iter().filter(|(name, args)| !works(Command::new(name).args(*args))).map(|(name, _)| *name);
    let missing = missing.collect::<Vec<_>>();
    if !missing.is_empty() {
        bail!(
            "{} is missing or does not run. The encrypted database is built from source and needs a C compiler, make and perl:\n  \
             Debian, Ubuntu   apt-get install build-essential perl\n  \
             Fedora           dnf install gcc make perl\n  \
             Arch             pacman -S base-devel perl\n  \
             macOS            xcode-select --install",
            missing.join(", ")
        );
    }
    Ok(())
}

/// rustfmt and clippy, installed through rustup when they are missing. Returns what was found, for the log.
pub(crate) fn check_rust(layout: &Layout) -> Result<String> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if works(&mut layout.cargo([subcommand, "--version"])) {
            continue;
        }
        println!("{component} is missing; installing it with rustup");
        let installed = Command::new("rustup").args(["component", "add", component]).current_dir(&layout.root).status();
        if !installed.is_ok_and(|status| status.success()) || !works(&mut layout.cargo([subcommand, "--version"])) {
            bail!(
                "{component} is missing and could not be installed.\nWith rustup (https://rustup.rs): rustup component add {component}\n\
                 Without it: install your system's package of {component} for the Rust version in rust-toolchain.toml."
            );
        }
    }
    let version = Command::new("rustc").arg("--version").current_dir(&layout.root).output();
    Ok(version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default())
}

pub(crate) fn has_nextest(layout: &Layout) -> bool {
    works(&mut layout.cargo(["nextest", "--version"]))
}

pub(crate) fn has_deny(layout: &Layout) -> bool {
    works(&mut layout.cargo(["deny", "--version"]))
}

/// Whether a command runs and succeeds. Its output is not shown.
pub(crate) fn works(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_does_not_work() {
        assert!(works(Command::new("sh").args(["-c", "exit 0"])));
        assert!(!works(Command::new("sh").args(["-c", "exit 1"])));
        assert!(!works(&mut Command::new("/nonexistent/tool")));
    }
}
