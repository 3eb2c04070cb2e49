//! Putting a backup in place: everything is verified, nothing is there before it is.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use stonechat_directory::{DirectoryPolicy, PolicyError};

use super::{FORMAT, FileSum, MANIFEST, Manifest, make_empty_folder, new_file};
use crate::backup::BackupError;
use crate::directory::{DirectoryError, DirectorySettings, Standing};
use crate::secrets::{DIRECTORY_KEY, SecretsError, TOKEN_KEY, load_directory_keys};
use crate::store::{DATABASE, OpenError, RESTORING, SqliteLog, StoreError};
use crate::witnesses::{self, Answer, Judgement};

/// Who is asked whether anybody saw more of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asking {
    /// The witnesses at these addresses, or in these files.
    Witnesses(Vec<String>),
    /// Nobody: the operator knows that no newer head was ever given out.
    Nobody,
}

/// What was put in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What the backup says of itself.
    pub manifest: Manifest,
    /// How many witnesses say that nothing newer was seen.
    pub witnesses: usize,
}

/// Why nothing was restored. The texts are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup or the data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] BackupError),
    /// There is no manifest, or not one that this program reads.
    #[error("{} is no backup that this program can read: {cause}", path.display())]
    NotABackup {
        /// The folder.
        path: PathBuf,
        /// What is wrong with its manifest.
        cause: String,
    },
    /// A file is not what the manifest says.
    #[error("{} is damaged: it is not what the backup's manifest says. Use another backup", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// The database is not sound.
    #[error("the backup's database cannot be used: {0}")]
    Store(#[from] StoreError),
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] SecretsError),
    /// The settings make no directory.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The directory in it is not sound, or the settings are another directory's.
    #[error("the backup's directory cannot be used: {0}. Is `directory.origin` as it was?")]
    Directory(#[from] DirectoryError),
    /// The directory in the backup is not the one that its manifest says.
    #[error("the backup's directory does not stand where its manifest says. Use another backup")]
    OtherDirectory,
    /// It may be stale, and nobody could say.
    #[error(
        "{have} of the {need} witnesses that must be asked have answered{}. A directory that was rolled back must never be \
         published, so nothing was restored. Name witnesses with directory.witness_addresses or --witness, or, when you \
         know that nothing was published since this backup, say --offline",
        reasons(failed)
    )]
    NobodyToAsk {
        /// How many answered.
        have: usize,
        /// How many must.
        need: usize,
        /// Why the others did not.
        failed: Vec<String>,
    },
    /// It is stale.
    #[error(
        "this backup is too old: its directory has {ours} records, and {by} has seen {theirs}. Publishing it would take \
         back what people rely on, and every client would raise an alarm. Nothing was restored. Look for a newer backup"
    )]
    Behind {
        /// Who saw more.
        by: String,
        /// Records in the backup.
        ours: u64,
        /// Records that were seen.
        theirs: u64,
    },
    /// It is another history.
    #[error(
        "this backup's directory contradicts the head of {size} records that {by} has seen. Nothing was restored. It is \
         not a backup of this directory, or somebody has published a second history under its key"
    )]
    Contradicted {
        /// Who saw it.
        by: String,
        /// Of how many records.
        size: u64,
    },
}

/// Verifies the backup in `from` and puts it into the data folder `data`, which must be missing or empty.
///
/// # Errors
/// [`RestoreError`]. `data` is as empty as before.
pub async fn restore(
    from: &Path,
    data: &Path,
    settings: &DirectorySettings,
    asking: &Asking,
) -> Result<Restored, RestoreError> {
    let manifest = read_manifest(from)?;
    make_empty_folder(data)?;
    // Everything made below is removed when it is not all good. A server that is started meanwhile finds the lock.
    let mut placed = Placed { data, keep: false };
    let _locked = SqliteLog::lock(data)?;
    // Killed on the way, it leaves what no server starts on.
    let marker = data.join(RESTORING);
    new_file(&marker).and_then(|file| file.sync_all()).map_err(|source| at(&marker, source))?;
    sync_folder(data)?;
    for name in FILES {
        let sum = manifest.files.get(name).ok_or_else(|| not_a_backup(from, &format!("it has no {name}")))?;
        copy_verified(&from.join(name), &data.join(name), sum)?;
    }
    let policy = settings.policy(&load_directory_keys(data)?)?;
    let store = SqliteLog::inspect(data)?;
    store.verify().await?;
    let standing = Standing::read(&store, &policy).await?;
    let said = manifest.directory.as_ref().map(|sum| (sum.origin.as_str(), sum.size, sum.root.clone()));
    let found = standing.as_ref().map(|found| (policy.origin(), found.size, hex::encode(found.root.0)));
    if said != found {
        return Err(RestoreError::OtherDirectory);
    }
    let witnesses = not_behind(&store, standing.as_ref(), &policy, asking).await?;
    drop(store);
    sync_folder(data)?;
    fs::remove_file(&marker).map_err(|source| at(&marker, source))?;
    placed.keep = true;
    sync_folder(data)?;
    Ok(Restored { manifest, witnesses })
}

/// Returns how many witnesses said that nothing newer was seen.
async fn not_behind(
    store: &SqliteLog,
    standing: Option<&Standing>,
    policy: &DirectoryPolicy,
    asking: &Asking,
) -> Result<usize, RestoreError> {
    let Asking::Witnesses(addresses) = asking else { return Ok(0) };
    let answers = witnesses::ask(policy, addresses);
    let ours = standing.map_or(0, |standing| standing.size);
    match witnesses::judge(store, standing, &answers).await? {
        Judgement::Behind { by, size } => Err(RestoreError::Behind { by, ours, theirs: size }),
        Judgement::Contradicted { by, size } => Err(RestoreError::Contradicted { by, size }),
        Judgement::UpToDate { witnesses } if witnesses >= witnesses::quorum(policy) => Ok(witnesses),
        Judgement::UpToDate { witnesses } => {
            let failed = answers.into_iter().filter_map(|Answer { head, .. }| head.err()).collect();
            Err(RestoreError::NobodyToAsk { have: witnesses, need: witnesses::quorum(policy), failed })
        }
    }
}

fn read_manifest(from: &Path) -> Result<Manifest, RestoreError> {
    let path = from.join(MANIFEST);
    let mut json = Vec::new();
    let file = File::open(&path).map_err(|error| not_a_backup(from, &format!("cannot read {MANIFEST}: {error}")))?;
    let read = file.take(MANIFEST_BYTES_MAX).read_to_end(&mut json);
    read.map_err(|source| BackupError::Io { path, source })?;
    let manifest: Manifest = serde_json::from_slice(&json).map_err(|error| not_a_backup(from, &error.to_string()))?;
    if manifest.format != FORMAT {
        let cause =
            format!("its format is {}, and this program reads {FORMAT}. Use the program that made it", manifest.format);
        return Err(not_a_backup(from, &cause));
    }
    if let Some(other) = manifest.files.keys().find(|name| !FILES.contains(&name.as_str())) {
        return Err(not_a_backup(from, &format!("it names a file that is no part of one: {other:?}")));
    }
    Ok(manifest)
}

/// Copies a file while hashing it, so that what was verified is what was written.
fn copy_verified(from: &Path, to: &Path, sum: &FileSum) -> Result<(), RestoreError> {
    let file = File::open(from).map_err(|source| at(from, source))?;
    let mut into = new_file(to).map_err(|source| at(to, source))?;
    // One byte more than there should be is enough to see that it is too long.
    let found = FileSum::of(file.take(sum.bytes.saturating_add(1)), &mut into).map_err(|source| at(to, source))?;
    if found != *sum {
        return Err(RestoreError::Damaged { path: from.into() });
    }
    into.sync_all().map_err(|source| at(to, source))
}

/// The names of the files are durable; the files are since they were written.
fn sync_folder(data: &Path) -> Result<(), RestoreError> {
    File::open(data).and_then(|folder| folder.sync_all()).map_err(|source| at(data, source))
}

fn at(path: &Path, source: io::Error) -> RestoreError {
    BackupError::Io { path: path.into(), source }.into()
}

/// The data folder while it is filled.
struct Placed<'a> {
    data: &'a Path,
    keep: bool,
}

impl Drop for Placed<'_> {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        // The folder was empty, and it is locked: what is in it is ours.
        for entry in fs::read_dir(self.data).into_iter().flatten().flatten() {
            if let Err(error) = fs::remove_file(entry.path()) {
                tracing::warn!(%error, "a file of the restore that failed is left; delete it");
            }
        }
    }
}

fn not_a_backup(path: &Path, cause: &str) -> RestoreError {
    RestoreError::NotABackup { path: path.into(), cause: cause.to_owned() }
}

fn reasons(failed: &[String]) -> String {
    if failed.is_empty() { String::new() } else { format!(" ({})", failed.join("; ")) }
}

/// What a backup is made of.
const FILES: [&str; 3] = [TOKEN_KEY, DIRECTORY_KEY, DATABASE];
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
