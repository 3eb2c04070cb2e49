//! `stonechatd`, the program: options, logging, signals. Everything else is in the library.

mod commands;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use clap::{Args, Parser, Subcommand};
use stonechat_server::admin::{Admin, Measure, Storage, free_bytes};
use stonechat_server::config::{DEFAULT_FILE, LogConfig, LogFormat, StoreKind};
use stonechat_server::disclose::disclose;
use stonechat_server::services::Services;
use stonechat_server::store::{AnyLog, Options, PostgresLog, SqliteLog};
use stonechat_server::{load_directory_keys, load_tls, load_token_key, serve};
use stonechat_wire::{Handle, Timestamp};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use commands::{ServeArgs, print, runtime};

/// The Stonechat server: delivers end-to-end encrypted messages that it cannot read.
#[derive(Parser)]
#[command(
    name = "stonechatd",
    version,
    after_help = "To witness a directory, run `stonechat-witness`, a program of its own."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the server until SIGTERM or SIGINT.
    Serve(ServeArgs),
    /// Reads a configuration, looks at this machine, and says everything that is wrong, in plain words.
    ///
    /// Changes nothing. Run it as the server's user. Exits with 1 when there is a problem; warnings alone are 0.
    Check(commands::check::CheckArgs),
    /// Asks the server that runs on a data folder, over its socket there: accounts, invitations, suspensions, storage,
    /// going down.
    Admin(commands::admin::AdminArgs),
    /// Copies the data folder into a new folder, also while the server runs.
    Backup(commands::backup::BackupArgs),
    /// Puts a backup into an empty data folder, and verifies all of it.
    ///
    /// Asks the witnesses whether anybody saw a newer head of the directory, and restores nothing when somebody did.
    Restore(commands::backup::RestoreArgs),
    /// Where the witness went.
    #[command(hide = true, disable_help_flag = true)]
    Witness {
        /// What it was told.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        _args: Vec<String>,
    },
    /// Prints everything that the server holds about an account.
    Disclose(DiscloseArgs),
    /// Prints the configuration file with every key at its default.
    Config,
}

#[derive(Args)]
struct DiscloseArgs {
    /// Whose.
    #[arg(value_name = "@HANDLE")]
    handle: Handle,
    /// The server's data folder. The server may be running.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// One JSON object, with every stored byte in hex.
    #[arg(long)]
    json: bool,
    /// Also the bytes of key packages and envelopes, in hex.
    #[arg(long)]
    raw: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Serve(args) => run_serve(args),
        Command::Check(args) => match commands::check::run(args) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Admin(args) => commands::admin::run(args),
        Command::Backup(args) => commands::backup::run(args),
        Command::Restore(args) => commands::backup::run_restore(args),
        Command::Witness { .. } => Err(anyhow!(
            "the witness is a program of its own now: `stonechat-witness`. It takes the same options and the same folder"
        )),
        Command::Disclose(args) => run_disclose(&args),
        Command::Config => print(DEFAULT_FILE),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stonechatd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_serve(args: ServeArgs) -> anyhow::Result<()> {
    let mut config = args.place.load()?;
    config.listen = args.listen.unwrap_or(config.listen);
    start_logs(&config.log);
    let tls = config.tls.as_ref().map(load_tls).transpose()?;
    make_data_folder(&config.data)?;
    let runtime = runtime()?;
    let store = match config.store.kind {
        StoreKind::Sqlite => {
            AnyLog::Sqlite(SqliteLog::open(&config.data, &Options { data_bytes_max: config.data_bytes_max })?)
        }
        StoreKind::Postgres => AnyLog::Postgres(runtime.block_on(PostgresLog::open(&config.store.postgres()))?),
    };
    let (tokens, directory) = (load_token_key(&config.data)?, load_directory_keys(&config.data)?);
    let (files, bytes_max, folder) = (store.clone(), config.data_bytes_max, config.data.clone());
    let measure: Measure =
        Arc::new(move || Storage { bytes: files.bytes_on_disk(), bytes_max, free_bytes: free_bytes(&folder) });
    let services = Services::new(store, tokens, directory, config.settings()).context("cannot open the directory")?;

    let served = runtime.block_on(async {
        let stop = stop_on_signals()?;
        if config.store.kind == StoreKind::Postgres {
            check_keys(&services, &config.data).await?;
        }
        let listener = TcpListener::bind(config.listen).await.map_err(|error| cannot_listen(config.listen, &error))?;
        let address = listener.local_addr().context("cannot tell which port was picked")?;
        // Before anybody hears that the server is there.
        let admin = match Admin::open(&config.data, measure) {
            Ok(admin) => Some(admin),
            Err(error) => {
                tracing::warn!(%error, "there is no operator's socket, so `stonechatd admin` cannot be used");
                None
            }
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        print(&format!("listening on {scheme}://{address}\n"))?;
        tracing::info!(tls = tls.is_some(), "ready");
        serve(listener, services, &config, tls, admin, stop).await;
        Ok(())
    });
    // Ends what did not end by itself, and with the last handle on it the store, which commits what it was handed.
    drop(runtime);
    if served.is_ok() {
        tracing::info!("stopped");
    }
    served
}

/// Servers over one store must have the same keys.
async fn check_keys(services: &Services<AnyLog>, data: &Path) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let shares = services.shares_keys(Timestamp(u64::try_from(now).unwrap_or(u64::MAX))).await;
    if shares.map_err(|failure| anyhow!("cannot read the store: {failure}"))? {
        return Ok(());
    }
    Err(anyhow!(
        "the store belongs to servers with other keys. Copy token-key and directory-key from one of them into {}, and check \
         directory.origin",
        data.display()
    ))
}

fn run_disclose(args: &DiscloseArgs) -> anyhow::Result<()> {
    let store = SqliteLog::inspect(&args.data)?;
    let disclosure = runtime()?
        .block_on(disclose(&store, &args.handle))
        .context("cannot read the store")?
        .ok_or_else(|| anyhow!("nobody holds {} on this server, so the server holds nothing about it", args.handle))?;
    if args.json {
        print(&format!("{}\n", serde_json::to_string(&disclosure)?))
    } else {
        print(&disclosure.to_text(args.raw))
    }
}

/// Logs to stderr, from this program only: at their lower levels, the libraries below print what passes through them.
fn start_logs(config: &LogConfig) {
    let level: LevelFilter = config.level.as_str().parse().expect("the names of LogLevel are tracing's");
    let ours = Targets::new().with_target("stonechatd", level).with_target("stonechat_server", level);
    let logs = tracing_subscriber::registry().with(ours);
    let stderr = std::io::stderr;
    match config.format {
        LogFormat::Text => logs.with(tracing_subscriber::fmt::layer().with_writer(stderr).with_ansi(false)).init(),
        LogFormat::Json => logs.with(tracing_subscriber::fmt::layer().with_writer(stderr).json()).init(),
    }
}

fn make_data_folder(data: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data).with_context(|| {
        format!(
            "cannot make the data folder {}. Choose another with --data, or make it writable for this user",
            data.display()
        )
    })
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow!(
                "cannot listen on {address}: another program does. Stop it, or choose another address with --listen"
            )
        }
        std::io::ErrorKind::PermissionDenied => {
            anyhow!(
                "cannot listen on {address}: not permitted. Ports under 1024 need a privilege; choose another with --listen"
            )
        }
        _ => anyhow!("cannot listen on {address}: {error}. Choose an address of this machine with --listen"),
    }
}

fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        token.cancel();
    });
    Ok(stop)
}
