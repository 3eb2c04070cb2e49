//! `stonechatd backup` and `stonechatd restore`: the whole of a data folder in another folder, and back.
//!
//! A backup is the database as it was at one moment, the two keys, and a manifest that says how long each file is, what its
//! hash is, and where the directory stood. The manifest is written last: a folder without one is no backup.
//!
//! A restore verifies all of it, and asks the witnesses whether anybody saw a newer head of the directory: a directory that
//! was rolled back is never published. What a hash cannot show is who made the backup: whoever can write to it can also
//! write its manifest. Keep it as you keep the data folder.

mod restore;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use stonechat_directory::PolicyError;

pub use restore::{Asking, RestoreError, Restored, restore};

use crate::directory::{DirectoryError, DirectorySettings, Standing};
use crate::secrets::{DIRECTORY_KEY, SecretsError, TOKEN_KEY, load_directory_keys, load_token_key};
use crate::store::{DATABASE, OpenError, SqliteLog};

/// What a backup says of itself: `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of this file. A later program reads it still.
    pub format: u32,
    /// Which program made it.
    pub program: String,
    /// When, in milliseconds since 1970-01-01.
    pub made_at_millis: u64,
    /// Every file of the backup but this one.
    pub files: BTreeMap<String, FileSum>,
    /// Where the directory stood; absent when nothing was ever published.
    pub directory: Option<DirectorySum>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSum {
    /// How long it is.
    pub bytes: u64,
    /// SHA-256, hex.
    pub sha256: String,
}

/// Where a directory stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectorySum {
    /// Its name in what it signs.
    pub origin: String,
    /// Its records.
    pub size: u64,
    /// The root of its Merkle log, hex.
    pub root: String,
}

/// Why a backup was not made. The texts are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is something already.
    #[error("{} is not empty. Name a new folder for each backup", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A file or folder cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store cannot be copied.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A key cannot be read.
    #[error(transparent)]
    Key(#[from] SecretsError),
    /// The copy is not sound.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The settings make no directory.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// Copies the data folder `data` into the new folder `to`, also while a server runs on it. `progress` is told how many pages
/// of the database are done, of how many.
///
/// # Errors
/// [`BackupError`]. `to` has no manifest then, so it is no backup: delete it.
pub async fn back_up(
    data: &Path,
    settings: &DirectorySettings,
    to: &Path,
    progress: impl FnMut(u64, u64),
) -> Result<Manifest, BackupError> {
    make_empty_folder(to)?;
    let made_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    SqliteLog::copy(data, &to.join(DATABASE), progress)?;
    for name in [TOKEN_KEY, DIRECTORY_KEY] {
        copy_file(&data.join(name), &to.join(name))?;
    }
    let _usable = load_token_key(to)?;
    let policy = settings.policy(&load_directory_keys(to)?)?;
    // Read from the copy, not from the store: that has moved on.
    let copy = SqliteLog::inspect(to)?;
    let standing = Standing::read(&copy, &policy).await?;
    drop(copy);

    let mut files = BTreeMap::new();
    for name in [DATABASE, TOKEN_KEY, DIRECTORY_KEY] {
        let path = to.join(name);
        let file = File::open(&path).map_err(|source| BackupError::Io { path: path.clone(), source })?;
        let sum = FileSum::of(file, &mut io::sink()).map_err(|source| BackupError::Io { path, source })?;
        files.insert(name.to_owned(), sum);
    }
    let manifest = Manifest {
        format: FORMAT,
        program: concat!("stonechatd ", env!("CARGO_PKG_VERSION")).to_owned(),
        made_at_millis: u64::try_from(made_at.as_millis()).unwrap_or(u64::MAX),
        files,
        directory: standing.map(|standing| DirectorySum {
            origin: policy.origin().to_owned(),
            size: standing.size,
            root: hex::encode(standing.root.0),
        }),
    };
    write_manifest(to, &manifest)?;
    Ok(manifest)
}

fn make_empty_folder(path: &Path) -> Result<(), BackupError> {
    let failed = |source| BackupError::Io { path: path.into(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let is_empty = fs::read_dir(path).map_err(failed)?.next().is_none();
    if is_empty { Ok(()) } else { Err(BackupError::NotEmpty { path: path.into() }) }
}

fn copy_file(from: &Path, to: &Path) -> Result<(), BackupError> {
    let mut source = File::open(from).map_err(|source| BackupError::Io { path: from.into(), source })?;
    let copied = new_file(to).and_then(|mut file| io::copy(&mut source, &mut file).and_then(|_| file.sync_all()));
    copied.map_err(|source| BackupError::Io { path: to.into(), source })
}

fn write_manifest(to: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let path = to.join(MANIFEST);
    let json = serde_json::to_vec_pretty(manifest).expect("texts and numbers are JSON");
    let written = new_file(&path).and_then(|mut file| {
        file.write_all(&json)?;
        file.sync_all()?;
        File::open(to)?.sync_all()
    });
    written.map_err(|source| BackupError::Io { path, source })
}

/// A file that was not there, for its owner only.
fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

impl FileSum {
    /// Reads a file to its end, and writes it to `into`.
    fn of(mut file: impl Read, into: &mut impl io::Write) -> io::Result<Self> {
        let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; COPY_BYTES]);
        loop {
            let read = match file.read(&mut buffer) {
                Ok(0) => return Ok(Self { bytes, sha256: hex::encode(hash.finalize()) }),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hash.update(&buffer[..read]);
            into.write_all(&buffer[..read])?;
            bytes += read as u64;
        }
    }
}

const MANIFEST: &str = "manifest.json";
const FORMAT: u32 = 1;
const COPY_BYTES: usize = 1 << 20;
