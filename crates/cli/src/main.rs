//! `stonechat`: encrypted direct messages in a terminal, as commands and as a full-screen interface.
//!
//! A shell over the SDK: [`args`] says what can be typed, [`commands`] does it, [`output`] prints it, [`error`] says why not;
//! [`tui`] is the full screen. Nothing here holds keys or speaks to a server.

mod args;
mod audit;
mod commands;
mod error;
mod output;
mod text;
mod time;
mod trust;
mod tui;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use args::Args;
use commands::Context;
use error::{Exit, Failure};
use output::Output;

fn main() -> ExitCode {
    // Known before the rest is understood: an error in the arguments is told in the same way.
    let json = std::env::args_os().any(|arg| arg == "--json");
    let out = Output { json };
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if json && error.use_stderr() => {
            out.failure(&Failure::input("usage", error.to_string().trim_end()));
            return ExitCode::from(Exit::Input as u8);
        }
        Err(error) => error.exit(),
    };
    let out = Output { json: args.json };
    match start(args, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out.failure(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn start(args: Args, out: Output) -> Result<(), Failure> {
    if let Some(args::Command::Audit(audit)) = &args.command {
        log_to_stderr(args.verbose);
        return audit::run(out, audit);
    }
    let home = args.home.or_else(default_home).ok_or_else(|| {
        Failure::new(
            "no_home",
            Exit::Home,
            "there is no home folder to keep the account in. Type: stonechat --home DIR …",
        )
    })?;
    if args.command.is_some() || !std::io::stderr().is_terminal() {
        log_to_stderr(args.verbose);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let unicode = unicode_locale(|name| std::env::var(name).ok());
    let result = runtime.block_on(async {
        match args.command {
            Some(command) => commands::run(&Context { home, out, unicode }, command).await,
            None if args.json => Err(Failure::input("usage", "--json needs a command. Type: stonechat --help")),
            None if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() => {
                let color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
                tui::run(&home, tui::Theme { color, unicode }).await
            }
            None => Err(Failure::input(
                "no_terminal",
                "the full screen needs a terminal. For commands, type: stonechat --help",
            )),
        }
    });
    // A thread that waits for a key or a passphrase must not keep the process; those that are done are waited for, so that
    // what they free does not meet the cryptography library's clean-up at exit.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    match result {
        // `stonechat read … | head`: the reader has what it wanted.
        Err(failure) if failure.code == "broken_pipe" => Ok(()),
        result => result,
    }
}

/// Logs to stderr: what happened, never what was said.
fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => "warn,stonechat=info,stonechat_client=info,stonechat_core=info",
        2 => "warn,stonechat=debug,stonechat_client=debug,stonechat_core=debug",
        _ => "warn,stonechat=trace,stonechat_client=trace,stonechat_core=trace",
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}

/// `stonechat` in the folder that the platform keeps a person's data in.
fn default_home() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = if cfg!(windows) {
        variable("APPDATA")
    } else if cfg!(target_os = "macos") {
        std::env::home_dir().map(|home| home.join("Library/Application Support"))
    } else {
        variable("XDG_DATA_HOME").or_else(|| std::env::home_dir().map(|home| home.join(".local/share")))
    };
    data.map(|data| data.join("stonechat"))
}

/// Whether the locale's encoding is UTF-8, by the variables in their order of precedence.
fn unicode_locale(variable: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable).find(|value| !value.is_empty());
    locale.map_or(cfg!(any(windows, target_os = "macos")), |locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// Waits for Ctrl-C, or for the system's wish that this process ends.
async fn stop_asked() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut terminate), Ok(mut hang_up)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup())) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
            return;
        }
    }
    // Without signals the terminal's own way of ending a process stays.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_decides_by_precedence() {
        let with = |pairs: &'static [(&str, &str)]| {
            unicode_locale(move |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
        };
        assert!(with(&[("LANG", "en_US.UTF-8")]));
        assert!(with(&[("LANG", "C"), ("LC_CTYPE", "C.utf8")]));
        assert!(!with(&[("LANG", "en_US.UTF-8"), ("LC_ALL", "C")]));
        assert!(with(&[("LC_ALL", ""), ("LANG", "de_DE.utf8")]));
    }
}
