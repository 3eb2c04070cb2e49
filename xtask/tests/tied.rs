//! What `cargo xtask demo` starts does not outlive it, even when nobody could say goodbye.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, test_kill_process};

#[test]
fn a_tied_program_ends_when_its_parent_is_killed() {
    // The shell stands for the demo: it starts a tied program, prints its id, and is then killed.
    let script = format!("'{}' tied $$ sleep 60 & echo $!; wait", env!("CARGO_BIN_EXE_xtask"));
    let mut parent = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let child = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
    wait_until("it is running", || command_of(child).starts_with("sleep"));
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_until("it has ended", || test_kill_process(child).is_err());
}

#[test]
fn a_program_tied_to_somebody_else_does_not_start() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(["tied", "1", "echo", "started"]).output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
}

fn command_of(pid: Pid) -> String {
    std::fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
