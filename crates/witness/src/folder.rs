//! A witness's folder: its key, what it verified, and what it found.
//!
//! A witness's word is worth what its memory is worth. One that forgets could cosign a second history under the same key. So
//! one process has the folder at a time; each file is replaced whole or not at all; a folder whose key has cosigned and whose
//! memory is gone is not used; and once there is evidence against the directory, a person has to look first.
//!
//! | file | |
//! |---|---|
//! | `witness-key` | 32 secret bytes, mode 0600 |
//! | `verified.json` | all that was verified, and the newest checkpoint |
//! | `checkpoint` | the newest head with this witness's cosignature, for whoever asks what it has seen |
//! | `cosigned` | there once the key has cosigned anything |
//! | `evidence-*.json` | what an honest directory does not do |
//! | `lock` | locked while a witness runs |

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use rand_core::{OsRng, RngCore as _};
use stonechat_directory::{Audit, Evidence, SignedNote};
use zeroize::Zeroizing;

/// Why a folder cannot be used. The texts are for the witness's operator.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file cannot be read or written.
    #[error("cannot use {}: {source}. The witness needs to read and write its data folder", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the folder.
    #[error("another witness runs in {}; each needs a folder of its own", path.display())]
    InUse {
        /// Which folder.
        path: PathBuf,
    },
    /// The key is not 32 bytes.
    #[error("{} is damaged: it must hold 32 bytes. With another key, directories no longer know this witness", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
    },
    /// What was verified cannot be read, or is gone although the key has cosigned.
    #[error(
        "{} is missing or damaged, and this witness has cosigned: it no longer knows what, and could confirm a second history. \
         Start a new witness in an empty folder. Its key is another one",
        path.display()
    )]
    Forgotten {
        /// Which file.
        path: PathBuf,
    },
    /// The directory was found to be inconsistent, in an earlier run.
    #[error(
        "this witness has found its directory to be inconsistent, and cosigns nothing more. The evidence is in {}; check it \
         with `stonechat audit --evidence`. To go on all the same, move that file out of the folder",
        path.display()
    )]
    Convicted {
        /// The evidence.
        path: PathBuf,
    },
}

/// The folder of a witness that runs: locked for as long as this lives.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    key: SigningKey,
    _lock: File,
}

impl Folder {
    /// Opens a folder, for one process at a time. The first time, it is made, and a key in it.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let lock = lock(path)?;
        let evidence = fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>())
            .map_err(failed(path))?;
        if let Some(path) = evidence.into_iter().find(|path| is_evidence(path)) {
            return Err(FolderError::Convicted { path });
        }
        let key = load_key(path)?.map_or_else(|| make_key(path), Ok)?;
        Ok(Self { path: path.to_owned(), key, _lock: lock })
    }

    /// The key of a folder, which is made the first time. A witness may be running in it.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn key_of(path: &Path) -> Result<SigningKey, FolderError> {
        match load_key(path)? {
            Some(key) => Ok(key),
            None => Ok(Self::open(path)?.key),
        }
    }

    /// The witness's secret key.
    pub(crate) fn key(&self) -> &SigningKey {
        &self.key
    }

    /// What was verified, if anything was.
    pub(crate) fn verified(&self) -> Result<Option<Audit>, FolderError> {
        let path = self.path.join(VERIFIED_FILE);
        let forgotten = FolderError::Forgotten { path: path.clone() };
        match fs::read(&path) {
            Ok(json) => Audit::from_json(&json).ok_or(forgotten).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let has_cosigned = self.path.join(COSIGNED_FILE).try_exists().map_err(failed(&path))?;
                if has_cosigned { Err(forgotten) } else { Ok(None) }
            }
            Err(error) => Err(failed(&path)(error)),
        }
    }

    /// Keeps what was verified. Once this returned, a signature over it may leave: it is on the disk.
    pub(crate) fn keep(&self, audit: &Audit) -> Result<(), FolderError> {
        replace(&self.path.join(VERIFIED_FILE), audit.to_json().as_bytes(), 0o644)?;
        // Behind it: a folder that says that it cosigned has something to remember.
        let cosigned = self.path.join(COSIGNED_FILE);
        if cosigned.try_exists().map_err(failed(&cosigned))? {
            return Ok(());
        }
        replace(&cosigned, COSIGNED_TEXT.as_bytes(), 0o644)
    }

    /// Keeps the newest head that is cosigned, for whoever asks what this witness has seen.
    pub(crate) fn keep_checkpoint(&self, cosigned: &SignedNote) -> Result<(), FolderError> {
        replace(&self.path.join(CHECKPOINT_FILE), cosigned.to_string().as_bytes(), 0o644)
    }

    /// Keeps evidence against the directory.
    pub(crate) fn keep_evidence(&self, evidence: &Evidence, unix_secs: u64) -> Result<PathBuf, FolderError> {
        let path = self.path.join(format!("{EVIDENCE_PREFIX}{unix_secs}.json"));
        replace(&path, evidence.to_json().as_bytes(), 0o644)?;
        Ok(path)
    }
}

fn lock(folder: &Path) -> Result<File, FolderError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))?;
    let path = folder.join(LOCK_FILE);
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(FolderError::InUse { path: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(&path)(error)),
    }
}

fn load_key(folder: &Path) -> Result<Option<SigningKey>, FolderError> {
    let path = folder.join(KEY_FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&path)(error)),
    };
    let seed = Zeroizing::new(<[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| FolderError::Key { path })?);
    Ok(Some(SigningKey::from_bytes(&seed)))
}

fn make_key(folder: &Path) -> Result<SigningKey, FolderError> {
    let mut seed = Zeroizing::new([0; 32]);
    OsRng.fill_bytes(seed.as_mut_slice());
    replace(&folder.join(KEY_FILE), seed.as_slice(), 0o600)?;
    Ok(SigningKey::from_bytes(&seed))
}

/// Written aside, flushed and renamed: a crash leaves the old file or the new one.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FolderError> {
    let aside = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().map_err(failed(path))
}

fn is_evidence(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(EVIDENCE_PREFIX) && name.ends_with(".json")
}

fn failed(path: &Path) -> impl Fn(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { path: path.clone(), source }
}

const KEY_FILE: &str = "witness-key";
const VERIFIED_FILE: &str = "verified.json";
const COSIGNED_FILE: &str = "cosigned";
pub(crate) const CHECKPOINT_FILE: &str = "checkpoint";
const EVIDENCE_PREFIX: &str = "evidence-";
const LOCK_FILE: &str = "lock";
const COSIGNED_TEXT: &str = "This witness has cosigned. Without its verified.json it must not cosign again under this key: it could \
                             confirm a second history.\n";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use stonechat_directory::note::KeyKind;
    use stonechat_directory::{DirectoryPolicy, VerifierKey};

    use super::*;

    fn policy() -> DirectoryPolicy {
        let key = SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes();
        DirectoryPolicy::new(VerifierKey::new("log.test", KeyKind::Log, key).unwrap(), [2; 32], vec![], 0).unwrap()
    }

    #[test]
    fn the_key_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/with it");
        let key = Folder::key_of(&path).unwrap();
        assert_eq!(Folder::open(&path).unwrap().key().to_bytes(), key.to_bytes());
        assert_eq!(fs::metadata(path.join(KEY_FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_damaged_key_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(KEY_FILE), b"short").unwrap();
        assert!(matches!(Folder::open(dir.path()), Err(FolderError::Key { .. })));
        assert_eq!(fs::read(dir.path().join(KEY_FILE)).unwrap(), b"short");
    }

    #[test]
    fn one_witness_at_a_time_has_a_folder_and_its_key_is_shown_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let first = Folder::open(dir.path()).unwrap();
        assert!(matches!(Folder::open(dir.path()), Err(FolderError::InUse { .. })));
        assert_eq!(Folder::key_of(dir.path()).unwrap().to_bytes(), first.key().to_bytes());
        drop(first);
        Folder::open(dir.path()).unwrap();
    }

    #[test]
    fn what_was_verified_is_remembered_and_a_witness_that_forgot_does_not_start() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        assert_eq!(folder.verified().unwrap(), None, "nothing was cosigned: nothing is forgotten");
        let audit = Audit::new(policy());
        folder.keep(&audit).unwrap();
        assert_eq!(folder.verified().unwrap(), Some(audit.clone()));
        fs::write(dir.path().join(VERIFIED_FILE), b"{").unwrap();
        assert!(matches!(folder.verified(), Err(FolderError::Forgotten { .. })));
        fs::remove_file(dir.path().join(VERIFIED_FILE)).unwrap();
        assert!(matches!(folder.verified(), Err(FolderError::Forgotten { .. })));
        // Half a file of a crash is nobody's memory.
        fs::write(dir.path().join("verified.new"), audit.to_json()).unwrap();
        assert!(matches!(folder.verified(), Err(FolderError::Forgotten { .. })));
    }

    #[test]
    fn a_witness_with_evidence_does_not_start_until_somebody_looked() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let evidence = folder.keep_evidence(&Evidence::refusal(&policy(), None, "it gave nothing"), 17).unwrap();
        drop(folder);
        let error = Folder::open(dir.path()).unwrap_err();
        assert!(matches!(&error, FolderError::Convicted { path } if *path == evidence), "{error}");
        fs::remove_file(evidence).unwrap();
        Folder::open(dir.path()).unwrap();
    }
}
