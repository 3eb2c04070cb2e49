//! `cargo xtask demo`: a server whose directory two witnesses confirm, a contact that answers, and the way in. `--check` walks
//! that way itself.

use std::env;
use std::fs::{self, File, TryLockError};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::layout::{Layout, command_line, show};
use crate::process::{Service, StopFlag, Stopped, run_within, tied};
use crate::programs;
use crate::tools;
use crate::web;

/// The demo's directory, locked against a second demo for as long as this lives.
struct Home {
    dir: PathBuf,
    _lock: File,
}

impl Home {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// What runs. What talks to the server is declared first, so that it is dropped before the server.
struct Running {
    echo: Service,
    witnesses: Vec<Service>,
    server: Service,
    url: String,
}

impl Running {
    fn check_alive(&mut self) -> Result<()> {
        self.witnesses.iter_mut().chain([&mut self.server, &mut self.echo]).try_for_each(Service::check_alive)
    }
}

pub(crate) fn run(
    layout: &Layout,
    check: bool,
    data: Option<PathBuf>,
    listen: Option<&str>,
    with_web: bool,
) -> Result<()> {
    let stop = StopFlag::listen()?;
    let building = if layout.built { 0 } else { programs::steps(with_web) };
    let mut progress = Progress::new(if check { 8 } else { 4 } + building);
    let kept = data.is_some();
    let dir = data.unwrap_or_else(|| layout.target.join(if check { "demo-check" } else { "demo" }));

    let note = if kept { "kept, and gone on from" } else { "emptied; keep one with --data DIR" };
    progress.step(&format!("preparing {} ({note})", show(&dir)));
    let home = prepare(&dir, kept)?;
    if !layout.built {
        tools::check_compilers()?;
        if with_web {
            web::check_compilers(layout).context("`cargo xtask demo --no-web` goes without the web app")?;
        }
        programs::build(layout, with_web, &mut |what| progress.step(what))?;
    }
    let client = layout.program("stonechat")?;

    let mut running = match start(layout, &home, listen, &stop, &mut progress) {
        Ok(running) => running,
        Err(_) if stop.is_set() => bail!("stopped before everything was up; nothing is left running"),
        Err(error) => return Err(error),
    };
    if check {
        walk(&client, &home, &running.url, &stop, &mut progress)?;
        progress.step("stopping");
        shut_down(running)?;
        progress.finish();
        println!("\nThe demo works: @echo answered.");
        return Ok(());
    }
    progress.finish();
    print_way_in(&client, &home, &running.url, with_web);
    while !stop.is_set() {
        thread::sleep(Duration::from_millis(100));
        running.check_alive().context("the demo is over")?;
    }
    println!("\nstopping");
    shut_down(running)?;
    println!("Stopped. Nothing is left running.");
    Ok(())
}

/// Creates or empties the directory and locks it.
fn prepare(dir: &Path, kept: bool) -> Result<Home> {
    let cannot_write = || format!("cannot write in {}; choose another with --data DIR", show(dir));
    fs::create_dir_all(dir).with_context(cannot_write)?;
    let lock =
        File::options().create(true).truncate(false).write(true).open(dir.join(LOCK)).with_context(cannot_write)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            bail!("another demo runs in {}; use it, stop it, or give this one its own with --data DIR", show(dir));
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(cannot_write),
    }
    if !kept {
        for entry in fs::read_dir(dir).with_context(cannot_write)? {
            let path = entry.with_context(cannot_write)?.path();
            if path.is_dir() {
                fs::remove_dir_all(&path).with_context(cannot_write)?;
            } else if path.file_name().is_some_and(|name| name != LOCK) {
                fs::remove_file(&path).with_context(cannot_write)?;
            }
        }
    }
    Ok(Home { dir: dir.to_path_buf(), _lock: lock })
}

fn start(
    layout: &Layout,
    home: &Home,
    listen: Option<&str>,
    stop: &StopFlag,
    progress: &mut Progress,
) -> Result<Running> {
    // Homes remember their server's address, so a kept directory keeps its port while that is free.
    let remembered = fs::read_to_string(home.path(ADDRESS)).ok().filter(|address| TcpListener::bind(address).is_ok());
    let listen = listen.map(str::to_owned).or(remembered).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    progress.step(&format!("starting stonechatd (log: {})", show(&home.path("stonechatd.log"))));
    let stonechatd = layout.program("stonechatd")?;
    let config = home.path("stonechatd.toml");
    let witness = layout.program("stonechat-witness")?;
    fs::write(&config, config_text(&witness_keys(&witness, home, stop)?)?).context("cannot write the configuration")?;
    let mut command = quiet(tied(&layout.xtask, &stonechatd));
    command
        .arg("serve")
        .arg("--config")
        .arg(&config)
        .arg("--data")
        .arg(home.path("server"))
        .args(["--listen", &listen]);
    let mut server = Service::start("stonechatd", command, &home.path("stonechatd.log"))?;
    let url = server.wait_for("`listening on http://…`", START_LIMIT, stop, listening_url)?;
    println!("      listening on {url}");
    fs::write(home.path(ADDRESS), url.trim_start_matches("http://")).context("cannot note the server's address")?;

    progress.step("starting two witnesses, who follow the server's directory and confirm what they verified");
    let mut witnesses = Vec::new();
    for name in WITNESSES {
        let mut command = quiet(tied(&layout.xtask, &witness));
        command.args(["--directory", &url, "--data"]).arg(home.path(name));
        let mut service = Service::start(name, command, &home.path(&format!("{name}.log")))?;
        service.wait_for("its verifier key", START_LIMIT, stop, |line| is_verifier_key(line).then_some(()))?;
        witnesses.push(service);
    }

    progress.step(&format!("starting the contact @echo (log: {})", show(&home.path("echo.log"))));
    let mut command = quiet(tied(&layout.xtask, &layout.program("examples/echo")?));
    command.arg("--home").arg(home.path("echo")).args(["--server", &url, "--handle", "echo"]);
    let mut echo = Service::start("the contact @echo", command, &home.path("echo.log"))?;
    echo.wait_for("`ready @echo`", START_LIMIT, stop, |line| (line.trim() == "ready @echo").then_some(()))?;
    println!("      @echo can be written to");
    Ok(Running { echo, witnesses, server, url })
}

/// The keys of the witnesses, which are made the first time.
fn witness_keys(witness: &Path, home: &Home, stop: &StopFlag) -> Result<Vec<String>> {
    let key = |name: &str| {
        let mut command = quiet(Command::new(witness));
        command.args(["--key", "--data"]).arg(home.path(name));
        let line = command_line(&command);
        let output = run_within(command, COMMAND_LIMIT, stop)?;
        let key = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() || !is_verifier_key(&key) {
            bail!(
                "this did not print a verifier key ({}): {line}\n{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(key)
    };
    WITNESSES.into_iter().map(key).collect()
}

/// The server's configuration: clients believe what all witnesses confirmed.
fn config_text(witnesses: &[String]) -> Result<String> {
    let keys = serde_json::to_string(witnesses).context("cannot write the witnesses' keys")?;
    Ok(format!("[directory]\nwitnesses = {keys}\nthreshold = {}\n", witnesses.len()))
}

/// A verifier key as C2SP signed notes have it: `name+hash+key`.
fn is_verifier_key(line: &str) -> bool {
    line.trim().splitn(3, '+').filter(|part| !part.is_empty()).count() == 3
}

/// The contact first, the server last: it would otherwise vanish under the others.
fn shut_down(running: Running) -> Result<()> {
    let witnesses = running.witnesses.into_iter().map(|witness| (witness, "a witness"));
    let services = [(running.echo, "the contact @echo")].into_iter().chain(witnesses);
    for service in services.chain([(running.server, "stonechatd")]) {
        match service.0.stop(STOP_LIMIT)? {
            // A program that does not handle the signal ends with it; only the server promises a drain.
            Stopped::Ended(status) if status.success() || service.1 != "stonechatd" => {}
            Stopped::Ended(status) => bail!("stonechatd was asked to stop and did not end well ({status})"),
            Stopped::Killed => bail!("{} did not stop within {} s and was killed", service.1, STOP_LIMIT.as_secs()),
        }
    }
    Ok(())
}

fn print_way_in(client: &Path, home: &Home, url: &str, with_web: bool) {
    let you = home.path("you");
    let line = |args: &[&str]| {
        let mut command = Command::new(client);
        command.arg("--home").arg(&you).args(args);
        command_line(&command)
    };
    if with_web {
        println!("\nOpen this in a browser, pick a handle, and write to @echo:\n\n  {url}\n");
        println!("Or in another terminal, in this directory:\n");
    } else {
        println!("\nThe server is at {url}. In another terminal, in this directory:\n");
    }
    if !you.exists() {
        println!("  {}", line(&["signup", "@you", "--server", url]));
    }
    println!("  {}", line(&["send", "@echo", "hello"]));
    println!("  {}", line(&["read", "@echo"]));
    println!("\nand the full-screen interface:\n\n  {}\n", line(&[]));
    println!(
        "@echo answers whatever you write. For a second person, take another browser profile or --home, and another handle."
    );
    println!("Ctrl-C here stops everything.");
}

/// The way in, as printed, with each step checked.
fn walk(client: &Path, home: &Home, url: &str, stop: &StopFlag, progress: &mut Progress) -> Result<()> {
    let you = home.path("you");
    let run = |args: &[&str]| -> Result<String> {
        let mut command = quiet(Command::new(client));
        command.arg("--home").arg(&you).args(args);
        let line = command_line(&command);
        let output = run_within(command, COMMAND_LIMIT, stop)?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            bail!("this failed ({}): {line}\n{out}{err}", output.status);
        }
        Ok(out.into_owned())
    };

    if you.exists() {
        progress.step("@you is signed up already");
    } else {
        progress.step("signing up as @you");
        let words = run(&["signup", "@you", "--server", url, "--json"])?;
        let words = parse_lines(&words)?.first().and_then(|line| line["recovery_phrase"].as_str().map(str::to_owned));
        if words.as_deref().map(|words| words.split_whitespace().count()) != Some(RECOVERY_WORDS) {
            bail!("signing up did not show a recovery phrase of {RECOVERY_WORDS} words");
        }
    }
    // A text of its own, so that a kept home's earlier answers do not count.
    let text = format!("hello from process {}", std::process::id());
    progress.step(&format!("writing {text:?} to @echo"));
    run(&["send", "@echo", &text])?;

    progress.step("waiting for the answer");
    let deadline = Instant::now() + ANSWER_LIMIT;
    loop {
        let read = run(&["read", "@echo", "--json"])?;
        if parse_lines(&read)?.iter().any(|message| is_answer(message, &text)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("@echo did not answer within {} s. What was read:\n{read}", ANSWER_LIMIT.as_secs());
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn parse_lines(output: &str) -> Result<Vec<Value>> {
    let parse =
        |line| serde_json::from_str(line).with_context(|| format!("--json printed a line that is not JSON: {line}"));
    output.lines().filter(|line| !line.trim().is_empty()).map(parse).collect()
}

fn is_answer(message: &Value, text: &str) -> bool {
    let sender = message["sender"].as_str().unwrap_or_default();
    sender.trim_start_matches('@') == "echo" && message["body"]["text"].as_str().is_some_and(|body| body.contains(text))
}

fn listening_url(line: &str) -> Option<String> {
    let url = line.trim().strip_prefix("listening on ")?;
    url.starts_with("http://").then(|| url.trim_end_matches('/').to_owned())
}

/// Without the person's own settings, which are for their own account.
fn quiet(mut command: Command) -> Command {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("STONECHAT")) {
            command.env_remove(name);
        }
    }
    command
}

/// Says what is done now, and how long what was done before took.
struct Progress {
    at: u32,
    of: u32,
    begin: Instant,
    step_begin: Instant,
}

impl Progress {
    fn new(of: u32) -> Self {
        let now = Instant::now();
        Self { at: 0, of, begin: now, step_begin: now }
    }

    fn step(&mut self, what: &str) {
        self.end_step();
        self.at += 1;
        println!("[{}/{}] {what}", self.at, self.of);
    }

    fn finish(&mut self) {
        self.end_step();
        println!("      all of it {}", seconds(self.begin.elapsed()));
    }

    fn end_step(&mut self) {
        if self.at > 0 {
            println!("      {}", seconds(self.step_begin.elapsed()));
        }
        self.step_begin = Instant::now();
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

const WITNESSES: [&str; 2] = ["witness-one", "witness-two"];
const LOCK: &str = "demo.lock";
const ADDRESS: &str = "address";
const RECOVERY_WORDS: usize = 24;
const START_LIMIT: Duration = Duration::from_secs(60);
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_servers_line() {
        assert_eq!(listening_url("listening on http://127.0.0.1:4100\n").as_deref(), Some("http://127.0.0.1:4100"));
        assert_eq!(listening_url("listening on http://[::1]:4100/").as_deref(), Some("http://[::1]:4100"));
        assert_eq!(listening_url("not listening on http://127.0.0.1:4100"), None);
        assert_eq!(listening_url("listening on the harbour"), None);
    }

    #[test]
    fn clients_need_every_witness_of_the_demo() {
        let keys = ["one+0a0b0c0d+BAAA".to_owned(), "two+0a0b0c0d+BBBB".to_owned()];
        let expected = "[directory]\nwitnesses = [\"one+0a0b0c0d+BAAA\",\"two+0a0b0c0d+BBBB\"]\nthreshold = 2\n";
        assert_eq!(config_text(&keys).unwrap(), expected);
        assert!(keys.iter().all(|key| is_verifier_key(key)));
        assert!(!is_verifier_key("stonechatd: no") && !is_verifier_key("a++b"));
    }

    #[test]
    fn only_the_contacts_own_words_are_an_answer() {
        let lines = parse_lines(
            "{\"id\":\"1\",\"sender\":\"@you\",\"body\":{\"text\":\"hello 7\"}}\n\n{\"id\":\"2\",\"sender\":\"@echo\",\"body\":{\"text\":\"hello 7\"}}\n",
        )
        .unwrap();
        assert_eq!(lines.iter().map(|line| is_answer(line, "hello 7")).collect::<Vec<_>>(), [false, true]);
        assert!(!is_answer(&lines[1], "hello 8"));
        assert!(parse_lines("error: no such contact").is_err());
    }

    #[test]
    fn a_second_demo_in_the_same_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let first = prepare(dir.path(), false).unwrap();
        let error = prepare(dir.path(), false).err().unwrap();
        assert!(format!("{error:#}").contains("another demo runs"), "{error:#}");
        drop(first);
        prepare(dir.path(), false).unwrap();
    }

    #[test]
    fn only_a_kept_directory_keeps_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("you");
        fs::create_dir(&old).unwrap();
        drop(prepare(dir.path(), true).unwrap());
        assert!(old.exists());
        drop(prepare(dir.path(), false).unwrap());
        assert!(!old.exists());
    }

    /// A layout whose programs are shell scripts.
    fn fakes(dir: &Path, echo: &str) -> Layout {
        use std::os::unix::fs::PermissionsExt;
        let program = |name: &str, script: &str| {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let xtask = program("xtask", "shift 2; exec \"$@\"");
        let server = "trap 'exit 0' TERM; echo listening on http://127.0.0.1:9; while :; do sleep 0.05; done";
        program("debug/stonechatd", server);
        program("debug/stonechat-witness", "echo name+hash+key; [ \"$1\" = --key ] || exec sleep 60");
        program("debug/examples/echo", echo);
        let answer = r#"case "$3" in
            signup) mkdir "$2"; echo '{"recovery_phrase":"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24"}' ;;
            send) echo "$5" > "$2/sent" ;;
            read) echo '{"sender":"@echo","body":{"text":"'"$(cat "$2/sent")"'"}}' ;;
            esac"#;
        program("debug/stonechat", answer);
        Layout { root: dir.to_path_buf(), target: dir.to_path_buf(), xtask, built: true }
    }

    #[test]
    fn the_way_in_is_walked_from_start_to_stop() {
        let dir = tempfile::tempdir().unwrap();
        let layout = fakes(dir.path(), "echo ready @echo; exec sleep 60");
        let home = prepare(&dir.path().join("demo"), false).unwrap();
        let (stop, mut progress) = (StopFlag::default(), Progress::new(6));
        let running = start(&layout, &home, None, &stop, &mut progress).unwrap();
        assert_eq!(running.url, "http://127.0.0.1:9");
        walk(&layout.program("stonechat").unwrap(), &home, &running.url, &stop, &mut progress).unwrap();
        assert_eq!(progress.at, progress.of);
        shut_down(running).unwrap();
    }

    #[test]
    fn a_contact_that_dies_ends_the_demo_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let layout = fakes(dir.path(), "echo 'the handle is taken' >&2; exit 1");
        let home = prepare(&dir.path().join("demo"), false).unwrap();
        let started = start(&layout, &home, None, &StopFlag::default(), &mut Progress::new(3));
        let error = format!("{:#}", started.err().unwrap());
        assert!(
            error.contains("the contact @echo stopped by itself") && error.contains("the handle is taken"),
            "{error}"
        );
    }
}
