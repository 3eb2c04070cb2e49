//! Asking witnesses what they have seen: the newest head of this directory that each of them cosigned.
//!
//! A directory that was rolled back (by a backup, by a snapshot of a machine) must never be published again. Whoever saw
//! the newer head knows; of those, a server can ask its witnesses.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stonechat_directory::{Checkpoint, DirectoryPolicy, SignedNote};
use stonechat_wire::limits::CHECKPOINT_BYTES_MAX;

use crate::directory::{DirectoryError, Seen, Standing};
use crate::store::KeyedLog;

/// A head that a witness cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// The names of the witnesses of the policy that are on it.
    pub by: Vec<String>,
    /// What it says.
    pub checkpoint: Checkpoint,
}

/// What one witness answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Where it was asked.
    pub address: String,
    /// Its newest head; `None` when it has none yet. Or why there is no answer, in words.
    pub head: Result<Option<Cosigned>, String>,
}

/// What witnesses know, all together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Nobody saw more than this directory has.
    UpToDate {
        /// So many witnesses of the policy said so.
        witnesses: usize,
    },
    /// Somebody did.
    Behind {
        /// Who.
        by: String,
        /// How many records they saw.
        size: u64,
    },
    /// Somebody saw another history.
    Contradicted {
        /// Who.
        by: String,
        /// Of how many records.
        size: u64,
    },
}

/// Asks every address at the same time. An address is an URL, or the path of a file with a signed note.
pub fn ask(policy: &DirectoryPolicy, addresses: &[String]) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let asked: Vec<_> =
            addresses.iter().map(|address| (address, scope.spawn(|| ask_one(policy, address)))).collect();
        let answers = asked.into_iter().map(|(address, answer)| Answer {
            address: address.clone(),
            head: answer.join().unwrap_or_else(|_| Err("asking it failed".to_owned())),
        });
        answers.collect()
    })
}

/// What the answers say of a directory. `None` stands for one that was never published.
///
/// # Errors
/// [`DirectoryError`] when the store cannot be read.
pub async fn judge<S: KeyedLog>(
    store: &S,
    standing: Option<&Standing>,
    answers: &[Answer],
) -> Result<Judgement, DirectoryError> {
    let heads: Vec<&Cosigned> = answers.iter().filter_map(|answer| answer.head.as_ref().ok()?.as_ref()).collect();
    for head in &heads {
        let (by, size) = (head.by.join(", "), head.checkpoint.size);
        let seen = match standing {
            None => Seen::Newer,
            Some(standing) => standing.judge(store, &head.checkpoint).await?,
        };
        match seen {
            Seen::Ours => {}
            Seen::Newer => return Ok(Judgement::Behind { by, size }),
            Seen::Contradicted => return Ok(Judgement::Contradicted { by, size }),
        }
    }
    let names: std::collections::BTreeSet<&str> = heads.iter().flat_map(|head| &head.by).map(String::as_str).collect();
    Ok(Judgement::UpToDate { witnesses: names.len() })
}

/// How many witnesses must have answered, so that one of them saw every head that any client believed: of any two groups,
/// one of this size and one of the threshold's, somebody is in both.
pub fn quorum(policy: &DirectoryPolicy) -> usize {
    (policy.witnesses().len() + 1).saturating_sub(policy.threshold().max(1) as usize).max(1)
}

fn ask_one(policy: &DirectoryPolicy, address: &str) -> Result<Option<Cosigned>, String> {
    let bytes = if address.starts_with("http://") || address.starts_with("https://") {
        match fetch(address)? {
            Some(bytes) => bytes,
            None => return Ok(None),
        }
    } else {
        read(Path::new(address)).map_err(|error| format!("cannot read {address}: {error}"))?
    };
    let note = SignedNote::parse(&bytes).map_err(|error| format!("{address} answered with no signed note: {error}"))?;
    let (checkpoint, _) = policy
        .signed_by_log(&note)
        .map_err(|_| format!("{address} has a head that this directory's key did not sign"))?;
    let by: Vec<String> = policy.cosigners(&note).map(|(witness, _)| witness.name().to_owned()).collect();
    if by.is_empty() {
        return Err(format!("{address} has a head that none of directory.witnesses cosigned"));
    }
    Ok(Some(Cosigned { by, checkpoint }))
}

/// `None` when the witness has cosigned nothing yet.
fn fetch(address: &str) -> Result<Option<Vec<u8>>, String> {
    let url = format!("{}/checkpoint", address.trim_end_matches('/'));
    let answer = agent().get(&url).call().map_err(|error| format!("{url}: {error}"))?;
    match answer.status().as_u16() {
        200 => bounded(answer.into_body().into_reader()).map(Some).map_err(|error| format!("{url}: {error}")),
        404 => Ok(None),
        status => Err(format!("{url} answered {status}")),
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    bounded(std::fs::File::open(path)?)
}

fn bounded(from: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(CHECKPOINT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > CHECKPOINT_BYTES_MAX {
        return Err(std::io::Error::other("it is longer than a checkpoint can be"));
    }
    Ok(bytes)
}

fn agent() -> ureq::Agent {
    let system = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<_> = system.iter().map(|cert| ureq::tls::Certificate::from_der(cert).to_owned()).collect();
    let tls = ureq::tls::TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(ureq::tls::RootCerts::new_with_certs(&roots))
        .build();
    let config = ureq::Agent::config_builder().tls_config(tls).http_status_as_error(false);
    config.timeout_global(Some(ASK_TIMEOUT)).max_redirects(0).build().into()
}

const ASK_TIMEOUT: Duration = Duration::from_secs(5);
