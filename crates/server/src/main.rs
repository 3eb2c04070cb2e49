//! `stonechatd`, the program: options, logging, signals. Everything else is in the library.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::{Args, Parser, Subcommand};
use stonechat_server::config::{Config, DEFAULT_FILE, LogConfig, LogFormat};
use stonechat_server::disclose::disclose;
use stonechat_server::services::Services;
use stonechat_server::store::{Options, SqliteLog};
use stonechat_server::{load_directory_keys, load_tls, load_token_key, serve};
use stonechat_wire::Handle;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

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
struct ServeArgs {
    /// Configuration file; without it, the defaults that `stonechatd config` prints.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for everything that the server keeps; overrides the file.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address to listen on; port 0 picks a free one. Overrides the file.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
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
    let mut config = args.config.as_deref().map_or_else(|| Ok(Config::default()), Config::load)?;
    config.data = args.data.unwrap_or(config.data);
    config.listen = args.listen.unwrap_or(config.listen);
    start_logs(&config.log);
    let tls = config.tls.as_ref().map(load_tls).transpose()?;
    make_data_folder(&config.data)?;
    let store = SqliteLog::open(&config.data, &Options { data_bytes_max: config.data_bytes_max })?;
    let (tokens, directory) = (load_token_key(&config.data)?, load_directory_keys(&config.data)?);
    let services = Services::new(store, tokens, directory, config.settings()).context("cannot open the directory")?;

    let runtime = runtime()?;
    let served = runtime.block_on(async {
        let stop = stop_on_signals()?;
        let listener = TcpListener::bind(config.listen).await.map_err(|error| cannot_listen(config.listen, &error))?;
        let address = listener.local_addr().context("cannot tell which port was picked")?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        print(&format!("listening on {scheme}://{address}\n"))?;
        tracing::info!(tls = tls.is_some(), "ready");
        serve(listener, services, &config, tls, stop).await;
        Ok(())
    });
    // Ends what did not end by itself, and with the last handle on it the store, which commits what it was handed.
    drop(runtime);
    if served.is_ok() {
        tracing::info!("stopped");
    }
    served
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

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")
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

/// Writes to stdout at once. A reader that went away is no failure of ours.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(()),
    }
}
