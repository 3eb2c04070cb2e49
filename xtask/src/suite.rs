//! `cargo xtask test`: all set-up and every check, each announced, timed and counted, up to the first that fails.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::layout::{Layout, command_line};
use crate::tools;
use crate::web;

/// Seeds of the simulation in every run: some four minutes on two cores. Nightly runs take thousands: `cargo xtask sim
/// --seeds A..B`.
const SEEDS: &str = "0..400";

/// One check.
struct Step {
    name: &'static str,
    action: Action,
}

enum Action {
    /// Runs a command and counts the tests that it reports; one that reports none counts as one.
    Run(Command),
    /// Not run, and why.
    Skip(String),
}

/// Tests as the tools reported them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
}

struct Row {
    name: &'static str,
    result: String,
    time: Option<Duration>,
    counts: Counts,
}

/// Returns whether every check passed. The last line that it prints is `N passed, N failed`.
pub(crate) fn run(layout: &Layout, fast: bool) -> Result<bool> {
    let begin = Instant::now();
    println!("== tools");
    let for_the_web = || if fast { Ok(()) } else { web::check_tools(layout) };
    let rust = match tools::check_compilers()
        .and_then(|()| tools::check_postgres())
        .and_then(|()| for_the_web())
        .and_then(|()| tools::check_rust(layout))
    {
        Ok(rust) => rust,
        Err(error) => {
            println!("{error:#}\n\n0 passed, 1 failed");
            return Ok(false);
        }
    };
    let more = if fast { "" } else { ", clang, Node.js, Chromium" };
    println!("{rust}; a C compiler, make, perl, PostgreSQL{more} are there");
    let mut rows = vec![Row {
        name: "tools",
        result: "ok".to_owned(),
        time: Some(begin.elapsed()),
        counts: Counts { passed: 1, failed: 0 },
    }];

    let mut failure = None;
    for step in steps(layout, fast) {
        rows.push(match step.action {
            _ if failure.is_some() => {
                Row { name: step.name, result: "not run".to_owned(), time: None, counts: Counts::default() }
            }
            Action::Skip(why) => {
                println!("\n== {}: skipped: {why}", step.name);
                Row { name: step.name, result: format!("skipped: {why}"), time: None, counts: Counts::default() }
            }
            Action::Run(command) => {
                let line = command_line(&command);
                println!("\n== {}: {line}", step.name);
                let start = Instant::now();
                let (success, counts) = run_counted(command)?;
                if !success {
                    failure = Some((step.name, line));
                }
                let result = if success { "ok" } else { "FAILED" }.to_owned();
                Row { name: step.name, result, time: Some(start.elapsed()), counts: counts.for_step(success) }
            }
        });
    }

    println!("{}", table(&rows, begin.elapsed()));
    if let Some((name, line)) = &failure {
        println!("{name} failed. To repeat it alone: {line}\n");
    }
    let all = rows.iter().map(|row| row.counts).fold(Counts::default(), Counts::plus);
    println!("{} passed, {} failed", all.passed, all.failed);
    Ok(failure.is_none())
}

/// The directory's vectors, verified by a program in another language that shares nothing with ours.
fn second_verifier(layout: &Layout) -> Action {
    let python = |arg: &str| {
        let mut command = Command::new("python3");
        command.arg(arg).current_dir(&layout.root);
        command
    };
    match python("--version").output() {
        Ok(found) if found.status.success() => Action::Run(python("tests/directory/verify.py")),
        _ => Action::Skip("python3 is not installed".to_owned()),
    }
}

/// Every check, in the order in which a mistake is cheapest to learn about.
fn steps(layout: &Layout, fast: bool) -> Vec<Step> {
    // The server is built around the web app, and has one environment from then on: another one would build it again. With --fast
    // nothing builds the web app, and the tests see a server without it.
    let folder = (!fast).then(|| web::Build::Quick.folder(layout));
    let cargo = |args: &str| {
        let mut command = layout.cargo(args.split_whitespace());
        // Tests that run the programs take those of the step "programs".
        command.env("STONECHAT_BIN_DIR", layout.target.join("debug"));
        command
    };
    let around_web = |args: &str| {
        let mut command = cargo(args);
        if let Some(folder) = &folder {
            command.env(web::FOLDER_VARIABLE, folder);
        }
        Action::Run(command)
    };
    let slow = |action: &dyn Fn() -> Action| {
        if fast { Action::Skip("--fast".to_owned()) } else { action() }
    };
    let tests = if tools::find_subcommand(layout, &tools::NEXTEST, !fast) {
        around_web("nextest run --workspace")
    } else {
        println!(
            "cargo-nextest is not there, so `cargo test` runs the tests; faster: cargo install cargo-nextest --locked"
        );
        around_web("test --workspace --lib --bins --tests --no-fail-fast")
    };
    let (bans, advisories) = dependency_checks(layout, !fast);
    vec![
        Step { name: "format", action: Action::Run(cargo("fmt --all --check")) },
        Step { name: "lints", action: Action::Run(cargo("clippy --workspace --all-targets -- -D warnings")) },
        Step { name: "web lints", action: slow(&|| Action::Run(cargo("xtask web --lint"))) },
        // All is built from the whole workspace, once: with other packages selected, many dependencies have other features.
        Step {
            name: "packer",
            action: slow(&|| Action::Run(cargo("build --workspace --bin xtask-bundle --examples"))),
        },
        Step { name: "web app", action: slow(&|| Action::Run(cargo("xtask web --dev --built"))) },
        // Some tests run the programs: they are built before, under no test's time limit.
        Step { name: "programs", action: around_web("build --workspace --bins --examples") },
        Step { name: "tests", action: tests },
        Step { name: "second verifier", action: second_verifier(layout) },
        Step { name: "documentation", action: slow(&|| documentation(layout)) },
        Step { name: "doctests", action: slow(&|| around_web("test --doc --workspace")) },
        Step { name: "simulation", action: slow(&|| simulation(layout)) },
        Step { name: "dependencies", action: bans },
        Step { name: "advisories", action: advisories },
        Step { name: "demo", action: slow(&|| Action::Run(cargo("xtask demo --check --built"))) },
        Step { name: "browser", action: slow(&|| Action::Run(cargo("xtask browser --built"))) },
    ]
}

/// The documentation as those who read the code see it: every link leads somewhere.
fn documentation(layout: &Layout) -> Action {
    let mut command = layout.cargo("doc --workspace --no-deps --document-private-items".split(' '));
    command.env("RUSTDOCFLAGS", "-D warnings");
    Action::Run(command)
}

/// The program that the step before has built: `cargo run -p` would build it and what it stands on once more, with other
/// features than the workspace's.
fn simulation(layout: &Layout) -> Action {
    let mut command = Command::new(layout.target.join("debug").join("stonechat-sim"));
    command.args(["--seeds", SEEDS]).current_dir(&layout.root);
    Action::Run(command)
}

/// `cargo deny`, in two: the advisories need a database from the network, the rest only the lock file.
fn dependency_checks(layout: &Layout, install: bool) -> (Action, Action) {
    if !tools::find_subcommand(layout, &tools::DENY, install) {
        let skip = || Action::Skip("cargo-deny is not there: cargo install cargo-deny --locked".to_owned());
        return (skip(), skip());
    }
    let advisories = if tools::works(&mut layout.cargo(["deny", "fetch", "db"])) {
        Action::Run(layout.cargo(["deny", "check", "advisories"]))
    } else {
        Action::Skip("the advisory database cannot be fetched from GitHub".to_owned())
    };
    (Action::Run(layout.cargo(["deny", "check", "bans", "licenses", "sources"])), advisories)
}

/// Runs a command, shows all that it prints, and counts the tests that it reports.
fn run_counted(mut command: Command) -> Result<(bool, Counts)> {
    if std::io::stdout().is_terminal() {
        // Cargo sees a pipe and would drop its colours.
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", command_line(&command)))?;
    let stdout = child.stdout.take().map(|stream| thread::spawn(move || show_and_count(stream, std::io::stdout())));
    let stderr = child.stderr.take().map(|stream| thread::spawn(move || show_and_count(stream, std::io::stderr())));
    let status = child.wait().context("cannot wait for the command")?;
    let mut counts = Counts::default();
    for reader in [stdout, stderr].into_iter().flatten() {
        counts = counts.plus(reader.join().map_err(|_| anyhow!("the reader of a command's output panicked"))?);
    }
    Ok((status.success(), counts))
}

fn show_and_count(stream: impl Read, mut to: impl Write) -> Counts {
    let mut counts = Counts::default();
    let mut lines = BufReader::new(stream);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        // A closed terminal must not stop the count.
        let _ = to.write_all(&line);
        counts = counts.plus(counts_in(&String::from_utf8_lossy(&line)));
        line.clear();
    }
    counts
}

/// The tests in one line of output: nextest's summary, the test harness's, or Node's.
fn counts_in(line: &str) -> Counts {
    let line = without_colours(line);
    // nextest repeats what a failed test printed, the harness's own result included, further to the right.
    let is_harness = line.starts_with("test result:");
    let line = line.trim();
    if let Some(line) = line.strip_prefix("\u{2139} ") {
        let number =
            |word: &str| line.strip_prefix(word).and_then(|number| number.trim().parse().ok()).unwrap_or_default();
        return Counts { passed: number("pass "), failed: number("fail ") + number("cancelled ") };
    }
    let is_nextest = line.starts_with("Summary [") && line.contains("run:");
    if !is_nextest && !is_harness {
        return Counts::default();
    }
    let line = line.rsplit_once("run:").map_or(line, |(_, tail)| tail);
    let number_before = |word: &str| {
        let words = line.split_whitespace().collect::<Vec<_>>();
        words
            .windows(2)
            .filter(|pair| pair[1].trim_matches([',', ';']) == word)
            .filter_map(|pair| pair[0].parse::<u64>().ok())
            .sum::<u64>()
    };
    // nextest prints "1 timed out" and "1 exec failed" apart from "failed".
    let failed = number_before("failed") + number_before("timed") + number_before("exec");
    Counts { passed: number_before("passed"), failed }
}

fn without_colours(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // A control sequence ends with a letter.
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            out.push(c);
        }
    }
    out
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }

    /// A step that reports no tests is one check; one that fails has at least one failure.
    fn for_step(self, success: bool) -> Self {
        match (success, self) {
            (true, Self { passed: 0, failed: 0 }) => Self { passed: 1, failed: 0 },
            (false, Self { passed, failed: 0 }) => Self { passed, failed: 1 },
            (_, counts) => counts,
        }
    }
}

fn table(rows: &[Row], time: Duration) -> String {
    let mut out = String::from("\n== summary\n");
    for row in rows {
        let seconds = row.time.map(|time| format!("{:.1} s", time.as_secs_f64())).unwrap_or_default();
        let Counts { passed, failed } = row.counts;
        let tests = row.time.map(|_| format!("{passed:>5} passed {failed:>3} failed")).unwrap_or_default();
        let line = format!("{:<13} {seconds:>8}  {tests:<24}  {}", row.name, row.result);
        // Writing to a string does not fail.
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let _ = writeln!(out, "in {:.1} s", time.as_secs_f64());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nextest_summaries_are_counted() {
        let counts = |line| counts_in(line);
        assert_eq!(
            counts("     Summary [   0.012s] 345 tests run: 345 passed, 2 skipped"),
            Counts { passed: 345, failed: 0 }
        );
        assert_eq!(
            counts(
                "     Summary [  61.012s] 10/12 tests run: 6 passed (1 slow, 1 leaky), 2 failed, 1 exec failed, 1 timed out, 4 skipped"
            ),
            Counts { passed: 6, failed: 4 }
        );
        assert_eq!(
            counts(
                "\u{1b}[31;1m     Summary\u{1b}[0m [   0.012s] \u{1b}[1m3\u{1b}[0m tests run: \u{1b}[1m2\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, \u{1b}[1m1\u{1b}[0m \u{1b}[31;1mfailed\u{1b}[0m, 0 skipped"
            ),
            Counts { passed: 2, failed: 1 }
        );
    }

    #[test]
    fn harness_summaries_are_counted() {
        assert_eq!(
            counts_in(
                "test result: FAILED. 12 passed; 1 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.00s"
            ),
            Counts { passed: 12, failed: 1 }
        );
        assert_eq!(counts_in("test it::passed ... ok"), Counts::default());
        assert_eq!(counts_in("a log line: 7 passed, 3 failed"), Counts::default());
        assert_eq!(counts_in("    test result: FAILED. 0 passed; 1 failed;"), Counts::default());
    }

    #[test]
    fn nodes_summaries_are_counted() {
        let lines = [
            "\u{2139} tests 9",
            "\u{2139} pass 6",
            "\u{2139} fail 2",
            "\u{2139} cancelled 1",
            "\u{2139} skipped 0",
            "pass 4",
        ];
        let counts = lines.map(counts_in).into_iter().fold(Counts::default(), Counts::plus);
        assert_eq!(counts, Counts { passed: 6, failed: 3 });
    }

    #[test]
    fn output_is_shown_whole_and_counted() {
        let mut shown = Vec::new();
        let input =
            b"\xff not text\ntest result: ok. 2 passed; 0 failed;\ntest result: ok. 1 passed; 0 failed; no newline";
        let counts = show_and_count(&input[..], &mut shown);
        assert_eq!(shown, input);
        assert_eq!(counts, Counts { passed: 3, failed: 0 });
    }

    #[test]
    fn a_failed_step_is_never_counted_as_passed() {
        assert_eq!(Counts::default().for_step(false), Counts { passed: 0, failed: 1 });
        assert_eq!(Counts { passed: 7, failed: 0 }.for_step(false), Counts { passed: 7, failed: 1 });
        assert_eq!(Counts::default().for_step(true), Counts { passed: 1, failed: 0 });
        assert_eq!(Counts { passed: 7, failed: 0 }.for_step(true), Counts { passed: 7, failed: 0 });
    }

    #[test]
    fn the_table_shows_what_did_not_run() {
        let row = |name, result: &str, time, passed| Row {
            name,
            result: result.to_owned(),
            time,
            counts: Counts { passed, failed: 0 },
        };
        let rows = [row("tests", "ok", Some(Duration::from_secs(1)), 340), row("demo", "skipped: --fast", None, 0)];
        let text = table(&rows, Duration::from_secs(2));
        let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
        assert_eq!(words, ["", "== summary", "tests 1.0 s 340 passed 0 failed ok", "demo skipped: --fast", "in 2.0 s"]);
    }
}
