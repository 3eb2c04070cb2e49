//! `stonechatd check`: reads a configuration, looks at the machine that it is for, and says everything that is wrong at
//! once, in plain words.
//!
//! It changes nothing: it makes no file and no folder, and listens for a moment only. A **problem** keeps the server from
//! starting, or its clients from using it. A **warning** works today, and an operator should know of it.

mod file;
mod machine;
mod tls;
mod witnesses;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use crate::config::Config;

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The configuration file; without one, the defaults were checked.
    pub file: Option<PathBuf>,
    /// In the order in which it was looked at.
    pub findings: Vec<Finding>,
}

/// One thing to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The key of the configuration, or the part of the machine.
    pub about: String,
    /// What is wrong, what it means and what to do.
    pub says: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The server does not start, or is of no use to its clients.
    Problem,
    /// It works today.
    Warning,
}

/// What is to be checked: the same options as `stonechatd serve` has.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// The data folder, in place of the file's.
    pub data: Option<PathBuf>,
    /// The address, in place of the file's.
    pub listen: Option<SocketAddr>,
}

/// Checks a configuration and this machine.
pub fn check(what: Checked) -> Report {
    let mut report = Report { file: what.file.clone(), findings: Vec::new() };
    let config = match &what.file {
        None => Config::default(),
        Some(path) => match std::fs::read_to_string(path) {
            Ok(text) => file::read(&text, &mut report),
            Err(error) => {
                let why = format!("cannot read {}: {error}. Check the path and its permissions", path.display());
                report.problem("the configuration file", why);
                return report;
            }
        },
    };
    let config =
        Config { data: what.data.unwrap_or(config.data), listen: what.listen.unwrap_or(config.listen), ..config };
    for problem in config.problems() {
        let about = problem.split(' ').next().unwrap_or_default();
        report.problem(about, format!("{problem}."));
    }
    file::judge(&config, &mut report);
    if let Some(files) = &config.tls {
        tls::check(files, config.public_host.as_deref(), SystemTime::now(), &mut report);
    }
    machine::check(&config, SystemTime::now(), &mut report);
    witnesses::check(&config, &mut report);
    report
}

impl Report {
    /// How many problems there are.
    pub fn problems(&self) -> usize {
        self.findings.iter().filter(|finding| finding.level == Level::Problem).count()
    }

    /// For a person to read.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for Finding { level, about, says } in &self.findings {
            let level = match level {
                Level::Problem => "PROBLEM",
                Level::Warning => "warning",
            };
            writeln!(out, "{level}  {about}: {says}").expect("writing into a String is infallible");
        }
        let what = self.file.as_deref().unwrap_or(Path::new("the default configuration")).display();
        let count = |count: usize, one: &str| match count {
            0 => format!("no {one}s"),
            1 => format!("1 {one}"),
            n => format!("{n} {one}s"),
        };
        let warnings = self.findings.len() - self.problems();
        writeln!(out, "{what}: {}, {}.", count(self.problems(), "problem"), count(warnings, "warning"))
            .expect("writing into a String is infallible");
        out
    }

    fn problem(&mut self, about: impl Into<String>, says: impl Into<String>) {
        self.findings.push(Finding { level: Level::Problem, about: about.into(), says: says.into() });
    }

    fn warning(&mut self, about: impl Into<String>, says: impl Into<String>) {
        self.findings.push(Finding { level: Level::Warning, about: about.into(), says: says.into() });
    }
}
