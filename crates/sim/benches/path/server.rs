//! A `stonechatd` process: the optimised program that stands beside this one in the target folder.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stonechat_client::ServerUrl;

/// Killed when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Server {
    /// Starts one on the data in `dir`. Its configuration is the default but for tokens: measurements draw more of them in a
    /// day than a person may.
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        // This program is in `deps`, or beside it where it was copied.
        let this = std::env::current_exe()?;
        let program = this.ancestors().skip(1).take(2).map(|folder| folder.join("stonechatd")).find(|p| p.exists());
        let program = program.context("stonechatd is not built; run this as `cargo xtask bench`")?;
        let config = dir.join("config.toml");
        std::fs::write(&config, "tokens_per_day = 1000000\n[log]\nlevel = \"warn\"\n")?;
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(config).arg("--data").arg(dir.join("data"));
        Self::spawn(&mut command)
    }

    /// A process that says `listening on http://ADDRESS` on its standard output.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("piped")?).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on http://").context("it ended before it listened")?;
        Ok(Self { address: address.parse()?, child })
    }

    pub(crate) fn url(&self) -> Result<ServerUrl> {
        Ok(format!("http://{}", self.address).parse()?)
    }

    /// Ends it as an operator does.
    pub(crate) fn stop(mut self) -> Result<()> {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status()?;
        ensure!(asked.success() && self.child.wait()?.success(), "the server did not end well");
        Ok(())
    }

    /// What it has in memory, in bytes (`VmRSS`).
    pub(crate) fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1_024)
    }

    /// The processor time that it has used.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu(&self.child.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already, when it was stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processor time that a process has used; `self` is this one.
pub(crate) fn cpu(process: &str) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Behind the name, which may hold anything; user and system time are fields 14 and 15 of all.
    let (_, fields) = stat.rsplit_once(')').context("a name in /proc")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * MS_PER_TICK))
}

/// Linux counts in hundredths of a second, whatever the processor.
const MS_PER_TICK: u64 = 10;
