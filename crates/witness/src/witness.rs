//! The witness: asks for the newest checkpoint, fetches what lies between that and the last one that it verified, checks every
//! leaf and every append-only proof, keeps what it verified, and only then cosigns.
//!
//! What the directory's own signatures prove stops it at once. What they do not prove (a directory that is behind, or answers
//! with what is no answer) it asks for again, a bounded number of times, and cosigns nothing meanwhile. Then it stops, with a
//! file of evidence.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ed25519_dalek::SigningKey;
use sha2::{Digest as _, Sha256};
use stonechat_directory::head::{CLOCK_ERROR_SECS, HEARTBEAT_SECS};
use stonechat_directory::note::KeyKind;
use stonechat_directory::{
    Audit, AuditStop, DirectoryPolicy, Evidence, NoteError, PolicyError, SignedNote, Source as _, Verdict, VerifierKey,
};
use stonechat_wire::limits::{CHECKPOINT_BYTES_MAX, DIRECTORY_POLICY_BYTES_MAX};

use crate::folder::{Folder, FolderError};
use crate::source::{HttpSource, Refused, SourceError};

/// A witness of one directory.
pub struct Witness {
    source: HttpSource,
    folder: Folder,
    verifier: VerifierKey,
    audit: Option<Audit>,
}

/// Why a witness stopped, or did not start. The texts are for its operator.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// Its folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// It cannot answer there.
    #[error("cannot answer on {address}: {source}. Choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The directory's address is not one.
    #[error(transparent)]
    Address(#[from] SourceError),
    /// The name cannot be one.
    #[error("the witness's name has a space, a plus sign or nothing in it")]
    Name(#[from] NoteError),
    /// The directory is not the one that was followed before.
    #[error("the directory signs with another key, or has another name, than when this witness first saw it")]
    OtherDirectory,
    /// The directory contradicts itself.
    #[error("THE DIRECTORY IS INCONSISTENT: {what}. Nothing was cosigned. The evidence is in {}; check it with `stonechat audit --evidence`", evidence.display())]
    Inconsistent {
        /// In words.
        what: String,
        /// The file.
        evidence: PathBuf,
    },
}

impl WitnessError {
    /// Whether starting it again is of no use before a person has looked.
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::Inconsistent { .. } | Self::OtherDirectory => true,
            Self::Folder(error) => matches!(error, FolderError::Forgotten { .. } | FolderError::Convicted { .. }),
            Self::Address(_) | Self::Listen { .. } | Self::Name(_) => false,
        }
    }
}

impl Witness {
    /// Opens a witness's folder; makes its key the first time. Without a name, one is made from the key.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub fn open(directory: &str, data: &Path, name: Option<&str>) -> Result<Self, WitnessError> {
        let source = HttpSource::new(directory)?;
        let folder = Folder::open(data)?;
        let verifier = verifier_key(folder.key(), name)?;
        let audit = folder.verified()?;
        Ok(Self { source, folder, verifier, audit })
    }

    /// The verifier key of a folder, whether or not a witness runs in it.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub fn verifier_of(data: &Path, name: Option<&str>) -> Result<VerifierKey, WitnessError> {
        verifier_key(&Folder::key_of(data)?, name)
    }

    /// What the directory's operator puts into the configuration.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Follows the directory for as long as it is honest.
    pub fn run(mut self) -> WitnessError {
        let mut wait = Duration::ZERO;
        let mut doubts = 0;
        loop {
            let begin = Instant::now();
            match self.step() {
                Ok(progress) => {
                    doubts = 0;
                    // One that says nothing new, again and again, does not keep this machine busy.
                    let pause = if progress { Duration::ZERO } else { STEP_MIN };
                    wait = pause.saturating_sub(begin.elapsed());
                }
                Err(Stop::Unavailable(cause)) => {
                    wait = (wait * 2).clamp(RETRY_MIN, RETRY_MAX);
                    tracing::warn!(%cause, "cannot follow the directory; trying again");
                }
                Err(Stop::Inconsistent { what, evidence }) => {
                    doubts += 1;
                    let is_proven = matches!(evidence.judge(), Ok(Verdict::Proven(_)));
                    if is_proven || doubts > DOUBTS_MAX {
                        return self.accuse(what, &evidence);
                    }
                    // One of several servers may lag for a moment, and what stands between may answer in its place.
                    tracing::warn!(%what, "the directory owes an answer; asking again");
                    wait = RETRY_MIN;
                }
                Err(Stop::Error(error)) => return error,
            }
            sleep(wait);
        }
    }

    /// Waits for the next checkpoint, verifies up to it, keeps that, and cosigns. Whether there was anything new.
    fn step(&mut self) -> Result<bool, Stop> {
        let policy = self.policy()?;
        let audit = self.audit.get_or_insert_with(|| Audit::new(policy));
        let before = audit.size();
        let path = format!("checkpoint?after={before}");
        let note = SignedNote::parse(&self.source.get(&path, CHECKPOINT_BYTES_MAX)?)
            .map_err(|error| Stop::Unavailable(error.to_string()))?;
        let told = audit.advance(&mut self.source, &note, |_, _| ()).map_err(|stop| match stop {
            AuditStop::Source(cause) => Stop::Unavailable(cause),
            AuditStop::Checkpoint(PolicyError::Malformed { cause }) => Stop::Unavailable(cause),
            AuditStop::Checkpoint(_) => Stop::Error(WitnessError::OtherDirectory),
            AuditStop::Behind(evidence) => {
                Stop::Inconsistent { what: "it has fewer records than it had".to_owned(), evidence }
            }
            AuditStop::Inconsistent { what, evidence } => Stop::Inconsistent { what, evidence },
        })?;
        // Before the signature leaves: what was cosigned is never forgotten.
        self.folder.keep(audit).map_err(|error| Stop::Error(error.into()))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let recorded = audit.last().map_or(Duration::ZERO, |last| Duration::from_millis(last.time.0));
        if recorded.abs_diff(now) > Duration::from_secs(CLOCK_ERROR_SECS + HEARTBEAT_SECS) {
            let cause = "its newest record is hours away from this machine's clock: one of the two is wrong, or it stands still";
            return Err(Stop::Unavailable(cause.to_owned()));
        }
        let mut cosigned = note;
        cosigned.add(cosigned.cosign(self.verifier.name(), self.folder.key(), now.as_secs()));
        // Before it leaves, too: whoever asks hears of every head that this witness has stood for.
        self.folder.keep_checkpoint(&cosigned).map_err(|error| Stop::Error(error.into()))?;
        match self.source.post("cosignature", cosigned.to_string().as_bytes()) {
            Ok(()) => tracing::debug!(records = told.size, "verified and cosigned"),
            // It has moved on: so does the witness.
            Err(Refused::Superseded) => {}
            Err(Refused::Other(cause)) => return Err(Stop::Unavailable(cause)),
        }
        Ok(told.size > before)
    }

    /// The directory's policy: pinned when it is first seen. Who else is a witness may change.
    fn policy(&mut self) -> Result<DirectoryPolicy, Stop> {
        if let Some(audit) = &self.audit {
            return Ok(audit.policy().clone());
        }
        let json = self.source.get("policy", DIRECTORY_POLICY_BYTES_MAX)?;
        DirectoryPolicy::from_json(&json).map_err(|error| Stop::Unavailable(error.to_string()))
    }

    fn accuse(&self, what: String, evidence: &Evidence) -> WitnessError {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match self.folder.keep_evidence(evidence, now) {
            Ok(evidence) => WitnessError::Inconsistent { what, evidence },
            Err(error) => {
                // The disk failed us: what was found must not be lost with it.
                tracing::error!(%error, evidence = evidence.to_json(), "THE DIRECTORY IS INCONSISTENT");
                error.into()
            }
        }
    }
}

/// Why one step did not go on.
enum Stop {
    Unavailable(String),
    Inconsistent { what: String, evidence: Box<Evidence> },
    Error(WitnessError),
}

impl From<String> for Stop {
    fn from(cause: String) -> Self {
        Self::Unavailable(cause)
    }
}

fn verifier_key(key: &SigningKey, name: Option<&str>) -> Result<VerifierKey, WitnessError> {
    let public = key.verifying_key().to_bytes();
    let made = || format!("witness/{}", hex::encode(&Sha256::digest(public)[..8]));
    let name = name.map_or_else(made, str::to_owned);
    Ok(VerifierKey::new(&name, KeyKind::Witness, public)?)
}

/// Between two questions to a directory that has nothing new.
const STEP_MIN: Duration = Duration::from_secs(1);
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How often it is asked again for what it owes, before that is evidence: for some five seconds.
const DOUBTS_MAX: u32 = 20;
