//! `stonechatd backup` and `stonechatd restore`.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use stonechat_server::backup::{Asking, Manifest, back_up, restore};

use super::{Place, print, runtime};

#[derive(Args)]
pub(crate) struct BackupArgs {
    /// A new folder for the backup. It will hold secret keys: keep it as you keep the data folder.
    #[arg(value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Prints the manifest as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct RestoreArgs {
    /// The folder of the backup.
    #[arg(value_name = "DIR")]
    from: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Where a witness says what it has seen: its address, or a file with the head that it cosigned. More than one may be
    /// given; those of the configuration are asked too.
    #[arg(long, value_name = "URL|FILE", conflicts_with = "offline")]
    witness: Vec<String>,
    /// Asks no witness. Only when you know that the directory published nothing since the backup: if it did, every client
    /// raises an alarm, and nothing can mend it.
    #[arg(long)]
    offline: bool,
    /// Prints the manifest as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: BackupArgs) -> anyhow::Result<()> {
    let config = args.place.load()?;
    let quiet = args.json || !std::io::stderr().is_terminal();
    let mut told = 0;
    let progress = |done: u64, all: u64| {
        let percent = (done * 100).checked_div(all).unwrap_or(100);
        if !quiet && percent > told {
            told = percent;
            // Nobody waits for it: a terminal that is gone is no failure of a backup.
            let _ = write!(std::io::stderr(), "\rcopying the database: {percent} %");
        }
    };
    let made = runtime()?.block_on(back_up(&config.data, &config.settings().directory, &args.to, progress));
    if told > 0 {
        eprintln!();
    }
    let manifest = made.with_context(|| format!("no backup was made in {}", args.to.display()))?;
    tell(&manifest, args.json, &format!("backed up to {}", args.to.display()))
}

pub(crate) fn run_restore(args: RestoreArgs) -> anyhow::Result<()> {
    let config = args.place.load()?;
    let addresses = [config.directory.witness_addresses.clone(), args.witness].concat();
    let asking = if args.offline { Asking::Nobody } else { Asking::Witnesses(addresses) };
    let restored = runtime()?.block_on(restore(&args.from, &config.data, &config.settings().directory, &asking))?;
    let checked = match asking {
        Asking::Nobody => "no witness was asked".to_owned(),
        Asking::Witnesses(_) => format!("{} witnesses have seen nothing newer", restored.witnesses),
    };
    tell(&restored.manifest, args.json, &format!("restored to {}; {checked}", config.data.display()))
}

fn tell(manifest: &Manifest, json: bool, what: &str) -> anyhow::Result<()> {
    if json {
        return print(&(serde_json::to_string(manifest)? + "\n"));
    }
    let bytes: u64 = manifest.files.values().map(|file| file.bytes).sum();
    let records = manifest.directory.as_ref().map_or(0, |directory| directory.size);
    print(&format!("{what}: {} files, {bytes} bytes, {records} records of the directory\n", manifest.files.len()))
}
