//! The tools that the build and the checks stand on: installs what rustup has, and says exactly what to install otherwise.

use std::path::Path;
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

/// Rust's standard library for a browser, installed through rustup when it is missing.
pub(crate) fn check_wasm_target(layout: &Layout, target: &str) -> Result<()> {
    let is_there = || {
        let sysroot = Command::new("rustc").args(["--print", "sysroot"]).current_dir(&layout.root).output();
        let sysroot =
            sysroot.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
        Path::new(&sysroot).join("lib/rustlib").join(target).join("lib").is_dir()
    };
    if is_there() {
        return Ok(());
    }
    println!("Rust's target {target} is missing; installing it with rustup");
    let installed = Command::new("rustup").args(["target", "add", target]).current_dir(&layout.root).status();
    if !installed.is_ok_and(|status| status.success()) || !is_there() {
        bail!(
            "Rust's target {target} is missing and could not be installed. The web app is compiled to it.\n\
             With rustup (https://rustup.rs): rustup target add {target}"
        );
    }
    Ok(())
}

/// A program that is needed, and how to come by it.
pub(crate) struct Need {
    pub(crate) what: &'static str,
    /// What it may be called; the first that passes the check is taken.
    pub(crate) names: &'static [&'static str],
    /// Arguments, and what it then prints.
    pub(crate) check: (&'static [&'static str], &'static str),
    /// Debian's packages.
    pub(crate) debian: &'static [&'static str],
    /// The same for other systems, in words.
    pub(crate) elsewhere: &'static str,
}

/// Finds a program. As root on a Debian it is installed when it is missing, as in a container; otherwise the error says what to
/// install.
pub(crate) fn find(need: &Need) -> Result<&'static str> {
    let search = || {
        need.names.iter().copied().find(|name| {
            let output = Command::new(name).args(need.check.0).stdin(Stdio::null()).stderr(Stdio::null()).output();
            output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(need.check.1))
        })
    };
    if let Some(name) = search() {
        return Ok(name);
    }
    let packages = need.debian.join(" ");
    if rustix::process::geteuid().is_root() && works(Command::new("apt-get").arg("--version")) {
        println!("{} is missing; installing {packages} with apt-get", need.what);
        // The lists of a fresh container are empty or old.
        let apt = |args: &[&str]| Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").status();
        let _ = apt(&["update", "-qq"]);
        let _ = apt(&[&["install", "-y", "-qq", "--no-install-recommends"], need.debian].concat());
        if let Some(name) = search() {
            return Ok(name);
        }
    }
    bail!("{} is missing.\n  Debian, Ubuntu: apt-get install {packages}\n  {}", need.what, need.elsewhere);
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

    #[test]
    fn a_tool_is_found_by_what_it_says_and_a_missing_one_by_what_to_install() {
        let need = |names, says| Need {
            what: "a shell",
            names,
            check: (&["-c", "echo fit"], says),
            debian: &[],
            elsewhere: "",
        };
        assert_eq!(find(&need(&["/nonexistent/tool", "sh"], "fit")).unwrap(), "sh");
    }
}
