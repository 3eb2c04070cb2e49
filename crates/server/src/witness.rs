//! `stonechatd witness`: follows a directory from the outside, verifies all of it, and says so with its signature.
//!
//! It asks for the newest checkpoint, fetches what lies between that and the last one that it verified, checks every leaf
//! and every append-only proof, keeps what it verified on its disk, and only then cosigns. At the first inconsistency it
//! writes a file of evidence and stops for good: a person has to look.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ed25519_dalek::SigningKey;
use sha2::{Digest as _, Sha256};
use stonechat_directory::head::{CLOCK_ERROR_SECS, HEARTBEAT_SECS};
use stonechat_directory::note::KeyKind;
use stonechat_directory::{
    Audit, AuditStop, DirectoryPolicy, Evidence, NoteError, PolicyError, SignedNote, Source, VerifierKey,
};
use stonechat_wire::limits::{CHECKPOINT_BYTES_MAX, DIRECTORY_POLICY_BYTES_MAX};

use crate::secrets::{SecretsError, load_seed};

/// What a witness needs to know.
#[derive(Clone, Debug)]
pub struct WitnessOptions {
    /// The server's address.
    pub directory: String,
    /// Where the key and what was verified are kept.
    pub data: PathBuf,
    /// The name in its signatures.
    pub name: Option<String>,
}

/// Why a witness stopped. The texts are for its operator.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// Its key cannot be had.
    #[error(transparent)]
    Key(#[from] SecretsError),
    /// The name cannot be one.
    #[error("the witness's name has a space, a plus sign or nothing in it")]
    Name(#[from] NoteError),
    /// Its data folder cannot be used.
    #[error("cannot use {}: {source}. The witness needs to read and write its data folder", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What it kept is not readable.
    #[error("{} is damaged. Restore it from a backup, or delete it to verify the directory again from its first record", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
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

/// A witness of one directory.
pub struct Witness {
    source: HttpSource,
    data: PathBuf,
    key: SigningKey,
    verifier: VerifierKey,
    audit: Option<Audit>,
}

impl Witness {
    /// Opens a witness's folder; makes its key the first time.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub fn open(options: &WitnessOptions) -> Result<Self, WitnessError> {
        let seed =
            load_seed(&options.data, "witness-key", "with another one, directories no longer know this witness")?;
        let key = SigningKey::from_bytes(&seed);
        let public = key.verifying_key().to_bytes();
        let made = || format!("witness/{}", hex::encode(&Sha256::digest(public)[..8]));
        let name = options.name.clone().unwrap_or_else(made);
        let verifier = VerifierKey::new(&name, KeyKind::Witness, public)?;
        let path = options.data.join(VERIFIED_FILE);
        let audit = match fs::read(&path) {
            Ok(json) => Some(Audit::from_json(&json).ok_or(WitnessError::Damaged { path })?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(WitnessError::Io { path, source }),
        };
        Ok(Self { source: HttpSource::new(&options.directory), data: options.data.clone(), key, verifier, audit })
    }

    /// What the directory's operator puts into the configuration.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Follows the directory for as long as it is honest.
    pub fn run(mut self) -> WitnessError {
        let mut wait = Duration::ZERO;
        let mut behind = 0;
        loop {
            match self.step() {
                Ok(()) => (wait, behind) = (Duration::ZERO, 0),
                Err(Stop::Unavailable(cause)) => {
                    wait = (wait * 2).clamp(RETRY_MIN, RETRY_MAX);
                    tracing::warn!(%cause, "cannot follow the directory; trying again");
                }
                Err(Stop::Behind(evidence)) => {
                    // One of several servers may lag for a moment.
                    behind += 1;
                    wait = RETRY_MIN;
                    if behind > BEHIND_MAX {
                        let what = "it has fewer records than it had".to_owned();
                        return self.accuse(what, &evidence);
                    }
                }
                Err(Stop::Inconsistent { what, evidence }) => return self.accuse(what, &evidence),
                Err(Stop::Error(error)) => return error,
            }
            sleep(wait);
        }
    }

    /// Waits for the next checkpoint, verifies up to it, keeps that, and cosigns.
    fn step(&mut self) -> Result<(), Stop> {
        let policy = self.policy()?;
        let audit = self.audit.get_or_insert_with(|| Audit::new(policy));
        let path = format!("checkpoint?after={}", audit.size());
        let note = SignedNote::parse(&self.source.get(&path, CHECKPOINT_BYTES_MAX)?)
            .map_err(|error| Stop::Unavailable(error.to_string()))?;
        let before = audit.size();
        let told = audit.advance(&mut self.source, &note, |_, _| ()).map_err(|stop| match stop {
            AuditStop::Source(cause) => Stop::Unavailable(cause),
            AuditStop::Checkpoint(PolicyError::Malformed { cause }) => Stop::Unavailable(cause),
            AuditStop::Checkpoint(_) => Stop::Error(WitnessError::OtherDirectory),
            AuditStop::Behind(evidence) => Stop::Behind(evidence),
            AuditStop::Inconsistent { what, evidence } => Stop::Inconsistent { what, evidence },
        })?;
        // Before the signature leaves: what was cosigned is never forgotten.
        let kept = audit.to_json();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let recorded = audit.last().map_or(Duration::ZERO, |last| Duration::from_millis(last.time.0));
        write_aside(&self.data.join(VERIFIED_FILE), kept.as_bytes()).map_err(Stop::Error)?;
        if recorded.abs_diff(now) > Duration::from_secs(CLOCK_ERROR_SECS + HEARTBEAT_SECS) {
            let cause = "its newest record is hours away from this machine's clock: one of the two is wrong, or it stands still";
            return Err(Stop::Unavailable(cause.to_owned()));
        }
        let signature = note.cosign(self.verifier.name(), &self.key, now.as_secs());
        let mut cosigned = SignedNote::parse(note.to_string().as_bytes()).unwrap_or(note);
        cosigned.add(signature);
        match self.source.post("cosignature", cosigned.to_string().as_bytes()) {
            Ok(()) => {
                if told.size > before {
                    tracing::debug!(records = told.size, "verified and cosigned");
                }
                Ok(())
            }
            // It has moved on: so does the witness.
            Err(Refused::Superseded) => Ok(()),
            Err(Refused::Other(cause)) => Err(Stop::Unavailable(cause)),
        }
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
        let evidence_file = self.data.join(format!("evidence-{}.json", unix_secs()));
        match write_aside(&evidence_file, evidence.to_json().as_bytes()) {
            Ok(()) => WitnessError::Inconsistent { what, evidence: evidence_file },
            Err(error) => {
                // The disk failed us: what was found must not be lost with it.
                tracing::error!(%error, evidence = evidence.to_json(), "THE DIRECTORY IS INCONSISTENT");
                error
            }
        }
    }
}

/// Why one step did not go on.
enum Stop {
    Unavailable(String),
    Behind(Box<Evidence>),
    Inconsistent { what: String, evidence: Box<Evidence> },
    Error(WitnessError),
}

impl From<String> for Stop {
    fn from(cause: String) -> Self {
        Self::Unavailable(cause)
    }
}

/// Why a cosignature was not taken.
enum Refused {
    Superseded,
    Other(String),
}

/// A directory over HTTP.
struct HttpSource {
    agent: ureq::Agent,
    base: String,
}

impl HttpSource {
    fn new(server: &str) -> Self {
        let roots: Vec<_> = rustls_native_certs::load_native_certs()
            .certs
            .iter()
            .map(|cert| ureq::tls::Certificate::from_der(cert).to_owned())
            .collect();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ureq::tls::TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider)
            .root_certs(ureq::tls::RootCerts::new_with_certs(&roots))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(REQUEST_TIMEOUT))
            .build();
        Self { agent: config.into(), base: format!("{}/directory", server.trim_end_matches('/')) }
    }

    fn post(&self, path: &str, body: &[u8]) -> Result<(), Refused> {
        let url = format!("{}/{path}", self.base);
        let answer = self.agent.post(&url).send(body).map_err(|error| Refused::Other(error.to_string()))?;
        match answer.status().as_u16() {
            200 => Ok(()),
            409 => Err(Refused::Superseded),
            403 => Err(Refused::Other(
                "the directory does not know this witness: its operator puts the verifier key into the configuration"
                    .to_owned(),
            )),
            status => Err(Refused::Other(format!("{url} answered {status}"))),
        }
    }
}

impl Source for HttpSource {
    type Error = String;

    fn get(&mut self, path: &str, bytes_max: usize) -> Result<Vec<u8>, String> {
        let url = format!("{}/{path}", self.base);
        let answer = self.agent.get(&url).call().map_err(|error| format!("{url}: {error}"))?;
        if answer.status() != 200 {
            return Err(format!("{url} answered {}", answer.status()));
        }
        let mut bytes = Vec::new();
        let limit = bytes_max as u64 + 1;
        answer
            .into_body()
            .into_reader()
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(|error| format!("{url}: {error}"))?;
        if bytes.len() > bytes_max {
            return Err(format!("{url} is longer than {bytes_max} bytes"));
        }
        Ok(bytes)
    }
}

/// Written aside and renamed: a crash leaves the old file or the new one.
fn write_aside(path: &Path, bytes: &[u8]) -> Result<(), WitnessError> {
    let failed = |source| WitnessError::Io { path: path.to_owned(), source };
    let aside = path.with_extension("new");
    let write = || {
        let mut file = File::create(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().map_err(failed)
}

fn unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

const VERIFIED_FILE: &str = "verified.json";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(30);
const BEHIND_MAX: u32 = 20;
