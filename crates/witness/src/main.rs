//! `stonechat-witness`, the program: options and logging. Everything else is in the library.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use stonechat_witness::{Witness, WitnessError, listen};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Follows a Stonechat directory, verifies that it takes nothing back, and cosigns its heads.
///
/// Prints its verifier key first: the directory's operator puts it into the configuration, under `witnesses`. At the first
/// inconsistency it stops with a file of evidence, and does not start again until somebody has looked at it (exit code 3).
#[derive(Parser)]
#[command(name = "stonechat-witness", version)]
struct Args {
    /// The address of the server whose directory it is, as https://chat.example.org
    #[arg(long, value_name = "URL", required_unless_present = "key")]
    directory: Option<String>,
    /// Folder for the witness's key and for what it has verified. One that is lost, or restored from an older copy, must not be
    /// used again: start a new witness in an empty folder
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The witness's name in its signatures, like `witness.example.org`. Without it, one is made from its key
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Answers here, over HTTP, with the newest head that this witness cosigned: `GET /checkpoint`. The directory's server
    /// asks when it starts and when a backup is restored, so that it never publishes less than was seen
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Prints the verifier key and stops
    #[arg(long)]
    key: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // From this program only: at their lower levels, the libraries below print what passes through them.
    let ours = Targets::new().with_target("stonechat_witness", LevelFilter::INFO);
    let stderr = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    tracing_subscriber::registry().with(ours).with(stderr).init();
    let Err(error) = run(&args) else { return ExitCode::SUCCESS };
    eprintln!("stonechat-witness: {error}");
    if error.needs_a_person() { ExitCode::from(NEEDS_A_PERSON) } else { ExitCode::FAILURE }
}

fn run(args: &Args) -> Result<(), WitnessError> {
    let name = args.name.as_deref();
    let Some(directory) = args.directory.as_deref().filter(|_| !args.key) else {
        say(&Witness::verifier_of(&args.data, name)?);
        return Ok(());
    };
    let witness = Witness::open(directory, &args.data, name)?;
    say(witness.verifier());
    if let Some(address) = args.listen {
        say(&format_args!("answering on http://{}", listen::answer(address, &args.data)?));
    }
    Err(witness.run())
}

/// Prints a line at once. A reader that went away is no reason to stop.
fn say(line: &impl std::fmt::Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// For a supervisor: starting again is of no use.
const NEEDS_A_PERSON: u8 = 3;
