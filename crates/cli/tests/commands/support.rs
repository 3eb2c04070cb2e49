//! A real server, real homes, and the program run on them.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

#[path = "../../../server/tests/process/small_disk.rs"]
mod small_disk;
pub(crate) use small_disk::SmallDisk;

/// A running `stonechatd`; stopped when dropped.
pub(crate) struct Server {
    data: TempDir,
    config: Option<PathBuf>,
    scheme: String,
    address: SocketAddr,
    child: Option<Child>,
}

impl Server {
    /// Starts one on a port of its own.
    pub(crate) fn start() -> Self {
        Self::start_if(None)
    }

    /// As [`Server::start`], with a configuration file.
    pub(crate) fn start_with(config: &Path) -> Self {
        Self::start_if(Some(config.to_owned()))
    }

    fn start_if(config: Option<PathBuf>) -> Self {
        let address = "127.0.0.1:0".parse().unwrap();
        let mut server = Self { data: TempDir::new().unwrap(), config, scheme: String::new(), address, child: None };
        server.run();
        server
    }

    /// Starts the process, on the same port and folder as before.
    pub(crate) fn run(&mut self) {
        let mut command = Command::new(stonechatd());
        command.arg("serve").arg("--data").arg(self.data.path()).arg("--listen").arg(self.address.to_string());
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("stonechatd starts");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().expect("stonechatd says where it listens").unwrap();
        let (said, address) = line.split_once("://").expect("listening on http://…");
        self.scheme = said.rsplit(' ').next().unwrap().to_owned();
        self.address = address.trim().parse().expect("an address");
        self.child = Some(child);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// What its operator is told.
    pub(crate) fn admin(&self, args: &[&str]) -> Value {
        let mut command = Command::new(stonechatd());
        let output = command.arg("admin").args(args).args(["--json", "--data"]).arg(self.data.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A home with an account.
    pub(crate) fn home(&self, handle: &str) -> Home {
        let home = Home::empty();
        let answer = home.ok(&["signup", handle, "--server", &self.url()]);
        assert_eq!(answer[0]["handle"], handle);
        home
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The server's program: beside ours, built if it is not there yet. `STONECHATD` names another.
fn stonechatd() -> PathBuf {
    if let Some(path) = std::env::var_os("STONECHATD") {
        return path.into();
    }
    let path = Path::new(env!("CARGO_BIN_EXE_stonechat")).with_file_name("stonechatd");
    if !path.exists() {
        let target = path.ancestors().nth(2).expect("a target folder and a profile");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "-p", "stonechat-server", "--bin", "stonechatd", "--target-dir"]).arg(target);
        assert!(build.status().expect("cargo runs").success(), "stonechatd builds");
    }
    path
}

/// A folder for an account.
pub(crate) struct Home {
    dir: TempDir,
    disk: Option<SmallDisk>,
    authority: Option<PathBuf>,
}

impl Home {
    pub(crate) fn empty() -> Self {
        Self { dir: TempDir::new().unwrap(), disk: None, authority: None }
    }

    /// One that lies on a small disk.
    pub(crate) fn on(disk: SmallDisk) -> Self {
        Self { disk: Some(disk), ..Self::empty() }
    }

    /// One on a machine that trusts this authority's certificates, and no others.
    pub(crate) fn trusting(authority: &Path) -> Self {
        Self { authority: Some(authority.to_owned()), ..Self::empty() }
    }

    pub(crate) fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().expect("a home on a small disk")
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.disk.as_ref().map_or(self.dir.path(), SmallDisk::path).join("home")
    }

    /// The program on this home. Nothing of the tester's own environment reaches it.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stonechat"));
        command
            .args(args)
            .env("STONECHAT_HOME", self.path())
            .env_remove("STONECHAT_PASSPHRASE")
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC");
        // No session, no keyring: the key goes into a file.
        command.env_remove("DBUS_SESSION_BUS_ADDRESS").env_remove("XDG_RUNTIME_DIR");
        match &self.authority {
            Some(authority) => command.env("SSL_CERT_FILE", authority),
            None => command.env_remove("SSL_CERT_FILE"),
        };
        if let Some(disk) = &self.disk {
            command = disk.enter(&command);
        }
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("stonechat runs")
    }

    /// What a person sees; must succeed.
    pub(crate) fn text(&self, args: &[&str]) -> String {
        let output = self.output(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The objects that a program sees; must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> Vec<Value> {
        let output = self.output(&[args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// The exit code, the error's code and its text; must fail.
    #[track_caller]
    pub(crate) fn fails(&self, args: &[&str]) -> (i32, String, String) {
        refusal(&self.output(&[args, &["--json"]].concat()))
    }

    /// What was sent through standard input.
    pub(crate) fn pipe(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child =
            self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may refuse before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// The texts of a conversation, oldest first.
    #[track_caller]
    pub(crate) fn texts(&self, target: &str) -> Vec<String> {
        self.ok(&["read", target]).iter().map(|line| line["body"]["text"].as_str().unwrap().to_owned()).collect()
    }

    /// Starts `read --follow`.
    pub(crate) fn follow(&self, target: &str) -> Follow {
        let mut command = self.command(&["read", target, "--follow", "--json"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let line: Value = serde_json::from_str(&line).expect("a JSON line");
                if sender.send(line["body"]["text"].as_str().unwrap().to_owned()).is_err() {
                    return;
                }
            }
        });
        Follow { child, texts: receiver }
    }
}

/// A running `read --follow`.
pub(crate) struct Follow {
    child: Child,
    texts: mpsc::Receiver<String>,
}

impl Follow {
    pub(crate) fn next(&self) -> String {
        self.texts.recv_timeout(PATIENCE).expect("a message")
    }

    /// Ends it as Ctrl-C does; it must end well, with nothing more printed.
    pub(crate) fn end(mut self) {
        let kill = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        assert!(self.child.wait().unwrap().success(), "Ctrl-C ends it well");
        assert_eq!(self.texts.try_iter().collect::<Vec<_>>(), Vec::<String>::new());
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The exit code, the error's code and its text of a run that failed with `--json`.
#[track_caller]
pub(crate) fn refusal(output: &Output) -> (i32, String, String) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it did not fail");
    assert!(output.stdout.is_empty(), "results are not errors");
    let last = stderr.lines().last().unwrap_or_default();
    let line: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("not JSON: {stderr}"));
    let text = |name: &str| line["error"][name].as_str().unwrap_or_else(|| panic!("no {name}: {line}")).to_owned();
    (output.status.code().expect("an exit code"), text("code"), text("message"))
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

/// What is left in a reader.
pub(crate) fn rest(mut reader: impl std::io::Read) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

const PATIENCE: Duration = Duration::from_secs(60);
