//! Starts programs, waits for what they say, and lets none of them outlive us.
//!
//! A [`Service`] runs in its own process group, so that Ctrl-C reaches only us and we stop things in order. On Linux the
//! kernel ends it when we die, however we die.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail};
use rustix::process::{Pid, Signal};

/// Set once somebody asked us to stop: Ctrl-C, a closed terminal, `kill`.
#[derive(Clone, Default)]
pub(crate) struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Listens for the signals. A second Ctrl-C ends this program at once.
    pub(crate) fn listen() -> Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let flag = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the first signal only sets the flag, which arms the exit for the second.
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag.0))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag.0)))
                .context("cannot listen for Ctrl-C")?;
        }
        Ok(flag)
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// How a service ended when it was asked to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// By itself, with this status.
    Ended(ExitStatus),
    /// It did not, in the time it was given, and was killed.
    Killed,
}

/// A program that runs beside us until it is stopped or dropped.
pub(crate) struct Service {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Service {
    /// Starts it. What it prints goes to `log`, and its standard output to [`Service::wait_for`] as well.
    pub(crate) fn start(name: &'static str, mut command: Command, log: &Path) -> Result<Self> {
        let cannot_write = || format!("cannot write {}; is the disk full, or the directory not yours?", log.display());
        let mut file = File::options().create(true).append(true).open(log).with_context(cannot_write)?;
        let stderr = file.try_clone().with_context(cannot_write)?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", command.get_program().display()))?;
        let stdout = child.stdout.take().context("standard output was piped")?;
        let (sender, lines) = sync_channel(LINES_KEPT);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // A full log or channel loses the line; the program must not stop for it.
                let _ = writeln!(file, "{line}");
                let _ = sender.try_send(line);
            }
        });
        Ok(Self { name, child, lines, log: log.to_path_buf() })
    }

    /// Waits until it prints a line that `accept` takes.
    pub(crate) fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        stop: &StopFlag,
        accept: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(POLL) {
                Ok(line) => {
                    if let Some(found) = accept(&line) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => thread::sleep(POLL),
            }
            self.check_alive().with_context(|| format!("waited for {what}"))?;
            if stop.is_set() {
                bail!("stopped while waiting for {what}");
            }
            if Instant::now() > deadline {
                bail!("{} did not print {what} within {} s.\n{}", self.name, limit.as_secs(), self.last_words());
            }
        }
    }

    /// Fails when the program has ended, with its last words.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait().with_context(|| format!("cannot ask after {}", self.name))? {
            None => Ok(()),
            Some(status) => Err(anyhow!("{} stopped by itself ({status}).\n{}", self.name, self.last_words())),
        }
    }

    /// Asks it to end, and ends it when it does not within `grace`.
    pub(crate) fn stop(mut self, grace: Duration) -> Result<Stopped> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Stopped::Ended(status));
        }
        signal(&self.child, Signal::TERM);
        match wait_within(&mut self.child, grace)? {
            Some(status) => Ok(Stopped::Ended(status)),
            None => Ok(Stopped::Killed), // by our drop
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let mut last = VecDeque::with_capacity(LAST_WORDS_LINES + 1);
        for line in log.lines() {
            last.push_back(line);
            if last.len() > LAST_WORDS_LINES {
                last.pop_front();
            }
        }
        if last.is_empty() {
            return "It printed nothing.".to_owned();
        }
        let words = last.into_iter().map(|line| format!("  | {line}\n")).collect::<String>();
        format!("Its last words:\n{words}The whole log: {}", crate::layout::show(&self.log))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a program to its end, which must come within `limit`, and returns what it printed.
pub(crate) fn run_within(mut command: Command, limit: Duration, stop: &StopFlag) -> Result<Output> {
    let line = crate::layout::command_line(&command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {line}"))?;
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = wait_within(&mut child, POLL)? {
            break status;
        }
        if stop.is_set() || Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            if stop.is_set() {
                bail!("stopped while this ran: {line}");
            }
            bail!("this did not end within {} s and was stopped: {line}", limit.as_secs());
        }
    };
    let gone = |_| anyhow!("the reader of a program's output panicked");
    Ok(Output { status, stdout: stdout.join().map_err(gone)?, stderr: stderr.join().map_err(gone)? })
}

/// A command for `program` that ends when this process does, on systems that can do that.
pub(crate) fn tied(xtask: &Path, program: &Path) -> Command {
    let mut command = Command::new(xtask);
    command.arg("tied").arg(std::process::id().to_string()).arg(program);
    command
}

/// The other half of [`tied`]: becomes the program. Returns only when it cannot.
pub(crate) fn become_tied(parent: u32, program: &Path, args: &[OsString]) -> Error {
    #[cfg(target_os = "linux")]
    {
        // The setting survives the exec. A parent that died before it was made has left us to another.
        let tied = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
        let orphaned =
            rustix::process::getppid().and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok()) != Some(parent);
        if tied.is_err() || orphaned {
            return anyhow!("nobody waits for {} any more", program.display());
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = parent;
    Error::new(Command::new(program).args(args).exec()).context(format!("cannot start {}", program.display()))
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended in between, which is what we want.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

fn wait_within(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn drain<R: std::io::Read + Send + 'static>(stream: Option<R>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What was read before a failure is what there is to show.
            let _ = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}

const POLL: Duration = Duration::from_millis(50);
/// Lines of standard output that wait for [`Service::wait_for`]; later ones are only in the log.
const LINES_KEPT: usize = 1024;
const LAST_WORDS_LINES: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn start(script: &str) -> (Service, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (Service::start("the program", sh(script), &dir.path().join("log")).unwrap(), dir)
    }

    const LONG: Duration = Duration::from_secs(20);

    fn word(line: &str) -> Option<String> {
        line.strip_prefix("ready ").map(str::to_owned)
    }

    #[test]
    fn a_line_is_waited_for() {
        let (mut service, _dir) = start("echo warming up; sleep 0.2; echo ready now; exec sleep 60");
        assert_eq!(service.wait_for("ready", LONG, &StopFlag::default(), word).unwrap(), "now");
        service.check_alive().unwrap();
        assert!(matches!(service.stop(LONG).unwrap(), Stopped::Ended(status) if !status.success()));
    }

    #[test]
    fn a_program_that_dies_early_is_reported_with_its_last_words() {
        let (mut service, _dir) = start("echo 'the port is taken' >&2; exit 3");
        let error = service.wait_for("ready", LONG, &StopFlag::default(), word).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("exit status: 3") && text.contains("  | the port is taken"), "{text}");
    }

    #[test]
    fn a_silent_program_is_given_up_on_and_leaves_nothing_behind() {
        let (mut service, _dir) = start("exec sleep 60");
        let pid = service.child.id();
        let error = service.wait_for("ready", Duration::from_millis(200), &StopFlag::default(), word).unwrap_err();
        assert!(format!("{error:#}").contains("did not print ready"), "{error:#}");
        drop(service);
        assert!(!is_running(pid));
    }

    #[test]
    fn waiting_ends_when_asked_to_stop() {
        let (mut service, _dir) = start("exec sleep 60");
        let stop = StopFlag::default();
        stop.0.store(true, Ordering::SeqCst);
        assert!(service.wait_for("ready", LONG, &stop, word).is_err());
    }

    #[test]
    fn a_program_that_ignores_the_request_is_killed() {
        let (mut service, _dir) = start("trap '' TERM; echo ready now; while :; do sleep 0.05; done");
        service.wait_for("ready", LONG, &StopFlag::default(), word).unwrap();
        let pid = service.child.id();
        assert_eq!(service.stop(Duration::from_millis(300)).unwrap(), Stopped::Killed);
        assert!(!is_running(pid));
    }

    #[test]
    fn a_program_that_drains_is_waited_for() {
        let (mut service, _dir) = start("trap 'sleep 0.3; exit 0' TERM; echo ready now; while :; do sleep 0.05; done");
        service.wait_for("ready", LONG, &StopFlag::default(), word).unwrap();
        assert!(matches!(service.stop(LONG).unwrap(), Stopped::Ended(status) if status.success()));
    }

    #[test]
    fn much_output_does_not_stop_a_program() {
        let (mut service, _dir) = start("i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done; exit 7");
        assert_eq!(wait_within(&mut service.child, LONG).unwrap().unwrap().code(), Some(7));
    }

    #[test]
    fn a_command_is_bounded_in_time() {
        let output = run_within(sh("echo out; echo err >&2; exit 4"), LONG, &StopFlag::default()).unwrap();
        assert_eq!(
            (output.status.code(), &output.stdout[..], &output.stderr[..]),
            (Some(4), &b"out\n"[..], &b"err\n"[..])
        );
        let error = run_within(sh("exec sleep 60"), Duration::from_millis(100), &StopFlag::default()).unwrap_err();
        assert!(format!("{error:#}").contains("did not end"), "{error:#}");
    }

    fn is_running(pid: u32) -> bool {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::test_kill_process(pid).is_ok()
    }
}
