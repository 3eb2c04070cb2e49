//! The short commands: `sim`, `bench`, `vectors`, `build`. Each hands over to Cargo and says what to do when that fails.

use std::ffi::OsString;
use std::ops::Range;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::layout::{Layout, command_line, show};
use crate::tools;
use crate::web;

/// The measurements of `cargo xtask bench`, each with what it says: names that the benchmark knows.
const BENCHES: &[(&str, &str)] = &[
    ("store", "durable appends a second of the store alone, and the disk's own group-committed fsync"),
    ("appends", "durable appends a second through WebSockets to stonechatd, beside the store alone"),
    ("latency", "one-to-one message, from send to decrypted by the other client"),
    ("idle", "server memory for an idle connection, at 5,000 of each kind"),
    ("group", "a group of 100 devices: create, add, send, self-update, in time and bytes"),
    ("sync", "cold sync of 10,000 messages"),
    ("reopen", "reopening a vault with 100,000 messages"),
    ("contacts", "starting with 500 contacts"),
    (DIRECTORY, "publishing the directory, look-up proofs and their verification, auditing its history"),
    (WEB, "the web app in Chromium: first load, starting, long conversations, memory"),
];

/// The one that measures the directory by itself.
const DIRECTORY: &str = "directory";
/// The one that drives a browser.
const WEB: &str = "web";

/// One selection of packages for the server and for what measures it: another has other features, and builds everything again.
const MEASURED: [&str; 4] = ["--package", "stonechat-server", "--package", "stonechat-sim"];

pub(crate) fn sim(layout: &Layout, seeds: &Range<u64>, steps: Option<u64>) -> Result<()> {
    run(&mut sim_command(layout, seeds, steps), "A seed that fails is replayed with `cargo xtask sim --seed N`.")
}

/// The simulator on a range of seeds; a range of one replays that seed.
pub(crate) fn sim_command(layout: &Layout, seeds: &Range<u64>, steps: Option<u64>) -> Command {
    let mut command = layout.cargo(["run", "--quiet", "-p", "stonechat-sim", "--bin", "stonechat-sim", "--"]);
    if seeds.start.checked_add(1) == Some(seeds.end) {
        command.args(["--seed", &seeds.start.to_string()]);
    } else {
        command.args(["--seeds", &format!("{}..{}", seeds.start, seeds.end)]);
    }
    if let Some(steps) = steps {
        command.args(["--steps", &steps.to_string()]);
    }
    command
}

/// Reads `A..B`.
pub(crate) fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let range = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    match range {
        Some(range) if !range.is_empty() => Ok(range),
        Some(_) => Err("the range is empty; the end is not included, so seed 7 alone is 7..8".to_owned()),
        None => Err("a range of seeds is two numbers with two dots between them, such as 0..200".to_owned()),
    }
}

pub(crate) fn list_benches() {
    for (name, what) in BENCHES {
        println!("{name:<8} {what}");
    }
}

pub(crate) fn bench(layout: &Layout, name: Option<&str>, args: &[OsString]) -> Result<()> {
    if let Some(name) = name
        && !BENCHES.iter().any(|(known, _)| *known == name)
    {
        let names = BENCHES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        bail!("there is no benchmark {name:?}; there are: {names}");
    }
    tools::check_openssl_from_source()?;
    if name.is_none_or(|name| name != WEB && name != DIRECTORY) {
        bench_path(layout, name, args)?;
    }
    if name.is_none_or(|name| name == DIRECTORY) {
        let mut bench = layout.cargo_release(["bench", "--bench", "directory"]);
        run(bench.args(MEASURED).arg("--").args(args), "Nothing else should run on this machine meanwhile.")?;
        bench_verification(layout)?;
    }
    if name.is_none_or(|name| name == WEB) {
        web::drive(layout, &web::Drive::Bench(args.to_vec()))?;
    }
    Ok(())
}

/// Verifying a look-up, natively and as a browser does: in V8, from WebAssembly that is optimised for its size.
fn bench_verification(layout: &Layout) -> Result<()> {
    let example = ["run", "--quiet", "--release", "--package", "stonechat-directory", "--example", "verify"];
    println!("\nnatively:");
    run(&mut layout.cargo(example), "Nothing else should run on this machine meanwhile.")?;
    tools::check_wasm_target(layout, WASI)?;
    let example =
        ["build", "--profile", "web", "--package", "stonechat-directory", "--example", "verify", "--target", WASI];
    run(&mut layout.cargo(example), "The compiler's message above says what is wrong.")?;
    println!("in V8:");
    let mut node = Command::new("node");
    node.args(["--no-warnings", "--input-type=module", "-e", RUN_IN_NODE, "--"]);
    node.arg(layout.target.join(WASI).join("web/examples/verify.wasm"));
    run(&mut node, "It needs Node.js 20 or newer.")
}

const WASI: &str = "wasm32-wasip1";
const RUN_IN_NODE: &str = "
    import fs from 'node:fs';
    import { WASI } from 'node:wasi';
    const wasi = new WASI({ version: 'preview1' });
    const module = await WebAssembly.compile(fs.readFileSync(process.argv[1]));
    wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
";

/// The measurements that need no browser: all of them, or one.
fn bench_path(layout: &Layout, name: Option<&str>, args: &[OsString]) -> Result<()> {
    let mut build = layout.cargo_release(["build", "--release", "--bin", "stonechatd", "--bench", "path"]);
    run(build.args(MEASURED), "The compiler's message above says what is wrong.")?;
    let mut bench = layout.cargo_release(["bench", "--bench", "path"]);
    bench.args(MEASURED).arg("--").args(name).args(args);
    // Without a session there is no keyring: the keys of the measured homes go into files.
    bench.env_remove("DBUS_SESSION_BUS_ADDRESS").env_remove("XDG_RUNTIME_DIR");
    run(&mut bench, "Nothing else should run on this machine meanwhile.")
}

pub(crate) fn vectors(layout: &Layout) -> Result<()> {
    // The seeds of the fuzz targets are made from the vectors.
    for tests in
        ["-p stonechat-wire -p stonechat-directory --test vectors --test directory", "-p stonechat-fuzz --test smoke"]
    {
        let mut command = layout.cargo(["test"].into_iter().chain(tests.split(' ')).chain(["are_what_the_code_makes"]));
        run(
            command.env("UPDATE_VECTORS", "1"),
            "The vectors may be half written: `git checkout vectors fuzz/seeds` brings the old ones back.",
        )?;
    }
    println!(
        "\nThe vectors are written. A changed line is a changed wire format: read `git diff vectors` before you commit it."
    );
    Ok(())
}

pub(crate) fn build(layout: &Layout, with_web: bool) -> Result<()> {
    tools::check_openssl_from_source()?;
    let args =
        ["build", "--release", "-p", "stonechat-server", "-p", "stonechat-witness", "-p", "stonechat-cli", "--bins"];
    let mut cargo = layout.cargo_release(args);
    if with_web {
        cargo.env(web::FOLDER_VARIABLE, web::build(layout, web::Build::Small)?);
    }
    run(&mut cargo, "The compiler's message above says what is wrong.")?;
    for name in ["stonechatd", "stonechat-witness", "stonechat"] {
        println!("built {}", show(&layout.target.join("release").join(name)));
    }
    if !with_web {
        println!("stonechatd has no web app in it");
    }
    Ok(())
}

/// Runs Cargo in the foreground.
pub(crate) fn run(command: &mut Command, advice: &str) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", command_line(command)))?;
    if !status.success() {
        bail!("this failed ({status}): {}\n{advice}", command_line(command));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_ranges_are_read() {
        assert_eq!(parse_seeds("0..200"), Ok(0..200));
        for wrong in ["", "7", "7..7", "9..3", "a..b", "0..=3", "-1..3", "0..99999999999999999999"] {
            assert!(parse_seeds(wrong).is_err(), "{wrong}");
        }
    }
}
