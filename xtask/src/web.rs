//! `cargo xtask web`: the web app as a folder of files that `stonechatd` is built around. And what drives it in a browser.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::commands::run;
use crate::layout::{Layout, show};
use crate::programs;
use crate::tools::{self, Need};

/// How the web app is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    /// As small as it gets: for people. Takes minutes.
    Small,
    /// As quickly as it gets, for tests, the demo and those who write it.
    Quick,
}

impl Build {
    /// The folder that the files end in. Cargo has directories named by profiles beside it.
    pub(crate) fn folder(self, layout: &Layout) -> PathBuf {
        layout.target.join(match self {
            Self::Small => "web-app",
            Self::Quick => "web-app-dev",
        })
    }

    /// Cargo's profile, and the directory that it calls it by.
    const fn profile(self) -> (&'static str, &'static str) {
        match self {
            Self::Small => ("web", "web"),
            Self::Quick => ("dev", "debug"),
        }
    }
}

/// Builds the web app and returns its folder.
pub(crate) fn build(layout: &Layout, build: Build) -> Result<PathBuf> {
    let compilers = set_up(layout)?;
    let (profile, directory) = build.profile();
    let folder = build.folder(layout);

    let start = Instant::now();
    let mut cargo = layout.cargo(["build", "-p", "stonechat-web", "--bins", "--target", TARGET, "--profile", profile]);
    run(cargo.envs(compilers), "The compiler's message above says what is wrong.")?;
    let compiled = start.elapsed();

    let start = Instant::now();
    let wasm = layout.target.join(TARGET).join(directory);
    let mut bundle = Command::new(programs::packer(layout)?);
    bundle.arg("--page").arg(wasm.join("stonechat-page.wasm"));
    bundle.arg("--worker").arg(wasm.join("stonechat-worker.wasm"));
    bundle.arg("--static").arg(layout.root.join("crates/web/static")).arg("--out").arg(&folder);
    if build == Build::Quick {
        bundle.arg("--quick");
    }
    run(&mut bundle, "The web app's programs are built; making its folder from them failed.")?;
    println!(
        "built the web app in {} (compiling {:.0} s, the rest {:.0} s)",
        show(&folder),
        compiled.as_secs_f64(),
        start.elapsed().as_secs_f64()
    );
    Ok(folder)
}

/// Clippy on what only a browser compiles.
pub(crate) fn lint(layout: &Layout) -> Result<()> {
    let compilers = set_up(layout)?;
    let mut cargo =
        layout.cargo(["clippy", "-p", "stonechat-web", "--bins", "--target", TARGET, "--", "-D", "warnings"]);
    run(cargo.envs(compilers), "Clippy's message above says what is wrong.")
}

/// What a run of the browser tests does.
pub(crate) enum Drive {
    /// Runs the tests; with names, those whose names contain one of them.
    Tests {
        /// Parts of names.
        names: Vec<String>,
        /// With what people get, which takes some minutes to build, instead of what the other tests use.
        small: bool,
    },
    /// Regenerates `docs/screenshots/`.
    Screenshots,
    /// Measures, with the optimised programs.
    Bench(Vec<OsString>),
}

/// Drives the web app in Chromium, against programs that are built before.
pub(crate) fn drive(layout: &Layout, drive: &Drive) -> Result<()> {
    let chromium = tools::find(&CHROMIUM)?;
    tools::find(&NODE)?;
    tools::check_compilers()?;
    let directory = match drive {
        Drive::Bench(_) | Drive::Tests { small: true, .. } => {
            let folder = build(layout, Build::Small)?;
            let mut cargo = layout.cargo_release(MEASURED);
            run(cargo.env(FOLDER_VARIABLE, folder), "The compiler's message above says what is wrong.")?;
            layout.target.join("release")
        }
        Drive::Tests { .. } | Drive::Screenshots => {
            if !layout.built {
                programs::build(layout, true, &mut |what| println!("{what}"))?;
            }
            layout.target.join("debug")
        }
    };

    let tests = layout.root.join("tests/web");
    let mut install = Command::new("npm");
    install.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&tests);
    run(&mut install, "The tests need playwright-core and axe-core from npm's registry.")?;

    let mut node = Command::new("node");
    node.current_dir(&tests)
        .env("STONECHAT_CHROMIUM", chromium)
        .env("STONECHATD", directory.join("stonechatd"))
        .env("STONECHAT", directory.join("stonechat"))
        .env("STONECHAT_WORK", layout.target.join("web-tests"));
    match drive {
        Drive::Tests { names, .. } => {
            // One file after the other: each starts servers and browsers of its own.
            node.args(["--test", "--test-concurrency=1", "--test-reporter=spec"]);
            for name in names {
                node.arg(format!("--test-name-pattern={name}"));
            }
            node.args(test_files(&tests)?);
        }
        Drive::Screenshots => _ = node.arg("screenshots.mjs").arg(layout.root.join("docs/screenshots")),
        Drive::Bench(args) => _ = node.arg("bench.mjs").args(args),
    }
    run(&mut node, "What the browser showed is in target/web-tests, a folder for each test.")
}

fn test_files(tests: &Path) -> Result<Vec<OsString>> {
    let entries = std::fs::read_dir(tests).with_context(|| format!("cannot read {}", tests.display()))?;
    let names = entries.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
    let mut names = names.into_iter().filter(|name| name.to_string_lossy().ends_with(".test.mjs")).collect::<Vec<_>>();
    names.sort();
    if names.is_empty() {
        bail!("there are no tests in {}", tests.display());
    }
    Ok(names)
}

/// Rust's wasm target, and a C compiler that can make wasm: for SQLite. Returns what Cargo's environment needs.
fn set_up(layout: &Layout) -> Result<Vec<(&'static str, OsString)>> {
    tools::check_wasm_target(layout, TARGET)?;
    // Somebody's own choice is theirs.
    if std::env::var_os(COMPILER_VARIABLE).is_some() {
        return Ok(Vec::new());
    }
    let clang = tools::find(&CLANG)?;
    let mut compilers = vec![(COMPILER_VARIABLE, clang.into())];
    // Not every system's own `ar` can list what is in a file of wasm; the compiler's sibling can.
    let archiver = clang.replace("clang", "llvm-ar");
    if std::env::var_os(ARCHIVER_VARIABLE).is_none() && tools::works(Command::new(&archiver).arg("--version")) {
        compilers.push((ARCHIVER_VARIABLE, archiver.into()));
    }
    Ok(compilers)
}

/// What a measurement runs: the programs, and the example that fills a conversation.
const MEASURED: &[&str] = &[
    "build",
    "--release",
    "-p",
    "stonechat-server",
    "-p",
    "stonechat-cli",
    "-p",
    "stonechat-client",
    "--bins",
    "--example",
    "flood",
];
/// What compiling the web app needs, before anything is built.
pub(crate) fn check_compilers(layout: &Layout) -> Result<()> {
    set_up(layout).map(drop)
}

/// Everything that building and driving the web app needs, before anything is built: what is missing is best known at once.
pub(crate) fn check_tools(layout: &Layout) -> Result<()> {
    set_up(layout)?;
    tools::find(&NODE)?;
    tools::find(&CHROMIUM)?;
    Ok(())
}

/// Names the folder to the server's build.
pub(crate) const FOLDER_VARIABLE: &str = "STONECHAT_WEB_DIR";
const TARGET: &str = "wasm32-unknown-unknown";
const COMPILER_VARIABLE: &str = "CC_wasm32_unknown_unknown";
const ARCHIVER_VARIABLE: &str = "AR_wasm32_unknown_unknown";

const CLANG: Need = Need {
    what: "a clang that can make wasm (the vault's SQLite is C)",
    names: &[
        "clang",
        "clang-22",
        "clang-21",
        "clang-20",
        "clang-19",
        "clang-18",
        "clang-17",
        "clang-16",
        "clang-15",
        "clang-14",
        "/opt/homebrew/opt/llvm/bin/clang",
        "/usr/local/opt/llvm/bin/clang",
    ],
    // Apple's has no wasm.
    check: (&["-print-targets"], "wasm32"),
    debian: &["clang"],
    elsewhere: "Fedora: dnf install clang; Arch: pacman -S clang; macOS: brew install llvm",
};

const NODE: Need = Need {
    what: "Node.js 20 or later with npm (it drives the browser)",
    names: &["node"],
    check: (&["-e", "if (+process.versions.node.split('.')[0] >= 20) console.log('new enough')"], "new enough"),
    debian: &["nodejs", "npm"],
    elsewhere: "https://nodejs.org",
};

const CHROMIUM: Need = Need {
    what: "Chromium",
    names: &[
        "chromium",
        "chromium-browser",
        "google-chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    ],
    check: (&["--version"], "Chrom"),
    debian: &["chromium"],
    elsewhere: "Fedora: dnf install chromium; Arch: pacman -S chromium; macOS: brew install --cask chromium",
};
