//! Measures the whole path: a `stonechatd` process, real WebSockets, the SDK. Every figure stands beside a floor that was
//! measured in the same run.
//!
//! `cargo xtask bench [NAME] [-- OPTIONS]` builds and runs it; this program does not build `stonechatd` itself. Server and
//! clients share this machine's processors, so a figure says what one machine does with both sides on it. `--dir` must
//! be on the disk in question, not in memory.

mod appends;
mod contacts;
mod floor;
mod group;
mod idle;
mod latency;
mod people;
mod proxy;
mod reopen;
mod server;
mod sync;
mod table;
mod wire;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tempfile::TempDir;

#[derive(Parser)]
struct Arguments {
    /// What to measure; without it, everything.
    name: Option<Measurement>,
    /// How long each run of a throughput takes.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How often each is repeated; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// How many senders append at once.
    #[arg(long, default_value_t = 256)]
    senders: usize,
    /// Where everything is written [default: in Cargo's target directory].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Cargo's own.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Measurement {
    Store,
    Appends,
    Latency,
    Idle,
    Group,
    Sync,
    Reopen,
    Contacts,
    /// The floor of `idle`: a process that holds bare connections.
    #[value(hide = true)]
    HoldConnections,
}

/// What every measurement is given.
struct Bench {
    seconds: u64,
    runs: usize,
    senders: usize,
    dir: TempDir,
}

impl Bench {
    /// An empty folder.
    fn folder(&self) -> Result<TempDir> {
        TempDir::new_in(self.dir.path()).context("cannot make a folder to measure in")
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.name == Some(Measurement::HoldConnections) {
        return idle::hold_connections().await;
    }
    // A keyring would be asked for the key of each of some hundred homes, and would keep them.
    ensure!(
        std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_none(),
        "unset DBUS_SESSION_BUS_ADDRESS, or run this as `cargo xtask bench`"
    );
    ensure!(arguments.seconds > 0 && arguments.runs > 0 && arguments.senders > 0, "numbers are at least 1");
    let parent = arguments.dir.as_deref().unwrap_or(Path::new(env!("CARGO_TARGET_TMPDIR")));
    let dir = TempDir::new_in(parent).with_context(|| format!("cannot write to {}", parent.display()))?;
    let bench = Bench { seconds: arguments.seconds, runs: arguments.runs, senders: arguments.senders, dir };
    table::machine();
    let chosen = |measurement| arguments.name.is_none_or(|name| name == measurement);
    if chosen(Measurement::Store) {
        floor::store(&bench).await?;
    }
    if chosen(Measurement::Appends) {
        appends::run(&bench).await?;
    }
    if chosen(Measurement::Latency) {
        latency::run(&bench).await?;
    }
    if chosen(Measurement::Idle) {
        idle::run(&bench).await?;
    }
    if chosen(Measurement::Group) {
        group::run(&bench).await?;
    }
    if chosen(Measurement::Sync) {
        sync::run(&bench).await?;
    }
    if chosen(Measurement::Reopen) {
        reopen::run(&bench).await?;
    }
    if chosen(Measurement::Contacts) {
        contacts::run(&bench).await?;
    }
    Ok(())
}
