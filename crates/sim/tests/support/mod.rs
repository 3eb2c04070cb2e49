//! The real programs: a `stonechatd` process, and homes that `stonechat` runs on.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

pub(crate) mod programs;

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use self::programs::program;

/// A running `stonechatd` with its folder; killed when dropped.
pub(crate) struct Server {
    dir: TempDir,
    address: SocketAddr,
    /// While it runs.
    pub(crate) child: Option<Child>,
    /// What its process has in its environment beside the tester's.
    env: Environment,
}

/// Names and values.
pub(crate) type Environment = Vec<(&'static str, OsString)>;

impl Server {
    /// Starts one on a port of its own, logging everything that it ever logs to [`Server::log`].
    pub(crate) fn start() -> Self {
        Self::start_with("", Vec::new())
    }

    /// The same with more in its configuration, and in its environment.
    pub(crate) fn start_with(config: &str, env: Environment) -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("config.toml"), format!("[log]\nlevel = \"trace\"\n{config}")).unwrap();
        let mut server = Self { dir, address: "127.0.0.1:0".parse().unwrap(), child: None, env };
        server.run();
        server
    }

    /// Starts the process, on the same port and folder as before.
    pub(crate) fn run(&mut self) {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = Command::new(program("stonechatd"));
        command.arg("serve").arg("--config").arg(self.dir.path().join("config.toml"));
        command.arg("--data").arg(self.data()).arg("--listen").arg(self.address.to_string());
        command.env(MARK_OF_THE_PROCESS.0, MARK_OF_THE_PROCESS.1).envs(self.env.clone());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").expect("the server says where it listens");
        self.address = address.parse().unwrap();
        self.child = Some(child);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that it keeps.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// All that it logged.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the server's process has in its environment, and so in its memory.
pub(crate) const MARK_OF_THE_PROCESS: (&str, &str) = ("STONECHAT_TEST_MARK", "in-the-memory-of-this-process");

/// An account's folder.
pub(crate) struct Home {
    dir: TempDir,
    /// `@` and the name.
    pub(crate) handle: String,
    /// What `signup` answered.
    pub(crate) signed_up: Value,
    /// What the program has in its environment.
    pub(crate) env: Environment,
}

impl Home {
    /// Makes an account.
    pub(crate) fn sign_up(handle: &str, server: SocketAddr) -> Self {
        Self::sign_up_with(handle, server, Vec::new())
    }

    /// Makes an account with a program that has this in its environment.
    pub(crate) fn sign_up_with(handle: &str, server: SocketAddr, env: Environment) -> Self {
        let dir = TempDir::new().unwrap();
        let mut home = Self { dir, handle: handle.into(), signed_up: Value::Null, env };
        home.signed_up = home.ok(&["signup", handle, "--server", &format!("http://{server}")]).remove(0);
        home
    }

    /// The program on this home. Nothing of the tester's own environment reaches it; without a session there is no
    /// keyring, so the key goes into a file.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program("stonechat"));
        command.args(args).arg("--json").env("STONECHAT_HOME", self.dir.path().join("home")).envs(self.env.clone());
        for name in ["STONECHAT_PASSPHRASE", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What a command prints, or what it complains of.
    pub(crate) fn run(&self, args: &[&str]) -> Result<Vec<Value>, String> {
        let output = self.command(args).output().expect("stonechat runs");
        if !output.status.success() {
            return Err(format!("{} {args:?}: {}", self.handle, String::from_utf8_lossy(&output.stderr)));
        }
        let lines = String::from_utf8(output.stdout).unwrap();
        Ok(lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect())
    }

    /// What a command prints; must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> Vec<Value> {
        self.run(args).unwrap_or_else(|complaint| panic!("{complaint}"))
    }

    /// Everything said in a conversation, oldest first: sender, id, text.
    pub(crate) fn transcript(&self, target: &str) -> Vec<(String, String, String)> {
        let field = |line: &Value| line.as_str().unwrap().to_owned();
        let lines = self.run(&["read", target, "--limit", "100000"]).unwrap_or_default();
        lines.iter().map(|l| (field(&l["sender"]), field(&l["id"]), field(&l["body"]["text"]))).collect()
    }
}

/// One writes to the other for the first time, who accepts and reads it.
pub(crate) fn introduce(one: &Home, other: &Home, greeting: &str) {
    one.ok(&["send", &other.handle, greeting]);
    eventually("the request arrives", || other.ok(&["requests"]).len() == 1);
    other.ok(&["accept", &one.handle]);
    eventually("the greeting arrives", || other.transcript(&one.handle).iter().any(|line| line.2 == greeting));
}

/// Tries until it holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
