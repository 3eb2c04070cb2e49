//! `stonechat audit`: verifies a directory's whole history from the outside, and judges files of evidence.
//!
//! It needs no account and believes nobody: every record, every proof that nothing was taken back, and the signatures over
//! all of it are checked here. At the first inconsistency it stops and writes what shows it into a file.

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::json;
use stonechat_directory::{
    Audit, AuditStop, DirectoryPolicy, Evidence, PolicyError, SignedNote, Source, Verdict, VerifierKey, mirror,
};
use stonechat_wire::limits::{CHECKPOINT_BYTES_MAX, DIRECTORY_POLICY_BYTES_MAX};
use stonechat_witness::HttpSource;

use crate::error::{Exit, Failure};
use crate::output::Output;

/// What `audit` is told.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// The address of the server whose directory it is, as https://chat.example.org
    #[arg(value_name = "URL", required_unless_present = "evidence")]
    server: Option<String>,
    /// Judge a file of evidence; with a URL, that directory is asked for what the file says it owes
    #[arg(long, value_name = "FILE")]
    evidence: Option<PathBuf>,
    /// The directory's policy that you trust; without it, the one that the server gives out is taken
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Where evidence is written when the directory contradicts itself [default: stonechat-evidence-TIME.json]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Audits a directory, or judges evidence.
///
/// # Errors
/// [`Failure`]: what could not be fetched or read, or that the directory contradicts itself.
pub(crate) fn run(out: Output, args: &AuditArgs) -> Result<(), Failure> {
    match (&args.evidence, &args.server) {
        (Some(file), server) => judge(out, file, server.as_deref()),
        (None, Some(server)) => audit(out, server, args),
        (None, None) => Err(Failure::input("usage", "name a directory: stonechat audit URL")),
    }
}

fn audit(out: Output, server: &str, args: &AuditArgs) -> Result<(), Failure> {
    let mut source = directory_of(server)?;
    let policy = match &args.policy {
        Some(file) => fs::read(file).map_err(|error| unreadable(file, &error))?,
        None => source.get("policy", DIRECTORY_POLICY_BYTES_MAX).map_err(offline)?,
    };
    let policy =
        DirectoryPolicy::from_json(&policy).map_err(|error| Failure::input("bad_policy", error.to_string()))?;
    let checkpoint = source.get("checkpoint", CHECKPOINT_BYTES_MAX).map_err(offline)?;
    let malformed = |error: &dyn std::fmt::Display| Failure::new("bad_checkpoint", Exit::Refused, error.to_string());
    let note = SignedNote::parse(&checkpoint).map_err(|error| malformed(&error))?;

    let mut audit = Audit::new(policy);
    let mut progress = Progress::new(out);
    let told = audit.advance(&mut source, &note, |done, all| progress.at(done, all)).map_err(|stop| match stop {
        AuditStop::Source(cause) => offline(cause),
        AuditStop::Checkpoint(error @ PolicyError::Malformed { .. }) => malformed(&error),
        AuditStop::Checkpoint(error) => Failure::new("other_directory", Exit::Refused, error.to_string()),
        AuditStop::Behind(evidence) => accuse(args, "it has fewer records than it had", &evidence),
        AuditStop::Inconsistent { what, evidence } => accuse(args, &what, &evidence),
    })?;
    let (policy, last) = (audit.policy(), audit.last().copied());
    let cosigners: Vec<(&VerifierKey, u64)> = policy.cosigners(&note).collect();
    let need = policy.threshold();
    let witnesses: Vec<_> = policy
        .witnesses()
        .iter()
        .map(|key| json!({ "key": key, "cosigned": cosigners.iter().find(|(k, _)| *k == key).map(|(_, time)| time) }))
        .collect();
    let (epochs, time) = last.map_or((0, 0), |last| (last.epoch, last.time.0));
    let object = json!({
        "directory": told.origin, "records": told.size, "epochs": epochs, "published_ms": time, "witnesses": witnesses,
        "threshold": need, "log_key": policy.log(), "consistent": true,
    });
    out.print(&object, || {
        let enough = if cosigners.len() >= need as usize { "" } else { ": not enough for clients" };
        format!(
            "The directory {} is consistent.\n  {} records and {epochs} epochs verified; nothing was taken back.\n  The \
             newest record is {} old.\n  {} of its {} witnesses have cosigned it, clients need {need}{enough}.\n  Signed \
             by {}",
            told.origin,
            told.size,
            age(time),
            cosigners.len(),
            policy.witnesses().len(),
            policy.log(),
        )
    })?;
    Ok(())
}

fn judge(out: Output, file: &Path, server: Option<&str>) -> Result<(), Failure> {
    let json = fs::read(file).map_err(|error| unreadable(file, &error))?;
    let bad = |error: stonechat_directory::EvidenceError| Failure::input("bad_evidence", error.to_string());
    let mut evidence = Evidence::from_json(&json).map_err(bad)?;
    let mut asked = false;
    if let (Some(server), Some((from, to))) = (server, evidence.sizes())
        && from != to
    {
        let mut source = directory_of(server)?;
        // A directory that has no answer leaves the file as it is.
        let answer = mirror::consistency(&mut source, from, to).unwrap_or_default();
        evidence = evidence.with_answer(&answer);
        asked = true;
    }
    let (code, what) = match evidence.judge().map_err(bad)? {
        Verdict::Proven(what) => ("proven", what),
        Verdict::Unanswered(what) => ("unanswered", what),
        Verdict::Harmless(what) => ("harmless", what),
    };
    let policy = evidence.policy();
    let object = json!({
        "verdict": code, "what": what, "asked": asked, "directory": policy.origin(), "log_key": policy.log(),
    });
    out.print(&object, || {
        let words = match code {
            "proven" => "PROVEN. Nobody without the directory's keys can have made this",
            "unanswered" => "UNANSWERED. The directory signed this and owes an answer",
            _ => "HARMLESS. This shows nothing wrong",
        };
        let signed = format!("It is about the directory {}, whose key is\n  {}", policy.origin(), policy.log());
        format!("{words}:\n  {what}.\n{signed}\nCompare that key with the one of the directory that you know.")
    })?;
    Ok(())
}

fn accuse(args: &AuditArgs, what: &str, evidence: &Evidence) -> Failure {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let file = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("stonechat-evidence-{now}.json")));
    let kept = match fs::write(&file, evidence.to_json()) {
        Ok(()) => {
            format!("The evidence is in {}; anybody can check it with `stonechat audit --evidence`", file.display())
        }
        Err(error) => format!("The evidence could not be written to {}: {error}", file.display()),
    };
    let message = format!("THE DIRECTORY CONTRADICTS ITSELF: {what}. {kept}");
    Failure::new("directory_inconsistent", Exit::Refused, message)
}

fn directory_of(server: &str) -> Result<HttpSource, Failure> {
    HttpSource::new(server).map_err(|error| Failure::input("bad_address", error.to_string()))
}

fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::input("unreadable", format!("cannot read {}: {error}", file.display()))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn offline(cause: String) -> Failure {
    Failure::new("directory_unreachable", Exit::Offline, format!("the directory cannot be fetched: {cause}"))
}

fn age(time_ms: u64) -> String {
    let then = UNIX_EPOCH + Duration::from_millis(time_ms);
    let secs = SystemTime::now().duration_since(then).unwrap_or_default().as_secs();
    match secs {
        0..120 => format!("{secs} s"),
        120..7_200 => format!("{} minutes", secs / 60),
        _ => format!("{} hours", secs / 3_600),
    }
}

/// How far it is, on stderr, twice a second; in JSON every ten seconds.
struct Progress {
    out: Output,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    fn new(out: Output) -> Self {
        Self { out, shown: None, terminal: std::io::stderr().is_terminal() }
    }

    fn at(&mut self, done: u64, all: u64) {
        let every = if self.terminal && !self.out.json { 500 } else { 10_000 };
        let now = Instant::now();
        let due = self.shown.get_or_insert(now);
        if now.duration_since(*due) < Duration::from_millis(every) {
            return;
        }
        self.shown = Some(now);
        self.out.notice("progress", &format!("{done} of {all} records verified"));
    }
}
