//! A real server and real clients for the tests.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use stonechat_client::{Body, Client, Handle, KeyChoice, ServerUrl, Target};
use tempfile::TempDir;

/// `stonechatd`, killed when dropped.
pub(crate) struct Server {
    data: TempDir,
    process: Child,
    /// Where it listens, also after a restart.
    pub(crate) url: ServerUrl,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    pub(crate) async fn start_at(listen: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let (process, url) = serve(data.path(), listen).await;
        Self { data, process, url }
    }

    /// As the machine's failure would: no good-bye to anybody.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// The same data at the same address.
    pub(crate) async fn restart(&mut self) {
        let (process, url) = serve(self.data.path(), &self.url.authority()).await;
        assert_eq!(url, self.url);
        self.process = process;
    }

    /// As [`Server::restart`], with a witness from now on: clients that signed up before pinned another policy.
    pub(crate) async fn restart_with_a_witness(&mut self) {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        let witness = "w2.test+38a91b91+BIE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU";
        std::fs::write(&config, format!("[directory]\nwitnesses = [{witness:?}]\nthreshold = 0\n")).unwrap();
        let (process, url) = serve_with(self.data.path(), &self.url.authority(), Some(&config)).await;
        assert_eq!(url, self.url);
        self.process = process;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn serve(data: &Path, listen: &str) -> (Child, ServerUrl) {
    serve_with(data, listen, None).await
}

async fn serve_with(data: &Path, listen: &str, config: Option<&Path>) -> (Child, ServerUrl) {
    let mut command = Command::new(binary());
    command.arg("serve").arg("--data").arg(data).args(["--listen", listen]);
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    let (process, line) = started(command, "listening on ").await;
    (process, line.parse().unwrap())
}

/// Starts a process and waits for a line on its standard output; returns what follows `prefix` in it.
async fn started(mut command: Command, prefix: &'static str) -> (Child, String) {
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let found = tokio::task::spawn_blocking(move || {
        let found = lines.by_ref().map_while(Result::ok).find_map(|line| line.strip_prefix(prefix).map(str::to_owned));
        // The rest is read and dropped, so that the process never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        found
    });
    let line = tokio::time::timeout(Duration::from_secs(60), found).await.unwrap().unwrap();
    (process, line.unwrap_or_else(|| panic!("{command:?} ended before it said {prefix:?}")))
}

/// `stonechatd`: named by the environment, built with these tests, or built now.
fn binary() -> PathBuf {
    let named = std::env::var_os("STONECHATD").map(PathBuf::from);
    named.unwrap_or_else(|| built("stonechatd", &["--package", "stonechat-server", "--bin", "stonechatd"]))
}

/// A program in the target folder, built now when it is not there.
fn built(path: &str, build: &[&str]) -> PathBuf {
    let program = target_dir().join(format!("{path}{}", std::env::consts::EXE_SUFFIX));
    if !program.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        let status = cargo.args(["build", "--quiet"]).args(build).current_dir(env!("CARGO_MANIFEST_DIR")).status();
        assert!(status.unwrap().success(), "{path} does not build");
    }
    program
}

/// `target/debug`: this executable is in its `deps`.
fn target_dir() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
}

/// Somebody with a home of their own.
pub(crate) struct Person {
    /// Their home.
    pub(crate) dir: TempDir,
    /// Their client.
    pub(crate) client: Client,
    key: KeyChoice,
}

impl Person {
    /// The same home in what could be another process.
    pub(crate) async fn reopened(self) -> Self {
        let Self { dir, client, key } = self;
        client.shutdown().await;
        let client = Client::builder().home(dir.path()).key(key.clone()).open().await.unwrap();
        Self { dir, client, key }
    }
}

/// Signs somebody up and waits until they can be written to.
pub(crate) async fn person(server: &Server, name: &str) -> Person {
    person_at(server, name, tempfile::tempdir().unwrap(), KeyChoice::Auto).await
}

/// As [`person`], in this folder.
pub(crate) async fn person_at(server: &Server, name: &str, dir: TempDir, key: KeyChoice) -> Person {
    let (client, _) = Client::sign_up(dir.path(), key.clone(), handle(name), &server.url).await.unwrap();
    Person { dir, client, key }
}

pub(crate) fn handle(name: &str) -> Handle {
    Handle::parse(name).unwrap()
}

pub(crate) fn to(name: &str) -> Target {
    Target::Person(handle(name))
}

/// What a conversation reads like; nothing while there is none.
pub(crate) async fn texts(client: &Client, with: &str) -> Vec<String> {
    let Ok(target) = client.target(with).await else { return Vec::new() };
    let Some(id) = client.find(&target).await.unwrap() else { return Vec::new() };
    let messages = client.messages(id, None, 100).await.unwrap();
    let text = |body: &Body| match body {
        Body::Text(text) => Some(text.0.clone()),
        _ => None,
    };
    messages.iter().filter_map(|message| text(&message.body)).collect()
}

/// Looks again and again, for half a minute at most.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// The example bot as a process.
pub(crate) struct Echo {
    process: Child,
    _dir: TempDir,
}

impl Echo {
    pub(crate) async fn start(server: &Server) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = built("examples/echo", &["--package", "stonechat-client", "--example", "echo"]);
        let mut command = Command::new(program);
        let home = dir.path().join("home");
        command.arg("--home").arg(home).args(["--server", &server.url.to_string(), "--handle", "echo"]);
        command.stderr(Stdio::null());
        let (process, handle) = started(command, "ready ").await;
        assert_eq!(handle, "@echo");
        Self { process, _dir: dir }
    }

    /// SIGTERM; whether it left with 0.
    pub(crate) async fn terminate(&mut self) -> bool {
        let asked = Command::new("kill").arg(self.process.id().to_string()).status().unwrap();
        assert!(asked.success());
        eventually("the bot leaves", || std::future::ready(self.process.try_wait().unwrap())).await.success()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
