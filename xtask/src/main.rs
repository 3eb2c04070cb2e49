//! `cargo xtask`: what the README's commands call.
//!
//! `demo` starts everything and shows the way in, `test` does all set-up and runs every check, the others are what `test`
//! is made of. This crate depends on none of the project's others, so that it compiles in seconds and can say what is
//! wrong when they do not compile.

mod commands;
mod demo;
mod layout;
mod process;
mod programs;
mod suite;
mod tools;
mod web;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use layout::Layout;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Runs, tests and measures Stonechat.")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build and start a server with a contact that answers, and show the way in. Ctrl-C stops it.
    Demo {
        /// Walk the way in as a newcomer would (sign up, write to @echo, read the answer), then stop: 0 when it worked.
        #[arg(long)]
        check: bool,
        /// Keep everything in this directory and go on from what it holds [default: target/demo, emptied at each start].
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// The address to listen on; port 0 picks a free one [default: 127.0.0.1:0, or with --data the last one].
        #[arg(long, value_name = "ADDR")]
        listen: Option<String>,
        /// Leave the web app out: neither Rust's wasm target nor clang is needed then.
        #[arg(long)]
        no_web: bool,
        /// Take the programs in target/debug as they are.
        #[arg(long, hide = true)]
        built: bool,
    },
    /// Do all set-up and run every check: format, lints, tests, simulation, dependencies, the demo, the web app in a browser.
    Test {
        /// Leave out the slow ones: doctests, the simulation, the demo and the web app.
        #[arg(long)]
        fast: bool,
    },
    /// Run the simulation: real clients and the real server's services on a simulated network, clock and disk.
    #[command(group = clap::ArgGroup::new("which").args(["seed", "seeds"]).required(true))]
    Sim {
        /// Replay one seed.
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        /// Run a range of seeds; the end is not included.
        #[arg(long, value_name = "A..B", value_parser = commands::parse_seeds)]
        seeds: Option<std::ops::Range<u64>>,
        /// How many steps each seed runs for [default: the simulator's own].
        #[arg(long, value_name = "N")]
        steps: Option<u64>,
    },
    /// Run the measurements behind docs/performance.md, optimised. Without a name: all of them.
    Bench {
        /// Which one; `--list` shows them.
        name: Option<String>,
        /// Show what there is to measure.
        #[arg(long)]
        list: bool,
        /// Handed to the benchmark as they are.
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Regenerate the files in vectors/ from the code. Read the difference before you commit it.
    Vectors,
    /// Build stonechatd with the web app in it, stonechat-witness and stonechat, optimised.
    Build {
        /// Leave the web app out: neither Rust's wasm target nor clang is needed then.
        #[arg(long)]
        no_web: bool,
    },
    /// Build the web app into a folder, for a server that is built with STONECHAT_WEB_DIR naming it.
    Web {
        /// Quickly and large instead of small and slowly.
        #[arg(long)]
        dev: bool,
        /// Only check it with clippy, for the browser.
        #[arg(long, conflicts_with = "dev")]
        lint: bool,
        /// Take the programs in target/debug as they are.
        #[arg(long, hide = true)]
        built: bool,
    },
    /// Drive the web app in Chromium against real servers, and a terminal client.
    Browser {
        /// Regenerate docs/screenshots/ instead of testing.
        #[arg(long, conflicts_with = "names")]
        screenshots: bool,
        /// Test what people get, optimised, instead of what builds quickly.
        #[arg(long, conflicts_with = "screenshots")]
        small: bool,
        /// Take the programs in target/debug as they are.
        #[arg(long, hide = true, conflicts_with_all = ["screenshots", "small"])]
        built: bool,
        /// Only tests whose names contain one of these.
        names: Vec<String>,
    },
    /// Become a program that ends when its parent does.
    #[command(hide = true)]
    Tied {
        parent: u32,
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match Layout::find().and_then(|layout| perform(layout, Cli::parse().command)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether all is well; `test` has said itself what is not.
fn perform(mut layout: Layout, task: Task) -> Result<bool> {
    layout.built = matches!(
        task,
        Task::Demo { built: true, .. } | Task::Web { built: true, .. } | Task::Browser { built: true, .. }
    );
    let layout = &layout;
    match task {
        Task::Demo { check, data, listen, no_web, .. } => demo::run(layout, check, data, listen.as_deref(), !no_web)?,
        Task::Test { fast } => return suite::run(layout, fast),
        Task::Sim { seed, seeds, steps } => {
            let seeds =
                seeds.or(seed.map(|seed| seed..seed.saturating_add(1))).context("clap asks for one of the two")?;
            commands::sim(layout, &seeds, steps)?;
        }
        Task::Bench { list: true, .. } => commands::list_benches(),
        Task::Bench { name, args, .. } => commands::bench(layout, name.as_deref(), &args)?,
        Task::Vectors => commands::vectors(layout)?,
        Task::Build { no_web } => commands::build(layout, !no_web)?,
        Task::Web { lint: true, .. } => web::lint(layout)?,
        Task::Web { dev, .. } => _ = web::build(layout, if dev { web::Build::Quick } else { web::Build::Small })?,
        Task::Browser { screenshots: true, .. } => web::drive(layout, &web::Drive::Screenshots)?,
        Task::Browser { small, names, .. } => web::drive(layout, &web::Drive::Tests { names, small })?,
        Task::Tied { parent, program, args } => return Err(process::become_tied(parent, &program, &args)),
    }
    Ok(true)
}
