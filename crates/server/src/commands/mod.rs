//! What an operator does beside running a server, one file for each: its options, what it prints, how it ends.

pub(crate) mod admin;
pub(crate) mod backup;
pub(crate) mod check;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use stonechat_server::config::{Config, ConfigError};

/// Which server is meant.
#[derive(Args)]
pub(crate) struct Place {
    /// Configuration file; without it, the defaults that `stonechatd config` prints.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Folder for everything that the server keeps; overrides the file.
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) data: Option<PathBuf>,
}

/// How a server is started.
#[derive(Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Address to listen on; port 0 picks a free one. Overrides the file.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
}

impl Place {
    /// The configuration, with what the options override.
    pub(crate) fn load(self) -> Result<Config, ConfigError> {
        let mut config = self.config.as_deref().map_or_else(|| Ok(Config::default()), Config::load)?;
        config.data = self.data.unwrap_or(config.data);
        Ok(config)
    }
}

pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")
}

/// Writes to stdout at once. A reader that went away is no failure of ours.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(()),
    }
}
