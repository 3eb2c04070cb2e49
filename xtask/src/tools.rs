//! The tools that the build and the checks stand on: installs what rustup has, and says exactly what to install otherwise.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::layout::Layout;

/// What the encrypted database is built with: a C compiler, and OpenSSL. The system's OpenSSL spares most of the first build's time;
/// where it cannot be had, OpenSSL is built from source, which takes make, and perl with its standard modules.
pub(crate) fn check_compilers() -> Result<()> {
    if !works(Command::new("cc").arg("--version")) {
        bail!("a C compiler (cc) is missing or does not run.\n{INSTALL_COMPILERS}");
    }
    if !has_openssl() {
        install_with_apt("OpenSSL to build with", &["libssl-dev", "pkg-config"]);
    }
    if has_openssl() {
        return Ok(());
    }
    println!(
        "OpenSSL to build with is not there, so it is built from source, once, in some minutes. This spares it:\n  \
         Debian, Ubuntu   apt-get install libssl-dev pkg-config\n  \
         Fedora           dnf install openssl-devel pkgconf\n  \
         Arch             pacman -S openssl pkgconf\n  \
         macOS            brew install openssl@3"
    );
    check_openssl_from_source()
}

/// What building OpenSSL from source takes: programs that people get bring their own.
pub(crate) fn check_openssl_from_source() -> Result<()> {
    let needed: [(&str, &[&str]); 3] = [
        ("cc", &["--version"]),
        ("make", &["--version"]),
        ("perl", &["-MFindBin", "-MIPC::Cmd", "-MFile::Compare", "-MFile::Copy", "-e", "1"]),
    ];
    let missing = needed.iter().filter(|(name, args)| !works(Command::new(name).args(*args))).map(|(name, _)| *name);
    let missing = missing.collect::<Vec<_>>();
    if !missing.is_empty() {
        bail!("{} is missing or does not run. OpenSSL is built from source.\n{INSTALL_COMPILERS}", missing.join(", "));
    }
    Ok(())
}

/// Whether the system has an OpenSSL with what is needed to build with it, where `openssl-sys` looks for it.
pub(crate) fn has_openssl() -> bool {
    let homebrew = ["/opt/homebrew/opt/openssl@3", "/usr/local/opt/openssl@3"];
    works(Command::new("pkg-config").args(["--exists", "openssl"]))
        || homebrew.iter().any(|dir| Path::new(dir).is_dir())
}

/// Tells `openssl-sys` whether to take the system's OpenSSL (1) or to build its own (0).
pub(crate) const SYSTEM_OPENSSL: &str = "OPENSSL_NO_VENDOR";

const INSTALL_COMPILERS: &str = "  Debian, Ubuntu   apt-get install build-essential perl\n  \
     Fedora           dnf install gcc make perl\n  \
     Arch             pacman -S base-devel perl\n  \
     macOS            xcode-select --install";

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
    install_with_apt(need.what, need.debian);
    if let Some(name) = search() {
        return Ok(name);
    }
    let packages = need.debian.join(" ");
    bail!("{} is missing.\n  Debian, Ubuntu: apt-get install {packages}\n  {}", need.what, need.elsewhere);
}

/// As root on a Debian, as in a container. Whether it worked is for the caller to see.
fn install_with_apt(what: &str, packages: &[&str]) {
    if packages.is_empty() || !rustix::process::geteuid().is_root() || !works(Command::new("apt-get").arg("--version"))
    {
        return;
    }
    println!("{what} is missing; installing {} with apt-get", packages.join(" "));
    // The lists of a fresh container are empty or old.
    let apt = |args: &[&str]| Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").status();
    let _ = apt(&["update", "-qq"]);
    let _ = apt(&[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat());
}

/// PostgreSQL's server, for the tests of the store of several machines: `tests/postgres/start` runs it. Not needed where the
/// tests are given one.
pub(crate) fn check_postgres() -> Result<()> {
    if std::env::var_os("STONECHAT_TEST_POSTGRES").is_none() {
        find(&POSTGRES)?;
    }
    Ok(())
}

const POSTGRES: Need = Need {
    what: "PostgreSQL 15 or later",
    names: &[
        "initdb",
        "/usr/lib/postgresql/18/bin/initdb",
        "/usr/lib/postgresql/17/bin/initdb",
        "/usr/lib/postgresql/16/bin/initdb",
        "/usr/lib/postgresql/15/bin/initdb",
    ],
    check: (&["--version"], "PostgreSQL"),
    debian: &["postgresql"],
    elsewhere: "Fedora: dnf install postgresql-server; Arch: pacman -S postgresql; macOS: brew install postgresql",
};

/// A subcommand of Cargo, as its own package of crates.io.
pub(crate) struct Subcommand {
    name: &'static str,
    package: &'static str,
    version: &'static str,
}

pub(crate) const NEXTEST: Subcommand = Subcommand { name: "nextest", package: "cargo-nextest", version: "0.9.143" };
pub(crate) const DENY: Subcommand = Subcommand { name: "deny", package: "cargo-deny", version: "0.20.2" };

/// Whether a subcommand of Cargo is there. With `install` it is installed when it is missing, which takes minutes once.
pub(crate) fn find_subcommand(layout: &Layout, subcommand: &Subcommand, install: bool) -> bool {
    let Subcommand { name, package, version } = subcommand;
    let is_there = || works(&mut layout.cargo([name, "--version"]));
    if is_there() {
        return true;
    }
    if !install {
        return false;
    }
    println!("{package} is missing; installing {version} with cargo");
    let mut install = layout.cargo(["install", "--quiet", "--locked", "--debug", "--version", version, package]);
    // It runs for seconds: what optimising and debug information would cost to compile is never earned back.
    install.env("CARGO_PROFILE_DEV_DEBUG", "false");
    install.status().is_ok_and(|status| status.success()) && is_there()
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
