//! `stonechatd check`.

use std::process::ExitCode;

use clap::Args;
use stonechat_server::check::{Checked, check};

use super::{Place, ServeArgs, print};

#[derive(Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Fails when a server would not start, or be of no use.
pub(crate) fn run(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let ServeArgs { place: Place { config, data }, listen } = args.serve;
    let report = check(Checked { file: config, data, listen });
    print(&if args.json { serde_json::to_string(&report)? + "\n" } else { report.to_text() })?;
    Ok(if report.problems() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
